"""Writing files so that a reader never meets half of one, and telling whether one changed."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from sg2im_pyg.errors import Sg2ImError


def temporary_path(path: Path) -> Path:
    """Name beside :obj:`path` to write to before renaming; it is unique for the process."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def replace_when_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary name to write to, and renames it to :obj:`path` if nothing was raised.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with replace_when_whole(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("whole", encoding="utf-8")
        ...     (Path(folder) / "a.txt").read_text(encoding="utf-8")
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_output(folder: Path) -> None:
    """Checks, before a program's work begins, that the folder of its option ``--output`` can be
    written to. Nothing is made yet: a mistake that shows later leaves no empty folder.

    Raises:
        Sg2ImError: If it is a file, or lies below one.
        OSError: If nothing can be written there.
    """
    places = (place for place in (folder, *folder.parents) if os.path.lexists(place))
    there = next(places, folder)
    if not there.is_dir():
        raise Sg2ImError(f"--output {folder} is a file, or lies below one: give a folder.")
    with TemporaryFile(dir=there):  # refused now, not after hours of work
        pass


def sha256_of(path: str | os.PathLike[str], advance: Callable[[int], object] | None = None) -> str:
    """SHA-256 checksum of a file's content as hexadecimal digits; :obj:`advance` is told of bytes
    as they are read."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
            if advance is not None:
                advance(len(block))
    return digest.hexdigest()


def fingerprint(path: Path) -> str:
    """Tells one file from another of the same name."""
    return f"{path.name} {sha256_of(path)[:16]}"


def read_text(path: Path, most: int, kind: str, form: str) -> str:
    """A text that a person wrote, in UTF-8 with or without a byte order mark.

    Args:
        path: The file.
        most: Bytes that it may have.
        kind: What it should be, such as :obj:`"file of options"`.
        form: What it is written in, such as :obj:`"YAML"`.

    Raises:
        Sg2ImError: If it has more bytes, or is in another encoding.
        OSError: If it can not be read.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Sg2ImError(
            f"{path} is no {kind}: it has {path.stat().st_size:,} bytes, and {most:,} are allowed."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Sg2ImError(
            f"{path} is no UTF-8 text (byte {error.start}): save it as {form} in UTF-8."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The entries of a small file of ours; none where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    """The inverse of :func:`read_json`; with an indent, for people to read.

    Raises:
        ValueError: If a number is not finite, which JSON does not know.
    """
    with replace_when_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, allow_nan=False), encoding="utf-8")
