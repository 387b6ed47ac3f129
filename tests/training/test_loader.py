"""The order of the data depends on the seed and the step alone."""

from itertools import islice

import pytest
import torch

from sg2im_pyg.data import SceneLoader
from sg2im_pyg.training.data import open_split
from sg2im_pyg.training.loader import TrainingBatches, fixed_batches
from tests.data.batches import assert_same_batch, assert_same_graph


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


def test_fixed_batches_are_the_same_each_time_and_leave_the_global_state_alone(config):
    dataset = open_split(config, "train", augment=True)
    state = torch.get_rng_state()
    first = fixed_batches(dataset, range(1, 12, 2), 4, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert [batch.num_graphs for batch in first] == [4, 2]
    again = fixed_batches(dataset, range(1, 12, 2), 4, seed=5)
    for one, other in zip(first, again, strict=True):
        assert_same_batch(one, other)
    # An item is drawn alike in any batch.
    (larger,) = fixed_batches(dataset, range(12), 12, seed=5)
    for place, batch in ((1, first[0][0]), (9, first[1][0])):
        assert_same_graph(batch, larger[place])


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_worker_processes_and_storage_change_nothing(config, storage):
    alone, shared = (
        SceneLoader(
            open_split(config, "train", augment=True, in_memory=in_memory),
            num_workers=workers,
            batch_sampler=TrainingBatches(20, 4, 0, start_step=3),
        )
        for workers, in_memory in ((0, False), (2, storage == "memory"))
    )
    for first, second in islice(zip(alone, shared, strict=False), 7):
        assert_same_batch(first, second)


def test_processes_draw_what_one_process_draws(config):
    dataset = open_split(config, "train", augment=True)

    def graphs(rank, processes):
        batches = TrainingBatches(20, 4, 0, 0, rank, processes)
        found = {}
        for batch in islice(SceneLoader(dataset, batch_sampler=batches), 5):
            found.update({graph.image_id.item(): graph for graph in batch.to_data_list()})
        return found

    whole, parts = graphs(0, 1), graphs(0, 2) | graphs(1, 2)
    assert sorted(whole) == sorted(parts) and len(whole) == 20
    for image_id, graph in whole.items():
        assert_same_graph(parts[image_id], graph)
