"""Pictures to the networks' normalisation and back."""

import numpy as np
import torch

from sg2im_pyg.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    denormalize_images,
    normalize_images,
    to_pil,
)


def test_normalisation_is_that_of_imagenet():
    assert IMAGENET_MEAN == (0.485, 0.456, 0.406) and IMAGENET_STD == (0.229, 0.224, 0.225)
    images = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    expected = images.double().numpy() / 255
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    expected = (expected - mean) / std
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        found = normalize_images(images, dtype)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.double().numpy(), expected, rtol=0, atol=tolerance)


def test_every_grey_value_survives_the_way_there_and_back():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(denormalize_images(normalize_images(images, dtype)), images)


def test_values_beyond_black_and_white_are_cut_off():
    images = torch.tensor([-100.0, 0.0, 100.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    found = denormalize_images(images.clone().requires_grad_())
    assert found.dtype == torch.uint8
    assert found[0, :, 0].tolist() == [[0, 124, 255], [0, 116, 255], [0, 104, 255]]


def test_pil_images_have_the_same_pixels():
    images = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    for image, expected in zip(to_pil(images), images, strict=True):
        assert image.mode == "RGB" and image.size == (5, 4)
        assert np.array_equal(np.asarray(image), expected.permute(1, 2, 0).numpy())
    assert to_pil(images[:0]) == []
