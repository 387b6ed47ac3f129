"""Metrics of boxes, masks and relations against plain loops in numpy and pycocotools."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from sg2im_pyg.metrics import (
    box_diversity,
    box_iou,
    box_recall,
    mask_iou,
    relation_accuracy,
    relations_hold,
)

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


def test_iou_of_boxes_equals_that_of_pycocotools():
    corners = torch.rand(200, 2, 2, 2, dtype=torch.float64).sort(2).values
    predicted, true = corners.flatten(2).unbind(1)
    as_coco = [
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        for boxes in (predicted.numpy(), true.numpy())
    ]
    expected = np.diagonal(coco_mask.iou(as_coco[0], as_coco[1], [0] * 200))
    np.testing.assert_allclose(box_iou(predicted, true).numpy(), expected, atol=1e-12)


def encoded(masks):
    return coco_mask.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))


def test_iou_of_masks_equals_that_of_pycocotools():
    generator = torch.Generator().manual_seed(0)
    predicted = torch.rand(60, 16, 16, generator=generator) + torch.linspace(-0.5, 0.5, 60)[
        :, None, None
    ].clamp(-0.45, 0.45)
    true = (torch.rand(60, 16, 16, generator=generator) > 0.4).float()
    predicted[0], true[1] = 0, 0
    expected = np.diagonal(coco_mask.iou(encoded(predicted >= 0.5), encoded(true >= 0.5), [0] * 60))
    found = mask_iou(predicted, true)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert found[0] == found[1] == 0
    assert mask_iou(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)).tolist() == [0]
    assert mask_iou(torch.zeros(0, 4, 4), torch.zeros(0, 8, 8)).shape == (0,)


def test_masks_of_another_size_are_brought_to_the_true_ones():
    half = torch.zeros(1, 4, 4)
    half[:, :, :2] = 1
    fine = torch.zeros(1, 16, 16)
    fine[:, :, :8] = 1
    assert mask_iou(half, fine).item() == pytest.approx(1)
    assert mask_iou(fine, half).item() == pytest.approx(1)
    assert mask_iou(half, torch.ones(1, 16, 16)).item() == pytest.approx(0.5)


@pytest.mark.parametrize("shapes", [((2, 4, 4), (3, 4, 4)), ((2, 4), (2, 4)), ((4, 4), (1, 4, 4))])
def test_shapes_that_are_no_masks_raise(shapes):
    with pytest.raises(ValueError, match=r"must have the shapes \(O, M, M\)"):
        mask_iou(*(torch.zeros(shape) for shape in shapes))


def direct_relation(boxes, masks, subject, obj):
    """The paper's rules with angles, as they are written down (Section 4.1)."""

    def centre(k):
        x0, y0, x1, y1 = boxes[k]
        ys, xs = np.nonzero(masks[k] >= 0.5)
        if not len(xs):
            return (x0 + x1) / 2, (y0 + y1) / 2
        size = masks.shape[-1] - 1
        return x0 + xs.mean() / size * (x1 - x0), y0 + ys.mean() / size * (y1 - y0)

    s, o = boxes[subject], boxes[obj]
    if s[0] < o[0] and s[1] < o[1] and s[2] > o[2] and s[3] > o[3]:
        return "surrounding"
    if s[0] > o[0] and s[1] > o[1] and s[2] < o[2] and s[3] < o[3]:
        return "inside"
    (sx, sy), (ox, oy) = centre(subject), centre(obj)
    quarter = (math.degrees(math.atan2(sy - oy, sx - ox)) + 45) % 360 // 90
    return ("right of", "below", "left of", "above")[int(quarter)]


def test_relations_that_hold_are_those_of_a_direct_loop():
    generator = np.random.default_rng(0)
    boxes = np.sort(generator.random((40, 2, 2)), axis=1).reshape(40, 4)
    masks = (generator.random((40, 8, 8)) > 0.7).astype(np.float64)
    masks[::7] = 0
    edges = generator.integers(0, 40, (2, 300))
    edges = edges[:, edges[0] != edges[1]]
    asked = generator.integers(0, 6, edges.shape[1])
    expected = [
        direct_relation(boxes, masks, s, o) == GEOMETRIC_PREDICATES[kind]
        for s, o, kind in zip(*edges, asked, strict=True)
    ]
    arguments = [torch.from_numpy(value) for value in (boxes, masks, edges, asked)]
    assert relations_hold(*arguments).tolist() == expected
    assert 0 < sum(expected) < len(expected)
    assert relation_accuracy(*arguments) == pytest.approx(np.mean(expected))


def test_no_relations_give_no_number_and_wrong_numbers_raise():
    boxes, edges = torch.rand(3, 4), torch.zeros(2, 0, dtype=torch.long)
    assert math.isnan(relation_accuracy(boxes, None, edges, torch.zeros(0, dtype=torch.long)))
    with pytest.raises(ValueError, match="must have the shapes"):
        relation_accuracy(boxes, None, edges, torch.zeros(1, dtype=torch.long))
