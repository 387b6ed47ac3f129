"""A split as a data set of PyG: items, transforms, batches and workers."""

import copy

import numpy as np
import pytest
import torch
from torch_geometric.data import Dataset
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

from sg2im_pyg import SceneGraph, Sg2ImError, Vocabulary
from sg2im_pyg.data import (
    AddImageNode,
    SampleGeometricRelations,
    Scene,
    SceneDataset,
    SceneWriter,
    SubsampleObjects,
)
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES

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
            relationships=np.array([[count - 1, 2, 0]] * (count > 1)).reshape(-1, 3),
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
