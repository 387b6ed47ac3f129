"""Convolutions that save operations against the same ones written out."""

import pytest
import torch
import torch.nn.functional as F

from sg2im_pyg.nn.economical import add_factored, convolve_upsampled, upsampling_kernel
from sg2im_pyg.nn.layout import FactoredLayout


def leaf(*shape, order=torch.contiguous_format):
    values = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=order)
    return values.requires_grad_()


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 2), (5, 7)])
def test_convolving_features_of_twice_their_size(size, order):
    features, weight, bias = leaf(2, 3, *size, order=order), leaf(5, 3, 3, 3, order=order), leaf(5)
    doubled = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = F.conv2d(doubled, weight, bias, padding=1)
    found = convolve_upsampled(features, weight, bias)
    torch.testing.assert_close(found, expected)
    weighting = torch.randn_like(expected)
    inputs = (features, weight, bias)
    for mine, theirs in zip(
        torch.autograd.grad(found, inputs, weighting),
        torch.autograd.grad(expected, inputs, weighting),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_the_larger_kernel_sums_what_falls_onto_the_same_feature():
    weight = torch.arange(9.0).view(1, 1, 3, 3)
    # Of the corner position only the kernel's opposite corner is left, of the next one two.
    kernel = upsampling_kernel(weight)[0, 0]
    assert kernel[0].tolist() == [8, 8 + 7, 7 + 6, 6]
    assert kernel.sum() == 4 * weight.sum()


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (1, 3)])
def test_adding_the_convolution_of_a_factored_layout(kernel, order):
    layout = FactoredLayout(leaf(2, 3, 4), leaf(2, 3, 6, 9))
    weight, result = leaf(5, 4, *kernel), leaf(2, 5, 6, 9, order=order)

    def added(result, vectors, masks, weight):
        return add_factored(result, FactoredLayout(vectors, masks), weight)

    inputs = (result, *layout, weight)
    expected = result + F.conv2d(layout.multiply(), weight, padding="same")
    torch.testing.assert_close(added(*inputs), expected)
    assert torch.autograd.gradcheck(added, inputs)
    with torch.no_grad():  # in place, where that can be
        for given in (result.clone(), result[:1].expand(2, -1, -1, -1)):
            wanted = given + F.conv2d(layout.multiply(), weight, padding="same")
            torch.testing.assert_close(added(given, *inputs[1:]), wanted)
    many = FactoredLayout(*(values.repeat(9, *[1] * (values.dim() - 1)) for values in layout))
    with torch.no_grad():
        found = added(result.repeat(9, 1, 1, 1), *many, weight)
    torch.testing.assert_close(found, expected.repeat(9, 1, 1, 1))
