"""Where the boxes and arrows of a graph's drawing go: layers from top to bottom.

The steps are those of Sugiyama, Tagawa and Toda (1981): objects are put in layers so that
relationships point down where they can, each predicate is a node of its own between its two
objects, long edges get bends in the layers between, the order within each layer is chosen for
few crossings, and last come the coordinates.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx

Size = tuple[float, float]
Point = tuple[float, float]

OBJECT, PREDICATE, BEND = "object", "predicate", "bend"

_RESTARTS, _SWEEPS = 12, 8  # of the search for an order with few crossings
_BESIDE = 22.0  # pixels between two boxes of a layer
CLEARANCE = 24.0  # pixels sideways that a line may run while it passes a layer's boxes
_BEND_WIDTH = 10.0  # pixels that a line needs between boxes
_BETWEEN = 34.0  # pixels between two layers, at least
_APART = 44.0  # pixels between parts of the graph that are not connected
_ASPECT = 1.6  # width to height that the parts are packed towards


@dataclass
class Node:
    """A box of an object or predicate, or a bend of an edge, at its middle."""

    kind: str
    number: int
    width: float
    height: float
    layer: int
    x: float = 0.0
    y: float = 0.0
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)


@dataclass
class Route:
    """Line from one box to the next, as nodes from top to bottom, and which end has the head."""

    nodes: list[Node]
    heads_down: bool
    relationship: int
    leave: Point = (0.0, 0.0)
    arrive: Point = (0.0, 0.0)


@dataclass
class Placement:
    """Nodes and routes of a graph, and the size of the drawing."""

    nodes: list[Node] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def shift(self, x: float, y: float) -> None:
        """Moves everything to the right and down."""
        for node in self.nodes:
            node.x, node.y = node.x + x, node.y + y
        for route in self.routes:
            route.leave = (route.leave[0] + x, route.leave[1] + y)
            route.arrive = (route.arrive[0] + x, route.arrive[1] + y)


def place_graph(
    objects: Sequence[Size], predicates: Sequence[Size], relationships: Sequence[tuple[int, int]]
) -> Placement:
    """Places a graph whose parts may be unconnected.

    Args:
        objects: Width and height of each object's box.
        predicates: Width and height of each relationship's box.
        relationships: Subject and object of each relationship.
    """
    graph = nx.Graph()
    graph.add_nodes_from(range(len(objects)))
    graph.add_edges_from(relationships)
    parts = []
    for members in nx.connected_components(graph):
        numbers = [t for t, (s, _) in enumerate(relationships) if s in members]
        parts.append(_place_part(sorted(members), numbers, objects, predicates, relationships))
    # Connected parts first, largest first; single objects follow. Sorting is stable.
    parts.sort(key=lambda part: (len(part.nodes) == 1, -part.width * part.height))
    return _pack(parts)


def _pack(parts: list[Placement]) -> Placement:
    """Sets parts side by side, in as many rows as make the whole as wide as a page."""
    if not parts:
        return Placement()
    area = sum((part.width + _APART) * (part.height + _APART) for part in parts)
    limit = max(*(part.width for part in parts), (area * _ASPECT) ** 0.5, 0.0)
    whole = Placement()
    x = y = row_height = 0.0
    for part in parts:
        if x and x + part.width > limit:
            x, y, row_height = 0.0, y + row_height + _APART, 0.0
        part.shift(x, y)
        whole.nodes += part.nodes
        whole.routes += part.routes
        row_height = max(row_height, part.height)
        whole.width = max(whole.width, x + part.width)
        whole.height = max(whole.height, y + part.height)
        x += part.width + _APART
    return whole


def _place_part(
    members: list[int],
    numbers: list[int],
    objects: Sequence[Size],
    predicates: Sequence[Size],
    relationships: Sequence[tuple[int, int]],
) -> Placement:
    part = Placement()
    layer_of = _layers_of_objects(members, [relationships[t] for t in numbers])
    nodes = part.nodes
    index = {}
    for number in members:
        index[number] = len(nodes)
        nodes.append(Node(OBJECT, number, *objects[number], layer_of[number]))
    for t in numbers:
        subject, obj = relationships[t]
        start, end = index[subject], index[obj]
        if start == end:  # hangs below its object, with one line down and one up
            middle = len(nodes)
            nodes.append(Node(PREDICATE, t, *predicates[t], nodes[start].layer + 1))
            _connect(part, [start, middle], True, t)
            _connect(part, [start, middle], False, t)
            continue
        down = nodes[start].layer < nodes[end].layer
        top, low = (start, end) if down else (end, start)
        chain, middle_layer = [top], (nodes[top].layer + nodes[low].layer) // 2
        middle = 0
        for layer in range(nodes[top].layer + 1, nodes[low].layer):
            if layer == middle_layer:
                middle = len(chain)
                nodes.append(Node(PREDICATE, t, *predicates[t], layer))
            else:
                nodes.append(Node(BEND, t, _BEND_WIDTH, 0.0, layer))
            chain.append(len(nodes) - 1)
        chain.append(low)
        _connect(part, chain[: middle + 1], down, t)
        _connect(part, chain[middle:], down, t)

    layers = _ordered_layers(nodes)
    _set_x(nodes, layers)
    _set_y(part, layers)
    _set_ports(part)
    return part


def _connect(part: Placement, chain: list[int], heads_down: bool, relationship: int) -> None:
    for upper, lower in pairwise(chain):
        part.nodes[upper].down.append(lower)
        part.nodes[lower].up.append(upper)
    part.routes.append(Route([part.nodes[i] for i in chain], heads_down, relationship))


def _layers_of_objects(
    members: list[int], relationships: Sequence[tuple[int, int]]
) -> dict[int, int]:
    """An even layer for each object; a relationship that would close a circle counts as turned."""
    order = nx.DiGraph()
    order.add_nodes_from(members)
    for subject, obj in relationships:
        if subject != obj and not order.has_edge(obj, subject):
            turned = nx.has_path(order, obj, subject)
            order.add_edge(*((obj, subject) if turned else (subject, obj)))
    sequence = list(nx.topological_sort(order))
    layer = dict.fromkeys(members, 0)
    for node in sequence:
        layer[node] = max((layer[p] + 2 for p in order.predecessors(node)), default=0)
    # Shorten edges: an object with more edges down than up moves down as far as it may.
    for node in reversed(sequence):
        if order.out_degree(node) > order.in_degree(node):
            layer[node] = min(layer[s] - 2 for s in order.successors(node))
    first = min(layer.values())
    return {node: place - first for node, place in layer.items()}


# The order within the layers


def _ordered_layers(nodes: list[Node]) -> list[list[int]]:
    given: list[list[int]] = [[] for _ in range(max(node.layer for node in nodes) + 1)]
    for i, node in enumerate(nodes):
        given[node.layer].append(i)
    dice = random.Random(0)
    best, fewest = given, _crossings(nodes, given)
    for restart in range(_RESTARTS):
        layers = [list(layer) for layer in given]
        if restart:
            for layer in layers:
                dice.shuffle(layer)
        for sweep in range(_SWEEPS):
            if not fewest:
                return best
            downwards = (sweep + restart) % 2 == 0
            _sort_by_neighbours(nodes, layers, downwards)
            _swap_neighbours(nodes, layers)
            crossings = _crossings(nodes, layers)
            if crossings < fewest:
                best, fewest = [list(layer) for layer in layers], crossings
    return best


def _positions(layers: list[list[int]]) -> dict[int, int]:
    return {i: place for layer in layers for place, i in enumerate(layer)}


def _sort_by_neighbours(nodes: list[Node], layers: list[list[int]], downwards: bool) -> None:
    for layer in layers[1:] if downwards else layers[-2::-1]:
        place = _positions(layers)

        def mean_place(i: int, place: dict[int, int] = place) -> float:
            near = nodes[i].up if downwards else nodes[i].down
            return sum(place[j] for j in near) / len(near) if near else place[i]

        layer.sort(key=mean_place)


def _swap_neighbours(nodes: list[Node], layers: list[list[int]]) -> None:
    place = _positions(layers)
    for layer in layers:
        for k in range(len(layer) - 1):
            a, b = layer[k], layer[k + 1]
            if _crossed(nodes, place, a, b) > _crossed(nodes, place, b, a):
                layer[k], layer[k + 1] = b, a
                place[a], place[b] = k + 1, k


def _crossed(nodes: list[Node], place: dict[int, int], left: int, right: int) -> int:
    """Crossings between the edges of two nodes of a layer if one is left of the other."""
    return sum(
        place[i] > place[j]
        for near in ("up", "down")
        for i in getattr(nodes[left], near)
        for j in getattr(nodes[right], near)
    )


def _crossings(nodes: list[Node], layers: list[list[int]]) -> int:
    place = _positions(layers)
    total = 0
    for layer in layers:
        edges = sorted((place[i], place[j]) for i in layer for j in nodes[i].down)
        for k, (_, end) in enumerate(edges):
            total += sum(other < end for _, other in edges[k + 1 :])
    return total


# Coordinates


def _set_x(nodes: list[Node], layers: list[list[int]]) -> None:
    """Moves each node towards the middle of its neighbours, as far as the order lets it."""
    for layer in layers:
        x = 0.0
        for i in layer:
            nodes[i].x = x + nodes[i].width / 2
            x += nodes[i].width + _BESIDE
    for sweep in range(60):
        downwards = sweep % 2 == 0
        both = sweep >= 20
        for layer in layers if downwards else layers[::-1]:
            wanted, weights = [], []
            for i in layer:
                node = nodes[i]
                near = node.up + node.down if both else (node.up if downwards else node.down)
                # Long edges are to be straight.
                pull = [_pull(node, nodes[j]) for j in near]
                weights.append(sum(pull) or 0.01)
                mean = sum(p * nodes[j].x for p, j in zip(pull, near, strict=True))
                wanted.append(mean / sum(pull) if near else node.x)
            gaps = [(nodes[i].width + nodes[j].width) / 2 + _BESIDE for i, j in pairwise(layer)]
            for i, x in zip(layer, _spread(wanted, weights, gaps), strict=True):
                nodes[i].x = x
    first = min(node.x - node.width / 2 for node in nodes)
    for node in nodes:
        node.x -= first


def _pull(node: Node, neighbour: Node) -> float:
    bends = (node.kind == BEND) + (neighbour.kind == BEND)
    return (1.0, 3.0, 8.0)[bends]


def _spread(wanted: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    """Places nearest to the wanted ones (weighted squares) that keep the order and the gaps.

    With the gaps subtracted this is isotonic regression, solved by pooling adjacent violators.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[list[float]] = []  # weighted mean, weight, count
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        pools.append([want - offset, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, heavy, count = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * heavy) / (last[1] + heavy)
            last[1], last[2] = last[1] + heavy, last[2] + count
    means = [pool[0] for pool in pools for _ in range(int(pool[2]))]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _set_y(part: Placement, layers: list[list[int]]) -> None:
    nodes, y = part.nodes, 0.0
    for layer in layers:
        height = max(nodes[i].height for i in layer)
        steepest = 0.0
        for i in layer:
            nodes[i].y = y + height / 2
            if nodes[i].kind == BEND:
                nodes[i].height = height
            for j in nodes[i].down:
                steepest = max(steepest, abs(nodes[i].x - nodes[j].x))
        y += height + min(2.5 * _BETWEEN, max(_BETWEEN, 0.25 * steepest))
    part.height = max(node.y + node.height / 2 for node in nodes)
    part.width = max(node.x + node.width / 2 for node in nodes)


def _set_ports(part: Placement) -> None:
    """Shares the sides of a box among its lines, in the order of where they go."""
    for node in part.nodes:
        below = [route for route in part.routes if route.nodes[0] is node]
        below.sort(key=lambda route: route.nodes[1].x)
        for route, x in zip(below, _shares(node, len(below)), strict=True):
            route.leave = (x, node.y + node.height / 2)
        above = [route for route in part.routes if route.nodes[-1] is node]
        above.sort(key=lambda route: route.nodes[-2].x)
        for route, x in zip(above, _shares(node, len(above)), strict=True):
            route.arrive = (x, node.y - node.height / 2)


def _shares(node: Node, count: int) -> list[float]:
    step = min(26.0, 0.9 * node.width / max(count, 1))
    return [node.x + (k - (count - 1) / 2) * step for k in range(count)]
