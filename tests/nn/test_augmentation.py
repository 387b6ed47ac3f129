"""Changed pictures, against loops over pixels and the paper's formulas."""

import math

import numpy as np
import pytest
import torch

from sg2im_pyg.images import IMAGENET_MEAN, IMAGENET_STD
from sg2im_pyg.nn.augmentation import DRAWS, Augmentation

ALL = ("colour", "translation", "cutout")
MOST = 1 - 2**-24  # the largest float32 below 1


def random_pictures(count=5, size=(16, 24), channels=3):
    torch.manual_seed(0)
    return torch.randn(count, channels, *size).double(), torch.rand(count, DRAWS)


def test_colours_are_those_of_the_paper_s_formulas():
    images, draws = random_pictures()
    found = Augmentation(("colour",), draws).pictures(images).numpy()
    mean, deviation = (np.array(v).reshape(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    for image, (b, s, c), own in zip(images.numpy(), draws[:, :3].double().numpy(), found):
        x = 2 * (image * deviation + mean) - 1  # from -1 to 1, as the paper's pictures are
        x = x + (b - 0.5)
        x = (x - x.mean(0)) * (2 * s) + x.mean(0)
        x = (x - x.mean()) * (c + 0.5) + x.mean()
        np.testing.assert_allclose(own, ((x + 1) / 2 - mean) / deviation, atol=1e-7)
    # In the middle nothing changes, and what has no saturation is grey.
    middle = Augmentation(ALL[:1], torch.full((5, DRAWS), 0.5)).pictures(images)
    torch.testing.assert_close(middle, images)
    none = torch.tensor([0.5, 0.0, 0.5, 0, 0, 0, 0]).expand(5, DRAWS)
    shares = Augmentation(ALL, none).pictures(images, in_place=True).numpy() * deviation + mean
    assert np.ptp(shares, axis=1).max() < 1e-6


def moved(plane, rows, columns):
    result = np.zeros_like(plane)
    height, width = plane.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y - rows < height and 0 <= x - columns < width:
                result[y, x] = plane[y - rows, x - columns]
    return result


@pytest.mark.parametrize("size", [(16, 24), (9, 17), (3, 64), (64, 64)])
@pytest.mark.parametrize("draw", [None, 0.0, MOST])
def test_translation_is_by_whole_pixels_up_to_an_eighth(size, draw):
    images, draws = random_pictures(size=size)
    if draw is not None:
        draws = torch.full_like(draws, draw)
    change = Augmentation(("translation",), draws)
    found, most = change.pictures(images).numpy(), [math.floor(s / 8 + 0.5) for s in size]
    for number, image in enumerate(images.numpy()):
        shifts = [
            math.floor(u * (2 * m + 1)) - m for u, m in zip(draws[number, 3:5].double(), most)
        ]
        assert all(abs(shift) <= m for shift, m in zip(shifts, most, strict=True))
        if draw is not None:
            assert shifts == [m if draw else -m for m in most]
        for own, plane in zip(found[number], image, strict=True):
            np.testing.assert_array_equal(own, moved(plane, *shifts))
        ones = moved(np.ones(size), *shifts)
        np.testing.assert_array_equal(change.visible(images)[number].numpy(), ones)


@pytest.mark.parametrize("size", [(16, 24), (9, 17), (1, 7), (64, 64)])
@pytest.mark.parametrize("draw", [None, 0.0, MOST])
def test_cutout_hides_a_rectangle_of_half_the_sides(size, draw):
    images, draws = random_pictures(size=size)
    if draw is not None:
        draws = torch.full_like(draws, draw)
    change = Augmentation(["cutout"], draws)
    found, visible = change.pictures(images).numpy(), change.visible(images)
    for number, image in enumerate(images.numpy()):
        hidden = []
        for side, u in zip(size, draws[number, 5:7].double().tolist(), strict=True):
            length = math.floor(side / 2 + 0.5)
            centre = math.floor(u * (side + 1 - length % 2))
            first = centre - length // 2
            hidden.append({place for place in range(first, first + length) if 0 <= place < side})
            assert hidden[-1]
        for y in range(size[0]):
            for x in range(size[1]):
                shown = not (y in hidden[0] and x in hidden[1])
                assert visible[number, y, x] == shown
                np.testing.assert_array_equal(found[number, :, y, x], image[:, y, x] * shown)


def test_label_maps_move_with_their_pictures():
    images, draws = random_pictures()
    # Labels that say which pixel of the picture they belong to.
    labels = torch.arange(1, 16 * 24 + 1).double().view(1, 1, 16, 24).expand(5, 2, 16, 24)
    change = Augmentation(("translation", "cutout"), draws)
    found, pictures, visible = (
        change.labels(labels),
        change.pictures(images),
        change.visible(images),
    )
    assert torch.equal(found[:, 0] > 0, visible == 1) and 0.4 < visible.mean() < 0.95
    for number in range(5):
        for y, x in visible[number].nonzero().tolist():
            place = int(found[number, 0, y, x]) - 1
            pixel = images[number, :, place // 24, place % 24]
            assert torch.equal(pictures[number, :, y, x], pixel)
    assert torch.equal(Augmentation(ALL, draws).labels(labels), found)  # which have no colour
    assert torch.equal(Augmentation(ALL[:1], draws).labels(labels), labels)
    assert (Augmentation(ALL[:1], draws).visible(images) == 1).all()
    assert torch.equal(Augmentation((), draws).pictures(images), images)


def test_where_everything_must_stay_only_colours_change():
    images, draws = random_pictures()
    found = Augmentation(ALL, draws).pictures(images, in_place=True)
    assert torch.equal(found, Augmentation(ALL[:1], draws).pictures(images))
    assert torch.equal(Augmentation(ALL[1:], draws).pictures(images, in_place=True), images)


def test_a_picture_is_changed_the_same_in_any_batch():
    images, draws = random_pictures()
    whole = Augmentation(ALL, draws).pictures(images)
    for some in ([3], [4, 0]):
        assert torch.equal(Augmentation(ALL, draws[some]).pictures(images[some]), whole[some])


def test_gradients_go_through_all_changes():
    images, draws = random_pictures(2, (4, 5))
    images.requires_grad_()
    assert torch.autograd.gradcheck(Augmentation(ALL, draws).pictures, (images,))
    # What is moved out or cut out has none but through the mean of colours.
    change = Augmentation(ALL[1:], draws)
    change.pictures(images).sum().backward()
    assert images.grad.sum() == 3 * change.visible(images).sum()
    assert set(images.grad.unique().tolist()) <= {0.0, 1.0}
