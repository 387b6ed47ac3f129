"""Models by name: those that come with the library, and those that others have published, which are
fetched once into a cache folder.

For each file fetched :obj:`NAME.fetched.json` beside it keeps what came: its size, its SHA-256
checksum and the address. Neither is published for the files of the 2018 release, so a transfer
counts as whole when it has as many bytes as the server announced and the file can be loaded; from
then on the checksum tells whether the file in the cache is still the one that came.
"""

import re
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError, nearest, shortened
from sg2im_pyg.system.cache import cache_folder, obtain_cached
from sg2im_pyg.system.fetch import PATIENCE, Patience, RemoteFile
from sg2im_pyg.system.progress import say

RELEASE_ADDRESS = "https://storage.googleapis.com/sg2im-data"
"""Folder on the web of the 2018 release: generators in :obj:`small/`, whole trainings in
:obj:`full/`."""

SHIPPED = {"landscapes": Path(__file__).parents[1] / "weights" / "landscapes.safetensors"}
"""Models that come with the library by name, and their files."""

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


def released_file(name: str, full: bool = False) -> RemoteFile:
    """Where a model of the 2018 release can be fetched.

    Args:
        name: One of :data:`PRETRAINED`.
        full: The file of the whole training, with discriminators, optimizers and histories.

    Raises:
        Sg2ImError: If the name is unknown; the nearest known ones are named.
    """
    if name in SHIPPED:
        raise Sg2ImError(f"The model {name} comes with the library: it needs no fetching.")
    if name not in PRETRAINED:
        hint = nearest(name, PRETRAINED)
        raise Sg2ImError(f"There is no released model {shortened(name)!r}: {hint}")
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
    """The file that a user means: a path, or the name of a model that comes with the library, or of
    a released one, which is fetched.

    A name has neither suffix nor separator, and there is no file or folder of that name. Whether
    there is a file at a path is for its reader to say.

    Args:
        given: What the user gave.
        option: The option it was given to, named in errors.

    Raises:
        Sg2ImError: If it is a folder, or the name of no model; if that can not be fetched.
    """
    path, known = Path(given), [*SHIPPED, *PRETRAINED]
    if (
        re.fullmatch(r"\w[\w-]*", given)
        and not path.exists()
        or (given in known and not path.is_file())
    ):
        if given in SHIPPED:
            return SHIPPED[given]
        if given not in PRETRAINED:
            raise Sg2ImError(
                f"{option} {shortened(given)!r} is neither a file, such as "
                f"RUN/checkpoints/best.pt, nor the name of a model: {nearest(given, known)}"
            )
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
    return obtain_cached(file, path, mirror, progress, patience, _check_released)


def _check_released(path: Path) -> None:
    from sg2im_pyg.formats.native import open_released  # torch, which listing names does not need

    open_released(path)
