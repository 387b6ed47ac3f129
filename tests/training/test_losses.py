"""The adversarial losses against their formulas in numpy."""

import numpy as np
import pytest
import torch

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.training.losses import (
    LossConfig,
    box_loss,
    discriminator_loss,
    generator_loss,
    mask_loss,
    weighted_sum,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "gan": (
        lambda fake: -np.log(sigmoid(fake)).mean(),
        lambda real, fake: -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean(),
    ),
    "lsgan": (
        lambda fake: ((sigmoid(fake) - 1) ** 2).mean(),
        lambda real, fake: ((sigmoid(real) - 1) ** 2).mean() + (sigmoid(fake) ** 2).mean(),
    ),
    "wgan": (lambda fake: -fake.mean(), lambda real, fake: fake.mean() - real.mean()),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_adversarial_losses_follow_their_formulas(kind):
    real, fake = np.random.default_rng(0).normal(size=(2, 3, 5, 2, 2)) * 3
    generator, discriminator = FORMULAS[kind]
    tensors = torch.from_numpy(real), torch.from_numpy(fake)
    assert generator_loss(kind, tensors[1]).item() == pytest.approx(generator(fake), abs=1e-12)
    got = discriminator_loss(kind, *tensors).item()
    assert got == pytest.approx(discriminator(real, fake), abs=1e-12)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'kl'"):
        generator_loss("kl", torch.zeros(1))


def test_scores_far_from_zero_give_finite_losses():
    far = torch.tensor([-1e4, 1e4])
    assert generator_loss("gan", far).item() == pytest.approx(5e3)


def test_box_loss_is_squared_or_absolute():
    predicted, true = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.5, 0, 1, 1]])
    assert box_loss("squared", predicted, true).item() == pytest.approx(0.25 / 4)
    assert box_loss("l1", predicted, true).item() == pytest.approx(0.5 / 4)


def test_mask_loss_is_the_binary_cross_entropy_also_for_masks_of_another_size():
    predicted = torch.tensor([[[0.25, 0.5], [0.75, 0.9]]])
    true = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    expected = -np.mean(np.log([0.75, 0.5, 0.75, 0.9]))
    assert mask_loss(predicted, true).item() == pytest.approx(expected, abs=1e-6)
    larger = torch.ones(1, 4, 4)
    expected = -np.mean(np.log([0.25, 0.5, 0.75, 0.9]))
    assert mask_loss(predicted, larger).item() == pytest.approx(expected, abs=1e-6)


def test_the_total_is_weighted():
    losses = {"box": torch.tensor(2.0), "pixel": torch.tensor(3.0)}
    assert weighted_sum(losses, LossConfig()).item() == 10 * 2 + 3


def test_negative_weights_are_refused():
    with pytest.raises(Sg2ImError, match="losses.pixel"):
        LossConfig(pixel=-1)
