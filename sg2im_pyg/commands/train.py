"""Trains the generator and its discriminators.

    python train/run.py                                       landscapes, on a CPU, in minutes
    python train/run.py --config coco64                       a published configuration
    python train/run.py --optimizer.lr 2e-4 --steps 500       options on top of a configuration
    python train/run.py --config landscapes --config no_gconv one of the paper's ablations
    python train/run.py --resume                              go on with the newest run
    python train/run.py --init FILE                           a new run from a checkpoint's weights
    torchrun --standalone --nproc-per-node=8 train/run.py --config coco64

A run writes its options, curves, checkpoints and sample pictures to one folder, whose name is
printed at the start and at the end.
"""

from pathlib import Path

from sg2im_pyg.system.memory import keep_freed_memory
from sg2im_pyg.system.places import base_folder
from sg2im_pyg.system.program import INTERRUPTED
from sg2im_pyg.training.command_line import parse_command
from sg2im_pyg.training.stores import find_store


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Trains as a command line says; see :data:`~sg2im_pyg.system.program.COMMANDS`."""
    command = parse_command(arguments, base or base_folder(), __doc__)
    find_store(command.config, "train", to_be_made=True)  # said at once if it is missing

    from sg2im_pyg.training.processes import leave
    from sg2im_pyg.training.trainer import train

    keep_freed_memory()
    whole = train(command.config, command.run_dir, command.checkpoint, command.folder)
    leave(0 if whole else INTERRUPTED)
