"""Studies with known contents, and participants with known habits, for tests."""

import random
from collections.abc import Callable
from pathlib import Path

from sg2im_pyg.study.plan import Content, numbered, plan_checks, plan_questions
from sg2im_pyg.study.questions import KINDS, Answer, Choice, Question, RightChoices, Study

NAMES = ("boat", "sheep", "sky", "grass", "water", "tree")
STUFF = ("sky", "grass", "water")
PREDICATES = ("above", "inside", "left of")

Habit = Callable[[Question, random.Random], tuple[str, ...]]


def objects(names):
    return tuple(Choice(f"c{k}", name, name, name not in STUFF) for k, name in enumerate(names, 1))


def relations(names, more=""):
    return tuple(
        Choice(f"c{k}", f"{a}{more} {PREDICATES[k % 3]} {b}", predicate=PREDICATES[k % 3])
        for k, (a, b) in enumerate(zip(names, names[1:]), 1)
    )


def make_study(
    folder: Path,
    scenes: int = 12,
    systems: tuple[str, ...] = ("ours", "other"),
    checks: int = 6,
    seed: int = 0,
    kinds=KINDS,
    **changes,
) -> Study:
    """A study as `make` plans it, with empty files for pictures."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    count = 0

    def picture() -> str:
        nonlocal count
        count += 1
        name = f"pictures/{count:08x}.png"
        (folder / name).touch()
        return name

    contents, wrong = [], {}
    for scene in range(scenes):
        names = [NAMES[(scene + k) % len(NAMES)] for k in range(4)]
        contents.append(Content(scene, f"caption {scene}", objects(names), relations(names)))
        false = ["zebra", "kite", "sofa", "cake"]
        wrong[scene] = Content(scene, "", objects(false), relations(false))
    pictures = {(name, scene): picture() for name in systems for scene in range(scenes)}
    true, jumbled = ({scene: picture() for scene in range(scenes)} for _ in range(2))
    asked = plan_questions(contents, systems, pictures, kinds, seed)
    checked = plan_checks(contents, true, jumbled, wrong, kinds, checks, seed)
    options = {
        "title": "A study",
        "seed": seed,
        "systems": systems,
        "pictures_of": "nothing",
        "questions_per_person": len(asked),
        "checks_per_person": len(checked),
        "questions": numbered([*asked, *checked], seed),
    }
    return Study(**{**options, **changes})


def attentive(preferred: dict[frozenset[str], dict[str, float]], seen: dict[str, float]) -> Habit:
    """Somebody who passes every check, prefers a system of a pair with a known chance, and ticks
    what a system shows with a known chance."""

    def answer(question: Question, dice: random.Random) -> tuple[str, ...]:
        if isinstance(question.check, RightChoices):
            return question.check.right
        if question.check is not None:
            return (str(question.check),)
        if question.kind == "caption":
            chances = preferred[frozenset(question.systems)]
            first, second = question.systems
            return (
                str(question.systems.index(first if dice.random() < chances[first] else second)),
            )
        chance = seen[question.systems[0]]
        return tuple(c.id for c in question.choices if dice.random() < chance)

    return answer


def inattentive(question: Question, dice: random.Random) -> tuple[str, ...]:
    """Somebody who looks at nothing: the first picture of the file, or all that can be ticked."""
    if question.kind == "caption":
        return ("0",)
    return tuple(choice.id for choice in question.choices)


def take_part(study: Study, habits: list[Habit], seed: int = 0, stop: dict[int, int] | None = None):
    """The answers of a participant for each habit; some of them stop after so many."""
    dice, answers = random.Random(seed), []
    for number, habit in enumerate(habits):
        entries = study.assignment(number)
        kept = entries[: (stop or {}).get(number, len(entries))]
        answers += [
            Answer(
                f"person-{number}",
                number,
                entry.question.id,
                habit(entry.question, dice),
                dice.randrange(1500, 9000),
                len(kept) == len(entries),
            )
            for entry in kept
        ]
    return answers
