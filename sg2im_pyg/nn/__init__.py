"""Layers; each can be used alone in another PyG project."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.nn.appearance import AppearanceBank as AppearanceBank
    from sg2im_pyg.nn.appearance import AppearanceEncoder as AppearanceEncoder
    from sg2im_pyg.nn.box_flow import BoxFlow as BoxFlow
    from sg2im_pyg.nn.discriminators import ObjectDiscriminator as ObjectDiscriminator
    from sg2im_pyg.nn.discriminators import PatchDiscriminator as PatchDiscriminator
    from sg2im_pyg.nn.heads import BoxHead as BoxHead
    from sg2im_pyg.nn.heads import MaskHead as MaskHead
    from sg2im_pyg.nn.layout import compose_layout as compose_layout
    from sg2im_pyg.nn.layout import crop_objects as crop_objects
    from sg2im_pyg.nn.refinement import RefinementNetwork as RefinementNetwork
    from sg2im_pyg.nn.spade import SpadeGenerator as SpadeGenerator
    from sg2im_pyg.nn.triple_conv import TripleConv as TripleConv
    from sg2im_pyg.nn.triple_conv import TripleConvNet as TripleConvNet

__all__, __getattr__, __dir__ = lazy_names(__name__)
