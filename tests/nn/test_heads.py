"""Box and mask head against their description."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn import BatchNorm2d, Conv2d, ConvTranspose2d, Linear

from sg2im_pyg.nn import BoxHead, MaskHead
from sg2im_pyg.nn.heads import MIDDLE, LinearMaskHead, TextureHead


def test_box_head_is_two_linear_layers_each_with_relu():
    head = BoxHead(6, hidden_channels=9).double()
    first, second = (layer for layer in head.layers if isinstance(layer, Linear))
    vectors = torch.randn(7, 6, dtype=torch.float64)
    hidden = (vectors @ first.weight.T + first.bias).clamp(min=0)
    expected = (hidden @ second.weight.T + second.bias).clamp(min=0)
    torch.testing.assert_close(head(vectors), expected)
    assert head(vectors).shape == (7, 4)
    assert BoxHead(128).layers[0].weight.shape == (512, 128)


def test_box_head_with_norm_normalizes_before_each_relu():
    head = BoxHead(6, hidden_channels=9, norm="batch_norm").double()
    rows = vectors = torch.randn(7, 6, dtype=torch.float64)
    for layer in (layer for layer in head.layers if isinstance(layer, Linear)):
        rows = rows @ layer.weight.T + layer.bias
        rows = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
        rows = rows.clamp(min=0)
    torch.testing.assert_close(head(vectors), rows)


def test_boxes_are_single_precision_under_autocast():
    head = BoxHead(6, hidden_channels=9)
    vectors = torch.randn(7, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        boxes = head(vectors)
        assert head(vectors.bfloat16()).dtype == torch.float32
    assert boxes.dtype == torch.float32
    assert torch.equal(boxes, head(vectors))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("mask_size", [1, 2, 4, 16])
def test_mask_head_equals_its_description(mask_size, transposed):
    head = MaskHead(5, mask_size, transposed).double()
    vectors = torch.randn(3, 5, dtype=torch.float64)
    kinds = (Conv2d, ConvTranspose2d)
    *ups, last = (layer for layer in head.layers if isinstance(layer, kinds))
    assert len(ups) == mask_size.bit_length() - 1
    assert len([layer for layer in head.layers if isinstance(layer, BatchNorm2d)]) == len(ups)

    def norm(x):
        variance = x.var((0, 2, 3), unbiased=False, keepdim=True)
        return (x - x.mean((0, 2, 3), keepdim=True)) / (variance + 1e-5).sqrt()

    features = vectors.view(3, 5, 1, 1)
    for up in ups:
        if transposed:  # the paper: transposed convolution, batch norm, ReLU
            features = F.conv_transpose2d(features, up.weight, up.bias, stride=2, padding=1)
            features = norm(features)
        else:  # the release: upsampling, batch norm, convolution, ReLU
            features = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
            features = F.conv2d(norm(features), up.weight, up.bias, padding=1)
        features = features.clamp(min=0)
    logits = torch.einsum("ochw,c->ohw", features, last.weight.view(-1)) + last.bias
    masks = head(vectors)
    assert masks.shape == (3, mask_size, mask_size)
    torch.testing.assert_close(masks, 1 / (1 + (-logits).exp()))


@pytest.mark.parametrize("mask_size", [4, 8, 32])
def test_linear_mask_head_equals_its_description(mask_size):
    head = LinearMaskHead(5, mask_size).double()
    vectors = torch.randn(3, 5, dtype=torch.float64)
    convs = [layer for layer in head.layers if isinstance(layer, Conv2d)]
    widths = {4: [32], 8: [32, 24], 32: [32, 24, 16, 12]}[mask_size]
    assert [conv.weight.size(1) for conv in convs] == widths
    first = head.layers[0]
    features = vectors @ first.weight.T + first.bias
    features = torch.where(features > 0, features, 0.2 * features).view(3, 32, 4, 4)
    for conv in convs[:-1]:
        features = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
        features = F.conv2d(features, conv.weight, conv.bias, padding=1)
        mean = features.mean((0, 2, 3), keepdim=True)
        variance = (features - mean).square().mean((0, 2, 3), keepdim=True)
        features = (features - mean) / (variance + 1e-5).sqrt()
        features = torch.where(features > 0, features, 0.2 * features)
    logits = F.conv2d(features, convs[-1].weight, convs[-1].bias, padding=1).squeeze(1)
    masks = head(vectors)
    assert masks.shape == (3, mask_size, mask_size)
    torch.testing.assert_close(masks, 1 / (1 + (-logits).exp()))


def test_texture_head_equals_its_description():
    head = TextureHead(5, 3, 4, hidden_channels=7).double()
    vectors = torch.randn(2, 5, dtype=torch.float64)
    first, _, second, _ = head.layers
    hidden = vectors @ first.weight.T + first.bias
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    maps = head(vectors)
    assert maps.shape == (2, 3, 4, 4)
    for channel, row, column in np.ndindex(3, 4, 4):
        place = 16 * channel + 4 * row + column
        expected = hidden @ second.weight[place] + second.bias[place]
        torch.testing.assert_close(maps[:, channel, row, column], expected)


@pytest.mark.parametrize("mask_size", [0, 1, 2, 12])
def test_linear_masks_of_other_sizes_raise(mask_size):
    with pytest.raises(ValueError, match=f"power of two of at least 4, got {mask_size}"):
        LinearMaskHead(5, mask_size)


@pytest.mark.parametrize("objects", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_without_upsampled_features_nothing_else_changes(training, objects, monkeypatch):
    monkeypatch.setattr("sg2im_pyg.nn.economical._PIXELS_TO_MERGE", 0)
    plain = MaskHead(5, 8).double().train(training)
    economical = copy.deepcopy(plain)
    plain.economical = False
    results = []
    for head in (plain, economical):
        torch.manual_seed(0)
        for _ in range(2):
            vectors = torch.randn(objects, 5, dtype=torch.float64, requires_grad=True)
            masks = head(vectors)
            masks.pow(3).sum().backward()
        gradients = [parameter.grad for parameter in head.parameters()]
        results.append([masks, vectors.grad, *gradients, *head.buffers()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mask_size", [0, 3, 12, -4])
def test_mask_sizes_that_are_no_power_of_two_raise(mask_size):
    with pytest.raises(ValueError, match=f"power of two, got {mask_size}"):
        MaskHead(5, mask_size)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BoxHead(6, 9),
        lambda: BoxHead(6, 9, "batch_norm"),
        lambda: MaskHead(6, 4),
        lambda: MaskHead(6, 4, transposed=True),
        lambda: LinearMaskHead(6, 8),
        lambda: TextureHead(6, 2, 4),
    ],
)
def test_reset_parameters_and_gradients(make):
    head = make()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    head(torch.randn(8, 6)).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    head.reset_parameters()
    for key, value in head.state_dict().items():
        assert (value.dim() < 2) or not torch.equal(value, before[key]), key
        if "running" in key:
            assert torch.equal(value, before[key])


def test_no_objects_and_reprs():
    assert BoxHead(6)(torch.zeros(0, 6)).shape == (0, 4)
    assert MaskHead(6, 4).eval()(torch.zeros(0, 6)).shape == (0, 4, 4)
    assert LinearMaskHead(6, 8).eval()(torch.zeros(0, 6)).shape == (0, 8, 8)
    assert repr(LinearMaskHead(6, 8)) == "LinearMaskHead(6, mask_size=8)"
    assert TextureHead(6, 2, 4)(torch.zeros(0, 6)).shape == (0, 2, 4, 4)
    assert repr(TextureHead(6, 2, 4)) == "TextureHead(6, 2, 4)"
    assert repr(BoxHead(6)) == "BoxHead(6)"
    assert repr(MaskHead(6, 4)) == "MaskHead(6, mask_size=4)"


@pytest.mark.parametrize("seed", range(6))
def test_every_coordinate_of_a_box_can_be_learnt(seed):
    """A coordinate that is zero for every object has no gradient: none may start like that."""
    torch.manual_seed(seed)
    vectors = torch.rand(40, 16)  # not negative, as those that leave a ReLU
    boxes = torch.rand(40, 4).mul(0.4) + torch.tensor([0.0, 0.0, 0.5, 0.5])
    head = BoxHead(16, 32)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(head(vectors), boxes).backward()
        optimizer.step()
    assert ((head(vectors) - boxes).abs().mean(0) < 0.11).all()  # 0.1: the mean box for all
    head.reset_parameters()
    assert torch.equal(head.layers[2].bias.detach(), torch.tensor(MIDDLE))
