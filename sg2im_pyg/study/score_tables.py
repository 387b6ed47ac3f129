"""Scores of a study as text, for a spreadsheet, for a paper, and as a plot."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sg2im_pyg.drawing.charts import Chart, render_row_charts
from sg2im_pyg.evaluation.text import (
    format_number,
    listed,
    markdown_table,
    markdown_text,
    shorten,
    unused_name,
)
from sg2im_pyg.study.statistics import share_of
from sg2im_pyg.system.files import replace_when_whole, write_json

Table = tuple[list[str], list[list[str]]]
"""Heads of the columns, and rows of cells."""

PAPER: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "user preference": ((332, 1024), (692, 1024)),
    "thing recall": ((470, 1650), (772, 1650)),
    "stuff recall": ((1285, 3556), (2071, 3556)),
}
"""How many of how many, of StackGAN and of the paper's model (Johnson, Gupta and Fei-Fei, CVPR
2018, Section 4.6, Figures 7 and 8). Not yet compared with the printed paper, which is said wherever
they are shown."""

_PAPER_NOTE = (
    "The paper's columns are of 64 x 64 pictures of COCO's validation split (Johnson, Gupta and "
    "Fei-Fei, CVPR 2018, Section 4.6, Figures 7 and 8); they were not compared with the printed "
    "paper when they were taken down: look them up before you quote them."
)
_TITLES = {
    "caption": "Caption matching",
    "objects": "Object recall",
    "relations": "Relation recall",
}
_MOST_BARS = 16  # categories in the plot
_COLUMNS = (
    *("kind", "figure", "group", "system", "against"),
    *("count", "of", "share", "low", "high", "p_value", "p_holm", "kappa"),
)


def write_scores(folder: Path, score: Mapping[str, Any]) -> list[Path]:
    """Writes the scores as Markdown, CSV, LaTeX, a plot, and JSON.

    Returns:
        The paths.
    """
    texts = {"md": format_markdown, "csv": format_csv, "tex": format_latex}
    paths = [folder / f"scores.{kind}" for kind in (*texts, "png", "json")]
    for path, make in zip(paths, texts.values(), strict=False):
        with replace_when_whole(path) as temporary:
            temporary.write_text(make(score), encoding="utf-8")
    with replace_when_whole(paths[-2]) as temporary:
        plot_scores(score, temporary)
    write_json(paths[-1], score, indent=2)
    return paths


# Tables ----------------------------------------------------------------------------------------


def tables(score: Mapping[str, Any]) -> dict[str, Table]:
    """All tables by their titles."""
    confidence = f"{100 * score['settings']['confidence']:g} %"
    several = len(score["systems"]) > 2
    p = ["p", "p (Holm)"] if several else ["p"]
    found: dict[str, Table] = {}
    if "caption" in score:
        heads = ["system", "against", "majorities", f"share [{confidence}]", "ties"]
        heads += [*p, "votes", "kappa"]
        rows = [
            [
                row["systems"][k],
                row["systems"][1 - k],
                str(row["wins"][k]),
                _percent(row["preferred"][k]),
                str(row["ties"]),
                *_p_values(row, several),
                f"{row['votes'][k]}/{sum(row['votes'])}",
                format_number(row["kappa"]),
            ]
            for row in score["caption"]
            for k in (0, 1)
        ]
        found["Caption matching"] = heads, rows
    for kind in ("objects", "relations"):
        if kind not in score:
            continue
        title, recall = _TITLES[kind], score[kind]
        groups = _groups(recall)
        found[title] = (
            ["system", *(f"{group} [{confidence}]" for group in groups), "kappa"],
            [
                [
                    row["system"],
                    *(_counted(row[group]) for group in groups),
                    format_number(row["kappa"]),
                ]
                for row in recall["systems"]
            ],
        )
        found[f"{title}: pairs"] = (
            ["system", "against", "seen in the first alone", "in the second alone", *p],
            [
                [*row["systems"], *map(str, row["only"]), *_p_values(row, several)]
                for row in recall["pairs"]
            ],
        )
        found[f"{title} by {'category' if kind == 'objects' else 'predicate'}"] = (
            ["category" if kind == "objects" else "predicate", *score["systems"]],
            [[row["name"], *map(_fraction, row["systems"])] for row in recall["groups"]],
        )
    return found


def paper_table(score: Mapping[str, Any]) -> Table:
    """The figures in the paper's layout, with the paper's beside them."""
    names = list(score["systems"])
    rows = []
    cells: dict[str, list[str]] = {}
    if "caption" in score:
        cells["user preference"] = [_fraction(preference(score, name)) for name in names]
    if "objects" in score:
        for row, group in (("thing recall", "things"), ("stuff recall", "stuff")):
            cells[row] = [_fraction(entry[group]) for entry in score["objects"]["systems"]]
    for name, own in cells.items():
        paper = [_fraction(vars(share_of(*counts))) for counts in PAPER[name]]
        rows.append([name, *own, *paper])
    return ["", *names, "StackGAN (paper)", "sg2im (paper)"], rows


def preference(score: Mapping[str, Any], system: str) -> dict[str, Any]:
    """The share of the questions without a tie in which the majority preferred a system, whatever
    it was compared with."""
    own = [row for row in score["caption"] if system in row["systems"]]
    won = sum(row["wins"][row["systems"].index(system)] for row in own)
    confidence = score["settings"]["confidence"]
    return vars(share_of(won, sum(sum(row["wins"]) for row in own), confidence))


def _groups(recall: Mapping[str, Any]) -> list[str]:
    """Things and stuff where the data tells them apart, and all."""
    rows = recall["systems"]
    split = [g for g in ("things", "stuff") if any(row.get(g, {}).get("of") for row in rows)]
    return [*split, "all"]


def _percent(share: Mapping[str, Any]) -> str:
    if share["share"] is None:
        return "-"
    low, high = (f"{100 * share[end]:.1f}" for end in ("low", "high"))
    return f"{100 * share['share']:.1f} % [{low}, {high}]"


def _counted(share: Mapping[str, Any]) -> str:
    return f"{share['count']}/{share['of']}, {_percent(share)}" if share["of"] else "-"


def _fraction(share: Mapping[str, Any]) -> str:
    if not share["of"]:
        return "-"
    return f"{share['count']}/{share['of']} ({100 * share['share']:.1f} %)"


def _p_values(row: Mapping[str, Any], several: bool) -> list[str]:
    values = [row["p_value"], *([row["p_holm"]] if several else [])]
    return ["-" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}" for p in values]


# Text ------------------------------------------------------------------------------------------


def summary(score: Mapping[str, Any]) -> list[str]:
    """Who took part, and what counts, in sentences."""
    people, answers, asked = (score[k] for k in ("participants", "answers", "questions"))
    settings = score["settings"]
    left_out = {
        "failed_checks": f"passed less than {100 * settings['pass_checks']:g} % of their "
        "attention checks",
        "unfinished": "did not finish (--unfinished counts them)",
        "without_an_answer": "gave no answer",
    }
    why_not = [f"{people[key]:,} who {why}" for key, why in left_out.items() if people[key]]
    votes = dict.fromkeys(f"{asked[key]:,}" for key in ("fewest_votes", "most_votes"))
    lines = [
        f"{score['pictures_of']}; {listed(score['systems'])}.",
        f"Of {people['all']:,} participants {people['counted']:,} are counted"
        + (f"; left out are {listed(why_not)}." if why_not else "."),
        f"They gave {answers['votes']:,} votes and passed {answers['checks_passed']:,} of "
        f"{answers['checks']:,} checks; the median answer took "
        f"{format_number(answers['median_seconds'], 1)} seconds. {asked['answered']:,} of "
        f"{asked['all']:,} questions are counted, with {' to '.join(votes)} votes each"
        + (f"; {asked['too_few_votes']:,} had too few." if asked["too_few_votes"] else "."),
    ]
    if answers["refused"]:
        reasons = listed([f"{count:,} ({why})" for why, count in answers["refused"].items()])
        lines.append(f"Answers that can not be: {reasons}.")
    side = answers["first_picture_chosen"]
    if side["of"]:
        lines.append(f"The picture shown first was chosen in {_counted(side)}.")
    return lines


def format_markdown(score: Mapping[str, Any]) -> str:
    """All tables, and what they were counted from."""
    parts = [f"# {markdown_text(score['title'])}", *map(markdown_text, summary(score))]
    for title, table in tables(score).items():
        if table[1]:
            parts += [f"## {title}", _markdown(table)]
        if title in _NOTES:
            parts.append(_NOTES[title])
    if paper_table(score)[1]:
        parts += ["## In the layout of the paper", _markdown(paper_table(score)), _PAPER_NOTE]
    return "\n\n".join(parts) + "\n"


_NOTES = {
    "Caption matching": (
        "A question counts for the system that the majority of its votes preferred; a tie for "
        "neither. Shares are of the questions without a tie, with Wilson intervals; p is of the "
        "exact binomial test of both being preferred as often; kappa is Fleiss'."
    ),
    "Object recall": "An object is seen where more than half of the votes ticked it.",
    "Relation recall": "A relation is seen where more than half of the votes ticked it.",
    "Object recall: pairs": (
        "p is of the exact test (McNemar's) of what one system alone shows being as much as what "
        "the other alone shows."
    ),
}


def _markdown(table: Table) -> str:
    heads, rows = table
    return markdown_table(
        list(map(markdown_text, heads)), [list(map(markdown_text, row)) for row in rows]
    )


def format_csv(score: Mapping[str, Any]) -> str:
    """All figures, one a line, for a spreadsheet or pandas."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in score.get("caption", []):
        tests = {key: row[key] for key in ("p_value", "p_holm", "kappa")}
        for k in (0, 1):
            names = {"system": row["systems"][k], "against": row["systems"][1 - k]}
            shared = {"kind": "caption", "figure": "preferred", "group": "all", **names}
            writer.writerow(shared | row["preferred"][k] | tests)
            votes = share_of(row["votes"][k], sum(row["votes"]), score["settings"]["confidence"])
            writer.writerow(shared | {"figure": "votes"} | vars(votes))
    for kind in ("objects", "relations"):
        recall = score.get(kind, {"systems": [], "groups": [], "pairs": []})
        for row in recall["systems"]:
            for group in [g for g in ("all", "things", "stuff") if g in row]:
                shared = {"kind": kind, "figure": "recall", "group": group}
                kappa = {"kappa": row["kappa"]} if group == "all" else {}
                writer.writerow(shared | {"system": row["system"]} | row[group] | kappa)
        for row in recall["groups"]:
            for name, share in zip(score["systems"], row["systems"], strict=True):
                figure = "category" if kind == "objects" else "predicate"
                shared = {"kind": kind, "figure": figure, "group": row["name"]}
                writer.writerow(shared | {"system": name} | share)
        for row in recall["pairs"]:
            for k in (0, 1):
                names = {"system": row["systems"][k], "against": row["systems"][1 - k]}
                counts = {"count": row["only"][k], "of": sum(row["only"])}
                tests = {key: row[key] for key in ("p_value", "p_holm")}
                writer.writerow({"kind": kind, "figure": "alone", **names, **counts, **tests})
    return text.getvalue()


def format_latex(score: Mapping[str, Any]) -> str:
    """The tables for a paper, each a tabular without packages; the first is in the paper's
    layout."""
    found = {"In the layout of the paper": paper_table(score), **tables(score)}
    parts = [f"% {_latex(line)}" for line in [score["title"], *summary(score), _PAPER_NOTE]]
    for title, (heads, rows) in found.items():
        if not rows:
            continue
        left = 2 if "against" in heads else 1
        lines = [
            f"% {title}",
            rf"\begin{{tabular}}{{{'l' * left}{'r' * (len(heads) - left)}}}",
            r"\hline",
            rf"{' & '.join(map(_latex, heads))} \\",
            r"\hline",
            *(rf"{' & '.join(map(_latex, row))} \\" for row in rows),
            r"\hline",
            r"\end{tabular}",
        ]
        parts.append("\n" + "\n".join(lines))
    return "\n".join(parts) + "\n"


_LATEX = {c: rf"\{c}" for c in "&%$#_{}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {"<": "$<$", ">": "$>$"}


def _latex(text: str) -> str:
    """A text without anything that LaTeX would take for a command."""
    return "".join(_LATEX.get(c, c) for c in text if c.isprintable())


# The plot --------------------------------------------------------------------------------------


def plot_scores(score: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """The scores as bars with their intervals (PNG)."""
    names, charts = list(score["systems"]), []
    if "caption" in score:
        rows = score["caption"]
        pairs = [(row, k) for row in rows for k in ((0, 1) if len(rows) == 1 else (0,))]
        titles = [f"{r['systems'][k]} over {r['systems'][1 - k]}" for r, k in pairs]
        shares = {"": [row["preferred"][k] for row, k in pairs]}
        charts.append(_chart("Caption matching: preferred by the majority", titles, shares, 0.5))
    if "objects" in score:
        charts.append(_recall_chart("Object recall", score["objects"], names, True, 0))
        charts.append(
            _recall_chart("Object recall by category", score["objects"], names, False, _MOST_BARS)
        )
    if "relations" in score:
        charts.append(_recall_chart("Relation recall", score["relations"], names, True, _MOST_BARS))
    people = score["participants"]
    confidence = f"{100 * score['settings']['confidence']:g} %"
    footnote = (
        f"{score['title']}: {score['pictures_of']}; {people['counted']:,} of {people['all']:,} "
        f"participants, {score['answers']['votes']:,} votes; shares of what the majority chose, "
        f"with Wilson intervals of {confidence}."
    )
    render_row_charts(path, charts, footnote)


def _recall_chart(
    title: str, recall: Mapping[str, Any], names: Sequence[str], whole: bool, most: int
) -> Chart:
    """Recall of each system: of all, things and stuff, and of the most frequent categories or
    predicates."""
    rows = {group: [row[group] for row in recall["systems"]] for group in _groups(recall)}
    frequent = sorted(
        recall["groups"], key=lambda row: sum(share["of"] for share in row["systems"]), reverse=True
    )
    rows = rows if whole else {}
    titles = [*rows, *(str(row["name"]) for row in frequent[:most])]
    shares = [*rows.values(), *(row["systems"] for row in frequent[:most])]
    if 0 < most < len(frequent):
        title += f", the {most} most frequent"
    return _chart(title, titles, {n: [row[k] for row in shares] for k, n in enumerate(names)})


def _chart(
    title: str,
    rows: Sequence[str],
    series: Mapping[str, Sequence[Mapping[str, Any]]],
    reference: float | None = None,
) -> Chart:
    taken: set[str] = set()
    series = {unused_name(shorten(name, 24), taken): row for name, row in series.items()}
    values = {name: [share["share"] for share in shares] for name, shares in series.items()}
    spread = {
        name: [
            None if s["share"] is None else (s["share"] - s["low"], s["high"] - s["share"])
            for s in shares
        ]
        for name, shares in series.items()
    }
    compared = None if reference is None else (reference, "as often")
    return title, rows, values, spread, compared
