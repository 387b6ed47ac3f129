"""A report of an evaluation as one HTML file that can be sent: figures, pictures, bars, settings.

Nothing in it is fetched and nothing runs: pictures are data within the file, and its own policy
forbids scripts and addresses.
"""

import base64
import html
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import Image

from sg2im_pyg.evaluation.table import (
    ARROWS,
    FIGURES,
    Figure,
    best_systems,
    by_frequency,
    data_sentence,
    figure_of,
    file_name,
    format_count,
    format_number,
    layout_sentence,
    network_sentence,
)
from sg2im_pyg.system.files import replace_when_whole


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
    page = _page(result, examples)
    with replace_when_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


# Elements --------------------------------------------------------------------------------------


class _Html(str):
    """Text that is HTML already; any other string is escaped where it enters an element."""


Content = str | Iterable["str | _Html"]

_EMPTY = ("img", "meta")


def _element(name: str, /, *content: Content, **attributes: str | None) -> _Html:
    """An element with its content; ``class_`` stands for ``class``, as Python needs that word."""
    opening = name + "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_printable(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return _Html(f"<{opening}>")
    return _Html(f"<{opening}>{_escaped(*content)}</{name}>")


def _escaped(*content: Content) -> _Html:
    parts = []
    for part in content:
        if isinstance(part, _Html):
            parts.append(str(part))
        elif isinstance(part, str):
            parts.append(html.escape(_printable(part)))
        else:
            parts.append(_escaped(*part))
    return _Html("".join(parts))


def _printable(text: str) -> str:
    """Text as HTML may hold it: names of files can have control characters, and halves of
    characters that no encoding has."""
    return "".join(
        c if c.isprintable() or c == "\u00a0" else " " if c.isspace() else "\ufffd" for c in text
    )


# Page ------------------------------------------------------------------------------------------


def _page(result: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]) -> str:
    data = result["data"]
    title = f"Evaluation on {data['source']}, {file_name(data['file'])}"
    sections: list[tuple[str, _Html]] = [("Systems", _systems(result))]
    sections += _example_sections(result, examples)
    checkpoints = [system for system in result["systems"] if system["categories"]]
    if checkpoints:
        sections.append(("Objects by category", _by_system(checkpoints, _categories)))
    related = [system for system in result["systems"] if system["predicates"]]
    if related:
        sections.append(("Relations by predicate", _by_system(related, _predicates)))
    sections.append(("What the figures mean", _meanings()))
    sections.append(("Settings", _settings(result)))
    links = [
        _element("li", _element("a", name, href=f"#section-{number}"))
        for number, (name, _) in enumerate(sections, 1)
    ]
    body = [
        _element(
            "header",
            _element("h1", title),
            _element("p", f"{_amount(result)}. {_date(result['date'])}.", class_="lead"),
            _element("nav", _element("ul", links), aria_label="Sections"),
        ),
        _element(
            "main",
            [
                _element(
                    "section",
                    _element("h2", name, id=f"heading-{number}"),
                    content,
                    id=f"section-{number}",
                    aria_labelledby=f"heading-{number}",
                )
                for number, (name, content) in enumerate(sections, 1)
            ],
        ),
        _element("footer", _element("p", f"Written by sg2im_pyg {result['sg2im_pyg']}.")),
    ]
    head = [
        _element("meta", charset="utf-8"),
        _element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _element("meta", name="color-scheme", content="light dark"),
        _element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        _element("title", title),
        _element("style", _Html(_STYLE)),
    ]
    page = _element("html", _element("head", head), "\n", _element("body", body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _amount(result: Mapping[str, Any]) -> str:
    return data_sentence(result).partition(":")[0]


def _date(date: str) -> str:
    try:
        return datetime.fromisoformat(date).strftime("%Y-%m-%d, %H:%M %Z").strip()
    except ValueError:
        return date


# Systems ---------------------------------------------------------------------------------------


def _systems(result: Mapping[str, Any]) -> _Html:
    systems, network = result["systems"], result["network"]
    best = {figure: best_systems(systems, figure) for figure in FIGURES}
    layout = [figure for figure in FIGURES if figure.part == "layout"]
    scores = [figure for figure in FIGURES if figure.part == "pictures"]
    by = "no network" if network is None else f"by {network['name']}"
    groups = _element(
        "tr",
        _element("td"),
        _element("th", "Predicted layouts", colspan=str(len(layout)), scope="colgroup"),
        _element(
            "th",
            "Pictures, ",
            _element("span", by, class_="network"),
            colspan=str(len(scores) + 1),
            scope="colgroup",
            class_="first",
        ),
        class_="groups",
    )
    heads = _element(
        "tr",
        _element("th", "System", scope="col"),
        [_head(figure, first=figure is scores[0]) for figure in FIGURES],
        _element("th", "Pictures", scope="col"),
    )
    rows = []
    for position, system in enumerate(systems):
        cells = [
            _figure_cell(system, figure, position in best[figure], first=figure is scores[0])
            for figure in FIGURES
        ]
        count = format_count((system["pictures"] or {}).get("pictures"))
        name = _element(
            "th",
            _element("span", system["name"], class_="name"),
            _element("span", _kind(system), class_="kind"),
            scope="row",
        )
        kind = "reference" if system["kind"] == "data" else None
        rows.append(_element("tr", name, cells, _number(count), class_=kind))
    table = _element("table", _element("thead", groups, heads), _element("tbody", rows))
    legend = "↑ higher is better, ↓ lower is better, ≈ near to the true pictures' value is better."
    if any(best.values()):
        legend += " The best value of a column is bold; true pictures take no part."
    sentences = [legend, network_sentence(result), layout_sentence(result)]
    said: dict[str, list[str]] = {}  # a note that several systems have stands there once
    for system in systems:
        for note in [*system["notes"], *(system["pictures"] or {}).get("notes", [])]:
            said.setdefault(note, []).append(system["name"])
    notes = [
        _element("li", _element("b", ", ".join(names)), f": {note}") for note, names in said.items()
    ]
    return _escaped(
        _element("div", table, class_="scroll systems", tabindex="0"),
        [_element("p", sentence, class_="small") for sentence in sentences if sentence],
        _element("div", _element("h3", "Notes"), _element("ul", notes), class_="notes")
        if notes
        else "",
    )


def _head(figure: Figure, first: bool) -> _Html:
    """A column's head: its name, and an arrow that is read out as words."""
    words = {"higher": "higher is better", "lower": "lower is better", "near": "near to true"}
    arrow = _element(
        "span",
        ARROWS[figure.better],
        class_="arrow",
        title=words[figure.better],
        role="img",
        aria_label=words[figure.better],
    )
    classes = "first" if first else None
    return _element("th", f"{figure.title}\u00a0", arrow, scope="col", class_=classes)


def _figure_cell(system: Mapping[str, Any], figure: Figure, best: bool, first: bool) -> _Html:
    found = figure_of(system, figure)
    classes = "first" if first else None
    if found is None:
        return _number("-", classes)
    value: str | _Html = format_number(found.value, figure.digits)
    if best:
        value = _element("b", value)
    spread: str | _Html = ""
    if found.deviation is not None:
        deviation = format_number(found.deviation, figure.digits)
        spread = _element("span", f" ± {deviation}", class_="deviation")
    return _element("td", value, spread, class_=classes)


def _number(text: str, classes: str | None = None) -> _Html:
    if text == "-":
        return _element("td", _element("span", "–", class_="none"), class_=classes)
    return _element("td", text, class_=classes)


def _kind(system: Mapping[str, Any]) -> str:
    if system["kind"] == "data":
        return "reference"
    if system["kind"] == "images":
        return "folder of pictures"
    step = system.get("step")
    return "checkpoint" if step is None else f"checkpoint, step {step:,}"


# Pictures --------------------------------------------------------------------------------------

_WIDEST = 1.8  # of a column, in heights of its pictures
_WIDE = 1.2  # from here on a column takes a line of its own on a phone


def _example_sections(
    result: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]
) -> list[tuple[str, _Html]]:
    """Rows of pictures. A column is as wide as its widest picture asks for, so that all pictures
    of a row are equally high, and true and generated ones equally large."""
    aspects: dict[str, float] = {}
    for row in (row for rows in examples.values() for row in rows):
        for title, image in row.images.items():
            aspect = min(image.width / max(image.height, 1), _WIDEST)
            aspects[title] = max(aspect, aspects.get(title, 1.0))
    several = sum(system["kind"] == "checkpoint" for system in result["systems"]) > 1
    sections = []
    for section, (name, rows) in enumerate(examples.items(), 1):
        columns = {title: aspects[title] for row in rows for title in row.images}
        if columns:
            figures = [
                _figure(row, columns, f"picture-{section}-{k}", several and row.system not in name)
                for k, row in enumerate(rows, 1)
            ]
            heads = [_element("span"), *(_element("span", title) for title in columns)]
            content = _element(
                "div",
                _element("div", heads, class_="heads", aria_hidden="true"),
                figures,
                class_="examples",
                style="--columns:" + " ".join(f"minmax(0,{a:.3f}fr)" for a in columns.values()),
            )
            sections.append((name, content))
    return sections


def _figure(row: Example, columns: Mapping[str, float], key: str, with_system: bool) -> _Html:
    caption = [_element("b", row.title)]
    if row.iou is not None:
        caption.append(_element("span", f"IoU {format_number(row.iou, 2)}"))
    if with_system:
        caption.append(_element("span", row.system, class_="system"))
    cells = [
        _cell(row, title, aspect, f"{key}-{number}")
        for number, (title, aspect) in enumerate(columns.items(), 1)
    ]
    return _element("figure", _element("figcaption", caption), cells)


def _cell(row: Example, title: str, aspect: float, key: str) -> _Html:
    """A picture, a link that enlarges it, and one over the whole window that puts it back."""
    content = [_element("span", title, class_="head")]
    image = row.images.get(title)
    if image is not None:
        name = f"{title}, {row.title}"
        shown = _element(
            "img",
            src=_address(image),
            alt=name,
            width=str(image.width),
            height=str(image.height),
            style=f"aspect-ratio:{aspect:.3f}",
        )
        content.append(_element("a", shown, href=f"#{key}", class_="open"))
        content.append(_element("a", href="#small", class_="close", aria_label="Show it small"))
    classes = "cell wide" if aspect > _WIDE else "cell"
    return _element("div", content, class_=classes, id=key)


def _address(image: Image.Image) -> str:
    """A picture as an address that holds it."""
    file = io.BytesIO()
    image.convert("RGBA" if "A" in image.getbands() else "RGB").save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


# Bars ------------------------------------------------------------------------------------------

_BARS = ("box_recall_0.3", "box_recall_0.5", "mean_iou", "mask_iou")


def _by_system(
    systems: Sequence[Mapping[str, Any]], draw: Callable[[Mapping[str, Any]], _Html]
) -> _Html:
    note = "The most frequent ones first; a line across the bars stands at the value of all."
    return _escaped(
        _element("p", note, class_="small"),
        [_escaped(_element("h3", system["name"]), draw(system)) for system in systems],
    )


def _categories(system: Mapping[str, Any]) -> _Html:
    figures = [figure for figure in FIGURES if figure.key in _BARS]
    rows = [
        (row["name"], row["objects"], [row.get(figure.key) for figure in figures])
        for row in by_frequency(system["categories"], "objects")
    ]
    layout = system["layout"] or {}
    total = layout.get("objects"), [layout.get(figure.key) for figure in figures]
    return _bars(("Category", "Objects"), [f.title for f in figures], ("all objects", *total), rows)


def _predicates(system: Mapping[str, Any]) -> _Html:
    rows = [
        (row["name"], row["relations"], [row["accuracy"]])
        for row in by_frequency(system["predicates"], "relations")
    ]
    layout = system["layout"] or {}
    total = layout.get("relations"), [layout.get("relation_accuracy")]
    heads = ["Relation accuracy"]
    return _bars(("Predicate", "Relations"), heads, ("all relations", *total), rows)


_Row = tuple[str, int | None, list[float | None]]


def _bars(names: tuple[str, str], heads: Sequence[str], total: _Row, rows: Sequence[_Row]) -> _Html:
    """A table whose figures, shares from 0 to 1, have bars; the line across them is the whole."""
    head = _element(
        "tr",
        [_element("th", name, scope="col") for name in [*names, *heads]],
    )

    def line(row: _Row, kind: str | None = None) -> _Html:
        name, count, values = row
        bars = [_bar(value, whole) for value, whole in zip(values, total[2], strict=True)]
        counted = _number(format_count(count))
        return _element("tr", _element("th", name, scope="row"), counted, bars, class_=kind)

    table = _element(
        "table",
        _element("thead", head),
        _element("tbody", line(total, "total"), [line(row) for row in rows]),
        class_="bars" if len(heads) > 1 else "bars single",
    )
    return _element("div", table, class_="scroll")


def _bar(value: float | None, whole: float | None) -> _Html:
    text = format_number(value, 2)
    if value is None or text == "-":
        return _number("-")
    mark: str | _Html = ""
    if whole is not None and format_number(whole) != "-":
        mark = _element("i", class_="mark", style=f"left:{_percent(whole)}")
    fill = _element("i", class_="fill", style=f"width:{_percent(value)}")
    number = _element("span", text, class_="value")
    track = _element("span", fill, mark, class_="track", aria_hidden="true")
    return _element("td", _element("span", number, track, class_="bar"))


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"


# Words -----------------------------------------------------------------------------------------

_PAPER = "Johnson, Gupta, Fei-Fei, CVPR 2018"

_MEANINGS = (
    (
        "Box recall at IoU 0.3 and 0.5",
        "Share of the true boxes whose predicted box has an intersection over union of at least "
        "0.3 or 0.5 with it.",
        f"{_PAPER}, Section 4.4 and Table 2 (R@0.3, R@0.5)",
    ),
    (
        "Mean IoU",
        "Intersection over union of predicted and true box, averaged over all objects.",
        "Not in the paper",
    ),
    (
        "Sigma x and sigma area",
        "Standard deviation of the predicted boxes' centre x, and of their area, within a "
        "category, averaged over the categories; in units of the picture. A model that ignores "
        "the graph puts all objects of a category into one place and has small values.",
        f"{_PAPER}, Table 2",
    ),
    (
        "Relation accuracy",
        "Share of the graphs' geometric relations (left of, above, inside, ...) that hold between "
        "the predicted boxes and masks.",
        f"Not in the paper; the rules are those of {_PAPER}, Section 4.1",
    ),
    (
        "Mask IoU",
        "Intersection over union of predicted and true mask, each within its own box, averaged "
        "over all objects.",
        "Not in the paper",
    ),
    (
        "Inception score",
        "The exponential of the mean KL divergence between the classes that a network sees in a "
        "picture and those that it sees in all: high where each picture is clearly something and "
        "the pictures differ. Mean and deviation over random groups of pictures.",
        f"Salimans et al. 2016; {_PAPER}, Table 1",
    ),
    (
        "FID",
        "Fréchet distance between the normal distributions that fit the network's features of the "
        "true and of the generated pictures; 0 is best.",
        "Heusel et al. 2017",
    ),
    (
        "KID",
        "Squared maximum mean discrepancy with a cubic kernel between the same features, averaged "
        "over random subsets; it is unbiased and can be a little below 0.",
        "Bińkowski et al. 2018",
    ),
)
"""Name, meaning and source of each figure."""


def _meanings() -> _Html:
    entries = [
        _element(
            "div",
            _element("dt", name),
            _element("dd", meaning, " ", _element("span", f"{source}.", class_="source")),
        )
        for name, meaning, source in _MEANINGS
    ]
    note = (
        "Inception score, FID and KID depend on the network: they can be compared only with "
        "figures of the same network and, FID above all, of as many pictures."
    )
    return _escaped(_element("dl", entries), _element("p", note, class_="small"))


def _settings(result: Mapping[str, Any]) -> _Html:
    data, network = result["data"], result["network"]
    groups: list[tuple[str, Mapping[str, Any]]] = [
        ("Options", result["settings"]),
        ("Data", data),
        ("Network", network or {"name": None}),
        ("Systems", {system["name"]: system["source"] for system in result["systems"]}),
    ]
    blocks = []
    for name, values in groups:
        rows = [
            _element("tr", _element("th", key, scope="row"), _element("td", _plain(value)))
            for key, value in values.items()
        ]
        table = _element("table", _element("tbody", rows), class_="settings")
        blocks.append(_element("div", _element("h3", name), table))
    command = _element("pre", _element("code", result["command"]))
    return _escaped(
        _element("div", _element("h3", "Command"), command) if result["command"] else "",
        _element("div", blocks, class_="columns"),
    )


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


# Style -----------------------------------------------------------------------------------------

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { --paper: #fff; --ink: #1f2429; --soft: #5a6470; --line: #dfe3e8; --faint: #f3f5f7;
  --track: #e6eaef; --accent: #3b6ea5; --mark: #1f2429; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e5e8eb; --soft: #9aa5b1; --line: #2d343b; --faint: #1c2126;
    --track: #2a3138; --accent: #7aaede; --mark: #e5e8eb; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 3rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3rem 0 1rem; }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p { margin: .5rem 0; }
a { color: var(--accent); text-underline-offset: .2em; }
.lead, .small, .source, footer, nav { color: var(--soft); }
.small, .source, footer, nav, .notes { font-size: .875rem; }
.small, .notes, dd { max-width: 62rem; }
.small { margin: .2rem 0; }
.scroll + .small { margin-top: .75rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0 0;
  padding: 0; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }

table { border-collapse: collapse; width: 100%; font-size: .875rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
th { font-weight: 600; text-align: left; }
td, thead th { padding: .5rem .4rem; text-align: right; }
tbody tr { border-top: 1px solid var(--line); }
.scroll { overflow-x: auto; }
.none, .deviation { color: var(--soft); }

.systems table { min-width: 60rem; border-bottom: 1px solid var(--line); }
.systems th:first-child { text-align: left; padding: .5rem .9rem .5rem 0; position: sticky; left: 0;
  background: var(--paper); }
.name { display: block; width: max-content; max-width: 14rem; overflow-wrap: anywhere; }
.systems thead th { vertical-align: bottom; color: var(--soft); font-weight: 500;
  font-size: .8125rem; }
.systems .groups th { text-align: left; color: var(--ink); font-weight: 600; padding-bottom: 0; }
.systems .groups .network { font-weight: 400; }
.systems .first { padding-left: 1.4rem; }
.systems td { white-space: nowrap; vertical-align: top; }
.systems .deviation { font-size: .75rem; }
.systems .reference td, .systems .reference .name { color: var(--soft); font-weight: 400; }
.kind { display: block; white-space: nowrap; font-size: .75rem; font-weight: 400;
  color: var(--soft); }
.arrow { color: var(--accent); font-weight: 700; }
.notes ul { margin: 0; padding-left: 1.2rem; }
.notes h3 { font-size: .875rem; margin-top: 1rem; }

.heads, .examples figure { display: grid; grid-template-columns: 6.5rem var(--columns);
  gap: .75rem; }
.heads { position: sticky; top: 0; z-index: 1; background: var(--paper); padding: .4rem 0;
  border-bottom: 1px solid var(--line); color: var(--soft); font-size: .8125rem; }
.heads span, .head { text-align: center; }
.examples figure { margin: 0; padding: .75rem 0; border-bottom: 1px solid var(--line);
  break-inside: avoid; align-items: center; }
figcaption { font-size: .875rem; }
figcaption b, figcaption span { display: block; }
figcaption span { color: var(--soft); font-variant-numeric: tabular-nums; }
.system { font-size: .75rem; overflow-wrap: anywhere; }
.cell .head { display: none; color: var(--soft); font-size: .75rem; padding-bottom: .15rem; }
.cell img { display: block; width: 100%; height: auto; object-fit: contain; background: #fff;
  border-radius: 4px; image-rendering: auto; }
.cell { scroll-margin-top: 30vh; }
.open { display: block; cursor: zoom-in; }
.close { display: none; cursor: zoom-out; }
@media screen {
  .cell:target .close { display: block; position: fixed; inset: 0; z-index: 2;
    background: var(--paper); opacity: .92; }
  .cell:target img { position: fixed; inset: 0; margin: auto; width: min(92vw, 60rem);
    height: 92vh; z-index: 3; background: none; pointer-events: none; }
}

.bars { max-width: 62rem; }
.bars th[scope=row] { font-weight: 400; padding: .25rem .75rem .25rem 0; overflow-wrap: anywhere;
  min-width: 5rem; }
.bars td { padding: .25rem .4rem; }
.bars thead th { color: var(--soft); font-weight: 500; font-size: .8125rem; text-align: left;
  vertical-align: bottom; }
.bars thead th:first-child { padding-left: 0; }
.bars thead th:nth-child(n+3) { width: 19%; }
.bars.single thead th:nth-child(n+3) { width: 50%; }
.bars thead th:nth-child(2) { text-align: right; }
.bars td:nth-child(2) { padding-right: 1.25rem; }
.bars thead th:nth-child(2) { padding-right: 1.25rem; }
.bars .total th, .bars .total td { font-weight: 600; }
.bars .total + tr { border-top: 2px solid var(--line); }
.bar { display: flex; align-items: center; gap: .5rem; }
.value { flex: none; min-width: 2.1rem; }
.track { position: relative; flex: 1; min-width: 2rem; height: .6rem; background: var(--track);
  border-radius: 2px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.fill, .mark { position: absolute; top: 0; bottom: 0; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.fill { left: 0; background: var(--accent); border-radius: 2px; }
.mark { width: 1px; top: -.2rem; bottom: -.2rem; background: var(--mark); opacity: .55; }
.single { max-width: 34rem; }

dl { margin: 0 0 1rem; display: grid; gap: .9rem; }
dl div { display: grid; grid-template-columns: 13rem 1fr; gap: 0 1.5rem; }
dt { font-weight: 600; }
dd { margin: 0; }
.source { display: block; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 0 2.5rem; }
.settings th { font-weight: 400; color: var(--soft); padding: .3rem 1rem .3rem 0;
  vertical-align: top; width: 11rem; overflow-wrap: anywhere; }
.settings td { text-align: left; overflow-wrap: anywhere; padding: .3rem 0; }
pre { margin: 0; padding: .75rem 1rem; background: var(--faint); border-radius: 4px;
  white-space: pre-wrap; overflow-wrap: anywhere; font: .8125rem/1.5 ui-monospace, Menlo,
  Consolas, "DejaVu Sans Mono", monospace; }

@media (max-width: 46rem) {
  body { padding: 1.5rem 1rem 2rem; }
  h1 { font-size: 1.4rem; }
  .heads { display: none; }
  .examples figure { grid-template-columns: 1fr 1fr; align-items: start; }
  figcaption, .cell.wide { grid-column: 1 / -1; }
  figcaption { display: flex; flex-wrap: wrap; gap: 0 .75rem; }
  .cell .head { display: block; }
  .name { max-width: 8rem; }
  .kind { white-space: normal; }
  .bar { flex-direction: column; align-items: stretch; gap: .1rem; }
  .track { flex: none; height: .35rem; }
  .value { text-align: left; }
  .bars td:nth-child(2), .bars thead th:nth-child(2) { padding-right: .6rem; }
  .bars thead th { font-size: .75rem; }
  dl div { grid-template-columns: 1fr; }
}
@media print {
  @page { margin: 14mm; }
  html { font-size: 10pt; }
  body { max-width: none; padding: 0; }
  nav, .heads { display: none; }
  h2 { margin-top: 1.6rem; }
  h2, h3 { break-after: avoid; }
  tr, dl div, pre { break-inside: avoid; }
  .scroll { overflow: visible; }
  .systems table { min-width: 0; font-size: 7pt; }
  .systems thead th, .systems .deviation, .kind { font-size: 6.5pt; }
  .systems td, .systems thead th { padding: .3rem .2rem; }
  .systems th:first-child { position: static; padding: .3rem .3rem .3rem 0; }
  .name { max-width: 6rem; }
  .examples figure { grid-template-columns: 6.5rem var(--columns); gap: .5rem; padding: .5rem 0; }
  figcaption { font-size: 8pt; }
  .cell .head { font-size: 7pt; }
  h2 + .small { break-after: avoid; }
  footer { margin-top: 1rem; }
  .cell .head { display: block; }
  .cell img { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .settings th { width: 10rem; }
}
"""
