"""Where the prepared data of a training lies; what is missing is said before torch is there."""

from pathlib import Path

from sg2im_pyg.data.store import store_path
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.registry import find_source
from sg2im_pyg.training.config import TrainingConfig


def data_root(config: TrainingConfig) -> Path:
    """Folder of the prepared data; ``train/run.py`` fills in its default."""
    if config.data.root is None:
        raise Sg2ImError("data.root is not set: give the folder that holds the prepared data.")
    return Path(config.data.root)


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
