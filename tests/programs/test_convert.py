import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sg2im_pyg import Sg2Im, Vocabulary
from sg2im_pyg.checkpoint import load_players, save_checkpoint
from sg2im_pyg.commands import run_command
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.nn import PatchDiscriminator
from sg2im_pyg.nn.discriminators import SegmentingDiscriminator

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "eval" / "convert.py"
OFFICIAL = REPOSITORY / "tests" / "golden" / "full.official.pt"
GRAPH = {"objects": ["sky", "boat"], "relationships": [[0, "above", 1]]}


@pytest.fixture
def convert():
    """The command, in this process."""
    return lambda *arguments: run_command("convert", list(map(str, arguments)))


@pytest.fixture
def fails(convert, capsys):
    """The one sentence with which the program ends."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            convert(*arguments)
        assert ended.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith("Error: ") and error.count("\n") == 1
        return error

    return call


def networks(players):
    return [players.model, *players.discriminators.values()]


def assert_same_players(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.state_dict().keys() == other.state_dict().keys()
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_there_and_back_again(convert, tmp_path, capsys):
    convert(OFFICIAL, tmp_path / "ours.pt")
    printed = capsys.readouterr().out
    assert f"{OFFICIAL} (format of the 2018 release)" in printed
    assert f"{tmp_path / 'ours.pt'} (format of sg2im_pyg)" in printed
    assert "10 objects, 7 predicates" in printed
    for name in ("generator", "object discriminator", "image discriminator"):
        assert f"{name} (" in printed
    assert "head for relations" in printed and "never called" in printed
    assert read_checkpoint(tmp_path / "ours.pt")["format"] == "sg2im_pyg.checkpoint"

    convert(tmp_path / "ours.pt", tmp_path / "again.pt")
    assert "left out    nothing" in capsys.readouterr().out
    convert(tmp_path / "again.pt", tmp_path / "ours again.pt")
    expected = load_players(OFFICIAL)
    for name in ("ours", "again", "ours again"):
        found = load_players(tmp_path / f"{name}.pt")
        assert found.model.config == expected.model.config
        assert found.model.vocabulary == expected.model.vocabulary
        assert list(found.discriminators) == list(expected.discriminators)
        assert_same_players(networks(found), networks(expected))
        picture = found.model.generate([GRAPH], seed=1)[0]
        assert np.array_equal(picture, expected.model.generate([GRAPH], seed=1)[0])


def test_the_format_can_be_named(convert, tmp_path, capsys):
    """For example, to leave all but the networks of a checkpoint out."""
    model = Sg2Im.from_pretrained(OFFICIAL)
    training = {"progress": {"step": 42}, "optimizers": {"x": torch.zeros(1000)}}
    save_checkpoint(tmp_path / "last.pt", model, training)
    convert(tmp_path / "last.pt", tmp_path / "small.pt", "--to", "sg2im_pyg")
    assert "progress after step 42" in capsys.readouterr().out
    entries = read_checkpoint(tmp_path / "small.pt")
    assert "training" not in entries
    convert(tmp_path / "small.pt", tmp_path / "released.pt", "--to", "released")
    convert(tmp_path / "released.pt", tmp_path / "released.pt", "--to", "released", "--overwrite")
    assert_same_players([Sg2Im.from_pretrained(tmp_path / "released.pt")], [model])


def test_a_generator_alone_for_others(convert, fails, tmp_path, capsys):
    model = load_players(OFFICIAL).model
    config = {"data": {"root": "home/me", "name": "coco"}, "init": "home/me/first.pt", "steps": 9}
    training = {"config": config, "progress": {"step": 7, "best_loss": 1.0}, "optimizers": {}}
    save_checkpoint(tmp_path / "last.pt", model, training)
    output = tmp_path / "model.safetensors"
    convert(tmp_path / "last.pt", output, "--note", "python train/run.py, commit 1234567")
    said = capsys.readouterr().out
    assert f"{output} (format of safetensors)" in said and "discriminator" not in said
    assert "left out    the training's optimizer and random states" in said
    assert read_checkpoint(output)["origin"] == {
        "config": {"data": {"name": "coco"}, "init": "first.pt", "steps": 9},
        "progress": {"step": 7},
        "note": "python train/run.py, commit 1234567",
    }
    assert b"home/me" not in output.read_bytes()  # no folder of this machine
    assert_same_players([Sg2Im.from_pretrained(output)], [model])

    convert(output, tmp_path / "half.safetensors", "--half")
    assert read_checkpoint(tmp_path / "half.safetensors")["origin"]["note"].endswith("1234567")
    assert (tmp_path / "half.safetensors").stat().st_size < output.stat().st_size
    capsys.readouterr()
    convert(output, tmp_path / "back.pt")
    said = capsys.readouterr().out
    assert "(format of sg2im_pyg)" in said and "left out    how the generator was trained" in said
    assert_same_players(networks(load_players(tmp_path / "back.pt")), [model])
    convert(OFFICIAL, tmp_path / "theirs", "--to", "safetensors")
    assert "left out    the discriminators, " in capsys.readouterr().out
    assert read_checkpoint(tmp_path / "theirs")["origin"] == {}
    for words in (["--half"], ["--note", "x"]):
        assert "are for safetensors files" in fails(OFFICIAL, tmp_path / "out.pt", *words)


def test_a_discriminator_that_the_release_has_not_is_left_out(convert, tmp_path, capsys):
    judge = {"segmenting_discriminator": SegmentingDiscriminator(10, 4)}
    save_checkpoint(tmp_path / "ours.pt", load_players(OFFICIAL).model, discriminators=judge)
    convert(tmp_path / "ours.pt", tmp_path / "copy.pt", "--to", "sg2im_pyg")
    said = capsys.readouterr().out
    assert "segmenting discriminator (" in said and "left out    nothing" in said
    assert_same_players(networks(load_players(tmp_path / "copy.pt"))[1:], judge.values())
    convert(tmp_path / "ours.pt", tmp_path / "theirs.pt")
    assert "left out    the segmenting discriminator" in capsys.readouterr().out
    assert not load_players(tmp_path / "theirs.pt").discriminators


def test_what_is_wrong_gets_a_sentence_and_leaves_no_file(fails, tmp_path):
    taken = tmp_path / "taken.pt"
    taken.write_bytes(b"mine")
    assert "taken.pt is there already" in fails(OFFICIAL, taken)
    assert taken.read_bytes() == b"mine"
    assert "is a folder" in fails(OFFICIAL, tmp_path)
    assert "There is no checkpoint" in fails(tmp_path / "missing.pt", tmp_path / "out.pt")
    assert "taken.pt can not be read" in fails(taken, tmp_path / "out.pt")
    assert "'theirs'" in fails(OFFICIAL, tmp_path / "out.pt", "--to", "theirs")
    assert "lies below a file" in fails(OFFICIAL, taken / "out.pt")
    model = Sg2Im(
        Vocabulary(["sky"], []), image_size=(8, 8), refinement_dims=(4,), mask_head="transposed"
    )
    save_checkpoint(tmp_path / "transposed.pt", model)
    assert "mask_head 'transposed'" in fails(tmp_path / "transposed.pt", tmp_path / "out.pt")
    model = Sg2Im.from_pretrained(OFFICIAL)
    save_checkpoint(
        tmp_path / "patch.pt",
        model,
        discriminators={"image_discriminator": PatchDiscriminator(patch_scores=True)},
    )
    assert "patch_scores True" in fails(tmp_path / "patch.pt", tmp_path / "out.pt")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"taken.pt", "transposed.pt", "patch.pt"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_what_is_no_file_is_not_replaced(fails, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is a device or a pipe" in fails(OFFICIAL, tmp_path / "pipe", "--overwrite")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.slow
def test_as_a_person_runs_it(tmp_path):
    """From another folder; -I leaves out PYTHONPATH and that folder."""
    command = [sys.executable, "-I", str(PROGRAM), str(OFFICIAL), "out.pt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path.resolve() / "out.pt") in done.stdout
    assert "image_discriminator" in load_players(tmp_path / "out.pt").discriminators
