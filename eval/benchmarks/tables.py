"""The figures of eval/benchmark.py as a table for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from sg2im_pyg.evaluation.text import aligned, format_number

Case = Mapping[str, Any]
"""What ``benchmark.json`` holds of a case; see ``measure_case`` in parts.py."""


def format_table(part: str, cases: Sequence[Case]) -> str:
    """One line a variant; what a part does not measure is a dash.

    Times and differences are relative to the case's baseline: how many times faster a variant is,
    and how far its losses (or what else can be compared) of the first run lie from the baseline's.
    """
    columns = [
        ["", part],
        ["seconds", "a run"],
        ["times", "faster"],
        ["pictures", "/ s"],
        ["", "GFLOP"],
        ["GFLOP", "/ s"],
        ["peak", "GiB"],
        ["bare", "GiB"],
        ["values", "differ"],
    ]
    for case in cases:
        base = case["variants"][case["baseline"]]
        for name, figures in case["variants"].items():
            seconds, gflop = figures.get("seconds"), figures.get("gflop")
            differ = figures.get("values_differ_by")
            cells = [
                f"{case['case']}, {name}",
                "-" if seconds is None else f"{seconds:.3g}",
                format_number(seconds and base["seconds"] / seconds, 2),
                format_number(figures.get("pictures_per_second"), 1),
                format_number(gflop, 1),
                format_number(gflop and gflop / seconds, 1),
                format_number(figures.get("peak_gib"), 2),
                format_number(figures.get("bare_gib"), 2),
                "-" if differ is None else f"{differ:.0e}",
            ]
            for column, cell in zip(columns, cells, strict=True):
                column.append(cell)
    return "\n".join(aligned(columns, heads=2))
