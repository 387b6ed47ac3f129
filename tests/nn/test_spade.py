"""The SPADE generator against its formulas, place by place and layer by layer in float64."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import Conv2d

from sg2im_pyg.nn import SpadeGenerator
from sg2im_pyg.nn.spade import SpadeBlock, SpatiallyAdaptiveNorm


def convolve(planes: np.ndarray, conv: Conv2d) -> np.ndarray:
    """A convolution place by place, the border repeated."""
    weight, height, width = conv.weight.detach().numpy(), *planes.shape[2:]
    reach = weight.shape[2] // 2
    result = np.zeros((len(planes), len(weight), height, width))
    for i in range(height):
        for j in range(width):
            for di in range(-reach, reach + 1):
                for dj in range(-reach, reach + 1):
                    row, column = np.clip(i + di, 0, height - 1), np.clip(j + dj, 0, width - 1)
                    factors = weight[:, :, di + reach, dj + reach]
                    result[:, :, i, j] += planes[:, :, row, column] @ factors.T
    return result if conv.bias is None else result + conv.bias.detach().numpy()[:, None, None]


def modulate(norm: SpatiallyAdaptiveNorm, features: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """norm(x) * (1 + gamma) + beta, channel by channel."""
    channels = features.shape[1]
    both = convolve(hidden, norm.scale_and_shift)
    result = np.zeros_like(features)
    for c in range(channels):
        plane = features[:, c]
        normal = (plane - plane.mean()) / np.sqrt(((plane - plane.mean()) ** 2).mean() + 1e-5)
        result[:, c] = normal * (1 + both[:, c]) + both[:, channels + c]
    return result


def leaky(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, 0.2 * values)


def run_block(block: SpadeBlock, features: np.ndarray, layout: np.ndarray) -> np.ndarray:
    hidden = np.maximum(convolve(layout, block.hidden), 0)
    middle = convolve(leaky(modulate(block.norms[0], features, hidden)), block.convs[0])
    result = convolve(leaky(modulate(block.norms[1], middle, hidden)), block.convs[1])
    beside = features
    if isinstance(block.shortcut, Conv2d):
        beside = convolve(features, block.shortcut)
    return result + beside


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_norm_equals_its_formula(kernel_size):
    norm = SpatiallyAdaptiveNorm(3, 4, kernel_size).double()
    features, hidden = normal(2, 3, 4, 5), normal(2, 4, 4, 5)
    expected = modulate(norm, features.numpy(), hidden.numpy())
    torch.testing.assert_close(norm(features, hidden), torch.from_numpy(expected))


@pytest.mark.parametrize("widths", [(4, 4), (4, 3), (2, 5)])
def test_a_block_equals_its_description(widths):
    block = SpadeBlock(3, *widths, hidden_channels=4).double()
    assert isinstance(block.shortcut, Conv2d) == (widths[0] != widths[1])
    features, layout = normal(2, widths[0], 4, 6), normal(2, 3, 4, 6)
    expected = run_block(block, features.numpy(), layout.numpy())
    torch.testing.assert_close(block(features, layout), torch.from_numpy(expected))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_generator_equals_its_description(kernel_size):
    network = SpadeGenerator(5, (4, 3, 2), 4, kernel_size).double()
    layout, noise = normal(2, 3, 8, 12), normal(2, 2, 8, 12)
    planes = torch.cat([layout, noise], dim=1).numpy()
    sizes = []
    for factor in (4, 2, 1):
        blocks = planes.reshape(2, 5, 8 // factor, factor, 12 // factor, factor)
        sizes.append(blocks.mean(axis=(3, 5)))
    features = run_block(network.blocks[0], convolve(sizes[0], network.first), sizes[0])
    for block, seen in zip(list(network.blocks)[1:], sizes[1:], strict=True):
        features = run_block(block, features.repeat(2, axis=2).repeat(2, axis=3), seen)
    expected = convolve(leaky(features), network.output) + convolve(planes, network.colours)
    torch.testing.assert_close(network(layout, noise), torch.from_numpy(expected))
    torch.testing.assert_close(network(torch.from_numpy(planes)), torch.from_numpy(expected))


def test_a_plain_layout_gives_a_picture_without_a_frame():
    network = SpadeGenerator(3, (4, 4), 4).eval()
    layout = torch.randn(1, 3, 1, 1).expand(1, 3, 16, 16)
    with torch.no_grad():
        image = network(layout)
    torch.testing.assert_close(image, image[:, :, :1, :1].expand_as(image), rtol=0, atol=1e-5)


def test_gradients_reach_the_layout_and_all_weights():
    network = SpadeGenerator(3, (4, 3), 4)
    layout = torch.randn(2, 3, 8, 8, requires_grad=True)
    network(layout).square().sum().backward()
    assert layout.grad.abs().sum() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # The bias before a batch norm changes nothing.
        assert parameter.grad.abs().sum() > 0 or name.endswith("bias"), name


def test_reset_parameters_fold_and_repr():
    network = SpadeGenerator(3, (4, 3), 4)
    network(torch.randn(2, 3, 8, 8))  # running statistics that are not the fresh ones
    before = copy.deepcopy(network.state_dict())
    layout = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = network.eval()(layout)
        network.fold()
        assert torch.equal(network(layout), expected)
    network.reset_parameters()
    for key, value in network.state_dict().items():
        assert not torch.equal(value, before[key]), key
    assert [part.module for part in network.parts_to_compile()] == [network]
    assert repr(network) == "SpadeGenerator(3, channels=(4, 3))"
    assert not network.takes_factored


def test_sizes_that_do_not_fit_raise():
    network = SpadeGenerator(3, (4, 3, 2), 4)
    with pytest.raises(ValueError, match="3 blocks need .* multiples of 4, got 8 x 10"):
        network(torch.randn(1, 3, 8, 10))
    with pytest.raises(ValueError, match="at least one block"):
        SpadeGenerator(3, ())
    assert SpadeGenerator(3, (2,), 4)(torch.randn(2, 3, 3, 5)).shape == (2, 3, 3, 5)
