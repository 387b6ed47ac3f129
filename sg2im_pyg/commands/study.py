"""Studies with people: which of two pictures fits a caption, and what can be seen in a picture.

    python eval/study.py make --checkpoint A.pt B.pt --data datasets/landscapes/64x64/test.h5
    python eval/study.py serve runs/study
    python eval/study.py score runs/study

These are the studies of the paper's Section 4.6, with a third about relations. 'make' draws the
questions and writes a folder, 'serve' asks them on a page, 'export' writes that page for a platform
that hosts it, and 'score' counts the answers.
"""

import shlex
import sys
from importlib import import_module
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.study.options import MakeOptions, ScoreOptions
from sg2im_pyg.system import command_line
from sg2im_pyg.system.files import check_output
from sg2im_pyg.system.memory import keep_freed_memory
from sg2im_pyg.system.places import base_folder
from sg2im_pyg.system.program import COMMANDS, as_started, command_to_type, program_name

STEPS = {
    "make": ("draw questions about pictures of systems", "sg2im_pyg.study.options:MakeOptions"),
    "serve": ("ask them on a page", "sg2im_pyg.study.serve_options:ServeOptions"),
    "export": ("write that page as one file", "sg2im_pyg.study.serve_options:ExportOptions"),
    "score": ("count the answers", "sg2im_pyg.study.options:ScoreOptions"),
}
"""What a study consists of: what each step does, and the dataclass of its options."""


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Takes a step of a study as a command line says; see
    :data:`~sg2im_pyg.system.program.COMMANDS`."""
    words = sys.argv[1:] if arguments is None else arguments
    program, base = program_name("study"), base or base_folder()
    purposes = {name: purpose for name, (purpose, _) in STEPS.items()}
    step, others = command_line.choose(words, purposes, "STEP", program, str(__doc__))
    module, _, name = STEPS[step][1].partition(":")
    kind = getattr(import_module(module), name)
    text = " ".join(str(kind.__doc__).split())
    options = command_line.parse_options(kind, others, f"{program} {step}", text)
    command = as_started(f"python {COMMANDS['study'].program}") + f" {shlex.join(words)}"
    if step == "make":
        make(options, base, command)
    elif step == "score":
        score(options, command)
    else:
        options.run(base)


def make(options: MakeOptions, base: Path, command: str) -> None:
    """Makes a study, and says what was made."""
    output = Path(options.output or base / "runs" / "study").absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise Sg2ImError(
            f"There is something in {output} already: give another --output, or delete it."
        )
    check_output(output)

    from sg2im_pyg.study.make import make_study

    keep_freed_memory()
    for line in make_study(options, output, command):
        print(line)
    typed = command_to_type("study", base)
    print(f'Next, to ask people: {typed} serve "{output}"')


def score(options: ScoreOptions, command: str) -> None:
    """Writes the figures of a study, and prints them."""
    folder = Path(options.study).absolute()
    output = Path(options.output or folder / "scores").absolute()
    check_output(output)

    from sg2im_pyg.study.score import score_folder

    result = score_folder(folder, options, command)

    from sg2im_pyg.study.score_tables import format_markdown, write_scores

    print(format_markdown(result))
    for path in write_scores(output, result):
        print(path)
