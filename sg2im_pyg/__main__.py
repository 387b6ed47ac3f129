"""The console command ``sg2im``, also ``python -m sg2im_pyg``: all programs under one name."""

import sys

from sg2im_pyg.commands import COMMANDS, run_command
from sg2im_pyg.system.program import UsageError, run_program


def main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        run_command(name, arguments)
    elif name in ("-h", "--help"):
        print(_HELP)
    else:
        run_program(lambda: _refuse(name))


def _refuse(name: str) -> None:
    from sg2im_pyg.system.command_line import did_you_mean

    near = did_you_mean(name, COMMANDS)
    hint = f"did you mean {near[0]}?" if near else f"give one of {', '.join(COMMANDS)}."
    raise UsageError(f"There is no command {name[:60]!r}: {hint}")


_HELP = (
    """usage: sg2im COMMAND [OPTIONS]

Image generation from scene graphs.

commands:
"""
    + "\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items())
    + """

'sg2im COMMAND --help' explains the options of a command."""
)


if __name__ == "__main__":
    main()
