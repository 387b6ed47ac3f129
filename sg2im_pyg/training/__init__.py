"""Training: losses, the two-player step, configuration, checkpoints, logging and the run."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.training.config import DataConfig as DataConfig
    from sg2im_pyg.training.config import HardwareConfig as HardwareConfig
    from sg2im_pyg.training.config import ImageDiscriminatorConfig as ImageDiscriminatorConfig
    from sg2im_pyg.training.config import ObjectDiscriminatorConfig as ObjectDiscriminatorConfig
    from sg2im_pyg.training.config import OptimizerConfig as OptimizerConfig
    from sg2im_pyg.training.config import TrainingConfig as TrainingConfig
    from sg2im_pyg.training.losses import LossConfig as LossConfig
    from sg2im_pyg.training.losses import register_loss as register_loss
    from sg2im_pyg.training.trainer import train as train

__all__, __getattr__, __dir__ = lazy_names(__name__)
