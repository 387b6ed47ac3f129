"""Random bits that follow from a key and a position alone.

Transforms draw from them, so that a graph gets the same draws alone, in any batch, in any worker
process and on any device. The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014): its number ``i`` is its finaliser applied to
``key + (i + 1) * gamma``, in arithmetic modulo 2^64, so each number can be had without the ones
before it. Numbers are int64, of which all 64 bits are used.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Numbers = TypeVar("Numbers", np.ndarray, Tensor)


def _signed(number: int) -> int:
    """The int64 with the same 64 bits."""
    return (number + 2**63) % 2**64 - 2**63


_GAMMA = _signed(0x9E3779B97F4A7C15)
_FIRST_FACTOR = _signed(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = _signed(0x94D049BB133111EB)
_NEXT = _signed(_GAMMA << 32)  # 2^32 numbers further on: more than a graph has objects


def mix(numbers: Numbers) -> Numbers:
    """SplitMix64's finaliser, a bijection of int64 in which each bit depends on all bits."""
    # int64 shifts to the right repeat the sign; the masks make the bits that come in zeros.
    numbers = (numbers ^ ((numbers >> 30) & (2**34 - 1))) * _FIRST_FACTOR
    numbers = (numbers ^ ((numbers >> 27) & (2**37 - 1))) * _SECOND_FACTOR
    return numbers ^ ((numbers >> 31) & (2**33 - 1))


def random_bits(keys: Tensor, positions: Tensor) -> Tensor:
    """64 random bits for each pair of a key and a position.

    Args:
        keys: Shape :math:`(O,)`, int64.
        positions: From 0 to :math:`2^{32} - 1`, shape :math:`(O,)`, int64.

    Returns:
        Shape :math:`(O,)`, int64.
    """
    return mix(keys + (positions + 1) * _GAMMA)


def random_below(bits: Tensor, limits: Tensor) -> Tensor:
    """Numbers from 0 to below limits, of the upper 32 bits; the lower ones stay for other use.

    Args:
        bits: Random bits, shape :math:`(O,)`, int64.
        limits: From 1 to :math:`2^{31}`, shape :math:`(O,)`, int64.

    Returns:
        Shape :math:`(O,)`, int64; uneven by no more than one in :math:`2^{32} / limit`.
    """
    # Lemire, "Fast random integer generation in an interval", 2019, without the rejection.
    return (((bits >> 32) & (2**32 - 1)) * limits) >> 32


def next_keys(keys: Tensor) -> Tensor:
    """Keys for the next transform: their bits are others than those of the keys given."""
    return keys + _NEXT


def global_keys(count: int, device: torch.device) -> Tensor:
    """Keys from torch's global generator, shape :math:`(count,)`, int64."""
    return torch.empty(count, dtype=torch.int64, device="cpu").random_().to(device)


def draw_keys(
    seed: int, epochs: int | Sequence[int] | np.ndarray, indices: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Keys of items in epochs of a run.

    Args:
        seed: Seed of the run, any integer (modulo :math:`2^{64}`).
        epochs: Epoch of each item, or of all.
        indices: Number of each item, shape :math:`(N,)`.

    Returns:
        Shape :math:`(N,)`, int64.
    """
    keys = np.full(len(indices), _signed(seed))
    for numbers in (0, epochs, indices):
        keys = mix(keys) + (np.atleast_1d(np.asarray(numbers, np.int64)) + 1) * _GAMMA
    return mix(keys)
