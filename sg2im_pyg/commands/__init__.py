"""What the programs do: one module for each, with a function :func:`main`.

They are started as programs of the repository (``python train/run.py``), by the console command
``sg2im`` (``sg2im train``), or from Python (``sg2im_pyg.commands.train.main(["--steps", "100"])``).
"""

from importlib import import_module
from pathlib import Path

from sg2im_pyg.system.program import run_program

COMMANDS = {
    "prepare": "prepare data for training",
    "train": "train a generator and its discriminators",
    "generate": "generate pictures from scene graphs",
    "evaluate": "evaluate checkpoints, and pictures of other systems",
    "ablation": "make the rows of the paper's Tables 1 and 2",
    "fetch": "fetch the models that the paper's authors published",
    "convert": "convert checkpoints between the format of the 2018 release and that of sg2im_pyg",
}
"""The commands of ``sg2im``, each with what it does. A command is ``main(arguments, base)`` of the
module of its name: the words after its name (by default those that Python was given), and the
folder below which data and runs lie (by default :func:`~sg2im_pyg.system.places.base_folder`)."""


def run_command(name: str, arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Runs a command as a program of its own: mistakes and Ctrl-C end with a sentence.

    The command is imported here, not before: worker processes import the program's file, too.
    """
    run_program(lambda: import_module(f"{__name__}.{name}").main(arguments, base))
