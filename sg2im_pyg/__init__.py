"""Image generation from scene graphs, on PyTorch Geometric."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sg2im_pyg.data.scene_graph import SceneGraph
    from sg2im_pyg.data.vocabulary import Vocabulary
    from sg2im_pyg.errors import Sg2ImError
    from sg2im_pyg.model import ModelConfig, Sg2Im

__version__ = "0.1.0"

__all__ = [
    "ModelConfig",
    "SceneGraph",
    "Sg2Im",
    "Sg2ImError",
    "Vocabulary",
]

# Names are imported when they are first used: torch and PyG take seconds to import, and what
# draws landscapes or prints a help text needs neither.
_MODULES = {
    "SceneGraph": "sg2im_pyg.data.scene_graph",
    "Vocabulary": "sg2im_pyg.data.vocabulary",
    "Sg2ImError": "sg2im_pyg.errors",
    "ModelConfig": "sg2im_pyg.model",
    "Sg2Im": "sg2im_pyg.model",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
