"""Metrics of boxes against plain loops in numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sg2im_pyg.metrics import box_diversity, box_iou, box_recall

SIDE = st.one_of(st.floats(-0.5, 1.5), st.sampled_from([0.0, 0.5, 1.0]))
BOXES = st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE), max_size=6)


def area(x0, y0, x1, y1):
    return max(x1 - x0, 0) * max(y1 - y0, 0)


def direct_iou(a, b):
    common = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    union = area(*a) + area(*b) - common
    return common / union if union > 0 else 0.0


@settings(deadline=None)
@given(BOXES)
def test_iou_and_recall_equal_a_loop(rows):
    table = torch.tensor(rows, dtype=torch.float64).view(-1, 8)
    predicted, true = table[:, :4], table[:, 4:]
    expected = [direct_iou(a, b) for a, b in zip(predicted.tolist(), true.tolist(), strict=True)]
    iou = box_iou(predicted, true)
    np.testing.assert_allclose(iou.numpy(), expected, rtol=0, atol=1e-12)
    assert ((iou >= 0) & (iou <= 1)).all()
    torch.testing.assert_close(box_iou(true, predicted), iou)
    for threshold in (0.3, 0.5):
        # A pair that is on the threshold but for rounding may fall on either side.
        if rows and not np.isclose(expected, threshold, atol=1e-9).any():
            share = sum(value >= threshold for value in expected) / len(rows)
            assert box_recall(predicted, true, threshold) == pytest.approx(share)


def test_known_overlaps():
    whole, half = [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0]
    quarter, apart = [0.0, 0.0, 0.5, 0.5], [2.0, 2.0, 3.0, 3.0]
    true = torch.tensor([whole] * 4)
    predicted = torch.tensor([whole, half, quarter, apart])
    assert box_iou(predicted, true).tolist() == [1.0, 0.5, 0.25, 0.0]
    assert box_recall(predicted, true, 0.5) == 0.5  # on the threshold counts
    assert box_recall(predicted, true, 0.3) == 0.5
    assert box_recall(predicted, true, 0.25) == 0.75
    assert box_recall(predicted, true, 0.0) == 1.0


def test_no_boxes_give_no_number():
    none = torch.zeros(0, 4)
    assert box_iou(none, none).shape == (0,)
    assert math.isnan(box_recall(none, none, 0.5))
    spread = box_diversity(none, torch.zeros(0, dtype=torch.long))
    assert all(math.isnan(value) for value in spread)


@pytest.mark.parametrize("shapes", [((2, 4), (3, 4)), ((2, 3), (2, 3)), ((4,), (4,))])
def test_shapes_that_are_no_boxes_raise(shapes):
    with pytest.raises(ValueError, match=r"both have the shape \(O, 4\), got"):
        box_iou(*(torch.zeros(shape) for shape in shapes))


@settings(deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE, st.sampled_from([0, 3, 7])), min_size=1))
def test_diversity_equals_a_loop(rows):
    by_category: dict[int, list] = {}
    for *box, category in rows:
        by_category.setdefault(category, []).append(box)
    spread_x = [np.std([(b[0] + b[2]) / 2 for b in boxes]) for boxes in by_category.values()]
    spread_area = [np.std([area(*b) for b in boxes]) for boxes in by_category.values()]
    boxes = torch.tensor([row[:4] for row in rows], dtype=torch.float64)
    categories = torch.tensor([row[4] for row in rows])
    found = box_diversity(boxes, categories)
    assert found == pytest.approx((np.mean(spread_x), np.mean(spread_area)), abs=1e-12)


def test_diversity_of_single_precision_is_computed_in_double():
    boxes = torch.tensor([[0.1, 0.0, 0.3, 1.0]]).repeat(1000, 1)
    spread = box_diversity(boxes, torch.zeros(1000, dtype=torch.long))
    assert spread == pytest.approx((0, 0), abs=1e-12)
