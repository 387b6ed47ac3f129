"""Compiles the parts of the networks that it pays to compile, with ``torch.compile``.

Numbers of pictures and sizes are the same at each step, numbers of objects and relationships are
not. Each part is compiled by itself, with what varies marked as such, so that nothing is compiled
anew when it does; the layout, whose shapes vary in more than one way, stays as it is.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Module

from sg2im_pyg.model import Sg2Im
from sg2im_pyg.training.internals import mark_varying
from sg2im_pyg.training.players import Players

CompileMode = Literal["default", "reduce-overhead"]


def compile_players(players: Players, mode: CompileMode, backend: str = "inductor") -> None:
    """Replaces parts of the networks by compiled ones; weights and their names stay.

    Args:
        players: The networks.
        mode: As for :func:`torch.compile`. With :obj:`"reduce-overhead"` the parts of fixed shapes
            are recorded as CUDA graphs, the others compiled as by default.
        backend: Compiler, as for :func:`torch.compile`.
    """
    generator = players.generator.bare
    assert isinstance(generator, Sg2Im)
    options: dict[str, Any] = {"backend": backend}
    fixed = dict(options) if backend != "inductor" else {**options, "mode": mode}
    for block in generator.refinement.blocks:
        finish: Any = block.finish
        block.finish = torch.compile(finish, **fixed)  # type: ignore[assignment]
    _compile(generator.refinement.output, fixed)
    if players.image_discriminator is not None:
        _compile(players.image_discriminator.bare.convs, fixed)
    # The number of objects comes first, in edge_index that of relationships second.
    _compile(generator.graph_network, options, 0, 1, 0)
    _compile(generator.box_head, options, 0)
    if generator.mask_head is not None:
        _compile(generator.mask_head, options, 0)
    if players.object_discriminator is not None:
        _compile(players.object_discriminator.bare.convs, options, 0)


def _compile(module: Any, options: dict[str, Any], *varying: int) -> None:
    assert isinstance(module, Module)
    compiled: Callable[..., Any] = torch.compile(module.forward, **options)

    def forward(*tensors: Tensor) -> Any:
        for tensor, dim in zip(tensors, varying, strict=False):
            if tensor.size(dim) > 1:  # none and one are always cases of their own
                mark_varying(tensor, dim)
        return compiled(*tensors)

    module.forward = forward if varying else compiled
