"""Adversarial losses: what a discriminator's scores cost the generator, and the discriminator."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sg2im_pyg.training.loss_table import AdversarialKind


def generator_loss(
    kind: AdversarialKind,
    fake_scores: Tensor | Sequence[Tensor],
    real_scores: Tensor | Sequence[Tensor] | None = None,
) -> Tensor:
    """What the generator minimises: generated pictures should be taken for real.

    Args:
        kind: See :attr:`LossConfig.adversarial_kind`.
        fake_scores: Scores of generated pictures or crops, any shape; or several such, of which the
            mean is taken.
        real_scores: Those of the true ones, which the relativistic loss alone looks at.

    Returns:
        A scalar.

    Raises:
        ValueError: If the kind is unknown.
    """
    fakes = scales_of(fake_scores)
    if kind == "relativistic":
        assert real_scores is not None
        pairs = zip(fakes, scales_of(real_scores), strict=True)
        losses = [F.softplus(real - fake).mean() for fake, real in pairs]
    elif kind == "hinge":
        losses = [-fake.mean() for fake in fakes]
    else:
        losses = [_adversarial(kind, fake, real=True) for fake in fakes]
    return torch.stack(losses).mean() if len(losses) > 1 else losses[0]


def discriminator_loss(
    kind: AdversarialKind,
    real_scores: Tensor | Sequence[Tensor],
    fake_scores: Tensor | Sequence[Tensor],
) -> Tensor:
    """What a discriminator minimises: real ones should be taken for real, generated ones not.

    Args:
        kind: See :attr:`LossConfig.adversarial_kind`.
        real_scores: Scores of real pictures or crops, any shape; or several such, of which the mean
            is taken.
        fake_scores: Scores of generated ones, likewise.

    Returns:
        A scalar.

    Raises:
        ValueError: If the kind is unknown.
    """
    losses = []
    for real, fake in zip(scales_of(real_scores), scales_of(fake_scores), strict=True):
        if kind == "relativistic":
            losses.append(F.softplus(fake - real).mean())
        elif kind == "hinge":
            losses.append(F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        else:
            losses.append(_adversarial(kind, real, True) + _adversarial(kind, fake, False))
    return torch.stack(losses).mean() if len(losses) > 1 else losses[0]


def scales_of(scores: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """A discriminator's scores of each scale, also where there is one alone."""
    return list(scores) if isinstance(scores, (list, tuple)) else [scores]  # type: ignore[list-item]


def _adversarial(kind: AdversarialKind, scores: Tensor, real: bool) -> Tensor:
    """How far scores are from those of real pictures, or of generated ones."""
    if kind == "wgan":
        return -scores.mean() if real else scores.mean()
    target = torch.full_like(scores, float(real))
    if kind == "lsgan":
        return F.mse_loss(scores.sigmoid(), target)
    if kind == "gan":
        return F.binary_cross_entropy_with_logits(scores, target)
    names = "'gan', 'lsgan', 'wgan', 'hinge' or 'relativistic'"
    raise ValueError(f"the adversarial loss must be {names}, got {kind!r}")
