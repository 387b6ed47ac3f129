"""The losses against their formulas in numpy, loops and finite differences."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from torch import nn
from torch_geometric.data import Batch

from sg2im_pyg import SceneGraph
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn.appearance import Appearance
from sg2im_pyg.nn.box_flow import FlowErrors
from sg2im_pyg.nn.discriminators import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.training.losses import (
    LOSSES,
    LossConfig,
    LossContext,
    box_loss,
    category_weights,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    log_odds,
    mask_loss,
    overlaps,
    pixels_of_categories,
    segmenting_loss,
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


def test_box_loss_is_squared_or_absolute():
    predicted, true = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.5, 0, 1, 1]])
    assert box_loss("squared", predicted, true).item() == pytest.approx(0.25 / 4)
    assert box_loss("l1", predicted, true).item() == pytest.approx(0.5 / 4)


def boxes_of_pixels():
    """Whole pixels, some of them of nothing in common."""
    random = np.random.default_rng(0)
    corners = random.integers(0, 20, (40, 2, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 12, (40, 2, 2))], axis=2)
    return boxes[:, 0].astype(np.float64), boxes[:, 1].astype(np.float64)


def generalised_iou(one, other):
    """Pixel by pixel."""

    def pixels(box):
        x0, y0, x1, y1 = map(int, box)
        return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}

    own, theirs = pixels(one), pixels(other)
    around = pixels([*np.minimum(one[:2], other[:2]), *np.maximum(one[2:], other[2:])])
    union = own | theirs
    return len(own & theirs) / len(union) - (len(around) - len(union)) / len(around)


def test_overlaps_are_those_of_coco_and_of_counted_pixels():
    one, other = boxes_of_pixels()
    iou, empty = overlaps(torch.from_numpy(one), torch.from_numpy(other))
    with_sizes = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (one, other)]
    expected = np.diag(coco.iou(*with_sizes, [0] * len(one)))
    assert 0 < (expected == 0).sum() < len(one)
    np.testing.assert_allclose(iou.numpy(), expected, atol=1e-12)
    expected = [generalised_iou(*pair) for pair in zip(one, other, strict=True)]
    np.testing.assert_allclose((iou - empty).numpy(), expected, atol=1e-12)


def test_overlaps_of_boxes_without_an_area_are_numbers():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.8, 0.8, 0.2, 0.2]], requires_grad=True)
    for others in (boxes.detach(), torch.tensor([[0.0, 0, 1, 1], [0.4, 0.4, 0.6, 0.6]])):
        iou, empty = overlaps(boxes, others)
        assert (iou == 0).all() and empty.min() >= 0 and empty.max() <= 1
        (gradient,) = torch.autograd.grad((iou + empty).sum(), boxes)
        assert gradient.isfinite().all()


def test_box_losses_by_overlap_follow_their_formulas():
    one, other = (boxes / 32 for boxes in boxes_of_pixels())
    tensors = torch.from_numpy(one), torch.from_numpy(other)
    giou = np.array([generalised_iou(a * 32, b * 32) for a, b in zip(one, other, strict=True)])
    expected = np.abs(one - other).mean() + (1 - giou).mean()
    assert box_loss("giou", *tensors).item() == pytest.approx(expected, abs=1e-12)
    iou = overlaps(*tensors)[0].numpy()
    expected = ((one - other) ** 2).mean() + 0.1 * (1 / (1 + np.exp((iou - 0.5) / 0.1))).mean()
    assert box_loss("recall", *tensors).item() == pytest.approx(expected, abs=1e-12)


def test_the_recall_loss_leads_to_one_of_two_places_and_the_squared_one_between_them():
    places = torch.tensor([[0.1, 0.3, 0.5, 0.7], [0.5, 0.3, 0.9, 0.7]], dtype=torch.float64)
    ends = {}
    for distance in ("squared", "recall"):
        box = torch.tensor([[0.2, 0.3, 0.6, 0.7]], dtype=torch.float64, requires_grad=True)
        for _ in range(2000):  # nearer to the first
            (gradient,) = torch.autograd.grad(box_loss(distance, box.expand(2, 4), places), box)
            box = (box - 0.05 * gradient).detach().requires_grad_()
        ends[distance] = overlaps(box.expand(2, 4), places)[0]
    assert ends["squared"].max() < 0.5
    assert ends["recall"][0] > 0.5 > ends["recall"][1]


def test_mask_loss_is_the_binary_cross_entropy_also_for_masks_of_another_size():
    predicted = torch.tensor([[[0.25, 0.5], [0.75, 0.9]]])
    true = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    expected = -np.mean(np.log([0.75, 0.5, 0.75, 0.9]))
    assert mask_loss(predicted, true).item() == pytest.approx(expected, abs=1e-6)
    larger = torch.ones(1, 4, 4)
    expected = -np.mean(np.log([0.25, 0.5, 0.75, 0.9]))
    assert mask_loss(predicted, larger).item() == pytest.approx(expected, abs=1e-6)


def test_weights_of_pixels_leave_the_mean_one_over_all():
    predicted = torch.tensor([[[0.25, 0.5], [0.75, 0.9]]])
    true = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    weights = torch.tensor([[[1.0, 0.0], [0.5, 1.0]]])
    expected = -(np.log(0.75) + 0.5 * np.log(0.75) + np.log(0.9)) / 4
    assert mask_loss(predicted, true, weights).item() == pytest.approx(expected, abs=1e-6)


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


# --- Pixels ---------------------------------------------------------------------------------------


def test_the_segmenting_loss_counts_categories_alike():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 5, 4, 4))
    labels = random.random((2, 4, 4, 4))
    labels[:, 2] = 0  # not in the batch
    true = labels.argmax(axis=1)
    present = sorted(set(true.flatten()))
    assert present == [0, 1, 3]
    total = 0.0
    for category in present:
        places = np.argwhere(true == category)
        own = 0.0
        for n, y, x in places:
            values = logits[n, :, y, x]
            own += np.log(np.exp(values).sum()) - values[category]
        total += own / len(places) / len(present)
    found = segmenting_loss(torch.from_numpy(logits), torch.from_numpy(labels))
    assert found.item() == pytest.approx(total, abs=1e-12)


def test_pixels_without_weight_do_not_count_in_the_segmenting_loss():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 3, 5).double(), torch.rand(2, 3, 3, 5).double()
    visible = (torch.rand(2, 3, 5) < 0.6).double()
    weights = category_weights(pixels_of_categories(labels))
    total = 0.0
    for n, y, x in visible.nonzero().tolist():
        category = labels[n, :, y, x].argmax()
        total -= weights[category] * logits[n, :, y, x].log_softmax(0)[category]
    found = segmenting_loss(logits, labels, weights, visible)
    assert found.item() == pytest.approx(total.item() / 30)
    ones = torch.ones_like(visible)
    assert segmenting_loss(logits, labels, weights, ones) == segmenting_loss(
        logits, labels, weights
    )


def test_the_weight_of_a_category_is_bounded_and_that_of_an_absent_one_is_zero():
    pixels = torch.tensor([9_000.0, 0.0, 999.0, 1.0])
    weights = category_weights(pixels)
    assert weights.tolist() == pytest.approx([10_000 / 9_000 / 3, 0, 10_000 / 999 / 3, 20])
    labels = torch.nn.functional.one_hot(torch.tensor([[[2, 0], [2, 2]]]), 4).movedim(3, 1)
    assert pixels_of_categories(labels.double()).tolist() == [1, 0, 3, 0]


def test_the_segmenting_loss_of_parts_adds_up_to_that_of_the_whole():
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 4, 3, 3).double(), torch.rand(4, 3, 3, 3).double()
    weights = category_weights(pixels_of_categories(labels))
    parts = [segmenting_loss(logits[i], labels[i], weights) for i in ([0], [1, 2, 3])]
    whole = segmenting_loss(logits, labels)
    assert whole.item() == pytest.approx(parts[0].item() / 4 + parts[1].item() * 3 / 4)


def test_log_odds_are_those_of_the_probability_to_be_generated():
    logits = torch.randn(2, 4, 3, 3).double()
    generated = logits.softmax(dim=1)[:, -1]
    torch.testing.assert_close(log_odds(logits), ((1 - generated) / generated).log())


# --- Gradients of discriminators ------------------------------------------------------------------


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


# --- What is computed from features and appearance ------------------------------------------------


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
