"""Trains, or takes, each row of the paper's Tables 1 and 2, and prints both tables.

    python eval/ablation.py                                   landscapes, 45 minutes on two cores
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

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.ablation import Training, plan_ablation
from sg2im_pyg.evaluation.config import AblationOptions
from sg2im_pyg.system.command_line import CommandLine
from sg2im_pyg.system.files import check_output, write_json
from sg2im_pyg.system.places import base_folder
from sg2im_pyg.system.program import COMMANDS, INTERRUPTED, as_started, program_name


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Makes the tables as a command line says; see :data:`~sg2im_pyg.system.program.COMMANDS`."""
    words = sys.argv[1:] if arguments is None else arguments
    program = program_name("ablation")
    line = CommandLine(
        AblationOptions,
        program=program,
        description=__doc__,
        usage=f"{program} [-h] [OPTIONS] [OPTIONS OF A TRAINING]",
    )
    own, rest = line.split(words)
    [options] = line.parse(own)

    # ---- What is to be done: whatever is wrong is said before anything is trained
    ablation = plan_ablation(options, rest, base or base_folder())
    network = ablation.check_evaluations()
    check_output(ablation.output)
    print(f"output       {ablation.output}")
    for row in ablation.rows:
        print(f"{row.title:38} {ablation.describe(row)}")

    # ---- Training
    for training in ablation.trainings.values():
        if training.state != "done":
            print(f"\n== Training of {training.name}: {training.run_dir}", flush=True)
            run_training(training)

    # ---- Evaluation
    evaluated = [ablation.evaluate_row(row, network) for row in ablation.rows]
    result = {
        "format": "sg2im_pyg.ablation",
        "version": 1,
        "command": as_started(f"python {COMMANDS['ablation'].program}") + f" {shlex.join(words)}",
        "steps": None if ablation.taken else ablation.config.steps,
        **evaluated[-1][1],
        "rows": [entry for entry, _ in evaluated],
    }
    written = ablation.output / "ablation.json"
    write_json(written, result, indent=2)

    from sg2im_pyg.evaluation.ablation_tables import format_markdown, write_tables

    paths = write_tables(ablation.output, result)
    print(f"\n{format_markdown(result)}")
    for path in [*paths, written]:
        print(path)


def run_training(training: Training) -> None:
    """Trains in a process of its own, and waits for it."""
    where = "--resume" if training.state == "begun" else "--run_dir"
    command = [*training_command(), *training.arguments, where, str(training.run_dir)]
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


def training_command() -> list[str]:
    """Starts a training as this program was started: by a file of the repository, or by the
    library, which may be installed without one."""
    if program_name("ablation").endswith(".py"):
        program = Path(sys.argv[0]).resolve().parents[1] / COMMANDS["train"].program
        return [sys.executable, str(program)]
    return [sys.executable, "-m", "sg2im_pyg", "train"]
