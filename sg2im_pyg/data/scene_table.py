"""Annotations of many pictures as a few long arrays: what the store holds beside the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError


def _no_rows(*shape: int, dtype: type = np.int32) -> np.ndarray:
    return np.zeros((0, *shape), dtype)


@dataclass(eq=False)
class SceneTable:
    """Objects and relationships of :math:`N` pictures, one row each, in the order of the pictures.

    Attributes:
        image_ids: Number of each picture in its source, shape :math:`(N,)`, int64.
        object_offset: Objects of picture ``i`` are the rows ``object_offset[i]`` up to
            ``object_offset[i + 1]``, shape :math:`(N + 1,)`, int64.
        categories: Index of each object's category, shape :math:`(O,)`, int32.
        boxes: Boxes :obj:`[x0, y0, x1, y1]` in :math:`[0, 1]`, shape :math:`(O, 4)`, float32.
        packed_masks: Masks as :func:`pack_masks` gives them, shape
            :math:`(O, \\lceil M^2 / 8 \\rceil)`, uint8; :obj:`None` without masks.
        relationship_offset: As :obj:`object_offset`, for relationships.
        relationships: Subject, predicate, object; subject and object count from the picture's
            first object; shape :math:`(T, 3)`, int32.
        attribute_offset: Attributes of the object in row ``o`` are ``attribute_offset[o]`` up to
            ``attribute_offset[o + 1]``, shape :math:`(O + 1,)`, int64; all zero without any.
        attributes: Indices of attributes, shape :math:`(A,)`, int32.
        object_ids: Number of each object in its source, shape :math:`(O,)`, int64; :obj:`None`
            where objects have none.
    """

    image_ids: np.ndarray
    object_offset: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    packed_masks: np.ndarray | None
    relationship_offset: np.ndarray
    relationships: np.ndarray = field(default_factory=lambda: _no_rows(3))
    attribute_offset: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    attributes: np.ndarray = field(default_factory=lambda: _no_rows())
    object_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @classmethod
    def from_scenes(cls, scenes: Sequence[Scene], mask_size: int) -> "SceneTable":
        """Table of scenes whose arrays have fitting shapes."""
        masks = [pack_masks(scene.masks) for scene in scenes if scene.masks is not None]
        relationships = [
            np.reshape(scene.relationships, (-1, 3)) if len(scene.relationships) else _no_rows(3)
            for scene in scenes
        ]
        objects = [len(scene.categories) for scene in scenes]
        return cls(
            image_ids=np.array([scene.image_id for scene in scenes], np.int64),
            object_offset=offsets(objects),
            categories=np.concatenate(
                [_no_rows(), *(scene.categories for scene in scenes)], dtype=np.int32
            ),
            boxes=np.concatenate(
                [_no_rows(4), *(scene.boxes for scene in scenes)], dtype=np.float32
            ),
            packed_masks=np.concatenate([_no_rows(packed_bytes(mask_size), dtype=np.uint8), *masks])
            if mask_size
            else None,
            relationship_offset=offsets([len(rows) for rows in relationships]),
            relationships=np.concatenate([_no_rows(3), *relationships], dtype=np.int32),
            attribute_offset=np.zeros(sum(objects) + 1, np.int64),
        )

    def select(self, pictures: np.ndarray) -> "SceneTable":
        """Table of some of the pictures.

        Args:
            pictures: Their positions in rising order, shape :math:`(K,)`.
        """
        objects, object_offset = ragged_rows(self.object_offset, pictures)
        relationships, relationship_offset = ragged_rows(self.relationship_offset, pictures)
        attributes, attribute_offset = ragged_rows(self.attribute_offset, objects)
        return SceneTable(
            self.image_ids[pictures],
            object_offset,
            self.categories[objects],
            self.boxes[objects],
            None if self.packed_masks is None else self.packed_masks[objects],
            relationship_offset,
            self.relationships[relationships],
            attribute_offset,
            self.attributes[attributes],
            None if self.object_ids is None else self.object_ids[objects],
        )

    def check(self, where: str, vocabulary: Vocabulary) -> None:
        """Checks that the arrays agree with each other and with the vocabulary.

        Args:
            where: What the sentence of an error begins with.
            vocabulary: Names of categories, predicates and attributes.

        Raises:
            Sg2ImError: If they do not.
        """
        for offset, rows, what in (
            (self.object_offset, self.categories, "objects"),
            (self.relationship_offset, self.relationships, "relationships"),
            (self.attribute_offset, self.attributes, "attributes"),
        ):
            if offset[0] != 0 or (np.diff(offset) < 0).any() or offset[-1] != len(rows):
                raise Sg2ImError(f"{where}: the offsets of the {what} are not in order.")
        if not ((self.boxes >= 0) & (self.boxes <= 1)).all():  # nor is one that is not a number
            raise Sg2ImError(f"{where}: a box is not within 0 and 1.")
        if (self.boxes[:, :2] > self.boxes[:, 2:]).any():
            raise Sg2ImError(f"{where}: a box has a negative size (not x0 <= x1 and y0 <= y1).")
        for values, names, what in (
            (self.categories, vocabulary.objects, "category"),
            (self.relationships[:, 1], vocabulary.predicates, "predicate"),
            (self.attributes, vocabulary.attributes, "attribute"),
        ):
            if len(values) and not (0 <= values.min() and values.max() < len(names)):
                raise Sg2ImError(f"{where}: a {what} is outside of the vocabulary of {len(names)}.")
        limit = np.repeat(np.diff(self.object_offset), np.diff(self.relationship_offset))
        ends = self.relationships[:, [0, 2]]
        if (ends < 0).any() or (ends >= limit[:, None]).any():
            raise Sg2ImError(f"{where}: a relationship names an object that its picture lacks.")


def offsets(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where each of several runs of rows begins, and where the last one ends; int64."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def packed_bytes(mask_size: int) -> int:
    """Bytes that a mask of :obj:`mask_size` x :obj:`mask_size` bits takes."""
    return (mask_size * mask_size + 7) // 8


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """Eight pixels a byte, the first in the highest bit.

    Args:
        masks: Shape :math:`(O, M, M)`, bool.

    Returns:
        Shape :math:`(O, \\lceil M^2 / 8 \\rceil)`, uint8.
    """
    masks = np.asarray(masks, bool)
    return np.packbits(masks.reshape(len(masks), masks.shape[1] * masks.shape[2]), axis=1)


def unpack_masks(packed: np.ndarray, mask_size: int) -> np.ndarray:
    """The inverse of :func:`pack_masks`."""
    bits = np.unpackbits(packed, axis=1, count=mask_size * mask_size)
    return bits.reshape(-1, mask_size, mask_size).astype(bool)


def ragged_rows(offset: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of some entries of a ragged array, and where those of each begin and end.

    Args:
        offset: Entry ``i`` has the rows ``offset[i]`` up to ``offset[i + 1]``.
        entries: Shape :math:`(N,)`.

    Returns:
        Rows, shape :math:`(R,)`; and ends, shape :math:`(N + 1,)`, both int64.
    """
    start = offset[entries]
    counts = offset[entries + 1] - start
    ends = np.zeros(len(entries) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return np.arange(ends[-1]) + np.repeat(start - ends[:-1], counts), ends
