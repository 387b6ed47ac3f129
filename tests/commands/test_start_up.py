"""What is wrong on a command line, and the help, is said before libraries are imported that take
seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

SLOW = ("torch", "torch_geometric", "lightning_fabric", "kornia", "matplotlib", "torchmetrics")
SLOW += ("safetensors",)
CODE = """
import sys
from sg2im_pyg.commands import run_command
try:
    run_command(sys.argv[1], sys.argv[2:])
except SystemExit as end:
    print("status", end.code or 0)
print("imported", sorted(set({slow!r}) & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["train", "--help"], 0, "--optimizer.lr"),
        (["train", "--lr", "1"], 1, "There is no option --lr: did you mean --optimizer.lr?"),
        (["train", "--steps=many"], 1, "--steps must be a whole number"),
        (["train", "--optimizer.lr=-1"], 1, "optimizer.lr must be"),
        (["train", "--config", "none.yaml"], 1, "There is no configuration none.yaml"),
        (["train", "--resume", "none"], 1, "no run that can be resumed"),
        (["train", "--config=coco64", "--data.root=none"], 1, "There is no data file"),
        (["generate", "--help"], 0, "--checkpoint FILE"),
        (["generate", "--sed=3"], 2, "There is no option --sed: did you mean --seed?"),
        (["generate", "--seed", "a"], 2, "--seed must be a whole number, got 'a'."),
        (["generate", "none.json"], 1, "There is no graph file"),
        (["generate", "--checkpoint", "none.pt"], 1, "There is no checkpoint"),
        (["convert", "--help"], 0, "--overwrite"),
        (["convert", "none.pt", "out.pt"], 1, "There is no checkpoint"),
        (["convert", "none.pt"], 2, "output must be given"),
        (["prepare", "--help"], 0, "COCO 2017 with COCO-Stuff"),
        (["prepare"], 2, "SOURCE must be given: one of landscapes, coco"),
        (["prepare", "coko"], 2, "did you mean 'coco'?"),
        (["prepare", "coco", "--help"], 0, "--min_object_size"),
        (["prepare", "coco", "--min-object"], 2, "did you mean --min_objects?"),
        (["prepare", "coco", "--image_size=64x"], 1, "sizes in pixels"),
        (["evaluate", "--help"], 0, "--network"),
        (["evaluate", "--boxes=x"], 2, "--data must be given"),
        (["evaluate", "--data=a", "--boxes=x"], 2, "--boxes must be one of predicted, true"),
        (["ablation", "--help"], 0, "--rows"),
        (["ablation", "--lr=1"], 1, "did you mean --optimizer.lr?"),
        (["ablation", "--rows", "fll"], 1, "There is no row 'fll'"),
        (["study", "--help"], 0, "draw questions about pictures"),
        (["study", "make", "--help"], 0, "--questions_per_person"),
        (["study", "make", "--data=a", "--images", "b"], 1, "two or more systems"),
        (["study", "make", "--data=a", "--images", "b", "c", "--kinds=x"], 2, "one of caption, "),
        (["study", "mak"], 2, "There is no STEP 'mak': did you mean 'make'?"),
        (["study", "score", "--help"], 0, "--pass_checks"),
        (["study", "score", "none"], 1, "There is no study.json in"),
        (["fetch", "--help"], 0, "--mirror URL"),
        (["fetch", "coco46"], 1, "did you mean 'coco64'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_slow_is_imported(words, status, said):
    command = [sys.executable, "-c", CODE.format(slow=SLOW), *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    *_, ended, imported = done.stdout.splitlines()
    assert (ended, imported) == (f"status {status}", "imported []")
    assert said in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert status == 0 or done.stderr.count("\n") == 1
