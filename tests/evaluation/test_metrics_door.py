"""A metric is a function and a row: those of this file appear wherever figures are shown."""

import csv
import io

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sg2im_pyg import Sg2Im
from sg2im_pyg.evaluation.ablation_tables import format_csv, table_1, table_2, write_tables
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.curves import write_curves
from sg2im_pyg.evaluation.evaluate import evaluate
from sg2im_pyg.evaluation.registry import METRICS, Metric, register_metric
from sg2im_pyg.evaluation.report import write_report
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.evaluation.table import format_categories, format_markdown, format_table


def covered(layouts):
    """Share of the objects whose predicted box holds the centre of the true one."""
    centre = (layouts.true_boxes[:, :2] + layouts.true_boxes[:, 2:]) / 2
    inside = (centre >= layouts.boxes[:, :2]) & (centre <= layouts.boxes[:, 2:])
    return inside.all(1).double().mean()


def feature_mean(pictures):
    """Mean of the features, with the deviation over two halves of the pictures."""
    halves = [half.mean() for half in pictures.own.features.double().chunk(2)]
    values = torch.stack(halves)
    pictures.notes.append("The toy was taken.")
    return {"mean": values.mean().item(), "deviation": values.std().item(), "halves": 2}


@pytest.fixture
def metrics():
    """Two metrics, which are gone afterwards."""
    before = dict(METRICS)
    added = [
        Metric(
            key="covered",
            title="Covered centres",
            heads=("", "centres"),
            group="layout",
            compute=covered,
            meaning="Share of the objects whose box holds the true centre.",
            source="These tests",
            by_category=True,
            curve_by_category=True,
            share=True,
            chart=("Centres", ""),
        ),
        Metric(
            key="feature_mean",
            title="Feature mean",
            heads=("feature", "mean"),
            group="pictures",
            compute=feature_mean,
            meaning="What the network says on average.",
            better="near",
            digits=2,
            deviation_over="halves",
            alone=True,
            chart=("Features", ""),
        ),
    ]
    yield [register_metric(metric) for metric in added]
    METRICS.clear()
    METRICS.update(before)


def test_a_metric_of_ones_own_is_computed_and_shown_everywhere(
    metrics, stores, checkpoint, tmp_path
):
    config = EvaluationConfig(
        data=str(stores["test"]),
        checkpoint=[str(checkpoint)] * 2,
        names=["ours", "again"],
        device="cpu",
        network="landscapes",
        splits=2,
        examples=0,
    )
    evaluation = evaluate(config)
    result, (true, ours, _) = evaluation.result, evaluation.result["systems"]

    # In the result, as a loop over pictures has it.
    model, split = Sg2Im.from_pretrained(checkpoint), Split(stores["test"])
    found = []
    for index in range(12):
        graph = split.graphs([index], 0, "geometric")
        with torch.no_grad():
            boxes = model(graph).boxes
        for box, (x0, y0, x1, y1) in zip(boxes[graph.x != 0], graph.boxes[graph.x != 0]):
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            found.append(bool(box[0] <= x <= box[2] and box[1] <= y <= box[3]))
    value = sum(found) / len(found)
    assert ours["layout"]["covered"] == pytest.approx(value) and 0 < value < 1
    assert all(0 <= row["covered"] <= 1 for row in ours["categories"])
    assert ours["pictures"]["feature_mean"].keys() == {"mean", "deviation", "halves"}
    assert "The toy was taken." in ours["pictures"]["notes"]
    # The true pictures have what is taken without others.
    assert true["layout"]["covered"] is None and true["pictures"]["feature_mean"]["mean"] > 0

    # In the tables.
    mean = ours["pictures"]["feature_mean"]["mean"]
    table = format_table(result)
    assert "centres" in table and f"{value:.3f}" in table and f"{mean:.2f} +- " in table
    assert "Sigma x, Sigma area and Feature mean: near to" in table.replace("\n", " ")
    assert "centres" in format_categories(ours)
    markdown = format_markdown(result)
    assert "| Covered centres ↑ |" in markdown and "| Feature mean ≈ |" in markdown
    assert f"**{value:.3f}**" in markdown and f"**{mean:.2f}** ± " in markdown
    assert "KID and Feature mean by landscape classifier" in markdown.replace("\\", "")

    # In the report: columns, bars by category and the meaning.
    write_report(tmp_path / "report.html", result, evaluation.examples)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("Covered centres") == 4  # a column, its meaning, bars of two systems
    assert "box holds the true centre." in page and "These tests." in page
    assert "What the network says on average." in page and "Not in the paper." in page

    # In TensorBoard.
    write_curves(tmp_path / "curves", result, {})
    events = EventAccumulator(str(tmp_path / "curves" / "ours"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"evaluation/covered", "evaluation_categories/sky/covered"} <= set(tags)
    assert {"evaluation/feature_mean", "evaluation/feature_mean_deviation"} <= set(tags)

    # In the tables of the ablation.
    rows = [
        {
            "title": row["name"],
            "layout_is": "predicted",
            **{k: row[k] for k in ("layout", "pictures")},
        }
        for row in result["systems"][1:]
    ]
    ablation = {**result, "rows": rows, "true_pictures": None}
    assert table_2(ablation)[0][-1] == "centres ↑" and table_2(ablation)[1][0][-1] == f"{value:.3f}"
    assert table_1(ablation)[0][-1] == "feature mean ≈"
    [line, _] = csv.DictReader(io.StringIO(format_csv(ablation)))
    assert float(line["layout.covered"]) == pytest.approx(value)
    write_tables(tmp_path / "tables", ablation)


def test_afterwards_it_is_gone():
    assert list(METRICS)[-1] == "diversity" and "covered" not in METRICS
