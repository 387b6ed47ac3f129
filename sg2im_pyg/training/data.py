"""The data of a run: splits with their transforms, and the graphs of its sample pictures."""

from pathlib import Path

import torch
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform, Compose

from sg2im_pyg.data import (
    AddImageNode,
    LimitObjects,
    SampleGeometricRelations,
    SceneDataset,
    SubsampleObjects,
)
from sg2im_pyg.data.transforms import DropRelationships
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.loader import fixed_batches

_SAMPLE_PICTURES = 8  # rows of a sample sheet


def _all_splits(config: TrainingConfig) -> bool:
    height, width = config.model.image_size
    folder = data_root(config) / f"{height}x{width}"
    return all((folder / f"{split}.h5").is_file() for split in ("train", "val", "test"))


def data_root(config: TrainingConfig) -> Path:
    """Folder of the prepared data; ``train/run.py`` fills in its default."""
    if config.data.root is None:
        raise Sg2ImError("data.root is not set: give the folder that holds the prepared data.")
    return Path(config.data.root)


def open_split(
    config: TrainingConfig,
    split: str,
    augment: bool,
    in_memory: bool = False,
    device: torch.device | None = None,
) -> SceneDataset:
    """A prepared split with the transforms of its data set.

    Args:
        config: All options.
        split: :obj:`"train"`, :obj:`"val"` or :obj:`"test"`.
        augment: Whether to leave out objects at random (:class:`SubsampleObjects`).
        in_memory: Whether to hold the pictures in memory, see :class:`SceneDataset`.
        device: Where to assemble batches, likewise.

    Raises:
        Sg2ImError: If it is missing, empty, or of another picture size; if there is no room for
            the pictures.
    """
    height, width = config.model.image_size
    path = data_root(config) / f"{height}x{width}" / f"{split}.h5"
    if not path.is_file():
        raise Sg2ImError(
            f"There is no data file {path}: run 'python datasets/prepare.py {config.data.name}' "
            f"for pictures of {height} x {width} first, or say with --data.root where it lies."
        )
    dataset = SceneDataset(path, in_memory=in_memory, device=device)
    if dataset.image_size != (height, width):
        raise Sg2ImError(
            f"{path} holds pictures of {dataset.image_size}, the model makes {(height, width)}: "
            "prepare the data for this size, or change model.image_size."
        )
    if not len(dataset) and split == "train":
        raise Sg2ImError(f"{path} holds no picture: prepare the data again.")
    steps: list[BaseTransform] = []
    if config.data.max_objects is not None and augment:
        steps.append(SubsampleObjects(config.data.max_objects))
    if config.data.max_objects_per_batch is not None and augment:
        steps.append(LimitObjects(config.data.max_objects_per_batch))
    if not config.data.relationships:
        steps.append(DropRelationships())
    elif config.data.name != "visual_genome":
        steps.append(SampleGeometricRelations(dataset.vocabulary))
    dataset.transform = Compose([*steps, AddImageNode()])
    return dataset


def _first_graphs(dataset: SceneDataset, pictures: int, seed: int) -> Batch | None:
    chosen = range(min(_SAMPLE_PICTURES, pictures))
    return fixed_batches(dataset, chosen, _SAMPLE_PICTURES, seed)[0] if chosen else None


def _mask_size(config: TrainingConfig) -> int:
    return config.model.mask_size or 16
