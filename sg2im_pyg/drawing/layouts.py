"""Drawings of boxes and masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.drawing.palette import (
    INK,
    PAPER,
    category_colours,
    load_font,
    mix,
    shorten,
    text_colour,
    text_size,
)
from sg2im_pyg.nn.layout import warp_masks

_FARTHEST = 100.0  # boxes are cut here, in pictures: what lies farther out can not be seen anyway

_SMALLEST_WITH_LABELS = 48  # pixels

Rectangle = tuple[float, float, float, float]

_LABELS_AT_ANY_COST = 12  # that many labels are written even if they hide each other


def render_layout(
    categories: Tensor | Sequence[int] | np.ndarray,
    boxes: Tensor | np.ndarray | Sequence[Any],
    masks: Tensor | np.ndarray | None,
    vocabulary: Vocabulary,
    size: tuple[int, int] = (64, 64),
    scale: int = 4,
    labels: bool = True,
) -> Image.Image:
    """Renders the boxes and masks of one picture: each mask coloured by its category within its
    box, small objects in front of large ones.

    The node :obj:`"__image__"` and boxes that are not finite are left out. Boxes may lie outside
    of the picture, be empty, or be turned around (which mirrors the mask, as in
    :func:`~sg2im_pyg.nn.compose_layout`).

    Args:
        categories: Category of each object, shape :math:`(O,)`.
        boxes: Boxes :obj:`[x0, y0, x1, y1]` in units of the picture, shape :math:`(O, 4)`.
        masks: Masks in :math:`[0, 1]`, shape :math:`(O, M, M)`, or :obj:`None` to fill each box.
        vocabulary: Names of the categories.
        size: Height and width of the picture in pixels.
        scale: Pixels of the drawing for each pixel of the picture.
        labels: Whether to write the names, in a drawing of at least 48 x 48 pixels. The name of a
            box outside of the picture stands at the edge, on its side.

    Returns:
        An RGB image of :obj:`scale` times :obj:`size`.

    Raises:
        ValueError: If shapes do not fit together.
    """
    categories = torch.as_tensor(categories).detach().cpu().long()
    boxes = torch.as_tensor(boxes, dtype=torch.float32).detach().cpu().reshape(-1, 4)
    if masks is not None:
        masks = torch.as_tensor(masks).detach().cpu().float().nan_to_num(0.0)
    if len(categories) != len(boxes) or (masks is not None and len(masks) != len(boxes)):
        count = "no" if masks is None else len(masks)
        raise ValueError(
            f"categories, boxes and masks must hold the same objects, got {len(categories)} "
            f"categories, {len(boxes)} boxes and {count} masks"
        )
    height, width = size[0] * scale, size[1] * scale
    colours = category_colours(len(vocabulary.objects))

    shown = ((categories != 0) & boxes.isfinite().all(dim=1)).nonzero().view(-1).tolist()
    boxes = boxes.nan_to_num().clamp(-_FARTHEST, _FARTHEST)
    layers = {i: _visible_mask(boxes[i], masks, i, (height, width)) for i in shown}
    back_to_front = sorted(shown, key=lambda i: -float(layers[i].sum()))

    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = PAPER
    for i in back_to_front:
        alpha = layers[i][..., None]
        canvas = canvas * (1 - alpha) + np.asarray(colours[categories[i]], np.float32) * alpha
    drawing = Image.fromarray(canvas.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawing)
    rectangles = {i: _to_pixels(boxes[i], (height, width)) for i in shown}
    line = max(1, round(min(height, width) / 128))
    for i in back_to_front:
        pen.rectangle(
            _inside(rectangles[i], -2 * line, -2 * line, width + 2 * line, height + 2 * line),
            outline=mix(colours[categories[i]], INK, 0.45),
            width=line,
        )
    if labels and min(height, width) >= _SMALLEST_WITH_LABELS:
        names = {i: vocabulary.objects[categories[i]] for i in back_to_front}
        tints = {i: colours[categories[i]] for i in back_to_front}
        _write_labels(drawing, rectangles, names, tints)
    return drawing


def _visible_mask(
    box: Tensor, masks: Tensor | None, position: int, size: tuple[int, int]
) -> np.ndarray:
    """Opacity of an object's colour at each pixel, shape (H, W)."""
    mask = None if masks is None else masks[position : position + 1]
    opacity = warp_masks(box.view(1, 4), mask, size)[0]
    if mask is not None:
        # Warping blurs the edges over one mask pixel: sharpen them, but let what the model is
        # unsure of stay pale.
        opacity = ((opacity - 0.3) / 0.4).clamp(0, 1)
    x0, y0, x1, y1 = _to_pixels(box, size)
    inside = np.zeros(size, np.float32)
    # The fading rim around a mask, too, lies outside of its box.
    bounds = [max(0, min(2**15, round(edge))) for edge in (y0, y1 + 1, x0, x1 + 1)]
    inside[bounds[0] : bounds[1], bounds[2] : bounds[3]] = 0.9
    return opacity.numpy() * inside


def _to_pixels(box: Tensor, size: tuple[int, int]) -> Rectangle:
    """Corners in pixels, in order; the box 0 0 1 1 spans the outermost pixels' centres."""
    x0, y0, x1, y1 = box.tolist()
    (left, right), (top, bottom) = sorted((x0, x1)), sorted((y0, y1))
    height, width = size
    return left * (width - 1), top * (height - 1), right * (width - 1), bottom * (height - 1)


def _inside(rectangle: Rectangle, left: int, top: int, right: int, bottom: int) -> Rectangle:
    x0, y0, x1, y1 = rectangle
    return (
        min(max(x0, left), right),
        min(max(y0, top), bottom),
        min(max(x1, left), right),
        min(max(y1, top), bottom),
    )


def _write_labels(
    drawing: Image.Image,
    rectangles: dict[int, Rectangle],
    names: dict[int, str],
    tints: dict[int, tuple[int, int, int]],
) -> None:
    """Writes each name into or near its box, off the names that are there already."""
    pen, (width, height) = ImageDraw.Draw(drawing), drawing.size
    font = load_font(max(9, min(20, round(min(width, height) / 20))))
    pad = 3
    taken: list[Rectangle] = []
    # The smallest boxes have the fewest places to choose from.
    order = sorted(names, key=lambda i: _area(_inside(rectangles[i], 0, 0, width, height)))
    smaller: list[Rectangle] = []
    for i in order:
        text = shorten(names[i], font, width - 2 * pad - 2)
        text_width, text_height = text_size(text, font)
        label_size = (text_width + 2 * pad, text_height)
        box = _inside(rectangles[i], 0, 0, width - 1, height - 1)
        place = _place_label(box, label_size, (width, height), taken, smaller)
        smaller.append(box)
        if place is None:
            continue
        x, y = place
        label = (x, y, x + label_size[0], y + label_size[1])
        taken.append(label)
        ink = text_colour(tints[i])
        pen.rectangle(label, fill=tints[i], outline=ink)
        middle = (x + label_size[0] / 2, y + label_size[1] / 2)
        pen.text(middle, text, fill=ink, font=font, anchor="mm")


def _place_label(
    box: Rectangle,
    label: tuple[int, int],
    size: tuple[int, int],
    taken: list[Rectangle],
    smaller: list[Rectangle],
) -> tuple[int, int] | None:
    """Left upper corner where a label hides least of other labels and of smaller objects; among
    equals the first choice. None where the picture is so full that it would only hide others."""
    x0, y0, x1, y1 = box
    (w, h), (width, height) = label, size
    right, bottom, middle, centre = x1 - w, y1 - h, (x0 + x1 - w) / 2, (y0 + y1 - h) / 2
    inside = [(x0, y0), (middle, centre), (right, y0), (x0, bottom), (right, bottom)]
    inside += [(middle, y0), (middle, bottom), (x0, centre), (right, centre)]
    beside = [(x0, y0 - h - 1), (x0, y1 + 1), (x1 + 1, y0), (x0 - w - 1, y0), (right, y0 - h - 1)]
    # A label within a small box would hide the object.
    fits = w * h <= 0.3 * (x1 - x0) * (y1 - y0) and w <= x1 - x0
    choices = inside + beside if fits else beside + inside
    # Where it is crowded: anywhere in the box or next to it, the nearest place first.
    grid = [
        (float(x), float(y))
        for y in range(0, max(1, height - h), max(1, h // 2))
        for x in range(0, max(1, width - w), max(1, w // 4))
        if x0 - 2 * w <= x <= x1 + w and y0 - 3 * h <= y <= y1 + 2 * h
    ]
    grid.sort(key=lambda place: abs(place[0] - middle) + abs(place[1] - centre))
    best, least = (0, 0), float("inf")
    for candidates in (choices, grid):
        if least < w * h or not candidates:
            break  # smaller objects are hidden a little, but no label
        places = np.round(np.clip(candidates, 0, (width - 1 - w, height - 1 - h))).astype(int)
        labels = np.concatenate([places, places + (w, h)], axis=1)
        hidden = _overlaps(labels, smaller) / (len(smaller) + 1)
        costs = w * h * _overlaps(labels, taken) + hidden
        first = int(costs.argmin())
        if costs[first] < least:
            best, least = (int(places[first, 0]), int(places[first, 1])), float(costs[first])
    if least >= w * h and len(taken) >= _LABELS_AT_ANY_COST:
        return None
    return best


def _area(rectangle: Rectangle) -> float:
    return (rectangle[2] - rectangle[0]) * (rectangle[3] - rectangle[1])


def _overlaps(rectangles: np.ndarray, others: list[Rectangle]) -> np.ndarray:
    """Area that each rectangle has in common with all others; a shared edge counts a little."""
    if not others:
        return np.zeros(len(rectangles))
    first, second = rectangles[:, None, :], np.array(others)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(
        first[..., :2], second[..., :2]
    )
    return (sides + 1).clip(0).prod(-1).sum(1)
