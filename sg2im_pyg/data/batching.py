"""Which rows of a batch belong to which graph.

A transform that works on the rows of a whole :class:`~torch_geometric.data.Batch` reads the
grouping here and, where it changed the rows, writes it back in the form in which
:meth:`Batch.from_data_list <torch_geometric.data.Batch.from_data_list>` keeps it. A single graph
counts as a batch of one.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from sg2im_pyg.errors import Sg2ImError

OBJECT_KEYS = ("x", "boxes", "masks", "attributes")
"""Entries of a scene graph with one row for each object."""
RELATIONSHIP_KEYS = ("edge_index", "edge_attr")
"""Entries with one row (of :obj:`edge_index`: column) for each relationship."""


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


def regroup(graph: Data, groups: Tensor, ends: Tensor) -> None:
    """Records a new grouping of a batch whose rows were changed; a single graph has none.

    Args:
        graph: The batch, its rows grouped by graph and its :obj:`edge_index` up to date.
        groups: Graph of each object, shape :math:`(O,)`.
        ends: First rows of the graphs with the end behind them, shape :math:`(N + 1,)`.
    """
    if "batch" not in graph:
        return
    graph.batch, graph.ptr = groups, ends
    relationships = groups[graph.edge_index[0]]
    relationship_ends = pointer(relationships, len(ends) - 1)
    for keys, key_groups, key_ends in (
        (OBJECT_KEYS, groups, ends),
        (RELATIONSHIP_KEYS, relationships, relationship_ends),
    ):
        for key in keys:
            if f"{key}_batch" in graph:  # asked for by `follow_batch`
                graph[f"{key}_batch"], graph[f"{key}_ptr"] = key_groups, key_ends
    if hasattr(graph, "_slice_dict"):
        set_slices(graph, ends.cpu(), relationship_ends.cpu())


def set_slices(batch: Batch, objects: Tensor, relationships: Tensor) -> None:
    """Records how PyG takes a batch apart again.

    Args:
        batch: The batch. Entries that are neither of :data:`OBJECT_KEYS` nor of
            :data:`RELATIONSHIP_KEYS` keep what is recorded of them; where that is nothing, they
            have one row a graph.
        objects: First object of each graph and the end, shape :math:`(N + 1,)`, on the CPU.
        relationships: The same of the relationships.

    Raises:
        Sg2ImError: If another entry names objects by their number in the batch (its name has
            :obj:`index` in it, as PyG understands it).
    """
    slices = dict(getattr(batch, "_slice_dict", {}))
    increments = dict(getattr(batch, "_inc_dict", {}))
    none = torch.zeros(len(objects) - 1, dtype=torch.long, device="cpu")
    whole = torch.arange(len(objects), device="cpu")
    for key in batch.to_dict():  # in their order, which `keys()` does not keep
        if key in ("batch", "ptr") or key.endswith(("_batch", "_ptr")):
            continue
        if key in OBJECT_KEYS:
            slices[key] = objects
        elif key in RELATIONSHIP_KEYS:
            slices[key] = relationships
        elif "index" in key:
            raise Sg2ImError(
                f"A batch with the entry {key!r}, which names objects by number, can not be "
                "transformed as a whole: transform its graphs before they are put together."
            )
        else:
            slices.setdefault(key, whole)
        increments.setdefault(key, none)
    increments["edge_index"] = objects[:-1]
    batch._slice_dict, batch._inc_dict = slices, increments


def most_objects(graph: Data) -> int:
    """Number of objects in the graph of a batch that has the most of them.

    Where the batch says how to take it apart, as PyG's and this package's do, nothing waits for
    its device.
    """
    if "batch" not in graph:
        return len(graph.x)
    ends = getattr(graph, "_slice_dict", {}).get("x")
    if ends is None or len(ends) != graph.num_graphs + 1:
        ends = grouping(graph)[1].cpu()
    return int(np.diff(np.asarray(ends)).max())


def split(batch: Batch) -> list[Data]:
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
        self._graphs: list[Data] | None = None

    def __len__(self) -> int:
        return self.batch.num_graphs

    @overload
    def __getitem__(self, index: int) -> Data: ...

    @overload
    def __getitem__(self, index: slice) -> list[Data]: ...

    def __getitem__(self, index: int | slice) -> Data | list[Data]:
        return self._split()[index]

    def __iter__(self) -> Iterator[Data]:
        return iter(self._split())

    def _split(self) -> list[Data]:
        if self._graphs is None:
            self._graphs = split(self.batch)
        return self._graphs
