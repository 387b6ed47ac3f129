"""Files that others have published: fetched by name, once, into a cache folder.

For each file :obj:`NAME.fetched.json` beside it keeps what came: its size, its SHA-256 checksum and
the address. Neither is published for the files of the 2018 release, so a transfer counts as whole
when it has as many bytes as the server announced and the file can be loaded; from then on the
checksum tells whether the file in the cache is still the one that came.
"""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sg2im_pyg.data.archives import read_json, write_json
from sg2im_pyg.data.fetch import PATIENCE, Patience, RemoteFile, fetch_from, say, verify
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.files import sha256_of

RELEASE_ADDRESS = "https://storage.googleapis.com/sg2im-data"
"""Folder on the web of the 2018 release: generators in :obj:`small/`, whole trainings in
:obj:`full/`."""

_WITHOUT_IMAGES = "without the discriminator of pictures"
_WITHOUT_OBJECTS = "without the discriminator of objects"
PRETRAINED = {
    "coco64": "the published model for COCO, 64 x 64",
    "vg64": "the published model for Visual Genome, 64 x 64",
    "vg128": "the published model for Visual Genome, 128 x 128",
    "coco64_no_gconv": "ablation: without graph convolution",
    "coco64_no_relations": "ablation: without relationships",
    "coco64_no_discriminators": "ablation: without discriminators",
    "coco64_no_img_discriminator": f"ablation: {_WITHOUT_IMAGES}",
    "coco64_no_obj_discriminator": f"ablation: {_WITHOUT_OBJECTS}",
    "coco64_gt_layout": "ablation: true boxes and masks are given",
    "coco64_gt_layout_no_gconv": "ablation: the same without graph convolution",
    "vg64_no_gconv": "ablation: without graph convolution",
    "vg64_no_relations": "ablation: without relationships",
    "vg64_no_discriminators": "ablation: without discriminators",
    "vg64_no_img_discriminator": f"ablation: {_WITHOUT_IMAGES}",
    "vg64_no_obj_discriminator": f"ablation: {_WITHOUT_OBJECTS}",
}
"""Models of the 2018 release by name, and what each is (the ablations of the paper's Table 1)."""

INCEPTION = RemoteFile(
    "inception-2015-12-05.pt",
    (
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
        "inception-2015-12-05.pt",
    ),
)
"""Inception v3 with the weights of 2015 that the Inception score and FID are defined with, as
TorchScript."""


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


def released_file(name: str, full: bool = False) -> RemoteFile:
    """Where a model of the 2018 release can be fetched.

    Args:
        name: One of :data:`PRETRAINED`.
        full: The file of the whole training, with discriminators, optimizers and histories.

    Raises:
        Sg2ImError: If the name is unknown; the nearest known ones are named.
    """
    if name not in PRETRAINED:
        near = difflib.get_close_matches(str(name)[:100].lower(), PRETRAINED, n=3, cutoff=0.5)
        known = " or ".join(map(repr, near)) if near else ", ".join(PRETRAINED)
        hint = f"did you mean {known}?" if near else f"give one of {known}."
        raise Sg2ImError(f"There is no released model {str(name)[:60]!r}: {hint}")
    kind = "full" if full else "small"
    return RemoteFile(f"{name}.pt", (f"{RELEASE_ADDRESS}/{kind}/{name}.pt",))


def released_path(name: str, folder: str | Path | None = None, full: bool = False) -> Path:
    """Where a model of the 2018 release lies in the cache, or is to be put by hand.

    Args:
        name: One of :data:`PRETRAINED`.
        folder: The cache folder, :func:`cache_folder` by default; full files lie in
            :obj:`full/` below it.
        full: As for :func:`released_file`.
    """
    base = cache_folder() if folder is None else Path(folder).absolute()
    return (base / "full" if full else base) / released_file(name, full).name


def checkpoint_path(given: str, option: str) -> Path:
    """The file that a user means: a path, or the name of a released model, which is fetched.

    A name has neither suffix nor separator, and there is no file or folder of that name. Whether
    there is a file at a path is for its reader to say.

    Args:
        given: What the user gave.
        option: The option it was given to, named in errors.

    Raises:
        Sg2ImError: If it is a folder, or the name of no released model; if that can not be fetched.
    """
    path = Path(given)
    if (
        re.fullmatch(r"\w[\w-]*", given)
        and not path.exists()
        or (given in PRETRAINED and not path.is_file())
    ):
        try:
            released_file(given)
        except Sg2ImError as error:
            hint = str(error).split(": ", 1)[1]
            raise Sg2ImError(
                f"{option} {given!r} is neither a file, such as RUN/checkpoints/best.pt, nor a "
                f"released model: {hint}"
            ) from error
        if not released_path(given).is_file():
            say(f"There is no file {given} here: it is fetched from the 2018 release.", True)
        return fetch_pretrained(given)
    if not given or path.is_dir():
        raise Sg2ImError(
            f"{option} {given!r} is no file: give one, such as RUN/checkpoints/best.pt."
        )
    return path.absolute()


def fetch_pretrained(
    name: str,
    folder: str | Path | None = None,
    mirror: str | None = None,
    full: bool = False,
    progress: bool = True,
    patience: Patience = PATIENCE,
) -> Path:
    """Fetches a model of the 2018 release, unless it is in the cache.

    What comes is loaded once, without running anything that it holds; a file that is no checkpoint
    of the release is thrown away.

    Args:
        name: One of :data:`PRETRAINED`.
        folder: Folder to fetch it to, :func:`cache_folder` by default; full files go to
            :obj:`full/` below it.
        mirror: Address of a folder that holds :obj:`NAME.pt`, tried first.
        full: The file of the whole training, with discriminators, optimizers and histories.
        progress: Say what happens, and show a bar if stderr is a terminal.
        patience: How long servers are waited for.

    Returns:
        The file's path, for :meth:`Sg2Im.from_pretrained` and
        :func:`~sg2im_pyg.checkpoint.load_released`.

    Raises:
        Sg2ImError: If the name is unknown, no address has the file, what comes is no checkpoint
            of the release, or the file in the cache is not what once came.
    """
    file, path = released_file(name, full), released_path(name, folder, full)
    return _obtain(file, path, mirror, progress, patience, _check_released)


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
    return _obtain(remote_file, path, mirror, progress, patience, _check_no_page)


def _obtain(
    file: RemoteFile,
    path: Path,
    mirror: str | None,
    progress: bool,
    patience: Patience,
    check: Callable[[Path], None],
) -> Path:
    """The file at :obj:`path`, fetched where it is missing, and checked."""
    if path.is_dir():
        raise Sg2ImError(f"{path} is a folder where a file is needed: move it, or choose another.")
    # A file with a record is whole: it may lie in a folder that can only be read.
    if not (path.is_file() and _known(path)):
        with _alone(path, progress):
            if not path.is_file():
                return _fetch(file, path, mirror, progress, patience, check)
            if not _known(path):
                return _accept(file, path, progress, check)
    known = _known(path)
    if known is None:  # another process is fetching it again just now
        return _obtain(file, path, mirror, progress, patience, check)
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


def _fetch(
    file: RemoteFile,
    path: Path,
    mirror: str | None,
    progress: bool,
    patience: Patience,
    check: Callable[[Path], None],
) -> Path:
    _record(path).unlink(missing_ok=True)  # of a file that somebody deleted
    say(f"Fetching {file.name} to {path.parent}", progress)
    _, address = fetch_from(file, path.parent, mirror, progress, patience)
    try:
        check(path)
    except Sg2ImError as error:
        path.unlink()
        raise Sg2ImError(
            f"What {address} gave for {path} is not the file that it should be: "
            f"{_reason(error, path)}; it was deleted, fetch it again or name a mirror."
        ) from error
    _write_record(path, address)
    return path


def _accept(file: RemoteFile, path: Path, progress: bool, check: Callable[[Path], None]) -> Path:
    """Takes a file that was put there by hand."""
    verify(file, path, progress)
    try:
        check(path)
    except Sg2ImError as error:
        raise Sg2ImError(
            f"{path} is not the file that it should be: {_reason(error, path)}; delete it to have "
            "it fetched, or put the right file there."
        ) from error
    _write_record(path, None)
    return path


def _check_released(path: Path) -> None:
    from sg2im_pyg.checkpoint import load_released  # torch, which listing names does not need

    load_released(path)


def _check_no_page(path: Path) -> None:
    """Networks that ask for a login answer every address with their page."""
    with path.open("rb") as stream:
        if stream.read(100).lstrip().startswith(b"<"):
            raise Sg2ImError(f"{path} is a web page: fetch it from elsewhere.")


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.fetched.json")


def _known(path: Path) -> tuple[int, str] | None:
    """Size and checksum of a file as it came."""
    content = read_json(_record(path))
    size, sha256 = content.get("size"), content.get("sha256")
    return (size, sha256) if isinstance(size, int) and isinstance(sha256, str) else None


def _write_record(path: Path, address: str | None) -> None:
    content = {"size": path.stat().st_size, "sha256": sha256_of(path), "address": address}
    with suppress(OSError):  # a folder that can only be read: it is checked again
        write_json(_record(path), content)


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
