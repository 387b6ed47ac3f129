"""The order of questions, sides, and attention checks, by counting."""

from collections import Counter
from itertools import combinations

import pytest

from sg2im_pyg.study.questions import KINDS, RightChoices

from .simulation import make_study


def asked(study):
    return [question for question in study.questions if question.check is None]


@pytest.mark.parametrize("systems", [("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d", "e")])
def test_each_scene_is_asked_once_of_each_system_and_pair(tmp_path, systems):
    study = make_study(tmp_path, scenes=9, systems=systems)
    captions = Counter((q.scene, frozenset(q.systems)) for q in asked(study) if q.kind == "caption")
    pairs = [frozenset(pair) for pair in combinations(systems, 2)]
    assert captions == {(scene, pair): 1 for scene in range(9) for pair in pairs}
    for kind in ("objects", "relations"):
        found = Counter((q.scene, q.systems) for q in asked(study) if q.kind == kind)
        assert found == {(scene, (name,)): 1 for scene in range(9) for name in systems}


@pytest.mark.parametrize("systems", [("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d")])
@pytest.mark.parametrize("scenes", [1, 7, 20])
def test_sides_are_balanced(tmp_path, systems, scenes):
    study = make_study(tmp_path, scenes=scenes, systems=systems)
    captions = [q for q in asked(study) if q.kind == "caption"]
    for pair in combinations(systems, 2):
        orders = Counter(q.systems for q in captions if set(q.systems) == set(pair))
        assert abs(orders[pair] - orders[pair[::-1]]) <= 1
    for name in systems:
        sides = [Counter(q.systems[side] for q in captions)[name] for side in (0, 1)]
        assert abs(sides[0] - sides[1]) <= 1
    # Also while the study is not yet done.
    first = Counter(q.systems[0] for q in captions[: len(captions) // 2])
    second = Counter(q.systems[1] for q in captions[: len(captions) // 2])
    assert all(abs(first[name] - second[name]) <= 2 for name in systems)


def test_any_stretch_of_the_order_is_a_mixture(tmp_path):
    study = make_study(tmp_path, scenes=20)  # 20 captions, 40 objects, 40 relations
    questions = asked(study)
    for begin in range(0, len(questions) - 30, 7):
        stretch = questions[begin : begin + 30]
        kinds = Counter(q.kind for q in stretch)
        assert abs(kinds["caption"] - 6) <= 1 and abs(kinds["objects"] - 12) <= 1
        for kind in ("objects", "relations"):
            own = [q for q in stretch if q.kind == kind]
            assert len({q.scene for q in own}) == len(own)  # no scene twice
            shown = Counter(q.systems for q in own)
            assert abs(shown["ours",] - shown["other",]) <= 3


def test_a_seed_fixes_everything(tmp_path):
    assert make_study(tmp_path / "a", seed=4) == make_study(tmp_path / "b", seed=4)
    others = [make_study(tmp_path / str(seed), seed=seed) for seed in range(3)]
    orders = {tuple((q.kind, q.scene, q.systems) for q in study.questions) for study in others}
    assert len(orders) == 3


def test_checks_are_of_all_kinds_on_either_side_and_have_right_and_wrong_answers(tmp_path):
    study = make_study(tmp_path, scenes=12, checks=12)
    checks = [q for q in study.questions if q.check is not None]
    assert Counter(q.kind for q in checks) == dict.fromkeys(KINDS, 4)
    assert sorted(q.check for q in checks if q.kind == "caption") == [0, 0, 1, 1]
    for question in checks:
        if question.kind == "caption":
            assert question.systems[question.check] == "true"
            assert question.systems[1 - question.check] == "shuffled"
        else:
            assert isinstance(question.check, RightChoices)
            texts = {choice.id: choice.text for choice in question.choices}
            false = ("zebra", "kite", "sofa", "cake")
            assert not any(texts[name].startswith(false) for name in question.check.right)
            assert all(texts[name].startswith(false) for name in question.check.wrong)
            assert len(question.check.right) == len(question.check.wrong) > 2


def test_ids_do_not_tell_what_is_a_check(tmp_path):
    study = make_study(tmp_path, scenes=12, checks=12)
    places = [q.check is not None for q in sorted(study.questions, key=lambda q: q.id)]
    assert not all(places[-12:]) and not any(
        places[k : k + 6] == [True] * 6 for k in range(len(places))
    )
    right = [q.check.right for q in study.questions if isinstance(q.check, RightChoices)]
    first = Counter(choice for ids in right for choice in ids)
    assert first["c1"] < len(right)  # right choices do not always come first


def test_kinds_can_be_left_out(tmp_path):
    study = make_study(tmp_path, kinds=("objects",))
    assert {q.kind for q in study.questions} == {"objects"}
