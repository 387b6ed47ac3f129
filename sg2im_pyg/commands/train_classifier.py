"""Trains the small classifier of landscapes whose features stand in for the Inception network's.

    python eval/train_classifier.py
    python eval/train_classifier.py --root DIR --output FILE --steps 1000 --seed 0

The weights that come with the package were made by the first command with OMP_NUM_THREADS=1, in
about four minutes on one CPU core. Landscapes that are missing are drawn. Without --output the
weights are written to runs/landscape_classifier.pt; `eval/run.py --network FILE` takes them.

The same seed gives the same weights on the same machine with the same number of threads.
"""

from dataclasses import dataclass
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.command_line import parse_options
from sg2im_pyg.system.options import check_options, option
from sg2im_pyg.system.places import base_folder
from sg2im_pyg.system.program import program_name


@dataclass
class ClassifierOptions:
    """What the classifier is trained on, and for how long."""

    root: str | None = option(None, metavar="DIR")
    """Folder of the landscapes, drawn where they are missing; null: datasets/landscapes."""
    output: str | None = option(None, metavar="FILE")
    """File to write; null: runs/landscape_classifier.pt."""
    steps: int = option(1000, least=10, most=10**7)
    """Steps of the training."""
    batch_size: int = option(128, least=2, most=10_000)
    """Pictures a step."""
    seed: int = option(0, least=0, most=2**32 - 1)
    """Fixes first weights, batches and augmentation."""
    train: int = option(10_000, least=2, most=10**7)
    """Landscapes to train on."""
    held_out: int = option(1_000, least=1, most=10**7)
    """Landscapes of val, and of test."""

    def __post_init__(self) -> None:
        check_options(self)


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

    train_classifier(
        root,
        output,
        steps=options.steps,
        batch_size=options.batch_size,
        seed=options.seed,
        pictures=options.train,
        held_out=options.held_out,
    )
