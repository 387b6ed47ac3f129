"""Files that are fetched once and kept in a cache folder."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.fetch import (
    PATIENCE,
    Patience,
    RemoteFile,
    fetch_from,
    record_path,
    write_record,
)
from sg2im_pyg.system.files import read_json, sha256_of
from sg2im_pyg.system.progress import say


def cache_folder() -> Path:
    """Folder that files are fetched to: the environment variable :obj:`SG2IM_CACHE`, otherwise
    :obj:`sg2im_pyg` in the user's cache, which is :obj:`%LOCALAPPDATA%` on Windows,
    :obj:`~/Library/Caches` on macOS, and :obj:`$XDG_CACHE_HOME` or :obj:`~/.cache` elsewhere.

    The folder need not exist.
    """
    own = os.environ.get("SG2IM_CACHE")
    if own:
        return _expanded(own).absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else _expanded("~/AppData/Local")
    elif sys.platform == "darwin":
        base = _expanded("~/Library/Caches")
    else:
        # A relative path there is to be ignored (XDG Base Directory Specification).
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = given if given.is_absolute() else _expanded("~/.cache")
    return base / "sg2im_pyg"


def fetch_file(
    remote_file: RemoteFile,
    folder: str | Path | None = None,
    mirror: str | None = None,
    progress: bool = True,
    patience: Patience = PATIENCE,
) -> Path:
    """Fetches any file, such as :data:`INCEPTION`, unless it is in the cache.

    Arguments and errors are those of :func:`fetch_pretrained`; of the contents only a web page is
    told from a file.
    Several processes may ask for the same file at once: one fetches it, the others wait.
    """
    base = cache_folder() if folder is None else Path(folder).absolute()
    path = base / remote_file.name
    return obtain_cached(remote_file, path, mirror, progress, patience, _check_no_page)


def obtain_cached(
    file: RemoteFile,
    path: Path,
    mirror: str | None,
    progress: bool,
    patience: Patience,
    check: Callable[[Path], None],
) -> Path:
    """The file at :obj:`path`, fetched where it is missing.

    What comes, or was put there by hand, is checked once; later it must be what it was then.
    """
    if path.is_dir():
        raise Sg2ImError(f"{path} is a folder where a file is needed: move it, or choose another.")
    # A file with a record is whole: it may lie in a folder that can only be read.
    if not (path.is_file() and _known(path)):
        with _alone(path, progress):
            if not (path.is_file() and _known(path)):
                if not path.is_file():
                    record_path(path).unlink(missing_ok=True)  # of a file that somebody deleted
                    say(f"Fetching {file.name} to {path.parent}", progress)
                _, address = fetch_from(file, path.parent, mirror, progress, patience)
                _check_once(path, address, check)
                write_record(path, file.sha256 or sha256_of(path), address)
                return path
    known = _known(path)
    if known is None:  # another process is fetching it again just now
        return obtain_cached(file, path, mirror, progress, patience, check)
    size, sha256 = known
    found = path.stat().st_size
    if found == size and sha256_of(path) == sha256:
        return path
    what = "another SHA-256 checksum"
    if found != size:
        what = f"{found:,} bytes instead of {size:,}"
    raise Sg2ImError(
        f"{path} is no longer the file that came, it has {what}: delete it to have it fetched "
        "again."
    )


def _check_once(path: Path, address: str | None, check: Callable[[Path], None]) -> None:
    """Deletes what an address gave unless it passes; what was put there by hand stays."""
    try:
        check(path)
    except Sg2ImError as error:
        reason = _reason(error, path)
        if address is None:
            raise Sg2ImError(
                f"{path} is not the file that it should be: {reason}; delete it to have it "
                "fetched, or put the right file there."
            ) from error
        path.unlink()
        raise Sg2ImError(
            f"What {address} gave for {path} is not the file that it should be: {reason}; it was "
            "deleted, fetch it again or name a mirror."
        ) from error


def _check_no_page(path: Path) -> None:
    """Networks that ask for a login answer every address with their page."""
    with path.open("rb") as stream:
        if stream.read(100).lstrip().startswith(b"<"):
            raise Sg2ImError(f"{path} is a web page: fetch it from elsewhere.")


def _known(path: Path) -> tuple[int, str] | None:
    """Size and checksum of a file as it came."""
    content = read_json(record_path(path))
    size, sha256 = content.get("size"), content.get("sha256")
    return (size, sha256) if isinstance(size, int) and isinstance(sha256, str) else None


def _reason(error: Sg2ImError, path: Path) -> str:
    """What a sentence says is wrong with a file, without its name and what to do."""
    reason = str(error).split(": ")[0]
    return (reason if str(path) in reason else str(error)).replace(str(path), "it").rstrip(".")


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise Sg2ImError(
            f"The home folder in {path} is not known here: set the environment variable "
            "SG2IM_CACHE to a folder."
        ) from error


@contextmanager
def _alone(path: Path, progress: bool) -> Iterator[None]:
    """Lets one process fetch a file; the others wait, and find it then.

    The lock is the system's, which ends with the process; its file stays, because another process
    may be waiting at it.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Waiting for another process that fetches {path.name}", progress)
            lock.acquire()
    except OSError:
        if not path.is_file():
            raise
        yield  # a folder that can only be read, with the file in it
        return
    try:
        yield
    finally:
        lock.release()
