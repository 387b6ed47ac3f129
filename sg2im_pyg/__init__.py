"""Image generation from scene graphs, on PyTorch Geometric."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.data.scene_graph import SceneGraph as SceneGraph
    from sg2im_pyg.data.vocabulary import Vocabulary as Vocabulary
    from sg2im_pyg.errors import Sg2ImError as Sg2ImError
    from sg2im_pyg.model import Sg2Im as Sg2Im
    from sg2im_pyg.model_config import ModelConfig as ModelConfig

__version__ = "0.1.0"

__all__, __getattr__, __dir__ = lazy_names(__name__)
