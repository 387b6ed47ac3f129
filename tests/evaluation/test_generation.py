"""What a checkpoint with appearance vectors generates for a split."""

import pytest
import torch

from sg2im_pyg import Vocabulary
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.generation import Generation
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.evaluation.systems import CheckpointSystem
from sg2im_pyg.images import normalize_images
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary

from .conftest import tiny_model

OPTIONS = {
    "appearance_dim": 4,
    "box_flow_dim": 8,
    "generator": "spade",
    "modulation_dim": 4,
    "overlap": "front",
}


def generation(path, stores, model, seed=5):
    """Of a model whose bank knows what the training pictures show."""
    training = Split(stores["train"]).graphs(range(2), 0, "geometric")
    names = {name: i for i, name in enumerate(model.vocabulary.objects)}
    training.x = torch.tensor([names[landscape_vocabulary().objects[x]] for x in training.x])
    with torch.no_grad():
        true = model.encode_appearance(normalize_images(training.image), training)
    model.appearance_bank.keep(true.mean, training.x, training.batch)
    save_checkpoint(path, model)
    given = {"checkpoint": [str(path)], "data": str(stores["test"])}
    config = EvaluationConfig(device="cpu", network="none", **given)
    system = CheckpointSystem("model", path, "geometric", None)
    return Generation(system, Split(stores["test"], seed=seed), config)


@pytest.fixture
def drawn(stores, tmp_path):
    return generation(tmp_path / "model.pt", stores, tiny_model(**OPTIONS))


def test_pictures_do_not_depend_on_the_batch_that_they_come_in(drawn):
    *_, whole = drawn.generate(range(6), 0)
    for index in (4, 1):
        graphs, _, alone = drawn.generate([index], 0)
        torch.testing.assert_close(alone.images[0], whole.images[index], rtol=1e-4, atol=1e-4)
        assert len(alone.boxes) == len(graphs.x)
    assert not torch.allclose(drawn.generate(range(6), 1)[2].images, whole.images, atol=1e-2)


def test_appearance_is_drawn_from_the_bank_by_noise_of_the_split(drawn, stores):
    graphs, given, output = drawn.generate(range(6), 0)
    model, split = drawn.generator, drawn.split
    noise = split.noise(range(6), 0, (2, 16, 16))
    looks = model.draw_appearance(given, split.appearance_noise(range(6), 0, given, 4))
    kept = {tuple(row) for row in model.appearance_bank.picture_vectors[:2].tolist()}
    assert {tuple(row) for row in looks[given.x == 0].tolist()} <= kept
    with torch.no_grad():
        of_boxes = split.box_noise(range(6), 0, given)
        expected = model(given, noise=noise, appearance=looks, box_noise=of_boxes)
    torch.testing.assert_close(output.images, expected.images)
    torch.testing.assert_close(output.boxes, expected.boxes)
    # Boxes are scored the same where pictures are made of true ones.
    drawn.config.boxes = drawn.config.masks = "true"
    torch.testing.assert_close(drawn.generate(range(6), 0)[2].boxes, expected.boxes)


def test_names_in_another_order_give_the_same_kind_of_appearance(stores, tmp_path):
    names = landscape_vocabulary()
    turned = Vocabulary(names.objects[:0:-1], names.predicates[:0:-1])
    other = generation(tmp_path / "turned.pt", stores, tiny_model(1, turned, **OPTIONS))
    graphs, given, output = other.generate(range(3), 0)
    assert output.images.isfinite().all() and torch.equal(graphs.x, given.x)
