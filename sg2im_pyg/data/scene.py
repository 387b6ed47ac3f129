"""One annotated picture, as the readers of the sources hand it to the store."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Scene:
    """One annotated picture: what a reader makes and :class:`SceneWriter` stores.

    The node :obj:`"__image__"` and its edges are not part of it (the transform
    :class:`AddImageNode` adds them).

    Attributes:
        image_id: Number of the picture in its source.
        image: Picture at training size, shape :math:`(H, W, 3)`, uint8, RGB.
        categories: Index of each object's category, shape :math:`(O,)`.
        boxes: Box of each object as :obj:`[x0, y0, x1, y1]` in :math:`[0, 1]`, shape
            :math:`(O, 4)`.
        masks: Mask of each object within its box, shape :math:`(O, M, M)`, bool, or
            :obj:`None` where the source has none.
        relationships: Triples of subject, predicate and object, shape :math:`(T, 3)`: positions
            in :attr:`categories` and an index of a predicate.
    """

    image_id: int
    image: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray | None = None
    relationships: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
