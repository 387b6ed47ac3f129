"""The cascaded refinement network (CRN) that turns a layout into a picture."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import (
    BatchNorm2d,
    Conv2d,
    InstanceNorm2d,
    LeakyReLU,
    Module,
    ModuleList,
    Sequential,
    SyncBatchNorm,
)
from torch.nn.utils import fuse_conv_bn_eval

from sg2im_pyg.nn.compiled_part import CompiledPart
from sg2im_pyg.nn.economical import Block, PartedConv2d, refine
from sg2im_pyg.nn.layout import FactoredLayout, pyramid


class RefinementNetwork(Module):
    r"""Cascaded refinement network from the `"Photographic Image Synthesis with Cascaded
    Refinement Networks" <https://arxiv.org/abs/1707.09405>`_ paper, as used in Section 3 of the
    `"Image Generation from Scene Graphs" <https://arxiv.org/abs/1804.01622>`_ paper.

    It starts from one zero channel of size :math:`H / 2^m \times W / 2^m` for :math:`m` modules.
    Each module doubles the size of the features (nearest neighbour) and joins them to the
    layout, average-pooled to that size; two 3 × 3 convolutions follow, each with normalization
    and LeakyReLU. A last 3 × 3 convolution, LeakyReLU and a 1 × 1 convolution give the
    colours, without a nonlinearity at the end.

    :meth:`forward_plain` is this network as it is written here. :meth:`forward` gives the same
    pictures with fewer operations, see :func:`~sg2im_pyg.nn.economical.refine`; a layout may come
    to both multiplied out, or as a :class:`FactoredLayout`.

    Args:
        layout_channels: Channels :math:`D` of the layout (noise included).
        channels: Width of each module. (default: the release's, for 64 × 64)
        normalization: :obj:`"batch"`, :obj:`"instance"` or :obj:`"none"`.
        out_channels: Channels of the picture.
        negative_slope: Slope of the LeakyReLUs below zero.
        sharp: Whether it differs from the release's in what pictures with sharp sides need:
            convolutions see the border again around their input, as zeros there show as a frame;
            a 1 × 1 convolution of the layout is added to the pictures, so that sides of masks need
            not come through the cascade; and weights start with torch's smaller values.
        noise_channels: Last channels of the layout that are noise; they do not count as colours.

    Attributes:
        economical: Whether :meth:`forward` saves operations; otherwise it is
            :meth:`forward_plain`.
        takes_factored: Whether :class:`~sg2im_pyg.model.Sg2Im` gives it a
            :class:`FactoredLayout` where objects are few; otherwise always the layout multiplied
            out.

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
        sharp: bool = False,
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels must name the width of at least one module, got none")
        self.layout_channels = layout_channels
        self.channels = tuple(channels)
        self.sharp = sharp
        self.noise_channels = noise_channels
        # What is saved depends on zeros around the picture, and needs no layout multiplied out.
        self.economical = self.takes_factored = not sharp
        padding: Literal["zeros", "replicate"] = "replicate" if sharp else "zeros"
        self.blocks = ModuleList(
            Block(
                PartedConv2d(layout_channels + fan_in, fan_out, 3, padding=1, padding_mode=padding),
                *norm_layers(fan_out, normalization),
                LeakyReLU(negative_slope, inplace=True),
                Conv2d(fan_out, fan_out, 3, padding=1, padding_mode=padding),
                *norm_layers(fan_out, normalization),
                LeakyReLU(negative_slope, inplace=True),
            )
            for fan_in, fan_out in zip((1, *self.channels), self.channels, strict=False)
        )
        last = self.channels[-1]
        self.output = Sequential(
            Conv2d(last, last, 3, padding=1, padding_mode=padding),
            LeakyReLU(negative_slope, inplace=True),
            Conv2d(last, out_channels, 1),
        )
        self.colours = None
        if sharp:
            self.colours = Conv2d(layout_channels - noise_channels, out_channels, 1)
        # Pixel by pixel in memory: faster convolutions, on the CPU as on a GPU; but for the first
        # module, whose maps have few pixels.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.blocks[0].to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, (Conv2d, BatchNorm2d)):
                module.reset_parameters()
            if isinstance(module, Conv2d) and not self.sharp:
                torch.nn.init.kaiming_normal_(module.weight)  # release

    def forward(self, layout: Tensor | FactoredLayout, noise: Tensor | None = None) -> Tensor:
        """Turns a batch of layouts into pictures.

        Args:
            layout: Multiplied out, shape :math:`(N, D, H, W)`, or not.
            noise: Channels that follow those of the layout.
        """
        self._check_size(layout.masks if isinstance(layout, FactoredLayout) else layout)
        if self.economical:
            return self.output(refine(self.blocks, layout, noise))
        return self.forward_plain(layout, noise)

    def forward_plain(self, layout: Tensor | FactoredLayout, noise: Tensor | None = None) -> Tensor:
        """The definition of the network, which :meth:`forward` equals; the arguments are the
        same."""
        if isinstance(layout, FactoredLayout):
            layout = layout.multiply()
        if noise is not None:
            layout = torch.cat([layout, noise], dim=1)
        layout = layout.contiguous(memory_format=torch.channels_last)
        count, _, height, width = layout.shape
        factor = 2 ** len(self.blocks)
        features = layout.new_zeros(count, 1, height // factor, width // factor)
        for block, pooled in zip(self.blocks, pyramid(layout, len(self.blocks)), strict=True):
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = block(torch.cat([pooled, features], dim=1))
        images = self.output(features)
        if self.colours is None:
            return images
        return images + self.colours(layout[:, : self.colours.in_channels])

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
                if isinstance(layer, BatchNorm2d | SyncBatchNorm):
                    layers[-1] = fuse_conv_bn_eval(layers[-1], layer)  # type: ignore[type-var]
                else:
                    layers.append(layer)
            if isinstance(layers[0], PartedConv2d):
                layers[0].prepared = {}
            self.blocks[number] = Block(*layers)

    def parts_to_compile(self) -> list[CompiledPart]:
        """All but what depends on the number of objects."""
        return [
            *(CompiledPart(block, "finish") for block in self.blocks),
            CompiledPart(self.output),
        ]

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


def norm_layers(channels: int, normalization: str) -> list[Module]:
    """No or one normalization layer for feature maps of :obj:`channels` channels."""
    kinds: dict[str, list[type[BatchNorm2d] | type[InstanceNorm2d]]]
    kinds = {"batch": [BatchNorm2d], "instance": [InstanceNorm2d], "none": []}
    if normalization not in kinds:
        names = "'batch', 'instance' or 'none'"
        raise ValueError(f"normalization must be {names}, got {normalization!r}")
    return [kind(channels) for kind in kinds[normalization]]
