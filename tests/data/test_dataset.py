"""A split as a data set of PyG: items, transforms, batches and workers."""

import copy
import json

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Subset
from torch_geometric.data import Batch, Dataset
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import BaseTransform, Compose

from sg2im_pyg import SceneGraph, Sg2ImError, Vocabulary
from sg2im_pyg.data import (
    AddImageNode,
    SampleGeometricRelations,
    Scene,
    SceneDataset,
    SceneLoader,
    SceneReader,
    SceneWriter,
    SubsampleObjects,
)
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.data.scene_table import SceneTable
from sg2im_pyg.data.store import write_store
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from tests.data.batches import assert_same_batch, assert_same_graph

VOCABULARY = Vocabulary(["sky", "grass", "sheep"], GEOMETRIC_PREDICATES)
COUNTS = [3, 1, 12, 5, 0, 2]


def make_scenes(side=4):
    random = np.random.default_rng(1)
    for i, count in enumerate(COUNTS):
        corner = random.random((count, 2), dtype=np.float32) / 2
        boxes = np.concatenate([corner, corner + 0.25], axis=1)
        yield Scene(
            image_id=100 + i,
            image=random.integers(0, 256, (6, 8, 3), dtype=np.uint8),
            categories=random.integers(1, 4, count),
            boxes=boxes,
            masks=random.random((count, side, side)) > 0.5 if side else None,
            relationships=np.array([[count - 1, 2, 0]] * (count > 1), np.int64).reshape(-1, 3),
        )


def write(path, side=4):
    with SceneWriter(path, VOCABULARY, (6, 8), side) as writer:
        for scene in make_scenes(side):
            writer.add(scene)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "train.h5")


def test_an_item_is_the_full_stored_graph(path):
    dataset = SceneDataset(path)
    assert isinstance(dataset, Dataset) and len(dataset) == len(COUNTS)
    assert dataset.vocabulary == VOCABULARY
    assert dataset.image_size == (6, 8) and dataset.mask_size == 4
    for graph, scene in zip(dataset, make_scenes(), strict=True):
        assert type(graph) is SceneGraph and graph.validate()
        assert graph.image_id == scene.image_id
        assert graph.x.tolist() == scene.categories.tolist() and graph.x.dtype == torch.int64
        triples = torch.stack([graph.edge_index[0], graph.edge_attr, graph.edge_index[1]], dim=1)
        assert triples.tolist() == scene.relationships.tolist()
        assert np.array_equal(graph.boxes.numpy(), scene.boxes)
        assert np.array_equal(graph.masks.numpy(), scene.masks) and graph.masks.dtype == torch.float
        assert graph.image.shape == (1, 3, 6, 8) and graph.image.dtype == torch.uint8
        assert np.array_equal(graph.image[0].permute(1, 2, 0).numpy(), scene.image)


def test_indexing_as_in_pyg(path):
    dataset = SceneDataset(str(path))
    assert dataset[-1].image_id == 105
    assert [graph.image_id for graph in dataset[1:3]] == [101, 102]
    assert [graph.image_id for graph in dataset[[4, 0]]] == [104, 100]
    assert [graph.image_id for graph in dataset[torch.tensor([2])]] == [102]
    assert sorted(graph.image_id for graph in dataset.shuffle()) == list(range(100, 106))
    with pytest.raises(IndexError):
        dataset[6]


def test_without_masks_items_have_none(tmp_path):
    dataset = SceneDataset(write(tmp_path / "a.h5", side=0), transform=AddImageNode())
    assert "masks" not in dataset[0] and dataset.mask_size == 0
    (batch,) = DataLoader(dataset, batch_size=6)
    assert "masks" not in batch and len(batch.boxes) == sum(COUNTS) + 6


def test_the_transform_is_drawn_anew_at_each_access(path):
    transform = Compose([SubsampleObjects(5), SampleGeometricRelations(VOCABULARY), AddImageNode()])
    dataset = SceneDataset(path, transform=transform)
    torch.manual_seed(0)
    first, second = dataset[2], dataset[2]
    assert len(first.x) == len(second.x) == 5
    assert not torch.equal(first.boxes, second.boxes)
    torch.manual_seed(0)
    assert torch.equal(first.edge_index, dataset[2].edge_index)


def test_changing_an_item_does_not_change_the_data(path):
    dataset = SceneDataset(path)
    graph, before = dataset[0], copy.deepcopy(dataset[0])
    for key in ("x", "boxes", "masks", "image", "edge_index", "edge_attr"):
        graph[key].zero_()
        assert torch.equal(dataset[0][key], before[key]), key


def test_files_that_are_no_store_raise(tmp_path):
    with pytest.raises(Sg2ImError, match="no data file"):
        SceneDataset(tmp_path / "none.h5")


def test_repr(path):
    assert repr(SceneDataset(path)) == f"SceneDataset({str(path)!r}, 6)"


# --- Batches ------------------------------------------------------------------------------------

STEPS = [SubsampleObjects(5), SampleGeometricRelations(VOCABULARY), AddImageNode()]
ATTRIBUTES = ("red", "tall", "wet")


class PaintRelations(BaseTransform):
    """A user's own transform: draws from torch's global state, takes single graphs only."""

    def forward(self, data):
        assert not isinstance(data, Batch)
        data.edge_attr = data.edge_attr + torch.randint(
            100, data.edge_attr.shape, device=data.edge_attr.device
        )
        return data


@pytest.fixture(scope="module")
def path_with_attributes(tmp_path_factory):
    """The same pictures, masks of a side that fills no whole bytes, and attributes."""
    folder = tmp_path_factory.mktemp("attributes")
    scenes = list(make_scenes(3))
    table = SceneTable.from_scenes(scenes, 3)
    counts = np.arange(sum(COUNTS)) % 3
    table.attribute_offset = np.concatenate([[0], counts.cumsum()])
    table.attributes = (np.arange(counts.sum()) % 3).astype(np.int32)
    rows = folder / "rows"
    rows.write_bytes(b"".join(scene.image.tobytes() for scene in scenes))
    path = folder / "train.h5"
    vocabulary = Vocabulary(VOCABULARY.objects, VOCABULARY.predicates, ATTRIBUTES)
    write_store(path, table, rows, vocabulary, (6, 8), 3, {})
    return path


indices = st.lists(st.integers(-len(COUNTS), len(COUNTS) - 1), min_size=1, max_size=9)


@settings(deadline=None, max_examples=60)
@given(indices, st.lists(st.sampled_from([*STEPS, PaintRelations()]), max_size=3), st.booleans())
def test_a_batch_is_that_of_its_items(path_with_attributes, chosen, steps, in_memory):
    transform = Compose(steps) if steps else None
    dataset = SceneDataset(
        path_with_attributes, transform, in_memory=in_memory, attributes=not in_memory
    )
    keys = draw_keys(3, 1, chosen)
    items = [dataset.items_at([i], keys[place : place + 1])[0] for place, i in enumerate(chosen)]
    batch = dataset.assemble(chosen, keys)
    assert_same_batch(batch, Batch.from_data_list(items))
    assert "draw_key" not in batch and not any("draw_key" in item for item in items)
    assert_same_batch(Batch.from_data_list(batch.to_data_list()), batch)
    together = dataset.items_at(chosen, keys)
    assert len(together) == len(chosen)
    for found, item in zip(together, items, strict=True):
        assert_same_graph(found, item)
    assert_same_graph(together[0], items[0])
    assert [graph.image_id for graph in together[1:]] == [graph.image_id for graph in items[1:]]
    if not steps:
        for found, i in zip(items, chosen, strict=True):
            assert_same_graph(found, dataset[i])


def test_a_plain_loop_gives_the_items_in_order(path):
    dataset = SceneDataset(path, AddImageNode())
    for part in (dataset, dataset[3:0:-1], dataset[[]]):
        graphs = list(part)
        assert len(graphs) == len(part)
        for found, i in zip(graphs, range(len(part)), strict=True):
            assert_same_graph(found, part[i])


def test_parts_of_a_data_set_keep_their_own_positions(path):
    dataset = SceneDataset(path, AddImageNode())
    expected = [dataset[i] for i in (4, 2, 2)]
    part = dataset[[0, 2, 4]]
    for batch in (
        part.assemble([2, -2, 1]),
        part.assemble(torch.tensor([2, 1, 1])),
        part[1:].assemble(np.array([1, 0, 0])),
    ):
        assert_same_batch(batch, Batch.from_data_list(expected))
    (batch,) = DataLoader(Subset(dataset, [4, 2, 2]), batch_size=3)
    assert_same_batch(batch, Batch.from_data_list(expected))
    for outside in ([3], [0, -4]):
        with pytest.raises(IndexError, match="no item"):
            part.assemble(outside)


def test_attributes_are_stored_beside_the_other_names(path_with_attributes):
    # As in stores of before they were part of the vocabulary, which can still be read.
    with h5py.File(path_with_attributes) as file:
        assert json.loads(file.attrs["vocabulary"]) == VOCABULARY.to_dict()
        assert json.loads(file.attrs["attribute_names"]) == list(ATTRIBUTES)
    assert SceneReader(path_with_attributes).vocabulary.attributes == ATTRIBUTES


def test_attributes_are_one_row_an_object(path_with_attributes, path):
    dataset = SceneDataset(path_with_attributes, AddImageNode(), attributes=True)
    assert dataset.vocabulary.attributes == ATTRIBUTES
    assert SceneDataset(path_with_attributes).vocabulary == VOCABULARY
    row = given_ = 0
    for graph, count in zip(dataset, COUNTS, strict=True):
        assert graph.attributes.shape == (count + 1, 3) and graph.attributes.dtype == torch.bool
        assert not graph.attributes[-1].any()
        for found in graph.attributes[:-1]:
            expected = {(given_ + i) % 3 for i in range(row % 3)}
            assert set(found.nonzero().view(-1).tolist()) == expected
            row, given_ = row + 1, given_ + row % 3
    assert "attributes" not in SceneDataset(path_with_attributes)[0]
    with pytest.raises(Sg2ImError, match="has no attributes of objects: open it without"):
        SceneDataset(path, attributes=True)


def test_pictures_in_memory_are_those_of_the_file(path, monkeypatch):
    dataset = SceneDataset(path, Compose(STEPS), in_memory=True)
    expected = SceneDataset(path, Compose(STEPS))
    for i in ([0, 5, 5], [4]):
        keys = draw_keys(0, 0, i)
        assert_same_batch(dataset.assemble(i, keys), expected.assemble(i, keys))
    image = dataset[1].image.zero_()
    assert dataset[1].image.any() and not image.any()
    monkeypatch.setattr("sg2im_pyg.data.dataset._LOADED_AT_ONCE", 4)
    again = SceneDataset(path, in_memory=True)
    assert torch.equal(again.assemble(range(6)).image, expected.assemble(range(6)).image)
    # The file is not needed any more.
    monkeypatch.setattr(dataset.reader, "images", None)
    assert dataset[0].image_id == 100


def test_pictures_that_find_no_room_raise(path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("not enough memory: you tried to allocate a lot\nmore lines")

    monkeypatch.setattr("sg2im_pyg.data.dataset.torch.empty", full)
    with pytest.raises(Sg2ImError, match="take 0.0 GB, which cpu has no room for .*a lot"):
        SceneDataset(path, in_memory=True)


def test_devices_that_are_not_there_raise(path):
    for device in ("cuda:99", "nowhere"):
        with pytest.raises(Sg2ImError, match=f"can not be held on the device {device} "):
            SceneDataset(path, device=device)


def test_keys_that_are_not_one_an_item_raise(path):
    with pytest.raises(Sg2ImError, match="one key for each item, got 2 for 1"):
        SceneDataset(path, Compose(STEPS)).assemble([0], draw_keys(0, 0, [0, 1]))


def test_every_new_tensor_is_made_where_the_data_is(path_with_attributes):
    # With another default device, a tensor made without naming one would be without content.
    dataset = SceneDataset(path_with_attributes, Compose(STEPS), attributes=True)
    keys = draw_keys(0, 0, range(6))
    expected = dataset.assemble(range(6), keys)
    torch.manual_seed(0)
    without_keys = dataset.assemble(range(6))
    with torch.device("meta"):
        found = dataset.assemble(range(6), keys)
        torch.manual_seed(0)
        others = dataset.assemble(range(6))
        graphs = list(dataset.items_at(range(6), keys))
    assert_same_batch(found, expected)
    assert_same_batch(others, without_keys)
    assert_same_batch(Batch.from_data_list(graphs), expected)


def test_a_transform_of_one_s_own_draws_from_a_state_of_its_own(path):
    dataset = SceneDataset(path, PaintRelations())
    keys = draw_keys(0, 0, [2, 3])
    state = torch.get_rng_state()
    two = dataset.assemble([2, 3], keys)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_batch(dataset.assemble([2, 3], keys), two)
    assert not torch.equal(dataset.assemble([2, 3], keys + 1).edge_attr, two.edge_attr)
    torch.manual_seed(0)
    one = dataset[2].edge_attr
    torch.manual_seed(0)
    assert torch.equal(dataset.assemble([2]).edge_attr, one)


def test_items_need_not_stay_graphs(path):
    dataset = SceneDataset(path, lambda graph: graph.image_id)
    assert list(dataset) == [100 + i for i in range(6)]
    assert next(iter(DataLoader(dataset, batch_size=2))).tolist() == [100, 101]


def test_workers_can_not_use_pictures_on_another_device(path):
    dataset = SceneDataset(path)
    dataset.device = torch.device("cuda", 0)  # as if it were there
    loader = DataLoader(dataset, batch_size=2, num_workers=1)
    with pytest.raises(Sg2ImError, match="held on cuda:0, which worker processes can not use"):
        next(iter(loader))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_are_assembled_on_the_gpu(path_with_attributes):
    on_disk, on_gpu = (
        SceneDataset(path_with_attributes, Compose(STEPS), device=device, attributes=True)
        for device in (None, "cuda")
    )
    keys = draw_keys(0, 0, range(6))
    found, expected = on_gpu.assemble(range(6), keys), on_disk.assemble(range(6), keys)
    for key in expected.keys():
        assert found[key].is_cuda, key
        assert torch.equal(found[key].cpu(), expected[key]), key
    for one, other in zip(found.to_data_list(), expected.to_data_list(), strict=True):
        assert_same_graph(one.cpu(), other)
    for batch, plain in zip(
        DataLoader(on_gpu, batch_size=4), DataLoader(on_disk, batch_size=4), strict=True
    ):
        assert torch.equal(batch.image.cpu(), plain.image) and batch.x.is_cuda
    own = SceneDataset(path_with_attributes, PaintRelations(), device="cuda")
    assert_same_batch(own.assemble([2, 3], keys[:2]), own.assemble([2, 3], keys[:2]))


def collect(loader):
    return [(batch.image_id.tolist(), batch.x, batch.image) for batch in loader]


@pytest.mark.slow
def test_spawned_workers_read_the_same_as_the_main_process(path):
    dataset = SceneDataset(path, transform=AddImageNode())
    expected = collect(DataLoader(dataset, batch_size=2))  # leaves the file open
    loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context="spawn")
    for found, wanted in zip(collect(loader), expected, strict=True):
        assert found[0] == wanted[0]
        assert torch.equal(found[1], wanted[1]) and torch.equal(found[2], wanted[2])


class Tagged(SceneDataset):
    """A subclass that adds to its graphs, as PyG's users do."""

    def get(self, idx):
        graph = super().get(idx)
        graph.tag = torch.tensor([idx])
        return graph


def test_a_subclass_that_makes_its_own_graphs(path):
    dataset = Tagged(path, AddImageNode())
    expected = list(range(len(dataset)))
    assert [int(dataset[i].tag) for i in expected] == expected
    assert [int(graph.tag) for graph in dataset] == expected
    assert dataset.assemble(expected).tag.tolist() == expected
    assert torch.cat([b.tag for b in DataLoader(dataset, 4)]).tolist() == expected
    loader = SceneLoader(dataset, 4, shuffle=False)
    assert torch.cat([batch.tag for batch in loader]).tolist() == expected


def test_positions_that_are_none_raise(path):
    dataset = SceneDataset(path)
    chosen = np.array([True, False, True, False, False, True])
    assert dataset.assemble(chosen).image_id.tolist() == [100, 102, 105]
    for positions in ([0.5, 1.5], [[0, 1], [1, 2]], [True], slice(2)):
        with pytest.raises(IndexError, match="whole numbers, or by one truth value"):
            dataset.assemble(positions)


def test_nothing_and_what_is_no_graph(path):
    assert SceneDataset(path, lambda graph: graph).assemble([]).num_graphs == 0
    with pytest.raises(Sg2ImError, match="gives no graphs, .* but a int"):
        SceneDataset(path, lambda graph: 3).assemble([0])


def test_keys_of_draws_do_not_stay_in_what_a_transform_gives(path):
    dataset = SceneDataset(path, lambda graph: (graph, graph.clone()))
    for pair in dataset.items_at([0, 2], np.array([5, 6])):
        assert all("draw_key" not in graph for graph in pair)


def test_a_file_that_was_replaced_raises(tmp_path):
    path = write(tmp_path / "a.h5")
    dataset, other = SceneDataset(path), copy.deepcopy(SceneDataset(path))
    first = dataset[0].image
    write(path, side=0)
    assert torch.equal(dataset[0].image, first)  # this one has the file that it read at first
    with pytest.raises(Sg2ImError, match="replaced or changed since it was opened: open it again"):
        other[0]


def test_graphs_that_lack_something_raise():
    edges = torch.zeros(2, 0, dtype=torch.long)
    labels = torch.zeros(0, dtype=torch.long)
    for transform, graph, name in (
        (SampleGeometricRelations(), SceneGraph(torch.tensor([1, 2]), edges, labels), "boxes"),
        (AddImageNode(), SceneGraph(torch.tensor([1]), edges), "edge_attr"),
        (SubsampleObjects(), SceneGraph(torch.tensor([1])), "edge_index"),
    ):
        with pytest.raises(Sg2ImError, match=f"scene graph without {name} can not be transformed"):
            transform(graph)
