"""Which rows there are, when a training is taken, and what the tables say."""

import csv
import io
from dataclasses import asdict, replace

import pytest
from PIL import Image

from sg2im_pyg import Sg2ImError
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.evaluation.ablation import ROWS, choose_rows, training_state_of
from sg2im_pyg.evaluation.ablation_tables import (
    format_csv,
    format_markdown,
    table_1,
    table_2,
    write_tables,
)
from sg2im_pyg.training.config import DataConfig, OptimizerConfig, TrainingConfig

from .conftest import tiny_model


def test_rows_are_those_of_the_paper():
    assert [row.title for row in ROWS] == [
        "full",
        "no graph convolution",
        "no relationships",
        "no discriminators",
        "no object discriminator",
        "no image discriminator",
        "true layout",
        "true layout without graph convolution",
    ]
    assert {row.training for row in ROWS if row.layout == "true"} == {"full", "no_gconv"}
    assert [row.slug for row in choose_rows(["true_layout", "full"])] == ["full", "true_layout"]
    assert choose_rows(None) == list(ROWS)
    with pytest.raises(Sg2ImError, match="no row 'fll': the rows are full, no_gconv"):
        choose_rows(["fll"])


def test_a_training_is_taken_only_with_the_same_options(tmp_path):
    config = TrainingConfig(steps=10)
    run_dir = tmp_path / "full"
    assert training_state_of(run_dir, config) == ("new", 0)
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text("steps: 10\n", encoding="utf-8")
    assert training_state_of(run_dir, config) == ("begun", 0)
    for step, state in ((4, "begun"), (10, "done")):
        training = {"config": asdict(config), "progress": {"step": step}}
        save_checkpoint(run_dir / "checkpoints" / "last.pt", tiny_model(), training)
        assert training_state_of(run_dir, config) == (state, step)
    elsewhere = replace(config, data=DataConfig(root="/another/place", workers=7), log_every=3)
    assert training_state_of(run_dir, elsewhere) == ("done", 10)
    other = replace(config, optimizer=OptimizerConfig(lr=0.5))
    with pytest.raises(Sg2ImError, match=r"optimizer.lr: 0.0001 there, 0.5 asked for"):
        training_state_of(run_dir, other)
    save_checkpoint(run_dir / "checkpoints" / "last.pt", tiny_model())
    with pytest.raises(Sg2ImError, match="does not say how it was trained"):
        training_state_of(run_dir, config)


def entry(title, number, layout_is="predicted", network=True):
    names = ["box_recall_0.3", "box_recall_0.5", "mean_iou", "sigma_x", "sigma_area", "mask_iou"]
    layout = {name: number + k / 10 for k, name in enumerate(names)}
    pictures = {
        "inception_score": {"mean": 5 + number, "deviation": 0.25, "splits": 5},
        "fid": 10 * number,
        "kid": {"mean": number / 7, "deviation": 0.001},
        "notes": ["one"],
    }
    return {
        "row": title.replace(" ", "_"),
        "title": title,
        "checkpoint": "/x/last.pt",
        "layout_is": layout_is,
        "layout": {**layout, "relations": 10, "relation_accuracy": 0.5, "objects": 3},
        "pictures": pictures if network else None,
    }


def outcome(network=True):
    return {
        "steps": 800,
        "data": {"file": "/data/test.h5", "source": "landscapes", "pictures": 1000},
        "settings": {"graphs_per_picture": 1},
        "network": {"name": "a | network"} if network else None,
        "true_pictures": {"mean": 8.25, "deviation": 0.1} if network else None,
        "rows": [
            entry("full", 0.125, network=network),
            entry("true layout", 0.5, "true", network=network),
        ],
    }


def test_tables_hold_the_figures():
    heads, rows = table_1(outcome())
    assert heads[0] == "row" and [row[0] for row in rows] == ["full", "true layout"]
    assert rows[0][1:] == ["5.12 ± 0.25", "1.25", "0.0179 ± 0.0010"]
    heads, rows = table_2(outcome())
    assert len(rows) == 1 and len(rows[0]) == len(heads)  # true layouts are not predicted
    assert rows[0][:3] == ["full", "0.125", "0.225"]
    text = format_markdown(outcome())
    widths = {line.count("|") - line.count("\\|") for line in text.splitlines() if "|" in line[:1]}
    assert widths == {5, 9}
    assert "800 training steps" in text and "8.25" in text and "a | network" in text


def test_without_a_network_there_are_dashes(tmp_path):
    _, rows = table_1(outcome(network=False))
    assert rows[0][1:] == ["-", "-", "-"]
    write_tables(tmp_path, outcome(network=False))


def test_csv_is_read_back():
    rows = list(csv.DictReader(io.StringIO(format_csv(outcome()))))
    assert [row["row"] for row in rows] == ["full", "true_layout"]
    assert float(rows[0]["layout.box_recall_0.3"]) == 0.125
    assert float(rows[1]["pictures.inception_score.mean"]) == 5.5
    assert not any("notes" in name for name in rows[0])


def test_files_are_written_and_the_plot_is_a_picture(tmp_path):
    paths = write_tables(tmp_path / "new", outcome())
    assert [path.name for path in paths] == ["tables.md", "tables.csv", "tables.png"]
    with Image.open(paths[2]) as plot:
        assert plot.format == "PNG" and plot.width > 1000
        assert len(plot.convert("RGB").getcolors(2**20)) > 20
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in paths
    )
