"""Tables of an evaluation's figures, for a terminal and as Markdown, and the sentences beside
them."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sg2im_pyg.evaluation.registry import Group, Metric, metrics_of
from sg2im_pyg.evaluation.text import (
    aligned,
    clean,
    file_name,
    format_count,
    format_number,
    listed,
    markdown_table,
    markdown_text,
    shorten,
)

NAME_WIDTH = 24
"""Characters of a system's name in a table; longer ones are shortened in the middle."""

ARROWS = {"higher": "↑", "lower": "↓", "near": "≈"}
WORDS = {"higher": "higher is better", "lower": "lower is better", "near": "near to true"}
"""Which values of a metric are better."""

_LINE = 100  # characters of a terminal's line
_DEVIATION_DIGITS = 2  # of a figure; for deviations with more a terminal has no room


class Value(NamedTuple):
    """A figure, and its deviation over splits or subsets where there are several."""

    value: float
    deviation: float | None = None


def figure_of(system: Mapping[str, Any], metric: Metric) -> Value | None:
    """A system's figure; :obj:`None` where it was not taken."""
    found, deviation = (system.get(metric.group) or {}).get(metric.key), None
    if isinstance(found, Mapping):
        if metric.deviation_over and found.get(metric.deviation_over, 2) > 1:
            deviation = found.get("deviation")
        found = found.get("mean")
    if found is None or not math.isfinite(found):
        return None
    return Value(found, deviation)


def shown_metrics(systems: Sequence[Mapping[str, Any]], *groups: Group) -> list[Metric]:
    """Metrics in the order of the columns, without optional ones that no system has.

    Args:
        systems: Rows of an evaluation.
        *groups: See :func:`~sg2im_pyg.evaluation.registry.metrics_of`.
    """
    return [
        metric
        for metric in metrics_of(*groups)
        if not metric.optional or any(figure_of(system, metric) for system in systems)
    ]


def format_figure(found: Value | None, digits: int, sign: str = "±", mark: str = "") -> str:
    """A figure and its deviation for a table; the mark stands around a value that is best."""
    cell = mark + format_number(found and found.value, digits) + mark
    if found and found.deviation is not None:
        cell += f" {sign} {format_number(found.deviation, digits)}"
    return cell


def best_systems(systems: Sequence[Mapping[str, Any]], metric: Metric) -> set[int]:
    """Positions of the systems with a column's best value, as it is shown.

    True pictures are a reference and take no part. There is none where fewer than two systems
    have the figure, or where the true pictures' value is needed and missing.
    """
    found = [(system["kind"] == "data", figure_of(system, metric)) for system in systems]
    values = {k: figure.value for k, (true, figure) in enumerate(found) if figure and not true}
    trues = [figure.value for true, figure in found if figure and true]
    if len(values) < 2 or (metric.better == "near" and not trues):
        return set()
    rank: dict[str, Callable[[float], float]] = {
        "higher": lambda value: -value,
        "lower": lambda value: value,
        "near": lambda value: abs(value - trues[-1]),
    }
    best = format_number(min(values.values(), key=rank[metric.better]), metric.digits)
    return {k for k, value in values.items() if format_number(value, metric.digits) == best}


def count_of(system: Mapping[str, Any]) -> str:
    """How many pictures of a system were scored, a dash where none were."""
    return format_count((system["pictures"] or {}).get("pictures"))


def notes_of(system: Mapping[str, Any]) -> list[str]:
    """All sentences on a system's figures."""
    return [*system["notes"], *(system["pictures"] or {}).get("notes", [])]


def by_frequency(rows: Sequence[Mapping[str, Any]], count: str) -> list[Mapping[str, Any]]:
    """Rows of categories or predicates, those with the highest count first."""
    return sorted(rows, key=lambda row: -row[count])


# Sentences that stand beside the figures -------------------------------------------------------


def picture_titles(systems: Sequence[Mapping[str, Any]] = ()) -> str:
    """The metrics that need a network, as a sentence has them; optional ones if a system has
    them."""
    return listed([metric.title for metric in shown_metrics(systems, "pictures")])


def network_sentence(result: Mapping[str, Any]) -> str:
    """Which network the scores of pictures were taken with."""
    network = result["network"]
    titles = picture_titles(result.get("systems", ()))
    if network is None:
        return f"{titles} were not taken: no network was chosen."
    details = [f"{network[kind]:,} {kind}" for kind in ("features", "classes") if network.get(kind)]
    return ", ".join([f"{titles} by {clean(network['name'])}", *details]) + "."


def data_sentence(result: Mapping[str, Any]) -> str:
    """What was evaluated on."""
    data = result["data"]
    size = " x ".join(str(side) for side in data["image_size"])
    return (
        f"{data['pictures']:,} pictures of {size} with {data['objects']:,} objects: "
        f"{clean(data['source'])}, {clean(file_name(data['file']))}"
    )


def layout_sentence(result: Mapping[str, Any]) -> str:
    """What checkpoints generated their pictures from; empty where there is no checkpoint."""
    if not any(system["kind"] == "checkpoint" for system in result["systems"]):
        return ""
    settings = result["settings"]
    graphs = settings.get("graphs_per_picture") or 1
    most = settings.get("max_objects")
    return (
        f"Checkpoints generate from {clean(settings.get('boxes', 'predicted'))} boxes and "
        f"{clean(settings.get('masks', 'predicted'))} masks, "
        + ("one graph" if graphs == 1 else f"{graphs} graphs")
        + " a picture of the split"
        + (f", with at most {most} objects (the picture's own node is one)" if most else "")
        + ("; the contrast of pictures is stretched." if settings.get("stretch") else ".")
    )


# Tables ----------------------------------------------------------------------------------------


def format_table(result: Mapping[str, Any]) -> str:
    """All figures, one row a system, for a terminal (ASCII but for names).

    It fits into 100 columns where names are short. Deviations of many digits are left out.

    Args:
        result: What an evaluation found; see :func:`~sg2im_pyg.evaluation.evaluate.evaluate`.
    """
    systems = result["systems"]
    names = _short_names([clean(system["name"]) for system in systems])
    columns = [["", "system", *names]]
    metrics = shown_metrics(systems)
    for metric in metrics:
        found = [figure_of(system, metric) for system in systems]
        if metric.digits > _DEVIATION_DIGITS:
            found = [value and Value(value.value) for value in found]
        cells = [format_figure(value, metric.digits, "+-") for value in found]
        columns.append([*metric.heads, *cells])
    columns.append(["pic-", "tures", *map(count_of, systems)])
    lines = [data_sentence(result), "", *aligned(columns, heads=2), ""]
    lower, near = (
        listed([metric.title for metric in metrics if metric.better == better])
        for better in ("lower", "near")
    )
    lines += textwrap.wrap(
        f"Higher is better, but for {lower}; {near}: near to those of the true pictures.", _LINE
    )
    lines.append(network_sentence(result))
    if sentence := layout_sentence(result):
        lines.append(sentence)
    return "\n".join(lines)


def format_categories(system: Mapping[str, Any], limit: int | None = None) -> str:
    """A system's figures by category, the most frequent first, for a terminal.

    Args:
        system: A row of an evaluation's ``systems``.
        limit: Most categories shown; :obj:`None`: all.

    Returns:
        Lines of text; for a system without layouts one line that says so.
    """
    name = clean(system["name"])
    if not system["categories"]:
        return f"{name}: no figures by category, as it predicts no layouts."
    rows = by_frequency(system["categories"], "objects")
    shown = rows if limit is None else rows[:limit]
    columns = [["", "category", *(shorten(clean(row["name"]), NAME_WIDTH) for row in shown)]]
    columns.append(["", "objects", *(format_count(row["objects"]) for row in shown)])
    for metric in metrics_of("layout"):
        if metric.by_category:
            cells = [format_number(row.get(metric.key), metric.digits) for row in shown]
            columns.append([*metric.heads, *cells])
    lines = [f"{name} by category", "", *aligned(columns, heads=2)]
    if len(shown) < len(rows):
        rest = len(rows) - len(shown)
        lines.append(f"and {rest:,} less frequent {'category' if rest == 1 else 'categories'}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """All figures as a Markdown table, best values bold, with what they were taken with below."""
    systems = result["systems"]
    metrics = shown_metrics(systems)
    heads = ["system", *(f"{m.title} {ARROWS[m.better]}" for m in metrics), "Pictures"]
    best = {metric.key: best_systems(systems, metric) for metric in metrics}
    rows = []
    for position, system in enumerate(systems):
        cells = [markdown_text(system["name"])]
        for metric in metrics:
            mark = "**" if position in best[metric.key] else ""
            cells.append(format_figure(figure_of(system, metric), metric.digits, mark=mark))
        rows.append([*cells, count_of(system)])
    sentences = [f"{data_sentence(result)}.", network_sentence(result), layout_sentence(result)]
    told = " ".join(markdown_text(sentence) for sentence in sentences if sentence)
    return f"{markdown_table(heads, rows)}\n\n{told}\n"


def _short_names(names: Sequence[str]) -> list[str]:
    """Names shortened as far as they stay different."""
    for width in range(NAME_WIDTH, max(map(len, names), default=0)):
        short = [shorten(name, width) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)
