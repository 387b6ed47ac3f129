"""What the metrics of layouts are computed of, and means of them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Layouts(NamedTuple):
    """Predicted layouts of a split beside the true ones, on the CPU: :math:`O` objects, image
    nodes left out, and :math:`T` geometric relations."""

    categories: Tensor
    """Indices of the data's vocabulary, shape :math:`(O,)`, int64."""
    boxes: Tensor
    """Predicted boxes, shape :math:`(O, 4)`, float32."""
    true_boxes: Tensor
    """True boxes, shape :math:`(O, 4)`, float32."""
    box_iou: Tensor
    """IoU of predicted and true box, shape :math:`(O,)`, float32."""
    mask_iou: Tensor
    """IoU of predicted and true mask, each in its own box, shape :math:`(O,)`, float32; not a
    number where the data or the model has no masks."""
    relations: Tensor
    """Positions in :data:`~sg2im_pyg.data.vocabulary.GEOMETRIC_PREDICATES`, shape :math:`(T,)`,
    int64."""
    holds: Tensor
    """Which relations hold between the predicted boxes and masks, shape :math:`(T,)`, bool."""

    def of_category(self, category: int) -> "Layouts":
        """The objects of a category, without relations."""
        chosen = self.categories == category
        return Layouts(
            *(values[chosen] for values in self[:5]), *(values[:0] for values in self[5:])
        )


_NONE = torch.zeros(0)
_NO_BOXES = _NONE.view(0, 4)
NO_LAYOUTS = Layouts(
    _NONE.long(), _NO_BOXES, _NO_BOXES, _NONE, _NONE, relations=_NONE.long(), holds=_NONE.bool()
)


def mean(values: Tensor) -> Tensor:
    """Mean, or share of what is true, in double precision; not a number of nothing."""
    return values.double().mean()


def box_recall(layouts: Layouts, threshold: float) -> Tensor:
    """Share of the true boxes that are met by an IoU of at least a threshold."""
    return mean(layouts.box_iou >= threshold)


def mean_mask_iou(layouts: Layouts) -> Tensor:
    """Mean over the objects whose masks are compared."""
    return mean(layouts.mask_iou[~layouts.mask_iou.isnan()])
