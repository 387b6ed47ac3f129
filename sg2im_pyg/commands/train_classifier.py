"""Trains the small classifier of landscapes whose features stand in for the Inception network's.

    python eval/train_classifier.py
    python eval/train_classifier.py --root DIR --output FILE --steps 1000 --seed 0

The weights that come with the package were made by the first command with OMP_NUM_THREADS=1, in
about four minutes on one CPU core. Landscapes that are missing are drawn. Without --output the
weights are written to runs/landscape_classifier.pt; `eval/run.py --network FILE` takes them.

The same seed gives the same weights on the same machine with the same number of threads.
"""

from pathlib import Path

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import ClassifierOptions
from sg2im_pyg.system.command_line import parse_options
from sg2im_pyg.system.places import base_folder
from sg2im_pyg.system.program import program_name


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Trains as a command line says.

    Args:
        arguments: The words after the program's name; by default those that Python was given.
        base: Folder below which data and runs lie by default.
    """
    program = program_name("train_classifier")
    options = parse_options(ClassifierOptions, arguments, program, __doc__)
    base = base or base_folder()
    root = Path(options.root or base / "datasets" / "landscapes").absolute()
    output = Path(options.output or base / "runs" / "landscape_classifier.pt").absolute()
    if output.is_dir():
        raise Sg2ImError(f"--output {output} is a folder: give a file.")

    from sg2im_pyg.evaluation.classifier_training import train_classifier

    train_classifier(root, output, options)
