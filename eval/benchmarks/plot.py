"""The figures of eval/benchmark.py as one picture."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_OURS, _SLOWER, _INK, _FAINT = "#3b6ea5", "#d98c3f", "#22272e", "#d7dce2"


def draw_benchmark(path: str | os.PathLike[str], result: Mapping[str, Any]) -> None:
    """Writes a picture: time relative to the baseline for each case, and memory over batches where
    that was measured.

    Args:
        path: File to write, PNG whatever its ending.
        result: What ``benchmark.json`` holds.
    """
    parts = result["parts"]
    bars = [
        (f"{part}: {case['case']}, {name}", case["baseline"], figures)
        for part, cases in parts.items()
        if part not in ("memory", "processes")
        for case in cases
        for name, figures in case["variants"].items()
        if name != case["baseline"] or len(case["variants"]) == 1
    ]
    memory = parts.get("memory", [])
    heights = [0.34 * len(bars) + 1.1] if bars else []
    heights += [3.2] if memory else []
    if not heights:
        heights = [1.0]
    figure = Figure(figsize=(11, sum(heights) + 0.4), layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    if bars:
        _draw_bars(figure.add_subplot(grid[0]), bars)
    if memory:
        _draw_memory(figure.add_subplot(grid[len(heights) - 1]), memory)
    machine = result["machine"]
    footnote = f"{machine['cpu']}, {machine['usable_cores']} cores; {result['device']}; "
    footnote += f"torch {result['versions']['torch']}, {result['precision']}"
    figure.supxlabel(footnote, x=0.01, ha="left", fontsize=9, color=_INK)
    figure.savefig(path, dpi=120, format="png", facecolor="white")


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
    axes.set_title("Time relative to the baseline (dashed line), less is better", loc="left")
    for place, (_, baseline, figures) in enumerate(bars):
        width = figures["relative_time"]
        axes.barh(place, width, height=0.7, color=_OURS if width <= 1 else _SLOWER)
        label = f" {width:.2f}  ({figures['times_faster']:.2f} x as fast as {baseline})"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.text(width, place, label, va="center", fontsize=8.5, color=_INK, bbox=box)
    most = max(figures["relative_time"] for *_, figures in bars)
    axes.axvline(1, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars], fontsize=9)
    axes.set_ylim(len(bars) - 0.4, -0.6)  # the first case on top
    axes.set_xlim(0, max(most, 1) * 1.6)
    _plain(axes, "x")


def _draw_memory(axes: Axes, runs: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Memory held over batches of varying numbers of objects", loc="left")
    most = 0.0
    for run, colour in zip(runs, (_OURS, _SLOWER, _INK), strict=False):
        batches = [sample["batch"] for sample in run["samples"]]
        for kind, style in (("now", "-"), ("peak", ":")):
            values = [math.nan if s[kind] is None else s[kind] for s in run["samples"]]
            label = run["case"] if kind == "now" else f"{run['case']}, most so far"
            axes.plot(batches, values, style, color=colour, label=label, linewidth=1.4)
            most = max([most, *(value for value in values if math.isfinite(value))])
    axes.set_ylim(0, 1.25 * most or 1)
    axes.set_xlabel("batches")
    axes.set_ylabel("GiB")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    _plain(axes, "y")


def _plain(axes: Axes, along: str) -> None:
    axes.tick_params(length=0, colors=_INK)
    axes.grid(axis="x" if along == "x" else "y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
