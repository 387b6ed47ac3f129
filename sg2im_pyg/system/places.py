"""Where data and runs lie by default, and where files that users name are looked for."""

from pathlib import Path


def base_folder() -> Path:
    """The folder below which data and runs lie: the repository, where the library is used from
    one, and else the current folder."""
    repository = Path(__file__).resolve().parents[2]
    return repository if (repository / "train" / "run.py").is_file() else Path.cwd()


def find_supplied(name: str, base: Path, folder: Path, usual: str) -> Path | None:
    """A file that is given by its path, or one of those that come with the library; none where
    there is no such file.

    Args:
        name: The path, also as seen from the base folder; or the name of a file that comes with
            the library, with or without its suffix.
        base: The base folder.
        folder: Folder of the files that come with the library.
        usual: What stands before their names for people, such as :obj:`"train/configs"`.
    """
    given = Path(name)
    if given.is_file() or (base / given).is_file():
        return given if given.is_file() else base / given
    if given.parent == Path() or given.parent.as_posix().endswith(usual):
        for path in sorted(folder.iterdir()):
            if given.name in (path.name, path.stem):
                return path
    return None
