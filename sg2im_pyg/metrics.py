"""Metrics of predicted layouts (paper, Section 4.4 and Table 2)."""

import torch
from torch import Tensor
from torch_geometric.utils import scatter


def box_iou(predicted: Tensor, true: Tensor) -> Tensor:
    """Intersection over union of boxes, pair by pair.

    Args:
        predicted: Boxes :obj:`[x0, y0, x1, y1]`, shape :math:`(O, 4)`; one of negative width or
            height is empty.
        true: As :obj:`predicted`.

    Returns:
        Shape :math:`(O,)`; 0 where both boxes are empty.

    Raises:
        ValueError: If the shapes differ or are no boxes.

    Examples:
        >>> box_iou(torch.tensor([[0.0, 0, 2, 1]]), torch.tensor([[1.0, 0, 2, 1]]))
        tensor([0.5000])
    """
    if predicted.shape != true.shape or predicted.dim() != 2 or predicted.size(1) != 4:
        raise ValueError(
            "predicted and true boxes must both have the shape (O, 4), got "
            f"{tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    common = torch.cat(
        [
            torch.maximum(predicted[:, :2], true[:, :2]),
            torch.minimum(predicted[:, 2:], true[:, 2:]),
        ],
        dim=1,
    )
    areas = [
        (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (common, predicted, true)
    ]
    union = areas[1] + areas[2] - areas[0]
    return torch.where(union > 0, areas[0] / union, torch.zeros_like(union))


def box_recall(predicted: Tensor, true: Tensor, threshold: float) -> float:
    """Share of the true boxes that are met by an IoU of at least a threshold (paper, R@0.3, 0.5).

    Leave out the nodes :obj:`"__image__"`, whose box is always the whole picture.

    Args:
        predicted: Shape :math:`(O, 4)`.
        true: Shape :math:`(O, 4)`.
        threshold: Least IoU, in :math:`[0, 1]`.

    Returns:
        In :math:`[0, 1]`; not a number where there is no box.

    Examples:
        >>> box_recall(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.0, 0, 1, 1]]), 0.5)
        1.0
    """
    return (box_iou(predicted, true) >= threshold).double().mean().item()


def box_diversity(boxes: Tensor, categories: Tensor) -> tuple[float, float]:
    r"""Spread of boxes within their category (paper, :math:`\sigma_x` and
    :math:`\sigma_{area}`).

    Args:
        boxes: Shape :math:`(O, 4)`.
        categories: Shape :math:`(O,)`.

    Returns:
        The standard deviation of the boxes' centre x and that of their area within a category
        (of the population: one box alone has 0), averaged over the categories that occur; not a
        number where there is no box.

    Examples:
        >>> boxes = torch.tensor([[0.0, 0, 0.5, 1], [0.5, 0, 1, 1]])
        >>> box_diversity(boxes, torch.tensor([3, 3]))
        (0.25, 0.0)
    """
    boxes = boxes.double()
    extent = boxes[:, 2:] - boxes[:, :2]
    values = torch.stack([(boxes[:, 0] + boxes[:, 2]) / 2, extent.clamp(min=0).prod(1)], dim=1)
    _, group = categories.unique(return_inverse=True)
    mean = scatter(values, group, reduce="mean")
    variance = scatter((values - mean[group]) ** 2, group, reduce="mean")
    spread_x, spread_area = variance.sqrt().mean(0).tolist()
    return spread_x, spread_area
