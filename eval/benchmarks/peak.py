"""The most convolutions that the machine does in a second: what the works are a share of."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.measuring import Work, started

CONVOLUTIONS = [
    (channels, side, pictures, in_channels_last)
    for pictures in (4, 32)
    for channels, side in ((128, 64), (256, 32), (512, 16))
    for in_channels_last in (False, True)
]
"""Channels in and out, side in pixels, pictures, memory format; kernels are 3 x 3. With the
same number of pictures all have the same number of operations."""


def convolve(accelerator: str, precision: str) -> Work:
    """The convolution of a number of :data:`CONVOLUTIONS`, forward, for the machine's peak."""
    device = torch.device(accelerator)
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        channels, side, pictures, in_channels_last = CONVOLUTIONS[number]
        layout = torch.channels_last if in_channels_last else torch.contiguous_format
        images = torch.randn(pictures, channels, side, side, device=device, dtype=dtype)
        images = images.to(memory_format=layout)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
        weight = weight.to(memory_format=layout)

        def step() -> dict[str, Any]:
            with torch.no_grad():
                F.conv2d(images, weight, padding=1)
            return {}

        return step

    return Work(device, prepare)


def measure_convolutions(
    accelerator: str, precision: str, repeats: int, most_seconds: float = 1.0
) -> list[dict[str, Any]]:
    """GFLOP/s of each of :data:`CONVOLUTIONS` that does not take too long.

    Args:
        accelerator: ``cpu`` or ``cuda``.
        precision: As the training's.
        repeats: Runs of each, of which the median counts.
        most_seconds: Those that would take longer are left out.
    """
    measured: list[dict[str, Any]] = []
    longest = 0.0  # seconds a picture
    with started({"convolutions": partial(convolve, accelerator, precision)}) as workers:
        worker = workers["convolutions"]
        for number, (channels, side, pictures, in_channels_last) in enumerate(CONVOLUTIONS):
            if measured and pictures * longest > most_seconds:
                continue
            worker.ask("step", number)
            seconds = [worker.ask("step", number).seconds for _ in range(repeats)]
            median = statistics.median_low(seconds)
            flops = 2 * 9 * channels**2 * side**2 * pictures
            measured.append(
                {
                    "channels": channels,
                    "side": side,
                    "pictures": pictures,
                    "memory_format": "channels_last" if in_channels_last else "contiguous",
                    "repeats": seconds,
                    "gflops": flops / median / 1e9,
                }
            )
            longest = max(longest, median / pictures)
    return measured
