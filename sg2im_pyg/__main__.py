"""The console command ``sg2im``, also ``python -m sg2im_pyg``: all programs under one name."""

from sg2im_pyg.commands import COMMANDS, run_command
from sg2im_pyg.system.program import run_program


def main() -> None:
    """Runs the command that the first word names."""

    def choose_and_run() -> None:
        from sg2im_pyg.system.command_line import choose  # Ctrl-C is answered from here on

        description = "Image generation from scene graphs, on PyTorch Geometric."
        run_command(*choose(None, COMMANDS, "COMMAND", "sg2im", description))

    run_program(choose_and_run)


if __name__ == "__main__":
    main()
