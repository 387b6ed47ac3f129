"""Own data as a person uses it: two commands, the second as the first prints it."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from sg2im_pyg.commands import run_command
from sg2im_pyg.data import Scene, SceneReader, SceneWriter, Vocabulary
from tests.sources.own import writers

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT = """
    --steps 2 --data.workers 0 --hardware.accelerator cpu --model.gconv_hidden_dim 8
    --model.refinement_dims [8,4] --model.layout_dim 8
""".split()


@pytest.fixture
def program(monkeypatch, capsys):
    """A program of the repository with its words, in this process; gives what it prints."""

    def call(name, *words):
        path = {"prepare": "datasets/prepare.py", "train": "train/run.py"}[name]
        monkeypatch.setattr(sys, "argv", [str(REPOSITORY / path)])
        run_command(name, [str(word) for word in words])
        return capsys.readouterr().out

    return call


def train_as_printed(program, output, folder):
    """Trains with the command that was printed, for two steps of a smaller model."""
    [line] = [line for line in output.splitlines() if line.startswith("Next, to train on it: ")]
    words = shlex.split(line.removeprefix("Next, to train on it: "))
    assert Path(words[1]) == REPOSITORY / "train" / "run.py"
    found = program("train", *words[2:], *SHORT, "--run_dir", folder)
    assert "Done: 2 steps." in found and (folder / "checkpoints" / "last.pt").is_file()
    return words


@pytest.mark.parametrize(
    ("write", "masks"),
    [(writers.cvat, 16), (writers.voc, 0), (writers.yolo_segments, 16), (writers.gqa, 0)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_prepared_and_trained_on(program, tmp_path, write, masks):
    write(tmp_path / "mine")
    output = program("prepare", "own", "--annotations", tmp_path / "mine", "--root", tmp_path / "o")
    words = train_as_printed(program, output, tmp_path / "run")
    assert words[words.index("--model.mask_size") + 1] == str(masks)
    assert ("--losses.mask" in words) == (masks == 0)
    assert int(words[words.index("--steps") + 1]) == 500
    again = program("prepare", "own", "--annotations", tmp_path / "mine", "--root", tmp_path / "o")
    assert again.splitlines()[-1] == output.splitlines()[-1]


def test_a_store_of_ones_own_program(program, tmp_path):
    """Written by SceneWriter, with predicates of its own; nobody says what it is."""
    random = np.random.default_rng(0)
    vocabulary = Vocabulary(["sky", "kite"], ["flies in"])
    for split in ("train", "val"):
        with SceneWriter(tmp_path / "64x64" / f"{split}.h5", vocabulary, (64, 64), 0) as writer:
            for number in range(3):
                image = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                boxes = np.array([[0, 0, 1, 0.6], [0.3, 0.1, 0.6, 0.4]], np.float32)
                writer.add(
                    Scene(number, image, np.array([1, 2]), boxes, None, np.array([[1, 1, 0]]))
                )
    masks = ["--model.mask_size", "0", "--losses.mask", "0"]
    found = program("train", "--data.root", tmp_path, *masks, *SHORT, "--run_dir", tmp_path / "run")
    assert "Done: 2 steps." in found
    assert len(SceneReader(tmp_path / "64x64" / "train.h5")) == 3  # as it was
