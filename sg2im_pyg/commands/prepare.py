"""Prepares data for training: one HDF5 file a split, of painted landscapes, COCO or Visual Genome.

The sources are those of :data:`~sg2im_pyg.sources.registry.SOURCES`, and their options the fields
of each one's own dataclass.
"""

import json
import sys
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from sg2im_pyg.sources.options import PreparationOptions
from sg2im_pyg.sources.registry import DEFAULT_CONFIGURATION, SOURCES, Source

if TYPE_CHECKING:
    from sg2im_pyg.sources.pictures import Paths

_REPOSITORY = Path(__file__).resolve().parents[2]
_YES_OR_NO = ("true", "false", "yes", "no")


def prepare(arguments: list[str] | None = None) -> None:
    """Writes the stores of a source, a text and pictures that show what they hold, and says how to
    train on them.

    Args:
        arguments: Name of the source, and its options as on the command line, whose words they
            are by default. Mistakes in them end the program with exit status 2.

    Raises:
        Sg2ImError: If something is missing or wrong.
    """
    source, options = parse_options(sys.argv[1:] if arguments is None else arguments)
    paths = options.prepare()
    if paths is None:
        program = _REPOSITORY / "datasets" / "prepare.py"
        print(f'Next, to convert it: python "{program}" {source.name} --root "{options.root}"')
    else:
        _report(source, options, paths)


def parse_options(arguments: list[str]) -> tuple[Source, PreparationOptions]:
    """Reads a command line."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(description="Prepare data for training: one HDF5 file a split.")
    sources = parser.add_subcommands(dest="subcommand", required=True, metavar="SOURCE")
    asked = SOURCES.get(arguments[0]) if arguments else None
    kind: type[Any] = PreparationOptions
    for source in SOURCES.values():
        of_source = ArgumentParser(description=source.title)
        if source is asked:
            kind = source.load_options()
            of_source.description = " ".join(str(kind.__doc__).split())
            of_source.add_class_arguments(kind, as_group=False)
        sources.add_subcommand(source.name, of_source, help=source.title)
    parsed = parser.parse_args(_words(arguments, get_type_hints(kind)))
    options = kind(**vars(parsed[parsed.subcommand]))
    root = Path(options.root or _default_root(parsed.subcommand))
    return SOURCES[parsed.subcommand], replace(options, root=str(root.resolve()))


def _words(arguments: list[str], hints: dict[str, Any]) -> list[str]:
    """The words of a command line as the parser takes them: underscores in names, a list in one
    word, and an option that says yes or no with a value."""
    rest, words = list(arguments), []
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            words.append(word)
            continue
        name = "--" + name[2:].replace("-", "_")
        hint = hints.get(name[2:])
        following = [value] if equals else list(takewhile(lambda w: not w.startswith("-"), rest))
        if hint is bool and not (following and following[0].lower() in _YES_OR_NO):
            following, equals, value = [], "=", value or "true"
        elif _is_list(hint) and following and following != ["null"]:
            rest = rest[0 if equals else len(following) :]
            equals, value = "=", json.dumps(following)
        words.append(name + equals + value)
    return words


def _is_list(hint: Any) -> bool:
    return any(get_origin(kind) is list for kind in (hint, *get_args(hint)))


def _default_root(source: str) -> Path:
    return _REPOSITORY / "datasets" / source


def _report(source: Source, options: PreparationOptions, paths: "Paths") -> None:
    """Says what there is now, and what to do next."""
    from sg2im_pyg.sources.summary import write_summary

    for size, files in paths.items():
        text, preview = write_summary(files)
        if size == next(iter(paths)):
            print(text)
        for path in files.values():
            print(f"written: {path}")
        print(f"preview: {preview}")
    size = next(iter(paths))
    command = f'python "{_REPOSITORY}/train/run.py"'
    configurations = source.configurations or {(64, 64): DEFAULT_CONFIGURATION}
    configuration = configurations.get(size, next(iter(configurations.values())))
    if configuration != DEFAULT_CONFIGURATION:
        command += f" --config {configuration}"
    if not source.configurations:
        command += f" --data.name {source.name}"
    if Path(str(options.root)) != _default_root(source.name):
        command += f' --data.root "{options.root}"'
    if size not in configurations:
        command += f' --model.image_size "{list(size)}"'
    mask_size = getattr(options, "mask_size", 16)
    if mask_size != 16:
        command += f" --model.mask_size {mask_size}"
    if mask_size == 0:
        command += " --losses.mask 0"
    print(f"Next, to train on it: {command}")
