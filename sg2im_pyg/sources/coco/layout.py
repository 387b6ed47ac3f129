"""Where annotation files and pictures of COCO lie, or one's own in the same format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.coco.selection import CocoSelection

PARTS = {"train": "train2017", "val": "val2017", "test": "val2017"}
"""The part of COCO that each split comes from (COCO's own test part has no annotations)."""

_LAYOUT = (
    "expected are annotations/{instances,stuff}_{train,val}2017.json and the pictures in "
    "images/{train,val}2017 or {train,val}2017; --annotations and --images name others"
)


@dataclass(frozen=True)
class Part:
    """A part of the data that has annotation files of its own.

    Attributes:
        name: What it is called, in bars and sentences.
        annotations: Files of the things and, where it is used, of the stuff.
        images: Folder of its pictures.
    """

    name: str
    annotations: tuple[Path, ...]
    images: Path


@dataclass(frozen=True)
class Layout:
    """All parts.

    Attributes:
        train: The part to train on.
        val: The part that is divided into validation and test split; :obj:`None` where there is
            one part only, of which a share is taken to validate on.
    """

    train: Part
    val: Part | None

    def part(self, split: str) -> Part:
        """The part that a split comes from."""
        return self.train if split == "train" or self.val is None else self.val

    @property
    def parts(self) -> list[Part]:
        return [part for part in (self.train, self.val) if part is not None]


def find_layout(
    source: Path,
    selection: CocoSelection,
    annotations: Sequence[str] | None = None,
    images: Sequence[str] | None = None,
) -> Layout:
    """Finds the files.

    Without COCO's own names in a folder, other ones are recognised: two files
    ``annotations/instances_NAME.json`` whose NAME begins with train and val, or a single one, with
    the pictures in ``images/NAME``, ``NAME`` or ``images``.

    Args:
        source: Folder of COCO.
        selection: Whether stuff is needed.
        annotations: Files of train and, if there is one, of val, in place of those in the folder.
        images: Folders of their pictures; one for both, or one for each.

    Raises:
        Sg2ImError: If something is missing; all of it is named.
    """
    if annotations is not None:
        return _named(annotations, images, selection)
    if not source.is_dir():
        raise Sg2ImError(
            f"There is no folder {source}: give the folder that holds COCO; {_LAYOUT}."
        )
    kinds = ("instances", "stuff") if selection.use_stuff else ("instances",)
    names = other_names(source) or [PARTS["train"], PARTS["val"]]
    parts, missing = [], []
    for name in names:
        paths = tuple(source / "annotations" / f"{kind}_{name}.json" for kind in kinds)
        missing += [path.relative_to(source).as_posix() for path in paths if not path.is_file()]
        places = [source / "images" / name, source / name]
        if names != [PARTS["train"], PARTS["val"]]:
            places.append(source / "images")
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            missing.append(f"images/{name}")
        parts.append(Part(name, paths, folder or places[0]))
    if missing:
        hint = ""
        if any("stuff_" in name for name in missing):
            hint = ", or leave stuff out (--things_only)"
        raise Sg2ImError(
            f"{source} lacks {', '.join(missing)}: put what is missing there{hint}; {_LAYOUT}."
        )
    return Layout(parts[0], parts[1] if len(parts) > 1 else None)


def other_names(source: Path) -> list[str] | None:
    """Names of the parts where they are not COCO's own and can be told."""
    found = sorted(
        path.stem.partition("_")[2] for path in source.glob("annotations/instances_*.json")
    )
    if set(found) & set(PARTS.values()):
        return None
    of_kind = [[name for name in found if name.startswith(kind)] for kind in ("train", "val")]
    if all(len(names) == 1 for names in of_kind):
        return [names[0] for names in of_kind]
    return found if len(found) == 1 else None


def _named(
    annotations: Sequence[str], images: Sequence[str] | None, selection: CocoSelection
) -> Layout:
    files = [Path(path).absolute() for path in annotations]
    folders = [Path(path).absolute() for path in images or ()]
    if not 1 <= len(files) <= 2 or len(folders) not in (1, len(files)):
        raise Sg2ImError(
            "--annotations takes the annotation file of train and perhaps that of val, and "
            "--images the folder of their pictures or one for each, got "
            f"{len(files)} and {len(folders)}."
        )
    if selection.use_stuff:
        raise Sg2ImError("--annotations names files without stuff: give --things_only with it.")
    for path in files:
        if not path.is_file():
            raise Sg2ImError(f"There is no annotation file {path}: check --annotations.")
    for path in folders:
        if not path.is_dir():
            raise Sg2ImError(f"There is no folder of pictures {path}: check --images.")
    folders = folders * len(files) if len(folders) == 1 else folders
    parts = [Part(file.stem, (file,), folder) for file, folder in zip(files, folders, strict=True)]
    return Layout(parts[0], parts[1] if len(parts) > 1 else None)
