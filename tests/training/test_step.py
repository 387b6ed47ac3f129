"""One training step against the same step written out in plain PyTorch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.training.data import open_split
from sg2im_pyg.training.loader import fixed_batches
from sg2im_pyg.training.noise import layout_noise
from sg2im_pyg.training.players import build_players, learning_rate
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.step import frozen, training_step


@pytest.fixture
def setting(config):
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


@pytest.mark.parametrize("kind", ["gan", "lsgan", "wgan"])
@pytest.mark.parametrize("distance", ["squared", "l1"])
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
def test_other_precisions(config, precision):
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
def test_a_step_does_not_wait_for_the_device(setting, config, parts, monkeypatch):
    fabric, players, graphs = setting
    config.optimizer.gradient_clip = 1.0
    batches = [graphs.clone() for _ in range(parts)]
    noise = [layout_noise(config.model, 0, 0, range(4), fabric.device)] * parts
    training_step(fabric, players, [graphs.clone()], config, noise[:1])  # makes Adam's state

    def refuse(*_):
        raise AssertionError("waits")

    with NoWaiting(), monkeypatch.context() as patched:
        for name in ("tolist", "cpu"):  # these do not pass by the dispatcher on a CPU
            patched.setattr(torch.Tensor, name, refuse)
        result = training_step(fabric, players, batches, config, noise)
        with pytest.raises(AssertionError, match="waits"):
            result.read()
    assert not result.read()[1]


def test_a_loss_that_is_not_finite_is_named_however_late_it_is_read(setting, config):
    fabric, players, graphs = setting
    graphs.boxes[0, 0] = float("nan")
    results = [training_step(fabric, players, graphs.clone(), config) for _ in range(2)]
    assert ["generator/box" in result.read()[1] for result in results] == [True, True]


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
        noise = [layout_noise(config.model, 0, step, place, fabric.device) for place in places]
        result = training_step(fabric, players, batches, config, noise)
        values.append(result.read()[0])
    return values, {
        f"{name}/{key}": value
        for name, player in players.named()
        for key, value in player.bare.state_dict().items()
    }


def test_parts_of_a_batch_give_the_gradient_of_the_whole(config):
    without_batch_statistics(config)  # they are each part's own
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
