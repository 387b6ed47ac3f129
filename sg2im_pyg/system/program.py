"""What all programs do alike: run, and end with one sentence where the user can put it right.

Each is started as a program of the repository or as a command of ``sg2im``, and says so.
"""

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sg2im_pyg.errors import Sg2ImError, readable

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells count it (128 + signal 2)."""


class Command(NamedTuple):
    """A row of :data:`COMMANDS`."""

    program: str
    """The same as a program of the repository."""
    purpose: str
    """What it does."""


COMMANDS = {
    "prepare": Command("datasets/prepare.py", "prepare data for training"),
    "train": Command("train/run.py", "train a generator and its discriminators"),
    "generate": Command("eval/generate.py", "generate pictures from scene graphs"),
    "evaluate": Command("eval/run.py", "evaluate checkpoints, and pictures of other systems"),
    "ablation": Command("eval/ablation.py", "make the rows of the paper's Tables 1 and 2"),
    "study": Command("eval/study.py", "ask people about pictures, and count their answers"),
    "fetch": Command("eval/fetch.py", "fetch the models that the paper's authors published"),
    "convert": Command(
        "eval/convert.py",
        "convert checkpoints between the formats of sg2im_pyg and the 2018 release, and to "
        "safetensors",
    ),
}
"""The commands of ``sg2im``. Each is ``main(arguments, base)`` of the module of its name in
``commands/``: the words after its name (by default those that Python was given), and the folder
below which data and runs lie (by default :func:`~sg2im_pyg.system.places.base_folder`)."""


class UsageError(Sg2ImError):
    """A word of a command line is wrong: there is no such option, or no such value."""


def run_program(main: Callable[[], None]) -> None:
    """Calls :obj:`main` and turns what the user can put right into a sentence on stderr.

    The exit status is 2 after a :class:`UsageError`, 1 after another :class:`Sg2ImError` or an
    error of the system (a missing file, a full disk), 130 after Ctrl-C, and 1 without a word when
    the reader of a pipe has gone. Every other exception is a bug of ours and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):  # Windows: names that the code page does not have
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()  # a pipe without a reader shows only here
    except KeyboardInterrupt:
        _end("Interrupted.", INTERRUPTED)
    except BrokenPipeError:
        # Python flushes stdout once more at its end: give it a place to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UsageError as error:
        _end(f"error: {error}", 2)
    except Sg2ImError as error:
        _end(f"Error: {error}", 1)
    except OSError as error:
        _end(f"Error: {_sentence(error)}", 1)


def program_name(command: str) -> str:
    """What the running program is called: its file's name, or a command of ``sg2im``."""
    return Path(sys.argv[0]).name if _is_file() else f"sg2im {command}"


def command_to_type(command: str, base: Path) -> str:
    """A command as it is typed in any folder.

    Args:
        command: One of :data:`COMMANDS`.
        base: The repository, where the running program is one of its programs.
    """
    program = f'python "{base / COMMANDS[command].program}"'
    return to_type(program) if _is_file() else f"sg2im {command}"


def as_started(text: str) -> str:
    """A text in which programs of the repository are called as the running one was."""
    if not _is_file():
        for command, (program, _) in COMMANDS.items():
            text = text.replace(f"python {program}", f"sg2im {command}")
    return text


def to_type(text: str) -> str:
    """A text whose commands can be typed as they stand: :func:`as_started`, and with the Python
    that runs now where ``python`` would be another one."""
    found, own = shutil.which("python"), Path(sys.executable)
    if found and Path(found).absolute() == own:
        return as_started(text)
    python = f'"{own}"' if " " in str(own) else str(own)
    return re.sub(
        r'\bpython (?=(train|eval|datasets)/|")', lambda _: f"{python} ", as_started(text)
    )


def _is_file() -> bool:
    started = Path(sys.argv[0]).resolve()
    return started.suffix == ".py" and started.parent.name in ("train", "eval", "datasets")


def _sentence(error: OSError) -> str:
    # HDF5 puts errno into the text of its exceptions, not always into their fields.
    full = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in full or os.strerror(errno.ENOSPC) in str(error):
        return f"The disk is full{place}: make room or choose a folder on another disk."
    if isinstance(error, FileNotFoundError):
        return f"There is no such file or folder{place}: check the path."
    if isinstance(error, NotADirectoryError):
        return f"There is a file where a folder is needed{place}: choose another place."
    if isinstance(error, IsADirectoryError):
        return f"There is a folder where a file is needed{place}: choose another place."
    if isinstance(error, PermissionError):
        return f"The system refuses access{place}: change the permissions or choose another place."
    return f"The system reports: {error}."


def _end(sentence: str, status: int) -> None:
    print(readable(to_type(sentence)), file=sys.stderr, flush=True)
    sys.exit(status)
