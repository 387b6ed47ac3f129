"""Discriminators for whole pictures and for single objects."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import Conv2d, LeakyReLU, Linear, Module, Sequential
from torch_geometric.nn.inits import reset

from sg2im_pyg.nn.compiled_part import CompiledPart
from sg2im_pyg.nn.convolution_sizes import PUBLISHED_LAYERS
from sg2im_pyg.nn.layout import crop_objects
from sg2im_pyg.nn.refinement import norm_layers


class _Discriminator(Module):
    """The convolutions of a discriminator, and all of its options."""

    def __init__(
        self,
        layers: tuple[tuple[int, int, int], ...],
        normalization: str,
        negative_slope: float,
        in_channels: int,
        others: dict[str, Any],
    ) -> None:
        super().__init__()
        self.layers = tuple(tuple(layer) for layer in layers)
        self.options = {
            "layers": [list(layer) for layer in layers],
            "normalization": normalization,
            "negative_slope": negative_slope,
            **others,
        }
        modules: list[Module] = []
        for i, (kernel, channels, stride) in enumerate(layers):
            if i:
                modules += norm_layers(in_channels, normalization)
                modules.append(LeakyReLU(negative_slope, inplace=True))
            modules.append(Conv2d(in_channels, channels, kernel, stride))
            in_channels = channels
        self.convs = Sequential(*modules)

    def reset_parameters(self) -> None:
        for child in self.children():
            reset(child)


class PatchDiscriminator(_Discriminator):
    """Judges every patch of a picture: real or generated (paper, Section 3, "Discriminators").

    Convolutions without padding; normalization and LeakyReLU stand before each but the first.
    The paper gives one score a patch: a 1 × 1 convolution ends the network. The release left it
    out and took all channels of the last convolution as scores (:obj:`patch_scores=False`).

    Args:
        layers: Kernel, channels and stride of each convolution.
        normalization: :obj:`"batch"`, :obj:`"instance"` or :obj:`"none"`.
        in_channels: Channels of the pictures.
        patch_scores: One score a patch as in the paper, or the last convolution's channels as in
            the release.
        negative_slope: Slope of the LeakyReLUs below zero.

    Attributes:
        options: These arguments, as plain containers.

    Shapes:
        - **input:** pictures :math:`(N, 3, H, W)`
        - **output:** scores :math:`(N, 1, h, w)`, or :math:`(N, C, h, w)` as in the release;
          positive means real

    Examples:
        >>> import torch
        >>> PatchDiscriminator()(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 256, 6, 6])
    """

    def __init__(
        self,
        layers: tuple[tuple[int, int, int], ...] = PUBLISHED_LAYERS,
        normalization: str = "batch",
        in_channels: int = 3,
        patch_scores: bool = False,
        negative_slope: float = 0.2,
    ) -> None:
        others = {"in_channels": in_channels, "patch_scores": patch_scores}
        super().__init__(layers, normalization, negative_slope, in_channels, others)
        self.classifier = Conv2d(layers[-1][1], 1, 1) if patch_scores else None

    def parts_to_compile(self) -> list[CompiledPart]:
        return [CompiledPart(self.convs)]

    def forward(self, images: Tensor) -> Tensor:
        scores = self.convs(images)
        return scores if self.classifier is None else self.classifier(scores)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.layers})"


class ObjectDiscriminator(_Discriminator):
    """Judges each object's crop: real or generated, and of which category (paper, Section 3).

    The convolutions of :class:`PatchDiscriminator`, global average pooling, a linear layer, and
    two linear heads.

    Args:
        num_categories: Number of object categories, the special one included.
        layers: Kernel, channels and stride of each convolution.
        normalization: :obj:`"batch"`, :obj:`"instance"` or :obj:`"none"`.
        object_size: Side of the crops in pixels.
        hidden_channels: Width of the linear layer.
        negative_slope: Slope of the LeakyReLUs below zero.

    Attributes:
        options: These arguments, as plain containers.

    Shapes:
        - **input:** pictures :math:`(N, 3, H, W)`, boxes :math:`(O, 4)`, picture of each object
          :math:`(O,)`
        - **output:** scores :math:`(O, 1)`, positive means real; logits of the categories
          :math:`(O, \\text{categories})`

    Examples:
        >>> import torch
        >>> discriminator = ObjectDiscriminator(10)
        >>> boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]])
        >>> scores, logits = discriminator(torch.randn(1, 3, 64, 64), boxes, torch.tensor([0, 0]))
        >>> scores.shape, logits.shape
        (torch.Size([2, 1]), torch.Size([2, 10]))
    """

    def __init__(
        self,
        num_categories: int,
        layers: tuple[tuple[int, int, int], ...] = PUBLISHED_LAYERS,
        normalization: str = "batch",
        object_size: int = 32,
        hidden_channels: int = 1024,
        negative_slope: float = 0.2,
    ) -> None:
        others = {
            "num_categories": num_categories,
            "object_size": object_size,
            "hidden_channels": hidden_channels,
        }
        super().__init__(layers, normalization, negative_slope, 3, others)
        self.object_size = object_size
        self.linear = Linear(layers[-1][1], hidden_channels)
        self.real_head = Linear(hidden_channels, 1)
        self.category_head = Linear(hidden_channels, num_categories)

    def parts_to_compile(self) -> list[CompiledPart]:
        return [CompiledPart(self.convs, varying=(0,))]

    def forward(self, images: Tensor, boxes: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        crops = crop_objects(images, boxes, batch, self.object_size)
        features = self.linear(self.convs(crops).mean(dim=(2, 3)))
        return self.real_head(features), self.category_head(features)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.layers}, object_size={self.object_size})"


class DiscriminatorKind(NamedTuple):
    """A row of :data:`DISCRIMINATORS`.

    Attributes:
        network: Its class; instances keep their arguments as :obj:`options`.
        of_objects: Whether it judges objects, and so takes their number of categories.
    """

    network: type[Any]
    of_objects: bool

    def make(self, options: Mapping[str, Any], num_categories: int) -> Module:
        """The network with some of its options, the others as by default."""
        given = {"num_categories": num_categories} if self.of_objects else {}
        return self.network(**{**options, **given})


DISCRIMINATORS = {
    "image_discriminator": DiscriminatorKind(PatchDiscriminator, of_objects=False),
    "object_discriminator": DiscriminatorKind(ObjectDiscriminator, of_objects=True),
}
"""The opponents of the generator by name, in the order in which they are made: options of a
training, its players and entries of checkpoints are called the same."""
