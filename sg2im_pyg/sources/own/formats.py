"""The formats of own data: how each is told from others, and what reads it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.json_stream import outline
from sg2im_pyg.sources.mistakes import Mistakes
from sg2im_pyg.sources.own import coco, labelme, projects, scene_graphs, table, voc, yolo
from sg2im_pyg.sources.own.files import files_below
from sg2im_pyg.sources.own.records import OwnPicture
from sg2im_pyg.sources.own.selection import FORMATS

Reader = Callable[..., Iterator[OwnPicture]]

READERS: dict[str, Reader] = {
    "coco": coco.read,
    "voc": voc.read,
    "yolo": yolo.read,
    "labelme": labelme.read,
    "csv": table.read,
    "scene_graphs": scene_graphs.read,
    "via": projects.read_via,
    "vott": projects.read_vott,
}
"""What reads the files of each format."""

_KEYS = {"shapes": "labelme", "assets": "vott", "_via_img_metadata": "via"}
_SHOWN = 3


@dataclass(frozen=True)
class Found:
    """Annotations whose format is known.

    Attributes:
        format: A name of :data:`READERS`.
        root: Folder that they lie in.
        files: What they are read from.
        lists: Files of names and splits beside them.
        passed_over: Files beside them that are of no known kind.
    """

    format: str
    root: Path
    files: list[Path]
    lists: tuple[Path, ...] = ()
    passed_over: tuple[Path, ...] = ()

    def read(self, mistakes: Mistakes, classes: Path | None) -> Iterator[OwnPicture]:
        """All pictures, see :data:`READERS`."""
        options: dict[str, Any] = {"classes": classes} if self.format == "yolo" else {}
        return READERS[self.format](self.files, self.root, mistakes, **options)


def recognise(annotations: Path, wanted: str | None = None) -> Found:
    """Finds the annotations in a file or folder.

    Args:
        annotations: A file, or a folder with files at any depth.
        wanted: Their format, a name of :data:`READERS`; :obj:`None` to tell by what they hold.

    Raises:
        Sg2ImError: If there is nothing, nothing of a known format, or there are several formats.
    """
    if annotations.is_file():
        kind = wanted or _kind(annotations)
        if kind is None:
            raise Sg2ImError(
                f"{annotations} is in none of the formats that are read "
                f"({', '.join(FORMATS)}): export it in one of them, or say with --format which "
                "it is."
            )
        if kind == "yolo":  # data.yaml or a list of names stands for the files around it
            root = annotations.parent
            return Found(kind, root, yolo.find(root), yolo.lists_of(root))
        return Found(kind, annotations.parent, [annotations])
    if not annotations.is_dir():
        raise Sg2ImError(
            f"There is no file or folder {annotations}: give with --annotations where the "
            "annotations lie."
        )
    found: dict[str, list[Path]] = {}
    passed_over = []
    for path in files_below(annotations, ".json"):
        kind = _json_kind(path)
        if kind is None:
            passed_over.append(path)
        else:
            found.setdefault(kind, []).append(path)
    for kind, files in (
        ("voc", voc.find(annotations)),
        ("yolo", yolo.find(annotations)),
        (
            "csv",
            [path for path in files_below(annotations, ".csv", ".tsv") if table.is_table(path)],
        ),
    ):
        if files:
            found[kind] = files
    if wanted is not None:
        found = {kind: files for kind, files in found.items() if kind == wanted}
    if not found:
        raise Sg2ImError(
            f"{annotations} holds no annotations "
            + (f"in the format {wanted}" if wanted else "that are known")
            + f": expected are files in one of the formats {', '.join(FORMATS)}."
        )
    if len(found) > 1:
        listed = ", ".join(f"{kind} ({files[0].name})" for kind, files in found.items())
        raise Sg2ImError(
            f"{annotations} holds annotations in several formats, {listed}: say with --format "
            "which to read."
        )
    [(kind, files)] = found.items()
    lists = {"voc": voc.lists_of, "yolo": yolo.lists_of}.get(kind, lambda _: ())(annotations)
    return Found(kind, annotations, files, lists, tuple(passed_over))


def _kind(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json_kind(path)
    if suffix == ".xml":
        return "voc" if voc.is_annotation(path) else None
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix in (".yaml", ".yml", ".names", ".txt"):
        return "csv" if suffix == ".txt" and table.is_table(path) else "yolo"
    return None


def _json_kind(path: Path) -> str | None:
    """By the names in the outermost objects of a JSON file, as few of them as are needed."""
    places = outline(path, 2)
    inner: set[str] = set()
    key = ""
    for place, event in places:
        if event == "start_array" and place == "":
            return "scene_graphs" if _begins_with_objects(path) else None
        if event == "map_key":
            if place in _KEYS:
                return _KEYS[place]
            key = place
            inner.add(place)
        if event == "start_array" and place in ("images", "annotations"):
            return "coco"
        if event == "start_map" and place.count(".") == 1 and "objects" in inner:
            return "scene_graphs"
        if {"filename", "regions"} <= inner:
            return "via"
        if {"asset", "regions"} <= inner:
            return "vott"
        if key == "objects" and event == "start_map":
            return "scene_graphs"
    return None


def _begins_with_objects(path: Path) -> bool:
    """Whether the first entry of a list has objects of a scene graph."""
    for place, event in outline(path, 3):
        if event == "map_key" and place == "objects":
            return True
        if event == "end_map" and place == "item":
            return False
    return False
