"""Files of other people's: read within limits, and nothing in them runs or leads elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import yaml

from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.sources.picture_files import walk

MOST_BYTES = 256 * 2**20
"""A file that is read as a whole has no more."""

_MOST_TEXT = 16 * 2**20  # of XML, YAML and lists of names
_DEEP = 100  # elements of XML in each other


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file of moderate size.

    Raises:
        Sg2ImError: If it is missing, no file, or larger than :obj:`most` bytes.
    """
    if not path.is_file():
        raise Sg2ImError(f"There is no file {path}: check the path.")
    size = path.stat().st_size
    if size > most:
        raise Sg2ImError(
            f"{path} is too large for its kind ({size:,} bytes, at most {most:,} are taken): "
            "divide it."
        )
    return path.read_bytes()


def read_text(path: Path, most: int = _MOST_TEXT) -> str:
    """A text in UTF-8, with or without a byte order mark, or in UTF-16 with one; errors as in
    :func:`read_bytes`, and where it is neither."""
    content = read_bytes(path, most)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Sg2ImError(
            f"{path} is no text in UTF-8 (byte {error.start}): save it in UTF-8."
        ) from error


def read_json_whole(path: Path) -> Any:
    """The content of a JSON file of moderate size; NaN is read, as Python writes it.

    Raises:
        Sg2ImError: As :func:`read_text`, and if it is no JSON.
    """
    try:
        return json.loads(read_text(path, MOST_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, Sg2ImError):
            raise
        raise Sg2ImError(
            f"{path} is no valid JSON ({shortened(first_line(error), 100)}): replace it by a "
            "whole copy."
        ) from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file without aliases, which can grow without bound.

    Raises:
        Sg2ImError: As :func:`read_text`, and if it is no such YAML.
    """
    text = read_text(path, 2**20)
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise Sg2ImError(f"{path} has an alias (*name): write its content out.")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, Sg2ImError):
            raise
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise Sg2ImError(f"{path}{place}: this is no YAML ({problem}): correct it.") from error


def read_xml(path: Path) -> Element:
    """The outermost element of an XML file.

    Declarations of entities, by which a few bytes can stand for gigabytes or for other files, are
    refused as soon as they are met; nothing that the file refers to is opened.

    Raises:
        Sg2ImError: As :func:`read_bytes`, and if it is no XML, declares an entity, or has a
            hundred elements in each other.
    """
    content = read_bytes(path, _MOST_TEXT)
    builder, parser, depth = TreeBuilder(), expat.ParserCreate(), 0

    def refuse(*_: Any) -> int:
        raise Sg2ImError(f"{path} declares entities, which no annotation needs: it is refused.")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEP:
            raise Sg2ImError(f"{path} is no annotation, it has {_DEEP} elements in each other.")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    parser.buffer_text = True
    parser.EntityDeclHandler = refuse  # type: ignore[assignment]
    parser.UnparsedEntityDeclHandler = refuse  # type: ignore[assignment]
    parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, LookupError, ValueError, AssertionError) as error:
        if isinstance(error, Sg2ImError):
            raise
        raise Sg2ImError(
            f"{path} is no valid XML ({first_line(error)}): replace it by a whole copy."
        ) from error


def files_below(folder: Path, *suffixes: str) -> Iterator[Path]:
    """Files with some suffixes in a folder and the folders in it, in the order of their names;
    hidden ones are passed over."""
    for place, name in walk(folder):
        if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
            yield place / name
