"""The cross-entropy of masks by hand."""

import numpy as np
import pytest
import torch

from sg2im_pyg.training.criteria import mask_loss


def test_mask_loss_is_the_binary_cross_entropy_also_for_masks_of_another_size():
    predicted = torch.tensor([[[0.25, 0.5], [0.75, 0.9]]])
    true = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    expected = -np.mean(np.log([0.75, 0.5, 0.75, 0.9]))
    assert mask_loss(predicted, true).item() == pytest.approx(expected, abs=1e-6)
    larger = torch.ones(1, 4, 4)
    expected = -np.mean(np.log([0.25, 0.5, 0.75, 0.9]))
    assert mask_loss(predicted, larger).item() == pytest.approx(expected, abs=1e-6)


def test_weights_of_pixels_leave_the_mean_one_over_all():
    predicted = torch.tensor([[[0.25, 0.5], [0.75, 0.9]]])
    true = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    weights = torch.tensor([[[1.0, 0.0], [0.5, 1.0]]])
    expected = -(np.log(0.75) + 0.5 * np.log(0.75) + np.log(0.9)) / 4
    assert mask_loss(predicted, true, weights).item() == pytest.approx(expected, abs=1e-6)
