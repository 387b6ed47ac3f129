"""The figures of eval/benchmark.py as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from sg2im_pyg.evaluation.table import aligned, format_number

BUSY = 0.15
"""Cores; with more than these at other work, times mean little."""

Case = Mapping[str, Any]
"""What ``benchmark.json`` holds of a case; see ``measure_case`` in eval/benchmarks/parts.py."""


def format_part(part: str, figures: Sequence[Case]) -> str:
    """The table of a part, whichever it is."""
    formats = {
        "levers": format_lever_table,
        "memory": format_memory_table,
        "processes": format_process_table,
    }
    return formats.get(part, format_case_table)(figures)


def format_case_table(cases: Sequence[Case]) -> str:
    """The cases of a part: one line a variant.

    ``times faster`` and the ratios of memory are relative to the case's baseline; ``above bare``
    leaves out what a process holds before its networks are built. ``% of peak`` is the share of
    the machine's convolution peak.
    """
    heads = [
        ("", "case"),
        ("seconds", "a run"),
        ("times", "faster"),
        ("pictures", "/ s"),
        ("", "GFLOP"),
        ("GFLOP", "/ s"),
        ("% of", "peak"),
        *MEMORY_HEADS,
    ]
    rows = []
    for case in cases:
        for name, figures in case["variants"].items():
            share = figures["share_of_peak"]
            rows.append(
                [
                    f"{case['case']}, {name}",
                    f"{figures['seconds']:.3g}",
                    format_number(figures["times_faster"], 2),
                    format_number(figures["pictures_per_second"], 1),
                    format_number(figures["gflop"], 1),
                    format_number(figures["gflop_per_second"], 1),
                    format_number(None if share is None else 100 * share, 0),
                    *memory_cells(figures),
                ]
            )
    return "\n".join([_table(heads, rows), *_remarks(cases)])


def format_lever_table(cases: Sequence[Case]) -> str:
    """The time and memory of ours without a lever or with an option, relative to all levers on."""
    heads = [
        ("", "variant"),
        ("seconds", "a run"),
        ("times the time", "of all on"),
        *MEMORY_HEADS,
    ]
    tables = []
    for case in cases:
        rows = [
            [
                name,
                f"{figures['seconds']:.3g}",
                format_number(figures["relative_time"], 2),
                *memory_cells(figures),
            ]
            for name, figures in case["variants"].items()
        ]
        tables.append(f"{case['case']}\n{_table(heads, rows)}")
    return "\n".join(["\n\n".join(tables), *_remarks(cases)])


MEMORY_HEADS = [("peak", "GiB"), ("peak", "ratio"), ("above bare", "ratio")]


def memory_cells(figures: Mapping[str, Any]) -> list[str]:
    """The most memory of the runs in GiB, its ratio to the baseline's, and that of what lies above
    the memory that the process held before its networks were built."""
    keys = ("peak_gib", "memory_ratio", "memory_ratio_above_bare")
    return [format_number(figures[key], 2) for key in keys]


def _remarks(cases: Sequence[Case]) -> list[str]:
    """How far the losses (or what else can be compared) of the variants' first runs lie apart,
    relatively; what could not be measured; and cases that other programs may have slowed down."""
    differences = [
        figures["values_differ_by"]
        for case in cases
        for figures in case["variants"].values()
        if figures["values_differ_by"] is not None
    ]
    lines = []
    if differences:
        lines.append(f"What the first runs give differs by {max(differences):.0e}")
    for case in cases:
        lines += [
            f"{case['case']}, {name}: not measured, {reason}"
            for name, reason in case["left_out"].items()
        ]
        others = max(figures["others_cores"] or 0 for figures in case["variants"].values())
        if others > BUSY:
            lines.append(
                f"{case['case']}: other programs used {others:.1f} cores meanwhile, which can slow "
                "it down many times: measure it again when they have ended"
            )
    return lines


def format_memory_table(runs: Sequence[Case]) -> str:
    """Memory over batches: at the first sample, after the first tenth, and at the end."""
    heads = [
        ("", "case"),
        ("", "batches"),
        ("GiB at", "the start"),
        ("GiB after", "a tenth"),
        ("GiB at", "the end"),
        ("GiB", "at most"),
    ]
    rows = []
    for run in runs:
        samples = run["samples"]
        tenth = samples[len(samples) // 10]
        held = [sample["now"] for sample in (samples[0], tenth, samples[-1])]
        rows.append(
            [run["case"], str(samples[-1]["batch"])]
            + [format_number(value, 3) for value in [*held, samples[-1]["peak"]]]
        )
    return _table(heads, rows)


def format_process_table(runs: Sequence[Case]) -> str:
    """Pictures a second by number of processes, which share the pictures of a step."""
    heads = [
        ("", "processes"),
        ("pictures", "each"),
        ("seconds", "a step"),
        ("pictures", "/ s"),
        ("", "efficiency"),
    ]
    rows = [
        [
            str(run["processes"]),
            str(run["pictures"] // run["processes"]),
            f"{run['seconds']:.3g}",
            format_number(run["pictures_per_second"], 1),
            format_number(run["efficiency"], 2),
        ]
        for run in runs
    ]
    return _table(heads, rows)


def _table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    columns = [[*head, *(row[i] for row in rows)] for i, head in enumerate(heads)]
    return "\n".join(aligned(columns, heads=2))
