"""The models that come with the library."""

from pathlib import Path

import pytest

from sg2im_pyg import Sg2Im, Sg2ImError
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.formats.published import (
    PRETRAINED,
    SHIPPED,
    checkpoint_path,
    fetch_pretrained,
    released_file,
)
from sg2im_pyg.formats.safetensors_file import is_safetensors
from sg2im_pyg.images import denormalize_images
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary

DOCS = Path(__file__).resolve().parents[2] / "docs"
MOST_BYTES = 12_000_000  # each replaced file stays in the repository's history


@pytest.fixture(params=SHIPPED)
def name(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # nothing there has its name
    return request.param


def test_it_is_a_small_file_that_says_how_it_was_made(name):
    path = SHIPPED[name]
    assert is_safetensors(path) and path.stat().st_size <= MOST_BYTES
    origin = read_checkpoint(path)["origin"]
    assert origin["config"]["data"]["name"] == name and origin["progress"]["step"] > 0
    assert origin["note"] and "root" not in origin["config"]["data"]
    card = (DOCS / f"{name}_model.md").read_text(encoding="utf-8")
    assert f"sg2im_pyg/weights/{path.name}" in card and f'from_pretrained("{name}")' in card


def test_it_has_a_name_in_python_and_in_options(name):
    assert checkpoint_path(name, "--checkpoint") == SHIPPED[name] and name not in PRETRAINED
    with pytest.raises(Sg2ImError, match=f"The model {name} comes with the library"):
        fetch_pretrained(name)
    with pytest.raises(Sg2ImError, match=f"did you mean '{name}'"):
        checkpoint_path(name[:-1], "--checkpoint")
    with pytest.raises(Sg2ImError, match="comes with the library"):
        released_file(name)
    with pytest.raises(Sg2ImError, match="There is no checkpoint"):
        Sg2Im.from_pretrained(Path(name))  # a path is no name


def test_landscapes_paints_what_landscapes_know():
    model = Sg2Im.from_pretrained("landscapes")
    assert model.vocabulary == landscape_vocabulary() and not model.training
    graph = {"objects": ["sky", "grass", "sheep"], "relationships": [[2, "inside", 1]]}
    [(_, output)] = model.generate_outputs([graph], seed=0)
    pictures = denormalize_images(output.images)
    assert pictures.shape == (1, 3, *model.config.image_size) and pictures.float().std() > 1
