"""Runs a program of the repository in double precision: ``double_precision.py FILE OPTIONS...``

Two ways of summing the same numbers then agree to many digits, also after steps of Adam, which
makes much of the rounding of a gradient that is zero.
"""

import runpy
import sys

import torch

if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
