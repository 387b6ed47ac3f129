"""What the metrics of layouts are computed of, and those that are more than a mean."""

from typing import NamedTuple

import torch
from torch import Tensor

from sg2im_pyg.metrics import box_diversity


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


NO_LAYOUTS = Layouts(
    torch.zeros(0, dtype=torch.long),
    torch.zeros(0, 4),
    torch.zeros(0, 4),
    torch.zeros(0),
    torch.zeros(0),
    torch.zeros(0, dtype=torch.long),
    torch.zeros(0, dtype=torch.bool),
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


def sigma_x(layouts: Layouts) -> float:
    """Spread of the centres, see :func:`~sg2im_pyg.metrics.box_diversity`."""
    return box_diversity(layouts.boxes, layouts.categories)[0]


def sigma_area(layouts: Layouts) -> float:
    """Spread of the areas, see :func:`~sg2im_pyg.metrics.box_diversity`."""
    return box_diversity(layouts.boxes, layouts.categories)[1]
