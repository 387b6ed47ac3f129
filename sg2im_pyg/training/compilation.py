"""Compiles the parts of the networks that it pays to compile, with ``torch.compile``.

Each network says which these are (:meth:`parts_to_compile`). Numbers of pictures and sizes are the
same at each step, numbers of objects and relationships are not. Each part is compiled by itself,
with what varies marked as such, so that nothing is compiled anew when it does; the layout, whose
shapes vary in more than one way, stays as it is.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from sg2im_pyg.nn.compiled_part import CompiledPart
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
    for _, player in players.named():
        network: Any = player.bare
        for part in network.parts_to_compile():
            _compile(part, backend, mode)


def _compile(part: CompiledPart, backend: str, mode: CompileMode) -> None:
    options: dict[str, Any] = {"backend": backend}
    if backend == "inductor" and not part.varying:
        options["mode"] = mode
    compiled: Callable[..., Any] = torch.compile(getattr(part.module, part.method), **options)

    def call(*tensors: Tensor) -> Any:
        for tensor, dim in zip(tensors, part.varying, strict=False):
            if tensor.size(dim) > 1:  # none and one are always cases of their own
                mark_varying(tensor, dim)
        return compiled(*tensors)

    setattr(part.module, part.method, call if part.varying else compiled)
