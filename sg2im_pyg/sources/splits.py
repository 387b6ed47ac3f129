"""Which split the names of files and folders say, in the words of annotation tools."""

import re
from pathlib import Path
from typing import Any

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_named(path: Path, root: Path) -> str | None:
    """The split that a file's name, or a folder between it and the root, says.

    Examples:
        >>> split_named(Path("data/valid/_annotations.coco.json"), Path("data"))
        'val'
        >>> split_named(Path("test/instances_train2017.json"), Path("test"))
        'train'
        >>> split_named(Path("test/instances_default.json"), Path("test"))
    """
    folders = path.parent.relative_to(root).parts if path.is_relative_to(root) else ()
    for part in (path.stem, *reversed(folders)):
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part).lower()
        for word in re.findall(r"[a-z]+", spaced):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def split_called(name: Any) -> str | None:
    """The split of a name such as ``Validation``; none where it is no name of one.

    Examples:
        >>> split_called("VALID"), split_called("all")
        ('val', None)
    """
    return _SPLITS.get(str(name).strip().lower()) if isinstance(name, str) else None
