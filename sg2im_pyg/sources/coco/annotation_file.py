"""An annotation file of COCO, read entry by entry; every entry is checked as it is handed out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.sources.json_stream import (
    numbers,
    read_entries,
    side,
    take,
    text,
    whole,
    wrong_entry,
)
from sg2im_pyg.sources.masks import Segmentation
from sg2im_pyg.sources.mistakes import Mistakes, WrongAnnotation
from sg2im_pyg.sources.picture_files import names_a_file

Id = int | str
"""Of a picture or category: a whole number, also where the file has it as text, or a name."""


@dataclass(frozen=True)
class ListedImage:
    """An entry of the picture list.

    Attributes:
        file_name: Its file, as it is written.
        width: In pixels, as its boxes have it; 0 where the list does not say.
        height: Likewise.
        number: Its id where that is a whole number, otherwise one that no other picture has.
    """

    file_name: str
    width: int
    height: int
    number: int = field(compare=False)


@dataclass(frozen=True)
class CocoObject:
    """An annotation: one object of a picture.

    Attributes:
        entry: Position of the annotation in its file.
        annotation_id: Its number, -1 where it has none.
        label: Names it in sentences.
        image: Id of its picture.
        category: Index of its category in the vocabulary.
        outline: Its box and segmentation.
    """

    entry: int
    annotation_id: int
    label: str
    image: Id
    category: int
    outline: Segmentation


class AnnotationFile:
    """An annotation file of COCO ("instances" or "stuff").

    The file is passed through for each of the lists, so that it takes no memory. Numbers may be
    written as text or with a fraction of nothing, ids may be names.

    Args:
        path: The JSON file.
        progress: Show a bar for each pass, if stderr is a terminal.

    Raises:
        Sg2ImError: From every method: if the file is missing or malformed.
    """

    def __init__(self, path: Path, progress: bool = False) -> None:
        self.path = path
        self.progress = progress
        self.annotated_images: set[Id] = set()
        """Pictures that have an annotation, once :meth:`objects` has come to its end."""

    @cached_property
    def categories(self) -> dict[Id, str]:
        """Names of the categories by their ids; several may have one name."""
        categories: dict[Id, str] = {}
        for entry in self._entries("categories"):
            key, name = _id(entry.get("id")), _name(entry.get("name"))
            if key is None or name is None:
                raise wrong_entry(self.path, "category", entry, "an id and a name")
            if categories.setdefault(key, name) != name:
                raise Sg2ImError(
                    f"{self.path} has two categories with the id {key}, {categories[key]!r} and "
                    f"{name!r}: correct it."
                )
        return categories

    @cached_property
    def images(self) -> dict[Id, ListedImage]:
        """The picture list by ids, in the order of the file."""
        found: dict[Id, tuple[str, int, int]] = {}
        for entry in self._entries("images"):
            key, name = take(self.path, "picture", entry, {"id": _id, "file_name": text})
            width, height = (_side(entry.get(length)) for length in ("width", "height"))
            if width is None or height is None:
                expected = "a width and a height in pixels, or none"
                raise wrong_entry(self.path, "picture", entry, expected)
            if not names_a_file(name):
                expected = "a file_name without control characters that ends in that of a file"
                raise wrong_entry(self.path, "picture", entry, expected)
            if key in found:
                raise Sg2ImError(f"{self.path} lists the picture {key} twice: replace it.")
            found[key] = name, *((width, height) if width and height else (0, 0))
        free = 1 + max((key for key in found if isinstance(key, int)), default=0)
        images = {}
        for key, listed in found.items():
            is_number = isinstance(key, int) and key >= 0
            images[key] = ListedImage(*listed, int(key) if is_number else free)
            free += not is_number
        return images

    def check_images(self, expected: Mapping[Id, ListedImage], expected_path: Path) -> None:
        """Raises where this file's picture list does not agree with another one."""
        for key, listed in self.images.items():
            if expected.get(key) != listed:
                raise Sg2ImError(
                    f"{self.path} lists the picture {key} as {listed.file_name} "
                    f"({listed.width} x {listed.height}), {expected_path.name} "
                    + ("lists it otherwise" if key in expected else "does not list it")
                    + ": both files must come from the same COCO."
                )

    def objects(
        self,
        images: Mapping[Id, ListedImage],
        min_size: float,
        indices: Mapping[Id, int],
        mistakes: Mistakes | None = None,
    ) -> Iterator[CocoObject]:
        """Objects of some categories that are larger than a fraction of their picture.

        Args:
            images: The pictures; those whose size is not known have no objects.
            min_size: The fraction, of the picture's area.
            indices: The categories, and their indices in the vocabulary.
            mistakes: Is told of annotations that can not be used, which are left out.
        """
        for position, entry in enumerate(self._entries("annotations")):
            given: Any = entry.get("id")
            label = f"annotation {shortened(given, 40)}"
            if given is None:
                label = f"annotation at place {position}"
            try:
                image, category = self._owner(entry, images)
                self.annotated_images.add(image)
                listed = images[image]
                if not listed.width:
                    continue
                x, y, width, height = _box(entry.get("bbox"))
                # Boxes without area (COCO has some) go the way of all that are too small.
                if width * height <= min_size * listed.width * listed.height:
                    continue
                sees_x = x < listed.width and x + width > 0
                if not (sees_x and y < listed.height and y + height > 0):
                    raise WrongAnnotation(
                        f"has the box {entry['bbox']} (x, y, width, height), wholly outside of "
                        f"its picture of {listed.width} x {listed.height} pixels"
                    )
            except WrongAnnotation as wrong:
                if mistakes is not None:
                    mistakes.add_entry(self.path, label, str(wrong))
                continue
            if category in indices:
                yield CocoObject(
                    position,
                    -1 if (annotation_id := whole(given)) is None else annotation_id,
                    label,
                    image,
                    indices[category],
                    Segmentation(
                        entry.get("segmentation"),
                        (x, y, x + width, y + height),
                        listed.width,
                        listed.height,
                    ),
                )

    def extents(self, images: set[Id]) -> dict[Id, tuple[float, float]]:
        """Right and lower end of all boxes of some pictures, in pixels."""
        ends: dict[Id, tuple[float, float]] = {}
        for entry in self._entries("annotations"):
            image = _id(entry.get("image_id"))
            if image is None or image not in images:
                continue
            try:
                x, y, width, height = _box(entry.get("bbox"))
            except WrongAnnotation:
                continue
            right, bottom = ends.get(image, (0.0, 0.0))
            ends[image] = max(right, x + width), max(bottom, y + height)
        return ends

    def _owner(self, entry: Mapping[str, Any], images: Mapping[Id, ListedImage]) -> tuple[Id, Id]:
        """Picture and category of an annotation."""
        image, category = (_id(entry.get(name)) for name in ("image_id", "category_id"))
        if image is None or image not in images:
            shown = shortened(repr(entry.get("image_id")))
            raise WrongAnnotation(
                f"belongs to the picture {shown}, which the picture list does not have"
            )
        if category is None or category not in self.categories:
            shown = shortened(repr(entry.get("category_id")))
            raise WrongAnnotation(
                f"has the category {shown}, which the list of categories does not have"
            )
        return image, category

    def _entries(self, key: str) -> Iterator[dict[str, Any]]:
        return read_entries(self.path, key, f"{self.path.name}: {key}" if self.progress else None)


def _id(value: Any) -> Id | None:
    found = whole(value, -(2**62))
    return found if found is not None else text(value)


def _side(value: Any) -> int | None:
    """0 for a length that is not known."""
    return 0 if value in (None, 0, "", "0", "NaN") else side(value)


def _name(value: Any) -> str | None:
    return str(value) if type(value) is int else text(value)


def _box(box: Any) -> tuple[float, float, float, float]:
    found = numbers(box, 4)
    if found is None:
        raise WrongAnnotation(
            f"has the box {shortened(box)}: expected are four numbers x, y, width, height in pixels"
        )
    x, y, width, height = found
    if width < 0 or height < 0:
        raise WrongAnnotation(f"has a box of negative width or height, {box} (x, y, width, height)")
    return x, y, width, height
