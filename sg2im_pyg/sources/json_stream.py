"""Reading JSON files of several gigabytes entry by entry; a sentence for each way to be wrong."""

import io
import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import numpy as np
from tqdm import tqdm

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.system.progress import progress_bar

_BUFFER = 2**20  # bytes parsed at once
_HEAD = 2**16  # likewise, where the beginning may do
_TAIL = 4096  # bytes at the end that are looked at to tell a cut file from a wrong one
_DEEP = 1000  # brackets
_NO_NUMBER = rb"(?<![\w\"])(?:NaN|-?Infinity)(?!\w)"
_LONGEST = len("-Infinity")
_REST_OF_TEXT = rb'[^"\\]*(?:\\.[^"\\]*)*("|\\?\Z)'  # the end of the block may cut it
_WHOLE = re.compile(r"\s*[+-]?\d{1,19}(?:\.0*)?\s*", re.ASCII)
_MOST_DIGITS = 40  # of a number that is written as text
_STEPS = np.zeros(256, np.int8)  # that a byte leads into brackets
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
_END: Any = object()
_PARSE_ERRORS = (ijson.JSONError, RecursionError, OverflowError)


def read_entries(path: Path, key: str | None, progress: str | None = None) -> Iterator[dict]:
    """The entries of a list in a JSON file, one after the other.

    NaN and Infinity, which are no JSON but which Python writes, come as the texts "NaN",
    "Infinity" and "-Infinity": where they are not used, they do no harm.

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


def read_named_entries(path: Path, progress: str | None = None) -> Iterator[tuple[str, Any]]:
    """The names and values of a JSON file's outermost object, one after the other; arguments and
    errors as in :func:`read_entries`."""
    bar = progress_bar(progress, path.stat().st_size, progress is not None)
    with _open(path) as file, bar:
        entries = ijson.kvitems(_Counting(path, file, bar), "", use_float=True, buf_size=_BUFFER)
        while True:
            try:
                entry = next(entries, _END)
            except _PARSE_ERRORS as error:
                raise _malformed(path, error) from error
            if entry is _END:
                break
            yield entry


def outline(path: Path, depth: int) -> Iterator[tuple[str, str]]:
    """The places and events (as ijson names them) of a JSON file down to some depth, as far as the
    caller asks for more; by them one kind of file is told from another.

    Raises:
        Sg2ImError: If the file is empty, cut off, or no JSON in UTF-8.
    """
    level = 0
    with _open(path) as file, progress_bar(None, None, False) as bar:
        events = ijson.parse(_Counting(path, file, bar), use_float=True, buf_size=_HEAD)
        while True:
            try:
                found = next(events, _END)
            except _PARSE_ERRORS as error:
                raise _malformed(path, error) from error
            if found is _END:
                break
            place, event, value = found
            level -= event.startswith("end_")
            if level <= depth:
                yield (str(value) if event == "map_key" else place), event
            level += event.startswith("start_")


def wrong_entry(path: Path, kind: str, entry: Any, expected: str) -> Sg2ImError:
    """What is raised at an entry of a file that lacks what it must have."""
    shown = shortened(json.dumps(entry, default=str), 120)
    return Sg2ImError(f"A {kind} of {path} must have {expected}, got {shown}.")


def take(
    path: Path, kind: str, entry: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]
) -> list[Any]:
    """Some values of an entry, each read by a function that gives :obj:`None` where it can not."""
    values = [read(entry.get(name)) for name, read in readers.items()]
    if None in values:
        *names, last = readers
        raise wrong_entry(path, kind, entry, f"{', '.join(names)} and {last}")
    return values


def whole(value: Any, low: int = 0, high: int = 2**62) -> int | None:
    """A value of an entry as a whole number in a range, :obj:`None` where it is none.

    Other programs also write them as text or with a fraction of nothing.

    Examples:
        >>> whole(7), whole("7"), whole(7.0), whole("7.0"), whole(7.5), whole("seven"), whole(-1)
        (7, 7, 7, 7, None, None, None)
    """
    if type(value) is str and _WHOLE.fullmatch(value):
        value = int(value.partition(".")[0])
    elif type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and low <= value <= high else None


def number(value: Any) -> float | None:
    """A value of an entry as a number that fits into a float, :obj:`None` where it is none.

    Examples:
        >>> number(7), number("7.5"), number("NaN"), number(True), number(10**400)
        (7, 7.5, None, None, None)
    """
    if type(value) is str and len(value) <= _MOST_DIGITS and "_" not in value:
        try:
            value = float(value)
        except ValueError:
            return None
    # Whole numbers of hundreds of digits do not fit into a float.
    fits = type(value) in (int, float) and abs(value) < 1e15
    return value if fits else None


def numbers(values: Any, count: int | None = None) -> array | None:
    """A list of numbers, compact; :obj:`None` where it is none or has another count.

    Examples:
        >>> numbers(["1", 2.5]), numbers([1, "x"]), numbers([1, 2], 4), numbers("12")
        (array('d', [1.0, 2.5]), None, None, None)
    """
    if isinstance(values, array):
        return values
    if not isinstance(values, (list, tuple)) or (count is not None and len(values) != count):
        return None
    found = [number(value) for value in values]
    return None if None in found else array("d", found)  # type: ignore[arg-type]


def side(value: Any) -> int | None:
    """A value of an entry as the width or height of a picture, in pixels."""
    return whole(value, 1, 100_000)


def text(value: Any) -> str | None:
    """A value of an entry as a text; an empty one is none."""
    return value if isinstance(value, str) and value != "" else None


class _Counting:
    """A file whose reading moves a progress bar, and ends at what no parser should be given."""

    def __init__(self, path: Path, file: BinaryIO, bar: tqdm) -> None:
        self.path = path
        self.file = file
        self.bar = bar
        self.texts: _Texts | None = None  # where texts begin and end is not known before it matters
        self._level = 0  # of brackets; those in texts count too, and come in pairs or are few

    def read(self, size: int = -1) -> bytes:
        start = self.file.tell()
        content = self.file.read(size)
        for _ in range(_LONGEST):  # the block must not end within NaN
            if not content or content[-1] not in b"-NaInfity":
                break
            content += self.file.read(1)
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
        if self.texts is None and (b"NaN" in content or b"Infinity" in content):
            if re.search(_NO_NUMBER, content):
                self.texts = _Texts()
                with self.path.open("rb") as before:
                    while start > 0:
                        block = before.read(min(start, _BUFFER))
                        self.texts.with_numbers(block)
                        start -= len(block)
        return content if self.texts is None else self.texts.with_numbers(content)


class _Texts:
    """Makes texts of NaN and Infinity in the blocks of a file, where they do not stand in one."""

    _OUTSIDE = re.compile(rb'"' + _REST_OF_TEXT + rb"|" + _NO_NUMBER, re.DOTALL)
    _WITHIN = re.compile(_REST_OF_TEXT, re.DOTALL)

    def __init__(self) -> None:
        self.is_within = self.is_escaped = False  # at the end of the last block

    def with_numbers(self, content: bytes) -> bytes:
        begin = 0
        if self.is_within:
            rest = self._WITHIN.match(content, int(self.is_escaped))
            assert rest is not None
            self._note(rest)
            begin = rest.end()
        return content[:begin] + self._OUTSIDE.sub(self._quoted, content[begin:])

    def _quoted(self, found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            return b'"' + found[0] + b'"'
        self._note(found)
        return found[0]

    def _note(self, text: re.Match[bytes]) -> None:
        self.is_within, self.is_escaped = text[1] != b'"', text[1] == b"\\"


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
            source = _Counting(path, file, progress_bar(None, None, False))
            return any(
                (prefix, event) == (key or "", "start_array")
                for prefix, event, _ in ijson.parse(source, use_float=True)
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
