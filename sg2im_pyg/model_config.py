"""Options of the generator."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn.generators import find_generator
from sg2im_pyg.system.options import check_options, option

MOST_SIDE = 4096
"""Longest side of a model's pictures in pixels, likewise."""
MOST_CHANNELS = 65_536
"""More is a slip of the pen, and would take all memory."""


@dataclass
class ModelConfig:
    """Options of the generator. The defaults are the published model for 64 × 64 pictures."""

    image_size: tuple[int, int] = option((64, 64), most=MOST_SIDE)
    """Height and width of the pictures in pixels; multiples of 2 ** len(refinement_dims)."""
    embedding_dim: int = option(128, least=1, most=MOST_CHANNELS)
    """Channels of the embeddings of objects and predicates."""
    gconv_dim: int = option(128, least=1, most=MOST_CHANNELS)
    """Channels of the object vectors that leave the graph convolution."""
    gconv_hidden_dim: int = option(512, least=1, most=MOST_CHANNELS)
    """Channels of the hidden layers of the graph convolution and of the box head."""
    gconv_pooling: Literal["mean", "sum"] = "mean"
    """How an object's candidates are pooled."""
    gconv_num_layers: int = option(5, least=0, most=1000)
    """Layers of graph convolution; 0 puts a single linear layer in its place (no relations)."""
    mlp_normalization: Literal["none", "batch"] = "none"
    """Normalization after each linear layer of the graph convolution and the box head."""
    mask_size: int = option(16, least=0, most=1024)
    """Side of the predicted masks in mask pixels, a power of two; 0 fills whole boxes, in training
    too, whatever masks the data has."""
    mask_head: Literal["upsample", "transposed", "linear"] = "upsample"
    """How masks grow: nearest upsampling and convolution (release), transposed (paper), or from a
    linear layer with few channels (fast)."""
    box_flow_dim: int = option(0, least=0, most=MOST_CHANNELS)
    """Channels, a multiple of 4, of a network that draws boxes where predicted ones are a mean that
    seldom meets true ones; 0 for none (paper)."""
    mask_sharpness: float = option(1.0, least=1)
    """Factor of the logits of predicted masks when pictures are generated: sides that are soft as
    they are uncertain become sharp; 1 leaves them."""
    appearance_dim: int = option(0, least=0, most=MOST_CHANNELS)
    """Entries of a vector that says what an object looks like, encoded from pictures in training
    and drawn otherwise; 0 for none (paper)."""
    layout_dim: int = option(0, least=0, most=MOST_CHANNELS)
    """Channels of the layout that vectors are reduced to; 0: they enter as they are (paper)."""
    texture_dim: int = option(0, least=0, most=256)
    """Channels of a map that is painted from each object's vector, warped into its box like the
    mask, and joins the layout where the object can be seen; 0 for none (paper)."""
    texture_size: int = option(16, least=1, most=1024)
    """Side of these maps."""
    layout_coordinates: bool = False
    """Whether the layout says where in the box of its object each pixel lies; made for overlap
    front, as such places can not be added."""
    overlap: Literal["sum", "front"] = "sum"
    """What the layout has where objects overlap: their sum (paper), or the one in front alone,
    which is the one with the smaller box."""
    layout_noise_dim: int = option(32, least=0, most=MOST_CHANNELS)
    """Channels of normal noise that are appended to the layout; 0 for none."""
    refinement_dims: tuple[int, ...] = option(
        (1024, 512, 256, 128, 64), least=1, most=MOST_CHANNELS
    )
    """Channels of each module of the refinement network; each doubles the picture's sides."""
    normalization: Literal["batch", "instance", "none"] = "batch"
    """Normalization in the refinement network."""
    negative_slope: float = option(0.2, least=0)
    """Slope below zero of the refinement network's LeakyReLUs."""
    snap: float = option(0.0, least=0, below=0.5)
    """Sides of predicted boxes that are nearer to the picture's border on their own side than this,
    in units of the picture, are put on it when pictures are generated, unless they are drawn; 0
    for none."""
    generator: str = "crn"
    """Network that turns the layout into a picture: crn is the cascaded refinement network of the
    release, sharp_crn the same without frames at the border and with colours straight from the
    layout, spade is modulated by the layout at every scale; refinement_dims are its channels."""
    modulation_dim: int = option(128, least=1, most=MOST_CHANNELS)
    """Channels between layout and modulation in spade."""
    modulation_kernel: Literal[1, 3] = 3
    """Side of the convolutions that give the modulation in spade; 3 in its paper, 1 is faster."""

    def __post_init__(self) -> None:
        check_options(self)
        height, width = self.image_size
        self.image_size, self.refinement_dims = (height, width), tuple(self.refinement_dims)
        if not self.refinement_dims:
            raise Sg2ImError("refinement_dims must name at least one module's channels.")
        if self.mask_size & (self.mask_size - 1):
            raise Sg2ImError(
                f"mask_size must be a power of two or 0 for no masks, got {self.mask_size}."
            )
        if self.box_flow_dim % 4:
            raise Sg2ImError(f"box_flow_dim must be a multiple of 4, got {self.box_flow_dim}.")
        if self.mask_head == "linear" and 0 < self.mask_size < 4:
            raise Sg2ImError(
                f"mask_size is {self.mask_size}, but the linear mask_head gives masks of at least "
                "4 a side: choose such a size, 0 for no masks, or another mask_head."
            )
        if min(self.image_size) < 1:
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
