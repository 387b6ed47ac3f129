"""Which files the pictures are that annotations name, also those of another computer."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

GUESSED = "pictures found by the last part of their path"
"""What is told of pictures that lie elsewhere than their annotations say."""


def find_pictures(folder: Path, names: Sequence[str]) -> tuple[list[Path], int]:
    r"""The files of pictures, none of them outside of their folder.

    A name is taken as it stands. Where there is no such file, a backslash is a separator, too, and
    what stands in front is left out part by part: a drive, folders of another computer, what leads
    out of the folder. Last, the file of that name is looked for in all folders below. A file that
    another picture has, or of which there are several, is not taken.

    Args:
        folder: Folder of the pictures.
        names: Their names, each with a last part (see :func:`names_a_file`).

    Returns:
        A path for each, also where there is no such file; and how many were found elsewhere than at
        their path.
    """
    tree = _Tree(folder)
    found = [tree.at(name) for name in names]
    guesses = {i: tree.elsewhere(name) for i, name in enumerate(names) if found[i] is None}
    taken = Counter([*(path for path in found if path), *(path for path in guesses.values())])
    guessed = 0
    paths = []
    for i, (name, path) in enumerate(zip(names, found, strict=True)):
        guess = guesses.get(i)
        if path is None and guess is not None and taken[guess] == 1:
            path, guessed = guess, guessed + 1
        paths.append(folder / (path or (name if lies_inside(name) else _parts(name)[-1])))
    return paths, guessed


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


class _Tree:
    """The files below a folder; folders are listed when they are asked for.

    Letters that can be written in two ways (an accent as a letter of its own, as macOS does) are
    the same.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listings: dict[str, dict[str, str]] = {}
        self._whole: dict[str, list[str]] | None = None

    def at(self, name: str) -> str | None:
        """The file at a path below the folder, which may have backslashes for separators."""
        for path in dict.fromkeys((name, name.replace("\\", "/"))):
            # Nearly all names have one part, and are there.
            simple = "/" not in path and path in self._listing("")
            if (simple or lies_inside(path)) and (found := self._find(path.split("/"))):
                return found
        return None

    def elsewhere(self, name: str) -> str | None:
        """The file that a path from another place is likely to mean."""
        parts = _parts(name)
        for first in range(len(parts)):
            if found := self._find(parts[first:]):
                return found
        places = self._everywhere().get(_composed(parts[-1]), [])
        return places[0] if len(places) == 1 else None

    def _find(self, parts: Sequence[str]) -> str | None:
        *folders, last = parts
        place = "/".join(folders)
        found = self._listing(place)
        actual = found.get(last) or found.get(_composed(last))
        return actual and (f"{place}/{actual}" if place else actual)

    def _listing(self, place: str) -> dict[str, str]:
        if place not in self._listings:
            names = []
            try:
                with os.scandir(self.folder / place) as entries:
                    names = [entry.name for entry in entries if entry.is_file()]
            except (OSError, ValueError):  # there is no such folder
                pass
            composed = {_composed(name): name for name in names}
            self._listings[place] = composed | {name: name for name in names}
        return self._listings[place]

    def _everywhere(self) -> dict[str, list[str]]:
        if self._whole is None:
            self._whole = defaultdict(list)
            for place, _, names in os.walk(self.folder):
                below = Path(place).relative_to(self.folder)
                for name in names:
                    self._whole[_composed(name)].append((below / name).as_posix())
        return self._whole


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)
