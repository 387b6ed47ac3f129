"""The console command ``sg2im``, also ``python -m sg2im_pyg``: all programs under one name."""

from sg2im_pyg.commands import run_command
from sg2im_pyg.system.program import COMMANDS, run_program


def main() -> None:
    """Runs the command that the first word names."""

    def choose_and_run() -> None:
        from sg2im_pyg.system.command_line import choose  # Ctrl-C is answered from here on

        description = "Image generation from scene graphs, on PyTorch Geometric."
        purposes = {name: command.purpose for name, command in COMMANDS.items()}
        run_command(*choose(None, purposes, "COMMAND", "sg2im", description))

    run_program(choose_and_run)


if __name__ == "__main__":
    main()
