"""The cascaded refinement network (CRN) that turns a layout into a picture."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import BatchNorm2d, Conv2d, InstanceNorm2d, LeakyReLU, Module, ModuleList, Sequential
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sg2im_pyg.nn.convolution import add_factored, pays_to_merge, upsampling_kernel
from sg2im_pyg.nn.layout import FactoredLayout


class RefinementNetwork(Module):
    r"""Cascaded refinement network from the `"Photographic Image Synthesis with Cascaded
    Refinement Networks" <https://arxiv.org/abs/1707.09405>`_ paper, as used in Section 3 of the
    `"Image Generation from Scene Graphs" <https://arxiv.org/abs/1804.01622>`_ paper.

    It starts from one zero channel of size :math:`H / 2^m \times W / 2^m` for :math:`m` modules.
    Each module doubles the size of the features (nearest neighbour) and joins them to the
    layout, average-pooled to that size; two 3 × 3 convolutions follow, each with normalization
    and LeakyReLU. A last 3 × 3 convolution, LeakyReLU and a 1 × 1 convolution give the
    colours, without a nonlinearity at the end.

    A layout may come multiplied out, or as a :class:`FactoredLayout`: the pictures are the same,
    and where objects are few the latter takes a fraction of the work, because pooling a layout is
    pooling its masks, and its part of a convolution is a sum over objects (see
    :func:`~sg2im_pyg.nn.convolution.add_factored`). Neither is the joined input of a module ever
    made: each of its parts is convolved by itself, the doubled features without doubling them
    (see :func:`~sg2im_pyg.nn.convolution.convolve_upsampled`). :meth:`paint` is the same network
    written plainly.

    Args:
        layout_channels: Channels :math:`D` of the layout (noise included).
        channels: Width of each module. (default: the release's, for 64 × 64)
        normalization: :obj:`"batch"`, :obj:`"instance"` or :obj:`"none"`.
        out_channels: Channels of the picture.
        negative_slope: Slope of the LeakyReLUs below zero.

    Attributes:
        economical: Whether :meth:`forward` saves operations; otherwise it is :meth:`paint`.

    Shapes:
        - **input:** layout :math:`(N, D, H, W)`, both sides divisible by :math:`2^m`
        - **output:** pictures :math:`(N, 3, H, W)`

    Raises:
        ValueError: From the call, if a side is not divisible by :math:`2^m`.

    Examples:
        >>> network = RefinementNetwork(8, channels=(16, 8))
        >>> network(torch.randn(2, 8, 16, 32)).shape
        torch.Size([2, 3, 16, 32])
    """

    def __init__(
        self,
        layout_channels: int,
        channels: tuple[int, ...] = (1024, 512, 256, 128, 64),
        normalization: str = "batch",
        out_channels: int = 3,
        negative_slope: float = 0.2,
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels must name the width of at least one module, got none")
        self.layout_channels = layout_channels
        self.channels = tuple(channels)
        self.economical = True
        self.blocks = ModuleList(
            _Block(
                _LayoutConv2d(layout_channels + fan_in, fan_out, 3, padding=1),
                *norm_layers(fan_out, normalization),
                LeakyReLU(negative_slope, inplace=True),
                Conv2d(fan_out, fan_out, 3, padding=1),
                *norm_layers(fan_out, normalization),
                LeakyReLU(negative_slope, inplace=True),
            )
            for fan_in, fan_out in zip((1, *self.channels), self.channels, strict=False)
        )
        last = self.channels[-1]
        self.output = Sequential(
            Conv2d(last, last, 3, padding=1),
            LeakyReLU(negative_slope, inplace=True),
            Conv2d(last, out_channels, 1),
        )
        # Pixel by pixel in memory: faster convolutions, on the CPU as on a GPU; but for the first
        # module, whose maps have few pixels.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.blocks[0].to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, (Conv2d, BatchNorm2d)):
                module.reset_parameters()
            if isinstance(module, Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)  # release

    def forward(self, layout: Tensor | FactoredLayout, noise: Tensor | None = None) -> Tensor:
        """Paints the pictures of a batch of layouts.

        Args:
            layout: Multiplied out, shape :math:`(N, D, H, W)`, or not.
            noise: Channels that follow those of the layout.
        """
        factored = layout if isinstance(layout, FactoredLayout) else None
        planes = [noise] if noise is not None and noise.size(1) else []
        if not isinstance(layout, FactoredLayout):
            planes.insert(0, layout)
        self._check_size(layout.masks if isinstance(layout, FactoredLayout) else layout)
        if not self.economical:
            if isinstance(layout, FactoredLayout):
                planes.insert(0, layout.multiply())
            return self.paint(torch.cat(planes, dim=1))
        levels = len(self.blocks)
        masks = None if factored is None else pyramid(factored.masks, levels)
        dense = pyramid(torch.cat(planes, dim=1), levels) if planes else None
        features = None  # the channel of zeros adds nothing
        for level, block in enumerate(self.blocks):
            part = None
            if factored is not None and masks is not None:
                part = FactoredLayout(factored.vectors, masks[level])
            features = block(features, part, None if dense is None else dense[level])
        return self.output(features)

    def paint(self, layout: Tensor) -> Tensor:
        """The definition of the network, which :meth:`forward` equals.

        Args:
            layout: With its noise, shape :math:`(N, D, H, W)`.
        """
        images, _, height, width = layout.shape
        factor = 2 ** len(self.blocks)
        features = layout.new_zeros(images, 1, height // factor, width // factor)
        for block, pooled in zip(self.blocks, pyramid(layout, len(self.blocks)), strict=True):
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = block(torch.cat([pooled, features], dim=1))
        return self.output(features)

    @torch.no_grad()
    def fold(self) -> None:
        """Turns the network into one for generation alone: the same pictures in eval mode, faster.

        Batch norm goes into the convolution before it, and what is made of weights alone is made
        once.
        """
        self.eval()
        for number, block in enumerate(self.blocks):
            layers: list[Module] = []
            for layer in block.children():
                if isinstance(layer, _BatchNorm):
                    layers[-1] = fuse_conv_bn_eval(layers[-1], layer)  # type: ignore[type-var]
                else:
                    layers.append(layer)
            if isinstance(layers[0], _LayoutConv2d):
                layers[0].prepared = {}
            self.blocks[number] = _Block(*layers)

    def _check_size(self, planes: Tensor) -> None:
        height, width = planes.shape[2:]
        factor = 2 ** len(self.blocks)
        if height % factor or width % factor:
            raise ValueError(
                f"{len(self.blocks)} modules need pictures whose sides are multiples of {factor}, "
                f"got {height} x {width}"
            )

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.layout_channels}, channels={self.channels})"


class _LayoutConv2d(Conv2d):
    """The first convolution of a module, whose input may come in parts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared: dict[Any, Kernels] | None = None
        """Kernels of the parts, kept once the weights do not change any more."""

    def forward(
        self,
        features: Tensor | None,
        layout: FactoredLayout | None = None,
        planes: Tensor | None = None,
    ) -> Tensor:
        """The convolution of a layout, of further planes and of features of half their size.

        Args:
            features: Last channels, shape :math:`(N, F, H / 2, W / 2)`; :obj:`None` for zeros.
                Where they come alone they are the whole input, :math:`(N, F, H, W)`.
            layout: First channels.
            planes: Channels that follow them, :math:`(N, P, H, W)`.
        """
        if features is not None and layout is None and planes is None:
            return super().forward(features)
        depth = 0 if layout is None else layout.vectors.size(2)
        width = 0 if planes is None else planes.size(1)
        merge = features is not None and pays_to_merge(features)
        kernels = self._kernels(depth, width, merge)
        result = None
        if planes is not None:
            result = F.conv2d(planes, kernels.planes, self.bias, padding=1)
        if features is not None:
            bias = self.bias if result is None else None
            if merge:
                part = F.conv_transpose2d(features, kernels.features, bias, stride=2, padding=1)
            else:
                features = F.interpolate(features, scale_factor=2, mode="nearest")
                part = F.conv2d(features, kernels.features, bias, padding=1)
            result = part if result is None else result.add_(part)
        if layout is None:
            assert result is not None
            return result
        if result is None:
            assert self.bias is not None
            images, _, rows, columns = layout.masks.shape
            result = self.bias.view(1, -1, 1, 1).expand(images, -1, rows, columns)
        return add_factored(result, layout, kernels.layout)

    def _kernels(self, depth: int, width: int, merge: bool) -> "Kernels":
        key = (depth, width, merge, self.weight.device, self.weight.dtype)
        if self.prepared is not None and key in self.prepared:
            return self.prepared[key]
        layout, planes, features = self.weight.split(
            [depth, width, self.in_channels - depth - width], dim=1
        )
        # In the precision of the weights: what is kept serves with and without autocast.
        with torch.autocast(self.weight.device.type, enabled=False):
            kernels = Kernels(layout, planes, upsampling_kernel(features) if merge else features)
        if self.prepared is not None:
            plain = self.weight.is_contiguous()
            order = torch.contiguous_format if plain else torch.channels_last
            kernels = Kernels(*(kernel.contiguous(memory_format=order) for kernel in kernels))
            self.prepared[key] = kernels
        return kernels


class Kernels(NamedTuple):
    """The weights of a module's first convolution by the parts of its input."""

    layout: Tensor
    """Shape :math:`(C, D, 3, 3)`."""
    planes: Tensor
    """Shape :math:`(C, P, 3, 3)`."""
    features: Tensor
    """Shape :math:`(C, F, 3, 3)`, or that of :func:`upsampling_kernel`, :math:`(F, C, 4, 4)`."""


class _Block(Sequential):
    """A module of the cascade, its first layer a :class:`_LayoutConv2d`."""

    def forward(
        self,
        features: Tensor | None,
        layout: FactoredLayout | None = None,
        planes: Tensor | None = None,
    ) -> Tensor:
        first, *_ = self.children()
        return self.finish(first(features, layout, planes))

    def finish(self, result: Tensor) -> Tensor:
        """All layers after the first; their shapes do not depend on the number of objects."""
        _, *others = self.children()
        for layer in others:
            result = layer(result)
        return result


def pyramid(planes: Tensor, levels: int) -> list[Tensor]:
    """The planes and these average-pooled by 2, 4 and so on, the smallest first."""
    sizes = [planes]
    while len(sizes) < levels:
        # Each size from the one above it: the mean of means over equal blocks.
        sizes.append(F.avg_pool2d(sizes[-1], 2))
    return sizes[::-1]


def norm_layers(channels: int, normalization: str) -> list[Module]:
    """No or one normalization layer for feature maps of :obj:`channels` channels."""
    if normalization == "none":
        return []
    if normalization == "batch":
        return [BatchNorm2d(channels)]
    if normalization == "instance":
        return [InstanceNorm2d(channels)]
    raise ValueError(f"normalization must be 'batch', 'instance' or 'none', got {normalization!r}")
