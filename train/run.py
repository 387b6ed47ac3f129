"""Trains the generator and its discriminators.

    python train/run.py                                       landscapes, on a CPU, in minutes
    python train/run.py --config train/configs/coco64.yaml    a published configuration
    python train/run.py --optimizer.lr 2e-4 --steps 500       options on top of a configuration
    python train/run.py --config landscapes --config no_gconv one of the paper's ablations
    python train/run.py --resume                              go on with the newest run
    python train/run.py --init FILE                           a new run from a checkpoint's weights
    torchrun --standalone --nproc-per-node=8 train/run.py --config coco64

A run writes its options, curves, checkpoints and sample pictures to one folder, whose name is
printed at the start and at the end.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from sg2im_pyg.system.program import INTERRUPTED, run_program  # noqa: E402


def main() -> None:
    from sg2im_pyg.training.command_line import parse_command
    from sg2im_pyg.training.processes import leave
    from sg2im_pyg.training.trainer import train

    command = parse_command(sys.argv[1:], REPOSITORY, description=__doc__)
    whole = train(command.config, command.run_dir, command.checkpoint, command.folder)
    leave(0 if whole else INTERRUPTED)


if __name__ == "__main__":
    run_program(main)
