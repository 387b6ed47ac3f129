"""eval/run.py, started as a person does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sg2im_pyg import Sg2Im
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary, prepare_landscapes

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a store and a run's checkpoint."""
    place = tmp_path_factory.mktemp("a place")
    prepare_landscapes(place, (16, 16), 4, 1, 1, 6, workers=1, progress=False)
    torch.manual_seed(0)
    model = Sg2Im(landscape_vocabulary(), image_size=(16, 16), refinement_dims=(8, 4), mask_size=4)
    training = {"config": {}, "progress": {"step": 30}}
    save_checkpoint(place / "my run" / "checkpoints" / "best.pt", model, training)
    return place


def run(*arguments, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "eval" / "run.py"), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


@pytest.mark.slow
def test_one_command_writes_figures_report_curves_and_pictures(place, tmp_path):
    checkpoint = place / "my run" / "checkpoints" / "best.pt"
    arguments = ["--checkpoint", checkpoint, "--data", place / "16x16" / "test.h5"]
    first = run(*arguments, "--save_images=true", "--examples=2", "--splits=2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    output = place / "my run" / "evaluation" / "test"
    result = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    assert result["systems"][1]["name"] == "my run/best"
    assert result["systems"][1]["step"] == 30
    assert "--splits=2" in result["command"]
    for text in ("my run/best", "landscape", "sky", str(output / "report.html")):
        assert text in first.stdout
    report = (output / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png;base64,") >= 10
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert list((output / "tensorboard").rglob("events.*"))
    saved = sorted((output / "images").rglob("*.png"))
    assert len(saved) == 6

    # The pictures, given as another system's, have the same scores; and the same command repeats
    # them to the last digit.
    again = run(
        *arguments,
        "--images",
        saved[0].parent,
        "--output=other",
        "--splits=2",
        "--names",
        "ours",
        "theirs",
        cwd=tmp_path,
    )
    assert again.returncode == 0, again.stderr
    second = json.loads((tmp_path / "other" / "evaluation.json").read_text(encoding="utf-8"))
    _, ours, theirs = second["systems"]
    assert (ours["name"], theirs["name"]) == ("ours", "theirs")
    assert ours["layout"] == result["systems"][1]["layout"]
    assert ours["pictures"] == result["systems"][1]["pictures"]
    assert ours["pictures"] == theirs["pictures"]


@pytest.mark.slow
def test_figures_are_shown_also_where_they_can_not_be_written(place, tmp_path):
    checkpoint = place / "my run" / "checkpoints" / "best.pt"
    (tmp_path / "out" / "evaluation.json").mkdir(parents=True)
    name = "a\x1b[31m\nrow"  # control characters are for no terminal
    result = run(
        *("--checkpoint", checkpoint, "--data", place / "16x16" / "test.h5", "--output=out"),
        *("--names", name, "--limit=2", "--splits=1", "--examples=0"),
        cwd=tmp_path,
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "R@0.3" in result.stdout and "Note on a?[31m row: " in result.stdout
    assert "\x1b" not in result.stdout


def test_help_explains_every_option(tmp_path):
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    for text in ("--images DIR", "--graphs_per_picture", "as published", "--network", "--output"):
        assert text in result.stdout


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root writes everywhere")
def test_a_folder_that_can_not_be_written_to_is_refused_at_once(place, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    data = place / "16x16" / "test.h5"
    result = run("--checkpoint=none.pt", "--data", data, "--output", closed, cwd=tmp_path)
    assert result.returncode == 1 and "The system refuses access" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ([], 2, "--data"),
        (["--data=none.h5", "--checkpoint=none.pt"], 1, "There is no data file"),
        (["--data=none.h5"], 1, "There is nothing to evaluate"),
        (["--data=none.h5", "--checkpoint=a", "--splits=0"], 1, "splits must be a whole number"),
        (["--data=none.h5", "--checkpoint=a", "--boxes=x"], 2, "predicted"),
    ],
)
def test_mistakes_end_with_a_sentence(tmp_path, arguments, status, sentence):
    result = run(*arguments, "--output=out", cwd=tmp_path)
    assert result.returncode == status and "Traceback" not in result.stderr
    assert sentence in result.stderr
