"""Prepares data for training: one HDF5 file a split, of drawn landscapes, COCO or Visual Genome.

Typical commands, from any folder:

    python datasets/prepare.py landscapes
    python datasets/prepare.py coco --root /data/coco                    (downloads about 22 GB)
    python datasets/prepare.py visual_genome --root /data/vg --image-size 64 128
    python datasets/prepare.py coco --source /data/coco --root /fast/coco     (no download)

Each step is skipped where its result is there and whole: an interrupted command is run again.
"""

import re
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from sg2im_pyg.sources.coco.selection import CocoSelection
    from sg2im_pyg.sources.visual_genome.selection import VisualGenomeSelection

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from sg2im_pyg.system.program import run_program  # noqa: E402

# The rest is imported where it is used: the worker processes import this file too.

Paths = dict[tuple[int, int], dict[str, Path]]


def main() -> None:
    options = parse_options()
    source = options.subcommand
    given = options[source]
    root = Path(given.root).resolve()
    sizes = heights_and_widths(given.image_size)
    if source == "landscapes":
        paths = prepare_landscapes(given, root, sizes)
    elif (prepared := already_prepared(source, given, root, sizes)) is not None:
        paths = prepared
    else:
        raw = obtain(source, given, root)
        if raw is None:
            return
        prepare = prepare_coco if source == "coco" else prepare_visual_genome
        paths = prepare(given, raw, root, sizes)
    report(source, root, paths)


def prepare_landscapes(given: "Namespace", root: Path, sizes: list[tuple[int, int]]) -> Paths:
    from sg2im_pyg.sources.landscapes.source import prepare_landscapes

    return {
        size: prepare_landscapes(
            root,
            image_size=size,
            mask_size=given.mask_size,
            train=given.train,
            val=given.val,
            test=given.test,
            seed=given.seed,
            workers=given.workers,
            progress=given.progress,
        )
        for size in sizes
    }


def already_prepared(
    source: str, given: "Namespace", root: Path, sizes: list[tuple[int, int]]
) -> Paths | None:
    """The stores, where the raw data that they were made of is gone and not needed any more."""
    from sg2im_pyg.sources.pictures import store_path
    from sg2im_pyg.sources.preparation import SPLITS, are_prepared

    selection = selection_of(source, given)  # mistakes in it show before hours of downloading
    raw = ("annotations",) if source == "coco" else ("objects.json", "vocab.json")
    chosen = source == "visual_genome" and (given.splits, given.split_seed, given.vocabulary)
    if chosen and any(option is not None for option in chosen):
        return None
    if given.source or given.download_only or any((root / name).exists() for name in raw):
        return None
    settings = {**asdict(selection), "source": source}
    if source == "coco":
        settings["mask_size"] = given.mask_size
    if not are_prepared(root, sizes, settings):
        return None
    return {size: {split: store_path(root, size, split) for split in SPLITS} for size in sizes}


def obtain(source: str, given: "Namespace", root: Path) -> Path | None:
    """The folder of the raw data, with all in it; none where that was all that was asked for."""
    from sg2im_pyg.errors import Sg2ImError
    from sg2im_pyg.sources.coco.downloads import obtain_coco
    from sg2im_pyg.sources.visual_genome.downloads import obtain_visual_genome

    if given.download_only and (given.no_download or given.source):
        raise Sg2ImError(
            "--download-only downloads into --root, and --no-download or --source rule that out: "
            "leave one of them out."
        )
    if given.source:
        return Path(given.source).resolve()
    if source == "visual_genome" and (root / "vocab.json").is_file():
        return root  # the release's own files
    root.mkdir(parents=True, exist_ok=True)
    options = {
        "mirror": given.mirror,
        "download": not given.no_download,
        "progress": given.progress,
    }
    if source == "coco":
        steps = obtain_coco(root, not given.things_only, **options)
    else:
        steps = obtain_visual_genome(root, **options)
    if not given.download_only:
        return root
    print("\n".join(steps))
    print(f'Next, to convert it: python "{Path(__file__).resolve()}" {source} --root "{root}"')
    return None


def selection_of(source: str, given: "Namespace") -> "CocoSelection | VisualGenomeSelection":
    """Which objects and pictures are used: the options are named as the fields."""
    from sg2im_pyg.sources.coco.selection import CocoSelection
    from sg2im_pyg.sources.visual_genome.selection import VisualGenomeSelection

    if source == "visual_genome":
        return VisualGenomeSelection(
            **{field.name: given[field.name] for field in fields(VisualGenomeSelection)}
        )
    chosen = {name: tuple(given[name]) if given[name] else None for name in ("things", "stuff")}
    others = {
        field.name: given[field.name]
        for field in fields(CocoSelection)
        if field.name not in (*chosen, "use_stuff")
    }
    return CocoSelection(**chosen, **others, use_stuff=not given.things_only)


def prepare_coco(given: "Namespace", raw: Path, root: Path, sizes: list[tuple[int, int]]) -> Paths:
    from sg2im_pyg.sources.coco.source import prepare_coco

    return prepare_coco(
        raw,
        root,
        sizes,
        given.mask_size,
        selection_of("coco", given),
        given.workers,
        given.skip_unreadable,
        given.progress,
    )


def prepare_visual_genome(
    given: "Namespace", raw: Path, root: Path, sizes: list[tuple[int, int]]
) -> Paths:
    from sg2im_pyg.errors import Sg2ImError
    from sg2im_pyg.sources.visual_genome.released import is_released, prepare_released
    from sg2im_pyg.sources.visual_genome.source import prepare_visual_genome, split_source

    if is_released(raw):
        print(
            f"{raw} holds the files of the release's preprocessing: they are read as they are, "
            "whatever the options say of vocabulary, objects and pictures."
        )
        return prepare_released(
            raw, root, sizes, given.workers, given.skip_unreadable, given.progress
        )
    if given.splits is not None and given.split_seed is not None:
        raise Sg2ImError("--splits and --split-seed exclude each other: leave one of them out.")
    splits = given.splits if given.split_seed is None else given.split_seed
    paths = prepare_visual_genome(
        raw,
        root,
        sizes,
        selection_of("visual_genome", given),
        splits,
        given.vocabulary,
        given.workers,
        given.skip_unreadable,
        given.progress,
    )
    chosen = split_source(raw, splits)
    if isinstance(chosen, int):
        print(
            f"Pictures are divided into train, val and test at random, seed {chosen}: results are "
            "not comparable with those of the release's own splits (vg_splits.json)."
        )
    else:
        print(f"Splits: {chosen}")
    return paths


def parse_options() -> "Namespace":
    """Reads the command line; mistakes in it end the program with exit status 2."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(description="Prepare data for training: one HDF5 file a split.")
    sources = parser.add_subcommands(dest="subcommand", required=True, metavar="SOURCE")

    landscapes = ArgumentParser(
        description="Draw landscapes with exact boxes and masks. Needs no download."
    )
    add_common_options(landscapes, "landscapes")
    add_mask_size(landscapes)
    option = landscapes.add_argument
    option("--train", type=int, default=10_000, help="number of pictures to train on")
    option("--val", type=int, default=1_000, help="number of pictures to validate on")
    option("--test", type=int, default=1_000, help="number of pictures to test on")
    option("--seed", type=int, default=0, help="seed of the drawing; the same seed, the same data")
    sources.add_subcommand("landscapes", landscapes, help="draw landscapes (no download)")

    coco = ArgumentParser(
        description="Download and convert COCO 2017 with COCO-Stuff. What is there already is "
        "used: annotations/{instances,stuff}_{train,val}2017.json and the pictures in "
        "images/{train,val}2017 or {train,val}2017, or the archives."
    )
    add_common_options(coco, "coco")
    add_mask_size(coco)
    add_raw_options(coco, "COCO")
    add_coco_options(coco)
    sources.add_subcommand("coco", coco, help="COCO 2017 with COCO-Stuff (about 22 GB)")

    visual_genome = ArgumentParser(
        description="Download and convert Visual Genome 1.4. What is there already is used: "
        "image_data.json, objects.json, attributes.json, relationships.json, object_alias.txt, "
        "relationship_alias.txt, vg_splits.json and the pictures in images/VG_100K and "
        "images/VG_100K_2, or the archives. A folder with vocab.json, train.h5, val.h5 and "
        "test.h5 of the 2018 release's preprocessing is read as it is."
    )
    add_common_options(visual_genome, "visual_genome")
    add_raw_options(visual_genome, "Visual Genome")
    add_visual_genome_options(visual_genome)
    sources.add_subcommand("visual_genome", visual_genome, help="Visual Genome 1.4 (about 16 GB)")
    return parser.parse_args()


def add_common_options(parser: "ArgumentParser", name: str) -> None:
    parser.add_argument(
        "--root",
        type=str,
        default=str(REPOSITORY / "datasets" / name),
        metavar="DIR",
        help="folder to write to, as DIR/<height>x<width>/{train,val,test}.h5"
        + ("" if name == "landscapes" else "; what is downloaded comes into it, too"),
    )
    parser.add_argument(
        "--image-size",
        type=str,
        nargs="+",
        default=["64"],
        metavar="SIZE",
        help="size of the pictures in pixels: 64 for a square, 48x64 for height and width; "
        "several sizes are made in one go",
    )
    parser.add_argument("--workers", type=int | None, help="number of processes; null: one a core")
    parser.add_argument(
        "--progress", type=bool, default=True, help="show a progress bar on a terminal"
    )


def add_mask_size(parser: "ArgumentParser") -> None:
    parser.add_argument(
        "--mask-size",
        type=int,
        default=16,
        help="side of an object's mask in pixels; 0: no masks",
    )


def add_raw_options(parser: "ArgumentParser", name: str) -> None:
    option = parser.add_argument
    option(
        "--source",
        type=str | None,
        metavar="DIR",
        help=f"folder that holds {name} already, unpacked: nothing is downloaded or written "
        "there; null: --root, and what is missing is downloaded",
    )
    option("--download-only", action="store_true", help="download and unpack, convert nothing")
    option("--no-download", action="store_true", help="use no network, only what is there")
    option(
        "--mirror",
        type=str | None,
        metavar="URL",
        help="address of a folder that holds the archives, tried before the usual ones",
    )
    option(
        "--skip-unreadable",
        action="store_true",
        help="leave out pictures that are missing or damaged, instead of ending with an error",
    )


def add_coco_options(parser: "ArgumentParser") -> None:
    from sg2im_pyg.sources.coco.selection import CocoSelection

    option = parser.add_argument
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


def add_visual_genome_options(parser: "ArgumentParser") -> None:
    from sg2im_pyg.sources.visual_genome.selection import VisualGenomeSelection

    option = parser.add_argument
    for name, explanation in (
        (
            "min_object_instances",
            "use a name if at least so many objects of the training split have it",
        ),
        (
            "min_attribute_instances",
            "keep an attribute if at least so many objects of the training split have it",
        ),
        (
            "min_relationship_instances",
            "use a predicate if at least so many relationships of the training split have it",
        ),
        ("min_image_side", "leave out pictures with a side under this number of pixels"),
        ("min_object_side", "ignore objects whose box has a side under this number of pixels"),
        ("min_objects", "leave out pictures with fewer objects than this number"),
        ("max_objects", "leave out pictures with more objects than this number"),
        ("min_relationships", "leave out pictures with fewer relationships than this number"),
        ("max_relationships", "leave out pictures with more relationships than this number"),
    ):
        option(
            f"--{name.replace('_', '-')}",
            type=int,
            default=getattr(VisualGenomeSelection, name),
            help=explanation,
        )
    option(
        "--predicates",
        type=str,
        default=VisualGenomeSelection.predicates,
        help="where predicates are rewritten (lower case, aliases): as-released, only in training "
        "pictures between objects used (the published counts depend on it), or everywhere",
    )
    option(
        "--vocabulary",
        type=str | None,
        metavar="FILE",
        help="JSON file with the names to use (the release's vocab.json is one); null: count them",
    )
    option(
        "--splits",
        type=str | None,
        metavar="FILE",
        help="JSON file with the lists train, val and test of numbers of pictures; null: the "
        "release's vg_splits.json if it is there, else at random",
    )
    option(
        "--split-seed",
        type=int | None,
        help="divide the pictures at random with this seed instead of a list",
    )


def heights_and_widths(image_sizes: list[str]) -> list[tuple[int, int]]:
    from sg2im_pyg.errors import Sg2ImError
    from sg2im_pyg.sources.preparation import MAX_SIDE

    sizes = []
    for text in image_sizes:
        match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip().lower())
        sides = [int(side) for side in match.groups() if side] if match else [0]
        if not all(1 <= side <= MAX_SIDE for side in sides):
            raise Sg2ImError(
                "--image-size takes sizes in pixels such as 64 (a square) or 48x64 (height and "
                f"width), up to {MAX_SIDE}, got {text!r}."
            )
        assert match is not None
        sizes.append((int(match[1]), int(match[2] or match[1])))
    return sizes


def report(source: str, root: Path, paths: Paths) -> None:
    """Says what there is now, and what to do next."""
    from sg2im_pyg.data import SceneReader
    from sg2im_pyg.sources.summary import write_summary

    for size, files in paths.items():
        text, preview = write_summary(files)
        if size == next(iter(paths)):
            print(text)
        for path in files.values():
            print(f"written: {path}")
        print(f"preview: {preview}")
    size, files = next(iter(paths.items()))
    store = SceneReader(files["train"])
    command = f'python "{REPOSITORY}/train/run.py"'
    if source == "coco":
        command += " --config coco64"
    if source == "visual_genome":
        command += " --config " + ("vg128" if size == (128, 128) else "vg64")
    if root != REPOSITORY / "datasets" / source:
        command += f' --data.root "{root}"'
    if size != (64, 64) and not (source == "visual_genome" and size == (128, 128)):
        command += f' --model.image_size "{list(size)}"'
    if source != "visual_genome":
        if store.mask_size != 16:
            command += f" --model.mask_size {store.mask_size}"
        if store.mask_size == 0:
            command += " --losses.mask 0"
    print(f"Next, to train on it: {command}")


if __name__ == "__main__":
    run_program(main)
