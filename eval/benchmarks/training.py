"""What eval/benchmark.py measures of training: steps of ours and of the reference."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch_geometric.data import Batch

from benchmarks import reference_step
from benchmarks.data import OBJECTS, batch_of, coco_like_vocabulary, noise_shape
from benchmarks.levers import LEVERS
from benchmarks.measuring import COMPARED_RUN, Work
from benchmarks.works import mixed_precision
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.noise import layout_noise
from sg2im_pyg.training.players import Players, build_players
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.step import training_step


def build_ours(config: TrainingConfig, without: str | None = None) -> tuple[Fabric, Players]:
    """Our networks and optimizers, weights from the seed.

    Args:
        config: All options; its device, precision and seed too.
        without: Name of one of :data:`~levers.LEVERS` to do without.
    """
    fabric = launch_fabric(config)
    torch.manual_seed(config.seed)
    players = build_players(fabric, config, coco_like_vocabulary())
    if without is not None:
        for _, player in players.named():
            LEVERS[without](player.bare)
    if config.hardware.compile != "off":
        from sg2im_pyg.training.compilation import compile_players

        compile_players(players, config.hardware.compile)
    return fabric, players


def step_ours(
    fabric: Fabric, players: Players, graphs: Batch, config: TrainingConfig, number: int
) -> dict[str, Tensor]:
    """One training step of ours, its noise drawn as the training draws it; the values that it
    gives for the curves."""
    first = fabric.global_rank * graphs.num_graphs
    places = range(first, first + graphs.num_graphs)
    noise = [layout_noise(config.model, config.seed, number, places, fabric.device)]
    return training_step(fabric, players, graphs, config, noise).values


def train_ours(
    config: TrainingConfig,
    without: str | None = None,
    objects: tuple[int, int] = OBJECTS,
    limit: int | None = None,
) -> Work:
    """Training.

    Args:
        config: All options.
        without: Name of one of :data:`~levers.LEVERS` to do without.
        objects: Fewest and most objects a picture.
        limit: Most objects a batch that are kept, image nodes included.
    """
    fabric, players = build_ours(config, without)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number, objects, limit).to(fabric.device)
        return lambda: step_ours(fabric, players, graphs, config, number)

    return Work(fabric.device, prepare)


def train_reference(config: TrainingConfig) -> Work:
    """The step written from the paper, from the weights of ours.

    It draws its noise at once for all pictures; only in the run whose values are compared it is
    handed that of ours.
    """
    fabric, ours = build_ours(config)
    device = fabric.device
    players = reference_step.build_players(coco_like_vocabulary(), config, device)
    for name, player in ours.named():
        players.networks()[name].load_state_dict(player.bare.state_dict())
    del fabric, ours, player  # the memory is measured

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(device)
        given = None
        if number == COMPARED_RUN:
            places = range(graphs.num_graphs)
            given = layout_noise(config.model, config.seed, number, places, device)

        def step() -> dict[str, float]:
            noise = torch.randn(noise_shape(config), device=device) if given is None else given
            with mixed_precision(config):
                return reference_step.training_step(players, graphs, noise, config.losses)

        return step

    return Work(device, prepare)
