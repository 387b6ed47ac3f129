"""Scores as Markdown, CSV, LaTeX and a plot."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from sg2im_pyg.study.options import ScoreOptions
from sg2im_pyg.study.score import score_study
from sg2im_pyg.study.score_tables import (
    PAPER,
    format_csv,
    format_latex,
    format_markdown,
    paper_table,
    write_scores,
)

from .simulation import attentive, inattentive, make_study, take_part

NASTY = ("a|b_$x^2$ <script>", r"\input{secret} 100 % & # ~")


def scores(tmp_path, systems=("ours", "other"), **changes):
    study = make_study(tmp_path, scenes=8, systems=systems)
    chances = {
        frozenset((a, b)): {a: 1.0 if a < b else 0.0, b: 0.0 if a < b else 1.0}
        for a in systems
        for b in systems
        if a != b
    }
    person = attentive(chances, {name: 1 - k for k, name in enumerate(systems[:2])} | {"c": 1})
    answers = take_part(study, [person, person, person, inattentive])
    return score_study(replace(study, **changes), answers, ScoreOptions(study=""))


def test_all_figures_are_in_the_csv(tmp_path):
    score = scores(tmp_path)
    rows = list(csv.DictReader(io.StringIO(format_csv(score))))
    preferred = [row for row in rows if row["figure"] == "preferred"]
    assert [(row["system"], row["against"]) for row in preferred] == [
        ("ours", "other"),
        ("other", "ours"),
    ]
    for row, share in zip(preferred, score["caption"][0]["preferred"], strict=True):
        assert {key: float(row[key]) for key in share} == share
        assert float(row["p_value"]) == score["caption"][0]["p_value"]
    for kind in ("objects", "relations"):
        recall = [row for row in rows if (row["kind"], row["figure"]) == (kind, "recall")]
        for row in recall:
            [system] = [s for s in score[kind]["systems"] if s["system"] == row["system"]]
            assert int(row["count"]) == system[row["group"]]["count"]
        groups = [r for r in rows if r["kind"] == kind and r["figure"] in ("category", "predicate")]
        assert len(groups) == 2 * len(score[kind]["groups"])


def test_the_paper_s_layout_stands_beside_the_paper_s_figures(tmp_path):
    heads, rows = paper_table(scores(tmp_path))
    assert heads == ["", "ours", "other", "StackGAN (paper)", "sg2im (paper)"]
    assert [row[0] for row in rows] == ["user preference", "thing recall", "stuff recall"]
    assert rows[0][1:3] == ["0/8 (0.0 %)", "8/8 (100.0 %)"]  # "other" comes first in the alphabet
    # Of the scenes 0 to 7 there are four names each, of which 15 in all are those of things.
    assert rows[1][1:3] == ["15/15 (100.0 %)", "0/15 (0.0 %)"]
    assert rows[2][1:3] == ["17/17 (100.0 %)", "0/17 (0.0 %)"]
    assert rows[0][3:] == ["332/1024 (32.4 %)", "692/1024 (67.6 %)"]
    assert sum(count for count, _ in PAPER["user preference"]) == 1024
    text = format_markdown(scores(tmp_path))
    assert "not compared with the printed" in text and "StackGAN (paper)" in text


def test_with_three_systems_p_values_are_adjusted_and_preferences_are_of_all_pairs(tmp_path):
    score = scores(tmp_path, ("a", "b", "c"))
    text = format_markdown(score)
    assert "| p | p (Holm) |" in text.replace("\\", "") and "| a | b | 8 |" in text
    assert paper_table(score)[1][0][1:4] == ["16/16 (100.0 %)", "8/16 (50.0 %)", "0/16 (0.0 %)"]


def test_names_are_no_markdown_and_no_latex(tmp_path):
    score = scores(tmp_path, NASTY, title="50 % <b>\\write18{x}")
    text = format_markdown(score)
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5, 6, 7, 9)
    assert "<script>" not in re.sub(r"\\.", "", text)
    latex = format_latex(score)
    plain = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\$[<>]\$|\\(hline|begin|end)\b|\\\\", "", latex)
    assert "\\" not in plain and "#" not in plain and "~" not in plain and "^" not in plain
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 8
    for line in latex.splitlines():
        assert line.startswith("%") or not re.search(r"(?<!\\)%", line)


def test_all_kinds_of_files_are_written(tmp_path):
    score = scores(tmp_path / "study", NASTY)
    paths = write_scores(tmp_path / "out", score)
    assert [path.name for path in paths] == [
        f"scores.{k}" for k in ("md", "csv", "tex", "png", "json")
    ]
    assert Image.open(tmp_path / "out" / "scores.png").width > 1000
    assert json.loads((tmp_path / "out" / "scores.json").read_text("utf-8")) == score


@pytest.mark.parametrize("kinds", [("caption",), ("objects",), ("relations",)])
def test_studies_without_some_kinds_and_without_answers(tmp_path, kinds):
    study = make_study(tmp_path, kinds=kinds)
    score = score_study(study, [], ScoreOptions(study=""))
    assert "Of 0 participants 0 are counted." in format_markdown(score)
    assert len(write_scores(tmp_path / "out", score)) == 5
    assert ("layout of the paper" in format_markdown(score)) == (kinds != ("relations",))
