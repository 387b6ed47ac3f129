"""The order of the training data.

What a step sees depends on the seed and the number of the step alone, not on the number of
worker processes nor on where a run was interrupted: the order of each epoch comes from the seed
and the epoch, and the draws of an item's transforms from the seed, the epoch and the item (see
:mod:`sg2im_pyg.data.loader`).
"""

from collections.abc import Iterator

from torch.utils.data import Sampler
from torch_geometric.data import Batch

from sg2im_pyg.data import SceneDataset
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.data.loader import Draw, epoch_order


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
            order = epoch_order(self.pictures, self.seed, epoch)
            for batch in range(first, self.batches_per_epoch):
                chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield [(epoch, index) for index in chosen[self.rank :: self.world_size]]
            epoch, first = epoch + 1, 0

    @property
    def batches_per_epoch(self) -> int:
        return self.pictures // self.batch_size


def fixed_batches(dataset: SceneDataset, indices: range, batch_size: int, seed: int) -> list[Batch]:
    """The same batches each time they are asked for, in order, each graph drawn once."""
    parts = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return [dataset.assemble(part, draw_keys(seed, 0, part)) for part in parts]
