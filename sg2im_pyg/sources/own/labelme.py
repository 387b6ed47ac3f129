"""labelme's JSON, one file a picture."""

import base64
import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.sources.images import MAX_PIXELS
from sg2im_pyg.sources.json_stream import numbers
from sg2im_pyg.sources.mistakes import Mistakes
from sg2im_pyg.sources.own.coco import triple
from sg2im_pyg.sources.own.files import read_json_whole
from sg2im_pyg.sources.own.records import OwnObject, OwnPicture
from sg2im_pyg.sources.own.values import bounds, clean_name, identity, size
from sg2im_pyg.sources.splits import split_named

_CORNERS_OF_A_CIRCLE = 64
_MOST_TEXT = 16 * 2**20  # of a mask in base64


def read(files: Sequence[Path], root: Path, mistakes: Mistakes) -> Iterator[OwnPicture]:
    """Pictures of labelme's files. Shapes with one label and one group are one object; without a
    group, relationships call a shape by its position."""
    for path in files:
        try:
            content = read_json_whole(path)
        except Sg2ImError as error:
            mistakes.add(str(error))
            continue
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            mistakes.add(f"{path} has no list 'shapes': it is none of labelme's files.")
            continue
        name = content.get("imagePath")
        listed = size(content.get("imageHeight"), content.get("imageWidth"))
        picture = OwnPicture(
            name if isinstance(name, str) and name.strip() else path.stem,
            path.parent,
            str(path),
            listed,
            split_named(path, root),
            key=path.stem,
            also=path.stem,
            any_suffix=True,
        )
        groups: dict[tuple[str, str], OwnObject] = {}
        for position, shape in enumerate(content["shapes"]):
            where = f"shape {position + 1} of {path}"
            found = _object(shape, where, listed, mistakes)
            if found is None:
                continue
            found.key = str(position)
            group = identity(shape.get("group_id"))
            first = groups.get((found.name, str(group))) if group is not None else None
            if first is None:
                picture.objects.append(found)
                if group is not None:
                    groups[found.name, group] = found
            elif isinstance(first.outline, list) and isinstance(found.outline, list):
                first.outline += found.outline
                first.box = None  # around all of it
            else:
                mistakes.add(f"The {where} is a mask in a group, which can not be joined.")
        relationships = content.get("relationships")
        for entry in relationships if isinstance(relationships, list) else []:
            relationship = triple(entry)
            if relationship is None:
                mistakes.add(f"{path} has the relationship {shortened(repr(entry))}: expected is "
                             "[subject, predicate, object].")  # fmt: skip
            else:
                picture.relationships.append(relationship)
        yield picture


def _object(
    shape: Any, where: str, listed: tuple[int, int] | None, mistakes: Mistakes
) -> OwnObject | None:
    points = shape.get("points") if isinstance(shape, dict) else None
    name = clean_name(shape.get("label")) if isinstance(shape, dict) else None
    pairs = [numbers(pair, 2) for pair in points] if isinstance(points, list) else [None]
    if name is None or not pairs or None in pairs:
        mistakes.add(f"The {where} has no label, or its points are no pairs of numbers.")
        return None
    corners = [(pair[0], pair[1]) for pair in pairs if pair is not None]
    kind = shape.get("shape_type") or "polygon"
    flat = [[value for corner in corners for value in corner]]
    if kind == "rectangle":
        # Two corners, or four of them; the mask is the whole of it.
        x0, y0, x1, y1 = bounds(flat) or (0, 0, 0, 0)
        return OwnObject(name, (x0, y0, x1, y1), [[x0, y0, x1, y0, x1, y1, x0, y1]], where=where)
    if kind == "circle" and len(corners) == 2:
        (x, y), (end_x, end_y) = corners
        radius = math.hypot(end_x - x, end_y - y)
        turns = [2 * math.pi * i / _CORNERS_OF_A_CIRCLE for i in range(_CORNERS_OF_A_CIRCLE)]
        flat = [[v for t in turns for v in (x + radius * math.cos(t), y + radius * math.sin(t))]]
        return OwnObject(name, None, flat, where=where)
    if kind == "mask":
        box = bounds(flat)
        try:
            return OwnObject(name, box, _runs(shape.get("mask"), corners[0], listed), where=where)
        except Exception as error:  # base64 and Pillow raise nearly anything at foreign bytes
            mistakes.add(f"The {where} has a mask that can not be read ({shortened(error, 100)}).")
            return None
    return OwnObject(name, None, flat, where=where)


def _runs(content: Any, corner: tuple[float, float], listed: tuple[int, int] | None) -> Any:
    """The mask of a shape, a small PNG at a place of the picture, as runs over all of it."""
    if listed is None or listed[0] * listed[1] > MAX_PIXELS:
        raise ValueError("its picture has no listed size, or a far too large one")
    if not isinstance(content, str) or len(content) > _MOST_TEXT:
        raise ValueError(f"expected is a text of at most {_MOST_TEXT:,} characters")
    with Image.open(BytesIO(base64.b64decode(content)), formats=("PNG",)) as image:
        if image.width > listed[1] or image.height > listed[0]:
            raise ValueError("it is larger than its picture")
        mask = np.asarray(image.convert("L")) > 0
    whole = np.zeros(listed, np.uint8, order="F")
    x, y = (max(0, math.floor(value)) for value in corner)
    part = whole[y : y + mask.shape[0], x : x + mask.shape[1]]
    part[:] = mask[: part.shape[0], : part.shape[1]]
    runs = coco_mask.encode(whole)
    return {"size": list(listed), "counts": runs["counts"].decode("ascii")}
