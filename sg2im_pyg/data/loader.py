"""A loader of whole batches whose order and draws follow from a seed.

What an item looks like depends on the seed, the epoch and the number of the item alone, not on
the number of worker processes nor on the batch that it comes in.
"""

import operator
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from sg2im_pyg.data.batching import AssembledGraphs, put_together
from sg2im_pyg.data.dataset import SceneDataset
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.data.parcel import Parcel
from sg2im_pyg.errors import Sg2ImError

Draw = tuple[int, int]
"""An epoch and an item: what identifies one random draw of a graph."""


class SceneLoader(DataLoader):
    """PyG's :class:`~torch_geometric.loader.DataLoader` for a :class:`SceneDataset`.

    Batches are assembled at once and handed on as they are, many times faster than by the plain
    loader. Each pass over it is a new epoch, with an order and with draws of the transforms that
    follow from the seed and the number of the epoch, whatever the number of worker processes.
    Torch's global random state is left alone.

    Args:
        dataset: The data set, with its transforms.
        batch_size: Pictures a batch.
        shuffle: Whether each epoch has an order of its own.
        seed: Seed of order and draws.
        num_workers: Processes that assemble batches beside this one; 0 for a data set on another
            device than the CPU.
        drop_last: Whether to leave out the pictures that do not fill a last batch.
        batch_sampler: Batches of pairs of epoch and item, in place of the epochs of this loader
            (:obj:`batch_size`, :obj:`shuffle` and :obj:`drop_last` then have no meaning).
        **kwargs: Other arguments of PyG's loader.

    Raises:
        Sg2ImError: If workers are wanted for a data set that is not on the CPU; if a number is out
            of range.
    """

    collate_fn: Callable[[Any], Any]

    def __init__(
        self,
        dataset: SceneDataset,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        num_workers: int = 0,
        drop_last: bool = False,
        batch_sampler: Sampler[list[Draw]] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(dataset, SceneDataset):
            raise Sg2ImError(
                "A SceneLoader takes a SceneDataset or a part of one (dataset[indices]), got a "
                f"{type(dataset).__name__}: for other data sets use PyG's DataLoader."
            )
        for name in ("sampler", "collate_fn"):
            if kwargs.get(name) is not None:
                raise Sg2ImError(
                    f"A SceneLoader takes no {name}: its order and its batches are its own. Give a "
                    "batch_sampler of pairs of epoch and item, or use PyG's DataLoader."
                )
        seed = _whole_number("seed", seed)
        on_cpu = dataset.device.type == "cpu"
        if num_workers and not on_cpu:
            raise Sg2ImError(
                f"num_workers must be 0 for pictures that are held on {dataset.device}, which "
                f"worker processes can not use; got {num_workers}."
            )
        if batch_sampler is None:
            batch_sampler = EpochBatches(len(dataset), batch_size, shuffle, seed, drop_last)
        options: dict[str, Any] = {
            "worker_init_fn": start_worker if num_workers else None,
            # Its own generator: with none, every epoch would draw from the global state.
            "generator": torch.Generator(),
            **kwargs,
        }
        options["pin_memory"] = options.get("pin_memory", False) and on_cpu
        super().__init__(
            SeededScenes(dataset, seed),
            batch_sampler=batch_sampler,
            num_workers=num_workers,
            **options,
        )
        self.collate_fn = SceneCollater(self.collate_fn, (self.follow_batch, self.exclude_keys))

    def __iter__(self) -> Any:
        # torch asks its sampler once or twice a pass, depending on the workers: it is counted here.
        iterator = super().__iter__()
        if isinstance(self.batch_sampler, EpochBatches):
            self.batch_sampler.epoch += 1
        return iterator

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next pass is (passes count on from there); the first one is 0."""
        if not isinstance(self.batch_sampler, EpochBatches):
            raise Sg2ImError("The epochs of a loader with its own batch_sampler are its sampler's.")
        epoch = _whole_number("epoch", epoch)
        if epoch < 0:
            raise Sg2ImError(f"An epoch must be at least 0, got {epoch}.")
        self.batch_sampler.epoch = epoch


@dataclass
class SceneCollater:
    """Puts items together as PyG's loader does; batches that are assembled stay as they are."""

    plain: Callable[[Any], Any]
    """What PyG's loader does."""
    options: tuple[list[str] | None, list[str] | None]
    """Its ``follow_batch`` and ``exclude_keys``."""

    def __call__(self, items: Sequence[Any]) -> Any:
        if isinstance(items, AssembledGraphs) and not any(self.options):
            whole = items.batch
        elif isinstance(items[0], Data):
            whole = put_together(items, *self.options)
        else:
            whole = self.plain(items)
        return whole if get_worker_info() is None else Parcel(whole)


@dataclass(eq=False)
class SeededScenes(Dataset):
    """Items of a data set, each with the draws of an epoch of a run."""

    dataset: SceneDataset
    """The data set, with its transforms."""
    seed: int
    """Seed of the run."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Any:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[Draw]) -> Sequence[Any]:
        if any(not isinstance(draw, Sequence) or len(draw) != 2 for draw in draws):
            raise Sg2ImError(
                "A batch of a SceneLoader is a list of pairs of epoch and item, got "
                f"{str(draws)[:60]}: give such a batch_sampler, or use PyG's DataLoader for plain "
                "indices."
            )
        epochs, indices = np.asarray(draws, np.int64).reshape(-1, 2).T
        return self.dataset.items_at(indices, draw_keys(self.seed, epochs, indices))


@dataclass(eq=False)
class EpochBatches(Sampler[list[Draw]]):
    """Batches of draws of one epoch."""

    pictures: int
    """Number of pictures."""
    batch_size: int
    """Pictures a batch."""
    shuffle: bool
    """Whether each epoch has an order of its own."""
    seed: int
    """Seed of the orders."""
    drop_last: bool = False
    """Whether to leave out the pictures that do not fill a last batch."""
    epoch: int = 0
    """The epoch of the next pass."""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise Sg2ImError(f"{name} must be at least {least}, got {getattr(self, name)}.")

    def __iter__(self) -> Iterator[list[Draw]]:
        # No generator itself: which epoch it is counts from here on, not from the first batch.
        return self.batches(self.epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[list[Draw]]:
        """The batches of an epoch, from one on."""
        order: Sequence[int] = range(self.pictures)
        if self.shuffle:
            order = epoch_order(self.pictures, self.seed, epoch)
        for batch in range(first, len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(epoch, index) for index in chosen]

    def __len__(self) -> int:
        whole, rest = divmod(self.pictures, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)


def _whole_number(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError as error:
        raise Sg2ImError(f"{name} must be a whole number, got {value!r}.") from error


def epoch_order(pictures: int, seed: int, epoch: int) -> list[int]:
    """All pictures in the order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(pictures).tolist()


def start_worker(worker: int) -> None:
    """What a worker process does first."""
    # Ctrl-C reaches the whole group of processes, and so does the SIGTERM of SLURM, systemd and
    # torchrun; only the main one may answer them. A worker ends when that one does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
