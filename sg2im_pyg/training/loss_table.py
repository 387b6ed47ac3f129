"""The table of the generator's losses: its rows, what they are computed from, and their weights.

The rows stand in :mod:`sg2im_pyg.training.losses`, from which all names here are to be imported:
the table has no rows before. torch is imported where a loss is computed: a command line asks the
table for its options, and answers before torch is there.
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
    from sg2im_pyg.nn.appearance import Appearance
    from sg2im_pyg.nn.augmentation import Augmentation
    from sg2im_pyg.nn.box_flow import FlowErrors

AdversarialKind = Literal["gan", "lsgan", "wgan", "hinge", "relativistic"]
BoxDistance = Literal["squared", "l1", "giou", "recall"]


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
    discriminators: Mapping[str, Any] = field(default_factory=dict)
    """The frozen discriminators by name; none in a validation."""
    labels: Tensor | None = None
    """Label maps of the true pictures, shape :math:`(N, C, H, W)`, where a discriminator sees
    them."""
    category_weights: Tensor | None = None
    """Weights of the categories of pixels, see
    :func:`~sg2im_pyg.training.criteria.category_weights`; of the batch itself where there are
    none."""
    appearance: Appearance | None = None
    """What the objects of the true pictures look like, where the generator is told."""
    box_flow: FlowErrors | None = None
    """How far the generator is from drawing true boxes, where it draws any."""
    augmentation: Augmentation | None = None
    """How the discriminators see the pictures; as they are where there is none."""
    _answers: dict[tuple[str, str, bool], Any] = field(default_factory=dict)

    def scores(self, discriminator: str, true: bool = False) -> Any:
        """What a discriminator says of the generated pictures, or of the true ones, asked once;
        :obj:`None` where it is switched off. One of objects also gives logits of their categories,
        :math:`(O, C)`."""
        if discriminator not in self.discriminators:
            return None
        if discriminator == "image_discriminator" and self.options.feature_matching:
            scores = [found[-1] for found in self.features(discriminator, true)]  # asked once
            return scores[0] if len(scores) == 1 else scores
        return self._asked(discriminator, "__call__", true)

    def features(self, discriminator: str, true: bool = False) -> list[list[Tensor]]:
        """What the layers of the image discriminator give, the scores last, for each of its scales;
        as :meth:`scores`."""
        return self._asked(discriminator, "features", true)

    def _asked(self, name: str, method: str, true: bool) -> Any:
        import torch

        from sg2im_pyg.training.judging import augmented, augmented_labels, beside

        key = (name, method, true)
        if key not in self._answers:
            network = self.discriminators[name]
            images = self.images if true else self.output.images
            labels = augmented_labels(self.labels, self.augmentation)
            judged = beside(name, network, self.graphs, labels)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not true):
                images = augmented(name, images, self.augmentation)
                self._answers[key] = getattr(network, method)(images, *judged)
        return self._answers[key]


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
        >>> from sg2im_pyg.training.losses import LossConfig, register_loss, unregister_loss
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
    """gan: cross-entropy; lsgan: squared error after a sigmoid; wgan: difference of means; hinge:
    what scores lack to 1 or -1; relativistic: cross-entropy of the difference between true and
    generated."""
    box_distance: BoxDistance = "squared"
    """squared: mean squared error (release); l1: mean absolute error (paper); giou: l1, and one
    minus the generalised intersection over union; recall: squared, and a tenth of the share of
    boxes, counted smoothly, that overlap the true one by less than half."""
    mask_over: Literal["all", "visible"] = "all"
    """all: each pixel of a mask counts in its loss (release); visible: those that objects in front
    hide do not, so that what lies behind them has no holes of their shape."""
    r1: float = option(0.0, least=0)
    """Weight of the discriminators' squared gradients at true pictures (R1), or at true crops."""
    r2: float = option(0.0, least=0)
    """Weight of the discriminators' squared gradients at generated pictures or crops (R2)."""
    augmentation: tuple[Literal["colour", "translation", "cutout"], ...] = ()
    """How discriminators see pictures otherwise than they are, so that they do not learn a few
    pictures by heart (DiffAugment): colour: brightness, saturation and contrast; translation: moved
    by up to an eighth; cutout: without a quarter. The object discriminator sees other colours
    alone."""

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
