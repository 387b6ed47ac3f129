"""Prepares data for training: one HDF5 file a split, of painted landscapes, COCO or Visual Genome.

Typical commands, from any folder:

    python datasets/prepare.py landscapes
    python datasets/prepare.py coco --root /data/coco                    (downloads about 22 GB)
    python datasets/prepare.py visual_genome --root /data/vg --image_size 64 128
    python datasets/prepare.py coco --source /data/coco --root /fast/coco     (no download)

Each step is skipped where its result is there and whole: an interrupted command is run again.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # from any directory, installed or not

from sg2im_pyg.system.program import run_program  # noqa: E402


def main() -> None:
    from sg2im_pyg.commands.prepare import prepare  # not by the worker processes

    prepare()


if __name__ == "__main__":
    run_program(main)
