"""Training: losses, the two-player step, configuration, checkpoints, logging and the run."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.training.config import (
        DataConfig,
        HardwareConfig,
        ImageDiscriminatorConfig,
        ObjectDiscriminatorConfig,
        OptimizerConfig,
        TrainingConfig,
    )
    from sg2im_pyg.training.losses import LossConfig, register_loss
    from sg2im_pyg.training.trainer import train

__all__ = [
    "DataConfig",
    "HardwareConfig",
    "ImageDiscriminatorConfig",
    "LossConfig",
    "ObjectDiscriminatorConfig",
    "OptimizerConfig",
    "TrainingConfig",
    "register_loss",
    "train",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "config": (
            "DataConfig",
            "HardwareConfig",
            "ImageDiscriminatorConfig",
            "ObjectDiscriminatorConfig",
            "OptimizerConfig",
            "TrainingConfig",
        ),
        "losses": ("LossConfig", "register_loss"),
        "trainer": ("train",),
        **dict.fromkeys(("command_line", "compilation", "data", "initial", "internals"), ()),
        **dict.fromkeys(("loader", "logging", "noise", "players", "processes", "resume"), ()),
        **dict.fromkeys(("run", "run_folder", "step", "validation"), ()),
    },
)
