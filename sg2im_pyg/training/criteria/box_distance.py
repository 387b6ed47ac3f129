"""Distances between predicted and true boxes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sg2im_pyg.training.loss_table import BoxDistance

_SOFTNESS = 0.1  # of the threshold, in units of intersection over union


def box_loss(distance: BoxDistance, predicted: Tensor, true: Tensor) -> Tensor:
    """Mean distance between predicted and true boxes, both of shape :math:`(O, 4)`; see
    :attr:`LossConfig.box_distance`."""
    if distance in ("squared", "recall"):
        loss = F.mse_loss(predicted, true)
        if distance == "recall":
            # Squared errors alone lead between two likely places, where neither is met.
            missed = ((0.5 - overlaps(predicted, true)[0]) / _SOFTNESS).sigmoid()
            loss = loss + 0.1 * missed.mean()
        return loss
    loss = F.l1_loss(predicted, true)
    if distance == "giou":
        iou, empty = overlaps(predicted, true)
        loss = loss + (1 - iou + empty).mean()
    return loss


def overlaps(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    r"""How much pairs of boxes overlap, with gradients; boxes of negative size have no area.

    Returns:
        Intersection over union, and the share of the smallest box around both that neither covers,
        both of shape :math:`(O,)`; their difference is the `"Generalized Intersection over Union"
        <https://arxiv.org/abs/1902.09630>`_.
    """

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(dim=1)

    (low, high), (other_low, other_high) = boxes.split(2, dim=1), others.split(2, dim=1)
    common = area(torch.maximum(low, other_low), torch.minimum(high, other_high))
    union = area(low, high) + area(other_low, other_high) - common
    around = area(torch.minimum(low, other_low), torch.maximum(high, other_high))
    least = torch.finfo(boxes.dtype).eps
    return common / union.clamp(min=least), (around - union) / around.clamp(min=least)
