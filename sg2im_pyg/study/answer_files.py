"""Answers of a study as files have them: a row of a CSV file each, or all of a person in a cell."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.study.questions import Answer

MOST_MILLISECONDS = 10**9
"""About eleven days; a longer time is kept as this."""

_MOST_BYTES = 2**28  # of a CSV file
_COLUMNS = ("participant", "number", "question", "choice", "milliseconds", "completed")


def read_csv(path: Path) -> list[Answer]:
    """Answers as rows of a CSV file, or, as platforms give them back, all of a participant's as
    JSON in one cell.

    Raises:
        Sg2ImError: If there is no such file, or it is of another kind.
    """
    if not path.is_file():
        raise Sg2ImError(f"There is no file {path}: give the answers that the platform gave back.")
    if path.stat().st_size > _MOST_BYTES:
        raise Sg2ImError(f"{path} is larger than {_MOST_BYTES // 2**20} MiB: split it.")
    kept: dict[tuple[str, str], Answer] = {}  # the first answer of a participant counts
    try:
        csv.field_size_limit(2**24)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            names = rows.fieldnames or []
            bundles = [name for name in names if name.lower().endswith("answers")]
            if not set(_COLUMNS) <= set(names) and not bundles:
                raise Sg2ImError(
                    f"{path} has neither the columns {', '.join(_COLUMNS)} nor one whose name ends "
                    "with 'answers': give the file that the platform gave back."
                )
            for row in rows:
                for entry in _entries(row, bundles, f"{path}, line {rows.line_num}"):
                    kept.setdefault((entry.participant, entry.question), entry)
    except (UnicodeDecodeError, csv.Error) as error:
        raise Sg2ImError(f"{path} is no CSV file in UTF-8 ({first_line(error)}).") from error
    return sorted(kept.values(), key=lambda a: (a.number, a.participant, a.question))


def _entries(row: Mapping[str, Any], bundles: Sequence[str], place: str) -> Iterator[Answer]:
    if not bundles:
        yield read_answer(row, place)
        return
    for name in bundles:
        if not row[name]:
            continue  # somebody who never handed anything in
        try:
            bundle = json.loads(row[name])
            of_all = {key: bundle[key] for key in ("participant", "number", "completed")}
            entries = [{**of_all, **answer} for answer in bundle["answers"]]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Sg2ImError(f"{place}: {name} holds no answers of a study.") from error
        yield from (read_answer(entry, place) for entry in entries)


def read_answer(entry: Mapping[str, Any], place: str) -> Answer:
    """An answer from elsewhere: its texts are checked, as files and databases come from anywhere.

    Args:
        entry: Its fields; the choice as a list or as JSON, numbers as texts, too.
        place: Where it stands, for a sentence.

    Raises:
        Sg2ImError: If one of them is missing or of another kind.
    """
    try:
        choice = entry["choice"]
        choice = json.loads(choice) if isinstance(choice, str) else choice
        texts = [entry["participant"], entry["question"], *choice]
        numbers = int(entry["number"]), int(entry["milliseconds"])
        if not all(isinstance(text, str) and 0 < len(text) <= 64 for text in texts):
            raise ValueError("texts")
        if not all(0 <= number <= MOST_MILLISECONDS for number in numbers):
            raise ValueError("numbers")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        shown = shortened(repr(entry.get("question")))
        raise Sg2ImError(f"{place}: the answer to question {shown} can not be read.") from error
    completed = str(entry.get("completed")).lower() in ("true", "1", "yes")
    return Answer(texts[0], numbers[0], texts[1], tuple(choice), numbers[1], completed)
