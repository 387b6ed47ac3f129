"""How the files that a source consists of come into a folder: fetched, checked, unpacked."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.archives import holds_files, is_partly_unpacked, unpack
from sg2im_pyg.system.disk import check_space, format_bytes
from sg2im_pyg.system.fetch import PATIENCE, Patience, RemoteFile, bytes_left, fetch, verify
from sg2im_pyg.system.files import replace_when_whole
from sg2im_pyg.system.progress import agrees, is_terminal, say

DOWNLOADS = "downloads"
"""Folder below the data folder that files are fetched to."""


def obtain(
    files: Sequence[RemoteFile],
    folder: str | Path,
    mirror: str | None = None,
    download: bool = True,
    progress: bool = True,
    patience: Patience = PATIENCE,
    ask: bool = False,
) -> list[str]:
    """Brings the files of a source into a folder.

    Args:
        files: What is needed. Sizes and checksums in their tables are those that at least two
            independent projects publish; the sizes of what is unpacked are rough, they only serve
            to ask for enough room.
        folder: Data folder. What lies there already is used: what the files are unpacked to, or
            the files themselves (also those in :obj:`downloads` below it).
        mirror: Address of a folder that holds the files under their names, tried first.
        download: Whether the network may be used.
        progress: Print what happens, and show bars if stderr is a terminal.
        patience: How long servers are waited for.
        ask: Whether a person at a terminal is asked before anything is downloaded.

    Returns:
        What was there and what was done, a line a thing.

    Raises:
        Sg2ImError: If something can not be had or is not allowed to be fetched, if an archive is
            damaged, if the disk has not enough room, or if the person asked does not want it. A
            file that is optional may be missing.
    """
    folder = Path(folder)
    missing: dict[RemoteFile, list[str]] = {}
    report = []
    for file in files:
        for result in file.members or (file.name,):
            if _is_there(file, result, folder):
                report.append(f"{_place(file, result)}: there already")
            else:
                missing.setdefault(file, []).append(result)
    found = {file: path for file in missing if (path := _find(file, folder))}
    to_fetch = [file for file in missing if file not in found]
    needed = [file for file in to_fetch if not file.optional]
    results = [_place(file, result) for file in needed for result in missing[file]]
    if needed and not download:
        sources = [f"{file.name} from {' or '.join(file.addresses)}" for file in needed]
        raise Sg2ImError(
            f"{folder} lacks {', '.join(results)}, and downloading is switched off: put them "
            f"there, or put into {folder / DOWNLOADS} {'; '.join(sources)}."
        )
    for file, path in found.items():  # before hours of work that could turn out to be in vain
        verify(file, path, progress)
    to_come = sum(bytes_left(file, folder / DOWNLOADS) for file in to_fetch)
    _check_room(missing, to_come, folder)
    if needed and ask and is_terminal():
        size, lacking = format_bytes(to_come), ", ".join(results)
        if not agrees(f"{folder} lacks {lacking}. Download {size} to {folder / DOWNLOADS}?"):
            raise Sg2ImError(
                f"Nothing was downloaded: put {lacking} into {folder}, or name the folder that "
                "holds them with --source."
            )
    if to_fetch and download:
        names = ", ".join(file.name for file in to_fetch)
        say(f"To download: {format_bytes(to_come)} to {folder / DOWNLOADS} ({names})", progress)

    for file, results in missing.items():
        path = found.get(file)
        if path is None and not download:
            report.append(f"{file.name}: not there")
            continue
        if path is None:
            try:
                path = fetch(file, folder / DOWNLOADS, mirror, progress, patience)
            except Sg2ImError as error:
                if not file.optional:
                    raise
                report.append(f"{file.name}: not there ({error})")
                continue
            report.append(f"downloaded {file.name} ({format_bytes(path.stat().st_size)})")
        if file.members:
            unpack(path, folder / file.into, results, progress)
            report += [f"unpacked {_place(file, result)}" for result in results]
        else:
            with replace_when_whole(folder / file.name) as temporary:
                shutil.copyfile(path, temporary)
    return report


def _place(file: RemoteFile, result: str) -> str:
    """Where below the data folder a member, or the file itself, lands."""
    return (Path(file.into) / result).as_posix()


def _is_there(file: RemoteFile, result: str, folder: Path) -> bool:
    own = folder / file.into / result
    if not own.exists():
        return holds_files(folder / result)
    # Of a folder that holds some pictures the marker says whether they are all.
    halfway = own.is_dir() and is_partly_unpacked(file.name, folder / file.into)
    return holds_files(own) and not halfway


def _find(file: RemoteFile, folder: Path) -> Path | None:
    """The file where a person or an earlier run put it."""
    places = (folder / file.name, folder / DOWNLOADS / file.name)
    return next((place for place in places if place.is_file()), None)


def _check_room(files: Iterable[RemoteFile], to_come: int, folder: Path) -> None:
    needs = {folder / DOWNLOADS: to_come}
    for file in files:
        into = folder / file.into
        # What is there halfway is counted when the unpacking goes on.
        if not is_partly_unpacked(file.name, into):
            unpacked = file.size if file.unpacked_size is None else file.unpacked_size
            needs[into] = needs.get(into, 0) + (unpacked or 0)
    check_space(needs, "What is missing")
