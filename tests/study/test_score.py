"""Scores of simulated studies: participants with known habits give back the known figures."""

import json
import random
from collections import Counter
from dataclasses import replace
from itertools import combinations, product
from math import comb, prod, sqrt

import pytest

from sg2im_pyg.study.options import ScoreOptions
from sg2im_pyg.study.questions import Answer, RightChoices
from sg2im_pyg.study.score import score_study

from .simulation import attentive, inattentive, make_study, take_part

OPTIONS = ScoreOptions(study="")
OURS = {frozenset(("ours", "other")): {"ours": 1.0, "other": 0.0}}
ALL = attentive(OURS, {"ours": 1.0, "other": 0.0})
NONE = attentive(
    {frozenset(("ours", "other")): {"ours": 0.0, "other": 1.0}}, {"ours": 0, "other": 1}
)


def wilson(count, of, z=1.959963984540054):
    p = count / of
    centre, spread = p + z * z / (2 * of), z * sqrt(p * (1 - p) / of + (z / (2 * of)) ** 2)
    return [(centre + sign * spread) / (1 + z * z / of) for sign in (-1, 1)]


def same(share, count, of):
    return (share["count"], share["of"]) == (count, of) and [
        share["low"],
        share["high"],
    ] == pytest.approx(wilson(count, of))


# Known figures ---------------------------------------------------------------------------------


def test_answers_given_by_hand(tmp_path):
    """Of five captions the majority prefers ours in three; sheep are seen in one of two."""
    study = make_study(tmp_path, scenes=5, checks=0)
    captions = [q for q in study.questions if q.kind == "caption"]
    votes = [3, 3, 2, 1, 0]  # of three, for ours
    answers = []
    for question, count in zip(captions, votes, strict=True):
        ours = question.systems.index("ours")
        for number in range(3):
            choice = (str(ours if number < count else 1 - ours),)
            answers.append(Answer(f"p{number}", number, question.id, choice, 2000, True))
    # Of ours the first choice is ticked by all, the second by two, the third by one of them.
    listed = [q for q in study.questions if q.kind == "objects" and q.systems == ("ours",)]
    for question in listed:
        for number in range(3):
            ticked = tuple(f"c{k}" for k in range(1, 4 - number))
            answers.append(Answer(f"p{number}", number, question.id, ticked, 4000, True))
    score = score_study(study, answers, OPTIONS)

    [row] = score["caption"]
    assert row["systems"] == ["ours", "other"]
    assert (row["questions"], row["wins"], row["ties"]) == (5, [3, 2], 0)
    assert row["votes"] == [9, 6]
    assert same(row["preferred"][0], 3, 5) and same(row["preferred"][1], 2, 5)
    assert row["p_value"] == pytest.approx(1.0)
    # Agreement by hand: all pairs in two of five, one of three pairs in two, all in the last.
    observed = (1 + 1 + 1 / 3 + 1 / 3 + 1) / 5
    chance = (9 / 15) ** 2 + (6 / 15) ** 2
    assert row["kappa"] == pytest.approx((observed - chance) / (1 - chance))

    ours, other = score["objects"]["systems"]
    seen = [choice for q in listed for choice in q.choices[:2]]
    assert same(ours["all"], 10, 20)
    things = [choice for q in listed for choice in q.choices if choice.thing]
    assert same(ours["things"], sum(c.thing for c in seen), len(things))
    assert same(ours["stuff"], sum(not c.thing for c in seen), 20 - len(things))
    assert other["all"]["of"] == 0 and other["kappa"] is None
    for row in score["objects"]["groups"]:
        own = [choice for q in listed for choice in q.choices if choice.category == row["name"]]
        assert same(row["systems"][0], sum(c in seen for c in own), len(own))
        assert {choice.thing for choice in own} == {row["thing"]}
    things_first = [row["thing"] for row in score["objects"]["groups"]]
    assert things_first == sorted(things_first, reverse=True)
    assert score["questions"] == {
        "all": 25,
        "answered": 10,
        "too_few_votes": 0,
        "fewest_votes": 3,
        "most_votes": 3,
    }
    assert score["answers"]["median_seconds"] == 3.0
    json.dumps(score, allow_nan=False)


def test_a_simulated_study_gives_back_its_figures(tmp_path):
    """200 participants, of whom 40 look at nothing and 10 others leave early."""
    study = make_study(
        tmp_path, scenes=60, checks=9, questions_per_person=60, checks_per_person=6, seed=3
    )
    chances = {frozenset(("ours", "other")): {"ours": 0.75, "other": 0.25}}
    person = attentive(chances, {"ours": 0.8, "other": 0.3})
    drawn = random.Random(5).sample(range(200), 50)
    habits = [inattentive if number in drawn[:40] else person for number in range(200)]
    early = dict.fromkeys(drawn[40:], 20)
    score = score_study(study, take_part(study, habits, seed=1, stop=early), OPTIONS)
    assert score["participants"] == {
        "all": 200,
        "counted": 150,
        "failed_checks": 40,
        "unfinished": 10,
        "without_an_answer": 0,
    }
    assert score["answers"]["votes"] == 150 * 60
    assert score["answers"]["checks"] == score["answers"]["checks_passed"] == 150 * 6
    [row] = score["caption"]
    low, high = wilson(row["votes"][0], sum(row["votes"]), 3.3)
    assert low < 0.75 < high and sum(row["votes"]) == pytest.approx(150 * 12, rel=0.02)
    # Of about 30 votes with 3 of 4 for ours, the majority is not for ours in one case of 200.
    assert row["questions"] == 60 and row["wins"][0] >= 57 and row["p_value"] < 1e-12
    assert abs(row["kappa"]) < 0.05  # votes do not depend on the question, given the chance
    ours, other = score["objects"]["systems"]
    assert ours["all"]["share"] > 0.97 and other["all"]["share"] < 0.05
    assert score["answers"]["first_picture_chosen"]["share"] == pytest.approx(0.5, abs=0.04)

    whole = score_study(
        study, take_part(study, habits, seed=1, stop=early), replace(OPTIONS, unfinished=True)
    )
    assert whole["participants"]["counted"] == 160 and whole["participants"]["unfinished"] == 0
    careless = score_study(study, take_part(study, habits, seed=1), replace(OPTIONS, pass_checks=0))
    assert careless["participants"]["failed_checks"] == 0


def test_who_looks_at_nothing_pulls_figures_to_chance_and_checks_keep_them_out(tmp_path):
    study = make_study(tmp_path, scenes=30, checks=6)
    habits = [ALL] * 4 + [inattentive] * 8
    answers = take_part(study, habits)
    kept = score_study(study, answers, OPTIONS)
    assert kept["caption"][0]["wins"] == [30, 0]
    assert [row["all"]["share"] for row in kept["objects"]["systems"]] == [1, 0]
    assert kept["caption"][0]["kappa"] is None  # all votes are for one system
    loose = score_study(study, answers, replace(OPTIONS, pass_checks=0))
    assert loose["caption"][0]["wins"][0] < 30
    assert [row["all"]["share"] for row in loose["objects"]["systems"]] == [1, 1]


def test_majorities_need_more_than_half(tmp_path):
    study = make_study(tmp_path, scenes=6, checks=3)
    score = score_study(study, take_part(study, [ALL, NONE, ALL, NONE]), OPTIONS)
    [row] = score["caption"]
    assert (row["wins"], row["ties"]) == ([0, 0], 6)
    assert row["preferred"][0]["share"] is None and row["p_value"] is None
    assert all(entry["all"]["count"] == 0 for entry in score["objects"]["systems"])
    assert row["kappa"] == pytest.approx(-1 / 3)  # 2 of 6 pairs agree, and chance gives a half


def test_what_only_one_system_shows_is_tested(tmp_path):
    study = make_study(tmp_path, scenes=6, checks=3)
    score = score_study(study, take_part(study, [ALL, ALL, ALL]), OPTIONS)
    for kind, each in (("objects", 4), ("relations", 3)):
        [pair] = score[kind]["pairs"]
        assert pair["only"] == [6 * each, 0]
        assert pair["p_value"] == pytest.approx(2 * 0.5 ** (6 * each))
    predicates = Counter(
        choice.predicate
        for q in study.questions
        if q.kind == "relations" and q.check is None and q.systems == ("ours",)
        for choice in q.choices
    )
    for row in score["relations"]["groups"]:
        assert row["systems"][0]["of"] == row["systems"][0]["count"] == predicates[row["name"]]
        assert row["systems"][1]["count"] == 0


def test_more_than_two_systems(tmp_path):
    names = ("a", "b", "c", "d")
    study = make_study(tmp_path, scenes=8, systems=names)
    chances = {  # in the order of the alphabet the earlier one always wins
        frozenset(pair): {pair[0]: 1.0, pair[1]: 0.0} for pair in combinations(names, 2)
    }
    person = attentive(chances, {"a": 1, "b": 0, "c": 1, "d": 0})
    score = score_study(study, take_part(study, [person] * 3), OPTIONS)
    assert [row["systems"] for row in score["caption"]] == [list(p) for p in combinations(names, 2)]
    assert all(row["wins"] == [8, 0] for row in score["caption"])
    p = 2 * 0.5**8
    assert [row["p_value"] for row in score["caption"]] == pytest.approx([p] * 6)
    assert [row["p_holm"] for row in score["caption"]] == pytest.approx([6 * p] * 6)
    assert [row["all"]["share"] for row in score["objects"]["systems"]] == [1, 0, 1, 0]
    assert [pair["only"] for pair in score["objects"]["pairs"]] == [
        [32, 0],
        [0, 0],
        [32, 0],
        [0, 32],
        [0, 0],
        [32, 0],
    ]


# Answers that can not be -----------------------------------------------------------------------


def test_answers_that_can_not_be_are_counted_apart(tmp_path):
    study = make_study(tmp_path, scenes=6, questions_per_person=10, checks_per_person=3)
    good = take_part(study, [ALL, ALL])
    clean = score_study(study, good, OPTIONS)
    own = {answer.question for answer in good if answer.number == 0}
    other = next(q for q in study.questions if q.id not in own)
    caption = next(a for a in good if a.number == 0 and study.by_id[a.question].kind == "caption")
    listed = next(a for a in good if a.number == 0 and study.by_id[a.question].kind == "objects")
    hostile = [
        replace(caption, question="q99999"),
        replace(caption, question="'; DROP TABLE answers; --"),
        replace(caption, question=other.id),
        replace(caption, number=1),
        replace(caption, choice=("1" if caption.choice == ("0",) else "0",)),
        replace(listed, choice=("c1", "c1")),
        replace(listed, choice=("c999",)),
        replace(caption, choice=("2",)),
        replace(caption, choice=()),
        replace(caption, choice=("0", "1")),
        replace(caption, participant="minus", number=-1),
        replace(caption, participant="far", number=10**40, question="x"),
    ]
    score = score_study(study, [*good, *hostile], OPTIONS)
    assert score["answers"]["refused"] == {
        "answered before": 1,
        "no such choice": 5,
        "no such question": 3,
        "not asked of this participant": 3,
    }
    assert score["answers"]["all"] == len(good) + len(hostile)
    assert score["participants"]["without_an_answer"] == 2
    assert all(score[kind] == clean[kind] for kind in ("caption", "objects", "relations"))
    assert score["answers"]["votes"] == clean["answers"]["votes"] == 20


def test_the_first_answer_counts(tmp_path):
    study = make_study(tmp_path, scenes=4, checks=0)
    answers = take_part(study, [ALL]) + take_part(study, [NONE])  # the same participant again
    score = score_study(study, answers, OPTIONS)
    assert score["caption"][0]["wins"] == [4, 0]
    assert score["answers"]["refused"] == {"answered before": len(study.questions)}


def test_no_answers_at_all(tmp_path):
    study = make_study(tmp_path, scenes=4)
    score = score_study(study, [], OPTIONS)
    assert score["participants"]["all"] == 0 and score["caption"][0]["questions"] == 0
    assert score["objects"]["groups"] == [] and score["answers"]["median_seconds"] is None


def test_questions_with_few_votes_can_be_left_out(tmp_path):
    study = make_study(tmp_path, scenes=10, questions_per_person=30, checks=0)
    answers = take_part(study, [ALL] * 4)  # 50 questions: each is asked two or three times
    counts = Counter(answer.question for answer in answers)
    few = sum(count == 2 for count in counts.values())
    score = score_study(study, answers, replace(OPTIONS, least_votes=3))
    assert 0 < few < 50
    assert score["questions"]["too_few_votes"] == few
    assert score["questions"]["answered"] == 50 - few


@pytest.mark.parametrize(
    ("right", "wrong", "passes"), [(4, 0, 1), (3, 1, 1), (2, 0, 1), (2, 1, 0), (4, 4, 0), (0, 0, 0)]
)
def test_when_a_check_with_names_is_passed(tmp_path, right, wrong, passes):
    study = make_study(tmp_path, kinds=("objects",), checks=1)
    [check] = [q for q in study.questions if q.check is not None]
    assert isinstance(check.check, RightChoices) and len(check.check.right) == 4
    ticked = (*check.check.right[:right], *check.check.wrong[:wrong])
    entry = Answer("p", 0, check.id, ticked, 1000, True)
    score = score_study(study, [entry], OPTIONS)
    assert score["participants"]["counted"] == passes
    assert score["participants"]["failed_checks"] == 1 - passes


def test_how_likely_it_is_to_pass_by_chance():
    """What docs/studies.md says of somebody who ticks and chooses at random."""
    names = sum(comb(4, a) * comb(4, b) for a in range(5) for b in range(5) if (a - b) / 4 >= 0.5)
    chance = names / 2**8
    assert chance == pytest.approx(0.145, abs=5e-4)
    for checks, passes in (
        (
            [0.5, 0.5, chance, chance, chance],
            0.02,
        ),  # of all kinds, two captions
        ([0.5] * 5, 0.19),  # captions alone
    ):
        outcomes = list(product((0, 1), repeat=5))
        likely = [prod(p if o else 1 - p for p, o in zip(checks, some)) for some in outcomes]
        enough = sum(p for p, some in zip(likely, outcomes, strict=True) if sum(some) >= 4)
        assert enough == pytest.approx(passes, abs=0.005)
