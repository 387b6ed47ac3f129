"""Drawings of scene graphs, as in Figures 5 and 6 of the paper."""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from PIL import Image, ImageDraw
from torch_geometric.utils import subgraph

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
from sg2im_pyg.drawing.placement import BEND, CLEARANCE, OBJECT, Point, Route, place_graph

MAX_OBJECTS, MAX_RELATIONSHIPS = 60, 150
"""Larger graphs are not shown: nobody could read them."""

_FINER = 4  # everything is drawn larger and then reduced, for smooth edges
_MOST_PIXELS = 50_000_000  # of the larger drawing (150 MB); beyond it edges stay rough
_MARGIN = 14
_HEAD = 10.0  # length of an arrow's head in pixels


def render_graph(
    graph: SceneGraph | Mapping[str, Any] | str,
    vocabulary: Vocabulary,
    min_size: tuple[int, int] = (0, 0),
) -> Image.Image:
    """Renders a scene graph: objects as coloured boxes, and each relationship as an arrow from its
    subject to its object with the predicate in a box on it.

    The node :obj:`"__image__"` and its edges are left out. The size follows from the graph; a
    graph of more than 60 objects or 150 relationships gives a picture that says so.

    Args:
        graph: The graph, its JSON form (see :meth:`SceneGraph.from_json`), or the graph in words
            (see :meth:`SceneGraph.from_text`).
        vocabulary: Names of the categories and predicates.
        min_size: Height and width that the drawing has at least, with the graph in the middle.

    Raises:
        Sg2ImError: If the JSON form is wrong or has unknown names.
    """
    if isinstance(graph, str):
        graph = SceneGraph.from_text(graph, vocabulary)
    elif not isinstance(graph, SceneGraph):
        graph = SceneGraph.from_json(graph, vocabulary)
    categories, triples = _without_image_node(graph)
    if not categories or len(categories) > MAX_OBJECTS or len(triples) > MAX_RELATIONSHIPS:
        return _note(
            f"A graph of {len(categories)} objects\nand {len(triples)} relationships"
            + (":\ntoo large to draw" if categories else ""),
            min_size,
        )
    palette = category_colours(len(vocabulary.objects))
    fonts = load_font(20 * _FINER, bold=True), load_font(16 * _FINER)
    names = [shorten(vocabulary.objects[c], fonts[0], 320 * _FINER) for c in categories]
    labels = [shorten(vocabulary.predicates[p], fonts[1], 260 * _FINER) for _, p, _ in triples]
    name_sizes = [text_size(name, fonts[0]) for name in names]
    label_sizes = [text_size(label, fonts[1]) for label in labels]
    lines = Counter(node for s, _, o in triples for node in (s, o))
    placement = place_graph(
        [
            (max(w / _FINER + 26, 56, 1.3 * _HEAD * lines[i]), h / _FINER + 14)
            for i, (w, h) in enumerate(name_sizes)
        ],
        [(w / _FINER + 14, h / _FINER + 6) for w, h in label_sizes],
        [(s, o) for s, _, o in triples],
    )
    width = max(round(placement.width) + 2 * _MARGIN, min_size[1])
    height = max(round(placement.height) + 2 * _MARGIN, min_size[0])
    placement.shift((width - placement.width) / 2, (height - placement.height) / 2)
    finer = _FINER if width * height * _FINER**2 <= _MOST_PIXELS else 1
    fonts = load_font(20 * finer, bold=True), load_font(16 * finer)
    canvas = Image.new("RGB", (width * finer, height * finer), WHITE)
    pen = ImageDraw.Draw(canvas)
    # An arrow has the colour of its subject, so that it can be followed through a crowd.
    tints = [mix(palette[categories[s]], INK, 0.35) for s, _, _ in triples]
    for route in placement.routes:
        _render_route(pen, route, tints[route.relationship], finer)
    for node in placement.nodes:
        if node.kind == BEND:
            continue
        if node.kind == OBJECT:
            fill, text, font = palette[categories[node.number]], names[node.number], fonts[0]
            outline, ink, radius = mix(fill, INK, 0.4), text_colour(fill), 10
        else:
            fill, text, font = WHITE, labels[node.number], fonts[1]
            outline, ink, radius = tints[node.number], INK, 5
        left, top = node.x - node.width / 2, node.y - node.height / 2
        right, bottom = node.x + node.width / 2, node.y + node.height / 2
        corners = _scaled(finer, (left, top), (right, bottom))
        pen.rounded_rectangle(corners, radius * finer, fill, outline, round(1.5 * finer))
        pen.text((node.x * finer, node.y * finer), text, fill=ink, font=font, anchor="mm")
    return canvas if finer == 1 else canvas.reduce(finer)


def _without_image_node(graph: SceneGraph) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Categories, and triples of subject, predicate and object among the other nodes."""
    assert graph.x is not None and graph.edge_index is not None
    others = graph.x != 0
    edges, predicates = subgraph(others, graph.edge_index, graph.edge_attr, relabel_nodes=True)
    triples = zip(edges[0].tolist(), predicates.tolist(), edges[1].tolist(), strict=True)
    return graph.x[others].tolist(), list(triples)


def _render_route(
    pen: ImageDraw.ImageDraw, route: Route, tint: tuple[int, int, int], finer: int
) -> None:
    tip_x, tip_y = route.arrive if route.heads_down else route.leave
    back = tip_y - _HEAD if route.heads_down else tip_y + _HEAD
    points = _curve(route)
    pen.line(_scaled(finer, *points), fill=tint, width=round(2.2 * finer), joint="curve")
    half = 0.45 * _HEAD
    head = _scaled(finer, (tip_x, tip_y), (tip_x - half, back), (tip_x + half, back))
    pen.polygon(head, fill=tint)


def _curve(route: Route) -> list[Point]:
    """Smooth line from top to bottom: vertical at both ends, straight beside boxes, and a cubic
    in the gaps between layers, with the slopes of Fritsch and Butland (1984) at its bends. The
    end with the arrow's head lies within the head."""
    (first_x, first_y), (last_x, last_y) = route.leave, route.arrive
    if route.heads_down:
        last_y -= 0.8 * _HEAD
    else:
        first_y += 0.8 * _HEAD
    bends = route.nodes[1:-1]
    middles = [(first_x, first_y), *((node.x, node.y) for node in bends), (last_x, last_y)]
    pace = [(x1 - x0) / (y1 - y0) for (x0, y0), (x1, y1) in pairwise(middles)]
    stops = [(first_x, first_y, 0.0)]
    for node, (before, after) in zip(bends, pairwise(pace), strict=True):
        slope = 2 / (1 / before + 1 / after) if before * after > 0 else 0.0
        # Steeper lines would cut the corners of the boxes beside them.
        most = CLEARANCE / node.height
        slope = min(max(slope, -most), most)
        for side in (-0.5, 0.5):
            stops.append((node.x + side * node.height * slope, node.y + side * node.height, slope))
    stops.append((last_x, last_y, 0.0))
    points = [(first_x, first_y)]
    for (x0, y0, slope0), (x1, y1, slope1) in pairwise(stops):
        dx, dy = x1 - x0, y1 - y0
        for step in range(1, 25):
            t, rest = step / 24, 1 - step / 24
            bow = t * rest * (rest * slope0 - t * slope1) * dy
            points.append((x0 + t * t * (3 - 2 * t) * dx + bow, y0 + t * dy))
    return points


def _scaled(finer: int, *points: Point) -> list[Point]:
    return [(x * finer, y * finer) for x, y in points]


def _note(text: str, min_size: tuple[int, int]) -> Image.Image:
    width, height = max(320, min_size[1]), max(120, min_size[0])
    image = Image.new("RGB", (width, height), WHITE)
    style: dict[str, Any] = {"fill": GREY, "font": load_font(16), "anchor": "mm", "align": "center"}
    ImageDraw.Draw(image).text((width / 2, height / 2), text, **style)
    return image
