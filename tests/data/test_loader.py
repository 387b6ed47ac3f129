"""SceneLoader: whole batches, the same for any number of workers, drawn anew each epoch."""

import pickle
import random

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

from sg2im_pyg import Sg2ImError
from sg2im_pyg.data import AddImageNode, SceneDataset, SceneLoader
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.data.loader import EpochBatches, SeededScenes, epoch_order
from tests.data.batches import assert_same_batch, assert_same_graph
from tests.data.test_dataset import STEPS, PaintRelations, write


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("loader") / "train.h5")


def open_scenes(path, **options):
    return SceneDataset(path, Compose(STEPS), **options)


def test_batches_equal_those_of_the_plain_loader(path):
    dataset = SceneDataset(path, AddImageNode())
    fast = SceneLoader(dataset, batch_size=4, shuffle=False)
    slow = DataLoader(dataset, batch_size=4)
    assert len(fast) == len(slow) == 2
    for found, expected in zip(fast, slow, strict=True):
        assert_same_batch(found, expected)
    for options in ({"follow_batch": ["boxes"]}, {"exclude_keys": ["masks", "image_id"]}):
        fast = SceneLoader(dataset, 4, shuffle=False, **options)
        for found, expected in zip(fast, DataLoader(dataset, 4, **options), strict=True):
            assert_same_batch(found, expected)


def test_each_epoch_is_drawn_anew_and_the_same_again_for_the_same_seed(path):
    loader = SceneLoader(open_scenes(path), batch_size=6, seed=3)
    state = torch.get_rng_state()
    epochs = [next(iter(loader)) for _ in range(4)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(sorted(epoch.image_id.tolist()) == list(range(100, 106)) for epoch in epochs)
    assert len({tuple(epoch.image_id.tolist()) for epoch in epochs}) > 1
    drawn = [{graph.image_id.item(): graph for graph in epoch.to_data_list()} for epoch in epochs]
    # The picture of 12 objects keeps others of them.
    assert not torch.equal(drawn[0][102].boxes, drawn[1][102].boxes)
    again = SceneLoader(open_scenes(path), batch_size=6, seed=3)
    assert_same_batch(next(iter(again)), epochs[0])
    again.set_epoch(3)
    assert_same_batch(next(iter(again)), epochs[3])
    other = next(iter(SceneLoader(open_scenes(path), batch_size=6, seed=4)))
    assert other.image_id.tolist() != epochs[0].image_id.tolist()


def test_the_draws_of_an_item_do_not_depend_on_batch_size_or_order(path):
    dataset = open_scenes(path)
    keys = draw_keys(1, 0, range(6))
    expected = {100 + i: dataset.items_at([i], keys[i : i + 1])[0] for i in range(6)}
    for batch_size in (1, 4, 6):
        for shuffle in (False, True):
            for batch in SceneLoader(dataset, batch_size, shuffle, seed=1):
                for graph in batch.to_data_list():
                    wanted = expected[graph.image_id.item()]
                    assert torch.equal(graph.boxes, wanted.boxes)
                    assert torch.equal(graph.edge_index, wanted.edge_index)


def test_pictures_that_do_not_fill_a_batch_can_be_left_out(path):
    loader = SceneLoader(open_scenes(path), batch_size=4, drop_last=True)
    assert [batch.num_graphs for batch in loader] == [4] and len(loader) == 1
    assert [batch.num_graphs for batch in SceneLoader(open_scenes(path), 4)] == [4, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("context", "workers", "in_memory", "first"),
    [("fork", 1, False, []), ("fork", 2, True, [PaintRelations()]), ("spawn", 2, True, [])],
)
def test_workers_change_nothing(path, context, workers, in_memory, first):
    transform = Compose([*first, *STEPS])
    alone = SceneLoader(SceneDataset(path, transform), batch_size=2, seed=5)
    loader = SceneLoader(
        SceneDataset(path, transform, in_memory=in_memory),
        batch_size=2,
        seed=5,
        num_workers=workers,
        multiprocessing_context=context,
    )
    for _ in range(2):
        for found, expected in zip(loader, alone, strict=True):
            assert_same_batch(found, expected)


@pytest.mark.slow
def test_the_plain_loader_reads_the_same_from_any_number_of_workers(path):
    dataset = SceneDataset(path, AddImageNode())
    alone = list(DataLoader(dataset, batch_size=2))
    for workers in (1, 2):
        for found, expected in zip(
            DataLoader(dataset, batch_size=2, num_workers=workers), alone, strict=True
        ):
            assert_same_batch(found, expected)


def test_pictures_on_another_device_allow_no_workers(path):
    dataset = open_scenes(path)
    dataset.device = torch.device("cuda", 0)  # as if it were there
    with pytest.raises(Sg2ImError, match="num_workers must be 0 .* held on cuda:0, .* got 2"):
        SceneLoader(dataset, num_workers=2)
    assert not SceneLoader(dataset, pin_memory=True).pin_memory


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_come_from_the_gpu(path):
    loaders = [
        SceneLoader(open_scenes(path, device=device), 4, pin_memory=device is None)
        for device in (None, "cuda")
    ]
    for expected, found in zip(*loaders, strict=True):
        assert found.image.is_cuda
        for key in expected.keys():
            assert torch.equal(found[key].cpu(), expected[key]), key


def test_wrong_numbers_raise(path):
    with pytest.raises(Sg2ImError, match="batch_size must be at least 1, got 0"):
        SceneLoader(open_scenes(path), batch_size=0)
    with pytest.raises(Sg2ImError, match="seed must be at least 0, got -1"):
        SceneLoader(open_scenes(path), seed=-1)
    loader = SceneLoader(open_scenes(path), batch_sampler=[[(0, 1)]])
    assert [batch.image_id.tolist() for batch in loader] == [[101]]
    with pytest.raises(Sg2ImError, match="are its sampler's"):
        loader.set_epoch(1)


# --- SeededScenes and EpochBatches ----------------------------------------------------------------


@pytest.mark.parametrize("transform", [Compose(STEPS), Compose([PaintRelations(), *STEPS])])
def test_a_draw_is_the_same_alone_and_among_others(path, transform):
    scenes = SeededScenes(SceneDataset(path, transform), seed=5)
    draws = [(0, 2), (1, 2), (0, 3), (0, 2)]
    state = torch.get_rng_state()
    together = scenes.__getitems__(draws)
    for found, draw in zip(together, draws, strict=True):
        assert_same_graph(found, scenes[draw])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(together[0].boxes, together[1].boxes)
    assert len(scenes) == 6
    again = pickle.loads(pickle.dumps(scenes))
    assert_same_graph(again[1, 2], together[1])
    expected = scenes.dataset.assemble([2, 2, 3, 2], draw_keys(5, [0, 1, 0, 0], [2, 2, 3, 2]))
    assert_same_batch(Batch.from_data_list(list(together)), expected)


def test_an_epoch_holds_each_item_once():
    batches = EpochBatches(10, 4, shuffle=True, seed=0)
    for epoch in range(3):
        batches.epoch = epoch
        drawn = [draw for batch in batches for draw in batch]
        assert {number for number, _ in drawn} == {epoch}
        assert [index for _, index in drawn] == epoch_order(10, 0, epoch)
        assert sorted(index for _, index in drawn) == list(range(10))
    plain = EpochBatches(5, 2, shuffle=False, seed=0)
    assert list(plain) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]
    plain.epoch = 1
    assert next(iter(plain)) == [(1, 0), (1, 1)]


def numpy_and_python_noise(graph):
    """A transform of one's own that draws from the global generators of numpy and Python."""
    graph.noise = torch.tensor([[np.random.rand(), random.random()]])  # noqa: NPY002
    return graph


@pytest.mark.slow
def test_draws_of_numpy_and_python_follow_from_the_seed_too(path):
    dataset = SceneDataset(path, numpy_and_python_noise)
    state = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    epochs = [
        [batch.noise for batch in SceneLoader(dataset, 2, seed=seed, num_workers=workers)]
        for seed, workers in ((1, 0), (1, 2), (2, 0))
    ]
    assert (np.random.get_state()[1].tolist(), random.getstate()) == state  # noqa: NPY002
    for alone, in_workers, other in zip(*epochs, strict=True):
        assert torch.equal(alone, in_workers) and not torch.equal(alone, other)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_is_counted_when_it_begins(path, workers):
    loader = SceneLoader(open_scenes(path), 6, seed=3, num_workers=workers)
    expected = []
    for epoch in range(4):
        fresh = SceneLoader(open_scenes(path), 6, seed=3)
        fresh.set_epoch(epoch)
        expected.append(next(iter(fresh)))
    iter(loader)  # begun and not used
    second, third = iter(loader), iter(loader)
    assert_same_batch(next(third), expected[2])
    assert_same_batch(next(second), expected[1])


@pytest.mark.slow
def test_a_kept_number_does_not_keep_the_pictures(path):
    batch = next(iter(SceneLoader(open_scenes(path), 6, num_workers=1)))
    assert batch.image_id.untyped_storage().nbytes() == batch.image_id.nbytes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampler": [0, 1]}, "takes no sampler"),
        ({"collate_fn": list}, "takes no collate_fn"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": None}, "seed must be a whole number, got None"),
    ],
)
def test_what_a_loader_does_not_take(path, options, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        SceneLoader(open_scenes(path), **options)


def test_samplers_of_plain_indices_and_other_data_sets_raise(path):
    dataset = open_scenes(path)
    for batches in ([[1, 2, 3, 4]], [[1, 2, 3]], [[(0, 1), 2]]):
        with pytest.raises(Sg2ImError, match="pairs of epoch and item"):
            list(SceneLoader(dataset, batch_sampler=batches))
    with pytest.raises(Sg2ImError, match="a part of one .* got a Subset"):
        SceneLoader(torch.utils.data.Subset(dataset, [0, 1]))
    assert len(list(SceneLoader(dataset[:3], 2, seed=np.int64(3)))) == 2
