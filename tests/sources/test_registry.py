"""The door for sources of data: one from this file is prepared, trained on and evaluated."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sg2im_pyg import Vocabulary
from sg2im_pyg.commands.prepare import main as prepare
from sg2im_pyg.data import Scene, SceneReader, SceneWriter
from sg2im_pyg.data.store import store_path
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.evaluate import evaluate
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.sources.options import PreparationOptions
from sg2im_pyg.sources.registry import (
    SOURCES,
    Source,
    find_source,
    register_source,
    source_of,
)
from sg2im_pyg.system.options import option
from sg2im_pyg.training.config import (
    DataConfig,
    HardwareConfig,
    ImageDiscriminatorConfig,
    ObjectDiscriminatorConfig,
    TrainingConfig,
)
from sg2im_pyg.training.trainer import train


@dataclass
class SquaresOptions(PreparationOptions):
    """Paint squares of one colour on grounds of another."""

    count: int = option(4, least=1)
    """Number of pictures of each split."""
    colours: list[str] = option(lambda: ["red", "blue"])
    """Names of the colours of squares."""
    centred: bool = False
    """Put all squares into the middle."""

    def prepare(self):
        vocabulary = Vocabulary(["ground", *self.colours], GEOMETRIC_PREDICATES)
        paths = {}
        for size in self.sizes:
            paths[size] = {
                split: store_path(self.folder, size, split) for split in ("train", "val", "test")
            }
            for seed, path in enumerate(paths[size].values()):
                random = np.random.default_rng(seed)
                with SceneWriter(path, vocabulary, size, 0, {"source": "squares"}) as writer:
                    for number in range(self.count):
                        corner = (0.25, 0.25) if self.centred else random.uniform(0, 0.5, 2)
                        boxes = [[0, 0, 1, 1], [*corner, *np.add(corner, 0.5)]]
                        image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
                        categories = np.array([1, random.integers(2, 2 + len(self.colours))])
                        writer.add(Scene(number, image, categories, np.array(boxes, np.float32)))
        return paths


@pytest.fixture
def squares():
    source = register_source(
        Source(name="squares", title="squares of one colour", options=SquaresOptions)
    )
    yield source
    del SOURCES["squares"]


def tiny(root):
    layers = ((4, 4, 2), (4, 8, 2))
    return TrainingConfig(
        data=DataConfig(name="squares", root=str(root), workers=0),
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
        hardware=HardwareConfig(accelerator="cpu", devices="1"),
        steps=2,
        batch_size=4,
    )


def test_a_source_from_outside_is_prepared_trained_on_and_evaluated(squares, tmp_path, capsys):
    root = tmp_path / "data"
    prepare(
        ["squares", "--root", str(root), "--count", "8", "--image-size", "16", "8"]
        + ["--colours", "red", "green", "black", "--centred"]
    )
    output = capsys.readouterr().out
    assert f'--data.root "{root.resolve()}" --model.image_size "[16' in output
    assert "drawn in training" in output and "most frequent in train: ground 8" in output
    store = SceneReader(root / "16x16" / "test.h5")
    assert len(store) == 8 and source_of(store.settings) is squares
    assert store.vocabulary.objects[1:] == ("ground", "red", "green", "black")
    assert (store.boxes[1::2] == [0.25, 0.25, 0.75, 0.75]).all()
    assert (root / "8x8" / "preview.png").is_file()

    assert train(tiny(root), tmp_path / "run")

    [checkpoint] = (tmp_path / "run").rglob("last.pt")
    config = EvaluationConfig(
        data=str(store.path), checkpoint=[str(checkpoint)], network="none", device="cpu"
    )
    result = evaluate(config).result
    assert result["data"]["source"] == "squares" and result["data"]["pictures"] == 8
    assert len(result["systems"]) == 2  # the true pictures, and the checkpoint


def test_what_is_missing_is_made_on_first_use(tmp_path):
    register_source(
        Source(name="squares", title="squares", options=SquaresOptions, made_on_first_use=True)
    )
    try:
        assert train(tiny(tmp_path / "data"), tmp_path / "run")
        assert len(SceneReader(tmp_path / "data" / "16x16" / "val.h5")) == 4
    finally:
        del SOURCES["squares"]


def test_its_options_are_in_the_help(squares, capsys):
    with pytest.raises(SystemExit):
        prepare(["--help"])
    assert "squares of one colour" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        prepare(["squares", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Paint squares of one colour on grounds of another." in text
    assert "--count COUNT Number of pictures of each split." in text
    assert "--workers WORKERS Number of processes; null: one a core." in text
    with pytest.raises(Sg2ImError, match="count must be a whole number, at least 1, got 0"):
        prepare(["squares", "--count", "0"])


def test_an_unknown_source_is_answered_with_the_nearest():
    with pytest.raises(
        Sg2ImError, match="no source of data 'lanscapes': did you mean 'landscapes'"
    ):
        find_source("lanscapes")
    assert source_of({"source": "elsewhere"}) is None and source_of({}) is None


def test_what_worker_processes_import_is_little():
    """They import the program's file and the modules of their work; listing the sources, or reading
    the options of one, needs less."""
    program = Path(__file__).resolve().parents[2] / "datasets" / "prepare.py"
    code = (
        "import runpy, sys; from pathlib import Path\n"
        f"runpy.run_path({str(program)!r}, run_name='__mp_main__')\n"
        "assert not any(name.startswith('sg2im_pyg.sources') for name in sys.modules)\n"
        "from sg2im_pyg.commands.prepare import parse_options\n"
        "from sg2im_pyg.sources.registry import SOURCES\n"
        "assert not any(name.startswith('sg2im_pyg.sources.coco') for name in sys.modules)\n"
        "for name in SOURCES: parse_options([name], Path())\n"
        "assert not {'torch', 'numpy', 'h5py', 'requests'} & set(sys.modules)\n"
        "import sg2im_pyg.sources.pictures, sg2im_pyg.sources.coco.source\n"
        "import sg2im_pyg.sources.landscapes.source, sg2im_pyg.sources.visual_genome.released\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
