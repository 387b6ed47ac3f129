"""HDF5 files that are not trusted: nothing is read that lies in another file, and sizes are
compared with that of the file before memory is taken."""

from pathlib import Path

import h5py
import numpy as np

from sg2im_pyg.errors import Sg2ImError, first_line, shortened

_MOST_PACKED = 1100  # times that deflate makes anything smaller, at most


def open_hdf5(path: Path) -> h5py.File:
    """Opens an HDF5 file to read; one that is none, or is cut off, gets a sentence."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise Sg2ImError(
            f"{path} is no whole HDF5 file, perhaps cut off or of another kind "
            f"({reason(error)}): if datasets/prepare.py wrote it, delete it and prepare the data "
            "again."
        ) from error


def own_dataset(file: h5py.File, name: str, kinds: str) -> h5py.Dataset:
    """A dataset whose values lie in the file itself, all of them.

    Args:
        file: The open file.
        name: Path of the dataset in it.
        kinds: Kinds of values that it may hold (numpy's letters).

    Raises:
        ValueError: If there is none, or it is of another kind, elsewhere, or larger than the file.
    """
    if not has_own(file, name):
        raise ValueError(f"{name} is missing, or a link to elsewhere")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in kinds:
        raise ValueError(f"{name} is no dataset of its type")
    is_wide = dataset.dtype.kind in "iuf" and dataset.dtype.itemsize > 8
    if is_wide or dataset.shape is None:
        raise ValueError(f"{name} is no dataset of its type")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} lies in another file")
    size = Path(file.filename).stat().st_size
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    # Before memory is taken for it, also where nothing of it was ever written.
    if dataset.size * dataset.dtype.itemsize > size * (_MOST_PACKED if packed else 1):
        raise ValueError(f"{name} claims more bytes than the file has")
    start = dataset.id.get_offset()
    if start is not None and start + dataset.size * dataset.dtype.itemsize > size:
        raise ValueError(f"{name} ends behind the end of the file")
    return dataset


def has_own(group: h5py.Group, name: str) -> bool:
    """Whether a group holds something itself; a link is not followed to see where it leads."""
    folder, _, last = name.rpartition("/")
    if folder and not (has_own(group, folder) and isinstance(group[folder], h5py.Group)):
        return False
    holder = group[folder] if folder else group
    return isinstance(holder.get(last, getlink=True), h5py.HardLink)


def read_numbers(dataset: h5py.Dataset) -> np.ndarray:
    """What a dataset holds, in this machine's order of bytes; signed, so that differences are."""
    values = dataset[()]
    if dataset.dtype.kind == "u" and dataset.dtype.itemsize > 1:
        return values.astype(np.int64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def reason(error: Exception) -> str:
    """What HDF5 says of a file, short enough for a sentence of ours."""
    return shortened(first_line(error).strip("'"), 200)
