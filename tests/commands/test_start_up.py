"""What is wrong on a command line, and the help, is said before libraries are imported that take
seconds."""

import subprocess
import sys

import pytest

SLOW = ("torch", "torch_geometric", "lightning_fabric", "kornia", "matplotlib", "h5py", "PIL")
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
        (["generate", "--help"], 0, "--checkpoint FILE"),
        (["generate", "--sed=3"], 2, "There is no option --sed: did you mean --seed?"),
        (["generate", "--seed", "a"], 2, "--seed must be a whole number, got 'a'."),
        (["generate", "none.json"], 1, "There is no graph file"),
        (["generate", "--checkpoint", "none.pt"], 1, "There is no checkpoint"),
        (["convert", "--help"], 0, "--overwrite"),
        (["convert", "none.pt", "out.pt"], 1, "There is no checkpoint"),
        (["convert", "none.pt"], 2, "output must be given"),
        (["fetch", "--help"], 0, "--mirror URL"),
        (["fetch", "coco46"], 1, "did you mean 'coco64'"),
    ],
)
def test_nothing_slow_is_imported(tmp_path, words, status, said):
    command = [sys.executable, "-c", CODE.format(slow=SLOW), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    *_, ended, imported = done.stdout.splitlines()
    assert (ended, imported) == (f"status {status}", "imported []")
    assert said in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert status == 0 or done.stderr.count("\n") == 1
