"""Tables of an evaluation: every figure stands in its place, and no name spoils them."""

import copy
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sg2im_pyg.evaluation.registry import METRICS
from sg2im_pyg.evaluation.table import (
    best_systems,
    figure_of,
    format_categories,
    format_markdown,
    format_table,
)
from sg2im_pyg.evaluation.text import shorten

LAYOUT = {
    "objects": 5012,
    "box_recall_0.3": 0.6012,
    "box_recall_0.5": 0.3721,
    "mean_iou": 0.4111,
    "sigma_x": 0.1125,
    "sigma_area": 0.0514,
    "relations": 9000,
    "relation_accuracy": 0.8009,
    "mask_iou": 0.7006,
}


def scores(inception, fid=None, kid=None):
    return {
        "inception_score": {"mean": inception, "deviation": 0.1234, "splits": 5},
        "fid": fid,
        "kid": kid and {"mean": kid, "deviation": 0.0021, "subsets": 100, "subset_size": 1000},
        "pictures": 1000,
        "notes": [],
    }


def category(name, objects, recall=0.5, **figures):
    names = ("box_recall_0.3", "box_recall_0.5", "mean_iou", "mask_iou", "sigma_x", "sigma_area")
    return {"name": name, "objects": objects, **dict.fromkeys(names, recall), **figures}


def system(name, kind, **entries):
    empty = {"layout": None, "pictures": None, "categories": [], "predicates": [], "notes": []}
    return {"name": name, "kind": kind, "source": f"/abs/{name}", **empty, **entries}


def make_result():
    """What eval/run.py gives: true pictures, a checkpoint, and another system's pictures."""
    own = {**dict.fromkeys(LAYOUT), "objects": 5012, "sigma_x": 0.1871, "sigma_area": 0.0542}
    return {
        "format": "sg2im_pyg.evaluation",
        "version": 1,
        "sg2im_pyg": "0.1.0",
        "date": "2026-11-23T22:10:00+00:00",
        "command": "python eval/run.py --checkpoint best.pt",
        "data": {
            "file": "/abs/test.h5",
            "source": "landscapes",
            "pictures": 1000,
            "objects": 5012,
            "image_size": [64, 64],
        },
        "settings": {
            "boxes": "predicted",
            "masks": "true",
            "graphs_per_picture": 1,
            "seed": 0,
            "limit": None,
        },
        "network": {
            "name": "landscape classifier of sg2im_pyg",
            "file": "landscape_classifier.pt",
            "sha256": "0123456789abcdef",
            "features": 64,
            "classes": 18,
        },
        "systems": [
            system("true pictures", "data", layout=own, pictures=scores(9.0812)),
            system(
                "best.pt",
                "checkpoint",
                step=800,
                layout=dict(LAYOUT),
                pictures=scores(5.1049, 45.126, 0.04126),
                categories=[category("sun", 47, 0.25), category("sky", 990, 0.75)],
                predicates=[
                    {"name": "inside", "relations": 67, "accuracy": 0.94},
                    {"name": "left of", "relations": 2000, "accuracy": 0.7},
                ],
                notes=["A note on the checkpoint."],
            ),
            system("other_system", "images", pictures=scores(4.8, 50.0, 0.05)),
        ],
    }


def body(table):
    """The rows under the heads as lists of cells."""
    lines = table.splitlines()
    start = next(k for k, line in enumerate(lines) if line and set(line) == {"-"}) + 1
    end = lines.index("", start) if "" in lines[start:] else len(lines)
    return lines[start:end]


def test_rows_hold_the_figures_in_the_order_of_the_columns():
    true, best, other = body(format_table(make_result()))
    assert true.split() == ("true pictures - - - 0.187 0.054 - - 9.08 +- 0.12 - - 1,000".split())
    assert best.split() == (
        "best.pt 0.601 0.372 0.411 0.113 0.051 0.801 0.701 5.10 +- 0.12 45.13 0.0413 1,000".split()
    )
    assert other.split() == "other_system - - - - - - - 4.80 +- 0.12 50.00 0.0500 1,000".split()


def test_table_fits_a_terminal_and_is_ascii():
    text = format_table(make_result())
    assert max(map(len, text.splitlines())) <= 100
    assert text.isascii()


def test_table_says_what_the_figures_were_taken_with():
    text = format_table(make_result())
    assert "landscape classifier of sg2im_pyg" in text
    assert "predicted boxes and true masks" in text
    assert "1,000 pictures of 64 x 64 with 5,012 objects: landscapes, test.h5" in text
    result = make_result()
    result["network"] = None
    for row in result["systems"]:
        row["pictures"] = None
    assert "no network" in format_table(result)
    assert [row.split()[-4:] for row in body(format_table(result))] == [["-"] * 4] * 3


@pytest.mark.parametrize("path", ["C:\\data\\test.h5", "/data/test.h5", "test.h5"])
def test_paths_of_any_system_are_shortened_to_their_file(path):
    result = make_result()
    result["data"]["file"] = path
    assert format_table(result).splitlines()[0].endswith("landscapes, test.h5")


def test_numbers_that_are_none_become_a_dash():
    result = make_result()
    result["systems"][1]["pictures"]["fid"] = float("nan")
    result["systems"][1]["layout"]["mask_iou"] = float("inf")
    cells = body(format_table(result))[1].split()
    assert cells.count("-") == 2 and "nan" not in cells and "inf" not in cells


def test_a_deviation_of_one_split_says_nothing_and_is_left_out():
    result = make_result()
    result["systems"][1]["pictures"]["inception_score"]["splits"] = 1
    found = {key: figure_of(result["systems"][1], metric) for key, metric in METRICS.items()}
    assert found["inception_score"] == (5.1049, None)
    assert found["kid"] == (0.04126, 0.0021)
    assert found["mean_iou"] == (0.4111, None)


# Names


def test_long_names_are_cut_in_the_middle_and_stay_different():
    result = make_result()
    names = ["run-20261123-" + "x" * 60 + f"{k}" + "y" * 30 for k in range(2)]
    for row, name in zip(result["systems"][1:], names, strict=True):
        row["name"] = name
    rows = body(format_table(result))[1:]
    shown = [row.split()[0] for row in rows]
    assert shown[0] != shown[1]
    for short, name in zip(shown, names, strict=True):
        head, tail = short.split("...")
        assert name.startswith(head) and name.endswith(tail) and len(short) < len(name)


@given(st.text(), st.integers(5, 40))
def test_a_shortened_name_has_the_width_asked_for(text, width):
    short = shorten(text, width)
    assert short == text if len(text) <= width else len(short) == width


@given(st.text(min_size=1))
def test_no_name_breaks_lines_or_reaches_the_terminal_as_a_command(name):
    result = make_result()
    result["systems"][1]["name"] = name
    result["systems"][1]["categories"][0]["name"] = name
    text = format_table(result)
    assert len(body(text)) == 3
    for part in (text, format_categories(result["systems"][1])):
        assert all(c == "\n" or c.isprintable() for c in part)
        part.encode("utf-8")


def test_wide_characters_keep_the_columns_aligned():
    result = make_result()
    result["systems"][2]["name"] = "画像生成"

    def cells(line):
        return sum(2 if unicodedata.east_asian_width(c) == "W" else 1 for c in line)

    assert len({cells(row) for row in body(format_table(result))}) == 1


# Best values


def best(key, values, true=None, kinds=None):
    metric = METRICS[key]
    kinds = kinds or ["checkpoint"] * len(values)
    rows = [
        {"kind": kind, metric.group: {key: value}}
        for kind, value in zip(["data", *kinds], [true, *values], strict=True)
    ]
    return {position - 1 for position in best_systems(rows, metric)}


def test_best_is_the_highest_the_lowest_or_the_nearest_to_the_true_pictures():
    assert best("box_recall_0.5", [0.1, 0.4, 0.3], true=1.0) == {1}
    assert best("fid", [40.0, 30.0, 50.0], true=0.0) == {1}
    assert best("sigma_x", [0.05, 0.17, 0.3], true=0.19) == {1}


def test_equal_as_shown_is_equally_good():
    assert best("mean_iou", [0.41114, 0.41106, 0.4]) == {0, 1}


def test_there_is_no_best_of_one_or_without_what_it_is_measured_by():
    assert best("mean_iou", [0.4], true=1.0) == set()
    assert best("mean_iou", [0.4, None], true=1.0) == set()
    assert best("sigma_x", [0.1, 0.2]) == set()


# Categories


def test_categories_stand_by_their_number_of_objects():
    text = format_categories(make_result()["systems"][1])
    assert text.splitlines()[0] == "best.pt by category"
    assert [row.split() for row in body(text)] == [
        ["sky", "990", *["0.750"] * 6],
        ["sun", "47", *["0.250"] * 6],
    ]


def test_only_so_many_categories_are_shown_as_asked_for():
    row = make_result()["systems"][1]
    text = format_categories(row, limit=1)
    assert "sky" in text and "sun" not in text
    assert text.splitlines()[-1] == "and 1 less frequent category"
    assert format_categories(row, limit=2) == format_categories(row)


def test_a_system_without_layouts_has_no_categories():
    text = format_categories(make_result()["systems"][2])
    assert text.startswith("other_system") and "\n" not in text


# Markdown


def markdown_rows(text):
    lines = text.split("\n\n")[0].splitlines()
    return [
        [cell.strip() for cell in line.replace("\\|", "").strip("|").split("|")] for line in lines
    ]


def test_markdown_is_a_table_with_the_best_in_bold():
    heads, rule, true, row, other = markdown_rows(format_markdown(make_result()))
    assert heads[1] == "Box recall at IoU 0.3 ↑" and heads[9] == "FID ↓"
    assert set(rule[1:]) == {"---:"}
    assert row == [
        *["best.pt", "0.601", "0.372", "0.411", "0.113", "0.051", "0.801", "0.701"],
        *["**5.10** ± 0.12", "**45.13**", "**0.0413** ± 0.0021", "1,000"],
    ]
    assert "**" not in "".join([*true, *other])
    assert "landscape classifier of sg2im\\_pyg" in format_markdown(make_result())


@pytest.mark.parametrize("name", ["a|b", "<script>alert(1)</script>", "*a*", "[a](b)", "a\nb"])
def test_names_are_no_markup_in_markdown(name):
    result = copy.deepcopy(make_result())
    result["systems"][2]["name"] = name
    text = format_markdown(result)
    rows = markdown_rows(text)
    columns = [metric for metric in METRICS.values() if not metric.optional]
    assert len(rows) == 5 and {len(row) for row in rows} == {len(columns) + 2}
    assert "<script" not in text.replace("\\<", "") and " *a*" not in text and "[a](" not in text
