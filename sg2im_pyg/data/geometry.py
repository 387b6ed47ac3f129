"""Relations that follow from boxes and masks."""

import torch
import torch.nn.functional as F
from torch import Tensor


def geometric_predicates(
    boxes: Tensor, masks: Tensor | None, subjects: Tensor, objects: Tensor
) -> Tensor:
    """Which geometric relation holds between subjects and objects (paper, Section 4.1).

    A subject is :obj:`surrounding` an object if its box strictly contains the object's, and
    :obj:`inside` if it is strictly contained. Otherwise the direction from the object's centre to
    the subject's decides, in quarter turns centred on the axes (y points down). The centre is
    the mean position of the mask's pixels, or the box's centre where there is none.

    Args:
        boxes: Shape :math:`(O, 4)`.
        masks: Shape :math:`(O, M, M)`, a pixel counts from 0.5 on; or :obj:`None`.
        subjects: Positions of the subjects, shape :math:`(T,)`.
        objects: Positions of the objects, shape :math:`(T,)`.

    Returns:
        Positions in :data:`GEOMETRIC_PREDICATES`, shape :math:`(T,)`.
    """
    centres = _centres(boxes, masks)
    s, o = boxes[subjects], boxes[objects]
    surrounding = (s[:, :2] < o[:, :2]).all(1) & (s[:, 2:] > o[:, 2:]).all(1)
    inside = (s[:, :2] > o[:, :2]).all(1) & (s[:, 2:] < o[:, 2:]).all(1)
    dx, dy = (centres[subjects] - centres[objects]).unbind(1)
    # The release compares atan2(dy, dx) with odd multiples of pi / 4. These comparisons say the
    # same without angles, the borders included: a border belongs to the quarter that begins
    # there going from right over below, except that both borders of "left of" belong to it, and
    # equal centres are "right of".
    left = (dx < 0) & (dy.abs() <= -dx)
    above = (dy < 0) & (dx.abs() < -dy)
    below = (dy > 0) & (-dy < dx) & (dx <= dy)
    kinds = torch.ones_like(subjects)  # right of
    for position, holds in ((0, left), (2, above), (3, below), (4, inside), (5, surrounding)):
        kinds.masked_fill_(holds, position)
    return kinds


def _centres(boxes: Tensor, masks: Tensor | None) -> Tensor:
    """Centres of objects in double precision, shape :math:`(O, 2)`."""
    corner, opposite = boxes.double().view(-1, 2, 2).unbind(1)
    middle = torch.full_like(corner, 0.5)
    if masks is not None:
        # Sums of whole numbers have no rounding errors.
        size = masks.shape[-1]
        pixels = (masks >= 0.5).reshape(-1, size * size).double()
        place = torch.arange(size, dtype=torch.double, device=boxes.device)
        ones = torch.ones(size * size, dtype=torch.double, device=boxes.device)
        moments = torch.stack([place.repeat(size), place.repeat_interleave(size), ones])
        sums = F.linear(pixels, moments)
        count = sums[:, 2:]
        mean = sums[:, :2] / (count * max(size - 1, 1))
        middle = torch.where(count > 0, mean, middle)
    return corner + middle * (opposite - corner)
