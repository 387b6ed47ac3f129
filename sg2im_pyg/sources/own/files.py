"""Files of other people's: read within limits, and nothing in them runs or leads elsewhere."""

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import yaml

from sg2im_pyg.errors import Sg2ImError, first_line, shortened

MOST_BYTES = 256 * 2**20
"""A file that is read as a whole has no more."""

PICTURE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm")
    + (".tif", ".tiff", ".webp")
)
"""Suffixes of pictures where only the stem of their name is known."""

_MOST_TEXT = 16 * 2**20  # of XML, YAML and lists of names
_DEEP = 100  # elements of XML in each other
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


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


def split_named(path: Path, root: Path) -> str | None:
    """The split that a file's name, or a folder between it and the root, says.

    Examples:
        >>> split_named(Path("data/valid/_annotations.coco.json"), Path("data"))
        'val'
        >>> split_named(Path("test/instances_train2017.json"), Path("test"))
        'train'
        >>> split_named(Path("test/instances_default.json"), Path("test"))
    """
    folders = path.parent.relative_to(root).parts if path.is_relative_to(root) else ()
    for part in (path.stem, *reversed(folders)):
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part).lower()
        for word in re.findall(r"[a-z]+", spaced):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def split_called(name: Any) -> str | None:
    """The split of a name such as ``Validation``; none where it is no name of one.

    Examples:
        >>> split_called("VALID"), split_called("all")
        ('val', None)
    """
    return _SPLITS.get(str(name).strip().lower()) if isinstance(name, str) else None


def files_below(folder: Path, *suffixes: str) -> Iterator[Path]:
    """Files with some suffixes in a folder and the folders in it, in the order of their names;
    hidden ones are passed over."""
    for place, name in _walk(folder):
        if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
            yield place / name


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files below a folder, hidden folders left out and those that hold prepared data."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "train.h5" in names:
            folders.clear()
            continue
        for name in sorted(names):
            yield Path(place), name


class PictureFinder:
    """Finds pictures in one folder, and never outside of it.

    A name may have backslashes, a drive letter, an address or folders of another machine: the
    file is then known by the last parts of its name.

    Args:
        folder: Where all pictures lie, in it or in folders in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.guessed = 0
        """Number of pictures that were found by the last parts of their names alone."""
        self._index: dict[str, list[tuple[str, ...]]] | None = None

    def find(
        self, name: str, near: Path, split: str | None = None, any_suffix: bool = False
    ) -> str | None:
        """The file of a picture as seen from the folder, none where there is none.

        Args:
            name: As it is listed.
            near: Folder of the file that lists it; pictures there come first.
            split: Its split, which tells files of the same name apart.
            any_suffix: Whether another suffix will do where there is no file of that very name.

        Raises:
            Sg2ImError: If the name can be none of a file, or several files would do.
        """
        if not name.strip() or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
            raise Sg2ImError(f"the file name {shortened(repr(name))} can be none of a picture")
        places = [near.relative_to(self.folder).parts] if near.is_relative_to(self.folder) else []
        ways = [parts for parts in map(_parts, _spellings(name)) if parts]
        if "\\" in name and "/" not in name:  # elsewhere than on Windows a character like others
            ways.insert(0, (name,))
        for parts in ways:
            for place in (*places, ()):
                if _is_file(self.folder.joinpath(*place, *parts)):
                    return "/".join((*place, *parts))
        for parts in ways:
            found = self._closest(parts, split, any_suffix)
            if found is not None:
                listed = [_without_suffix((*place, *parts)) for place in (*places, ())]
                self.guessed += _without_suffix(found) not in listed
                return "/".join(found)
        return None

    def unlisted(self, used: set[str]) -> int:
        """Number of pictures in the folder that are none of those used."""
        paths = {"/".join(path) for paths in self._files().values() for path in paths}
        return sum(_is_picture((path,)) for path in paths - used)

    def _closest(
        self, parts: tuple[str, ...], split: str | None, any_suffix: bool
    ) -> tuple[str, ...] | None:
        """The one file whose path ends like the name does for the longest."""
        index = self._files()
        found = index.get(_folded(parts[-1]), [])
        if not found and any_suffix:
            found = [path for path in index.get(_folded(_stem(parts[-1])), []) if _is_picture(path)]

        def rank(path: tuple[str, ...]) -> tuple[int, bool]:
            alike = 0
            for own, other in zip(reversed(path[:-1]), reversed(parts[:-1])):
                if _folded(own) != _folded(other):
                    break
                alike += 1
            return alike, split is not None and split in map(split_called, path[:-1])

        best = max(map(rank, found), default=None)
        found = [path for path in found if rank(path) == best]
        if len(found) > 1:
            shown = " and ".join(shortened("/".join(path)) for path in found[:2])
            raise Sg2ImError(f"{shown} could both be the picture {shortened('/'.join(parts))}")
        return found[0] if found else None

    def _files(self) -> dict[str, list[tuple[str, ...]]]:
        """Paths below the folder by their names, and pictures by their stems."""
        if self._index is None:
            self._index = {}
            for place, name in _walk(self.folder):
                parts = place.relative_to(self.folder).parts
                for key in {_folded(name), _folded(_stem(name))}:
                    self._index.setdefault(key, []).append((*parts, name))
        return self._index


def last_part(name: str) -> str:
    """The file's own name at the end of a path in any spelling.

    Examples:
        >>> last_part("C:\\\\photos\\\\a b.png"), last_part("https://host/a%20b.png")
        ('a b.png', 'a b.png')
    """
    ways = [parts for parts in map(_parts, reversed(_spellings(name))) if parts]
    return ways[0][-1] if ways else name


def _spellings(name: str) -> list[str]:
    """What a name may mean: as it stands, and without what addresses have added to it."""
    found = [name]
    if "?" in name and "=" in name:  # Label Studio: /data/local-files/?d=folder/a.jpg
        found.append(name.partition("?")[2].partition("=")[2])
    if "%" in name:
        found += [unquote(spelling) for spelling in found]
    return found


def _parts(name: str) -> tuple[str, ...]:
    text = re.sub(r"^file:", "", name.replace("\\", "/"))
    text = re.sub(r"^([A-Za-z][\w+.-]+://[^/]*|[A-Za-z]:)", "", text.removeprefix("///"))
    text = re.sub(r"^/*[A-Za-z]:/", "", text)
    return tuple(part for part in text.split("/") if part not in ("", ".", ".."))


def _is_picture(path: tuple[str, ...]) -> bool:
    return Path(path[-1]).suffix.lower() in PICTURE_SUFFIXES


def _stem(name: str) -> str:
    """A name without the suffix of a picture; others may be parts of a stem."""
    path = Path(name)
    return path.stem if path.suffix.lower() in PICTURE_SUFFIXES else name


def _without_suffix(path: tuple[str, ...]) -> tuple[str, ...]:
    return (*path[:-1], _stem(path[-1]))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that the system does not take
        return False
