"""Sizes of what the convolutions of a discriminator make of a picture; options are checked by them
before torch is there."""

PUBLISHED_LAYERS = ((4, 64, 2), (4, 128, 2), (4, 256, 2))
"""Kernel, channels and stride of the published discriminators: ``C4-64-2, C4-128-2, C4-256-2``."""


def smallest_input(layers: tuple[tuple[int, int, int], ...]) -> int:
    """Smallest side in pixels for which unpadded convolutions leave at least one position."""
    side = 1
    for kernel, _, stride in reversed(layers):
        side = (side - 1) * stride + kernel
    return side


def side_after(layers: tuple[tuple[int, int, int], ...], side: int) -> int:
    """Side in pixels of what unpadded convolutions make of a picture."""
    for kernel, _, stride in layers:
        side = (side - kernel) // stride + 1
    return side
