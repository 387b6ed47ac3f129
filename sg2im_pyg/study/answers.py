"""The answers of a study, in SQLite or PostgreSQL: what was acknowledged is not lost, and each
question is answered once by each participant.

SQLite runs in WAL mode and waits for the disk at each commit (``synchronous=FULL``), as PostgreSQL
does by itself: a process that is killed, or a power cut, takes nothing that was acknowledged. Of a
person nothing is kept but a random code.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.study.answer_files import MOST_MILLISECONDS, read_answer, read_csv
from sg2im_pyg.study.questions import Answer, Question, Study
from sg2im_pyg.system.lazy import packages_of

with packages_of("study"):
    import sqlalchemy as sql
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

T = TypeVar("T")

DATABASE = "answers.sqlite"
"""File in a study's folder."""

_CODE = re.compile(r"[0-9a-f]{32}")

_TABLES = sql.MetaData()
_FACTS = sql.Table(
    "study",
    _TABLES,
    sql.Column("name", sql.String(32), primary_key=True),
    sql.Column("value", sql.String(200), nullable=False),
)
_PARTICIPANTS = sql.Table(
    "participants",
    _TABLES,
    sql.Column("place", sql.Integer, primary_key=True, autoincrement=True),  # from 1
    sql.Column("code", sql.String(32), nullable=False, unique=True),
    sql.Column("questions", sql.Integer, nullable=False),  # that they are asked
    sql.Column("completion", sql.String(64), nullable=False),
    sqlite_autoincrement=True,  # a place is never given twice
)
_ANSWERS = sql.Table(
    "answers",
    _TABLES,
    sql.Column("place", sql.ForeignKey("participants.place"), primary_key=True),
    sql.Column("question", sql.String(32), primary_key=True),
    sql.Column("choice", sql.Text, nullable=False),  # a JSON list
    sql.Column("milliseconds", sql.Integer, nullable=False),
)


class Participant(NamedTuple):
    """Somebody who takes part."""

    number: int
    """Running number, from 0."""
    questions: int
    """How many questions they are asked."""
    answered: frozenset[str]
    """Ids of those that they have answered."""
    completion: str
    """Code that says that they have answered all, for a crowd platform."""

    @property
    def is_done(self) -> bool:
        return len(self.answered) >= self.questions


class Counts(NamedTuple):
    """How far a study is."""

    participants: int
    completed: int
    answers: int


class Unavailable(Exception):
    """The database can not be reached or written to just now: nothing was kept."""


class Answers:
    """The answers of one study, to be written.

    Args:
        url: Database; see :func:`database_url`.
        study: What is asked.

    Raises:
        Sg2ImError: If the database can not be opened, or holds the answers of another study.
    """

    def __init__(self, url: URL, study: Study) -> None:
        self.study = study
        self.assignment = lru_cache(4096)(study.assignment)
        """What each participant is asked, by their number."""
        self._engine = _engine(url)
        is_sqlite = url.get_backend_name() == "sqlite"
        self._insert: Any = sqlite.insert if is_sqlite else postgresql.insert
        with _readable(url):
            _TABLES.create_all(self._engine)
            if self.fact("study", study_key(study)) != study_key(study):
                raise Sg2ImError(
                    f"{_shown(url)} holds the answers of another study, or the study was made anew "
                    "since: give another --database, or move the old answers away."
                )

    def fact(self, name: str, otherwise: str) -> str:
        """Something that is kept with the answers: what it was the first time."""
        with self.transaction() as connection:
            connection.execute(
                self._insert(_FACTS).values(name=name, value=otherwise).on_conflict_do_nothing()
            )
            return str(connection.scalar(sql.select(_FACTS.c.value).where(_FACTS.c.name == name)))

    @contextmanager
    def transaction(self) -> Iterator[sql.Connection]:
        """A transaction: at its end, what was written in it is on the disk, or none of it.

        Raises:
            Unavailable: If it can not be kept just now.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise Unavailable(first_line(error)) from error

    def together(self, works: Sequence[Callable[[sql.Connection], T]]) -> list[T | Exception]:
        """Does several things in one transaction, so that the disk is waited for once.

        Returns:
            What each gave, or the :class:`ValueError` or :class:`LookupError` that it raised,
            which those of this class do before they write.

        Raises:
            Unavailable: If nothing of it can be kept just now.
        """
        found: list[T | Exception] = []
        with self.transaction() as connection:
            for work in works:
                try:
                    found.append(work(connection))
                except (ValueError, LookupError) as error:
                    found.append(error)
        return found

    def begin(self, connection: sql.Connection, code: str, most: int) -> Participant | None:
        """Lets somebody take part, or go on.

        Args:
            connection: Of a transaction.
            code: Their random code of 32 hexadecimal digits, which they have drawn.
            most: Participants that the study wants.

        Returns:
            Who they are; none where there are enough already.

        Raises:
            ValueError: If the code is none.
        """
        if not _CODE.fullmatch(code):
            raise ValueError("participant must be a code of 32 hexadecimal digits.")
        known = self._find(connection, code)
        if known is not None:
            return known
        count = sql.select(sql.func.count()).select_from(_PARTICIPANTS)
        if int(connection.scalar(count) or 0) >= most:
            return None
        insert = self._insert(_PARTICIPANTS).values(
            code=code,
            questions=0,  # follows from the place, which is not known yet
            completion=f"{secrets.token_hex(2)}-{secrets.token_hex(2)}".upper(),
        )
        connection.execute(insert.on_conflict_do_nothing())
        own = _PARTICIPANTS.c.code == code
        place = connection.scalar(sql.select(_PARTICIPANTS.c.place).where(own))
        asked = len(self.assignment(int(place or 1) - 1))
        connection.execute(sql.update(_PARTICIPANTS).where(own).values(questions=asked))
        return self._find(connection, code)

    def keep(
        self, connection: sql.Connection, code: str, answers: Sequence[Mapping[str, Any]]
    ) -> Participant:
        """Keeps answers. The first answer to a question counts, also where it comes again.

        Args:
            connection: Of a transaction, at whose end they are on the disk.
            code: Whose they are.
            answers: Each with ``question``, ``choice`` and ``milliseconds``.

        Raises:
            LookupError: If nobody has this code.
            ValueError: If one of them is none to a question that they are asked; none is kept.
        """
        known = self._find(connection, code) if _CODE.fullmatch(code) else None
        if known is None:
            raise LookupError(code)
        asked = {entry.question.id for entry in self.assignment(known.number)}
        rows = []
        for answer in answers:
            question, choice, milliseconds = checked_answer(self.study, answer)
            if question.id not in asked:
                raise ValueError(f"question {question.id} is none that you are asked.")
            rows.append(
                {
                    "place": known.number + 1,
                    "question": question.id,
                    "choice": json.dumps(choice),
                    "milliseconds": milliseconds,
                }
            )
        if rows:
            connection.execute(self._insert(_ANSWERS).on_conflict_do_nothing(), rows)
        return known._replace(answered=self._answered(connection, known.number + 1))

    def counts(self) -> Counts:
        """How many take part, how many are done, and how many answers there are."""
        per_person = (
            sql.select(_PARTICIPANTS.c.questions, sql.func.count(_ANSWERS.c.question))
            .select_from(_PARTICIPANTS.outerjoin(_ANSWERS))
            .group_by(_PARTICIPANTS.c.place, _PARTICIPANTS.c.questions)
        )
        with self.transaction() as connection:
            rows = connection.execute(per_person).all()
        return Counts(len(rows), sum(n >= of for of, n in rows), sum(n for _, n in rows))

    def close(self) -> None:
        """Lets the database go."""
        self._engine.dispose()

    def _find(self, connection: sql.Connection, code: str) -> Participant | None:
        rows = sql.select(_PARTICIPANTS).where(_PARTICIPANTS.c.code == code)
        row = connection.execute(rows).one_or_none()
        if row is None:
            return None
        answered = self._answered(connection, row.place)
        return Participant(row.place - 1, row.questions, answered, row.completion)

    def _answered(self, connection: sql.Connection, place: int) -> frozenset[str]:
        rows = sql.select(_ANSWERS.c.question).where(_ANSWERS.c.place == place)
        return frozenset(connection.scalars(rows))


def checked_answer(
    study: Study, answer: Mapping[str, Any]
) -> tuple[Question, tuple[str, ...], int]:
    """An answer that somebody sent: its question, choice and milliseconds.

    Raises:
        ValueError: If there is no such question, or the choice is none of its own.
    """
    if not isinstance(answer, Mapping):
        raise ValueError("an answer must have question, choice and milliseconds.")
    name, choice = answer.get("question"), answer.get("choice")
    question = study.by_id.get(name) if isinstance(name, str) else None
    if question is None:
        raise ValueError("question must be the id of a question.")
    own = [entry.id for entry in question.choices] or [
        str(k) for k in range(len(question.pictures))
    ]
    if not isinstance(choice, (list, tuple)) or not all(isinstance(c, str) for c in choice):
        raise ValueError("choice must be a list of texts.")
    if len(set(choice)) != len(choice) or not set(choice) <= set(own):
        raise ValueError(f"choice must be some of those of question {question.id}, each once.")
    if question.kind == "caption" and len(choice) != 1:
        raise ValueError(f"choice must be one picture of question {question.id}.")
    milliseconds = answer.get("milliseconds")
    if type(milliseconds) is not int or milliseconds < 0:
        raise ValueError("milliseconds must be a whole number, at least 0.")
    return question, tuple(sorted(choice, key=own.index)), min(milliseconds, MOST_MILLISECONDS)


def study_key(study: Study) -> str:
    """Tells studies apart by what they ask; the title may change."""
    content = asdict(study)
    asked = {name: content[name] for name in sorted(content) if name not in ("title", "command")}
    return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def database_url(folder: Path, database: str | None = None) -> URL:
    """Where the answers of a study are kept.

    Args:
        folder: The study's.
        database: PostgreSQL, such as ``postgresql://user@host/name``; none: SQLite in the folder.

    Raises:
        Sg2ImError: If it is another address.
    """
    if database is None:
        return URL.create("sqlite", database=str(folder.absolute() / DATABASE))
    try:
        url = make_url(database)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise Sg2ImError(
            "--database must be a PostgreSQL database, such as postgresql://user@host/name."
        )
    return url.set(drivername="postgresql+psycopg")


# Reading ---------------------------------------------------------------------------------------


def read_answers(source: str | Path) -> list[Answer]:
    """All answers of a study, in the order of participants.

    Args:
        source: Folder of the study, a file of SQLite, the address of a PostgreSQL database, or a
            CSV file of answers that a platform gave back (see :mod:`sg2im_pyg.study.export`).

    Raises:
        Sg2ImError: If there are none, or they can not be read.
    """
    path = Path(source)
    if isinstance(source, str) and "://" in source:
        return _read_database(database_url(Path(), source))
    if path.suffix.lower() == ".csv":
        return read_csv(path)
    path = path / DATABASE if path.is_dir() else path
    if not path.is_file():
        raise Sg2ImError(f"There are no answers in {path}: serve the study first.")
    return _read_database(URL.create("sqlite", database=str(path.absolute())))


def _read_database(url: URL) -> list[Answer]:
    engine = _engine(url)
    rows = (
        sql.select(_PARTICIPANTS, _ANSWERS.c.question, _ANSWERS.c.choice, _ANSWERS.c.milliseconds)
        .join_from(_PARTICIPANTS, _ANSWERS)
        .order_by(_PARTICIPANTS.c.place, _ANSWERS.c.question)
    )
    try:
        with _readable(url), engine.connect() as connection:
            found = connection.execute(rows).all()
    finally:
        engine.dispose()
    counts: dict[int, int] = {}
    for row in found:
        counts[row.place] = counts.get(row.place, 0) + 1
    return [
        read_answer(
            {
                "participant": row.code,
                "number": row.place - 1,
                "question": row.question,
                "choice": row.choice,
                "milliseconds": row.milliseconds,
                "completed": counts[row.place] >= row.questions,
            },
            _shown(url),
        )
        for row in found
    ]


# Databases -------------------------------------------------------------------------------------


def _engine(url: URL) -> sql.Engine:
    if url.get_backend_name() == "sqlite":
        # One connection, used in turn: SQLite has one lock for writing.
        engine = sql.create_engine(url, pool_size=1, max_overflow=0)
        sql.event.listen(engine, "connect", _prepare_sqlite)
        return engine
    with packages_of("postgresql"):
        return sql.create_engine(
            url, pool_size=2, max_overflow=0, pool_pre_ping=True, connect_args=_POSTGRESQL
        )


_POSTGRESQL = {"connect_timeout": 10, "options": "-c synchronous_commit=on"}


def _prepare_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")
    [mode] = cursor.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise Sg2ImError("SQLite can not use WAL here: put the study on a disk of this computer.")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


@contextmanager
def _readable(url: URL) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, NoSuchModuleError, Unavailable) as error:
        reason = first_line(getattr(error, "orig", None) or error)
        raise Sg2ImError(f"{_shown(url)} can not be opened as a database ({reason}).") from error


def _shown(url: URL) -> str:
    """A database for a sentence, without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql").render_as_string(hide_password=True)
