"""Bar charts: a bar is as long as its value."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from sg2im_pyg.drawing import charts


def bars(path, colour):
    """Length in pixels of each bar of a colour, from top to bottom."""
    pixels = np.array(Image.open(path).convert("RGB")).astype(int)
    wanted = np.array([round(255 * value) for value in to_rgb(colour)])
    lengths = (np.abs(pixels - wanted).max(2) <= 2).sum(1)
    rows = [0, *lengths.tolist(), 0]
    starts = [k for k in range(1, len(rows)) if rows[k] > 20 >= rows[k - 1]]
    return [rows[k + 3] for k in starts]


def test_bars_are_as_long_as_their_values(tmp_path):
    values = [0.5, 2.0, None, 1.0]
    path = tmp_path / "a.png"
    names = ["one", "two", "a row without a value", "four"]
    charts.render_row_charts(path, [("Title", names, {"": values}, None, None)], "A footnote")
    found = bars(path, charts._COLOURS[0])
    assert len(found) == 3
    assert [length / found[1] for length in found] == pytest.approx([0.25, 1, 0.5], abs=0.02)


@pytest.mark.parametrize("value", [0.0, None, 1e-9, 1e9])
def test_values_of_any_size_and_one_row_can_be_drawn(tmp_path, value):
    chart = ("T", ["$a_b$ \N{GREEK SMALL LETTER SIGMA}"], {"": [value]}, {"": [0.1]}, (2.0, "true"))
    charts.render_row_charts(tmp_path / "a.png", [chart], "")
    assert Image.open(tmp_path / "a.png").width > 1000


def test_each_series_has_its_own_spread_and_any_name(tmp_path):
    series = {"_hidden $\\frac$": [0.2, None], "b": [0.9, 0.4]}
    spread = {"_hidden $\\frac$": [(0.1, 0.3), None], "b": [0.05, None]}
    chart = ("$\\frac$", ["$x", "y$"], series, spread, (0.5, "$\\"))
    charts.render_row_charts(tmp_path / "a.png", [chart], "$\\frac$")
    _, only = bars(tmp_path / "a.png", charts._COLOURS[0])  # the first is the legend's
    _, longer, shorter = bars(tmp_path / "a.png", charts._COLOURS[1])
    assert [only / longer, shorter / longer] == pytest.approx([0.2 / 0.9, 0.4 / 0.9], abs=0.03)
