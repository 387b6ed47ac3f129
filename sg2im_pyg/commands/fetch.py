"""Fetches the models that the paper's authors published in 2018, by name, into a cache folder.

    python eval/fetch.py                           the names, and which are in the cache
    python eval/fetch.py coco64 vg64               two of them
    python eval/fetch.py coco64 --full             with discriminators, to go on training
    python eval/fetch.py coco64 --mirror https://example.org/models

The path of each file is printed at the end; eval/generate.py takes the name as well as the path. A
broken transfer goes on where it broke, also in another run. The cache folder is the system's usual
one for the user, or the environment variable SG2IM_CACHE, or --cache.
"""

from dataclasses import dataclass
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.published import PRETRAINED, fetch_pretrained, released_file, released_path
from sg2im_pyg.system.cache import cache_folder
from sg2im_pyg.system.command_line import parse_options
from sg2im_pyg.system.disk import format_bytes
from sg2im_pyg.system.options import option
from sg2im_pyg.system.program import program_name


@dataclass
class FetchOptions:
    """What is fetched, and where to."""

    names: list[str] = option(list, positional=True, metavar="NAME ...")
    """Such as coco64; none: list the names."""
    full: bool = False
    """Files with discriminators, optimizers, histories."""
    cache: str | None = option(None, metavar="DIR")
    """Folder to fetch to; null: SG2IM_CACHE, or the user's cache folder."""
    mirror: str | None = option(None, metavar="URL")
    """Address of a folder that holds NAME.pt, tried first."""
    list: bool = False
    """Only say what there is and what is in the cache."""


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Fetches as a command line says; see :data:`~sg2im_pyg.system.program.COMMANDS`."""
    options = parse_options(FetchOptions, arguments, program_name("fetch"), __doc__)
    folder = Path(options.cache).absolute() if options.cache else cache_folder()
    names = list(dict.fromkeys(options.names))  # each once
    for name in names:  # before the first of them is fetched
        released_file(name)
    if options.list or not names:
        list_models(names or list(PRETRAINED), folder, options.full)
        return
    paths, failures = {}, {}
    for name in names:
        try:
            paths[name] = fetch_pretrained(name, folder, options.mirror, options.full)
        except Sg2ImError as error:
            failures[name] = error
    width = max(map(len, names))
    for name, path in paths.items():
        print(f"{name:{width}}  {path}")
    if failures:
        reasons = " ".join(str(error) for error in failures.values())
        by_hand = "; ".join(
            f"save {released_file(name, options.full).addresses[0]} as "
            f"{released_path(name, folder, options.full)}"
            for name in failures
        )
        raise Sg2ImError(f"{reasons} To do it by hand: {by_hand}.")


def list_models(names: list[str], folder: Path, full: bool) -> None:
    """Prints what there is, and what of it is in the cache."""
    width = max(map(len, names))
    for name in names:
        path = released_path(name, folder, full)
        there = format_bytes(path.stat().st_size) if path.is_file() else "-"
        print(f"{name:{width}}  {there:>9}  {PRETRAINED[name]}")
    place = released_path(names[0], folder, full).parent
    print(f"The second column is the size of what is in the cache, {place}.")
