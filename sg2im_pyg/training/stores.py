"""Where the prepared data of a training lies; what is missing is said before torch is there."""

from pathlib import Path

from sg2im_pyg.data.store import read_settings, store_path
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.registry import OWN, find_source, source_of
from sg2im_pyg.training.config import TrainingConfig

SPLITS = ("train", "val", "test")


def data_root(config: TrainingConfig) -> Path:
    """Folder of the prepared data; ``train/run.py`` fills in its default."""
    if config.data.root is None:
        raise Sg2ImError("data.root is not set: give the folder that holds the prepared data.")
    return Path(config.data.root)


def stored_source(root: Path, otherwise: str) -> str:
    """The source of the prepared data in a folder that somebody names, as the data has it noted.

    Args:
        root: The folder.
        otherwise: The source that the other options name, where there is no prepared data.

    Returns:
        The name of a source; ``own`` for data that no source prepared.

    Raises:
        Sg2ImError: If there is none, and that source would be made there without being asked.
    """
    for path in sorted(root.glob("*x*/*.h5")):
        if path.stem in SPLITS:
            source = source_of(read_settings(path))
            return OWN if source is None else source.name
    if find_source(otherwise).made_on_first_use:
        raise Sg2ImError(
            f"There is no prepared data in {root}, such as 64x64/train.h5: give with --data.root "
            "the folder that datasets/prepare.py wrote to, or let a source be made there with "
            f"--data.name {otherwise}."
        )
    return otherwise


def find_store(config: TrainingConfig, split: str, to_be_made: bool = False) -> Path:
    """The file of a prepared split.

    Args:
        config: The options of the training.
        split: :obj:`"train"`, :obj:`"val"` or :obj:`"test"`.
        to_be_made: Whether it may be missing where a training makes what its source needs.

    Raises:
        Sg2ImError: If there is none.
    """
    height, width = config.model.image_size
    path = store_path(data_root(config), (height, width), split)
    later = to_be_made and find_source(config.data.name).made_on_first_use
    if not later and not path.is_file():
        command = f"python datasets/prepare.py {config.data.name} --image_size {height}x{width}"
        raise Sg2ImError(
            f"There is no data file {path}: run '{command}' for pictures of {height} x {width} "
            "first, or say with --data.root where it lies."
        )
    return path
