"""The rows of the paper's Tables 1 and 2: what each trains, and what it is evaluated with.

What takes seconds to import is imported where it is used: mistakes are said before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sg2im_pyg.data.store import SceneReader
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import AblationOptions, EvaluationConfig
from sg2im_pyg.formats.published import checkpoint_path
from sg2im_pyg.system.command_line import is_option, name_of
from sg2im_pyg.system.files import read_json, sha256_of, write_json
from sg2im_pyg.training.command_line import parse_command
from sg2im_pyg.training.config import TrainingConfig, plain_options
from sg2im_pyg.training.stores import find_store

State = Literal["new", "begun", "done"]


@dataclass(frozen=True)
class Row:
    """A row of the tables.

    Args:
        slug: Name in paths and on the command line.
        title: Name in the tables.
        config: Configuration that is given after the data set's, if any.
        trained_as: The row whose training this one takes; its own where it is the same.
        layout: Boxes and masks that pictures are generated from.
        relationships: Whether the graphs have relationships.
    """

    slug: str
    title: str
    config: str | None = None
    trained_as: str = ""
    layout: Literal["predicted", "true"] = "predicted"
    relationships: bool = True

    @property
    def training(self) -> str:
        return self.trained_as or self.slug


ROWS = (
    Row("full", "full"),
    Row("no_gconv", "no graph convolution", "no_gconv"),
    Row("no_relationships", "no relationships", "no_relationships", relationships=False),
    Row("no_discriminators", "no discriminators", "no_discriminators"),
    Row("no_object_discriminator", "no object discriminator", "no_object_discriminator"),
    Row("no_image_discriminator", "no image discriminator", "no_image_discriminator"),
    Row("true_layout", "true layout", trained_as="full", layout="true"),
    Row(
        "true_layout_no_gconv",
        "true layout without graph convolution",
        "no_gconv",
        trained_as="no_gconv",
        layout="true",
    ),
)
"""Rows of Table 1 (paper, Section 4.3); those that predict layouts make Table 2. Training always
gives the layout the true boxes and masks, so a row with the true layout at test time needs no
training of its own."""

_PLACES = {"data.workers", "data.storage", "data.root", "log_every", "sample_every"}
_PLACES |= {"checkpoint_every", "init"}
"""Options that a row may have been trained with otherwise: they do not change its figures (or, for
``init``, name a file of another place)."""


@dataclass
class Training:
    """The training that one or more rows take their weights from."""

    name: str
    run_dir: Path
    arguments: list[str]
    """Of train/run.py."""
    steps: int
    state: State
    made: int
    """Steps made already."""


@dataclass
class Ablation:
    """What is to be done for some rows; made by :func:`plan_ablation`."""

    options: AblationOptions
    rows: list[Row]
    taken: dict[str, Path]
    """Checkpoints that are taken instead of trained, by their rows."""
    trainings: dict[str, Training]
    config: TrainingConfig
    """Options of a training without changes of a row's own."""
    store: Path
    """The split that rows are evaluated on."""
    output: Path

    def checkpoint_of(self, row: Row) -> Path:
        """The checkpoint that a row is evaluated with."""
        # The last step's, not the best one: each row has the same budget.
        last = Path("checkpoints") / "last.pt"
        return self.taken.get(row.slug) or self.trainings[row.training].run_dir / last

    def describe(self, row: Row) -> str:
        """What is to be done for a row, in words."""
        if row.slug in self.taken:
            return f"taken from {self.taken[row.slug]}"
        training = self.trainings[row.training]
        if row.training != row.slug:
            return f"evaluated with the training of {row.training}"
        if training.state == "done":
            return f"trained already ({training.made} steps)"
        if training.state == "begun":
            return f"to be resumed after step {training.made} of {training.steps}"
        return f"to be trained ({training.steps} steps)"

    def check_evaluations(self) -> str | None:
        """Says what is wrong with the evaluations, before the trainings.

        Returns:
            Checksum of the network that they are made with; none without one.
        """
        from sg2im_pyg.evaluation.evaluate import check_evaluation

        source = self.config.data.name
        return [check_evaluation(self.evaluation_config(row), source) for row in self.rows][-1]

    def evaluation_config(self, row: Row) -> EvaluationConfig:
        """The options of a row's evaluation."""
        # Visual Genome has no masks: with its true boxes the predicted ones are used, as in
        # training.
        without_masks = self.store.is_file() and not SceneReader(self.store).mask_size
        return EvaluationConfig(
            data=str(self.store),
            checkpoint=[str(self.checkpoint_of(row))],
            names=[row.title],
            boxes=row.layout,
            masks="predicted" if without_masks else row.layout,
            graphs_per_picture=self.options.graphs_per_picture,
            relationships="auto" if row.relationships else "none",
            limit=self.options.limit,
            stretch=self.options.stretch,
            network=self.options.network,
            device=self.options.device,
            examples=0,
        )

    def evaluate_row(self, row: Row, network: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Evaluates a row, or takes its figures from the last time where nothing changed.

        Args:
            row: The row.
            network: What :meth:`check_evaluations` gave.

        Returns:
            Its figures, and what all rows share.
        """
        from sg2im_pyg.evaluation.evaluate import evaluate

        checkpoint, config = self.checkpoint_of(row), self.evaluation_config(row)
        made_of = {
            "checkpoint": sha256_of(checkpoint),
            "store": [self.store.stat().st_size, self.store.stat().st_mtime_ns],
            "config": asdict(config),
            "network": network,
        }
        path = self.output / "evaluations" / f"{row.slug}.json"
        kept = read_json(path)
        if kept.get("made_of") != made_of:
            print(f"== Evaluation of {row.title}", flush=True)
            kept = {"made_of": made_of, "result": evaluate(config).result}
            write_json(path, kept, indent=2)
        true, system = kept["result"]["systems"]
        entry = {
            "row": row.slug,
            "title": row.title,
            "checkpoint": str(checkpoint),
            "layout_is": row.layout,
            "boxes": config.boxes,
            "masks": config.masks,
            "relationships": system["relationships"],
            "layout": system["layout"],
            "pictures": system["pictures"],
        }
        shared = {name: kept["result"][name] for name in ("date", "data", "settings", "network")}
        own = ("boxes", "masks", "relationships")  # a row's, not those of all
        shared["settings"] = {k: v for k, v in shared["settings"].items() if k not in own}
        shared["true_pictures"] = (true["pictures"] or {}).get("inception_score")
        return entry, shared


def plan_ablation(options: AblationOptions, rest: list[str], base: Path) -> Ablation:
    """What is to be done, as far as it is not done yet.

    Args:
        options: All options.
        rest: Options of train/run.py, for each row alike.
        base: Folder below which data and runs lie by default.

    Raises:
        Sg2ImError: If options are wrong, or files are missing.
    """
    rows = choose_rows(options.rows)
    configs = options.config or ["landscapes"]
    output = options.output or base / "runs" / f"ablation-{'-'.join(Path(c).stem for c in configs)}"
    output = Path(output).absolute()
    given = _parse_taken(options.take, [row.slug for row in rows])
    places = {row.slug: given.get(row.slug) or given.get(row.training) for row in rows}
    taken = {slug: path for slug, path in places.items() if path}
    for name in ("resume", "run_dir", "init"):
        if name in map(name_of, filter(is_option, rest)):
            raise Sg2ImError(
                f"--{name} can not be given here: each row has a folder and weights of its own."
            )

    def parsed(names: list[str]) -> tuple[list[str], TrainingConfig]:
        arguments = [part for name in names for part in ("--config", name)] + rest
        return arguments, parse_command(arguments, base, None).config

    _, plain = parsed(configs)
    trainings: dict[str, Training] = {}
    for row in rows:
        name = row.training
        if name in trainings or row.slug in taken:
            continue
        arguments, config = parsed([*configs, *([row.config] if row.config else [])])
        state, made = training_state_of(output / name, config)
        trainings[name] = Training(name, output / name, arguments, config.steps, state, made)
    store = find_store(plain, options.split, to_be_made=True)
    return Ablation(options, rows, taken, trainings, plain, store, output)


def choose_rows(slugs: Sequence[str] | None) -> list[Row]:
    """Rows by their names, in the tables' order; all without names.

    Raises:
        Sg2ImError: If there is no such row.
    """
    known = {row.slug: row for row in ROWS}
    for slug in slugs or ():
        if slug not in known:
            raise Sg2ImError(f"There is no row {slug!r}: the rows are {', '.join(known)}.")
    return [row for row in ROWS if not slugs or row.slug in slugs]


def _parse_taken(entries: list[str], rows: list[str]) -> dict[str, Path]:
    taken = {}
    for entry in entries:
        slug, equals, name = entry.partition("=")
        if not equals or not name:
            raise Sg2ImError(f"--take {entry!r} must be a row and a file, such as full=coco64.pt.")
        if slug not in rows:
            raise Sg2ImError(f"--take names the row {slug!r}; the rows are {', '.join(rows)}.")
        path = checkpoint_path(name, f"--take {slug}=")
        if not path.is_file():
            raise Sg2ImError(f"There is no checkpoint {path} for the row {slug}: check the path.")
        taken[slug] = path
    return taken


def training_state_of(run_dir: Path, config: TrainingConfig) -> tuple[State, int]:
    """How far a row's training in a folder is.

    Args:
        run_dir: Folder of the row's run.
        config: The options that the row is wanted with.

    Returns:
        The state and the steps made.

    Raises:
        Sg2ImError: If the folder holds a training with other options.
    """
    last = run_dir / "checkpoints" / "last.pt"
    if not last.is_file():
        return ("begun" if (run_dir / "config.yaml").is_file() else "new"), 0
    from sg2im_pyg.formats.native import entry_of, read_checkpoint

    training = read_checkpoint(last).get("training")
    options, step = entry_of(training, "config"), entry_of(training, "progress", "step") or 0
    if not isinstance(options, dict) or type(step) is not int:
        raise Sg2ImError(
            f"{last} does not say how it was trained, and how far: give another --output."
        )
    there, wanted = (flat(plain_options(given)) for given in (options, asdict(config)))
    for name in sorted(wanted.keys() & there.keys()):
        if there[name] != wanted[name] and name not in _PLACES and "hardware." not in name:
            raise Sg2ImError(
                f"{run_dir} holds a training with other options ({name}: {there[name]} there, "
                f"{wanted[name]} asked for): ask for the same, or give another --output."
            )
    return ("done" if step >= config.steps else "begun"), step


def flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested entries by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in entries.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
