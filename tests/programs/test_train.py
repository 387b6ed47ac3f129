"""train/run.py and eval/generate.py, started as a person does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sg2im_pyg.sources.landscapes.source import prepare_landscapes

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = [
    "--model.image_size=[16,16]",
    "--model.refinement_dims=[8,4]",
    "--model.mask_size=4",
    "--model.gconv_num_layers=1",
    "--image_discriminator.layers=[[4,4,2],[4,8,2]]",
    "--object_discriminator.layers=[[4,4,2],[4,8,2]]",
    "--hardware.accelerator=cpu",
    "--steps=3",
    "--batch_size=2",
    "--data.workers=0",
]


def run(program, *arguments, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / program), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    # The default counts of train/run.py would take too long; the store is there already.
    prepare_landscapes(root, (16, 16), 4, 6, 4, 4, workers=1, progress=False)
    return root


def test_help_explains_every_option(tmp_path):
    result = run("train/run.py", "--help", cwd=tmp_path)
    assert result.returncode == 0
    for text in ("--resume", "--init", "--losses.box", "Learning rate", "--model.image_size"):
        assert text in result.stdout


@pytest.mark.slow
def test_train_resume_and_generate_from_another_directory(root, tmp_path):
    data = [f"--data.root={root}", "--data.name=coco"]  # no drawing: the store is given
    first = run("train/run.py", *TINY, *data, "--run_dir=a run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "a run"
    assert first.stdout.count(str(folder)) >= 2
    assert (folder / "samples.png").is_file()

    again = run("train/run.py", *TINY, *data, "--run_dir=a run", cwd=tmp_path)
    assert again.returncode == 1 and "--resume" in again.stderr
    assert "Traceback" not in again.stderr

    more = run("train/run.py", "--resume", "a run", "--steps=5", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "going on from step 3" in more.stdout and "Done: 5 steps" in more.stdout

    other = run("train/run.py", "--resume", "a run", "--run_dir=.", "--steps=6", cwd=tmp_path)
    assert other.returncode == 1 and "is not empty" in other.stderr

    (tmp_path / "g.json").write_text(json.dumps({"objects": ["sky"]}), encoding="utf-8")
    checkpoint = folder / "checkpoints" / "best.pt"
    made = run(
        "eval/generate.py", "--checkpoint", checkpoint, "g.json", "--output", "out", cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "out" / "contact_sheet.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model.image_size=[30,64]"], "image_size is 30 x 64"),
        (["--losses.bocks=1"], "--losses.bocks"),
        (["--losses.box=much"], "losses.box"),
        (["--steps=0"], "steps must be a whole number, at least 1"),
        (["--config", "--run_dir", "x"], "expected one argument"),
        (["--config", "binary.yaml"], "binary.yaml is no UTF-8 text"),
        (["--config", "empty.yaml"], "empty.yaml must hold options in YAML"),
        (["--config", "tab.yaml"], "tab.yaml, line 2, column 1: this is no YAML"),
        (["--config", "run_dir.yaml"], "for the command line alone"),
        (["--config", "alias.yaml"], "has an alias"),
        (["--config", "none.yaml"], "none.yaml can not be read, it names 'model' without a value"),
        (["--config", "landscapes", "--config", "wrong.yaml"], "wrong.yaml: "),
        (["--config", "no_base.yaml"], "no_base.yaml: base must be one of coco128, "),
        (["--config", "list.yaml"], "got ['landscapes']"),
        (["--config", "nothing.yaml"], "There is no configuration nothing.yaml"),
        (["--resume", "nowhere"], "no run that can be resumed"),
        (["--resume", "nowhere", "--init", "first.pt"], "give one of them"),
        (["--config", "coco64", "--data.root", "nowhere"], "datasets/prepare.py coco"),
    ],
)
def test_mistakes_get_one_sentence(arguments, sentence, tmp_path):
    files = {
        "binary": b"\xff\xfe",
        "empty": b"",
        "tab": b"steps: 1\n\tseed: 2\n",
        "run_dir": b"run_dir: elsewhere\n",
        "alias": b"model: &a {mask_size: 4}\nlosses: *a\n",
        "none": b"model:\n",
        "wrong": b"steps: many\n",
        "no_base": b"base: nothing\n",
        "list": b"base: [landscapes]\n",
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_bytes(content)
    result = run("train/run.py", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert sentence in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
