"""A generator whose features are modulated by the layout at every scale (SPADE)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import BatchNorm2d, Conv2d, Identity, Module, ModuleList

from sg2im_pyg.nn.compiled_part import CompiledPart
from sg2im_pyg.nn.layout import pyramid

_SLOPE = 0.2  # of the LeakyReLUs below zero (paper)


class SpatiallyAdaptiveNorm(Module):
    r"""Batch norm without weights of its own, then a scale and a shift at each place, which follow
    from the layout: :math:`\mathrm{norm}(x) \cdot (1 + \gamma) + \beta` (`"Semantic Image Synthesis
    with Spatially-Adaptive Normalization" <https://arxiv.org/abs/1903.07291>`_, Equation 1).

    Args:
        channels: Channels :math:`C` of the features.
        hidden_channels: Channels :math:`E` of what has been computed from the layout.
        kernel_size: Side of the convolutions that give scale and shift: 3 in the paper.

    Shapes:
        - **input:** features :math:`(N, C, H, W)`, hidden layer of the layout
          :math:`(N, E, H, W)`
        - **output:** :math:`(N, C, H, W)`
    """

    def __init__(self, channels: int, hidden_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.norm = BatchNorm2d(channels, affine=False)
        self.scale_and_shift = _conv(hidden_channels, 2 * channels, kernel_size)

    def forward(self, features: Tensor, hidden: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(hidden).chunk(2, dim=1)
        return self.norm(features) * (1 + scale) + shift


class SpadeBlock(Module):
    """A residual block with two modulated convolutions (paper, Figure 4), whose modulations share
    the first layer that sees the layout.

    Args:
        layout_channels: Channels :math:`D` of the layout.
        in_channels: Channels that come in.
        out_channels: Channels that go out; where they differ, a 1 × 1 convolution is the shortcut.
        hidden_channels: See :class:`SpatiallyAdaptiveNorm`.
        kernel_size: Likewise.

    Shapes:
        - **input:** features :math:`(N, C, H, W)`, layout :math:`(N, D, H, W)`
        - **output:** :math:`(N, C', H, W)`
    """

    def __init__(
        self,
        layout_channels: int,
        in_channels: int,
        out_channels: int,
        hidden_channels: int = 128,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.hidden = _conv(layout_channels, hidden_channels)
        self.norms = ModuleList(
            SpatiallyAdaptiveNorm(channels, hidden_channels, kernel_size)
            for channels in (in_channels, middle)
        )
        self.convs = ModuleList([_conv(in_channels, middle), _conv(middle, out_channels)])
        self.shortcut: Module = Identity()
        if in_channels != out_channels:
            self.shortcut = Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, features: Tensor, layout: Tensor) -> Tensor:
        hidden = F.relu(self.hidden(layout))
        result = features
        for norm, conv in zip(self.norms, self.convs, strict=True):
            result = conv(F.leaky_relu(norm(result, hidden), _SLOPE))
        return result + self.shortcut(features)


class SpadeGenerator(Module):
    r"""Turns a layout into a picture by blocks that the layout modulates, from coarse to fine.

    The layout, average-pooled to :math:`H / 2^{m - 1} \times W / 2^{m - 1}` for :math:`m` blocks,
    enters by a convolution; each block but the first doubles the sides of the features. A
    convolution gives the colours, to which a 1 × 1 convolution of the layout is added. All
    convolutions repeat the border, as zeros around it show in pictures as a frame.

    Args:
        layout_channels: Channels :math:`D` of the layout (noise included).
        channels: Width of each block.
        hidden_channels: See :class:`SpatiallyAdaptiveNorm`.
        kernel_size: Likewise.
        noise_channels: Last channels of the layout that are noise; they do not count as colours.

    Shapes:
        - **input:** layout :math:`(N, D, H, W)`, both sides divisible by :math:`2^{m - 1}`
        - **output:** pictures :math:`(N, 3, H, W)`

    Raises:
        ValueError: From the call, if a side is not divisible by :math:`2^{m - 1}`.

    Examples:
        >>> import torch
        >>> SpadeGenerator(8, channels=(16, 8), hidden_channels=4)(torch.randn(2, 8, 16, 32)).shape
        torch.Size([2, 3, 16, 32])
    """

    takes_factored = False

    def __init__(
        self,
        layout_channels: int,
        channels: tuple[int, ...] = (1024, 512, 256, 128, 64),
        hidden_channels: int = 128,
        kernel_size: int = 3,
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels must name the width of at least one block, got none")
        self.layout_channels = layout_channels
        self.channels = tuple(channels)
        self.first = _conv(layout_channels, channels[0])
        self.blocks = ModuleList(
            SpadeBlock(layout_channels, fan_in, fan_out, hidden_channels, kernel_size)
            for fan_in, fan_out in zip((channels[0], *channels), channels, strict=False)
        )
        self.output = _conv(channels[-1], 3)
        self.colours = Conv2d(layout_channels - noise_channels, 3, 1)
        # Pixel by pixel in memory: faster convolutions, on the CPU as on a GPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, (Conv2d, BatchNorm2d)):
                module.reset_parameters()

    def forward(self, layout: Tensor, noise: Tensor | None = None) -> Tensor:
        """Turns a batch of layouts into pictures.

        Args:
            layout: Shape :math:`(N, D, H, W)`.
            noise: Channels that follow those of the layout.
        """
        if noise is not None:
            layout = torch.cat([layout, noise], dim=1)
        height, width = layout.shape[2:]
        factor = 2 ** (len(self.blocks) - 1)
        if height % factor or width % factor:
            raise ValueError(
                f"{len(self.blocks)} blocks need pictures whose sides are multiples of {factor}, "
                f"got {height} x {width}"
            )
        layouts = pyramid(layout.contiguous(memory_format=torch.channels_last), len(self.blocks))
        features = self.first(layouts[0])
        for i, (block, planes) in enumerate(zip(self.blocks, layouts, strict=True)):
            if i:
                features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = block(features, planes)
        return self.output(F.leaky_relu(features, _SLOPE)) + self.colours(
            layout[:, : self.colours.in_channels]
        )

    def fold(self) -> None:
        """Nothing is to be prepared: the modulation stands between norm and convolution."""

    def parts_to_compile(self) -> list[CompiledPart]:
        return [CompiledPart(self)]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.layout_channels}, channels={self.channels})"


def _conv(in_channels: int, out_channels: int, kernel_size: int = 3) -> Conv2d:
    padding = kernel_size // 2
    mode: Literal["replicate", "zeros"] = "replicate" if padding else "zeros"
    return Conv2d(in_channels, out_channels, kernel_size, padding=padding, padding_mode=mode)
