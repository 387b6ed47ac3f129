"""Scene graphs: names, data objects, transforms, and the store that holds prepared data."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.data.dataset import SceneDataset
    from sg2im_pyg.data.loader import SceneLoader
    from sg2im_pyg.data.scene import Scene
    from sg2im_pyg.data.scene_graph import SceneGraph
    from sg2im_pyg.data.store import SceneReader, SceneWriter
    from sg2im_pyg.data.transforms import (
        AddImageNode,
        LimitObjects,
        SampleGeometricRelations,
        SubsampleObjects,
    )
    from sg2im_pyg.data.vocabulary import Vocabulary

__all__ = [
    "AddImageNode",
    "LimitObjects",
    "SampleGeometricRelations",
    "Scene",
    "SceneDataset",
    "SceneGraph",
    "SceneLoader",
    "SceneReader",
    "SceneWriter",
    "SubsampleObjects",
    "Vocabulary",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "dataset": ("SceneDataset",),
        "loader": ("SceneLoader",),
        "scene": ("Scene",),
        "scene_graph": ("SceneGraph",),
        "store": ("SceneReader", "SceneWriter"),
        "transforms": (
            "AddImageNode",
            "LimitObjects",
            "SampleGeometricRelations",
            "SubsampleObjects",
        ),
        "vocabulary": ("Vocabulary",),
    },
)
