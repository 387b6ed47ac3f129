"""A report of an evaluation as one HTML file that can be sent: figures, pictures, bars, settings.

Nothing in it is fetched and nothing runs: pictures are data within the file, and its own policy
forbids scripts and addresses. Its elements stand in ``report.html.jinja``, its style in
``report.css``; here are the values.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from PIL import Image

from sg2im_pyg.evaluation.registry import metrics_of
from sg2im_pyg.evaluation.table import (
    ARROWS,
    WORDS,
    best_systems,
    by_frequency,
    count_of,
    data_sentence,
    figure_of,
    layout_sentence,
    network_sentence,
    notes_of,
    picture_titles,
)
from sg2im_pyg.evaluation.text import file_name, format_count, format_number
from sg2im_pyg.system.files import replace_when_whole

_FOLDER = Path(__file__).parent

_WIDEST = 1.8  # of a column of pictures, in heights of its pictures
_WIDE = 1.2  # from here on a column takes a line of its own on a phone


@dataclass
class Example:
    """Pictures of one graph, shown side by side."""

    title: str
    """What it is, such as "picture 1034"."""
    iou: float | None
    """Mean IoU of its objects' boxes, if known."""
    system: str
    """Name of the system that predicted and generated."""
    images: dict[str, Image.Image]
    """Pictures by the title of their column, in order."""


def write_report(
    path: str | os.PathLike[str],
    result: Mapping[str, Any],
    examples: Mapping[str, Sequence[Example]],
) -> None:
    """Writes the report.

    Args:
        path: File to write, HTML whatever its ending.
        result: What an evaluation found; see :func:`~sg2im_pyg.evaluation.evaluate.evaluate`.
        examples: Rows of pictures, by the title of their section, in order.
    """
    page = _template().render(
        title=f"Evaluation on {result['data']['source']}, {file_name(result['data']['file'])}",
        style=(_FOLDER / "report.css").read_text(encoding="utf-8"),
        amount=data_sentence(result).partition(":")[0],
        date=_date(result["date"]),
        version=result["sg2im_pyg"],
        sections=[
            {"title": title, "kind": kind, "content": content}
            for title, kind, content in _sections(result, examples)
        ],
    )
    with replace_when_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_printable)
    source = (_FOLDER / "report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string("".join(line.strip() for line in source.splitlines()))


def _printable(value: Any) -> Any:
    """A value as HTML may hold it: names of files can have control characters, and halves of
    characters that no encoding has."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value  # what has __html__ is HTML already
    return "".join(
        c if c.isprintable() or c == "\u00a0" else " " if c.isspace() else "\ufffd" for c in value
    )


def _date(date: str) -> str:
    try:
        return datetime.fromisoformat(date).strftime("%Y-%m-%d, %H:%M %Z").strip()
    except ValueError:
        return date


def _sections(
    result: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]
) -> list[tuple[str, str, Any]]:
    """Titles, kinds and contents of the sections that have any."""
    categories, predicates = (
        [draw(system) for system in result["systems"] if system[entry]]
        for entry, draw in (("categories", _categories), ("predicates", _predicates))
    )
    note = (
        f"{picture_titles()} depend on the network: they can be compared only with figures of the "
        "same network and, FID above all, of as many pictures."
    )
    sections = [
        ("Systems", "systems", _systems(result)),
        *((title, "examples", rows) for title, rows in _examples(result, examples)),
        ("Objects by category", "bars", categories),
        ("Relations by predicate", "bars", predicates),
        ("What the figures mean", "meanings", {"metrics": metrics_of(), "note": note}),
        ("Settings", "settings", _settings(result)),
    ]
    return [section for section in sections if section[2]]


# Systems ---------------------------------------------------------------------------------------


def _systems(result: Mapping[str, Any]) -> dict[str, Any]:
    systems, network, metrics = result["systems"], result["network"], metrics_of()
    best = {metric.key: best_systems(systems, metric) for metric in metrics}
    layout, pictures = metrics_of("layout"), metrics_of("pictures")
    groups = [
        {"title": "Predicted layouts", "columns": len(layout), "by": None},
        {
            "title": "Pictures",
            "columns": len(pictures) + 1,
            "by": "no network" if network is None else f"by {network['name']}",
        },
    ]
    heads = [
        {
            "title": metric.title,
            "arrow": ARROWS[metric.better],
            "words": WORDS[metric.better],  # the arrow, read out
            "first": metric is pictures[0],
        }
        for metric in metrics
    ]
    rows = []
    said: dict[str, list[str]] = {}  # a note that several systems have stands there once
    for position, system in enumerate(systems):
        figures = []
        for metric in metrics:
            value, deviation = figure_of(system, metric) or (None, None)
            figures.append(
                {
                    "value": format_number(value, metric.digits),
                    "deviation": deviation is not None and format_number(deviation, metric.digits),
                    "best": position in best[metric.key],
                    "first": metric is pictures[0],
                }
            )
        rows.append(
            {
                "name": system["name"],
                "kind": _kind(system),
                "reference": system["kind"] == "data",
                "figures": figures,
                "count": count_of(system),
            }
        )
        for note in notes_of(system):
            said.setdefault(note, []).append(system["name"])
    legend = "↑ higher is better, ↓ lower is better, ≈ near to the true pictures' value is better."
    if any(best.values()):
        legend += " The best value of a column is bold; true pictures take no part."
    sentences = [legend, network_sentence(result), layout_sentence(result)]
    return {
        "groups": groups,
        "heads": heads,
        "rows": rows,
        "sentences": list(filter(None, sentences)),
        "notes": said,
    }


def _kind(system: Mapping[str, Any]) -> str:
    if system["kind"] == "data":
        return "reference"
    if system["kind"] == "images":
        return "folder of pictures"
    step = system.get("step")
    return "checkpoint" if step is None else f"checkpoint, step {step:,}"


# Pictures --------------------------------------------------------------------------------------


def _examples(
    result: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]
) -> list[tuple[str, dict[str, Any]]]:
    """Rows of pictures. A column is as wide as its widest picture asks for, so that all pictures
    of a row are equally high, and true and generated ones equally large."""
    aspects: dict[str, float] = {}
    for row in (row for rows in examples.values() for row in rows):
        for title, image in row.images.items():
            aspect = min(image.width / max(image.height, 1), _WIDEST)
            aspects[title] = max(aspect, aspects.get(title, 1.0))
    several = sum(system["kind"] == "checkpoint" for system in result["systems"]) > 1
    sections = []
    for number, (name, rows) in enumerate(examples.items(), 1):
        columns = {title: aspects[title] for row in rows for title in row.images}
        shown = [
            {
                "title": row.title,
                "iou": row.iou is not None and format_number(row.iou, 2),
                "system": several and row.system not in name and row.system,
                "pictures": [
                    _picture(row.images.get(title), title, aspect, f"picture-{number}-{k}-{place}")
                    for place, (title, aspect) in enumerate(columns.items(), 1)
                ],
            }
            for k, row in enumerate(rows, 1)
        ]
        widths = " ".join(f"minmax(0,{aspect:.3f}fr)" for aspect in columns.values())
        if columns:
            sections.append((name, {"columns": widths, "titles": list(columns), "rows": shown}))
    return sections


def _picture(image: Image.Image | None, title: str, aspect: float, key: str) -> dict[str, Any]:
    """A picture's place, with the address that holds it, where there is one."""
    place: dict[str, Any] = {"title": title, "key": key, "wide": aspect > _WIDE, "address": None}
    if image is not None:
        file = io.BytesIO()
        image.convert("RGBA" if "A" in image.getbands() else "RGB").save(file, "PNG", optimize=True)
        content = base64.b64encode(file.getvalue()).decode("ascii")
        place |= {"address": f"data:image/png;base64,{content}", "aspect": f"{aspect:.3f}"}
        place |= {"width": image.width, "height": image.height}
    return place


# Bars ------------------------------------------------------------------------------------------

_Row = tuple[str, int | None, Sequence[float | None]]
"""Name, count, and shares from 0 to 1."""


def _categories(system: Mapping[str, Any]) -> dict[str, Any]:
    metrics = [metric for metric in metrics_of("layout") if metric.by_category and metric.share]
    layout = system["layout"] or {}
    rows: list[_Row] = [
        (name, entry["objects"], [entry.get(metric.key) for metric in metrics])
        for name, entry in [
            ("all objects", {"objects": layout.get("objects"), **layout}),
            *((row["name"], row) for row in by_frequency(system["categories"], "objects")),
        ]
    ]
    return _bars(system, ["Category", "Objects", *(metric.title for metric in metrics)], rows)


def _predicates(system: Mapping[str, Any]) -> dict[str, Any]:
    layout = system["layout"] or {}
    rows: list[_Row] = [
        ("all relations", layout.get("relations"), [layout.get("relation_accuracy")]),
        *(
            (row["name"], row["relations"], [row["accuracy"]])
            for row in by_frequency(system["predicates"], "relations")
        ),
    ]
    return _bars(system, ["Predicate", "Relations", "Relation accuracy"], rows)


def _bars(system: Mapping[str, Any], heads: list[str], rows: Sequence[_Row]) -> dict[str, Any]:
    """A table with bars, across which lines stand at the values of its first row, the whole."""
    marks = [_percent(value) for value in rows[0][2]]
    return {
        "system": system["name"],
        "heads": heads,
        "rows": [
            {
                "name": name,
                "count": format_count(count),
                "total": number == 0,
                "bars": [
                    {"text": format_number(value, 2), "width": _percent(value), "mark": mark}
                    for value, mark in zip(values, marks, strict=True)
                ],
            }
            for number, (name, count, values) in enumerate(rows)
        ],
    }


def _percent(share: float | None) -> str | None:
    """A share for CSS; none where it is none or not finite."""
    if format_number(share) == "-" or share is None:
        return None
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"


# Settings --------------------------------------------------------------------------------------


def _settings(result: Mapping[str, Any]) -> dict[str, Any]:
    groups: dict[str, Mapping[str, Any]] = {
        "Options": result["settings"],
        "Data": result["data"],
        "Network": result["network"] or {"name": None},
        "Systems": {system["name"]: system["source"] for system in result["systems"]},
    }
    return {
        "command": result["command"],
        "groups": {
            name: [(key, _plain(value)) for key, value in entries.items()]
            for name, entries in groups.items()
        },
    }


def _plain(value: Any) -> str:
    """A setting in words."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return str(value)
