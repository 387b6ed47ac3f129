"""The losses of a training.

Those of the generator are rows of one table, which the step, the progress bar, the validation and
the configuration read; a new one is a function with :func:`register_loss` above it. torch is
imported where a loss is computed: a command line asks the table for its options, and answers
before torch is there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.options import check_options, option

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Batch

    from sg2im_pyg.model import Sg2ImOutput

AdversarialKind = Literal["gan", "lsgan", "wgan"]


# --- The table ------------------------------------------------------------------------------------


@dataclass
class LossContext:
    """What a loss of the generator may be computed from: :math:`N` pictures with :math:`O` objects
    in all."""

    output: Sg2ImOutput
    """Pictures, boxes and masks of the generator."""
    graphs: Batch
    """The truth: ``x``, ``edge_index``, ``edge_attr``, ``boxes`` and, where there are any,
    ``masks``."""
    images: Tensor
    """True pictures in the ImageNet normalisation, shape :math:`(N, 3, H, W)`."""
    options: LossConfig
    """Weights and kinds of the losses."""
    discriminators: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """The frozen discriminators by name; none in a validation."""
    _scores: dict[str, Any] = field(default_factory=dict)

    def scores(self, discriminator: str) -> Any:
        """What a discriminator says of the generated pictures, asked once; :obj:`None` where it is
        switched off. One of objects also gives logits of their categories, :math:`(O, C)`."""
        from sg2im_pyg.nn.discriminators import DISCRIMINATORS

        if discriminator not in self.discriminators:
            return None
        if discriminator not in self._scores:
            objects = (self.graphs.boxes, self.graphs.batch)
            where = objects if DISCRIMINATORS[discriminator].of_objects else ()
            judge = self.discriminators[discriminator]
            self._scores[discriminator] = judge(self.output.images, *where)
        return self._scores[discriminator]


ComputeLoss = Callable[[LossContext], "Tensor | None"]


@dataclass(frozen=True)
class Loss:
    """A loss of the generator, a row of the table; see :func:`register_loss`."""

    label: str
    mean_over: Literal["objects", "pictures"]
    weight: float
    compute: ComputeLoss


LOSSES: dict[str, Loss] = {}
"""The losses of the generator by name, in the order in which they are computed."""


def register_loss(
    name: str, *, label: str, mean_over: Literal["objects", "pictures"], weight: float
) -> Callable[[ComputeLoss], ComputeLoss]:
    """Puts the function below it into the table of the generator's losses.

    The function returns the loss, a scalar, or none where it does not apply; its docstring says
    what it is, in the help of the command line too. A training computes it in the run's precision.
    A validation has no discriminators, so that losses of their scores are left out there.

    Args:
        name: Its weight is the option ``losses.NAME`` (a field of :class:`LossConfig`), its curves
            are ``generator/NAME`` and ``validation/NAME``.
        label: What it is called on the progress bar.
        mean_over: What it is a mean over; where a batch has several parts or processes, they share
            in it by their numbers of these.
        weight: Default of the weight.

    Raises:
        Sg2ImError: If an option can not be called so, or there is such a loss.

    Examples:
        >>> @register_loss("width", label="width", mean_over="objects", weight=0.0)
        ... def width_loss(given):
        ...     'The squared difference of the right sides of boxes.'
        ...     return (given.output.boxes - given.graphs.boxes)[:, 2].square().mean()
        >>> LossConfig(width=2.0).width, LossConfig().width
        (2.0, 0.0)
        >>> unregister_loss("width")
    """
    if not name.isidentifier() or name in (*_KINDS, *LOSSES, "total"):
        raise Sg2ImError(f"A loss can not be called {name!r}: give it another name.")
    if mean_over not in ("objects", "pictures"):
        raise Sg2ImError(f"A loss is a mean over objects or pictures, got {mean_over!r}.")

    def register(compute: ComputeLoss) -> ComputeLoss:
        LOSSES[name] = Loss(label, mean_over, weight, compute)
        _make_weights()
        return compute

    return register


def unregister_loss(name: str) -> None:
    """Takes a loss out of the table again."""
    del LOSSES[name]
    _make_weights()


class LossConfig:
    """Weights of the generator's losses and their kinds. The defaults are the release's."""

    adversarial_kind: AdversarialKind = "gan"
    """gan: cross-entropy; lsgan: squared error after a sigmoid; wgan: difference of means."""
    box_distance: Literal["squared", "l1"] = "squared"
    """squared: mean squared error (release); l1: mean absolute error (paper)."""

    if TYPE_CHECKING:  # the weights come from the table

        def __init__(self, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> float: ...

    def __post_init__(self) -> None:
        check_options(self, "losses.")
        if not any(getattr(self, name) for name in LOSSES):
            raise Sg2ImError("All weights of losses are 0: give at least one that is more.")


_KINDS, _TEXT = get_type_hints(LossConfig), LossConfig.__doc__


def _make_weights() -> None:
    """Makes :class:`LossConfig` a dataclass, in place, with a weight for each loss of the table."""
    of_former_table = {"__init__", "__repr__", "__eq__", "__match_args__", "__replace__"}
    of_former_table |= LossConfig.__annotations__.keys() - _KINDS.keys()
    for name in of_former_table & vars(LossConfig).keys():
        delattr(LossConfig, name)
    LossConfig.__doc__ = f"{_TEXT}\n\nArgs:"
    for name, loss in LOSSES.items():
        setattr(LossConfig, name, option(loss.weight, least=0))
        text = " ".join((inspect.getdoc(loss.compute) or name).partition("\n\n")[0].split())
        LossConfig.__doc__ += f"\n    {name}: Weight of {text[0].lower()}{text[1:]}"
    LossConfig.__annotations__ = {**dict.fromkeys(LOSSES, float), **_KINDS}
    dataclass(LossConfig)


def weighted_sum(losses: dict[str, Tensor], weights: LossConfig) -> Tensor:
    """The generator's total: each loss by its weight."""
    import torch

    terms = [getattr(weights, name) * loss for name, loss in losses.items()]
    return torch.stack([term.reshape(()) for term in terms]).sum()


# --- The generator's losses (paper, Section 3, "Training") ----------------------------------------


@register_loss("box", label="box", mean_over="objects", weight=10.0)
def _box(given: LossContext) -> Tensor:
    """The distance between predicted and true boxes."""
    return box_loss(given.options.box_distance, given.output.boxes, given.graphs.boxes)


@register_loss("mask", label="mask", mean_over="objects", weight=0.0)
def _mask(given: LossContext) -> Tensor | None:
    """The masks' binary cross-entropy; the release advises 0.1 for COCO."""
    if given.output.masks is None or "masks" not in given.graphs:
        return None
    return mask_loss(given.output.masks, given.graphs.masks)


@register_loss("pixel", label="pixel", mean_over="pictures", weight=1.0)
def _pixel(given: LossContext) -> Tensor:
    """The L1 distance between generated and true pictures."""
    import torch.nn.functional as F

    return F.l1_loss(given.output.images, given.images)


@register_loss("image_adversarial", label="img", mean_over="pictures", weight=0.01)
def _image_adversarial(given: LossContext) -> Tensor | None:
    """The image discriminator's judgement."""
    scores = given.scores("image_discriminator")
    return None if scores is None else generator_loss(given.options.adversarial_kind, scores)


@register_loss("object_adversarial", label="obj", mean_over="objects", weight=0.01)
def _object_adversarial(given: LossContext) -> Tensor | None:
    """The object discriminator's judgement."""
    scores = given.scores("object_discriminator")
    return None if scores is None else generator_loss(given.options.adversarial_kind, scores[0])


@register_loss("auxiliary", label="aux", mean_over="objects", weight=0.1)
def _auxiliary(given: LossContext) -> Tensor | None:
    """The cross-entropy of the categories seen by the object discriminator."""
    import torch.nn.functional as F

    scores = given.scores("object_discriminator")
    return None if scores is None else F.cross_entropy(scores[1], given.graphs.x)


# --- What they are made of ------------------------------------------------------------------------


def box_loss(distance: Literal["squared", "l1"], predicted: Tensor, true: Tensor) -> Tensor:
    """Mean distance between predicted and true boxes, both of shape :math:`(O, 4)`."""
    import torch.nn.functional as F

    if distance == "l1":
        return F.l1_loss(predicted, true)
    return F.mse_loss(predicted, true)


def mask_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean binary cross-entropy of masks in :math:`[0, 1]`, shape :math:`(O, M, M)`.

    True masks of another size are averaged or spread to the predicted size.
    """
    import torch
    import torch.nn.functional as F

    if true.shape != predicted.shape:
        size = predicted.shape[-2:]
        true = F.interpolate(true.unsqueeze(1), size, mode="bilinear", antialias=True).squeeze(1)
    # Not defined under autocast; in single precision it is. Nor is it for what is not a number,
    # which must come out as such instead of ending the run.
    with torch.autocast(predicted.device.type, enabled=False):
        predicted = predicted.float()
        loss = F.binary_cross_entropy(predicted.nan_to_num(), true.float().clamp(0, 1))
        return torch.where(predicted.isfinite().all(), loss, torch.nan)


def generator_loss(kind: AdversarialKind, fake_scores: Tensor) -> Tensor:
    """What the generator minimises: generated pictures should be taken for real.

    Args:
        kind: See :attr:`LossConfig.adversarial_kind`.
        fake_scores: Scores of generated pictures or crops, any shape.

    Returns:
        A scalar.

    Raises:
        ValueError: If the kind is unknown.
    """
    return _adversarial(kind, fake_scores, real=True)


def discriminator_loss(kind: AdversarialKind, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """What a discriminator minimises: real ones should be taken for real, generated ones not.

    Args:
        kind: See :attr:`LossConfig.adversarial_kind`.
        real_scores: Scores of real pictures or crops, any shape.
        fake_scores: Scores of generated ones, any shape.

    Returns:
        A scalar.

    Raises:
        ValueError: If the kind is unknown.
    """
    return _adversarial(kind, real_scores, real=True) + _adversarial(kind, fake_scores, real=False)


def _adversarial(kind: AdversarialKind, scores: Tensor, real: bool) -> Tensor:
    """How far scores are from those of real pictures, or of generated ones."""
    import torch
    import torch.nn.functional as F

    if kind == "wgan":
        return -scores.mean() if real else scores.mean()
    target = torch.full_like(scores, float(real))
    if kind == "lsgan":
        return F.mse_loss(scores.sigmoid(), target)
    if kind == "gan":
        return F.binary_cross_entropy_with_logits(scores, target)
    raise ValueError(f"the adversarial loss must be 'gan', 'lsgan' or 'wgan', got {kind!r}")
