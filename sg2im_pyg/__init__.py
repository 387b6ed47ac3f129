"""Image generation from scene graphs, on PyTorch Geometric."""

from sg2im_pyg.data.scene_graph import SceneGraph
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.model import ModelConfig, Sg2Im

__version__ = "0.1.0"

__all__ = ["ModelConfig", "SceneGraph", "Sg2Im", "Sg2ImError", "Vocabulary"]
