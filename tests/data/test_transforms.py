"""Transforms against the rules of the paper, object by object."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import BaseTransform, Compose

from sg2im_pyg import SceneGraph, Sg2ImError, Vocabulary
from sg2im_pyg.data import (
    AddImageNode,
    LimitObjects,
    SampleGeometricRelations,
    SubsampleObjects,
)
from sg2im_pyg.data.geometry import geometric_predicates
from sg2im_pyg.data.transforms import DropRelationships, takes_batches
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from tests.data.batches import assert_same_batch, assert_same_graph
from tests.data.test_draws import splitmix64

NO_EDGES = torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, dtype=torch.long)


def scene(boxes, masks=None, edges=NO_EDGES):
    boxes = torch.tensor(boxes).view(-1, 4).float()
    graph = SceneGraph(torch.ones(len(boxes), dtype=torch.long), *edges, boxes=boxes)
    if masks is not None:
        graph.masks = masks
    return graph


# --- Geometric relations ------------------------------------------------------------------------


def centre(box, mask):
    x0, y0, x1, y1 = box
    pixels = [] if mask is None else (mask >= 0.5).nonzero().tolist()
    if not pixels:
        return (x0 + x1) / 2, (y0 + y1) / 2
    step = max(len(mask) - 1, 1)
    x = sum(x0 + (x1 - x0) * j / step for _, j in pixels) / len(pixels)
    y = sum(y0 + (y1 - y0) * i / step for i, _ in pixels) / len(pixels)
    return x, y


def direct_predicate(s, o, s_mask, o_mask):
    """The rule of the paper; also whether rounding could decide between two directions."""
    if s[0] < o[0] and s[1] < o[1] and s[2] > o[2] and s[3] > o[3]:
        return "surrounding", False
    if s[0] > o[0] and s[1] > o[1] and s[2] < o[2] and s[3] < o[3]:
        return "inside", False
    (sx, sy), (ox, oy) = centre(s, s_mask), centre(o, o_mask)
    dx, dy = sx - ox, sy - oy
    angle = math.atan2(dy, dx)
    if angle >= 3 * math.pi / 4 or angle <= -3 * math.pi / 4:
        name = "left of"
    elif angle < -math.pi / 4:
        name = "above"
    elif angle < math.pi / 4:
        name = "right of"
    else:
        name = "below"
    return name, abs(abs(dx) - abs(dy)) < 1e-9


@st.composite
def objects(draw, side):
    count = draw(st.integers(0, 5))
    # Multiples of 1 / 8 make equal, touching and exactly diagonal boxes common.
    number = st.one_of(st.integers(0, 8).map(lambda i: i / 8), st.floats(0, 1, width=32))
    boxes = []
    for _ in range(count):
        x, y = [draw(number), draw(number)], [draw(number), draw(number)]
        boxes.append([min(x), min(y), max(x), max(y)])
    if count and draw(st.booleans()):
        boxes[-1] = boxes[0]
    masks = None
    if draw(st.booleans()):
        generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        masks = torch.rand(count, side, side, generator=generator)
        masks[torch.rand(count, generator=generator) < 0.3] = 0
    return boxes, masks


@settings(deadline=None, max_examples=150)
@given(objects(4) | objects(1))
def test_each_relation_is_the_one_of_the_rule(scene_):
    boxes, masks = scene_
    pairs = [(s, o) for s in range(len(boxes)) for o in range(len(boxes)) if s != o]
    subjects, others = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1)
    table = torch.tensor(boxes).view(-1, 4).float()
    kinds = geometric_predicates(table, masks, subjects, others)
    assert kinds.shape == (len(pairs),)
    for (s, o), kind in zip(pairs, kinds.tolist(), strict=True):
        ends = (None, None) if masks is None else (masks[s], masks[o])
        name, close = direct_predicate(table[s].tolist(), table[o].tolist(), *ends)
        exact = masks is None and all(8 * side == int(8 * side) for side in boxes[s] + boxes[o])
        assert (close and not exact) or GEOMETRIC_PREDICATES[kind] == name


@pytest.mark.parametrize(
    ("dx", "dy", "name"),
    [
        (1, 0, "right of"),
        (-1, 0, "left of"),
        (0, -1, "above"),
        (0, 1, "below"),
        (0, 0, "right of"),
        # The borders of the quarter turns, as the release draws them.
        (1, 1, "below"),
        (1, -1, "right of"),
        (-1, 1, "left of"),
        (-1, -1, "left of"),
    ],
)
def test_directions_and_their_borders(dx, dy, name):
    boxes = torch.tensor([[4, 4, 6, 6], [4 + dx, 4 + dy, 6 + dx, 6 + dy]]) / 16
    kind = geometric_predicates(boxes, None, torch.tensor([1]), torch.tensor([0]))
    assert GEOMETRIC_PREDICATES[int(kind)] == name
    assert direct_predicate(boxes[1].tolist(), boxes[0].tolist(), None, None)[0] == name


def test_a_box_that_touches_the_other_s_border_is_not_inside():
    outer, inner, touching = [0, 0, 1, 1], [0.25, 0.5, 0.5, 0.75], [0, 0.5, 0.5, 0.75]
    boxes = torch.tensor([outer, inner, touching])
    kinds = geometric_predicates(
        boxes, None, torch.tensor([0, 1, 2, 0]), torch.tensor([1, 0, 0, 2])
    )
    names = [GEOMETRIC_PREDICATES[kind] for kind in kinds]
    assert names == ["surrounding", "inside", "left of", "right of"]


def test_masks_decide_the_direction_and_empty_ones_fall_back_to_the_box():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 3)
    masks = torch.zeros(3, 4, 4)
    masks[0, :, 0] = 1  # at the left border; the second is at the upper one; the third empty
    masks[1, 0] = 1
    pairs = torch.tensor([[0, 2], [1, 2], [2, 1], [0, 1]])
    kinds = geometric_predicates(boxes, masks, *pairs.t())
    names = [GEOMETRIC_PREDICATES[kind] for kind in kinds]
    assert names == ["left of", "above", "below", "left of"]


# --- SampleGeometricRelations -------------------------------------------------------------------


def direct_relations(boxes, masks, key):
    """The triples of a picture, object by object: one other object, a coin, and the rule."""
    count, triples = len(boxes), []
    for i in range(count if count > 1 else 0):
        bits = splitmix64(key % 2**64, i)
        others = [(i + step) % count for step in range(1, count)]
        other = others[(bits >> 32) * len(others) >> 32]
        s, o = (i, other) if bits % 2 else (other, i)
        ends = (None, None) if masks is None else (masks[s], masks[o])
        triples.append((s, o, *direct_predicate(boxes[s].tolist(), boxes[o].tolist(), *ends)))
    return triples


@settings(deadline=None, max_examples=150)
@given(
    st.booleans().flatmap(
        lambda masked: st.lists(
            objects(4).filter(lambda drawn: (drawn[1] is not None) == masked),
            min_size=1,
            max_size=5,
        )
    ),
    st.integers(-(2**63), 2**63 - 1),
)
def test_relations_of_a_batch_are_those_of_a_direct_loop(scenes, key):
    graphs = [scene(*drawn) for drawn in scenes]
    for i, graph in enumerate(graphs):
        graph.draw_key = torch.tensor([(key + i) % 2**63])
    batch = SampleGeometricRelations()(Batch.from_data_list(graphs))
    assert batch.num_graphs == len(scenes) and batch.validate()
    for before, after, (_, masks) in zip(graphs, batch.to_data_list(), scenes, strict=True):
        expected = direct_relations(before.boxes, masks, int(before.draw_key))
        assert after.edge_index.t().tolist() == [[s, o] for s, o, _, _ in expected]
        for predicate, (_, _, name, close) in zip(after.edge_attr.tolist(), expected, strict=True):
            assert close or GEOMETRIC_PREDICATES[predicate - 1] == name


@settings(deadline=None)
@given(objects(4), st.booleans())
def test_each_object_is_tied_to_one_other_by_the_rule(scene_, image_first):
    boxes, masks = scene_
    graph = scene(boxes, masks)
    count = len(boxes)
    steps = [AddImageNode(), SampleGeometricRelations()]
    graph = Compose(steps if image_first else steps[::-1])(graph)
    assert graph.validate() and graph.edge_attr.dtype == graph.edge_index.dtype == torch.int64
    assert (graph.edge_attr == 0).sum() == count
    drawn = graph.edge_attr != 0
    triples = list(zip(graph.edge_index[:, drawn].t().tolist(), graph.edge_attr[drawn].tolist()))
    assert len(triples) == (count if count > 1 else 0)
    for i, ((s, o), predicate) in enumerate(triples):
        assert s != o and i in (s, o) and max(s, o) < count
        ends = (None, None) if masks is None else (masks[s], masks[o])
        name, close = direct_predicate(graph.boxes[s].tolist(), graph.boxes[o].tolist(), *ends)
        assert close or GEOMETRIC_PREDICATES[predicate - 1] == name


def test_partners_and_directions_are_drawn_evenly_and_from_torch_s_state():
    graph = scene(torch.rand(4, 4).sort(1).values.tolist())
    transform = SampleGeometricRelations()
    torch.manual_seed(0)
    counts = torch.zeros(4, 4)
    draws = 1500
    for _ in range(draws):
        edge_index = transform(graph).edge_index
        for i, (s, o) in enumerate(edge_index.t().tolist()):
            assert i in (s, o)
            counts[s, o] += 1
    assert graph.num_edges == 0  # the graph given is not changed
    # Each ordered pair: either end draws the other with 1 / 3, and the coin falls right with 1 / 2.
    off_diagonal = counts[~torch.eye(4, dtype=torch.bool)]
    assert not counts.diagonal().any()
    assert (off_diagonal / draws - 1 / 3).abs().max() < 0.06
    torch.manual_seed(0)
    first = transform(graph).edge_index
    torch.manual_seed(0)
    assert torch.equal(first, transform(graph).edge_index)


def test_predicates_are_looked_up_in_the_vocabulary():
    names = ["behind", *reversed(GEOMETRIC_PREDICATES)]
    vocabulary = Vocabulary(["sky"], names)
    transform = SampleGeometricRelations(vocabulary)
    boxes = [[0.1, 0.1, 0.2, 0.2], [0.7, 0.1, 0.8, 0.2]]
    for _ in range(8):
        graph = transform(scene(boxes))
        for s, predicate in zip(graph.edge_index[0].tolist(), graph.edge_attr.tolist()):
            assert vocabulary.predicates[predicate] == ("right of" if s else "left of")
    with pytest.raises(Sg2ImError, match="'left of' is not in the vocabulary"):
        SampleGeometricRelations(Vocabulary(["sky"], ["above"]))
    default = SampleGeometricRelations(Vocabulary(["sky"], GEOMETRIC_PREDICATES))
    assert default.predicate_indices.tolist() == list(range(1, 7))


def test_stored_relationships_are_kept():
    edges = torch.tensor([[1], [0]]), torch.tensor([5])
    graph = SampleGeometricRelations()(scene([[0, 0, 0.1, 0.1], [0.5, 0, 1, 1]], edges=edges))
    assert graph.num_edges == 3
    assert graph.edge_index[:, -1].tolist() == [1, 0] and graph.edge_attr[-1] == 5


# --- AddImageNode -------------------------------------------------------------------------------


def test_add_image_node_leaves_the_graph_given_as_it_was():
    graph = scene([[0, 0, 0.5, 0.5]])
    added = AddImageNode()(graph)
    assert added.x.tolist() == [1, 0] and graph.x.tolist() == [1] and graph.num_edges == 0
    assert repr(AddImageNode()) == "AddImageNode()"


# --- SubsampleObjects ---------------------------------------------------------------------------


@st.composite
def related_scenes(draw):
    count = draw(st.integers(1, 14))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=12))
    edge_index = torch.tensor(pairs, dtype=torch.long).view(-1, 2).t()
    graph = scene(
        torch.rand(count, 4).tolist(),
        torch.rand(count, 2, 2),
        (edge_index, torch.randint(1, 5, (len(pairs),))),
    )
    graph.x = torch.arange(1, count + 1)  # a category of its own says which object it was
    return graph


@settings(deadline=None, max_examples=150)
@given(related_scenes(), st.integers(2, 10), st.booleans())
def test_objects_in_relationships_are_kept_first(graph, max_objects, image_first):
    before = copy.deepcopy(graph)
    steps = [AddImageNode(), SubsampleObjects(max_objects)]
    graph = Compose(steps if image_first else steps[::-1])(graph)
    count, room = len(before.x), max_objects - 1
    assert graph.x[-1] == 0 and graph.validate()
    kept = [category - 1 for category in graph.x[:-1].tolist()]
    assert len(kept) == min(count, room)
    assert kept == sorted(kept)  # in their order
    related = set(before.edge_index.reshape(-1).tolist())
    assert set(kept) <= related or related <= set(kept)
    assert torch.equal(graph.boxes[:-1], before.boxes[kept])
    assert torch.equal(graph.masks[:-1], before.masks[kept])
    position = {old: new for new, old in enumerate(kept)}
    expected = [
        (position[s], predicate, position[o])
        for (s, o), predicate in zip(before.edge_index.t().tolist(), before.edge_attr.tolist())
        if s in position and o in position
    ]
    drawn = graph.edge_attr != 0
    found = zip(
        graph.edge_index[0, drawn].tolist(),
        graph.edge_attr[drawn].tolist(),
        graph.edge_index[1, drawn].tolist(),
    )
    assert list(found) == expected
    assert sorted(graph.edge_index[0, ~drawn].tolist()) == list(range(len(kept)))
    assert (graph.edge_index[1, ~drawn] == len(kept)).all()


@settings(deadline=None, max_examples=60)
@given(related_scenes(), st.integers(2, 10), st.booleans())
def test_as_released_one_more_is_kept_where_too_many_are_related(graph, max_objects, batched):
    related = set(graph.edge_index.reshape(-1).tolist())
    # The release's loader: too many related objects are drawn down to max_objects, others are
    # filled up to one less, and then comes the image node.
    if len(related) > max_objects - 1:
        expected = max_objects
    else:
        expected = min(len(graph.x), max_objects - 1)
    transform = SubsampleObjects(max_objects, as_released=True)
    given = Batch.from_data_list([graph, graph]) if batched else graph
    kept = transform(given).x - 1
    for found in kept.view(2 if batched else 1, -1).tolist():
        assert len(set(found)) == expected
        assert set(found) <= related or related <= set(found)
    assert repr(SubsampleObjects(7, as_released=True)) == "SubsampleObjects(7, as_released=True)"


def test_objects_are_drawn_evenly():
    graph = scene(torch.rand(6, 4).tolist(), edges=(torch.tensor([[1], [4]]), torch.tensor([2])))
    graph.x = torch.arange(1, 7)
    transform = SubsampleObjects(5)  # the two related ones and two of the other four
    counts = torch.zeros(6)
    for _ in range(600):
        counts[transform(graph).x - 1] += 1
    assert counts[[1, 4]].tolist() == [600, 600]
    assert (counts[[0, 2, 3, 5]] / 600 - 0.5).abs().max() < 0.1
    assert len(graph.x) == 6  # the graph given is not changed


# --- Batches ------------------------------------------------------------------------------------


@st.composite
def graph_lists(draw):
    """Graphs that can be put together, with empty ones, single objects and image nodes among."""
    mask_size = draw(st.sampled_from([0, 3]))
    attributes = draw(st.booleans())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def random(*shape):
        return torch.rand(shape, generator=generator)

    graphs = []
    for _ in range(draw(st.integers(1, 5))):
        count, edges = draw(st.integers(0, 6)), draw(st.integers(0, 4))
        graph = SceneGraph(
            (9 * random(count)).long() + 1,
            (count * random(2, edges if count else 0)).long(),
            (5 * random(edges if count else 0)).long() + 1,
            boxes=(8 * random(count, 2, 2)).round().div(8).sort(1).values.view(count, 4),
            masks=(random(count, mask_size, mask_size) > 0.4).float() if mask_size else None,
            image=(256 * random(1, 3, 2, 2)).byte(),
            image_id=draw(st.integers(0, 99)),
        )
        if attributes:
            graph.attributes = random(count, 4) > 0.5
        graphs.append(AddImageNode()(graph) if draw(st.booleans()) else graph)
    return graphs


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(2, 40), st.booleans())
def test_a_batch_is_cut_to_so_many_objects_in_all(counts, limit, with_image_nodes):
    graphs = [scene([[0.0, 0.0, 1.0, 1.0]] * count) for count in counts]
    if with_image_nodes:
        graphs = [AddImageNode()(graph) for graph in graphs]
    batch = LimitObjects(limit)(Batch.from_data_list(graphs))
    batch = batch if with_image_nodes else AddImageNode()(batch)
    kept = [len(graph.x) for graph in batch.to_data_list()]
    # The largest number to which all pictures can be cut, found by trying.
    cut = max(n for n in range(2, 12) if n == 2 or sum(min(c + 1, n) for c in counts) <= limit)
    assert kept == [min(count + 1, cut) for count in counts]
    assert sum(kept) <= max(limit, 2 * len(counts))


STEPS = [AddImageNode(), SampleGeometricRelations(), SubsampleObjects(4), DropRelationships()]


@settings(deadline=None, max_examples=200)
@given(graph_lists(), st.lists(st.sampled_from(STEPS), max_size=4), st.integers(0, 2**62))
def test_a_batch_gets_what_its_graphs_get_alone(graphs, steps, key):
    for i, graph in enumerate(graphs):
        graph.draw_key = torch.tensor([key + i])
    batch = Batch.from_data_list(graphs)
    before = copy.deepcopy(batch)
    found = Compose(steps)(batch)
    assert_same_batch(found, Batch.from_data_list([Compose(steps)(graph) for graph in graphs]))
    assert_same_batch(batch, before)  # the batch given is not changed
    assert_same_batch(Batch.from_data_list(found.to_data_list()), found)


@given(graph_lists(), st.permutations(range(5)))
@settings(deadline=None, max_examples=50)
def test_draws_do_not_depend_on_the_rest_of_the_batch(graphs, order):
    steps = Compose([SubsampleObjects(3), SampleGeometricRelations(), AddImageNode()])
    for i, graph in enumerate(graphs):
        graph.draw_key = torch.tensor([i])
    order = [i for i in order if i < len(graphs)]
    found = steps(Batch.from_data_list([graphs[i] for i in order])).to_data_list()
    expected = steps(Batch.from_data_list(graphs)).to_data_list()
    for graph, i in zip(found, order, strict=True):
        assert_same_graph(graph, expected[i])


def test_two_transforms_of_one_graph_have_draws_of_their_own():
    boxes = torch.rand(400, 4).sort(1).values.tolist()
    graph = scene(boxes)
    graph.draw_key = torch.tensor([7])
    twice = Compose([SampleGeometricRelations(), SampleGeometricRelations()])(graph).edge_index
    # Each edge has the object that it was drawn for in its place; the other end is the partner.
    first, second = (part.sum(0) - torch.arange(400) for part in twice.split(400, 1))
    assert (first == second).float().mean() < 0.05
    assert torch.equal(
        second, SampleGeometricRelations()(graph).edge_index.sum(0) - torch.arange(400)
    )


def test_without_keys_a_batch_draws_from_torch_s_state():
    batch = Batch.from_data_list([scene(torch.rand(20, 4).sort(1).values.tolist())] * 2)
    transform = SampleGeometricRelations()
    torch.manual_seed(0)
    first, second = transform(batch), transform(batch)
    assert not torch.equal(first.edge_index, second.edge_index)
    one, other = first.to_data_list()
    assert not torch.equal(one.edge_index, other.edge_index)
    torch.manual_seed(0)
    assert torch.equal(transform(batch).edge_index, first.edge_index)
    assert "draw_key" not in first


def test_batches_that_pyg_made_in_other_ways():
    graphs = [scene([[0, 0, 0.5, 0.5]] * count) for count in (2, 1, 3)]
    followed = Batch.from_data_list(graphs, follow_batch=["boxes", "edge_attr"])
    found = AddImageNode()(followed)
    expected = Batch.from_data_list(
        [AddImageNode()(graph) for graph in graphs], follow_batch=["boxes", "edge_attr"]
    )
    assert_same_batch(found, expected)
    # By hand, with nothing but the vector `batch`.
    plain = SceneGraph(followed.x, followed.edge_index, followed.edge_attr, batch=followed.batch)
    found = AddImageNode()(plain)
    assert torch.equal(found.edge_index, expected.edge_index)
    assert torch.equal(found.batch, expected.batch)


def test_batches_whose_other_entries_name_objects_raise():
    graph = scene([[0, 0, 0.5, 0.5]])
    graph.largest_index = torch.tensor([0])
    assert AddImageNode()(graph).largest_index == 0
    with pytest.raises(Sg2ImError, match="'largest_index', which names objects by number"):
        AddImageNode()(Batch.from_data_list([graph, graph]))


def test_which_transforms_take_batches():
    class Other(BaseTransform):
        def forward(self, data):
            return data

    assert takes_batches(None) and all(takes_batches(step) for step in STEPS)
    assert takes_batches(Compose([AddImageNode(), Compose([SubsampleObjects()])]))
    assert not takes_batches(Compose([AddImageNode(), Compose([Other()])]))
    assert not takes_batches(Other()) and not takes_batches(lambda data: data)


def test_ten_objects_are_the_default_and_one_is_too_few():
    assert repr(SubsampleObjects()) == "SubsampleObjects(10)"
    assert repr(LimitObjects(64)) == "LimitObjects(64)"
    with pytest.raises(Sg2ImError, match="at least 2 .*, got 1"):
        SubsampleObjects(1)


def test_transforms_batch_with_pyg():
    steps = Compose([SubsampleObjects(4), SampleGeometricRelations(), AddImageNode()])
    graphs = [steps(scene(torch.rand(count, 4).sort(1).values.tolist())) for count in (1, 7, 3)]
    (batch,) = DataLoader(graphs, batch_size=3)
    assert batch.batch.bincount().tolist() == [2, 4, 4]
