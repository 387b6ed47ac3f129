"""YOLO's text files, one a picture: boxes or polygons in parts of it, and a list of names."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.sources.json_stream import numbers
from sg2im_pyg.sources.mistakes import Mistakes
from sg2im_pyg.sources.own.files import files_below, read_text, read_yaml
from sg2im_pyg.sources.own.records import OwnObject, OwnPicture
from sg2im_pyg.sources.own.values import clean_name, identity
from sg2im_pyg.sources.splits import split_called, split_named

_NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "class.names")
_NO_LABELS = frozenset((*_NAME_LISTS, "train.txt", "val.txt", "valid.txt", "test.txt", "notes.txt"))
_MOST_NAMES = 100_000


def read(
    files: Sequence[Path], root: Path, mistakes: Mistakes, classes: Path | None = None
) -> Iterator[OwnPicture]:
    """Pictures of text files.

    Args:
        files: The text files.
        root: Folder that they were found in.
        mistakes: Where mistakes go.
        classes: File of names; by default one that lies in the root or near it.

    Raises:
        Sg2ImError: If there is no list of names.
    """
    names_file = classes or find_names(root)
    if names_file is None:
        raise Sg2ImError(
            f"{root} has YOLO text files but no list of names: put data.yaml or classes.txt there, "
            "or name the list with --classes."
        )
    names, keypoints, folders = _names(names_file)
    listed = _listed_splits(root)
    for path in files:
        parts = list(path.relative_to(root).with_suffix("").parts)
        # Pictures lie in a folder `images` where labels lie in a folder `labels`.
        for position in range(len(parts) - 2, -1, -1):
            if parts[position] == "labels":
                parts[position] = "images"
                break
        picture = OwnPicture(
            "/".join(parts),
            path.parent,
            str(path),
            split=_split(parts, folders) or split_named(path, root) or listed.get(path.stem),
            key=path.stem,
            any_suffix=True,
        )
        try:
            lines = read_text(path).splitlines()
        except Sg2ImError as error:
            mistakes.add(str(error))
            continue
        position = 0
        for count, line in enumerate(lines, 1):
            words = line.split()
            if not words:
                continue
            found = _object(words, names, keypoints, f"line {count} of {path}", mistakes)
            if found is not None:
                found.key = str(position)
                picture.objects.append(found)
            position += 1
        yield picture


def find_names(root: Path) -> Path | None:
    """The list of names of a folder of YOLO's."""
    for folder in (root, root.parent):
        for name in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", *_NAME_LISTS):
            if (folder / name).is_file():
                return folder / name
        for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
            try:
                content = read_yaml(path)
            except Sg2ImError:
                continue
            if isinstance(content, dict) and "names" in content:
                return path
    found = [path for path in files_below(root, ".txt", ".names", ".labels", ".yaml", ".yml")
             if path.name in (*_NAME_LISTS, "data.yaml")]  # fmt: skip
    return found[0] if found else None


def find(root: Path) -> list[Path]:
    """Text files below a folder, if they look like YOLO's."""
    labels = [path for path in files_below(root, ".txt") if path.name not in _NO_LABELS]
    labels = [path for path in labels if not _is_readme(path)]
    names = find_names(root)
    looks = any(_is_label(path) for path in labels[:200])
    if not looks and not (names is not None and names.name != "labels.txt"):
        return []
    return labels


def lists_of(root: Path) -> tuple[Path, ...]:
    """The list of names of a folder, and lists of pictures that are named after splits."""
    names = find_names(root)
    lists = [path for path in files_below(root, ".txt") if split_called(path.stem)]
    return (*([] if names is None else [names]), *lists)


def _is_readme(path: Path) -> bool:
    return path.name.lower().startswith(("readme", "license"))


def _is_label(path: Path) -> bool:
    with path.open("rb") as file:
        words = file.read(4096).split(b"\n")[0].split()
    return len(words) >= 5 and numbers([w.decode("ascii", "replace") for w in words]) is not None


def _split(parts: Sequence[str], folders: dict[str, str]) -> str | None:
    """The split that data.yaml names the folder of a picture for."""
    place = "/".join(parts[:-1])
    for folder, split in folders.items():
        # Folders of another computer may stand before either.
        if f"/{place}/".startswith(f"/{folder}/") or f"/{folder}".endswith(f"/{place or '.'}"):
            return split
    return None


def _listed_splits(root: Path) -> dict[str, str]:
    """Splits of pictures by their stems, from lists of their paths (train.txt) as CVAT has them."""
    splits = {}
    for path in files_below(root, ".txt"):
        split = split_called(path.stem)
        if split is not None and not _is_label(path):
            for line in read_text(path).splitlines():
                if line.strip():
                    splits[PurePosixPath(line.strip().replace("\\", "/")).stem] = split
    return splits


def _names(path: Path) -> tuple[list[str], bool, dict[str, str]]:
    """Names by their numbers, whether labels have points of a pose, and splits by the folders of
    their pictures."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        found: Any = [line for line in read_text(path).splitlines() if line.strip()]
        content: dict[Any, Any] = {}
    else:
        content = read_yaml(path)
        found = content.get("names") if isinstance(content, dict) else None
    if isinstance(found, dict):
        numbered = {identity(key): name for key, name in found.items()}
        found = [numbered.get(str(i)) for i in range(min(len(numbered), _MOST_NAMES))]
    names = [clean_name(name) for name in found] if isinstance(found, list) else []
    if not names or None in names or len(names) > _MOST_NAMES:
        raise Sg2ImError(
            f"{path} has no list of names: expected is a name on each line, or in data.yaml "
            "'names' as a list or as numbers from 0 with names."
        )
    folders: dict[str, str] = {}
    for key, places in content.items():
        split = split_called(key)
        for place in places if isinstance(places, list) else [places]:
            parts = [
                p for p in str(place).replace("\\", "/").split("/") if p not in ("", ".", "..")
            ]
            if split is not None and place is not None and parts:
                folders.setdefault("/".join(parts), split)
    return [str(name) for name in names], "kpt_shape" in content, folders


def _object(
    words: Sequence[str], names: Sequence[str], keypoints: bool, where: str, mistakes: Mistakes
) -> OwnObject | None:
    category, values = identity(words[0]), numbers(words[1:])
    if values is None or category is None or len(values) < 4:
        mistakes.add(
            f"The {where} is {shortened(' '.join(words))!r}: expected are a number of a name and "
            "four numbers (middle x, middle y, width, height), or the corners of a polygon."
        )
        return None
    if not category.isdigit() or len(category) > 9 or int(category) >= len(names):
        known = clean_name(category)
        if known not in names:
            mistakes.add(
                f"The {where} has the category {shortened(category)}, but there are {len(names)} "
                "names, numbered from 0."
            )
            return None
        name = str(known)
    else:
        name = names[int(category)]
    if max(map(abs, values[:4])) > 2:
        mistakes.add(
            f"The {where} has positions beyond the picture ({shortened(' '.join(words[1:5]))}): "
            "expected are parts of the picture from 0 to 1, not pixels."
        )
        return None
    # With a confidence behind it, a box has five numbers.
    if len(values) < 6 or keypoints:
        x, y, width, height = values[:4]
        if width < 0 or height < 0:
            mistakes.add(f"The {where} has a box of negative width or height.")
            return None
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return OwnObject(name, box, None, relative=True, where=where)
    if len(values) % 2:
        mistakes.add(f"The {where} has a polygon with half a corner: its numbers must be pairs.")
        return None
    return OwnObject(name, None, [values], relative=True, where=where)
