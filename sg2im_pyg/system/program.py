"""What all programs do alike: run, and end with one sentence where the user can put it right.

Each is started as a program of the repository or as a command of ``sg2im``, and says so.
"""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells count it (128 + signal 2)."""


PROGRAMS = {
    "prepare": "datasets/prepare.py",
    "train": "train/run.py",
    "generate": "eval/generate.py",
    "evaluate": "eval/run.py",
    "ablation": "eval/ablation.py",
    "fetch": "eval/fetch.py",
    "convert": "eval/convert.py",
}
"""The commands of ``sg2im``, and the same as programs of the repository."""


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


def as_started(text: str) -> str:
    """A text in which programs of the repository are called as the running one was."""
    if not _is_file():
        for command, program in PROGRAMS.items():
            text = text.replace(f"python {program}", f"sg2im {command}")
    return text


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
    print(as_started(sentence), file=sys.stderr, flush=True)
    sys.exit(status)
