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


def test_stretching_puts_each_picture_s_extremes_at_black_and_white():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((3, 3, 6, 5), generator=generator)
    images[1] = images[1] * 0.05 - 0.3  # a dull one
    images[2] *= 9  # beyond black and white
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    shown = images.double().numpy() * std + mean
    found = denormalize_images(images, stretch=True)
    assert found.dtype == torch.uint8
    for picture, expected in zip(found.numpy(), shown, strict=True):
        low, high = expected.min(), expected.max()  # of the whole picture: hues stay
        stretched = 255 * (expected - low) / (high - low)
        assert np.abs(picture - stretched).max() <= 0.5 + 1e-3
        assert (picture.min(), picture.max()) == (0, 255)


def test_stretching_leaves_a_picture_of_one_grey_as_it_is():
    images = torch.tensor([0, 77, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 4, 4)
    assert torch.equal(denormalize_images(normalize_images(images), stretch=True), images)
    assert denormalize_images(torch.zeros(0, 3, 4, 4), stretch=True).shape == (0, 3, 4, 4)


def test_two_greys_a_level_apart_become_black_and_white():
    images = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    images[..., 0, 0] = 101
    found = denormalize_images(normalize_images(images), stretch=True)
    assert torch.equal(found == 255, images == 101) and torch.equal(found == 0, images == 100)
