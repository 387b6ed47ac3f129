"""The default data: small landscapes, drawn here, with exact boxes and masks.

A picture is painted back to front (sky, sun, mountains, grounds, things from far to near) at
several times its size, once in colour and once with the number of each object. Both are reduced
to the picture's size: the colours by averaging, the numbers by majority. Boxes and masks follow
from the numbers and therefore show exactly what can be seen of each object.
"""

import math
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.store import SceneWriter, read_settings
from sg2im_pyg.data.transforms import GEOMETRIC_PREDICATES
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError

LANDSCAPE_OBJECTS = (
    *("sky", "grass", "water", "sand", "road", "mountain"),
    *("sun", "moon", "cloud", "tree", "house", "car", "boat", "sheep", "person", "balloon"),
)
"""Names of the categories, stuff first; their indices in the vocabulary start at 1."""

MIN_OBJECTS, MAX_OBJECTS = 3, 8
"""Fewest and most objects of a picture, as for COCO in the 2018 release."""

MIN_BOX_AREA = 0.012
"""An object is dropped where the box of its visible part covers no more of the picture.

The release drops at 0.02; the things here are simple enough to be recognised at 7 x 7 pixels.
"""

DRAWING = 1
"""Number of the way to draw, part of a file's settings; raise it when pictures change."""

SPLIT_STRIDE = 10_000_000
"""Each split draws from its own range of indices, so that no size makes two of them overlap."""

Colour = tuple[int, int, int]
Point = tuple[float, float]
T = TypeVar("T")


def landscape_vocabulary() -> Vocabulary:
    """Vocabulary of the landscapes: 16 categories and the six geometric predicates."""
    return Vocabulary(LANDSCAPE_OBJECTS, GEOMETRIC_PREDICATES)


def draw_landscape(
    seed: int, index: int, image_size: tuple[int, int] = (64, 64), mask_size: int = 16
) -> Scene:
    """Draws one landscape; the same arguments give the same bytes on every platform.

    Args:
        seed: Seed of the data set, from 0 to 2**32 - 1.
        index: Number of the picture, from 0 to 2**32 - 1; it becomes :obj:`image_id`. Pictures
            do not depend on each other.
        image_size: Height and width of the picture in pixels.
        mask_size: Height and width :math:`M` of the masks; 0 for no masks.

    Returns:
        A picture of 3 to 8 objects in painting order (back to front). A mask is the visible part
        of an object, cropped to its box and set where it covers at least half of a cell.

    Raises:
        Sg2ImError: If an argument is out of its range.
    """
    for argument, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 2**32:
            raise Sg2ImError(f"The {argument} of a landscape must lie in [0, 2**32), got {value}.")
    if len(image_size) != 2 or min(image_size) < 16:
        raise Sg2ImError(
            f"image_size must be a height and a width of at least 16 pixels, got {image_size}."
        )
    if mask_size < 0:
        raise Sg2ImError(f"mask_size must be 0 (no masks) or positive, got {mask_size}.")
    image, owners, names = _paint(seed, index, image_size)
    height, width = image_size
    boxes, masks, categories = [], [], []
    for number, name in enumerate(names):
        if name is None:
            continue
        visible = owners == number
        x0, y0, x1, y1 = _tight_box(visible)
        boxes.append((x0 / width, y0 / height, x1 / width, y1 / height))
        categories.append(1 + LANDSCAPE_OBJECTS.index(name))
        if mask_size:
            masks.append(_resize_mask(visible[y0:y1, x0:x1], mask_size))
    return Scene(
        image_id=index,
        image=image,
        categories=np.array(categories, np.int64),
        boxes=np.array(boxes, np.float32),
        masks=np.stack(masks) if mask_size else None,
    )


def prepare_landscapes(
    root: Path,
    image_size: tuple[int, int] = (64, 64),
    mask_size: int = 16,
    train: int = 10_000,
    val: int = 1_000,
    test: int = 1_000,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Draws the three splits into :obj:`<root>/<H>x<W>/{train,val,test}.h5`.

    A split that is there already with the same settings is kept. Processes are started by the
    spawn method, so a script that calls this with :obj:`workers` other than 1 needs the usual
    :obj:`if __name__ == "__main__":`.

    Args:
        root: Folder of the landscapes, made where it is missing.
        image_size: Height and width of the pictures in pixels.
        mask_size: Height and width of the masks; 0 for no masks.
        train: Number of pictures to train on.
        val: Number of pictures to validate on.
        test: Number of pictures to test on.
        seed: Seed of the data; the three splits never share a picture.
        workers: Number of processes; :obj:`None` means one a usable core, and this process alone
            for few pictures. The files' content does not depend on it.
        progress: Show a bar, unless stderr is no terminal.

    Returns:
        The path of each split.

    Raises:
        Sg2ImError: If a file is there with other settings or can not be read, or if a number is
            out of its range.
    """
    folder = Path(root) / f"{image_size[0]}x{image_size[1]}"
    paths: dict[str, Path] = {}
    missing: dict[str, dict[str, Any]] = {}
    indices: dict[str, range] = {}
    for number, (split, count) in enumerate((("train", train), ("val", val), ("test", test))):
        if not 0 < count <= SPLIT_STRIDE:
            raise Sg2ImError(
                f"The number of pictures to draw for {split!r} must lie between 1 and "
                f"{SPLIT_STRIDE}, got {count}."
            )
        start = number * SPLIT_STRIDE
        settings = {
            "source": "landscapes",
            "drawing": DRAWING,
            "seed": seed,
            "first_index": start,
            "count": count,
            "mask_size": mask_size,
        }
        paths[split] = folder / f"{split}.h5"
        if not paths[split].exists():
            missing[split], indices[split] = settings, range(start, start + count)
            continue
        found = read_settings(paths[split])
        if found != settings:
            differing = sorted(
                key for key in settings.keys() | found.keys() if settings.get(key) != found.get(key)
            )
            raise Sg2ImError(
                f"{paths[split]} holds other data than asked for ("
                + ", ".join(f"{k}: {found.get(k)!r}, not {settings.get(k)!r}" for k in differing)
                + "); delete it, choose another root, or ask for the settings of the file."
            )
    total = sum(len(indices[split]) for split in missing)
    if workers is None:
        # Starting processes takes seconds; drawing 500 pictures takes about two.
        workers = _usable_cores() if total > 500 else 1
    if workers < 1:
        raise Sg2ImError(f"The number of workers must be at least 1, got {workers}.")
    hidden = not (progress and sys.stderr.isatty())
    with tqdm(total=total, unit="picture", disable=hidden or not total) as bar:
        scenes = _draw_in_order(seed, list(indices.values()), image_size, mask_size, workers)
        for split in missing:
            bar.set_description(f"Drawing landscapes ({split})")
            with SceneWriter(
                paths[split], landscape_vocabulary(), image_size, mask_size, missing[split]
            ) as writer:
                for _ in indices[split]:
                    writer.add(next(scenes))
                    bar.update()
    return paths


# Drawing in several processes ------------------------------------------------------------------


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux; knows of limits set by schedulers
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _draw_range(
    seed: int, indices: range, image_size: tuple[int, int], mask_size: int
) -> list[Scene]:
    return [draw_landscape(seed, index, image_size, mask_size) for index in indices]


def _draw_in_order(
    seed: int,
    ranges: list[range],
    image_size: tuple[int, int],
    mask_size: int,
    workers: int,
) -> Iterator[Scene]:
    """The pictures of all ranges, one after the other, whichever process drew them."""
    chunks = [numbers[i : i + 50] for numbers in ranges for i in range(0, len(numbers), 50)]
    if min(workers, len(chunks)) <= 1:
        for chunk in chunks:
            yield from _draw_range(seed, chunk, image_size, mask_size)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context) as pool:
        # Few chunks are under way at once, so that a slow disk does not fill the memory.
        pending: deque[Future[list[Scene]]] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(_draw_range, seed, chunk, image_size, mask_size))
                if len(pending) > 3 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        except BrokenProcessPool as error:
            raise Sg2ImError(
                "The processes that draw landscapes ended unexpectedly; put the calling script's "
                "code below 'if __name__ == \"__main__\":', or draw with workers=1."
            ) from error
        finally:
            for future in pending:
                future.cancel()


# Boxes and masks -------------------------------------------------------------------------------


def _tight_box(visible: np.ndarray) -> tuple[int, int, int, int]:
    """First and one past the last column and row that hold a visible pixel."""
    columns, rows = np.flatnonzero(visible.any(0)), np.flatnonzero(visible.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@lru_cache(maxsize=1024)
def _overlaps(pixels: int, cells: int) -> np.ndarray:
    """Overlap of each cell with each pixel of a row, in units of a pixel / cells (integers)."""
    cell, pixel = np.arange(cells)[:, None], np.arange(pixels)[None, :]
    end = np.minimum((cell + 1) * pixels, (pixel + 1) * cells)
    return np.maximum(end - np.maximum(cell * pixels, pixel * cells), 0).astype(np.float64)


def _resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Cells of a size x size grid of which at least half the area is covered, shape (M, M)."""
    height, width = mask.shape
    area = _overlaps(height, size) @ mask.astype(np.float64) @ _overlaps(width, size).T
    # Sums of integers below 2**53: exact, whatever the order of the additions.
    return 2 * area >= height * width


# The picture -----------------------------------------------------------------------------------


def _paint(
    seed: int, index: int, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    """Paints one picture.

    Returns:
        The picture (H, W, 3); the number of the object that owns each pixel (H, W); the name of
        each object, :obj:`None` where it is too small to be kept.
    """
    # A named bit generator and its raw uniform numbers alone: their stream is fixed, and their
    # scaling below is plain Python arithmetic, so nothing depends on numpy's version or the CPU.
    dice = _Dice(np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index]))))
    while True:
        canvas = _Canvas(image_size)
        _Landscape(canvas, dice).paint()
        image, owners = canvas.reduce()
        names: list[str | None] = list(canvas.names)
        for number in range(len(names)):
            visible = owners == number
            if visible.any():
                x0, y0, x1, y1 = _tight_box(visible)
                if (x1 - x0) * (y1 - y0) > MIN_BOX_AREA * owners.size:
                    continue
            names[number] = None
        if MIN_OBJECTS <= len(names) - names.count(None) <= MAX_OBJECTS:
            return image, owners, names


class _Dice:
    """Random choices from one stream of uniform numbers."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.ahead: list[float] = []

    def random(self) -> float:
        if not self.ahead:  # one call for many numbers is much faster than many calls
            self.ahead = self.generator.random(512).tolist()[::-1]
        return self.ahead.pop()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def choose(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        weights = weights or [1.0] * len(options)
        left = self.random() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            left -= weight
            if left < 0:
                return option
        return options[-1]

    def colour(self, options: Sequence[Colour], spread: float = 14) -> Colour:
        """One of the colours, made a little lighter or darker and shifted in hue."""
        red, green, blue = self.choose(options)
        light = self.between(-spread, spread)
        shift = [self.between(-spread, spread) / 2 + light for _ in range(3)]
        return _clip((red + shift[0], green + shift[1], blue + shift[2]))


def _clip(colour: Sequence[float]) -> Colour:
    red, green, blue = (min(255, max(0, math.floor(value + 0.5))) for value in colour)
    return red, green, blue


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    """The first colour with a share of the second."""
    return _clip([a + (b - a) * share for a, b in zip(first, second, strict=True)])


WHITE, BLACK = (255, 255, 255), (0, 0, 0)
DAYLIGHT = (1.0, 1.0, 1.0)


class _Canvas:
    """A picture at several times its size, and which object owns each point of it."""

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.image_size = image_size
        # 16 samples a pixel; 4 for large pictures, whose edges are fine anyway.
        self.scale = 4 if image_size[0] * image_size[1] <= 128 * 128 else 2
        self.height, self.width = image_size[0] * self.scale, image_size[1] * self.scale
        self.unit = math.sqrt(self.height * self.width)
        """Length that sizes of things refer to, so that they fit pictures of any shape."""
        self.colours = Image.new("RGB", (self.width, self.height))
        self.owners = Image.new("L", (self.width, self.height))
        # Drawing "RGBA" into an RGB image blends, which gives light and shadow.
        self.blend = ImageDraw.Draw(self.colours, "RGBA")
        self.draw = ImageDraw.Draw(self.colours)
        self.draw_owners = ImageDraw.Draw(self.owners)
        self.points: Any = self.owners.load()
        self.names: list[str] = []
        self.tint = DAYLIGHT

    def begin(self, name: str) -> int:
        """What is drawn from here on belongs to a new object; returns its number."""
        self.names.append(name)
        return len(self.names) - 1

    def owner(self, x: float, y: float) -> str | None:
        """Category of the object at a point, :obj:`None` outside the picture."""
        column, row = math.floor(x), math.floor(y)
        if not (0 <= column < self.width and 0 <= row < self.height):
            return None
        return self.names[self.points[column, row]]

    def fill(self, colour: Colour, alpha: float = 1, glows: bool = False) -> tuple[int, ...]:
        """The colour in the light of the scene; what glows is not darkened by the night."""
        if not glows and self.tint is not DAYLIGHT:
            colour = _clip([c * t for c, t in zip(colour, self.tint, strict=True)])
        return colour if alpha == 1 else (*colour, math.floor(255 * alpha + 0.5))

    def polygon(self, points: Sequence[Point], fill: tuple[int, ...], owned: bool = True) -> None:
        """Fills a polygon; not owned is what only changes the light on things behind."""
        corners = [(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in points]
        (self.draw if len(fill) == 3 else self.blend).polygon(corners, fill)
        if owned:
            self.draw_owners.polygon(corners, len(self.names) - 1)

    def ellipse(
        self, x0: float, y0: float, x1: float, y1: float, fill: tuple[int, ...], owned: bool = True
    ) -> None:
        left, right = sorted((math.floor(x0 + 0.5), math.floor(x1 + 0.5)))
        top, bottom = sorted((math.floor(y0 + 0.5), math.floor(y1 + 0.5)))
        (self.draw if len(fill) == 3 else self.blend).ellipse((left, top, right, bottom), fill)
        if owned:
            self.draw_owners.ellipse((left, top, right, bottom), len(self.names) - 1)

    def line(
        self, points: Sequence[Point], fill: tuple[int, ...], width: float, owned: bool = True
    ) -> None:
        corners = [(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in points]
        thickness = max(1, math.floor(width + 0.5))
        (self.draw if len(fill) == 3 else self.blend).line(corners, fill, thickness)
        if owned:
            self.draw_owners.line(corners, len(self.names) - 1, thickness)

    def gradient(
        self, points: Sequence[Point], top: tuple[int, ...], bottom: tuple[int, ...]
    ) -> None:
        """Fills a polygon with a colour that changes from its top to its bottom."""
        corners = [(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in points]
        low = max(0, min(y for _, y in corners))
        high = min(self.height, max(y for _, y in corners) + 1)
        steps = np.arange(high - low)[:, None] / max(1, high - low - 1)
        colours = np.array(top[:3]) + (np.array(bottom[:3]) - np.array(top[:3])) * steps
        column = Image.fromarray(np.floor(colours + 0.5).astype(np.uint8)[:, None])
        strip = column.resize((self.width, high - low), Image.Resampling.NEAREST)
        inside = Image.new("1", (self.width, self.height))
        ImageDraw.Draw(inside).polygon(corners, 1)
        self.colours.paste(strip, (0, low), inside.crop((0, low, self.width, high)))
        self.draw_owners.polygon(corners, len(self.names) - 1)

    def reduce(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture (H, W, 3) and the owner of most of each pixel (H, W)."""
        image = np.array(self.colours.reduce(self.scale))
        count = len(self.names)
        height, width = self.image_size
        samples = np.asarray(self.owners) + _pixel_of_sample(self.image_size, self.scale) * count
        votes = np.bincount(samples.ravel(), minlength=height * width * count)
        return image, votes.reshape(height, width, count).argmax(2)


@lru_cache(maxsize=4)
def _pixel_of_sample(image_size: tuple[int, int], scale: int) -> np.ndarray:
    """Number of the pixel that each point of a canvas falls into."""
    pixels = np.arange(image_size[0] * image_size[1]).reshape(image_size)
    return pixels.repeat(scale, 0).repeat(scale, 1)


class _Pen:
    """Draws one thing in coordinates of its box: (0, 0) top left, (1, 1) bottom right."""

    def __init__(self, canvas: _Canvas, x: float, base: float, width: float, height: float) -> None:
        self.canvas, self.x, self.y = canvas, x - width / 2, base - height
        self.width, self.height = width, height
        self.mirrored = False

    def at(self, u: float, v: float) -> Point:
        u = 1 - u if self.mirrored else u
        return self.x + u * self.width, self.y + v * self.height

    def polygon(
        self, points: Sequence[Point], colour: Colour, alpha: float = 1, glows: bool = False
    ) -> None:
        fill = self.canvas.fill(colour, alpha, glows)
        self.canvas.polygon([self.at(u, v) for u, v in points], fill)

    def rectangle(
        self,
        u0: float,
        v0: float,
        u1: float,
        v1: float,
        colour: Colour,
        alpha: float = 1,
        glows: bool = False,
    ) -> None:
        self.polygon([(u0, v0), (u1, v0), (u1, v1), (u0, v1)], colour, alpha, glows)

    def ellipse(
        self,
        u0: float,
        v0: float,
        u1: float,
        v1: float,
        colour: Colour,
        alpha: float = 1,
        glows: bool = False,
    ) -> None:
        fill = self.canvas.fill(colour, alpha, glows)
        self.canvas.ellipse(*self.at(u0, v0), *self.at(u1, v1), fill)

    def disk(self, u: float, v: float, radius: float, colour: Colour, alpha: float = 1) -> None:
        """A circle, its radius in box heights whatever the shape of the box."""
        x, y = self.at(u, v)
        r = radius * self.height
        self.canvas.ellipse(x - r, y - r, x + r, y + r, self.canvas.fill(colour, alpha))

    def line(self, points: Sequence[Point], colour: Colour, thickness: float) -> None:
        """A line, its thickness in box heights."""
        corners = [self.at(u, v) for u, v in points]
        self.canvas.line(corners, self.canvas.fill(colour), thickness * self.height)

    def shadow(self, u0: float, u1: float, depth: float = 0.06, alpha: float = 0.25) -> None:
        """Darkens the ground below the thing; the ground keeps its points."""
        (x0, y0), (x1, _) = self.at(u0, 1), self.at(u1, 1)
        d = depth * self.height
        self.canvas.ellipse(x0, y0 - d, x1, y0 + d, (0, 0, 0, math.floor(255 * alpha)), owned=False)


# Things ----------------------------------------------------------------------------------------


def _draw_cloud(pen: _Pen, dice: _Dice) -> None:
    colour = dice.colour([(250, 250, 252), (236, 240, 246), (222, 228, 238)], 6)
    shade = _mix(colour, (120, 135, 165), 0.35)
    tops = [(0.0, 0.45, 0.4), (0.22, dice.between(0.05, 0.2), 0.62), (0.5, 0.12, 0.86)]
    tops += [(0.68, dice.between(0.35, 0.5), 1.0)]
    for drop, paint in ((0.0, shade), (-0.13, colour)):
        for left, top, right in tops:
            pen.ellipse(left, top + (0 if drop == 0 else 0.0), right, 1 + drop, paint)
        if drop == 0:
            pen.rectangle(0.2, 0.7, 0.82, 1.0, paint)
        else:
            pen.rectangle(0.2, 0.6, 0.82, 1.0 + drop, paint)


def _draw_sun(pen: _Pen, dice: _Dice) -> None:
    colour = dice.colour([(255, 226, 80), (255, 206, 60), (255, 238, 130)], 8)
    pen.ellipse(0, 0, 1, 1, colour, glows=True)
    pen.ellipse(0.14, 0.14, 0.86, 0.86, _mix(colour, WHITE, 0.45), glows=True)


def _draw_moon(pen: _Pen, dice: _Dice) -> None:
    colour = dice.colour([(245, 242, 215), (225, 230, 240), (250, 232, 180)], 8)
    pen.mirrored = dice.chance(0.5)
    if dice.chance(0.3):
        pen.ellipse(0, 0, 1, 1, colour, glows=True)
        for u, v, r in ((0.3, 0.3, 0.12), (0.6, 0.55, 0.16), (0.38, 0.7, 0.09)):
            pen.ellipse(u - r, v - r, u + r, v + r, _mix(colour, (120, 120, 130), 0.3), glows=True)
        return
    # A crescent: a half circle outside, a flatter one inside (points of two circles).
    outer = [(0.5 - 0.5 * c, 0.5 + 0.5 * s) for s, c in _HALF_CIRCLE]
    inner = [(0.5 - 0.17 * c, 0.5 + 0.5 * s) for s, c in reversed(_HALF_CIRCLE)]
    pen.polygon([(u + 0.18, v) for u, v in outer + inner], colour, glows=True)


# (sin, cos) of -90, -75, ..., 90 degrees, rounded: no call whose last digit a platform decides.
_QUARTER = [(0.2588, 0.9659), (0.5, 0.866), (0.7071, 0.7071), (0.866, 0.5), (0.9659, 0.2588)]
_HALF_CIRCLE = [
    (-1.0, 0.0),
    *[(-s, c) for s, c in reversed(_QUARTER)],
    (0.0, 1.0),
    *_QUARTER,
    (1.0, 0.0),
]

_BRIGHT = [
    *[(214, 58, 52), (240, 140, 40), (245, 200, 55), (60, 140, 205), (95, 175, 90)],
    *[(150, 85, 175), (235, 110, 150), (40, 165, 165)],
]


def _draw_balloon(pen: _Pen, dice: _Dice) -> None:
    colour = dice.colour(_BRIGHT)
    other = dice.colour([(250, 245, 235), *_BRIGHT])
    for u in (0.26, 0.5, 0.74):
        pen.line([(u, 0.6), (0.5 + (u - 0.5) * 0.5, 0.88)], (90, 70, 55), 0.018)
    pen.polygon([(0.05, 0.48), (0.95, 0.48), (0.62, 0.8), (0.38, 0.8)], colour)
    pen.polygon([(0.28, 0.5), (0.72, 0.5), (0.57, 0.8), (0.43, 0.8)], other)
    pen.polygon([(0.41, 0.5), (0.59, 0.5), (0.53, 0.8), (0.47, 0.8)], colour)
    for share, paint in ((1.0, colour), (0.64, other), (0.26, colour)):
        pen.ellipse(0.5 - share / 2, 0, 0.5 + share / 2, 0.72, paint)
    pen.ellipse(0.12, 0.07, 0.42, 0.4, WHITE, 0.22)
    pen.rectangle(0.37, 0.87, 0.63, 1.0, (140, 92, 50))
    pen.rectangle(0.37, 0.87, 0.63, 0.9, (95, 60, 35))


def _draw_tree(pen: _Pen, dice: _Dice) -> None:
    pen.shadow(0.05, 0.95)
    trunk = dice.colour([(112, 76, 48), (94, 66, 46), (128, 96, 64)])
    pen.mirrored = dice.chance(0.5)
    if dice.chance(0.4):
        leaves = dice.colour([(36, 94, 62), (44, 110, 58), (28, 80, 70)])
        pen.rectangle(0.43, 0.8, 0.57, 1.0, trunk)
        for top, bottom, half in ((0.42, 0.88, 0.5), (0.2, 0.64, 0.39), (0.0, 0.42, 0.27)):
            pen.polygon([(0.5, top), (0.5 + half, bottom), (0.5 - half, bottom)], leaves)
            pen.polygon([(0.5, top), (0.5 + half, bottom), (0.56, bottom)], BLACK, 0.16)
        return
    leaves = dice.colour(
        [
            (62, 140, 58),
            (88, 155, 52),
            (52, 122, 70),
            (196, 132, 44),
            (206, 96, 48),
            (225, 150, 175),
        ],
        16,
    )
    pen.polygon([(0.44, 0.55), (0.56, 0.55), (0.6, 1.0), (0.4, 1.0)], trunk)
    dark = _mix(leaves, (10, 40, 40), 0.28)
    for u0, v0, u1, v1 in ((0.0, 0.22, 0.6, 0.68), (0.4, 0.22, 1.0, 0.7), (0.16, 0.0, 0.84, 0.5)):
        pen.ellipse(u0, v0, u1, v1, dark)
    pen.ellipse(0.2, 0.3, 0.8, 0.74, dark)
    for u0, v0, u1, v1 in (
        (0.02, 0.22, 0.52, 0.58),
        (0.36, 0.26, 0.86, 0.6),
        (0.17, 0.0, 0.72, 0.44),
    ):
        pen.ellipse(u0, v0, u1, v1, leaves)
    pen.ellipse(0.22, 0.05, 0.52, 0.26, _mix(leaves, (255, 255, 180), 0.35))


def _draw_house(pen: _Pen, dice: _Dice) -> None:
    pen.shadow(-0.04, 1.04, 0.05)
    pen.mirrored = dice.chance(0.5)
    wall = dice.colour(
        [(238, 224, 196), (244, 240, 232), (226, 180, 140), (196, 214, 224), (232, 200, 120)]
    )
    roof = dice.colour([(176, 62, 48), (120, 70, 56), (78, 88, 108), (196, 100, 54), (70, 110, 96)])
    door = dice.colour([(110, 66, 42), (52, 92, 122), (60, 104, 70), (150, 48, 44)])
    lit = pen.canvas.tint[0] < 0.6 or dice.chance(0.1)
    glass = (255, 222, 120) if lit else dice.colour([(120, 170, 205), (92, 140, 180)])
    pen.rectangle(0.68, 0.06, 0.8, 0.4, _mix(roof, (90, 60, 55), 0.6))
    pen.rectangle(0.08, 0.4, 0.92, 1.0, wall)
    pen.rectangle(0.62, 0.4, 0.92, 1.0, BLACK, 0.1)
    eaves = dice.choose([0.0, 0.24])
    pen.polygon([(0.5 - eaves, 0.02), (0.5 + eaves, 0.02), (1.0, 0.44), (0.0, 0.44)], roof)
    pen.polygon([(0.0, 0.4), (1.0, 0.4), (1.0, 0.44), (0.0, 0.44)], BLACK, 0.25)
    pen.rectangle(0.4, 0.62, 0.6, 1.0, door)
    for left in (0.15, 0.67):
        pen.rectangle(left - 0.02, 0.54, left + 0.2, 0.8, _mix(wall, WHITE, 0.6))
        pen.rectangle(left, 0.56, left + 0.18, 0.78, glass, glows=lit)
        pen.rectangle(left + 0.075, 0.56, left + 0.105, 0.78, _mix(wall, WHITE, 0.6))


def _draw_car(pen: _Pen, dice: _Dice) -> None:
    pen.shadow(-0.02, 1.02, 0.1, 0.3)
    pen.mirrored = dice.chance(0.5)
    colour = dice.colour([*_BRIGHT, (235, 235, 235), (60, 66, 80)])
    dark = _mix(colour, BLACK, 0.3)
    if pen.width < 1.3 * pen.height:  # seen from behind
        for left in (0.06, 0.74):
            pen.rectangle(left, 0.7, left + 0.2, 1.0, (32, 32, 36))
        pen.polygon([(0.2, 0.0), (0.8, 0.0), (0.92, 0.44), (0.08, 0.44)], colour)
        pen.polygon([(0.26, 0.08), (0.74, 0.08), (0.82, 0.4), (0.18, 0.4)], (150, 190, 215))
        pen.rectangle(0.0, 0.42, 1.0, 0.86, colour)
        pen.rectangle(0.0, 0.72, 1.0, 0.86, dark)
        for left in (0.03, 0.8):
            pen.rectangle(left, 0.5, left + 0.17, 0.66, (235, 40, 36), glows=True)
        pen.rectangle(0.36, 0.54, 0.64, 0.68, (240, 240, 235))
        return
    pen.polygon([(0.2, 0.46), (0.32, 0.0), (0.66, 0.0), (0.84, 0.46)], colour)
    pen.polygon([(0.27, 0.44), (0.36, 0.1), (0.48, 0.1), (0.48, 0.44)], (165, 205, 225))
    pen.polygon([(0.53, 0.44), (0.53, 0.1), (0.63, 0.1), (0.75, 0.44)], (165, 205, 225))
    pen.polygon([(0.02, 0.42), (0.9, 0.42), (1.0, 0.56), (1.0, 0.82), (0.0, 0.82)], colour)
    pen.rectangle(0.0, 0.7, 1.0, 0.82, dark)
    pen.rectangle(0.93, 0.54, 1.0, 0.66, (255, 240, 170), glows=True)
    pen.rectangle(0.0, 0.5, 0.05, 0.64, (225, 40, 36), glows=True)
    for u in (0.23, 0.77):
        pen.disk(u, 0.78, 0.22, (30, 30, 34))
        pen.disk(u, 0.78, 0.1, (190, 190, 195))


def _draw_boat(pen: _Pen, dice: _Dice) -> None:
    pen.shadow(0.0, 1.0, 0.05, 0.22)
    pen.mirrored = dice.chance(0.5)
    hull = dice.colour([(150, 62, 44), (245, 245, 240), (44, 70, 120), (120, 76, 44), (40, 44, 52)])
    sail = dice.colour([(252, 250, 242), (252, 250, 242), *_BRIGHT])
    pen.rectangle(0.45, 0.0, 0.49, 0.8, (96, 70, 48))
    pen.polygon([(0.51, 0.03), (0.96, 0.7), (0.51, 0.7)], sail)
    pen.polygon([(0.51, 0.4), (0.76, 0.4), (0.96, 0.7), (0.51, 0.7)], BLACK, 0.08)
    pen.polygon([(0.43, 0.12), (0.43, 0.7), (0.08, 0.7)], _mix(sail, (200, 205, 215), 0.35))
    pen.polygon([(0.0, 0.75), (1.0, 0.75), (0.86, 1.0), (0.14, 1.0)], hull)
    pen.polygon([(0.0, 0.75), (1.0, 0.75), (0.97, 0.81), (0.03, 0.81)], _mix(hull, WHITE, 0.4))


def _draw_sheep(pen: _Pen, dice: _Dice) -> None:
    pen.shadow(0.0, 0.9, 0.08)
    pen.mirrored = dice.chance(0.5)
    wool = dice.colour([(246, 244, 236), (236, 228, 210), (252, 250, 248)], 6)
    skin = dice.colour([(48, 44, 46), (66, 54, 50), (36, 36, 40)], 6)
    shade = _mix(wool, (110, 110, 130), 0.3)
    for u in (0.16, 0.29, 0.52, 0.64):
        pen.rectangle(u, 0.7, u + 0.075, 1.0, skin)
    lumps = ((0.0, 0.22), (0.14, 0.06), (0.32, 0.02), (0.48, 0.12))
    for u, v in lumps:
        pen.ellipse(u, v + 0.12, u + 0.34, v + 0.74, shade)
    for u, v in lumps:
        pen.ellipse(u + 0.01, v, u + 0.33, v + 0.58, wool)
    pen.ellipse(0.1, 0.2, 0.76, 0.72, wool)
    head = dice.between(0.0, 0.16)
    pen.ellipse(0.7, 0.16 + head, 1.0, 0.56 + head, skin)
    pen.ellipse(0.64, 0.2 + head, 0.76, 0.34 + head, skin)
    pen.ellipse(0.68, 0.04 + head, 0.88, 0.3 + head, wool)
    pen.ellipse(0.86, 0.27 + head, 0.92, 0.35 + head, WHITE)


def _draw_person(pen: _Pen, dice: _Dice) -> None:
    pen.shadow(0.0, 1.0, 0.03)
    pen.mirrored = dice.chance(0.5)
    skin = dice.colour([(240, 200, 168), (206, 152, 112), (142, 96, 68), (98, 66, 48)], 8)
    hair = dice.colour([(40, 30, 26), (96, 62, 36), (206, 168, 92), (150, 70, 36)], 8)
    shirt = dice.colour([*_BRIGHT, (245, 245, 245)])
    trousers = dice.colour([(48, 66, 110), (60, 60, 66), (126, 100, 72), (90, 40, 60)])
    waving = dice.chance(0.35)
    if dice.chance(0.35):  # a dress
        pen.rectangle(0.36, 0.7, 0.47, 0.98, skin)
        pen.rectangle(0.54, 0.7, 0.65, 0.98, skin)
        pen.polygon([(0.36, 0.29), (0.64, 0.29), (0.86, 0.78), (0.14, 0.78)], shirt)
    else:
        pen.polygon(
            [
                (0.27, 0.56),
                (0.73, 0.56),
                (0.8, 0.97),
                (0.58, 0.97),
                (0.5, 0.68),
                (0.42, 0.97),
                (0.2, 0.97),
            ],
            trousers,
        )
        pen.polygon([(0.24, 0.29), (0.76, 0.29), (0.74, 0.6), (0.26, 0.6)], shirt)
    for u in (0.18, 0.58):
        pen.rectangle(u, 0.95, u + 0.24, 1.0, (40, 34, 34))
    sleeve = _mix(shirt, BLACK, 0.18)
    pen.polygon([(0.24, 0.29), (0.34, 0.34), (0.17, 0.58), (0.03, 0.56)], sleeve)
    pen.ellipse(0.0, 0.54, 0.17, 0.62, skin)
    if waving:
        pen.polygon([(0.68, 0.36), (0.78, 0.29), (1.0, 0.12), (0.88, 0.08)], sleeve)
        pen.ellipse(0.84, 0.03, 1.0, 0.11, skin)
    else:
        pen.polygon([(0.76, 0.29), (0.66, 0.34), (0.83, 0.58), (0.97, 0.56)], sleeve)
        pen.ellipse(0.83, 0.54, 1.0, 0.62, skin)
    pen.disk(0.5, 0.14, 0.14, hair)
    pen.disk(0.5, 0.165, 0.115, skin)


@dataclass(frozen=True)
class _Kind:
    """How a kind of thing is drawn and where it belongs.

    Args:
        draw: Draws it within the box of a pen.
        height: Smallest and largest height when near, in units of the canvas.
        width: Smallest and largest width, in heights.
        grounds: What it stands on; empty for things in the sky.
        weight: How often it is chosen.
        most: Largest number in a picture.
    """

    draw: Callable[[_Pen, _Dice], None]
    height: tuple[float, float]
    width: tuple[float, float]
    grounds: tuple[str, ...]
    weight: float
    most: int


_KINDS = {
    "sun": _Kind(_draw_sun, (0.13, 0.24), (1.0, 1.0), (), 1.2, 1),
    "moon": _Kind(_draw_moon, (0.15, 0.25), (1.0, 1.0), (), 1.2, 1),
    "cloud": _Kind(_draw_cloud, (0.11, 0.2), (1.8, 2.5), (), 1.3, 3),
    "balloon": _Kind(_draw_balloon, (0.24, 0.44), (0.66, 0.76), (), 0.9, 2),
    "tree": _Kind(_draw_tree, (0.36, 0.62), (0.55, 0.75), ("grass",), 1.3, 3),
    "house": _Kind(_draw_house, (0.34, 0.5), (0.95, 1.3), ("grass", "sand"), 1.2, 2),
    "car": _Kind(_draw_car, (0.15, 0.21), (1.9, 2.2), ("road",), 3.0, 2),
    "boat": _Kind(_draw_boat, (0.26, 0.46), (0.8, 1.0), ("water",), 2.2, 3),
    "sheep": _Kind(_draw_sheep, (0.18, 0.28), (1.25, 1.45), ("grass",), 1.3, 3),
    "person": _Kind(_draw_person, (0.28, 0.48), (0.36, 0.42), ("grass", "sand", "road"), 1.2, 3),
}
_SKY_KINDS = ("sun", "moon", "cloud", "balloon")


class _Landscape:
    """Chooses what a picture shows and where, and paints it back to front."""

    def __init__(self, canvas: _Canvas, dice: _Dice) -> None:
        self.canvas, self.dice = canvas, dice
        self.light = dice.choose(["day", "dusk", "night"], [0.6, 0.2, 0.2])
        self.horizon = canvas.height * dice.between(0.25, 0.75)
        self.depth = canvas.height - self.horizon
        self.taken: list[tuple[float, float, float, float]] = []

    def paint(self) -> None:
        dice = self.dice
        wanted = dice.choose([3, 4, 5, 6, 7, 8], [1, 1.5, 2, 2, 1.6, 1.2])
        grounds = self.choose_grounds()
        mountains = dice.choose([0, 1, 2], [0.6, 0.28, 0.12])
        mountains = max(0, min(mountains, wanted - 2 - len(grounds)))
        left = max(1, wanted - 1 - len(grounds) - mountains)
        names = self.choose_things(left, grounds)
        in_sky = [name for name in names if name in _SKY_KINDS]
        on_ground = [name for name in names if name not in _SKY_KINDS]

        self.paint_sky("sun" in in_sky)
        # Behind mountains stand the sun and the moon, before them hang clouds and balloons.
        order = sorted(in_sky, key=_SKY_KINDS.index)
        for name in [name for name in order if name in ("sun", "moon")]:
            self.paint_sky_thing(name)
        self.paint_mountains(mountains)
        for name in [name for name in order if name not in ("sun", "moon")]:
            self.paint_sky_thing(name)
        self.paint_grounds(grounds)
        self.paint_ground_things(on_ground)

    # What is in the picture

    def choose_grounds(self) -> list[str]:
        """One or two grounds, and perhaps a road; sets how they lie."""
        dice = self.dice
        roomy = self.depth > 0.36 * self.canvas.height
        self.split = dice.choose(["one", "behind", "beside"], [0.4, 0.3 if roomy else 0, 0.3])
        first = dice.choose(["grass", "water", "sand"], [1.4, 1, 0.8])
        grounds = [first]
        if self.split != "one":
            others = [name for name in ("grass", "water", "sand") if name != first]
            grounds.append(dice.choose(others))
        self.road = "none"
        if grounds[-1] != "water" and self.split != "beside" and roomy:
            away = 0.25 if "water" not in grounds else 0
            self.road = dice.choose(["none", "across", "away"], [0.45, 0.35, away])
        return grounds + (["road"] if self.road != "none" else [])

    def choose_things(self, number: int, grounds: list[str]) -> list[str]:
        dice = self.dice
        names: list[str] = []
        absent = {"day": "moon", "night": "sun", "dusk": ""}[self.light]
        for _ in range(number):
            in_sky = dice.chance(0.38)
            options, weights = [], []
            for name, kind in _KINDS.items():
                lights = [n for n in names if n in ("sun", "moon")]
                if name == absent or (lights and name in ("sun", "moon")):
                    continue
                if self.light == "night" and name == "balloon":
                    continue
                if names.count(name) >= kind.most or (name in _SKY_KINDS) != in_sky:
                    continue
                if not in_sky and not set(kind.grounds) & set(grounds):
                    continue
                options.append(name)
                # Flocks, woods and fleets: a second of a kind is likelier than a first.
                weights.append(kind.weight * (1.6 if name in names and not in_sky else 1))
            if options:
                names.append(dice.choose(options, weights))
        return names

    # Sky

    def paint_sky(self, sunny: bool) -> None:
        canvas, dice = self.canvas, self.dice
        if self.light == "day":
            top = dice.colour([(72, 146, 226), (104, 176, 240), (90, 150, 200)])
            low = dice.colour([(206, 232, 250), (232, 240, 244), (186, 222, 246)], 8)
        elif self.light == "dusk":
            top = dice.colour([(84, 70, 140), (60, 90, 150), (140, 84, 130)])
            low = dice.colour([(255, 170, 96), (252, 140, 110), (255, 196, 130)], 8)
            canvas.tint = (0.9, 0.76, 0.76)
        else:
            top = dice.colour([(10, 14, 42), (16, 22, 60), (22, 16, 50)], 6)
            low = dice.colour([(44, 58, 112), (58, 54, 104), (36, 70, 110)], 8)
            canvas.tint = (0.46, 0.5, 0.68)
        self.sky_low = low
        canvas.begin("sky")
        w, h = canvas.width, canvas.height
        edge = min(h, self.horizon * 1.1)
        canvas.polygon([(0, 0), (w, 0), (w, h), (0, h)], (*low, 255))
        canvas.gradient([(0, 0), (w, 0), (w, edge), (0, edge)], top, low)
        if self.light == "night":
            for _ in range(14):
                x, y = dice.between(0, w), dice.between(0, self.horizon)
                size, alpha = dice.between(0.006, 0.016) * canvas.unit, dice.between(0.4, 0.95)
                star = (255, 255, 235, math.floor(255 * alpha))
                canvas.ellipse(x, y, x + size, y + size, star, owned=False)

    def paint_sky_thing(self, name: str) -> None:
        canvas, dice, kind = self.canvas, self.dice, _KINDS[name]
        for _ in range(12):
            height = dice.between(*kind.height) * canvas.unit
            height = max(0.11 * canvas.unit, min(height, 0.8 * self.horizon))
            width = min(height * dice.between(*kind.width), 0.8 * canvas.width)
            x = dice.between(width / 2, canvas.width - width / 2)
            base = dice.between(height, max(height, self.horizon))
            if name == "sun" and self.light == "dusk":
                base = dice.between(0.6, 1.0) * (self.horizon + 0.4 * height)  # it may be setting
            if self.take(x, base, width, height):
                break
        else:
            return
        pen = _Pen(canvas, x, base, width, height)
        if name in ("sun", "moon"):
            strength = 0.055 if name == "sun" else 0.03
            glow = (255, 236, 170) if name == "sun" else (220, 228, 255)
            for step in range(7):
                r = height * (1.5 - 0.15 * step)
                y = base - height / 2
                fill = canvas.fill(glow, strength, glows=True)
                canvas.ellipse(x - r, y - r, x + r, y + r, fill, owned=False)
        canvas.begin(name)
        kind.draw(pen, dice)

    def paint_mountains(self, number: int) -> None:
        canvas, dice = self.canvas, self.dice
        w, foot = canvas.width, self.horizon + 0.06 * canvas.height
        centres: list[float] = []
        for _ in range(number):
            half = dice.between(0.2, 0.42) * w
            centre = dice.between(0.05, 0.95) * w
            if any(abs(centre - other) < 0.4 * w for other in centres):
                centre = (centre + 0.5 * w) % w
            centres.append(centre)
            top = self.horizon - min(dice.between(0.2, 0.5) * canvas.height, 0.88 * self.horizon)
            rise = foot - top
            rock = dice.colour([(122, 128, 150), (136, 118, 112), (104, 120, 128), (112, 104, 140)])
            rock = _mix(rock, self.sky_low, 0.15)
            peak = centre + dice.between(-0.2, 0.2) * half
            left, right = (peak, top), (peak, top)
            side = dice.choose([-1, 1])
            shoulder_x = centre + side * half * dice.between(0.4, 0.55)
            shoulder = (shoulder_x, top + rise * dice.between(0.25, 0.55))
            notch = ((peak + shoulder_x) / 2, shoulder[1] + 0.1 * rise)
            ridge = [left, notch, shoulder] if side > 0 else [shoulder, notch, right]
            canvas.begin("mountain")
            outline = [(centre - half, foot), *ridge, (centre + half, foot)]
            canvas.polygon(outline, canvas.fill(rock))
            # The side away from the light, and snow on the peak.
            crease = (peak + 0.1 * half, top + 0.45 * rise)
            shaded = [(peak, top), *(ridge[1:] if side > 0 else []), (centre + half, foot)]
            shaded += [(peak - 0.05 * half, foot), crease]
            canvas.polygon(shaded, canvas.fill((30, 30, 60), 0.25))
            if dice.chance(0.75):
                share = dice.between(0.26, 0.4)
                before = _towards((peak, top), outline[1 + ridge.index((peak, top)) - 1], share)
                after = _towards((peak, top), outline[1 + ridge.index((peak, top)) + 1], share)
                low = top + share * rise * 0.75
                zigzag = [
                    (before[0] + (after[0] - before[0]) * t, low + d * share * rise)
                    for t, d in ((0.75, 0.25), (0.55, -0.12), (0.35, 0.2))
                ]
                snow = canvas.fill((248, 250, 255), glows=False)
                canvas.polygon([(peak, top), after, *zigzag, before], snow)

    # Grounds

    def paint_grounds(self, grounds: list[str]) -> None:
        canvas, dice = self.canvas, self.dice
        w, h = canvas.width, canvas.height
        stuffs = [name for name in grounds if name != "road"]
        if self.split == "beside":
            top, bottom = dice.between(0.25, 0.75) * w, dice.between(0.2, 0.8) * w
            bend = dice.between(-0.15, 0.15) * w
            shore = [
                (top + (bottom - top) * t + 4 * bend * t * (1 - t), self.horizon + self.depth * t)
                for t in [i / 12 for i in range(13)]
            ]
            for number, name in enumerate(stuffs):
                # The second lies right of the shore; the first reaches a little below it.
                start, end = (0.0, top + canvas.scale) if number == 0 else (top, float(w))
                curve = self.skyline(name, start, end)
                if number == 0:
                    outline = [*curve, *[(x + canvas.scale, y) for x, y in shore], (0, h)]
                else:
                    outline = [*reversed(shore), *curve, (w, h)]
                self.paint_stuff(name, outline)
        else:
            self.paint_stuff(stuffs[0], [*self.skyline(stuffs[0], 0, w), (w, h), (0, h)])
            self.front = self.horizon
            if self.split == "behind":
                self.front += self.depth * dice.between(0.3, 0.6)
                curve = self.curve(0, w, self.front, 0.05 * self.depth)
                self.paint_stuff(stuffs[1], [*curve, (w, h), (0, h)])
        if self.road == "across":
            self.paint_road_across()
        elif self.road == "away":
            self.paint_road_away()

    def curve(self, start: float, end: float, level: float, swing: float) -> list[Point]:
        """A smooth line from left to right that swings around a level."""
        dice = self.dice
        knots = [level + dice.between(-swing, swing) for _ in range(4)]
        points = []
        for i in range(25):
            place = i / 24 * 3
            knot = min(2, math.floor(place))
            t = place - knot
            t = t * t * (3 - 2 * t)
            points.append(
                (start + (end - start) * i / 24, knots[knot] * (1 - t) + knots[knot + 1] * t)
            )
        return points

    def skyline(self, name: str, start: float, end: float) -> list[Point]:
        swing = {"grass": 0.035, "sand": 0.015, "water": 0.0}[name] * self.canvas.height
        return self.curve(start, end, self.horizon, swing)

    def paint_stuff(self, name: str, outline: list[Point]) -> None:
        canvas, dice = self.canvas, self.dice
        if name == "grass":
            colour = dice.colour([(104, 176, 74), (126, 190, 80), (90, 156, 76), (150, 180, 84)])
            far = _mix(colour, (226, 236, 160), 0.3)
        elif name == "sand":
            colour = dice.colour([(236, 210, 150), (226, 192, 130), (242, 220, 176)], 10)
            far = _mix(colour, WHITE, 0.25)
        else:
            colour = dice.colour([(38, 112, 176), (40, 140, 186), (46, 96, 156)], 12)
            far = _mix(colour, (150, 205, 230), 0.45)
        number = canvas.begin(name)
        near = canvas.fill(_mix(colour, BLACK, 0.08))
        distant = canvas.fill(far)
        if name == "water":
            # Water mirrors the sky, most of all far away.
            distant = (*_mix(distant[:3], self.sky_low, 0.4), 255)  # type: ignore[arg-type]
            near = (*_mix(near[:3], self.sky_low, 0.12), 255)  # type: ignore[arg-type]
        canvas.gradient(outline, distant, near)
        self.paint_texture(name, number, outline)

    def paint_texture(self, name: str, number: int, outline: list[Point]) -> None:
        """Waves, tufts or pebbles, where the ground is seen."""
        canvas, dice = self.canvas, self.dice
        xs, ys = [x for x, _ in outline], [y for _, y in outline]
        count = 20 if name == "water" else 16
        for _ in range(count):
            y = dice.between(min(ys), max(ys))
            near = 0.4 + 0.6 * max(0.0, y - self.horizon) / self.depth
            size = near * dice.between(0.05, 0.1) * canvas.unit
            x = dice.between(min(xs), max(xs) - size)
            if canvas.owner(x - 1, y) != name or canvas.owner(x + size + 1, y) != name:
                continue
            if name == "water":
                fill = canvas.fill(_mix(self.sky_low, WHITE, 0.5), 0.45, glows=True)
                canvas.line([(x, y), (x + size, y)], fill, 0.011 * near * canvas.unit, owned=False)
            elif name == "grass":
                fill = canvas.fill((50, 104, 44), 0.4)
                blade = 0.35 * size
                for lean in (-0.4, 0.0, 0.4):
                    top = (x + size / 2 + lean * blade, y - blade)
                    line = [(x + size / 2 + lean * blade * 0.4, y), top]
                    canvas.line(line, fill, 0.008 * canvas.unit, owned=False)
            else:
                fill = canvas.fill((150, 112, 66), 0.35)
                canvas.ellipse(x, y, x + 0.3 * size, y + 0.14 * size, fill, owned=False)

    def road_colour(self) -> Colour:
        return self.dice.colour([(92, 94, 100), (112, 110, 112), (78, 82, 92)], 8)

    def paint_road_across(self) -> None:
        canvas, dice = self.canvas, self.dice
        w, room = canvas.width, canvas.height - self.front
        thick = min(dice.between(0.13, 0.19) * canvas.unit, 0.6 * room)
        middle = self.front + dice.between(thick * 0.6, max(thick * 0.6, room - 0.6 * thick))
        tilt = dice.between(-0.04, 0.04) * canvas.height

        def stripe(x0: float, x1: float, offset: float, half: float) -> list[Point]:
            ends = [(x, middle + offset + tilt * (x / w - 0.5)) for x in (x0, x1)]
            return [
                *[(x, y - half) for x, y in ends],
                *[(x, y + half) for x, y in reversed(ends)],
            ]

        canvas.begin("road")
        colour = self.road_colour()
        canvas.polygon(stripe(0, w, 0, thick / 2), canvas.fill(colour))
        for side in (-0.5, 0.5):
            fill = canvas.fill(_mix(colour, WHITE, 0.35))
            canvas.polygon(stripe(0, w, side * 0.9 * thick, 0.04 * thick), fill)
        dash = 0.09 * canvas.unit
        x = dice.between(-2 * dash, 0)
        while x < w:
            canvas.polygon(stripe(x, x + dash, 0, 0.05 * thick), canvas.fill((250, 244, 214)))
            x += 2 * dash

    def paint_road_away(self) -> None:
        canvas, dice = self.canvas, self.dice
        w, h = canvas.width, canvas.height
        far_x, near_x = dice.between(0.15, 0.85) * w, dice.between(0.2, 0.8) * w
        far_half, near_half = 0.02 * canvas.unit, dice.between(0.17, 0.26) * canvas.unit
        top = self.horizon + 0.035 * h

        def stripe(t0: float, t1: float, side: float, share: float) -> list[Point]:
            points = []
            for t, edges in ((t0, (-1, 1)), (t1, (1, -1))):
                middle = far_x + (near_x - far_x) * t
                half = far_half + (near_half - far_half) * t
                y = top + (h - top) * t
                points += [(middle + half * (side + edge * share), y) for edge in edges]
            return points

        canvas.begin("road")
        colour = self.road_colour()
        canvas.polygon(stripe(0, 1, 0, 1), canvas.fill(colour))
        for side in (-0.92, 0.92):
            canvas.polygon(stripe(0, 1, side, 0.05), canvas.fill(_mix(colour, WHITE, 0.35)))
        t = 0.06
        while t < 1:
            canvas.polygon(stripe(t, min(1, t * 1.35), 0, 0.06), canvas.fill((250, 244, 214)))
            t *= 1.8

    # Things on the ground

    def paint_ground_things(self, names: list[str]) -> None:
        """Finds places first, then draws from far to near."""
        canvas, dice = self.canvas, self.dice
        placed = []
        for name in names:
            kind = _KINDS[name]
            for _ in range(40):
                x = dice.between(0.06, 0.94) * canvas.width
                base = dice.between(self.horizon + 0.03 * canvas.height, 0.985 * canvas.height)
                near = (base - self.horizon) / self.depth
                height = dice.between(*kind.height) * (0.64 + 0.36 * near) * canvas.unit
                ratio = dice.between(*kind.width)
                if name == "car" and self.road == "away":
                    ratio = dice.between(1.0, 1.12)
                width = ratio * height
                if not 0 <= x - width / 2 <= x + width / 2 <= canvas.width:
                    continue
                if base - height < 0 or not self.stands(name, x, base, width):
                    continue
                if self.take(x, base, width, height):
                    placed.append((base, name, _Pen(canvas, x, base, width, height)))
                    break
        for _, name, pen in sorted(placed, key=lambda entry: entry[0]):
            canvas.begin(name)
            _KINDS[name].draw(pen, dice)

    def stands(self, name: str, x: float, base: float, width: float) -> bool:
        """Whether both ends of the thing's foot are on a ground where it belongs."""
        reach = 0.2 if name == "tree" else 0.45
        feet = [self.canvas.owner(x + side * reach * width, base) for side in (-1, 1)]
        return feet[0] == feet[1] and feet[0] in _KINDS[name].grounds

    def take(self, x: float, base: float, width: float, height: float) -> bool:
        """Claims a box unless it would hide much of another or be hidden."""
        x0, y0, x1, y1 = x - width / 2, base - height, x + width / 2, base
        for a0, b0, a1, b1 in self.taken:
            common = max(0.0, min(x1, a1) - max(x0, a0)) * max(0.0, min(y1, b1) - max(y0, b0))
            if common > 0.3 * min(width * height, (a1 - a0) * (b1 - b0)):
                return False
        self.taken.append((x0, y0, x1, y1))
        return True


def _towards(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
