"""The own files of two programs that annotate pictures: VIA's project and VoTT's export."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import shortened
from sg2im_pyg.sources.json_stream import numbers
from sg2im_pyg.sources.mistakes import Mistakes
from sg2im_pyg.sources.own.files import read_json_whole
from sg2im_pyg.sources.own.records import OwnObject, OwnPicture
from sg2im_pyg.sources.own.table import region
from sg2im_pyg.sources.own.values import clean_name, corners_of, size
from sg2im_pyg.sources.splits import split_named


def read_via(files: Sequence[Path], root: Path, mistakes: Mistakes) -> Iterator[OwnPicture]:
    """Pictures of VIA's annotations in JSON, or of a whole project."""
    for path in files:
        content = read_json_whole(path)
        entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
        for entry in entries.values() if isinstance(entries, dict) else []:
            name = entry.get("filename") if isinstance(entry, dict) else None
            if not isinstance(name, str) or not name.strip():
                mistakes.add(f"{path} has an entry without a filename ({shortened(repr(entry))}).")
                continue
            picture = OwnPicture(
                name, path.parent, f"{shortened(name)} of {path}", split=split_named(path, root)
            )
            picture.key = name
            regions = entry.get("regions", [])
            listed = list(regions.values()) if isinstance(regions, dict) else regions
            for position, part in enumerate(listed if isinstance(listed, list) else []):
                where = f"region {position + 1} of {picture.where}"
                values = part if isinstance(part, dict) else {}
                found = region(
                    values.get("shape_attributes"), values.get("region_attributes"), where, mistakes
                )
                if found is not None:
                    found.key = str(position)
                    picture.objects.append(found)
            yield picture


def read_vott(files: Sequence[Path], root: Path, mistakes: Mistakes) -> Iterator[OwnPicture]:
    """Pictures of VoTT's export in JSON, all in one file or one file a picture."""
    for path in files:
        content = read_json_whole(path)
        assets = content.get("assets", {0: content}) if isinstance(content, dict) else {}
        for entry in assets.values() if isinstance(assets, dict) else []:
            asset = entry.get("asset") if isinstance(entry, dict) else None
            name = asset.get("name", asset.get("path")) if isinstance(asset, dict) else None
            if not isinstance(name, str) or not name.strip():
                mistakes.add(f"{path} has an asset without a name ({shortened(repr(entry))}).")
                continue
            assert isinstance(asset, dict)
            sides = asset.get("size")
            listed = (
                size(sides.get("height"), sides.get("width")) if isinstance(sides, dict) else None
            )
            where = f"{shortened(name)} of {path}"
            picture = OwnPicture(
                name, path.parent, where, listed, split_named(path, root), key=name
            )
            regions = entry.get("regions")
            for position, part in enumerate(regions if isinstance(regions, list) else []):
                found = _region(part, f"region {position + 1} of {where}", mistakes)
                if found is not None:
                    found.key = str(position)
                    picture.objects.append(found)
            yield picture


def _region(content: Any, where: str, mistakes: Mistakes) -> OwnObject | None:
    values = content if isinstance(content, dict) else {}
    tags, box, points = values.get("tags"), values.get("boundingBox"), values.get("points")
    name = clean_name(tags[0]) if isinstance(tags, list) and tags else None
    sides = None
    if isinstance(box, dict):
        sides = numbers([box.get(key) for key in ("left", "top", "width", "height")])
    if name is None or sides is None or sides[2] < 0 or sides[3] < 0:
        mistakes.add(f"The {where} must have a tag and a boundingBox of left, top, width, height.")
        return None
    outline = None
    if values.get("type") == "POLYGON" and isinstance(points, list):
        pairs = [(p.get("x"), p.get("y")) if isinstance(p, dict) else (None,) for p in points]
        flat = numbers([value for pair in pairs for value in pair])
        outline = None if flat is None else [flat]
    return OwnObject(name, corners_of(*sides), outline, where=where)  # type: ignore[arg-type]
