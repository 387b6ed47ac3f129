"""What COCO and Visual Genome consist of, and how they come into a folder."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from sg2im_pyg.data.archives import (
    check_space,
    format_bytes,
    holds_files,
    is_partly_unpacked,
    unpack,
)
from sg2im_pyg.data.fetch import PATIENCE, Patience, RemoteFile, bytes_left, fetch, say, verify
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.files import replace_when_whole

DOWNLOADS = "downloads"
"""Folder below the data folder that files are fetched to."""

# Sizes and checksums are those that at least two independent projects publish; the sizes of what
# is unpacked are rough, they only serve to ask for enough room.

# Over https COCO's own host shows a certificate for another name; the bucket behind it does not.
_COCO_HOSTS = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")
_COCO_MIRROR = "https://s3.amazonaws.com/fast-ai-coco"


def _coco_addresses(kind: str, name: str) -> tuple[str, ...]:
    return (*(f"{host}/{kind}/{name}" for host in _COCO_HOSTS), f"{_COCO_MIRROR}/{name}")


COCO = (
    RemoteFile(
        "annotations_trainval2017.zip",
        _coco_addresses("annotations", "annotations_trainval2017.zip"),
        size=252_907_541,
        sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        members=("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
        unpacked_size=490_000_000,
    ),
    RemoteFile(
        "val2017.zip",
        _coco_addresses("zips", "val2017.zip"),
        size=815_585_330,
        sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        members=("val2017/",),
        into="images",
    ),
    RemoteFile(
        "train2017.zip",
        _coco_addresses("zips", "train2017.zip"),
        size=19_336_861_798,
        sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
        members=("train2017/",),
        into="images",
    ),
)
"""COCO 2017 without stuff."""

COCO_STUFF = RemoteFile(
    "stuff_annotations_trainval2017.zip",
    _coco_addresses("annotations", "stuff_annotations_trainval2017.zip"),
    size=1_148_688_564,
    members=("annotations/stuff_train2017.json", "annotations/stuff_val2017.json"),
    unpacked_size=900_000_000,
)
"""COCO-Stuff (the pictures of pixel labels in the archive are not used)."""

# The first is where the data moved in 2023, the second is where the release fetched it.
_VISUAL_GENOME_HOSTS = (
    "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset",
    "https://visualgenome.org/static/data/dataset",
)
# The second is a copy by somebody else: the size and the zip's own checksums must do.
_VISUAL_GENOME_PICTURES = (
    "https://cs.stanford.edu/people/rak248/VG_100K_2",
    "https://huggingface.co/datasets/BoyangZ/VisualGenome_VG_100K_1_and_2/resolve/main",
)


def _visual_genome(
    name: str,
    size: int | None,
    sha256: str | None = None,
    *,
    members: tuple[str, ...] = (),
    into: str = ".",
    unpacked_size: int | None = None,
) -> RemoteFile:
    hosts = _VISUAL_GENOME_PICTURES if into == "images" else _VISUAL_GENOME_HOSTS
    addresses = tuple(f"{host}/{name}" for host in hosts)
    return RemoteFile(name, addresses, size, sha256, members, into, unpacked_size)


VISUAL_GENOME = (
    _visual_genome(
        "object_alias.txt",
        60_166,
        "0c8e059fc31eeebfd98231f5789892da8ae33bfa00434c70aee969dc6eaa853b",
    ),
    _visual_genome(
        "relationship_alias.txt",
        122_102,
        "15f7f64802c95c5bf5b5690457566b1b19ee64eac7a94d8b8cbb3a4378f2ec7c",
    ),
    RemoteFile(
        "vg_splits.json",
        ("https://raw.githubusercontent.com/google/sg2im/master/sg2im/data/vg_splits.json",),
        optional=True,
    ),
    _visual_genome(
        "image_data.json.zip",
        1_780_854,
        "b87a94918cb2ff4d952cf1dfeca0b9cf6cd6fd204c2f8704645653be1163681a",
        members=("image_data.json",),
        unpacked_size=20_000_000,
    ),
    _visual_genome(
        "objects.json.zip", 55_323_929, members=("objects.json",), unpacked_size=435_000_000
    ),
    _visual_genome(
        "attributes.json.zip", 83_280_561, members=("attributes.json",), unpacked_size=485_000_000
    ),
    _visual_genome(
        "relationships.json.zip",
        77_904_473,
        "e648867b8087e4aeb10019a959f914e2580909f1c3e50a21b25de8741679182f",
        members=("relationships.json",),
        unpacked_size=745_000_000,
    ),
    _visual_genome("images2.zip", 5_471_658_058, members=("VG_100K_2/",), into="images"),
    _visual_genome("images.zip", 9_731_705_982, members=("VG_100K/",), into="images"),
)
"""Visual Genome 1.4, its pictures, and the splits of the release."""


def obtain_coco(
    folder: str | Path,
    with_stuff: bool = True,
    mirror: str | None = None,
    download: bool = True,
    progress: bool = True,
    patience: Patience = PATIENCE,
) -> list[str]:
    """Brings COCO 2017 into a folder: annotations and the pictures of train and val.

    Args:
        folder: Data folder. What lies there already is used: annotation files and folders of
            pictures, or archives (also those in :obj:`downloads` below it).
        with_stuff: Whether the annotations of COCO-Stuff are needed.
        mirror: Address of a folder that holds the files under their names, tried first.
        download: Whether the network may be used.
        progress: Print what happens, and show bars if stderr is a terminal.
        patience: How long servers are waited for.

    Returns:
        What was there and what was done, a line a thing.

    Raises:
        Sg2ImError: If something can not be had or is not allowed to be fetched, if an archive is
            damaged, or if the disk has not enough room.
    """
    files = (COCO_STUFF, *COCO) if with_stuff else COCO
    return obtain(files, folder, mirror, download, progress, patience)


def obtain_visual_genome(
    folder: str | Path,
    mirror: str | None = None,
    download: bool = True,
    progress: bool = True,
    patience: Patience = PATIENCE,
) -> list[str]:
    """Brings Visual Genome 1.4 into a folder; arguments and errors as :func:`obtain_coco`.

    The release's :obj:`vg_splits.json` is fetched too, but may be missing in the end.
    """
    return obtain(VISUAL_GENOME, folder, mirror, download, progress, patience)


def obtain(
    files: Sequence[RemoteFile],
    folder: str | Path,
    mirror: str | None = None,
    download: bool = True,
    progress: bool = True,
    patience: Patience = PATIENCE,
) -> list[str]:
    """What :func:`obtain_coco` does, for any files."""
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
    if not download:
        _check_nothing_needed(to_fetch, missing, folder)
    for file, path in found.items():  # before hours of work that could turn out to be in vain
        verify(file, path, progress)
    _check_room(missing, to_fetch, folder)
    if to_fetch and download:
        total = format_bytes(sum(bytes_left(file, folder / DOWNLOADS) for file in to_fetch))
        names = ", ".join(file.name for file in to_fetch)
        say(f"To download: {total} to {folder / DOWNLOADS} ({names})", progress)

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


def _check_nothing_needed(
    to_fetch: Sequence[RemoteFile], missing: Mapping[RemoteFile, Sequence[str]], folder: Path
) -> None:
    needed = [file for file in to_fetch if not file.optional]
    if needed:
        results = [_place(file, result) for file in needed for result in missing[file]]
        sources = [f"{file.name} from {' or '.join(file.addresses)}" for file in needed]
        raise Sg2ImError(
            f"{folder} lacks {', '.join(results)}, and downloading is switched off: put them "
            f"there, or put into {folder / DOWNLOADS} {'; '.join(sources)}."
        )


def _check_room(
    missing: Mapping[RemoteFile, Sequence[str]], to_fetch: Sequence[RemoteFile], folder: Path
) -> None:
    needs = {folder / DOWNLOADS: sum(bytes_left(file, folder / DOWNLOADS) for file in to_fetch)}
    for file in missing:
        into = folder / file.into
        # What is there halfway is counted when the unpacking goes on.
        if not is_partly_unpacked(file.name, into):
            unpacked = file.size if file.unpacked_size is None else file.unpacked_size
            needs[into] = needs.get(into, 0) + (unpacked or 0)
    check_space(needs, "What is missing")
