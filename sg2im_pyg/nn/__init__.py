"""Layers; each can be used alone in another PyG project."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.nn.discriminators import ObjectDiscriminator, PatchDiscriminator
    from sg2im_pyg.nn.heads import BoxHead, MaskHead
    from sg2im_pyg.nn.layout import compose_layout, crop_objects
    from sg2im_pyg.nn.refinement import RefinementNetwork
    from sg2im_pyg.nn.triple_conv import TripleConv, TripleConvNet

__all__ = [
    "BoxHead",
    "MaskHead",
    "ObjectDiscriminator",
    "PatchDiscriminator",
    "RefinementNetwork",
    "TripleConv",
    "TripleConvNet",
    "compose_layout",
    "crop_objects",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "discriminators": ("ObjectDiscriminator", "PatchDiscriminator"),
        "heads": ("BoxHead", "MaskHead"),
        "layout": ("compose_layout", "crop_objects"),
        "refinement": ("RefinementNetwork",),
        "triple_conv": ("TripleConv", "TripleConvNet"),
    },
)
