"""Outlines as COCO has them: polygons and runs (RLE), checked, decoded and cropped to their box."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from sg2im_pyg.sources.json_stream import numbers, whole
from sg2im_pyg.sources.mistakes import WrongAnnotation


@dataclass(frozen=True)
class Segmentation:
    """The outline of one object as its annotation has it.

    Attributes:
        content: Polygons (a list of lists of numbers) or runs (:obj:`"size"`, :obj:`"counts"`);
            anything without content for none.
        corners: The object's box :obj:`(x0, y0, x1, y1)` in pixels of the stored picture.
        width: Width of the stored picture, in pixels.
        height: Height of the stored picture, in pixels.
    """

    content: Any
    corners: tuple[float, float, float, float]
    width: int
    height: int

    def small_mask(self, size: int, smooth: bool = False) -> np.ndarray | None:
        """The mask within the box, shape :math:`(M, M)`, bool; :obj:`None` where the outline is
        missing or encloses no pixel.

        The mask at the picture's size is cropped to the box rounded to pixels and resized, see
        :func:`resized`.

        Args:
            size: Side of the mask :math:`M`.
            smooth: Whether all pixels count, see :func:`resized`.

        Raises:
            WrongAnnotation: If the outline is malformed or does not belong to its picture.
        """
        mask = self.decode()
        if not mask.any():
            return None
        x0, y0, x1, y1 = (round(corner) for corner in self.corners)
        # At least one pixel is cropped, and none outside of the picture.
        x0, y0 = min(max(x0, 0), self.width - 1), min(max(y0, 0), self.height - 1)
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        # Turned around: runs go down the columns, and so does the memory of what is decoded.
        return resized(mask.T[x0:x1, y0:y1], size, smooth).T

    def decode(self) -> np.ndarray:
        """Mask of an object at the picture's size, shape (height, width), uint8.

        Everything is checked first: pycocotools reads and writes outside of its memory when the
        runs do not add up to the picture.
        """
        segmentation, height, width = self.content, self.height, self.width
        if isinstance(segmentation, str) and segmentation not in ("", "NaN"):
            raise WrongAnnotation("has a text for a segmentation")
        if not segmentation or isinstance(segmentation, str):
            return np.zeros((height, width), np.uint8)
        if isinstance(segmentation, list):
            polygons = self._polygons(segmentation)
            if not polygons:
                return np.zeros((height, width), np.uint8)
            runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
            return coco_mask.decode(runs)
        if not isinstance(segmentation, dict) or "counts" not in segmentation:
            raise WrongAnnotation(
                "has a segmentation that is neither polygons (a list of lists of numbers) nor runs "
                "('size' and 'counts')"
            )
        size = segmentation.get("size")
        if not isinstance(size, list) or [whole(side) for side in size] != [height, width]:
            raise WrongAnnotation(
                f"has a mask of size {size} (height, width), its picture is listed with "
                f"{[height, width]}"
            )
        counts = segmentation["counts"]
        if not counts:
            return np.zeros((height, width), np.uint8)
        if isinstance(counts, list):
            counts = [whole(count, 0, 2**31) for count in counts]
        lengths = _uncompress(counts) if isinstance(counts, str) else _whole_numbers(counts)
        if lengths is None or (lengths < 0).any() or int(lengths.sum()) != height * width:
            raise WrongAnnotation(
                "has a damaged mask, whose runs do not add up to its picture of "
                f"{width} x {height} pixels"
            )
        runs = {"size": [height, width], "counts": counts}
        return coco_mask.decode(
            runs if isinstance(counts, str) else coco_mask.frPyObjects(runs, height, width)
        )

    def _polygons(self, polygons: list[Any]) -> list[Sequence[float]]:
        """The polygons that enclose an area; two corners or fewer (pycocotools: a box) do not."""
        found: list[Sequence[float]] = []
        for polygon in polygons:
            positions = numbers(polygon)
            if (
                positions is None
                or len(positions) % 2
                # pycocotools walks along each edge pixel by pixel
                or any(not -self.width <= x <= 2 * self.width for x in positions[0::2])
                or any(not -self.height <= y <= 2 * self.height for y in positions[1::2])
            ):
                raise WrongAnnotation(
                    "has a damaged polygon: expected is a list x, y, x, y, ... of positions in its "
                    f"picture of {self.width} x {self.height} pixels"
                )
            if len(positions) >= 6:
                found.append(positions)
        return found


def resized(mask: np.ndarray, size: int, smooth: bool = False) -> np.ndarray:
    """A mask of another size.

    As in the release, whose pixels these are, a pixel of the result looks at the four of the mask
    around its centre alone, of which those outside are empty, and is set above 128 / 255. (It is
    scikit-image 0.14's ``resize``: bilinear, no antialiasing, ``mode="constant"``, its result cut
    off at the least and the most of the mask, so that a full mask stays full.)

    Args:
        mask: Zeros and ones, shape :math:`(H, W)`.
        size: Side of the result.
        smooth: Whether the result is averaged over all pixels (bilinear with antialiasing, set
            above one half) instead.

    Returns:
        Shape :math:`(size, size)`, bool.

    Examples:
        >>> resized(np.array([[1, 0, 0, 0]] * 4), 2).astype(int)
        array([[0, 0],
               [0, 0]])
        >>> resized(np.array([[1, 1, 0, 0]] * 4), 2, smooth=True).astype(int)
        array([[1, 0],
               [1, 0]])
    """
    if smooth:
        picture = Image.fromarray(np.ascontiguousarray(mask, np.float32))
        return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)) > 0.5
    if mask.all():
        return np.ones((size, size), bool)
    (rows, of_rows), (columns, of_columns) = (_around(length, size) for length in mask.shape)
    shares = np.zeros((size, size))
    for row, of_row in zip(rows, of_rows, strict=True):
        for column, of_column in zip(columns, of_columns, strict=True):
            shares += np.outer(of_row, of_column) * mask[np.ix_(row, column)]
    return 255 * shares > 128


def _around(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The two pixels of a row around the centre of each pixel of a row of another length, and
    their weights, both of shape (2, size); those outside of the row weigh nothing."""
    centres = (np.arange(size) + 0.5) * (length / size) - 0.5
    before = np.floor(centres)
    pixels = np.stack([before, before + 1]).astype(np.int64)
    weights = np.stack([before + 1 - centres, centres - before])
    weights[(pixels < 0) | (pixels >= length)] = 0
    return pixels.clip(0, length - 1), weights


def _uncompress(counts: str) -> np.ndarray | None:
    """Lengths of the runs of a compressed RLE, :obj:`None` where it breaks the format.

    Only to check them. The format (pycocotools, ``maskApi.c``): five bits a character from "0"
    on, lowest first, the sixth bit says that more follow, the fifth of the last is the sign; from
    the fourth run on, the difference to the run two before.
    """
    if not counts or not counts.isascii():
        return None
    bits = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    is_last = (bits & 0x20) == 0
    if (bits < 0).any() or (bits > 0x3F).any() or not is_last[-1]:
        return None
    starts = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
    lengths = np.diff(np.append(starts, len(bits)))
    if lengths.max() > 6:  # more than 30 bits
        return None
    place = 5 * (np.arange(len(bits)) - np.repeat(starts, lengths))
    values = np.add.reduceat((bits & 0x1F) << place, starts)
    is_negative = (bits[is_last] & 0x10) != 0
    values -= is_negative * (np.int64(1) << 5 * lengths)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _whole_numbers(counts: Any) -> np.ndarray | None:
    if not isinstance(counts, list) or None in counts:
        return None
    return np.array(counts, np.int64)
