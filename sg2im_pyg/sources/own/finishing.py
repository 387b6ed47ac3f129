"""A picture as it was read, measured and turned into arrays; this is done in worker processes."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sg2im_pyg.data.scene_table import pack_masks
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.images import measure_image
from sg2im_pyg.sources.json_stream import numbers
from sg2im_pyg.sources.masks import Segmentation
from sg2im_pyg.sources.mistakes import WrongAnnotation
from sg2im_pyg.sources.own.records import Box, OwnObject, OwnPicture, Reference
from sg2im_pyg.sources.own.values import bounds

WITHOUT_AREA = "objects left out: box without area"
TOO_SMALL = "objects left out: smaller than min_object_size"
NOT_THERE = "relationships left out: one of its objects is not there"
"""What is left out, and why."""

BOX_FOR_OUTLINE = "objects without an outline, whose box is the mask"
CUT = "boxes that reach over the picture's border, cut there"
"""What a person is told, with counts."""

_OVER = 1.0  # pixels by which boxes lie over the border for reasons of rounding


@dataclass(frozen=True)
class Finishing:
    """What is to be made of a picture.

    Attributes:
        mask_size: Side of the masks in pixels, 0 for none.
        min_object_size: Smaller objects, in parts of the picture, are left out.
    """

    mask_size: int
    min_object_size: float


@dataclass
class Finished:
    """A picture as arrays.

    Attributes:
        size: Height and width in pixels that its boxes refer to; none where it can not be read.
        names: Category of each object that is used.
        boxes: Boxes in [0, 1], shape :math:`(O, 4)`, float32.
        masks: Packed masks, shape :math:`(O, B)`, uint8.
        has_outline: Whether a mask is not all of its box.
        keys: Ids of the objects.
        attributes: Names of the objects' attributes.
        relationships: Subject and object as positions, with the predicate between them.
        left_out: Number of objects and relationships left out, by reason.
        notes: What else is to be told, with counts.
        wrong: Sentences about what is wrong.
        unreadable: Why the picture can not be read.
    """

    size: tuple[int, int] | None = None
    names: list[str] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    masks: np.ndarray | None = None
    has_outline: bool = False
    keys: list[str | None] = field(default_factory=list)
    attributes: list[list[str]] = field(default_factory=list)
    relationships: list[tuple[int, str, int]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unreadable: str = ""


def finish(options: Finishing, pictures: list[tuple[Path, OwnPicture]]) -> list[Finished]:
    """Measures some pictures and turns what was read of them into arrays."""
    return [_finish(options, path, picture) for path, picture in pictures]


def _finish(options: Finishing, path: Path, picture: OwnPicture) -> Finished:
    result = Finished()
    try:
        result.size = _size(path, picture.size)
    except Sg2ImError as error:
        result.unreadable = str(error)
        return result
    height, width = result.size
    places: dict[int, int] = {}  # of the objects read among those used
    boxes: list[tuple[float, ...]] = []
    masks: list[np.ndarray] = []
    for position, found in enumerate(picture.objects):
        try:
            box, mask, reason = _object(found, result.size, options, result.notes)
        except WrongAnnotation as wrong:
            result.wrong.append(f"The {found.where} {wrong}.")
            continue
        if reason:
            result.left_out[reason] += 1
            continue
        places[position] = len(boxes)
        boxes.append(box)
        if mask is not None:
            masks.append(mask)
        result.names.append(found.name)
        result.keys.append(found.key)
        result.attributes.append(list(found.attributes))
    if boxes:
        scaled = np.array(boxes, np.float64) / (width, height, width, height)
        result.boxes = scaled.clip(0, 1).astype(np.float32)
        if options.mask_size:
            stacked = np.stack(masks)
            result.has_outline = not stacked.all()
            result.masks = pack_masks(stacked)
    _relate(picture, places, result)
    return result


def _size(path: Path, listed: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width that the annotations refer to: as they are listed, which is the picture as
    it is stored or turned as its EXIF orientation says; where they are not listed, turned, as
    programs that annotate show it."""
    _, turned = measure_image(path, listed)
    return listed or turned


def _object(
    found: OwnObject, size: tuple[int, int], options: Finishing, notes: Counter[str]
) -> tuple[tuple[float, ...], np.ndarray | None, str]:
    """Box in pixels and mask of an object, or why it is left out."""
    height, width = size
    outline: Any = found.outline
    if isinstance(outline, list) and found.relative:
        outline = [[v * (height if i % 2 else width) for i, v in enumerate(polygon)]
                   for polygon in outline]  # fmt: skip
    box = found.box
    if box is not None and found.relative:
        box = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    if box is None:
        box = _around(outline, size)
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return box, None, WITHOUT_AREA
    if not (x0 < width and y0 < height and x1 > 0 and y1 > 0):
        shown = ", ".join(f"{value:g}" for value in box)
        raise WrongAnnotation(
            f"has the box {shown} (left, top, right, bottom), wholly outside of its picture of "
            f"{width} x {height} pixels"
        )
    if min(x0, y0) < -_OVER or x1 > width + _OVER or y1 > height + _OVER:
        notes[CUT] += 1
    box = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if (box[2] - box[0]) * (box[3] - box[1]) <= options.min_object_size * height * width:
        return box, None, TOO_SMALL
    if not options.mask_size:
        return box, None, ""
    mask = None
    if outline:
        mask = Segmentation(outline, box, width, height).small_mask(options.mask_size)
    if mask is None or not mask.any():
        notes[BOX_FOR_OUTLINE] += 1
        mask = np.ones((options.mask_size, options.mask_size), bool)
    return box, mask, ""


def _around(outline: Any, size: tuple[int, int]) -> Box:
    """The box around an outline, where an object has no other."""
    height, width = size
    polygons = [numbers(part) for part in outline] if isinstance(outline, list) else [None]
    around = None
    if None not in polygons:
        around = bounds(polygons)  # type: ignore[arg-type]
    elif outline:
        whole = (0.0, 0.0, float(width), float(height))
        mask = Segmentation(outline, whole, width, height).decode()
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            around = (float(columns[0]), float(rows[0]), columns[-1] + 1.0, rows[-1] + 1.0)
    if around is None:
        raise WrongAnnotation("has neither a box nor an outline")
    return around


def _relate(picture: OwnPicture, places: dict[int, int], result: Finished) -> None:
    """Finds the objects that relationships name: by their ids, or by a category of which there is
    one object."""
    keys: dict[Reference, int] = {}
    of_name: dict[Reference, list[int]] = {}
    for position, found in enumerate(picture.objects):
        if found.key is not None:
            keys.setdefault(found.key, position)
        of_name.setdefault(found.name, []).append(position)
    for subject, predicate, other in picture.relationships:
        ends = []
        for end in (subject, other):
            named = of_name.get(end, [])
            meant = keys.get(end, named[0] if len(named) == 1 else -1)
            ends.append(places.get(meant))
        first, second = ends
        if first is None or second is None:
            result.left_out[NOT_THERE] += 1
        else:
            result.relationships.append((first, predicate, second))
