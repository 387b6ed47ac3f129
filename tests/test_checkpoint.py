"""Our checkpoints: what is written comes back, and a sentence for every file that is no good."""

import pytest
import torch

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import read_checkpoint, save_checkpoint


@pytest.fixture
def model():
    return Sg2Im(
        Vocabulary(["sky", "grass"], ["above"]),
        image_size=(8, 16),
        refinement_dims=(4, 4),
        gconv_hidden_dim=8,
        mask_size=4,
    )


def test_a_model_comes_back_whole(model, tmp_path):
    path = tmp_path / "a folder" / "model.pt"
    save_checkpoint(path, model)
    loaded = Sg2Im.from_pretrained(path)
    assert not loaded.training
    assert loaded.vocabulary == model.vocabulary and loaded.config == model.config
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])
    assert [p.name for p in path.parent.iterdir()] == ["model.pt"]


def test_a_missing_file(tmp_path):
    with pytest.raises(Sg2ImError, match="no checkpoint"):
        Sg2Im.from_pretrained(tmp_path / "nothing.pt")


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_truncated_file(model, tmp_path, kept):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    with pytest.raises(Sg2ImError, match=r"model\.pt"):
        Sg2Im.from_pretrained(path)


@pytest.mark.parametrize("entries", [{"weights": torch.zeros(2)}, [1, 2], torch.zeros(3)])
def test_a_foreign_file(tmp_path, entries):
    path = tmp_path / "foreign.pt"
    torch.save(entries, path)
    with pytest.raises(Sg2ImError, match="no checkpoint of sg2im_pyg"):
        Sg2Im.from_pretrained(path)


def test_a_newer_version(model, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    torch.save({**read_checkpoint(path), "version": 99}, path)
    with pytest.raises(Sg2ImError, match="version 99"):
        Sg2Im.from_pretrained(path)


@pytest.mark.parametrize(
    "change",
    [
        {"model_config": {"colour": 1}},
        {"generator": {}},
        {"vocabulary": {"objects": ["sky"]}},
        {"vocabulary": {"objects": ["sky"] * 2, "predicates": []}},
        {"vocabulary": None},
        {"version": "1"},
        {"version": None},
        {"model_config": {"negative_slope": "x"}},
        {"training": 3},
    ],
)
def test_parts_that_do_not_fit(model, tmp_path, change):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    torch.save({**read_checkpoint(path), **change}, path)
    with pytest.raises(Sg2ImError):
        Sg2Im.from_pretrained(path)


def test_a_full_disk_leaves_the_older_file(model, tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_checkpoint(path, model)
    before = path.read_bytes()

    def full(entries, target):
        target.write_bytes(b"half")
        raise RuntimeError("unexpected pos 815168 vs 815056")  # what torch's writer says

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, model)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_weights_that_are_not_finite_are_refused(model, tmp_path):
    path = tmp_path / "model.pt"
    with torch.no_grad():
        model.box_head.layers[0].weight[0, 0] = torch.nan
    save_checkpoint(path, model)
    with pytest.raises(Sg2ImError, match="not finite"):
        Sg2Im.from_pretrained(path)
