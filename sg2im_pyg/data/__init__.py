"""Scene graphs: names, data objects, transforms, and the store that holds prepared data."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.data.dataset import SceneDataset as SceneDataset
    from sg2im_pyg.data.loader import SceneLoader as SceneLoader
    from sg2im_pyg.data.scene import Scene as Scene
    from sg2im_pyg.data.scene_graph import SceneGraph as SceneGraph
    from sg2im_pyg.data.store import SceneReader as SceneReader
    from sg2im_pyg.data.store import SceneWriter as SceneWriter
    from sg2im_pyg.data.transforms import AddImageNode as AddImageNode
    from sg2im_pyg.data.transforms import LimitObjects as LimitObjects
    from sg2im_pyg.data.transforms import SampleGeometricRelations as SampleGeometricRelations
    from sg2im_pyg.data.transforms import SubsampleObjects as SubsampleObjects
    from sg2im_pyg.data.vocabulary import Vocabulary as Vocabulary

__all__, __getattr__, __dir__ = lazy_names(__name__)
