"""Evaluates checkpoints, and pictures of other systems, on a prepared split.

    python eval/run.py --checkpoint FILE --data datasets/landscapes/64x64/test.h5
    python eval/run.py --checkpoint A.pt B.pt --data STORE         several rows of one table
    python eval/run.py --checkpoint FILE --images DIR --data STORE pictures of another system too
    python eval/run.py --checkpoint FILE --data STORE --boxes true --masks true

Reported are box recall at IoU 0.3 and 0.5, mean IoU, the spread of predicted boxes, relation
accuracy, mask IoU, Inception score, FID and KID, and tables by category. They are printed and
written as evaluation.json, as report.html (one file, to be sent) and as curves and pictures for
TensorBoard.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.system.command_line import CommandLine
from sg2im_pyg.system.files import check_output, write_json
from sg2im_pyg.system.memory import keep_freed_memory
from sg2im_pyg.system.options import option
from sg2im_pyg.system.places import base_folder
from sg2im_pyg.system.program import COMMANDS, as_started, program_name


@dataclass
class OutputOptions:
    """Where figures, report and curves are written to."""

    output: str | None = option(None, metavar="DIR")
    """Folder to write to; null: evaluation/<split> in the run of the first checkpoint, or
    runs/evaluation/<name>-<split>."""


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Evaluates as a command line says; see :data:`~sg2im_pyg.system.program.COMMANDS`."""
    words = sys.argv[1:] if arguments is None else arguments
    line = CommandLine(
        EvaluationConfig, OutputOptions, program=program_name("evaluate"), description=__doc__
    )
    config, given = line.parse(words)
    output = choose_output(given.output, config, base or base_folder())
    check_output(output)

    from sg2im_pyg.evaluation.curves import write_curves
    from sg2im_pyg.evaluation.evaluate import evaluate
    from sg2im_pyg.evaluation.report import write_report
    from sg2im_pyg.evaluation.table import format_categories, format_table, notes_of
    from sg2im_pyg.evaluation.text import clean

    keep_freed_memory()
    command = as_started(f"python {COMMANDS['evaluate'].program}") + f" {shlex.join(words)}"
    evaluation = evaluate(config, output / "images" if config.save_images else None, command)
    result = evaluation.result

    # Shown before they are written: on a full disk they are not lost.
    print(format_table(result))
    for system in result["systems"]:
        if system["categories"]:
            print(f"\n{format_categories(system)}")
        for note in notes_of(system):
            print(f"Note on {clean(system['name'])}: {clean(note)}")
    sys.stdout.flush()

    write_json(output / "evaluation.json", result, indent=2)
    write_report(output / "report.html", result, evaluation.examples)
    write_curves(output / "tensorboard", result, evaluation.examples)

    print(f"\nfigures      {output / 'evaluation.json'}")
    print(f"report       {output / 'report.html'}")
    print(f"curves       tensorboard --logdir {output}")
    if config.save_images:
        print(f"pictures     {output / 'images'}")


def choose_output(given: str | None, config: EvaluationConfig, base: Path) -> Path:
    """The folder to write to."""
    if given is not None:
        return Path(given).absolute()
    first = Path([*config.checkpoint, *config.images][0]).absolute()
    if first.name == "..":
        first = first.resolve()
    split = Path(config.data).stem
    if config.checkpoint and first.parent.name == "checkpoints":
        return first.parents[1] / "evaluation" / split
    return base / "runs" / "evaluation" / f"{first.stem}-{split}"
