"""From objects to a picture's plane and back: the scene layout and the crops."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from kornia.geometry.transform import remap
from torch import Tensor
from torch_geometric.utils import scatter

Overlap = Literal["sum", "front"]

_FILLED = 8
"""Side of the block of ones that stands for a box without a mask (release)."""


class FactoredLayout(NamedTuple):
    r"""A scene layout that is not multiplied out: each picture's vectors and warped masks.

    What is linear in a layout can be computed from these at less cost: a picture has few objects
    (:math:`K` in the one with the most, at least 1), a layout many channels.
    """

    vectors: Tensor
    """Shape :math:`(N, K, D)`; zero where a picture has fewer objects."""
    masks: Tensor
    """Shape :math:`(N, K, H, W)`; zero there too."""

    def multiply(self) -> Tensor:
        """The layout, shape :math:`(N, D, H, W)`."""
        layout = torch.bmm(self.vectors.transpose(1, 2), self.masks.flatten(2))
        return layout.view(*layout.shape[:2], *self.masks.shape[2:])


def pyramid(planes: Tensor, levels: int) -> list[Tensor]:
    """The planes and these average-pooled by 2, 4 and so on, the smallest first."""
    sizes = [planes]
    while len(sizes) < levels:
        # Each size from the one above it: the mean of means over equal blocks.
        sizes.append(F.avg_pool2d(sizes[-1], 2))
    return sizes[::-1]


def factor_layout(
    vectors: Tensor,
    boxes: Tensor,
    masks: Tensor | None,
    batch: Tensor,
    size: tuple[int, int],
    batch_size: int | None = None,
    most: int | None = None,
    overlap: Overlap = "sum",
) -> FactoredLayout:
    """The layout of :func:`compose_layout`, not multiplied out; the arguments are the same.

    Its memory grows with the objects of the picture that has the most of them.

    Args:
        most: Number of objects :math:`K` in the picture with the most of them, if it is known:
            nothing then waits for the device of the tensors.
    """
    factored = _factor(*_placed(vectors, boxes, masks, batch, size, batch_size, most, overlap))
    return occlude(factored) if overlap == "front" else factored


def occlude(layout: FactoredLayout) -> FactoredLayout:
    r"""Each object hides those that come after it as far as its mask covers them: mask :math:`k`
    becomes :math:`m_k \prod_{j < k} (1 - m_j)`, the usual composition of layers."""
    return FactoredLayout(layout.vectors, layout.masks * _uncovered(layout.masks))


def _uncovered(masks: Tensor) -> Tensor:
    """What those before each mask leave of a place, all of shape :math:`(N, K, H, W)`."""
    # Not torch.cumprod: its gradient asks the device whether a factor is zero, as many are here.
    left = [torch.ones_like(masks[:, 0])]
    for mask in masks.unbind(1)[:-1]:
        left.append(left[-1] * (1 - mask))
    return torch.stack(left, dim=1)


def hidden_parts(
    boxes: Tensor, masks: Tensor, batch: Tensor, size: int, pictures: int, most: int | None = None
) -> Tensor:
    """How far objects in front hide each object, on the grid of its own mask.

    Args:
        boxes: Boxes :obj:`[x0, y0, x1, y1]` in units of the picture, shape :math:`(O, 4)`.
        masks: Masks, shape :math:`(O, M, M)`.
        batch: Picture of each object, shape :math:`(O,)`.
        size: Side of the grids, and of the planes on which masks meet.
        pictures: Number of pictures :math:`N`.
        most: Number of objects in the picture with the most of them, if it is known.

    Returns:
        From 0 where an object can be seen to 1, shape :math:`(O, size, size)`; 1 outside of the
        picture.
    """
    plane, vectors = (2 * size, 2 * size), boxes.new_zeros(len(boxes), 0)
    _, warped, batch, rank, _, most = _placed(
        vectors, boxes, masks, batch, plane, pictures, most, "front"
    )
    factored = _factor(vectors, warped, batch, rank, pictures, most)
    rows = batch * most + rank
    uncovered = _uncovered(factored.masks).flatten(0, 1).index_select(0, rows).unsqueeze(1)
    own = torch.arange(len(boxes), device=boxes.device)
    return 1 - crop_objects(uncovered, boxes, own, size).squeeze(1)


def pays_to_factor(objects: int, channels: int) -> bool:
    """Whether a :class:`FactoredLayout` is to be preferred.

    A 3 × 3 convolution of it holds :math:`9 K` planes at a time: at most twice what the layout
    has channels.

    Args:
        objects: Most objects in a picture, :math:`K`.
        channels: Size of the vectors, :math:`D`.
    """
    return 9 * objects <= 2 * channels


def compose_layout(
    vectors: Tensor,
    boxes: Tensor,
    masks: Tensor | None,
    batch: Tensor,
    size: tuple[int, int],
    batch_size: int | None = None,
    most: int | None = None,
    overlap: Overlap = "sum",
    textures: Tensor | None = None,
) -> Tensor:
    r"""Scene layout (paper, Section 3, "Scene layout"): each object's vector, spread over its
    mask, warped bilinearly into its box; summed over the objects of a picture.

    Pixel :math:`j` of a row of :math:`W` lies at :math:`j / (W - 1)` in :math:`[0, 1]` and the
    corners of the mask lie on the corners of the box (the release's convention,
    :obj:`align_corners=True`); around a box the mask fades to zero within one mask pixel. Parts
    outside of the picture are cut off, a box of negative size mirrors its mask, and a box of no
    width or no height draws nothing.

    As warping is linear and the vector is the same everywhere, only the masks are warped: memory
    grows with :math:`N D H W + O H W`, not with :math:`O D H W`.

    Args:
        vectors: One vector for each object, shape :math:`(O, D)`.
        boxes: Boxes :obj:`[x0, y0, x1, y1]` in units of the picture, shape :math:`(O, 4)`.
        masks: Masks, shape :math:`(O, M, M)`, or :obj:`None` to fill each box.
        batch: Picture of each object, shape :math:`(O,)`.
        size: Height and width of the layout.
        batch_size: Number of pictures :math:`N`, if the last ones may hold no object.
        most: Number of objects in the picture with the most of them, if it is known: nothing then
            waits for the device of the tensors (unless they are more than :math:`D`).
        overlap: What is where objects overlap: their sum (paper), or the one in front alone, see
            :func:`occlude`; in front is the one whose box has the smaller part in the picture, and
            of two alike the one that comes first.
        textures: Maps of :math:`C` channels that differ within an object, shape
            :math:`(O, C, M, M)`: warped into the boxes as masks are, though they do not fade at the
            sides, and multiplied by what the masks leave to be seen. Their channels stand before
            those of the vectors.

    Returns:
        Shape :math:`(N, D, H, W)`, with textures :math:`(N, C + D, H, W)`.

    Raises:
        ValueError: If shapes do not fit together.

    Examples:
        >>> vectors, boxes = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0, 0, 1, 1]] * 2)
        >>> layout = compose_layout(vectors, boxes, None, torch.tensor([0, 1]), (2, 2))
        >>> layout.shape
        torch.Size([2, 1, 2, 2])
        >>> layout.flatten(1)
        tensor([[1., 1., 1., 1.],
                [2., 2., 2., 2.]])
    """
    placed = _placed(vectors, boxes, masks, batch, size, batch_size, most, overlap)
    _, warped, batch, rank, images, most = placed
    if overlap == "front" or textures is not None:
        factored = _factor(*placed)
        if overlap == "front":
            factored = occlude(factored)
        layout = factored.multiply()
        if textures is None:
            return layout
        places = batch * most + rank
        return torch.cat([_surfaces(textures, factored.masks, boxes, places), layout], dim=1)
    depth = max(vectors.size(1), 1)
    if most <= depth or torch.compiler.is_compiling():  # the slabs below depend on the data
        return _factor(*placed).multiply()
    # Objects are dealt to pictures in slabs of at most D, and a slab holds only pictures that
    # have objects left: the padding is then never larger than the layout itself, also where one
    # picture has a hundred times the objects of another.
    layout = vectors.new_zeros(images, vectors.size(1), *size)
    for first in range(0, int(rank.max()) + 1, depth):
        chosen = ((rank >= first) & (rank < first + depth)).nonzero().view(-1)
        present, members = batch[chosen].unique(return_inverse=True)
        slots = rank[chosen] - first
        width = int(slots.max()) + 1
        part = _factor(vectors[chosen], warped[chosen], members, slots, len(present), width)
        layout = layout.index_add(0, present, part.multiply())
    return layout


def _surfaces(textures: Tensor, masks: Tensor, boxes: Tensor, places: Tensor) -> Tensor:
    """The channels of textures in a layout, from masks :math:`(N, K, H, W)` among which those of
    the objects have the given places."""
    size = (masks.size(2), masks.size(3))
    seen = masks.flatten(0, 1).index_select(0, places).unsqueeze(1)
    map_x, map_y, _ = _places_in_boxes(boxes, size)
    surfaces = _sample(textures, map_x, map_y, padding="border") * seen
    planes = surfaces.new_zeros(masks[:, :, 0, 0].numel(), *surfaces.shape[1:])
    # Not index_add: the sums would depend on how the threads of a GPU take turns.
    planes = planes.index_copy(0, places, surfaces)
    return planes.view(*masks.shape[:2], *surfaces.shape[1:]).sum(1)


def coordinate_vectors(boxes: Tensor) -> Tensor:
    """What :func:`replace_coordinates` needs of each object: place and extent of its box, as the
    factors of functions that are linear in the place of a pixel, shape :math:`(O, 4)`."""
    corner, extent = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    extent = torch.where(extent.abs() < _THIN, _THIN, extent)
    return torch.cat([2 / extent, -2 * corner / extent - 1], dim=1)


def replace_coordinates(layout: Tensor) -> Tensor:
    r"""Puts the place of each pixel within the box of its object in the place of a layout's last
    channels, so that a generator need not infer it from the shape of the mask.

    Args:
        layout: Its last four channels are those of :func:`coordinate_vectors`, shape
            :math:`(N, D + 4, H, W)`.

    Returns:
        Shape :math:`(N, D + 6, H, W)`: across and down, from -1 to 1 in the box, then sines and
        cosines of :math:`\pi` times these.
    """
    layout, factors, constants = layout.tensor_split((-4, -2), dim=1)
    height, width = layout.shape[2:]
    across = _linspace(width, layout).expand(height, -1)
    down = _linspace(height, layout).unsqueeze(1).expand(-1, width)
    places = factors * torch.stack([across, down]) + constants
    places = places.clamp(-_BEYOND, _BEYOND)
    return torch.cat([layout, places, (torch.pi * places).sin(), (torch.pi * places).cos()], dim=1)


_THIN = 0.02  # of the picture: thinner boxes would give large numbers
_BEYOND = 1.2  # where masks of several objects mix, numbers may be far off


def label_maps(
    categories: Tensor,
    boxes: Tensor,
    masks: Tensor | None,
    batch: Tensor,
    size: tuple[int, int],
    num_categories: int,
    batch_size: int | None = None,
    most: int | None = None,
) -> Tensor:
    """Share of each pixel that a category has, objects with smaller boxes in front.

    The arguments are those of :func:`compose_layout`, with categories in place of vectors.

    Args:
        categories: Category of each object, shape :math:`(O,)`, int64.
        num_categories: Number of categories :math:`C`.

    Returns:
        Shape :math:`(N, C, H, W)`.
    """
    names = torch.arange(num_categories, device=categories.device)
    vectors = (categories.unsqueeze(1) == names).to(boxes.dtype)  # F.one_hot may wait
    return compose_layout(vectors, boxes, masks, batch, size, batch_size, most, "front")


def _placed(
    vectors: Tensor,
    boxes: Tensor,
    masks: Tensor | None,
    batch: Tensor,
    size: tuple[int, int],
    batch_size: int | None,
    most: int | None,
    overlap: Overlap = "sum",
) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int]:
    """The arguments of :func:`_factor`, from those of :func:`compose_layout`."""
    _check_floating(vectors=vectors, boxes=boxes)
    warped = warp_masks(boxes, masks, size).to(vectors.dtype)
    if vectors.dim() != 2 or len(vectors) != len(boxes) or batch.shape != boxes.shape[:1]:
        raise ValueError(
            "vectors (O, D), boxes (O, 4) and batch (O,) must hold the same objects, got "
            f"{tuple(vectors.shape)}, {tuple(boxes.shape)} and {tuple(batch.shape)}"
        )
    batch, images = batch.long(), batch_size
    if images is None:
        images = int(batch.max()) + 1 if len(batch) else 0
    area = None
    if overlap == "front":
        # Only what lies in the picture: a box that is larger than it is not behind the image node.
        inside = boxes.detach().clamp(0, 1)
        area = (inside[:, 2:] - inside[:, :2]).prod(1).abs()
    rank, _ = ranks_in_pictures(batch, images, area)
    if most is None:
        most = int(rank.max()) + 1 if len(rank) else 1
    return vectors, warped, batch, rank, images, most


def _factor(
    vectors: Tensor, warped: Tensor, batch: Tensor, rank: Tensor, images: int, width: int
) -> FactoredLayout:
    """Puts each object's vector and warped mask at its rank among those of its picture."""
    place = batch * width + rank
    dense_vectors = vectors.new_zeros(images * width, vectors.size(1))
    dense_masks = warped.new_zeros(images * width, *warped.shape[1:])
    return FactoredLayout(
        dense_vectors.index_copy(0, place, vectors).view(images, width, vectors.size(1)),
        dense_masks.index_copy(0, place, warped).view(images, width, *warped.shape[1:]),
    )


def ranks_in_pictures(
    batch: Tensor, pictures: int, keys: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The place of each object among those of its picture.

    Args:
        batch: Picture of each object, int64, shape :math:`(O,)`.
        pictures: Number of pictures :math:`N`.
        keys: Where given, smaller ones come first, and alike ones in the order of the objects;
            shape :math:`(O,)`.

    Returns:
        How many objects of its picture stand before each, shape :math:`(O,)`, and how many objects
        each picture has, shape :math:`(N,)`.
    """
    order = batch.argsort(stable=True)
    if keys is not None:
        order = keys.argsort(stable=True)
        order = order[batch[order].argsort(stable=True)]
    counts = scatter(torch.ones_like(batch), batch, dim_size=pictures, reduce="sum")
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(batch)
    rank[order] = torch.arange(len(batch), device=batch.device) - starts[batch[order]]
    return rank, counts


def warp_masks(boxes: Tensor, masks: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Masks, warped bilinearly into their boxes; zero outside.

    Args:
        boxes: Shape :math:`(O, 4)`.
        masks: Shape :math:`(O, M, M)`, or :obj:`None` to fill each box.
        size: Height and width of the result.

    Returns:
        Shape :math:`(O, H, W)`.

    Raises:
        ValueError: If shapes do not fit together.
    """
    if boxes.dim() != 2 or boxes.size(1) != 4:
        raise ValueError(f"boxes must have the shape (O, 4), got {tuple(boxes.shape)}")
    if masks is None:
        masks = boxes.new_ones(len(boxes), _FILLED, _FILLED)
    if masks.dim() != 3 or len(masks) != len(boxes):
        raise ValueError(
            f"masks must have the shape ({len(boxes)}, M, M), got {tuple(masks.shape)}"
        )
    map_x, map_y, empty = _places_in_boxes(boxes, size)
    masks = masks.to(torch.promote_types(masks.dtype, boxes.dtype))
    masks = masks.masked_fill(empty.unsqueeze(2), 0)
    return _sample(masks.unsqueeze(1), map_x, map_y).squeeze(1)


def _places_in_boxes(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Where each pixel lies in each box, across and down from -1 to 1, both of shape (O, H, W); and
    whether a box is too thin to have any pixel, shape (O, 1)."""
    corner, opposite = boxes.view(-1, 2, 2).unbind(1)
    extent = opposite - corner
    # Thinner than the precision of its type: no pixel can be said to lie in it, and dividing by
    # it would overflow. Its mask is emptied instead.
    empty = (extent.abs() <= torch.finfo(extent.dtype).eps).any(1, keepdim=True)
    extent = torch.where(empty, torch.ones_like(extent), extent)
    maps = []
    for axis, length in ((0, size[1]), (1, size[0])):
        pixels = _linspace(length, boxes)
        inside = (pixels - corner[:, axis : axis + 1]) / extent[:, axis : axis + 1]
        maps.append(2 * inside - 1)
    map_x = maps[0].unsqueeze(1).expand(-1, size[0], -1)
    map_y = maps[1].unsqueeze(2).expand(-1, -1, size[1])
    return map_x, map_y, empty


def resize_masks(masks: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Masks of another size, :math:`(O, M, M)`: averaged or spread bilinearly."""
    if masks.shape[-2:] == size:
        return masks
    resized = F.interpolate(masks.unsqueeze(1), size, mode="bilinear", antialias=True)
    return resized.squeeze(1)


def sharpened(masks: Tensor, factor: float) -> Tensor:
    """Masks in :math:`[0, 1]` whose logits are multiplied by a factor."""
    return (factor * masks.logit()).sigmoid()


def crop_objects(images: Tensor, boxes: Tensor, batch: Tensor, size: int) -> Tensor:
    """Cuts each object's box out of its picture and resizes it bilinearly.

    Same pixel convention as :func:`compose_layout`; what lies outside of the picture is zero.

    Args:
        images: Shape :math:`(N, C, H, W)`.
        boxes: Boxes :obj:`[x0, y0, x1, y1]` in units of the picture, shape :math:`(O, 4)`.
        batch: Picture of each object, shape :math:`(O,)`.
        size: Side of the crops in pixels.

    Returns:
        Shape :math:`(O, C, size, size)`.

    Raises:
        ValueError: If shapes do not fit together.

    Examples:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> crop_objects(image, torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0]), 2).flatten()
        tensor([0., 1., 2., 3.])
    """
    if images.dim() != 4 or boxes.dim() != 2 or boxes.size(1) != 4 or len(batch) != len(boxes):
        raise ValueError(
            "images, boxes and batch must have the shapes (N, C, H, W), (O, 4) and (O,), got "
            f"{tuple(images.shape)}, {tuple(boxes.shape)} and {tuple(batch.shape)}"
        )
    _check_floating(images=images, boxes=boxes)
    corner, opposite = (2 * boxes - 1).view(-1, 2, 2).unbind(1)
    steps = _linspace(size, boxes)
    # Both ends are weighted, as the release does: exact at the first and at the last pixel.
    maps = corner.unsqueeze(2) * (1 - steps) + opposite.unsqueeze(2) * steps
    map_x = maps[:, 0].unsqueeze(1).expand(-1, size, -1)
    map_y = maps[:, 1].unsqueeze(2).expand(-1, -1, size)
    # Not images[batch]: the sums of its gradient depend on how the threads of a CPU take turns.
    return _sample(images.index_select(0, batch), map_x, map_y)


def _check_floating(**tensors: Tensor) -> None:
    for name, values in tensors.items():
        if not values.is_floating_point():
            hint = ": see sg2im_pyg.images.normalize_images" if name == "images" else ""
            raise ValueError(f"{name} must be floating-point numbers, got {values.dtype}{hint}")


def _sample(images: Tensor, map_x: Tensor, map_y: Tensor, padding: str = "zeros") -> Tensor:
    """Bilinear samples at positions in [-1, 1], corners on corners; zero outside, or what is on the
    border."""
    if not len(images):
        return images.new_zeros(0, images.size(1), *map_x.shape[1:])
    common = torch.promote_types(images.dtype, map_x.dtype)
    return remap(
        images.to(common),
        map_x.to(common),
        map_y.to(common),
        mode="bilinear",
        padding_mode=padding,
        align_corners=True,
        normalized_coordinates=True,
    ).to(images.dtype)


def _linspace(steps: int, like: Tensor) -> Tensor:
    return torch.linspace(0, 1, steps, dtype=like.dtype, device=like.device)
