"""Lists of the numbers of pictures, such as those of COCO-Stuff's challenge of 2017."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import Sg2ImError, shortened

_MOST_BYTES = 2**26  # all of COCO takes less than two million
# A number, perhaps with zeros before it, or the name of COCO's picture.
_NUMBER = re.compile(r"(?:COCO_\w+_)?(\d{1,18})(?:\.jpe?g)?", re.ASCII | re.IGNORECASE)


def id_files(files: Iterable[str]) -> list[Path]:
    """The files of a list, which must be there.

    Raises:
        Sg2ImError: If one is missing, or too large to be a list of numbers.
    """
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise Sg2ImError(
                f"There is no list of pictures {path}: give a file with one number a line, or a "
                "JSON list of numbers."
            )
        if path.stat().st_size > _MOST_BYTES:
            raise Sg2ImError(
                f"The list of pictures {path} has more than {_MOST_BYTES:,} bytes: give a file "
                "with nothing but numbers of pictures."
            )
    return paths


def read_image_ids(files: Sequence[str]) -> set[int]:
    """The numbers that files list, one a line or as a JSON list. Names of COCO's pictures, which
    end in numbers, stand for them.

    Raises:
        Sg2ImError: If a file is missing, lists anything else, or lists nothing.
    """
    found: set[int] = set()
    for path in id_files(files):
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
            listed: list[Any] = json.loads(text) if text.startswith(("[", "{")) else text.split()
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise Sg2ImError(
                f"The list of pictures {path} is neither text in UTF-8 nor valid JSON: give one "
                "number a line, or a JSON list of numbers."
            ) from error
        if not isinstance(listed, list) or not listed:
            raise Sg2ImError(
                f"{path} lists no picture: give one number a line, or a JSON list of numbers."
            )
        for entry in listed:
            match = None if isinstance(entry, bool) else _NUMBER.fullmatch(str(entry))
            if match is None:
                raise Sg2ImError(
                    f"The list of pictures {path} has the entry {shortened(repr(entry))}: expected "
                    "are numbers of pictures, one a line or as a JSON list."
                )
            found.add(int(match[1]))
    return found
