"""Reading JSON files of several gigabytes entry by entry; a sentence for each way to be wrong."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import numpy as np
from tqdm import tqdm

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.system.progress import progress_bar

_BUFFER = 2**20  # bytes parsed at once
_TAIL = 4096  # bytes at the end that are looked at to tell a cut file from a wrong one
_DEEP = 1000  # brackets
_STEPS = np.zeros(256, np.int8)  # that a byte leads into brackets
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
_END: Any = object()
_PARSE_ERRORS = (ijson.JSONError, RecursionError, OverflowError)


def read_entries(path: Path, key: str | None, progress: str | None = None) -> Iterator[dict]:
    """The entries of a list in a JSON file, one after the other.

    Args:
        path: File in UTF-8, with or without a byte order mark.
        key: Name of the list in the file's outermost object; :obj:`None` where the file is the
            list itself.
        progress: What a progress bar over the bytes is called; :obj:`None` for no bar.

    Returns:
        The entries, all of them objects (``{}``).

    Raises:
        Sg2ImError: If the file is missing, empty, cut off, no JSON in UTF-8, without that list,
            or an entry is no object.
    """
    if not path.is_file():
        raise Sg2ImError(f"The file {path} is missing: put it there.")
    found, prefix = False, "item" if key is None else f"{key}.item"
    bar = progress_bar(progress, path.stat().st_size, progress is not None)
    with _open(path) as file, bar:
        source = _Counting(path, file, bar)
        entries = ijson.items(source, prefix, use_float=True, buf_size=_BUFFER)
        while True:
            try:
                entry = next(entries, _END)
            except _PARSE_ERRORS as error:
                raise _malformed(path, error) from error
            if entry is _END:
                break
            if not isinstance(entry, dict):
                raise _no_list(path, key)
            found = True
            yield entry
    if not found and not _has_list(path, key):
        raise _no_list(path, key)


def wrong_entry(path: Path, kind: str, entry: Any, expected: str) -> Sg2ImError:
    """What is raised at an entry of a file that lacks what it must have."""
    shown = shortened(json.dumps(entry, default=str), 120)
    return Sg2ImError(f"A {kind} of {path} must have {expected}, got {shown}.")


def take(
    path: Path, kind: str, entry: Mapping[str, Any], checks: Mapping[str, Callable[[Any], bool]]
) -> list[Any]:
    """Some values of an entry, each of which must pass a check."""
    values = [entry.get(name) for name in checks]
    if not all(check(value) for check, value in zip(checks.values(), values, strict=True)):
        *names, last = checks
        raise wrong_entry(path, kind, entry, f"{', '.join(names)} and {last}")
    return values


def is_whole(value: Any, low: int = 0, high: int = 2**62) -> bool:
    """Whether a value of an entry is a whole number in a range."""
    return type(value) is int and low <= value <= high


def is_side(value: Any) -> bool:
    """Whether a value of an entry can be the width or height of a picture, in pixels."""
    return is_whole(value, 1, 100_000)


def is_text(value: Any) -> bool:
    """Whether a value of an entry is a text, and not an empty one."""
    return isinstance(value, str) and value != ""


class _Counting:
    """A file whose reading moves a progress bar, and ends at what no parser should be given."""

    def __init__(self, path: Path, file: BinaryIO, bar: tqdm) -> None:
        self.path = path
        self.file = file
        self.bar = bar
        self._level = 0  # of brackets; those in texts count too, and come in pairs or are few

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size)
        self.bar.update(len(content))
        # ijson keeps the path to each level: its memory grows with the square of the depth.
        levels = self._level + np.cumsum(_STEPS[np.frombuffer(content, np.uint8)], dtype=np.int64)
        if len(levels):
            self._level = int(levels[-1])
        if len(levels) and levels.max() > _DEEP:
            raise Sg2ImError(
                f"{self.path} is no annotation file, it has thousands of brackets in each other: "
                "replace it by a whole copy."
            )
        return content


def _open(path: Path) -> BinaryIO:
    file = path.open("rb")
    start = 3 if file.read(3) == b"\xef\xbb\xbf" else 0  # a byte order mark
    file.seek(start)
    if not file.read(1024).strip():
        file.close()
        raise Sg2ImError(f"{path} is empty: download or copy it again.")
    file.seek(start)
    return file


def _has_list(path: Path, key: str | None) -> bool:
    with _open(path) as file:
        try:
            return any(
                (prefix, event) == (key or "", "start_array")
                for prefix, event, _ in ijson.parse(file, use_float=True)
            )
        except _PARSE_ERRORS as error:
            raise _malformed(path, error) from error


def _no_list(path: Path, key: str | None) -> Sg2ImError:
    what = "is no list" if key is None else f"has no list {key!r}"
    return Sg2ImError(f"{path} {what} of entries: replace it by a whole copy.")


def _malformed(path: Path, error: Exception) -> Sg2ImError:
    with path.open("rb") as file:
        first = file.read(_TAIL).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _TAIL))
        last = file.read().rstrip()[-1:]
    # A cut within a name or a number is not always met as the end.
    is_cut = "premature" in _reason(error) or (first in (b"{", b"[") and last not in (b"}", b"]"))
    if is_cut:
        return Sg2ImError(
            f"{path} ends in the middle (after {size:,} bytes, it was cut off): download or copy "
            "it again."
        )
    return Sg2ImError(
        f"{path} is no valid JSON in UTF-8 ({_reason(error)}): replace it by a whole copy."
    )


def _reason(error: Exception) -> str:
    """What the parser says in two lines: the mistake, and the text around it."""
    text = error.args[0] if error.args else type(error).__name__
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    lines = [line.strip() for line in text.splitlines()]
    around = lines[1] if len(lines) > 1 else ""
    return f"{lines[0].rstrip('.')}, near {around[:60]!r}" if around else lines[0].rstrip(".")
