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
    palette = category_colours(len(vocabulary.objects))
    shown = ((categories != 0) & boxes.isfinite().all(dim=1)).nonzero().view(-1).tolist()
    boxes = boxes.nan_to_num().clamp(-_FARTHEST, _FARTHEST)
    layers = {i: _visible_mask(boxes[i], masks, i, (height, width)) for i in shown}
    back_to_front = sorted(shown, key=lambda i: -float(layers[i].sum()))
    colours = {i: palette[categories[i]] for i in back_to_front}
    rectangles = {i: _to_pixels(boxes[i], (height, width)) for i in back_to_front}

    canvas = np.full((height, width, 3), PAPER, np.float32)
    for i in back_to_front:
        alpha = layers[i][..., None]
        canvas = canvas * (1 - alpha) + np.asarray(colours[i], np.float32) * alpha
    drawing = Image.fromarray(canvas.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawing)
    line = max(1, round(min(height, width) / 128))
    for i in back_to_front:
        edges = _within(rectangles[i], -2 * line, width + 2 * line, height + 2 * line)
        pen.rectangle(edges.tolist(), outline=mix(colours[i], INK, 0.45), width=line)
    if labels and min(height, width) >= _SMALLEST_WITH_LABELS:
        names = {i: vocabulary.objects[categories[i]] for i in back_to_front}
        _write_labels(drawing, rectangles, names, colours)
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
    inside = np.zeros(size, np.float32)
    # The fading rim around a mask, too, lies outside of its box.
    x0, y0, x1, y1 = (_to_pixels(box, size) + (0, 0, 1, 1)).round().clip(0).astype(int)
    inside[y0:y1, x0:x1] = 0.9
    return opacity.numpy() * inside


def _to_pixels(box: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Corners in pixels, in order; the box 0 0 1 1 spans the outermost pixels' centres."""
    corners = np.sort(box.double().numpy().reshape(2, 2), axis=0)
    return (corners * (size[1] - 1, size[0] - 1)).ravel()


def _within(rectangle: np.ndarray, least: float, right: float, bottom: float) -> np.ndarray:
    """A rectangle whose corners are moved within bounds; above and on the left they are equal."""
    return rectangle.clip(least, (right, bottom, right, bottom))


def _write_labels(
    drawing: Image.Image,
    rectangles: dict[int, np.ndarray],
    names: dict[int, str],
    tints: dict[int, tuple[int, int, int]],
) -> None:
    """Writes each name into or near its box, off the names that are there already."""
    pen, (width, height) = ImageDraw.Draw(drawing), drawing.size
    font = load_font(max(9, min(20, round(min(width, height) / 20))))
    pad = 3
    taken: list[np.ndarray] = []
    boxes = {i: _within(rectangles[i], 0, width, height) for i in names}
    # The smallest boxes have the fewest places to choose from.
    order = sorted(names, key=lambda i: float((boxes[i][2:] - boxes[i][:2]).prod()))
    smaller: list[np.ndarray] = []
    for i in order:
        text = shorten(names[i], font, width - 2 * pad - 2)
        text_width, text_height = text_size(text, font)
        size = (text_width + 2 * pad, text_height)
        box = _within(boxes[i], 0, width - 1, height - 1)
        place = _place_label(box.tolist(), size, (width, height), taken, smaller)
        smaller.append(box)
        if place is None:
            continue
        label = np.concatenate([place, place + size])
        taken.append(label)
        ink = text_colour(tints[i])
        pen.rectangle(label.tolist(), fill=tints[i], outline=ink)
        middle = (place[0] + size[0] / 2, place[1] + size[1] / 2)
        pen.text(middle, text, fill=ink, font=font, anchor="mm")


def _place_label(
    box: list[float],
    label: tuple[int, int],
    size: tuple[int, int],
    taken: list[np.ndarray],
    smaller: list[np.ndarray],
) -> np.ndarray | None:
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
        (x, y)
        for y in range(0, max(1, height - h), max(1, h // 2))
        for x in range(0, max(1, width - w), max(1, w // 4))
        if x0 - 2 * w <= x <= x1 + w and y0 - 3 * h <= y <= y1 + 2 * h
    ]
    grid.sort(key=lambda place: abs(place[0] - middle) + abs(place[1] - centre))
    best, least = np.zeros(2, int), float("inf")
    for candidates in (choices, grid):
        if least < w * h or not candidates:
            break  # smaller objects are hidden a little, but no label
        places = np.round(np.clip(candidates, 0, (width - 1 - w, height - 1 - h))).astype(int)
        labels = np.concatenate([places, places + (w, h)], axis=1)
        hidden = _overlaps(labels, smaller) / (len(smaller) + 1)
        costs = w * h * _overlaps(labels, taken) + hidden
        if costs.min() < least:
            best, least = places[costs.argmin()], float(costs.min())
    if least >= w * h and len(taken) >= _LABELS_AT_ANY_COST:
        return None
    return best


def _overlaps(rectangles: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """Area that each rectangle has in common with all others; a shared edge counts a little."""
    first, second = rectangles[:, None, :], np.reshape(others, (1, -1, 4))
    low = np.maximum(first[..., :2], second[..., :2])
    return (np.minimum(first[..., 2:], second[..., 2:]) - low + 1).clip(0).prod(-1).sum(1)
