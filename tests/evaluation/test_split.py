"""Graphs and noise of a split follow from the seed, the picture and the draw alone."""

import numpy as np
import pytest
import torch

from sg2im_pyg import Sg2ImError, Vocabulary
from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.store import SceneWriter
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from sg2im_pyg.evaluation.split import Split, Translation
from sg2im_pyg.sources.landscapes.source import prepare_landscapes


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("landscapes")
    return prepare_landscapes(root, (16, 16), 4, 2, 2, 9, workers=1, progress=False)["test"]


def edges(graphs):
    return [
        (graph.image_id.item(), graph.edge_index.tolist(), graph.edge_attr.tolist())
        for graph in graphs.to_data_list()
    ]


def test_a_picture_has_the_same_graph_and_noise_in_any_batch(store):
    split = Split(store, seed=3)
    whole = split.graphs(range(9), 0, "geometric")
    parts = [split.graphs(part, 0, "geometric") for part in split.batches(4)]
    assert edges(whole) == [row for part in parts for row in edges(part)]
    assert edges(split.graphs([7], 0, "geometric")) == edges(whole)[7:8]
    noise = split.noise(range(9), 0, (2, 4, 4))
    assert noise.shape == (9, 2, 4, 4)
    assert torch.equal(noise[7], split.noise([7], 0, (2, 4, 4))[0])
    assert len(noise.unique()) == noise.numel()


@pytest.mark.parametrize("kind", ["appearance", "box"])
def test_noise_of_objects_follows_from_seed_picture_and_draw_alone(store, kind):
    split = Split(store, seed=3)
    whole = split.graphs(range(9), 0, "geometric")

    def noise(indices, draw=0, split=split):
        graphs = split.graphs(indices, draw, "geometric")
        if kind == "box":
            drawn = split.box_noise(indices, draw, graphs)
        else:
            drawn = split.appearance_noise(indices, draw, graphs, 4)
        assert drawn.shape == (len(graphs.x), 4)
        return [drawn[graphs.batch == i] for i in range(graphs.num_graphs)]

    of_all = noise(range(9))
    for i, expected in zip((7, 2), noise([7, 2]), strict=True):
        assert torch.equal(of_all[i], expected) and len(expected) == (whole.batch == i).sum()
    for others in (noise(range(9), 1), noise(range(9), 0, Split(store))):
        assert not any(torch.equal(*pair) for pair in zip(of_all, others, strict=True))
    of_layout = split.noise(range(9), 0, (1, 4, 4))
    for i, own in enumerate(of_all):
        least = min(own.numel(), 16)
        assert not torch.isclose(own.flatten()[:least], of_layout[i].flatten()[:least]).any()


def test_other_draws_and_other_seeds_give_others(store):
    split = Split(store, seed=3)
    first = split.graphs(range(9), 0, "geometric")
    for other in (
        split.graphs(range(9), 1, "geometric"),
        Split(store).graphs(range(9), 0, "geometric"),
    ):
        assert edges(other) != edges(first)
    noise = split.noise(range(9), 0, (1, 4, 4))
    assert not torch.equal(noise, split.noise(range(9), 1, (1, 4, 4)))
    assert not torch.equal(noise, Split(store).noise(range(9), 0, (1, 4, 4)))
    assert noise.std() == pytest.approx(1, abs=0.2)


def test_relationships_are_drawn_or_left_out(store):
    split = Split(store)
    assert split.relationships == "geometric" and split.source == "landscapes"
    none = split.graphs(range(9), 0, "none")
    assert (none.edge_attr == 0).all() and none.edge_index.size(1) == (none.x != 0).sum()
    assert torch.equal(split.graphs(range(9), 0, "stored").edge_index, none.edge_index)
    drawn = split.graphs(range(9), 0, "geometric")
    assert (drawn.edge_attr != 0).sum() == (drawn.x != 0).sum()


@pytest.mark.parametrize(
    ("settings", "predicates", "relationships", "graphs", "network"),
    [
        ({"source": "landscapes"}, GEOMETRIC_PREDICATES, "geometric", 1, "landscapes"),
        ({"source": "coco"}, GEOMETRIC_PREDICATES, "geometric", 5, "inception"),
        ({"source": "visual_genome"}, ["near"], "stored", 1, "inception"),
        ({"source": "a foreign one"}, GEOMETRIC_PREDICATES, "geometric", 1, "inception"),
        ({}, ["near"], "stored", 1, "inception"),
    ],
)
def test_what_is_usual_follows_from_where_the_store_comes_from(
    tmp_path, settings, predicates, relationships, graphs, network
):
    vocabulary = Vocabulary(["sky"], list(predicates))
    path = tmp_path / "test.h5"
    with SceneWriter(path, vocabulary, (16, 16), 0, settings) as writer:
        image = np.zeros((16, 16, 3), np.uint8)
        writer.add(Scene(1, image, np.array([1]), np.array([[0, 0, 1, 1]], np.float32)))
    split = Split(path)
    assert split.source == settings.get("source", "unknown")
    assert split.relationships == relationships
    assert split.origin.graphs_per_picture == graphs
    assert split.origin.feature_network == network
    assert split.graphs([0], 0, split.relationships).num_graphs == 1


def test_a_limit_and_fewer_objects(store):
    split = Split(store, limit=5, max_objects=3)
    assert split.pictures == 5 and [len(part) for part in split.batches(2)] == [2, 2, 1]
    assert split.graphs(range(5), 0, "geometric").batch.bincount().tolist() == [3] * 5
    assert Split(store, limit=100).pictures == 9


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A store of Visual Genome: pictures of 12 objects, of which 2, 9, 10 and 12 are related."""
    path = tmp_path_factory.mktemp("visual genome") / "test.h5"
    vocabulary = Vocabulary([f"thing {i}" for i in range(12)], ["near"])
    with SceneWriter(path, vocabulary, (16, 16), 0, {"source": "visual_genome"}) as writer:
        for related in (2, 9, 10, 12):
            chain = np.array([[i, 1, i + 1] for i in range(related - 1)], np.int32)
            boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (12, 1))
            image = np.zeros((16, 16, 3), np.uint8)
            writer.add(Scene(related, image, np.arange(1, 13), boxes, relationships=chain))
    return path


@pytest.mark.parametrize(
    ("options", "nodes"),
    [
        ({}, [10, 10, 10, 10]),  # as the release scores
        ({"as_released": True}, [10, 10, 11, 11]),
        ({"max_objects": 0}, [13] * 4),
        ({"max_objects": 30}, [13] * 4),
        ({"max_objects": 4}, [4] * 4),
    ],
)
def test_visual_genome_is_scored_with_ten_objects_a_picture(crowded, options, nodes):
    split = Split(crowded, **options)
    graphs = split.graphs(range(4), 0, "stored")
    assert graphs.batch.bincount().tolist() == nodes
    # The same objects with and without their relationships, and each time.
    assert torch.equal(split.graphs(range(4), 0, "none").x, graphs.x)
    assert torch.equal(Split(crowded, **options).graphs([1, 2], 0, "stored").x,
                       graphs.x[graphs.ptr[1]:graphs.ptr[3]])  # fmt: skip
    for i in range(4):
        own = graphs.get_example(i)
        related = {name - 1 for name in own.x.tolist() if 0 < name <= (2, 9, 10, 12)[i]}
        assert len(related) == min((2, 9, 10, 12)[i], nodes[i] - 1)  # they come first


def test_one_object_a_picture_is_none(crowded):
    with pytest.raises(Sg2ImError, match="max_objects must be at least 2"):
        Split(crowded, max_objects=1).graphs([0], 0, "stored")


def test_names_are_translated_one_by_one(tmp_path):
    given = Vocabulary(["a", "b", "c"], ["on", "by"])
    wanted = Vocabulary(["c", "NONE", "x", "a", "NONE", "b"], ["by", "near", "on"])
    translate = Translation(given, wanted, tmp_path / "m.pt")
    objects, predicates = translate.tables
    assert [wanted.objects[i] for i in objects] == list(given.objects)
    assert [wanted.predicates[i] for i in predicates] == list(given.predicates)


def test_graphs_keep_their_own_indices_when_they_are_translated(store, tmp_path):
    split = Split(store)
    names = split.vocabulary
    turned = Vocabulary(names.objects[:0:-1], names.predicates[:0:-1])
    graphs = split.graphs(range(3), 0, "geometric")
    before = graphs.x.clone()
    translated = Translation(names, turned, tmp_path / "m.pt")(graphs)
    assert torch.equal(graphs.x, before)
    assert [turned.objects[i] for i in translated.x] == [names.objects[i] for i in graphs.x]
    assert [turned.predicates[i] for i in translated.edge_attr] == [
        names.predicates[i] for i in graphs.edge_attr
    ]


def test_a_model_that_lacks_a_name_is_refused(tmp_path):
    with pytest.raises(Sg2ImError, match="does not know the data's object 'a' and 1 more"):
        Translation(Vocabulary(["a", "b"], []), Vocabulary(["c"], []), tmp_path / "m.pt")
    with pytest.raises(Sg2ImError, match="does not know the data's predicate 'on': "):
        Translation(Vocabulary(["a"], ["on"]), Vocabulary(["a"], []), tmp_path / "m.pt")
