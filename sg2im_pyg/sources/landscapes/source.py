"""The default data: small landscapes, painted here, with exact boxes and masks.

A picture is painted back to front (sky, sun, mountains, grounds, things from far to near) at
several times its size, once in colour and once with the number of each object. Both are reduced
to the picture's size: the colours by averaging, the numbers by majority. Boxes and masks follow
from the numbers and therefore show exactly what can be seen of each object.
"""

from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.store import SceneWriter, read_settings, store_path
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.landscapes.canvas import Canvas, Dice
from sg2im_pyg.sources.landscapes.painter import Landscape
from sg2im_pyg.sources.preparation import SPLITS, check_settings
from sg2im_pyg.system.parallel import ordered_map, usable_cores
from sg2im_pyg.system.progress import progress_bar

LANDSCAPE_OBJECTS = (
    *("sky", "grass", "water", "sand", "road", "mountain"),
    *("sun", "moon", "cloud", "tree", "house", "car", "boat", "sheep", "person", "balloon"),
)
"""Names of the categories, stuff first; their indices in the vocabulary start at 1."""

MIN_OBJECTS, MAX_OBJECTS = 3, 8
"""Fewest and most objects of a picture, as for COCO in the 2018 release."""

MIN_BOX_AREA, MIN_VISIBLE_AREA = 0.012, 0.004
"""An object is dropped where the box of its visible part, or that part, covers no more.

Shares of the picture. The release drops boxes up to 0.02 and does not look at the visible part;
the things here are simple enough to be recognised at 7 x 7 of 64 x 64 pixels.
"""

DRAWING = 2
"""Number of the way to paint, part of a file's settings; raise it when pictures change."""

SPLIT_STRIDE = 10_000_000
"""Each split has its own range of indices, so that no size makes two of them overlap."""


def landscape_vocabulary() -> Vocabulary:
    """Vocabulary of the landscapes: 16 categories and the six geometric predicates."""
    return Vocabulary(LANDSCAPE_OBJECTS, GEOMETRIC_PREDICATES)


def paint_landscape(
    seed: int, index: int, image_size: tuple[int, int] = (64, 64), mask_size: int = 16
) -> Scene:
    """Paints one landscape; the same arguments give the same bytes on every platform.

    Args:
        seed: Seed of the data set, from 0 to 2**32 - 1.
        index: Number of the picture, from 0 to 2**32 - 1; it becomes :obj:`image_id`. Pictures
            do not depend on each other.
        image_size: Height and width of the picture in pixels.
        mask_size: Height and width :math:`M` of the masks; 0 for no masks.

    Returns:
        A picture of 3 to 8 objects in painting order (back to front). A mask is the visible part
        of an object, cropped to its box and set where it covers at least half of a cell.

    Raises:
        Sg2ImError: If an argument is out of its range.
    """
    for argument, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 2**32:
            raise Sg2ImError(f"The {argument} of a landscape must lie in [0, 2**32), got {value}.")
    if len(image_size) != 2 or min(image_size) < 16:
        raise Sg2ImError(
            f"image_size must be a height and a width of at least 16 pixels, got {image_size}."
        )
    if mask_size < 0:
        raise Sg2ImError(f"mask_size must be 0 (no masks) or positive, got {mask_size}.")
    image, owners, names = _paint(seed, index, image_size)
    height, width = image_size
    boxes, masks, categories = [], [], []
    for number, name in enumerate(names):
        if name is None:
            continue
        visible = owners == number
        x0, y0, x1, y1 = _tight_box(visible)
        boxes.append((x0 / width, y0 / height, x1 / width, y1 / height))
        categories.append(1 + LANDSCAPE_OBJECTS.index(name))
        if mask_size:
            masks.append(_resize_mask(visible[y0:y1, x0:x1], mask_size))
    return Scene(
        image_id=index,
        image=image,
        categories=np.array(categories, np.int64),
        boxes=np.array(boxes, np.float32),
        masks=np.stack(masks) if mask_size else None,
    )


def prepare_landscapes(
    root: Path,
    image_size: tuple[int, int] = (64, 64),
    mask_size: int = 32,
    train: int = 10_000,
    val: int = 1_000,
    test: int = 1_000,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Paints the three splits into :obj:`<root>/<H>x<W>/{train,val,test}.h5`.

    A split that is there already with the same settings is kept. Processes are started by the
    spawn method, so a script that calls this with :obj:`workers` other than 1 needs the usual
    :obj:`if __name__ == "__main__":`.

    Args:
        root: Folder of the landscapes, made where it is missing.
        image_size: Height and width of the pictures in pixels.
        mask_size: Height and width of the masks; 0 for no masks.
        train: Number of pictures to train on.
        val: Number of pictures to validate on.
        test: Number of pictures to test on.
        seed: Seed of the data; the three splits never share a picture.
        workers: Number of processes; :obj:`None` means one a usable core, and this process alone
            for few pictures. The files' content does not depend on it.
        progress: Show a bar, unless stderr is no terminal.

    Returns:
        The path of each split.

    Raises:
        Sg2ImError: If a file is there with other settings or can not be read, or if a number is
            out of its range.
    """
    paths: dict[str, Path] = {}
    missing: dict[str, tuple[range, dict[str, Any]]] = {}
    for number, (split, count) in enumerate(zip(SPLITS, (train, val, test), strict=True)):
        if not 0 < count <= SPLIT_STRIDE:
            raise Sg2ImError(
                f"The number of pictures to paint for {split!r} must lie between 1 and "
                f"{SPLIT_STRIDE}, got {count}."
            )
        start = number * SPLIT_STRIDE
        settings = {
            "source": "landscapes",
            "drawing": DRAWING,
            "seed": seed,
            "first_index": start,
            "count": count,
            "mask_size": mask_size,
        }
        paths[split] = store_path(root, image_size, split)
        if not paths[split].exists():
            missing[split] = range(start, start + count), settings
            continue
        check_settings(paths[split], read_settings(paths[split]), settings)
    total = sum(len(indices) for indices, _ in missing.values())
    if workers is None:
        # Starting processes takes seconds; painting 500 pictures takes about two.
        workers = usable_cores() if total > 500 else 1
    if workers < 1:
        raise Sg2ImError(f"The number of workers must be at least 1, got {workers}.")
    with progress_bar(None, total, progress and total > 0, unit="picture") as bar:
        tasks = [
            (seed, indices[i : i + 50], image_size, mask_size)
            for indices, _ in missing.values()
            for i in range(0, len(indices), 50)
        ]
        chunks = ordered_map(_paint_chunk, tasks, min(workers, len(tasks)))
        scenes = chain.from_iterable(chunks)
        for split, (indices, settings) in missing.items():
            bar.set_description(f"Painting landscapes ({split})")
            with SceneWriter(
                paths[split], landscape_vocabulary(), image_size, mask_size, settings
            ) as writer:
                for scene in islice(scenes, len(indices)):
                    writer.add(scene)
                    bar.update()
    return paths


def _paint_chunk(task: tuple[int, range, tuple[int, int], int]) -> list[Scene]:
    seed, indices, image_size, mask_size = task
    return [paint_landscape(seed, index, image_size, mask_size) for index in indices]


# Boxes and masks -------------------------------------------------------------------------------


def _tight_box(visible: np.ndarray) -> tuple[int, int, int, int]:
    """First and one past the last column and row that hold a visible pixel."""
    columns, rows = np.flatnonzero(visible.any(0)), np.flatnonzero(visible.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@lru_cache(maxsize=1024)
def _overlaps(pixels: int, cells: int) -> np.ndarray:
    """Overlap of each cell with each pixel of a row, in units of a pixel / cells (integers)."""
    cell, pixel = np.arange(cells)[:, None], np.arange(pixels)[None, :]
    end = np.minimum((cell + 1) * pixels, (pixel + 1) * cells)
    return np.maximum(end - np.maximum(cell * pixels, pixel * cells), 0).astype(np.float64)


def _resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Cells of a size x size grid of which at least half the area is covered, shape (M, M)."""
    height, width = mask.shape
    area = _overlaps(height, size) @ mask.astype(np.float64) @ _overlaps(width, size).T
    # Sums of integers below 2**53: exact, whatever the order of the additions.
    return 2 * area >= height * width


# The picture -----------------------------------------------------------------------------------


def _paint(
    seed: int, index: int, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    """Paints one picture.

    Returns:
        The picture (H, W, 3); the number of the object that owns each pixel (H, W); the name of
        each object, :obj:`None` where it is too small to be kept.
    """
    # A named bit generator and its raw uniform numbers alone: their stream is fixed, and their
    # scaling below is plain Python arithmetic, so nothing depends on numpy's version or the CPU.
    dice = Dice(np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index]))))
    while True:
        canvas = Canvas(image_size)
        Landscape(canvas, dice).paint()
        image, owners = canvas.reduce()
        names = [
            name if _worth_keeping(owners == number) else None
            for number, name in enumerate(canvas.names)
        ]
        if MIN_OBJECTS <= len(names) - names.count(None) <= MAX_OBJECTS:
            return image, owners, names


def _worth_keeping(visible: np.ndarray) -> bool:
    if np.count_nonzero(visible) <= MIN_VISIBLE_AREA * visible.size:
        return False
    x0, y0, x1, y1 = _tight_box(visible)
    return (x1 - x0) * (y1 - y0) > MIN_BOX_AREA * visible.size
