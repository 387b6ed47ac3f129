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

import argparse
import json
import shlex
import sys
from dataclasses import fields
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from jsonargparse import (  # noqa: E402
    ArgumentParser,
    DefaultHelpFormatter,
    Namespace,
    set_parsing_settings,
)

from sg2im_pyg.system.files import make_output  # noqa: E402
from sg2im_pyg.system.program import run_program  # noqa: E402


class HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, which are commands to type."""


def main() -> None:
    options = parse_options()
    from sg2im_pyg.evaluation.config import EvaluationConfig
    from sg2im_pyg.evaluation.curves import write_curves
    from sg2im_pyg.evaluation.evaluate import evaluate
    from sg2im_pyg.evaluation.report import write_report
    from sg2im_pyg.evaluation.table import clean, format_categories, format_table
    from sg2im_pyg.system.files import replace_when_whole

    config = EvaluationConfig(
        **{f.name: getattr(options, f.name) for f in fields(EvaluationConfig)}
    )
    output = choose_output(options.output, config)
    command = shlex.join(["python", "eval/run.py", *sys.argv[1:]])
    evaluation = evaluate(config, output / "images" if config.save_images else None, command)
    result = evaluation.result

    # Shown before they are written: on a full disk they are not lost.
    print(format_table(result))
    for system in result["systems"]:
        if system["categories"]:
            print(f"\n{format_categories(system)}")
        for note in [*system["notes"], *(system["pictures"] or {}).get("notes", [])]:
            print(f"Note on {clean(system['name'])}: {clean(note)}")
    sys.stdout.flush()

    output.mkdir(parents=True, exist_ok=True)
    with replace_when_whole(output / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2, allow_nan=False), encoding="utf-8")
    write_report(output / "report.html", result, evaluation.examples)
    write_curves(output / "tensorboard", result, evaluation.examples)

    print(f"\nfigures      {output / 'evaluation.json'}")
    print(f"report       {output / 'report.html'}")
    print(f"curves       tensorboard --logdir {output}")
    if config.save_images:
        print(f"pictures     {output / 'images'}")


def parse_options() -> Namespace:
    """Reads the command line; mistakes in it end the program with exit status 2."""
    from sg2im_pyg.evaluation.config import EvaluationConfig

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="run.py", description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        type=str,
        default=[],
        metavar="FILE",
        help="checkpoints of train/run.py or of the 2018 release, or names of released models such "
        "as coco64; each is a row of the table",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        type=str,
        default=[],
        metavar="DIR",
        help="folders of pictures (PNG, JPEG, ...) that any other system made for the same split; "
        "each is a row of the table",
    )
    parser.add_argument(
        "--names",
        nargs="+",
        type=str,
        default=[],
        metavar="NAME",
        help="names of the rows, checkpoints first; by default they follow from the paths",
    )
    parser.add_class_arguments(EvaluationConfig, skip={"checkpoint", "images", "names"})
    parser.add_argument(
        "--output",
        type=str | None,
        metavar="DIR",
        help="folder to write to; null: evaluation/<split> in the run of the first checkpoint, or "
        "runs/evaluation/<name>-<split> in the repository",
    )
    return parser.parse_args()


def choose_output(given: str | None, config) -> Path:
    """The folder to write to, checked before the work begins."""
    if given is not None:
        output = Path(given).absolute()
    else:
        first = Path([*config.checkpoint, *config.images][0]).absolute()
        if first.name == "..":
            first = first.resolve()
        split = Path(config.data).stem
        if config.checkpoint and first.parent.name == "checkpoints":
            output = first.parents[1] / "evaluation" / split
        else:
            output = REPOSITORY / "runs" / "evaluation" / f"{first.stem}-{split}"
    make_output(output)
    return output


if __name__ == "__main__":
    run_program(main)
