"""eval/ablation.py, started as a person does, with trainings of two steps."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sg2im_pyg import Sg2Im
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.store import SceneWriter
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary, prepare_landscapes

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


class Mean(torch.nn.Module):
    """A network whose features are a picture's mean colour, in some unit."""

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, images):
        return images.double().mean((2, 3)) / self.unit


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_evaluations_are_made_anew_with_another_network_and_without_masks_with_boxes(tmp_path):
    rng = np.random.default_rng(0)
    names = landscape_vocabulary()
    with SceneWriter(tmp_path / "16x16" / "test.h5", names, (16, 16), 0) as writer:
        for number in range(4):
            corners = np.sort(rng.random((3, 2, 2)), axis=1).reshape(3, 4).astype(np.float32)
            image = rng.integers(0, 256, (16, 16, 3), np.uint8)
            writer.add(Scene(number, image, rng.integers(1, 17, 3), corners))
    checkpoint = tmp_path / "a.pt"
    model = Sg2Im(names, image_size=(16, 16), refinement_dims=(8, 4), mask_size=4)
    save_checkpoint(checkpoint, model)
    network = tmp_path / "network.pt"
    found = []
    for unit in (1.0, 1.0, 2.0):
        if not found or unit != 1.0:
            torch.jit.script(Mean(unit)).save(network)
        result = run(
            *("--rows", "full", "true_layout", "--take", f"full={checkpoint}", "--output=out"),
            *(*TINY, f"--data.root={tmp_path}", f"--network={network}"),
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr
        written = json.loads((tmp_path / "out" / "ablation.json").read_text(encoding="utf-8"))
        found.append((result.stdout.count("== Evaluation of"), written))
    assert [count for count, _ in found] == [2, 0, 2]
    fid = [written["rows"][0]["pictures"]["fid"] for _, written in found]
    assert fid[0] == fid[1] == pytest.approx(4 * fid[2], rel=1e-3)
    rows = found[0][1]["rows"]
    assert [row["boxes"] for row in rows] == ["predicted", "true"]
    assert [row["masks"] for row in rows] == ["predicted", "predicted"]
    assert not {"boxes", "masks", "relationships"} & found[0][1]["settings"].keys()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to be caught")
def test_sigterm_ends_the_training_too_and_the_same_command_goes_on(root, tmp_path):
    command = [sys.executable, "-u", str(REPOSITORY / "eval" / "ablation.py"), "--rows", "full"]
    command += [*TINY, f"--data.root={root}", "--output=out", "--limit=4", "--steps=1000000"]
    command += ["--checkpoint_every=5"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        last = tmp_path / "out" / "full" / "checkpoints" / "last.pt"
        end = time.monotonic() + 120
        while not last.is_file() and time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)  # before its first step a training has nothing to save
        process.terminate()
        output = process.stdout.read()  # to its end: no training is left that could write to it
    assert process.returncode == 130 and "Traceback" not in output
    assert "everything is saved" in output and "The same command goes on from here." in output
    assert last.is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rows", "fll"], "There is no row 'fll': the rows are full,"),
        (["--take", "full"], "must be a row and a file, such as full=coco64.pt"),
        (["--take", "x=a.pt"], "--take names the row 'x'"),
        (["--take", "full=none.pt"], "There is no checkpoint"),
        (["--resume"], "--resume can not be given here"),
        (["--run_dir=a"], "--run_dir can not be given here"),
        (["--run-dir", "a"], "--run_dir can not be given here"),
        (["--stepz", "3"], "stepz"),
        (["--data.name=coco"], "There is no data file"),
        (["--limit=0"], "limit must be a whole number"),
        (["--graphs_per_picture=0"], "graphs_per_picture must be a whole number"),
        (["--network=none.onnx"], "none.onnx does not exist"),
        (["--device=gpu7"], "device 'gpu7' is unknown"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(tmp_path, arguments, sentence):
    result = run(*arguments, "--output=out", cwd=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert sentence in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
