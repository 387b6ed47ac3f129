"""The networks written straight from the paper: what eval/benchmark.py measures against.

Plain PyTorch as one would write it first: every object's vector is spread over its mask and warped
with all its channels, crops are cut picture by picture, and tensors lie in torch's default memory
format.

The networks have the parameters of :class:`sg2im_pyg.Sg2Im`, :class:`PatchDiscriminator` and
:class:`ObjectDiscriminator` under the same names, so that weights go from one to the other by
``load_state_dict``; given the same weights, batch and noise, both compute the same. Only the
published kind of network is written out, in any width (see :func:`check_options`).
"""

from itertools import pairwise
from operator import attrgetter

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Conv2d, Linear, Module, ReLU, Sequential
from torch_geometric.data import Batch

from sg2im_pyg import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.training.config import TrainingConfig

Layers = tuple[tuple[int, int, int], ...]
"""Convolutions of a discriminator: kernel, channels and stride of each."""
AT_LEAST_1 = "1 or more"


def perceptron(*widths: int) -> Sequential:
    """Linear layers, a ReLU after each."""
    pairs = pairwise(widths)
    return Sequential(*(layer for first, then in pairs for layer in (Linear(first, then), ReLU())))


class GraphConvolution(Module):
    """One layer over triples of subject, predicate and object (paper, Section 3, Figure 3)."""

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.widths = [hidden_channels, out_channels, hidden_channels]
        self.net1 = perceptron(3 * in_channels, hidden_channels, sum(self.widths))
        self.net2 = perceptron(hidden_channels, hidden_channels, out_channels)

    def forward(self, objects: Tensor, edges: Tensor, predicates: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of objects :math:`(O, D)`, edges :math:`(2, T)`, predicates :math:`(T, D)`."""
        subject, target = edges
        triples = torch.cat([objects[subject], predicates, objects[target]], dim=1)
        as_subject, predicates, as_object = self.net1(triples).split(self.widths, dim=1)
        pooled = as_subject.new_zeros(len(objects), self.widths[0])
        pooled = pooled.index_add(0, subject, as_subject).index_add(0, target, as_object)
        count, ones = pooled.new_zeros(len(objects)), pooled.new_ones(len(predicates))
        count = count.index_add(0, subject, ones).index_add(0, target, ones)
        return self.net2(pooled / count.clamp(min=1).unsqueeze(1)), predicates


class GraphNetwork(Module):
    """A stack of :class:`GraphConvolution`."""

    def __init__(
        self, in_channels: int, out_channels: int, num_layers: int, hidden_channels: int
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            GraphConvolution(out_channels if i else in_channels, out_channels, hidden_channels)
            for i in range(num_layers)
        )

    def forward(self, objects: Tensor, edges: Tensor, predicates: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs:
            objects, predicates = conv(objects, edges, predicates)
        return objects, predicates


class BoxHead(Module):
    """Vectors :math:`(O, D)` to boxes :math:`(O, 4)`."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.layers = perceptron(channels, hidden_channels, 4)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layers(vectors)


class MaskHead(Module):
    """Vectors :math:`(O, D)` to masks :math:`(O, M, M)` in :math:`[0, 1]`."""

    def __init__(self, channels: int, mask_size: int) -> None:
        super().__init__()
        layers: list[Module] = []
        for _ in range((mask_size - 1).bit_length()):  # until it is as large
            layers += [nn.Upsample(scale_factor=2), nn.BatchNorm2d(channels)]
            layers += [Conv2d(channels, channels, 3, padding=1), ReLU()]
        self.layers = Sequential(*layers, Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layers(vectors[:, :, None, None]).squeeze(1)


class RefinementNetwork(Module):
    """Cascaded refinement network: layouts :math:`(N, D, H, W)` to pictures of that size."""

    def __init__(self, layout_channels: int, widths: tuple[int, ...], slope: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        channels = 1
        for width in widths:
            block = Sequential()
            for entering in (layout_channels + channels, width):
                block.append(Conv2d(entering, width, 3, padding=1))
                block.append(nn.BatchNorm2d(width)).append(nn.LeakyReLU(slope))
            self.blocks.append(block)
            channels = width
        self.output = Sequential(
            Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(slope), Conv2d(channels, 3, 1)
        )

    def forward(self, layout: Tensor) -> Tensor:
        images, _, height, width = layout.shape
        factor = 2 ** len(self.blocks)
        features = layout.new_zeros(images, 1, height // factor, width // factor)
        for block in self.blocks:
            factor //= 2
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = block(torch.cat([F.avg_pool2d(layout, factor), features], dim=1))
        return self.output(features)


class Generator(Module):
    """From scene graphs to pictures, boxes and masks (paper, Section 3)."""

    def __init__(self, vocabulary: Vocabulary, config: ModelConfig) -> None:
        super().__init__()
        self.size = config.image_size
        dim, hidden = config.gconv_dim, config.gconv_hidden_dim
        self.object_embedding = nn.Embedding(len(vocabulary.objects) + 1, config.embedding_dim)
        self.predicate_embedding = nn.Embedding(len(vocabulary.predicates), config.embedding_dim)
        sizes = (config.embedding_dim, dim, config.gconv_num_layers, hidden)
        self.graph_network = GraphNetwork(*sizes)
        self.box_head = BoxHead(dim, hidden)
        self.mask_head = MaskHead(dim, config.mask_size)
        self.refinement = RefinementNetwork(
            dim + config.layout_noise_dim, config.refinement_dims, config.negative_slope
        )

    def forward(
        self, graphs: Batch, boxes: Tensor | None, masks: Tensor | None, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, predicted boxes and masks.

        Args:
            graphs: Batch of scene graphs with their image nodes.
            boxes: Boxes for the layout, in place of the predicted ones, :math:`(O, 4)`.
            masks: Masks likewise, :math:`(O, M, M)`.
            noise: Channels that are appended to the layout, :math:`(N, C, H, W)`.
        """
        objects = self.object_embedding(graphs.x)
        predicates = self.predicate_embedding(graphs.edge_attr)
        vectors, _ = self.graph_network(objects, graphs.edge_index, predicates)
        predicted_boxes, predicted_masks = self.box_head(vectors), self.mask_head(vectors)
        boxes = predicted_boxes if boxes is None else boxes
        masks = predicted_masks if masks is None else masks
        where = (graphs.batch, self.size, graphs.num_graphs)
        layout = object_layout(vectors, boxes, masks, *where)
        images = self.refinement(torch.cat([layout, noise.to(layout.dtype)], dim=1))
        return images, predicted_boxes, predicted_masks


class PatchDiscriminator(Module):
    """Pictures :math:`(N, 3, H, W)` to scores of patches :math:`(N, C, h, w)`."""

    def __init__(self, layers: Layers, patch_scores: bool) -> None:
        super().__init__()
        self.convs = discriminating_convolutions(layers)
        self.classifier = Conv2d(layers[-1][1], 1, 1) if patch_scores else None

    def forward(self, images: Tensor) -> Tensor:
        scores = self.convs(images)
        return scores if self.classifier is None else self.classifier(scores)


class ObjectDiscriminator(Module):
    """Pictures, boxes and the picture of each object to scores :math:`(O, 1)` and category logits
    :math:`(O, C)`."""

    def __init__(self, num_categories: int, layers: Layers, object_size: int) -> None:
        super().__init__()
        self.object_size = object_size
        self.convs = discriminating_convolutions(layers)
        self.linear = Linear(layers[-1][1], 1024)
        self.real_head = Linear(1024, 1)
        self.category_head = Linear(1024, num_categories)

    def forward(self, images: Tensor, boxes: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        crops = crop_objects(images, boxes, batch, self.object_size)
        features = self.linear(self.convs(crops).mean(dim=(2, 3)))
        return self.real_head(features), self.category_head(features)


def discriminating_convolutions(layers: Layers) -> Sequential:
    """Unpadded convolutions, batch norm and LeakyReLU before each but the first."""
    modules: list[Module] = []
    channels = 3
    for i, (kernel, width, stride) in enumerate(layers):
        if i:
            modules += [nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)]
        modules.append(Conv2d(channels, width, kernel, stride))
        channels = width
    return Sequential(*modules)


def object_layout(
    vectors: Tensor,
    boxes: Tensor,
    masks: Tensor,
    batch: Tensor,
    size: tuple[int, int],
    num_images: int,
) -> Tensor:
    """Scene layout: each object's vector on its mask, warped into its box, summed by picture.

    Pixel :math:`j` of a row of :math:`W` lies at :math:`j / (W - 1)`; the corners of a mask lie on
    the corners of its box.

    Args:
        vectors: Shape :math:`(O, D)`.
        boxes: Shape :math:`(O, 4)`.
        masks: Shape :math:`(O, M, M)`.
        batch: Picture of each object, shape :math:`(O,)`.
        size: Height and width of the layout.
        num_images: Number of pictures :math:`N`.

    Returns:
        Shape :math:`(N, D, H, W)`.
    """
    x0, y0, x1, y1 = boxes.split(1, dim=1)
    columns = (line(size[1], boxes) - x0) / (x1 - x0)
    rows = (line(size[0], boxes) - y0) / (y1 - y0)
    spread = vectors[:, :, None, None] * masks[:, None]
    warped = F.grid_sample(spread, grid(columns, rows).to(spread.dtype), align_corners=True)
    layout = warped.new_zeros(num_images, *warped.shape[1:])
    return layout.index_add(0, batch, warped)


def crop_objects(images: Tensor, boxes: Tensor, batch: Tensor, size: int) -> Tensor:
    """Objects' boxes out of pictures :math:`(N, C, H, W)`, resized to :math:`(O, C, size, size)`.

    Picture by picture, in the layout's pixel convention.
    """
    crops, order = [], []
    for number in range(len(images)):
        members = (batch == number).nonzero().view(-1)
        x0, y0, x1, y1 = boxes[members].split(1, dim=1)
        steps = line(size, boxes)
        columns, rows = x0 * (1 - steps) + x1 * steps, y0 * (1 - steps) + y1 * steps
        own = images[number].expand(len(members), -1, -1, -1)
        crops.append(F.grid_sample(own, grid(columns, rows).to(own.dtype), align_corners=True))
        order.append(members)
    return torch.cat(crops)[torch.cat(order).argsort()]


def line(steps: int, like: Tensor) -> Tensor:
    """Positions of pixels from 0 to 1."""
    return torch.linspace(0, 1, steps, dtype=like.dtype, device=like.device)


def grid(columns: Tensor, rows: Tensor) -> Tensor:
    """Sampling positions :math:`(O, H, W, 2)` in :math:`[-1, 1]` from those of columns
    :math:`(O, W)` and rows :math:`(O, H)` in :math:`[0, 1]`."""
    shape = (len(columns), rows.size(1), columns.size(1))
    x, y = columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)
    return 2 * torch.stack([x, y], dim=3) - 1


def check_options(config: TrainingConfig) -> None:
    """Checks that the options are of the published kind.

    Raises:
        Sg2ImError: With the first option that is not.
    """
    for name, expected in {
        "model.gconv_pooling": "mean",
        "model.mlp_normalization": "none",
        "model.mask_head": "upsample",
        "model.normalization": "batch",
        "model.gconv_num_layers": AT_LEAST_1,
        "model.mask_size": AT_LEAST_1,
        "image_discriminator.enabled": True,
        "image_discriminator.normalization": "batch",
        "object_discriminator.enabled": True,
        "object_discriminator.normalization": "batch",
        "losses.adversarial_kind": "gan",
        "losses.box_distance": "squared",
        "optimizer.gradient_clip": None,
        "optimizer.discriminator_clip": None,
    }.items():
        value = attrgetter(name)(config)
        if value != expected and not (expected is AT_LEAST_1 and value):
            raise Sg2ImError(
                f"The reference step is written for {name}={expected}, got {value}: change it, or "
                "measure without the reference."
            )


@torch.no_grad()
def generate(model: Generator, graphs: Batch, noise: Tensor) -> Tensor:
    """Pictures :math:`(N, 3, H, W)` in the ImageNet normalisation, from predicted boxes and masks
    in eval mode."""
    model.eval()
    return model(graphs, None, None, noise)[0]
