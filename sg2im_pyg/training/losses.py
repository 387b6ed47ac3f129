"""The losses of a training.

Those of the generator are rows of one table, which the step, the progress bar, the validation and
the configuration read; a new one is a function with :func:`register_loss` above it. torch is
imported where a loss is computed: a command line asks the table for its options, and answers
before torch is there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
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
    discriminators: Mapping[str, Any] = field(default_factory=dict)
    """The frozen discriminators by name; none in a validation."""
    labels: Tensor | None = None
    """Label maps of the true pictures, shape :math:`(N, C, H, W)`, where a discriminator sees
    them."""
    category_weights: Tensor | None = None
    """Weights of the categories of pixels, see :func:`category_weights`; of the batch itself where
    there are none."""
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


def beside(
    discriminator: str, network: Any, graphs: Batch, labels: Tensor | None
) -> tuple[Tensor, ...]:
    """What a discriminator is given beside pictures.

    Args:
        discriminator: Its name.
        network: The network itself, without a wrapper.
        graphs: Graphs of the pictures.
        labels: Their label maps, if any discriminator wants them.
    """
    from sg2im_pyg.nn.discriminators import DISCRIMINATORS

    if DISCRIMINATORS[discriminator].judges == "objects":
        return graphs.boxes, graphs.batch
    wanted = getattr(network, "num_labels", 0)
    return (labels,) if wanted and labels is not None else ()


def augmented(discriminator: str, images: Tensor, augmentation: Augmentation | None) -> Tensor:
    """Pictures as a discriminator sees them; one of objects with other colours alone, as boxes say
    where these are."""
    from sg2im_pyg.nn.discriminators import DISCRIMINATORS

    if augmentation is None:
        return images
    return augmentation.pictures(images, DISCRIMINATORS[discriminator].judges == "objects")


def augmented_labels(labels: Tensor | None, augmentation: Augmentation | None) -> Tensor | None:
    """Label maps that go with such pictures."""
    return labels if labels is None or augmentation is None else augmentation.labels(labels)


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
    """gan: cross-entropy; lsgan: squared error after a sigmoid; wgan: difference of means; hinge:
    what scores lack to 1 or -1; relativistic: cross-entropy of the difference between true and
    generated."""
    box_distance: Literal["squared", "l1", "giou", "recall"] = "squared"
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


# --- The generator's losses (paper, Section 3, "Training") ----------------------------------------


@register_loss("box", label="box", mean_over="objects", weight=10.0)
def _box(given: LossContext) -> Tensor:
    """The distance between predicted and true boxes."""
    return box_loss(given.options.box_distance, given.output.boxes, given.graphs.boxes)


@register_loss("box_flow", label="flow", mean_over="objects", weight=1.0)
def _box_flow(given: LossContext) -> Tensor | None:
    """The squared error of the velocities from which boxes are drawn, where the model draws any."""
    return None if given.box_flow is None else given.box_flow.velocity.mean()


@register_loss("box_relation", label="rel", mean_over="objects", weight=1.0)
def _box_relation(given: LossContext) -> Tensor | None:
    """The cross-entropy of predicates told from true boxes, an object, which guides the boxes that
    are drawn."""
    if given.box_flow is None:
        return None
    return given.box_flow.relations.sum() / len(given.graphs.x)


@register_loss("mask", label="mask", mean_over="objects", weight=0.0)
def _mask(given: LossContext) -> Tensor | None:
    """The masks' binary cross-entropy; the release advises 0.1 for COCO."""
    if given.output.masks is None or "masks" not in given.graphs:
        return None
    weights = None
    if given.options.mask_over == "visible":
        from sg2im_pyg.data.batching import most_objects
        from sg2im_pyg.nn.layout import hidden_parts

        graphs, side = given.graphs, given.output.masks.size(-1)
        weights = 1 - hidden_parts(
            graphs.boxes,
            graphs.masks,
            graphs.batch,
            side,
            graphs.num_graphs,
            most_objects(graphs),
        )
    return mask_loss(given.output.masks, given.graphs.masks, weights)


@register_loss("pixel", label="pixel", mean_over="pictures", weight=1.0)
def _pixel(given: LossContext) -> Tensor:
    """The L1 distance between generated and true pictures."""
    import torch.nn.functional as F

    return F.l1_loss(given.output.images, given.images)


@register_loss("appearance", label="look", mean_over="pictures", weight=0.0)
def _appearance(given: LossContext) -> Tensor | None:
    """The divergence of the objects' appearance from the normal distribution, in nats a picture."""
    if given.appearance is None:
        return None
    return given.appearance.divergence().sum() / len(given.images)


@register_loss("image_adversarial", label="img", mean_over="pictures", weight=0.01)
def _image_adversarial(given: LossContext) -> Tensor | None:
    """The image discriminator's judgement."""
    return _judgement(given, "image_discriminator", lambda scores: scores)


@register_loss("object_adversarial", label="obj", mean_over="objects", weight=0.01)
def _object_adversarial(given: LossContext) -> Tensor | None:
    """The object discriminator's judgement."""
    return _judgement(given, "object_discriminator", lambda scores: scores[0])


@register_loss("feature_matching", label="feat", mean_over="pictures", weight=0.0)
def _feature_matching(given: LossContext) -> Tensor | None:
    """The distance of generated and true pictures in the image discriminator's layers."""
    import torch

    name = "image_discriminator"
    if name not in given.discriminators or not given.options.feature_matching:
        return None
    distances = []
    scales = zip(given.features(name), given.features(name, true=True), strict=True)
    for made, true in scales:
        for one, other in zip(made[:-1], true[:-1], strict=True):
            distances.append((one - other).abs().mean())
    return torch.stack(distances).mean()


@register_loss("segmenting", label="seg", mean_over="pictures", weight=0.1)
def _segmenting(given: LossContext) -> Tensor | None:
    """The cross-entropy of the true categories of generated pixels, as the segmenting discriminator
    sees them."""
    scores = given.scores("segmenting_discriminator")
    if scores is None or given.labels is None:
        return None
    labels, visible = given.labels, None
    if given.augmentation is not None:
        labels = given.augmentation.labels(labels)
        visible = given.augmentation.visible(given.images)
    return segmenting_loss(scores, labels, given.category_weights, visible)


@register_loss("auxiliary", label="aux", mean_over="objects", weight=0.1)
def _auxiliary(given: LossContext) -> Tensor | None:
    """The cross-entropy of the categories seen by the object discriminator."""
    import torch.nn.functional as F

    scores = given.scores("object_discriminator")
    return None if scores is None else F.cross_entropy(scores[1], given.graphs.x)


# --- What they are made of ------------------------------------------------------------------------


def _judgement(given: LossContext, name: str, scores: Callable[[Any], Any]) -> Tensor | None:
    """What a discriminator's scores of the generated pictures cost."""
    if name not in given.discriminators:
        return None
    kind, true = given.options.adversarial_kind, None
    if kind == "relativistic":
        true = scores(given.scores(name, true=True))
    return generator_loss(kind, scores(given.scores(name)), true)


def box_loss(
    distance: Literal["squared", "l1", "giou", "recall"], predicted: Tensor, true: Tensor
) -> Tensor:
    """Mean distance between predicted and true boxes, both of shape :math:`(O, 4)`; see
    :attr:`LossConfig.box_distance`."""
    import torch.nn.functional as F

    if distance in ("squared", "recall"):
        loss = F.mse_loss(predicted, true)
        if distance == "recall":
            # Squared errors alone lead between two likely places, where neither is met.
            missed = ((0.5 - overlaps(predicted, true)[0]) / _SOFTNESS).sigmoid()
            loss = loss + 0.1 * missed.mean()
        return loss
    loss = F.l1_loss(predicted, true)
    if distance == "giou":
        iou, empty = overlaps(predicted, true)
        loss = loss + (1 - iou + empty).mean()
    return loss


_SOFTNESS = 0.1  # of the threshold, in units of intersection over union


def overlaps(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    r"""How much pairs of boxes overlap, with gradients; boxes of negative size have no area.

    Returns:
        Intersection over union, and the share of the smallest box around both that neither covers,
        both of shape :math:`(O,)`; their difference is the `"Generalized Intersection over Union"
        <https://arxiv.org/abs/1902.09630>`_.
    """
    import torch

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(dim=1)

    (low, high), (other_low, other_high) = boxes.split(2, dim=1), others.split(2, dim=1)
    common = area(torch.maximum(low, other_low), torch.minimum(high, other_high))
    union = area(low, high) + area(other_low, other_high) - common
    around = area(torch.minimum(low, other_low), torch.maximum(high, other_high))
    least = torch.finfo(boxes.dtype).eps
    return common / union.clamp(min=least), (around - union) / around.clamp(min=least)


def segmenting_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of each pixel's category, which is the one with the largest share in it,
    weighted so that the categories of a batch count alike (OASIS, Equation 1).

    Args:
        logits: Shape :math:`(N, C + 1, H, W)`, the last one that of a generated pixel.
        labels: Share of each category in a pixel, shape :math:`(N, C, H, W)`.
        weights: See :func:`category_weights`, shape :math:`(C,)`; those of these pixels where they
            are not given.
        visible: Weight of each pixel, shape :math:`(N, H, W)`; the mean stays one over all pixels.
    """
    import torch
    import torch.nn.functional as F

    if weights is None:
        weights = category_weights(pixels_of_categories(labels))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = F.pad(weights, (0, 1)).to(logits.dtype)
    loss = F.cross_entropy(logits, labels.argmax(dim=1), weight=weights, reduction="none")
    return loss.mean() if visible is None else (loss * visible).mean()


def pixels_of_categories(labels: Tensor) -> Tensor:
    """Number of pixels in which each category has the largest share, shape :math:`(C,)`.

    Args:
        labels: Share of each category in a pixel, shape :math:`(N, C, H, W)`.
    """
    import torch

    true = labels.argmax(dim=1).flatten()
    counts = torch.zeros(labels.size(1), dtype=labels.dtype, device=labels.device)
    return counts.index_add_(0, true, torch.ones_like(true, dtype=labels.dtype))


def category_weights(pixels: Tensor) -> Tensor:
    """Weights with which all categories of a batch count alike, 1 on average over its pixels; at
    most 20, as a category of a few pixels alone would otherwise outweigh the batch.

    Args:
        pixels: Number of pixels of each category, shape :math:`(C,)`.
    """
    weights = pixels.sum() / (pixels.clamp(min=1) * (pixels > 0).sum())
    return weights.clamp(max=_MOST_WEIGHT) * (pixels > 0)


_MOST_WEIGHT = 20.0


def log_odds(logits: Tensor) -> Tensor:
    """How much likelier than generated a pixel is of any category: the score of a segmenting
    discriminator that corresponds to those of the others.

    Args:
        logits: Shape :math:`(N, C + 1, H, W)`, the last one that of a generated pixel.
    """
    return logits[:, :-1].logsumexp(dim=1) - logits[:, -1]


def gradient_penalty(scores: Tensor | Sequence[Tensor], images: Tensor) -> Tensor:
    """Half the squared gradient of a discriminator's score, averaged over the pictures (`"Which
    Training Methods for GANs do actually Converge?" <https://arxiv.org/abs/1801.04406>`_,
    Equation 9).

    Args:
        scores: What it gave for the pictures: of each picture the mean is taken, and the sum of
            these over several scales.
        images: Pictures or crops that it was asked about, which require a gradient.
    """
    import torch

    total = torch.stack([s.sum() / (s.numel() / len(images)) for s in _listed(scores)]).sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True)
    return 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()


def _listed(scores: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return list(scores) if isinstance(scores, (list, tuple)) else [scores]  # type: ignore[list-item]


def mask_loss(predicted: Tensor, true: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of masks in :math:`[0, 1]`, shape :math:`(O, M, M)`.

    True masks of another size are averaged or spread to the predicted size.

    Args:
        predicted: Predicted masks.
        true: True ones.
        weights: Weights of the predicted masks' pixels; the mean stays one over all pixels.
    """
    import torch
    import torch.nn.functional as F

    from sg2im_pyg.nn.layout import resize_masks

    true = resize_masks(true, predicted.shape[-2:])
    # Not defined under autocast; in single precision it is. Nor is it for what is not a number,
    # which must come out as such instead of ending the run.
    with torch.autocast(predicted.device.type, enabled=False):
        predicted = predicted.float()
        loss = F.binary_cross_entropy(
            predicted.nan_to_num(),
            true.float().clamp(0, 1),
            None if weights is None else weights.float(),
        )
        return torch.where(predicted.isfinite().all(), loss, torch.nan)


def generator_loss(
    kind: AdversarialKind,
    fake_scores: Tensor | Sequence[Tensor],
    real_scores: Tensor | Sequence[Tensor] | None = None,
) -> Tensor:
    """What the generator minimises: generated pictures should be taken for real.

    Args:
        kind: See :attr:`LossConfig.adversarial_kind`.
        fake_scores: Scores of generated pictures or crops, any shape; or several such, of which the
            mean is taken.
        real_scores: Those of the true ones, which the relativistic loss alone looks at.

    Returns:
        A scalar.

    Raises:
        ValueError: If the kind is unknown.
    """
    import torch
    import torch.nn.functional as F

    fakes = _listed(fake_scores)
    if kind == "relativistic":
        assert real_scores is not None
        pairs = zip(fakes, _listed(real_scores), strict=True)
        losses = [F.softplus(real - fake).mean() for fake, real in pairs]
    elif kind == "hinge":
        losses = [-fake.mean() for fake in fakes]
    else:
        losses = [_adversarial(kind, fake, real=True) for fake in fakes]
    return torch.stack(losses).mean() if len(losses) > 1 else losses[0]


def discriminator_loss(
    kind: AdversarialKind,
    real_scores: Tensor | Sequence[Tensor],
    fake_scores: Tensor | Sequence[Tensor],
) -> Tensor:
    """What a discriminator minimises: real ones should be taken for real, generated ones not.

    Args:
        kind: See :attr:`LossConfig.adversarial_kind`.
        real_scores: Scores of real pictures or crops, any shape; or several such, of which the mean
            is taken.
        fake_scores: Scores of generated ones, likewise.

    Returns:
        A scalar.

    Raises:
        ValueError: If the kind is unknown.
    """
    import torch
    import torch.nn.functional as F

    losses = []
    for real, fake in zip(_listed(real_scores), _listed(fake_scores), strict=True):
        if kind == "relativistic":
            losses.append(F.softplus(fake - real).mean())
        elif kind == "hinge":
            losses.append(F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        else:
            losses.append(_adversarial(kind, real, True) + _adversarial(kind, fake, False))
    return torch.stack(losses).mean() if len(losses) > 1 else losses[0]


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
    names = "'gan', 'lsgan', 'wgan', 'hinge' or 'relativistic'"
    raise ValueError(f"the adversarial loss must be {names}, got {kind!r}")
