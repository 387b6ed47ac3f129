"""The refinement network and the mask head at less cost, by what is known of their inputs.

All here is equal to layers of torch that are given the whole array, doubled and multiplied out, as
:mod:`~sg2im_pyg.nn.refinement` and :mod:`~sg2im_pyg.nn.heads` write it plainly; the tests compare
values and gradients.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import BatchNorm2d, Conv2d, Module, ModuleList, Sequential, SyncBatchNorm

from sg2im_pyg.nn.layout import FactoredLayout, pyramid

_PIXELS_TO_MERGE = 4096
_AT_ONCE = 8  # pictures of which no gradient is kept


def refine(blocks: ModuleList, layout: Tensor | FactoredLayout, noise: Tensor | None) -> Tensor:
    """What the modules of a :class:`~sg2im_pyg.nn.refinement.RefinementNetwork` make of a layout.

    The input of a module is never joined: each of its parts is convolved by itself, the doubled
    features without doubling them (:func:`convolve_upsampled`). Pooling a factored layout is
    pooling its masks, and its part of a convolution is a sum over objects (:func:`add_factored`):
    where objects are few that is a fraction of the work.

    Args:
        blocks: The modules, each a :class:`Block`.
        layout: Multiplied out, shape :math:`(N, D, H, W)`, or not.
        noise: Channels that follow those of the layout.

    Returns:
        Features of the last module, shape :math:`(N, C, H, W)`.
    """
    factored = layout if isinstance(layout, FactoredLayout) else None
    planes = [noise] if noise is not None and noise.size(1) else []
    if not isinstance(layout, FactoredLayout):
        planes.insert(0, layout)
    levels = len(blocks)
    masks = None if factored is None else pyramid(factored.masks, levels)
    dense = pyramid(torch.cat(planes, dim=1), levels) if planes else None
    features = None  # the channel of zeros adds nothing
    for level, block in enumerate(blocks):
        part = None
        if factored is not None and masks is not None:
            part = FactoredLayout(factored.vectors, masks[level])
        features = block(features, part, None if dense is None else dense[level])
    assert features is not None
    return features


class Block(Sequential):
    """A module of the cascade: layers, the first a :class:`PartedConv2d`."""

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


class PartedConv2d(Conv2d):
    """A 3 × 3 convolution whose input may come in parts: the first one of a module.

    Attributes:
        prepared: Kernels of the parts, kept once the weights do not change any more.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared: dict[Any, Kernels] | None = None

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


def pays_to_merge(features: Tensor) -> bool:
    """Whether :func:`convolve_upsampled` is to be preferred to doubling the features: where the
    batch has few pixels, its larger kernel costs more than it saves.

    Args:
        features: Shape :math:`(N, F, H, W)`.
    """
    return 4 * features[:, 0].numel() >= _PIXELS_TO_MERGE


def convolve_upsampled(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""The 3 × 3 convolution of features whose sides were doubled (nearest neighbour).

    Of the nine positions of the kernel several fall onto the same feature, and what they are
    weighted by can be added up beforehand: a transposed convolution with a 4 × 4 kernel and
    stride 2 gives the same, with 4 in place of 9 multiplications a channel and pixel, and without
    the doubled features.

    Args:
        features: Shape :math:`(N, F, H, W)`.
        weight: Shape :math:`(C, F, 3, 3)`.
        bias: Shape :math:`(C,)`.

    Returns:
        Shape :math:`(N, C, 2 H, 2 W)`, the same as :obj:`conv2d(interpolate(features,
        scale_factor=2), weight, bias, padding=1)`.

    Examples:
        >>> convolve_upsampled(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 3)).flatten()
        tensor([4., 4., 4., 4.])
    """
    return F.conv_transpose2d(features, upsampling_kernel(weight), bias, stride=2, padding=1)


def upsampling_kernel(weight: Tensor) -> Tensor:
    """The kernel of :func:`convolve_upsampled`'s transposed convolution.

    Args:
        weight: Shape :math:`(C, F, 3, 3)`.

    Returns:
        Shape :math:`(F, C, 4, 4)`: the 3 × 3 kernel, turned by 180 degrees and convolved with
        2 × 2 ones.
    """
    collected = weight.flatten(2) @ _collecting(weight.device, weight.dtype)
    return collected.transpose(0, 1).unflatten(2, (4, 4))


@functools.cache  # made anew, a GPU would be waited for
@torch.inference_mode(False)
def _collecting(device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each of 4 × 4 positions collects of 3 × 3, shape :math:`(9, 16)`."""
    side = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], device=device, dtype=dtype)
    return torch.kron(side, side).t().contiguous()  # no product that autocast would round


def convolve_normalized(norm: Module, conv: Module, features: Tensor) -> Tensor:
    """Upsampling, batch norm and convolution; all but the last before the upsampling, where each
    number stands once in place of four times.

    Means and variances are the same. The running variance is that of a sample, whose size
    matters: it is corrected.
    """
    assert isinstance(norm, BatchNorm2d | SyncBatchNorm)
    assert isinstance(conv, Conv2d)
    count = features[:, 0].numel()
    if norm.training and (count < 2 or type(norm) is not BatchNorm2d):
        # Of one number alone there is no variance, of other processes' the count is not known.
        return conv(norm(F.interpolate(features, scale_factor=2, mode="nearest")))
    if norm.training and norm.running_var is not None and norm.momentum is not None:
        assert norm.num_batches_tracked is not None
        before, variance = norm.running_var * (1 - norm.momentum), norm.running_var.clone()
        features = F.batch_norm(
            features,
            norm.running_mean,
            variance,
            norm.weight,
            norm.bias,
            True,
            norm.momentum,
            norm.eps,
        )
        with torch.no_grad():
            ratio = 4 * (count - 1) / (4 * count - 1)
            norm.running_var.copy_(before + (variance - before) * ratio)
            norm.num_batches_tracked.add_(1)
    else:
        features = norm(features)
    return convolve_upsampled(features, conv.weight, conv.bias)


def add_factored(result: Tensor, layout: FactoredLayout, weight: Tensor) -> Tensor:
    r"""Adds the convolution of a layout that is not multiplied out.

    .. math::
        W * \sum_k v_k m_k = \sum_k (W v_k) * m_k

    Args:
        result: What it is added to, shape :math:`(N, C, H, W)`. Where no gradient is kept it is
            overwritten, a few pictures at a time: less memory is needed.
        layout: :math:`D` channels in :math:`N` pictures of :math:`H \times W`.
        weight: Shape :math:`(C, D, h, w)`, both sides odd; the layout is padded with zeros.

    Returns:
        :obj:`result + conv2d(layout.multiply(), weight, padding="same")`; it can be differentiated
        once.
    """
    kernels = torch.einsum("nkd,cdij->nijkc", layout.vectors, weight).flatten(1, 3)
    size = (weight.size(2), weight.size(3))
    if torch.is_grad_enabled():
        return _AddFactored.apply(result, layout.masks, kernels, size)
    if not result.is_contiguous():
        result = result.contiguous(memory_format=torch.channels_last)
    for first in range(0, len(result), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        shifted = _shifted(layout.masks[part], size)
        _add(result[part], shifted, kernels[part], out=result[part])
    return result


class _AddFactored(torch.autograd.Function):
    """Adds shifted masks times kernels; the shifted masks, :math:`h w` times as many as there are
    masks, are made again for the gradient instead of being kept."""

    @staticmethod
    def forward(
        ctx: Any, result: Tensor, masks: Tensor, kernels: Tensor, size: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(masks, kernels)
        ctx.size = size
        order = torch.channels_last
        if result.is_contiguous() and not result.is_contiguous(memory_format=order):
            order = torch.contiguous_format
        out = torch.empty_like(result, memory_format=order)
        _add(result, _shifted(masks, size), kernels, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        masks, kernels = ctx.saved_tensors
        of_masks = of_kernels = None
        pixels = gradient.flatten(2).transpose(1, 2)
        if gradient.is_contiguous(memory_format=torch.channels_last):
            pixels = gradient.permute(0, 2, 3, 1).flatten(1, 2)
        # Under autocast the result has another precision than what it was made of.
        if ctx.needs_input_grad[2]:
            of_kernels = torch.bmm(_shifted(masks, ctx.size).to(pixels.dtype), pixels)
        if ctx.needs_input_grad[1]:
            of_shifted = torch.bmm(kernels.to(pixels.dtype), pixels.transpose(1, 2))
            of_masks = _shifted_back(of_shifted, masks.shape, ctx.size)
        return gradient, of_masks, of_kernels, None


def _add(result: Tensor, shifted: Tensor, kernels: Tensor, out: Tensor) -> None:
    """Writes the sum of a result and of kernels times shifted masks to :obj:`out`, of a shape
    :math:`(N, C, H, W)` and in either order in memory."""
    # Under autocast they come in several precisions.
    shifted, kernels = shifted.to(out.dtype), kernels.to(out.dtype)
    if out.is_contiguous(memory_format=torch.channels_last):
        result, out = (each.permute(0, 2, 3, 1).flatten(1, 2) for each in (result, out))
        torch.baddbmm(result, shifted.transpose(1, 2), kernels, out=out)
    else:
        torch.baddbmm(result.flatten(2), kernels.transpose(1, 2), shifted, out=out.flatten(2))


def _shifted(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """One plane for each position in a kernel and each object, shape :math:`(N, h w K, H W)`."""
    height, width = size
    rows, columns = masks.shape[2:]
    padded = F.pad(masks, (width // 2, width // 2, height // 2, height // 2))
    planes = [
        padded[:, :, i : i + rows, j : j + columns] for i in range(height) for j in range(width)
    ]
    return torch.stack(planes, dim=1).flatten(1, 2).flatten(2)


def _shifted_back(planes: Tensor, shape: Sequence[int], size: tuple[int, int]) -> Tensor:
    """The gradient of masks of a shape :math:`(N, K, H, W)`, from that of :func:`_shifted`."""
    height, width = size
    images, objects, rows, columns = shape
    parts = planes.view(images, height, width, objects, rows, columns)
    padded = planes.new_zeros(images, objects, rows + height - 1, columns + width - 1)
    for i in range(height):
        for j in range(width):
            padded[:, :, i : i + rows, j : j + columns] += parts[:, i, j]
    top, left = height // 2, width // 2
    return padded[:, :, top : top + rows, left : left + columns]
