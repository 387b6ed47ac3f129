"""A prepared split as an evaluation reads it: graphs that follow from a seed, in the names of the
model that is evaluated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch

from sg2im_pyg.data import SceneDataset, Vocabulary
from sg2im_pyg.data.batching import object_ends
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.data.transforms import graph_transforms, relationships_of
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn.box_flow import NOISE_CHANNELS
from sg2im_pyg.sources.registry import Source, source_of

Relationships = Literal["geometric", "stored", "both", "none"]


@dataclass
class Split:
    """The first pictures of a prepared split.

    Args:
        path: File written by ``datasets/prepare.py``.
        limit: How many pictures, at most.
        max_objects: Most objects a graph, image node included.
        seed: Fixes graphs and noise.

    Raises:
        Sg2ImError: If the file can not be read, or holds no picture.
    """

    path: Path
    limit: int | None = None
    max_objects: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.dataset = SceneDataset(self.path)
        if not len(self.dataset):
            raise Sg2ImError(f"{self.path} holds no picture: give another split.")
        self.pictures = min(self.limit or len(self.dataset), len(self.dataset))

    @property
    def vocabulary(self) -> Vocabulary:
        return self.dataset.vocabulary

    @property
    def source(self) -> str:
        """Name of the data set, as its preparation noted it."""
        return str(self.dataset.reader.settings.get("source", "unknown"))

    @property
    def origin(self) -> Source:
        """What the table of sources says of it; for a store of another origin what is usual."""
        return source_of(self.dataset.reader.settings) or Source(self.source, "", "")

    @property
    def relationships(self) -> Relationships:
        """Where the relationships of its graphs come from."""
        return relationships_of(self.dataset.reader)

    def image_id(self, index: int) -> int:
        return int(self.dataset.reader.image_ids[index])

    def batches(self, batch_size: int) -> Iterator[range]:
        """Positions of the pictures, some at a time."""
        for start in range(0, self.pictures, batch_size):
            yield range(start, min(start + batch_size, self.pictures))

    def graphs(self, indices: Sequence[int], draw: int, relationships: Relationships) -> Batch:
        """Graphs of some pictures with their image nodes.

        Args:
            indices: Positions of the pictures.
            draw: Number of the graph, where there are several of a picture.
            relationships: Where the relationships come from.
        """
        self.dataset.transform = graph_transforms(self.vocabulary, relationships, self.max_objects)
        try:
            return self.dataset.assemble(indices, draw_keys(self.seed, draw, indices))
        finally:
            self.dataset.transform = None

    def noise(
        self, indices: Sequence[int], draw: int, shape: tuple[int, ...], again: int = 0
    ) -> Tensor:
        """Normal noise that follows from seed, picture and draw alone, whatever the batch.

        Args:
            indices: Positions of the pictures.
            draw: Number of the graph, where there are several of a picture.
            shape: Shape of a picture's noise.
            again: Number of the noise, where a graph is generated from several times.

        Returns:
            Shape :math:`(N, *\\text{shape})`, on the CPU.
        """
        shapes = [shape] * len(indices)
        return torch.stack(self._noise(_NOISE_STREAM, indices, draw, shapes, again))

    def appearance_noise(
        self, indices: Sequence[int], draw: int, graphs: Batch, channels: int, again: int = 0
    ) -> Tensor:
        """As :meth:`noise`, for the objects of the pictures' graphs: shape
        :math:`(O, \\text{channels})`."""
        shapes = [(int(count), channels) for count in np.diff(object_ends(graphs))]
        return torch.cat(self._noise(2 * _NOISE_STREAM, indices, draw, shapes, again))

    def box_noise(self, indices: Sequence[int], draw: int, graphs: Batch, again: int = 0) -> Tensor:
        """As :meth:`appearance_noise`, for the boxes that a generator draws."""
        shapes = [(int(count), NOISE_CHANNELS) for count in np.diff(object_ends(graphs))]
        return torch.cat(self._noise(3 * _NOISE_STREAM, indices, draw, shapes, again))

    def _noise(
        self,
        stream: int,
        indices: Sequence[int],
        draw: int,
        shapes: Sequence[tuple[int, ...]],
        again: int,
    ) -> list[Tensor]:
        generator = torch.Generator()
        keys = draw_keys(self.seed + stream + again * _AGAIN_STREAM, draw, indices)
        return [
            torch.randn(shape, generator=generator.manual_seed(int(key)))
            for key, shape in zip(keys, shapes, strict=True)
        ]


_NOISE_STREAM = 2**40  # apart from the keys of the graphs; seeds have 32 bits
_AGAIN_STREAM = 2**48


class Translation:
    """Indices of one vocabulary's names in another, matched by name.

    Args:
        given: Vocabulary of the data.
        wanted: Vocabulary of the model, which may hold more names.
        where: The model's file, for the sentence.

    Raises:
        Sg2ImError: If the model lacks a name of the data.
    """

    def __init__(self, given: Vocabulary, wanted: Vocabulary, where: Path) -> None:
        self.tables = []
        for kind in ("objects", "predicates"):
            known = {name: i for i, name in enumerate(getattr(wanted, kind))}
            missing = [name for name in getattr(given, kind) if name not in known]
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise Sg2ImError(
                    f"The model of {where} does not know the data's {kind[:-1]} "
                    f"{missing[0]!r}{more}: evaluate it on the data set it was trained on."
                )
            self.tables.append(torch.tensor([known[name] for name in getattr(given, kind)]))

    def __call__(self, graphs: Batch) -> Batch:
        """The same graphs in the model's indices."""
        translated = graphs.clone()
        objects, predicates = (table.to(graphs.x.device) for table in self.tables)
        translated.x, translated.edge_attr = objects[graphs.x], predicates[graphs.edge_attr]
        return translated
