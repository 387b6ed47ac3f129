"""Scene graphs: Visual Genome's (a list of pictures) and GQA's (pictures by their ids)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import shortened
from sg2im_pyg.sources.json_stream import numbers, outline, read_entries, read_named_entries, whole
from sg2im_pyg.sources.mistakes import Mistakes
from sg2im_pyg.sources.own.coco import triple
from sg2im_pyg.sources.own.records import OwnObject, OwnPicture
from sg2im_pyg.sources.own.values import clean_name, corners_of, identity, size
from sg2im_pyg.sources.picture_files import last_part
from sg2im_pyg.sources.splits import split_called, split_named


def read(files: Sequence[Path], root: Path, mistakes: Mistakes) -> Iterator[OwnPicture]:
    """Pictures of scene-graph files. Names are read in lower case, as Visual Genome's own
    preprocessing does; pictures without a name of their file are known by their ids."""
    for path in files:
        split = split_named(path, root)
        if next(outline(path, 0))[1] == "start_array":
            entries: Iterator[tuple[str | None, Any]] = (
                (None, entry) for entry in read_entries(path, None)
            )
        else:
            entries = ((key, entry) for key, entry in read_named_entries(path))
        seen: set[str] = set()
        for named, entry in entries:
            found = _picture(path, split, named, entry, mistakes)
            if found is not None and found.key in seen:
                mistakes.add(f"{path} lists the picture {shortened(found.key)} twice.")
            elif found is not None:
                seen.add(str(found.key))
                yield found


def _picture(
    path: Path, split: str | None, named: str | None, entry: Any, mistakes: Mistakes
) -> OwnPicture | None:
    key = named
    if isinstance(entry, dict) and key is None:
        key = identity(entry.get("image_id", entry.get("id")))
    objects = entry.get("objects") if isinstance(entry, dict) else None
    if key is None or not isinstance(objects, (list, dict)):
        mistakes.add(f"{path} has a picture without an id or objects ({shortened(repr(entry))}).")
        return None
    listed = entry.get("file_name", entry.get("filename", entry.get("url")))
    name = last_part(listed) if isinstance(listed, str) and listed.strip() else key
    where = f"picture {shortened(key)} of {path}"
    picture = OwnPicture(
        name,
        path.parent,
        where,
        size(entry.get("height"), entry.get("width")),
        split_called(entry.get("split")) or split,
        whole(key),
        key,
        any_suffix=True,
    )
    pairs = list(objects.items()) if isinstance(objects, dict) else [(None, o) for o in objects]
    for object_name, content in pairs:
        _add_object(picture, object_name, content, mistakes)
    relationships = entry.get("relationships", [])
    for content in relationships if isinstance(relationships, list) else []:
        found = triple(content)
        if found is None:
            mistakes.add(f"The {where} has the relationship {shortened(repr(content))}: expected "
                         "are a subject, a predicate and an object.")  # fmt: skip
        else:
            picture.relationships.append((found[0], found[1].lower(), found[2]))
    return picture


def _add_object(picture: OwnPicture, named: str | None, content: Any, mistakes: Mistakes) -> None:
    values = content if isinstance(content, dict) else {}
    key = named if named is not None else identity(values.get("object_id", values.get("id")))
    where = f"object {shortened(key)} of {picture.where}"
    names = values.get("names")
    name = clean_name(names[0] if isinstance(names, list) and names else values.get("name"))
    sides = numbers([values.get(letter) for letter in "xywh"])
    if name is None or sides is None or sides[2] < 0 or sides[3] < 0:
        mistakes.add(
            f"The {where} must have a name and numbers x, y, w and h in pixels, the last two not "
            f"below 0, got {shortened(repr(content))}."
        )
        return
    attributes = values.get("attributes")
    cleaned = [clean_name(a) for a in attributes] if isinstance(attributes, list) else []
    picture.objects.append(
        OwnObject(
            name.lower(),
            corners_of(*sides),  # type: ignore[arg-type]
            key=key,
            attributes=[a.lower() for a in dict.fromkeys(cleaned) if a],
            where=where,
        )
    )
    relations = values.get("relations")  # GQA's, each with the name of the relationship's object
    for relation in relations if isinstance(relations, list) else []:
        found = triple([key, relation.get("name"), relation.get("object")]
                       if isinstance(relation, dict) else None)  # fmt: skip
        if found is None:
            mistakes.add(f"The {where} has the relation {shortened(repr(relation))}: expected are "
                         "a name and an object.")  # fmt: skip
        else:
            picture.relationships.append((found[0], found[1].lower(), found[2]))
