"""The players of a training: the networks and their optimizers."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from lightning_fabric import Fabric
from torch.nn import Module
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel

from sg2im_pyg.data import Vocabulary
from sg2im_pyg.model import Sg2Im
from sg2im_pyg.nn.batch_norm import share_statistics
from sg2im_pyg.nn.discriminators import DISCRIMINATORS
from sg2im_pyg.training.config import TrainingConfig


@dataclass
class Player:
    """A network and its optimizer, as Fabric set them up."""

    network: Module
    optimizer: Optimizer

    @property
    def bare(self) -> Module:
        """The network itself, without Fabric's wrapper."""
        return getattr(self.network, "module", self.network)


@dataclass
class Players:
    """The generator and its opponents; a discriminator that is switched off is absent."""

    generator: Player
    discriminators: dict[str, Player]
    """Those of :data:`DISCRIMINATORS`, in its order."""
    average: AveragedModel | None = None
    """The moving average of the generator's weights, if one is wanted."""

    def named(self) -> Iterator[tuple[str, Player]]:
        yield "generator", self.generator
        yield from self.discriminators.items()

    def set_learning_rate(self, rate: float, ratio: float = 1.0) -> None:
        """Sets that of the generator, and that of the discriminators as a multiple of it."""
        for name, player in self.named():
            for group in player.optimizer.param_groups:
                group["lr"] = rate if name == "generator" else rate * ratio

    @property
    def for_samples(self) -> Sg2Im:
        """The generator that samples, scores and checkpoints come from: the average, if there is
        one."""
        model = self.generator.bare if self.average is None else self.average.module
        assert isinstance(model, Sg2Im)
        return model


def build_players(fabric: Fabric, config: TrainingConfig, vocabulary: Vocabulary) -> Players:
    """Constructs the networks and their optimizers on Fabric's device."""
    networks: dict[str, Module] = {"generator": Sg2Im(vocabulary, config.model)}
    for name, kind in DISCRIMINATORS.items():
        options = asdict(getattr(config, name))
        if options.pop("enabled"):
            networks[name] = kind.make(options, len(vocabulary.objects))
    if fabric.world_size > 1 and config.hardware.sync_batchnorm:
        for network in networks.values():
            share_statistics(network, fabric.device)
    players = {
        name: Player(*fabric.setup(network, adam(name, network, config, fabric.device)))
        for name, network in networks.items()
    }
    result = Players(players.pop("generator"), players)
    if config.optimizer.ema_decay is not None:
        result.average = AveragedModel(result.generator.bare)
        result.average.requires_grad_(False)
    return result


def adam(name: str, network: Module, config: TrainingConfig, device: torch.device) -> Adam:
    """A fresh optimizer for the network of a player."""
    options = config.optimizer
    rate, betas = options.lr, options.betas
    if name != "generator":
        rate *= discriminator_ratio(config)
        betas = options.discriminator_betas or betas
    fused = device.type in ("cpu", "cuda")
    return Adam(network.parameters(), lr=rate, betas=betas, fused=fused)


def discriminator_ratio(config: TrainingConfig) -> float:
    """The discriminators' learning rate as a multiple of the generator's."""
    rate = config.optimizer.discriminator_lr
    return 1.0 if rate is None else rate / config.optimizer.lr


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Learning rate of a step, counted from 0: it depends on nothing else."""
    options = config.optimizer
    rate = options.lr
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / config.steps))
    if step < options.warmup_steps:
        rate *= (step + 1) / options.warmup_steps
    return rate


def bare_optimizer(optimizer: Optimizer) -> Optimizer:
    """The optimizer itself, without Fabric's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)
