"""Drawings of scene graphs, as in Figures 5 and 6 of the paper."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw

from sg2im_pyg.data.scene_graph import SceneGraph
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.drawing.palette import (
    GREY,
    INK,
    WHITE,
    category_colours,
    load_font,
    mix,
    shorten,
    text_colour,
    text_size,
)
from sg2im_pyg.drawing.placement import BEND, OBJECT, Point, Route, place_graph

MAX_OBJECTS, MAX_RELATIONSHIPS = 60, 150
"""Larger graphs are not drawn: nobody could read them."""

_FINER = 2  # everything is drawn larger and then reduced, for smooth edges
_MARGIN = 14
_HEAD = 10.0  # length of an arrow's head in pixels


def draw_graph(graph: SceneGraph | Mapping[str, Any], vocabulary: Vocabulary) -> Image.Image:
    """Draws a scene graph: objects as coloured boxes, and each relationship as an arrow from its
    subject to its object with the predicate in a box on it.

    The node :obj:`"__image__"` and its edges are left out. The size follows from the graph; a
    graph of more than 60 objects or 150 relationships gives a picture that says so.

    Args:
        graph: The graph, or its JSON form (see :meth:`SceneGraph.from_json`).
        vocabulary: Names of the categories and predicates.

    Raises:
        Sg2ImError: If the JSON form is wrong or has unknown names.
    """
    if not isinstance(graph, SceneGraph):
        graph = SceneGraph.from_json(graph, vocabulary)
    categories, relationships = _without_image_node(graph)
    if not categories or len(categories) > MAX_OBJECTS or len(relationships) > MAX_RELATIONSHIPS:
        return _note(
            f"A graph of {len(categories)} objects\nand {len(relationships)} relationships"
            + (":\ntoo large to draw" if categories else "")
        )
    finer = _FINER
    object_font, predicate_font = load_font(20 * finer, bold=True), load_font(16 * finer)
    palette = category_colours(len(vocabulary.objects))
    names = [shorten(vocabulary.objects[c], object_font, 320 * finer) for c in categories]
    labels = [
        shorten(vocabulary.predicates[p], predicate_font, 260 * finer) for _, p, _ in relationships
    ]
    name_sizes = [text_size(name, object_font) for name in names]
    label_sizes = [text_size(label, predicate_font) for label in labels]
    lines = Counter(node for s, _, o in relationships for node in (s, o))
    placement = place_graph(
        [
            (max(w / finer + 26, 56, _HEAD * 1.3 * lines[i]), h / finer + 14)
            for i, (w, h) in enumerate(name_sizes)
        ],
        [(w / finer + 14, h / finer + 6) for w, h in label_sizes],
        [(s, o) for s, _, o in relationships],
    )
    size = (placement.width + 2 * _MARGIN, placement.height + 2 * _MARGIN)
    canvas = Image.new("RGB", (round(size[0] * finer), round(size[1] * finer)), WHITE)
    draw = ImageDraw.Draw(canvas)
    # An arrow has the colour of its subject, so that it can be followed through a crowd.
    tints = [mix(palette[categories[s]], INK, 0.35) for s, _, _ in relationships]
    for route in placement.routes:
        _draw_route(draw, route, tints[route.relationship])
    for node in placement.nodes:
        if node.kind == BEND:
            continue
        if node.kind == OBJECT:
            fill, text, font = palette[categories[node.number]], names[node.number], object_font
            outline, radius = mix(fill, INK, 0.4), 10
            ink = text_colour(fill)
        else:
            fill, text, font = WHITE, labels[node.number], predicate_font
            outline, radius, ink = tints[node.number], 5, INK
        corners = _scaled(
            (node.x - node.width / 2, node.y - node.height / 2),
            (node.x + node.width / 2, node.y + node.height / 2),
        )
        draw.rounded_rectangle(corners, radius * finer, fill, outline, round(1.5 * finer))
        draw.text(_scaled((node.x, node.y))[0], text, fill=ink, font=font, anchor="mm")
    return canvas.resize((round(size[0]), round(size[1])), Image.Resampling.LANCZOS)


def _without_image_node(graph: SceneGraph) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Categories, and triples of subject, predicate and object among the other nodes."""
    assert graph.x is not None and graph.edge_index is not None and graph.edge_attr is not None
    nodes = graph.x.tolist()
    position = {node: i for i, node in enumerate(n for n, c in enumerate(nodes) if c != 0)}
    triples = zip(
        graph.edge_index[0].tolist(),
        graph.edge_attr.tolist(),
        graph.edge_index[1].tolist(),
        strict=True,
    )
    kept = [
        (position[s], p, position[o]) for s, p, o in triples if s in position and o in position
    ]
    return [nodes[node] for node in position], kept


def _draw_route(draw: ImageDraw.ImageDraw, route: Route, tint: tuple[int, int, int]) -> None:
    points = _curve(route)
    if not route.heads_down:
        points.reverse()
    (x, y), down = points[-1], 1 if route.heads_down else -1
    # The line ends within the head, not at its tip. Curves arrive vertically.
    line = [*points[:-1], (x, y - down * 0.6 * _HEAD)]
    line = [p for p in line[:-1] if (y - p[1]) * down > 0.6 * _HEAD] + line[-1:]
    draw.line(_scaled(*line), fill=tint, width=round(2.2 * _FINER), joint="curve")
    back, half = y - down * _HEAD, 0.45 * _HEAD
    draw.polygon(_scaled((x, y), (x - half, back), (x + half, back)), fill=tint)


def _curve(route: Route) -> list[Point]:
    """Smooth line from top to bottom, vertical at both ends.

    Between the stops x is a cubic of y with the slopes of Fritsch and Butland (1984): it never
    swings farther to a side than the stops, and so not into the boxes beside them.
    """
    stops = [route.leave, *[(node.x, node.y) for node in route.nodes[1:-1]], route.arrive]
    steps = [(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in zip(stops[:-1], stops[1:], strict=True)]
    slopes = [0.0]
    for (dx0, dy0), (dx1, dy1) in zip(steps[:-1], steps[1:], strict=True):
        slopes.append(2 / (dy0 / dx0 + dy1 / dx1) if dx0 * dx1 > 0 else 0.0)
    slopes.append(0.0)
    points = [stops[0]]
    for k, (dx, dy) in enumerate(steps):
        (x, y), start, end = stops[k], slopes[k] * dy, slopes[k + 1] * dy
        for step in range(1, 25):
            t = step / 24
            rest = 1 - t
            bend = t * t * (3 - 2 * t) * dx + t * rest * (rest * start - t * end)
            points.append((x + bend, y + t * dy))
    return points


def _scaled(*points: Point) -> list[Point]:
    return [((x + _MARGIN) * _FINER, (y + _MARGIN) * _FINER) for x, y in points]


def _note(text: str) -> Image.Image:
    image = Image.new("RGB", (320, 120), WHITE)
    ImageDraw.Draw(image).text(
        (160, 60), text, fill=GREY, font=load_font(16), anchor="mm", align="center"
    )
    return image
