"""What makes ours fast, and the switches of the library and of torch that do without it."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import LeakyReLU, Module, ReLU

from sg2im_pyg.nn import MaskHead, RefinementNetwork


def switch_off(option: str, *kinds: type[Module]) -> Callable[[Module], Any]:
    """What sets an option of all modules of some kinds within a network to False."""

    def switch(network: Module) -> None:
        for module in network.modules():
            if isinstance(module, kinds):
                setattr(module, option, False)

    return switch


LEVERS: dict[str, Callable[[Module], Any]] = {
    # The layout is multiplied out for the CRN, and features are doubled before they are convolved.
    "economical networks": switch_off("economical", RefinementNetwork, MaskHead),
    # Pictures lie channel by channel in memory.
    "channels-last": lambda network: network.to(memory_format=torch.contiguous_format),
    "in-place activations": switch_off("inplace", LeakyReLU, ReLU),
}
"""What is on, by name, and how a network is to do without it."""

FOLDING = "copy for generation"
"""The lever of generation alone: ``Sg2Im.for_generation()``."""
