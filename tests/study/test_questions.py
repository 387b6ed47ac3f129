"""What each participant is asked, and the file of a study, whoever wrote it."""

import json
import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.study.questions import FILE, Choice, Question, read_study, write_study

from .simulation import make_study


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path, questions_per_person=14, checks_per_person=4)  # of 60 and of 6


def test_it_is_read_as_it_was_written(study, tmp_path):
    path = write_study(study, tmp_path)
    assert path == tmp_path / FILE and read_study(tmp_path) == study
    assert read_study(tmp_path).assignment(5) == study.assignment(5)
    entries = json.loads(path.read_text(encoding="utf-8"))
    assert entries["format"] == "sg2im_pyg study" and entries["version"] == 1


# What is asked ---------------------------------------------------------------------------------


def test_each_participant_is_asked_as_many_questions_none_of_them_twice(study):
    for number in [*range(20), 10**9, 10**30]:
        asked = [entry.question for entry in study.assignment(number)]
        assert len({q.id for q in asked}) == len(asked) == 18
        assert sum(q.check is not None for q in asked) == 4
        assert study.assignment(number) == study.assignment(number)


def test_all_are_asked_where_there_are_fewer_than_a_participant_takes(study):
    whole = replace(study, questions_per_person=1000, checks_per_person=1000)
    assert len(whole.assignment(3)) == len(study.questions)
    without = replace(study, checks_per_person=0)
    assert all(entry.question.check is None for entry in without.assignment(1))


def test_questions_are_asked_equally_often_after_any_number_of_participants(study):
    counts = Counter({q.id: 0 for q in study.questions})
    checks = {q.id for q in study.questions if q.check is not None}
    for number in range(50):
        counts.update(entry.question.id for entry in study.assignment(number))
        for some in (checks, counts.keys() - checks):
            asked = [counts[name] for name in some]
            assert max(asked) - min(asked) <= 1


def test_each_picture_is_shown_on_each_side_equally_often(study):
    sides = defaultdict(Counter)
    for number in range(60):  # 14 times each question, 40 times each check
        for question, order in study.assignment(number):
            if question.kind == "caption":
                assert sorted(order) == [0, 1]
                sides[question.id][order] += 1
    assert len(sides) == 14
    for counts in sides.values():
        assert counts[0, 1] == counts[1, 0]


def test_each_choice_stands_in_each_place_equally_often(study):
    places = defaultdict(Counter)
    for number in range(12 * 30):  # 84 times each question, so that 3 and 4 places come out even
        for question, order in study.assignment(number):
            if question.kind != "caption" and question.check is None:
                assert sorted(order) == list(range(question.places))
                places[question.id].update(enumerate(order))
    assert len(places) == 48
    for counts in places.values():
        assert len(set(counts.values())) == 1


def test_orders_differ_between_participants(study):
    whole = replace(study, questions_per_person=60)
    orders = {tuple(e.question.id for e in whole.assignment(n)) for n in range(10)}
    kinds = {whole.assignment(n)[0].question.kind for n in range(30)}
    assert len(orders) == 10 and len(kinds) == 3


def test_kinds_come_together_and_checks_are_spread_among_them(study):
    whole = replace(study, questions_per_person=60, checks_per_person=6)
    for number in range(20):
        asked = [entry.question for entry in whole.assignment(number)]
        changes = sum(a.kind != b.kind for a, b in zip(asked, asked[1:]))
        assert changes == 2
        for kind in ("caption", "objects", "relations"):
            own = [question.check is not None for question in asked if question.kind == kind]
            half = len(own) // 2
            assert sum(own) == 2 and sum(own[:half]) == sum(own[half:]) == 1


# The file --------------------------------------------------------------------------------------


def change(path, value):
    """Puts a value somewhere into a study's entries."""

    def apply(entries):
        *way, last = path
        for step in way:
            entries = entries[step]
        entries[last] = value

    return apply


def first(entries, kind, check):
    return next(
        k
        for k, q in enumerate(entries["questions"])
        if q["kind"] == kind and (q["check"] is not None) is check
    )


def change_first(kind, check, *path_and_value):
    *path, value = path_and_value

    def apply(entries):
        change(["questions", first(entries, kind, check), *path], value)(entries)

    return apply


def add_entry(entries):
    entries["run"] = "rm"


def repeat_an_id(entries):
    entries["questions"][1]["id"] = entries["questions"][0]["id"]


def only_checks(entries):
    entries["questions"] = [q for q in entries["questions"] if q["check"] is not None]


@pytest.mark.parametrize(
    ("change_entries", "said"),
    [
        (change(["format"], "sg2im_pyg"), "its entry 'format' must be"),
        (change(["version"], 2), "a study of version 2"),
        (change(["version"], "9" * 10000), "a study of version"),
        (add_entry, "run is no entry of a study"),
        (change(["seed"], -1), "seed must be a whole number"),
        (change(["seed"], True), "seed must be a whole number"),
        (change(["title"], None), "title must be a text"),
        (change(["title"], "\x1b[2J"), "title must be a text of at most"),
        (change(["title"], "\ud800"), "title must be a text of at most"),
        (change(["title"], "x" * 10**5), "title must be a text of at most"),
        (change(["systems"], []), "systems must be 1 to 100 different names"),
        (change(["systems"], ["ours", "ours"]), "different names"),
        (change(["systems"], ["ours", "other", "true"]), "none of them 'true'"),
        (change(["systems"], ["ours", "ot\nher\x00"]), "systems[1] must be a text"),
        (change(["systems"], "ours"), "systems must be a list of texts"),
        (change(["questions_per_person"], 0), "questions_per_person must be"),
        (change(["questions"], {}), "questions must be a list"),
        (change(["questions"], []), "must hold at least one that is no attention check"),
        (only_checks, "must hold at least one that is no attention check"),
        (change(["questions", 0], None), "questions[0] must be a JSON object"),
        (change(["questions", 0, "id"], "../a"), "questions[0].id must be letters and digits"),
        (change(["questions", 0, "id"], 5), "questions[0].id must be a text"),
        (repeat_an_id, "questions[1].id must be letters and digits, at most 32, and no other"),
        (change(["questions", 0, "kind"], "video"), "kind must be one of caption, objects"),
        (change(["questions", 0, "scene"], -1), "scene must be"),
        (change(["questions", 0, "scene"], 1e400), "scene must be"),
        (change(["questions", 0, "pictures"], "pictures/00000001.png"), "must be a list"),
        (
            change_first("caption", False, "pictures", 0, "../../etc/passwd"),
            "must be such",
        ),
        (change_first("caption", False, "pictures", 0, "/etc/passwd"), "must be such"),
        (
            change_first("caption", False, "pictures", 0, "pictures/ffffffff.png"),
            "there is no file",
        ),
        (change_first("caption", False, "pictures", 0, "pictures/00000001.png\n"), "must be such"),
        (change_first("caption", False, "pictures", ["pictures/00000001.png"]), "lists of 2"),
        (change_first("caption", False, "systems", ["ours", "nobody"]), "'nobody' is none of"),
        (change_first("caption", False, "systems", ["true", "ours"]), "'true' is none of"),
        (change_first("caption", True, "systems", ["ours", "true"]), "'ours' is none of"),
        (change_first("caption", True, "check", 2), "check must be null, 0 or 1"),
        (change_first("caption", True, "check", True), "check must be"),
        (change_first("caption", True, "check", {"right": [], "wrong": []}), "null, 0 or 1"),
        (change_first("objects", True, "check", 0), "hold the lists right and wrong"),
        (change_first("objects", True, "check", {"right": ["c1"], "wrong": []}), "name choices"),
        (
            change_first("objects", True, "check", {"right": ["c1"], "wrong": ["c1"]}),
            "name choices",
        ),
        (change_first("objects", True, "check", {"right": ["c1"], "wrong": ["x"]}), "name choices"),
        (change_first("objects", True, "check", {"right": ["c1"]}), "check.wrong is missing"),
        (change_first("objects", False, "choices", []), "choices must hold at least one"),
        (change_first("objects", False, "choices", 0, "id", ""), "choices[0].id must be letters"),
        (change_first("objects", False, "choices", 0, "id", "c2"), "no other choice's"),
        (change_first("objects", False, "choices", 0, "text", 7), "choices[0].text must be a text"),
        (change_first("objects", False, "choices", 0, "thing", 1), "thing must be true or false"),
        (change_first("objects", False, "choices", 0, "javascript", 1), "no entry of a study"),
        (change_first("caption", False, "choices", [{"id": "a", "text": "b"}]), "must be empty"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(study, tmp_path, change_entries, said):
    path = write_study(study, tmp_path)
    entries = json.loads(path.read_text(encoding="utf-8"))
    change_entries(entries)
    path.write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(Sg2ImError) as error:
        read_study(tmp_path)
    assert said in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 900


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 10**5, b'{"a":' * 10**5, b"[]", b"7", b"\xff\xfe", b"null", b"NaN"],
)
def test_what_is_no_study_at_all(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(Sg2ImError, match="is no"):
        read_study(tmp_path)


def test_no_file_and_a_large_one(tmp_path):
    with pytest.raises(Sg2ImError, match=r"There is no study\.json in"):
        read_study(tmp_path)
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(Sg2ImError, match="larger than 64 MiB"):
        read_study(tmp_path)


def test_any_value_anywhere_is_read_or_refused(study, tmp_path):
    path = write_study(replace(study, questions=study.questions[-8:]), tmp_path)
    text = path.read_text(encoding="utf-8")

    def places(entry, way=()):
        items = entry.items() if isinstance(entry, dict) else enumerate(entry)
        for key, value in items:
            yield (*way, key)
            if isinstance(value, (dict, list)) and len(way) < 5:
                yield from places(value, (*way, key))

    tried = 0
    for way in list(places(json.loads(text)))[::5]:
        for value in (None, [], {}, "", "\x00", -1, 1e999, [[[]]], {"right": 1, "wrong": 2}, True):
            entries = json.loads(text)
            change(way, value)(entries)
            path.write_text(json.dumps(entries), encoding="utf-8")
            tried += 1
            try:
                read_study(tmp_path).assignment(1)
            except Sg2ImError as error:
                assert "\n" not in str(error)  # noqa: PT017
    assert tried > 150


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_picture_that_is_a_link_out_of_the_folder_is_refused(study, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    write_study(study, tmp_path)
    picture = tmp_path / study.questions[0].pictures[0]
    picture.unlink()
    picture.symlink_to(secret)
    with pytest.raises(Sg2ImError, match="there is no file"):
        read_study(tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    (tmp_path / "pictures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Sg2ImError, match="there is no file"):
        read_study(tmp_path)


def test_what_would_not_be_read_is_not_written(study, tmp_path):
    wrong = Question("a", "objects", 0, "", study.questions[0].pictures[:1], ("ours",))
    with pytest.raises(Sg2ImError, match="choices must hold at least one"):
        write_study(replace(study, questions=(wrong,)), tmp_path)
    named = replace(wrong, choices=(Choice("a", "\x07"),))
    with pytest.raises(Sg2ImError, match="text must be a text"):
        write_study(replace(study, questions=(named,)), tmp_path)
    assert not Path(tmp_path / FILE).exists()
