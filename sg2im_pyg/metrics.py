"""Metrics of predicted layouts (paper, Section 4.4 and Table 2)."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import scatter

from sg2im_pyg.data.geometry import geometric_predicates


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
    low = torch.maximum(predicted[:, :2], true[:, :2])
    high = torch.minimum(predicted[:, 2:], true[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (predicted, true)]
    union = areas[0] + areas[1] - common
    return torch.where(union > 0, common / union, torch.zeros_like(union))


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


def mask_iou(predicted: Tensor, true: Tensor) -> Tensor:
    """Intersection over union of masks, pair by pair; a pixel is set from 0.5 on.

    Both masks lie in the same box, as where masks are predicted for true boxes.

    Args:
        predicted: Masks in :math:`[0, 1]`, shape :math:`(O, M, M)`.
        true: Masks in :math:`[0, 1]`, shape :math:`(O, M', M')`. The predicted ones are resized
            to their size (bilinear) where it differs.

    Returns:
        Shape :math:`(O,)`; 0 where both masks are empty.

    Raises:
        ValueError: If the shapes are no masks, or of different numbers.

    Examples:
        >>> mask_iou(torch.tensor([[[0.9, 0.2], [0.9, 0.2]]]), torch.ones(1, 2, 2))
        tensor([0.5000])
    """
    if predicted.dim() != 3 or true.dim() != 3 or len(predicted) != len(true):
        raise ValueError(
            "predicted and true masks must have the shapes (O, M, M) and (O, M', M'), got "
            f"{tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    if not len(true):
        return torch.zeros(0, device=true.device)
    if predicted.shape != true.shape:
        size = (true.size(1), true.size(2))
        predicted = F.interpolate(
            predicted.unsqueeze(1).float(), size, mode="bilinear", antialias=True
        ).squeeze(1)
    inside, wanted = (predicted >= 0.5).flatten(1), (true >= 0.5).flatten(1)
    common = (inside & wanted).sum(1).double()
    union = (inside | wanted).sum(1).double()
    return torch.where(union > 0, common / union, torch.zeros_like(union)).float()


def relation_accuracy(
    boxes: Tensor, masks: Tensor | None, edge_index: Tensor, relations: Tensor
) -> float:
    """Share of a graph's geometric relations that hold between predicted boxes and masks.

    The rules are those by which relations are drawn from true layouts (paper, Section 4.1): see
    :func:`~sg2im_pyg.data.geometry.geometric_predicates`.

    Args:
        boxes: Predicted boxes, shape :math:`(O, 4)`.
        masks: Predicted masks, shape :math:`(O, M, M)`, or :obj:`None`: a box's centre then
            stands for its mask's.
        edge_index: Subjects and objects, shape :math:`(2, T)`.
        relations: Position of each relation in
            :data:`~sg2im_pyg.data.vocabulary.GEOMETRIC_PREDICATES`, shape :math:`(T,)`.

    Returns:
        In :math:`[0, 1]`; not a number where there is no relation.

    Raises:
        ValueError: If there are not as many relations as edges.

    Examples:
        >>> boxes = torch.tensor([[0.0, 0, 0.2, 0.2], [0.5, 0, 0.8, 0.2]])
        >>> relation_accuracy(boxes, None, torch.tensor([[0], [1]]), torch.tensor([0]))
        1.0
    """
    return relations_hold(boxes, masks, edge_index, relations).double().mean().item()


def relations_hold(
    boxes: Tensor, masks: Tensor | None, edge_index: Tensor, relations: Tensor
) -> Tensor:
    """Which relations hold, shape :math:`(T,)`, bool: see :func:`relation_accuracy`."""
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or relations.shape != edge_index.shape[1:]:
        raise ValueError(
            "edge_index and relations must have the shapes (2, T) and (T,), got "
            f"{tuple(edge_index.shape)} and {tuple(relations.shape)}"
        )
    return geometric_predicates(boxes, masks, edge_index[0], edge_index[1]) == relations
