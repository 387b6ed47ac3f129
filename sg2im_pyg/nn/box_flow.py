"""Boxes that are drawn instead of averaged: those of a picture's objects together."""

import copy
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import (
    Embedding,
    LayerNorm,
    Linear,
    Module,
    ModuleList,
    MultiheadAttention,
    Sequential,
    SiLU,
)
from torch_geometric.nn.inits import reset

from sg2im_pyg.nn.layout import ranks_in_pictures
from sg2im_pyg.nn.triple_conv import TripleConv

NOISE_CHANNELS = 4
"""Normal numbers an object from which its box is drawn."""
TRAINING_NOISE_CHANNELS = 24
"""Normal numbers an object for a step of training: for each of its noisy boxes where it starts, and
one each for the picture's time and for whether it is given."""

_HEADS = 4
_FREQUENCIES = 8  # of the sines and cosines of a time
_STEPS = 12  # of the integration from noise to boxes
_GUIDANCE = 3.0  # weight of the log-likelihood of the relationships
_FARTHEST = 0.3  # that guidance moves a box in a step, in normalised units
_SETTLED = 0.2  # none are drawn of categories whose true boxes a regression meets that often

_SPREAD = 3.5  # one over the deviation of centres
_SIDE = -1.2  # logarithm of a usual side
_THINNEST, _WIDEST = 0.01, 1.5


class SceneObjects(NamedTuple):
    """Graphs of :math:`N` pictures with :math:`O` objects, as a :class:`BoxFlow` sees them."""

    categories: Tensor
    """Shape :math:`(O,)`; each picture has one image node, of category 0."""
    edge_index: Tensor
    """Shape :math:`(2, T)`."""
    predicates: Tensor
    """Shape :math:`(T,)`."""
    batch: Tensor
    """Picture of each object, shape :math:`(O,)`."""
    pictures: int
    """Number of pictures :math:`N`."""
    most: int
    """Number of objects in the picture with the most of them."""

    def places(self) -> tuple[Tensor, Tensor]:
        """Where each object stands in a table with a row for each picture, counted through,
        :math:`(O,)`; and which places of the table are empty, :math:`(N, K)`, bool."""
        rank, counts = ranks_in_pictures(self.batch, self.pictures)
        columns = torch.arange(self.most, device=self.batch.device)
        return self.batch * self.most + rank, columns >= counts.unsqueeze(1)

    def copied(self) -> "SceneObjects":
        """The same with tensors of its own."""
        return self._replace(
            categories=self.categories.clone(),
            edge_index=self.edge_index.clone(),
            predicates=self.predicates.clone(),
            batch=self.batch.clone(),
        )

    def repeated(self, times: int) -> "SceneObjects":
        """The same pictures several times, one after the other."""
        offsets = torch.arange(times, device=self.batch.device).unsqueeze(1)
        edges = self.edge_index.unsqueeze(1) + len(self.categories) * offsets
        return SceneObjects(
            self.categories.repeat(times),
            edges.flatten(1),
            self.predicates.repeat(times),
            (self.batch + self.pictures * offsets).flatten(),
            self.pictures * times,
            self.most,
        )


class FlowErrors(NamedTuple):
    """How far a :class:`BoxFlow` is from true boxes."""

    velocity: Tensor
    """Squared error of each object's velocities, of those that were not given; shape
    :math:`(O,)`."""
    relations: Tensor
    """Cross-entropy of each relationship's predicate, seen from the true boxes; zero for those with
    image nodes. Shape :math:`(T,)`."""


class BoxFlow(Module):
    r"""Draws the boxes of a picture's objects, all of them together, from what their graph leaves
    open. A regression gives their mean instead, where none of them may lie.

    A network tells from noisy boxes :math:`\mathbf{b}_t = (1 - t) \, \boldsymbol{\epsilon} + t \,
    \mathbf{b}` in which direction the true ones lie, :math:`\mathbf{b} - \boldsymbol{\epsilon}`;
    this velocity is integrated from noise at :math:`t = 0` to boxes at :math:`t = 1` (`"Flow
    Matching for Generative Modeling" <https://arxiv.org/abs/2210.02747>`_, with the straight paths
    of `"Flow Straight and Fast" <https://arxiv.org/abs/2209.03003>`_). Each of its layers is a
    :class:`TripleConv` along the relationships and an attention between all objects of a picture,
    which sees to those that no relationship speaks of. Some boxes may be given: the others are
    drawn around them.

    A second, small network tells which predicate holds between two boxes. Its gradient leads boxes
    to where their relationships hold (classifier guidance, `"Diffusion Models Beat GANs on Image
    Synthesis" <https://arxiv.org/abs/2105.05233>`_, Section 4).

    Args:
        num_categories: Number of object categories, the special one (of image nodes) included.
        num_predicates: Number of predicates, the special one included.
        channels: Size of the features, a multiple of 4.
        num_layers: Number of layers.

    Attributes:
        settled: Categories whose boxes are not drawn, see :meth:`settle`; shape :math:`(C,)`, bool.

    Raises:
        ValueError: If the channels are no multiple of 4; from loading weights, if the settled
            categories are of another type.

    Examples:
        >>> flow = BoxFlow(num_categories=3, num_predicates=2, channels=8)
        >>> objects = SceneObjects(torch.tensor([1, 2, 0]), torch.tensor([[0, 0, 1], [1, 2, 2]]),
        ...                        torch.tensor([1, 0, 0]), torch.tensor([0, 0, 0]), 1, 3)
        >>> flow.draw(objects, torch.randn(3, NOISE_CHANNELS)).shape
        torch.Size([3, 4])
    """

    settled: Tensor

    def __init__(
        self, num_categories: int, num_predicates: int, channels: int = 96, num_layers: int = 3
    ) -> None:
        super().__init__()
        if channels % _HEADS:
            raise ValueError(f"channels must be a multiple of {_HEADS}, got {channels}")
        self.channels = channels
        self.object_embedding = Embedding(num_categories, channels)
        self.predicate_embedding = Embedding(num_predicates, channels)
        self.given_embedding = Embedding(2, channels)
        self.input = Linear(4 + 2 * _FREQUENCIES, channels)
        self.layers = ModuleList(_Layer(channels) for _ in range(num_layers))
        self.output = Sequential(LayerNorm(channels), Linear(channels, 4))
        self.relation_head = _RelationHead(num_categories, num_predicates)
        self.register_buffer("settled", torch.zeros(num_categories, dtype=torch.bool))
        self.register_load_state_dict_pre_hook(_check_settled)
        self._start_at_rest()

    def reset_parameters(self) -> None:
        for module in self.children():
            reset(module)
        self.settled.zero_()
        self._start_at_rest()

    def _start_at_rest(self) -> None:
        torch.nn.init.zeros_(self.output[1].weight)  # type: ignore[arg-type]

    def forward(
        self,
        boxes: Tensor,
        times: Tensor,
        objects: SceneObjects,
        given: Tensor,
        places: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Velocities of boxes on their way from noise to :func:`normalize_boxes` of the true ones.

        Args:
            boxes: Shape :math:`(O, 4)`.
            times: Shape :math:`(O,)`, in :math:`[0, 1]`.
            objects: What they are the boxes of.
            given: Those that are the true ones already, shape :math:`(O,)`, bool.
            places: What :meth:`SceneObjects.places` gives, where it is known.

        Returns:
            Shape :math:`(O, 4)`.
        """
        angles = math.pi * torch.arange(1, _FREQUENCIES + 1).to(times) * times.unsqueeze(1)
        features = self.input(torch.cat([boxes, angles.sin(), angles.cos()], dim=1))
        features = features + self.object_embedding(objects.categories)
        features = features + self.given_embedding(given.long())
        predicates = self.predicate_embedding(objects.predicates)
        place, is_empty = objects.places() if places is None else places
        for layer in self.layers:
            features = layer(features, objects.edge_index, predicates, place, is_empty)
        return self.output(features)

    def errors(self, objects: SceneObjects, boxes: Tensor, noise: Tensor) -> FlowErrors:
        """What it is trained by: several noisy boxes of each object, some pictures with a part of
        their boxes given.

        Args:
            objects: The graphs.
            boxes: Their true boxes, shape :math:`(O, 4)`.
            noise: Shape :math:`(O, F)`, normal, with :data:`TRAINING_NOISE_CHANNELS` :math:`F`.
        """
        draws = TRAINING_NOISE_CHANNELS // (NOISE_CHANNELS + 2)
        with torch.autocast(boxes.device.type, enabled=False):
            true = normalize_boxes(boxes.to(self.input.weight.dtype))
            many = objects.repeated(draws)
            ends = true.repeat(draws, 1)
            is_picture = many.categories == 0
            starts, of_time, of_given = (
                noise.to(true.dtype)
                .view(len(true), draws, NOISE_CHANNELS + 2)
                .transpose(0, 1)
                .flatten(0, 1)
                .split([NOISE_CHANNELS, 1, 1], dim=1)
            )
            uniform = torch.special.ndtr(torch.cat([of_time, of_given], dim=1))
            # The numbers of the image node are those of its picture.
            of_picture = uniform.new_zeros(many.pictures, 2)
            of_picture = of_picture.index_add(0, many.batch, uniform * is_picture.unsqueeze(1))
            times, share = of_picture.index_select(0, many.batch).unbind(1)
            given = is_picture | (uniform[:, 1] < 2 * share - 1)  # none in half of the pictures
            along = times.unsqueeze(1)
            between = (1 - along) * starts + along * ends
            between = torch.where(given.unsqueeze(1), ends, between)
            velocities = self(between, times, many, given)
            squared = (velocities - (ends - starts)).square().mean(dim=1)
            squared = squared.masked_fill(given, 0).view(draws, len(true))
            counted = (~given).view(draws, len(true)).sum(dim=0)
            logits = self.relation_head(true, objects)
            crosses = F.cross_entropy(logits, objects.predicates, reduction="none")
            crosses = crosses * _between_objects(objects)
        return FlowErrors(squared.sum(dim=0) / counted.clamp(min=1), crosses)

    def draw(
        self,
        objects: SceneObjects,
        noise: Tensor,
        boxes: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """Draws boxes.

        Args:
            objects: The graphs. The boxes of image nodes are the whole picture.
            noise: Normal noise, shape :math:`(O, 4)`.
            boxes: Boxes of which some are given, shape :math:`(O, 4)`.
            given: Those that are, shape :math:`(O,)`, bool.

        Returns:
            Boxes :obj:`[x0, y0, x1, y1]` in units of the picture, within it, shape :math:`(O, 4)`;
            given ones as they are.
        """
        with (
            torch.inference_mode(False),  # guidance needs gradients; this alone switches all on
            torch.no_grad(),
            torch.autocast(noise.device.type, enabled=False),
        ):
            dtype = self.input.weight.dtype
            # What was made in inference mode can not be part of a gradient: copies can.
            objects, head = objects.copied(), copy.deepcopy(self.relation_head)
            places = objects.places()
            whole = (torch.arange(4, device=noise.device) >= 2).to(dtype).expand(len(noise), -1)
            is_picture = (objects.categories == 0).unsqueeze(1)
            fixed = is_picture if given is None else is_picture | given.clone().unsqueeze(1)
            known = whole if boxes is None else torch.where(is_picture, whole, boxes.to(dtype))
            now = torch.where(fixed, normalize_boxes(known), noise.to(dtype))

            def velocities(boxes: Tensor, step: int) -> Tensor:
                times = boxes.new_full((len(boxes),), step / _STEPS)
                # Nothing has taught the network those of given boxes.
                found = self(boxes, times, objects, fixed[:, 0], places)
                return found.masked_fill(fixed, 0)

            for step in range(_STEPS):  # Heun's method, but for the last step
                velocity = velocities(now, step)
                reached = now + velocity / _STEPS
                if step < _STEPS - 1:
                    after = velocities(reached, step + 1)
                    reached = now + (velocity + after) / (2 * _STEPS)
                moves = _guidance(head, reached, velocity, (step + 1) / _STEPS, objects)
                now = reached + moves.masked_fill(fixed, 0)
            return torch.where(fixed, known, denormalize_boxes(now))

    @torch.no_grad()
    def settle(self, meets: Tensor, categories: Tensor) -> None:
        """Says which categories have boxes that a regression meets: they need not be drawn.

        Args:
            meets: Whether the regressed boxes of some objects overlap the true ones by half, shape
                :math:`(O,)`, bool.
            categories: Their categories, shape :math:`(O,)`.
        """
        sums = torch.zeros(2, len(self.settled), device=categories.device)
        values = torch.stack([meets.to(sums.dtype), torch.ones_like(sums[0, :1]).expand_as(meets)])
        met, count = sums.index_add_(1, categories, values)
        self.settled.copy_(met >= _SETTLED * count.clamp(min=1))

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.object_embedding.num_embeddings}, {self.channels})"


class _Layer(Module):
    """A graph convolution, an attention between a picture's objects and an MLP, each added to the
    features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = ModuleList(LayerNorm(channels) for _ in range(3))
        self.conv = TripleConv(channels, channels, channels)
        self.mix = Linear(channels, channels)
        self.attention = MultiheadAttention(channels, _HEADS, batch_first=True)
        self.mlp = Sequential(
            Linear(channels, 2 * channels), SiLU(), Linear(2 * channels, channels)
        )

    def reset_parameters(self) -> None:
        for module in (*self.norms, self.conv, self.mix, self.mlp):
            reset(module)
        reset(self.attention.out_proj)  # the next line leaves its weight out
        self.attention._reset_parameters()

    def forward(
        self,
        features: Tensor,
        edge_index: Tensor,
        predicates: Tensor,
        place: Tensor,
        is_empty: Tensor,
    ) -> Tensor:
        pooled, _ = self.conv(self.norms[0](features), edge_index, predicates)
        features = features + self.mix(pooled)
        rows = features.new_zeros(is_empty.numel(), features.size(1))
        rows = rows.index_copy(0, place, self.norms[1](features)).view(*is_empty.shape, -1)
        seen = self.attention(rows, rows, rows, key_padding_mask=is_empty, need_weights=False)[0]
        features = features + seen.flatten(0, 1).index_select(0, place)
        return features + self.mlp(self.norms[2](features))


class _RelationHead(Module):
    """Tells which predicate holds between two boxes of known categories."""

    def __init__(self, num_categories: int, num_predicates: int, channels: int = 64) -> None:
        super().__init__()
        self.subject_embedding = Embedding(num_categories, channels)
        self.object_embedding = Embedding(num_categories, channels)
        self.input = Linear(4 * NOISE_CHANNELS, channels)
        self.layers = Sequential(
            SiLU(), Linear(channels, channels), SiLU(), Linear(channels, num_predicates)
        )

    def reset_parameters(self) -> None:
        for module in self.children():
            reset(module)

    def forward(self, boxes: Tensor, objects: SceneObjects) -> Tensor:
        """Logits of the predicates of all relationships, :math:`(T, P)`, from normalised boxes."""
        boxes = _corners(boxes)
        subjects, others = (boxes.index_select(0, ends) for ends in objects.edge_index)
        apart, far = subjects - others, subjects[:, 2:] - others[:, :2]
        centres = apart.view(-1, 2, 2).mean(dim=1)
        features = [subjects, others, 5 * apart, 5 * centres, 5 * far]
        kinds = objects.categories[objects.edge_index]
        return self.layers(
            self.input(torch.cat(features, dim=1))
            + self.subject_embedding(kinds[0])
            + self.object_embedding(kinds[1])
        )


def _guidance(
    head: _RelationHead, boxes: Tensor, velocity: Tensor, time: float, objects: SceneObjects
) -> Tensor:
    """How boxes are to move so that the relationships rather hold where they are going."""
    with torch.enable_grad():
        boxes = boxes.detach().requires_grad_()
        logits = head(boxes + (1 - time) * velocity, objects)
        crosses = F.cross_entropy(logits, objects.predicates, reduction="none")
        (gradient,) = torch.autograd.grad((crosses * _between_objects(objects)).sum(), boxes)
    moves = -_GUIDANCE / _STEPS * time * gradient
    length = moves.norm(dim=1, keepdim=True)
    return moves * (_FARTHEST / length.clamp(min=_FARTHEST))


def normalize_boxes(boxes: Tensor) -> Tensor:
    """Boxes :obj:`[x0, y0, x1, y1]` as centres and logarithms of sides, so that they are roughly
    normal; shape :math:`(O, 4)`."""
    corner, opposite = boxes.tensor_split(2, dim=1)
    sides = (opposite - corner).clamp(_THINNEST, _WIDEST)
    return torch.cat([((corner + opposite) / 2 - 0.5) * _SPREAD, sides.log() - _SIDE], dim=1)


def denormalize_boxes(values: Tensor) -> Tensor:
    """The inverse of :func:`normalize_boxes`. A box that reaches out of the picture is moved into
    it and keeps its form, as its mask would be squeezed if it were cut off; one that is larger than
    the picture fills it."""
    corner, opposite = _corners(values).tensor_split(2, dim=1)
    sides = (opposite - corner).clamp(max=1)
    corner = torch.minimum(corner.clamp(min=0), 1 - sides)
    return torch.cat([corner, corner + sides], dim=1)


def _corners(values: Tensor) -> Tensor:
    centre, sides = values.tensor_split(2, dim=1)
    centre = centre / _SPREAD + 0.5
    half = (sides + _SIDE).clamp(math.log(_THINNEST), math.log(_WIDEST)).exp() / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _check_settled(_: Module, weights: dict[str, Any], prefix: str, *__: Any) -> None:
    """Weights may come from elsewhere, and any number but zero would be taken for true."""
    settled = weights.get(f"{prefix}settled")
    if isinstance(settled, Tensor) and settled.dtype != torch.bool:
        raise ValueError(f"the settled categories are of type {settled.dtype}, not bool")


def _between_objects(objects: SceneObjects) -> Tensor:
    """1 for relationships between objects, 0 for those with an image node; shape :math:`(T,)`."""
    return (objects.categories[objects.edge_index] != 0).all(dim=0).float()
