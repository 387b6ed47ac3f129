"""Answers in a database: kept once, kept whole, of this study, and read back."""

import csv
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.study.answers import Answers, Unavailable, database_url, read_answers, study_key
from sg2im_pyg.study.questions import Answer
from tests.needs import skip_or_fail
from tests.study.studies import small_study

CODE = "0123456789abcdef" * 2
OTHER = "f" * 32


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path)


@pytest.fixture
def answers(study, tmp_path):
    opened = Answers(database_url(tmp_path), study)
    yield opened
    opened.close()


def begin(answers, code, most):
    with answers.transaction() as connection:
        return answers.begin(connection, code, most)


def keep(answers, code, entries):
    with answers.transaction() as connection:
        return answers.keep(connection, code, entries)


def given(question, *choice, milliseconds=5):
    return {"question": question, "choice": list(choice), "milliseconds": milliseconds}


def all_given(study, number):
    """An answer to each question of a participant."""
    asked = [entry.question for entry in study.assignment(number)]
    return [given(q.id, "0" if q.kind == "caption" else q.choices[0].id) for q in asked]


def test_the_first_answer_counts_and_is_kept_once(answers, tmp_path):
    assert begin(answers, CODE, 10).number == 0
    assert keep(answers, CODE, [given("c0", "1")]).answered == {"c0"}
    again = keep(answers, CODE, [given("c0", "0"), given("o0", "o2", "o0", milliseconds=7)])
    assert again.answered == {"c0", "o0"} and not again.is_done
    assert read_answers(tmp_path) == [
        Answer(CODE, 0, "c0", ("1",), 5, False),
        Answer(CODE, 0, "o0", ("o0", "o2"), 7, False),
    ]
    assert answers.counts() == (1, 0, 2)


def test_people_have_numbers_one_after_another_and_keep_them(answers, study):
    codes = [f"{k:032x}" for k in range(5)]
    begun = [begin(answers, code, 10) for code in codes]
    assert [participant.number for participant in begun] == [0, 1, 2, 3, 4]
    assert [begin(answers, code, 5) for code in codes] == begun  # also when there are enough
    assert begin(answers, OTHER, 5) is None
    assert all(p.questions == len(study.assignment(p.number)) for p in begun)
    assert len({participant.completion for participant in begun}) == 5


def test_who_has_answered_all_is_done_also_in_what_is_read(answers, study, tmp_path):
    begin(answers, CODE, 10)
    begin(answers, OTHER, 10)
    everything = all_given(study, 0)
    assert not keep(answers, CODE, everything[:-1]).is_done
    assert keep(answers, CODE, everything[-1:]).is_done
    keep(answers, OTHER, everything[:1])
    found = read_answers(str(tmp_path))
    assert {(a.participant, a.completed) for a in found} == {(CODE, True), (OTHER, False)}
    assert answers.counts() == (2, 1, len(everything) + 1)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "c0",
        {},
        {"question": "c0"},
        given("none", "0"),
        given("c0"),
        given("c0", "0", "1"),
        given("c0", "2"),
        given("c0", "-1"),
        given("c0", "0", "0"),
        given("c0", 0),
        given("c0", "0'); drop table answers; --"),
        given("c0", "\ud800"),
        given("o0", "c1"),
        given("o0", "o0", "o0"),
        given("o0", ["o0"]),
        given("o0", "o0", milliseconds=-1),
        given("o0", "o0", milliseconds=1.5),
        given("o0", "o0", milliseconds=True),
        given("o0", "o0", milliseconds="5"),
        given("o0", "o0", milliseconds=None),
        {**given("o0"), "choice": {"o0": 1}},
        {**given("o0"), "choice": "o0"},
        {**given("o0"), "question": ["o0"]},
        {**given("o0"), "question": {"a": 1}},
        {**given("o0"), "question": "o0\x00"},
    ],
    ids=repr,
)
def test_what_is_no_answer_is_refused_and_nothing_of_its_request_is_kept(answers, wrong):
    begin(answers, CODE, 10)
    with pytest.raises(ValueError):
        keep(answers, CODE, [given("c1", "0"), wrong])
    assert answers.counts().answers == 0


@pytest.mark.parametrize(
    "code", ["", "0" * 31, "0" * 33, "g" * 32, "A" * 32, f"{'0' * 32}\n", "٣" * 32]
)
def test_what_is_no_code_is_refused(answers, code):
    with pytest.raises(ValueError):
        begin(answers, code, 10)
    with pytest.raises(LookupError):
        keep(answers, code, [])


def test_only_what_somebody_is_asked_can_be_answered(tmp_path):
    study = small_study(tmp_path, questions_per_person=1, checks_per_person=0)
    answers = Answers(database_url(tmp_path), study)
    begin(answers, CODE, 10)
    [asked] = study.assignment(0)
    other = next(q for q in study.questions if q.id != asked.question.id and q.kind == "caption")
    with pytest.raises(ValueError, match="none that you are asked"):
        keep(answers, CODE, [given(other.id, "0")])
    answers.close()


def test_a_long_time_is_kept_as_the_longest(answers, tmp_path):
    begin(answers, CODE, 10)
    keep(answers, CODE, [given("c0", "0", milliseconds=10**30)])
    assert read_answers(tmp_path)[0].milliseconds == 10**9


def test_sqlite_writes_ahead_and_waits_for_the_disk(answers, tmp_path):
    with answers._engine.connect() as connection:
        assert connection.scalar(sql.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sql.text("PRAGMA synchronous")) == 2  # FULL
    # The file's own mark: later connections are in WAL mode, too.
    assert (tmp_path / "answers.sqlite").read_bytes()[18:20] == b"\x02\x02"


def test_nothing_is_kept_of_a_person_but_the_code(answers, study, tmp_path):
    begin(answers, CODE, 10)
    keep(answers, CODE, all_given(study, 0))
    columns = {}
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        for table in ("study", "participants", "answers"):
            found = connection.execute(f"PRAGMA table_info({table})").fetchall()
            columns[table] = [name for _, name, *_ in found]
    connection.close()
    assert columns == {
        "study": ["name", "value"],
        "participants": ["place", "code", "questions", "completion"],
        "answers": ["place", "question", "choice", "milliseconds"],
    }


def test_a_secret_stays_what_it_was(answers, study, tmp_path):
    assert answers.fact("token", "one") == answers.fact("token", "two") == "one"
    second = Answers(database_url(tmp_path), study)
    assert second.fact("token", "three") == "one"
    second.close()


def test_answers_of_another_study_are_not_mixed_in(answers, study, tmp_path):
    answers.close()
    renamed = replace(study, title="Another title")
    Answers(database_url(tmp_path), renamed).close()
    with pytest.raises(Sg2ImError, match="holds the answers of another study"):
        Answers(database_url(tmp_path), replace(study, seed=4))
    assert study_key(study) == study_key(renamed) != study_key(replace(study, seed=4))


def test_what_is_no_database_is_said_so(study, tmp_path):
    (tmp_path / "answers.sqlite").write_bytes(b"no database, but long enough to be one" * 100)
    for open_it in (read_answers, lambda folder: Answers(database_url(folder), study)):
        with pytest.raises(Sg2ImError, match="can not be opened as a database"):
            open_it(tmp_path)
    (tmp_path / "answers.sqlite").unlink()
    with pytest.raises(Sg2ImError, match="There are no answers in"):
        read_answers(tmp_path)
    assert not (tmp_path / "answers.sqlite").exists()


@pytest.mark.parametrize("name", ["mysql://a", "sqlite:///x", "postgresql", "x://", "http://a", ""])
def test_other_databases_are_refused(name):
    with pytest.raises(Sg2ImError, match="--database must be a PostgreSQL database"):
        database_url(Path(), name)


def test_passwords_are_not_said(study):
    url = database_url(Path(), "postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(Sg2ImError) as caught:
        Answers(url, study)
    assert "secret" not in str(caught.value) and "me:***@127.0.0.1:1/none" in str(caught.value)


def test_what_can_not_be_written_is_not_acknowledged(answers, tmp_path):
    begin(answers, CODE, 10)
    lock = sqlite3.connect(tmp_path / "answers.sqlite", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with answers._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 10")
    with pytest.raises(Unavailable):
        keep(answers, CODE, [given("c0", "0")])
    lock.rollback()
    lock.close()
    keep(answers, CODE, [given("c0", "0")])
    assert len(read_answers(tmp_path)) == 1


def test_what_is_done_together_is_acknowledged_together(answers, study, tmp_path):
    codes = [f"{k:032x}" for k in range(3)]

    def work(code, *entries):
        return lambda connection: answers.keep(connection, code, entries)

    begun = answers.together(
        [lambda connection, c=code: answers.begin(connection, c, 10) for code in codes]
    )
    assert [participant.number for participant in begun] == [0, 1, 2]
    works = [work(codes[0], given("c0", "1")), work(codes[1], given("c0", "2"))]
    works += [work(OTHER, given("c0", "1")), work(codes[2], given("c0", "0"))]
    first, second, third, fourth = answers.together(works)
    assert first.answered == fourth.answered == {"c0"}
    assert isinstance(second, ValueError) and isinstance(third, LookupError)
    assert [a.choice for a in read_answers(tmp_path)] == [("1",), ("0",)]
    # Where the transaction fails, none of them is kept, and all are told so.
    with pytest.raises(Unavailable):
        answers.together(
            [
                work(codes[0], given("c1", "1")),
                lambda connection: connection.exec_driver_sql("no statement"),
            ]
        )
    assert len(read_answers(tmp_path)) == 2


# Files of platforms ----------------------------------------------------------------------------


def test_answers_come_back_from_files_of_platforms(tmp_path):
    expected = [
        Answer(CODE, 3, "c0", ("1",), 5, True),
        Answer(CODE, 3, "o0", (), 9, True),
        Answer(OTHER, 4, "c0", ("0",), 2, True),
    ]
    plain = tmp_path / "plain.csv"
    with plain.open("w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["participant", "number", "question", "choice", "milliseconds", "completed"])
        for a in expected:
            choice = json.dumps(a.choice)
            rows.writerow([a.participant, a.number, a.question, choice, a.milliseconds, "true"])
    assert read_answers(plain) == expected

    def bundle(code, number):
        own = [a for a in expected if a.participant == code]
        entries = [given(a.question, *a.choice, milliseconds=a.milliseconds) for a in own]
        who = {"participant": code, "number": number, "completed": True}
        return json.dumps({**who, "answers": entries})

    results = tmp_path / "results.csv"
    with results.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["HITId", "Answer.answers"])
        rows.writerows([("1", bundle(CODE, 3)), ("2", ""), ("3", bundle(OTHER, 4))])
        rows.writerow(("4", bundle(CODE, 3)))  # handed in twice
    assert read_answers(results) == expected


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a,b\n1,2\n",
        "answers\n{\n",
        "answers\n[]\n",
        "answers\n" + "[" * 2000 + "\n",
        'answers\n"{""participant"": 1, ""number"": 1, ""completed"": 1, ""answers"": [{}]}"\n',
        "participant,number,question,choice,milliseconds,completed\na,b,c,d,e,f\n",
        'participant,number,question,choice,milliseconds,completed\na,1,c,"[1]",5,true\n',
        f"participant,number,question,choice,milliseconds,completed\na,{'9' * 5000},c,[],5,true\n",
        "participant,number,question,choice,milliseconds,completed\na,1\n",
        "\ud8000".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=lambda text: repr(text[:30]),
)
def test_files_that_are_none_are_said_so(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(Sg2ImError, match="a.csv"):
        read_answers(path)
    with pytest.raises(Sg2ImError, match="no file"):
        read_answers(tmp_path / "b.csv")


# PostgreSQL ------------------------------------------------------------------------------------


def find_program(name):
    found = shutil.which(name)
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(debian[-1]) if debian else None)


@pytest.fixture(scope="module")
def postgresql():
    """The address of a PostgreSQL server that runs in a folder of its own."""
    initdb, pg_ctl = find_program("initdb"), find_program("pg_ctl")
    if initdb is None or pg_ctl is None:
        skip_or_fail("PostgreSQL is not installed: on Debian, apt install postgresql.")
    pytest.importorskip("psycopg")
    user = {}
    if os.name == "posix" and os.geteuid() == 0:  # it refuses to run as root
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    folder = tempfile.mkdtemp(prefix="sg2im")
    if user:
        shutil.chown(folder, "nobody", "nogroup")
    data = f"{folder}/data"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(*words):
        with Path(folder, "log").open("ab") as log:
            done = subprocess.run(words, cwd=folder, stdout=log, stderr=log, timeout=120, **user)
        assert done.returncode == 0, Path(folder, "log").read_text(errors="replace")

    Path(folder, "log").touch()
    # Nobody pulls the plug of a test: without fsync it does not wait for the disk.
    options = (
        f"-c fsync=off -c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories="
    )
    try:
        run(initdb, "-N", "-D", data, "-A", "trust", "-U", "study", "-E", "UTF8", "--locale=C")
        run(pg_ctl, "-D", data, "-w", "-o", options, "start")
        yield f"postgresql://study@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [pg_ctl, "-D", data, "-m", "immediate", "stop"], cwd=folder, capture_output=True, **user
        )
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_hundred_people_at_once_in_postgresql(postgresql, study, tmp_path):
    """The same facts as with SQLite, on a real server, written to by several connections."""
    url = database_url(tmp_path, postgresql)
    both = [Answers(url, study), Answers(url, study)]
    codes = [f"{k:032x}" for k in range(100)]

    def take_part(k):
        own = both[k % 2]
        number = begin(own, codes[k], 1000).number
        for answer in all_given(study, number):
            keep(own, codes[k], [answer])
        keep(own, codes[k], [answer])  # sent again, as its acknowledgement was lost
        return number

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(take_part, range(100)))
    assert len(set(numbers)) == 100
    found = read_answers(postgresql)
    expected = {
        (codes[k], number, a["question"], tuple(a["choice"]), 5, True)
        for k, number in enumerate(numbers)
        for a in all_given(study, number)
    }
    assert len(found) == len(expected) and {tuple(vars(a).values()) for a in found} == expected
    assert both[1].counts() == (100, 100, len(expected))
    with pytest.raises(Sg2ImError, match="another study"):
        Answers(url, replace(study, seed=9))
    with pytest.raises(ValueError):
        keep(both[0], codes[0], [given("c0", "0'; drop table answers; --")])
    with both[0]._engine.connect() as connection:
        assert connection.scalar(sql.text("show synchronous_commit")) == "on"
    for answers in both:
        answers.close()
