"""Which files the pictures are that annotations name, also those of another computer."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.sources.splits import split_called

PICTURE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm")
    + (".tif", ".tiff", ".webp")
)
"""Suffixes of pictures where only the stem of their name is known."""

GUESSED = "pictures found by the last part of their path"
"""What is told of pictures that lie elsewhere than their annotations say."""

_Path = tuple[str, ...]  # parts of a path below the folder


def find_pictures(folder: Path, names: Sequence[str]) -> tuple[list[Path], int]:
    """The files of pictures, none of them outside of their folder.

    They are looked for as :class:`PictureFinder` does. A file that another picture has, or of
    which there are several, is not taken.

    Args:
        folder: Folder of the pictures.
        names: Their names, each with a last part (see :func:`names_a_file`).

    Returns:
        A path for each, also where there is no such file; and how many were found elsewhere than at
        their path.
    """
    finder = PictureFinder(folder)
    found = [finder.at(name) for name in names]
    guesses: dict[int, str] = {}
    for i, name in enumerate(names):
        if found[i] is None and len(places := finder.elsewhere(name)) == 1:
            guesses[i] = "/".join(places[0])
    taken = Counter([*(path for path in found if path), *guesses.values()])
    guesses = {i: path for i, path in guesses.items() if taken[path] == 1}
    paths = []
    for i, (name, path) in enumerate(zip(names, found, strict=True)):
        path = path or guesses.get(i)
        paths.append(folder / (path or (name if lies_inside(name) else _parts(name)[-1])))
    return paths, len(guesses)


def names_a_file(name: str) -> bool:
    """Whether a name can be that of a file: with a last part, and no control characters."""
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return False
    return bool(_parts(name))


def lies_inside(name: str) -> bool:
    """Whether a file name stays below its folder, on every system."""
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    parts = {part for kind in kinds for part in kind.parts}
    absolute = any(kind.is_absolute() or kind.drive or kind.root for kind in kinds)
    return not absolute and ".." not in parts and names_a_file(name)


def _parts(name: str) -> list[str]:
    """The parts of a path of any system, without a drive and without what leads out of a folder."""
    parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".")]
    if os.name == "nt":  # a colon names a drive or a stream there
        parts = [part.rpartition(":")[2] for part in parts]
    elif parts and re.fullmatch("[A-Za-z]:.*", parts[0]):
        parts[0] = parts[0][2:]
    up = [i for i, part in enumerate(parts) if part == ".."]
    return [part for part in parts[up[-1] + 1 if up else 0 :] if part]


class PictureFinder:
    """Finds pictures in one folder, and never outside of it.

    A name is taken as it stands. Where there is no such file, a backslash is a separator, too, and
    the file is the one whose path ends like the name does for the longest: in front may stand a
    drive, an address, folders of another computer, what leads out of the folder. Letters that can
    be written in two ways (an accent as a letter of its own, as macOS does) are the same.

    Args:
        folder: Where all pictures lie, in it or in folders in it; these are listed when they are
            asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.guessed = 0
        """Number of pictures that :meth:`find` knew by the last parts of their names alone."""
        self._listings: dict[_Path, dict[str, str]] = {}
        self._index: dict[str, list[_Path]] | None = None

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
        if not names_a_file(name):
            raise Sg2ImError(f"the file name {shortened(repr(name))} can be none of a picture")
        place = near.relative_to(self.folder).parts if near.is_relative_to(self.folder) else ()
        if found := self.at(name, place):
            return found
        places = self.elsewhere(name, place, split, any_suffix)
        if len(places) > 1:
            shown = " and ".join(shortened("/".join(path)) for path in places[:2])
            raise Sg2ImError(f"{shown} could both be the picture {shortened(name)}")
        if not places:
            return None
        parts = _without_suffix(tuple(_parts(name)))
        self.guessed += _without_suffix(places[0]) not in (parts, (*place, *parts))
        return "/".join(places[0])

    def at(self, name: str, near: _Path = ()) -> str | None:
        """The file at a path below the folder, or below one in it, which comes first; the path may
        have backslashes for separators."""
        for path in dict.fromkeys((name, name.replace("\\", "/"))):
            # Nearly all names have one part, and are there.
            if "/" not in path and not near and (found := self._listing(()).get(path)):
                return found
            if lies_inside(path):
                *folders, last = (part for part in path.split("/") if part not in ("", "."))
                for place in dict.fromkeys((near, ())):
                    listing = self._listing((*place, *folders))
                    if found := listing.get(last) or listing.get(_composed(last)):
                        return "/".join((*place, *folders, found))
        return None

    def elsewhere(
        self, name: str, near: _Path = (), split: str | None = None, any_suffix: bool = False
    ) -> list[_Path]:
        """The files that a path from another place may mean, several where nothing tells which."""
        files = self._files()
        for parts in map(_parts, _spellings(name)):
            if not parts:
                continue
            found = files.get(_folded(parts[-1]), [])
            if not found and any_suffix:
                found = [path for path in files.get(_folded(_stem(parts[-1])), [])
                         if _is_picture(path[-1])]  # fmt: skip
            if found:
                wanted = list(map(_folded, reversed((*near, *parts[:-1]))))
                ranks = [_rank(path, wanted, split) for path in found]
                return [path for path, rank in zip(found, ranks) if rank == max(ranks)]
            for first in range(len(parts)):  # in folders that are links or hidden
                if path := self.at("/".join(parts[first:]), near):
                    return [tuple(path.split("/"))]
        return []

    def unlisted(self, used: set[str]) -> int:
        """Number of pictures in the folder that are none of those used."""
        paths = {"/".join(path) for paths in self._files().values() for path in paths}
        return sum(map(_is_picture, paths - used))

    def _listing(self, place: _Path) -> dict[str, str]:
        """Files of a folder by their names, and by these in composed letters."""
        if place not in self._listings:
            names = []
            try:
                with os.scandir(self.folder.joinpath(*place)) as entries:
                    names = [entry.name for entry in entries if entry.is_file()]
            except (OSError, ValueError):  # there is no such folder
                pass
            composed = {_composed(name): name for name in names}
            self._listings[place] = composed | {name: name for name in names}
        return self._listings[place]

    def _files(self) -> dict[str, list[_Path]]:
        """Paths below the folder by their names, and pictures by their stems."""
        if self._index is None:
            self._index = defaultdict(list)
            for place, name in walk(self.folder):
                parts = place.relative_to(self.folder).parts
                for key in {_folded(name), _folded(_stem(name))}:
                    self._index[key].append((*parts, name))
        return self._index


def walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Folders and names of the files below a folder, hidden folders left out and those that hold
    prepared data."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "train.h5" in names:
            folders.clear()
            continue
        for name in sorted(names):
            yield Path(place), name


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


def _rank(path: _Path, wanted: Sequence[str], split: str | None) -> tuple[int, bool, bool]:
    """How well a path fits to the folders that are wanted, the last one first."""
    alike = 0
    for own, other in zip(reversed(path[:-1]), wanted):
        if _folded(own) != other:
            break
        alike += 1
    is_of_split = split is not None and split in map(split_called, path[:-1])
    return alike, is_of_split, alike == len(path) - 1


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def _stem(name: str) -> str:
    """A name without the suffix of a picture; others may be parts of a stem."""
    return Path(name).stem if _is_picture(name) else name


def _without_suffix(path: _Path) -> _Path:
    return (*path[:-1], _stem(path[-1]))


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(name).casefold()
