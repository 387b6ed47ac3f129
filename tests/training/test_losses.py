"""The rows of the table of losses: what each is computed from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Batch

from sg2im_pyg import SceneGraph
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn.appearance import Appearance
from sg2im_pyg.nn.box_flow import FlowErrors
from sg2im_pyg.nn.discriminators import PatchDiscriminator
from sg2im_pyg.training.losses import LOSSES, LossConfig, LossContext, weighted_sum


def test_masks_may_be_anything_where_something_hides_them():
    graphs = Batch.from_data_list([SceneGraph(x=torch.tensor([1, 2]))])
    graphs.boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.49, 1.0]])
    graphs.masks = torch.ones(2, 8, 8)
    predicted = torch.full((2, 8, 8), 0.9)
    predicted[0, :, :3] = 0.2  # of what is behind

    def loss(mask_over):
        output = SimpleNamespace(masks=predicted)
        return LOSSES["mask"].compute(
            LossContext(output, graphs, None, LossConfig(mask_over=mask_over))
        )

    expected = -(104 * np.log(0.9) + 24 * np.log(0.2)) / 128
    assert loss("all").item() == pytest.approx(expected, rel=1e-5)
    assert -np.log(0.9) * 93 / 128 < loss("visible").item() < -np.log(0.9) * 96 / 128
    predicted[0, :, :3] = 0.7
    changed = loss("visible").item()
    predicted[0, :, :3] = 0.2
    assert loss("visible").item() == pytest.approx(changed, abs=1e-6)


def test_errors_of_the_flow_are_means_over_objects():
    flow = FlowErrors(torch.tensor([1.0, 2.0, 0.0, 4.0]), torch.tensor([3.0, 0.0, 2.0]))
    graphs = SimpleNamespace(x=torch.zeros(4))
    given = LossContext(None, graphs, None, LossConfig(), box_flow=flow)
    assert LOSSES["box_flow"].compute(given).item() == 7 / 4
    assert LOSSES["box_relation"].compute(given).item() == 5 / 4
    for name in ("box_flow", "box_relation"):
        assert LOSSES[name].compute(LossContext(None, graphs, None, LossConfig())) is None


def test_the_total_is_weighted():
    losses = {"box": torch.tensor(2.0), "pixel": torch.tensor(3.0)}
    assert weighted_sum(losses, LossConfig()).item() == 10 * 2 + 3


def test_negative_weights_are_refused():
    with pytest.raises(Sg2ImError, match="losses.pixel"):
        LossConfig(pixel=-1)


def context(network, options, **others):
    torch.manual_seed(0)
    true, made = torch.randn(2, 2, 3, 16, 16).double()
    output = SimpleNamespace(images=made.requires_grad_())
    return LossContext(output, None, true, options, {"image_discriminator": network}, **others)


@pytest.mark.parametrize("normalization", ["none", "spectral", "instance"])
@pytest.mark.parametrize("patch_scores", [True, False])
def test_feature_matching_is_the_distance_of_activations(normalization, patch_scores):
    layers = ((3, 4, 2), (3, 5, 1))
    network = PatchDiscriminator(layers, normalization, patch_scores=patch_scores, scales=2)
    network = network.double().eval()
    given = context(network, LossConfig(feature_matching=1.0))
    distances = []
    for own, shrink in ((network, nn.Identity()), (network.coarser, nn.AvgPool2d(2))):
        found = [shrink(images) for images in (given.output.images, given.images)]
        for layer in own.convs:
            found = [layer(images.clone()) for images in found]
            if isinstance(layer, nn.LeakyReLU):
                distances.append((found[0] - found[1]).abs().mean().item())
        if patch_scores:  # the last convolution gives no scores then
            distances.append((found[0] - found[1]).abs().mean().item())
    loss = LOSSES["feature_matching"].compute(given)
    assert loss.item() == pytest.approx(np.mean(distances), rel=1e-9)
    loss.backward()
    assert given.output.images.grad.abs().sum() > 0 and given.images.grad is None
    # With features or without, the scores are the same.
    plain = context(network, LossConfig())
    for found, expected in zip(
        given.scores("image_discriminator"), plain.scores("image_discriminator"), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_a_discriminator_is_asked_once_for_each_kind_of_pictures():
    class Counting(PatchDiscriminator):
        calls = 0

        def features(self, *arguments):
            Counting.calls += 1
            return super().features(*arguments)

    network = Counting(((3, 4, 2), (3, 5, 1)), "none").double()
    options = LossConfig(feature_matching=1.0, adversarial_kind="relativistic")
    given = context(network, options)
    for name in ("image_adversarial", "feature_matching"):
        LOSSES[name].compute(given)
    assert Counting.calls == 2


def test_label_maps_are_shown_to_those_who_ask_for_them():
    labels = torch.rand(2, 4, 16, 16).double()
    layers = ((3, 4, 2),)
    given = context(PatchDiscriminator(layers, "none").double(), LossConfig(), labels=labels)
    assert given.scores("image_discriminator").shape == (2, 4, 7, 7)
    network = PatchDiscriminator(layers, "none", num_labels=4).double()
    given = context(network, LossConfig(), labels=labels)
    both = torch.cat([given.output.images, labels], dim=1)
    conv = network.convs[0]
    expected = torch.nn.functional.conv2d(both, conv.weight, conv.bias, 2)
    torch.testing.assert_close(given.scores("image_discriminator"), expected)


def test_the_divergence_of_appearance_is_a_mean_over_pictures():
    random = np.random.default_rng(0)
    mean, log_variance = random.normal(size=(2, 5, 3))
    # Of torch's own distributions.
    normal = torch.distributions.Normal(
        torch.from_numpy(mean), torch.from_numpy(np.exp(0.5 * log_variance))
    )
    standard = torch.distributions.Normal(torch.zeros(5, 3).double(), torch.ones(5, 3).double())
    expected = torch.distributions.kl_divergence(normal, standard).sum().item() / 2
    appearance = Appearance(torch.from_numpy(mean), torch.from_numpy(log_variance))
    given = context(None, LossConfig(), appearance=appearance)
    assert LOSSES["appearance"].compute(given).item() == pytest.approx(expected)
    assert LOSSES["appearance"].compute(context(None, LossConfig())) is None
