"""A study: its questions, who is asked which of them in which order, and its file.

A study is a folder: study.json, and the pictures that it names. The file says which system made
which picture, and is never sent to a participant.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.system.files import write_json
from sg2im_pyg.system.options import check_options, option

FILE = "study.json"
FORMAT = "sg2im_pyg study"
VERSION = 1

Kind = Literal["caption", "objects", "relations"]
KINDS: tuple[Kind, ...] = ("caption", "objects", "relations")
"""Which of two pictures fits a caption; which objects, or relations, are seen in a picture."""

TRUE, SHUFFLED = "true", "shuffled"
"""What stands for the systems of an attention check."""

_PICTURE = re.compile(r"pictures/[0-9a-f]{8,64}\.png")
_NAME = re.compile(r"[0-9A-Za-z_-]{1,32}")
_MOST_BYTES = 2**26
_MOST_QUESTIONS, _MOST_CHOICES, _MOST_SYSTEMS = 100_000, 200, 100
_LONGEST = 5_000  # characters of a text

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """A name, or a relation, that can be ticked."""

    id: str
    text: str
    """What a participant reads, such as :obj:`"sheep inside grass"`."""
    category: str | None = None
    """Category of an object; none for relations."""
    thing: bool | None = None
    """Whether an object is a thing rather than stuff, where that is known."""
    predicate: str | None = None
    """Predicate of a relation."""


@dataclass(frozen=True)
class RightChoices:
    """What is right and what is wrong in an attention check, as ids of its choices."""

    right: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question: two pictures and a caption, or one picture and choices to tick."""

    id: str
    kind: Kind
    scene: int = option(0, least=0, most=2**63 - 1)
    """Position of the scene in its split."""
    text: str = ""
    """The caption."""
    pictures: tuple[str, ...] = ()
    """Paths in the folder; two for a caption."""
    systems: tuple[str, ...] = ()
    """Which system made each picture."""
    choices: tuple[Choice, ...] = ()
    check: int | RightChoices | None = None
    """The right answer of an attention check: the position of a picture, or choices."""

    @property
    def places(self) -> int:
        """How many things there are to be put in an order: pictures, or choices."""
        return len(self.pictures if self.kind == "caption" else self.choices)


class Presented(NamedTuple):
    """A question as a participant is asked it."""

    question: Question
    order: tuple[int, ...]
    """Positions of its pictures (caption), or of its choices, in the order that they are shown."""


@dataclass(frozen=True)
class Answer:
    """What a participant answered to a question."""

    participant: str
    """A random code."""
    number: int
    """The participant's running number."""
    question: str
    """Id of the question."""
    choice: tuple[str, ...]
    """For a caption :obj:`("0",)` or :obj:`("1",)`, the position of the picture in the question,
    whatever side it was shown on; otherwise the ids of the choices that were ticked."""
    milliseconds: int
    """Time that it took."""
    completed: bool
    """Whether the participant answered all of their questions in the end."""


@dataclass(frozen=True)
class Study:
    """The questions of a study.

    Questions are asked in turns, in the order in which they stand: after any number of
    participants no question was asked twice more often than another, and :func:`Study.assignment`
    says what each of them sees.
    """

    title: str
    seed: int = option(0, least=0, most=2**32 - 1)
    """Fixes what each participant sees."""
    command: str = ""
    """The command that made it."""
    systems: tuple[str, ...] = ()
    """Names of the systems."""
    pictures_of: str = ""
    """What the pictures are of: a split."""
    questions_per_person: int = option(1, least=1, most=_MOST_QUESTIONS)
    """Questions of each participant, attention checks apart; all of them where there are fewer."""
    checks_per_person: int = option(0, least=0, most=_MOST_QUESTIONS)
    """Attention checks of each participant; all of them where there are fewer."""
    questions: tuple[Question, ...] = ()
    """Questions and attention checks."""

    def assignment(self, number: int) -> list[Presented]:
        """What a participant is asked, in this order.

        It follows from the seed and the number alone. Each participant is asked the questions that
        follow, in the study's order, on those of the participant before, and after the last one
        begins again with the first. In every second turn of a question its pictures stand on each
        other's side, and its choices move on by one place a turn. Questions of a kind are asked
        together, and the attention checks of the kind are spread among them.

        Args:
            number: Running number of the participant, from 0.
        """
        asked = [
            self._presented(question, turn)
            for pool, count in (
                ([q for q in self.questions if q.check is None], self.questions_per_person),
                ([q for q in self.questions if q.check is not None], self.checks_per_person),
            )
            for question, turn in _in_turns(pool, min(count, len(pool)), number)
        ]
        key = (self.seed, "participant", number)
        ordered: list[Presented] = []
        for kind in _shuffled(KINDS, *key):
            own = [entry for entry in asked if entry.question.kind == kind]
            checks = [entry for entry in own if entry.question.check is not None]
            others = [entry for entry in own if entry.question.check is None]
            ordered += _spread(
                _shuffled(others, *key, "questions"), _shuffled(checks, *key, "checks"), key
            )
        return ordered

    @cached_property
    def by_id(self) -> dict[str, Question]:
        """All questions by their ids."""
        return {question.id: question for question in self.questions}

    def _presented(self, question: Question, turn: int) -> Presented:
        count = question.places
        if question.kind == "caption":
            order, moved = range(count), turn % 2
        else:
            round_, moved = divmod(turn, max(count, 1))
            order = _shuffled(range(count), self.seed, question.id, round_)
        return Presented(question, (*order[moved:], *order[:moved]))


def _in_turns(pool: Sequence[Question], count: int, number: int) -> list[tuple[Question, int]]:
    """The questions of a participant, and how often each was asked before."""
    first = number * count
    return [(pool[place % len(pool)], place // len(pool)) for place in range(first, first + count)]


def _shuffled(items: Sequence[T], *key: object) -> list[T]:
    """Items in an order that follows from the key, the same in every version of Python."""
    keys = [sha256(repr((*key, place)).encode()).digest() for place in range(len(items))]
    return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]


def _spread(
    others: list[Presented], checks: list[Presented], key: tuple[object, ...]
) -> list[Presented]:
    """Checks among other questions: one somewhere in each of so many equal parts of the list."""
    whole = list(others)
    total = len(others) + len(checks)
    for place, check in enumerate(checks):
        begin, end = (total * k // len(checks) for k in (place, place + 1))
        drawn = int.from_bytes(sha256(repr((*key, "place", place)).encode()).digest()[:8], "big")
        whole.insert(begin + drawn % (end - begin), check)
    return whole


# The file --------------------------------------------------------------------------------------


def write_study(study: Study, folder: Path) -> Path:
    """Writes study.json; the pictures must be there already.

    Raises:
        Sg2ImError: If :func:`read_study` would not read it.
    """
    _check_study(study, folder)
    path = folder / FILE
    write_json(path, {"format": FORMAT, "version": VERSION, **asdict(study)}, indent=1)
    return path


def read_study(folder: Path) -> Study:
    """Reads the study of a folder. The file may come from anywhere: nothing in it is believed
    without a look, and its pictures are files of the folder.

    Raises:
        Sg2ImError: If the file or a picture is missing, or an entry is none of a study.
    """
    path = folder / FILE
    if not path.is_file():
        raise Sg2ImError(
            f"There is no {FILE} in {folder}: give the folder of a study, made with "
            "eval/study.py make."
        )
    if path.stat().st_size > _MOST_BYTES:
        raise Sg2ImError(f"{path} is larger than {_MOST_BYTES // 2**20} MiB: it is no study.")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Sg2ImError(
            f"{path} is no JSON file, perhaps cut off: make the study anew."
        ) from error
    if not isinstance(entries, dict) or entries.pop("format", None) != FORMAT:
        raise Sg2ImError(f"{path} is no study: its entry 'format' must be {FORMAT!r}.")
    version = entries.pop("version", None)
    if version != VERSION:
        raise Sg2ImError(
            f"{path} is a study of version {shortened(repr(version))}; this library reads version "
            f"{VERSION}: make it anew, or use the library that it was made with."
        )
    try:
        study = _study_from(entries)
        _check_study(study, folder)
    except Sg2ImError as error:
        raise Sg2ImError(f"{path} can not be read: {error}") from error
    return study


def _study_from(entries: Mapping[str, Any]) -> Study:
    study = _from_entries(Study, entries, "")
    questions = []
    for number, given in enumerate(_listed(study.questions, "questions", _MOST_QUESTIONS)):
        where = f"questions[{number}]."
        question = _from_entries(Question, given, where)
        choices = tuple(
            _from_entries(Choice, choice, f"{where}choices[{k}].")
            for k, choice in enumerate(_listed(question.choices, f"{where}choices", _MOST_CHOICES))
        )
        check: Any = question.check
        if isinstance(check, Mapping):
            check = _from_entries(RightChoices, check, f"{where}check.")
        questions.append(_replaced(question, choices=choices, check=check))
    return _replaced(study, questions=tuple(questions))


def _from_entries(kind: type[T], entries: Any, where: str) -> T:
    """A dataclass of entries by name; lists become tuples."""
    if not isinstance(entries, Mapping):
        raise Sg2ImError(f"{where.rstrip('.') or 'it'} must be a JSON object.")
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(entries) - set(known))
    if unknown:
        raise Sg2ImError(f"{where}{shortened(unknown[0])} is no entry of a study.")
    needed = ("id", "text") if kind is Choice else tuple(known)
    for name in needed:
        if name not in entries:
            raise Sg2ImError(f"{where}{name} is missing.")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
    return kind(**values)


def _replaced(entry: T, **changes: Any) -> T:
    return type(entry)(**{f.name: getattr(entry, f.name) for f in fields(entry)} | changes)  # type: ignore[arg-type]


def _listed(given: Any, name: str, most: int) -> tuple[Any, ...]:
    if not isinstance(given, tuple) or len(given) > most:
        raise Sg2ImError(f"{name} must be a list of at most {most:,} entries.")
    return given


def _check_study(study: Study, folder: Path) -> None:
    check_options(study)
    _check_texts("", title=study.title, command=study.command, pictures_of=study.pictures_of)
    names = study.systems
    if not 1 <= len(names) <= _MOST_SYSTEMS or len({*names, TRUE, SHUFFLED}) != len(names) + 2:
        raise Sg2ImError(
            f"systems must be 1 to {_MOST_SYSTEMS} different names, none of them {TRUE!r} or "
            f"{SHUFFLED!r}."
        )
    for place, name in enumerate(names):
        _check_texts("", **{f"systems[{place}]": name})
    if all(question.check is not None for question in study.questions):
        raise Sg2ImError("questions must hold at least one that is no attention check.")
    seen: set[str] = set()
    inside = folder.resolve() / "pictures"
    for number, question in enumerate(study.questions):
        where = f"questions[{number}]."
        check_options(question, where)
        if not _NAME.fullmatch(question.id) or question.id in seen:
            raise Sg2ImError(
                f"{where}id must be letters and digits, at most 32, and no other question's."
            )
        seen.add(question.id)
        _check_texts(where, text=question.text)
        _check_pictures(question, names, where, folder, inside)
        _check_choices(question, where)


def _check_pictures(
    question: Question, names: Sequence[str], where: str, folder: Path, inside: Path
) -> None:
    count = 2 if question.kind == "caption" else 1
    if len(question.pictures) != count or len(question.systems) != count:
        raise Sg2ImError(
            f"{where}pictures and {where}systems must be lists of {count}, as its kind is "
            f"{question.kind}."
        )
    for picture in question.pictures:
        path = folder / picture
        if not _PICTURE.fullmatch(picture):
            raise Sg2ImError(
                f"{where}pictures must be such as pictures/0123456789abcdef.png, got "
                f"{shortened(repr(picture))}."
            )
        if not path.is_file() or path.resolve().parent != inside:
            raise Sg2ImError(f"{where}pictures: there is no file {picture} in {folder}.")
    allowed = names if question.check is None else (TRUE, SHUFFLED)
    for name in question.systems:
        if name not in allowed:
            raise Sg2ImError(f"{where}systems: {shortened(repr(name))} is none of {list(allowed)}.")


def _check_choices(question: Question, where: str) -> None:
    ids = [choice.id for choice in question.choices]
    for number, choice in enumerate(question.choices):
        place = f"{where}choices[{number}]."
        check_options(choice, place)
        if not _NAME.fullmatch(choice.id) or ids.count(choice.id) > 1:
            raise Sg2ImError(
                f"{place}id must be letters and digits, at most 32, and no other choice's."
            )
        others = {"category": choice.category or "", "predicate": choice.predicate or ""}
        _check_texts(place, text=choice.text, **others)
    if question.kind == "caption":
        if ids:
            raise Sg2ImError(f"{where}choices must be empty, as its kind is caption.")
        if question.check is not None and question.check not in (0, 1):
            raise Sg2ImError(f"{where}check must be null, 0 or 1, as its kind is caption.")
        return
    if not ids:
        raise Sg2ImError(f"{where}choices must hold at least one, as its kind is {question.kind}.")
    if isinstance(question.check, RightChoices):
        check_options(question.check, f"{where}check.")
        right, wrong = set(question.check.right), set(question.check.wrong)
        if not right or not wrong or right & wrong or not right | wrong <= set(ids):
            raise Sg2ImError(
                f"{where}check must name choices that are right, and others that are wrong."
            )
    elif question.check is not None:
        raise Sg2ImError(f"{where}check must be null, or hold the lists right and wrong.")


def _check_texts(where: str, **texts: str) -> None:
    for name, text in texts.items():
        if len(text) > _LONGEST or not all(c.isprintable() or c in "\n\t" for c in text):
            raise Sg2ImError(
                f"{where}{name} must be a text of at most {_LONGEST:,} characters without control "
                "characters."
            )
