"""Compiled networks: the same numbers, and nothing compiled anew as numbers of objects vary."""

import random

import pytest
import torch
from torch._dynamo.utils import counters
from torch_geometric.data import Batch

from sg2im_pyg import SceneGraph
from sg2im_pyg.data.scene_graph import add_image_node
from sg2im_pyg.training.compilation import compile_players
from sg2im_pyg.training.data import open_split
from sg2im_pyg.training.noise import Draws, layout_noise
from sg2im_pyg.training.players import build_players
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.step import training_step


@pytest.fixture
def setting(config):
    torch._dynamo.reset()
    counters.clear()
    fabric = launch_fabric(config)
    vocabulary = open_split(config, "train", augment=True).vocabulary
    players = []
    for _ in range(2):
        torch.manual_seed(0)
        players.append(build_players(fabric, config, vocabulary))
    yield fabric, *players
    torch._dynamo.reset()


PICTURES = 8  # below 16 objects a CPU convolves in another way, which is compiled for itself


def random_batch(seed, pictures=PICTURES):
    """Pictures with 2 to 9 objects and as many relationships, drawn at random."""
    random.seed(seed)
    torch.manual_seed(seed)
    graphs = []
    for _ in range(pictures):
        count = random.randint(2, 9)
        edges = torch.randint(count, (2, random.randint(1, 9)))
        corner = torch.rand(count, 2) / 2
        graph = SceneGraph(
            torch.randint(1, 4, (count,)),
            edges,
            torch.randint(1, 3, (edges.size(1),)),
            boxes=torch.cat([corner, corner + 0.4], 1),
            masks=torch.rand(count, 4, 4).round(),
            image=torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8),
        )
        graphs.append(add_image_node(graph))
    return Batch.from_data_list(graphs)


def steps(fabric, players, config, seeds):
    results = []
    for seed in seeds:
        noise = layout_noise(config.model, 0, seed, range(PICTURES), fabric.device)
        batch = random_batch(seed)
        results.append(training_step(fabric, players, batch, config, [Draws(noise)]).read()[0])
    return results


def test_nothing_is_compiled_anew_as_numbers_of_objects_vary(setting, config):
    fabric, players, _ = setting
    compile_players(players, "default", backend="aot_eager")
    steps(fabric, players, config, [0])
    first = counters["stats"]["unique_graphs"]
    assert (
        first >= 9
    )  # two modules of the CRN, its output, the graph network, heads, discriminators
    sizes = {tuple(random_batch(seed).edge_index.shape) for seed in range(20)}
    assert len(sizes) > 5
    steps(fabric, players, config, range(1, 20))
    assert counters["stats"]["unique_graphs"] == first
    assert not counters["graph_break"]


@pytest.mark.slow
def test_compiled_networks_give_the_same_losses(setting, config):
    fabric, players, plain = setting
    compile_players(players, "default")
    expected = steps(fabric, plain, config, range(3))
    for found, values in zip(steps(fabric, players, config, range(3)), expected, strict=True):
        assert found == pytest.approx(values, rel=1e-3, abs=1e-5)
    assert list(players.generator.bare.state_dict()) == list(plain.generator.bare.state_dict())
