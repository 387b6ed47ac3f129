"""A report of an evaluation as one HTML file that can be sent: figures, pictures, bars, settings.

Nothing in it is fetched and nothing runs: pictures are data within the file, and its own policy
forbids scripts and addresses. Its elements stand in ``report.html.jinja``, its style in
``report.css``; here are the values.
"""

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
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
    shown_metrics,
)
from sg2im_pyg.evaluation.text import file_name, format_count, format_number
from sg2im_pyg.system.files import replace_when_whole

_FOLDER = Path(__file__).parent
_WIDEST = 1.8  # of a column of pictures, in heights of its pictures


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
    systems = result["systems"]
    metrics = partial(shown_metrics, systems)
    best = {metric.key: best_systems(systems, metric) for metric in metrics()}
    legend = "↑ higher is better, ↓ lower is better, ≈ near to the true pictures' value is better."
    if any(best.values()):
        legend += " The best value of a column is bold; true pictures take no part."
    notes: dict[str, list[str]] = {}  # a note that several systems have stands there once
    for system in systems:
        for note in notes_of(system):
            notes.setdefault(note, []).append(system["name"])
    page = _template().render(
        result=result,
        title=f"Evaluation on {result['data']['source']}, {file_name(result['data']['file'])}",
        style=(_FOLDER / "report.css").read_text(encoding="utf-8"),
        amount=data_sentence(result).partition(":")[0],
        date=_date(result["date"]),
        metrics_of=metrics,
        best=best,
        sentences=[legend, network_sentence(result), layout_sentence(result)],
        notes=notes,
        sections=_sections(result, examples),
    )
    with replace_when_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_printable)
    environment.globals |= {"figure_of": figure_of, "count_of": count_of}
    environment.globals |= {"ARROWS": ARROWS, "WORDS": WORDS}
    environment.filters |= {"number": format_number, "counted": format_count, "address": _address}
    source = (_FOLDER / "report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string("".join(line.strip() for line in source.splitlines()))


def _sections(
    result: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]
) -> list[tuple[str, str, Any]]:
    """Titles, kinds and contents of the sections that have any."""
    network, systems = result["network"], result["systems"]
    note = (
        f"{picture_titles(systems)} depend on the network: they can be compared only with figures "
        "of the same network and, FID above all, of as many pictures."
    )
    settings = {
        "Options": result["settings"],
        "Data": result["data"],
        "Network": network or {"name": None},
        "Systems": {system["name"]: system["source"] for system in systems},
    }
    sections = [
        ("Systems", "systems", "no network" if network is None else f"by {network['name']}"),
        *_examples(result, examples),
        ("Objects by category", "bars", [_categories(s) for s in systems if s["categories"]]),
        ("Relations by predicate", "bars", [_predicates(s) for s in systems if s["predicates"]]),
        ("What the figures mean", "meanings", note),
        ("Settings", "settings", settings),
    ]
    return [section for section in sections if section[2]]


def _examples(
    result: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]
) -> Iterator[tuple[str, str, Any]]:
    """Rows of pictures. A column is as wide as its widest picture asks for, so that all pictures
    of a row are equally high, and true and generated ones equally large."""
    aspects: dict[str, float] = {}
    for row in (row for rows in examples.values() for row in rows):
        for title, image in row.images.items():
            aspect = min(image.width / max(image.height, 1), _WIDEST)
            aspects[title] = max(aspect, aspects.get(title, 1.0))
    several = sum(system["kind"] == "checkpoint" for system in result["systems"]) > 1
    for number, (name, rows) in enumerate(examples.items(), 1):
        columns = {title: aspects[title] for row in rows for title in row.images}
        content = {"name": name, "number": number, "columns": columns, "rows": rows}
        if columns:
            yield name, "examples", {**content, "several": several}


def _categories(system: Mapping[str, Any]) -> dict[str, Any]:
    metrics = [metric for metric in metrics_of("layout") if metric.by_category and metric.share]
    rows = [
        (row.get("name", "all objects"), row.get("objects"), [row.get(m.key) for m in metrics])
        for row in (system["layout"] or {}, *by_frequency(system["categories"], "objects"))
    ]
    heads = ["Category", "Objects", *(metric.title for metric in metrics)]
    return {"system": system["name"], "heads": heads, "rows": rows}


def _predicates(system: Mapping[str, Any]) -> dict[str, Any]:
    layout = system["layout"] or {}
    total = ("all relations", layout.get("relations"), [layout.get("relation_accuracy")])
    rows = [
        (row["name"], row["relations"], [row["accuracy"]])
        for row in by_frequency(system["predicates"], "relations")
    ]
    heads = ["Predicate", "Relations", "Relation accuracy"]
    return {"system": system["name"], "heads": heads, "rows": [total, *rows]}


# What the template does to values --------------------------------------------------------------


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


def _address(image: Image.Image) -> str:
    """A picture as an address that holds it."""
    file = io.BytesIO()
    image.convert("RGBA" if "A" in image.getbands() else "RGB").save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
