"""Composes a landscape: chooses what it shows and where, and paints it back to front."""

import math

from sg2im_pyg.sources.landscapes.canvas import BLACK, WHITE, Canvas, Colour, Dice, Pen, Point, mix
from sg2im_pyg.sources.landscapes.things import KINDS, SKY_KINDS


class Landscape:
    """Chooses what a picture shows and where, and paints it back to front."""

    def __init__(self, canvas: Canvas, dice: Dice) -> None:
        self.canvas, self.dice = canvas, dice
        self.light = dice.choose(["day", "dusk", "night"], [0.66, 0.18, 0.16])
        self.horizon = canvas.height * dice.between(0.25, 0.75)
        self.depth = canvas.height - self.horizon
        self.taken: list[tuple[float, float, float, float]] = []

    def paint(self) -> None:
        dice = self.dice
        wanted = dice.choose([3, 4, 5, 6, 7, 8], [0.5, 1, 1.6, 2, 2, 1.8])
        grounds = self.choose_grounds()
        mountains = dice.choose([0, 1, 2], [0.6, 0.28, 0.12])
        mountains = max(0, min(mountains, wanted - 2 - len(grounds)))
        left = max(1, wanted - 1 - len(grounds) - mountains)
        names = self.choose_things(left, grounds)
        in_sky = [name for name in names if name in SKY_KINDS]
        on_ground = [name for name in names if name not in SKY_KINDS]

        self.paint_sky()
        # Behind mountains stand the sun and the moon, before them hang clouds and balloons.
        for name in [name for name in in_sky if name in ("sun", "moon")]:
            self.paint_sky_thing(name)
        self.paint_mountains(mountains)
        for name in [name for name in in_sky if name not in ("sun", "moon")]:
            self.paint_sky_thing(name)
        self.paint_grounds(grounds)
        self.paint_ground_things(on_ground)

    # What is in the picture

    def choose_grounds(self) -> list[str]:
        """One or two grounds, and perhaps a road; sets how they lie."""
        dice = self.dice
        roomy = self.depth > 0.36 * self.canvas.height
        self.split = dice.choose(["one", "behind", "beside"], [0.36, 0.3 if roomy else 0, 0.34])
        first = dice.choose(["grass", "water", "sand"], [1.4, 1, 0.8])
        grounds = [first]
        if self.split != "one":
            others = [name for name in ("grass", "water", "sand") if name != first]
            grounds.append(dice.choose(others))
        self.road = "none"
        if grounds[-1] != "water" and self.split != "beside" and roomy:
            away = 0.3 if "water" not in grounds else 0
            self.road = dice.choose(["none", "across", "away"], [0.3, 0.45, away])
        return grounds + (["road"] if self.road != "none" else [])

    def choose_things(self, number: int, grounds: list[str]) -> list[str]:
        dice = self.dice
        unfit = {"day": ("moon",), "dusk": (), "night": ("sun", "balloon")}[self.light]
        names: list[str] = []
        for _ in range(number):
            options, weights = [], []
            for name, kind in KINDS.items():
                if name in unfit or names.count(name) >= kind.most:
                    continue
                if {"sun": "moon", "moon": "sun"}.get(name) in names:
                    continue
                if name in SKY_KINDS or set(kind.grounds) & set(grounds):
                    options.append(name)
                    # Flocks, woods and fleets: one more of a kind is likelier than the first.
                    weights.append(kind.weight * (1.5 if name in names else 1))
            names.append(dice.choose(options, weights))
        return names

    # Sky

    def paint_sky(self) -> None:
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
            canvas.tint = (0.52, 0.58, 0.78)
        self.sky_low = low
        canvas.begin("sky")
        w, h = canvas.width, canvas.height
        edge = min(h, self.horizon * 1.1)
        canvas.polygon([(0, 0), (w, 0), (w, h), (0, h)], low)
        canvas.gradient([(0, 0), (w, 0), (w, edge), (0, edge)], top, low)
        if self.light == "night":
            for _ in range(14):
                x, y = dice.between(0, w), dice.between(0, self.horizon)
                size, alpha = dice.between(0.006, 0.016) * canvas.unit, dice.between(0.4, 0.95)
                star = (255, 255, 235, math.floor(255 * alpha))
                canvas.ellipse(x, y, x + size, y + size, star, owned=False)

    def paint_sky_thing(self, name: str) -> None:
        canvas, dice, kind = self.canvas, self.dice, KINDS[name]
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
        pen = Pen(canvas, x, base, width, height)
        if name in ("sun", "moon"):
            strength = 0.055 if name == "sun" else 0.03
            glow = (255, 236, 170) if name == "sun" else (220, 228, 255)
            for step in range(7):
                r = height * (1.5 - 0.15 * step)
                y = base - height / 2
                fill = canvas.fill(glow, strength, glows=True)
                canvas.ellipse(x - r, y - r, x + r, y + r, fill, owned=False)
        canvas.begin(name)
        kind.paint(pen, dice)

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
            rock = mix(rock, self.sky_low, 0.15)
            peak = centre + dice.between(-0.2, 0.2) * half
            side = dice.choose([-1, 1])
            shoulder_x = centre + side * half * dice.between(0.4, 0.55)
            shoulder = (shoulder_x, top + rise * dice.between(0.25, 0.55))
            notch = ((peak + shoulder_x) / 2, shoulder[1] + 0.1 * rise)
            ridge = [(peak, top), notch, shoulder][::side]
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
                at = outline.index((peak, top))
                before = _towards((peak, top), outline[at - 1], share)
                after = _towards((peak, top), outline[at + 1], share)
                low = top + share * rise * 0.75
                zigzag = [
                    (before[0] + (after[0] - before[0]) * t, low + d * share * rise)
                    for t, d in ((0.75, 0.25), (0.55, -0.12), (0.35, 0.2))
                ]
                snow = canvas.fill((248, 250, 255))
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
            far = mix(colour, (226, 236, 160), 0.3)
        elif name == "sand":
            colour = dice.colour([(236, 210, 150), (226, 192, 130), (242, 220, 176)], 10)
            far = mix(colour, WHITE, 0.25)
        else:
            colour = dice.colour([(38, 112, 176), (40, 140, 186), (46, 96, 156)], 12)
            far = mix(colour, (150, 205, 230), 0.45)
        canvas.begin(name)
        near, distant = canvas.lit(mix(colour, BLACK, 0.08)), canvas.lit(far)
        if name == "water":
            # Water mirrors the sky, most of all far away.
            distant, near = mix(distant, self.sky_low, 0.4), mix(near, self.sky_low, 0.12)
        canvas.gradient(outline, distant, near)
        self.paint_texture(name, outline)

    def paint_texture(self, name: str, outline: list[Point]) -> None:
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
                fill = canvas.fill(mix(self.sky_low, WHITE, 0.5), 0.45, glows=True)
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
            return [*[(x, y - half) for x, y in ends], *[(x, y + half) for x, y in reversed(ends)]]

        canvas.begin("road")
        colour = self.road_colour()
        canvas.polygon(stripe(0, w, 0, thick / 2), canvas.fill(colour))
        for side in (-0.5, 0.5):
            fill = canvas.fill(mix(colour, WHITE, 0.35))
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
            canvas.polygon(stripe(0, 1, side, 0.05), canvas.fill(mix(colour, WHITE, 0.35)))
        t = 0.06
        while t < 1:
            canvas.polygon(stripe(t, min(1, t * 1.35), 0, 0.06), canvas.fill((250, 244, 214)))
            t *= 1.8

    # Things on the ground

    def paint_ground_things(self, names: list[str]) -> None:
        """Finds places first, then paints from far to near."""
        canvas, dice = self.canvas, self.dice
        placed = []
        for name in names:
            kind = KINDS[name]
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
                    placed.append((base, name, Pen(canvas, x, base, width, height)))
                    break
        for _, name, pen in sorted(placed, key=lambda entry: entry[0]):
            canvas.begin(name)
            KINDS[name].paint(pen, dice)

    def stands(self, name: str, x: float, base: float, width: float) -> bool:
        """Whether both ends of the thing's foot are on a ground where it belongs."""
        reach = 0.2 if name == "tree" else 0.45
        feet = [self.canvas.owner(x + side * reach * width, base) for side in (-1, 1)]
        return feet[0] == feet[1] and feet[0] in KINDS[name].grounds

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
