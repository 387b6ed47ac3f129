"""Files of scene graphs in JSON, and graphs that grow step by step.

A graph of a file is a JSON object (see :meth:`SceneGraph.from_json`) or a text (see
:meth:`SceneGraph.from_text`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sg2im_pyg.data.graph_forms import in_one_form, is_graph, told_unknown, unknown_names
from sg2im_pyg.data.language.lexicon import Kind
from sg2im_pyg.data.language.reader import read_text
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError

MOST_BYTES = 64 * 2**20
"""Of a graph file; some 100,000 graphs."""
_MOST_ENTRIES = 5_000_000
"""Of lists and objects in it; each takes up to a hundred bytes of memory."""

_MOST_TOLD = 10  # graphs of which one sentence tells what is wrong


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
    if isinstance(entries, dict) and not is_graph(entries):
        graphs = list(entries.values())
        if graphs and all(map(is_graph, graphs)):  # by numbers of pictures, as GQA has them
            entries = graphs
    is_list = isinstance(entries, list)
    if is_list and not entries:
        raise Sg2ImError(f"{path} holds an empty list: give at least one scene graph.")
    return entries if is_list else [entries], is_list


def checked_graphs(
    entries: Sequence[Any], source: str, is_list: bool, vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Graphs in the one form that :func:`grow` takes and :meth:`SceneGraph.from_json` accepts.

    Args:
        entries: The graphs, JSON objects or texts.
        source: What they come from, such as a file, in a sentence about it.
        is_list: Whether they stand in a list there.
        vocabulary: The names that they may use.

    Raises:
        Sg2ImError: If one is wrong. Names that are not in the vocabulary, and texts that are not
            understood, are told of all graphs at once.
    """
    from sg2im_pyg.data.scene_graph import SceneGraph  # takes seconds: it imports torch

    forms: list[Any] = []
    texts: list[str] = []
    unknown: dict[tuple[Kind, str], list[str]] = {}
    for i, graph in enumerate(entries):
        try:
            if isinstance(graph, str):
                graph = read_text(graph, vocabulary)
            elif isinstance(graph, Mapping):
                graph = in_one_form(graph, vocabulary)
        except Sg2ImError as error:
            texts.append(f"graph {i}: {error}" if is_list else str(error))
            continue
        forms.append(graph)
        if isinstance(graph, Mapping):
            for missing in unknown_names(graph, vocabulary):
                unknown.setdefault(missing, []).append(f"graph {i}")
    if len(unknown) > 1 or (unknown and texts):
        beside = {
            key: f"{_named_places(places)}; " if is_list else "" for key, places in unknown.items()
        }
        texts.insert(0, told_unknown(beside, vocabulary))
    if texts:
        told = " ".join(texts[:_MOST_TOLD])
        more = f" ({len(texts) - _MOST_TOLD} more are wrong.)" if len(texts) > _MOST_TOLD else ""
        comma = ", " if is_list and not unknown else ": "
        raise Sg2ImError(f"{source}{comma}{told}{more}")
    for i, graph in enumerate(forms):
        try:
            SceneGraph.from_json(graph, vocabulary)
        except Sg2ImError as error:
            place = f"{source}, graph {i}" if is_list else source
            raise Sg2ImError(f"{place}: {error}") from error
    return forms


def _named_places(places: Sequence[str]) -> str:
    """The first of the places, and how many there are."""
    several = len(dict.fromkeys(places))
    return places[0] + (f" and {several - 1} more" if several > 1 else "")


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
