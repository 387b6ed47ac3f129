"""What a file from elsewhere may ask for: sizes, options and weights that can be made."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.model_config import MOST_CHANNELS, ModelConfig
from sg2im_pyg.nn.convolution_sizes import smallest_input

MOST_PIXELS = 4096
"""Longest side of pictures and crops that a file may ask for; more would take all memory."""
MOST_LAYERS = 32
"""Of a discriminator."""
MOST_SCALES = 8
"""Of a discriminator, likewise."""
_MOST_ENTRIES = 1000
"""Of a list among a network's options; more would be no option."""
MOST_SHOWN = 300
"""Characters of what a file holds, in a sentence about it."""


def weight_problem(value: Any, shape: torch.Size, name: str = "") -> str | None:
    """What keeps a value of a file from being the weight of a shape and a name, as the end of a
    sentence."""
    if type(value) not in (Tensor, Parameter):
        return "is no tensor"
    if value.shape != shape:
        return f"has the shape {tuple(value.shape)}, its options ask for {tuple(shape)}"
    if value.layout is not torch.strided or value.device.type != "cpu":
        return "is no ordinary tensor"
    if value.is_quantized or value.is_complex():
        return "does not hold real numbers"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "has fewer numbers than its shape says"
    value = value.float()  # what it becomes in a network: beyond float32 there is only infinity
    if not value.isfinite().all():
        return "holds numbers that are not finite"
    if name.endswith("running_var") and (value < 0).any():
        return "holds variances below zero"
    return None


def is_plain_option(value: Any) -> bool:
    """Whether a value of a file can be an option of a network: a number, a short text, or a list
    of such. Others could make a sentence that shows them endless."""
    if isinstance(value, (list, tuple)):
        flat: list[Any] = []
        for entry in value[:_MOST_ENTRIES]:
            flat += entry[:_MOST_ENTRIES] if isinstance(entry, (list, tuple)) else [entry]
            if len(flat) > _MOST_ENTRIES:  # the same list a thousand times takes few bytes
                return False
        return len(value) < _MOST_ENTRIES and all(map(_is_short, flat))
    return _is_short(value)


def is_plain_name(value: Any) -> bool:
    """Whether a value of a file can be shown as a name of a vocabulary, right or wrong; texts may
    be as long as they are when a vocabulary is written."""
    return isinstance(value, str) or is_plain_option(value)


def check_layers(layers: Any, path: str | os.PathLike[str]) -> tuple[tuple[int, int, int], ...]:
    """A discriminator's convolutions from a file.

    Raises:
        Sg2ImError: If they are no list of kernel, channels and stride in the usual sizes.
    """
    if (
        not isinstance(layers, (list, tuple))
        or not 1 <= len(layers) <= MOST_LAYERS
        or not all(isinstance(layer, (list, tuple)) and len(layer) == 3 for layer in layers)
        or not all(
            type(number) is int and 1 <= number <= MOST_CHANNELS
            for layer in layers
            for number in layer
        )
    ):
        raise Sg2ImError(
            f"A discriminator in {path} must have 1 to {MOST_LAYERS} convolutions with kernel, "
            f"channels and stride from 1 to {MOST_CHANNELS}, such as 'C4-64-2': use another file."
        )
    return tuple((kernel, channels, stride) for kernel, channels, stride in layers)


def check_counts(options: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Checks the other whole numbers among a discriminator's options from a file.

    Raises:
        Sg2ImError: If one is no whole number, or absurd.
    """
    for name, least, most in (
        ("scales", 1, MOST_SCALES),
        ("channels", 1, MOST_CHANNELS),
        ("num_labels", 0, MOST_CHANNELS),
    ):
        value = options.get(name, least)
        if type(value) is not int or not least <= value <= most:
            raise Sg2ImError(
                f"A discriminator in {path} has the {name} {shortened(repr(value))}, which is no "
                f"whole number from {least} to {most}: use another file."
            )


def check_object_size(
    size: Any, layers: tuple[tuple[int, int, int], ...], path: str | os.PathLike[str]
) -> int:
    """The side of an object discriminator's crops, from a file.

    Raises:
        Sg2ImError: If it is no whole number, too small for the convolutions, or absurd.
    """
    least = smallest_input(layers)
    if type(size) is not int or not least <= size <= MOST_PIXELS:
        raise Sg2ImError(
            f"The object discriminator in {path} must have an object_size from {least} to "
            f"{MOST_PIXELS} pixels: use another file."
        )
    return size


def check_extent(
    config: ModelConfig, weights: Mapping[str, Any], path: str | os.PathLike[str]
) -> None:
    """Checks that a file's model and its pictures can be made.

    Raises:
        Sg2ImError: If they are absurdly large.
    """
    if config.gconv_num_layers > len(weights):
        raise Sg2ImError(
            f"The checkpoint {path} asks for {config.gconv_num_layers} layers of graph "
            f"convolution and holds {len(weights)} weights: use another file."
        )
    if max(config.image_size) > MOST_PIXELS:
        raise Sg2ImError(
            f"The checkpoint {path} asks for pictures of more than {MOST_PIXELS} pixels a side: "
            "use another file."
        )


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MOST_ENTRIES
    return value is None or isinstance(value, (bool, int, float))
