"""The training step written straight from the paper: what eval/benchmark.py measures against.

Plain PyTorch as one would write it first: gradients that nobody needs are computed and thrown
away, and each loss is read as a number at each step, as the 2018 release does. Given the same
weights, batch and noise it computes what the library's step does; see also reference_networks.py.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module
from torch.optim import Adam
from torch_geometric.data import Batch

from benchmarks.reference_networks import (
    Generator,
    ObjectDiscriminator,
    PatchDiscriminator,
    check_options,
)
from sg2im_pyg import Vocabulary
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.losses import LossConfig

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


@dataclass
class ReferencePlayers:
    """The generator, the image discriminator and the object discriminator by their names, and
    their optimizers likewise."""

    networks: dict[str, Module]
    optimizers: dict[str, Adam]


def build_players(
    vocabulary: Vocabulary, config: TrainingConfig, device: torch.device | str = "cpu"
) -> ReferencePlayers:
    """The networks, with torch's own initial weights, and plain Adam for each.

    Raises:
        Sg2ImError: If the options are not of the published kind.
    """
    check_options(config)
    image, objects = config.image_discriminator, config.object_discriminator
    networks: dict[str, Module] = {
        "generator": Generator(vocabulary, config.model),
        "image_discriminator": PatchDiscriminator(image.layers, image.patch_scores),
        "object_discriminator": ObjectDiscriminator(
            len(vocabulary.objects), objects.layers, objects.object_size
        ),
    }
    options = {"lr": config.optimizer.lr, "betas": config.optimizer.betas}
    optimizers = {
        name: Adam(network.to(device).parameters(), **options, foreach=False, fused=False)
        for name, network in networks.items()
    }
    return ReferencePlayers(networks, optimizers)


def training_step(
    players: ReferencePlayers, graphs: Batch, noise: Tensor, weights: LossConfig
) -> dict[str, float]:
    """One step of the generator, then of both discriminators on its detached pictures.

    Args:
        players: Networks and optimizers; changed.
        graphs: Batch with pictures, boxes and masks.
        noise: Noise for the layout, shape :math:`(N, C, H, W)`.
        weights: Weights of the generator's losses.

    Returns:
        The losses by their names, unweighted, and the generator's total.
    """
    generator, image_discriminator, object_discriminator = players.networks.values()
    dtype = next(generator.parameters()).dtype
    mean, deviation = (
        torch.tensor(values, dtype=dtype, device=graphs.image.device).view(3, 1, 1)
        for values in (MEAN, DEVIATION)
    )
    real = (graphs.image.to(dtype) / 255 - mean) / deviation
    true_boxes, true_masks = graphs.boxes.to(dtype), graphs.masks.to(dtype)
    values: dict[str, float] = {}

    # ---- Generator: the discriminators' gradients are computed as well, and never used
    images, boxes, masks = generator(graphs, true_boxes, true_masks, noise)
    image_scores = image_discriminator(images)
    object_scores, logits = object_discriminator(images, true_boxes, graphs.batch)
    losses = {
        "box": F.mse_loss(boxes, true_boxes),
        "mask": mask_loss(masks, true_masks),
        "pixel": F.l1_loss(images, real),
        "image_adversarial": judged_as(image_scores, 1.0),
        "object_adversarial": judged_as(object_scores, 1.0),
        "auxiliary": F.cross_entropy(logits, graphs.x),
    }
    total = torch.zeros((), dtype=dtype, device=real.device)
    for name, loss in losses.items():
        values[f"generator/{name}"] = loss.item()
        total = total + getattr(weights, name) * loss
    values["generator/total"] = total.item()
    if not math.isfinite(values["generator/total"]):
        return values
    descend(players.optimizers["generator"], total)

    # ---- Image discriminator
    fake = images.detach()
    real_scores, fake_scores = image_discriminator(real), image_discriminator(fake)
    loss = judged_as(real_scores, 1.0) + judged_as(fake_scores, 0.0)
    values["image_discriminator/adversarial"] = loss.item()
    descend(players.optimizers["image_discriminator"], loss)

    # ---- Object discriminator
    real_scores, real_logits = object_discriminator(real, true_boxes, graphs.batch)
    fake_scores, fake_logits = object_discriminator(fake, true_boxes, graphs.batch)
    losses = {
        "adversarial": judged_as(real_scores, 1.0) + judged_as(fake_scores, 0.0),
        "auxiliary_real": F.cross_entropy(real_logits, graphs.x),
        "auxiliary_fake": F.cross_entropy(fake_logits, graphs.x),
    }
    values |= {f"object_discriminator/{name}": loss.item() for name, loss in losses.items()}
    descend(players.optimizers["object_discriminator"], torch.stack(list(losses.values())).sum())
    return values


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def judged_as(scores: Tensor, target: float) -> Tensor:
    """Cross-entropy of scores when all should be real (1) or generated (0)."""
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def mask_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Binary cross-entropy of masks; torch does not define it in mixed precision."""
    with torch.autocast(predicted.device.type, enabled=False):
        return F.binary_cross_entropy(predicted.to(true.dtype), true)
