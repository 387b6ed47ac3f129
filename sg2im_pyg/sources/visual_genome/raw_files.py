"""Visual Genome's raw JSON files as columns of numbers; every entry is checked as it is read."""

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from sg2im_pyg.data.scene_table import offsets
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.images import lies_inside
from sg2im_pyg.sources.json_stream import is_whole, read_entries, wrong_entry
from sg2im_pyg.sources.preparation import SPLITS


@dataclass(frozen=True)
class ListedImages:
    """The picture list: what ``image_data.json`` says of each picture, in its order.

    Attributes:
        ids: Shape :math:`(N,)`, int64.
        sizes: Height and width in pixels, shape :math:`(N, 2)`, int32.
        files: Folder and name of each picture, such as :obj:`"VG_100K_2/338.jpg"`.
    """

    ids: np.ndarray
    sizes: np.ndarray
    files: list[str]


@dataclass(frozen=True)
class Objects:
    """All objects of ``objects.json``, in its order.

    Attributes:
        images: Number of the picture of each object, shape :math:`(O,)`, int64.
        ids: Number of each object, shape :math:`(O,)`, int64.
        boxes: Left, top, width, height in pixels, shape :math:`(O, 4)`, int32.
        name_offset: Names of object ``o`` are ``names[name_offset[o]:name_offset[o + 1]]``,
            shape :math:`(O + 1,)`.
        names: Positions in :attr:`known_names`, each once an object, in its order.
        known_names: The names after the aliases, in order of first appearance.
    """

    images: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    name_offset: np.ndarray
    names: np.ndarray
    known_names: list[str]


@dataclass(frozen=True)
class Relationships:
    """All relationships of ``relationships.json``, in its order.

    Attributes:
        images: Number of the picture of each, shape :math:`(T,)`, int64.
        subjects: Numbers of the objects that are subjects, shape :math:`(T,)`, int64.
        objects: Numbers of the others, shape :math:`(T,)`, int64.
        predicates: Positions in :attr:`known_predicates`, shape :math:`(T,)`, int64.
        known_predicates: The predicates as written, in order of first appearance.
    """

    images: np.ndarray
    subjects: np.ndarray
    objects: np.ndarray
    predicates: np.ndarray
    known_predicates: list[str]


@dataclass(frozen=True)
class Attributes:
    """All attributes of ``attributes.json``, in its order.

    Attributes:
        images: Number of the picture of each attribute, shape :math:`(A,)`, int64.
        objects: Number of its object, shape :math:`(A,)`, int64.
        entries: Number of the entry that it stands in, rising, shape :math:`(A,)`, int64.
        names: Positions in :attr:`known_names`, shape :math:`(A,)`, int64.
        known_names: The names as written, in order of first appearance.
    """

    images: np.ndarray
    objects: np.ndarray
    entries: np.ndarray
    names: np.ndarray
    known_names: list[str]


def read_images(path: Path, progress: bool = False) -> ListedImages:
    """Reads ``image_data.json``.

    Raises:
        Sg2ImError: If the file is missing or malformed, or a picture stands in it twice.
    """
    ids, sizes, files = array("q"), array("i"), []
    seen: set[int] = set()
    for entry in read_entries(path, None, path.name if progress else None):
        number: Any = entry.get("image_id")
        width: Any = entry.get("width")
        height: Any = entry.get("height")
        url: Any = entry.get("url")
        if not (
            is_whole(number)
            and is_whole(width, 1, 100_000)
            and is_whole(height, 1, 100_000)
            and isinstance(url, str)
        ):
            raise wrong_entry(path, "picture", entry, "image_id, width, height and url")
        file = "/".join(urlsplit(url).path.split("/")[-2:]).lstrip("/")
        if not file or not lies_inside(file):
            raise wrong_entry(path, "picture", entry, "a url that ends in a folder and a file name")
        if number in seen:
            raise Sg2ImError(f"{path} lists the picture {number} twice: replace it.")
        seen.add(number)
        ids.append(number)
        sizes.extend((height, width))
        files.append(file)
    return ListedImages(_numbers(ids), np.array(sizes, np.int32).reshape(-1, 2), files)


def read_objects(
    path: Path, images: Sequence[int], aliases: Mapping[str, str], progress: bool = False
) -> Objects:
    """Reads ``objects.json``; names are replaced as the aliases say.

    Raises:
        Sg2ImError: If the file is missing or malformed, has a picture twice, or one that is not
            in the picture list.
    """
    of_image, ids, boxes = array("q"), array("q"), array("q")
    names, counts = array("q"), array("q")
    known: dict[str, int] = {}
    for number, entries in _pictures(path, "objects", images, progress):
        for entry in entries:
            try:
                object_id = entry["object_id"]
                x, y, w, h = entry["x"], entry["y"], entry["w"], entry["h"]
                given = entry["names"]
                of_image.append(number)
                ids.append(object_id)
                boxes.extend((x, y, w, h))
                if not isinstance(given, list):
                    raise TypeError("no list")
                unique = dict.fromkeys([aliases.get(name, name) for name in given])
                counts.append(len(unique))
                for name in unique:
                    names.append(known.setdefault(name + "", len(known)))
            except (KeyError, TypeError, OverflowError, AttributeError) as error:
                raise wrong_entry(
                    path,
                    f"object of picture {number}",
                    entry,
                    "whole numbers object_id, x, y, w and h, and a list of names",
                ) from error
    box_table = _numbers(boxes).reshape(-1, 4)
    if len(box_table) and np.abs(box_table).max() >= 2**31:
        raise Sg2ImError(f"A box of {path} lies beyond two thousand million pixels: replace it.")
    return Objects(
        _numbers(of_image),
        _numbers(ids),
        box_table.astype(np.int32),
        offsets(_numbers(counts)),
        _numbers(names),
        list(known),
    )


def read_relationships(path: Path, images: Sequence[int], progress: bool = False) -> Relationships:
    """Reads ``relationships.json``; errors as in :func:`read_objects`."""
    of_image, subjects, objects, predicates = array("q"), array("q"), array("q"), array("q")
    known: dict[str, int] = {}
    for number, entries in _pictures(path, "relationships", images, progress):
        for entry in entries:
            try:
                predicates.append(known.setdefault(entry["predicate"] + "", len(known)))
                subjects.append(entry["subject"]["object_id"])
                objects.append(entry["object"]["object_id"])
                of_image.append(number)
            except (KeyError, TypeError, OverflowError) as error:
                raise wrong_entry(
                    path,
                    f"relationship of picture {number}",
                    entry,
                    "a predicate, and a subject and an object with their object_id",
                ) from error
    return Relationships(
        _numbers(of_image),
        _numbers(subjects),
        _numbers(objects),
        _numbers(predicates),
        list(known),
    )


def read_attributes(path: Path, images: Sequence[int], progress: bool = False) -> Attributes:
    """Reads ``attributes.json``; errors as in :func:`read_objects`."""
    of_image, objects, numbers, names = array("q"), array("q"), array("q"), array("q")
    known: dict[str, int] = {}
    count = 0
    for number, entries in _pictures(path, "attributes", images, progress):
        for entry in entries:
            count += 1
            try:
                object_id = entry["object_id"]
                found = entry.get("attributes") or []
                if not isinstance(found, list):
                    raise TypeError("no list")
                for name in found:
                    names.append(known.setdefault(name + "", len(known)))
                    of_image.append(number)
                    objects.append(object_id)
                    numbers.append(count)
            except (KeyError, TypeError, OverflowError) as error:
                raise wrong_entry(
                    path,
                    f"entry of picture {number}",
                    entry,
                    "an object_id, and a list of attributes if there are any",
                ) from error
    return Attributes(
        _numbers(of_image), _numbers(objects), _numbers(numbers), _numbers(names), list(known)
    )


def read_aliases(path: Path) -> dict[str, str]:
    """Reads a file of aliases: on each line the name to use, then those that it replaces.

    Raises:
        Sg2ImError: If the file is missing or no text in UTF-8.
    """
    aliases: dict[str, str] = {}
    for line in _read_text(path).splitlines():
        first, *others = (name.strip() for name in line.split(","))
        for name in others:
            aliases[name] = first
    return aliases


def read_splits(path: Path, images: Sequence[int]) -> dict[str, np.ndarray]:
    """Reads a list of the pictures of each split.

    Args:
        path: JSON file of an object with the lists :obj:`"train"`, :obj:`"val"`, :obj:`"test"`.
        images: Numbers of the pictures that there are.

    Raises:
        Sg2ImError: If the file is missing or malformed, names an unknown picture, or one twice.
    """
    try:
        content = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, Sg2ImError):
            raise
        raise Sg2ImError(f"{path} is no valid JSON ({error}): replace it by a whole copy.") from (
            error
        )
    known, seen = set(images), set()
    splits = {}
    for split in SPLITS:
        ids = content.get(split) if isinstance(content, dict) else None
        if not isinstance(ids, list) or not all(is_whole(number) for number in ids):
            raise Sg2ImError(
                f"{path} has no list {split!r} of numbers of pictures: expected are the lists "
                "'train', 'val' and 'test'."
            )
        for number in ids:
            if number not in known:
                raise Sg2ImError(
                    f"{path} names the picture {number}, which image_data.json does not list: "
                    "both must belong to the same Visual Genome."
                )
            if number in seen:
                raise Sg2ImError(f"{path} names the picture {number} twice: replace it.")
            seen.add(number)
        splits[split] = np.array(ids, np.int64)
    return splits


def _pictures(path: Path, key: str, images: Sequence[int], progress: bool) -> Any:
    known, seen = set(images), set()
    for entry in read_entries(path, None, path.name if progress else None):
        number: Any = entry.get("image_id", entry.get("id"))
        entries: Any = entry.get(key)
        if not is_whole(number) or not isinstance(entries, list):
            raise wrong_entry(path, "picture", entry, f"an image_id and a list of {key}")
        if number not in known:
            raise Sg2ImError(
                f"{path} has {key} of the picture {number}, which image_data.json does not list: "
                "both must belong to the same version of Visual Genome."
            )
        if number in seen:
            raise Sg2ImError(f"{path} has the picture {number} twice: replace it.")
        seen.add(number)
        yield number, entries


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise Sg2ImError(f"The file {path} is missing: put it there.") from error
    except UnicodeDecodeError as error:
        raise Sg2ImError(
            f"{path} is no text in UTF-8 (byte {error.start}): replace it by a whole copy."
        ) from error


def _numbers(values: array) -> np.ndarray:
    return np.frombuffer(values, np.int64) if len(values) else np.zeros(0, np.int64)
