"""What every format of own data is read to: pictures with their objects and relationships."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@dataclass
class OwnObject:
    """An object as a file has it; nothing but the kinds of its values is checked yet.

    Attributes:
        name: Name of its category.
        box: Its box in pixels, or in parts of the picture (:attr:`relative`); :obj:`None` where
            only its outline says where it is.
        outline: Polygons, each a list x, y, x, y, ... in the units of the box, or runs (RLE of
            COCO); :obj:`None` or empty without one.
        relative: Whether box and polygons are parts of the picture instead of pixels.
        key: What relationships call it, where its file gives it an id.
        attributes: Names of its attributes.
        where: Names it in sentences.
    """

    name: str
    box: Box | None
    outline: Any = None
    relative: bool = False
    key: str | None = None
    attributes: Sequence[str] = ()
    where: str = ""


Reference = str | int
"""How a relationship names an object: by its key, its position, or the name of its category."""


@dataclass
class OwnPicture:
    """A picture as a file lists it.

    Attributes:
        name: Its file as it is listed, in whatever spelling.
        folder: Folder of the file that lists it, where pictures may lie beside it.
        where: Names the entry in sentences.
        size: Listed height and width in pixels; :obj:`None` where they are missing.
        split: Split that it is given to; :obj:`None` where none is.
        number: Its number, where the source has whole numbers.
        key: What a list of relationships may call it beside its file's name.
        also: Another name by which to look for the file, where there is none of the first.
        any_suffix: Whether the suffix of a name may be another one, or missing.
        objects: Its objects.
        relationships: Triples of subject, predicate and object.
    """

    name: str
    folder: Path
    where: str
    size: tuple[int, int] | None = None
    split: str | None = None
    number: int | None = None
    key: str | None = None
    also: str | None = None
    any_suffix: bool = False
    objects: list[OwnObject] = field(default_factory=list)
    relationships: list[tuple[Reference, str, Reference]] = field(default_factory=list)
