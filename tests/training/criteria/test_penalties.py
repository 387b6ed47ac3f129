"""Penalties on gradients against finite differences."""

import numpy as np
import pytest
import torch

from sg2im_pyg.nn.discriminators import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.training.criteria import gradient_penalty


def differences(function, images, step=1e-6):
    """The gradient of a number by each pixel, by two calls for each."""
    gradient = torch.zeros_like(images)
    for i in range(images.numel()):
        moved = torch.zeros(images.numel(), dtype=images.dtype)
        moved[i] = step
        moved = moved.view_as(images)
        gradient.view(-1)[i] = (function(images + moved) - function(images - moved)) / (2 * step)
    return gradient


@pytest.mark.parametrize("scales", [1, 2])
def test_the_gradient_penalty_equals_finite_differences(scales):
    torch.manual_seed(0)
    network = PatchDiscriminator(((3, 4, 1), (2, 3, 1)), "none", scales=scales).double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected = 0.0
    for image in images:

        def score(pixels):
            scores = network(pixels.unsqueeze(0))
            return sum(s.mean().item() for s in (scores if scales > 1 else [scores]))

        expected += 0.5 * differences(score, image).square().sum().item() / len(images)
    asked = images.clone().requires_grad_()
    penalty = gradient_penalty(network(asked), asked)
    assert penalty.item() == pytest.approx(expected, rel=1e-6)
    # It has a gradient of its own, by the weights.
    weight = network.convs[0].weight
    (gradient,) = torch.autograd.grad(penalty, weight)
    values = []
    for moved in (1e-5, -1e-5):
        with torch.no_grad():
            weight[0, 0, 0, 0] += moved
        values.append(gradient_penalty(network(asked), asked).item())
        with torch.no_grad():
            weight[0, 0, 0, 0] -= moved
    assert gradient[0, 0, 0, 0].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


def test_the_gradient_penalty_of_objects_is_that_of_their_crops():
    torch.manual_seed(0)
    network = ObjectDiscriminator(4, ((3, 4, 2),), "none", 8, hidden_channels=5).double()
    crops = torch.randn(3, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    whole = gradient_penalty(network(crops)[0], crops).item()
    each = []
    for i in range(3):
        own = crops[i : i + 1].detach().requires_grad_()
        each.append(gradient_penalty(network(own)[0], own).item())
    assert whole == pytest.approx(np.mean(each))
    # Cut out by the network itself, they give the same scores.
    images, boxes = torch.randn(1, 3, 8, 8).double(), torch.tensor([[0.0, 0, 1, 1]]).double()
    cut = network(images, boxes, torch.tensor([0]))
    for found, expected in zip(network(images), cut, strict=True):
        torch.testing.assert_close(found, expected)
