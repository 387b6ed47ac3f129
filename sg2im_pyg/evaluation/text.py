"""Text of figures and names: numbers, names from elsewhere made harmless, lines of tables."""

import math
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_LONGEST = 200  # bytes of a run's name; file systems take 255, with what is appended to it
_DEVICES = {"CON", "PRN", "AUX", "NUL"}
_DEVICES |= {f"{kind}{k}" for kind in ("COM", "LPT") for k in range(10)}
"""Names that no file or folder can have on Windows."""


def format_number(value: float | None, digits: int = 3) -> str:
    """A number for a table, a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def format_count(count: int | None) -> str:
    """A count with commas, a dash where there is none."""
    return "-" if count is None else f"{count:,}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    Examples:
        >>> listed(["Inception score", "FID", "KID"])
        'Inception score, FID and KID'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def clean(text: Any) -> str:
    """A value or a name from elsewhere on one line: without control characters, which a terminal
    would obey, and without characters that can not be encoded."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in str(text)).strip()


def shorten(text: str, width: int) -> str:
    """A name cut in its middle where it is longer than so many characters.

    Examples:
        >>> shorten("landscapes-20261123-120000/best", 20)
        'landscape...000/best'
    """
    if len(text) <= width or width < 5:
        return text
    tail = (width - 3) // 2
    return text[: width - 3 - tail] + "..." + text[-tail:]


def file_name(path: str) -> str:
    """The last part of a path of any system; a result may come from another one."""
    return (PureWindowsPath(path) if "\\" in path else PurePosixPath(path)).name or path


def run_names(names: Sequence[str]) -> list[str]:
    """Names of runs for names of systems: such as any computer's files can have, and all different.

    Examples:
        >>> run_names(["full/best", "full:best", "..", "aux"])
        ['full-best', 'full-best (2)', 'system', 'aux_']
    """
    runs: list[str] = []
    taken: set[str] = set()
    for name in names:
        safe = "".join(c if c.isalnum() or c in " _.-()+=," else "-" for c in clean(name))
        # File systems count bytes, of which a character can have four.
        short = safe.strip(" .")[:80].encode()[:_LONGEST].decode(errors="ignore")
        run = short.rstrip(" .") or "system"
        if run.partition(".")[0].strip().upper() in _DEVICES:
            run = run.replace(run.partition(".")[0], run.partition(".")[0] + "_", 1)
        runs.append(unused_name(run, taken, str.lower))  # not all systems tell capitals apart
    return runs


def unused_name(name: str, taken: set[str], key: Callable[[str], str] = str) -> str:
    """A name with a number where it is taken; taken is then what the key makes of it."""
    number, first = 1, name
    while key(name) in taken:
        number += 1
        name = f"{first} ({number})"
    taken.add(key(name))
    return name


# Tables ----------------------------------------------------------------------------------------


def aligned(columns: Sequence[Sequence[str]], heads: int) -> list[str]:
    """Lines of a table: the first column on the left, numbers on the right, a rule under the
    heads."""
    widths = [max(map(_cells, column), default=0) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        first, *others = (
            (cell, " " * (width - _cells(cell))) for cell, width in zip(row, widths, strict=True)
        )
        lines.append(
            "  ".join(["".join(first), *(space + cell for cell, space in others)]).rstrip()
        )
    lines.insert(heads, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return lines


def _cells(text: str) -> int:
    """Cells of a terminal that a text takes: two for a wide character of East Asia."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first column on the left, numbers on the right."""
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def markdown_text(text: Any) -> str:
    """A name without anything that Markdown, or HTML within it, would take for a sign of its
    own."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#~!&$" else c for c in clean(text))
