"""The order of the data depends on the seed and the step alone."""

from itertools import islice

import pytest
import torch
from torch_geometric.data import Batch

from sg2im_pyg.training.loader import SeededScenes, TrainingBatches, training_loader
from sg2im_pyg.training.trainer import open_split


def test_an_epoch_holds_each_picture_once_and_the_next_one_another_order():
    batches = list(islice(iter(TrainingBatches(12, 4, seed=3)), 6))
    first, second = batches[:3], batches[3:]
    for epoch, part in enumerate((first, second)):
        assert sorted(index for batch in part for _, index in batch) == list(range(12))
        assert all(e == epoch for batch in part for e, _ in batch)
    assert first != [[(0, index) for _, index in batch] for batch in second]


@pytest.mark.parametrize("start", [1, 3, 7])
def test_starting_later_gives_the_rest_of_the_same_order(start):
    whole = list(islice(iter(TrainingBatches(10, 3, seed=0)), 12))
    assert list(islice(iter(TrainingBatches(10, 3, 0, start)), 12 - start)) == whole[start:]


def test_processes_share_each_batch():
    whole = list(islice(iter(TrainingBatches(12, 4, seed=0)), 4))
    parts = [list(islice(iter(TrainingBatches(12, 4, 0, 0, rank, 2)), 4)) for rank in (0, 1)]
    for batch, one, two in zip(whole, *parts, strict=True):
        assert sorted(one + two) == sorted(batch)
        assert len(one) == len(two) == 2


def test_a_batch_is_no_larger_than_the_data():
    assert [len(b) for b in islice(iter(TrainingBatches(3, 32, seed=0)), 2)] == [3, 3]


def same(first: Batch, second: Batch) -> bool:
    return all(
        torch.equal(first[key], second[key])
        for key in ("x", "edge_index", "edge_attr", "boxes", "image", "batch")
    )


def test_an_item_is_drawn_from_its_own_state_and_leaves_the_global_one_alone(config):
    scenes = SeededScenes(open_split(config, "train", augment=True), seed=5)
    state = torch.get_rng_state()
    first = scenes[0, 3]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(10)
    again, other = scenes[0, 3], scenes[1, 3]
    assert torch.equal(first.edge_index, again.edge_index)
    differing = [
        not torch.equal(scenes[0, i].edge_index, scenes[1, i].edge_index) for i in range(10)
    ]
    assert any(differing) and torch.equal(first.x, other.x)


@pytest.mark.slow
def test_worker_processes_change_nothing(config):
    dataset = open_split(config, "train", augment=True)
    loaders = [
        training_loader(SeededScenes(dataset, 0), TrainingBatches(20, 4, 0), workers, False)
        for workers in (0, 2)
    ]
    for first, second in islice(zip(*loaders, strict=False), 7):
        assert same(first, second)
