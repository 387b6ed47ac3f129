"""The systems that are compared: checkpoints, and folders of pictures."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.split import Relationships, Split, Translation
from sg2im_pyg.evaluation.text import unused_name
from sg2im_pyg.formats.native import entry_of, file_entries
from sg2im_pyg.formats.published import checkpoint_path
from sg2im_pyg.model import Sg2Im
from sg2im_pyg.sources.images import MAX_PIXELS, PICTURE_FORMATS, load_image
from sg2im_pyg.sources.picture_files import PICTURE_SUFFIXES


@dataclass
class CheckpointSystem:
    """A generator whose pictures and layouts are scored."""

    name: str
    path: Path
    relationships: Relationships
    """Relationships of the graphs that it generates from."""
    step: int | None
    """Step that it was trained to, where its file says so."""

    def open(self, split: Split) -> Sg2Im:
        """The generator, for pictures of the split's size, on the CPU.

        Raises:
            Sg2ImError: If it makes pictures of another size, or does not know the split's names.
        """
        model = Sg2Im.from_pretrained(self.path)
        if model.config.image_size != split.dataset.image_size:
            sizes = (model.config.image_size, split.dataset.image_size)
            made, wanted = (" x ".join(map(str, size)) for size in sizes)
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


System = CheckpointSystem | FolderSystem


def open_systems(config: EvaluationConfig, split: Split) -> list[System]:
    """The systems of an evaluation, checked: whatever is wrong with one of them is said before
    the first one is scored.

    Raises:
        Sg2ImError: If a file or a folder is missing or does not fit the split.
    """
    systems: list[System] = []
    for given in config.checkpoint:
        path = checkpoint_path(given, "--checkpoint")
        entries = file_entries(path)
        training = entry_of(entries, "training") or entry_of(entries, "origin")
        relationships: Relationships = split.relationships
        if config.relationships != "auto":
            relationships = config.relationships
        elif entry_of(training, "config", "data", "relationships") is False:
            relationships = "none"
        step = entry_of(training, "progress", "step")
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
        named.name = unused_name(named.name, taken)
    if config.masks == "true" and not split.dataset.mask_size and config.checkpoint:
        raise Sg2ImError(f"{split.path} has no true masks: use --masks predicted.")
    return systems


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
            f"{', '.join(sorted(PICTURE_SUFFIXES))}, in it or in folders below it."
        )
    return files


def _count_resized(files: list[Path], size: tuple[int, int]) -> int:
    """How many pictures are of another height and width, by what their first bytes say.

    Files that are no pictures are left to :func:`~sg2im_pyg.sources.images.load_image`, which says
    so here, before hours of other systems.
    """
    resized = 0
    for path in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path, formats=PICTURE_FORMATS) as image:
                    found = (image.height, image.width)
        except Exception:  # Pillow raises nearly anything at foreign bytes
            found = size
            load_image(path, size)
        if found[0] * found[1] > MAX_PIXELS:
            load_image(path, size)
        resized += found != size
    return resized
