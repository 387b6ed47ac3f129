"""Cross-entropy of pixels' categories, for a discriminator that segments pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_WEIGHT = 20.0


def segmenting_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of each pixel's category, which is the one with the largest share in it,
    weighted so that the categories of a batch count alike (OASIS, Equation 1).

    Args:
        logits: Shape :math:`(N, C + 1, H, W)`, the last one that of a generated pixel.
        labels: Share of each category in a pixel, shape :math:`(N, C, H, W)`.
        weights: See :func:`category_weights`, shape :math:`(C,)`; those of these pixels where they
            are not given.
        visible: Weight of each pixel, shape :math:`(N, H, W)`; the mean stays one over all pixels.
    """
    if weights is None:
        weights = category_weights(pixels_of_categories(labels))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = F.pad(weights, (0, 1)).to(logits.dtype)
    loss = F.cross_entropy(logits, labels.argmax(dim=1), weight=weights, reduction="none")
    return loss.mean() if visible is None else (loss * visible).mean()


def pixels_of_categories(labels: Tensor) -> Tensor:
    """Number of pixels in which each category has the largest share, shape :math:`(C,)`.

    Args:
        labels: Share of each category in a pixel, shape :math:`(N, C, H, W)`.
    """
    true = labels.argmax(dim=1).flatten()
    counts = torch.zeros(labels.size(1), dtype=labels.dtype, device=labels.device)
    return counts.index_add_(0, true, torch.ones_like(true, dtype=labels.dtype))


def category_weights(pixels: Tensor) -> Tensor:
    """Weights with which all categories of a batch count alike, 1 on average over its pixels; at
    most 20, as a category of a few pixels alone would otherwise outweigh the batch.

    Args:
        pixels: Number of pixels of each category, shape :math:`(C,)`.
    """
    weights = pixels.sum() / (pixels.clamp(min=1) * (pixels > 0).sum())
    return weights.clamp(max=_MOST_WEIGHT) * (pixels > 0)


def log_odds(logits: Tensor) -> Tensor:
    """How much likelier than generated a pixel is of any category: the score of a segmenting
    discriminator that corresponds to those of the others.

    Args:
        logits: Shape :math:`(N, C + 1, H, W)`, the last one that of a generated pixel.
    """
    return logits[:, :-1].logsumexp(dim=1) - logits[:, -1]
