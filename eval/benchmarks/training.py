"""What eval/benchmark.py measures of training: steps of ours and of the reference."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch_geometric.data import Batch

from benchmarks import reference_step
from benchmarks.data import OBJECTS, batch_of, coco_like_vocabulary, noise_shape
from benchmarks.levers import LEVERS
from benchmarks.measuring import COMPARED_RUN, Work
from benchmarks.works import mixed_precision
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.noise import Draws, layout_noise
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


def train_ours(
    config: TrainingConfig,
    without: str | None = None,
    objects: tuple[int, int] = OBJECTS,
    limit: int | None = None,
) -> Work:
    """Training, its noise drawn as the training draws it.

    Args:
        config: All options; where several processes train, they share each batch.
        without: Name of one of :data:`~levers.LEVERS` to do without.
        objects: Fewest and most objects a picture.
        limit: Most objects a batch that are kept, image nodes included.
    """
    fabric, players = build_ours(config, without)
    rank, count = fabric.global_rank, fabric.world_size
    share = replace(config, batch_size=config.batch_size // count)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(share, number * count + rank, objects, limit).to(fabric.device)
        fabric.barrier()

        def step() -> Mapping[str, Any]:
            noise = _noise(config, number, graphs, rank)
            values = training_step(fabric, players, graphs, config, [Draws(noise)]).values
            fabric.barrier()
            return values if count == 1 else {}  # those of a share are not comparable

        return step

    return Work(fabric.device, prepare)


def train_as_one_of(config: TrainingConfig, count: int, rank: int, port: int) -> Work:
    """Training in one of so many processes of this machine, which meet at a port.

    On a CPU each has one thread, on GPUs each has one of these.
    """
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if config.hardware.accelerator == "cpu":
        torch.set_num_threads(1)
    return train_ours(replace(config, hardware=replace(config.hardware, devices=str(count))))


def train_reference(config: TrainingConfig) -> Work:
    """The step written from the paper, from the weights of ours.

    It draws its noise at once for all pictures; only in the run whose values are compared it is
    handed that of ours.
    """
    fabric, ours = build_ours(config)
    device = fabric.device
    players = reference_step.build_players(coco_like_vocabulary(), config, device)
    for name, player in ours.named():
        players.networks[name].load_state_dict(player.bare.state_dict())
    del fabric, ours, player  # the memory is measured

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(device)
        given = _noise(config, number, graphs) if number == COMPARED_RUN else None

        def step() -> Mapping[str, Any]:
            noise = torch.randn(noise_shape(config), device=device) if given is None else given
            with mixed_precision(config):
                return reference_step.training_step(players, graphs, noise, config.losses)

        return step

    return Work(device, prepare)


def _noise(config: TrainingConfig, number: int, graphs: Batch, rank: int = 0) -> torch.Tensor:
    places = range(rank * graphs.num_graphs, (rank + 1) * graphs.num_graphs)
    return layout_noise(config.model, config.seed, number, places, graphs.x.device)
