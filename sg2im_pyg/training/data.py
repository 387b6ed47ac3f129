"""The data of a run: its splits, the order of its batches, and what it is validated on."""

from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch_geometric.data import Batch

from sg2im_pyg.data import SceneDataset, SceneLoader
from sg2im_pyg.data.store import read_settings, store_path
from sg2im_pyg.data.transforms import graph_transforms, relationships_of
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn.appearance import PICTURES_KEPT
from sg2im_pyg.sources.registry import find_source, source_of
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.loader import TrainingBatches, fixed_batches
from sg2im_pyg.training.stores import data_root, find_store

_SAMPLE_PICTURES = 8  # rows of a sample sheet


@dataclass
class TrainingData:
    """The data of a run, as one of its processes sees it."""

    training_set: SceneDataset
    pictures: int
    """Training pictures that are used."""
    held_out: int
    """Validation pictures that are used."""
    batches: TrainingBatches
    """The order of the training."""
    loader: SceneLoader
    """The training pictures in this order."""
    validation_batches: list[Batch]
    """This process's share of the validation."""
    sheets: dict[str, Batch | None]
    """Graphs of the sample pictures, by the names of their sheets."""
    examples: list[Batch]
    """Training pictures from which the generator learns what it may draw; none if it draws
    nothing."""


def load_data(config: TrainingConfig, fabric: Fabric) -> TrainingData:
    """Opens the data of a run, and makes them first if the source allows it.

    Raises:
        Sg2ImError: If they are missing or damaged, or can not be shared out as the options say.
    """
    _check_batch_size(config, fabric.world_size)
    if fabric.is_global_zero:
        make_missing(config)
    fabric.barrier()
    storage = config.data.storage
    training_set = open_split(
        config,
        "train",
        augment=True,
        in_memory=storage != "disk",
        device=fabric.device if storage == "device" else None,
    )
    validation_set = open_split(config, config.data.validation_split, augment=False)
    if validation_set.vocabulary != training_set.vocabulary:
        raise Sg2ImError(
            f"{training_set.reader.path} and {validation_set.reader.path} have different "
            "vocabularies: prepare both splits again."
        )
    pictures = min(config.data.limit or len(training_set), len(training_set))
    at_once = _pictures_at_once(config, fabric.world_size, pictures)
    held_out = min(config.data.validation_limit, len(validation_set))
    if config.data.validation_split == "train":
        held_out = min(held_out, pictures)
    share = range(fabric.global_rank, held_out, fabric.world_size)
    sheets = {"samples": _first_graphs(validation_set, held_out, config.seed)}
    if config.data.validation_split != "train":
        sheets["training_samples"] = _first_graphs(training_set, pictures, config.seed)
    batches = TrainingBatches(
        pictures,
        config.batch_size,
        config.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        parts=config.accumulation,
    )
    loader = SceneLoader(
        training_set,
        seed=config.seed,
        num_workers=0 if training_set.device.type != "cpu" else config.data.workers,
        batch_sampler=batches,
        pin_memory=fabric.device.type == "cuda",
    )
    validation_batches = fixed_batches(validation_set, share, at_once, config.seed)
    draws = config.model.appearance_dim or config.model.box_flow_dim
    kept = range(min(PICTURES_KEPT, pictures) if draws else 0)
    examples = fixed_batches(training_set, kept, at_once, config.seed)
    return TrainingData(
        training_set, pictures, held_out, batches, loader, validation_batches, sheets, examples
    )


def _check_batch_size(config: TrainingConfig, processes: int) -> None:
    share, rest = divmod(config.batch_size, processes)
    if rest:
        raise Sg2ImError(
            f"batch_size {config.batch_size} can not be divided among {processes} "
            "processes: choose a multiple of their number."
        )
    if share < config.accumulation:
        raise Sg2ImError(
            f"accumulation {config.accumulation} leaves parts without a picture: a process has "
            f"{share} of the batch, so choose no more than that."
        )


def _pictures_at_once(config: TrainingConfig, processes: int, pictures: int) -> int:
    """Most pictures that a process computes at a time."""
    parts = processes * config.accumulation
    if pictures < parts:
        raise Sg2ImError(
            f"There are {pictures} training pictures for {processes} process(es) with "
            f"{config.accumulation} part(s) each: use fewer processes or parts, or more pictures."
        )
    at_once = -(-min(config.batch_size, pictures) // parts)
    most = config.data.max_objects_per_batch
    if most is not None and most < 2 * at_once:
        raise Sg2ImError(
            f"data.max_objects_per_batch must be at least {2 * at_once}, the nodes of {at_once} "
            f"pictures with one object each, got {most}: allow more, or let accumulation make "
            "smaller parts."
        )
    return at_once


def make_missing(config: TrainingConfig) -> None:
    """Makes the stores of a source that is made on first use, if one of them is missing and those
    that are there are its own."""
    root, size = data_root(config), config.model.image_size
    paths = [store_path(root, size, split) for split in ("train", "val", "test")]
    there = [path for path in paths if path.is_file()]
    if len(there) == len(paths) or not find_source(config.data.name).made_on_first_use:
        return
    source = find_source(config.data.name)
    if not there or source_of(read_settings(there[0])) is source:  # somebody else's stay alone
        source.load_options().for_training(root, size, config.model.mask_size).prepare()


def open_split(
    config: TrainingConfig,
    split: str,
    augment: bool,
    in_memory: bool = False,
    device: torch.device | None = None,
) -> SceneDataset:
    """A prepared split with the transforms that what it holds asks for.

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
    path, size = find_store(config, split), config.model.image_size
    dataset = SceneDataset(path, in_memory=in_memory, device=device)
    if dataset.image_size != size:
        raise Sg2ImError(
            f"{path} holds pictures of {dataset.image_size}, the model makes {size}: "
            "prepare the data for this size, or change model.image_size."
        )
    if not len(dataset) and split == "train":
        raise Sg2ImError(f"{path} holds no picture: prepare the data again.")
    dataset.transform = graph_transforms(
        dataset.vocabulary,
        relationships_of(dataset.reader) if config.data.relationships else "none",
        config.data.max_objects if augment else None,
        config.data.max_objects_per_batch if augment else None,
    )
    return dataset


def _first_graphs(dataset: SceneDataset, pictures: int, seed: int) -> Batch | None:
    chosen = range(min(_SAMPLE_PICTURES, pictures))
    return fixed_batches(dataset, chosen, _SAMPLE_PICTURES, seed)[0] if chosen else None
