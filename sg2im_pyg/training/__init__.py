"""Training: losses, the two-player step, configuration, checkpoints, logging and the run."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.training.config import TrainingConfig
    from sg2im_pyg.training.losses import register_loss
    from sg2im_pyg.training.trainer import train

__all__ = ["TrainingConfig", "register_loss", "train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "config": ("TrainingConfig",),
        "losses": ("register_loss",),
        "trainer": ("train",),
        **dict.fromkeys(("command_line", "compilation", "data", "initial", "internals"), ()),
        **dict.fromkeys(("loader", "logging", "noise", "players", "processes", "resume"), ()),
        **dict.fromkeys(("run", "run_folder", "step", "validation"), ()),
    },
)
