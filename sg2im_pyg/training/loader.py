"""The order of the training data, and each item's own randomness.

What a step sees depends on the seed and the number of the step alone, not on the number of
worker processes nor on where a run was interrupted: the order of each epoch comes from the seed
and the epoch, and the random state in which an item's transforms draw from the seed, the epoch
and the item.
"""

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from sg2im_pyg.data import SceneDataset

Draw = tuple[int, int]
"""An epoch and an item: what identifies one random draw of a graph."""


class SeededScenes(Dataset):
    """Items of a data set whose transforms draw from a random state of the item's own.

    Args:
        dataset: The data set, with its transforms.
        seed: Seed of the run.
    """

    def __init__(self, dataset: SceneDataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Any:
        epoch, index = draw
        state = np.random.SeedSequence([self.seed, epoch, index]).generate_state(2)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(state[0]) << 32 | int(state[1]))
            return self.dataset[index]


class TrainingBatches(Sampler[list[Draw]]):
    """Batches of draws without end, from a step on; each epoch is shuffled anew.

    Pictures that do not fill a last batch are left out of that epoch.

    Args:
        pictures: Number of pictures.
        batch_size: Pictures a batch, over all processes; no more than there are pictures.
        seed: Seed of the run.
        start_step: Steps that were already made.
        rank: Number of this process.
        world_size: Number of processes; each takes its own share of a batch.
    """

    def __init__(
        self,
        pictures: int,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.pictures = pictures
        self.batch_size = min(batch_size, pictures)
        self.seed = seed
        self.start_step = start_step
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, first = divmod(self.start_step, self.batches_per_epoch)
        while True:
            order = self.epoch_order(epoch)
            for batch in range(first, self.batches_per_epoch):
                chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield [(epoch, index) for index in chosen[self.rank :: self.world_size]]
            epoch, first = epoch + 1, 0

    def epoch_order(self, epoch: int) -> list[int]:
        """All pictures in the order of an epoch."""
        generator = np.random.default_rng([self.seed, epoch])
        return generator.permutation(self.pictures).tolist()

    @property
    def batches_per_epoch(self) -> int:
        return self.pictures // self.batch_size


def training_loader(
    scenes: SeededScenes, batches: TrainingBatches, workers: int, pin_memory: bool
) -> DataLoader:
    """PyG's loader over the batches, read by worker processes."""
    return DataLoader(
        scenes,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker if workers else None,
        persistent_workers=workers > 0,
        # Its own generator: with none, every start of an epoch would draw from the global state.
        generator=torch.Generator(),
    )


def fixed_batches(dataset: SceneDataset, indices: range, batch_size: int, seed: int) -> list[Batch]:
    """The same batches each time they are asked for, in order, each graph drawn once."""
    scenes = SeededScenes(dataset, seed)
    return [
        Batch.from_data_list([scenes[0, index] for index in indices[start : start + batch_size]])
        for start in range(0, len(indices), batch_size)
    ]


def _start_worker(worker: int) -> None:
    # Ctrl-C reaches the whole group of processes; only the main one may answer it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
