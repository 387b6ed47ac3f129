"""Scene graphs: JSON in and out, the image's node, and PyG's batches."""

import copy
import json
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from sg2im_pyg import SceneGraph, Sg2ImError, Vocabulary
from sg2im_pyg.data import AddImageNode, SubsampleObjects
from sg2im_pyg.data.scene_graph import MOST_SEED, add_image_node, check_indices

VOCABULARY = Vocabulary(["sky", "grass", "sheep"], ["above", "left of"])


@st.composite
def json_graphs(draw):
    names = draw(st.lists(st.sampled_from(VOCABULARY.objects[1:]), min_size=1, max_size=6))
    index = st.integers(0, len(names) - 1)
    triple = st.tuples(index, st.sampled_from(VOCABULARY.predicates[1:]), index).map(list)
    return {"objects": names, "relationships": draw(st.lists(triple, max_size=6))}


@given(json_graphs())
def test_json_survives_the_way_there_and_back(entries):
    graph = SceneGraph.from_json(json.loads(json.dumps(entries)), VOCABULARY)
    count, triples = len(entries["objects"]), len(entries["relationships"])
    assert graph.to_json(VOCABULARY) == entries
    assert graph.x.shape == (count + 1,) and graph.x[-1] == 0
    assert graph.edge_index.shape == (2, triples + count)
    assert graph.x.dtype == graph.edge_index.dtype == graph.edge_attr.dtype == torch.int64
    # The last edges tie each object to the image's node.
    assert graph.edge_index[:, triples:].tolist() == [list(range(count)), [count] * count]
    assert not graph.edge_attr[triples:].any() and graph.edge_attr[:triples].all()
    assert graph.validate() and graph.num_nodes == count + 1


def test_a_graph_by_hand():
    graph = SceneGraph.from_json(
        {"objects": ["sheep", "sky"], "relationships": [[1, "above", 0]]}, VOCABULARY
    )
    assert graph.x.tolist() == [3, 1, 0]
    assert graph.edge_index.tolist() == [[1, 0, 1], [0, 2, 2]]
    assert graph.edge_attr.tolist() == [1, 0, 0]
    assert repr(graph) == "SceneGraph(x=[3], edge_index=[2, 3], edge_attr=[3])"


def test_relationships_may_be_left_out_and_tuples_do():
    graph = SceneGraph.from_json({"objects": ["sky"]}, VOCABULARY)
    assert graph.to_json(VOCABULARY) == {"objects": ["sky"], "relationships": []}
    graph = SceneGraph.from_json(
        {"objects": ("sky", "sky"), "relationships": ((0, "above", 1),)}, VOCABULARY
    )
    assert graph.num_edges == 3


WITH_ATTRIBUTES = Vocabulary(VOCABULARY.objects, VOCABULARY.predicates, ["red", "tall"])


def test_attributes_become_a_row_of_flags_an_object():
    entries = {"objects": ["sky", "sheep"], "attributes": [[], ["tall", "red"]]}
    graph = SceneGraph.from_json(entries, WITH_ATTRIBUTES)
    assert graph.attributes.dtype == torch.bool
    assert graph.attributes.tolist() == [[False, False], [True, True], [False, False]]
    assert graph.to_json(WITH_ATTRIBUTES) == {
        "objects": ["sky", "sheep"],
        "attributes": [[], ["red", "tall"]],
        "relationships": [],
    }
    graph = SceneGraph.from_json({"objects": ["sky"]}, WITH_ATTRIBUTES)
    assert graph.attributes.tolist() == [[False, False]] * 2
    assert "attributes" not in graph.to_json(WITH_ATTRIBUTES)
    assert "attributes" not in SceneGraph.from_json({"objects": ["sky"]}, VOCABULARY)


@pytest.mark.parametrize(
    ("vocabulary", "attributes", "sentence"),
    [
        (VOCABULARY, [["red"]], "the vocabulary has no attributes: leave it out"),
        (WITH_ATTRIBUTES, [["rad"]], "Object 0: The attribute 'rad' .* did you mean 'red'"),
        (
            WITH_ATTRIBUTES,
            [["red"], []],
            r"for each of the 1 objects, got \[\['red'\], \[\]\]",
        ),
        (WITH_ATTRIBUTES, ["red"], r"got \['red'\]"),
        (WITH_ATTRIBUTES, "red", "got 'red'"),
    ],
)
def test_wrong_attributes_raise(vocabulary, attributes, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        SceneGraph.from_json({"objects": ["sky"], "attributes": attributes}, vocabulary)


@given(st.data(), json_graphs())
def test_seeds_survive_the_way_there_and_back(data, entries):
    seed = st.none() | st.integers(0, MOST_SEED)
    count = len(entries["objects"])
    seeds = data.draw(st.lists(seed, min_size=count, max_size=count))
    graph = SceneGraph.from_json(json.loads(json.dumps({**entries, "seeds": seeds})), VOCABULARY)
    # The node of the whole picture has none of its own.
    assert graph.seeds.tolist() == [-1 if seed is None else seed for seed in [*seeds, None]]
    assert graph.seeds.dtype == torch.int64
    has_any = any(seed is not None for seed in seeds)
    assert graph.to_json(VOCABULARY) == ({**entries, "seeds": seeds} if has_any else entries)
    check_indices(graph, VOCABULARY, "It")


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ([1], r"a number or null for each of the 2 objects, got \[1\]"),
        ([], "for each of the 2 objects"),
        (7, "for each of the 2 objects, got 7"),
        ("77", "for each of the 2 objects, got '77'"),
        ({"0": 7, "1": 8}, "for each of the 2 objects"),
        ([1, -1], "Object 1: its seed must be a whole number from 0 to 9007199254740991, .* -1"),
        ([2**53, 1], "Object 0: its seed .* got 9007199254740992"),
        ([None, 1.5], "Object 1: its seed .* or null, got 1.5"),
        ([None, "7"], "Object 1: its seed .* got '7'"),
        ([True, None], "Object 0: its seed .* got True"),
        ([[1], None], r"Object 0: its seed .* got \[1\]"),
    ],
)
def test_wrong_seeds_raise(seeds, sentence):
    with pytest.raises(Sg2ImError, match=sentence) as error:
        SceneGraph.from_json({"objects": ["sky", "sheep"], "seeds": seeds}, VOCABULARY)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        (torch.tensor([1, 2, 3]), r"seeds of shape \(2,\) and type int64, .* got tensor"),
        (torch.tensor([[1], [2]]), r"seeds of shape \(2,\)"),
        (torch.tensor([1.0, 2.0]), "type int64"),
        ([1, 2], r"got \[1, 2\]"),
        (torch.tensor([1, -2]), "Scene graph 3 has the seed -2: use 0 to 9007199254740991, or -1"),
        (torch.tensor([2**53, 2]), "has the seed 9007199254740992"),
    ],
)
def test_wrong_seeds_of_a_graph_of_tensors_raise(seeds, sentence):
    graph = SceneGraph(
        torch.tensor([1, 2]), torch.zeros(2, 0).long(), torch.zeros(0).long(), seeds=seeds
    )
    with pytest.raises(Sg2ImError, match=sentence):
        check_indices(graph, VOCABULARY, "Scene graph 3")


def test_seeds_stay_with_their_objects():
    graphs = []
    for count in (5, 1, 4):
        graph = full_graph(count)
        graph.seeds = 10 * graph.x + torch.arange(count)  # what a seed's object is can be told
        graphs.append(graph)
    batch = AddImageNode()(Batch.from_data_list(graphs))
    assert batch.seeds[batch.x == 0].tolist() == [-1] * 3
    smaller = SubsampleObjects(3)(batch)
    assert smaller.num_nodes == 3 + 2 + 3
    members = smaller.x != 0
    assert torch.equal(smaller.seeds[members] // 10, smaller.x[members])
    assert smaller.seeds[~members].tolist() == [-1] * 3
    for graph in smaller.to_data_list():
        assert len(graph.seeds) == len(graph.x)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], r"must be a JSON object .* got \[\]"),
        ("sky", "must be a JSON object"),
        (None, "must be a JSON object"),
        ({}, "'objects' .* at least one name, got None"),
        ({"objects": []}, r"at least one name, got \[\]"),
        ({"objects": "sky"}, "must be a list of at least one name, got 'sky'"),
        ({"objects": {"sky": 1}}, "must be a list"),
        ({"objects": ["sky"], "relations": []}, "'relations' is not one of them"),
        ({"objects": ["sky", "gras"]}, "The object 'gras' .* did you mean 'grass'"),
        ({"objects": [3]}, "The object 3 is not in the vocabulary"),
        ({"objects": [["sky"]]}, "is not in the vocabulary"),
        ({"objects": ["sky", "__image__"]}, "Object 1 .* leave it out"),
        ({"objects": ["sky"], "relationships": None}, "must be a list of triples, got None"),
        ({"objects": ["sky"], "relationships": "above"}, "must be a list of triples"),
        ({"objects": ["sky"], "relationships": [[0, "above"]]}, r"Relationship 0 .* a triple"),
        ({"objects": ["sky"], "relationships": ["abc"]}, r"Relationship 0 \('abc'\) .* a triple"),
        ({"objects": ["sky"], "relationships": [3]}, "Relationship 0 .* a triple"),
        (
            {"objects": ["sky"] * 2, "relationships": [[0, "above", 1], [0, "above", 2]]},
            r"Relationship 1 \(\[0, 'above', 2\]\): the object .* of the 2 objects, 0 to 1, got 2",
        ),
        ({"objects": ["sky"], "relationships": [[-1, "above", 0]]}, "the subject .* got -1"),
        ({"objects": ["sky"], "relationships": [[0.0, "above", 0]]}, "the subject .* got 0.0"),
        ({"objects": ["sky"], "relationships": [["0", "above", 0]]}, "the subject .* got '0'"),
        ({"objects": ["sky"], "relationships": [[True, "above", 0]]}, "the subject .* got True"),
        (
            {"objects": ["sky"], "relationships": [[0, "abve", 0]]},
            "Relationship 0 .* The predicate 'abve' .* did you mean 'above'",
        ),
        ({"objects": ["sky"], "relationships": [[0, 1, 0]]}, "The predicate 1 is not"),
    ],
)
def test_wrong_forms_raise_one_sentence_that_says_where(entries, sentence):
    with pytest.raises(Sg2ImError, match=sentence) as error:
        SceneGraph.from_json(entries, VOCABULARY)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


# --- The image's node ---------------------------------------------------------------------------


def full_graph(objects=2, image_id=7, size=4):
    return SceneGraph(
        x=torch.arange(objects) % 3 + 1,
        edge_index=torch.tensor([[0], [objects - 1]]),
        edge_attr=torch.tensor([2]),
        boxes=torch.rand(objects, 4),
        masks=torch.rand(objects, 3, 3),
        image=torch.randint(256, (1, 3, size, size), dtype=torch.uint8),
        image_id=image_id,
    )


def test_the_image_s_node_is_last_with_the_whole_box_and_a_full_mask():
    graph = full_graph()
    before = copy.deepcopy(graph)
    add_image_node(graph)
    assert graph.x.tolist() == [*before.x.tolist(), 0]
    assert graph.edge_index.tolist() == [[0, 0, 1], [1, 2, 2]]
    assert graph.edge_attr.tolist() == [2, 0, 0]
    assert torch.equal(graph.boxes, torch.cat([before.boxes, torch.tensor([[0.0, 0, 1, 1]])]))
    assert torch.equal(graph.masks, torch.cat([before.masks, torch.ones(1, 3, 3)]))
    assert graph.image_id == 7 and torch.equal(graph.image, before.image)


def test_the_image_s_node_is_added_once_and_to_a_graph_without_objects():
    graph = add_image_node(full_graph())
    again = add_image_node(copy.deepcopy(graph))
    assert again.x.tolist() == graph.x.tolist() and again.num_edges == graph.num_edges
    none = torch.zeros(0, dtype=torch.long)
    lone = add_image_node(SceneGraph(none, none.view(2, 0), none))
    assert lone.x.tolist() == [0] and lone.num_edges == 0


# --- PyG ----------------------------------------------------------------------------------------


def test_pyg_batches_and_separates_scene_graphs():
    graphs = [add_image_node(full_graph(objects, image_id=objects)) for objects in (1, 4, 2)]
    (batch,) = DataLoader(graphs, batch_size=3)
    assert isinstance(batch, Batch) and isinstance(batch, SceneGraph)
    assert batch.batch.tolist() == [0] * 2 + [1] * 5 + [2] * 3
    assert batch.image.shape == (3, 3, 4, 4) and batch.image.dtype == torch.uint8
    assert batch.boxes.shape == (10, 4) and batch.masks.shape == (10, 3, 3)
    assert batch.image_id.tolist() == [1, 4, 2]
    # Edges never leave their picture.
    subjects, objects = batch.batch[batch.edge_index]
    assert torch.equal(subjects, objects)
    for graph, expected in zip(batch.to_data_list(), graphs, strict=True):
        assert type(graph) is SceneGraph
        for key in ("x", "edge_index", "edge_attr", "boxes", "masks", "image"):
            assert torch.equal(graph[key], expected[key]), key


@pytest.mark.parametrize(
    "clone",
    [copy.copy, copy.deepcopy, lambda g: g.clone(), lambda g: pickle.loads(pickle.dumps(g))],
    ids=["copy", "deepcopy", "clone", "pickle"],
)
def test_copies_hold_the_same(clone):
    graph = full_graph()
    other = clone(graph)
    assert type(other) is SceneGraph and sorted(other.keys()) == sorted(graph.keys())
    assert all(
        torch.equal(torch.as_tensor(other[key]), torch.as_tensor(graph[key]))
        for key in graph.keys()  # noqa: SIM118 - Data's own method
    )


def test_to_moves_every_tensor():
    graph = full_graph().to("meta")
    assert all(graph[key].is_meta for key in ("x", "edge_index", "boxes", "masks", "image"))
