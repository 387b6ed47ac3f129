"""Feature matching: generated pictures should be alike true ones in a discriminator's layers."""

from collections.abc import Sequence

import torch
from torch import Tensor


def feature_distance(made: Sequence[Sequence[Tensor]], true: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute difference in the layers of a discriminator, all layers alike
    (`"High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs"
    <https://arxiv.org/abs/1711.11585>`_, Section 3.2).

    Args:
        made: What the layers give for generated pictures, the scores last, for each scale.
        true: The same for true ones.
    """
    distances = []
    for of_made, of_true in zip(made, true, strict=True):
        for one, other in zip(of_made[:-1], of_true[:-1], strict=True):
            distances.append((one - other).abs().mean())
    return torch.stack(distances).mean()
