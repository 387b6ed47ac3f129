"""The adversarial losses and the weighted sum that the generator minimises."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sg2im_pyg.errors import Sg2ImError

GENERATOR_LOSSES = (
    "box",
    "mask",
    "pixel",
    "image_adversarial",
    "object_adversarial",
    "auxiliary",
)
"""The six losses of the generator (paper, Section 3, "Training")."""

AdversarialKind = Literal["gan", "lsgan", "wgan"]


@dataclass
class LossConfig:
    """Weights of the generator's losses and their kinds. The defaults are the release's."""

    box: float = 10.0
    """Weight of the distance between predicted and true boxes."""
    mask: float = 0.0
    """Weight of the masks' binary cross-entropy; the release advises 0.1 for COCO."""
    pixel: float = 1.0
    """Weight of the L1 distance between generated and true pictures."""
    image_adversarial: float = 0.01
    """Weight of the image discriminator's judgement."""
    object_adversarial: float = 0.01
    """Weight of the object discriminator's judgement."""
    auxiliary: float = 0.1
    """Weight of the cross-entropy of the categories seen by the object discriminator."""
    adversarial_kind: AdversarialKind = "gan"
    """gan: cross-entropy; lsgan: squared error after a sigmoid; wgan: difference of means."""
    box_distance: Literal["squared", "l1"] = "squared"
    """squared: mean squared error (release); l1: mean absolute error (paper)."""

    def __post_init__(self) -> None:
        for name in GENERATOR_LOSSES:
            if not 0 <= getattr(self, name) < math.inf:
                raise Sg2ImError(
                    f"The weight losses.{name} must be 0 or more, got {getattr(self, name)}."
                )
        if not any(getattr(self, name) for name in GENERATOR_LOSSES):
            raise Sg2ImError("All weights of losses are 0: give at least one that is more.")


def generator_loss(kind: AdversarialKind, fake_scores: Tensor) -> Tensor:
    """What the generator minimises: generated pictures should be taken for real.

    Args:
        kind: See :attr:`LossConfig.adversarial_kind`.
        fake_scores: Scores of generated pictures or crops, any shape.

    Returns:
        A scalar.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind == "gan":
        return _cross_entropy(fake_scores, 1.0)
    if kind == "lsgan":
        return _squared_error(fake_scores, 1.0)
    if kind == "wgan":
        return -fake_scores.mean()
    raise _unknown(kind)


def discriminator_loss(kind: AdversarialKind, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """What a discriminator minimises: real ones should be taken for real, generated ones not.

    Args:
        kind: See :attr:`LossConfig.adversarial_kind`.
        real_scores: Scores of real pictures or crops, any shape.
        fake_scores: Scores of generated ones, any shape.

    Returns:
        A scalar.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind == "gan":
        return _cross_entropy(real_scores, 1.0) + _cross_entropy(fake_scores, 0.0)
    if kind == "lsgan":
        return _squared_error(real_scores, 1.0) + _squared_error(fake_scores, 0.0)
    if kind == "wgan":
        return fake_scores.mean() - real_scores.mean()
    raise _unknown(kind)


def box_loss(distance: Literal["squared", "l1"], predicted: Tensor, true: Tensor) -> Tensor:
    """Mean distance between predicted and true boxes, both of shape :math:`(O, 4)`."""
    if distance == "l1":
        return F.l1_loss(predicted, true)
    return F.mse_loss(predicted, true)


def mask_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean binary cross-entropy of masks in :math:`[0, 1]`, shape :math:`(O, M, M)`.

    True masks of another size are averaged or spread to the predicted size.
    """
    if true.shape != predicted.shape:
        size = predicted.shape[-2:]
        true = F.interpolate(true.unsqueeze(1), size, mode="bilinear", antialias=True).squeeze(1)
    # Not defined under autocast; in single precision it is. Nor is it for what is not a number,
    # which must come out as such instead of ending the run.
    with torch.autocast(predicted.device.type, enabled=False):
        predicted = predicted.float()
        loss = F.binary_cross_entropy(predicted.nan_to_num(), true.float().clamp(0, 1))
        return torch.where(predicted.isfinite().all(), loss, torch.nan)


def weighted_sum(losses: dict[str, Tensor], weights: LossConfig) -> Tensor:
    """The generator's total: each loss by its weight."""
    terms = [getattr(weights, name) * loss for name, loss in losses.items()]
    return torch.stack([term.reshape(()) for term in terms]).sum()


def _cross_entropy(scores: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def _squared_error(scores: Tensor, target: float) -> Tensor:
    return F.mse_loss(scores.sigmoid(), torch.full_like(scores, target))


def _unknown(kind: str) -> ValueError:
    return ValueError(f"the adversarial loss must be 'gan', 'lsgan' or 'wgan', got {kind!r}")


PICTURE_LOSSES = ("pixel", "image_adversarial")
"""The generator's losses that are means over pictures; the others are means over objects."""


_SHORT = {
    "box": "box",
    "mask": "mask",
    "pixel": "pixel",
    "image_adversarial": "img",
    "object_adversarial": "obj",
    "auxiliary": "aux",
}
