"""Prepares data for training: one HDF5 file a split, of painted landscapes, COCO, Visual Genome or
your own pictures.

    python datasets/prepare.py landscapes
    python datasets/prepare.py coco --root /data/coco                    (downloads about 22 GB)
    python datasets/prepare.py visual_genome --root /data/vg --image_size 64 128
    python datasets/prepare.py coco --source /data/coco --root /fast/coco     (no download)
    python datasets/prepare.py own --annotations labels --images photos --root /fast/mine

    python datasets/prepare.py --verify DIR     (compares all that was prepared with its checksums)

Each step is skipped where its result is there and whole: an interrupted command is run again.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.options import PreparationOptions
from sg2im_pyg.sources.registry import DEFAULT_CONFIGURATION, SOURCES, Source
from sg2im_pyg.system import command_line
from sg2im_pyg.system.command_line import is_option, name_of
from sg2im_pyg.system.options import option
from sg2im_pyg.system.places import base_folder
from sg2im_pyg.system.program import command_to_type, program_name

if TYPE_CHECKING:
    from sg2im_pyg.sources.pictures import Paths


@dataclass
class VerifyOptions:
    """What of prepared data is looked at."""

    places: list[str] = option(list, positional=True, metavar="PLACE ...")
    """Folders of prepared data, single stores or names of sources; default: all sources in
    datasets/ of the repository."""
    verify: bool = False
    """Compare all that was prepared, pictures too, with the checksums that it was written with."""
    root: str | None = None
    """Folder of prepared data."""


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Prepares as a command line says; see :data:`~sg2im_pyg.system.program.COMMANDS`.

    Written are the stores of a source, and a text and pictures that show what they hold; said is
    how to train on them.
    """
    base = base or base_folder()
    words = sys.argv[1:] if arguments is None else arguments
    if any(name_of(word) == "verify" for word in words if is_option(word)):
        program, text = program_name("prepare"), "Looks at all bytes of prepared data."
        verify(command_line.parse_options(VerifyOptions, words, program, text), base)
        return
    source, options = parse_options(arguments, base)
    paths = options.prepare()
    if paths is None:
        typed = command_to_type("prepare", base)
        print(f'Next, to convert it: {typed} {source.name} --root "{options.root}"')
    else:
        _report(source, options, paths, base)


def verify(options: VerifyOptions, base: Path) -> None:
    """Compares prepared data with its checksums, all files before the first wrong one is told.

    Raises:
        Sg2ImError: If there is none, or some is not what was written.
    """
    from sg2im_pyg.data.store import verify_store

    places = [options.root] if options.root else options.places or list(SOURCES)
    roots = [base / "datasets" / place if place in SOURCES else Path(place) for place in places]
    stores = [
        path
        for root in roots
        for path in ([root] if root.is_file() else sorted(root.glob("*x*/*.h5")))
        if not path.name.startswith(".")
    ]
    if not stores:
        raise Sg2ImError(
            f"There is no prepared data in {', '.join(map(str, roots))}: give the folder that was "
            "written to by --root."
        )
    wrong = []
    for path in stores:
        try:
            left = verify_store(path)
        except Sg2ImError as error:
            wrong.append(str(error))
            print(f"damaged: {path}")
        else:
            print(f"whole: {path}" + (f" but for the pictures, {left}" if left else ""))
    if wrong:
        raise Sg2ImError(f"{len(wrong)} of {len(stores)} files are damaged. {wrong[0]}")


def parse_options(arguments: list[str] | None, base: Path) -> tuple[Source, PreparationOptions]:
    """Reads a command line: the name of a source of
    :data:`~sg2im_pyg.sources.registry.SOURCES`, and the fields of its own dataclass."""
    program = program_name("prepare")
    titles = {source.name: source.title for source in SOURCES.values()}
    name, words = command_line.choose(arguments, titles, "SOURCE", program, str(__doc__))
    kind = SOURCES[name].load_options()
    text = " ".join(str(kind.__doc__).split())
    options = command_line.parse_options(kind, words, f"{program} {name}", text)
    root = Path(options.root or base / "datasets" / name)
    return SOURCES[name], replace(options, root=str(root.resolve()))


def _report(source: Source, options: PreparationOptions, paths: "Paths", base: Path) -> None:
    """Says what there is now, and what to do next."""
    from sg2im_pyg.sources.summary import write_summary

    for size, files in paths.items():
        text, preview = write_summary(files)
        if size == next(iter(paths)):
            print(text)
        for path in files.values():
            print(f"written: {path}")
        print(f"preview: {preview}")
    given = _given(source, options, paths, base)
    print(f"Next, to train on it: {command_to_type('train', base)}{given}")


def _given(source: Source, options: PreparationOptions, paths: "Paths", base: Path) -> str:
    """Options of a training on what was prepared, as they are typed."""
    size, root = next(iter(paths)), Path(str(options.root))
    configurations = source.configurations or {(64, 64): DEFAULT_CONFIGURATION}
    configuration = configurations.get(size, next(iter(configurations.values())))
    mask_size = getattr(options, "mask_size", 16)
    needed = {
        "config": configuration if configuration != DEFAULT_CONFIGURATION else None,
        "data.root": f'"{root}"'
        if root != base / "datasets" / source.name or not source.configurations
        else None,
        "model.image_size": None if size in configurations else f'"{list(size)}"',
        "model.mask_size": mask_size if mask_size != 16 else None,
        "losses.mask": 0 if mask_size == 0 else None,
    }
    needed |= options.training_options(paths)
    return "".join(f" --{name} {value}" for name, value in needed.items() if value is not None)
