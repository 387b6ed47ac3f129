"""Discriminators against their description, layer by layer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.parametrize import is_parametrized

from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator, crop_objects
from sg2im_pyg.nn.convolution_sizes import PUBLISHED_LAYERS, smallest_input
from sg2im_pyg.nn.discriminators import DISCRIMINATORS, SegmentingDiscriminator

LAYERS = ((4, 5, 2), (3, 6, 1), (4, 7, 2))


def direct_convolutions(module, x, normalization):
    convs = [m for m in module.convs if isinstance(m, torch.nn.Conv2d)]
    for i, (conv, (kernel, channels, stride)) in enumerate(zip(convs, module.layers, strict=True)):
        assert conv.weight.shape[0] == channels and conv.weight.shape[2] == kernel
        if i:
            if normalization != "none":
                dims = (0, 2, 3) if normalization == "batch" else (2, 3)
                variance = x.var(dims, unbiased=False, keepdim=True)
                x = (x - x.mean(dims, keepdim=True)) / (variance + 1e-5).sqrt()
            x = torch.where(x > 0, x, 0.2 * x)
        x = F.conv2d(x, conv.weight, conv.bias, stride=stride)
    return x


@pytest.mark.parametrize("normalization", ["batch", "instance", "none"])
def test_patch_discriminator_equals_its_description(normalization):
    discriminator = PatchDiscriminator(LAYERS, normalization).double()
    images = torch.randn(2, 3, 24, 30, dtype=torch.float64)
    expected = direct_convolutions(discriminator, images, normalization)
    torch.testing.assert_close(discriminator(images), expected)


def test_patch_scores_of_the_paper_are_one_a_patch():
    discriminator = PatchDiscriminator(LAYERS, patch_scores=True).double()
    images = torch.randn(2, 3, 24, 30, dtype=torch.float64)
    features = direct_convolutions(discriminator, images, "batch")
    weight, bias = discriminator.classifier.weight, discriminator.classifier.bias
    expected = torch.einsum("nchw,c->nhw", features, weight.view(-1)) + bias
    scores = discriminator(images)
    assert scores.shape == (2, 1, 3, 5)
    torch.testing.assert_close(scores[:, 0], expected)


@pytest.mark.parametrize("normalization", ["batch", "instance", "none"])
def test_object_discriminator_equals_its_description(normalization):
    discriminator = ObjectDiscriminator(
        4, LAYERS, normalization, object_size=22, hidden_channels=9
    ).double()
    images = torch.randn(2, 3, 16, 20, dtype=torch.float64)
    corner = torch.rand(5, 2, dtype=torch.float64) * 0.5
    boxes = torch.cat([corner, corner + 0.4], dim=1)
    batch = torch.tensor([1, 0, 0, 1, 1])
    crops = crop_objects(images, boxes, batch, 22)
    features = direct_convolutions(discriminator, crops, normalization).mean((2, 3))
    features = features @ discriminator.linear.weight.T + discriminator.linear.bias
    scores, logits = discriminator(images, boxes, batch)
    assert scores.shape == (5, 1) and logits.shape == (5, 4)
    for found, head in ((scores, discriminator.real_head), (logits, discriminator.category_head)):
        torch.testing.assert_close(found, features @ head.weight.T + head.bias)


def test_published_layers_and_sizes():
    discriminator = ObjectDiscriminator(184)
    assert discriminator.layers == PUBLISHED_LAYERS == ((4, 64, 2), (4, 128, 2), (4, 256, 2))
    assert discriminator.object_size == 32
    assert discriminator.linear.weight.shape == (1024, 256)
    assert discriminator.category_head.weight.shape == (184, 1024)
    assert PatchDiscriminator()(torch.randn(1, 3, 64, 64)).shape == (1, 256, 6, 6)
    assert PatchDiscriminator(patch_scores=True)(torch.randn(1, 3, 64, 64)).shape == (1, 1, 6, 6)


@pytest.mark.parametrize("layers", [LAYERS, PUBLISHED_LAYERS, ((1, 2, 1),), ((5, 2, 3),)])
def test_the_smallest_input_leaves_one_patch(layers):
    discriminator = PatchDiscriminator(layers, "none")
    side = smallest_input(layers)
    assert discriminator(torch.randn(1, 3, side, side)).shape[2:] == (1, 1)
    if side > 1:
        with pytest.raises(RuntimeError):
            discriminator(torch.randn(1, 3, side - 1, side - 1))


def test_gradients_reach_pictures_and_parameters():
    images = torch.randn(2, 3, 24, 24, requires_grad=True)
    boxes, batch = torch.tensor([[0.1, 0.2, 0.8, 0.9]] * 3), torch.tensor([0, 0, 1])
    discriminator = ObjectDiscriminator(4, LAYERS, object_size=22)
    scores, logits = discriminator(images, boxes, batch)
    (scores.sum() + F.cross_entropy(logits, torch.tensor([0, 1, 3]))).backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


@pytest.mark.parametrize("normalization", ["batch", "spectral"])
@pytest.mark.parametrize(
    "make",
    [
        PatchDiscriminator,
        lambda **k: PatchDiscriminator(scales=2, num_labels=2, patch_scores=True, **k),
        lambda **k: ObjectDiscriminator(4, **k),
    ],
)
def test_reset_parameters_and_repr(make, normalization):
    discriminator = make(layers=LAYERS, normalization=normalization)
    check_reset(discriminator)
    assert repr(LAYERS) in repr(discriminator)


def check_reset(discriminator):
    before = {key: value.clone() for key, value in discriminator.state_dict().items()}
    parameters = list(discriminator.parameters())
    discriminator.reset_parameters()
    after = discriminator.state_dict()
    assert after.keys() == before.keys()
    assert {*map(id, discriminator.parameters())} == {*map(id, parameters)}  # for optimizers
    for key, value in after.items():
        if value.dim() > 1:
            assert not torch.equal(value, before[key]), key
    for layer in discriminator.modules():
        if is_parametrized(layer):
            check_bounded(layer)


@pytest.mark.parametrize(
    "discriminator",
    [
        PatchDiscriminator(),
        PatchDiscriminator(((3, 4, 1),), "instance", 4, patch_scores=True, negative_slope=0.1),
        ObjectDiscriminator(7),
        ObjectDiscriminator(4, LAYERS, "none", 22, 9, negative_slope=0.3),
        ObjectDiscriminator(4, LAYERS, "spectral"),
        PatchDiscriminator(LAYERS, "spectral", patch_scores=True, scales=3, num_labels=5),
        SegmentingDiscriminator(4, 3),
        SegmentingDiscriminator(4, 3, "none"),
    ],
)
def test_its_options_make_it_again(discriminator):
    again = type(discriminator)(**discriminator.options)
    assert again.options == discriminator.options
    assert str(list(again.modules())) == str(list(discriminator.modules()))
    shapes = [
        {key: value.shape for key, value in network.state_dict().items()}
        for network in (again, discriminator)
    ]
    assert shapes[0] == shapes[1]


def test_no_objects_in_eval_mode():
    discriminator = ObjectDiscriminator(4, LAYERS, object_size=22).eval()
    none = torch.zeros(0, dtype=torch.long)
    scores, logits = discriminator(torch.randn(1, 3, 24, 24), torch.zeros(0, 4), none)
    assert scores.shape == (0, 1) and logits.shape == (0, 4)


def test_wrong_normalization_raises():
    with pytest.raises(ValueError, match="'batch', 'instance', 'spectral' or 'none', got 'group'"):
        PatchDiscriminator(LAYERS, "group")

    with pytest.raises(ValueError, match="'spectral' or 'none', got 'batch'"):
        SegmentingDiscriminator(4, 3, "batch")
    with pytest.raises(ValueError, match="scales must be at least 1, got 0"):
        PatchDiscriminator(LAYERS, scales=0)


# --- Spectral norm ------------------------------------------------------------------------------


def check_bounded(layer):
    """The weight is the original one over its largest singular value, up to the power method."""
    original = layer.parametrizations.weight.original.detach().flatten(1)
    largest = np.linalg.svd(original.double().numpy(), compute_uv=False)[0]
    with torch.no_grad():
        found = layer.weight.flatten(1)
    np.testing.assert_allclose(found * largest, original, rtol=0.1, atol=1e-6)


@pytest.mark.parametrize(
    "discriminator",
    [
        PatchDiscriminator(LAYERS, "spectral", patch_scores=True, scales=2),
        ObjectDiscriminator(4, LAYERS, "spectral", 22, 9),
        SegmentingDiscriminator(4, 3),
    ],
)
def test_largest_singular_values_are_one(discriminator):
    bounded = [layer for layer in discriminator.modules() if is_parametrized(layer)]
    weights = [
        module
        for module in discriminator.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    free = getattr(discriminator, "category_head", None)
    assert [id(layer) for layer in weights if layer is not free] == [id(layer) for layer in bounded]
    for layer in bounded:
        check_bounded(layer)


def test_nothing_else_normalizes_where_weights_are_normalized():
    discriminator = PatchDiscriminator(LAYERS, "spectral").eval().double()
    images = torch.randn(2, 3, 24, 30, dtype=torch.float64)
    expected = direct_convolutions(discriminator, images, "none")
    torch.testing.assert_close(discriminator(images), expected)


# --- Scales, labels and features ----------------------------------------------------------------


@pytest.mark.parametrize("patch_scores", [False, True])
def test_scales_and_labels_equal_networks_that_are_fed_by_hand(patch_scores):
    def make(in_channels, **others):
        return PatchDiscriminator(
            LAYERS, "instance", in_channels, patch_scores, 0.1, **others
        ).double()

    whole = make(3, scales=3, num_labels=4)
    alone = [make(7) for _ in range(3)]
    for scale, network in enumerate(alone):
        prefix = "coarser." * scale
        for key, value in network.state_dict().items():
            whole.state_dict()[prefix + key].copy_(value)
    assert len(whole.state_dict()) == 3 * len(alone[0].state_dict())
    images = torch.randn(2, 3, 96, 104, dtype=torch.float64)
    labels = torch.rand(2, 4, 96, 104, dtype=torch.float64)
    scores = whole(images, labels)
    assert len(scores) == 3
    for factor, network, found in zip((1, 2, 4), alone, scores, strict=True):
        blocks = torch.cat([images, labels], dim=1).view(
            2, 7, 96 // factor, factor, 104 // factor, factor
        )
        torch.testing.assert_close(found, network(blocks.mean((3, 5))))
    for found, expected in zip(whole.features(images, labels), scores, strict=True):
        torch.testing.assert_close(found[-1], expected)
    assert [part.module for part in whole.parts_to_compile()] == [
        whole.convs, whole.coarser.convs, whole.coarser.coarser.convs,
    ]  # fmt: skip


@pytest.mark.parametrize("normalization", ["batch", "instance", "none", "spectral"])
def test_features_are_what_leaves_each_activation(normalization):
    discriminator = PatchDiscriminator(LAYERS, normalization, patch_scores=True).double().eval()
    images = torch.randn(2, 3, 24, 30, dtype=torch.float64)
    seen = []
    for layer in discriminator.convs:
        layer.register_forward_hook(lambda layer, _, output: seen.append((layer, output.clone())))
    [found] = discriminator.features(images)
    expected = [output for layer, output in seen if isinstance(layer, torch.nn.LeakyReLU)]
    expected.append(seen[-1][1])
    expected.append(discriminator.classifier(seen[-1][1]))
    assert [feature.size(1) for feature in found] == [5, 6, 7, 1]
    for feature, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(feature, wanted)


def test_rows_make_networks_from_options_of_a_training():
    options = {"layers": LAYERS, "normalization": "none"}
    made = {name: kind.make({}, 6).options for name, kind in DISCRIMINATORS.items()}
    assert made["image_discriminator"] == PatchDiscriminator().options
    assert made["object_discriminator"] == ObjectDiscriminator(6).options
    assert made["segmenting_discriminator"] == SegmentingDiscriminator(6).options
    kind = DISCRIMINATORS["image_discriminator"]
    plain = kind.arguments({**options, "scales": 1, "conditional": False}, 6)
    assert plain == options
    joined = kind.make({**options, "scales": 2, "conditional": True}, 6)
    assert joined.options == PatchDiscriminator(LAYERS, "none", scales=2, num_labels=6).options


# --- The segmenting discriminator ---------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (16, 24), (8, 8)])
def test_the_segmenting_discriminator_gives_a_class_for_each_pixel(size):
    assert SegmentingDiscriminator(5, 2)(torch.randn(2, 3, *size)).shape == (2, 6, *size)


def test_the_segmenting_discriminator_equals_its_description():
    network = SegmentingDiscriminator(4, 3, "none").double()
    images = torch.randn(2, 3, 16, 24, dtype=torch.float64)

    def step(layer, planes, stride=1):
        result = F.conv2d(planes, layer.weight, layer.bias, stride, padding=1)
        return torch.where(result > 0, result, 0.2 * result)

    def join(below, beside):
        return torch.cat([below.repeat_interleave(2, 2).repeat_interleave(2, 3), beside], dim=1)

    full = step(network.down[0], images)
    half = step(network.down[1], full, 2)
    quarter = step(network.down[2], half, 2)
    eighth = step(network.down[3], quarter, 2)
    assert [planes.size(1) for planes in (full, half, quarter, eighth)] == [3, 6, 6, 12]
    up = step(network.up[0], join(eighth, quarter))
    up = step(network.up[1], join(up, half))
    up = step(network.up[2], join(up, full))
    expected = torch.einsum("nchw,dc->ndhw", up, network.output.weight.flatten(1))
    expected = expected + network.output.bias.view(-1, 1, 1)
    torch.testing.assert_close(network(images), expected)


def test_the_segmenting_discriminator_as_a_module():
    network = SegmentingDiscriminator(4, 3)
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    network(images).square().sum().backward()
    assert images.grad.abs().sum() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    check_reset(network)
    assert repr(network) == "SegmentingDiscriminator(4)"
    assert [part.module for part in network.parts_to_compile()] == [network]
    with pytest.raises(ValueError, match="multiples of 8, got 20 x 16"):
        network(torch.randn(1, 3, 20, 16))
