"""What makes ours fast, and the switches of the library and of torch that do without it."""

import torch
from torch.nn import LeakyReLU, Module, ReLU

from sg2im_pyg.nn import MaskHead, RefinementNetwork


def compute_plainly(network: Module) -> None:
    """The layout is multiplied out for the CRN, and features are doubled before they are
    convolved."""
    for module in network.modules():
        if isinstance(module, RefinementNetwork | MaskHead):
            module.economical = False


def lay_out_plainly(network: Module) -> None:
    """Pictures lie channel by channel in memory."""
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def keep_what_activations_overwrite(network: Module) -> None:
    for module in network.modules():
        if isinstance(module, LeakyReLU | ReLU):
            module.inplace = False


LEVERS = {
    "economical networks": compute_plainly,
    "channels-last": lay_out_plainly,
    "in-place activations": keep_what_activations_overwrite,
}
"""What is on, by name, and how a network is to do without it."""

FOLDING = "copy for generation"
"""The lever of generation alone: ``Sg2Im.for_generation()``."""
