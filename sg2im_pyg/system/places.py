"""Where data and runs lie by default, and the files that come with the library."""

from collections.abc import Iterable
from pathlib import Path


def base_folder() -> Path:
    """The folder below which data and runs lie: the repository, where the library is used from
    one, and else the current folder."""
    repository = Path(__file__).resolve().parents[2]
    return repository if (repository / "train" / "run.py").is_file() else Path.cwd()


def find_supplied(places: Iterable[Path], folder: Path, usual: Path) -> Path | None:
    """A file that is given by its path, or one of those that come with the library; none where
    there is no such file.

    Args:
        places: Where it may be, the path as it was given first.
        folder: Folder of the files that come with the library.
        usual: The folder in which people name them, such as ``train/configs`` of the repository.
            Without a folder a name is enough, with or without its suffix.
    """
    places = list(places)
    for path in places:
        if path.is_file():
            return path
    given = places[0]
    # From anywhere as seen from the repository, and from within it by any path.
    meant = [path.parent.resolve() for path in (given, usual.parents[1] / given)]
    if given.parent == Path() or usual.resolve() in meant:
        for path in sorted(folder.iterdir()):
            if given.name in (path.name, path.stem):
                return path
    return None
