"""The order of the training data.

What a step sees depends on the seed and the number of the step alone, not on the number of
worker processes nor on where a run was interrupted: the order of each epoch comes from the seed
and the epoch, and the draws of an item's transforms from the seed, the epoch and the item (see
:mod:`sg2im_pyg.data.loader`).
"""

from collections.abc import Iterable, Iterator
from itertools import count, pairwise

import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Batch

from sg2im_pyg.data import SceneDataset
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.data.loader import Draw, EpochBatches


class TrainingBatches(Sampler[list[Draw]]):
    """Batches of draws without end, from a step on; each epoch is shuffled anew. Each step takes
    as many of them as there are parts.

    Pictures that do not fill a last batch are left out of that epoch.

    Args:
        pictures: Number of pictures.
        batch_size: Pictures a batch, over all processes; no more than there are pictures.
        seed: Seed of the run.
        start_step: Steps that were already made.
        rank: Number of this process.
        world_size: Number of processes; each takes its own share of a batch.
        parts: Parts in which the share is handed out, see :meth:`places`.
    """

    def __init__(
        self,
        pictures: int,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        parts: int = 1,
    ) -> None:
        self.batch_size = min(batch_size, pictures)
        self.epochs = EpochBatches(pictures, self.batch_size, True, seed, drop_last=True)
        self.start_step = start_step
        self.rank = rank
        self.world_size = world_size
        self.parts = parts

    def places(self) -> list[list[int]]:
        """Places in the batch of all processes of the pictures in each part of this share."""
        own = range(self.rank, self.batch_size, self.world_size)
        ends = [len(own) * i // self.parts for i in range(self.parts + 1)]
        return [list(own[first:end]) for first, end in pairwise(ends)]

    def __iter__(self) -> Iterator[list[Draw]]:
        start, first = divmod(self.start_step, len(self.epochs))
        for epoch in count(start):
            for batch in self.epochs.batches(epoch, first if epoch == start else 0):
                for places in self.places():
                    yield [batch[place] for place in places]


class DeviceBatches(Iterator[Batch]):
    """Batches on a device. On a GPU the next one is copied (or assembled there) while the device
    computes: nothing of that makes the computation wait.

    Args:
        loader: Gives the batches, on the CPU (pinned) or on the device.
        device: Where they are wanted.
    """

    def __init__(self, loader: Iterable[Batch], device: torch.device) -> None:
        self._batches = iter(loader)
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next: Batch | None = None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))
            self._next = self._fetch()

    def _fetch(self) -> Batch:
        with torch.cuda.stream(self._stream):
            return next(self._batches).to(self._device, non_blocking=True)

    def __next__(self) -> Batch:
        if self._stream is None or self._next is None:
            return next(self._batches).to(self._device)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        batch = self._next
        for value in batch.to_dict().values():
            if isinstance(value, Tensor):
                value.record_stream(current)
        self._next = self._fetch()
        return batch


def fixed_batches(dataset: SceneDataset, indices: range, batch_size: int, seed: int) -> list[Batch]:
    """The same batches each time they are asked for, in order, each graph drawn once."""
    parts = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return [dataset.assemble(part, draw_keys(seed, 0, part)) for part in parts]
