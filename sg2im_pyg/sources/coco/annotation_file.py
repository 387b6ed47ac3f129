"""An annotation file of COCO, read entry by entry; every entry is checked as it is handed out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.coco.masks import Segmentation, is_number
from sg2im_pyg.sources.images import lies_inside
from sg2im_pyg.sources.json_stream import (
    is_side,
    is_text,
    is_whole,
    read_entries,
    take,
    wrong_entry,
)

_MAX_CATEGORY_ID = 9999  # ids are indices of the vocabulary: a wild one would take all memory


@dataclass(frozen=True)
class ListedImage:
    """An entry of the picture list; the sides are those of the stored picture, in pixels."""

    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class CocoObject:
    """An annotation: one object of a picture.

    Attributes:
        entry: Position of the annotation in its file.
        annotation_id: Its number, -1 where it has none.
        image_id: Its picture.
        category: COCO id of its category.
        outline: Its box and segmentation.
    """

    entry: int
    annotation_id: int
    image_id: int
    category: int
    outline: Segmentation


class AnnotationFile:
    """An annotation file of COCO ("instances" or "stuff").

    The file is passed through for each of the lists, so that it takes no memory.

    Args:
        path: The JSON file.
        progress: Show a bar for each pass, if stderr is a terminal.

    Raises:
        Sg2ImError: From every method: if the file is missing or malformed.
    """

    def __init__(self, path: Path, progress: bool = False) -> None:
        self.path = path
        self.progress = progress
        self.annotated_images: set[int] = set()
        """Pictures that have an annotation, once :meth:`objects` has come to its end."""

    @cached_property
    def categories(self) -> dict[int, str]:
        """Names of the categories by their ids."""
        categories: dict[int, str] = {}
        for entry in self._entries("categories"):
            number: Any = entry.get("id")
            name: Any = entry.get("name")
            if not is_whole(number, 1, _MAX_CATEGORY_ID) or not is_text(name):
                expected = f"an id from 1 to {_MAX_CATEGORY_ID} and a name"
                raise wrong_entry(self.path, "category", entry, expected)
            if number in categories:
                raise Sg2ImError(
                    f"{self.path} has two categories with the id {number}: replace it."
                )
            categories[number] = name
        twice = [name for name, count in Counter(categories.values()).items() if count > 1]
        if twice:
            raise Sg2ImError(
                f"{self.path} has two categories with the name {twice[0]!r}: replace it."
            )
        return categories

    @cached_property
    def images(self) -> dict[int, ListedImage]:
        """The picture list by ids, in the order of the file."""
        images: dict[int, ListedImage] = {}
        checks = {"id": is_whole, "file_name": is_text, "width": is_side, "height": is_side}
        for entry in self._entries("images"):
            number, name, width, height = take(self.path, "picture", entry, checks)
            if not lies_inside(name):
                expected = "a file_name inside of the folder of pictures"
                raise wrong_entry(self.path, "picture", entry, expected)
            if number in images:
                raise Sg2ImError(f"{self.path} lists the picture {number} twice: replace it.")
            images[number] = ListedImage(name, width, height)
        return images

    def check_images(self, expected: Mapping[int, ListedImage], expected_path: Path) -> None:
        """Raises where this file's picture list does not agree with another one."""
        for number, listed in self.images.items():
            if expected.get(number) != listed:
                raise Sg2ImError(
                    f"{self.path} lists the picture {number} as {listed.file_name} "
                    f"({listed.width} x {listed.height}), {expected_path.name} "
                    + ("lists it otherwise" if number in expected else "does not list it")
                    + ": both files must come from the same COCO."
                )

    def objects(
        self, images: Mapping[int, ListedImage], min_size: float, categories: set[int]
    ) -> Iterator[CocoObject]:
        """Objects of some categories that are larger than a fraction of their picture."""
        for position, entry in enumerate(self._entries("annotations")):
            number: Any = entry.get("id")
            where = f"annotation {number} of {self.path}"
            image_id: Any = entry.get("image_id")
            category: Any = entry.get("category_id")
            if not is_whole(image_id, 0) or image_id not in images:
                raise Sg2ImError(
                    f"The {where} belongs to the picture {image_id!r}, which the picture list "
                    "does not have: picture list and annotations must come from the same COCO."
                )
            self.annotated_images.add(image_id)
            if not is_whole(category, 0) or category not in self.categories:
                raise Sg2ImError(
                    f"The {where} has the category {category!r}, which the list of categories "
                    "does not have: replace the file by a whole copy."
                )
            x, y, width, height = _box(entry.get("bbox"), where)
            listed = images[image_id]
            # Boxes without area (COCO has some) go the way of all that are too small.
            if width * height <= min_size * listed.width * listed.height:
                continue
            if not (x < listed.width and y < listed.height and x + width > 0 and y + height > 0):
                raise Sg2ImError(
                    f"The {where} has the box {entry['bbox']} (x, y, width, height), wholly "
                    f"outside of its picture of {listed.width} x {listed.height} pixels: correct "
                    "or remove it."
                )
            if category in categories:
                yield CocoObject(
                    position,
                    number if is_whole(number, 0) else -1,
                    image_id,
                    category,
                    Segmentation(
                        entry.get("segmentation"),
                        (x, y, x + width, y + height),
                        listed.width,
                        listed.height,
                        where,
                    ),
                )

    def _entries(self, key: str) -> Iterator[dict[str, Any]]:
        return read_entries(self.path, key, f"{self.path.name}: {key}" if self.progress else None)


def _box(box: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise Sg2ImError(
            f"The {where} has the box {box!r}: expected are four numbers x, y, width, height in "
            "pixels."
        )
    x, y, width, height = box
    if width < 0 or height < 0:
        raise Sg2ImError(
            f"The {where} has a box of negative width or height, {box} (x, y, width, height): "
            "correct or remove it."
        )
    return x, y, width, height
