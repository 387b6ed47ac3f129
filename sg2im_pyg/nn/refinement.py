"""The cascaded refinement network (CRN) that turns a layout into a picture."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import BatchNorm2d, Conv2d, InstanceNorm2d, LeakyReLU, Module, ModuleList, Sequential

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
    :func:`convolve_factored`).

    Args:
        layout_channels: Channels :math:`D` of the layout (noise included).
        channels: Width of each module. (default: the release's, for 64 × 64)
        normalization: :obj:`"batch"`, :obj:`"instance"` or :obj:`"none"`.
        out_channels: Channels of the picture.
        negative_slope: Slope of the LeakyReLUs below zero.

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
        self.blocks = ModuleList(
            _Block(
                _LayoutConv2d(layout_channels + fan_in, fan_out, 3, padding=1),
                *norm_layers(fan_out, normalization),
                LeakyReLU(negative_slope),
                Conv2d(fan_out, fan_out, 3, padding=1),
                *norm_layers(fan_out, normalization),
                LeakyReLU(negative_slope),
            )
            for fan_in, fan_out in zip((1, *self.channels), self.channels, strict=False)
        )
        last = self.channels[-1]
        self.output = Sequential(
            Conv2d(last, last, 3, padding=1),
            LeakyReLU(negative_slope),
            Conv2d(last, out_channels, 1),
        )
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
        factored = isinstance(layout, FactoredLayout)
        planes = layout.masks if isinstance(layout, FactoredLayout) else layout
        images, _, height, width = planes.shape
        factor = 2 ** len(self.blocks)
        if height % factor or width % factor:
            raise ValueError(
                f"{len(self.blocks)} modules need pictures whose sides are multiples of {factor}, "
                f"got {height} x {width}"
            )
        if noise is not None and not noise.size(1):
            noise = None
        if noise is not None and not factored:
            planes, noise = torch.cat([planes, noise], dim=1), None
        planes_by_size = _pyramid(planes, len(self.blocks))
        noise_by_size = None if noise is None else _pyramid(noise, len(self.blocks))
        features = planes.new_zeros(images, 1, height // factor, width // factor)
        for block in self.blocks:
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            if noise_by_size is not None:
                features = torch.cat([noise_by_size.pop(), features], dim=1)
            planes = planes_by_size.pop()
            if isinstance(layout, FactoredLayout):
                features = block(features, FactoredLayout(layout.vectors, planes))
            else:
                features = block(torch.cat([planes, features], dim=1))
        return self.output(features)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.layout_channels}, channels={self.channels})"


class _LayoutConv2d(Conv2d):
    """A convolution whose first channels may come as a layout that is not multiplied out."""

    def forward(self, features: Tensor, layout: FactoredLayout | None = None) -> Tensor:
        if layout is None:
            return super().forward(features)
        return convolve_factored(self, layout, features)


class _Block(Sequential):
    """A module of the cascade, its first layer a :class:`_LayoutConv2d`."""

    def forward(self, features: Tensor, layout: FactoredLayout | None = None) -> Tensor:
        first, *others = self.children()
        features = first(features) if layout is None else first(features, layout)
        for layer in others:
            features = layer(features)
        return features


def convolve_factored(conv: Conv2d, layout: FactoredLayout, features: Tensor) -> Tensor:
    r"""The convolution of a layout and the features that follow it, without the layout.

    .. math::
        W_{\text{layout}} * \sum_k v_k m_k = \sum_k (W_{\text{layout}} v_k) * m_k

    Args:
        conv: Convolution with zero padding that keeps the size.
        layout: :math:`D` channels in :math:`N` pictures.
        features: The other channels, shape :math:`(N, C, H, W)`.

    Returns:
        The same as ``conv(torch.cat([layout.multiply(), features], dim=1))``.
    """
    depth, (height, width) = layout.vectors.size(2), conv.kernel_size
    weight, rest = conv.weight[:, :depth], conv.weight[:, depth:]
    result = F.conv2d(features, rest, conv.bias, padding="same")
    # One plane for each object and each position in the kernel: (N, height * width * K, H, W).
    padded = F.pad(layout.masks, (width // 2, width // 2, height // 2, height // 2))
    rows, columns = layout.masks.shape[2:]
    shifted = torch.cat(
        [padded[:, :, i : i + rows, j : j + columns] for i in range(height) for j in range(width)],
        dim=1,
    )
    kernels = torch.einsum("nkd,cdij->ncijk", layout.vectors, weight).flatten(2)
    return torch.baddbmm(result.flatten(2), kernels, shifted.flatten(2)).view_as(result)


def _pyramid(planes: Tensor, levels: int) -> list[Tensor]:
    """The planes, and these average-pooled by 2, 4 and so on."""
    pyramid = [planes]
    while len(pyramid) < levels:
        # Each size from the one above it: the mean of means over equal blocks.
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def norm_layers(channels: int, normalization: str) -> list[Module]:
    """No or one normalization layer for feature maps of :obj:`channels` channels."""
    if normalization == "none":
        return []
    if normalization == "batch":
        return [BatchNorm2d(channels)]
    if normalization == "instance":
        return [InstanceNorm2d(channels)]
    raise ValueError(f"normalization must be 'batch', 'instance' or 'none', got {normalization!r}")
