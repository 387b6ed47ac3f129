"""Discriminators for whole pictures, for single objects and for each pixel."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Conv2d, LeakyReLU, Linear, Module, ModuleList, Sequential
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
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
        _check_one_of(normalization, "batch", "instance", "spectral", "none")
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
                if normalization != "spectral":
                    modules += norm_layers(in_channels, normalization)
                modules.append(LeakyReLU(negative_slope, inplace=True))
            conv = Conv2d(in_channels, channels, kernel, stride)
            modules.append(_bounded(conv, normalization == "spectral"))
            in_channels = channels
        self.convs = Sequential(*modules)

    def reset_parameters(self) -> None:
        _reset(self)


class PatchDiscriminator(_Discriminator):
    """Judges every patch of a picture: real or generated (paper, Section 3, "Discriminators").

    Convolutions without padding; normalization and LeakyReLU stand before each but the first.
    The paper gives one score a patch: a 1 × 1 convolution ends the network. The release left it
    out and took all channels of the last convolution as scores (:obj:`patch_scores=False`).

    Args:
        layers: Kernel, channels and stride of each convolution.
        normalization: :obj:`"batch"`, :obj:`"instance"`, :obj:`"spectral"` (`"Spectral
            Normalization for Generative Adversarial Networks" <https://arxiv.org/abs/1802.05957>`_)
            or :obj:`"none"`.
        in_channels: Channels of the pictures.
        patch_scores: One score a patch as in the paper, or the last convolution's channels as in
            the release.
        negative_slope: Slope of the LeakyReLUs below zero.
        scales: Number of such networks; each further one sees the picture at half the size
            (`"High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs"
            <https://arxiv.org/abs/1711.11585>`_, Section 3.2).
        num_labels: Categories of a label map that is joined to the picture; 0 for none.

    Raises:
        ValueError: If :obj:`normalization` is none of these, or there is no scale.

    Attributes:
        options: These arguments, as plain containers.

    Shapes:
        - **input:** pictures :math:`(N, 3, H, W)`; with labels also :math:`(N, L, H, W)`
        - **output:** scores :math:`(N, 1, h, w)`, or :math:`(N, C, h, w)` as in the release;
          positive means real; with several scales a list of them

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
        scales: int = 1,
        num_labels: int = 0,
    ) -> None:
        if scales < 1:
            raise ValueError(f"scales must be at least 1, got {scales}")
        others = {"in_channels": in_channels, "patch_scores": patch_scores}
        if (scales, num_labels) != (1, 0):  # files of before have no such options
            others |= {"scales": scales, "num_labels": num_labels}
        planes = in_channels + num_labels
        super().__init__(layers, normalization, negative_slope, planes, others)
        self.num_labels = num_labels
        self.classifier = None
        if patch_scores:
            self.classifier = _bounded(Conv2d(layers[-1][1], 1, 1), normalization == "spectral")
        self.coarser = None
        if scales > 1:
            self.coarser = PatchDiscriminator(
                layers, normalization, in_channels, patch_scores, negative_slope, scales - 1,
                num_labels,
            )  # fmt: skip

    def parts_to_compile(self) -> list[CompiledPart]:
        coarser = [] if self.coarser is None else self.coarser.parts_to_compile()
        return [CompiledPart(self.convs), *coarser]

    def features(self, images: Tensor, labels: Tensor | None = None) -> list[list[Tensor]]:
        """What leaves each LeakyReLU and the last convolution, and the scores at last, for each
        scale. (Without patch scores those are the last convolution's.)"""
        planes = images if labels is None else torch.cat([images, labels], dim=1)
        result, found = planes, []
        for layer in self.convs:
            result = layer(result)
            if isinstance(layer, LeakyReLU):
                found.append(result)
        found.append(result)
        if self.classifier is not None:
            found.append(self.classifier(result))
        if self.coarser is None:
            return [found]
        return [found, *self.coarser.features(F.avg_pool2d(planes, 2))]

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor | list[Tensor]:
        planes = images if labels is None else torch.cat([images, labels], dim=1)
        scores = self.convs(planes)
        if self.classifier is not None:
            scores = self.classifier(scores)
        if self.coarser is None:
            return scores
        coarser = self.coarser(F.avg_pool2d(planes, 2))
        return [scores, *(coarser if isinstance(coarser, list) else [coarser])]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.layers})"


class ObjectDiscriminator(_Discriminator):
    """Judges each object's crop: real or generated, and of which category (paper, Section 3).

    The convolutions of :class:`PatchDiscriminator`, global average pooling, a linear layer, and
    two linear heads.

    Args:
        num_categories: Number of object categories, the special one included.
        layers: Kernel, channels and stride of each convolution.
        normalization: See :class:`PatchDiscriminator`.
        object_size: Side of the crops in pixels.
        hidden_channels: Width of the linear layer.
        negative_slope: Slope of the LeakyReLUs below zero.

    Attributes:
        options: These arguments, as plain containers.

    Shapes:
        - **input:** pictures :math:`(N, 3, H, W)`, boxes :math:`(O, 4)`, picture of each object
          :math:`(O,)`; or crops alone, :math:`(O, 3, S, S)`
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
        bounded = normalization == "spectral"
        self.linear = _bounded(Linear(layers[-1][1], hidden_channels), bounded)
        self.real_head = _bounded(Linear(hidden_channels, 1), bounded)
        self.category_head = Linear(hidden_channels, num_categories)

    def parts_to_compile(self) -> list[CompiledPart]:
        return [CompiledPart(self.convs, varying=(0,))]

    def forward(
        self, images: Tensor, boxes: Tensor | None = None, batch: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        crops = images
        if boxes is not None and batch is not None:
            crops = crop_objects(images, boxes, batch, self.object_size)
        features = self.linear(self.convs(crops).mean(dim=(2, 3)))
        return self.real_head(features), self.category_head(features)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.layers}, object_size={self.object_size})"


class SegmentingDiscriminator(Module):
    """Puts each pixel into a category, or takes it for generated (`"You Only Need Adversarial
    Supervision for Semantic Image Synthesis" <https://arxiv.org/abs/2012.04781>`_, Section 3.1).

    Convolutions halve the sides three times, others double them again and see what was there at
    the same size; LeakyReLU stands behind each but the last.

    Args:
        num_categories: Number of object categories :math:`C`, the special one included.
        channels: Channels at full size; they double twice as the sides are halved.
        normalization: :obj:`"spectral"` or :obj:`"none"`.

    Raises:
        ValueError: If :obj:`normalization` is none of these; from the call, if a side is not
            divisible by 8.

    Attributes:
        options: These arguments, as plain containers.

    Shapes:
        - **input:** pictures :math:`(N, 3, H, W)`, both sides divisible by 8
        - **output:** logits :math:`(N, C + 1, H, W)`, the last one that of a generated pixel

    Examples:
        >>> import torch
        >>> SegmentingDiscriminator(5, channels=4)(torch.randn(1, 3, 16, 16)).shape
        torch.Size([1, 6, 16, 16])
    """

    def __init__(
        self, num_categories: int, channels: int = 32, normalization: str = "spectral"
    ) -> None:
        super().__init__()
        _check_one_of(normalization, "spectral", "none")
        self.options = {
            "num_categories": num_categories,
            "channels": channels,
            "normalization": normalization,
        }
        widths = [channels * factor for factor in (1, 2, 2, 4)]

        def conv(fan_in: int, fan_out: int, kernel: int = 3, stride: int = 1) -> Module:
            layer = Conv2d(fan_in, fan_out, kernel, stride, padding=kernel // 3)
            return _bounded(layer, normalization == "spectral")

        self.down = ModuleList(
            [conv(3, channels), *(conv(*pair, 4, 2) for pair in pairwise(widths))]
        )
        self.up = ModuleList()
        below = widths[-1]
        for beside, wide in zip(widths[2::-1], (*widths[1::-1], channels), strict=True):
            self.up.append(conv(below + beside, wide))
            below = wide
        self.output = conv(channels, num_categories + 1, 1)

    def reset_parameters(self) -> None:
        _reset(self)

    def parts_to_compile(self) -> list[CompiledPart]:
        return [CompiledPart(self)]

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if height % 8 or width % 8:
            raise ValueError(f"pictures need sides that are multiples of 8, got {height} x {width}")
        result, beside = images, []
        for layer in self.down:
            result = F.leaky_relu(layer(result), 0.2)
            beside.append(result)
        beside.pop()
        for layer in self.up:
            doubled = F.interpolate(result, scale_factor=2, mode="nearest")
            result = F.leaky_relu(layer(torch.cat([doubled, beside.pop()], dim=1)), 0.2)
        return self.output(result)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.options['num_categories']})"


def _check_one_of(normalization: str, *known: str) -> None:
    if normalization not in known:
        *most, last = map(repr, known)
        names = f"{', '.join(most)} or {last}"
        raise ValueError(f"normalization must be {names}, got {normalization!r}")


def _reset(network: Module) -> None:
    """Draws all weights of a network anew."""
    for child in network.children():
        reset(child)
    for layer in list(network.modules()):
        # A bounded weight follows from another one, which the layer itself does not draw.
        if is_parametrized(layer, "weight"):
            remove_parametrizations(layer, "weight", leave_parametrized=False)
            reset(layer)
            spectral_norm(layer)


def _bounded(layer: Module, bounded: bool) -> Module:
    """A layer whose largest singular value is kept at 1, or as it is."""
    return spectral_norm(layer) if bounded else layer


class DiscriminatorKind(NamedTuple):
    """A row of :data:`DISCRIMINATORS`.

    Attributes:
        network: Its class; instances keep their arguments as :obj:`options`.
        judges: What it judges, and so what it is called with: :obj:`"pictures"` (with a label map
            beside them where it has :obj:`num_labels`), :obj:`"objects"` or :obj:`"pixels"`.
    """

    network: type[Any]
    judges: Literal["pictures", "objects", "pixels"]

    def arguments(self, options: Mapping[str, Any], num_categories: int) -> dict[str, Any]:
        """Arguments of the network from options of a training.

        Args:
            options: Some of them, without :obj:`enabled`.
            num_categories: Number of object categories, the special one included.
        """
        given = dict(options)
        if self.judges != "pictures":
            given["num_categories"] = num_categories
        # Files of before, and other networks, have no such options.
        if given.pop("conditional", False):
            given["num_labels"] = num_categories
        if given.get("scales") == 1:
            del given["scales"]
        return given

    def make(self, options: Mapping[str, Any], num_categories: int) -> Module:
        """The network with some of its options, the others as by default; see
        :meth:`arguments`."""
        return self.network(**self.arguments(options, num_categories))


DISCRIMINATORS = {
    "image_discriminator": DiscriminatorKind(PatchDiscriminator, "pictures"),
    "object_discriminator": DiscriminatorKind(ObjectDiscriminator, "objects"),
    "segmenting_discriminator": DiscriminatorKind(SegmentingDiscriminator, "pixels"),
}
"""The opponents of the generator by name, in the order in which they are made: options of a
training, its players and entries of checkpoints are called the same."""
