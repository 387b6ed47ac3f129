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

# Distinct colours for the first categories, which also suit those of the landscapes.
_FIRST: tuple[Colour, ...] = (
    (104, 178, 232),  # sky
    (134, 196, 84),  # grass
    (44, 98, 186),  # water
    (230, 200, 128),  # sand
    (132, 112, 142),  # road
    (158, 128, 96),  # mountain
    (255, 190, 20),  # sun
    (204, 194, 250),  # moon
    (188, 216, 228),  # cloud
    (22, 116, 62),  # tree
    (206, 70, 60),  # house
    (246, 128, 48),  # car
    (132, 72, 40),  # boat
    (246, 172, 182),  # sheep
    (214, 60, 150),  # person
    (128, 62, 196),  # balloon
)
_LIGHTNESS = (48.0, 86.0)  # of CIELAB: both white paper and black text stand out from it
_CHROMA = (30.0, 62.0)  # neither grey nor glaring


def category_colours(num: int) -> tuple[Colour, ...]:
    """One colour for each category; the colour of an index is the same for every :obj:`num`.

    Index 0, the whole picture, is grey. Some colours are chosen by hand; each further one is the
    farthest from all before it in CIELAB. After some hundreds they repeat.

    Args:
        num: Number of categories, the special one at index 0 included.

    Examples:
        >>> category_colours(2)
        ((120, 124, 132), (104, 178, 232))
        >>> category_colours(100)[:2] == category_colours(2)
        True
    """
    if num < 1:
        return ()
    colours = _farthest_colours()
    return (GREY, *(colours[i % len(colours)] for i in range(num - 1)))


@lru_cache(maxsize=1)
def _farthest_colours() -> list[Colour]:
    first = torch.tensor(_FIRST)
    levels = torch.arange(0, 256, 15)
    grid = torch.cartesian_prod(levels, levels, levels)
    lab = _lab(grid)
    lightness, chroma = lab[:, 0], lab[:, 1:].norm(dim=1)
    usable = (lightness >= _LIGHTNESS[0]) & (lightness <= _LIGHTNESS[1])
    usable &= (chroma >= _CHROMA[0]) & (chroma <= _CHROMA[1])
    grid, lab = grid[usable], lab[usable]
    distance = torch.cdist(lab, _lab(first)).amin(dim=1)
    colours = list(_FIRST)
    while distance.max() > 0:
        chosen = int(distance.argmax())
        r, g, b = grid[chosen].tolist()
        colours.append((r, g, b))
        distance = torch.minimum(distance, (lab - lab[chosen]).norm(dim=1))
    return colours


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
