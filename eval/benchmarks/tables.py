"""The figures of eval/benchmark.py as a table for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from sg2im_pyg.evaluation.text import aligned

Case = Mapping[str, Any]
"""What ``benchmark.json`` holds of a case; see ``measure_case`` in parts.py."""

COLUMNS = {
    "seconds": ("seconds", "a run", ".3g"),
    "times": ("times", "faster", ".2f"),
    "pictures_per_second": ("pictures", "/ s", ".1f"),
    "gflop": ("", "GFLOP", ".1f"),
    "gflop_per_second": ("GFLOP", "/ s", ".1f"),
    "peak_gib": ("peak", "GiB", ".2f"),
    "bare_gib": ("bare", "GiB", ".2f"),
    "values_differ_by": ("values", "differ", ".0e"),
}
"""What is shown of a variant: two lines of a head, and the format of a number."""


def format_table(part: str, cases: Sequence[Case]) -> str:
    """One line a variant; what a part does not measure is a dash.

    Times and differences are relative to the case's baseline: how many times faster a variant is,
    and how far its losses (or what else can be compared) of the first run lie from the baseline's.
    """
    rows = [["", *(head for head, _, _ in COLUMNS.values())]]
    rows.append([part, *(head for _, head, _ in COLUMNS.values())])
    for case in cases:
        base = case["variants"][case["baseline"]]
        for name, figures in case["variants"].items():
            found = dict(figures)
            if seconds := figures.get("seconds"):
                found["times"] = base["seconds"] / seconds
                found["gflop_per_second"] = figures["gflop"] and figures["gflop"] / seconds
            numbers = [(found.get(key), form) for key, (_, _, form) in COLUMNS.items()]
            cells = ("-" if number is None else f"{number:{form}}" for number, form in numbers)
            rows.append([f"{case['case']}, {name}", *cells])
    return "\n".join(aligned([*zip(*rows, strict=True)], heads=2))
