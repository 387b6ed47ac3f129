"""What a source's annotations become before its pictures are decoded: one file a split.

Reading the annotations of a large source takes minutes, and the result is small. It is kept, so
that pictures of another size need the annotations no more, and so that an interrupted preparation
goes on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sg2im_pyg.data.hdf5 import open_hdf5, own_dataset
from sg2im_pyg.data.scene_table import SceneTable
from sg2im_pyg.data.store import (
    SPARE_BYTES,
    columns_bytes,
    read_columns,
    write_columns,
)
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.disk import check_space
from sg2im_pyg.system.files import replace_when_whole

SCHEMA = "sg2im_pyg.annotations"


@dataclass
class Annotations:
    """The annotated pictures of one split, in the order of the store.

    Attributes:
        table: Objects and relationships.
        vocabulary: Names of categories, predicates and attributes.
        mask_size: Side of the masks in pixels, 0 for none.
        files: File of each picture, relative to the folder of pictures.
        stored_sizes: Height and width of each picture as its source lists them, in pixels, shape
            :math:`(N, 2)`.
        settings: Settings of the preparation (plain JSON values).
        skipped: Number of pictures that were left out, by reason.
        notes: What else a person should know of the split, with counts.
    """

    table: SceneTable
    vocabulary: Vocabulary
    mask_size: int
    files: list[str]
    stored_sizes: np.ndarray
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def select(self, pictures: np.ndarray) -> "Annotations":
        """Some of the pictures; :obj:`pictures` are their positions in rising order."""
        return replace(
            self,
            table=self.table.select(pictures),
            files=[self.files[i] for i in pictures],
            stored_sizes=self.stored_sizes[pictures],
        )

    def save(self, path: Path) -> None:
        """Writes the file; a reader never meets half of it."""
        files = json.dumps(self.files).encode()
        # HDF5 can crash the process when the disk turns out to be full as it closes the file.
        needed = columns_bytes(self.table) + len(files) + self.stored_sizes.nbytes + SPARE_BYTES
        check_space({path.parent: needed}, f"Writing {path.name}")
        with replace_when_whole(path) as temporary, h5py.File(temporary, "w") as file:
            notes = {"settings": self.settings, "skipped": self.skipped, "notes": self.notes}
            write_columns(
                file, SCHEMA, self.table, self.vocabulary, self.mask_size, notes, str(path)
            )
            file["file"] = np.frombuffer(files, np.uint8)
            file["stored_size"] = self.stored_sizes.astype(np.int32)

    @classmethod
    def load(cls, path: Path) -> "Annotations":
        """The inverse of :meth:`save`.

        Raises:
            Sg2ImError: If the file is missing, damaged, or of a newer schema.
        """
        with open_hdf5(path) as file:
            try:
                columns = read_columns(file, SCHEMA, path)
                files = json.loads(bytes(own_dataset(file, "file", "u")[:]).decode())
                stored_sizes = own_dataset(file, "stored_size", "iu")[:]
                report = [columns.settings[name] for name in ("settings", "skipped", "notes")]
                if len(files) != len(columns.table) or stored_sizes.shape != (len(files), 2):
                    raise ValueError("not as many files as pictures")
            except Sg2ImError:
                raise
            except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
                raise Sg2ImError(
                    f"The file {path} is damaged ({error}): remove it and prepare the data again."
                ) from error
        table, vocabulary, mask_size = columns.table, columns.vocabulary, columns.mask_size
        return cls(table, vocabulary, mask_size, files, stored_sizes, *report)


def saved_annotations(path: Path, settings: Mapping[str, Any]) -> Annotations | None:
    """What an earlier preparation with the same settings left, if it did."""
    if not path.is_file():
        return None
    try:
        found = Annotations.load(path)
    except Sg2ImError:
        return None  # it is made anew
    return found if found.settings == plain(settings) else None


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from a file (tuples as lists)."""
    return json.loads(json.dumps(settings))
