"""The store: one HDF5 file a split, for every source of pictures.

Layout of a file (schema version 1); ``N`` pictures, ``O`` objects, ``T`` relationships and ``A``
attributes in all:

====================  =====================  ====================================================
dataset               shape, type            meaning
====================  =====================  ====================================================
``image_id``          (N,) int64             number of the picture in its source
``image``             (N, H, W, 3) uint8     picture at training size, RGB; one unbroken block of
                                             the file, so that it can be mapped into memory
``object_offset``     (N + 1,) int64         objects of picture ``i`` are rows ``offset[i]`` up to
                                             ``offset[i + 1]`` of the ``object_*`` arrays
``object_category``   (O,) int32             index in the vocabulary
``object_box``        (O, 4) float32         ``x0, y0, x1, y1`` in [0, 1]
``object_mask``       (O, ceil(M² / 8))      mask of M × M bits within the box, packed; absent
                      uint8                  where the source has no masks
``object_id``         (O,) int64             number of the object in its source; absent where
                                             objects have none
``relationship_offset``  (N + 1,) int64      as ``object_offset``
``relationship``      (T, 3) int32           subject, predicate, object; positions in the picture
``attribute_offset``  (O + 1,) int64         attributes of object ``o`` are rows ``offset[o]`` up
                                             to ``offset[o + 1]``; absent without attributes
``attribute``         (A,) int32             index in the vocabulary; likewise
``image_checksum``    (N,) uint32            CRC-32 of each picture's bytes; absent in stores of
                                             before there were any
====================  =====================  ====================================================

Attributes of the file: ``schema``, ``schema_version``, ``image_size`` (height, width),
``mask_size``, ``vocabulary`` (objects and predicates), ``attribute_names`` (the vocabulary's
attributes of objects) and ``settings`` (of the preparation), the last three as JSON; ``sha256`` of
all but the pictures, which is compared each time the file is opened. Pictures are looked at by
:func:`verify_store`: doing so at each access would cost a training time.

Files are not trusted, see :mod:`sg2im_pyg.data.hdf5`.

The same columns without ``image`` are what the sources are converted to before their pictures are
decoded (:mod:`sg2im_pyg.sources.annotations`).
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from sg2im_pyg.data.hdf5 import has_own, open_hdf5, own_dataset, read_numbers, reason
from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.scene_table import SceneTable, packed_bytes, unpack_masks
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.disk import check_space
from sg2im_pyg.system.files import temporary_path

SCHEMA = "sg2im_pyg.scenes"
SCHEMA_VERSION = 1
SPARE_BYTES = 16 * 2**20
"""Room that a store needs beside what it holds, for HDF5's own tables and caches."""

_MAX_ATTRIBUTE_BYTES = 60_000  # HDF5 keeps no attribute of 64 KiB or more
MOST_MASK_SIDE = 1024
"""Of the masks in a store, in pixels."""
_COPIED_BYTES = 16 * 2**20
_NO_IMAGE = np.zeros((0, 0, 3), np.uint8)

_COLUMNS = {
    "image_id": ("image_ids", "iu"),
    "object_offset": ("object_offset", "iu"),
    "object_category": ("categories", "iu"),
    "object_box": ("boxes", "f"),
    "object_mask": ("packed_masks", "u"),
    "object_id": ("object_ids", "iu"),
    "relationship_offset": ("relationship_offset", "iu"),
    "relationship": ("relationships", "iu"),
    "attribute_offset": ("attribute_offset", "iu"),
    "attribute": ("attributes", "iu"),
}
"""Of each dataset the field of :class:`SceneTable`, and the kinds of numbers (numpy's letters)."""


def store_path(root: str | Path, image_size: tuple[int, int], split: str) -> Path:
    """Where the store of a split lies below the root of the prepared data."""
    return Path(root) / f"{image_size[0]}x{image_size[1]}" / f"{split}.h5"


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
        # Pictures go to a file of their own at first: how many there will be is not known.
        self._rows = temporary_path(self.path.with_suffix(".images"))

    def __enter__(self) -> "SceneWriter":
        json.dumps(self.settings)  # raises before anything is written
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._rows.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._file.close()
            if kind is None:
                table = SceneTable.from_scenes(self._scenes, self.mask_size)
                sizes = self.image_size, self.mask_size
                write_store(self.path, table, self._rows, self.vocabulary, *sizes, self.settings)
        finally:
            self._rows.unlink(missing_ok=True)

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
        where = f"Picture {scene.image_id} can not be written to {self.path}"
        SceneTable.from_scenes([scene], 0).check(where, self.vocabulary)
        self._file.write(np.ascontiguousarray(scene.image, np.uint8).tobytes())
        self._scenes.append(replace(scene, image=_NO_IMAGE))


def write_store(
    path: Path,
    table: SceneTable,
    image_rows: Path,
    vocabulary: Vocabulary,
    image_size: tuple[int, int],
    mask_size: int,
    settings: dict[str, Any],
    pictures: np.ndarray | None = None,
) -> None:
    """Writes a store at once, under a temporary name that is renamed when it is whole.

    Args:
        path: File to write.
        table: Annotations, :math:`N` pictures.
        image_rows: File that holds the pictures one after the other, each of
            :math:`H \\cdot W \\cdot 3` bytes.
        vocabulary: Names of categories, predicates and attributes.
        image_size: Height and width of the pictures.
        mask_size: Side of the masks, :obj:`0` for none.
        settings: Settings of the preparation (plain JSON values).
        pictures: Positions in :obj:`table` and :obj:`image_rows`, in rising order, of the
            pictures to write; :obj:`None` for all.

    Raises:
        Sg2ImError: If the disk has not enough room; if the annotations do not agree with
            themselves or the vocabulary.
    """
    picture_bytes = image_size[0] * image_size[1] * 3
    if pictures is not None:
        table = table.select(pictures)
    # HDF5 keeps data back and can crash the process when the disk turns out to be full as it
    # closes the file: room is asked for before.
    needed = len(table) * picture_bytes + columns_bytes(table) + SPARE_BYTES
    check_space({path.parent: needed}, f"Writing {path.name}")
    temporary = temporary_path(path)
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["image_size"] = image_size
            images = _create_block(file, "image", (len(table), *image_size, 3))
            places = range(len(table)) if pictures is None else pictures
            checksums = _checksums(image_rows, picture_bytes, places)
            file.create_dataset("image_checksum", data=checksums)
            write_columns(file, SCHEMA, table, vocabulary, mask_size, settings, str(path))
        if images is not None:
            with temporary.open("r+b") as target, image_rows.open("rb") as source:
                target.seek(images)
                if pictures is None:
                    _copy(source, target, len(table) * picture_bytes)
                else:
                    for picture in pictures:
                        source.seek(int(picture) * picture_bytes)
                        _copy(source, target, picture_bytes)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_columns(
    file: h5py.File,
    schema: str,
    table: SceneTable,
    vocabulary: Vocabulary,
    mask_size: int,
    settings: dict[str, Any],
    where: str,
) -> None:
    """Writes annotations and what explains them into an open HDF5 file."""
    table.check(where, vocabulary)
    names = vocabulary.to_dict()
    attribute_names = names.pop("attributes", [])
    file.attrs.update(schema=schema, schema_version=SCHEMA_VERSION, mask_size=mask_size)
    _write_json(file, "vocabulary", names)
    _write_json(file, "attribute_names", attribute_names)
    _write_json(file, "settings", settings)
    for name, (field, _) in _COLUMNS.items():
        values = getattr(table, field)
        if values is None or (name.startswith("attribute") and not attribute_names):
            continue
        file.create_dataset(name, data=values)
    file.attrs["sha256"] = _digest(file)


def read_columns(file: h5py.File, schema: str, path: Path) -> "Columns":
    """The inverse of :func:`write_columns`.

    Raises:
        Sg2ImError: If the file is of another kind or of a newer schema.
        KeyError, OSError, ValueError, TypeError, RuntimeError: If it is damaged.
    """
    attributes = file.attrs
    stated = attributes.get("schema")
    if not isinstance(stated, str) or stated != schema:
        raise Sg2ImError(
            f"{path} is an HDF5 file of another kind, not a store of sg2im_pyg: prepare "
            "the data with datasets/prepare.py."
        )
    version = int(attributes["schema_version"])
    if version > SCHEMA_VERSION:
        raise Sg2ImError(
            f"{path} was written with schema version {version}, this program reads up to "
            f"{SCHEMA_VERSION}: update sg2im_pyg, or prepare the data again with this version."
        )
    mask_size = int(attributes["mask_size"])
    if not 0 <= mask_size <= MOST_MASK_SIDE:
        raise ValueError(f"masks of {mask_size} pixels a side")
    attribute_names = _read_json(file, "attribute_names", "[]")
    optional = {"object_id"} | ({"object_mask"} if not mask_size else set())
    optional |= {"attribute", "attribute_offset"} if not attribute_names else set()
    columns: dict[str, Any] = {}
    for name, (field, kinds) in _COLUMNS.items():
        if name in optional and not has_own(file, name):
            continue
        columns[field] = read_numbers(own_dataset(file, name, kinds))
    columns.setdefault("packed_masks", None)
    columns.setdefault("attribute_offset", np.zeros(len(columns["categories"]) + 1, np.int64))
    table = SceneTable(**columns)
    count, objects = len(table.image_ids), len(table.categories)
    shapes = {
        "object_offset": (count + 1,),
        "relationship_offset": (count + 1,),
        "boxes": (objects, 4),
        "relationships": (int(table.relationship_offset[-1]), 3),
        "attribute_offset": (objects + 1,),
        "packed_masks": (objects, packed_bytes(mask_size)) if mask_size else None,
        "object_ids": (objects,) if table.object_ids is not None else None,
    }
    for field, shape in shapes.items():
        found = getattr(table, field)
        if shape is not None and found.shape != shape:
            raise ValueError(f"{field} has the shape {found.shape} instead of {shape}")
    names = _read_json(file, "vocabulary")
    vocabulary = Vocabulary.from_dict({**names, "attributes": attribute_names})
    table.check(f"The data file {path}", vocabulary)
    settings = _read_json(file, "settings")
    if not isinstance(settings, dict):
        raise ValueError("its settings are no settings")
    if "sha256" in attributes and attributes["sha256"] != _digest(file):  # not in those of before
        raise ValueError("its contents are not those that were written, by their checksum")
    return Columns(table, vocabulary, mask_size, settings)


@dataclass
class Columns:
    """Annotations and what explains them, as :func:`write_columns` takes them."""

    table: SceneTable
    vocabulary: Vocabulary
    mask_size: int
    settings: dict[str, Any]


class SceneReader(SceneTable):
    """Reads a store. Annotations are held in memory, pictures stay in the file, mapped to memory.

    It is the table of the annotations. It can be pickled to worker processes; each process opens
    the file for itself.

    Args:
        path: File written by :class:`SceneWriter` or :func:`write_store`.

    Raises:
        Sg2ImError: If the file is missing, truncated, foreign, of a newer schema, or not
            consistent in itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._images: np.ndarray | h5py.Dataset | None = None
        self._process = -1
        self._written = self._stamp() if self.path.is_file() else None
        with self._open() as file:
            try:
                columns = read_columns(file, SCHEMA, self.path)
                height, width = (int(side) for side in file.attrs["image_size"])
                self.image_size = (height, width)
                shape = (len(columns.table), height, width, 3)
                images = own_dataset(file, "image", "u")
                if images.dtype != np.uint8:
                    raise ValueError("image is no dataset of the type uint8")
                if images.shape != shape:
                    raise ValueError(f"image has the shape {images.shape} instead of {shape}")
            except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
                if isinstance(error, Sg2ImError):
                    raise
                raise Sg2ImError(
                    f"The data file {self.path} is damaged ({reason(error)}): prepare it again "
                    "with datasets/prepare.py."
                ) from error
        super().__init__(**vars(columns.table))
        self.vocabulary = columns.vocabulary
        self.mask_size = columns.mask_size
        self.settings = columns.settings

    def __getitem__(self, index: int) -> Scene:
        index = range(len(self))[index]  # from the end where it is negative; else an IndexError
        objects = slice(*self.object_offset[index : index + 2])
        relationships = slice(*self.relationship_offset[index : index + 2])
        masks = None
        if self.packed_masks is not None:
            masks = unpack_masks(self.packed_masks[objects], self.mask_size)
        return Scene(
            image_id=int(self.image_ids[index]),
            image=self.image(index),
            categories=self.categories[objects].astype(np.int64),
            boxes=self.boxes[objects],
            masks=masks,
            relationships=self.relationships[relationships].astype(np.int64),
        )

    def image(self, index: int) -> np.ndarray:
        """Picture at a position, shape :math:`(H, W, 3)`, uint8."""
        return self.images(np.array([index]))[0]

    def images(self, indices: np.ndarray) -> np.ndarray:
        """Pictures at some positions, in their order.

        Args:
            indices: Shape :math:`(N,)`.

        Returns:
            Shape :math:`(N, H, W, 3)`, uint8.
        """
        if self._images is None or self._process != os.getpid():
            self._images, self._process = self._map_images(), os.getpid()
        try:
            if isinstance(self._images, np.ndarray):
                self._check_whole()  # the system kills a process that reads beyond a file's end
                return self._images[indices]
            rows = np.empty((len(indices), *self.image_size, 3), np.uint8)
            for row, index in zip(rows, indices, strict=True):
                row[:] = self._images[int(index)]
            return rows
        except OSError as error:
            raise Sg2ImError(
                f"A picture of {self.path} can not be read ({reason(error)}): prepare the data "
                "again with datasets/prepare.py."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": None, "_process": -1}

    def __repr__(self) -> str:
        return f"SceneReader({str(self.path)!r}, pictures={len(self)})"

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise Sg2ImError(
                f"There is no data file {self.path}: prepare it with datasets/prepare.py, or give "
                "the folder that holds it."
            )
        return open_hdf5(self.path)

    def _stamp(self) -> tuple[int, int, int]:
        """What tells this file from another one at the same place."""
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _check_whole(self) -> None:
        try:
            size, _, number = self._stamp()
        except OSError:  # deleted: what is mapped stays
            return
        if self._written is None or number != self._written[2]:  # another file: likewise
            return
        if size < self._written[0]:
            raise Sg2ImError(
                f"The data file {self.path} was cut off to {size:,} bytes while it was read: "
                "prepare it again with datasets/prepare.py."
            )

    def _map_images(self) -> "np.ndarray | h5py.Dataset":
        if self.path.is_file() and self._stamp() != self._written:
            raise Sg2ImError(
                f"The data file {self.path} was replaced or changed since it was opened: open it "
                "again, so that graphs and pictures belong together."
            )
        file = self._open()
        dataset = file["image"]
        start = dataset.id.get_offset()
        if start is None:  # in pieces: a store of another program, or an empty one
            return dataset
        shape = dataset.shape
        file.close()
        mapped = np.memmap(self.path, np.uint8, "r", start, shape)
        # The plain array: indexing the subclass costs more than copying a picture.
        return np.asarray(mapped)


def verify_store(path: str | os.PathLike[str]) -> str | None:
    """Reads all of a store, the pictures too.

    Args:
        path: The file.

    Returns:
        What could not be looked at, as a store of before has no checksums of its pictures;
        :obj:`None` where all was.

    Raises:
        Sg2ImError: If anything in it is not what was written.
    """
    reader = SceneReader(path)
    with reader._open() as file:
        if not has_own(file, "image_checksum"):
            return "it was prepared before pictures had checksums"
        try:
            written = read_numbers(own_dataset(file, "image_checksum", "u"))
            if written.shape != (len(reader),):
                raise ValueError("not as many checksums as pictures")
        except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
            raise Sg2ImError(
                f"The data file {path} is damaged ({reason(error)}): prepare it again with "
                "datasets/prepare.py."
            ) from error
    wrong = [
        number
        for number in range(len(reader))
        if zlib.crc32(np.ascontiguousarray(reader.image(number)).data) != written[number]
    ]
    if wrong:
        raise Sg2ImError(
            f"{len(wrong):,} of {len(reader):,} pictures of {path} are not those that were "
            f"written, first that of place {wrong[0]}: delete the file and prepare it again with "
            "datasets/prepare.py."
        )
    return None


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Settings of the preparation that a store holds; errors as in :class:`SceneReader`."""
    return SceneReader(path).settings


def columns_bytes(table: SceneTable) -> int:
    """Bytes that the annotations take."""
    columns = [getattr(table, field) for field, _ in _COLUMNS.values()]
    return sum(column.nbytes for column in columns if column is not None)


def _create_block(file: h5py.File, name: str, shape: tuple[int, ...]) -> int | None:
    """Makes a dataset of bytes whose rows lie one after the other; gives its place in the file."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)  # the same data, the same bytes
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.STD_U8LE, space, layout)
    return dataset.get_offset()


def _checksums(rows: Path, count: int, places: Iterable[int]) -> np.ndarray:
    """CRC-32 of some of the pictures in a file that holds them one after the other."""
    found = []
    with rows.open("rb") as file:
        for place in places:
            if file.tell() != place * count:
                file.seek(int(place) * count)
            found.append(zlib.crc32(file.read(count)))
    return np.array(found, np.uint32)


def _digest(file: h5py.File) -> str:
    """SHA-256 of all that a store says but the pictures themselves."""
    digest = hashlib.sha256()
    for name in sorted(set(file.attrs) - {"sha256"}):
        digest.update(f"{name}={np.asarray(file.attrs[name]).tolist()!r};".encode())
    texts = [f"text/{name}" for name in ("attribute_names", "settings", "vocabulary")]
    for name in (*_COLUMNS, "image_checksum", *texts):
        if not has_own(file, name):
            continue
        dataset = own_dataset(file, name, "iuf")
        digest.update(f"{name}:{dataset.dtype.str}{dataset.shape};".encode())
        digest.update(np.ascontiguousarray(dataset[()]).data)
    return digest.hexdigest()


def _copy(source: BinaryIO, target: BinaryIO, count: int) -> None:
    while count:
        piece = source.read(min(count, _COPIED_BYTES))
        if not piece:
            raise RuntimeError("the pictures end before the last one")
        target.write(piece)
        count -= len(piece)


def _write_json(file: h5py.File, name: str, value: Any) -> None:
    text = json.dumps(value, sort_keys=True)
    if len(text.encode()) < _MAX_ATTRIBUTE_BYTES:
        file.attrs[name] = text
    else:
        file.create_dataset(f"text/{name}", data=np.frombuffer(text.encode(), np.uint8))


def _read_json(file: h5py.File, name: str, default: str | None = None) -> Any:
    if has_own(file, f"text/{name}"):
        return json.loads(bytes(own_dataset(file, f"text/{name}", "u")[:]))
    return json.loads(file.attrs[name] if default is None else file.attrs.get(name, default))
