"""The step written from the paper (eval/benchmarks/reference_step.py) against the library's."""

from types import SimpleNamespace

import pytest
import torch
from torch_geometric.data import Batch

from sg2im_pyg import SceneGraph, Sg2Im, Vocabulary
from sg2im_pyg.data import AddImageNode
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator, compose_layout, crop_objects
from sg2im_pyg.training.config import (
    HardwareConfig,
    ImageDiscriminatorConfig,
    ObjectDiscriminatorConfig,
    TrainingConfig,
)
from sg2im_pyg.training.losses import LossConfig
from sg2im_pyg.training.noise import Draws
from sg2im_pyg.training.players import build_players
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.step import training_step
from tests.benchmarks.benchmark_modules import load_module

LAYERS = ((4, 4, 2), (4, 8, 2))
VOCABULARY = Vocabulary([f"category {i}" for i in range(5)], ["left of", "above"])


@pytest.fixture
def reference(monkeypatch):
    """The step, and the networks by the same name."""
    names = ("reference_networks", "reference_step")
    found = {}
    for name in names:
        found |= vars(load_module(f"benchmarks.{name}", monkeypatch))
    return SimpleNamespace(**found)


def small(**others):
    return TrainingConfig(
        model=ModelConfig(
            image_size=(16, 24),
            embedding_dim=6,
            gconv_dim=8,
            gconv_hidden_dim=10,
            gconv_num_layers=2,
            mask_size=4,
            layout_noise_dim=3,
            refinement_dims=(8, 4),
        ),
        image_discriminator=ImageDiscriminatorConfig(layers=LAYERS),
        object_discriminator=ObjectDiscriminatorConfig(layers=LAYERS, object_size=12),
        losses=LossConfig(mask=0.1),
        hardware=HardwareConfig(accelerator="cpu", devices="1"),
        batch_size=3,
        **others,
    )


def random_graphs(size, mask_size, counts=(3, 1, 4)):
    """Float64 boxes, some partly outside of the picture; one object without relationships."""
    generator = torch.Generator().manual_seed(len(counts))
    graphs = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 0.8 - 0.2
        extent = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 0.6 + 0.2
        shape = (count, mask_size, mask_size)
        graph = SceneGraph(
            x=torch.randint(1, 6, (count,), generator=generator),
            edge_index=torch.randint(0, count, (2, count - 1), generator=generator),
            edge_attr=torch.randint(1, 3, (count - 1,), generator=generator),
            boxes=torch.cat([corner, corner + extent], dim=1),
            masks=(torch.rand(shape, generator=generator) > 0.4).double(),
            image=torch.randint(0, 256, (1, 3, *size), generator=generator, dtype=torch.uint8),
        )
        graphs.append(AddImageNode()(graph))
    return Batch.from_data_list(graphs)


@pytest.fixture
def graphs():
    return random_graphs((16, 24), 4)


def our_players(config):
    """Ours in double precision with gradient descent: Adam would blow up rounding where a gradient
    is zero, as for biases before batch norm."""
    fabric = launch_fabric(config)
    torch.manual_seed(0)
    players = build_players(fabric, config, VOCABULARY)
    for _, player in players.named():
        player.bare.double()
        player.optimizer = torch.optim.SGD(player.bare.parameters(), lr=0.05)
    return fabric, players


def copied(reference, players, config):
    copies = reference.build_players(VOCABULARY, config)
    for name, player in players.named():
        network = copies.networks[name].double()
        network.load_state_dict(player.bare.state_dict())
        copies.optimizers[name] = torch.optim.SGD(network.parameters(), lr=0.05)
    return copies


def test_the_published_networks_have_the_same_parameters_and_buffers(reference):
    config = TrainingConfig()
    with torch.device("meta"):
        vocabulary = Vocabulary([f"category {i}" for i in range(171)], ["above"])
        ours = {
            "generator": Sg2Im(vocabulary, config.model),
            "image_discriminator": PatchDiscriminator(),
            "object_discriminator": ObjectDiscriminator(172),
        }
        copies = reference.build_players(vocabulary, config, "meta").networks
    for name, network in ours.items():
        found = {key: value.shape for key, value in copies[name].state_dict().items()}
        assert found == {key: value.shape for key, value in network.state_dict().items()}


@pytest.mark.parametrize("patch_scores", [False, True])
def test_three_steps_equal_the_library_s(reference, graphs, patch_scores):
    config = small()
    config.image_discriminator.patch_scores = patch_scores
    fabric, players = our_players(config)
    copies = copied(reference, players, config)
    shape = (3, config.model.layout_noise_dim, 16, 24)
    for _ in range(3):
        noise = torch.randn(shape, dtype=torch.float64)
        values = training_step(fabric, players, graphs, config, [Draws(noise)]).values
        losses = reference.training_step(copies, graphs, noise, config.losses)
        assert set(losses) <= set(values) and len(losses) == 11
        for name, loss in losses.items():
            assert values[name].item() == pytest.approx(loss, rel=1e-5), name
        for name, player in players.named():
            network = copies.networks[name]
            pairs = zip(player.bare.named_parameters(), network.parameters(), strict=True)
            for (key, ours), theirs in pairs:
                # The library's mask loss is computed in single precision.
                torch.testing.assert_close(
                    ours.grad, theirs.grad, rtol=1e-5, atol=1e-7, msg=f"gradient {name} {key}"
                )
            for key, value in network.state_dict().items():
                torch.testing.assert_close(
                    player.bare.state_dict()[key], value, rtol=1e-5, atol=1e-7, msg=f"{name} {key}"
                )


def test_a_step_learns_with_adam(reference, graphs):
    config = small()
    players = reference.build_players(VOCABULARY, config)
    before = [p.detach().clone() for p in players.networks["generator"].parameters()]
    graphs = graphs.apply(lambda values: values.float(), "boxes", "masks")
    first, *_, last = (
        reference.training_step(players, graphs, torch.randn(3, 3, 16, 24), config.losses)
        for _ in range(30)
    )
    assert (
        last["object_discriminator/auxiliary_real"] < first["object_discriminator/auxiliary_real"]
    )
    after = players.networks["generator"].parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert not any(
        group["foreach"] or group["fused"]
        for optimizer in players.optimizers.values()
        for group in optimizer.param_groups
    )


def test_a_loss_that_is_not_finite_moves_nothing(reference, graphs):
    config = small()
    players = reference.build_players(VOCABULARY, config)
    graphs = graphs.apply(lambda values: values.float(), "boxes", "masks")
    graphs.boxes[0, 0] = float("inf")
    before = [p.detach().clone() for n in players.networks.values() for p in n.parameters()]
    reference.training_step(players, graphs, torch.randn(3, 3, 16, 24), config.losses)
    after = [p for n in players.networks.values() for p in n.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_generated_pictures_equal_the_library_s(reference, graphs):
    config = small()
    _, players = our_players(config)
    model = players.generator.bare
    copy = reference.Generator(VOCABULARY, config.model).double()
    copy.load_state_dict(model.state_dict())
    noise = torch.randn(3, 3, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        expected = model.eval()(graphs, noise=noise).images
    found = reference.generate(copy, graphs, noise)
    assert found.shape == (3, 3, 16, 24) and not copy.training and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_layout_equals_compose_layout(reference, graphs):
    vectors = torch.randn(len(graphs.x), 5, dtype=torch.float64)
    found = reference.object_layout(vectors, graphs.boxes, graphs.masks, graphs.batch, (16, 24), 3)
    expected = compose_layout(vectors, graphs.boxes, graphs.masks, graphs.batch, (16, 24), 3)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shuffled", [False, True])
def test_crops_equal_crop_objects(reference, graphs, shuffled):
    images = torch.randn(3, 2, 16, 24, dtype=torch.float64)
    order = torch.randperm(len(graphs.x)) if shuffled else torch.arange(len(graphs.x))
    boxes, batch = graphs.boxes[order], graphs.batch[order]
    found = reference.crop_objects(images, boxes, batch, 7)
    expected = crop_objects(images, boxes, batch, 7)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("part", "options", "words"),
    [
        ("model", {"gconv_pooling": "sum"}, "model.gconv_pooling=mean, got sum"),
        ("model", {"mask_size": 0}, "model.mask_size"),
        ("model", {"gconv_num_layers": 0}, "model.gconv_num_layers"),
        ("image_discriminator", {"enabled": False}, "image_discriminator.enabled"),
        ("losses", {"adversarial_kind": "lsgan"}, "losses.adversarial_kind=gan, got lsgan"),
    ],
)
def test_other_options_are_named(reference, part, options, words):
    config = small()
    for name, value in options.items():
        setattr(getattr(config, part), name, value)
    with pytest.raises(Sg2ImError, match="written for") as raised:
        reference.build_players(VOCABULARY, config)
    assert words in str(raised.value)
