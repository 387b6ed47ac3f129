"""Generates pictures from scene graphs in a JSON file.

    python eval/generate.py                                    newest run, graphs of landscapes
    python eval/generate.py --checkpoint best.pt graphs.json --output pictures --seed 3

The file holds one graph or a list of graphs; subjects and objects are positions in "objects":

    {"objects": ["sky", "grass", "sheep"],
     "relationships": [[0, "above", 1], [2, "inside", 1]]}

For each graph the picture, the predicted layout and a drawing of the graph are written, and a
contact sheet of all.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from sg2im_pyg.program import run_program  # noqa: E402


def main() -> None:
    from sg2im_pyg.generation import generate_from_command_line

    generate_from_command_line(sys.argv[1:], REPOSITORY, description=__doc__)


if __name__ == "__main__":
    run_program(main)
