"""The things of the landscapes: how each kind is painted, how large it is, and where it belongs."""

from collections.abc import Callable
from dataclasses import dataclass

from sg2im_pyg.sources.landscapes.canvas import BLACK, WHITE, Dice, Pen, mix


def _paint_cloud(pen: Pen, dice: Dice) -> None:
    colour = dice.colour([(250, 250, 252), (236, 240, 246), (222, 228, 238)], 6)
    shade = mix(colour, (120, 135, 165), 0.35)
    tops = [(0.0, 0.45, 0.4), (0.22, dice.between(0.05, 0.2), 0.62), (0.5, 0.12, 0.86)]
    tops += [(0.68, dice.between(0.35, 0.5), 1.0)]
    for bottom, paint in ((1.0, shade), (0.87, colour)):
        for left, top, right in tops:
            pen.ellipse((left, top, right, bottom), paint)
        pen.rectangle((0.2, 0.6, 0.82, bottom), paint)


def _paint_sun(pen: Pen, dice: Dice) -> None:
    colour = dice.colour([(255, 226, 80), (255, 206, 60), (255, 238, 130)], 8)
    pen.ellipse((0, 0, 1, 1), colour, glows=True)
    pen.ellipse((0.14, 0.14, 0.86, 0.86), mix(colour, WHITE, 0.45), glows=True)


def _paint_moon(pen: Pen, dice: Dice) -> None:
    colour = dice.colour([(245, 242, 215), (225, 230, 240), (250, 232, 180)], 8)
    pen.mirrored = dice.chance(0.5)
    if dice.chance(0.3):
        pen.ellipse((0, 0, 1, 1), colour, glows=True)
        for u, v, r in ((0.3, 0.3, 0.12), (0.6, 0.55, 0.16), (0.38, 0.7, 0.09)):
            pen.ellipse((u - r, v - r, u + r, v + r), mix(colour, (120, 120, 130), 0.3), glows=True)
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


def _paint_balloon(pen: Pen, dice: Dice) -> None:
    colour = dice.colour(_BRIGHT)
    other = dice.colour([(250, 245, 235), *_BRIGHT])
    for u in (0.26, 0.5, 0.74):
        pen.line([(u, 0.6), (0.5 + (u - 0.5) * 0.5, 0.88)], (90, 70, 55), 0.018)
    pen.polygon([(0.05, 0.48), (0.95, 0.48), (0.62, 0.8), (0.38, 0.8)], colour)
    pen.polygon([(0.28, 0.5), (0.72, 0.5), (0.57, 0.8), (0.43, 0.8)], other)
    pen.polygon([(0.41, 0.5), (0.59, 0.5), (0.53, 0.8), (0.47, 0.8)], colour)
    for share, paint in ((1.0, colour), (0.64, other), (0.26, colour)):
        pen.ellipse((0.5 - share / 2, 0, 0.5 + share / 2, 0.72), paint)
    pen.ellipse((0.12, 0.07, 0.42, 0.4), WHITE, 0.22)
    pen.rectangle((0.37, 0.87, 0.63, 1.0), (140, 92, 50))
    pen.rectangle((0.37, 0.87, 0.63, 0.9), (95, 60, 35))


def _paint_tree(pen: Pen, dice: Dice) -> None:
    pen.shadow(0.05, 0.95)
    trunk = dice.colour([(112, 76, 48), (94, 66, 46), (128, 96, 64)])
    pen.mirrored = dice.chance(0.5)
    if dice.chance(0.4):
        leaves = dice.colour([(36, 94, 62), (44, 110, 58), (28, 80, 70)])
        pen.rectangle((0.43, 0.8, 0.57, 1.0), trunk)
        for top, bottom, half in ((0.42, 0.88, 0.5), (0.2, 0.64, 0.39), (0.0, 0.42, 0.27)):
            pen.polygon([(0.5, top), (0.5 + half, bottom), (0.5 - half, bottom)], leaves)
            pen.polygon([(0.5, top), (0.5 + half, bottom), (0.56, bottom)], BLACK, 0.16)
        return
    autumn = [(196, 132, 44), (206, 96, 48)]
    leaves = dice.colour(
        [(62, 140, 58), (88, 155, 52), (52, 122, 70), *autumn, (225, 150, 175)], 16
    )
    pen.polygon([(0.44, 0.55), (0.56, 0.55), (0.6, 1.0), (0.4, 1.0)], trunk)
    dark = mix(leaves, (10, 40, 40), 0.28)
    shade = ((0.0, 0.22, 0.6, 0.68), (0.4, 0.22, 1.0, 0.7), (0.16, 0.0, 0.84, 0.5))
    for box in (*shade, (0.2, 0.3, 0.8, 0.74)):
        pen.ellipse(box, dark)
    light = ((0.02, 0.22, 0.52, 0.58), (0.36, 0.26, 0.86, 0.6), (0.17, 0.0, 0.72, 0.44))
    for box in light:
        pen.ellipse(box, leaves)
    pen.ellipse((0.22, 0.05, 0.52, 0.26), mix(leaves, (255, 255, 180), 0.35))


def _paint_house(pen: Pen, dice: Dice) -> None:
    pen.shadow(-0.04, 1.04, 0.05)
    pen.mirrored = dice.chance(0.5)
    wall = dice.colour(
        [(238, 224, 196), (244, 240, 232), (226, 180, 140), (196, 214, 224), (232, 200, 120)]
    )
    roof = dice.colour([(176, 62, 48), (120, 70, 56), (78, 88, 108), (196, 100, 54), (70, 110, 96)])
    door = dice.colour([(110, 66, 42), (52, 92, 122), (60, 104, 70), (150, 48, 44)])
    lit = pen.canvas.tint[0] < 0.6 or dice.chance(0.1)
    glass = (255, 222, 120) if lit else dice.colour([(120, 170, 205), (92, 140, 180)])
    pen.rectangle((0.68, 0.06, 0.8, 0.4), mix(roof, (90, 60, 55), 0.6))
    pen.rectangle((0.08, 0.4, 0.92, 1.0), wall)
    pen.rectangle((0.62, 0.4, 0.92, 1.0), BLACK, 0.1)
    eaves = dice.choose([0.0, 0.24])
    pen.polygon([(0.5 - eaves, 0.02), (0.5 + eaves, 0.02), (1.0, 0.44), (0.0, 0.44)], roof)
    pen.polygon([(0.0, 0.4), (1.0, 0.4), (1.0, 0.44), (0.0, 0.44)], BLACK, 0.25)
    pen.rectangle((0.4, 0.62, 0.6, 1.0), door)
    for left in (0.15, 0.67):
        pen.rectangle((left - 0.02, 0.54, left + 0.2, 0.8), mix(wall, WHITE, 0.6))
        pen.rectangle((left, 0.56, left + 0.18, 0.78), glass, glows=lit)
        pen.rectangle((left + 0.075, 0.56, left + 0.105, 0.78), mix(wall, WHITE, 0.6))


def _paint_car(pen: Pen, dice: Dice) -> None:
    pen.shadow(-0.02, 1.02, 0.1, 0.3)
    pen.mirrored = dice.chance(0.5)
    colour = dice.colour([*_BRIGHT, (235, 235, 235), (60, 66, 80)])
    dark = mix(colour, BLACK, 0.3)
    if pen.width < 1.3 * pen.height:  # seen from behind
        for left in (0.06, 0.74):
            pen.rectangle((left, 0.7, left + 0.2, 1.0), (32, 32, 36))
        pen.polygon([(0.2, 0.0), (0.8, 0.0), (0.92, 0.44), (0.08, 0.44)], colour)
        pen.polygon([(0.26, 0.08), (0.74, 0.08), (0.82, 0.4), (0.18, 0.4)], (150, 190, 215))
        pen.rectangle((0.0, 0.42, 1.0, 0.86), colour)
        pen.rectangle((0.0, 0.72, 1.0, 0.86), dark)
        for left in (0.03, 0.8):
            pen.rectangle((left, 0.5, left + 0.17, 0.66), (235, 40, 36), glows=True)
        pen.rectangle((0.36, 0.54, 0.64, 0.68), (240, 240, 235))
        return
    pen.polygon([(0.2, 0.46), (0.32, 0.0), (0.66, 0.0), (0.84, 0.46)], colour)
    pen.polygon([(0.27, 0.44), (0.36, 0.1), (0.48, 0.1), (0.48, 0.44)], (165, 205, 225))
    pen.polygon([(0.53, 0.44), (0.53, 0.1), (0.63, 0.1), (0.75, 0.44)], (165, 205, 225))
    pen.polygon([(0.02, 0.42), (0.9, 0.42), (1.0, 0.56), (1.0, 0.82), (0.0, 0.82)], colour)
    pen.rectangle((0.0, 0.7, 1.0, 0.82), dark)
    pen.rectangle((0.93, 0.54, 1.0, 0.66), (255, 240, 170), glows=True)
    pen.rectangle((0.0, 0.5, 0.05, 0.64), (225, 40, 36), glows=True)
    for u in (0.23, 0.77):
        pen.disk(u, 0.78, 0.22, (30, 30, 34))
        pen.disk(u, 0.78, 0.1, (190, 190, 195))


def _paint_boat(pen: Pen, dice: Dice) -> None:
    pen.shadow(0.0, 1.0, 0.05, 0.22)
    pen.mirrored = dice.chance(0.5)
    hull = dice.colour([(150, 62, 44), (245, 245, 240), (44, 70, 120), (120, 76, 44), (40, 44, 52)])
    sail = dice.colour([(252, 250, 242), (252, 250, 242), *_BRIGHT])
    pen.rectangle((0.45, 0.0, 0.49, 0.8), (96, 70, 48))
    pen.polygon([(0.51, 0.03), (0.96, 0.7), (0.51, 0.7)], sail)
    pen.polygon([(0.51, 0.4), (0.76, 0.4), (0.96, 0.7), (0.51, 0.7)], BLACK, 0.08)
    pen.polygon([(0.43, 0.12), (0.43, 0.7), (0.08, 0.7)], mix(sail, (200, 205, 215), 0.35))
    pen.polygon([(0.0, 0.75), (1.0, 0.75), (0.86, 1.0), (0.14, 1.0)], hull)
    pen.polygon([(0.0, 0.75), (1.0, 0.75), (0.97, 0.81), (0.03, 0.81)], mix(hull, WHITE, 0.4))


def _paint_sheep(pen: Pen, dice: Dice) -> None:
    pen.shadow(0.0, 0.9, 0.08)
    pen.mirrored = dice.chance(0.5)
    wool = dice.colour([(246, 244, 236), (236, 228, 210), (252, 250, 248)], 6)
    skin = dice.colour([(48, 44, 46), (66, 54, 50), (36, 36, 40)], 6)
    shade = mix(wool, (110, 110, 130), 0.3)
    for u in (0.16, 0.29, 0.52, 0.64):
        pen.rectangle((u, 0.7, u + 0.075, 1.0), skin)
    lumps = ((0.0, 0.22), (0.14, 0.06), (0.32, 0.02), (0.48, 0.12))
    for u, v in lumps:
        pen.ellipse((u, v + 0.12, u + 0.34, v + 0.74), shade)
    for u, v in lumps:
        pen.ellipse((u + 0.01, v, u + 0.33, v + 0.58), wool)
    pen.ellipse((0.1, 0.2, 0.76, 0.72), wool)
    head = dice.between(0.0, 0.16)
    pen.ellipse((0.7, 0.16 + head, 1.0, 0.56 + head), skin)
    pen.ellipse((0.64, 0.2 + head, 0.76, 0.34 + head), skin)
    pen.ellipse((0.68, 0.04 + head, 0.88, 0.3 + head), wool)
    pen.ellipse((0.86, 0.27 + head, 0.92, 0.35 + head), WHITE)


def _paint_person(pen: Pen, dice: Dice) -> None:
    pen.shadow(0.0, 1.0, 0.03)
    pen.mirrored = dice.chance(0.5)
    skin = dice.colour([(240, 200, 168), (206, 152, 112), (142, 96, 68), (98, 66, 48)], 8)
    hair = dice.colour([(40, 30, 26), (96, 62, 36), (206, 168, 92), (150, 70, 36)], 8)
    shirt = dice.colour([*_BRIGHT, (245, 245, 245)])
    trousers = dice.colour([(48, 66, 110), (60, 60, 66), (126, 100, 72), (90, 40, 60)])
    waving = dice.chance(0.35)
    if dice.chance(0.35):  # a dress
        pen.rectangle((0.36, 0.7, 0.47, 0.98), skin)
        pen.rectangle((0.54, 0.7, 0.65, 0.98), skin)
        pen.polygon([(0.36, 0.29), (0.64, 0.29), (0.86, 0.78), (0.14, 0.78)], shirt)
    else:
        pen.polygon([(0.27, 0.56), (0.51, 0.56), (0.51, 0.68), (0.42, 0.97), (0.2, 0.97)], trousers)
        pen.polygon([(0.73, 0.56), (0.49, 0.56), (0.49, 0.68), (0.58, 0.97), (0.8, 0.97)], trousers)
        pen.polygon([(0.24, 0.29), (0.76, 0.29), (0.74, 0.6), (0.26, 0.6)], shirt)
    for u in (0.18, 0.58):
        pen.rectangle((u, 0.95, u + 0.24, 1.0), (40, 34, 34))
    sleeve = mix(shirt, BLACK, 0.18)
    pen.polygon([(0.24, 0.29), (0.34, 0.34), (0.17, 0.58), (0.03, 0.56)], sleeve)
    pen.ellipse((0.0, 0.54, 0.17, 0.62), skin)
    if waving:
        pen.polygon([(0.68, 0.36), (0.78, 0.29), (1.0, 0.12), (0.88, 0.08)], sleeve)
        pen.ellipse((0.84, 0.03, 1.0, 0.11), skin)
    else:
        pen.polygon([(0.76, 0.29), (0.66, 0.34), (0.83, 0.58), (0.97, 0.56)], sleeve)
        pen.ellipse((0.83, 0.54, 1.0, 0.62), skin)
    pen.disk(0.5, 0.14, 0.14, hair)
    pen.disk(0.5, 0.165, 0.115, skin)


@dataclass(frozen=True)
class Kind:
    """How a kind of thing is painted and where it belongs.

    Args:
        paint: Paints it within the box of a pen.
        height: Smallest and largest height when near, in units of the canvas.
        width: Smallest and largest width, in heights.
        grounds: What it stands on; empty for things in the sky.
        weight: How often it is chosen.
        most: Largest number in a picture.
    """

    paint: Callable[[Pen, Dice], None]
    height: tuple[float, float]
    width: tuple[float, float]
    grounds: tuple[str, ...]
    weight: float
    most: int


KINDS = {
    "sun": Kind(_paint_sun, (0.13, 0.24), (1.0, 1.0), (), 1.2, 1),
    "moon": Kind(_paint_moon, (0.15, 0.25), (1.0, 1.0), (), 1.4, 1),
    "cloud": Kind(_paint_cloud, (0.11, 0.2), (1.8, 2.5), (), 1.0, 3),
    "balloon": Kind(_paint_balloon, (0.24, 0.44), (0.66, 0.76), (), 0.9, 2),
    "tree": Kind(_paint_tree, (0.36, 0.62), (0.55, 0.75), ("grass",), 1.9, 3),
    "house": Kind(_paint_house, (0.34, 0.5), (0.95, 1.3), ("grass", "sand"), 1.2, 2),
    "car": Kind(_paint_car, (0.15, 0.21), (1.9, 2.2), ("road",), 4.0, 2),
    "boat": Kind(_paint_boat, (0.26, 0.46), (0.8, 1.0), ("water",), 2.0, 3),
    "sheep": Kind(_paint_sheep, (0.18, 0.28), (1.25, 1.45), ("grass",), 1.4, 3),
    "person": Kind(_paint_person, (0.3, 0.5), (0.38, 0.44), ("grass", "sand", "road"), 1.1, 3),
}
SKY_KINDS = ("sun", "moon", "cloud", "balloon")
