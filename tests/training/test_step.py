"""One training step against the same step written out in plain PyTorch."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.nn.augmentation import Augmentation
from sg2im_pyg.nn.layout import FactoredLayout
from sg2im_pyg.training.data import open_split
from sg2im_pyg.training.loader import fixed_batches
from sg2im_pyg.training.losses import LOSSES, LossConfig
from sg2im_pyg.training.noise import (
    Draws,
    appearance_noise,
    augmentation_draws,
    box_noise,
    chosen_places,
    layout_noise,
)
from sg2im_pyg.training.players import build_players, discriminator_ratio, learning_rate
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.step import frozen, split_batch, training_step
from sg2im_pyg.training.validation import validate


@pytest.fixture
def setting(config):
    return make_setting(config)


def make_setting(config):
    fabric = launch_fabric(config)
    dataset = open_split(config, "train", augment=True)
    torch.manual_seed(0)
    players = build_players(fabric, config, dataset.vocabulary)
    return fabric, players, fixed_batches(dataset, range(4), 4, seed=0)[0]


def plain_step(networks, optimizers, graphs, weights):
    """The step of the reference, object by object where that is simple."""
    generator, image_player, object_player = networks
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    real = (graphs.image / 255 - mean) / std
    ones = torch.ones_like

    output = generator(graphs, graphs.boxes, graphs.masks)
    image_scores = image_player(output.images)
    object_scores, logits = object_player(output.images, graphs.boxes, graphs.batch)
    bce = F.binary_cross_entropy_with_logits
    losses = {
        "box": ((output.boxes - graphs.boxes) ** 2).mean(),
        "mask": F.binary_cross_entropy(output.masks, graphs.masks),
        "pixel": (output.images - real).abs().mean(),
        "image_adversarial": bce(image_scores, ones(image_scores)),
        "object_adversarial": bce(object_scores, ones(object_scores)),
        "auxiliary": F.cross_entropy(logits, graphs.x),
    }
    total = sum(weights[name] * loss for name, loss in losses.items())
    optimizers[0].zero_grad()
    total.backward()
    optimizers[0].step()

    fake = output.images.detach()
    optimizers[1].zero_grad()
    real_scores, fake_scores = image_player(real), image_player(fake)
    loss = bce(real_scores, ones(real_scores)) + bce(fake_scores, 0 * fake_scores.detach())
    loss.backward()
    optimizers[1].step()

    optimizers[2].zero_grad()
    loss = 0
    for images, target in ((real, 1.0), (fake, 0.0)):
        scores, logits = object_player(images, graphs.boxes, graphs.batch)
        loss = loss + bce(scores, torch.full_like(scores, target))
        loss = loss + F.cross_entropy(logits, graphs.x)
    loss.backward()
    optimizers[2].step()
    return losses


def test_the_learning_rate_follows_its_schedule(config):
    assert [learning_rate(config, step) for step in (0, 7)] == [1e-3, 1e-3]
    config.optimizer.schedule = "cosine"
    rates = [learning_rate(config, step) for step in range(config.steps + 1)]
    assert rates[0] == 1e-3 and rates[4] == pytest.approx(5e-4) and rates[8] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)


def test_a_step_equals_the_reference_s_step(setting, config):
    fabric, players, graphs = setting
    copies = [copy.deepcopy(player.bare) for _, player in players.named()]
    # Adam would blow up rounding where a gradient is zero, as for biases before batch norm.
    optimizers = [torch.optim.SGD(copy.parameters(), lr=0.01) for copy in copies]
    for _, player in players.named():
        player.optimizer = torch.optim.SGD(player.bare.parameters(), lr=0.01)
    weights = {
        "box": 10,
        "mask": 0.1,
        "pixel": 1,
        "image_adversarial": 0.01,
        "object_adversarial": 0.01,
        "auxiliary": 0.1,
    }
    for _ in range(3):
        torch.manual_seed(1)
        losses = plain_step(copies, optimizers, graphs, weights)
        torch.manual_seed(1)
        values, not_finite = training_step(fabric, players, graphs, config).read()
        assert not not_finite
        for name, loss in losses.items():
            assert values[f"generator/{name}"] == pytest.approx(loss.item(), rel=1e-4)
    for (name, player), copied in zip(players.named(), copies, strict=True):
        for key, value in player.bare.state_dict().items():
            torch.testing.assert_close(
                value, copied.state_dict()[key], atol=1e-5, rtol=1e-4, msg=f"{name} {key}"
            )


def test_no_gradient_is_computed_for_the_discriminators_in_the_generator_s_step(setting, config):
    fabric, players, graphs = setting
    discriminator = players.discriminators["image_discriminator"]
    with frozen([discriminator]):
        images = torch.rand(2, 3, 16, 16, requires_grad=True)
        discriminator.bare(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in discriminator.network.parameters())
    assert all(p.requires_grad for p in discriminator.network.parameters())


@pytest.mark.parametrize("off", ["image_discriminator", "object_discriminator"])
def test_a_discriminator_that_is_off_is_not_there(config, off):
    getattr(config, off).enabled = False
    fabric = launch_fabric(config)
    dataset = open_split(config, "train", augment=True)
    players = build_players(fabric, config, dataset.vocabulary)
    assert off not in players.discriminators
    graphs = fixed_batches(dataset, range(4), 4, seed=0)[0]
    values = training_step(fabric, players, graphs, config).values
    assert not any(name.startswith(off) for name in values)
    assert ("generator/image_adversarial" in values) == (off != "image_discriminator")
    assert ("generator/auxiliary" in values) == (off != "object_discriminator")


def test_a_step_that_is_not_finite_changes_no_weight(setting, config):
    fabric, players, graphs = setting
    before = copy.deepcopy({name: p.bare.state_dict() for name, p in players.named()})
    graphs.boxes[0, 0] = float("inf")
    _, not_finite = training_step(fabric, players, graphs, config).read()
    assert "generator/box" in not_finite
    for name, player in players.named():
        for key, value in player.bare.state_dict().items():
            assert torch.equal(value, before[name][key]), key
        assert all(not state["step"] for state in player.optimizer.state.values())


@pytest.mark.parametrize(
    ("kind", "distance"),
    [
        ("gan", "squared"),
        ("lsgan", "l1"),
        ("wgan", "squared"),
        ("hinge", "giou"),
        ("relativistic", "recall"),
    ],
)
def test_every_kind_of_loss_trains(config, kind, distance):
    config.losses.adversarial_kind, config.losses.box_distance = kind, distance
    config.optimizer.discriminator_clip = 0.01 if kind == "wgan" else None
    fabric = launch_fabric(config)
    dataset = open_split(config, "train", augment=True)
    players = build_players(fabric, config, dataset.vocabulary)
    graphs = fixed_batches(dataset, range(4), 4, seed=0)[0]
    assert not training_step(fabric, players, graphs, config).read()[1]
    if kind == "wgan":
        judge = players.discriminators["image_discriminator"].bare
        weights = [p.abs().max() for p in judge.parameters()]
        assert max(weights) <= 0.01


@pytest.mark.parametrize("precision", ["bf16-mixed"])
@pytest.mark.parametrize("options", ["config", "everything"])
def test_other_precisions(request, options, precision):
    config = request.getfixturevalue(options)
    config.hardware.precision = precision
    fabric = launch_fabric(config)
    dataset = open_split(config, "train", augment=True)
    players = build_players(fabric, config, dataset.vocabulary)
    graphs = fixed_batches(dataset, range(4), 4, seed=0)[0]
    assert not training_step(fabric, players, graphs, config).read()[1]


# --- What a step does not do ----------------------------------------------------------------------


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a GPU: reading a number, results of unknown size, and tensors of
    Python's numbers, which are copied there."""

    WAITING = (
        "_local_scalar_dense",
        "nonzero",
        "unique",
        "masked_select",
        "repeat_interleave",
        "lift_fresh",
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0]
        known = name == "repeat_interleave" and (kwargs or {}).get("output_size") is not None
        known |= name == "lift_fresh" and not args[0].dim()  # a number alone is a kernel's argument
        assert known or not any(name.startswith(waiting) for waiting in self.WAITING), name
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("options", ["config", "everything"])
def test_a_step_does_not_wait_for_the_device(request, options, parts, monkeypatch):
    config = request.getfixturevalue(options)
    config.optimizer.ema_decay = None  # counts on the CPU, always
    fabric, players, graphs = make_setting(config)
    config.optimizer.gradient_clip = 1.0
    batches = [graphs.clone() for _ in range(parts)]
    noise = layout_noise(config.model, 0, 0, range(4), fabric.device)
    draws = Draws(
        noise,
        appearance_noise(config.model, 0, 0, range(4), graphs, fabric.device),
        box_noise(config.model, 0, 0, range(4), graphs, fabric.device),
        unmasked=chosen_places(config.predicted_masks, range(4), fabric.device),
    )
    training_step(fabric, players, [graphs.clone()], config, [Draws(noise)])  # makes Adam's state

    def refuse(*_):
        raise AssertionError("waits")

    with NoWaiting(), monkeypatch.context() as patched:
        for name in ("tolist", "cpu"):  # these do not pass by the dispatcher on a CPU
            patched.setattr(torch.Tensor, name, refuse)
        result = training_step(fabric, players, batches, config, [draws] * parts)
        with pytest.raises(AssertionError, match="waits"):
            result.read()
    assert not result.read()[1]


def test_a_loss_that_is_not_finite_is_named_however_late_it_is_read(setting, config):
    fabric, players, graphs = setting
    graphs.boxes[0, 0] = float("nan")
    results = [training_step(fabric, players, graphs.clone(), config) for _ in range(2)]
    assert ["generator/box" in result.read()[1] for result in results] == [True, True]


# --- The layout -----------------------------------------------------------------------------------


def layout_of_whole_boxes(model, graphs, size):
    """The release's: a block of 8 x 8 copies of each object's vector, warped into its box."""
    vectors = model.object_vectors(graphs)
    layout = torch.zeros(graphs.num_graphs, vectors.size(1), *size)
    for vector, box, picture in zip(vectors, graphs.boxes, graphs.batch, strict=True):
        grids = [
            (torch.linspace(0, 1, length) - box[axis]) / (box[axis + 2] - box[axis]) * 2 - 1
            for axis, length in ((0, size[1]), (1, size[0]))
        ]
        grid = torch.stack(torch.meshgrid(*grids, indexing="xy"), dim=2)
        block = vector.view(1, -1, 1, 1).expand(-1, -1, 8, 8)
        layout[picture] += F.grid_sample(block, grid[None], align_corners=True)[0]
    return layout


def test_a_generator_without_masks_fills_whole_boxes_in_training_and_validation(config):
    config.model.mask_size, config.optimizer.lr = 0, 1e-9  # weights stay what they are
    fabric, players, graphs = make_setting(config)
    assert (graphs.masks.mean((1, 2)) < 0.9).any()  # the data has masks that are no whole boxes
    model, seen = players.generator.bare, []

    def record(layout, noise=None):
        seen.append(layout.multiply() if isinstance(layout, FactoredLayout) else layout)
        return painted(layout, noise)

    painted, model.refinement.forward = model.refinement.forward, record
    training_step(fabric, players, graphs, config)
    validate(fabric, model, [graphs], config.losses)
    with torch.no_grad():
        expected = layout_of_whole_boxes(model, graphs, (16, 16))
    assert len(seen) == 2
    for layout in seen:
        torch.testing.assert_close(layout, expected, rtol=1e-4, atol=1e-4)


# --- Options --------------------------------------------------------------------------------------


def without_batch_statistics(config):
    config.model.normalization = "none"
    config.model.mask_size = 0
    config.image_discriminator.normalization = config.object_discriminator.normalization = "none"


def weights_after(config, steps, batches_of_steps):
    fabric = launch_fabric(config)
    vocabulary = open_split(config, "train", augment=True).vocabulary
    torch.manual_seed(0)
    players = build_players(fabric, config, vocabulary)
    for _, player in players.named():
        player.bare.double()
    values = []
    for step in range(steps):
        batches, places = batches_of_steps(step)
        draws = [
            Draws(
                layout_noise(config.model, 0, step, place, fabric.device),
                boxes=box_noise(config.model, 0, step, place, part, fabric.device),
            )
            for place, part in zip(places, batches, strict=True)
        ]
        result = training_step(fabric, players, batches, config, draws)
        values.append(result.read()[0])
    return values, {
        f"{name}/{key}": value
        for name, player in players.named()
        for key, value in player.bare.state_dict().items()
    }


def with_losses_of_all_players(config):
    config.losses = LossConfig(
        adversarial_kind="hinge", box_distance="giou", feature_matching=1.0, r1=0.5, r2=0.3
    )
    judge = config.segmenting_discriminator
    judge.enabled, judge.channels, judge.normalization = True, 4, "none"
    config.image_discriminator.conditional = config.image_discriminator.patch_scores = True


def with_boxes_drawn(config):
    config.model.box_flow_dim, config.losses.mask_over = 8, "visible"


@pytest.mark.parametrize(
    "change", [lambda config: None, with_losses_of_all_players, with_boxes_drawn]
)
def test_parts_of_a_batch_give_the_gradient_of_the_whole(config, change):
    without_batch_statistics(config)  # they are each part's own
    change(config)
    dataset = open_split(config, "train", augment=True)
    whole = fixed_batches(dataset, range(4), 4, seed=0)[0]
    # One part has fewer pictures and objects than the other: the mean is not a mean of means.
    parts = [fixed_batches(dataset, r, 4, seed=0)[0] for r in (range(1), range(1, 4))]
    assert len(parts[0].x) + len(parts[1].x) == len(whole.x)
    together = weights_after(config, 2, lambda _: ([whole.clone()], [range(4)]))
    apart = weights_after(
        config, 2, lambda _: ([part.clone() for part in parts], [range(1), range(1, 4)])
    )
    for found, expected in zip(apart[0], together[0], strict=True):
        assert found == pytest.approx(expected, rel=1e-6)
    for key, expected in together[1].items():
        torch.testing.assert_close(apart[1][key], expected, rtol=1e-6, atol=1e-9, msg=key)


def test_gradients_are_cut_to_a_norm(setting, config):
    fabric, players, graphs = setting
    config.optimizer.gradient_clip = 1e-3
    for _, player in players.named():
        player.optimizer = torch.optim.SGD(player.bare.parameters(), lr=1.0)
    before = {n: copy.deepcopy(list(p.bare.parameters())) for n, p in players.named()}
    values, _ = training_step(fabric, players, graphs, config).read()
    for name, player in players.named():
        moved = torch.cat(
            [(a - b).flatten() for a, b in zip(player.bare.parameters(), before[name], strict=True)]
        )
        assert values[f"gradient_norm/{name}"] > 1e-3  # that before
        assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_the_average_of_the_weights(config):
    config.optimizer.ema_decay = 0.75
    fabric = launch_fabric(config)
    dataset = open_split(config, "train", augment=True)
    players = build_players(fabric, config, dataset.vocabulary)
    assert players.for_samples is not players.generator.bare
    averages = None
    for _ in range(4):
        graphs = fixed_batches(dataset, range(4), 4, seed=0)[0]
        training_step(fabric, players, graphs, config)
        weights = [p.detach().clone() for p in players.generator.bare.parameters()]
        if averages is None:
            averages = weights  # it begins with the first weights
        averages = [0.75 * a + 0.25 * w for a, w in zip(averages, weights, strict=True)]
    for found, expected in zip(players.for_samples.parameters(), averages, strict=True):
        torch.testing.assert_close(found, expected)
    for found, expected in zip(
        players.for_samples.buffers(), players.generator.bare.buffers(), strict=True
    ):
        assert torch.equal(found, expected)


def test_the_learning_rate_rises_first(config):
    config.optimizer.warmup_steps = 4
    rates = [learning_rate(config, step) for step in range(6)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])


def test_discriminators_have_learning_rate_and_decays_of_their_own(everything):
    config = everything
    config.optimizer.schedule = "cosine"
    players = make_setting(config)[1]
    for step, expected in ((0, [1e-3, 2e-3]), (4, [5e-4, 1e-3])):
        players.set_learning_rate(learning_rate(config, step), discriminator_ratio(config))
        for name, player in players.named():
            (group,) = player.optimizer.param_groups
            assert group["lr"] == pytest.approx(expected[name != "generator"])
            assert tuple(group["betas"]) == ((0.9, 0.999) if name == "generator" else (0.0, 0.9))
    config.optimizer.discriminator_lr = config.optimizer.discriminator_betas = None
    players = make_setting(config)[1]
    players.set_learning_rate(1e-4, discriminator_ratio(config))
    groups = [player.optimizer.param_groups[0] for _, player in players.named()]
    assert {(group["lr"], tuple(group["betas"])) for group in groups} == {(1e-4, (0.9, 0.999))}


def test_discriminators_learn_several_times_from_a_batch(setting, config):
    fabric, players, graphs = setting
    config.optimizer.discriminator_steps = 3
    generator, judge = (
        copy.deepcopy(player.bare)
        for player in (players.generator, players.discriminators["image_discriminator"])
    )
    for _, player in players.named():
        player.optimizer = torch.optim.SGD(player.bare.parameters(), lr=0.1)
    torch.manual_seed(1)
    fake = generator(graphs, graphs.boxes, graphs.masks).images.detach()
    torch.manual_seed(1)
    values, not_finite = training_step(fabric, players, graphs, config).read()
    assert not not_finite
    optimizer = torch.optim.SGD(judge.parameters(), lr=0.1)
    real = (graphs.image / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake)).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]
    assert values["image_discriminator/adversarial"] == pytest.approx(losses[2], rel=1e-4)
    learnt = players.discriminators["image_discriminator"].bare
    for found, expected in zip(learnt.parameters(), judge.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_segmenting_discriminator_stands_beside_one_that_sees_no_labels(config):
    config.segmenting_discriminator.enabled, config.segmenting_discriminator.channels = True, 4
    fabric, players, graphs = make_setting(config)
    values, not_finite = training_step(fabric, players, graphs, config).read()
    assert not not_finite
    names = {f"segmenting_discriminator/segmenting_{kind}" for kind in ("real", "fake")}
    assert names | {"generator/segmenting"} <= set(values)


def test_label_maps_are_made_only_where_they_are_wanted(setting, everything):
    fabric, players, graphs = setting
    (part,) = split_batch(fabric, players, graphs)
    assert part.labels is part.category_weights is part.unmasked is None
    players = make_setting(everything)[1]
    (part,) = split_batch(fabric, players, graphs)
    names = len(players.generator.bare.vocabulary.objects)
    assert part.labels.shape == (4, names, 16, 16) and part.category_weights.shape == (names,)
    torch.testing.assert_close(part.labels.sum(1), torch.ones(4, 16, 16))


def test_predicted_masks_are_those_of_every_so_many_picture(everything, monkeypatch):
    config = everything
    fabric, players, graphs = make_setting(config)
    given = {}
    model = players.generator.bare
    forward = type(model).forward

    def watched(self, *arguments, **options):
        given.update(options)
        return forward(self, *arguments, **options)

    monkeypatch.setattr(type(model), "forward", watched)
    training_step(fabric, players, graphs, config)
    assert given["unmasked"] is None
    chosen = chosen_places(0.5, [4, 7, 9, 10], fabric.device)
    training_step(fabric, players, graphs, config, [Draws(unmasked=chosen)])
    assert torch.equal(given["unmasked"], (graphs.batch == 1) | (graphs.batch == 2))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.25, 0.3, 1.0])
def test_chosen_places_are_a_share_of_all_evenly_spread(share):
    def chosen_of(places):
        chosen = chosen_places(share, places, torch.device("cpu"))
        return np.zeros(len(places), bool) if chosen is None else chosen.numpy()

    chosen = chosen_of(range(1000))
    assert abs(chosen.sum() - 1000 * share) <= 1
    ends = np.flatnonzero(chosen)
    if 0 < share < 1:
        gaps = np.diff(ends)
        assert gaps.max() - gaps.min() <= 1
    assert np.array_equal(chosen_of(range(1, 1000, 2)), chosen[1::2])


def test_the_encoder_of_appearance_learns_from_pictures_and_from_the_prior(everything):
    config = everything
    for weights in ({"pixel": 1.0}, {"appearance": 1.0}):
        weights = {**dict.fromkeys(LOSSES, 0.0), **weights}
        config.losses = LossConfig(**weights)
        fabric, players, graphs = make_setting(config)
        training_step(fabric, players, graphs, config)
        for weight in players.generator.bare.appearance_encoder.linears.parameters():
            assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_boxes_learn_at_the_border_in_eval_mode_too(everything):
    everything.model.snap, everything.model.box_flow_dim = 0.49, 0
    everything.losses = LossConfig(**{**dict.fromkeys(LOSSES, 0.0), "box": 1.0})
    fabric, players, graphs = make_setting(everything)
    players.generator.network.eval()
    before = [p.detach().clone() for p in players.generator.bare.box_head.parameters()]
    assert not training_step(fabric, players, graphs, everything).read()[1]
    weights = players.generator.bare.box_head.parameters()
    assert not any(torch.equal(*pair) for pair in zip(before, weights, strict=True))
    with torch.no_grad():
        boxes = players.generator.bare(graphs).boxes
    assert ((boxes == 0) | (boxes == 1) | ((boxes - 0.5).abs() <= 0.01)).all()


@pytest.mark.parametrize(
    ("draw", "option", "channels"),
    [(appearance_noise, "appearance_dim", 4), (box_noise, "box_flow_dim", 24)],
)
def test_noise_of_objects_follows_from_the_place_in_the_batch_alone(
    everything, draw, option, channels
):
    config, device = everything, torch.device("cpu")
    dataset = open_split(config, "train", augment=False)

    def noise(pictures, places, step=3, seed=5):
        graphs = fixed_batches(dataset, pictures, 4, seed=0)[0]
        drawn = draw(config.model, seed, step, places, graphs, device)
        assert drawn.shape == (len(graphs.x), channels)
        return [drawn[graphs.batch == i] for i in range(graphs.num_graphs)]

    whole = noise(range(4), range(4))
    for found, expected in zip(noise([1, 3], [1, 3]), whole[1::2], strict=True):
        assert torch.equal(found, expected)
    for other in (noise(range(4), range(4), step=4), noise(range(4), range(4), seed=6)):
        assert not any(torch.isclose(a, b).any() for a, b in zip(whole, other, strict=True))
    # It is other noise than the layout's.
    of_layout = layout_noise(config.model, 5, 3, [0], device).flatten()
    assert not torch.isclose(whole[0].flatten(), of_layout[: whole[0].numel()]).any()
    graphs = fixed_batches(dataset, [0], 4, seed=0)[0]
    setattr(config.model, option, 0)
    assert draw(config.model, 5, 3, [0], graphs, device) is None


def test_boxes_of_a_flow_and_of_appearance_start_from_other_noise(everything):
    graphs = fixed_batches(open_split(everything, "train", augment=False), [0], 4, seed=0)[0]
    given = everything.model, 5, 3, [0], graphs, torch.device("cpu")
    first, second = (draw(*given).flatten() for draw in (appearance_noise, box_noise))
    assert not torch.isclose(first, second[: len(first)]).any()


def test_noise_follows_from_the_place_in_the_batch_alone(config):
    def noise(*places, step=3, seed=5):
        return layout_noise(config.model, seed, step, places, torch.device("cpu"))

    whole = noise(0, 1, 2, 3)
    assert whole.shape == (4, 2, 16, 16)
    assert torch.equal(whole[1::2], noise(1, 3))
    for other in (noise(0, 1, 2, 3, step=4), noise(0, 1, 2, 3, seed=6), noise(4, 5, 6, 7)):
        assert not torch.isclose(whole, other).any()
    config.model.layout_noise_dim = 0
    assert noise(0) is None
    many = layout_noise(ModelConfig(layout_noise_dim=8), 0, 0, range(8), torch.device("cpu"))
    assert many.mean().abs() < 0.01 and abs(many.std() - 1) < 0.01


def test_changes_for_discriminators_follow_from_the_place_in_the_batch_alone():
    def draws(*places, step=3, seed=5):
        return augmentation_draws(["cutout"], seed, step, places, torch.device("cpu"))

    whole = draws(0, 1, 2, 3)
    assert whole.shape == (4, 7) and 0 <= whole.min() and whole.max() < 1
    assert torch.equal(whole[1::2], draws(1, 3))
    for other in (draws(0, 1, 2, 3, step=4), draws(0, 1, 2, 3, seed=6), draws(4, 5, 6, 7)):
        assert not torch.isclose(whole, other).any()
    many = draws(*range(4000))
    assert (many.mean(0) - 0.5).abs().max() < 0.02 and (many.var(0) - 1 / 12).abs().max() < 0.005
    assert augmentation_draws([], 5, 3, [0], torch.device("cpu")) is None


class Watched:
    """What a discriminator is called with, in copies, and what it answered."""

    def __init__(self, network):
        self.calls = []
        network.register_forward_hook(self.see)

    def see(self, _, given, answer):
        self.calls.append(([values.detach().clone() for values in given], answer))


def test_discriminators_see_changed_pictures_and_labels_that_fit_them(everything, monkeypatch):
    config = everything
    config.optimizer.discriminator_steps = 1
    config.losses = replace(config.losses, feature_matching=0.0, r1=0.0, r2=0.0)
    fabric, players, graphs = make_setting(config)
    made = []
    players.generator.network.register_forward_hook(
        lambda _, given, output: made.append(output.images.detach().clone())
    )
    watched = {name: Watched(player.bare) for name, player in players.discriminators.items()}
    drawn = augmentation_draws(config.losses.augmentation, 5, 3, range(4), fabric.device)
    values = training_step(fabric, players, graphs, config, [Draws(augmentation=drawn)]).values
    (part,) = split_batch(fabric, players, graphs)

    # The change itself is tested elsewhere; here who sees what.
    change = Augmentation(("colour", "translation", "cutout"), drawn)
    moved = Augmentation(("translation", "cutout"), drawn).labels(part.labels)
    fake, true = (change.pictures(images) for images in (made[0], part.images))
    seen = watched["image_discriminator"].calls
    assert len(seen) == 3  # by the generator, then true and generated ones
    for (given, _), images in zip(seen, (fake, true, fake), strict=True):
        assert torch.equal(given[0], images) and torch.equal(given[1], moved)
    assert not torch.equal(moved, part.labels) and not torch.equal(true, part.images)

    coloured = Augmentation(("colour",), drawn)
    fake, true = (coloured.pictures(images) for images in (made[0], part.images))
    seen = watched["object_discriminator"].calls
    assert len(seen) == 3
    for (given, _), images in zip(seen, (fake, true, fake), strict=True):
        assert torch.equal(given[0], images) and torch.equal(given[1], part.graphs.boxes)

    # The segmenting one: pixel by pixel, where something of the picture is to be seen.
    seen = watched["segmenting_discriminator"].calls
    shown = moved.sum(1) > 0.5
    assert 0.4 < shown.double().mean() < 0.95
    losses = {"generator/segmenting": 0.0}
    losses |= {f"segmenting_discriminator/segmenting_{kind}": 0.0 for kind in ("real", "fake")}
    for (_, answer), (name, wanted) in zip(
        seen,
        zip(losses, ("category", "category", "generated"), strict=True),
        strict=True,
    ):
        chances = answer.detach().double().softmax(1)
        for n, y, x in shown.nonzero().tolist():
            category = int(moved[n, :, y, x].argmax()) if wanted == "category" else -1
            weight = part.category_weights[category].item() if wanted == "category" else 1.0
            losses[name] -= weight * chances[n, category, y, x].log().item() / shown.numel()
        assert values[name].item() == pytest.approx(losses[name], rel=1e-4), name


def test_the_generator_learns_through_the_changes(everything):
    config = everything
    for name in ("object_discriminator", "segmenting_discriminator"):
        getattr(config, name).enabled = False
    weights = dict.fromkeys(LOSSES, 0.0) | {"image_adversarial": 1.0}
    config.losses = LossConfig(**weights, augmentation=("translation",), adversarial_kind="hinge")
    gradients = []
    for draw in (0.0, 0.0, 0.99):  # moved to one corner, or to the other
        fabric, players, graphs = make_setting(config)
        torch.manual_seed(1)
        draws = torch.full((4, 7), draw)
        training_step(fabric, players, graphs, config, [Draws(augmentation=draws)])
        weights = players.generator.bare.refinement.parameters()
        gradients.append(torch.cat([weight.grad.flatten() for weight in weights]))
    assert gradients[0].isfinite().all() and gradients[0].abs().sum() > 0
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.allclose(gradients[0], gradients[2])
