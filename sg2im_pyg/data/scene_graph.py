"""A scene graph as a PyG :class:`~torch_geometric.data.Data` object."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from sg2im_pyg.data.batching import check_entries, grouping, rearrange
from sg2im_pyg.data.graph_forms import in_one_form, told_unknown, unknown_names
from sg2im_pyg.data.language.reader import read_text
from sg2im_pyg.data.language.writer import write_english, write_notation
from sg2im_pyg.data.vocabulary import IMAGE, Vocabulary
from sg2im_pyg.errors import Sg2ImError, shortened

MOST_SEED = 2**53 - 1
"""The largest seed of an object: a number that programs in JavaScript keep."""


class SceneGraph(Data):
    """A scene graph: objects as nodes, relationships as edges from subject to object.

    Batches are made by PyG's own :class:`~torch_geometric.loader.DataLoader`; then
    :obj:`batch.batch` maps objects to pictures.

    Args:
        x: Category of each object, shape :math:`(O,)`, int64.
        edge_index: Subject and object of each relationship, shape :math:`(2, T)`.
        edge_attr: Predicate of each relationship, shape :math:`(T,)`, int64.
        boxes: Boxes :obj:`[x0, y0, x1, y1]` in :math:`[0, 1]`, shape :math:`(O, 4)`.
        masks: Masks within the boxes, shape :math:`(O, M, M)`, in :math:`[0, 1]`.
        attributes: Which attributes each object has, shape :math:`(O, A)`, bool.
        seeds: A seed for each object that has one of its own, and -1 for the others, shape
            :math:`(O,)`, int64; see :meth:`Sg2Im.generate <sg2im_pyg.Sg2Im.generate>`.
        image: The picture, shape :math:`(1, 3, H, W)`, uint8
            (see :func:`sg2im_pyg.images.normalize_images`).
        image_id: Number of the picture in its source.

    Examples:
        >>> vocabulary = Vocabulary(["sky", "grass"], ["above"])
        >>> graph = SceneGraph.from_json(
        ...     {"objects": ["sky", "grass"], "relationships": [[0, "above", 1]]}, vocabulary)
        >>> graph
        SceneGraph(x=[3], edge_index=[2, 3], edge_attr=[3])
        >>> graph.to_json(vocabulary)
        {'objects': ['sky', 'grass'], 'relationships': [[0, 'above', 1]]}
    """

    def __init__(
        self,
        x: Tensor | None = None,
        edge_index: Tensor | None = None,
        edge_attr: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        image: Tensor | None = None,
        image_id: int | None = None,
        attributes: Tensor | None = None,
        seeds: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        optional: dict[str, Any] = {"boxes": boxes, "masks": masks, "image": image}
        optional |= {"image_id": image_id, "attributes": attributes, "seeds": seeds}
        kwargs.update({key: value for key, value in optional.items() if value is not None})
        super().__init__(x=x, edge_index=edge_index, edge_attr=edge_attr, **kwargs)

    @classmethod
    def from_json(cls, entries: Mapping[str, Any], vocabulary: Vocabulary) -> "SceneGraph":
        """Reads ``{"objects": [names], "attributes": [[names], ...], "seeds": [numbers],
        "relationships": [[subject, predicate, object], ...]}``.

        Subjects and objects are positions in the list of objects, or names, where only one object
        has it, or names with a number (:obj:`"boat 2"`); capital letters do not matter. Objects
        and relationships may be dicts, and the forms of Visual Genome and GQA are read (see
        :mod:`sg2im_pyg.data.graph_forms`). Attributes are a list for each
        object and may be left out; with a vocabulary that has some, the graph has
        :obj:`attributes` either way. Seeds may be left out too; they are a number for each object,
        or :obj:`None` for one that has no seed of its own. The node :obj:`"__image__"` and its
        edges are added.

        Raises:
            Sg2ImError: If the form is another one, names are unknown (all are told at once) or a
                position is out of range.
        """
        if not isinstance(entries, Mapping):
            raise Sg2ImError(
                "A scene graph must be a JSON object with the lists 'objects' and "
                f"'relationships', got {shortened(repr(entries))}."
            )
        entries = in_one_form(entries, vocabulary)
        unknown = sorted(set(entries) - {"objects", "attributes", "seeds", "relationships"})
        if unknown:
            raise Sg2ImError(
                "A scene graph has the entries 'objects', 'relationships' and perhaps "
                f"'attributes' and 'seeds'; {unknown[0]!r} is not one of them."
            )
        names = entries.get("objects")
        relationships = entries["relationships"]
        if not isinstance(names, (list, tuple)) or not names:
            raise Sg2ImError(
                "'objects' of a scene graph must be a list of at least one name, got "
                f"{shortened(repr(names))}."
            )
        if IMAGE in names:
            raise Sg2ImError(
                f"Object {names.index(IMAGE)} of a scene graph is {IMAGE!r}, which stands for the "
                "whole picture: leave it out, it is added by itself."
            )
        if not isinstance(relationships, (list, tuple)):
            raise Sg2ImError(
                "'relationships' of a scene graph must be a list of triples, got "
                f"{shortened(repr(relationships))}."
            )
        missing = dict.fromkeys(unknown_names(entries, vocabulary), "")
        if len(missing) > 1:
            raise Sg2ImError(told_unknown(missing, vocabulary))
        x = torch.tensor([vocabulary.object_index(name) for name in names])
        triples = [
            _triple(i, relationship, len(names), vocabulary)
            for i, relationship in enumerate(relationships)
        ]
        table = torch.tensor(triples, dtype=torch.long).view(-1, 3)
        edges = table[:, [0, 2]].t().contiguous(), table[:, 1].contiguous()
        flags = _attribute_flags(entries.get("attributes"), len(names), vocabulary)
        seeds = _own_seeds(entries.get("seeds"), len(names))
        return add_image_node(cls(x, *edges, attributes=flags, seeds=seeds))

    def to_json(self, vocabulary: Vocabulary) -> dict[str, Any]:
        """The inverse of :meth:`from_json`: node :obj:`"__image__"` and its edges are dropped."""
        assert self.x is not None and self.edge_index is not None and self.edge_attr is not None
        is_kept = self.x != 0
        kept, position = is_kept.tolist(), (torch.cumsum(is_kept, 0) - 1).tolist()
        names: dict[str, Any] = {
            "objects": [vocabulary.objects[c] for c in self.x[is_kept].tolist()]
        }
        flags = self.get("attributes")
        if flags is not None and flags.any():
            names["attributes"] = [
                [vocabulary.attributes[a] for a in row.nonzero().view(-1).tolist()]
                for row in flags[is_kept]
            ]
        seeds = self.get("seeds")
        if seeds is not None and (seeds[is_kept] >= 0).any():
            own = seeds[is_kept].tolist()
            names["seeds"] = [seed if seed >= 0 else None for seed in own]
        triples = torch.cat([self.edge_index, self.edge_attr.unsqueeze(0)]).t().tolist()
        names["relationships"] = [
            [position[s], vocabulary.predicates[p], position[o]]
            for s, o, p in triples
            if kept[s] and kept[o] and p != 0
        ]
        return names

    @classmethod
    def from_text(cls, text: str, vocabulary: Vocabulary) -> "SceneGraph":
        """Reads a graph in words: the notation of :meth:`to_notation`, or simple sentences such as
        :meth:`to_text` writes.

        The page "Pictures from your own graphs" tells the grammar. A name stands for one object
        wherever it is told, unless it has a number or comes with "a", "another" or a count.

        Raises:
            Sg2ImError: With all words that were not understood, or all that may mean several
                things: nothing is guessed.

        Examples:
            >>> vocabulary = Vocabulary(["sky", "grass", "sheep"], ["above", "inside"])
            >>> graph = SceneGraph.from_text(
            ...     "The sky is above the grass, and two sheep stand in the grass.", vocabulary)
            >>> graph.to_notation(vocabulary)
            'sky above grass; sheep 1 inside grass; sheep 2 inside grass'
        """
        return cls.from_json(read_text(text, vocabulary), vocabulary)

    def to_notation(self, vocabulary: Vocabulary) -> str:
        """The graph in a short notation: each relationship as it stands, objects of one name with
        numbers, those in no relationship alone.

        :meth:`from_text` reads it back into the very same graph, with objects and relationships in
        the same order; boxes, masks and seeds are not told. What would be read otherwise stands in
        quotation marks.

        Raises:
            Sg2ImError: If the graph is larger than one in words may be, or the vocabulary has a
                predicate with the name of an object or attribute and it can not be told apart.

        Examples:
            >>> vocabulary = Vocabulary(["water", "boat", "sun"], ["inside", "left of"])
            >>> graph = SceneGraph.from_json(
            ...     {"objects": ["boat", "water", "boat", "sun"], "relationships":
            ...      [[0, "inside", 1], [2, "left of", 0]]}, vocabulary)
            >>> graph.to_notation(vocabulary)
            'boat 1 inside water; boat 2 left of boat 1; sun'
        """
        return write_notation(self.to_json(vocabulary), vocabulary)

    def to_text(self, vocabulary: Vocabulary) -> str:
        """The graph in plain English: each object is introduced once, each relationship told once.

        The same graph gives the same text. Predicates that are no words of direction are written
        as the vocabulary has them. :meth:`from_text` reads it back into the same objects and
        relationships; the order of objects may be another one.

        Raises:
            Sg2ImError: As :meth:`to_notation` does.

        Examples:
            >>> vocabulary = Vocabulary(["sky", "grass", "sheep", "tree"],
            ...                         ["above", "below", "inside", "left of"])
            >>> graph = SceneGraph.from_json(
            ...     {"objects": ["sky", "grass", "sheep", "tree"], "relationships":
            ...      [[2, "inside", 1], [3, "left of", 2], [2, "below", 0]]}, vocabulary)
            >>> graph.to_text(vocabulary)
            'a sheep inside the grass, below the sky, with a tree to its left'
        """
        return write_english(self.to_json(vocabulary), vocabulary)


def add_image_node(graph: Data) -> Data:
    """Appends the node :obj:`"__image__"` and an edge :obj:`"__in_image__"` from each other node.

    Its box is the whole picture, its mask all ones, and it has no attributes and no seed of its
    own; in entries of a user's own, its rows and those of its edges are zeros. A graph that has it
    already is returned as it is; the graph given is changed.

    Args:
        graph: A graph, or a :class:`~torch_geometric.data.Batch`, each graph of which gets the
            node.
    """
    check_entries(graph, "x", "edge_index", "edge_attr")
    x, edge_index = graph.x, graph.edge_index
    groups, ends = grouping(graph)
    without = ends[:-1] == ends[1:]
    if len(x):
        without |= x[(ends[1:] - 1).clamp(min=0)] != 0
    wanting = without.nonzero().view(-1)
    if not len(wanting):
        return graph
    # Each node moves back by the nodes that are put in before it.
    added = torch.zeros_like(ends)
    torch.cumsum(without, 0, out=added[1:])
    rows = torch.arange(len(x), device=x.device) + added[groups]
    image_rows = (ends + added)[1:][wanting] - 1
    members = torch.arange(len(x), device=x.device)
    if len(wanting) < len(without):
        members = members[without[groups]]
    image_of = image_rows.new_empty(len(without)).index_copy_(0, wanting, image_rows)
    edges = torch.stack([rows[members], image_of[groups[members]]])
    places = torch.cat([groups[edge_index[0]], groups[members]])
    graph.edge_index = rows[edge_index]
    longer = torch.cat([groups, wanting])
    order = longer.argsort(stable=True)
    new = {"edge_index": edges}
    if "boxes" in graph:
        new["boxes"] = graph.boxes.new_tensor([[0, 0, 1, 1]]).expand(len(wanting), 4)
    if "masks" in graph:
        new["masks"] = graph.masks.new_ones(len(wanting), *graph.masks.shape[1:])
    if "seeds" in graph:
        new["seeds"] = graph.seeds.new_full((len(wanting),), -1)
    rearrange(graph, longer[order], ends + added, order, places.argsort(stable=True), **new)
    return graph


def check_indices(graph: Data, vocabulary: Vocabulary, name: str) -> None:
    """Checks that a graph's categories, predicates and edges are those of a vocabulary, and that
    its seeds, if it has any, are such.

    Raises:
        Sg2ImError: If a tensor is missing or of another shape, or an index out of range.
    """
    x, edge_index, edge_attr = graph.x, graph.edge_index, graph.edge_attr
    if not (
        isinstance(x, Tensor)
        and isinstance(edge_index, Tensor)
        and isinstance(edge_attr, Tensor)
        and x.dim() == 1
        and len(x)
        and edge_attr.dim() == 1
        and edge_index.shape == (2, len(edge_attr))
    ):
        raise Sg2ImError(
            f"{name} must have x of shape (O,) with at least one object, edge_index (2, T) and "
            f"edge_attr (T,), got {graph}."
        )
    for values, limit, what in (
        (x, len(vocabulary.objects), "category"),
        (edge_attr, len(vocabulary.predicates), "predicate"),
        (edge_index, len(x), "object"),
    ):
        if values.dtype not in (torch.int64, torch.int32):
            raise Sg2ImError(f"{name} names a {what} by numbers of type {values.dtype}: use int64.")
        outside = values[(values < 0) | (values >= limit)]
        if len(outside):
            raise Sg2ImError(
                f"{name} names the {what} {int(outside[0])}, but there are {limit}: use 0 to "
                f"{limit - 1}."
            )
    seeds = graph.get("seeds")
    if seeds is None:
        return
    if not isinstance(seeds, Tensor) or seeds.shape != x.shape or seeds.dtype != torch.int64:
        raise Sg2ImError(
            f"{name} must have seeds of shape ({len(x)},) and type int64, one for each object and "
            f"-1 where it has none, got {shortened(repr(seeds))}."
        )
    outside = seeds[(seeds < -1) | (seeds > MOST_SEED)]
    if len(outside):
        raise Sg2ImError(
            f"{name} has the seed {int(outside[0])}: use 0 to {MOST_SEED}, or -1 for none."
        )


def _own_seeds(seeds: Any, objects: int) -> Tensor | None:
    """The seed of each object, shape (objects,), int64, -1 where it has none; none without any."""
    if seeds is None:
        return None
    if not isinstance(seeds, (list, tuple)) or len(seeds) != objects:
        raise Sg2ImError(
            f"'seeds' of a scene graph must be a list of a number or null for each of the "
            f"{objects} objects, got {shortened(repr(seeds))}."
        )
    for row, seed in enumerate(seeds):
        whole = isinstance(seed, int) and not isinstance(seed, bool)
        if seed is not None and not (whole and 0 <= seed <= MOST_SEED):
            raise Sg2ImError(
                f"Object {row}: its seed must be a whole number from 0 to {MOST_SEED}, or null, "
                f"got {shortened(repr(seed))}."
            )
    return torch.tensor([-1 if seed is None else seed for seed in seeds])


def _attribute_flags(lists: Any, objects: int, vocabulary: Vocabulary) -> Tensor | None:
    """Which attributes each object has, shape (objects, A), bool; none without any."""
    if not vocabulary.attributes:
        if lists is not None:
            raise Sg2ImError(
                "A scene graph has the entry 'attributes', but the vocabulary has no attributes: "
                "leave it out."
            )
        return None
    flags = torch.zeros(objects, len(vocabulary.attributes), dtype=torch.bool)
    if lists is None:
        return flags
    if (
        not isinstance(lists, (list, tuple))
        or len(lists) != objects
        or not all(isinstance(names, (list, tuple)) for names in lists)
    ):
        raise Sg2ImError(
            f"'attributes' of a scene graph must be a list of names for each of the {objects} "
            f"objects, got {shortened(repr(lists))}."
        )
    for row, names in enumerate(lists):
        for name in names:
            try:
                flags[row, vocabulary.attribute_index(name)] = True
            except Sg2ImError as error:
                raise Sg2ImError(f"Object {row}: {error}") from None
    return flags


def _triple(
    position: int, relationship: Any, objects: int, vocabulary: Vocabulary
) -> tuple[int, int, int]:
    where = f"Relationship {position} ({shortened(repr(relationship))})"
    if not isinstance(relationship, (list, tuple)) or len(relationship) != 3:
        raise Sg2ImError(f"{where} must be a triple [subject, predicate, object].")
    subject, predicate, obj = relationship
    for role, index in (("subject", subject), ("object", obj)):
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < objects:
            raise Sg2ImError(
                f"{where}: the {role} must be the position or the name of one of the {objects} "
                f"objects, 0 to {objects - 1}, got {shortened(repr(index))}."
            )
    try:
        return subject, vocabulary.predicate_index(predicate), obj
    except Sg2ImError as error:
        raise Sg2ImError(f"{where}: {error}") from None
