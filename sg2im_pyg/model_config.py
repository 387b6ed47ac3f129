"""Options of the generator."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn.generators import find_generator

MOST_CHANNELS = 65_536
"""More is a slip of the pen, and would take all memory."""


@dataclass
class ModelConfig:
    """Options of the generator. The defaults are the published model for 64 × 64 pictures."""

    image_size: tuple[int, int] = (64, 64)
    """Height and width of the pictures in pixels; multiples of 2 ** len(refinement_dims)."""
    embedding_dim: int = 128
    """Channels of the embeddings of objects and predicates."""
    gconv_dim: int = 128
    """Channels of the object vectors that leave the graph convolution."""
    gconv_hidden_dim: int = 512
    """Channels of the hidden layers of the graph convolution and of the box head."""
    gconv_pooling: Literal["mean", "sum"] = "mean"
    """How an object's candidates are pooled."""
    gconv_num_layers: int = 5
    """Layers of graph convolution; 0 puts a single linear layer in its place (no relations)."""
    mlp_normalization: Literal["none", "batch"] = "none"
    """Normalization after each linear layer of the graph convolution and the box head."""
    mask_size: int = 16
    """Side of the predicted masks in mask pixels, a power of two; 0 fills whole boxes."""
    mask_head: Literal["upsample", "transposed"] = "upsample"
    """How masks grow: nearest upsampling and convolution (release), or transposed (paper)."""
    layout_noise_dim: int = 32
    """Channels of normal noise that are appended to the layout; 0 for none."""
    refinement_dims: tuple[int, ...] = (1024, 512, 256, 128, 64)
    """Channels of each module of the refinement network; each doubles the picture's sides."""
    normalization: Literal["batch", "instance", "none"] = "batch"
    """Normalization in the refinement network."""
    negative_slope: float = 0.2
    """Slope below zero of the refinement network's LeakyReLUs."""
    generator: str = "crn"
    """Network that turns the layout into a picture: crn is the cascaded refinement network."""

    def __post_init__(self) -> None:
        channels = ("embedding_dim", "gconv_dim", "gconv_hidden_dim")
        limits = dict.fromkeys(channels, (1, MOST_CHANNELS))
        limits |= {"gconv_num_layers": (0, 1000), "mask_size": (0, 1024)}
        limits |= {"layout_noise_dim": (0, MOST_CHANNELS)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise Sg2ImError(
                    f"{name} must be a whole number from {least} to {most}, got {value!r}."
                )
        slope = self.negative_slope
        if type(slope) not in (int, float) or not 0 <= slope < math.inf:
            raise Sg2ImError(f"negative_slope must be a number, 0 or more, got {slope!r}.")
        for name in ("image_size", "refinement_dims"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)) or any(type(n) is not int for n in value):
                raise Sg2ImError(f"{name} must be a list of whole numbers, got {value!r}.")
            setattr(self, name, tuple(value))
        if len(self.image_size) != 2:
            raise Sg2ImError(f"image_size must be height and width, got {list(self.image_size)}.")
        for name, kind in get_type_hints(ModelConfig).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise Sg2ImError(f"{name} must be one of {choices}, got {getattr(self, name)!r}.")
        if not self.refinement_dims:
            raise Sg2ImError("refinement_dims must name at least one module's channels.")
        if min(self.refinement_dims) < 1 or max(self.refinement_dims) > MOST_CHANNELS:
            raise Sg2ImError(
                f"refinement_dims must lie between 1 and {MOST_CHANNELS}, got "
                f"{list(self.refinement_dims)}."
            )
        if self.mask_size & (self.mask_size - 1):
            raise Sg2ImError(
                f"mask_size must be a power of two or 0 for no masks, got {self.mask_size}."
            )
        if min(self.image_size) < 1:
            height, width = self.image_size
            raise Sg2ImError(f"image_size is {height} x {width}, but sides have at least 1 pixel.")
        find_generator(self.generator).check(self)


def config_from_dict(options: Mapping[str, Any]) -> ModelConfig:
    """The inverse of :func:`dataclasses.asdict`; options of later versions raise.

    Raises:
        Sg2ImError: If an option is unknown.
    """
    known = {field.name for field in fields(ModelConfig)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise Sg2ImError(
            f"The model option {unknown[0]!r} is unknown to this version: update sg2im_pyg."
        )
    return ModelConfig(**options)
