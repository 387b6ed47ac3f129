"""Prepares data for training: draws landscapes, or converts COCO, into one HDF5 file a split.

Typical commands, from any folder:

    python datasets/prepare.py landscapes
    python datasets/prepare.py coco --source /data/coco
    python datasets/prepare.py coco --source /data/coco --image-size 128 --root /fast/coco
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from sg2im_pyg.program import run_program  # noqa: E402

# The rest is imported where it is used: the processes that draw landscapes import this file too.


def main() -> None:
    from sg2im_pyg.data.coco import CocoSelection, prepare_coco
    from sg2im_pyg.data.landscapes import prepare_landscapes

    options = parse_options()
    source = options.subcommand
    given = options[source]
    root = Path(given.root).resolve()
    if source == "landscapes":
        paths = prepare_landscapes(
            root,
            image_size=height_and_width(given.image_size),
            mask_size=given.mask_size,
            train=given.train,
            val=given.val,
            test=given.test,
            seed=given.seed,
            workers=given.workers,
            progress=given.progress,
        )
    else:
        folder = Path(given.source).resolve() if given.source else root
        paths = prepare_coco(
            folder,
            root,
            image_size=height_and_width(given.image_size),
            mask_size=given.mask_size,
            selection=CocoSelection(
                min_object_size=given.min_object_size,
                min_objects=given.min_objects,
                max_objects=given.max_objects,
                things=tuple(given.things) if given.things else None,
                stuff=tuple(given.stuff) if given.stuff else None,
                use_stuff=not given.things_only,
                all_images=given.all_images,
                include_other=given.include_other,
                val_images=given.val_images,
            ),
            progress=given.progress,
        )
    report(source, root, paths)


def parse_options() -> "Namespace":
    """Reads the command line; mistakes in it end the program with exit status 2."""
    from jsonargparse import ArgumentParser

    from sg2im_pyg.data.coco import CocoSelection

    parser = ArgumentParser(description="Prepare data for training: one HDF5 file a split.")
    sources = parser.add_subcommands(dest="subcommand", required=True, metavar="SOURCE")

    landscapes = ArgumentParser(
        description="Draw landscapes with exact boxes and masks. Needs no download."
    )
    add_common_options(landscapes, "landscapes")
    option = landscapes.add_argument
    option("--train", type=int, default=10_000, help="number of pictures to train on")
    option("--val", type=int, default=1_000, help="number of pictures to validate on")
    option("--test", type=int, default=1_000, help="number of pictures to test on")
    option("--seed", type=int, default=0, help="seed of the drawing; the same seed, the same data")
    option("--workers", type=int | None, help="number of processes; null: one a core")
    sources.add_subcommand("landscapes", landscapes, help="draw landscapes (no download)")

    coco = ArgumentParser(
        description="Convert COCO 2017 with COCO-Stuff. DIR holds annotations/"
        "{instances,stuff}_{train,val}2017.json and the pictures in images/{train,val}2017 or "
        "{train,val}2017."
    )
    option = coco.add_argument
    option(
        "--source",
        type=str | None,
        metavar="DIR",
        help="folder that holds COCO itself; null: the same as --root",
    )
    add_common_options(coco, "coco")
    option(
        "--min-object-size",
        type=float,
        default=CocoSelection.min_object_size,
        help="ignore objects whose box covers no more than this fraction of the picture (0 to 1)",
    )
    option(
        "--min-objects",
        type=int,
        default=CocoSelection.min_objects,
        help="leave out pictures with fewer objects than this number",
    )
    option(
        "--max-objects",
        type=int,
        default=CocoSelection.max_objects,
        help="leave out pictures with more objects than this number",
    )
    option("--things", nargs="+", metavar="NAME", help="thing categories to use; null: all")
    option("--stuff", nargs="+", metavar="NAME", help="stuff categories to use; null: all")
    option(
        "--things-only",
        action="store_true",
        help="use no stuff, for a COCO without stuff annotations",
    )
    option(
        "--all-images",
        action="store_true",
        help="use also pictures that have no stuff annotation",
    )
    option(
        "--include-other", action="store_true", help="keep objects of the stuff category 'other'"
    )
    option(
        "--val-images",
        type=int,
        default=CocoSelection.val_images,
        help="number of fitting pictures of val2017, from the first on, to validate on; the others "
        "are the test split",
    )
    sources.add_subcommand("coco", coco, help="convert COCO 2017 with COCO-Stuff")
    return parser.parse_args()


def add_common_options(parser: "ArgumentParser", name: str) -> None:
    parser.add_argument(
        "--root",
        type=str,
        default=str(REPOSITORY / "datasets" / name),
        metavar="DIR",
        help="folder to write to, as DIR/<height>x<width>/{train,val,test}.h5",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        nargs="+",
        default=[64],
        metavar="PIXELS",
        help="size of the pictures in pixels: one number for a square, two for height and width",
    )
    parser.add_argument(
        "--mask-size",
        type=int,
        default=16,
        help="side of an object's mask in pixels; 0: no masks",
    )
    parser.add_argument(
        "--progress", type=bool, default=True, help="show a progress bar on a terminal"
    )


def height_and_width(image_size: list[int]) -> tuple[int, int]:
    from sg2im_pyg.errors import Sg2ImError

    if len(image_size) > 2:
        raise Sg2ImError(
            "--image-size takes one number (a square) or two (height and width), got "
            f"{len(image_size)}."
        )
    return image_size[0], image_size[-1]


def report(source: str, root: Path, paths: dict[str, Path]) -> None:
    """Says what there is now, and what to do next."""
    from sg2im_pyg.data import SceneReader

    for split, path in paths.items():
        store = SceneReader(path)
        print(f"{split:5}  {len(store):7,} pictures  {len(store.categories):8,} objects  {path}")
        if not len(store):
            print(f"       {split} is empty: all fitting pictures went to the splits before it.")
    command = f'python "{REPOSITORY}/train/run.py"'
    if source == "coco":
        command += " --config coco64"
    if root != REPOSITORY / "datasets" / source:
        command += f' --data.root "{root}"'
    if store.image_size != (64, 64):
        command += f' --model.image_size "{list(store.image_size)}"'
    if store.mask_size != 16:
        command += f" --model.mask_size {store.mask_size}"
    if store.mask_size == 0:
        command += " --losses.mask 0"
    print(f"Next, to train on it: {command}")


if __name__ == "__main__":
    run_program(main)
