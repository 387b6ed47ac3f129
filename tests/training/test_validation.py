"""Validation and sample pictures of a model that draws its boxes: the same each time."""

import numpy as np
import pytest
import torch

from sg2im_pyg import Vocabulary
from sg2im_pyg.data import Scene, SceneDataset, SceneWriter
from sg2im_pyg.data.store import store_path
from sg2im_pyg.training.config import DataConfig
from sg2im_pyg.training.data import most_validated, open_split
from sg2im_pyg.training.loader import fixed_batches
from sg2im_pyg.training.noise import box_noise
from sg2im_pyg.training.players import build_players
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.validation import prepare_draws, sample_sheet, validate


@pytest.fixture
def setting(everything):
    dataset = open_split(everything, "val", augment=False)
    fabric = launch_fabric(everything)
    torch.manual_seed(0)
    model = build_players(fabric, everything, dataset.vocabulary).for_samples
    torch.nn.init.normal_(model.box_flow.output[1].weight)
    return fabric, model, dataset


def test_validation_is_the_same_each_time_and_in_any_parts(setting, everything):
    fabric, model, dataset = setting
    whole, parts = (fixed_batches(dataset, range(6), count, seed=0) for count in (6, 4))
    first = validate(fabric, model, whole, everything.losses)
    torch.rand(9)
    assert validate(fabric, model, whole, everything.losses) == first
    apart = validate(fabric, model, parts, everything.losses)
    # A share of boxes and a mean over the batch aside, which losses of parts are not.
    for name in ("box_flow", "box_relation", "mask", "pixel", "box_iou"):
        assert apart[name] == pytest.approx(first[name], rel=1e-4), name
    (graphs,) = whole
    noise = box_noise(model.config, 0, 0, graphs.image_id.tolist(), graphs, torch.device("cpu"))
    with torch.no_grad():
        flow = model.eval().box_flow_errors(graphs, noise)
        masks = model(graphs, graphs.boxes, graphs.masks).masks
        vectors = model.object_vectors(graphs)
        assert masks.shape[0] == len(vectors)
    assert first["box_flow"] == pytest.approx(flow.velocity.mean().item(), rel=1e-5)
    expected = flow.relations.sum().item() / len(graphs.x)
    assert first["box_relation"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "trained", "validated"),
    [
        ({}, 13, 10),  # as the release scores
        ({"max_objects": 10}, 10, 10),  # vg64
        ({"max_objects": 10, "subsampling": "as-released"}, 11, 11),
        ({"max_objects": 10, "validation_max_objects": 0}, 10, 13),
        ({"max_objects": 6, "validation_max_objects": 30}, 6, 13),
        ({"max_objects": 6}, 6, 6),
    ],
)
def test_visual_genome_is_validated_with_ten_objects_a_picture(
    config, tmp_path, options, trained, validated
):
    vocabulary = Vocabulary([f"thing {i}" for i in range(12)], ["near"])
    for split in ("train", "val"):
        path = store_path(tmp_path, (16, 16), split)
        with SceneWriter(path, vocabulary, (16, 16), 0, {"source": "visual_genome"}) as writer:
            chain = np.array([[i, 1, i + 1] for i in range(11)], np.int32)
            boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (12, 1))
            image = np.zeros((16, 16, 3), np.uint8)
            writer.add(Scene(1, image, np.arange(1, 13), boxes, relationships=chain))
    config.data = DataConfig(name="visual_genome", root=str(tmp_path), **options)
    for split, augment, nodes in (("train", True, trained), ("val", False, validated)):
        assert len(open_split(config, split, augment)[0].x) == nodes


@pytest.mark.parametrize("source", ["coco", "landscapes", "own", "mine"])
def test_other_data_is_validated_with_all_objects(config, tmp_path, source):
    path = tmp_path / "train.h5"
    with SceneWriter(path, Vocabulary(["sky"], ["near"]), (4, 4), 0, {"source": source}):
        pass
    assert most_validated(config, SceneDataset(path)) is None


def test_masks_are_validated_as_they_are_trained(setting, everything):
    fabric, model, dataset = setting
    batches = fixed_batches(dataset, range(6), 6, seed=0)
    values = []
    for sharpness in (1.0, 4.0):
        model.config.mask_sharpness = sharpness
        values.append(validate(fabric, model, batches, everything.losses))
    assert values[0] == values[1]


def test_sample_pictures_are_the_same_each_time(setting):
    fabric, model, dataset = setting
    batches = fixed_batches(dataset, range(3), 3, seed=0)
    prepare_draws(fabric, model, batches)
    first, again = (sample_sheet(fabric, model, batches[0]).tobytes() for _ in range(2))
    assert first == again and model.training


def test_categories_are_settled_by_all_pictures(setting):
    fabric, model, dataset = setting
    batches = fixed_batches(dataset, range(6), 4, seed=0)

    def answers(vectors):
        return next(true)[: len(vectors)]

    # A regression that knows every box settles all that is shown, one that knows none nothing.
    for shift, known in ((0.0, True), (5.0, False)):
        true = iter([batch.boxes + shift for batch in batches])
        model.box_head.forward = answers
        prepare_draws(fabric, model, batches)
        shown = {int(c) for batch in batches for c in batch.x}
        for category, settled in enumerate(model.box_flow.settled.tolist()):
            assert settled == (known and category in shown)
