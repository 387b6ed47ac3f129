"""A prepared split as a data set of scene graphs."""

import copy
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from torch_geometric.data import Batch, Data, Dataset, HeteroData
from torch_geometric.data.data import BaseData

from sg2im_pyg.data.batching import (
    AssembledGraphs,
    drop_entry,
    empty_batch,
    put_together,
    separate,
    set_slices,
)
from sg2im_pyg.data.scene_graph import SceneGraph
from sg2im_pyg.data.scene_table import ragged_rows
from sg2im_pyg.data.store import SceneReader
from sg2im_pyg.data.transforms import takes_batches
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError, first_line

_LOADED_AT_ONCE = 1024  # pictures read in one go into memory: 12 MB at 64 x 64
_ITERATED_AT_ONCE = 32  # items of a plain loop that are assembled together
_EMPTY_BATCH = empty_batch(SceneGraph)  # copied, as making one anew costs more than filling it

Positions = Sequence[int] | np.ndarray | Tensor
"""Positions in a data set, from the end where they are negative."""


class SceneDataset(Dataset):
    """The scene graphs of one split, read from its HDF5 file.

    Without a transform an item is the full stored graph: its objects in stored order, its stored
    relationships, boxes, masks, picture and :obj:`image_id`. Loaders get whole batches at once
    (:meth:`__getitems__`), without a loop over pictures or objects; :class:`SceneLoader` hands
    them on as they are, PyG's own :class:`~torch_geometric.loader.DataLoader` takes them apart
    and puts them together again. It can be handed to worker processes; each opens the file for
    itself.

    Args:
        path: File written by ``datasets/prepare.py``.
        transform: Called on each graph at each access; those of this package, and
            :class:`~torch_geometric.transforms.Compose` of them, on whole batches
            (:class:`~sg2im_pyg.data.transforms.BatchTransform`).
        in_memory: Whether to hold all pictures in memory: :math:`3 H W` bytes each. Annotations
            always are.
        device: Where batches are assembled; on another device than the CPU all pictures are held
            there, and worker processes can not be used.
        attributes: Whether graphs have :obj:`attributes` of their objects, shape :math:`(O, A)`,
            bool, in the order of the vocabulary's, which names them only then.

    Raises:
        Sg2ImError: If the file is missing, truncated, foreign, or of a newer schema; if it has no
            attributes but they are wanted; if the device is not there, or has no room for the
            pictures.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        *,
        in_memory: bool = False,
        device: torch.device | str | None = None,
        attributes: bool = False,
    ) -> None:
        self.reader = reader = SceneReader(path)
        super().__init__(root=None, transform=transform)
        self.device = _usable("cpu" if device is None else device)
        self._categories = self._table(reader.categories, torch.int64)
        self._boxes = self._table(reader.boxes, torch.float32)
        self._image_ids = self._table(reader.image_ids, torch.int64)
        triples = self._table(reader.relationships, torch.int64)
        self._edge_index = triples[:, [0, 2]].t().contiguous()
        self._edge_attr = triples[:, 1].contiguous()
        self._packed_masks: Tensor | None = None
        if reader.packed_masks is not None:
            self._packed_masks = self._table(reader.packed_masks, torch.uint8)
            # The eight pixels of each byte, first pixel in the highest bit (numpy.packbits).
            bits = torch.arange(256).view(-1, 1) >> torch.arange(7, -1, -1)
            self._pixels = (bits & 1).float().to(self.device)
        self._attributes: Tensor | None = None
        if attributes:
            if not reader.vocabulary.attributes:
                raise Sg2ImError(
                    f"{reader.path} has no attributes of objects: open it without attributes=True."
                )
            self._attributes = self._table(reader.attributes, torch.int64)
        self._images: Tensor | None = None
        if in_memory or self.device.type != "cpu":
            self._images = self._load_images()

    @property
    def vocabulary(self) -> Vocabulary:
        """Names of the categories and predicates, and of the attributes where graphs have them."""
        names = self.reader.vocabulary
        return Vocabulary(names.objects, names.predicates) if self._attributes is None else names

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.reader.image_size

    @property
    def mask_size(self) -> int:
        """Side of the masks, 0 if there are none."""
        return self.reader.mask_size

    def len(self) -> int:
        return len(self.reader)

    def get(self, idx: int) -> SceneGraph:
        return separate(self._gather(np.array([range(self.len())[idx]])))[0]

    def __getitems__(self, indices: Positions) -> Sequence[Any]:
        """Items at several positions, as torch's loaders ask for them."""
        return self.items_at(indices)

    def assemble(self, indices: Positions, keys: np.ndarray | Tensor | None = None) -> Batch:
        """The batch of the items at some positions.

        It equals :meth:`Batch.from_data_list <torch_geometric.data.Batch.from_data_list>` of the
        single items.

        Args:
            indices: Positions in this data set, shape :math:`(N,)`; they may repeat.
            keys: Keys of the transforms' draws, shape :math:`(N,)`, int64 (see
                :class:`~sg2im_pyg.data.transforms.BatchTransform`); without them they draw from
                torch's global generator.

        Returns:
            :math:`N` graphs, on :attr:`device`.

        Raises:
            IndexError: If there is no such position.
            Sg2ImError: If there are not as many keys as positions.
        """
        graphs = self.items_at(indices, keys)
        if isinstance(graphs, AssembledGraphs):
            return graphs.batch
        if not all(isinstance(graph, BaseData) for graph in graphs):
            raise Sg2ImError(
                "The transform gives no graphs, which a batch is made of, but a "
                f"{type(graphs[0]).__name__}: use PyG's DataLoader."
            )
        return put_together(graphs)

    def items_at(
        self, indices: Positions, keys: np.ndarray | Tensor | None = None
    ) -> Sequence[Any]:
        """Items at some positions, see :meth:`assemble`.

        Returns:
            An :class:`~sg2im_pyg.data.batching.AssembledGraphs`, or a list where the transform
            takes single graphs only. With keys, such a transform finds the global generators of
            torch, numpy and Python seeded with the key; their states are put back afterwards.
        """
        stored = self._stored(indices)
        if keys is not None and len(keys) != len(stored):
            raise Sg2ImError(
                f"There must be one key for each item, got {len(keys)} for {len(stored)}."
            )
        graphs: list[Data] | None = None
        if type(self).get is SceneDataset.get:  # and not a subclass that makes its graphs itself
            if self.transform is None or not len(stored):
                return AssembledGraphs(self._gather(stored))
            batch = self._gather(stored, keys)
            if takes_batches(self.transform):
                return AssembledGraphs(_without_key(self.transform(batch)))
            graphs = separate(batch)
        items: list[Any] = []
        for i, index in enumerate(stored.tolist()):
            with nullcontext() if keys is None else _seeded(int(keys[i]), self.device):
                graph = self.get(index) if graphs is None else graphs[i]
                if graphs is None and keys is not None and isinstance(graph, Data):
                    graph.draw_key = torch.as_tensor(keys[i : i + 1], device=self.device)
                made = graph if self.transform is None else self.transform(graph)
                items.append(_without_key(made))
        return items

    def __iter__(self) -> Iterator[Any]:
        # Some at a time: one by one, each would cost nearly as much as a batch.
        for start in range(0, len(self), _ITERATED_AT_ONCE):
            yield from self.items_at(range(start, min(start + _ITERATED_AT_ONCE, len(self))))

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({str(self.reader.path)!r}, {len(self)})"

    def _stored(self, indices: Positions) -> np.ndarray:
        """Positions in the file of positions in this data set (which may be a part of it)."""
        positions = np.asarray(indices)
        if positions.dtype == bool and positions.shape == (len(self),):
            positions = positions.nonzero()[0]
        if positions.ndim != 1 or (len(positions) and positions.dtype.kind not in "iu"):
            raise IndexError(
                "Items are asked for by whole numbers, or by one truth value for each item; got "
                f"an array of shape {positions.shape} and type {positions.dtype}."
            )
        positions = positions.astype(np.int64)
        outside = positions[(positions < -len(self)) | (positions >= len(self))]
        if len(outside):
            raise IndexError(f"There is no item {outside[0]} of {len(self)}.")
        chosen = self.indices()
        return np.array([chosen[i] for i in positions.tolist()], np.int64)

    def _gather(self, pictures: np.ndarray, keys: np.ndarray | Tensor | None = None) -> Batch:
        """The batch of stored graphs at some positions in the file, with keys for their draws."""
        if self.device.type != "cpu" and get_worker_info() is not None:
            raise Sg2ImError(
                f"The pictures of {self.reader.path} are held on {self.device}, which worker "
                "processes can not use: give the loader num_workers=0."
            )
        # The bookkeeping is on the CPU, so that nothing waits for another device.
        objects, object_ends = ragged_rows(self.reader.object_offset, pictures)
        edges, edge_ends = ragged_rows(self.reader.relationship_offset, pictures)
        numbers = np.arange(len(pictures))
        edge_rows = self._move(edges)
        first_objects = self._move(np.repeat(object_ends[:-1], np.diff(edge_ends)))
        object_rows = self._move(objects)
        picture_rows = self._move(pictures)
        ends = torch.from_numpy(object_ends)
        batch = copy.copy(_EMPTY_BATCH)
        batch.x = self._categories.index_select(0, object_rows)
        batch.edge_index = self._edge_index.index_select(1, edge_rows) + first_objects
        batch.edge_attr = self._edge_attr.index_select(0, edge_rows)
        batch.boxes = self._boxes.index_select(0, object_rows)
        batch.masks = self._unpack_masks(object_rows)
        batch.attributes = self._multi_hot(objects)
        batch.image = self._pictures(pictures, picture_rows)
        batch.image_id = self._image_ids.index_select(0, picture_rows)
        if keys is not None:
            batch.draw_key = torch.as_tensor(keys, device=self.device)
        batch.batch = self._move(np.repeat(numbers, np.diff(object_ends)))
        batch.ptr = ends.to(self.device, copy=True)
        set_slices(batch, ends, torch.from_numpy(edge_ends))
        return batch

    def _pictures(self, pictures: np.ndarray, rows: Tensor) -> Tensor:
        if self._images is not None:
            return self._images.index_select(0, rows)
        return torch.from_numpy(self.reader.images(pictures)).permute(0, 3, 1, 2).contiguous()

    def _unpack_masks(self, rows: Tensor) -> Tensor | None:
        if self._packed_masks is None:
            return None
        size = self.mask_size
        packed = self._packed_masks.index_select(0, rows)
        pixels = self._pixels.index_select(0, packed.view(-1).int())
        return pixels.view(len(rows), 8 * packed.shape[1])[:, : size * size].reshape(-1, size, size)

    def _multi_hot(self, objects: np.ndarray) -> Tensor | None:
        if self._attributes is None:
            return None
        rows, ends = ragged_rows(self.reader.attribute_offset, objects)
        owners = np.repeat(np.arange(len(objects)), np.diff(ends))
        shape = (len(objects), len(self.reader.vocabulary.attributes))
        table = torch.zeros(shape, dtype=torch.bool, device=self.device)
        table[self._move(owners), self._attributes[self._move(rows)]] = True
        return table

    def _load_images(self) -> Tensor:
        count, (height, width) = self.len(), self.image_size
        try:
            images = torch.empty((count, 3, height, width), dtype=torch.uint8, device=self.device)
        except (RuntimeError, MemoryError) as error:
            raise Sg2ImError(
                f"The pictures of {self.reader.path} take {count * 3 * height * width / 1e9:.1f} "
                f"GB, which {self.device} has no room for ({first_line(error)}): read them from "
                "the file, without in_memory and device."
            ) from error
        for start in range(0, count, _LOADED_AT_ONCE):
            rows = np.arange(start, min(start + _LOADED_AT_ONCE, count))
            part = torch.from_numpy(self.reader.images(rows)).to(self.device)
            images[start : start + len(rows)] = part.permute(0, 3, 1, 2)
        return images

    def _table(self, values: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(values).to(self.device, dtype)

    def _move(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self.device, non_blocking=True)


def _usable(device: torch.device | str) -> torch.device:
    """The device, if pictures can be held and batches assembled there."""
    try:
        # Centres of objects are compared in double precision, which some devices do not have.
        return torch.zeros(1, dtype=torch.double, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise Sg2ImError(
            f"Pictures can not be held on the device {device} ({first_line(error)}): leave device "
            "out, or name a GPU that is there."
        ) from error


def _without_key(item: Any) -> Any:
    """The item without the key of its draws, which the model has no use for."""
    if isinstance(item, (list, tuple)):  # such as training and test graphs
        for part in item:
            _without_key(part)
    elif isinstance(item, HeteroData):
        for store in item.stores:
            store.pop("draw_key", None)
    elif isinstance(item, Data) and "draw_key" in item:
        drop_entry(item, "draw_key")
    return item


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators of torch, numpy and Python, seeded; afterwards as before."""
    devices = [device] if device.type == "cuda" else []
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(seed)
            if devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
