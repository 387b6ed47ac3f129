"""A prepared split as a data set of scene graphs."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch_geometric.data import Dataset

from sg2im_pyg.data.scene_graph import SceneGraph
from sg2im_pyg.data.store import SceneReader
from sg2im_pyg.data.vocabulary import Vocabulary


class SceneDataset(Dataset):
    """The scene graphs of one split, read from its HDF5 file.

    Without a transform an item is the full stored graph: its objects in stored order, its stored
    relationships, boxes, masks, picture and :obj:`image_id`. It can be handed to worker
    processes; each opens the file for itself.

    Args:
        path: File written by ``datasets/prepare.py``.
        transform: Called on each graph at each access.

    Raises:
        Sg2ImError: If the file is missing, truncated, foreign, or of a newer schema.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.reader = SceneReader(path)
        super().__init__(root=None, transform=transform)

    @property
    def vocabulary(self) -> Vocabulary:
        """Names of the categories and predicates."""
        return self.reader.vocabulary

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
        scene = self.reader[idx]
        relationships = torch.from_numpy(scene.relationships)
        graph = SceneGraph(
            x=torch.from_numpy(scene.categories),
            edge_index=relationships[:, [0, 2]].t().contiguous(),
            edge_attr=relationships[:, 1].contiguous(),
            boxes=torch.from_numpy(scene.boxes.copy()),
            image=torch.from_numpy(scene.image).permute(2, 0, 1).unsqueeze(0).contiguous(),
            image_id=scene.image_id,
        )
        if scene.masks is not None:
            graph.masks = torch.from_numpy(scene.masks).float()
        return graph

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({str(self.reader.path)!r}, {len(self)})"
