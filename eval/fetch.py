"""Fetches the models that the paper's authors published in 2018, by name, into a cache folder.

    python eval/fetch.py                           the names, and which are in the cache
    python eval/fetch.py coco64 vg64               two of them
    python eval/fetch.py coco64 --full             with discriminators, to go on training
    python eval/fetch.py coco64 --mirror https://example.org/models

The path of each file is printed at the end; eval/generate.py takes the name as well as the path. A
broken transfer goes on where it broke, also in another run. The cache folder is the system's usual
one for the user, or the environment variable SG2IM_CACHE, or --cache.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from jsonargparse import ArgumentParser, Namespace  # noqa: E402

from sg2im_pyg.errors import Sg2ImError  # noqa: E402
from sg2im_pyg.formats.published import (  # noqa: E402
    PRETRAINED,
    fetch_pretrained,
    released_file,
    released_path,
)
from sg2im_pyg.system.cache import cache_folder  # noqa: E402
from sg2im_pyg.system.disk import format_bytes  # noqa: E402
from sg2im_pyg.system.program import run_program  # noqa: E402


def main() -> None:
    options = parse_options()
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
        by_hand = "; ".join(place_by_hand(name, folder, options.full) for name in failures)
        raise Sg2ImError(f"{reasons} To do it by hand: {by_hand}.")


def parse_options() -> Namespace:
    """Reads the command line; mistakes in it end the program with exit status 2."""
    parser = ArgumentParser(
        prog="fetch.py", description="Fetch the models of the 2018 release by name."
    )
    option = parser.add_argument
    option("names", type=str, nargs="*", default=[], help="such as coco64; none: list the names")
    option("--full", action="store_true", help="files with discriminators, optimizers, histories")
    option(
        "--cache",
        type=str | None,
        metavar="DIR",
        help="folder to fetch to; null: SG2IM_CACHE, or the user's cache folder",
    )
    option(
        "--mirror",
        type=str | None,
        metavar="URL",
        help="address of a folder that holds NAME.pt, tried first",
    )
    option("--list", action="store_true", help="only say what there is and what is in the cache")
    return parser.parse_args()


def list_models(names: list[str], folder: Path, full: bool) -> None:
    width = max(map(len, names))
    for name in names:
        path = released_path(name, folder, full)
        there = format_bytes(path.stat().st_size) if path.is_file() else "-"
        print(f"{name:{width}}  {there:>9}  {PRETRAINED[name]}")
    place = released_path(names[0], folder, full).parent
    print(f"The second column is the size of what is in the cache, {place}.")


def place_by_hand(name: str, folder: Path, full: bool) -> str:
    [address] = released_file(name, full).addresses
    return f"save {address} as {released_path(name, folder, full)}"


if __name__ == "__main__":
    run_program(main)
