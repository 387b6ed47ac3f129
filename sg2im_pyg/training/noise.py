"""The noise of a training, the same however a batch is shared out."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch

from sg2im_pyg.data.batching import object_ends
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.nn.augmentation import DRAWS
from sg2im_pyg.nn.box_flow import TRAINING_NOISE_CHANNELS
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.loader import TrainingBatches

_STREAM = 2**32  # seeds of runs are smaller: the data's draws have other keys


@dataclass
class Draws:
    """What is drawn for a part of a step's batch; what is absent a step draws itself, where the
    networks want it."""

    layout: Tensor | None = None
    """See :func:`layout_noise`."""
    appearance: Tensor | None = None
    """See :func:`appearance_noise`."""
    boxes: Tensor | None = None
    """See :func:`box_noise`."""
    augmentation: Tensor | None = None
    """See :func:`augmentation_draws`. A picture, true and generated, is changed alike for all
    players, so that label maps fit both."""
    unmasked: Tensor | None = None
    """Which pictures get predicted masks, see :func:`chosen_places`; none where it is absent."""


def step_draws(
    config: TrainingConfig,
    step: int,
    batches: TrainingBatches,
    parts: Sequence[Batch],
    device: torch.device,
) -> list[Draws]:
    """What a step draws for each part of its batch.

    Args:
        config: Options of the run.
        step: Number of the step.
        batches: The order of its pictures.
        parts: The graphs of each part.
        device: Where it is drawn.
    """
    seeds, before = (config.seed, step), step * batches.batch_size
    return [
        Draws(
            layout_noise(config.model, *seeds, own, device),
            appearance_noise(config.model, *seeds, own, graphs, device),
            box_noise(config.model, *seeds, own, graphs, device),
            augmentation_draws(config.losses.augmentation, *seeds, own, device),
            chosen_places(config.predicted_masks, (before + place for place in own), device),
        )
        for own, graphs in zip(batches.places(), parts, strict=True)
    ]


def layout_noise(
    model: ModelConfig, seed: int, step: int, positions: Iterable[int], device: torch.device
) -> Tensor | None:
    r"""Normal noise for some pictures of a step's batch.

    The noise of a picture follows from the seed of the run, the step and the picture's place in
    the batch of all processes alone: neither the number of processes nor that of the parts in
    which a batch is computed changes it, nor an interruption.

    Args:
        model: Options of the generator.
        seed: Seed of the run.
        step: Number of the step.
        positions: Places in the batch, or other numbers that tell the pictures apart.
        device: Where it is drawn; other devices draw other numbers.

    Returns:
        Shape :math:`(N, \text{layout\_noise\_dim}, H, W)`; :obj:`None` if the model takes none.
    """
    if not model.layout_noise_dim:
        return None
    shape = (model.layout_noise_dim, *model.image_size)
    places = list(positions)
    generator = torch.Generator(device)
    noise = torch.empty((len(places), *shape), device=device)
    for i, key in enumerate(draw_keys(seed + _STREAM, step, places).tolist()):
        torch.randn(shape, generator=generator.manual_seed(key), out=noise[i])
    return noise


def appearance_noise(
    model: ModelConfig,
    seed: int,
    step: int,
    positions: Iterable[int],
    graphs: Batch,
    device: torch.device,
) -> Tensor | None:
    r"""Normal noise for the appearance of the objects of some pictures, which follows from the same
    as :func:`layout_noise`.

    Args:
        model: Options of the generator.
        seed: Seed of the run.
        step: Number of the step.
        positions: Places in the batch.
        graphs: Their graphs.
        device: Where it is drawn.

    Returns:
        Shape :math:`(O, \text{appearance\_dim})`; :obj:`None` if the model takes none.
    """
    if not model.appearance_dim:
        return None
    keys = draw_keys(seed + 2 * _STREAM, step, list(positions))
    return _object_noise(keys, graphs, model.appearance_dim, device)


def box_noise(
    model: ModelConfig,
    seed: int,
    step: int,
    positions: Iterable[int],
    graphs: Batch,
    device: torch.device,
) -> Tensor | None:
    r"""Normal noise from which the boxes of the objects of some pictures are learnt and drawn; the
    arguments are those of :func:`appearance_noise`.

    Returns:
        Shape :math:`(O, F)` with :data:`~sg2im_pyg.nn.box_flow.TRAINING_NOISE_CHANNELS` :math:`F`;
        :obj:`None` if the model draws no boxes.
    """
    if not model.box_flow_dim:
        return None
    keys = draw_keys(seed + 3 * _STREAM, step, list(positions))
    return _object_noise(keys, graphs, TRAINING_NOISE_CHANNELS, device)


def augmentation_draws(
    kinds: Collection[str], seed: int, step: int, positions: Iterable[int], device: torch.device
) -> Tensor | None:
    r"""Uniform numbers from which follows how discriminators see some pictures of a step's batch,
    and which follow from the same as :func:`layout_noise`.

    Args:
        kinds: What is changed, see :class:`~sg2im_pyg.nn.augmentation.Augmentation`.
        seed: Seed of the run.
        step: Number of the step.
        positions: Places in the batch.
        device: Where they are drawn.

    Returns:
        Shape :math:`(N, 7)`; :obj:`None` if nothing is changed.
    """
    if not kinds:
        return None
    places = list(positions)
    generator = torch.Generator(device)
    draws = torch.empty((len(places), DRAWS), device=device)
    for row, key in zip(draws, draw_keys(seed + 4 * _STREAM, step, places).tolist(), strict=True):
        torch.rand(DRAWS, generator=generator.manual_seed(key), out=row)
    return draws


def _object_noise(keys: np.ndarray, graphs: Batch, channels: int, device: torch.device) -> Tensor:
    """Noise for the objects of each picture from its key."""
    generator = torch.Generator(device)
    objects = np.diff(object_ends(graphs)).tolist()
    return torch.cat(
        [
            torch.randn((count, channels), generator=generator.manual_seed(key), device=device)
            for key, count in zip(keys.tolist(), objects, strict=True)
        ]
    )


def chosen_places(share: float, places: Iterable[int], device: torch.device) -> Tensor | None:
    """Which places in the order of a training are chosen where a share of them is: evenly spread,
    so that the number of processes changes nothing.

    Args:
        share: Share of the places.
        places: Places in the order, in which each step goes on where the one before it ended, so
            that a small share of small batches is kept too.
        device: Where the result is wanted.

    Returns:
        Whether each is chosen, shape :math:`(N,)`, bool; :obj:`None` if none ever is.
    """
    if not share:
        return None
    order = np.fromiter(places, np.int64)
    chosen = np.floor((order + 1) * share) > np.floor(order * share)
    return torch.from_numpy(chosen).to(device, non_blocking=True)
