"""Which rows of a batch belong to which graph, and which entries have them.

A transform that works on the rows of a whole :class:`~torch_geometric.data.Batch` reads the
grouping here and gives all entries their new rows at once, in the form in which
:meth:`Batch.from_data_list <torch_geometric.data.Batch.from_data_list>` keeps it. A single graph
counts as a batch of one.

PyG has no public way to say how a batch is taken apart. Its records :obj:`_slice_dict`,
:obj:`_inc_dict` and :obj:`_num_graphs`, which are read and written in this module alone, were
checked with its versions 2.6 to 2.8.1.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from sg2im_pyg.errors import Sg2ImError

OBJECT_KEYS = ("x", "boxes", "masks", "attributes", "seeds")
"""Entries of a scene graph with one row for each object."""
RELATIONSHIP_KEYS = ("edge_index", "edge_attr")
"""Entries with one row (of :obj:`edge_index`: column) for each relationship."""
_OTHER_KEYS = ("image", "image_id", "draw_key", "num_nodes", "batch", "ptr")


def grouping(graph: Data) -> tuple[Tensor, Tensor]:
    """The graph of each object, and where the objects of each graph begin and end.

    Args:
        graph: A graph or a batch of :math:`N` graphs, with :math:`O` objects in all.

    Returns:
        Number of each object's graph, shape :math:`(O,)`, int64, not decreasing; and first rows
        of the graphs with the end behind them, shape :math:`(N + 1,)`, int64.
    """
    device = graph.x.device
    if "batch" not in graph:
        count = len(graph.x)
        ends = torch.tensor([0, count], device=device)
        return torch.zeros(count, dtype=torch.long, device=device), ends
    if "ptr" in graph:
        return graph.batch, graph.ptr
    graphs = graph.num_graphs if isinstance(graph, Batch) else int(graph.batch.max()) + 1
    return graph.batch, pointer(graph.batch, graphs)


def check_entries(graph: Data, *names: str) -> None:
    """Checks that a graph has some entries.

    Raises:
        Sg2ImError: If one is missing or no tensor.
    """
    for name in names:
        if not isinstance(graph.get(name), Tensor):
            raise Sg2ImError(
                f"A scene graph without {name} can not be transformed, got {graph}: give it all of "
                f"{', '.join(names)}."
            )


def pointer(groups: Tensor, count: int) -> Tensor:
    """Where each of :obj:`count` groups begins and ends, shape :math:`(count + 1,)`, int64.

    Args:
        groups: Group of each row, not decreasing, shape :math:`(R,)`, int64.
        count: Number of groups; some may be empty.
    """
    ends = torch.zeros(count + 1, dtype=torch.long, device=groups.device)
    torch.cumsum(torch.bincount(groups, minlength=count), 0, out=ends[1:])
    return ends


def keys_in_step(graph: Data, renumbered: bool = False) -> tuple[list[str], list[str]]:
    """Names of the entries with one row for each object, and for each relationship.

    They are :data:`OBJECT_KEYS` and :data:`RELATIONSHIP_KEYS`, and those of a user's own whose
    numbers of rows are those of the objects or relationships in each graph, as PyG's
    :meth:`is_node_attr <torch_geometric.data.Data.is_node_attr>` and :meth:`is_edge_attr
    <torch_geometric.data.Data.is_edge_attr>` have it. Where both fit, it is the relationships' if
    its name has :obj:`edge` in it, and otherwise the objects'. One row in each graph is the
    graph's own, also in a graph of one object or one relationship, unless its name has
    :obj:`node` or :obj:`edge` in it.

    Args:
        graph: A graph or a batch, with :obj:`x` and :obj:`edge_index`.
        renumbered: Whether objects are about to get other numbers.

    Raises:
        Sg2ImError: If an entry can not be kept in step: it is no tensor with one row for each
            object or relationship; it names objects by their number (its name has :obj:`index`
            in it, as PyG understands it), and these change; or it has a single row where others
            show that there must be more.
    """
    keys: tuple[list[str], list[str]] = [], []
    entries = graph.to_dict()
    for key, value in entries.items():
        if key in OBJECT_KEYS:
            keys[0].append(key)
        elif key in RELATIONSHIP_KEYS:
            keys[1].append(key)
        elif key in _OTHER_KEYS or _follows(entries, key):
            continue
        elif "index" in key:
            if renumbered:
                raise Sg2ImError(
                    f"The entry {key!r}, which names objects by number, can not be kept in step "
                    "where these change: make it after the transform, or, where nothing is left "
                    "out, transform graphs before they are put together."
                )
        else:
            owner = _owner(graph, key, value)
            if owner is not None:
                keys[owner].append(key)
    return keys


def _follows(entries: Mapping[str, Any], key: str) -> bool:
    """Whether an entry is the grouping of another one, asked for by `follow_batch`."""
    return any(
        key.endswith(ending) and key.removesuffix(ending) in entries
        for ending in ("_batch", "_ptr")
    )


def _owner(graph: Data, key: str, value: Any) -> int | None:
    """Whose rows a user's own entry has: 0 for the objects, 1 for the relationships, or none."""
    is_rows = isinstance(value, Tensor) and value.layout == torch.strided
    records = getattr(graph, "_slice_dict", {})
    ends = records.get(key)
    if isinstance(ends, Tensor) and ends.dim() == 1:
        # Numbers of rows in each graph of a batch.
        counts = [np.diff(np.asarray(records[name])) for name in ("x", "edge_index")]
        rows, single = np.diff(np.asarray(ends)), np.ones(len(ends) - 1, np.int64)
        if not isinstance(value, Tensor):
            rows = np.array([_length(part, 0) for part in value], np.int64)
    else:
        # In the one graph, or all together: a batch does not say more of what was added to it.
        counts = [np.array([len(graph.x)]), np.array([graph.edge_index.shape[1]])]
        dim = graph.__cat_dim__(key, value) if is_rows else 0
        rows = np.array([_length(value, dim)])
        single = np.array([graph.num_graphs if isinstance(graph, Batch) else 1])
    fits = [np.array_equal(rows, count) for count in counts]
    named = "node" in key, "edge" in key
    if np.array_equal(rows, single) and not any(f and n for f, n in zip(fits, named, strict=True)):
        return None
    if any(fits):
        if not is_rows:
            raise Sg2ImError(
                f"The entry {key!r} has one item for each object or relationship, but it is a "
                f"{type(value).__name__}, which can not be kept in step with them: make it a dense "
                "tensor, or, if it belongs to the graph as a whole, put it into a list of its own."
            )
        return 1 if fits[1] and (named[1] or not fits[0]) else 0
    for count, what, name in zip(counts, ("object", "relationship"), ("node", "edge"), strict=True):
        differs = rows != count
        if is_rows and (~differs | (rows == 1)).all() and (rows[~differs] > 1).any():
            first = int(differs.argmax())
            raise Sg2ImError(
                f"The entry {key!r} has one row for each {what} in other graphs of a batch, but a "
                f"single one in graph {first}, which has {count[first]} of them: where there was "
                f"one {what} at first, a single row counts as the graph's own, unless its name has "
                f"{name!r} in it. Call it '{name}_{key}'."
            )
    return None


def _length(value: Any, dim: int | None) -> int:
    """Number of an entry's rows; -1 for what has none."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.shape[dim] if value.ndim and dim is not None else -1
    return len(value) if isinstance(value, (list, tuple)) else -1


def rearrange(
    graph: Data,
    groups: Tensor,
    ends: Tensor,
    objects: Tensor | None = None,
    relationships: Tensor | None = None,
    **added: Tensor,
) -> None:
    """Gives entries new rows, all in step (:func:`keys_in_step`), and a batch its new grouping.

    Args:
        graph: The graph or batch, which is changed; :obj:`edge_index` has its new numbers already.
        groups: New graph of each object, shape :math:`(O,)`, see :func:`grouping`.
        ends: New first rows of the graphs with the end behind them, shape :math:`(N + 1,)`.
        objects: Old row of each object; :obj:`None` where they stay. Where there are more than
            before, the rows from the old number of objects on are new ones.
        relationships: The same of the relationships; each graph's stand together.
        **added: New rows of some entries; of the others they are zeros.

    Raises:
        Sg2ImError: If an entry can not be kept in step.
    """
    entries = graph.to_dict()  # asking a graph of PyG what it has takes longer
    is_batch = "batch" in entries
    leaves_out = objects is not None and len(objects) < len(graph.x)
    keys = keys_in_step(graph, renumbered=is_batch or leaves_out)
    for names, rows in zip(keys, (objects, relationships), strict=True):
        if rows is None:
            continue
        for key in names:
            value = entries[key]
            dim = graph.__cat_dim__(key, value)
            new = len(rows) - value.shape[dim]
            if new > 0:
                shape = [new if i == dim % value.dim() else n for i, n in enumerate(value.shape)]
                behind = added[key] if key in added else value.new_zeros(shape)
                value = torch.cat([value, behind], dim)
            graph[key] = value.index_select(dim, rows)
    if "num_nodes" in entries:
        graph.num_nodes = len(groups)
    if not is_batch:
        return
    if "num_nodes" in entries:
        graph._num_nodes = ends.diff().tolist()
    graph.batch, graph.ptr = groups, ends
    of_relationships = groups[graph.edge_index[0]]
    relationship_ends = pointer(of_relationships, len(ends) - 1)
    for names, *where in ((keys[0], groups, ends), (keys[1], of_relationships, relationship_ends)):
        for key in names:
            if f"{key}_batch" in entries:  # asked for by `follow_batch`
                graph[f"{key}_batch"], graph[f"{key}_ptr"] = where
    if hasattr(graph, "_slice_dict"):
        set_slices(graph, ends.cpu(), relationship_ends.cpu(), keys)


def set_slices(
    batch: Batch,
    objects: Tensor,
    relationships: Tensor,
    keys: tuple[Sequence[str], Sequence[str]] = (OBJECT_KEYS, RELATIONSHIP_KEYS),
) -> None:
    """Records how PyG takes a batch apart again.

    Args:
        batch: The batch.
        objects: First object of each graph and the end, shape :math:`(N + 1,)`, on the CPU.
        relationships: The same of the relationships.
        keys: Entries with one row for each object, and for each relationship. Others keep what is
            recorded of them; where that is nothing, they have one row a graph.
    """
    slices = dict(getattr(batch, "_slice_dict", {}))
    increments = dict(getattr(batch, "_inc_dict", {}))
    none = torch.zeros(len(objects) - 1, dtype=torch.long, device="cpu")
    whole = torch.arange(len(objects), device="cpu")
    entries = batch.to_dict()
    for key in entries:  # in their order, which `keys()` does not keep
        if key in ("batch", "ptr", "num_nodes") or _follows(entries, key):
            continue
        if key in keys[0]:
            slices[key] = objects
        elif key in keys[1]:
            slices[key] = relationships
        else:
            slices.setdefault(key, whole)
        increments.setdefault(key, none)
    increments["edge_index"] = objects[:-1]
    batch._slice_dict, batch._inc_dict = slices, increments
    batch._num_graphs = len(objects) - 1


def drop_entry(graph: Data, key: str) -> None:
    """Takes an entry that is there out of a graph or a batch, and what is recorded of it."""
    del graph[key]
    for record in ("_slice_dict", "_inc_dict"):
        getattr(graph, record, {}).pop(key, None)


def empty_batch(kind: type[Data]) -> Batch:
    """A batch without entries, of graphs of a class; to be copied, filled, and given slices."""
    batch = Batch.from_data_list([kind(x=torch.zeros(0))])
    for key in list(batch.keys()):
        del batch[key]
    batch._slice_dict, batch._inc_dict = {}, {}
    return batch


def put_together(graphs: Sequence[Data], *options: Sequence[str] | None) -> Batch:
    """:meth:`Batch.from_data_list`, with a check that entries of a user's own are in step.

    Args:
        graphs: The graphs.
        *options: Its further arguments.

    Raises:
        Sg2ImError: If one is not; see :func:`keys_in_step`.
    """
    batch = Batch.from_data_list(list(graphs), *options)
    if {"x", "edge_index"} <= set(batch.keys()):
        keys_in_step(batch)
    return batch


def most_objects(graph: Data) -> int:
    """Number of objects in the graph of a batch that has the most of them.

    Where the batch says how to take it apart, as PyG's and this package's do, nothing waits for
    its device.
    """
    return int(np.diff(object_ends(graph)).max())


def object_ends(graph: Data) -> np.ndarray:
    """Where the objects of each graph begin and end, as the second array of :func:`grouping` but on
    the CPU; like :func:`most_objects` it seldom waits."""
    if "batch" not in graph:
        return np.array([0, len(graph.x)])
    ends = getattr(graph, "_slice_dict", {}).get("x")
    if ends is None or len(ends) != graph.num_graphs + 1:
        ends = grouping(graph)[1].cpu()
    return np.asarray(ends)


def separate(batch: Batch) -> list[Data]:
    """The graphs of a batch, as views of it where that can be; :obj:`image_id` as a number.

    Otherwise the same graphs as :meth:`Batch.to_data_list`, in a fraction of the time.
    """
    columns: dict[str, Sequence[Any]] = {}
    for key, ends in batch._slice_dict.items():
        if key not in batch:
            continue
        value = batch[key]
        if key == "image_id":
            columns[key] = value.tolist()
        elif not isinstance(value, Tensor):
            columns[key] = value
        else:
            counts = ends.diff()
            if key == "edge_index":
                first = torch.repeat_interleave(batch._inc_dict[key], counts)
                value = value - first.to(value.device)
            dim = batch.__cat_dim__(key, value) or 0
            columns[key] = value.split(counts.tolist(), dim)
            if dim:
                columns[key] = [part.contiguous() for part in columns[key]]
    empty = batch.__class__.__bases__[-1]()  # copied, as making one anew costs more than filling it
    return [
        copy.copy(empty).update(dict(zip(columns, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    ]


class AssembledGraphs(Sequence[Data]):
    """The graphs of a batch, taken apart only when one of them is asked for.

    Args:
        batch: The batch.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return self.batch.num_graphs

    def __getitem__(self, index: Any) -> Any:
        return self._graphs[index]

    @cached_property
    def _graphs(self) -> list[Data]:
        return separate(self.batch)
