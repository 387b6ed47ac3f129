"""Scene graphs: names, data objects, transforms, and the store that holds prepared data."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Names are imported when they are first used: torch and PyG take seconds to import, and what
# draws landscapes or prints a help text needs neither.
_MODULES = {
    "SceneDataset": "sg2im_pyg.data.dataset",
    "Scene": "sg2im_pyg.data.scene",
    "SceneGraph": "sg2im_pyg.data.scene_graph",
    "SceneReader": "sg2im_pyg.data.store",
    "SceneWriter": "sg2im_pyg.data.store",
    "AddImageNode": "sg2im_pyg.data.transforms",
    "SampleGeometricRelations": "sg2im_pyg.data.transforms",
    "SubsampleObjects": "sg2im_pyg.data.transforms",
    "Vocabulary": "sg2im_pyg.data.vocabulary",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
