"""One training step of the two players: the generator, then the discriminators."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import Module
from torch.optim import Adam, Optimizer
from torch_geometric.data import Batch

from sg2im_pyg.data import Vocabulary
from sg2im_pyg.images import normalize_images
from sg2im_pyg.model import Sg2Im, Sg2ImOutput
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.losses import (
    LossConfig,
    box_loss,
    discriminator_loss,
    generator_loss,
    mask_loss,
    weighted_sum,
)


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
    image_discriminator: Player | None
    object_discriminator: Player | None

    def named(self) -> Iterator[tuple[str, Player]]:
        for name in ("generator", "image_discriminator", "object_discriminator"):
            player = getattr(self, name)
            if player is not None:
                yield name, player

    def set_learning_rate(self, rate: float) -> None:
        for _, player in self.named():
            for group in player.optimizer.param_groups:
                group["lr"] = rate


@dataclass
class StepResult:
    """What a step gave: scalars for the curves, and what kept it from changing the weights."""

    values: dict[str, Tensor] = field(default_factory=dict)
    not_finite: list[str] = field(default_factory=list)
    """Names of the losses or gradients that were not finite, in the order of their computation."""


def build_players(fabric: Fabric, config: TrainingConfig, vocabulary: Vocabulary) -> Players:
    """Constructs the networks and their optimizers on Fabric's device."""
    networks: dict[str, Module | None] = {
        "generator": Sg2Im(vocabulary, config.model),
        "image_discriminator": None,
        "object_discriminator": None,
    }
    image, objects = config.image_discriminator, config.object_discriminator
    if image.enabled:
        networks["image_discriminator"] = PatchDiscriminator(
            image.layers, image.normalization, patch_scores=image.patch_scores
        )
    if objects.enabled:
        networks["object_discriminator"] = ObjectDiscriminator(
            len(vocabulary.objects), objects.layers, objects.normalization, objects.object_size
        )
    players = {
        name: None if network is None else Player(*fabric.setup(network, adam(network, config)))
        for name, network in networks.items()
    }
    return Players(**players)  # type: ignore[arg-type]


def adam(network: Module, config: TrainingConfig) -> Adam:
    """A fresh optimizer for a network."""
    return Adam(network.parameters(), lr=config.optimizer.lr, betas=config.optimizer.betas)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Learning rate of a step, counted from 0: it depends on nothing else."""
    options = config.optimizer
    if options.schedule == "cosine":
        return options.lr * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return options.lr


def training_step(
    fabric: Fabric, players: Players, graphs: Batch, config: TrainingConfig
) -> StepResult:
    """One step: the generator against the frozen discriminators, then each discriminator.

    The layout is made of the true boxes, and of the true masks where there are any (paper,
    Section 3, "Training"). A player whose loss or gradient is not finite keeps its weights; if it
    is the generator, the discriminators keep theirs too.
    """
    result = StepResult()
    dtype = next(players.generator.bare.parameters()).dtype
    images = normalize_images(graphs.image, dtype)
    graphs = graphs.apply(lambda values: values.to(dtype), "boxes", "masks")

    # ---- Generator
    with frozen(players.image_discriminator), frozen(players.object_discriminator):
        output = players.generator.network(graphs, graphs.boxes, graphs.get("masks"))
        losses = generator_losses(fabric, players, output, images, graphs, config.losses)
        total = weighted_sum(losses, config.losses)
    result.values |= {f"generator/{name}": loss.detach() for name, loss in losses.items()}
    result.values["generator/total"] = total.detach()
    update(fabric, players.generator, total, "generator", losses, result)
    if result.not_finite:
        return result

    # ---- Image discriminator
    fake, clip = output.images.detach(), config.optimizer.discriminator_clip
    player, kind = players.image_discriminator, config.losses.adversarial_kind
    if player is not None:
        real_scores, fake_scores = player.network(images), player.network(fake)
        losses = {"adversarial": discriminator_loss(kind, real_scores, fake_scores)}
        result.values["image_discriminator/adversarial"] = losses["adversarial"].detach()
        total = losses["adversarial"]
        update(fabric, player, total, "image_discriminator", losses, result, clip)

    # ---- Object discriminator
    player = players.object_discriminator
    if player is not None:
        real_scores, real_logits = player.network(images, graphs.boxes, graphs.batch)
        fake_scores, fake_logits = player.network(fake, graphs.boxes, graphs.batch)
        losses = {
            "adversarial": discriminator_loss(kind, real_scores, fake_scores),
            "auxiliary_real": F.cross_entropy(real_logits, graphs.x),
            "auxiliary_fake": F.cross_entropy(fake_logits, graphs.x),
        }
        result.values |= {f"object_discriminator/{k}": v.detach() for k, v in losses.items()}
        total = torch.stack(list(losses.values())).sum()
        update(fabric, player, total, "object_discriminator", losses, result, clip)
    return result


def generator_losses(
    fabric: Fabric,
    players: Players,
    output: Sg2ImOutput,
    images: Tensor,
    graphs: Batch,
    weights: LossConfig,
) -> dict[str, Tensor]:
    """The generator's losses, unweighted; one whose part is switched off or has no truth is left
    out."""
    losses = {"box": box_loss(weights.box_distance, output.boxes, graphs.boxes)}
    if output.masks is not None and "masks" in graphs:
        losses["mask"] = mask_loss(output.masks, graphs.masks)
    losses["pixel"] = F.l1_loss(output.images, images)
    # The discriminators are called without Fabric's wrapper, which would wait for gradients that
    # never come while they are frozen.
    with fabric.autocast():
        if players.image_discriminator is not None:
            scores = players.image_discriminator.bare(output.images)
            losses["image_adversarial"] = generator_loss(weights.adversarial_kind, scores)
        if players.object_discriminator is not None:
            scores, logits = players.object_discriminator.bare(
                output.images, graphs.boxes, graphs.batch
            )
            losses["object_adversarial"] = generator_loss(weights.adversarial_kind, scores)
            losses["auxiliary"] = F.cross_entropy(logits, graphs.x)
    return losses


def update(
    fabric: Fabric,
    player: Player,
    total: Tensor,
    name: str,
    losses: dict[str, Tensor],
    result: StepResult,
    clip: float | None = None,
) -> None:
    """Moves a player down the gradient of its loss, unless loss or gradient are not finite."""
    if not _everywhere(fabric, total.isfinite()):
        bad = [key for key, loss in losses.items() if not loss.isfinite()]
        result.not_finite += [f"{name}/{key}" for key in bad or ["total"]]
        return
    player.optimizer.zero_grad(set_to_none=True)
    fabric.backward(total)
    gradients = [p.grad for p in player.network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    result.values[f"gradient_norm/{name}"] = norm
    # With a loss scale (16-mixed) an overflow is ordinary, and the scaler skips it by itself.
    if fabric._precision.precision != "16-mixed" and not _everywhere(fabric, norm.isfinite()):
        result.not_finite.append(f"gradient_norm/{name}")
        return
    player.optimizer.step()
    if clip is not None:
        for parameter in player.network.parameters():
            parameter.data.clamp_(-clip, clip)


@contextmanager
def frozen(player: Player | None) -> Iterator[None]:
    """Within it no gradient is computed for the player's weights, only through them."""
    parameters = [] if player is None else list(player.network.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _everywhere(fabric: Fabric, holds: Tensor) -> bool:
    """Whether something holds in all processes, so that all take the same way."""
    if fabric.world_size > 1:
        share = fabric.all_reduce(holds.float(), reduce_op="mean")
        return bool(share == 1)
    return bool(holds)
