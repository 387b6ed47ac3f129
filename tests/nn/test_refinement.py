"""The refinement network against the description of its modules, step by step."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune

from sg2im_pyg.nn import RefinementNetwork
from sg2im_pyg.nn.layout import FactoredLayout


def direct(network: RefinementNetwork, layout, normalization):
    """The network of the paper, from the parameters alone."""

    def conv(layer, x):
        side = layer.kernel_size[0] // 2
        if network.sharp:  # the border again around the input
            rows = torch.arange(-side, x.size(2) + side).clamp(0, x.size(2) - 1)
            columns = torch.arange(-side, x.size(3) + side).clamp(0, x.size(3) - 1)
            return F.conv2d(x[:, :, rows][:, :, :, columns], layer.weight, layer.bias)
        return F.conv2d(x, layer.weight, layer.bias, padding=side)

    def norm(x):
        if normalization == "none":
            return x
        dims = (0, 2, 3) if normalization == "batch" else (2, 3)
        variance = x.var(dims, unbiased=False, keepdim=True)
        return (x - x.mean(dims, keepdim=True)) / (variance + 1e-5).sqrt()

    convs = [m for block in network.blocks for m in block if isinstance(m, torch.nn.Conv2d)]
    steps = len(network.blocks)
    images, _, height, width = layout.shape
    features = torch.zeros(images, 1, height >> steps, width >> steps, dtype=layout.dtype)
    for i in range(steps):
        features = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        side = 2 ** (steps - i - 1)
        blocks = layout.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        features = torch.cat([blocks.mean((3, 5)), features], dim=1)
        for layer in convs[2 * i : 2 * i + 2]:
            features = norm(conv(layer, features))
            features = torch.where(features > 0, features, 0.2 * features)
    features = conv(network.output[0], features)
    images = conv(network.output[2], torch.where(features > 0, features, 0.2 * features))
    if network.sharp:
        weights = network.colours.weight[:, :, 0, 0]  # of the channels that are no noise
        seen = layout[:, : layout.size(1) - network.noise_channels]
        images = images + torch.einsum("oc,nchw->nohw", weights, seen)
        images = images + network.colours.bias.view(-1, 1, 1)
    return images


@pytest.mark.parametrize("normalization", ["batch", "instance", "none"])
@pytest.mark.parametrize(("channels", "size"), [((5,), (4, 2)), ((6, 5, 4), (16, 24))])
def test_equals_the_description(normalization, channels, size):
    network = RefinementNetwork(3, channels, normalization).double()
    layout = torch.randn(2, 3, *size, dtype=torch.float64)
    images = network(layout)
    assert images.shape == (2, 3, *size)
    torch.testing.assert_close(images, direct(network, layout, normalization))


@pytest.mark.parametrize("noise_channels", [0, 2])
def test_the_sharp_one_equals_its_description(noise_channels):
    network = RefinementNetwork(5, (4, 3), sharp=True, noise_channels=noise_channels).double()
    layout = torch.randn(2, 5, 8, 12, dtype=torch.float64)
    images = network(layout[:, : 5 - noise_channels], layout[:, 5 - noise_channels :])
    torch.testing.assert_close(images, direct(network, layout, "batch"))
    network.eval()
    expected = network(layout)
    network.fold()
    torch.testing.assert_close(network(layout), expected)


@pytest.mark.parametrize(
    "size", [(32, 32), (64, 64), (128, 128), (256, 256), (32, 256), (96, 160), (256, 64)]
)
def test_any_size_that_the_modules_divide(size):
    network = RefinementNetwork(2, (4, 4, 3, 3, 2)).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 2, *size)).shape == (1, 3, *size)


def random_layout(objects, channels, size, masks_grad=True):
    vectors = torch.randn(2, objects, channels, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(2, objects, *size, dtype=torch.float64, requires_grad=masks_grad)
    return FactoredLayout(vectors, masks)


@pytest.mark.parametrize("noise_channels", [0, 2])
@pytest.mark.parametrize(("objects", "size"), [(1, (4, 8)), (5, (16, 8))])
def test_a_factored_layout_gives_the_same_pictures_and_gradients(objects, size, noise_channels):
    network = RefinementNetwork(3 + noise_channels, (5, 4)).double()
    layout = random_layout(objects, 3, size)
    noise = torch.randn(2, noise_channels, *size, dtype=torch.float64, requires_grad=True)
    dense = torch.cat([torch.einsum("nkd,nkhw->ndhw", layout.vectors, layout.masks), noise], dim=1)
    inputs = [*layout, noise, *network.parameters()]
    results = []
    for images in (network(layout, noise if noise_channels else None), network(dense)):
        target = torch.linspace(-1, 1, images.numel(), dtype=images.dtype).view_as(images)
        grads = torch.autograd.grad((images - target).square().sum(), inputs, allow_unused=True)
        results.append([images, *(g for g in grads if g is not None and g.numel())])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_hooks_and_replaced_modules_are_called_whatever_the_form_of_the_layout():
    network = RefinementNetwork(3, (5, 4)).double()
    layout = random_layout(2, 3, (8, 8))
    with torch.no_grad():
        torch.nn.utils.prune.l1_unstructured(network.blocks[0][0], "weight", 0.5)
        network.blocks[0][0].weight_orig *= 3
    calls = []
    network.blocks[1].register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(network(layout), network(layout.multiply()))
    assert len(calls) == 2


@pytest.mark.parametrize("normalization", ["batch", "instance", "none"])
@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("noise_channels", [0, 2])
def test_saving_operations_changes_no_value_and_no_gradient(
    normalization, merged, noise_channels, monkeypatch
):
    monkeypatch.setattr("sg2im_pyg.nn.economical._PIXELS_TO_MERGE", 0 if merged else 10**9)
    network = RefinementNetwork(3 + noise_channels, (6, 5, 4), normalization).double()
    network.to(memory_format=torch.channels_last)
    layout = random_layout(3, 3, (16, 8))
    noise = torch.randn(2, noise_channels, 16, 8, dtype=torch.float64, requires_grad=True)
    inputs = [*layout, *([noise] if noise_channels else []), *network.parameters()]
    results, buffers = [], []
    for network.economical in (True, False):
        network.load_state_dict(copy.deepcopy(network.state_dict()))
        images = network(layout, noise)
        target = torch.linspace(-1, 1, images.numel(), dtype=images.dtype).view_as(images)
        results.append([images, *torch.autograd.grad((images - target).square().sum(), inputs)])
        buffers.append(copy.deepcopy(list(network.buffers())))
        network.apply(lambda m: m.reset_running_stats() if hasattr(m, "running_mean") else None)
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    for found, expected in zip(*buffers, strict=True):
        torch.testing.assert_close(found, expected)


@torch.no_grad()
@pytest.mark.parametrize("normalization", ["batch", "instance", "none"])
@pytest.mark.parametrize("merged", [True, False])
def test_folding_batch_norm_changes_no_picture(normalization, merged, monkeypatch):
    monkeypatch.setattr("sg2im_pyg.nn.economical._PIXELS_TO_MERGE", 0 if merged else 10**9)
    network = RefinementNetwork(5, (6, 5, 4), normalization).double()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (*layer.parameters(), layer.running_mean, layer.running_var):
                values.uniform_(0.5, 2)
    folded = copy.deepcopy(network)
    folded.fold()
    network.eval()
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    for images in (2, 1, 2):  # other sizes are prepared for themselves
        layout = random_layout(3, 3, (16, 8))
        noise = torch.randn(2, 2, 16, 8, dtype=torch.float64)
        part = FactoredLayout(layout.vectors[:images], layout.masks[:images])
        expected = network.forward_plain(torch.cat([part.multiply(), noise[:images]], dim=1))
        torch.testing.assert_close(folded(part, noise[:images]), expected)
        dense = torch.cat([part.multiply(), noise[:images]], dim=1)
        torch.testing.assert_close(folded(dense), expected)


def test_published_widths_are_the_default():
    network = RefinementNetwork(160)
    assert network.channels == (1024, 512, 256, 128, 64)
    assert [block[0].in_channels for block in network.blocks] == [161, 1184, 672, 416, 288]


@pytest.mark.parametrize("size", [(30, 32), (32, 34), (4, 4), (8, 12)])
def test_other_sizes_raise(size):
    network = RefinementNetwork(2, (4, 4, 3))
    sentence = f"3 modules need pictures whose sides are multiples of 8, got {size[0]} x {size[1]}"
    with pytest.raises(ValueError, match=sentence):
        network(torch.randn(1, 2, *size))


def test_wrong_options_raise():
    with pytest.raises(ValueError, match="at least one module"):
        RefinementNetwork(2, ())
    with pytest.raises(ValueError, match="'batch', 'instance' or 'none', got 'group'"):
        RefinementNetwork(2, (4,), "group")


def test_weights_are_kaiming_normal_and_reset_draws_them_anew():
    network = RefinementNetwork(64, (128, 64))
    weight = network.blocks[0][0].weight
    assert weight.std().item() == pytest.approx((2 / (65 * 9)) ** 0.5, rel=0.03)
    before = weight.clone()
    network(torch.randn(2, 64, 8, 8))
    network.reset_parameters()
    assert not torch.equal(before, weight)
    assert network.blocks[0][1].num_batches_tracked == 0


def test_other_numbers_of_colours_and_repr():
    network = RefinementNetwork(2, (4, 3), out_channels=1)
    assert network(torch.randn(1, 2, 8, 8)).shape == (1, 1, 8, 8)
    assert repr(network) == "RefinementNetwork(2, channels=(4, 3))"


def test_gradients_reach_layout_and_parameters():
    network = RefinementNetwork(2, (4, 3)).double()
    layout = torch.randn(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    network(layout).square().sum().backward()
    assert layout.grad.isfinite().all() and layout.grad.abs().sum() > 0
    # The starting zeros give the first module's last input channel no gradient.
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert not network.blocks[0][0].weight.grad[:, -1].any()
