import pytest
import torch

from sg2im_pyg.commands import run_command
from sg2im_pyg.evaluation.classifier_training import augment
from sg2im_pyg.evaluation.landscape_classifier import SCENE_CLASSES, load_classifier


@pytest.fixture
def train(monkeypatch, tmp_path):
    """The program with a command line, in this process and another folder, on few landscapes."""
    monkeypatch.chdir(tmp_path)
    few = ["--root=landscapes", "--train=60", "--held_out=20", "--batch_size=16", "--steps=10"]
    return lambda *arguments: run_command("train_classifier", [*few, *arguments])


def test_program_draws_trains_measures_and_writes(train, tmp_path, capsys):
    train("--output=new/classifier.pt", "--seed=3")
    output = capsys.readouterr().out
    for split in ("val", "test"):
        assert f"\n{split}: class 0." in output
    assert all(f"\n{name} " in output for name in SCENE_CLASSES)
    assert f"written: {tmp_path / 'new' / 'classifier.pt'}" in output

    classifier, training = load_classifier("new/classifier.pt")
    assert (training["steps"], training["seed"], training["train_images"]) == (10, 3, 60)
    assert 0 <= training["test_accuracy"] <= 1

    # The same seed gives the same weights, another one others; existing landscapes are used.
    drawn = (tmp_path / "landscapes/64x64/train.h5").stat().st_mtime_ns
    train("--output=again.pt", "--seed=3")
    train("--output=other.pt", "--seed=4")
    assert (tmp_path / "landscapes/64x64/train.h5").stat().st_mtime_ns == drawn
    weights = classifier.state_dict()
    again, other = (load_classifier(name)[0].state_dict() for name in ("again.pt", "other.pt"))
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    assert not torch.equal(weights["class_head.weight"], other["class_head.weight"])


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--steps=9"], "steps must be a whole number, at least 10 and"),
        (["--seed=-1"], "seed must be a whole number, at least 0 and"),
        (["--output=."], "is a folder: give a file"),
    ],
)
def test_mistakes_end_with_a_sentence(train, capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        train(*arguments)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and error.count("\n") == 1 and said in error


def test_augmented_pictures_keep_their_range_and_what_they_show():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (64, 3, 64, 64), generator=generator, dtype=torch.uint8)
    images[:, :, 20:40, 10:30] = 200  # a square that is still there when the rest is blurred
    changed = augment(images, torch.Generator().manual_seed(1))
    assert changed.shape == images.shape and changed.dtype == torch.float32
    assert -1 <= changed.min() and changed.max() <= 1
    inside, mirrored = changed[:, :, 24:36, 14:26], changed[:, :, 24:36, 38:50]
    bright = torch.maximum(inside.mean((1, 2, 3)), mirrored.mean((1, 2, 3)))
    assert (bright - (200 / 127.5 - 1)).abs().max() < 0.25
    was_mirrored = mirrored.mean((1, 2, 3)) > inside.mean((1, 2, 3))
    assert 10 < was_mirrored.sum() < 54
    again = augment(images, torch.Generator().manual_seed(1))
    assert torch.equal(changed, again)
