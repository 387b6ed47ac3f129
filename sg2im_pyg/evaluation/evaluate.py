"""Evaluates systems on a prepared split: predicted layouts, and pictures (paper, Section 4)."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch_geometric.data import Batch
from tqdm import tqdm

from sg2im_pyg import __version__
from sg2im_pyg.checkpoint import load_generator
from sg2im_pyg.data.images import MAX_PIXELS, load_image
from sg2im_pyg.device import choose_device
from sg2im_pyg.drawing import draw_graph, draw_layout
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.features import FeatureNetwork, load_feature_network
from sg2im_pyg.evaluation.layout_scores import LayoutScores
from sg2im_pyg.evaluation.picture_scores import PictureScores
from sg2im_pyg.evaluation.report import Example
from sg2im_pyg.evaluation.split import Relationships, Split, Translation
from sg2im_pyg.files import replace_when_whole
from sg2im_pyg.images import denormalize_images, to_pil
from sg2im_pyg.model import Sg2Im, Sg2ImOutput
from sg2im_pyg.pretrained import checkpoint_path
from sg2im_pyg.released import is_released
from sg2im_pyg.serialization import load_entries

FORMAT = "sg2im_pyg.evaluation"
VERSION = 1

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")

_LAYOUT_SIDE = 192  # pixels of a layout's drawing, for its labels


@dataclass
class Evaluation:
    """What an evaluation found."""

    result: dict[str, Any]
    """Figures and settings, plain values for JSON; see :func:`evaluate`."""
    examples: dict[str, list[Example]]
    """Rows of pictures to look at, by the title of their section."""


def evaluate(
    config: EvaluationConfig, images_folder: Path | None = None, command: str = ""
) -> Evaluation:
    """Evaluates checkpoints and folders of pictures on the same split.

    Args:
        config: All options.
        images_folder: Where generated pictures are written to, if anywhere.
        command: The command line, kept in the result.

    Returns:
        Its ``result`` has the entries ``data``, ``settings``, ``network`` (of the picture scores)
        and ``systems``: a row for the true pictures, for each checkpoint and for each folder, with
        the figures ``layout``, ``pictures``, ``categories`` and ``predicates``.

    Raises:
        Sg2ImError: If a file is missing or does not fit the others.
    """
    device = choose_device(config.device)
    split = Split(Path(config.data).absolute(), config.limit, config.max_objects, config.seed)
    systems = _open_systems(config, split)
    graphs_per_picture = config.graphs_per_picture or (5 if split.source == "coco" else 1)
    network = _open_network(config, split.source, device)
    subset_size = config.kid_subset_size or min(1000, max(2, split.pictures // 2))
    scores = None
    if network is not None:
        scores = PictureScores(network, config.splits, config.seed, config.kid_subsets, subset_size)

    writers = _open_writers(images_folder, systems, split, graphs_per_picture)

    rows = [_score_true_pictures(split, scores, config)]
    examples: dict[str, list[Example]] = {}
    for system in systems:
        if scores is not None:
            scores.reset()
        if isinstance(system, FolderSystem):
            rows.append(_score_folder(system, split, scores, config))
            continue
        model = system.open(split).to(device)
        painter = Painter(model, system, split, config, graphs_per_picture, device)
        row, iou = _score_checkpoint(painter, scores, writers[system.name], graphs_per_picture)
        rows.append(row)
        several = len(config.checkpoint) > 1
        for title, chosen in _choose_examples(iou, config.examples).items():
            title = f"{title}: {system.name}" if several else title
            if chosen:
                examples[title] = [painter.example(index, iou[index]) for index in chosen]

    settings = {
        **{name: value for name, value in asdict(config).items() if name not in _NO_SETTINGS},
        "graphs_per_picture": graphs_per_picture,
        "kid_subset_size": subset_size,
        "device": str(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    data = {
        "file": str(split.path),
        "source": split.source,
        "pictures": split.pictures,
        "objects": rows[0]["layout"]["objects"],
        "image_size": list(split.dataset.image_size),
    }
    result = {
        "format": FORMAT,
        "version": VERSION,
        "sg2im_pyg": __version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "data": data,
        "settings": settings,
        "network": None if network is None else network.description(),
        "systems": rows,
    }
    return Evaluation(result, examples)


def check_evaluation(config: EvaluationConfig, source: str) -> str | None:
    """Says what is wrong with an evaluation before the trainings that it is to follow.

    Args:
        config: All options. The data file and checkpoints that are not there yet are passed over.
        source: Name of the data set, where its file is not there yet.

    Returns:
        SHA-256 checksum of the network of the picture scores; none without one.

    Raises:
        Sg2ImError: If a file is missing or does not fit the others.
    """
    device = choose_device(config.device)
    if Path(config.data).is_file():
        split = Split(Path(config.data).absolute(), config.limit, config.max_objects, config.seed)
        made = [path for path in config.checkpoint if Path(path).is_file()]
        if made:
            _open_systems(replace(config, checkpoint=made, names=[]), split)
        source = split.source
    network = _open_network(config, source, device)
    return None if network is None else network.sha256


_NO_SETTINGS = ("checkpoint", "images", "names", "data", "save_images", "examples")


# Systems ---------------------------------------------------------------------------------------


@dataclass
class CheckpointSystem:
    """A generator whose pictures and layouts are scored."""

    name: str
    path: Path
    relationships: Relationships
    step: int | None

    def open(self, split: Split) -> Sg2Im:
        """The model, for pictures of the split's size, on the CPU.

        Raises:
            Sg2ImError: If it makes pictures of another size, or does not know the split's names.
        """
        model = load_generator(self.path)
        if model.config.image_size != split.dataset.image_size:
            made, wanted = (
                f"{height} x {width}"
                for height, width in (model.config.image_size, split.dataset.image_size)
            )
            raise Sg2ImError(
                f"{self.path} makes pictures of {made}, {split.path} holds pictures of {wanted}: "
                "give data of the model's size."
            )
        Translation(split.vocabulary, model.vocabulary, self.path)
        return model.for_generation()


@dataclass
class FolderSystem:
    """A folder of pictures that are scored."""

    name: str
    path: Path
    files: list[Path]
    resized: int
    """How many of them are of another size than the split's pictures."""


def _open_systems(config: EvaluationConfig, split: Split) -> list[CheckpointSystem | FolderSystem]:
    """Everything that is wrong with the systems is said before the first one is scored."""
    systems: list[CheckpointSystem | FolderSystem] = []
    for given in config.checkpoint:
        path = checkpoint_path(given, "--checkpoint")
        training = _training_entry(path)
        relationships = split.usual_relationships()
        if config.relationships != "auto":
            relationships = config.relationships
        elif _entry(training, "config", "data", "relationships") is False:
            relationships = "none"
        step = _entry(training, "progress", "step")
        if type(step) is not int or not 0 <= step < 2**63:  # whatever a foreign file says there
            step = None
        system = CheckpointSystem(_system_name(path), path, relationships, step)
        system.open(split)
        systems.append(system)
    for given in config.images:
        path = Path(given).absolute()
        if path.name == "..":
            path = path.resolve()
        files = _picture_files(path)
        resized = _count_resized(files, split.dataset.image_size)
        systems.append(FolderSystem(path.name or str(path), path, files, resized))
    for named, name in zip(systems, config.names, strict=False):
        named.name = name
    taken = {"true pictures"}
    for named in systems:
        number, first = 1, named.name
        while named.name in taken:
            number += 1
            named.name = f"{first} ({number})"
        taken.add(named.name)
    if config.masks == "true" and not split.dataset.mask_size and config.checkpoint:
        raise Sg2ImError(f"{split.path} has no true masks: use --masks predicted.")
    return systems


def _training_entry(path: Path) -> dict[str, Any]:
    """What one of our checkpoints keeps of its training; empty for other files."""
    entries = load_entries(path)
    if not isinstance(entries, dict) or is_released(entries):
        return {}
    training = entries.get("training")
    return training if isinstance(training, dict) else {}


def _entry(training: Any, *names: str) -> Any:
    """An entry of nested dicts; none where a foreign file has something else on the way."""
    for name in names:
        training = training.get(name) if isinstance(training, dict) else None
    return training


def _system_name(path: Path) -> str:
    """RUN/best for RUN/checkpoints/best.pt, otherwise the file's name."""
    if path.parent.name == "checkpoints":
        return f"{path.parent.parent.name}/{path.stem}"
    return path.name


def _picture_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise Sg2ImError(f"There is no folder {folder}: --images takes a folder of pictures.")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
    if not files:
        raise Sg2ImError(
            f"{folder} holds no picture: expected are files ending in "
            f"{', '.join(PICTURE_SUFFIXES)}, in it or in folders below it."
        )
    return files


def _count_resized(files: list[Path], size: tuple[int, int]) -> int:
    """How many pictures are of another height and width, by what their first bytes say.

    Files that are no pictures are left to :func:`~sg2im_pyg.data.images.load_image`, which says
    so here, before hours of other systems.
    """
    resized = 0
    for path in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    found = (image.height, image.width)
        except Exception:  # Pillow raises nearly anything at foreign bytes
            load_image(path, size)
            continue
        if found[0] * found[1] > MAX_PIXELS:
            load_image(path, size)
        resized += found != size
    return resized


def _open_network(
    config: EvaluationConfig, data_source: str, device: torch.device
) -> FeatureNetwork | None:
    if config.network == "none":
        return None
    source = config.network
    if source == "auto":
        source = "landscapes" if data_source == "landscapes" else "inception"
    try:
        return load_feature_network(source, device, config.network_output, config.network_size)
    except Sg2ImError as error:
        if source != "inception":
            raise
        raise Sg2ImError(
            f"{error} To do without it, give --network FILE, or --network none for no Inception "
            "score, FID and KID."
        ) from error


# Scores ----------------------------------------------------------------------------------------


class Painter:
    """Generates a checkpoint's layouts and pictures for a split.

    What it gives for a picture does not depend on the batch that it comes in, but for rounding.
    """

    def __init__(
        self,
        model: Sg2Im,
        system: CheckpointSystem,
        split: Split,
        config: EvaluationConfig,
        graphs_per_picture: int,
        device: torch.device,
    ) -> None:
        self.model, self.system, self.split, self.config = model, system, split, config
        self.graphs_per_picture = graphs_per_picture
        self.device = device
        self.translate = Translation(split.vocabulary, model.vocabulary, system.path)

    @torch.no_grad()
    def paint(self, indices: Sequence[int], draw: int) -> tuple[Batch, Batch, Sg2ImOutput]:
        """Generates from graphs of some pictures.

        Returns:
            The graphs that predictions are compared with, and those that the model sees, both in
            the data's indices; and what it gives. The former have the split's usual relationships
            also where the model sees none, so that relations that hold by chance are counted.
        """
        given = graphs = self.split.graphs(indices, draw, self.system.relationships)
        if self.system.relationships == "none":
            graphs = self.split.graphs(indices, draw, self.split.usual_relationships())
        config = self.model.config
        noise = self.split.noise(indices, draw, (config.layout_noise_dim, *config.image_size))
        moved = self.translate(given).to(self.device)
        boxes = moved.boxes if self.config.boxes == "true" else None
        masks = moved.masks if self.config.masks == "true" else None
        return graphs, given, self.model(moved, boxes, masks, noise.to(self.device))

    def example(self, index: int, iou: float) -> Example:
        """The pictures of one row of the report."""
        graphs, given, output = self.paint([index], 0)
        vocabulary, size = self.split.vocabulary, self.split.dataset.image_size
        scale = max(3, _LAYOUT_SIDE // min(size))
        layouts = [
            draw_layout(graphs.x, boxes, masks, vocabulary, size, scale)
            for boxes, masks in (
                (graphs.boxes, graphs.get("masks")),
                (output.boxes.cpu(), None if output.masks is None else output.masks.cpu()),
            )
        ]
        images = {
            "graph": draw_graph(given.get_example(0), vocabulary),
            "true picture": to_pil(graphs.image)[0],
            "true layout": layouts[0],
            "predicted layout": layouts[1],
            "generated picture": to_pil(denormalize_images(output.images))[0],
        }
        return Example(f"picture {self.split.image_id(index)}", iou, self.system.name, images)


def _score_true_pictures(
    split: Split, scores: PictureScores | None, config: EvaluationConfig
) -> dict[str, Any]:
    """The row of the true pictures: what the scores of a perfect system would be."""
    layout = LayoutScores(split.vocabulary)
    for indices in _progress(split, config.batch_size, "true pictures"):
        graphs = split.graphs(indices, 0, "none")
        layout.add(graphs, graphs.boxes, graphs.get("masks"))
        if scores is not None:
            scores.add_true(graphs.image)
    figures = layout.compute()
    # Boxes and masks are compared with themselves here: only their spread says something.
    own = {name: figures[name] for name in ("objects", "sigma_x", "sigma_area")}
    pictures: dict[str, Any] | None = None
    if scores is not None:
        pictures = {
            "inception_score": scores.true_inception_score(),
            "fid": None,
            "kid": None,
            "pictures": split.pictures,
            "notes": [],
        }
    return {
        "name": "true pictures",
        "kind": "data",
        "source": str(split.path),
        "layout": {**dict.fromkeys(figures), **own},
        "pictures": pictures,
        "categories": [],
        "predicates": [],
        "notes": [],
    }


def _score_checkpoint(
    painter: Painter,
    scores: PictureScores | None,
    writer: "_PictureWriter",
    graphs_per_picture: int,
) -> tuple[dict[str, Any], list[float]]:
    """A checkpoint's row, and the mean IoU of the boxes of each picture's first graph."""
    split, system, config = painter.split, painter.system, painter.config
    layout = LayoutScores(split.vocabulary)
    iou: list[float] = []
    for draw in range(graphs_per_picture):
        title = system.name
        if graphs_per_picture > 1:
            title += f", graph {draw + 1} of {graphs_per_picture}"
        for indices in _progress(split, config.batch_size, title):
            graphs, _, output = painter.paint(indices, draw)
            means = layout.add(graphs, output.boxes, output.masks)
            if draw == 0:
                iou += means.tolist()
            if scores is not None or writer.folder is not None:
                images = denormalize_images(output.images)
                if scores is not None:
                    scores.add(images)
                writer.write(images, [split.image_id(index) for index in indices], draw)
    figures = layout.compute()
    notes = []
    if not figures["relations"]:
        notes.append("The graphs have no geometric relations, so none can be right or wrong.")
    if figures["mask_iou"] is None:
        notes.append("Masks are not compared: the data or the model has none.")
    row = {
        "name": system.name,
        "kind": "checkpoint",
        "source": str(system.path),
        "step": system.step,
        "relationships": system.relationships,
        "layout": figures,
        "pictures": None if scores is None else scores.compute(),
        "categories": layout.by_category(),
        "predicates": layout.by_predicate(),
        "notes": notes,
    }
    return row, iou


def _score_folder(
    system: FolderSystem, split: Split, scores: PictureScores | None, config: EvaluationConfig
) -> dict[str, Any]:
    notes = []
    if scores is None:
        notes.append("A folder's pictures have nothing to be scored by without a network.")
    else:
        bar = _bar(len(system.files), system.name)
        files = iter(system.files)
        while part := list(islice(files, config.batch_size)):
            images = [
                torch.from_numpy(load_image(path, split.dataset.image_size)).permute(2, 0, 1)
                for path in part
            ]
            scores.add(torch.stack(images))
            bar.update(len(part))
        bar.close()
        height, width = split.dataset.image_size
        if system.resized:
            notes.append(
                f"Of the {len(system.files):,} pictures {system.resized:,} had another size and "
                f"were resized to {height} x {width}, the size of the split's."
            )
    if len(system.files) % split.pictures:
        notes.append(
            f"Its pictures, {len(system.files):,}, stand against the split's {split.pictures:,}."
        )
    return {
        "name": system.name,
        "kind": "images",
        "source": str(system.path),
        "layout": None,
        "pictures": None if scores is None else scores.compute(),
        "categories": [],
        "predicates": [],
        "notes": notes,
    }


class _PictureWriter:
    """Writes generated pictures under the number of their true picture.

    Raises:
        Sg2ImError: If the folder holds other pictures, which would be taken for the system's.
    """

    def __init__(self, folder: Path | None, split: Split, graphs_per_picture: int) -> None:
        self.folder = folder
        self.several = graphs_per_picture > 1
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        own = {
            self._name(split.image_id(index), draw)
            for index in range(split.pictures)
            for draw in range(graphs_per_picture)
        }
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in PICTURE_SUFFIXES and path.name not in own:
                raise Sg2ImError(
                    f"{folder} holds pictures that this evaluation does not make, such as "
                    f"{path.name}: delete that folder, or give another --output."
                )

    def write(self, images: Tensor, image_ids: list[int], draw: int) -> None:
        if self.folder is None:
            return
        for image, image_id in zip(to_pil(images), image_ids, strict=True):
            with replace_when_whole(self.folder / self._name(image_id, draw)) as temporary:
                image.save(temporary, format="PNG")

    def _name(self, image_id: int, draw: int) -> str:
        return f"{image_id:012}_{draw}.png" if self.several else f"{image_id:012}.png"


def _open_writers(
    folder: Path | None,
    systems: list[CheckpointSystem | FolderSystem],
    split: Split,
    graphs_per_picture: int,
) -> dict[str, _PictureWriter]:
    """A writer for each checkpoint, by its name; each writes to a folder of its own."""
    names = [system.name for system in systems if isinstance(system, CheckpointSystem)]
    folders: list[Path | None] = [None] * len(names)
    if folder is not None:
        from sg2im_pyg.evaluation.curves import run_names  # brings TensorBoard with it

        folders = [folder / name for name in run_names(names)]
    return {
        name: _PictureWriter(own, split, graphs_per_picture)
        for name, own in zip(names, folders, strict=True)
    }


def _choose_examples(iou: list[float], count: int) -> dict[str, list[int]]:
    """Positions of the pictures to show: a sample, the best and the worst by IoU."""
    known = [index for index, value in enumerate(iou) if value == value]
    ranked = sorted(known, key=lambda index: iou[index])
    return {
        "A sample of the split": list(range(min(count, len(iou)))),
        "Best by IoU": ranked[::-1][:count],
        "Worst by IoU": ranked[:count],
    }


def _progress(split: Split, batch_size: int, title: str) -> Iterator[range]:
    bar = _bar(split.pictures, title)
    for indices in split.batches(batch_size):
        yield indices
        bar.update(len(indices))
    bar.close()


def _bar(total: int, title: str) -> tqdm:
    return tqdm(total=total, desc=title, unit="picture", disable=None, dynamic_ncols=True)
