"""eval/ablation.py, started as a person does, with trainings of two steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sg2im_pyg.data.landscapes import prepare_landscapes

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = [
    "--model.image_size=[16,16]",
    "--model.refinement_dims=[8,4]",
    "--model.mask_size=4",
    "--image_discriminator.layers=[[4,4,2],[4,8,2]]",
    "--object_discriminator.layers=[[4,4,2],[4,8,2]]",
    "--hardware.accelerator=cpu",
    "--batch_size=2",
    "--data.workers=0",
    "--data.name=coco",  # no drawing: the store is given
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    prepare_landscapes(root, (16, 16), 4, 6, 4, 5, workers=1, progress=False)
    return root


def run(*arguments, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "eval" / "ablation.py"), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


@pytest.mark.slow
def test_rows_are_trained_once_and_both_tables_are_written(root, tmp_path):
    options = [*TINY, f"--data.root={root}", "--output=out", "--limit=4"]
    rows = ["full", "true_layout", "no_relationships"]
    first = run("--rows", *rows, "--steps=2", *options, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("== Training of") == 2
    assert "evaluated with the training of full" in first.stdout
    output = tmp_path / "out"
    result = json.loads((output / "ablation.json").read_text(encoding="utf-8"))
    assert [row["row"] for row in result["rows"]] == ["full", "no_relationships", "true_layout"]
    full, without, true = result["rows"]
    assert full["checkpoint"] == true["checkpoint"] != without["checkpoint"]
    assert without["layout"]["relations"] == full["layout"]["relations"] > 0
    assert full["pictures"]["fid"] != true["pictures"]["fid"]
    assert full["layout"] == true["layout"]
    stored = yaml.safe_load((output / "no_relationships" / "config.yaml").read_text("utf-8"))
    assert stored["steps"] == 2 and stored["data"]["relationships"] is False
    table = (output / "tables.md").read_text(encoding="utf-8")
    assert table in first.stdout and "| true layout |" in table
    for name in ("tables.csv", "tables.png"):
        assert (output / name).stat().st_size > 100

    # What is done is taken; one more row is trained alone.
    written = (output / "full" / "checkpoints" / "last.pt").stat().st_mtime_ns
    second = run("--rows", *rows, "no_gconv", "--steps=2", *options, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("== Training of") == second.stdout.count("== Evaluation of") == 1
    assert (output / "full" / "checkpoints" / "last.pt").stat().st_mtime_ns == written
    assert "trained already (2 steps)" in second.stdout

    # Another budget needs another folder.
    third = run("--rows", *rows, "--steps=3", *options, cwd=tmp_path)
    assert third.returncode == 1 and third.stderr.count("\n") == 1
    assert "with other options (steps: 2 there, 3 asked for)" in third.stderr

    # A checkpoint is taken in place of a training.
    given = output / "full" / "checkpoints" / "best.pt"
    more = [f"--take=full={given}", "--rows", "full", "--output=taken"]
    fourth = run(*more, *[o for o in options if "--output" not in o], cwd=tmp_path)
    assert fourth.returncode == 0, fourth.stderr
    assert "== Training of" not in fourth.stdout and f"taken from {given}" in fourth.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rows", "fll"], "There is no row 'fll': the rows are full,"),
        (["--take", "full"], "must be a row and a file, such as full=coco64.pt"),
        (["--take", "x=a.pt"], "--take names the row 'x'"),
        (["--take", "full=none.pt"], "There is no checkpoint"),
        (["--resume"], "--resume can not be given here"),
        (["--run_dir=a"], "--run_dir can not be given here"),
        (["--stepz", "3"], "stepz"),
        (["--data.name=coco"], "There is no data file"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(tmp_path, arguments, sentence):
    result = run(*arguments, "--output=out", cwd=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert sentence in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
