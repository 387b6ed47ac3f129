"""What is predicted from an object's vector: its box, its mask and its texture."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    LeakyReLU,
    Linear,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Unflatten,
    Upsample,
)
from torch_geometric.nn.inits import reset

from sg2im_pyg.nn.economical import convolve_normalized, pays_to_merge
from sg2im_pyg.nn.triple_conv import triple_mlp

MIDDLE = (0.25, 0.25, 0.75, 0.75)
"""Box around which the untrained predictions lie."""


class BoxHead(Module):
    """Predicts an object's box from its vector (paper, Section 3, "Scene layout").

    Two linear layers, each with ReLU; the last ReLU is the release's. Without normalization the
    last bias starts at the middle of the picture, :data:`MIDDLE`: from torch's own bias a
    coordinate starts at zero for all objects about as often as not, has no gradient there, and may
    never be learnt.

    Args:
        in_channels: Size of the vectors.
        hidden_channels: Size of the hidden layer.
        norm: Normalization after each linear layer, see :class:`TripleConv`.

    Shapes:
        - **input:** vectors :math:`(O, D)`
        - **output:** boxes :obj:`[x0, y0, x1, y1]` in units of the picture, :math:`(O, 4)`
    """

    def __init__(
        self, in_channels: int, hidden_channels: int = 512, norm: str | None = None
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.layers = triple_mlp([in_channels, hidden_channels, 4], norm)
        self._start_in_the_middle()

    def reset_parameters(self) -> None:
        reset(self.layers)
        self._start_in_the_middle()

    def _start_in_the_middle(self) -> None:
        linear = self.layers[-2]
        if isinstance(linear, Linear):  # and not a normalization
            with torch.no_grad():
                linear.bias.copy_(linear.bias.new_tensor(MIDDLE))

    def forward(self, vectors: Tensor) -> Tensor:
        # Coordinates need more digits than half precision has.
        with torch.autocast(vectors.device.type, enabled=False):
            return self.layers(vectors.to(next(self.parameters()).dtype))

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels})"


class MaskHead(Module):
    """Predicts an object's mask from its vector (paper, Section 3, "Scene layout").

    From 1 × 1 up to the mask's size, each step doubles the side: nearest upsampling, batch norm,
    3 × 3 convolution and ReLU as in the release, or a transposed convolution, batch norm and ReLU
    as the paper describes. A 1 × 1 convolution to one channel and a sigmoid end it.

    Args:
        channels: Size of the vectors and of all hidden layers.
        mask_size: Side of the masks, a power of two.
        transposed: Transposed convolutions (paper) in place of upsampling (release).

    Attributes:
        economical: Whether upsampled features are never made, see
            :func:`~sg2im_pyg.nn.economical.convolve_upsampled`; the masks are the same.

    Shapes:
        - **input:** vectors :math:`(O, D)`
        - **output:** masks in :math:`[0, 1]`, :math:`(O, M, M)`

    Raises:
        ValueError: If the mask's size is no power of two.

    Examples:
        >>> import torch
        >>> MaskHead(16, mask_size=8)(torch.randn(3, 16)).shape
        torch.Size([3, 8, 8])
    """

    def __init__(self, channels: int, mask_size: int = 16, transposed: bool = False) -> None:
        super().__init__()
        if mask_size < 1 or mask_size & (mask_size - 1):
            raise ValueError(f"mask_size must be a power of two, got {mask_size}")
        self.channels = channels
        self.mask_size = mask_size
        self.economical = not transposed
        modules: list[Module] = []
        for _ in range(mask_size.bit_length() - 1):
            if transposed:
                modules.append(ConvTranspose2d(channels, channels, 4, stride=2, padding=1))
                modules.append(BatchNorm2d(channels))
            else:
                modules += [Upsample(scale_factor=2, mode="nearest"), BatchNorm2d(channels)]
                modules.append(Conv2d(channels, channels, 3, padding=1))
            modules.append(ReLU(inplace=True))
        self.layers = Sequential(*modules, Conv2d(channels, 1, 1), Sigmoid())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def reset_parameters(self) -> None:
        reset(self.layers)

    def forward(self, vectors: Tensor) -> Tensor:
        features = vectors.view(*vectors.shape, 1, 1)
        layers = list(self.layers)
        while layers:
            if self.economical and isinstance(layers[0], Upsample) and pays_to_merge(features):
                _, norm, conv, *layers = layers
                features = convolve_normalized(norm, conv, features)
            else:
                features = layers.pop(0)(features)
        return features.squeeze(1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels}, mask_size={self.mask_size})"


class LinearMaskHead(Module):
    """Predicts an object's mask from its vector at a fraction of :class:`MaskHead`'s cost.

    A linear layer gives 4 × 4 cells; each step then doubles the side (nearest), with fewer channels
    each time: 3 × 3 convolution, batch norm and LeakyReLU. A 3 × 3 convolution to one channel and
    a sigmoid end it. Other than there, places differ from the start, so that the shape need not
    come from the padding.

    Args:
        channels: Size of the vectors.
        mask_size: Side of the masks, a power of two of at least 4.

    Shapes:
        - **input:** vectors :math:`(O, D)`
        - **output:** masks in :math:`[0, 1]`, :math:`(O, M, M)`

    Raises:
        ValueError: If the mask's size is no power of two, or less than 4.
    """

    def __init__(self, channels: int, mask_size: int = 32) -> None:
        super().__init__()
        if mask_size < 4 or mask_size & (mask_size - 1):
            raise ValueError(f"mask_size must be a power of two of at least 4, got {mask_size}")
        self.channels = channels
        self.mask_size = mask_size
        widths = [max(12, 32 - 8 * step) for step in range(mask_size.bit_length() - 2)]
        modules: list[Module] = [
            Linear(channels, widths[0] * 16),
            LeakyReLU(0.2, inplace=True),
            Unflatten(1, (widths[0], 4, 4)),
        ]
        for fan_in, fan_out in pairwise(widths):
            modules += [
                Upsample(scale_factor=2, mode="nearest"),
                Conv2d(fan_in, fan_out, 3, padding=1),
                BatchNorm2d(fan_out),
                LeakyReLU(0.2, inplace=True),
            ]
        self.layers = Sequential(*modules, Conv2d(widths[-1], 1, 3, padding=1), Sigmoid())

    def reset_parameters(self) -> None:
        reset(self.layers)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layers(vectors).squeeze(1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels}, mask_size={self.mask_size})"


class TextureHead(Module):
    """Paints a small map of an object's surface from its vector: where in its box there is what.

    A vector that is the same all over an object leaves it to the generator's convolutions to tell a
    window from a wall by the form of the mask; here each place has weights of its own.

    Args:
        in_channels: Size of the vectors.
        out_channels: Channels :math:`C` of the maps.
        size: Side :math:`M` of the maps.
        hidden_channels: Size of the hidden layer.

    Shapes:
        - **input:** vectors :math:`(O, D)`
        - **output:** maps :math:`(O, C, M, M)`
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: int, hidden_channels: int = 256
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.size = size
        self.layers = Sequential(
            Linear(in_channels, hidden_channels),
            LeakyReLU(0.2, inplace=True),
            Linear(hidden_channels, out_channels * size**2),
            Unflatten(1, (out_channels, size, size)),
        )

    def reset_parameters(self) -> None:
        reset(self.layers)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layers(vectors)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, {self.size})"
