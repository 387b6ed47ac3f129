"""What the training uses of torch and Fabric beyond their documented interfaces, all of it in one
place.

Checked with torch 2.13; ``tests/training/test_internals.py`` fails where a version changes
it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning_fabric.wrappers
import torch
from torch import Tensor
from torch.optim import Optimizer


@contextmanager
def changing_nothing_where(condition: Tensor, optimizer: Optimizer) -> Iterator[None]:
    """Within it a step of a fused optimizer changes nothing where a condition on the device holds.

    This is how a gradient scaler tells such an optimizer of an overflow. Anything else would make
    the host wait for the condition, or keep a copy of all weights.

    Args:
        condition: A single value of any type.
        optimizer: Made with ``fused=True``, and without Fabric's wrapper.
    """
    optimizer.found_inf = condition.float()  # type: ignore[attr-defined]
    yield
    del optimizer.found_inf  # type: ignore[attr-defined]


@contextmanager
def gradients_before_backward() -> Iterator[None]:
    """Within it :func:`torch.autograd.grad` may go through what a module set up by Fabric gave,
    which otherwise asks for ``fabric.backward`` in mixed precision. That would fill the gradients
    of all weights."""
    lightning_fabric.wrappers._in_fabric_backward = True
    try:
        yield
    finally:
        lightning_fabric.wrappers._in_fabric_backward = False


def mark_varying(tensor: Tensor, dim: int) -> None:
    """Says to :func:`torch.compile` that a size varies from call to call, so that it compiles once
    for all of them; without it a second size is compiled anew.

    Args:
        tensor: An input of a compiled function.
        dim: Dimension of the size, which must be two or more.
    """
    torch._dynamo.mark_dynamic(tensor, dim)
