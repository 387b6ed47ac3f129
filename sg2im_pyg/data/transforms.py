"""Transforms of scene graphs. They draw from torch's global random state, as PyG's do."""

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import subgraph

from sg2im_pyg.data.scene_graph import add_image_node
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, Vocabulary
from sg2im_pyg.errors import Sg2ImError


class AddImageNode(BaseTransform):
    """Adds the node :obj:`"__image__"`, as :class:`~torch_geometric.transforms.VirtualNode` does.

    It becomes the last node, with an edge :obj:`"__in_image__"` from every other node to it; its
    box is the whole picture and its mask all ones.
    """

    def forward(self, data: Data) -> Data:
        return add_image_node(data)


class SampleGeometricRelations(BaseTransform):
    """Adds relationships drawn from the geometry of boxes and masks (paper, Section 4.1; COCO).

    For each object one other object is drawn, a coin decides which of the two is the subject, and
    their boxes and masks say which of :data:`GEOMETRIC_PREDICATES` holds (see
    :func:`geometric_predicates`). The node :obj:`"__image__"` takes no part. They are drawn anew
    at each call.

    Args:
        vocabulary: Where the indices of the predicates are looked up; :obj:`None` means the
            release's COCO vocabulary, where they are 1 to 6.

    Raises:
        Sg2ImError: If the vocabulary lacks one of the predicates.
    """

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        if vocabulary is None:
            indices = list(range(1, len(GEOMETRIC_PREDICATES) + 1))
        else:
            indices = [vocabulary.predicate_index(name) for name in GEOMETRIC_PREDICATES]
        self.predicate_indices = torch.tensor(indices)

    def forward(self, data: Data) -> Data:
        members = (data.x != 0).nonzero().view(-1)
        count = len(members)
        if count < 2:
            return data
        device = members.device
        # A step of 1 to count - 1 around the circle of objects reaches each other one alike.
        step = 1 + (torch.rand(count) * (count - 1)).long().clamp(max=count - 2)
        is_subject = torch.rand(count) > 0.5
        first = torch.arange(count)
        second = (first + step) % count
        subjects = members[torch.where(is_subject, first, second).to(device)]
        objects = members[torch.where(is_subject, second, first).to(device)]
        kinds = geometric_predicates(data.boxes, data.get("masks"), subjects, objects)
        edge_attr = self.predicate_indices.to(device)[kinds]
        data.edge_index = torch.cat([torch.stack([subjects, objects]), data.edge_index], dim=1)
        data.edge_attr = torch.cat([edge_attr, data.edge_attr])
        return data


class SubsampleObjects(BaseTransform):
    """Keeps at most :obj:`max_objects` objects of a picture (the release's Visual Genome loader).

    Objects that take part in a relationship come first, the others fill up; both are drawn at
    random where there are too many. Kept objects stay in their order, and relationships between
    them are kept.

    Args:
        max_objects: The most objects a picture, the node :obj:`"__image__"` included (it is
            counted also where it is added later).
    """

    def __init__(self, max_objects: int = 10) -> None:
        if max_objects < 2:
            raise Sg2ImError(
                "max_objects must be at least 2 (the picture's own node and one object), got "
                f"{max_objects}."
            )
        self.max_objects = max_objects

    def forward(self, data: Data) -> Data:
        is_member = data.x != 0
        room = self.max_objects - 1
        if int(is_member.sum()) <= room:
            return data
        related = torch.zeros_like(is_member)
        related[data.edge_index[:, data.edge_attr != 0].reshape(-1)] = True
        # One random key each; related objects sort before the others, the image node last.
        key = torch.rand(len(data.x)).to(data.x.device) - related.float()
        key[~is_member] = 2.0
        keep = ~is_member
        keep[key.argsort()[:room]] = True
        data.edge_index, data.edge_attr = subgraph(
            keep, data.edge_index, data.edge_attr, relabel_nodes=True, num_nodes=len(keep)
        )
        for name in ("x", "boxes", "masks"):
            if name in data:
                data[name] = data[name][keep]
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.max_objects})"


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
    # same without rounding, the borders included: a border belongs to the quarter that begins
    # there going from right over below, except that both borders of "left of" belong to it, and
    # equal centres are "right of".
    left = (dx < 0) & (dy.abs() <= -dx)
    above = (dy < 0) & (dx.abs() < -dy)
    below = (dy > 0) & (-dy < dx) & (dx <= dy)
    kinds = torch.ones_like(subjects)  # right of
    for position, holds in ((0, left), (2, above), (3, below), (4, inside), (5, surrounding)):
        kinds[holds] = position
    return kinds


def _centres(boxes: Tensor, masks: Tensor | None) -> Tensor:
    """Centres of objects in double precision, shape :math:`(O, 2)`."""
    corner, opposite = boxes.double().view(-1, 2, 2).unbind(1)
    middle = torch.full_like(corner, 0.5)
    if masks is not None:
        pixels = (masks >= 0.5).double()
        ramp = torch.linspace(0, 1, pixels.shape[-1], dtype=torch.double, device=boxes.device)
        count = pixels.sum((1, 2))
        mean_x = (pixels.sum(1) @ ramp) / count
        mean_y = (pixels.sum(2) @ ramp) / count
        middle = torch.where(count.view(-1, 1) > 0, torch.stack([mean_x, mean_y], 1), middle)
    return corner + middle * (opposite - corner)
