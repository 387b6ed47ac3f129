"""Options that make no sense are refused, each with its name."""

import pytest

from sg2im_pyg import Sg2ImError
from sg2im_pyg.training.config import (
    DataConfig,
    HardwareConfig,
    ImageDiscriminatorConfig,
    LossConfig,
    OptimizerConfig,
    TrainingConfig,
)
from sg2im_pyg.training.losses import LOSSES

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seed": -1}, "seed must be a whole number, at least 0 and at most 4,294,967,295, got -1"),
        ({"seed": 2**32}, "seed must be a whole number"),
        ({"steps": 0}, "steps must be a whole number, at least 1, got 0"),
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


def test_some_weight_must_not_be_zero():
    with pytest.raises(Sg2ImError, match="All weights"):
        LossConfig(**dict.fromkeys(LOSSES, 0.0))


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ((), "at least one convolution"),
        (((4, 8, 0),), "each a list of 3 whole numbers, each at least 1 and at most 65,536"),
        (((0, 8, 2),), "each a list of 3 whole numbers, each at least 1 and at most 65,536"),
        (((4, -8, 2),), "each a list of 3 whole numbers, each at least 1 and at most 65,536"),
        (((65, 8, 1),), "at least 65 pixels"),
        (((64, 8, 1), (1, 8, 1)), "can not be normalized"),
    ],
)
def test_wrong_layers(layers, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        TrainingConfig(image_discriminator=ImageDiscriminatorConfig(layers=layers))
    # Of a discriminator that is switched off they do not matter.
    TrainingConfig(image_discriminator=ImageDiscriminatorConfig(enabled=False, layers=layers))
