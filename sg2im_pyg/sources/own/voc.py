"""Pascal VOC's XML, one file a picture, as labelImg, CVAT, Roboflow and VoTT write it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.sources.json_stream import numbers
from sg2im_pyg.sources.mistakes import Mistakes
from sg2im_pyg.sources.own.files import files_below, read_text, read_xml
from sg2im_pyg.sources.own.records import OwnObject, OwnPicture
from sg2im_pyg.sources.own.values import clean_name, identity, size
from sg2im_pyg.sources.splits import split_called, split_named

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(files: Sequence[Path], root: Path, mistakes: Mistakes) -> Iterator[OwnPicture]:
    """Pictures of XML files; their splits come from ``ImageSets``, or from folders' names."""
    listed = _listed_splits(root)
    for path in files:
        try:
            content = read_xml(path)
        except Sg2ImError as error:
            mistakes.add(str(error))
            continue
        if content.tag != "annotation":
            mistakes.add(f"{path} is no annotation of Pascal VOC, it begins with <{content.tag}>.")
            continue
        name = _text(content, "filename") or _text(content, "path")
        picture = OwnPicture(
            name or path.stem,
            path.parent,
            str(path),
            size(_text(content, "size/height"), _text(content, "size/width")),
            listed.get(path.stem) or split_named(path, root),
            key=path.stem,
            also=path.stem,
            any_suffix=True,
        )
        for position, entry in enumerate(content.findall("object")):
            found = _object(entry, f"object {position + 1} of {path}", mistakes)
            if found is not None:
                found.key = found.key or str(position)
                picture.objects.append(found)
        for entry in content.iterfind("relationships/relationship"):
            ends = [_text(entry, end) for end in ("subject", "predicate", "object")]
            if not all(ends):
                mistakes.add(
                    f"{path} has a relationship without a subject, a predicate or an object."
                )
            else:
                picture.relationships.append((ends[0], ends[1], ends[2]))  # type: ignore[arg-type]
        yield picture


def lists_of(root: Path) -> tuple[Path, ...]:
    """Files that say which picture belongs to which split."""
    folders = [root / "ImageSets" / "Main", root.parent / "ImageSets" / "Main"]
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.txt"))]
    return tuple(path for path in found if split_called(path.stem))


def is_annotation(path: Path) -> bool:
    """Whether a file begins as an annotation of Pascal VOC does."""
    with path.open("rb") as file:
        return b"<annotation" in file.read(4096).replace(b"\0", b"")


def find(root: Path) -> list[Path]:
    """Annotations below a folder."""
    return [path for path in files_below(root, ".xml") if is_annotation(path)]


def _listed_splits(root: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for path in lists_of(root):
        for line in read_text(path).splitlines():
            words = line.split()
            # Lists of one category have -1 behind the pictures without it.
            if words and words[-1] != "-1":
                splits.setdefault(words[0], str(split_called(path.stem)))
    return splits


def _object(entry: Element, where: str, mistakes: Mistakes) -> OwnObject | None:
    name = clean_name(_text(entry, "name"))
    if name is None:
        mistakes.add(f"The {where} has no name.")
        return None
    box, polygon = entry.find("bndbox"), entry.find("polygon")
    corners = None
    if box is not None:
        corners = numbers([_text(box, tag) for tag in _CORNERS])
        if corners is None or corners[0] > corners[2] or corners[1] > corners[3]:
            shown = ", ".join(f"{tag} {shortened(_text(box, tag))}" for tag in _CORNERS)
            mistakes.add(
                f"The {where} has the box {shown}: expected are four numbers in pixels, none of "
                "the last two below the first two."
            )
            return None
    points = [] if polygon is None else _points(polygon)
    if points is None:
        mistakes.add(f"The {where} has a polygon whose points are no numbers.")
        return None
    if corners is None and not points:
        mistakes.add(f"The {where} has neither a box (bndbox) nor a polygon.")
        return None
    return OwnObject(
        name,
        None if corners is None else tuple(corners),  # type: ignore[arg-type]
        [points] if points else None,
        key=identity(_text(entry, "id")),
        where=where,
    )


def _points(polygon: Element) -> Sequence[float] | None:
    """Corners of a polygon: ``<pt><x>..</x><y>..</y></pt>``, or ``<x1>``, ``<y1>``, ``<x2>`` ..."""
    pairs = [(_text(pt, "x"), _text(pt, "y")) for pt in polygon.findall("pt")]
    if not pairs:
        count = len(polygon.findall("*")) // 2
        pairs = [(_text(polygon, f"x{i}"), _text(polygon, f"y{i}")) for i in range(1, count + 1)]
    return numbers([value for pair in pairs for value in pair])


def _text(element: Element, path: str) -> str | None:
    found = element.findtext(path)
    return found.strip() or None if found is not None else None
