"""What the programs do: one module for each, with a function :func:`main`.

They are started as programs of the repository (``python train/run.py``), by the console command
``sg2im`` (``sg2im train``), or from Python (``sg2im_pyg.commands.train.main(["--steps", "100"])``).
"""

from importlib import import_module
from pathlib import Path

from sg2im_pyg.system.program import run_program


def run_command(name: str, arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Runs a command as a program of its own: mistakes and Ctrl-C end with a sentence.

    The command is imported here, not before: worker processes import the program's file, too.
    """
    run_program(lambda: import_module(f"{__name__}.{name}").main(arguments, base))
