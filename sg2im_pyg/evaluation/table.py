"""Tables of an evaluation's figures, for a terminal and as Markdown."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Literal, NamedTuple

NAME_WIDTH = 24
"""Characters of a system's name in a table; longer ones are shortened in the middle."""


@dataclass(frozen=True)
class Figure:
    """A figure that systems are compared by: a column of the tables.

    Args:
        part: Entry of a system that holds it.
        key: Its name there.
        title: Its name where there is room.
        heads: Two lines that stand above its column on a terminal.
        better: Which values are better; ``"near"``: those near to the true pictures'.
        digits: Digits after the point.
    """

    part: Literal["layout", "pictures"]
    key: str
    title: str
    heads: tuple[str, str]
    better: Literal["higher", "lower", "near"] = "higher"
    digits: int = 3


FIGURES = (
    Figure("layout", "box_recall_0.3", "Box recall at IoU 0.3", ("", "R@0.3")),
    Figure("layout", "box_recall_0.5", "Box recall at IoU 0.5", ("", "R@0.5")),
    Figure("layout", "mean_iou", "Mean IoU", ("mean", "IoU")),
    Figure("layout", "sigma_x", "Sigma x", ("sigma", "x"), "near"),
    Figure("layout", "sigma_area", "Sigma area", ("sigma", "area"), "near"),
    Figure("layout", "relation_accuracy", "Relation accuracy", ("rela-", "tions")),
    Figure("layout", "mask_iou", "Mask IoU", ("mask", "IoU")),
    Figure("pictures", "inception_score", "Inception score", ("Inception", "score"), "higher", 2),
    Figure("pictures", "fid", "FID", ("", "FID"), "lower", 2),
    Figure("pictures", "kid", "KID", ("", "KID"), "lower", 4),
)
"""In the order of the columns."""

CATEGORY_FIGURES = tuple(
    figure
    for figure in FIGURES
    if figure.part == "layout" and not figure.key.startswith("relation")
)
"""Those that there are for each category too."""

ARROWS = {"higher": "↑", "lower": "↓", "near": "≈"}


class Value(NamedTuple):
    """A figure, and its deviation over splits or subsets where there are several."""

    value: float
    deviation: float | None = None


def figure_of(system: Mapping[str, Any], figure: Figure) -> Value | None:
    """A system's figure; :obj:`None` where it was not taken."""
    found, deviation = (system.get(figure.part) or {}).get(figure.key), None
    if isinstance(found, Mapping):
        if found.get("splits", found.get("subsets", 1)) > 1:
            deviation = found.get("deviation")
        found = found.get("mean")
    if found is None or not math.isfinite(found):
        return None
    return Value(found, deviation)


def format_number(value: float | None, digits: int = 3) -> str:
    """A number for a table, a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def format_count(count: int | None) -> str:
    """A count with commas, a dash where there is none."""
    return "-" if count is None else f"{count:,}"


def best_systems(systems: Sequence[Mapping[str, Any]], figure: Figure) -> set[int]:
    """Positions of the systems with a column's best value, as it is shown.

    True pictures are a reference and take no part. There is none where fewer than two systems
    have the figure, or where the true pictures' value is needed and missing.
    """
    values: dict[int, float] = {}
    true: float | None = None
    for position, system in enumerate(systems):
        found = figure_of(system, figure)
        if found is None:
            continue
        if system["kind"] == "data":
            true = found.value
        else:
            values[position] = found.value
    if len(values) < 2 or (figure.better == "near" and true is None):
        return set()
    if figure.better == "near":
        assert true is not None
        ranks = {position: abs(value - true) for position, value in values.items()}
    else:
        sign = -1 if figure.better == "higher" else 1
        ranks = {position: sign * value for position, value in values.items()}
    best = min(ranks, key=ranks.__getitem__)
    shown = format_number(values[best], figure.digits)
    return {
        position for position in values if format_number(values[position], figure.digits) == shown
    }


def clean(text: Any) -> str:
    """A value or a name from elsewhere on one line: without control characters, which a terminal
    would obey, and without characters that can not be encoded."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in str(text)).strip()


def shorten(text: str, width: int) -> str:
    """A name cut in its middle where it is longer than so many characters.

    Examples:
        >>> shorten("landscapes-20261123-120000/best", 20)
        'landscape...000/best'
    """
    if len(text) <= width or width < 5:
        return text
    tail = (width - 3) // 2
    return text[: width - 3 - tail] + "..." + text[-tail:]


def file_name(path: str) -> str:
    """The last part of a path of any system; a result may come from another one."""
    return (PureWindowsPath(path) if "\\" in path else PurePosixPath(path)).name or path


# Sentences that stand beside the figures -------------------------------------------------------


def network_sentence(result: Mapping[str, Any]) -> str:
    """Which network the scores of pictures were taken with."""
    network = result["network"]
    if network is None:
        return "Inception score, FID and KID were not taken: no network was chosen."
    details = []
    if network.get("features"):
        details.append(f"{network['features']:,} features")
    if network.get("classes"):
        details.append(f"{network['classes']:,} classes")
    return ", ".join([f"Inception score, FID and KID by {clean(network['name'])}", *details]) + "."


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
    return (
        f"Checkpoints generate from {clean(settings.get('boxes', 'predicted'))} boxes and "
        f"{clean(settings.get('masks', 'predicted'))} masks, "
        + ("one graph" if graphs == 1 else f"{graphs} graphs")
        + " a picture of the split."
    )


# Tables ----------------------------------------------------------------------------------------


def format_table(result: Mapping[str, Any]) -> str:
    """All figures, one row a system, for a terminal (ASCII but for names).

    It fits into 100 columns where names are short. Deviations of KID are left out.

    Args:
        result: What an evaluation found; see :func:`~sg2im_pyg.evaluation.evaluate.evaluate`.
    """
    systems = result["systems"]
    names = _short_names([clean(system["name"]) for system in systems])
    columns = [["", "system", *names]]
    for figure in FIGURES:
        cells = [_terminal_cell(figure_of(system, figure), figure) for system in systems]
        columns.append([*figure.heads, *cells])
    counts = [format_count((system["pictures"] or {}).get("pictures")) for system in systems]
    columns.append(["pic-", "tures", *counts])
    lines = [data_sentence(result), "", *aligned(columns, heads=2), ""]
    lines.append("Higher is better, but for FID and KID; sigma: near to that of the true pictures.")
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
    for figure in CATEGORY_FIGURES:
        cells = [format_number(row.get(figure.key), figure.digits) for row in shown]
        columns.append([*figure.heads, *cells])
    lines = [f"{name} by category", "", *aligned(columns, heads=2)]
    if len(shown) < len(rows):
        rest = len(rows) - len(shown)
        lines.append(f"and {rest:,} less frequent {'category' if rest == 1 else 'categories'}")
    return "\n".join(lines)


def format_markdown(result: Mapping[str, Any]) -> str:
    """All figures as a Markdown table, best values bold, with what they were taken with below."""
    systems = result["systems"]
    heads = ["system", *(f"{f.title} {ARROWS[f.better]}" for f in FIGURES), "Pictures"]
    best = {figure: best_systems(systems, figure) for figure in FIGURES}
    lines = [_markdown_line(heads), _markdown_line(["---"] + ["---:"] * (len(heads) - 1))]
    for position, system in enumerate(systems):
        cells = [markdown_text(system["name"])]
        for figure in FIGURES:
            found = figure_of(system, figure)
            cell = format_number(found and found.value, figure.digits)
            if position in best[figure]:
                cell = f"**{cell}**"
            if found and found.deviation is not None:
                cell += f" ± {format_number(found.deviation, figure.digits)}"
            cells.append(cell)
        cells.append(format_count((system["pictures"] or {}).get("pictures")))
        lines.append(_markdown_line(cells))
    sentences = [f"{data_sentence(result)}.", network_sentence(result), layout_sentence(result)]
    return "\n".join([*lines, "", " ".join(markdown_text(s) for s in sentences if s)]) + "\n"


def by_frequency(rows: Sequence[Mapping[str, Any]], count: str) -> list[Mapping[str, Any]]:
    """Rows of categories or predicates, those with the highest count first."""
    return sorted(rows, key=lambda row: -row[count])


def _terminal_cell(found: Value | None, figure: Figure) -> str:
    if found is None:
        return "-"
    cell = format_number(found.value, figure.digits)
    if found.deviation is not None and figure.key != "kid":
        cell += f" +- {format_number(found.deviation, figure.digits)}"
    return cell


def _short_names(names: Sequence[str]) -> list[str]:
    """Names shortened as far as they stay different."""
    for width in range(NAME_WIDTH, max(map(len, names), default=0)):
        short = [shorten(name, width) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)


def aligned(columns: Sequence[Sequence[str]], heads: int) -> list[str]:
    """Lines of a table: the first column on the left, numbers on the right, a rule under the
    heads."""
    widths = [max(map(_cells, column), default=0) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        first, *others = (
            (cell, " " * (width - _cells(cell))) for cell, width in zip(row, widths, strict=True)
        )
        lines.append(
            "  ".join(["".join(first), *(space + cell for cell, space in others)]).rstrip()
        )
    lines.insert(heads, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return lines


def _cells(text: str) -> int:
    """Cells of a terminal that a text takes: two for a wide character of East Asia."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown_text(text: Any) -> str:
    """A name without anything that Markdown, or HTML within it, would take for a sign of its
    own."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#~!&$" else c for c in clean(text))
