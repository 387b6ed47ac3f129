"""The distance between predicted and true masks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sg2im_pyg.nn.layout import resize_masks


def mask_loss(predicted: Tensor, true: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of masks in :math:`[0, 1]`, shape :math:`(O, M, M)`.

    True masks of another size are averaged or spread to the predicted size.

    Args:
        predicted: Predicted masks.
        true: True ones.
        weights: Weights of the predicted masks' pixels; the mean stays one over all pixels.
    """
    true = resize_masks(true, predicted.shape[-2:])
    # Not defined under autocast; in single precision it is. Nor is it for what is not a number,
    # which must come out as such instead of ending the run.
    with torch.autocast(predicted.device.type, enabled=False):
        predicted = predicted.float()
        loss = F.binary_cross_entropy(
            predicted.nan_to_num(),
            true.float().clamp(0, 1),
            None if weights is None else weights.float(),
        )
        return torch.where(predicted.isfinite().all(), loss, torch.nan)
