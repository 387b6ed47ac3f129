"""What the landscapes are painted with: random choices, a canvas and a pen.

The canvas knows which object owns each of its points; boxes and masks follow from that.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Fill = tuple[int, int, int] | tuple[int, int, int, int]
"""Red, green, blue and perhaps opacity, 0 to 255."""
Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""
T = TypeVar("T")


class Dice:
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
        return clip((red + shift[0], green + shift[1], blue + shift[2]))


def clip(colour: Sequence[float]) -> Colour:
    red, green, blue = (min(255, max(0, math.floor(value + 0.5))) for value in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The first colour with a share of the second."""
    return clip([a + (b - a) * share for a, b in zip(first, second, strict=True)])


WHITE, BLACK = (255, 255, 255), (0, 0, 0)
DAYLIGHT = (1.0, 1.0, 1.0)


def _corners(points: Sequence[Point]) -> list[tuple[int, int]]:
    # Whole numbers, so that no platform's rounding inside Pillow can matter.
    return [(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in points]


class Canvas:
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
        """What is painted from here on belongs to a new object; returns its number."""
        self.names.append(name)
        return len(self.names) - 1

    def owner(self, x: float, y: float) -> str | None:
        """Category of the object at a point, :obj:`None` outside the picture."""
        column, row = math.floor(x), math.floor(y)
        if not (0 <= column < self.width and 0 <= row < self.height):
            return None
        return self.names[self.points[column, row]]

    def lit(self, colour: Colour) -> Colour:
        """The colour in the light of the scene."""
        if self.tint is DAYLIGHT:
            return colour
        return clip([c * t for c, t in zip(colour, self.tint, strict=True)])

    def fill(self, colour: Colour, alpha: float = 1, glows: bool = False) -> Fill:
        """What to paint a colour with; what glows is not darkened by the night."""
        colour = colour if glows else self.lit(colour)
        return colour if alpha == 1 else (*colour, math.floor(255 * alpha + 0.5))

    def polygon(self, points: Sequence[Point], fill: Fill, owned: bool = True) -> None:
        """Fills a polygon; not owned is what only changes the light on things behind."""
        self._paint("polygon", _corners(points), fill, owned)

    def ellipse(
        self, x0: float, y0: float, x1: float, y1: float, fill: Fill, owned: bool = True
    ) -> None:
        box = _corners([(min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))])
        self._paint("ellipse", box, fill, owned)

    def line(self, points: Sequence[Point], fill: Fill, width: float, owned: bool = True) -> None:
        self._paint("line", _corners(points), fill, owned, max(1, math.floor(width + 0.5)))

    def _paint(
        self, shape: str, corners: list[tuple[int, int]], fill: Fill, owned: bool, *width: int
    ) -> None:
        getattr(self.draw if len(fill) == 3 else self.blend, shape)(corners, fill, *width)
        if owned:
            getattr(self.draw_owners, shape)(corners, len(self.names) - 1, *width)

    def gradient(self, points: Sequence[Point], top: Colour, bottom: Colour) -> None:
        """Fills a polygon with a colour that changes from its top to its bottom."""
        corners = _corners(points)
        low = max(0, min(y for _, y in corners))
        high = min(self.height, max(y for _, y in corners) + 1)
        steps = np.arange(high - low)[:, None] / max(1, high - low - 1)
        colours = np.array(top) + (np.array(bottom) - np.array(top)) * steps
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


class Pen:
    """Draws one thing in coordinates of its box: (0, 0) top left, (1, 1) bottom right."""

    def __init__(self, canvas: Canvas, x: float, base: float, width: float, height: float) -> None:
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

    def rectangle(self, box: Box, colour: Colour, alpha: float = 1, glows: bool = False) -> None:
        u0, v0, u1, v1 = box
        self.polygon([(u0, v0), (u1, v0), (u1, v1), (u0, v1)], colour, alpha, glows)

    def ellipse(self, box: Box, colour: Colour, alpha: float = 1, glows: bool = False) -> None:
        fill = self.canvas.fill(colour, alpha, glows)
        self.canvas.ellipse(*self.at(*box[:2]), *self.at(*box[2:]), fill)

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
