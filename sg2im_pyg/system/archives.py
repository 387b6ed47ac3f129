"""Archives of data sets: the room they need on the disk, and unpacking them."""

import errno
import lzma
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from tqdm import tqdm

from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.system.disk import check_space
from sg2im_pyg.system.files import read_json, replace_when_whole, write_json
from sg2im_pyg.system.progress import progress_bar

_CHUNK = 2**20  # bytes
# What Windows takes for a device, whatever follows a dot.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\..*)?", re.IGNORECASE)


def unpack(
    archive: str | Path, folder: str | Path, members: Sequence[str], progress: bool = True
) -> None:
    """Unpacks some members of a zip file into a folder, under their names in the archive.

    Each file is written under a temporary name and renamed. A file that is there with the right
    size is left as it is, so that an interrupted unpacking goes on. A marker in the folder, named
    after the archive, says whether all is there; with it a second call does nothing.

    Args:
        archive: The zip file.
        folder: Folder to unpack into.
        members: Names of files; a name that ends in :obj:`"/"` stands for all files below it.
        progress: Show a bar, if stderr is a terminal.

    Raises:
        Sg2ImError: If the archive is damaged or cut off, has no such member, holds a link or a
            name that leads outside of the folder or is no file name on every system; if the disk
            has not enough room. Unless the archive is damaged nothing has been written then.
    """
    archive, folder = Path(archive), Path(folder)
    marker = _marker(folder, archive.name)
    work = {"archive_bytes": archive.stat().st_size, "members": list(members)}
    if read_json(marker) == {**work, "whole": True} and all(
        holds_files(folder / member) for member in members
    ):
        return
    with _damage_as_sentence(archive):
        zipped = ZipFile(archive)
    with zipped:
        entries = _choose(zipped.infolist(), archive, members)
        missing = [entry for entry in entries if not _is_whole(folder / entry.filename, entry)]
        total = sum(entry.file_size for entry in entries)
        left = sum(entry.file_size for entry in missing)
        check_space({folder: left}, f"Unpacking {archive.name}")
        write_json(marker, {**work, "whole": False})
        title, done = f"Unpacking {archive.name}", total - left
        with progress_bar(title, total, progress, initial=done) as bar:
            for entry in missing:
                with _damage_as_sentence(archive):
                    _write(zipped, entry, folder / entry.filename, bar)
        write_json(marker, {**work, "whole": True})


def is_partly_unpacked(archive_name: str, folder: Path) -> bool:
    """Whether :func:`unpack` was interrupted in this folder."""
    return read_json(_marker(folder, archive_name)).get("whole") is False


def holds_files(path: Path) -> bool:
    """Whether this is a file, or a folder with at least one file (hidden ones do not count)."""
    if path.is_dir():
        return any(inner.is_file() for inner in path.iterdir() if not inner.name.startswith("."))
    return path.is_file()


def _marker(folder: Path, archive_name: str) -> Path:
    return folder / f".{archive_name}.unpacked.json"


def _choose(entries: Sequence[ZipInfo], archive: Path, members: Sequence[str]) -> list[ZipInfo]:
    """The files to unpack; every entry is checked, also those that are not wanted."""
    folders = tuple(member for member in members if member.endswith("/"))
    chosen: dict[str, ZipInfo] = {}
    for entry in entries:
        # Python rewrites `filename` on Windows: the name in the file is looked at.
        name = entry.orig_filename
        kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the packer was no Unix program
        if not _stays_inside(name) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(archive, name, "is a link or leads outside of the folder")
        if entry.is_dir() or not (name in members or name.startswith(folders)):
            continue
        if not _is_portable(name):
            raise _refusal(archive, name, "is no file name on every system")
        if chosen.setdefault(name.casefold(), entry) is not entry:
            raise _refusal(archive, name, "is there twice")
    for member in members:
        if not any(name.startswith(member.casefold()) for name in chosen):
            raise Sg2ImError(
                f"{archive} does not hold {member}: it is another archive than expected, remove "
                "it and download it again."
            )
    return list(chosen.values())


def _stays_inside(name: str) -> bool:
    if "\\" in name or re.match(r"[A-Za-z]:", name):
        return False
    return not {"", ".", ".."} & set(name.removesuffix("/").split("/"))


def _is_portable(name: str) -> bool:
    """Whether every part is a file name on every system (Windows has the strictest rules)."""
    return all(
        part.isprintable()
        and not set('<>:"|?*') & set(part)
        and part[-1] not in ". "
        and not _DEVICE.fullmatch(part)
        for part in name.split("/")
    )


def _refusal(archive: Path, name: str, reason: str) -> Sg2ImError:
    return Sg2ImError(
        f"{archive} is refused, its entry {shortened(name, 80)!r} {reason}: remove it and download "
        "it from a place that you trust."
    )


def _is_whole(path: Path, entry: ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == entry.file_size


def _write(zipped: ZipFile, entry: ZipInfo, path: Path, bar: tqdm) -> None:
    with (
        replace_when_whole(path) as temporary,
        zipped.open(entry) as source,
        temporary.open("wb") as target,
    ):
        # zipfile stops at the size in the header, and refuses what has another checksum then.
        while piece := source.read(_CHUNK):
            target.write(piece)
            bar.update(len(piece))
        if target.tell() != entry.file_size:
            raise BadZipFile(f"{entry.filename} is smaller than its header says")


@contextmanager
def _damage_as_sentence(archive: Path) -> Iterator[None]:
    damages = (BadZipFile, EOFError, RuntimeError, ValueError, struct.error, zlib.error)
    try:
        yield
    except (*damages, lzma.LZMAError, OSError) as error:
        # Other errors of the system speak of the disk; this one of a place before the file.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise Sg2ImError(
            f"{archive} is damaged or cut off ({shortened(first_line(error), 100)}): remove it and "
            "download it again."
        ) from error
