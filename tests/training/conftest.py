"""A tiny data set and a configuration that trains on it in seconds."""

from dataclasses import replace

import pytest

from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.sources.landscapes.options import LandscapesOptions
from sg2im_pyg.sources.landscapes.source import prepare_landscapes
from sg2im_pyg.training.config import (
    DataConfig,
    HardwareConfig,
    ImageDiscriminatorConfig,
    ObjectDiscriminatorConfig,
    OptimizerConfig,
    SegmentingDiscriminatorConfig,
    TrainingConfig,
)
from sg2im_pyg.training.losses import LossConfig

LAYERS = ((4, 4, 2), (4, 8, 2))


@pytest.fixture(scope="session")
def landscapes(tmp_path_factory):
    """Root of a prepared data set of 20 + 6 + 6 landscapes of 16 x 16."""
    root = tmp_path_factory.mktemp("landscapes")
    prepare_landscapes(root, (16, 16), 4, 20, 6, 6, workers=1, progress=False)
    return root


@pytest.fixture
def config(landscapes, monkeypatch):
    # train() draws missing data with the default counts; here it is prepared already.
    monkeypatch.setattr(LandscapesOptions, "prepare", lambda _: None)
    return TrainingConfig(
        data=DataConfig(name="landscapes", root=str(landscapes), workers=0),
        model=ModelConfig(
            image_size=(16, 16),
            embedding_dim=8,
            gconv_dim=8,
            gconv_hidden_dim=8,
            gconv_num_layers=2,
            mask_size=4,
            layout_noise_dim=2,
            refinement_dims=(8, 4),
        ),
        image_discriminator=ImageDiscriminatorConfig(layers=LAYERS),
        object_discriminator=ObjectDiscriminatorConfig(layers=LAYERS, object_size=12),
        losses=LossConfig(mask=0.1),
        optimizer=OptimizerConfig(lr=1e-3, eval_mode_after=0),
        hardware=HardwareConfig(accelerator="cpu", devices="1"),
        steps=8,
        batch_size=4,
        log_every=1,
        sample_every=100,
        validate_every=4,
        checkpoint_every=3,
    )


@pytest.fixture
def everything(config):
    """What the published configurations leave off, on all at once."""
    config.model = replace(
        config.model,
        appearance_dim=4,
        box_flow_dim=8,
        mask_sharpness=3.0,
        layout_dim=6,
        layout_coordinates=True,
        overlap="front",
        mask_head="linear",
        snap=0.05,
        generator="spade",
        modulation_dim=8,
    )
    config.image_discriminator = ImageDiscriminatorConfig(
        layers=((3, 4, 2), (2, 8, 1)),
        normalization="spectral",
        patch_scores=True,
        scales=2,
        conditional=True,
    )
    config.object_discriminator.normalization = "spectral"
    config.segmenting_discriminator = SegmentingDiscriminatorConfig(True, channels=4)
    config.losses = LossConfig(
        mask=0.1,
        mask_over="visible",
        appearance=0.01,
        feature_matching=1.0,
        adversarial_kind="hinge",
        box_distance="recall",
        r1=0.1,
        r2=0.1,
        augmentation=("colour", "translation", "cutout"),
    )
    config.optimizer.ema_decay = 0.5
    config.optimizer.discriminator_lr = 2e-3
    config.optimizer.discriminator_betas = (0.0, 0.9)
    config.optimizer.discriminator_steps = 2
    config.predicted_masks = 0.5
    return replace(config)
