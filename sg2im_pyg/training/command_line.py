"""The command line of ``train/run.py``: from options, YAML files and resumed runs to a
configuration."""

import argparse
import tempfile
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Literal

import yaml
from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.published import checkpoint_path
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.run_folder import NEWEST, find_run

_MOST_YAML_BYTES = 2**20
_EITHER = "--init starts a new training and --resume goes on with one: give one of them."


@dataclass
class TrainingCommand:
    """What a command line asks for."""

    config: TrainingConfig
    run_dir: Path
    checkpoint: Path | None
    """File to go on from; absent for a new run, and for one that was cut off before its first."""
    folder: Literal["new", "numbered", "existing"]
    """How the folder is taken, see :func:`~sg2im_pyg.training.trainer.train`."""


def parse_command(arguments: list[str], repository: Path, description: str) -> TrainingCommand:
    """Reads the arguments of ``train/run.py``.

    Later ones win over earlier ones: the dataclasses' defaults, the YAML files in their order,
    single options. Without ``--config`` the file ``train/configs/landscapes.yaml`` is used; a
    resumed run starts from its own options instead.

    Args:
        arguments: The arguments, without the program's name.
        repository: Folder of the repository; default data and runs lie below it.
        description: First lines of the help text.

    Raises:
        Sg2ImError: If a file or a run is missing, or options are wrong.
    """
    parser = build_parser(description)
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    own.add_argument("--config", action="append", default=[])
    own.add_argument("--resume", nargs="?", const=NEWEST)
    own.add_argument("--run_dir")
    if {"-h", "--help"} & set(arguments):
        parser.parse_args(["--help"])
    try:
        files, rest = own.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise Sg2ImError(f"{error}: see --help for all options.") from error
    if files.resume is not None and any(word.partition("=")[0] == "--init" for word in rest):
        raise Sg2ImError(_EITHER)

    configs = [find_config(name, repository) for name in files.config]
    checkpoint = run_dir = None
    with tempfile.TemporaryDirectory() as folder:
        if files.resume is not None:
            run_dir, checkpoint, stored = find_run(files.resume, repository / "runs")
            kept = Path(folder) / "resumed.yaml"
            kept.write_text(stored, encoding="utf-8")
            chosen = [kept, *configs]
        else:
            chosen = configs or [repository / "train" / "configs" / "landscapes.yaml"]
        config = _parse(parser, chosen, rest)
        if files.resume is not None and config.init != _stored_init(stored):
            raise Sg2ImError(_EITHER)

    root = config.data.root or repository / "datasets" / config.data.name
    config.data.root = str(Path(root).absolute())
    if config.init is not None:
        config.init = str(checkpoint_path(config.init, "--init"))
    kind: Literal["new", "numbered", "existing"] = "existing"  # that of the resumed run
    if files.run_dir is not None:
        given = Path(files.run_dir).absolute()
        if run_dir is None or given != run_dir.absolute():
            kind = "new"
        run_dir = given
    elif run_dir is None:
        kind = "numbered"
        name = "-".join(path.stem for path in chosen) if files.resume is None else "resumed"
        run_dir = repository / "runs" / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    return TrainingCommand(config, run_dir.absolute(), checkpoint, kind)


def build_parser(description: str) -> ArgumentParser:
    """All options; their texts come from the dataclasses."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="run.py",
        usage="run.py [-h] [--config FILE] [--resume [RUN]] [--run_dir DIR] [--OPTION VALUE ...]",
        description=description,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
    )
    parser.add_argument(
        "--config",
        action="config",
        metavar="FILE",
        help="YAML file with options; may be given several times, later ones win, and options on "
        "the command line win over all. Default: train/configs/landscapes.yaml",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        metavar="RUN",
        help="Go on with an interrupted run: its folder, one of its checkpoints, or nothing for "
        "the newest run. Its options are kept; those given here win over them.",
    )
    parser.add_argument(
        "--run_dir",
        metavar="DIR",
        help="Folder of the run. Default: runs/<configuration>-<date>-<time> in the repository",
    )
    parser.add_class_arguments(TrainingConfig)
    return parser


def find_config(name: str, repository: Path) -> Path:
    """A YAML file: as it is named, below the repository, or among its configurations.

    Raises:
        Sg2ImError: If it is in none of these places.
    """
    folder = repository / "train" / "configs"
    for path in (Path(name), repository / name, folder / name, folder / f"{name}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.name for path in folder.glob("*.yaml")))
    raise Sg2ImError(
        f"There is no configuration {name}: give the path of a YAML file, or one of those in "
        f"{folder}: {known}."
    )


def _parse(parser: ArgumentParser, files: list[Path], rest: list[str]) -> TrainingConfig:
    arguments: list[str] = []
    for path in files:
        check_yaml(path)
        arguments += ["--config", str(path)]
        try:
            parser.parse_args(["--config", str(path)])
        except ArgumentError as error:
            raise Sg2ImError(f"{path}: {_one_line(error)}: correct it there.") from error
    try:
        options = parser.instantiate(parser.parse_args([*arguments, *rest]))
    except ArgumentError as error:
        raise Sg2ImError(f"{_one_line(error)}: see --help for all options.") from error
    return TrainingConfig(**{f.name: getattr(options, f.name) for f in fields(TrainingConfig)})


def check_yaml(path: Path) -> None:
    """Checks that a file holds options in YAML, without regard to their names and values.

    Raises:
        Sg2ImError: With the place of the mistake.
    """
    if path.stat().st_size > _MOST_YAML_BYTES:
        raise Sg2ImError(f"{path} is no file of options, it has {path.stat().st_size:,} bytes.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise Sg2ImError(f"{path} has an alias (*name): write the options out.")
        options = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise Sg2ImError(
            f"{path} is no UTF-8 text (byte {error.start}): save it as YAML in UTF-8."
        ) from error
    except Sg2ImError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise Sg2ImError(f"{path}{place}: this is no YAML ({problem}): correct it there.") from (
            error
        )
    if not isinstance(options, dict) or not options:
        raise Sg2ImError(
            f"{path} must hold options in YAML, such as 'steps: 1000', got "
            f"{'nothing' if options is None else type(options).__name__}."
        )
    for name in ("config", "resume", "run_dir"):
        if name in options:
            raise Sg2ImError(f"{path} holds {name!r}, which is for the command line alone.")
    empty = [name for name, value in options.items() if value is None and name != "init"]
    if empty:
        raise Sg2ImError(f"{path} names {empty[0]!r} without a value: add one, or leave it out.")


def _stored_init(options: str) -> str | None:
    """What a resumed run was started from; :func:`check_yaml` has accepted its options."""
    return yaml.safe_load(options).get("init")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, which are commands to type."""
