"""The command line of a training: from options, YAML files and resumed runs to a configuration."""

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.published import checkpoint_path
from sg2im_pyg.system.command_line import CommandLine
from sg2im_pyg.system.files import read_text
from sg2im_pyg.system.options import option, shown
from sg2im_pyg.system.places import find_supplied
from sg2im_pyg.system.plain_yaml import PlainYamlError, load_yaml
from sg2im_pyg.system.program import UsageError, program_name
from sg2im_pyg.training.config import TrainingConfig, options_to_yaml
from sg2im_pyg.training.run_folder import MOST_YAML_BYTES, NEWEST, find_run
from sg2im_pyg.training.stores import stored_source

CONFIGURATIONS = Path(__file__).with_name("configs")
"""Folder of the configurations that come with the library."""

_EITHER = "--init starts a new training and --resume goes on with one: give one of them."


@dataclass
class RunOptions:
    """What a training starts from, and where its folder is."""

    config: list[str] = option(list, metavar="FILE", adds_up=True)
    """YAML file with options, or name of one that comes with the library; may be given several
    times, later ones win, and options on the command line win over all. Default: landscapes. The
    defaults below are the published settings, for what no file says."""
    resume: str | None = option(None, metavar="RUN", bare=NEWEST)
    """Go on with an interrupted run: its folder, one of its checkpoints, or nothing for the newest
    run. Its options are kept; those given here win over them."""
    run_dir: str | None = option(None, metavar="DIR")
    """Folder of the run. Default: runs/<configuration>-<date>-<time>"""
    print_config: bool = False
    """Print all options as YAML, and end."""


@dataclass
class TrainingCommand:
    """What a command line asks for."""

    config: TrainingConfig
    run_dir: Path
    checkpoint: Path | None
    """File to go on from; absent for a new run, and for one that was cut off before its first."""
    folder: Literal["new", "numbered", "existing"]
    """How the folder is taken, see :func:`~sg2im_pyg.training.trainer.train`."""


def parse_command(
    arguments: list[str] | None, base: Path, description: str | None
) -> TrainingCommand:
    """Reads the command line of a training.

    Later ones win over earlier ones: the dataclasses' defaults, the YAML files in their order,
    single options. Without ``--config`` the configuration :obj:`landscapes` is used; a resumed run
    starts from its own options instead.

    Args:
        arguments: The words after the program's name; by default those that Python was given.
        base: Folder below which data and runs lie by default.
        description: First lines of the help text.

    Raises:
        Sg2ImError: If a file or a run is missing, or options are wrong.
        SystemExit: After ``--help`` and ``--print_config``.
    """
    program = program_name("train")
    line = CommandLine(
        RunOptions,
        TrainingConfig,
        program=program,
        description=description,
        usage=f"{program} [-h] [--config FILE] [--resume [RUN]] [--run_dir DIR] "
        "[--OPTION VALUE ...]",
    )
    try:
        return _command(line, line.read(arguments), base)
    except UsageError as error:  # a wrong option is one, wherever it stands: in a file or not
        raise Sg2ImError(str(error)) from error


def _command(line: CommandLine, given: dict[str, Any], base: Path) -> TrainingCommand:
    resume, run_dir, checkpoint = given.get("resume"), None, None
    if resume is not None and "init" in given:
        raise Sg2ImError(_EITHER)
    files = [find_config(name, base) for name in given.get("config") or []]
    contents: list[tuple[str, dict[str, Any]]] = []
    if resume is not None:
        run_dir, checkpoint, stored = find_run(resume, base / "runs")
        place = (run_dir or Path()) / "config.yaml" if checkpoint is None else checkpoint
        contents.append((str(place), _parse_yaml(stored, place)))
    elif not files:
        files = [CONFIGURATIONS / "landscapes.yaml"]
    contents += [(str(place), options) for path in files for place, options in with_bases(path)]
    if resume is None:
        given = _with_root(given, contents)
    run, config = line.fill(given, contents)
    if run.print_config:
        print(options_to_yaml(asdict(config)), end="")
        raise SystemExit(0)
    if resume is not None and config.init != contents[0][1].get("init"):
        raise Sg2ImError(_EITHER)

    if "data.root" in given and "data.name" not in given and resume is None:
        config.data.name = stored_source(Path(str(config.data.root)), config.data.name)
    root = config.data.root or base / "datasets" / config.data.name
    config.data.root = str(Path(root).absolute())
    if config.init is not None:
        config.init = str(checkpoint_path(config.init, "--init"))
    kind: Literal["new", "numbered", "existing"] = "existing"  # that of the resumed run
    if run.run_dir is not None:
        chosen = Path(run.run_dir).absolute()
        if run_dir is None or chosen != run_dir.absolute():
            kind = "new"
        run_dir = chosen
    elif run_dir is None:
        kind = "numbered"
        name = "-".join(path.stem for path in files) if resume is None else "resumed"
        run_dir = base / "runs" / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    return TrainingCommand(config, run_dir.absolute(), checkpoint, kind)


def _with_root(given: dict[str, Any], contents: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """What was given, with the folder of data of a file that does not name their source: as on a
    command line, what lies there decides."""
    for _, content in contents:
        data = content.get("data")
        if isinstance(data, dict) and isinstance(data.get("root"), str) and "name" not in data:
            given = {"data.root": data["root"], **given}
    return given


def find_config(name: str, base: Path) -> Path:
    """A YAML file: as it is named, below the base folder, or one that comes with the library.

    Raises:
        Sg2ImError: If it is in none of these places.
    """
    own = base / "train" / "configs" / name  # of a repository
    places = [Path(name), base / name, own, own.with_name(f"{own.name}.yaml")]
    path = find_supplied(places, CONFIGURATIONS, base / "train" / "configs")
    if path is None:
        known = ", ".join(sorted(path.stem for path in CONFIGURATIONS.glob("*.yaml")))
        raise Sg2ImError(
            f"There is no configuration {name}: give the path of a YAML file, or one of {known}."
        )
    return path


def with_bases(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """A YAML file's options, and before them those of the configurations that it builds on: the one
    of the library that its ``base`` names, and what that one builds on.

    Raises:
        Sg2ImError: If a file is wrong, there is no such configuration, or it builds on itself.
    """
    found: list[tuple[Path, dict[str, Any]]] = []
    known = {path.stem: path for path in CONFIGURATIONS.glob("*.yaml")}
    place: Path | None = path
    while place is not None:
        if place in [earlier for earlier, _ in found]:
            raise Sg2ImError(f"{path} builds on itself: take 'base' out of {found[-1][0]}.")
        options = read_options(place)
        base = options.pop("base", None)
        if base is not None and base not in list(known):  # it may be anything
            raise Sg2ImError(
                f"{place}: base must be one of {', '.join(sorted(known))}, got {shown(base)}."
            )
        found.append((place, options))
        place = None if base is None else known[base]
    return found[::-1]


def read_options(path: Path) -> dict[str, Any]:
    """The options in a YAML file; their names and values are not yet checked.

    Raises:
        Sg2ImError: With the place of the mistake.
    """
    return _parse_yaml(read_text(path, MOST_YAML_BYTES, "file of options", "YAML"), path)


def _parse_yaml(text: str, path: Path) -> dict[str, Any]:
    try:
        options = load_yaml(text)
    except PlainYamlError as error:
        place = ", " if str(error).startswith("line") else " can not be read, "
        raise Sg2ImError(f"{path}{place}{error}: correct it there.") from error
    if not isinstance(options, dict) or not options:
        raise Sg2ImError(
            f"{path} must hold options in YAML, such as 'steps: 1000', got "
            f"{'nothing' if options is None else type(options).__name__}."
        )
    for field in fields(RunOptions):
        if field.name in options:
            raise Sg2ImError(f"{path} holds {field.name!r}, which is for the command line alone.")
    return options
