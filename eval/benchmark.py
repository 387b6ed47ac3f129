"""Measures this library against the step written straight from the paper
(benchmarks/reference_step.py).

    python eval/benchmark.py                                  everything, at the published size
    python eval/benchmark.py --parts [train,generate] --sizes [64] --batches [32]
    python eval/benchmark.py --accelerator cuda --precision bf16-mixed
    python eval/benchmark.py --config landscapes --parts [levers]

Parts: train and generate (a training step; pictures from given batches), layout and gconv (these
two alone, forward and backward), loader (pictures a second on one core), levers (ours with each
thing that makes it fast switched off), memory (over many batches), processes (one against
several). The data are random, of the sizes of COCO's.

Every variant runs in a process of its own and all take turns, so that a slow moment of the machine
meets all alike. Printed is a table; written is benchmark.json with every single figure.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "eval")]  # runs from any directory

from benchmarks.options import BenchmarkOptions  # noqa: E402

from sg2im_pyg.system.command_line import parse_options  # noqa: E402
from sg2im_pyg.system.program import run_program  # noqa: E402


def main() -> None:
    options = parse_options(BenchmarkOptions, None, "benchmark.py", __doc__)
    from benchmarks.parts import measure_parts

    measure_parts(options, REPOSITORY)


if __name__ == "__main__":
    run_program(main)
