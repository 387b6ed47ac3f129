"""What a network says of its parts to :mod:`sg2im_pyg.training.compilation`."""

from typing import NamedTuple

from torch.nn import Module


class CompiledPart(NamedTuple):
    """A part of a network that it pays to compile by itself."""

    module: Module
    method: str = "forward"
    varying: tuple[int, ...] = ()
    """For each tensor that the method takes, the dimension whose size differs from batch to batch:
    the number of objects or relationships. Empty where the sizes of pictures fix all shapes."""
