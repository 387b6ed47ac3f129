"""Tables of boxes (CSV), one a line, by the usual names of columns; and tables of relationships."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.sources.json_stream import numbers
from sg2im_pyg.sources.mistakes import Mistakes
from sg2im_pyg.sources.own.files import MOST_BYTES, read_text
from sg2im_pyg.sources.own.records import OwnObject, OwnPicture
from sg2im_pyg.sources.own.values import bounds, clean_name, corners_of, identity, size
from sg2im_pyg.sources.splits import split_called, split_named

_FILE = (
    *("filename", "filepath", "file", "imagepath", "imagename", "imagefilename", "imagefile"),
    *("image", "path", "img", "imgname", "imgpath", "imageid", "imgid", "id", "name"),
)
_LABEL = (
    *("class", "label", "labelname", "classname", "category", "categoryname", "objectclass"),
    *("object", "labels", "type", "name"),
)
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ("bboxx1", "bboxy1", "bboxx2", "bboxy2"),
    ("xtl", "ytl", "xbr", "ybr"),
)
_SIDES = (
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ("bboxx", "bboxy", "bboxw", "bboxh"),
    ("boxx", "boxy", "boxwidth", "boxheight"),
    ("x", "y", "w", "h"),
    ("x", "y", "boxwidth", "boxheight"),
    ("x", "y", "width", "height"),
    ("xmin", "ymin", "width", "height"),
    ("xmin", "ymin", "w", "h"),
    ("left", "top", "width", "height"),
)
_ONE = ("bbox", "box", "boundingbox")
_HEIGHT = ("imageheight", "imgheight", "imageh", "height")
_WIDTH = ("imagewidth", "imgwidth", "imagew", "width")
_SPLIT = ("split", "set", "subset", "partition", "mluse", "fold")
_WITHOUT_NAMES = {
    (0, 1, 1, 1, 1, 0): ("filename", "x1", "y1", "x2", "y2", "class"),  # keras-retinanet
    (0, 1, 1, 1, 1, 0, 1, 1): (  # makesense
        *("class", "x", "y", "w", "h", "filename", "imagewidth", "imageheight"),
    ),
}
"""Columns of tables without a line of names, by which of their values are numbers."""


@dataclass(frozen=True)
class _Columns:
    file: str
    label: str | None
    corners: tuple[str, ...] | None
    sides: tuple[str, ...] | None
    one: str | None
    height: str | None
    width: str | None
    split: str | None
    shape: str | None = None
    attributes: str | None = None


def read(files: Sequence[Path], root: Path, mistakes: Mistakes) -> Iterator[OwnPicture]:
    """Pictures of tables, in the order in which they first appear. Where no number of a table is
    larger than 1, boxes are taken for parts of the picture."""
    for path in files:
        rows = list(_rows(path))
        columns = _choose(rows[0][1] if rows else {}, path)
        pictures: dict[str, OwnPicture] = {}
        objects: list[OwnObject] = []
        for line, row in rows:
            where = f"line {line} of {path}"
            name = row.get(columns.file, "").strip()
            if not name:
                mistakes.add(f"The {where} names no picture.")
                continue
            if name not in pictures:
                listed = size(row.get(columns.height or ""), row.get(columns.width or ""))
                split = split_called(row.get(columns.split or "")) or split_named(path, root)
                pictures[name] = OwnPicture(
                    name, path.parent, where, listed, split, key=name, any_suffix=True
                )
            found = _object(row, columns, where, mistakes)
            if found is not None:
                found.key = str(len(pictures[name].objects))
                pictures[name].objects.append(found)
                objects.append(found)
        boxes = [found.box for found in objects if found.box is not None]
        if boxes and len(boxes) == len(objects) and max(map(max, boxes)) <= 1:
            for found in objects:
                found.relative = True
        yield from pictures.values()


def read_relationships(path: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Triples of subject, predicate and object by the names of their pictures.

    Raises:
        Sg2ImError: If the file is no table with the columns image, subject, predicate, object.
    """
    found: dict[str, list[tuple[str, str, str]]] = {}
    columns: list[str] = []
    for line, row in _rows(path):
        if not columns:
            ways = (
                _FILE,
                ("subject", "subjectid"),
                ("predicate", "relation", "relationship"),
                ("object", "objectid"),
            )
            for names in ways:
                columns.append(next((name for name in names if name in row), ""))
            if "" in columns:
                raise Sg2ImError(
                    f"{path} is no table of relationships: expected are the columns image, "
                    f"subject, predicate and object, got {shortened(', '.join(row))}."
                )
        image, predicate = row[columns[0]].strip(), clean_name(row[columns[2]])
        subject, other = identity(row[columns[1]]), identity(row[columns[3]])
        if not image or subject is None or predicate is None or other is None:
            raise Sg2ImError(
                f"Line {line} of {path} lacks a picture, subject, predicate or object."
            )
        found.setdefault(image, []).append((subject, predicate, other))
    return found


def is_table(path: Path) -> bool:
    """Whether a file is a table of boxes."""
    try:
        _choose(next(_rows(path))[1], path)
        return True
    except (Sg2ImError, StopIteration):
        return False


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines with their numbers, each as values by plain names of the columns."""
    text = read_text(path, MOST_BYTES)
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max((",", ";", "\t"), key=first.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    names: list[str] = []
    try:
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            if not names:
                numeric = tuple(int(bool(numbers([value]))) for value in row)
                names = list(_WITHOUT_NAMES.get(numeric, ()))
                if not names:
                    names = ["".join(filter(str.isalnum, name)).lower() for name in row]
                    continue
            yield reader.line_num, dict(zip(names, row))
    except csv.Error as error:
        raise Sg2ImError(
            f"{path} is no table that can be read (line {reader.line_num}: "
            f"{first_line(error)}): save it as CSV in UTF-8."
        ) from error


def _choose(row: Mapping[str, str], path: Path) -> _Columns:
    """Which columns of a table are what."""
    file = next((name for name in _FILE if name in row), None)
    label = next((name for name in _LABEL if name in row and name != file), None)
    corners = next((names for names in _CORNERS if set(names) <= row.keys()), None)
    sides = None
    if corners is None:
        sides = next((names for names in _SIDES if set(names) <= row.keys()), None)
    one = next((name for name in _ONE if name in row), None)
    shape = "regionshapeattributes" if "regionshapeattributes" in row else None  # VIA
    if file is None or not (corners or sides or one or shape) or (label is None and not shape):
        raise Sg2ImError(
            f"{path} has no columns for picture, category and box: expected are such as filename, "
            f"class, xmin, ymin, xmax, ymax, got {shortened(', '.join(row) or 'nothing', 120)}."
        )
    used = set(sides or ())
    return _Columns(
        file,
        label,
        corners,
        sides,
        None if corners or sides else one,
        next((name for name in _HEIGHT if name in row and name not in used), None),
        next((name for name in _WIDTH if name in row and name not in used), None),
        next((name for name in _SPLIT if name in row), None),
        shape,
        "regionattributes" if shape else None,
    )


def _object(
    row: Mapping[str, str], columns: _Columns, where: str, mistakes: Mistakes
) -> OwnObject | None:
    if columns.shape is not None:
        try:
            shape = json.loads(row.get(columns.shape) or "{}")
            named = json.loads(row.get(columns.attributes or "") or "{}")
        except (ValueError, RecursionError):
            mistakes.add(f"The {where} has shapes that are no JSON.")
            return None
        return region(shape, named, where, mistakes) if shape else None
    names = columns.corners or columns.sides
    if names is not None:
        words = [row.get(name, "").strip() for name in names]
    else:
        words = row.get(str(columns.one), "").strip(" []()").replace(",", " ").split()
    name = clean_name(row.get(str(columns.label), ""))
    if not any(words) and name is None:
        return None  # a picture without an object
    values = numbers(words, 4)
    if name is None or values is None:
        mistakes.add(
            f"The {where} lacks a category, or has the box {shortened(', '.join(words))}: expected "
            "are four numbers."
        )
        return None
    box = tuple(values) if columns.corners else corners_of(*values)
    if box[0] > box[2] or box[1] > box[3]:
        mistakes.add(f"The {where} has a box of negative width or height.")
        return None
    return OwnObject(name, box, where=where)  # type: ignore[arg-type]


def region(shape: Any, named: Any, where: str, mistakes: Mistakes) -> OwnObject | None:
    """An object as VIA has it: a shape, and attributes of which one names its category."""
    name = None
    if isinstance(named, dict):
        keys = [*(key for key in _LABEL if key in named), *named]
        found = [named[key] for key in keys]
        # A checkbox has its choices as names with true or false.
        picked = [next((k for k, v in f.items() if v), None) if isinstance(f, dict) else f
                  for f in found]  # fmt: skip
        name = next((clean_name(value) for value in picked if clean_name(value)), None)
    kind = shape.get("name") if isinstance(shape, dict) else None
    values = shape if isinstance(shape, dict) else {}
    box, outline = None, None
    if kind == "rect":
        found_sides = numbers([values.get(key) for key in ("x", "y", "width", "height")])
        box = corners_of(*found_sides) if found_sides is not None else None
    elif kind in ("circle", "ellipse"):
        radii = [values.get("rx", values.get("r")), values.get("ry", values.get("r"))]
        found_round = numbers([values.get("cx"), values.get("cy"), *radii])
        if found_round is not None:
            x, y, rx, ry = found_round
            box = (x - rx, y - ry, x + rx, y + ry)
    elif kind in ("polygon", "polyline"):
        xs, ys = numbers(values.get("all_points_x")), numbers(values.get("all_points_y"))
        if xs is not None and ys is not None and len(xs) == len(ys):
            outline = [[value for pair in zip(xs, ys) for value in pair]]
            box = bounds(outline)
    elif kind == "point":
        found_point = numbers([values.get("cx"), values.get("cy")])
        box = (*found_point, *found_point) if found_point is not None else None
    if name is None or box is None or box[0] > box[2] or box[1] > box[3]:
        mistakes.add(
            f"The {where} has no category among its attributes, or a shape that can not be read."
        )
        return None
    return OwnObject(name, box, outline, where=where)  # type: ignore[arg-type]
