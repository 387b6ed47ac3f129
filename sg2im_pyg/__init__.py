"""Image generation from scene graphs, on PyTorch Geometric."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.data.scene_graph import SceneGraph
    from sg2im_pyg.data.vocabulary import Vocabulary
    from sg2im_pyg.errors import Sg2ImError
    from sg2im_pyg.model import Sg2Im
    from sg2im_pyg.model_config import ModelConfig

__version__ = "0.1.0"

__all__ = ["ModelConfig", "SceneGraph", "Sg2Im", "Sg2ImError", "Vocabulary"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "data": ("SceneGraph", "Vocabulary"),
        "errors": ("Sg2ImError",),
        "model": ("Sg2Im",),
        "model_config": ("ModelConfig",),
        **dict.fromkeys(("checkpoint", "drawing", "evaluation", "images", "metrics", "nn"), ()),
        **dict.fromkeys(("formats", "sources", "system", "training"), ()),
    },
)
