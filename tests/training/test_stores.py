"""Which data is trained on: what lies in the folder that is given decides."""

import json

import numpy as np
import pytest

from sg2im_pyg import SceneGraph, Sg2Im, Vocabulary
from sg2im_pyg.data import Scene, SceneReader, SceneWriter
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.training.command_line import parse_command
from sg2im_pyg.training.config import (
    DataConfig,
    HardwareConfig,
    ImageDiscriminatorConfig,
    ObjectDiscriminatorConfig,
    TrainingConfig,
)
from sg2im_pyg.training.data import make_missing, open_split
from sg2im_pyg.training.losses import LossConfig
from sg2im_pyg.training.stores import find_store
from sg2im_pyg.training.trainer import train

SPLITS = ("train", "val", "test")


def write(root, predicates=("on", "beside"), triples=((0, 1, 1), (1, 2, 2)), splits=SPLITS):
    """Stores of plates, cups and forks as somebody's own program writes them."""
    vocabulary = Vocabulary(["plate", "cup", "fork"], predicates)
    for split in splits:
        with SceneWriter(root / "16x16" / f"{split}.h5", vocabulary, (16, 16), 0) as writer:
            for i in range(4):
                boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0.2, 0.5, 0.9, 1]])
                image = np.full((16, 16, 3), 60 * i, np.uint8)
                related = np.array(triples).reshape(-1, 3)
                writer.add(Scene(i, image, np.array([1, 2, 3]), boxes, None, related))
    return root


def options(root, name="coco", **data):
    layers = ((4, 4, 2), (4, 8, 2))
    return TrainingConfig(
        data=DataConfig(name=name, root=str(root), workers=0, **data),
        model=ModelConfig(
            image_size=(16, 16),
            embedding_dim=8,
            gconv_dim=8,
            gconv_hidden_dim=8,
            gconv_num_layers=2,
            mask_size=0,
            layout_noise_dim=2,
            refinement_dims=(8, 4),
        ),
        image_discriminator=ImageDiscriminatorConfig(layers=layers),
        object_discriminator=ObjectDiscriminatorConfig(layers=layers, object_size=12),
        losses=LossConfig(mask=0.0),
        hardware=HardwareConfig(accelerator="cpu", devices="1"),
        steps=1,
        batch_size=4,
    )


@pytest.mark.parametrize("name", ["coco", "visual_genome", "landscapes"])
@pytest.mark.parametrize(
    "predicates, triples, expected",
    [
        (("on", "beside"), ((0, 1, 1), (1, 2, 2)), {(0, "on", 1), (1, "beside", 2)}),
        (GEOMETRIC_PREDICATES, ((0, 1, 1),), {(0, "left of", 1)}),
        (GEOMETRIC_PREDICATES, (), None),  # drawn
        (("on", "beside"), (), set()),
    ],
)
def test_what_a_store_holds_decides_on_its_relationships(
    tmp_path, name, predicates, triples, expected
):
    dataset = open_split(options(write(tmp_path, predicates, triples), name), "train", True)
    found = SceneGraph.to_json(dataset[0], dataset.vocabulary)["relationships"]
    if expected is None:
        assert len(found) == 3 and {predicate for _, predicate, _ in found} <= set(predicates)
    else:
        assert set(map(tuple, found)) == expected


def test_a_run_leaves_graphs_of_its_own_names(tmp_path, capsys):
    config = options(write(tmp_path / "data"))
    assert train(config, tmp_path / "run")
    said = capsys.readouterr().out
    path = tmp_path / "run" / "checkpoints" / "example_graphs.json"
    assert f' "{path}" --checkpoint "{path.with_name("best.pt")}"' in said
    assert "Data: own data, 4 training and 4 validation pictures" in said
    graphs = json.loads(path.read_text(encoding="utf-8"))
    assert graphs[0] == {
        "objects": ["plate", "cup", "fork"],
        "relationships": [[0, "on", 1], [1, "beside", 2]],
    }
    assert len(graphs) == 4
    model = Sg2Im.from_pretrained(path.with_name("best.pt"))
    assert len(model.generate(graphs)) == 4


@pytest.mark.parametrize("in_file", [False, True])
def test_the_folder_is_enough(tmp_path, in_file):
    write(tmp_path / "own", splits=("train", "val"))
    words, size = ["--data.root", str(tmp_path / "own")], "[32, 32]"
    if in_file:
        (tmp_path / "mine.yaml").write_text(f'data: {{root: "{(tmp_path / "own").as_posix()}"}}')
        words = ["--config", "landscapes", "--config", str(tmp_path / "mine.yaml")]
    config = parse_command([*words, "--model.image_size", size], tmp_path, None).config
    assert config.data.name == "own" and config.data.root == str(tmp_path / "own")
    config.model.image_size = (16, 16)
    assert find_store(config, "train") == tmp_path / "own" / "16x16" / "train.h5"
    config = parse_command([*words, "--data.name", "landscapes"], tmp_path, None).config
    assert config.data.name == "landscapes"


@pytest.mark.parametrize("folder", ["photos", "nowhere", "own/16x16"])
def test_a_folder_that_is_no_prepared_data(tmp_path, folder):
    write(tmp_path / "own")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a photo")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Sg2ImError, match="There is no prepared data in .*--data.name landscapes"):
        parse_command(["--data.root", str(tmp_path / folder)], tmp_path, None)
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_is_drawn_beside_somebody_s_own_data(tmp_path):
    config = options(write(tmp_path, splits=("train",)), "landscapes")
    content = (tmp_path / "16x16" / "train.h5").read_bytes()
    make_missing(config)
    assert [path.name for path in (tmp_path / "16x16").iterdir()] == ["train.h5"]
    assert (tmp_path / "16x16" / "train.h5").read_bytes() == content
    with pytest.raises(Sg2ImError, match="no data file .*val.h5: .*--data.validation_split train"):
        open_split(config, "val", False)


def test_landscapes_are_drawn_where_they_are_asked_for(tmp_path, monkeypatch):
    from sg2im_pyg.sources.landscapes.options import LandscapesOptions

    made = []
    monkeypatch.setattr(LandscapesOptions, "prepare", lambda self: made.append(self.root))
    make_missing(options(tmp_path / "new", "landscapes"))
    assert made == [str(tmp_path / "new")]


def test_what_is_there_instead_is_said(tmp_path):
    write(tmp_path / "own")
    config = options(tmp_path / "own")
    config.model.image_size = (32, 64)
    with pytest.raises(Sg2ImError, match=r'of 16x16, so add --model.image_size "\[16, 16\]"'):
        find_store(config, "train")
    config.data.root = str(tmp_path / "own" / "16x16")
    with pytest.raises(Sg2ImError, match="give the one above it"):
        find_store(config, "train")
    config.data.root = str(tmp_path / "nowhere")
    with pytest.raises(Sg2ImError, match="run '.*prepare.py coco --image_size 32x64'"):
        find_store(config, "train")


def test_own_stores_are_not_to_be_deleted(tmp_path):
    from sg2im_pyg.sources.landscapes.source import prepare_landscapes

    write(tmp_path)
    with pytest.raises(Sg2ImError, match="holds other data .*choose another folder") as error:
        prepare_landscapes(tmp_path, (16, 16), workers=1)
    assert "delete" not in str(error.value)
    assert len(SceneReader(tmp_path / "16x16" / "train.h5")) == 4
