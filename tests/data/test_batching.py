"""Entries of a user's own stay in step with objects and relationships, alone and in batches."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

import sg2im_pyg
from sg2im_pyg import SceneGraph, Sg2ImError
from sg2im_pyg.data import (
    AddImageNode,
    LimitObjects,
    SampleGeometricRelations,
    SceneDataset,
    SceneLoader,
    SubsampleObjects,
)
from sg2im_pyg.data.batching import (
    keys_in_step,
    most_objects,
    object_ends,
    rearrange,
    separate,
    set_slices,
)
from sg2im_pyg.data.transforms import BatchTransform, DropRelationships
from tests.data.batches import assert_same_batch, assert_same_graph
from tests.data.test_dataset import write

STEPS = [AddImageNode(), SampleGeometricRelations(), SubsampleObjects(3), DropRelationships()]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("batching") / "train.h5")


def scene(count, edges, **entries):
    generator = torch.Generator().manual_seed(7 * count + edges)
    return SceneGraph(
        torch.arange(1, count + 1),
        torch.randint(0, max(count, 1), (2, edges), generator=generator),
        torch.arange(1, edges + 1),
        boxes=torch.rand(count, 2, 2, generator=generator).sort(1).values.view(count, 4),
        **entries,
    )


@st.composite
def graphs_with_own_entries(draw):
    """Graphs in which every row tells which object or relationship it belongs to."""
    graphs = []
    for i in range(draw(st.integers(1, 4))):
        count = draw(st.integers(0, 6))
        edges = draw(st.integers(0, 7)) if count else 0
        graphs.append(
            scene(
                count,
                edges,
                node_weight=torch.arange(1, count + 1) / 2,
                node_parts=torch.arange(1, count + 1).view(-1, 1, 1).expand(-1, 2, 3) + 10,
                edge_weight=torch.arange(1, edges + 1).double(),
                edge_seen=torch.arange(edges) % 2 == 0,
                y=torch.tensor([[i, i + 1]]),
                words=[["sky", "sea"]],
                draw_key=torch.tensor([i]),
                image_id=i,
            )
        )
    return graphs


def assert_in_step(graph):
    """Each row still says whose it is; rows of the picture's node and of new edges are zero."""
    objects, edges = len(graph.x), graph.num_edges
    assert len(graph.node_weight) == len(graph.node_parts) == objects
    assert len(graph.edge_weight) == len(graph.edge_seen) == edges
    for category, weight, parts in zip(
        graph.x.tolist(), graph.node_weight.tolist(), graph.node_parts, strict=True
    ):
        assert weight == category / 2
        assert parts.tolist() == [[category + 10 if category else 0] * 3] * 2
    for number, (weight, seen) in enumerate(
        zip(graph.edge_weight.tolist(), graph.edge_seen.tolist(), strict=True)
    ):
        if weight:  # one of those that the graph had, which are told by their predicate
            assert graph.edge_attr[number] == weight and seen == (weight % 2 == 1)
        else:
            assert not seen


@settings(deadline=None, max_examples=150)
@given(graphs_with_own_entries(), st.lists(st.sampled_from(STEPS), max_size=4))
def test_own_entries_stay_in_step_alone_and_in_a_batch(graphs, steps):
    given_graphs = copy.deepcopy(graphs)
    alone = [Compose(steps)(graph) for graph in graphs]
    for before, graph in zip(graphs, alone, strict=True):
        assert_in_step(graph)
        for key in ("y", "words", "image_id"):
            assert graph[key] is before[key]
    batch = Compose(steps)(Batch.from_data_list(graphs))
    assert_same_batch(batch, Batch.from_data_list(alone))
    for found, expected in zip(separate(batch), alone, strict=True):
        assert_same_graph(found, expected)
    for found, expected in zip(graphs, given_graphs, strict=True):
        assert_same_graph(found, expected)  # the graphs given are not changed


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.integers(2, 6), st.integers(2, 6)), min_size=1, max_size=4),
    st.sampled_from(["width", "edge_width"]),
    st.booleans(),
)
def test_whose_an_entry_is_pyg_says_too(sizes, name, of_edges):
    """With more than one object and relationship."""
    graphs = []
    for count, edges in sizes:
        graph = scene(count, edges)
        graph[name] = torch.arange(edges if of_edges else count)
        assert (name in keys_in_step(graph)[0]) == graph.is_node_attr(name)
        assert (name in keys_in_step(graph)[1]) == graph.is_edge_attr(name)
        graphs.append(graph)
    objects, relationships = keys_in_step(Batch.from_data_list(graphs))
    if any(count != edges for count, edges in sizes):
        assert (name in relationships, name in objects) == (of_edges, not of_edges)
    else:
        assert (name in relationships, name in objects) == ("edge" in name, "edge" not in name)


@pytest.mark.parametrize(
    ("count", "edges", "name", "rows", "owner"),
    [
        (1, 3, "width", 1, None),  # as y, or a number of the graph
        (1, 3, "node_width", 1, "object"),
        (3, 1, "width", 1, None),
        (3, 1, "edge_width", 1, "relationship"),
        (1, 1, "width", 1, None),
        (1, 1, "node_width", 1, "object"),
        (1, 1, "edge_width", 1, "relationship"),
        (3, 1, "node_types", 1, None),
        (2, 2, "width", 2, "object"),
        (2, 2, "edge_width", 2, "relationship"),
        (3, 2, "edge_width", 3, "object"),
        (3, 2, "width", 2, "relationship"),
        (3, 2, "width", 4, None),
        (0, 0, "width", 0, "object"),
        # Names that are known say what their entries are.
        (1, 1, "image", 1, None),
        (1, 0, "attributes", 1, "object"),
        (1, 1, "masks", 1, "object"),
        (3, 3, "edge_attr", 3, "relationship"),
    ],
)
def test_whose_an_entry_is_where_sizes_do_not_tell(count, edges, name, rows, owner):
    graph = scene(count, edges)
    graph[name] = torch.zeros(rows, 2)
    batch = Batch.from_data_list([graph, copy.copy(graph)])
    for found in (graph, batch):
        objects, relationships = keys_in_step(found)
        assert (name in objects) == (owner == "object")
        assert (name in relationships) == (owner == "relationship")


def test_a_batch_whose_graphs_differ_tells_more_than_a_graph_of_one_object():
    graphs = [scene(count, 2, width=torch.ones(count)) for count in (1, 3)]
    batch = AddImageNode()(Batch.from_data_list(graphs))
    assert batch.width.tolist() == [1, 0, 1, 1, 1, 0]
    alone = [AddImageNode()(graph) for graph in graphs]
    assert [len(graph.width) for graph in alone] == [1, 4]
    with pytest.raises(Sg2ImError, match=r"'width' .* graph 0, which has 2 .* it 'node_width'\."):
        SubsampleObjects(3)(Batch.from_data_list(alone))
    graphs = [scene(3, edges, score=torch.ones(edges)) for edges in (2, 1)]
    alone = [AddImageNode()(graph) for graph in graphs]
    with pytest.raises(Sg2ImError, match=r"'score' .* each relationship .* it 'edge_score'\."):
        SubsampleObjects(3)(Batch.from_data_list(alone))


def add_width(graph):
    graph.width = graph.boxes[:, 2] - graph.boxes[:, 0]
    return graph


def add_node_width(graph):
    graph.node_width = graph.boxes[:, 2] - graph.boxes[:, 0]
    return graph


@pytest.mark.parametrize("change", [AddImageNode(), LimitObjects(2), SubsampleObjects(3)])
def test_own_entries_of_a_data_set_stay_in_step(path, change):
    dataset = SceneDataset(path, Compose([add_node_width, change]))
    for loader in (SceneLoader(dataset, 6), DataLoader(dataset, 6)):
        (batch,) = loader
        inner = batch.x != 0
        widths = batch.boxes[:, 2] - batch.boxes[:, 0]
        assert torch.equal(batch.node_width[inner], widths[inner])
        assert not batch.node_width[~inner].any()


def test_a_loader_finds_an_entry_that_is_not_in_step(path):
    dataset = SceneDataset(path, Compose([add_width, AddImageNode()]))
    with pytest.raises(Sg2ImError, match="graph 1, which has 2 of them"):
        next(iter(SceneLoader(dataset, 6, shuffle=False)))
    with pytest.raises(Sg2ImError, match="graph 1, which has 2 of them"):
        dataset.assemble(range(6))
    # Of a batch as a whole, all graphs together say what belongs to each object.

    class AddWidth(BatchTransform):
        def forward(self, data):
            return add_width(data)

    batch = SceneDataset(path, Compose([AddWidth(), *STEPS[:2]])).assemble(range(6))
    assert batch.validate() and len(batch.width) == len(batch.x)
    assert [len(graph.width) for graph in batch.to_data_list()] == batch.ptr.diff().tolist()


@pytest.mark.parametrize(
    "value",
    [["a", "b", "c"], ("a", "b", "c"), np.zeros(3), torch.eye(3).to_sparse()],
    ids=["list", "tuple", "array", "sparse"],
)
def test_what_can_not_be_kept_in_step_raises(value):
    graph = scene(3, 1, tags=value)
    for given_graph in (graph, Batch.from_data_list([graph])):
        with pytest.raises(Sg2ImError, match="'tags' has one item for each object .* dense tensor"):
            AddImageNode()(given_graph)
    graph.tags = [value]
    assert AddImageNode()(graph).tags == [value]


def test_entries_that_name_objects_raise_when_objects_are_left_out():
    graph = scene(4, 0, largest_index=torch.tensor([2]))
    assert SubsampleObjects(5)(graph).largest_index == 2
    with pytest.raises(Sg2ImError, match="'largest_index', which names objects by number"):
        SubsampleObjects(4)(graph)


def test_a_number_of_nodes_that_was_set_is_kept_in_step():
    graphs = [scene(count, 0, num_nodes=count) for count in (2, 4)]
    assert [AddImageNode()(graph).num_nodes for graph in graphs] == [3, 5]
    batch = AddImageNode()(Batch.from_data_list(graphs))
    assert batch.num_nodes == 8
    assert [graph.num_nodes for graph in batch.to_data_list()] == [3, 5]


def test_own_entries_may_be_followed():
    graphs = [scene(count, 2, width=torch.ones(count)) for count in (2, 3)]
    batch = AddImageNode()(Batch.from_data_list(graphs, follow_batch=["width"]))
    expected = Batch.from_data_list([AddImageNode()(graph) for graph in graphs], ["width"])
    assert_same_batch(batch, expected)


def test_new_rows_are_those_that_are_given():
    graph = scene(2, 1, width=torch.tensor([1, 2]))
    groups, ends = torch.zeros(3, dtype=torch.long), torch.tensor([0, 3])
    order = torch.tensor([2, 0, 1])
    rearrange(graph, groups, ends, order, x=torch.tensor([9]))
    assert graph.x.tolist() == [9, 1, 2] and graph.width.tolist() == [0, 1, 2]
    assert len(graph.boxes) == 3 and graph.num_edges == 1


# --- PyG's private records ----------------------------------------------------------------------


def test_pyg_keeps_the_records_that_are_written_here():
    """`batching` names the versions of PyG that were checked; this fails where one differs."""
    graphs = [Data(x=torch.arange(n), edge_index=torch.zeros(2, n + 1).long()) for n in (2, 1)]
    batch = Batch.from_data_list(graphs)
    slices = {"x": [0, 2, 3], "edge_index": [0, 3, 5]}
    increments = {"x": [0, 0], "edge_index": [0, 2]}
    assert {key: ends.tolist() for key, ends in batch._slice_dict.items()} == slices
    assert {key: steps.tolist() for key, steps in batch._inc_dict.items()} == increments
    assert batch._num_graphs == 2
    # PyG takes apart by them, and by nothing else.
    batch.x, batch.edge_index = torch.arange(4), torch.tensor([[1, 2, 2], [2, 1, 3]])
    batch._slice_dict = batch._inc_dict = {}
    set_slices(batch, torch.tensor([0, 1, 4]), torch.tensor([0, 0, 3]))
    first, second = batch.to_data_list()
    assert (first.x.tolist(), first.edge_index.tolist()) == ([0], [[], []])
    assert (second.x.tolist(), second.edge_index.tolist()) == ([1, 2, 3], [[0, 1, 1], [1, 0, 2]])


def test_private_records_of_pyg_are_used_in_one_module():
    package = Path(sg2im_pyg.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for name in ("_slice_dict", "_inc_dict", "_num_graphs", "_base_cls", "Collater(")
        if f".{name}" in (text := path.read_text(encoding="utf-8")) or f'"{name}"' in text
    }
    assert users == {"data/batching.py"}


@pytest.mark.parametrize("counts", [[3], [2, 5, 1], [0, 4, 0]])
def test_where_the_objects_of_each_graph_begin_and_end(counts):
    batch = Batch.from_data_list([scene(count, 2 * min(count, 1)) for count in counts])
    bare = Batch(x=batch.x, batch=batch.batch, ptr=batch.ptr)  # says nothing of its parts
    bare._num_graphs = len(counts)
    for form in (batch, batch.clone(), bare):
        ends = object_ends(form).tolist()
        assert ends == [sum(counts[:i]) for i in range(len(counts) + 1)]
        assert most_objects(form) == max(counts)
    alone = scene(4, 2)
    assert object_ends(alone).tolist() == [0, 4] and most_objects(alone) == 4
