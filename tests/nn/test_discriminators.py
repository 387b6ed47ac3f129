"""Discriminators against their description, layer by layer."""

import pytest
import torch
import torch.nn.functional as F

from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator, crop_objects
from sg2im_pyg.nn.convolution_sizes import PUBLISHED_LAYERS, smallest_input

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


@pytest.mark.parametrize("make", [PatchDiscriminator, lambda **k: ObjectDiscriminator(4, **k)])
def test_reset_parameters_and_repr(make):
    discriminator = make(layers=LAYERS)
    before = {key: value.clone() for key, value in discriminator.state_dict().items()}
    discriminator.reset_parameters()
    for key, value in discriminator.state_dict().items():
        if value.dim() > 1:
            assert not torch.equal(value, before[key]), key
    assert repr(LAYERS) in repr(discriminator)


@pytest.mark.parametrize(
    "discriminator",
    [
        PatchDiscriminator(),
        PatchDiscriminator(((3, 4, 1),), "instance", 4, patch_scores=True, negative_slope=0.1),
        ObjectDiscriminator(7),
        ObjectDiscriminator(4, LAYERS, "none", 22, 9, negative_slope=0.3),
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
