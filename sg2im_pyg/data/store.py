"""The store: one HDF5 file a split, for every source of pictures.

Layout of a file (schema version 1); ``N`` pictures, ``O`` objects and ``T`` relationships in all:

====================  =====================  ====================================================
dataset               shape, type            meaning
====================  =====================  ====================================================
``image_id``          (N,) int64             number of the picture in its source
``image``             (N, H, W, 3) uint8     picture at training size, RGB
``object_offset``     (N + 1,) int64         objects of picture ``i`` are rows ``offset[i]`` up to
                                             ``offset[i + 1]`` of the ``object_*`` arrays
``object_category``   (O,) int32             index in the vocabulary
``object_box``        (O, 4) float32         ``x0, y0, x1, y1`` in [0, 1]
``object_mask``       (O, ceil(M² / 8))      mask of M × M bits within the box, packed; absent
                      uint8                  where the source has no masks
``relationship_offset``  (N + 1,) int64      as ``object_offset``
``relationship``      (T, 3) int32           subject, predicate, object; positions in the picture
====================  =====================  ====================================================

Attributes of the file: ``schema``, ``schema_version``, ``image_size`` (height, width),
``mask_size``, ``vocabulary`` and ``settings`` (of the preparation), the last two as JSON.
"""

import errno
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.files import temporary_path

SCHEMA = "sg2im_pyg.scenes"
SCHEMA_VERSION = 1
_SPARE_BYTES = 16 * 2**20  # room that is left for HDF5's own tables and caches
_BUFFERED_SCENES = 256  # scenes held in memory between two writes: about 3 MB at 64 x 64

_KINDS = {
    "image_id": "iu",
    "image": "u",
    "object_offset": "iu",
    "object_category": "iu",
    "object_box": "f",
    "object_mask": "u",
    "relationship_offset": "iu",
    "relationship": "iu",
}
"""Kinds of numbers (numpy's letters) that each dataset may hold."""


class SceneWriter:
    """Writes a store, scene by scene, under a temporary name that is renamed when it is whole.

    Use it as a context manager; when the block is left by an exception, nothing stays behind and
    an older file at :obj:`path` is untouched.

    Args:
        path: File to write; missing folders are made.
        vocabulary: Names of categories and predicates.
        image_size: Height and width of the pictures.
        mask_size: Side of the masks, :obj:`0` for a source without masks.
        settings: Settings of the preparation (plain JSON values), kept in the file.

    Raises:
        Sg2ImError: From :meth:`add`, if a scene does not fit the sizes or the vocabulary.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        vocabulary: Vocabulary,
        image_size: tuple[int, int],
        mask_size: int,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.vocabulary = vocabulary
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.mask_size = int(mask_size)
        self.settings = settings or {}
        self._scenes: list[Scene] = []

    def __enter__(self) -> "SceneWriter":
        vocabulary = json.dumps(self.vocabulary.to_dict())
        settings = json.dumps(self.settings, sort_keys=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = temporary_path(self.path)
        self._file = h5py.File(self._temporary, "w")
        try:
            self._start(vocabulary, settings)
        except BaseException:
            self._discard()
            raise
        return self

    def _start(self, vocabulary: str, settings: str) -> None:
        attributes = self._file.attrs
        attributes["schema"] = SCHEMA
        attributes["schema_version"] = SCHEMA_VERSION
        attributes["image_size"] = self.image_size
        attributes["mask_size"] = self.mask_size
        attributes["vocabulary"] = vocabulary
        attributes["settings"] = settings
        height, width = self.image_size
        self._create("image_id", (), np.int64)
        self._create("image", (height, width, 3), np.uint8, rows_per_chunk=1)
        self._create("object_offset", (), np.int64)
        self._create("object_category", (), np.int32)
        self._create("object_box", (4,), np.float32)
        if self.mask_size:
            self._create("object_mask", (_packed_bytes(self.mask_size),), np.uint8)
        self._create("relationship_offset", (), np.int64)
        self._create("relationship", (3,), np.int32)
        for name in ("object_offset", "relationship_offset"):
            self._append(name, np.zeros(1, np.int64))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._flush()
        except BaseException:
            self._discard()
            raise
        if error is not None:
            self._discard()
            return
        try:
            self._file.close()
            self._temporary.replace(self.path)
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise

    def add(self, scene: Scene) -> None:
        """Appends a scene."""
        count = len(scene.categories)
        expected = {"image": (*self.image_size, 3), "boxes": (count, 4)}
        if self.mask_size:
            expected["masks"] = (count, self.mask_size, self.mask_size)
        for name, shape in expected.items():
            got = np.shape(getattr(scene, name))
            if got != shape:
                raise Sg2ImError(
                    f"Picture {scene.image_id}: {name} must have the shape {shape} to be written "
                    f"to {self.path}, got {got}."
                )
        boxes = np.asarray(scene.boxes)
        if not ((boxes >= 0) & (boxes <= 1)).all() or (boxes[:, :2] > boxes[:, 2:]).any():
            raise Sg2ImError(
                f"Picture {scene.image_id}: a box to be written to {self.path} is no "
                "[x0, y0, x1, y1] with x0 <= x1 and y0 <= y1, within 0 and 1."
            )
        _check_indices(
            f"Picture {scene.image_id}",
            np.asarray(scene.categories),
            np.asarray(scene.relationships).reshape(-1, 3),
            np.array([count]),
            np.array([len(scene.relationships)]),
            self.vocabulary,
        )
        self._scenes.append(scene)
        if len(self._scenes) == _BUFFERED_SCENES:
            self._flush()

    def _flush(self) -> None:
        scenes, self._scenes = self._scenes, []
        if not scenes:
            return
        self._append("image_id", np.array([scene.image_id for scene in scenes], np.int64))
        self._append("image", np.stack([scene.image for scene in scenes]))
        for kind, counts in (
            ("object", [len(scene.categories) for scene in scenes]),
            ("relationship", [len(scene.relationships) for scene in scenes]),
        ):
            offset = self._file[f"{kind}_offset"]
            self._append(f"{kind}_offset", offset[-1] + np.cumsum(counts))
        self._append("object_category", np.concatenate([scene.categories for scene in scenes]))
        self._append("object_box", np.concatenate([scene.boxes for scene in scenes]))
        if self.mask_size:
            masks = np.concatenate([np.asarray(scene.masks, bool) for scene in scenes])
            self._append("object_mask", np.packbits(masks.reshape(-1, self.mask_size**2), axis=1))
        self._append(
            "relationship",
            np.concatenate([np.asarray(scene.relationships).reshape(-1, 3) for scene in scenes]),
        )

    def _create(
        self, name: str, shape: tuple[int, ...], dtype: type, rows_per_chunk: int = 4096
    ) -> None:
        self._file.create_dataset(
            name,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(rows_per_chunk, *shape),
            dtype=dtype,
        )

    def _append(self, name: str, rows: np.ndarray) -> None:
        # HDF5 keeps data back and can crash the process when the disk turns out to be full as it
        # closes the file: it is asked before.
        if shutil.disk_usage(self.path.parent).free < rows.nbytes + _SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        dataset = self._file[name]
        start = len(dataset)
        dataset.resize(start + len(rows), axis=0)
        if len(rows):
            dataset[start:] = rows

    def _discard(self) -> None:
        try:
            self._file.close()
        except (OSError, RuntimeError):
            pass  # the disk is full: the file can not be finished, only removed
        self._temporary.unlink(missing_ok=True)


class SceneReader:
    """Reads a store. Annotations are held in memory, pictures are read one by one.

    It can be pickled to worker processes; each process opens the file for itself.

    Args:
        path: File written by :class:`SceneWriter`.

    Raises:
        Sg2ImError: If the file is missing, truncated, foreign, of a newer schema, or not
            consistent in itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._file: h5py.File | None = None
        self._process = -1
        with self._open() as file:
            try:
                self._read_annotations(file)
            except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
                if isinstance(error, Sg2ImError):
                    raise
                raise Sg2ImError(
                    f"The data file {self.path} is damaged ({str(error).strip(chr(39))}): prepare "
                    "it again with datasets/prepare.py."
                ) from error

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Scene:
        index = range(len(self))[index]  # from the end where it is negative; else an IndexError
        objects = slice(*self.object_offset[index : index + 2])
        relationships = slice(*self.relationship_offset[index : index + 2])
        return Scene(
            image_id=int(self.image_ids[index]),
            image=self.image(index),
            categories=self.categories[objects].astype(np.int64),
            boxes=self.boxes[objects],
            masks=self.unpack_masks(objects) if self.mask_size else None,
            relationships=self.relationships[relationships].astype(np.int64),
        )

    def image(self, index: int) -> np.ndarray:
        """Picture at a position, shape :math:`(H, W, 3)`, uint8."""
        if self._file is None or self._process != os.getpid():
            self._file, self._process = self._open(), os.getpid()
        try:
            return self._file["image"][index]
        except OSError as error:
            raise Sg2ImError(
                f"Picture {index} of {self.path} can not be read ({error}): prepare the data "
                "again with datasets/prepare.py."
            ) from error

    def unpack_masks(self, objects: slice) -> np.ndarray:
        """Masks of some rows of the object arrays, shape :math:`(O, M, M)`, bool."""
        size = self.mask_size
        bits = np.unpackbits(self.packed_masks[objects], axis=1, count=size * size)
        return bits.reshape(-1, size, size).astype(bool)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_process": -1}

    def __repr__(self) -> str:
        return f"SceneReader({str(self.path)!r}, pictures={len(self)})"

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise Sg2ImError(
                f"There is no data file {self.path}: prepare it with datasets/prepare.py, or give "
                "the folder that holds it."
            )
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise Sg2ImError(
                f"{self.path} is no whole HDF5 file, perhaps cut off or of another kind "
                f"({error}): delete it and prepare the data again with datasets/prepare.py."
            ) from error

    def _read_annotations(self, file: h5py.File) -> None:
        attributes = file.attrs
        if attributes.get("schema") != SCHEMA:
            raise Sg2ImError(
                f"{self.path} is an HDF5 file of another kind, not a store of sg2im_pyg: prepare "
                "the data with datasets/prepare.py."
            )
        version = int(attributes["schema_version"])
        if version > SCHEMA_VERSION:
            raise Sg2ImError(
                f"{self.path} was written with schema version {version}, this program reads up to "
                f"{SCHEMA_VERSION}: update sg2im_pyg, or prepare the data again with this version."
            )
        height, width = (int(side) for side in attributes["image_size"])
        self.image_size = (height, width)
        self.mask_size = int(attributes["mask_size"])
        self.vocabulary = Vocabulary.from_dict(json.loads(attributes["vocabulary"]))
        self.settings = json.loads(attributes["settings"])
        for name, kinds in _KINDS.items():
            if name == "object_mask" and not self.mask_size:
                continue
            if not isinstance(file[name], h5py.Dataset) or file[name].dtype.kind not in kinds:
                raise ValueError(f"{name} is no dataset of its type")
        if file["image"].dtype != np.uint8:
            raise ValueError("image is not of the type uint8")
        self.image_ids = file["image_id"][:]
        self.object_offset = file["object_offset"][:]
        self.categories = file["object_category"][:]
        self.boxes = file["object_box"][:]
        self.relationship_offset = file["relationship_offset"][:]
        self.relationships = file["relationship"][:]
        count = len(self.image_ids)
        shapes = {
            "image": (count, *self.image_size, 3),
            "object_offset": (count + 1,),
            "relationship_offset": (count + 1,),
            "object_category": (int(self.object_offset[-1]),),
            "object_box": (int(self.object_offset[-1]), 4),
            "relationship": (int(self.relationship_offset[-1]), 3),
        }
        if self.mask_size:
            shapes["object_mask"] = (shapes["object_category"][0], _packed_bytes(self.mask_size))
            self.packed_masks = file["object_mask"][:]
        for name, shape in shapes.items():
            if file[name].shape != shape:
                raise ValueError(f"{name} has the shape {file[name].shape} instead of {shape}")
        counts = [np.diff(offset) for offset in (self.object_offset, self.relationship_offset)]
        for offset, differences in zip(
            (self.object_offset, self.relationship_offset), counts, strict=True
        ):
            if offset[0] != 0 or (differences < 0).any():
                raise ValueError("the offsets are not in order")
        if not ((self.boxes >= 0) & (self.boxes <= 1)).all():  # nor is one that is not a number
            raise ValueError("a box is not within 0 and 1")
        if (self.boxes[:, :2] > self.boxes[:, 2:]).any():
            raise ValueError("a box has a negative size")
        _check_indices(
            f"The data file {self.path}",
            self.categories,
            self.relationships,
            counts[0],
            counts[1],
            self.vocabulary,
        )


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Settings of the preparation that a store holds; errors as in :class:`SceneReader`."""
    return SceneReader(path).settings


def _packed_bytes(mask_size: int) -> int:
    return (mask_size * mask_size + 7) // 8


def _check_indices(
    where: str,
    categories: np.ndarray,
    relationships: np.ndarray,
    objects_per_picture: np.ndarray,
    relationships_per_picture: np.ndarray,
    vocabulary: Vocabulary,
) -> None:
    names = len(vocabulary.objects)
    if len(categories) and not (0 <= categories.min() and categories.max() < names):
        raise Sg2ImError(f"{where}: a category is outside of the vocabulary of {names} objects.")
    names = len(vocabulary.predicates)
    if not len(relationships):
        return
    limit = np.repeat(objects_per_picture, relationships_per_picture)[:, None]
    ends = relationships[:, [0, 2]]
    if ends.min() < 0 or (ends >= limit).any():
        raise Sg2ImError(f"{where}: a relationship names an object that its picture lacks.")
    predicates = relationships[:, 1]
    if predicates.min() < 0 or predicates.max() >= names:
        raise Sg2ImError(f"{where}: a predicate is outside of the vocabulary of {names}.")
