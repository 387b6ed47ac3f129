"""Adversarial losses against their formulas in numpy."""

import numpy as np
import pytest
import torch

from sg2im_pyg.training.criteria import discriminator_loss, generator_loss


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
    "hinge": (
        lambda fake: -fake.mean(),
        lambda real, fake: np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(),
    ),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_adversarial_losses_follow_their_formulas(kind):
    real, fake = np.random.default_rng(0).normal(size=(2, 3, 5, 2, 2)) * 3
    generator, discriminator = FORMULAS[kind]
    tensors = torch.from_numpy(real), torch.from_numpy(fake)
    assert generator_loss(kind, tensors[1]).item() == pytest.approx(generator(fake), abs=1e-12)
    got = discriminator_loss(kind, *tensors).item()
    assert got == pytest.approx(discriminator(real, fake), abs=1e-12)


def test_the_relativistic_loss_compares_pairs():
    real, fake = np.random.default_rng(0).normal(size=(2, 3, 5, 2, 2)) * 3
    expected = [-np.log(sigmoid(fake - real)).mean(), -np.log(sigmoid(real - fake)).mean()]
    tensors = torch.from_numpy(real), torch.from_numpy(fake)
    assert generator_loss("relativistic", tensors[1], tensors[0]).item() == pytest.approx(
        expected[0], abs=1e-12
    )
    found = discriminator_loss("relativistic", *tensors).item()
    assert found == pytest.approx(expected[1], abs=1e-12)


@pytest.mark.parametrize("kind", [*FORMULAS, "relativistic"])
def test_several_scales_count_alike(kind):
    torch.manual_seed(0)
    real = [torch.randn(2, 1, side, side) for side in (4, 2)]
    fake = [torch.randn(2, 1, side, side) for side in (4, 2)]
    pairs = list(zip(real, fake, strict=True))
    found = generator_loss(kind, fake, real).item()
    expected = np.mean([generator_loss(kind, f, r).item() for r, f in pairs])
    assert found == pytest.approx(expected, rel=1e-6)
    found = discriminator_loss(kind, real, fake).item()
    expected = np.mean([discriminator_loss(kind, r, f).item() for r, f in pairs])
    assert found == pytest.approx(expected, rel=1e-6)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'kl'"):
        generator_loss("kl", torch.zeros(1))


def test_scores_far_from_zero_give_finite_losses():
    far = torch.tensor([-1e4, 1e4])
    assert generator_loss("gan", far).item() == pytest.approx(5e3)
