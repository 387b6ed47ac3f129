"""The noise of the layout, the same however a batch is shared out."""

from collections.abc import Iterable

import torch
from torch import Tensor

from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.model_config import ModelConfig

_STREAM = 2**32  # seeds of runs are smaller: the data's draws have other keys


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
