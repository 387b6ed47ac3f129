"""The cross-entropy of pixels' categories against loops."""

import numpy as np
import pytest
import torch

from sg2im_pyg.training.criteria import (
    category_weights,
    log_odds,
    pixels_of_categories,
    segmenting_loss,
)


def test_the_segmenting_loss_counts_categories_alike():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 5, 4, 4))
    labels = random.random((2, 4, 4, 4))
    labels[:, 2] = 0  # not in the batch
    true = labels.argmax(axis=1)
    present = sorted(set(true.flatten()))
    assert present == [0, 1, 3]
    total = 0.0
    for category in present:
        places = np.argwhere(true == category)
        own = 0.0
        for n, y, x in places:
            values = logits[n, :, y, x]
            own += np.log(np.exp(values).sum()) - values[category]
        total += own / len(places) / len(present)
    found = segmenting_loss(torch.from_numpy(logits), torch.from_numpy(labels))
    assert found.item() == pytest.approx(total, abs=1e-12)


def test_pixels_without_weight_do_not_count_in_the_segmenting_loss():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 3, 5).double(), torch.rand(2, 3, 3, 5).double()
    visible = (torch.rand(2, 3, 5) < 0.6).double()
    weights = category_weights(pixels_of_categories(labels))
    total = 0.0
    for n, y, x in visible.nonzero().tolist():
        category = labels[n, :, y, x].argmax()
        total -= weights[category] * logits[n, :, y, x].log_softmax(0)[category]
    found = segmenting_loss(logits, labels, weights, visible)
    assert found.item() == pytest.approx(total.item() / 30)
    ones = torch.ones_like(visible)
    assert segmenting_loss(logits, labels, weights, ones) == segmenting_loss(
        logits, labels, weights
    )


def test_the_weight_of_a_category_is_bounded_and_that_of_an_absent_one_is_zero():
    pixels = torch.tensor([9_000.0, 0.0, 999.0, 1.0])
    weights = category_weights(pixels)
    assert weights.tolist() == pytest.approx([10_000 / 9_000 / 3, 0, 10_000 / 999 / 3, 20])
    labels = torch.nn.functional.one_hot(torch.tensor([[[2, 0], [2, 2]]]), 4).movedim(3, 1)
    assert pixels_of_categories(labels.double()).tolist() == [1, 0, 3, 0]


def test_the_segmenting_loss_of_parts_adds_up_to_that_of_the_whole():
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 4, 3, 3).double(), torch.rand(4, 3, 3, 3).double()
    weights = category_weights(pixels_of_categories(labels))
    parts = [segmenting_loss(logits[i], labels[i], weights) for i in ([0], [1, 2, 3])]
    whole = segmenting_loss(logits, labels)
    assert whole.item() == pytest.approx(parts[0].item() / 4 + parts[1].item() * 3 / 4)


def test_log_odds_are_those_of_the_probability_to_be_generated():
    logits = torch.randn(2, 4, 3, 3).double()
    generated = logits.softmax(dim=1)[:, -1]
    torch.testing.assert_close(log_odds(logits), ((1 - generated) / generated).log())
