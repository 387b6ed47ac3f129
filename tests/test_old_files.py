"""Files of commit 383d65e, before the library was laid out anew: they load and give the same.

``golden/old`` holds small stores, a run of two steps on the landscapes, and in ``expected.pt`` what
that commit made of them. Rounding differs between processors: values are compared closely, not bit
for bit.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sg2im_pyg import Sg2Im
from sg2im_pyg.data import SceneDataset

ROOT = Path(__file__).resolve().parents[1]
OLD = ROOT / "tests" / "golden" / "old"
GRAPHS = [
    {"objects": ["sky", "grass", "sheep"], "relationships": [[0, "above", 1], [2, "inside", 1]]},
    {"objects": ["sky", "water", "boat", "boat"], "relationships": [[2, "left of", 3]]},
]


@pytest.fixture(scope="module")
def expected():
    return torch.load(OLD / "expected.pt", weights_only=True)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_an_old_checkpoint_gives_the_same_pictures(expected):
    model = Sg2Im.from_pretrained(OLD / "run" / "checkpoints" / "last.pt")
    [(_, output)] = model.generate_outputs(GRAPHS, seed=5)
    close(output.images, expected["images"])
    close(output.boxes, expected["boxes"])
    close(output.masks, expected["masks"])


def test_an_old_store_gives_the_same_graphs(expected):
    dataset = SceneDataset(OLD / "visual_genome" / "16x16" / "train.h5", attributes=True)
    wanted = expected["visual_genome"]
    assert list(dataset.vocabulary.objects) == wanted["objects"]
    assert list(dataset.vocabulary.predicates) == wanted["predicates"]
    assert list(dataset.vocabulary.attributes) == wanted["names"]
    for name in ("x", "edge_index", "edge_attr", "boxes", "attributes", "image"):
        assert torch.equal(dataset[0][name], wanted[name]), name


@pytest.mark.slow
def test_an_old_run_goes_on_with_the_same_steps(expected, tmp_path):
    shutil.copytree(OLD / "run", tmp_path / "run")
    shutil.copytree(OLD / "landscapes", tmp_path / "landscapes")
    command = [sys.executable, str(ROOT / "train" / "run.py"), "--resume", str(tmp_path / "run")]
    command += ["--steps", "4", "--data.root", str(tmp_path / "landscapes")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    entries = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    training = entries["training"]
    assert training["progress"]["step"] == 4
    for name, weight in expected["generator"].items():
        close(entries["generator"][name], weight)
    states = {"generator": training["generator"], **training["discriminators"]}
    wanted = {"generator": expected["training_generator"], **expected["discriminators"]}
    for player, figures in wanted.items():
        for name, (mean, most) in figures.items():
            value = states[player][name].double()
            close(torch.stack([value.mean(), value.abs().max()]), torch.stack([mean, most]))
