"""Bar charts of tables: a row of the table is a horizontal bar."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

Values = Sequence[float | None]

Spread = Sequence[float | tuple[float, float] | None]
"""How far each value may lie to either side, or to the left and to the right."""

Chart = tuple[
    str,
    Sequence[str],
    Mapping[str, Values],
    Mapping[str, Spread] | None,
    tuple[float, str] | None,
]
"""Title; names of the rows; a series of values by its name; the spread of each series, or none; and
a value to compare with and its name, or none."""

_COLOURS = ("#3b6ea5", "#9dbfdf", "#d98c3f", "#6a9a5b", "#8a6fae", "#b0a48a")
_PLAIN: dict[str, Any] = {"parse_math": False}  # names may have any characters
_INK, _FAINT = "#22272e", "#d7dce2"


def render_row_charts(path: str | os.PathLike[str], charts: Sequence[Chart], footnote: str) -> None:
    """Writes charts, two beside each other, as one picture.

    Args:
        path: File to write, PNG whatever its ending.
        charts: See :data:`Chart`; values that are missing leave their bar out.
        footnote: Text under the charts.
    """
    lines = (len(charts) + 1) // 2
    most = [max(len(chart[1]) for chart in charts[2 * k : 2 * k + 2]) for k in range(lines)]
    heights = [0.7 + 0.42 * count for count in most]
    engine = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, hspace=0.05, wspace=0.04)
    figure = Figure(figsize=(13, sum(heights) + 0.8), layout=engine)
    grid = figure.add_gridspec(lines, 2, height_ratios=heights)
    for number, chart in enumerate(charts):
        _render_chart(figure.add_subplot(grid[number // 2, number % 2]), chart)
    lines_below = "\n".join(textwrap.wrap(footnote, 180))
    figure.supxlabel(lines_below, x=0.015, ha="left", fontsize=9, color=_INK, **_PLAIN)
    figure.savefig(path, dpi=120, format="png", facecolor="white")


def _render_chart(axes: Axes, chart: Chart) -> None:
    title, names, series, spread, reference = chart
    axes.set_title(title, loc="left", fontsize=11, color=_INK, **_PLAIN)
    thickness = 0.72 / len(series)
    errors = {name: _sides((spread or {}).get(name), len(names)) for name in series}
    ends = [
        value + end
        for name, row in series.items()
        for value, end in zip(row, errors[name][1], strict=True)
        if value is not None
    ]
    right = max([*ends, *([reference[0]] if reference else []), 0])
    number_format = "{:.2f}" if right >= 2 else "{:.3f}"
    handles = []
    for number, (name, row) in enumerate(series.items()):
        bars = axes.barh(
            [k + (number - (len(series) - 1) / 2) * thickness for k in range(len(names))],
            [max(value or 0, 0) for value in row],
            height=0.88 * thickness,
            color=_COLOURS[number % len(_COLOURS)],
            xerr=errors[name] if spread else None,
            ecolor=_INK,
        )
        handles.append(bars)
        words = ["–" if value is None else number_format.format(value) for value in row]
        axes.bar_label(bars, words, padding=4, fontsize=8.5, color=_INK)
    if reference is not None:
        axes.axvline(reference[0], color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        style: dict[str, Any] = {"fontsize": 8.5, "color": _INK, "ha": "right", "va": "bottom"}
        axes.text(reference[0], len(names) - 0.42, f"{reference[1]} ", **style, **_PLAIN)
    wrapped = ["\n".join(textwrap.wrap(name, 24)) for name in names]
    axes.set_yticks(range(len(names)), wrapped, fontsize=9.5, color=_INK, **_PLAIN)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first row on top
    axes.set_xlim(0, (right or 1) * 1.13)
    axes.tick_params(axis="both", length=0, colors=_INK, labelsize=9)
    axes.grid(axis="x", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    if len(series) > 1:
        corner: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 0.985)}
        legend = axes.legend(handles, list(series), frameon=False, fontsize=9, ncols=3, **corner)
        for text in legend.get_texts():
            text.set(**_PLAIN)


def _sides(spread: Spread | None, count: int) -> tuple[list[float], list[float]]:
    """How far bars may lie to the left, and to the right; not at all where that is not known."""
    pairs = [
        value if isinstance(value, tuple) else (value or 0, value or 0)
        for value in spread or [None] * count
    ]
    return [left for left, _ in pairs], [right for _, right in pairs]
