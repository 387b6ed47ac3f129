"""Trains, or takes, each row of the paper's Tables 1 and 2, and prints both tables.

    python eval/ablation.py                                   landscapes, about an hour on two cores
    python eval/ablation.py --config coco64 --data.root DIR   a published configuration
    python eval/ablation.py --rows full no_gconv --steps 200  some rows, with a smaller budget
    python eval/ablation.py --config coco64 --take full=coco64 no_gconv=coco64_no_gconv

The rows are full, no_gconv, no_relationships, no_discriminators, no_object_discriminator,
no_image_discriminator, true_layout and true_layout_no_gconv; the last two are evaluations of full
and no_gconv with true boxes and masks. All options that are not listed below go to train/run.py,
for each row alike. Interrupted, the same command goes on where it stopped: rows that are done are
taken, one that was begun is resumed. Written are tables.md, tables.csv, tables.png and
ablation.json.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from sg2im_pyg.errors import Sg2ImError  # noqa: E402
from sg2im_pyg.system.program import INTERRUPTED, run_program  # noqa: E402


@dataclass
class Training:
    """The training that one or more rows take their weights from."""

    name: str
    run_dir: Path
    arguments: list[str]
    """Of train/run.py."""
    steps: int
    state: str
    made: int


def main() -> None:
    options, rest = parse_options()
    from sg2im_pyg.evaluation.ablation import choose_rows, format_markdown, write_tables
    from sg2im_pyg.system.files import replace_when_whole

    # ---- What is to be done: whatever is wrong is said before anything is trained
    rows = choose_rows(options.rows)
    configs = options.config or ["landscapes"]
    output = options.output or REPOSITORY / "runs" / f"ablation-{'-'.join(map(stem, configs))}"
    output = Path(output).absolute()
    taken = parse_taken(options.take, [row.slug for row in rows])
    trainings, config = plan_trainings(rows, taken, configs, rest, output)
    store = find_store(config, options.split)
    network = check_evaluations(rows, taken, trainings, store, config.data.name, options)
    make_folder(output)
    print(f"output       {output}")
    for row in rows:
        print(f"{row.title:38} {describe(row, taken, trainings)}")

    # ---- Training
    for training in trainings.values():
        if training.state != "done":
            print(f"\n== Training of {training.name}: {training.run_dir}", flush=True)
            run_training(training)

    # ---- Evaluation
    entries, shared = [], {}
    for row in rows:
        checkpoint = checkpoint_of(row, taken, trainings)
        entry, shared = evaluate_row(row, checkpoint, store, network, options, output)
        entries.append(entry)
    result = {
        "format": "sg2im_pyg.ablation",
        "version": 1,
        "command": shlex.join(["python", "eval/ablation.py", *sys.argv[1:]]),
        "steps": None if taken else config.steps,
        **shared,
        "rows": entries,
    }
    with replace_when_whole(output / "ablation.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2, allow_nan=False), encoding="utf-8")
    paths = write_tables(output, result)
    print(f"\n{format_markdown(result)}")
    for path in [*paths, output / "ablation.json"]:
        print(path)


def parse_options() -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line; what is not known here is for train/run.py."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="ablation.py [-h] [OPTIONS] [OPTIONS OF train/run.py]",
    )
    option = parser.add_argument
    option(
        "--config",
        action="append",
        metavar="FILE",
        help="configuration of the data set, as for train/run.py; default: landscapes",
    )
    option("--rows", nargs="+", metavar="ROW", help="rows to make; default: all")
    option(
        "--take",
        nargs="+",
        default=[],
        metavar="ROW=FILE",
        help="checkpoints of train/run.py or of the 2018 release, or names of released models, to "
        "be taken instead of trained",
    )
    option(
        "--output",
        metavar="DIR",
        help="folder of the trainings and tables; default: runs/ablation-<configuration>",
    )
    option("--split", choices=["test", "val"], default="test", help="split to evaluate on")
    option("--limit", type=int, metavar="N", help="evaluate on the first N pictures of it")
    option(
        "--graphs_per_picture",
        type=int,
        metavar="N",
        help="graphs drawn for each picture; default: 5 on COCO, as published, 1 elsewhere",
    )
    option("--network", default="auto", help="see eval/run.py; default: auto")
    option("--device", default="auto", help="device of the evaluations; default: auto")
    return parser.parse_known_args()


def stem(name: str) -> str:
    return Path(name).stem


def parse_taken(entries: list[str], rows: list[str]) -> dict[str, Path]:
    from sg2im_pyg.formats.published import checkpoint_path

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


def plan_trainings(
    rows: list, taken: dict[str, Path], configs: list[str], rest: list[str], output: Path
) -> tuple[dict[str, Training], Any]:
    """The trainings that rows need, and the options of a row without changes of its own."""
    from sg2im_pyg.evaluation.ablation import training_state_of
    from sg2im_pyg.training.command_line import parse_command

    for name in ("--resume", "--run_dir", "--init"):
        if any(argument == name or argument.startswith(f"{name}=") for argument in rest):
            raise Sg2ImError(
                f"{name} can not be given here: each row has a folder and weights of its own."
            )

    def parsed(names: list[str]) -> Any:
        arguments = [part for name in names for part in ("--config", name)] + rest
        return arguments, parse_command(arguments, REPOSITORY, description="").config

    _, plain = parsed(configs)
    trainings: dict[str, Training] = {}
    for row in rows:
        name = row.training
        if name in trainings or row.slug in taken or name in taken:
            continue
        arguments, config = parsed([*configs, *([row.config] if row.config else [])])
        run_dir = output / name
        state, made = training_state_of(run_dir, config)
        trainings[name] = Training(name, run_dir, arguments, config.steps, state, made)
    return trainings, plain


def find_store(config: Any, split: str) -> Path:
    height, width = config.model.image_size
    path = Path(config.data.root) / f"{height}x{width}" / f"{split}.h5"
    if not path.is_file() and config.data.name != "landscapes":  # those are drawn by train/run.py
        raise Sg2ImError(
            f"There is no data file {path}: run 'python datasets/prepare.py {config.data.name}' "
            "first, or say with --data.root where it lies."
        )
    return path


def checkpoint_of(row: Any, taken: dict[str, Path], trainings: dict[str, Training]) -> Path:
    given = taken.get(row.slug) or taken.get(row.training)
    # The last step's, not the best one: each row has the same budget.
    return given or trainings[row.training].run_dir / "checkpoints" / "last.pt"


def check_evaluations(
    rows: list,
    taken: dict[str, Path],
    trainings: dict[str, Training],
    store: Path,
    source: str,
    options: argparse.Namespace,
) -> str | None:
    """Says what is wrong with the evaluations; returns the checksum of their network."""
    from sg2im_pyg.evaluation.evaluate import check_evaluation

    network = None
    for row in rows:
        checkpoint = checkpoint_of(row, taken, trainings)
        network = check_evaluation(evaluation_config(row, checkpoint, store, options), source)
    return network


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise Sg2ImError(f"--output {path} is a file, or lies below one: give a folder.") from error


def describe(row: Any, taken: dict[str, Path], trainings: dict[str, Training]) -> str:
    given = taken.get(row.slug) or taken.get(row.training)
    if given:
        return f"taken from {given}"
    training = trainings[row.training]
    if row.training != row.slug:
        return f"evaluated with the training of {row.training}"
    if training.state == "done":
        return f"trained already ({training.made} steps)"
    if training.state == "begun":
        return f"to be resumed after step {training.made} of {training.steps}"
    return f"to be trained ({training.steps} steps)"


def run_training(training: Training) -> None:
    """Starts train/run.py in a process of its own, and waits for it."""
    where = "--resume" if training.state == "begun" else "--run_dir"
    arguments = [*training.arguments, where, str(training.run_dir)]
    command = [sys.executable, str(REPOSITORY / "train" / "run.py"), *arguments]
    began = time.monotonic()
    interrupted = False
    with subprocess.Popen(command) as process:
        # SIGTERM comes to this process alone: without this the training would go on unseen.
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:
                # It got the Ctrl-C too: it saves its state and ends. Only a signal that was sent
                # to this process alone has to be handed on, and who sent it can not be told.
                if interrupted:
                    process.terminate()
                interrupted = True
        signal.signal(signal.SIGTERM, before)
    if status in (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM):
        print("The same command goes on from here.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if status:
        raise Sg2ImError(
            f"The training of {training.name} ended with status {status} (see above): put that "
            "right and give the same command again."
        )
    print(f"Trained in {(time.monotonic() - began) / 60:.1f} minutes.", flush=True)


def evaluation_config(row: Any, checkpoint: Path, store: Path, options: argparse.Namespace) -> Any:
    """The options of a row's evaluation."""
    from sg2im_pyg.data import SceneDataset
    from sg2im_pyg.evaluation.config import EvaluationConfig

    # Visual Genome has no masks: with its true boxes the predicted ones are used, as in training.
    without_masks = store.is_file() and not SceneDataset(store).mask_size
    return EvaluationConfig(
        data=str(store),
        checkpoint=[str(checkpoint)],
        names=[row.title],
        boxes=row.layout,
        masks="predicted" if without_masks else row.layout,
        graphs_per_picture=options.graphs_per_picture,
        relationships="auto" if row.relationships else "none",
        limit=options.limit,
        network=options.network,
        device=options.device,
        examples=0,
    )


def evaluate_row(
    row: Any,
    checkpoint: Path,
    store: Path,
    network: str | None,
    options: argparse.Namespace,
    output: Path,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row's figures, and what all rows share; taken from the last time where nothing changed."""
    from sg2im_pyg.evaluation.evaluate import evaluate
    from sg2im_pyg.system.files import replace_when_whole, sha256_of

    config = evaluation_config(row, checkpoint, store, options)
    made_of = {
        "checkpoint": sha256_of(checkpoint),
        "store": [store.stat().st_size, store.stat().st_mtime_ns],
        "config": asdict(config),
        "network": network,
    }
    path = output / "evaluations" / f"{row.slug}.json"
    kept = read_json(path)
    if kept.get("made_of") != made_of:
        print(f"== Evaluation of {row.title}", flush=True)
        kept = {"made_of": made_of, "result": evaluate(config).result}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_when_whole(path) as temporary:
            temporary.write_text(json.dumps(kept, indent=2, allow_nan=False), encoding="utf-8")
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


def read_json(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


if __name__ == "__main__":
    run_program(main)
