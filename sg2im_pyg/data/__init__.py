"""Scene graphs: names, data objects, transforms, and the store that holds prepared data."""

from sg2im_pyg.data.dataset import SceneDataset
from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.scene_graph import SceneGraph
from sg2im_pyg.data.store import SceneReader, SceneWriter
from sg2im_pyg.data.transforms import AddImageNode, SampleGeometricRelations, SubsampleObjects
from sg2im_pyg.data.vocabulary import Vocabulary

__all__ = [
    "AddImageNode",
    "SampleGeometricRelations",
    "Scene",
    "SceneDataset",
    "SceneGraph",
    "SceneReader",
    "SceneWriter",
    "SubsampleObjects",
    "Vocabulary",
]
