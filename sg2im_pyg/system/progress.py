"""What is told and asked at the terminal beside the output: bars, lines, questions."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(title: str | None, total: int | None, progress: bool, **options: Any) -> tqdm:
    """A bar, on a terminal only.

    Args:
        title: What stands before it.
        total: Where it ends, :obj:`None` where not known.
        progress: Whether it is to be shown at all.
        **options: Others of :class:`tqdm.tqdm`; without a :obj:`unit` it counts bytes.
    """
    if "unit" not in options:
        options |= {"unit": "B", "unit_scale": True}
    return tqdm(total=total, desc=title, disable=None if progress else True, **options)


def say(text: str, progress: bool) -> None:
    """Prints a line past the bars."""
    if progress:
        tqdm.write(text)


def is_terminal() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def agrees(question: str) -> bool:
    """Asks at the terminal; nothing but a yes is one."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
