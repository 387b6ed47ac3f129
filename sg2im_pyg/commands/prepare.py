"""Prepares data for training: one HDF5 file a split, of painted landscapes, COCO, Visual Genome or
your own pictures.

    python datasets/prepare.py landscapes
    python datasets/prepare.py coco --root /data/coco                    (downloads about 22 GB)
    python datasets/prepare.py visual_genome --root /data/vg --image_size 64 128
    python datasets/prepare.py coco --source /data/coco --root /fast/coco     (no download)
    python datasets/prepare.py own --annotations labels --images photos --root /fast/mine

Each step is skipped where its result is there and whole: an interrupted command is run again.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sg2im_pyg.sources.options import PreparationOptions
from sg2im_pyg.sources.registry import DEFAULT_CONFIGURATION, SOURCES, Source
from sg2im_pyg.system import command_line
from sg2im_pyg.system.places import base_folder
from sg2im_pyg.system.program import command_to_type, program_name

if TYPE_CHECKING:
    from sg2im_pyg.sources.pictures import Paths


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Prepares as a command line says; see :data:`~sg2im_pyg.system.program.COMMANDS`.

    Written are the stores of a source, and a text and pictures that show what they hold; said is
    how to train on them.
    """
    base = base or base_folder()
    source, options = parse_options(arguments, base)
    paths = options.prepare()
    if paths is None:
        typed = command_to_type("prepare", base)
        print(f'Next, to convert it: {typed} {source.name} --root "{options.root}"')
    else:
        _report(source, options, paths, base)


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
