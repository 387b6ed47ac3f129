"""What eval/benchmark.py measures of loading: passes over a store of random scenes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch_geometric.transforms import Compose

from benchmarks.data import MASK_SIZE, coco_like_vocabulary, random_scene
from benchmarks.measuring import Work
from sg2im_pyg.data import AddImageNode, SampleGeometricRelations, SceneDataset, SceneWriter
from sg2im_pyg.training.config import TrainingConfig


def write_scenes(path: Path, count: int, size: tuple[int, int], seed: int) -> None:
    """A store of random scenes, as datasets/prepare.py would write it."""
    random = np.random.default_rng(seed)
    with SceneWriter(path, coco_like_vocabulary(), size, MASK_SIZE) as writer:
        for number in range(count):
            writer.add(replace(random_scene(random, size), image_id=number))


def load_batches(config: TrainingConfig, path: Path, kind: type) -> Work:
    """One pass over a store on one core, by a loader of this kind."""
    torch.set_num_threads(1)
    dataset = SceneDataset(path)
    steps = [SampleGeometricRelations(dataset.vocabulary), AddImageNode()]
    dataset.transform = Compose(steps)
    loader = kind(dataset, batch_size=config.batch_size, shuffle=True)

    def step() -> dict[str, int]:
        return {"pictures": sum(batch.num_graphs for batch in loader)}

    return Work(torch.device("cpu"), lambda number: step)
