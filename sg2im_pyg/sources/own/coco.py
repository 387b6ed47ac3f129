"""JSON in COCO's format, as CVAT, Label Studio, Roboflow, labelme2coco, VIA, VoTT's converters,
fiftyone and supervision write it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import shortened
from sg2im_pyg.sources.json_stream import numbers, outline, read_entries, whole
from sg2im_pyg.sources.mistakes import Mistakes
from sg2im_pyg.sources.own.records import OwnObject, OwnPicture, Reference
from sg2im_pyg.sources.own.values import clean_name, corners_of, identity, polygons, size
from sg2im_pyg.sources.splits import split_called, split_named

_FILES = ("file_name", "filename", "file", "path", "coco_url", "url", "name")


def read(files: Sequence[Path], root: Path, mistakes: Mistakes) -> Iterator[OwnPicture]:
    """Pictures of files in COCO's format; relationships stand with a picture, or in a list
    ``relationships`` of their own, and call objects by the ids of their annotations."""
    for path in files:
        lists = {
            name for name, event in outline(path, 1) if event == "map_key"
        }  # of the outermost object alone
        yield from _File(path, split_named(path, root), mistakes).read(lists)


class _File:
    def __init__(self, path: Path, split: str | None, mistakes: Mistakes) -> None:
        self.path = path
        self.split = split
        self.mistakes = mistakes
        self.pictures: dict[str, OwnPicture] = {}
        self.by_name: dict[str, OwnPicture] = {}
        self.names: dict[str, str] = {}

    def read(self, lists: set[str]) -> Iterator[OwnPicture]:
        for name, add in (
            ("categories", self._add_category),
            ("images", self._add_picture),
            ("annotations", self._add_object),
            ("relationships", self._add_relationship),
        ):
            if name in lists:
                for entry in read_entries(self.path, name):
                    add(entry)
            elif name == "images":
                self._wrong("", "has no list 'images'")
        yield from self.pictures.values()

    def _add_category(self, entry: dict[str, Any]) -> None:
        key, name = identity(entry.get("id")), clean_name(entry.get("name"))
        if key is None or name is None:
            self._wrong("", "has a category without an id or a name", entry)
        elif self.names.setdefault(key, name) != name:
            self._wrong("", f"has two categories with the id {key}", entry)

    def _add_picture(self, entry: dict[str, Any]) -> None:
        key = identity(entry.get("id"))
        name = next((n for n in map(entry.get, _FILES) if isinstance(n, str) and n.strip()), None)
        if key is None:
            key = name
        if name is None or key is None:
            return self._wrong("", "lists a picture without an id or a file_name", entry)
        if key in self.pictures:
            return self._wrong("", f"lists the picture {shortened(key)} twice", entry)
        picture = OwnPicture(
            name,
            self.path.parent,
            f"picture {shortened(key)} of {self.path}",
            size(entry.get("height"), entry.get("width")),
            split_called(entry.get("split")) or self.split,
            whole(key),
            key,
        )
        found = entry.get("relationships")
        for triple in found if isinstance(found, list) else []:
            self._add_triple(picture, triple)
        self.pictures[key] = picture
        self.by_name.setdefault(name, picture)

    def _add_object(self, entry: dict[str, Any]) -> None:
        key, image = identity(entry.get("id")), identity(entry.get("image_id"))
        where = f"annotation {shortened(key)} of {self.path}"
        if image not in self.pictures and image not in self.by_name:
            shown = shortened(repr(entry.get("image_id")))
            return self._wrong(where, f"belongs to the picture {shown}, which is not listed")
        picture = self.pictures.get(str(image)) or self.by_name[str(image)]
        category = identity(entry.get("category_id"))
        name = self.names.get(str(category))
        if name is None and category in self.names.values():
            name = category
        if name is None and not self.names:
            name = clean_name(entry.get("category_name", entry.get("category")))
        if name is None:
            shown = shortened(repr(entry.get("category_id")))
            return self._wrong(where, f"has the category {shown}, which is not listed")
        box, listed = None, entry.get("bbox")
        if listed is not None and listed != []:
            corner = numbers(listed, 4)
            if corner is None or corner[2] < 0 or corner[3] < 0:
                return self._wrong(
                    where,
                    f"has the box {shortened(repr(listed))}: expected are four numbers x, y, width "
                    "and height in pixels, none of these two below 0",
                )
            box = corners_of(*corner)
        outline_found = polygons(entry.get("segmentation"))
        picture.objects.append(
            OwnObject(name, box, outline_found, key=key, where=where)  # type: ignore[arg-type]
        )

    def _add_relationship(self, entry: dict[str, Any]) -> None:
        image = identity(entry.get("image_id"))
        if image not in self.pictures:
            shown = shortened(repr(entry.get("image_id")))
            return self._wrong(
                "", f"has a relationship in the picture {shown}, which is not listed"
            )
        self._add_triple(self.pictures[image], entry)

    def _add_triple(self, picture: OwnPicture, content: Any) -> None:
        found = triple(content)
        if found is None:
            self._wrong(
                picture.where,
                f"has the relationship {shortened(repr(content))}: expected is [subject, "
                "predicate, object], or an object with these names",
            )
        else:
            picture.relationships.append(found)

    def _wrong(self, where: str, what: str, entry: Any = None) -> None:
        shown = "" if entry is None else f" ({shortened(repr(entry))})"
        self.mistakes.add(f"{f'The {where}' if where else self.path} {what}{shown}.")


def triple(content: Any) -> tuple[Reference, str, Reference] | None:
    """A relationship as a list of three, or as an object in the words of COCO-like files or of
    Visual Genome; :obj:`None` where it is none."""
    if isinstance(content, dict):
        ends = []
        for end in ("subject", "object"):
            found = content.get(f"{end}_id", content.get(end))
            if isinstance(found, dict):
                found = found.get("object_id", found.get("id"))
            ends.append(found)
        content = [ends[0], content.get("predicate", content.get("name")), ends[1]]
    if not isinstance(content, (list, tuple)) or len(content) != 3:
        return None
    subject, name, other = identity(content[0]), clean_name(content[1]), identity(content[2])
    return None if subject is None or name is None or other is None else (subject, name, other)
