"""Files of scene graphs in JSON, and graphs that grow step by step.

Graphs are kept as they stand in the file; :meth:`SceneGraph.from_json` checks and converts them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import Sg2ImError

MOST_BYTES = 64 * 2**20
"""Of a graph file; some 100,000 graphs."""
_MOST_ENTRIES = 5_000_000
"""Of lists and objects in it; each takes up to a hundred bytes of memory."""


def read_graphs(path: Path) -> tuple[list[Any], bool]:
    """The graphs of a file, not yet checked, and whether the file holds a list.

    Raises:
        Sg2ImError: If there is no such file, or it is no JSON; with the place of the mistake.
    """
    if path.is_dir():
        raise Sg2ImError(f"{path} is a folder: give a JSON file of scene graphs.")
    if not path.is_file():
        raise Sg2ImError(f"There is no graph file {path}: check the path.")
    if path.stat().st_size > MOST_BYTES:
        raise Sg2ImError(
            f"{path} has {path.stat().st_size / 2**20:.0f} MiB, more than the "
            f"{MOST_BYTES // 2**20} MiB that a graph file may have: split it."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        if sum(map(text.count, "[{,")) > _MOST_ENTRIES:
            raise Sg2ImError(
                f"{path} has more than {_MOST_ENTRIES:,} entries, more than a graph file may have: "
                "split it."
            )
        entries = json.loads(text)
    except UnicodeDecodeError as error:
        raise Sg2ImError(
            f"{path} is no UTF-8 text (byte {error.start}): save it as JSON in UTF-8."
        ) from error
    except json.JSONDecodeError as error:
        raise Sg2ImError(
            f"{path}, line {error.lineno}, column {error.colno}: this is no JSON "
            f"({error.msg}): correct it there."
        ) from error
    except Sg2ImError:
        raise
    except (RecursionError, ValueError) as error:  # lists in lists in lists; endless numbers
        raise Sg2ImError(
            f"{path} is no file of scene graphs: it has thousands of brackets in each other or a "
            "number of thousands of digits."
        ) from error
    is_list = isinstance(entries, list)
    if is_list and not entries:
        raise Sg2ImError(f"{path} holds an empty list: give at least one scene graph.")
    return entries if is_list else [entries], is_list


def count_steps(entries: Mapping[str, Any]) -> int:
    """The number of steps in which :func:`grow` makes a graph."""
    return len(entries["objects"]) + len(entries.get("relationships", []))


def grow(entries: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps in which a graph grows: its first object, then one object or relationship more at
    a time. Objects come in their order, each relationship once both of its objects are there.

    Examples:
        >>> graph = {"objects": ["sky", "sea"], "relationships": [[0, "above", 1]]}
        >>> [(step["objects"], step["relationships"]) for step in grow(graph)]
        [(['sky'], []), (['sky', 'sea'], []), (['sky', 'sea'], [[0, 'above', 1]])]
    """
    objects = entries["objects"]
    of_objects = {
        key: entries[key]
        for key in ("objects", "attributes", "seeds")
        if entries.get(key) is not None
    }
    waiting: dict[int, list[Any]] = {}
    for relationship in entries.get("relationships", []):
        subject, _, obj = relationship
        waiting.setdefault(max(subject, obj), []).append(relationship)
    there: list[Any] = []
    for last in range(len(objects)):
        own = {key: names[: last + 1] for key, names in of_objects.items()}
        yield {**own, "relationships": there}
        for relationship in waiting.get(last, []):
            there = [*there, relationship]
            yield {**own, "relationships": there}
