"""The paper's Tables 1 and 2 of an ablation: as Markdown, for a spreadsheet, and as bars."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sg2im_pyg.drawing.charts import Chart, render_row_charts
from sg2im_pyg.evaluation.ablation import flat
from sg2im_pyg.evaluation.registry import Group, metrics_of
from sg2im_pyg.evaluation.table import (
    ARROWS,
    WORDS,
    figure_of,
    format_figure,
    picture_titles,
    shown_metrics,
)
from sg2im_pyg.evaluation.text import markdown_table
from sg2im_pyg.system.files import replace_when_whole

Table = tuple[list[str], list[list[str]]]
"""Heads of the columns, and rows of cells."""


def table_1(result: Mapping[str, Any]) -> Table:
    """How good the pictures are (paper, Table 1, with more figures)."""
    return _table(result, "pictures")


def table_2(result: Mapping[str, Any]) -> Table:
    """How good the predicted layouts are (paper, Table 2, with more figures)."""
    return _table(result, "layout")


def _table(result: Mapping[str, Any], group: Group) -> Table:
    entries = _entries(result, group)
    metrics = sorted(shown_metrics(entries, group), key=lambda metric: not metric.in_paper)
    heads = [f"{metric.short} {ARROWS[metric.better]}" for metric in metrics]
    rows = [
        [entry["title"], *(format_figure(figure_of(entry, m), m.digits) for m in metrics)]
        for entry in entries
    ]
    return ["row", *heads], rows


def _entries(result: Mapping[str, Any], group: Group) -> list[Mapping[str, Any]]:
    """The rows that have figures of a group: true layouts are not predicted."""
    return [
        entry
        for entry in result["rows"]
        if group == "pictures" or (entry["layout"] and entry["layout_is"] == "predicted")
    ]


def format_markdown(result: Mapping[str, Any]) -> str:
    """Both tables, and under them what they were made with."""
    titled = {"Table 1: pictures": table_1, "Table 2: predicted layouts": table_2}
    tables = [f"**{title}**\n\n{markdown_table(*make(result))}" for title, make in titled.items()]
    return "\n\n".join([*tables, _footnote(result)]) + "\n"


def format_csv(result: Mapping[str, Any]) -> str:
    """All figures of all rows, one line a row, for a spreadsheet or pandas."""
    text = io.StringIO()
    rows = [flat(entry) for entry in result["rows"]]
    names = list(dict.fromkeys(name for row in rows for name in row if "notes" not in name))
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_tables(folder: Path, result: Mapping[str, Any]) -> list[Path]:
    """Writes both tables as Markdown, CSV and a plot.

    Returns:
        The paths.
    """
    markdown, table, plot = (folder / f"tables.{kind}" for kind in ("md", "csv", "png"))
    for path, text in ((markdown, format_markdown(result)), (table, format_csv(result))):
        with replace_when_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with replace_when_whole(plot) as temporary:
        plot_tables(result, temporary)
    return [markdown, table, plot]


def plot_tables(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Both tables as a picture (PNG): a bar a row for each metric that has a chart."""
    charts: dict[str, Chart] = {}
    true = (result.get("true_pictures") or {}).get("mean")  # of the Inception score
    for metric in metrics_of("pictures", "layout"):
        if metric.chart is None:
            continue
        title, name = metric.chart
        entries = _entries(result, metric.group)
        found = [figure_of(entry, metric) for entry in entries]
        deviations = [figure and figure.deviation for figure in found]
        _, titles, series, _, _ = charts.get(title, ("", [e["title"] for e in entries], {}, 0, 0))
        charts[title] = (
            f"{title}, {WORDS[metric.better]}",
            titles,
            {**series, name: [figure and figure.value for figure in found]},
            {name: deviations} if metric.deviation_over else None,
            (true, "true pictures") if metric.key == "inception_score" and true else None,
        )
    render_row_charts(path, list(charts.values()), _footnote(result))


def _footnote(result: Mapping[str, Any]) -> str:
    data, network = result["data"], result["network"]
    parts = [f"{data['pictures']:,} pictures of {data['source']} ({Path(data['file']).name})"]
    graphs = result["settings"]["graphs_per_picture"]
    if graphs > 1:
        parts.append(f"{graphs} graphs each")
    if result.get("steps"):
        parts.append(f"{result['steps']:,} training steps a row")
    real = result.get("true_pictures")
    if network is not None:
        parts.append(f"{picture_titles()} by {network['name']}")
        if real:
            parts.append(
                f"true pictures have an Inception score of {real['mean']:.2f} ± "
                f"{real['deviation']:.2f}"
            )
    return "; ".join(parts) + "."
