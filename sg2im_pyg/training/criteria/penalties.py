"""Penalties on a discriminator's gradient: R1 at true pictures, R2 at generated ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sg2im_pyg.training.criteria.adversarial import scales_of


def gradient_penalty(scores: Tensor | Sequence[Tensor], images: Tensor) -> Tensor:
    """Half the squared gradient of a discriminator's score, averaged over the pictures (`"Which
    Training Methods for GANs do actually Converge?" <https://arxiv.org/abs/1801.04406>`_,
    Equation 9).

    Args:
        scores: What it gave for the pictures: of each picture the mean is taken, and the sum of
            these over several scales.
        images: Pictures or crops that it was asked about, which require a gradient.
    """
    total = torch.stack([s.sum() / (s.numel() / len(images)) for s in scales_of(scores)]).sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True)
    return 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()
