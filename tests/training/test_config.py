"""Options that make no sense are refused, each with its name."""

import pytest

from sg2im_pyg import Sg2ImError
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.training.command_line import CONFIGURATIONS, parse_command
from sg2im_pyg.training.config import (
    DataConfig,
    HardwareConfig,
    ImageDiscriminatorConfig,
    LossConfig,
    ObjectDiscriminatorConfig,
    OptimizerConfig,
    SegmentingDiscriminatorConfig,
    TrainingConfig,
)
from sg2im_pyg.training.losses import LOSSES

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seed": -1}, "seed must be a whole number, at least 0 and at most 4,294,967,295, got -1"),
        ({"seed": 2**32}, "seed must be a whole number"),
        ({"steps": 0}, "steps must be a whole number, at least 1"),
        ({"optimizer": OptimizerConfig(lr=NAN)}, "optimizer.lr"),
        ({"optimizer": OptimizerConfig(lr=INFINITE)}, "optimizer.lr"),
        ({"optimizer": OptimizerConfig(betas=(1.0, 0.9))}, "optimizer.betas"),
        ({"optimizer": OptimizerConfig(betas=(0.9, NAN))}, "optimizer.betas"),
        ({"optimizer": OptimizerConfig(eval_mode_after=-1)}, "optimizer.eval_mode_after"),
        ({"optimizer": OptimizerConfig(discriminator_clip=0.0)}, "optimizer.discriminator_clip"),
        ({"optimizer": OptimizerConfig(gradient_clip=NAN)}, "optimizer.gradient_clip"),
        (
            {"optimizer": OptimizerConfig(ema_decay=1.0)},
            "optimizer.ema_decay must be a number, at least 0 and less than 1",
        ),
        ({"optimizer": OptimizerConfig(warmup_steps=-1)}, "optimizer.warmup_steps"),
        (
            {
                "optimizer": OptimizerConfig(gradient_clip=1.0),
                "hardware": HardwareConfig(precision="16-mixed"),
            },
            "optimizer.gradient_clip can not be had with hardware.precision=16-mixed",
        ),
        ({"optimizer": OptimizerConfig(discriminator_lr=0.0)}, "optimizer.discriminator_lr"),
        ({"optimizer": OptimizerConfig(discriminator_steps=0)}, "optimizer.discriminator_steps"),
        (
            {"optimizer": OptimizerConfig(discriminator_betas=(0.0, 1.0))},
            "optimizer.discriminator_betas must be a list of 2 numbers, each at least 0 and less",
        ),
        ({"predicted_masks": 1.5}, "predicted_masks must be a number, at least 0 and at most 1"),
        (
            {
                "losses": LossConfig(r1=1.0),
                "hardware": HardwareConfig(precision="16-mixed"),
            },
            "losses.r1 and losses.r2 can not be had with hardware.precision=16-mixed",
        ),
        (
            {"losses": LossConfig(r1=1.0), "hardware": HardwareConfig(compile="default")},
            "losses.r1 and losses.r2 can not be had with hardware.compile",
        ),
        (
            {"losses": LossConfig(r2=1.0)},
            "which image_discriminator.normalization: batch mixes: choose spectral",
        ),
        (
            {
                "losses": LossConfig(r1=1.0),
                "image_discriminator": ImageDiscriminatorConfig(normalization="none"),
                "object_discriminator": ObjectDiscriminatorConfig(),
            },
            "which object_discriminator.normalization: batch mixes",
        ),
        (
            {
                "losses": LossConfig(feature_matching=1.0),
                "image_discriminator": ImageDiscriminatorConfig(layers=((4, 8, 2),)),
            },
            "losses.feature_matching compares layers before the scores",
        ),
        (
            {"image_discriminator": ImageDiscriminatorConfig(scales=0)},
            "image_discriminator.scales must be a whole number, at least 1 and at most 8, got 0",
        ),
        (
            {"image_discriminator": ImageDiscriminatorConfig(scales="two")},
            "image_discriminator.scales must be a whole number",
        ),
        (
            {"segmenting_discriminator": SegmentingDiscriminatorConfig(channels=0)},
            "segmenting_discriminator.channels",
        ),
        (
            {
                "segmenting_discriminator": SegmentingDiscriminatorConfig(True),
                "model": ModelConfig(image_size=(64, 68), refinement_dims=(8, 4)),
            },
            r"segmenting_discriminator needs pictures whose sides are multiples of 8, got \(64, 68",
        ),
        ({"accumulation": 0}, "accumulation must be a whole number, at least 1"),
        ({"data": DataConfig(max_objects_per_batch=1)}, "data.max_objects_per_batch"),
    ],
)
def test_wrong_options(options, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        TrainingConfig(**options)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weight", [-1.0, NAN, INFINITE])
def test_wrong_weights(name, weight):
    with pytest.raises(Sg2ImError, match=f"losses.{name} must be a number, at least 0"):
        LossConfig(**{name: weight})


@pytest.mark.parametrize("kinds", [("color",), "colour", ("colour", None)])
def test_wrong_kinds_of_augmentation(kinds):
    kinds_there = "colour, translation, cutout"
    with pytest.raises(Sg2ImError, match=f"losses.augmentation must be a .* one of {kinds_there}"):
        LossConfig(augmentation=kinds)


def test_some_weight_must_not_be_zero():
    with pytest.raises(Sg2ImError, match="All weights"):
        LossConfig(**dict.fromkeys(LOSSES, 0.0))


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ((), "at least one convolution"),
        (((4, 8, 0),), "each a list of 3 whole numbers, each at least 1 and at most"),
        (((0, 8, 2),), "each a list of 3 whole numbers, each at least 1 and at most"),
        (((4, -8, 2),), "each a list of 3 whole numbers, each at least 1 and at most"),
        (((65, 8, 1),), "at least 65 pixels"),
        (((64, 8, 1), (1, 8, 1)), "can not be normalized"),
    ],
)
def test_wrong_layers(layers, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        TrainingConfig(image_discriminator=ImageDiscriminatorConfig(layers=layers))
    if not sentence.startswith("each"):  # numbers of a discriminator that is switched off, too
        TrainingConfig(image_discriminator=ImageDiscriminatorConfig(enabled=False, layers=layers))


@pytest.mark.parametrize("kind", ["kl", None, 1])
def test_wrong_kinds_of_losses(kind):
    with pytest.raises(Sg2ImError, match="one of gan, lsgan, wgan, hinge, relativistic"):
        LossConfig(adversarial_kind=kind)
    with pytest.raises(Sg2ImError, match="one of squared, l1, giou, recall"):
        LossConfig(box_distance=kind)


def test_a_discriminator_that_is_off_needs_no_layers_for_feature_matching():
    judge = ImageDiscriminatorConfig(enabled=False, layers=((4, 8, 2),))
    TrainingConfig(losses=LossConfig(feature_matching=1.0, r1=1.0), image_discriminator=judge,
                   object_discriminator=ObjectDiscriminatorConfig(enabled=False))  # fmt: skip


def test_a_file_builds_on_a_configuration_of_the_library(tmp_path):
    (tmp_path / "own.yaml").write_text("base: landscapes128\nsteps: 7\nlosses: {mask: 0.5}\n")
    found = parse_command(["--config", str(tmp_path / "own.yaml")], tmp_path, None).config
    (tmp_path / "rest.yaml").write_text("steps: 7\nlosses: {mask: 0.5}\n")
    files = ("landscapes", "landscapes128", str(tmp_path / "rest.yaml"))
    expected = parse_command([f"--config={name}" for name in files], tmp_path, None).config
    assert found == expected
    assert (found.steps, found.losses.mask, found.batch_size) == (7, 0.5, 8)
    assert found.model.generator == "sharp_crn" and found.model.box_flow_dim == 0


def test_configurations_that_build_on_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sg2im_pyg.training.command_line.CONFIGURATIONS", tmp_path)
    (tmp_path / "a.yaml").write_text("base: b\nsteps: 1\n")
    (tmp_path / "b.yaml").write_text("base: a\n")
    (tmp_path / "alone.yaml").write_text("base: alone\n")
    for name in ("a", "b", "alone"):
        with pytest.raises(Sg2ImError, match=rf"{name}\.yaml builds on itself: take 'base' out of"):
            parse_command(["--config", name], tmp_path / "elsewhere", None)


PUBLISHED = sorted(path.stem for path in CONFIGURATIONS.glob("*.yaml") if path.stem[:3] != "lan")
PUBLISHED = [name for name in PUBLISHED if name not in ("coco128", "coco256")]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_have_nothing_new(name, tmp_path):
    config = parse_command(["--config", name], tmp_path, None).config
    model, losses, optimizer = config.model, config.losses, config.optimizer
    assert (losses.adversarial_kind, losses.box_distance) == ("gan", "squared")
    assert losses.appearance == losses.feature_matching == losses.r1 == losses.r2 == 0
    assert losses.augmentation == ()
    assert (optimizer.lr, optimizer.betas) == (1e-4, (0.9, 0.999))
    assert optimizer.discriminator_lr is None and optimizer.discriminator_betas is None
    assert optimizer.discriminator_steps == 1
    assert config.image_discriminator.scales == 1 and not config.image_discriminator.conditional
    assert not config.segmenting_discriminator.enabled and not config.predicted_masks
    assert (model.generator, model.overlap, model.mask_head) == ("crn", "sum", "upsample")
    assert not (model.appearance_dim or model.layout_dim or model.layout_coordinates or model.snap)
    assert not model.box_flow_dim and model.mask_sharpness == 1 and losses.mask_over == "all"


def test_there_are_no_more_scales_than_fit_the_pictures():
    judge = ImageDiscriminatorConfig(scales=8, normalization="spectral", layers=((4, 8, 2),) * 2)
    config = TrainingConfig(image_discriminator=judge)  # 64 pixels: 64, 32, 16, but not 8
    assert config.image_discriminator.scales == 3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model.gconv_num_layers", 20_000),
        ("model.image_size", [10**6, 64]),
        ("hardware.devices", "100000"),
        ("hardware.num_nodes", 10**6),
        ("data.workers", 5000),
        ("batch_size", 10**9),
        ("image_discriminator.layers", [[4, 64, 2]] * 33),
        ("object_discriminator.object_size", 10**6),
    ],
)
def test_absurd_values_are_refused(option, value, tmp_path):
    with pytest.raises(Sg2ImError, match=option.rpartition(".")[2]):
        parse_command([f"--{option}={value}"], tmp_path, "")
