"""The pictures of a study: those of each system, the true ones, and true ones in disorder."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.generation import Generation
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.evaluation.systems import CheckpointSystem, FolderSystem, System
from sg2im_pyg.images import denormalize_images, to_pil
from sg2im_pyg.sources.images import load_image
from sg2im_pyg.study.questions import shuffled

_TILES = 8  # tiles a side of a picture in disorder: at 64 x 64, smaller than what is painted


def match_files(system: FolderSystem, split: Split) -> tuple[dict[int, Path], bool]:
    """A folder's pictures by the scene that they show.

    Returns:
        A file for each scene that has one, and whether they were matched by their numbers. Where
        no name has the number of a scene, files and scenes are matched in their order, if there
        are as many; otherwise none is.
    """
    scene_of = {split.image_id(scene): scene for scene in range(split.pictures)}
    found: dict[int, Path] = {}
    for path in system.files:
        for image_id in _numbers(path.stem):
            if image_id in scene_of:
                found.setdefault(scene_of[image_id], path)
                break
    if found or len(system.files) != split.pictures:
        return found, True
    return dict(enumerate(system.files)), False


def _numbers(stem: str) -> list[int]:
    """Numbers that the picture of this name may have: the last one, and, where a small one stands
    after an underscore, which counts several pictures of a scene, the one before it. Only the
    first picture of a scene, of number 0, is taken."""
    last = re.search(r"(\d{1,18})$", stem)
    counted = re.search(r"(\d{1,18})_0$", stem)
    return [int(found[1]) for found in (counted, last) if found]


def system_pictures(
    system: System,
    files: dict[int, Path] | None,
    split: Split,
    scenes: Sequence[int],
    config: EvaluationConfig,
) -> list[Image.Image]:
    """A system's picture of each scene: read from its files, or generated."""
    bar = tqdm(total=len(scenes), desc=system.name, unit="picture", disable=None)
    images: list[Image.Image] = []
    with bar:
        if isinstance(system, CheckpointSystem):
            generation = Generation(system, split, config)
            for start in range(0, len(scenes), config.batch_size):
                batch = scenes[start : start + config.batch_size]
                output = generation.generate(batch, 0)[2]
                images += to_pil(denormalize_images(output.images))
                bar.update(len(batch))
        else:
            assert files is not None
            for scene in scenes:
                read = load_image(files[scene], split.dataset.image_size)
                images.append(Image.fromarray(read))
                bar.update(1)
    return images


def true_picture(split: Split, scene: int) -> Image.Image:
    """The picture in the data."""
    return Image.fromarray(split.dataset.reader.image(scene))


def jumble(image: Image.Image, seed: int, scene: int) -> Image.Image:
    """A picture whose tiles stand in another order, none of them in its own place."""
    pixels = np.asarray(image)
    height, width = (max(1, side // _TILES) for side in pixels.shape[:2])
    corners = [
        (y, x)
        for y in range(0, pixels.shape[0] - height + 1, height)
        for x in range(0, pixels.shape[1] - width + 1, width)
    ]
    order = shuffled(corners, seed, "tiles", scene)
    mixed = pixels.copy()
    for (y, x), (from_y, from_x) in zip(order, order[1:] + order[:1], strict=True):
        mixed[y : y + height, x : x + width] = pixels[
            from_y : from_y + height, from_x : from_x + width
        ]
    return Image.fromarray(mixed)


def save_picture(image: Image.Image, folder: Path, seed: int) -> str:
    """Writes a picture into a study under a name that tells nothing of it; the same picture is
    written once.

    Returns:
        Its path in the study's folder.
    """
    content = sha256(f"{seed} {image.size}".encode() + image.tobytes()).hexdigest()[:24]
    name = f"pictures/{content}.png"
    if not (folder / name).exists():
        image.save(folder / name, format="PNG", optimize=True)
    return name
