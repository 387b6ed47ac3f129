"""Visual Genome's raw JSON files as columns of numbers; every entry is checked as it is read."""

import itertools
import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from sg2im_pyg.data.scene_table import offsets
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.json_stream import (
    number,
    read_entries,
    side,
    take,
    text,
    whole,
    wrong_entry,
)
from sg2im_pyg.sources.picture_files import names_a_file
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
        boxes: Left, top, width, height in pixels, shape :math:`(O, 4)`, float64.
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


_NONE = np.zeros(0, np.int64)
NO_ATTRIBUTES = Attributes(_NONE, _NONE, _NONE, _NONE, [])
"""Of data that has none."""


def read_images(path: Path, progress: bool = False) -> ListedImages:
    """Reads ``image_data.json``.

    Raises:
        Sg2ImError: If the file is missing or malformed, or a picture stands in it twice.
    """
    ids, sizes, files = array("q"), array("i"), []
    seen: set[int] = set()
    readers = {"image_id": whole, "width": side, "height": side, "url": text}
    for entry in read_entries(path, None, path.name if progress else None):
        image_id, width, height, url = take(path, "picture", entry, readers)
        file = "/".join(urlsplit(url).path.split("/")[-2:]).lstrip("/")
        if not file or not names_a_file(file):
            raise wrong_entry(path, "picture", entry, "a url that ends in a folder and a file name")
        if image_id in seen:
            raise Sg2ImError(f"{path} lists the picture {image_id} twice: replace it.")
        seen.add(image_id)
        ids.append(image_id)
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
    of_image, ids, names, counts = _columns(4)
    boxes = array("d")
    known: dict[str, int] = {}

    def add(image_id: int, entry: Any) -> None:
        of_image.append(image_id)
        ids.append(_number(entry["object_id"]))
        boxes.extend([_length(entry[name]) for name in "xywh"])
        unique = dict.fromkeys([aliases.get(name, name) for name in _list(entry["names"])])
        counts.append(len(unique))
        for name in unique:
            names.append(known.setdefault(name + "", len(known)))

    expected = "a whole number object_id, numbers x, y, w and h, and a list of names"
    _read_all(path, "objects", images, progress, add, "object", expected)
    box_table = np.array(boxes, np.float64).reshape(-1, 4)
    if len(box_table) and np.abs(box_table).max() >= 2**31:
        raise Sg2ImError(f"A box of {path} lies beyond two thousand million pixels: replace it.")
    return Objects(
        _numbers(of_image),
        _numbers(ids),
        box_table,
        offsets(_numbers(counts)),
        _numbers(names),
        list(known),
    )


def read_relationships(path: Path, images: Sequence[int], progress: bool = False) -> Relationships:
    """Reads ``relationships.json``; errors as in :func:`read_objects`."""
    of_image, subjects, objects, predicates = _columns(4)
    known: dict[str, int] = {}

    def add(image_id: int, entry: Any) -> None:
        predicates.append(known.setdefault(entry["predicate"] + "", len(known)))
        subjects.append(_number(entry["subject"]["object_id"]))
        objects.append(_number(entry["object"]["object_id"]))
        of_image.append(image_id)

    expected = "a predicate, and a subject and an object with their object_id"
    _read_all(path, "relationships", images, progress, add, "relationship", expected)
    return Relationships(
        _numbers(of_image), _numbers(subjects), _numbers(objects), _numbers(predicates), list(known)
    )


def read_attributes(path: Path, images: Sequence[int], progress: bool = False) -> Attributes:
    """Reads ``attributes.json``; errors as in :func:`read_objects`."""
    of_image, objects, entries, names = _columns(4)
    known: dict[str, int] = {}
    numbers = itertools.count(1)

    def add(image_id: int, entry: Any) -> None:
        entry_number, object_id = next(numbers), _number(entry["object_id"])
        for name in _list(entry.get("attributes") or []):
            names.append(known.setdefault(name + "", len(known)))
            of_image.append(image_id)
            objects.append(object_id)
            entries.append(entry_number)

    expected = "an object_id, and a list of attributes if there are any"
    _read_all(path, "attributes", images, progress, add, "entry", expected)
    return Attributes(
        _numbers(of_image), _numbers(objects), _numbers(entries), _numbers(names), list(known)
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
    content = read_json_file(path)
    known, seen = set(images), set()
    splits = {}
    for split in SPLITS:
        ids = content.get(split) if isinstance(content, dict) else None
        ids = [whole(image_id) for image_id in ids] if isinstance(ids, list) else [None]
        if None in ids:
            raise Sg2ImError(
                f"{path} has no list {split!r} of numbers of pictures: expected are the lists "
                "'train', 'val' and 'test'."
            )
        for image_id in ids:
            if image_id not in known:
                raise Sg2ImError(
                    f"{path} names the picture {image_id}, which image_data.json does not list: "
                    "both must belong to the same Visual Genome."
                )
            if image_id in seen:
                raise Sg2ImError(f"{path} names the picture {image_id} twice: replace it.")
            seen.add(image_id)
        splits[split] = np.array(ids, np.int64)
    return splits


def read_json_file(path: Path) -> Any:
    """The content of a JSON file of moderate size.

    Raises:
        Sg2ImError: If the file is missing or no JSON in UTF-8.
    """
    text = _read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Sg2ImError(f"{path} is no valid JSON ({error}): replace it by a whole copy.") from (
            error
        )


def _read_all(
    path: Path,
    key: str,
    images: Sequence[int],
    progress: bool,
    add: Callable[[int, Any], None],
    kind: str,
    expected: str,
) -> None:
    """Hands out all entries below a key, each with the number of its picture."""
    known, seen = set(images), set()
    for picture in read_entries(path, None, path.name if progress else None):
        image_id = whole(picture.get("image_id", picture.get("id")))
        entries: Any = picture.get(key)
        if image_id is None or not isinstance(entries, list):
            raise wrong_entry(path, "picture", picture, f"an image_id and a list of {key}")
        if image_id not in known:
            raise Sg2ImError(
                f"{path} has {key} of the picture {image_id}, which image_data.json does not list: "
                "both must belong to the same version of Visual Genome."
            )
        if image_id in seen:
            raise Sg2ImError(f"{path} has the picture {image_id} twice: replace it.")
        seen.add(image_id)
        for entry in entries:
            try:
                add(image_id, entry)
            except (KeyError, TypeError, OverflowError, AttributeError) as error:
                raise wrong_entry(path, f"{kind} of picture {image_id}", entry, expected) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise Sg2ImError(f"The file {path} is missing: put it there.") from error
    except UnicodeDecodeError as error:
        raise Sg2ImError(
            f"{path} is no text in UTF-8 (byte {error.start}): replace it by a whole copy."
        ) from error


def _columns(count: int) -> list[array]:
    return [array("q") for _ in range(count)]


def _numbers(values: array) -> np.ndarray:
    return np.frombuffer(values, np.int64) if len(values) else np.zeros(0, np.int64)


def _number(value: Any) -> int:
    found = value if type(value) is int else whole(value, -(2**62))
    if found is None:
        raise TypeError("no whole number")
    return found


def _length(value: Any) -> float:
    found = number(value)
    if found is None:
        raise TypeError("no number")
    return found


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value
