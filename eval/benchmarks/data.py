"""Random data for eval/benchmark.py, of the sizes of COCO's."""

from collections.abc import Sequence

import numpy as np
import torch
from torch_geometric.data import Batch
from torch_geometric.transforms import Compose

from sg2im_pyg import SceneGraph, Vocabulary
from sg2im_pyg.data import AddImageNode, LimitObjects, SampleGeometricRelations, Scene
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from sg2im_pyg.training.config import TrainingConfig

CATEGORIES = 171  # of COCO, things and stuff, without "other"
MASK_SIZE = 16  # of the prepared data
OBJECTS = (3, 8)  # of COCO's pictures, fewest and most


def coco_like_vocabulary() -> Vocabulary:
    """As many names as COCO's."""
    return Vocabulary([f"category {i}" for i in range(1, CATEGORIES + 1)], GEOMETRIC_PREDICATES)


def random_scene(
    random: np.random.Generator,
    size: tuple[int, int],
    objects: tuple[int, int] = OBJECTS,
    mask_size: int = MASK_SIZE,
) -> Scene:
    """A picture of noise with boxes that cover more than 2 % of it, and masks with wavy rims."""
    count = int(random.integers(objects[0], objects[1] + 1))
    extent = random.uniform(0.15, 0.9, (count, 2))
    corner = random.uniform(0, 1, (count, 2)) * (1 - extent)
    positions = (np.arange(mask_size) + 0.5) / mask_size * 2 - 1
    x, y = np.meshgrid(positions, positions)
    waves = random.integers(1, 5, (count, 1, 1)) * np.arctan2(y, x)
    return Scene(
        image_id=0,
        image=random.integers(0, 256, (*size, 3), dtype=np.uint8),
        categories=random.integers(1, CATEGORIES + 1, count),
        boxes=np.concatenate([corner, corner + extent], axis=1).astype(np.float32),
        masks=np.hypot(x, y) < random.uniform(0.6, 1.1, (count, 1, 1)) + 0.2 * np.sin(waves),
    )


def random_batch(
    size: tuple[int, int],
    pictures: int,
    seed: int | Sequence[int],
    objects: tuple[int, int] = OBJECTS,
    limit: int | None = None,
    mask_size: int = MASK_SIZE,
) -> Batch:
    """A batch as COCO's would be; the same in every process for the same arguments.

    Args:
        size: Height and width of the pictures.
        pictures: Number of pictures.
        seed: One number or several.
        objects: Fewest and most objects a picture, image node not included.
        limit: Most objects in all, image nodes included, see
            :class:`~sg2im_pyg.data.LimitObjects`.
        mask_size: Side of the masks in mask pixels.
    """
    random = np.random.default_rng(seed)
    graphs = []
    for number in range(pictures):
        scene = random_scene(random, size, objects, mask_size)
        graph = SceneGraph(
            x=torch.from_numpy(scene.categories),
            edge_index=torch.zeros(2, 0, dtype=torch.long),
            edge_attr=torch.zeros(0, dtype=torch.long),
            boxes=torch.from_numpy(scene.boxes),
            masks=torch.as_tensor(scene.masks, dtype=torch.float32),
            image=torch.from_numpy(scene.image).permute(2, 0, 1).unsqueeze(0).contiguous(),
            draw_key=torch.from_numpy(draw_keys(int(random.integers(2**62)), 0, [number])),
        )
        graphs.append(graph)
    steps = [SampleGeometricRelations(coco_like_vocabulary()), AddImageNode()]
    batch = Compose([LimitObjects(limit), *steps] if limit else steps)(Batch.from_data_list(graphs))
    del batch.draw_key
    return batch


def batch_of(
    config: TrainingConfig,
    number: int,
    objects: tuple[int, int] = OBJECTS,
    limit: int | None = None,
) -> Batch:
    """The random batch of a number, with the sizes and the seed of a configuration; see
    :func:`random_batch`."""
    size, mask_size = config.model.image_size, config.model.mask_size or MASK_SIZE
    seed = [config.seed, number]
    return random_batch(size, config.batch_size, seed, objects, limit, mask_size)


def noise_shape(config: TrainingConfig) -> tuple[int, int, int, int]:
    """Of the layout's noise for a batch: pictures, channels, height, width."""
    return (config.batch_size, config.model.layout_noise_dim, *config.model.image_size)
