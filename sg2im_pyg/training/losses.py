"""The losses of the generator (paper, Section 3, "Training").

They are rows of one table, which the step, the progress bar, the validation and the configuration
read; a new one is a function with :func:`register_loss` above it. What they are made of stands in
:mod:`sg2im_pyg.training.criteria`, the table itself in :mod:`sg2im_pyg.training.loss_table`. torch
is imported where a loss is computed: a command line asks for the table's options, and answers
before torch is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sg2im_pyg.training import criteria
from sg2im_pyg.training.loss_table import (
    LOSSES,
    LossConfig,
    LossContext,
    register_loss,
    unregister_loss,
    weighted_sum,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LOSSES",
    "LossConfig",
    "LossContext",
    "register_loss",
    "unregister_loss",
    "weighted_sum",
]


@register_loss("box", label="box", mean_over="objects", weight=10.0)
def _box(given: LossContext) -> Tensor:
    """The distance between predicted and true boxes."""
    return criteria.box_loss(given.options.box_distance, given.output.boxes, given.graphs.boxes)


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
    return criteria.mask_loss(given.output.masks, given.graphs.masks, weights)


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
    name = "image_discriminator"
    if name not in given.discriminators or not given.options.feature_matching:
        return None
    return criteria.feature_distance(given.features(name), given.features(name, true=True))


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
    return criteria.segmenting_loss(scores, labels, given.category_weights, visible)


@register_loss("auxiliary", label="aux", mean_over="objects", weight=0.1)
def _auxiliary(given: LossContext) -> Tensor | None:
    """The cross-entropy of the categories seen by the object discriminator."""
    import torch.nn.functional as F

    scores = given.scores("object_discriminator")
    return None if scores is None else F.cross_entropy(scores[1], given.graphs.x)


def _judgement(given: LossContext, name: str, scores: Callable[[Any], Any]) -> Tensor | None:
    """What a discriminator's scores of the generated pictures cost."""
    if name not in given.discriminators:
        return None
    kind, true = given.options.adversarial_kind, None
    if kind == "relativistic":
        true = scores(given.scores(name, true=True))
    return criteria.generator_loss(kind, scores(given.scores(name)), true)
