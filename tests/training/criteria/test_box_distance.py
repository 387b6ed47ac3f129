"""Distances of boxes against formulas, COCO's own counting and counted pixels."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from sg2im_pyg.training.criteria import box_loss, overlaps


def test_box_loss_is_squared_or_absolute():
    predicted, true = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.5, 0, 1, 1]])
    assert box_loss("squared", predicted, true).item() == pytest.approx(0.25 / 4)
    assert box_loss("l1", predicted, true).item() == pytest.approx(0.5 / 4)


def boxes_of_pixels():
    """Whole pixels, some of them of nothing in common."""
    random = np.random.default_rng(0)
    corners = random.integers(0, 20, (40, 2, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 12, (40, 2, 2))], axis=2)
    return boxes[:, 0].astype(np.float64), boxes[:, 1].astype(np.float64)


def generalised_iou(one, other):
    """Pixel by pixel."""

    def pixels(box):
        x0, y0, x1, y1 = map(int, box)
        return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}

    own, theirs = pixels(one), pixels(other)
    around = pixels([*np.minimum(one[:2], other[:2]), *np.maximum(one[2:], other[2:])])
    union = own | theirs
    return len(own & theirs) / len(union) - (len(around) - len(union)) / len(around)


def test_overlaps_are_those_of_coco_and_of_counted_pixels():
    one, other = boxes_of_pixels()
    iou, empty = overlaps(torch.from_numpy(one), torch.from_numpy(other))
    with_sizes = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (one, other)]
    expected = np.diag(coco.iou(*with_sizes, [0] * len(one)))
    assert 0 < (expected == 0).sum() < len(one)
    np.testing.assert_allclose(iou.numpy(), expected, atol=1e-12)
    expected = [generalised_iou(*pair) for pair in zip(one, other, strict=True)]
    np.testing.assert_allclose((iou - empty).numpy(), expected, atol=1e-12)


def test_overlaps_of_boxes_without_an_area_are_numbers():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.8, 0.8, 0.2, 0.2]], requires_grad=True)
    for others in (boxes.detach(), torch.tensor([[0.0, 0, 1, 1], [0.4, 0.4, 0.6, 0.6]])):
        iou, empty = overlaps(boxes, others)
        assert (iou == 0).all() and empty.min() >= 0 and empty.max() <= 1
        (gradient,) = torch.autograd.grad((iou + empty).sum(), boxes)
        assert gradient.isfinite().all()


def test_box_losses_by_overlap_follow_their_formulas():
    one, other = (boxes / 32 for boxes in boxes_of_pixels())
    tensors = torch.from_numpy(one), torch.from_numpy(other)
    giou = np.array([generalised_iou(a * 32, b * 32) for a, b in zip(one, other, strict=True)])
    expected = np.abs(one - other).mean() + (1 - giou).mean()
    assert box_loss("giou", *tensors).item() == pytest.approx(expected, abs=1e-12)
    iou = overlaps(*tensors)[0].numpy()
    expected = ((one - other) ** 2).mean() + 0.1 * (1 / (1 + np.exp((iou - 0.5) / 0.1))).mean()
    assert box_loss("recall", *tensors).item() == pytest.approx(expected, abs=1e-12)


def test_the_recall_loss_leads_to_one_of_two_places_and_the_squared_one_between_them():
    places = torch.tensor([[0.1, 0.3, 0.5, 0.7], [0.5, 0.3, 0.9, 0.7]], dtype=torch.float64)
    ends = {}
    for distance in ("squared", "recall"):
        box = torch.tensor([[0.2, 0.3, 0.6, 0.7]], dtype=torch.float64, requires_grad=True)
        for _ in range(2000):  # nearer to the first
            (gradient,) = torch.autograd.grad(box_loss(distance, box.expand(2, 4), places), box)
            box = (box - 0.05 * gradient).detach().requires_grad_()
        ends[distance] = overlaps(box.expand(2, 4), places)[0]
    assert ends["squared"].max() < 0.5
    assert ends["recall"][0] > 0.5 > ends["recall"][1]
