"""Studies with people: see --help, or sg2im_pyg/commands/study.py."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from sg2im_pyg.commands import run_command  # noqa: E402

if __name__ == "__main__":
    run_command("study", base=REPOSITORY)
