"""Transforms of scene graphs, each for a single graph and for a whole batch alike.

Those that draw at random take their draws from the graph's :obj:`draw_key` where it has one, and
otherwise from torch's global random state, as PyG's do.

Entries of a user's own with one row for each object or each relationship are kept in step, as
PyG's transforms keep them (see :func:`sg2im_pyg.data.batching.keys_in_step`). Rows of objects and
relationships that are added, and of the node :obj:`"__image__"`, are zeros there.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform, Compose

from sg2im_pyg.data.batching import check_entries, grouping, rearrange
from sg2im_pyg.data.draws import global_keys, next_keys, random_below, random_bits
from sg2im_pyg.data.geometry import geometric_predicates
from sg2im_pyg.data.scene_graph import add_image_node
from sg2im_pyg.data.store import SceneReader
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, Vocabulary
from sg2im_pyg.errors import Sg2ImError


class BatchTransform(BaseTransform):
    r"""Base class of transforms that take a graph or a whole :class:`~torch_geometric.data.Batch`.

    Applied to a batch, :meth:`forward` does to each graph what it does to the graph alone, and
    returns a batch that can be taken apart again (see :func:`sg2im_pyg.data.batching.rearrange`).
    :class:`SceneDataset` applies such transforms to whole batches, others graph by graph.

    Draws follow from the entry :obj:`draw_key` of a graph, shape :math:`(1,)`, int64, of a batch
    :math:`(N,)`: the same key gives the same draws, alone or in any batch. Without one they come
    from torch's global generator.
    """

    def draws(self, data: Data, rows: Tensor, groups: Tensor, ends: Tensor) -> Tensor:
        """64 random bits for some objects; the next transform of the same graphs gets others.

        Args:
            data: The graph or batch; its :obj:`draw_key`, if any, is replaced by the next one.
            rows: Rows of the objects, shape :math:`(R,)`.
            groups: Graph of each object, see :func:`sg2im_pyg.data.batching.grouping`.
            ends: Where the graphs begin and end.

        Returns:
            Shape :math:`(R,)`, int64.
        """
        keys = data.get("draw_key")
        if keys is None:
            keys = global_keys(len(ends) - 1, ends.device)
        else:
            data.draw_key = next_keys(keys)
        own = groups[rows]
        return random_bits(keys[own], rows - ends[own])


def takes_batches(transform: Any) -> bool:
    """Whether a transform may be applied to a whole batch; :obj:`None` may."""
    if type(transform) is Compose:
        return all(takes_batches(step) for step in transform.transforms)
    return transform is None or isinstance(transform, BatchTransform)


class AddImageNode(BatchTransform):
    """Adds the node :obj:`"__image__"`, as :class:`~torch_geometric.transforms.VirtualNode` does.

    It becomes the last node, with an edge :obj:`"__in_image__"` from every other node to it; its
    box is the whole picture and its mask all ones.
    """

    def forward(self, data: Data) -> Data:
        return add_image_node(data)


class SampleGeometricRelations(BatchTransform):
    """Adds relationships drawn from the geometry of boxes and masks (paper, Section 4.1; COCO).

    For each object one other object is drawn, a coin decides which of the two is the subject, and
    their boxes and masks say which of :data:`GEOMETRIC_PREDICATES` holds (see
    :func:`geometric_predicates`). The node :obj:`"__image__"` takes no part. They are drawn anew
    at each call (see :class:`BatchTransform`) and stand before the relationships that a graph has.

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
        check_entries(data, "x", "edge_index", "edge_attr", "boxes")
        groups, ends = grouping(data)
        is_member = data.x != 0
        counts = torch.zeros(len(ends) - 1, dtype=torch.long, device=ends.device)
        counts.index_add_(0, groups, is_member.long())
        counts = torch.where(counts > 1, counts, 0)  # an object alone has no other
        first = (is_member & (counts > 0)[groups]).nonzero().view(-1)
        own, bits = groups[first], self.draws(data, first, groups, ends)
        # A step of 1 to count - 1 around the circle of a graph's objects reaches each other one
        # alike.
        count, start = counts[own], (counts.cumsum(0) - counts)[own]
        place = torch.arange(len(first), device=first.device) - start
        step = 1 + random_below(bits, count - 1)
        second = first[start + (place + step) % count]
        is_subject = (bits & 1).bool()
        subjects = torch.where(is_subject, first, second)
        objects = torch.where(is_subject, second, first)
        kinds = geometric_predicates(data.boxes, data.get("masks"), subjects, objects)
        # In each graph before those that are there.
        places = torch.cat([2 * groups[data.edge_index[0]] + 1, 2 * own])
        rearrange(
            data,
            groups,
            ends,
            relationships=places.argsort(stable=True),
            edge_index=torch.stack([subjects, objects]),
            edge_attr=self.predicate_indices.to(kinds.device)[kinds],
        )
        return data


class SubsampleObjects(BatchTransform):
    """Keeps at most :obj:`max_objects` objects of a picture (the release's Visual Genome loader).

    Objects that take part in a relationship come first, the others fill up; both are drawn at
    random where there are too many (see :class:`BatchTransform`). Kept objects stay in their
    order, and relationships between them are kept.

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

    def most(self, members: Tensor) -> Tensor | int:
        """Most objects that a picture may keep, image node included.

        Args:
            members: Number of each picture's objects without that node, shape :math:`(N,)`.
        """
        return self.max_objects

    def forward(self, data: Data) -> Data:
        check_entries(data, "x", "edge_index", "edge_attr")
        groups, ends = grouping(data)
        rows = torch.arange(len(data.x), device=ends.device)
        bits = self.draws(data, rows, groups, ends)
        is_image = data.x == 0
        is_related = torch.zeros_like(is_image)
        is_related[data.edge_index[:, data.edge_attr != 0].view(-1)] = True
        # Within each graph: first the related objects in a random order, then the others
        # likewise, then the image node.
        rank = 3 * groups + torch.where(is_image, 2, 1 - is_related.long())
        order = bits.argsort()
        order = order[rank[order].argsort(stable=True)]
        keep = is_image.clone()
        members = torch.zeros_like(ends[1:]).index_add_(0, groups, (~is_image).long())
        keep[order] |= rows - ends[groups] < self.most(members) - 1
        kept = keep.nonzero().view(-1)
        before = torch.zeros(len(keep) + 1, dtype=torch.long, device=keep.device)
        torch.cumsum(keep, 0, out=before[1:])
        edges = keep[data.edge_index].all(0).nonzero().view(-1)
        data.edge_index = before[data.edge_index]
        rearrange(data, groups[kept], before[ends], kept, edges)
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.max_objects})"


class LimitObjects(SubsampleObjects):
    """Keeps at most so many objects in all pictures of a batch together, to bound its memory.

    Where there are more, the pictures with the most objects lose some of theirs, drawn as by
    :class:`SubsampleObjects`: all are cut to the same number, the largest with which the batch
    fits. Unlike with other transforms, what becomes of a picture depends on the batch that it is
    in.

    Args:
        max_objects: The most objects a batch, image nodes included (they are counted also where
            they are added later). Each picture keeps at least one object beside it.
    """

    def most(self, members: Tensor) -> Tensor:
        # What is left of the pictures if all are cut to 2, 3, ... objects, image nodes included.
        counts = members + 1
        cuts = torch.arange(2, max(int(counts.max()), 2) + 1, device=members.device)
        left = torch.minimum(counts.unsqueeze(1), cuts).sum(0)
        return (1 + (left <= self.max_objects).sum()).clamp(min=2)


class DropRelationships(BatchTransform):
    """Removes all relationships (the paper's ablation "no relationships")."""

    def forward(self, data: Data) -> Data:
        check_entries(data, "x", "edge_index", "edge_attr")
        rearrange(data, *grouping(data), relationships=data.edge_index[0, :0])
        return data


Relationships = Literal["stored", "geometric", "both"]
"""Where the relationships of a store's graphs come from."""


def relationships_of(store: SceneReader) -> Relationships:
    """What a store holds decides: stored relationships are used where there are some, geometric
    ones are drawn where there are none and its vocabulary has them; both where its preparation was
    asked for both."""
    if not len(store.relationships):
        has_names = set(GEOMETRIC_PREDICATES) <= set(store.vocabulary.predicates)
        return "geometric" if has_names else "stored"
    return "both" if store.settings.get("draw_geometric") is True else "stored"


def graph_transforms(
    vocabulary: Vocabulary,
    relationships: Literal["stored", "geometric", "both", "none"],
    max_objects: int | None = None,
    max_objects_per_batch: int | None = None,
) -> Compose:
    """What makes the graphs of a training or an evaluation of stored ones.

    Args:
        vocabulary: That of the store.
        relationships: Whether they are those of the store, drawn from the geometry, both, or none.
        max_objects: Most objects a graph, see :class:`SubsampleObjects`.
        max_objects_per_batch: Most objects a batch, see :class:`LimitObjects`.
    """
    steps: list[BaseTransform] = []
    if max_objects is not None:
        steps.append(SubsampleObjects(max_objects))
    if max_objects_per_batch is not None:
        steps.append(LimitObjects(max_objects_per_batch))
    if relationships in ("geometric", "none"):
        steps.append(DropRelationships())
    if relationships in ("geometric", "both"):
        steps.append(SampleGeometricRelations(vocabulary))
    return Compose([*steps, AddImageNode()])
