"""One training step of the two players: the generator, then the discriminators.

Nothing in a step waits for the device: losses are summed up and looked at only when someone asks
for them, and whether a player may move is decided on the device too.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import Module
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch_geometric.data import Batch

from sg2im_pyg.data.batching import most_objects
from sg2im_pyg.images import normalize_images
from sg2im_pyg.model import Sg2Im, Sg2ImOutput
from sg2im_pyg.nn.appearance import Appearance
from sg2im_pyg.nn.augmentation import DRAWS, Augmentation
from sg2im_pyg.nn.box_flow import FlowErrors
from sg2im_pyg.nn.discriminators import DISCRIMINATORS
from sg2im_pyg.nn.layout import crop_objects, label_maps
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.criteria import (
    category_weights,
    discriminator_loss,
    gradient_penalty,
    log_odds,
    pixels_of_categories,
    segmenting_loss,
)
from sg2im_pyg.training.internals import changing_nothing_where, gradients_before_backward
from sg2im_pyg.training.judging import augmented, augmented_labels, beside
from sg2im_pyg.training.losses import LOSSES, LossConfig, LossContext, weighted_sum
from sg2im_pyg.training.noise import Draws
from sg2im_pyg.training.players import Player, Players, bare_optimizer
from sg2im_pyg.training.processes import over_processes


@dataclass
class StepResult:
    """What a step gave, on the device and over this process's part of the batch."""

    values: dict[str, Tensor] = field(default_factory=dict)
    """Scalars for the curves; losses are to be summed over the processes."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """For each player whether it kept its weights, because something was not finite."""

    def record(self, player: str, losses: dict[str, Tensor]) -> None:
        """Adds a part's losses to those of the parts before it."""
        for key, loss in losses.items():
            name, value = f"{player}/{key}", loss.detach()
            self.values[name] = self.values[name] + value if name in self.values else value

    def forget(self, player: str) -> None:
        """Takes back a player's losses, before it learns from the batch again."""
        for name in [name for name in self.values if name.startswith(f"{player}/")]:
            del self.values[name]

    def read(self) -> tuple[dict[str, float], list[str]]:
        """The values over all processes, and the names of those that were not finite and kept a
        player from moving; this waits for the device."""
        norms = [name for name in self.values if name.startswith("gradient_norm/")]
        losses = [name for name in self.values if name not in norms]
        table = over_processes(torch.stack([self.values[name].float() for name in losses]))
        rest = [self.values[name].float() for name in norms] + list(self.kept.values())
        numbers = torch.cat([table, torch.stack([n.float() for n in rest])]).tolist()
        values = dict(zip([*losses, *norms], numbers, strict=False))
        kept = dict(zip(self.kept, numbers[len(values) :], strict=True))
        for player in (name for name, stayed in kept.items() if stayed):
            own = {name: value for name, value in values.items() if name.startswith(f"{player}/")}
            wrong = [name for name, value in own.items() if not math.isfinite(value)]
            specific = [name for name in wrong if not name.endswith("/total")]
            # What follows in other players is a consequence.
            return values, specific or wrong or [f"gradient_norm/{player}"]
        return values, []


@dataclass
class Part:
    """A part of the batch of a step."""

    graphs: Batch
    images: Tensor
    """Pictures in the ImageNet normalisation."""
    draws: Draws
    """What was drawn for it."""
    shares: dict[str, Tensor | float]
    """Its share in the objects and in the pictures of the whole batch of all processes."""
    unmasked: Tensor | None = None
    """Objects whose masks are the predicted ones."""
    labels: Tensor | None = None
    """See :attr:`LossContext.labels`."""
    category_weights: Tensor | None = None
    """Weights of the categories of pixels, for the whole batch of all processes."""
    augmentation: Augmentation | None = None
    """How the discriminators see its pictures."""


def training_step(
    fabric: Fabric,
    players: Players,
    graphs: Batch | Sequence[Batch],
    config: TrainingConfig,
    draws: Sequence[Draws] | None = None,
) -> StepResult:
    """One step: the generator against the frozen discriminators, then each discriminator.

    The layout is made of the true boxes, and of the true masks where there are any (paper,
    Section 3, "Training") unless predicted ones are asked for or the model has no masks. A player
    whose loss or gradient is not finite keeps its weights and its running statistics; if it is the
    generator, the discriminators keep theirs too.

    Args:
        fabric: Says on which device and over how many processes.
        players: The networks.
        graphs: The batch of this process, or parts of it that are computed one after the other;
            their gradients are summed. All losses are means over the pictures or objects of all
            parts and of all processes.
        config: All options.
        draws: What is drawn for each part; drawn here where it is not given.
    """
    if config.hardware.compile == "reduce-overhead":
        torch.compiler.cudagraph_mark_step_begin()
    result = StepResult()
    parts = split_batch(fabric, players, graphs, draws, config.losses.augmentation)
    player = players.generator

    # ---- Generator
    player.optimizer.zero_grad()
    before = {name: Statistics(each) for name, each in players.named()}
    fakes = []
    with frozen(players.discriminators.values()):
        for i, part in enumerate(parts):
            with synchronized(fabric, player, i == len(parts) - 1):
                true, looks = true_appearance(fabric, player, part)
                flow = box_flow_errors(player, part)
                output = player.network(
                    part.graphs,
                    part.graphs.boxes,
                    part.graphs.get("masks"),
                    part.draws.layout,
                    looks,
                    unmasked=part.unmasked,
                )
                losses = generator_losses(fabric, players, output, part, config.losses, true, flow)
                total = weighted_sum(losses, config.losses)
                result.record("generator", {**losses, "total": total})
                fabric.backward(total * fabric.world_size)
            # Cloned, as recorded CUDA graphs write their next result into the same memory.
            fakes.append(output.images.detach().clone())
            del output, losses, total, true, looks, flow  # and with them what the gradient needed
    finish(player, "generator", before["generator"], config, result)
    if players.average is not None:
        assert config.optimizer.ema_decay is not None
        update_average(players.average, player.bare, config.optimizer.ema_decay)

    # ---- Discriminators
    for name, player in players.discriminators.items():
        for again in range(config.optimizer.discriminator_steps):
            player.optimizer.zero_grad()
            if again:
                result.forget(name)
                before[name] = Statistics(player)
            for i, (part, fake) in enumerate(zip(parts, fakes, strict=True)):
                with synchronized(fabric, player, i == len(parts) - 1):
                    losses = discriminator_losses(name, player, fake, part, config.losses)
                    result.record(name, losses)
                    fabric.backward(torch.stack(list(losses.values())).sum() * fabric.world_size)
            finish(player, name, before[name], config, result)
    return result


def true_appearance(
    fabric: Fabric, player: Player, part: Part
) -> tuple[Appearance | None, Tensor | None]:
    """What the objects of the true pictures look like, and vectors of that kind; none if the
    generator takes none."""
    assert isinstance(player.bare, Sg2Im)
    with fabric.autocast():
        true = player.bare.encode_appearance(part.images, part.graphs)
    if true is None:
        return None, None
    noise = part.draws.appearance
    return true, true.sample(torch.randn_like(true.mean) if noise is None else noise)


def box_flow_errors(player: Player, part: Part) -> FlowErrors | None:
    """What the drawing of boxes is trained by; none if the generator draws none."""
    assert isinstance(player.bare, Sg2Im)
    return player.bare.box_flow_errors(part.graphs, part.draws.boxes)


@torch.no_grad()
def update_average(average: AveragedModel, model: Module, decay: float) -> None:
    """Moves an average of weights towards the weights; buffers are copied.

    As :meth:`AveragedModel.update_parameters`, which makes a GPU wait for a count.
    """
    averages: list[Tensor] = list(average.module.parameters())
    weights: list[Tensor] = list(model.parameters())
    if average.n_averaged == 0:
        decay = 0.0  # it begins at the weights
    get_ema_multi_avg_fn(decay)(averages, weights, average.n_averaged)
    for kept, buffer in zip(average.module.buffers(), model.buffers(), strict=True):
        kept.copy_(buffer)
    average.n_averaged += 1


def split_batch(
    fabric: Fabric,
    players: Players,
    graphs: Batch | Sequence[Batch],
    draws: Sequence[Draws] | None = None,
    augmentation: Collection[str] = (),
) -> list[Part]:
    """The parts of a step's batch with their shares in the batch of all processes; the arguments
    are those of :func:`training_step`, and how discriminators are to see pictures."""
    batches = [graphs] if isinstance(graphs, Batch) else list(graphs)
    dtype = next(players.generator.bare.parameters()).dtype
    objects: Tensor | float = float(sum(len(batch.x) for batch in batches))
    pictures: Tensor | float = float(sum(batch.num_graphs for batch in batches))
    if fabric.world_size > 1:
        counts = torch.tensor([objects, pictures], dtype=dtype)
        objects, pictures = over_processes(counts.to(fabric.device, non_blocking=True))
    parts = []
    for batch, drawn in zip(batches, draws or [Draws() for _ in batches], strict=True):
        graphs = batch.apply(lambda values: values.to(dtype), "boxes", "masks")
        images = normalize_images(batch.image, dtype)
        shares = {"objects": len(batch.x) / objects, "pictures": batch.num_graphs / pictures}
        part = Part(graphs, images, drawn, shares, labels=true_labels(players, graphs, images))
        if drawn.unmasked is not None:
            part.unmasked = drawn.unmasked.index_select(0, graphs.batch)
        if augmentation:
            changes = drawn.augmentation
            if changes is None:
                changes = torch.rand(len(images), DRAWS, device=images.device)
            part.augmentation = Augmentation(augmentation, changes)
        parts.append(part)
    if any(DISCRIMINATORS[name].judges == "pixels" for name in players.discriminators):
        labels_of_parts = [part.labels for part in parts if part.labels is not None]
        pixels = torch.stack([pixels_of_categories(labels) for labels in labels_of_parts]).sum(0)
        weights = category_weights(over_processes(pixels))
        for part in parts:
            part.category_weights = weights
    return parts


@torch.no_grad()
def true_labels(players: Players, graphs: Batch, images: Tensor) -> Tensor | None:
    """Label maps of true pictures, if a discriminator wants them."""
    networks = {name: player.bare for name, player in players.discriminators.items()}
    if not any(
        getattr(network, "num_labels", 0) or DISCRIMINATORS[name].judges == "pixels"
        for name, network in networks.items()
    ):
        return None
    model = players.generator.bare
    assert isinstance(model, Sg2Im)
    return label_maps(
        graphs.x,
        graphs.boxes,
        graphs.get("masks"),
        graphs.batch,
        (images.size(2), images.size(3)),
        len(model.vocabulary.objects),
        graphs.num_graphs,
        most_objects(graphs),
    )


def generator_losses(
    fabric: Fabric,
    players: Players,
    output: Sg2ImOutput,
    part: Part,
    weights: LossConfig,
    appearance: Appearance | None = None,
    box_flow: FlowErrors | None = None,
) -> dict[str, Tensor]:
    """The generator's losses, unweighted, each by the part's share in it; one whose network is
    switched off or that has no truth is left out."""
    # The discriminators are called without Fabric's wrapper, which would wait for gradients that
    # never come while they are frozen.
    opponents = {name: player.bare for name, player in players.discriminators.items()}
    given = LossContext(
        output,
        part.graphs,
        part.images,
        weights,
        opponents,
        part.labels,
        part.category_weights,
        appearance,
        box_flow,
        part.augmentation,
    )
    with fabric.autocast():
        losses = {name: loss.compute(given) for name, loss in LOSSES.items()}
    return {
        name: loss * part.shares[LOSSES[name].mean_over]
        for name, loss in losses.items()
        if loss is not None
    }


def discriminator_losses(
    name: str, player: Player, fake: Tensor, part: Part, weights: LossConfig
) -> dict[str, Tensor]:
    """The losses of one of :data:`DISCRIMINATORS`, each by the part's share in it."""
    graphs, kind, network = part.graphs, weights.adversarial_kind, player.network
    judges = DISCRIMINATORS[name].judges
    labels = augmented_labels(part.labels, part.augmentation)
    true, fake = (
        augmented(name, images, part.augmentation) for images in (part.images, fake.detach())
    )
    judged = beside(name, player.bare, graphs, labels)
    if judges == "objects" and (weights.r1 or weights.r2):
        # Of crops: so it is a mean over objects, and cutting out has no second derivative.
        side, judged = player.bare.object_size, ()
        true, fake = (
            crop_objects(images, graphs.boxes, graphs.batch, side)  # type: ignore[arg-type]
            for images in (true, fake)
        )
    if weights.r1:
        true = true.detach().requires_grad_()
    if weights.r2:
        fake = fake.detach().requires_grad_()
    true_scores, fake_scores = network(true, *judged), network(fake, *judged)
    if judges == "pixels":
        assert labels is not None
        last, visible = labels.size(1), None
        as_generated = torch.full_like(labels[:, 0], last, dtype=torch.long)
        of_pixels = F.cross_entropy(fake_scores, as_generated, reduction="none")
        if part.augmentation is not None:
            visible = part.augmentation.visible(part.images)
            of_pixels = of_pixels * visible
        losses = {
            "segmenting_real": segmenting_loss(true_scores, labels, part.category_weights, visible),
            "segmenting_fake": of_pixels.mean(),
        }
        true_scores, fake_scores = log_odds(true_scores), log_odds(fake_scores)
    elif judges == "pictures":
        losses = {"adversarial": discriminator_loss(kind, true_scores, fake_scores)}
    else:
        (true_scores, true_logits), (fake_scores, fake_logits) = true_scores, fake_scores
        losses = {
            "adversarial": discriminator_loss(kind, true_scores, fake_scores),
            "auxiliary_real": F.cross_entropy(true_logits, graphs.x),
            "auxiliary_fake": F.cross_entropy(fake_logits, graphs.x),
        }
    for penalty, scores, images in (
        ("r1", true_scores, true),
        ("r2", fake_scores, fake),
    ):
        if weight := getattr(weights, penalty):
            with gradients_before_backward():
                losses[penalty] = weight * gradient_penalty(scores, images)
    share = part.shares["objects" if judges == "objects" else "pictures"]
    return {loss: value * share for loss, value in losses.items()}


def synchronized(fabric: Fabric, player: Player, last: bool) -> AbstractContextManager[None]:
    """Within it a backward pass averages the gradients over the processes, if it is the last."""
    if fabric.world_size == 1 or last:
        return nullcontext()
    return fabric.no_backward_sync(player.network)  # type: ignore[arg-type]


class Statistics:
    """The running statistics of a player, as they are before a step."""

    def __init__(self, player: Player) -> None:
        self._buffers = list(player.bare.buffers()) if player.bare.training else []
        self._before = [buffer.clone() for buffer in self._buffers]

    def put_back(self, where: Tensor) -> None:
        """Puts them back if a condition on the device holds."""
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(torch.where(where, before, buffer))


@torch.no_grad()
def finish(
    player: Player, name: str, before: Statistics, config: TrainingConfig, result: StepResult
) -> None:
    """Moves a player along its gradient, unless a loss or the gradient is not finite."""
    scaled = config.hardware.precision == "16-mixed"
    parameters = [p for p in player.network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    result.values[f"gradient_norm/{name}"] = norm
    own = [value for key, value in result.values.items() if key.startswith(f"{name}/")]
    finite = torch.stack([value.isfinite() for value in own]).all()
    # With a loss scale an overflow of the gradient is ordinary, and the scaler skips it by itself.
    finite = finite if scaled else finite & norm.isfinite()
    kept = ~finite
    kept = over_processes(kept.float()) > 0  # all processes take the same way
    if "generator" in result.kept:
        kept = kept | result.kept["generator"]
    result.kept[name] = kept
    before.put_back(kept)
    options, bare = config.optimizer, bare_optimizer(player.optimizer)
    if options.gradient_clip is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, options.gradient_clip, norm)
    if bare.defaults.get("fused") and not scaled:
        with changing_nothing_where(kept, bare):
            player.optimizer.step()
    elif not kept:
        player.optimizer.step()
    clip = options.discriminator_clip
    if clip is not None and name != "generator":
        for parameter in player.network.parameters():
            parameter.clamp_(-clip, clip)


@contextmanager
def frozen(players: Iterable[Player]) -> Iterator[None]:
    """Within it no gradient is computed for the players' weights, only through them."""
    parameters = [weight for player in players for weight in player.network.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
