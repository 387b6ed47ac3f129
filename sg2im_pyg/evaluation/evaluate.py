"""Evaluates systems on a prepared split: predicted layouts, and pictures (paper, Section 4)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from sg2im_pyg import __version__
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.features import FeatureNetwork
from sg2im_pyg.evaluation.generation import Generation, PictureWriter, open_writers
from sg2im_pyg.evaluation.layout_scores import LayoutScores
from sg2im_pyg.evaluation.network_files import load_feature_network
from sg2im_pyg.evaluation.picture_metrics import ScoreOptions
from sg2im_pyg.evaluation.picture_scores import PictureScores
from sg2im_pyg.evaluation.registry import metrics_of
from sg2im_pyg.evaluation.report import Example
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.evaluation.systems import CheckpointSystem, FolderSystem, open_systems
from sg2im_pyg.evaluation.table import picture_titles
from sg2im_pyg.images import denormalize_images, stretched
from sg2im_pyg.sources.images import load_image
from sg2im_pyg.sources.registry import Source, find_source
from sg2im_pyg.system.device import choose_device

FORMAT = "sg2im_pyg.evaluation"
VERSION = 1

_Batch = TypeVar("_Batch", bound=Sequence[Any])


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
    split = _open_split(config)
    systems = open_systems(config, split)
    network = _open_network(config, split.origin, device)
    config = replace(
        config,
        graphs_per_picture=config.graphs_per_picture or split.origin.graphs_per_picture,
        max_objects=split.max_objects,
        kid_subset_size=config.kid_subset_size or min(1000, max(2, split.pictures // 2)),
        device=str(device),
    )
    scores = PictureScores(
        network, **{e.name: getattr(config, e.name) for e in fields(ScoreOptions)}
    )
    writers: dict[str, PictureWriter] = {}
    if images_folder is not None:
        names = [system.name for system in systems if isinstance(system, CheckpointSystem)]
        writers = open_writers(images_folder, names, split, config)

    rows = [_score_true_pictures(split, scores, config)]
    examples: dict[str, list[Example]] = {}
    for system in systems:
        scores.reset()
        if isinstance(system, FolderSystem):
            rows.append(_score_folder(system, split, scores, config))
            continue
        generation = Generation(system, split, config)
        row, iou = _score_checkpoint(generation, scores, writers.get(system.name))
        rows.append(row)
        several = len(config.checkpoint) > 1
        for title, chosen in _choose_examples(iou, config.examples).items():
            title = f"{title}: {system.name}" if several else title
            if chosen:
                examples[title] = [generation.example(index, iou[index]) for index in chosen]

    settings = {k: value for k, value in asdict(config).items() if k not in _NO_SETTINGS}
    result = {
        "format": FORMAT,
        "version": VERSION,
        "sg2im_pyg": __version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "data": {
            "file": str(split.path),
            "source": split.source,
            "pictures": split.pictures,
            "objects": rows[0]["layout"]["objects"],
            "image_size": list(split.dataset.image_size),
        },
        "settings": {
            **settings,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
        "network": None if network is None else network.description(),
        "systems": rows,
    }
    return Evaluation(result, examples)


def check_evaluation(config: EvaluationConfig, source: str) -> str | None:
    """Says what is wrong with an evaluation before the trainings that it is to follow.

    Args:
        config: All options. The data file and checkpoints that are not there yet are passed over.
        source: Name of the source of the data, where their file is not there yet.

    Returns:
        SHA-256 checksum of the network of the picture scores; none without one.

    Raises:
        Sg2ImError: If a file is missing or does not fit the others.
    """
    device = choose_device(config.device)
    if Path(config.data).is_file():
        split = _open_split(config)
        made = [path for path in config.checkpoint if Path(path).is_file()]
        if made:
            open_systems(replace(config, checkpoint=made, names=[]), split)
        origin = split.origin
    else:
        origin = find_source(source)
    network = _open_network(config, origin, device)
    return None if network is None else network.sha256


_NO_SETTINGS = ("checkpoint", "images", "names", "data", "save_images", "examples")


def _open_split(config: EvaluationConfig) -> Split:
    return Split(
        Path(config.data).absolute(),
        config.limit,
        config.max_objects,
        config.seed,
        config.subsampling == "as-released",
    )


def _open_network(
    config: EvaluationConfig, origin: Source, device: torch.device
) -> FeatureNetwork | None:
    if config.network == "none":
        return None
    name = origin.feature_network if config.network == "auto" else config.network
    try:
        return load_feature_network(name, device, config.network_output, config.network_size)
    except Sg2ImError as error:
        if name != "inception":
            raise
        raise Sg2ImError(
            f"{error} To do without it, give --network imagenet, --network FILE, or --network "
            f"none for no {picture_titles()}."
        ) from error


# Scores ----------------------------------------------------------------------------------------


def _score_true_pictures(
    split: Split, scores: PictureScores, config: EvaluationConfig
) -> dict[str, Any]:
    """The row of the true pictures: what the scores of a perfect system would be."""
    layout = LayoutScores(split.vocabulary)
    for indices in _progress(split.batches(config.batch_size), split.pictures, "true pictures"):
        graphs = split.graphs(indices, 0, "none")
        layout.add(graphs, graphs.boxes, graphs.get("masks"))
        scores.add_true(stretched(graphs.image) if config.stretch else graphs.image)
    figures = layout.compute()
    # Boxes and masks are compared with themselves here: only what needs no others says something.
    own = {"objects"} | {metric.key for metric in metrics_of("layout") if metric.alone}
    return {
        "name": "true pictures",
        "kind": "data",
        "source": str(split.path),
        "layout": {name: figures[name] if name in own else None for name in figures},
        "pictures": scores.compute_true(),
        "categories": [],
        "predicates": [],
        "notes": [],
    }


def _score_checkpoint(
    generation: Generation, scores: PictureScores, writer: PictureWriter | None
) -> tuple[dict[str, Any], list[float]]:
    """A checkpoint's row, and the mean IoU of the boxes of each picture's first graph."""
    split, system, config = generation.split, generation.system, generation.config
    several = config.graphs_per_picture or 1
    layout = LayoutScores(split.vocabulary)
    iou: list[float] = []
    for draw in range(several):
        title = system.name
        if several > 1:
            title += f", graph {draw + 1} of {several}"
        for indices in _progress(split.batches(config.batch_size), split.pictures, title):
            graphs, _, output = generation.generate(indices, draw)
            means = layout.add(graphs, output.boxes, output.masks)
            if draw == 0:
                iou += means.tolist()
            images = denormalize_images(output.images, config.stretch)
            scores.add(images)
            if draw == 0 and config.diversity_seeds > 1:
                others = range(1, config.diversity_seeds)
                made = (generation.generate(indices, draw, again)[2].images for again in others)
                shown = (denormalize_images(other, config.stretch) for other in made)
                scores.add_variants([images, *shown])
            if writer is not None:
                writer.write(images, [split.image_id(index) for index in indices], draw)
    figures = layout.compute()
    notes = []
    if not figures["relations"]:
        notes.append("The graphs have no geometric relations, so none can be right or wrong.")
    if figures["mask_iou"] is None:
        notes.append("Masks are not compared: the data or the model has none.")
    if config.masks == "true" and not generation.generator.config.mask_size:
        notes.append("The model has no masks: whole boxes are filled also with --masks true.")
    row = {
        "name": system.name,
        "kind": "checkpoint",
        "source": str(system.path),
        "step": system.step,
        "relationships": system.relationships,
        "layout": figures,
        "pictures": scores.compute(),
        "categories": layout.by_category(),
        "predicates": layout.by_predicate(),
        "notes": notes,
    }
    return row, iou


def _score_folder(
    system: FolderSystem, split: Split, scores: PictureScores, config: EvaluationConfig
) -> dict[str, Any]:
    notes, count, size = [], len(system.files), split.dataset.image_size
    if scores.network is None:
        notes.append("A folder's pictures have nothing to be scored by without a network.")
    else:
        starts = range(0, count, config.batch_size)
        batches = (system.files[start : start + config.batch_size] for start in starts)
        for batch in _progress(batches, count, system.name):
            images = [torch.from_numpy(load_image(path, size)).permute(2, 0, 1) for path in batch]
            scores.add(torch.stack(images))
        if system.resized:
            notes.append(
                f"Of the {count:,} pictures {system.resized:,} had another size and were resized "
                f"to {size[0]} x {size[1]}, the size of the split's."
            )
    if count % split.pictures:
        notes.append(f"Its pictures, {count:,}, stand against the split's {split.pictures:,}.")
    return {
        "name": system.name,
        "kind": "images",
        "source": str(system.path),
        "layout": None,
        "pictures": scores.compute(),
        "categories": [],
        "predicates": [],
        "notes": notes,
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


def _progress(batches: Iterable[_Batch], total: int, title: str) -> Iterator[_Batch]:
    """Batches of pictures, counted by a bar."""
    bar = tqdm(total=total, desc=title, unit="picture", disable=None, dynamic_ncols=True)
    with bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))
