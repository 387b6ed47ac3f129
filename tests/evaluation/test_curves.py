"""TensorBoard: what an evaluation writes is there, at its step, and stays there."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sg2im_pyg.drawing import contact_sheet
from sg2im_pyg.evaluation.curves import run_names, write_curves
from sg2im_pyg.evaluation.report import Example
from tests.evaluation.test_table import make_result


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def read(folder):
    """Events of one folder; those below it are runs of their own."""
    events = EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def points(folder, tag):
    return [
        (event.step, pytest.approx(event.value, rel=1e-6)) for event in read(folder).Scalars(tag)
    ]


def text(folder, tag):
    (event,) = read(folder).Tensors(f"evaluation/{tag}/text_summary")
    return event.tensor_proto.string_val[0].decode("utf-8"), event.step


def test_figures_stand_at_the_step_of_their_system(tmp_path):
    write_curves(tmp_path, make_result(), {})
    run = tmp_path / "best.pt"
    for name, value in {
        "box_recall_0.3": 0.6012,
        "mean_iou": 0.4111,
        "sigma_x": 0.1125,
        "relation_accuracy": 0.8009,
        "inception_score": 5.1049,
        "inception_score_deviation": 0.1234,
        "fid": 45.126,
        "kid": 0.04126,
    }.items():
        assert points(run, f"evaluation/{name}") == [(800, value)]
    assert points(run, "evaluation_categories/sky/box_recall_0.5") == [(800, 0.75)]
    assert points(run, "evaluation_categories/sun/box_recall_0.3") == [(800, 0.25)]
    assert points(tmp_path / "other_system", "evaluation/fid") == [(0, 50.0)]
    assert points(tmp_path / "true pictures", "evaluation/sigma_x") == [(0, 0.1871)]
    # What was not taken has no curve.
    assert "evaluation/mean_iou" not in read(tmp_path / "true pictures").Tags()["scalars"]


def test_a_later_evaluation_adds_points(tmp_path):
    result = make_result()
    for step, fid in ((800, 45.0), (1600, 30.0), (400, 60.0)):  # the last is an older checkpoint
        result["systems"][1]["step"] = step
        result["systems"][1]["pictures"]["fid"] = fid
        write_curves(tmp_path, result, {})
    found = points(tmp_path / "best.pt", "evaluation/fid")
    assert sorted(step for step, _ in found) == [400, 800, 1600]


def test_a_system_alone_has_the_folder_for_itself(tmp_path):
    result = make_result()
    result["systems"] = result["systems"][1:2]
    write_curves(tmp_path, result, {})
    assert points(tmp_path, "evaluation/mean_iou") == [(800, 0.4111)]
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_table_and_settings_are_text(tmp_path):
    write_curves(tmp_path, make_result(), {})
    table, step = text(tmp_path, "table")
    assert step == 800 and "| best.pt | 0.601 |" in table
    assert "landscape classifier of sg2im\\_pyg" in table
    settings, _ = text(tmp_path, "settings")
    for line in ("- settings: masks: true", "- settings: limit: -", "- system: best.pt: /abs/best"):
        assert line in settings


def test_sections_are_sheets_of_their_system(tmp_path):
    rows = [
        Example(f"picture {k}", None if k else 0.414, "best.pt", {"true": picture(k)})
        for k in range(2)
    ]
    rows[1].images["generated"] = picture(5)
    foreign = Example("picture 9", 0.1, "not in the table", {"true": picture(9)})
    write_curves(tmp_path, make_result(), {"Best by IoU: best.pt": [*rows, foreign], "None": []})
    events = read(tmp_path / "best.pt")
    assert events.Tags()["images"] == ["evaluation/Best by IoU"]
    (event,) = events.Images("evaluation/Best by IoU")
    expected = contact_sheet(
        [[picture(0), None], [picture(1), picture(5)]],
        ["true", "generated"],
        ["picture 0, IoU 0.41", "picture 1"],
        160,
    )
    shown = Image.open(io.BytesIO(event.encoded_image_string))
    assert event.step == 800 and np.array_equal(np.asarray(shown), np.asarray(expected))
    assert not read(tmp_path / "other_system").Tags()["images"]


@pytest.mark.parametrize(
    "name", ["../../outside", "/abs/run", "C:\\run", "a\x00b", "..", "", "aux.pt"]
)
def test_names_lead_to_no_other_folder(tmp_path, name):
    result = make_result()
    result["systems"][2]["name"] = name
    folder = tmp_path / "tensorboard"
    write_curves(folder, result, {})
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]
    runs = [path for path in folder.iterdir() if path.is_dir()]
    assert len(runs) == 3
    for run in runs:
        assert not set(run.name) & set('<>:"/\\|?*\x00') and run.name[-1] not in " ."
        assert run.name.split(".")[0].upper() not in ("CON", "PRN", "AUX", "NUL")


def test_runs_of_different_systems_are_different():
    runs = run_names(["a/b", "a:b", "A-B", "a-b (2)", "x" * 200, "x" * 300])
    assert len({run.lower() for run in runs}) == 6
    assert runs[0] == "a-b" and max(map(len, runs)) < 100
    # File systems count bytes, of which each of these characters has four.
    assert max(len(run.encode()) for run in run_names(["\U0001d49c" * 80] * 11)) < 255
