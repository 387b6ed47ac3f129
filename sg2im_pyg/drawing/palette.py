"""Colours of categories, and text that is readable on them."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import torch
from kornia.color import rgb_to_lab
from PIL import ImageFont

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
PAPER: Colour = (244, 244, 242)
"""Where a layout holds nothing."""
INK: Colour = (34, 36, 42)
GREY: Colour = (120, 124, 132)

_FIRST: Colour = (86, 164, 222)
_LIGHTNESS = (48.0, 86.0)  # of CIELAB: both white paper and black text stand out from it
_CHROMA = (30.0, 62.0)  # neither grey nor glaring


def category_colours(num: int) -> tuple[Colour, ...]:
    """One colour for each category; the colour of an index is the same for every :obj:`num`.

    Index 0, the whole picture, is grey. Each further colour is the one farthest from all before
    it in CIELAB, so that the first ones differ most; after some hundreds they repeat.

    Args:
        num: Number of categories, the special one at index 0 included.

    Examples:
        >>> category_colours(2)
        ((120, 124, 132), (86, 164, 222))
        >>> category_colours(100)[:2] == category_colours(2)
        True
    """
    if num < 1:
        return ()
    colours = _farthest_colours()
    return (GREY, *(colours[i % len(colours)] for i in range(num - 1)))


@lru_cache(maxsize=1)
def _farthest_colours() -> list[Colour]:
    levels = torch.arange(0, 256, 15)
    grid = torch.cartesian_prod(levels, levels, levels)
    grid = torch.cat([torch.tensor([_FIRST]), grid])
    lab = _lab(grid)
    lightness, chroma = lab[:, 0], lab[:, 1:].norm(dim=1)
    usable = (lightness >= _LIGHTNESS[0]) & (lightness <= _LIGHTNESS[1])
    usable &= (chroma >= _CHROMA[0]) & (chroma <= _CHROMA[1])
    grid, lab = grid[usable], lab[usable]
    distance = torch.full((len(grid),), torch.inf)
    colours, chosen = [], 0
    while distance[chosen] > 0:
        colours.append(grid[chosen])
        distance = torch.minimum(distance, (lab - lab[chosen]).norm(dim=1))
        chosen = int(distance.argmax())
    return [(int(r), int(g), int(b)) for r, g, b in colours]


def _lab(colours: torch.Tensor) -> torch.Tensor:
    return rgb_to_lab(colours.t().reshape(1, 3, -1, 1) / 255).reshape(3, -1).t()


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The first colour with a share of the second, from 0 to 1."""
    r, g, b = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return r, g, b


def text_colour(background: Colour) -> Colour:
    """Dark or light, whichever is easier to read on a background."""
    # Relative luminance of sRGB; at 0.18 black and white have the same contrast (WCAG 2.1).
    linear = [(c / 255) ** 2.2 for c in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if luminance > 0.2 else WHITE


@lru_cache(maxsize=16)
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib carries it: the same on every system, and with many scripts."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def text_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Width of a text and height of a line, in pixels."""
    ascent, descent = font.getmetrics()
    return round(font.getlength(text)), ascent + descent


def shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text on one line, cut with an ellipsis where it is wider than :obj:`width` pixels."""
    text = " ".join(text.split())[:200]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
