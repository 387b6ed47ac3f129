"""Layouts and crops against the release's formulas, object by object and pixel by pixel."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sg2im_pyg.nn import compose_layout, crop_objects
from sg2im_pyg.nn.layout import (
    coordinate_vectors,
    factor_layout,
    hidden_parts,
    label_maps,
    occlude,
    ranks_in_pictures,
    replace_coordinates,
    sharpened,
)


def bilinear(image: np.ndarray, u: float, v: float) -> float:
    """Value of an image at column u and row v; zero outside."""
    column, row = int(np.floor(u)), int(np.floor(v))
    value = 0.0
    for i, weight_i in ((row, 1 - (v - row)), (row + 1, v - row)):
        for j, weight_j in ((column, 1 - (u - column)), (column + 1, u - column)):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                value += weight_i * weight_j * image[i, j]
    return value


def pixels(count: int) -> list[float]:
    return torch.linspace(0, 1, count, dtype=torch.float64).tolist()


def direct_layout(vectors, boxes, masks, batch, size, images) -> torch.Tensor:
    """The formula in float64: each object's mask, warped into its box, times its vector."""
    layout = np.zeros((images, vectors.size(1), *size))
    for o, (x0, y0, x1, y1) in enumerate(boxes.double().tolist()):
        if min(abs(x1 - x0), abs(y1 - y0)) <= torch.finfo(boxes.dtype).eps:
            continue  # the formula divides by zero; here such a box draws nothing
        mask = np.ones((8, 8)) if masks is None else masks[o].double().numpy()
        for i, y in enumerate(pixels(size[0])):
            for j, x in enumerate(pixels(size[1])):
                u = (x - x0) / (x1 - x0) * (mask.shape[1] - 1)
                v = (y - y0) / (y1 - y0) * (mask.shape[0] - 1)
                if -1 < u < mask.shape[1] and -1 < v < mask.shape[0]:
                    value = bilinear(mask, u, v)
                    layout[batch[o], :, i, j] += vectors[o].double().numpy() * value
    return torch.from_numpy(layout)


def sampled_layout(vectors, boxes, masks, batch, size, images) -> torch.Tensor:
    """The formula as the release computes it: all channels of an object are warped at once."""
    layout = vectors.new_zeros(images, vectors.size(1), *size)
    for o, (x0, y0, x1, y1) in enumerate(boxes):
        mask = torch.ones(8, 8, dtype=vectors.dtype) if masks is None else masks[o]
        grid = torch.zeros(1, *size, 2, dtype=vectors.dtype)
        columns = torch.linspace(0, 1, size[1], dtype=vectors.dtype)
        rows = torch.linspace(0, 1, size[0], dtype=vectors.dtype)
        grid[..., 0] = (columns - x0) / (x1 - x0)
        grid[..., 1] = ((rows - y0) / (y1 - y0)).unsqueeze(1)
        spread = vectors[o].view(1, -1, 1, 1) * mask
        layout[batch[o]] += F.grid_sample(spread, 2 * grid - 1, align_corners=True)[0]
    return layout


SIDES = st.one_of(
    st.floats(-1.5, 2.5),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.floats(0.0, 1e-6),
)


@st.composite
def scenes(draw):
    objects = draw(st.integers(0, 4))
    images = draw(st.integers(1, 3))
    boxes = [draw(st.tuples(SIDES, SIDES, SIDES, SIDES)) for _ in range(objects)]
    batch = [draw(st.integers(0, images - 1)) for _ in range(objects)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    side = draw(st.sampled_from([None, 1, 2, 3, 5]))
    channels = draw(st.integers(1, 3))

    def normal(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    masks = None if side is None else normal(objects, side, side).sigmoid()
    size = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    boxes = torch.tensor(boxes, dtype=torch.float64).view(-1, 4)
    batch = torch.tensor(batch, dtype=torch.long)
    return normal(objects, channels), boxes, masks, batch, size, images


@settings(deadline=None, max_examples=150)
@given(scenes())
def test_layout_equals_the_formula_in_float64(scene):
    torch.testing.assert_close(compose_layout(*scene), direct_layout(*scene), rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=150)
@given(scenes())
def test_layout_equals_the_formula_in_float32(scene):
    vectors, boxes, masks, *rest = scene
    boxes = boxes.float()
    extent = boxes[:, 2:] - boxes[:, :2]
    # Across a thinner box single precision cannot say where a pixel is, in no formula.
    boxes[:, 2:] += torch.where(extent.abs() < 0.02, 0.05, 0.0)
    masks = None if masks is None else masks.float()
    found = compose_layout(vectors.float(), boxes, masks, *rest)
    assert found.dtype == torch.float32
    expected = direct_layout(vectors.float(), boxes, masks, *rest)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("side", [None, 16, 7])
@pytest.mark.parametrize("objects", [40, 150])
def test_large_layouts_equal_the_release_s_warp(dtype, tolerance, side, objects):
    generator = torch.Generator().manual_seed(objects)
    vectors = torch.randn(objects, 12, dtype=dtype, generator=generator)
    corner = torch.rand(objects, 2, dtype=dtype, generator=generator) * 1.4 - 0.4
    extent = torch.rand(objects, 2, dtype=dtype, generator=generator) * 0.8 + 0.05
    boxes = torch.cat([corner, corner + extent], dim=1)
    masks = None
    if side:
        masks = torch.rand(objects, side, side, dtype=dtype, generator=generator)
    batch = torch.randint(4, (objects,), generator=generator)
    batch[batch == 3] = 1  # picture 3 has no object, and picture 1 many more than channels
    arguments = (vectors, boxes, masks, batch, (24, 40), 4)
    torch.testing.assert_close(
        compose_layout(*arguments), sampled_layout(*arguments), rtol=0, atol=tolerance
    )


def test_pixels_lie_on_the_corners():
    mask = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    layout = compose_layout(
        torch.ones(1, 1), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), mask, torch.tensor([0]), (3, 3)
    )
    assert layout[0, 0].tolist() == [[1, 1.5, 2], [2, 2.5, 3], [3, 3.5, 4]]


def test_a_box_of_negative_size_mirrors_its_mask():
    masks = torch.rand(1, 4, 4)
    vectors, batch = torch.ones(1, 1), torch.tensor([0])
    box = torch.tensor([[0.2, 0.1, 0.8, 0.9]])
    mirrored = compose_layout(vectors, box[:, [2, 3, 0, 1]], masks, batch, (8, 8))
    expected = compose_layout(vectors, box, masks.flip(1, 2), batch, (8, 8))
    torch.testing.assert_close(mirrored, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [None, 1, 4])
@pytest.mark.parametrize(
    "box",
    [(0.5, 0.2, 0.5, 0.8), (0.2, 0.5, 0.8, 0.5), (0, 0, 0, 0), (1.0, 1.0, 1.0, 1.0)],
)
def test_a_box_without_extent_draws_nothing_and_has_finite_gradients(box, side):
    boxes = torch.tensor([box, (0.1, 0.1, 0.7, 0.7)], requires_grad=True)
    vectors = torch.randn(2, 3, requires_grad=True)
    masks = None if side is None else torch.rand(2, side, side, requires_grad=True)
    batch = torch.tensor([0, 1])
    layout = compose_layout(vectors, boxes, masks, batch, (5, 5))
    assert not layout[0].any() and layout[1].any()
    layout.square().sum().backward()
    for leaf in (boxes, vectors, masks):
        assert leaf is None or leaf.grad.isfinite().all()


@pytest.mark.parametrize("extent", [1e-7, 1e-6, 1e-4, -1e-6])
def test_thin_boxes_have_finite_layouts_and_gradients(extent):
    boxes = torch.tensor([(0.5, 0.5, 0.5 + extent, 0.6), (0, 0, extent, extent)])
    boxes.requires_grad_()
    layout = compose_layout(torch.ones(2, 2), boxes, None, torch.zeros(2).long(), (5, 5))
    layout.sum().backward()
    assert layout.isfinite().all() and layout.abs().max() <= 2
    assert boxes.grad.isfinite().all()


def test_boxes_outside_of_the_picture_draw_nothing():
    boxes = torch.tensor([(1.5, 0.0, 2.0, 1.0), (0.0, -2.0, 1.0, -1.0), (-9.0, -9.0, -8.0, -8.0)])
    layout = compose_layout(torch.ones(3, 2), boxes, None, torch.zeros(3).long(), (6, 6))
    assert not layout.any()


def test_pictures_without_objects():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    layout = compose_layout(torch.ones(1, 2), boxes, None, torch.tensor([1]), (4, 6), 3)
    assert layout.shape == (3, 2, 4, 6)
    assert layout[1].min() == 1 and not layout[[0, 2]].any()
    none = torch.zeros(0, dtype=torch.long)
    assert compose_layout(torch.ones(0, 2), boxes[:0], None, none, (4, 6), 3).shape == (3, 2, 4, 6)
    assert compose_layout(torch.ones(0, 2), boxes[:0], None, none, (4, 6)).shape == (0, 2, 4, 6)
    masks = torch.ones(0, 3, 3)
    assert not compose_layout(torch.ones(0, 2), boxes[:0], masks, none, (4, 6), 1).any()


def test_without_any_object_a_factored_layout_is_zero():
    empty = torch.zeros(0, 4)
    layout = factor_layout(torch.zeros(0, 5), empty, None, torch.zeros(0).long(), (3, 4), 2)
    assert torch.equal(layout.multiply(), torch.zeros(2, 5, 3, 4))


@pytest.mark.parametrize("keyed", [False, True])
def test_ranks_count_the_objects_of_a_picture_that_come_before(keyed):
    generator = torch.Generator().manual_seed(2)
    batch = torch.randint(0, 6, (40,), generator=generator)
    batch[batch == 4] = 5  # a picture without objects
    keys = torch.randint(0, 4, (40,), generator=generator) if keyed else None
    rank, counts = ranks_in_pictures(batch, 6, keys)
    own = [0] * 40 if keys is None else keys.tolist()
    rows = list(zip(batch.tolist(), own, range(40), strict=True))
    assert rank.tolist() == [
        sum(b == c and (k, i) < (m, j) for b, k, i in rows) for c, m, j in rows
    ]
    assert counts.tolist() == [batch.tolist().count(picture) for picture in range(6)]


def test_objects_need_not_be_sorted_by_picture():
    vectors, boxes = torch.randn(20, 4).double(), torch.rand(20, 4).double()
    masks, batch = torch.rand(20, 5, 5).double(), torch.randint(3, (20,))
    expected = compose_layout(vectors, boxes, masks, batch, (6, 8), 3)
    order = batch.argsort()
    found = compose_layout(vectors[order], boxes[order], masks[order], batch[order], (6, 8), 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.float64])
def test_masks_and_boxes_may_have_other_types_than_vectors(dtype):
    masks = torch.rand(3, 4, 4) > 0.5
    boxes = torch.tensor([[0.1, 0.2, 0.9, 0.7]]).expand(3, 4)
    vectors, batch = torch.randn(3, 2), torch.tensor([0, 0, 1])
    expected = compose_layout(vectors, boxes, masks.float(), batch, (6, 6))
    found = compose_layout(vectors, boxes, masks.to(dtype), batch, (6, 6))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    found = compose_layout(vectors.double(), boxes, masks.to(dtype), batch, (6, 6))
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("objects", [5, 12], ids=["one slab", "several slabs"])
def test_gradients_of_vectors_boxes_and_masks(objects):
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(objects, 3, dtype=torch.float64, generator=generator)
    corner = torch.rand(objects, 2, dtype=torch.float64, generator=generator) * 0.6
    extent = torch.rand(objects, 2, dtype=torch.float64, generator=generator) * 0.5 + 0.2
    boxes = torch.cat([corner, corner + extent], dim=1)
    masks = torch.rand(objects, 3, 3, dtype=torch.float64, generator=generator)
    batch = torch.arange(objects) % 7 // 5  # two pictures, the first with the most
    inputs = tuple(tensor.requires_grad_() for tensor in (vectors, boxes, masks))
    assert torch.autograd.gradcheck(
        lambda vectors, boxes, masks: compose_layout(vectors, boxes, masks, batch, (5, 4)), inputs
    )
    assert torch.autograd.gradcheck(
        lambda vectors, boxes: compose_layout(vectors, boxes, None, batch, (5, 4)), inputs[:2]
    )


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            # What is only a view of something smaller takes no memory.
            if isinstance(leaf, torch.Tensor):
                self.elements = max(self.elements, leaf.untyped_storage().nbytes() // 4)
        return result


RAGGED = [500] + [3] * 31
EVEN = [8] * 32


@pytest.mark.parametrize("per_image", [EVEN, RAGGED], ids=["even", "ragged"])
@pytest.mark.parametrize("side", [None, 16])
def test_no_tensor_grows_with_objects_times_channels(per_image, side):
    batch = torch.repeat_interleave(torch.arange(32), torch.tensor(per_image))
    objects, images, channels, area = len(batch), 32, 48, 16 * 16
    vectors = torch.randn(objects, channels, requires_grad=True)
    boxes = torch.rand(objects, 4, requires_grad=True)
    masks = None if side is None else torch.rand(objects, side, side, requires_grad=True)
    with LargestTensor() as largest:
        compose_layout(vectors, boxes, masks, batch, (16, 16)).sum().backward()
    # The layout itself, and the two coordinates of each pixel of each warped mask.
    assert largest.elements <= max(images * channels * area, 2 * objects * area)
    assert largest.elements < objects * channels * area / 4


def test_shapes_that_do_not_fit_raise():
    vectors, boxes, batch = torch.ones(2, 3), torch.ones(2, 4), torch.zeros(2).long()
    with pytest.raises(ValueError, match=r"boxes must have the shape \(O, 4\), got \(2, 3\)"):
        compose_layout(vectors, boxes[:, :3], None, batch, (4, 4))
    with pytest.raises(ValueError, match=r"masks must have the shape \(2, M, M\), got \(3, 5, 5\)"):
        compose_layout(vectors, boxes, torch.ones(3, 5, 5), batch, (4, 4))
    with pytest.raises(ValueError, match=r"must hold the same objects, got \(1, 3\)"):
        compose_layout(vectors[:1], boxes, None, batch, (4, 4))
    with pytest.raises(ValueError, match=r"must hold the same objects"):
        compose_layout(vectors, boxes, None, batch[:1], (4, 4))
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), \(O, 4\) and \(O,\)"):
        crop_objects(torch.ones(3, 4, 4), boxes, batch, 4)


def direct_crops(images, boxes, batch, size) -> torch.Tensor:
    crops = np.zeros((len(boxes), images.size(1), size, size))
    height, width = images.shape[2:]
    for o, (x0, y0, x1, y1) in enumerate(boxes.double().tolist()):
        for c in range(images.size(1)):
            image = images[batch[o], c].double().numpy()
            for i, t in enumerate(pixels(size)):
                for j, s in enumerate(pixels(size)):
                    u = (x0 * (1 - s) + x1 * s) * (width - 1)
                    v = (y0 * (1 - t) + y1 * t) * (height - 1)
                    crops[o, c, i, j] = bilinear(image, u, v)
    return torch.from_numpy(crops)


@settings(deadline=None, max_examples=100)
@given(scenes(), st.integers(1, 5))
def test_crops_equal_the_formula(scene, crop_size):
    vectors, boxes, _, batch, size, images = scene
    pictures = torch.randn(images, vectors.size(1), *size, dtype=torch.float64)
    expected = direct_crops(pictures, boxes, batch, crop_size)
    found = crop_objects(pictures, boxes, batch, crop_size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    found = crop_objects(pictures.float(), boxes.float(), batch, crop_size)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-5)


def test_a_crop_of_the_whole_picture_is_the_picture():
    images = torch.randn(3, 3, 9, 9)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(3, 4)
    batch = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        crop_objects(images, boxes, batch, 9), images[batch], rtol=0, atol=1e-5
    )


def test_crops_of_no_objects():
    none = torch.zeros(0, dtype=torch.long)
    assert crop_objects(torch.ones(2, 3, 8, 8), torch.zeros(0, 4), none, 5).shape == (0, 3, 5, 5)


def test_gradients_of_crops():
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(2, 2, 5, 6, dtype=torch.float64, generator=generator)
    # No sample lies on a pixel: there the gradient jumps.
    boxes = torch.tensor(
        [[0.12, 0.23, 0.83, 0.94], [-0.31, 0.22, 0.43, 1.3], [0.62, 0.71, 0.13, 0.3]]
    )
    batch = torch.tensor([1, 0, 1])
    inputs = (images.requires_grad_(), boxes.double().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda images, boxes: crop_objects(images, boxes, batch, 3), inputs
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_whole_numbers_are_refused(dtype):
    boxes, batch = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0])
    with pytest.raises(ValueError, match="images must be floating-point"):
        crop_objects(torch.zeros(1, 3, 4, 4, dtype=dtype), boxes, batch, 4)
    with pytest.raises(ValueError, match="vectors must be floating-point"):
        compose_layout(torch.ones(1, 3, dtype=dtype), boxes, None, batch, (4, 4))


def test_objects_may_be_numbered_in_32_bits():
    vectors, boxes = torch.randn(3, 5), torch.tensor([[0.0, 0, 1, 1]] * 3)
    batch = torch.tensor([0, 1, 1])
    for make in (compose_layout, lambda *x: factor_layout(*x).multiply()):
        found = make(vectors, boxes, None, batch.int(), (4, 4))
        assert torch.equal(found, make(vectors, boxes, None, batch, (4, 4)))
    none = factor_layout(vectors[:0], boxes[:0], None, batch[:0], (4, 4))
    assert none.multiply().shape == (0, 5, 4, 4)


def test_gradients_of_crops_are_the_same_each_time_with_several_threads():
    """A seed fixes a training only if no sum depends on how threads take turns."""
    torch.manual_seed(0)
    images = torch.randn(4, 3, 64, 64, requires_grad=True)
    batch = torch.tensor([0] * 5 + [1] * 3 + [2] * 17 + [3] * 11)
    boxes = torch.rand(36, 2, 2).sort(1).values.flatten(1)
    upstream = torch.randn(36, 3, 32, 32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        crops = crop_objects(images, boxes, batch, 32)
        first, *others = (
            torch.autograd.grad(crops, images, upstream, retain_graph=True)[0] for _ in range(100)
        )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)


# --- Objects in front of others -----------------------------------------------------------------


def painted_layout(vectors, boxes, masks, batch, size, images) -> torch.Tensor:
    """Objects painted one over the other, that with the largest part in the picture first; of two
    alike the later one first."""
    inside = boxes.clamp(0, 1)
    areas = ((inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])).abs().tolist()
    canvas = torch.zeros(images, vectors.size(1), *size, dtype=torch.float64)
    for o in sorted(range(len(areas)), key=lambda o: (areas[o], o), reverse=True):
        mask = None if masks is None else masks[o : o + 1]
        one = torch.ones(1, 1, dtype=torch.float64), boxes[o : o + 1], mask, torch.zeros(1).long()
        cover = direct_layout(*one, size, 1)[0]
        canvas[batch[o]] = canvas[batch[o]] * (1 - cover) + vectors[o].view(-1, 1, 1) * cover
    return canvas


@settings(deadline=None, max_examples=100)
@given(scenes())
def test_objects_in_front_hide_those_behind(scene):
    expected = painted_layout(*scene)
    found = compose_layout(*scene, overlap="front")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    factored = factor_layout(*scene, overlap="front")
    torch.testing.assert_close(factored.multiply(), expected, rtol=0, atol=1e-9)


def direct_textures(textures, boxes, masks, batch, size, images, overlap) -> torch.Tensor:
    """The formula in float64: what is on an object's map at each place of its box, as far as its
    mask covers it and nothing in front does."""
    result = torch.zeros(images, textures.size(1), *size, dtype=torch.float64)
    inside = boxes.clamp(0, 1)
    areas = ((inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])).abs().tolist()
    for o in sorted(range(len(areas)), key=lambda o: (areas[o], o), reverse=True):
        mask = None if masks is None else masks[o : o + 1]
        one = torch.ones(1, 1, dtype=torch.float64), boxes[o : o + 1], mask, torch.zeros(1).long()
        cover = direct_layout(*one, size, 1)[0, 0]
        if overlap == "front":
            result[batch[o]] *= 1 - cover
        x0, y0, x1, y1 = boxes[o].tolist()
        for i, y in enumerate(pixels(size[0])):
            for j, x in enumerate(pixels(size[1])):
                if cover[i, j] == 0:
                    continue
                u, v = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
                for channel, plane in enumerate(textures[o].numpy()):
                    last = len(plane) - 1
                    place = min(max(u * last, 0), last), min(max(v * last, 0), last)
                    value = bilinear(plane, *place) * cover[i, j]
                    result[batch[o], channel, i, j] += value
    return result


@settings(deadline=None, max_examples=60)
@given(scenes(), st.sampled_from([1, 2, 5]), st.sampled_from(["sum", "front"]))
def test_textures_are_painted_where_objects_are_seen(scene, side, overlap):
    vectors, boxes, masks, batch, size, images = scene
    extent = boxes[:, 2:] - boxes[:, :2]
    boxes[:, 2:] += torch.where(extent.abs() < 1e-3, 0.05, 0.0)  # else places have no digits
    textures = torch.randn(len(boxes), 2, side, side, dtype=torch.float64)
    found = compose_layout(
        vectors, boxes, masks, batch, size, images, overlap=overlap, textures=textures
    )
    rest = compose_layout(vectors, boxes, masks, batch, size, images, overlap=overlap)
    torch.testing.assert_close(found[:, 2:], rest, rtol=0, atol=1e-9)
    expected = direct_textures(textures, boxes, masks, batch, size, images, overlap)
    torch.testing.assert_close(found[:, :2], expected, rtol=0, atol=1e-7)


def test_a_box_larger_than_the_picture_is_not_behind_what_fills_it():
    boxes = torch.tensor([[0.0, 0.0, 1.2, 1.1], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.7, 0.7]])
    vectors = torch.tensor([[1.0], [2.0], [3.0]])
    layout = compose_layout(vectors, boxes, None, torch.zeros(3).long(), (6, 6), overlap="front")
    expected = torch.ones(6, 6)
    expected[3, 3] = 3
    torch.testing.assert_close(layout[0, 0], expected)


def test_gradients_where_objects_are_in_front():
    generator = torch.Generator().manual_seed(5)
    # No sample lies on a mask's pixel: there the gradient jumps.
    boxes = torch.tensor(
        [[0.12, 0.23, 0.58, 0.71], [0.31, 0.28, 1.07, 0.94], [-0.13, -0.07, 1.12, 1.21]]
    ).double()
    vectors = torch.randn(3, 2, dtype=torch.float64, generator=generator)
    masks = torch.rand(3, 3, 3, dtype=torch.float64, generator=generator)
    masks[:, 1] = 1  # where something is hidden wholly
    inputs = tuple(tensor.requires_grad_() for tensor in (vectors, boxes, masks))
    batch = torch.zeros(3).long()

    def compose(vectors, boxes, masks):
        return compose_layout(vectors, boxes, masks, batch, (5, 4), overlap="front")

    assert torch.autograd.gradcheck(compose, inputs)


def test_occluded_masks_share_a_pixel():
    layout = factor_layout(
        torch.ones(2, 1), torch.rand(2, 4), torch.rand(2, 4, 4), torch.zeros(2).long(), (6, 6)
    )
    first, second = layout.masks[0]
    found = occlude(layout).masks[0]
    torch.testing.assert_close(found, torch.stack([first, second - first * second]))


@settings(deadline=None, max_examples=60)
@given(scenes())
def test_hidden_parts_equal_a_loop_over_pixels(scene):
    vectors, boxes, masks, batch, _, images = scene
    if masks is None:
        masks = boxes.new_ones(len(boxes), 8, 8)
    side = 3
    found = hidden_parts(boxes, masks, batch, side, images)
    assert found.shape == (len(boxes), side, side)
    inside = boxes.clamp(0, 1)
    areas = ((inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])).abs().tolist()
    covers = [
        direct_layout(*one, (2 * side, 2 * side), 1)[0, 0].numpy()
        for o in range(len(boxes))
        for one in [(torch.ones(1, 1), boxes[o : o + 1], masks[o : o + 1], torch.zeros(1).long())]
    ]
    for o, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        uncovered = np.ones((2 * side, 2 * side))
        for other in range(len(boxes)):
            in_front = (areas[other], other) < (areas[o], o)
            if batch[other] == batch[o] and in_front:
                uncovered *= 1 - covers[other]
        for i, down in enumerate(pixels(side)):
            for j, across in enumerate(pixels(side)):
                u = (x0 * (1 - across) + x1 * across) * (2 * side - 1)
                v = (y0 * (1 - down) + y1 * down) * (2 * side - 1)
                expected = 1 - bilinear(uncovered, u, v)
                assert float(found[o, i, j]) == pytest.approx(expected, abs=1e-6)
    most = int(torch.bincount(batch).max()) if len(batch) else 1
    assert torch.equal(hidden_parts(boxes, masks, batch, side, images, most), found)


def test_what_a_smaller_object_covers_is_hidden():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.49, 1.0], [0.0, 0.0, 1.0, 1.0]])
    found = hidden_parts(boxes, torch.ones(3, 4, 4), torch.tensor([0, 0, 1]), 8, 2)
    torch.testing.assert_close(found[0, :, :3], torch.ones(8, 3))
    for seen in (found[0, :, 5:], found[1:]):
        torch.testing.assert_close(seen, torch.zeros_like(seen))
    outside = hidden_parts(boxes[:1] + 1.5, torch.ones(1, 4, 4), torch.tensor([0]), 8, 1)
    assert torch.equal(outside, torch.ones(1, 8, 8))


def test_sharpened_masks_have_larger_logits():
    masks = torch.tensor([0.0, 1e-6, 0.2, 0.5, 0.7, 1.0]).double()
    found = sharpened(masks, 3.0)
    expected = [m**3 / (m**3 + (1 - m) ** 3) for m in masks.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(sharpened(masks, 1.0), masks)
    for factor in (1e3, 1e30):  # steep, and no number that is none
        hard = sharpened(masks.float(), factor)
        torch.testing.assert_close(hard, torch.tensor([0.0, 0.0, 0.0, 0.5, 1.0, 1.0]))


def test_label_maps_of_boxes_apart_say_which_category_is_where():
    boxes = torch.tensor([[0.0, 0.0, 0.2, 1.0], [0.6, 0.4, 1.0, 0.6], [0.0, 0.0, 1.0, 1.0]])
    categories, batch = torch.tensor([2, 1, 0]), torch.zeros(3).long()
    found = label_maps(categories, boxes, None, batch, (6, 6), 4, 2, 3)
    expected = torch.zeros(6, 6).long()
    expected[:, :2] = 2
    expected[2:4, 3:] = 1
    assert found.shape == (2, 4, 6, 6) and not found[1].any()
    torch.testing.assert_close(found[0], F.one_hot(expected, 4).permute(2, 0, 1).float())


@settings(deadline=None, max_examples=50)
@given(scenes(), st.integers(1, 3))
def test_label_maps_are_painted_categories(scene, categories):
    vectors, boxes, masks, batch, size, images = scene
    of_objects = torch.arange(len(vectors)) % categories
    one_hot = torch.eye(categories, dtype=torch.float64)[of_objects]
    found = label_maps(of_objects, boxes, masks, batch, size, categories, images)
    expected = painted_layout(one_hot, boxes, masks, batch, size, images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


# --- Coordinates --------------------------------------------------------------------------------


def test_coordinates_of_one_pixel_by_hand():
    # Column 2 of 5 lies at 0.5, row 1 of 4 at 1/3. In the box that is a third from the left, thus
    # at -1/3, and in the middle from top to bottom, thus at 0.
    boxes = torch.tensor([[0.4, 0.2, 0.7, 7 / 15]], dtype=torch.float64)
    layout = compose_layout(
        torch.cat([torch.full((1, 1), 9.0), coordinate_vectors(boxes)], dim=1).double(),
        boxes,
        torch.ones(1, 2, 2).double(),
        torch.tensor([0]),
        (4, 5),
    )
    found = replace_coordinates(layout)
    assert found.shape == (1, 7, 4, 5)
    sine, cosine = -np.sqrt(3) / 2, 0.5
    expected = torch.tensor([9, -1 / 3, 0, sine, 0, cosine, 1], dtype=torch.float64)
    torch.testing.assert_close(found[0, :, 1, 2], expected)


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_coordinates_say_where_in_its_box_each_pixel_lies(scene):
    _, boxes, _, batch, size, _ = scene
    found = coordinate_vectors(boxes)
    planes = torch.cat([torch.ones(len(boxes), 2).double(), found], dim=1)
    planes = planes.view(len(boxes), 6, 1, 1).expand(-1, -1, *size)
    found = replace_coordinates(planes)
    assert torch.equal(found[:, :2], planes[:, :2])
    for o, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        width, height = (side if abs(side) >= 0.02 else 0.02 for side in (x1 - x0, y1 - y0))
        for i, y in enumerate(pixels(size[0])):
            for j, x in enumerate(pixels(size[1])):
                across = np.clip(2 * (x - x0) / width - 1, -1.2, 1.2)
                down = np.clip(2 * (y - y0) / height - 1, -1.2, 1.2)
                angles = np.pi * np.array([across, down])
                expected = [across, down, *np.sin(angles), *np.cos(angles)]
                np.testing.assert_allclose(found[o, 2:, i, j], expected, atol=1e-9)
