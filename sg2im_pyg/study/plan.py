"""Which questions a study has, in which order, and on which side a system's picture stands."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

from sg2im_pyg.study.questions import (
    SHUFFLED,
    TRUE,
    Choice,
    Kind,
    Question,
    RightChoices,
    shuffled,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    """What can be asked about a scene."""

    scene: int
    """Position in the split."""
    caption: str
    objects: tuple[Choice, ...]
    relations: tuple[Choice, ...]

    def choices(self, kind: Kind) -> tuple[Choice, ...]:
        """What can be ticked; nothing where pictures are matched with a caption."""
        return {"caption": (), "objects": self.objects, "relations": self.relations}[kind]


def plan_questions(
    contents: Sequence[Content],
    systems: Sequence[str],
    pictures: Mapping[tuple[str, int], str],
    kinds: Iterable[Kind],
    seed: int,
) -> list[Question]:
    """The questions of a study without its attention checks, in the order in which they are asked.

    Wherever somebody begins in it, a stretch of it has kinds, systems and pairs of systems about
    equally often, and a scene comes again within its kind only after all other scenes have come.
    Each system of a pair stands first as often as the other one, but for one question.

    Args:
        contents: What is asked about.
        systems: Names of the systems.
        pictures: Path of a system's picture of a scene.
        kinds: What is asked.
        seed: Fixes the order.
    """
    series = []
    for kind in kinds:
        asked = [c for c in contents if kind == "caption" or c.choices(kind)]
        groups = list(combinations(systems, 2)) if kind == "caption" else [(s,) for s in systems]
        turns = _turns(shuffled(asked, seed, kind), shuffled(groups, seed, kind, "systems"))
        sides = _balanced_sides([group for _, group in turns], seed)
        series.append(
            [
                Question(
                    id="",
                    kind=kind,
                    scene=content.scene,
                    text=content.caption if kind == "caption" else "",
                    pictures=tuple(pictures[system, content.scene] for system in group),
                    systems=group,
                    choices=content.choices(kind),
                )
                for (content, _), group in zip(turns, sides, strict=True)
            ]
        )
    return _merged(series)


def plan_checks(
    contents: Sequence[Content],
    true: Mapping[int, str],
    jumbled: Mapping[int, str],
    wrong: Mapping[int, Content],
    kinds: Iterable[Kind],
    count: int,
    seed: int,
) -> list[Question]:
    """Attention checks, whose right answers are known; kinds take turns.

    Args:
        contents: What is true of each scene.
        true: Path of the true picture of a scene.
        jumbled: Path of the true picture of a scene with its parts shuffled.
        wrong: What is not to be seen in a scene.
        kinds: What is asked.
        count: How many checks there are at most.
        seed: Fixes the order of choices.
    """
    series: list[list[Question]] = []
    for kind in kinds:
        own: list[Question] = []
        for content in contents:
            scene, right = content.scene, content.choices(kind)
            if kind == "caption":
                place = len(own) % 2  # on either side as often
                sides = [(true[scene], TRUE), (jumbled[scene], SHUFFLED)]
                first, second = sides[::-1] if place else sides
                pictures: tuple[str, ...] = (first[0], second[0])
                systems: tuple[str, ...] = (first[1], second[1])
                check: int | RightChoices = place
            else:
                false = wrong[scene].choices(kind)
                number = min(len(right), len(false))
                if not number:
                    continue
                pictures, systems = (true[scene],), (TRUE,)
                right, check = _mixed(right[:number], false[:number], (seed, kind, scene))
            text = content.caption if kind == "caption" else ""
            own.append(Question("", kind, scene, text, pictures, systems, right, check))
        series.append(own)
    return _merged([own[: -(-count // len(series))] for own in series])[:count]


def numbered(questions: Sequence[Question], seed: int) -> tuple[Question, ...]:
    """Questions with ids that do not tell which of them are attention checks."""
    numbers = shuffled(range(1, len(questions) + 1), seed, "ids")
    return tuple(
        replace(question, id=f"q{number:05}")
        for number, question in zip(numbers, questions, strict=True)
    )


def _mixed(
    right: Sequence[Choice], wrong: Sequence[Choice], key: tuple[object, ...]
) -> tuple[tuple[Choice, ...], RightChoices]:
    """Right and wrong choices with ids that do not tell one from the other."""
    mixed = shuffled([(c, c in right) for c in (*right, *wrong)], *key)
    choices = [replace(choice, id=f"c{k}") for k, (choice, _) in enumerate(mixed, 1)]
    ids = [
        tuple(new.id for new, (_, is_right) in zip(choices, mixed, strict=True) if is_right is side)
        for side in (True, False)
    ]
    return tuple(choices), RightChoices(*ids)


def _turns(
    contents: Sequence[Content], groups: Sequence[tuple[str, ...]]
) -> list[tuple[Content, tuple[str, ...]]]:
    """Each scene with each group of systems once; neighbours have other scenes and groups."""
    return [
        (content, groups[(place + turn) % len(groups)])
        for turn in range(len(groups))
        for place, content in enumerate(contents)
    ]


def _balanced_sides(groups: Sequence[tuple[str, ...]], seed: int) -> list[tuple[str, ...]]:
    """Groups of systems in such orders that each of a pair is first as often as the other, and
    then each system of all."""
    firsts: Counter[tuple[str, ...]] = Counter()
    surplus: Counter[str] = Counter()  # how much oftener a system stood first than second
    ordered = []
    for place, group in enumerate(groups):
        if len(group) == 2:
            ways = shuffled([group, group[::-1]], seed, "sides", place)
            group = min(ways, key=lambda way: (firsts[way], surplus[way[0]] - surplus[way[1]]))
            firsts[group] += 1
            surplus[group[0]] += 1
            surplus[group[1]] -= 1
        ordered.append(group)
    return ordered


def _merged(series: Sequence[Sequence[T]]) -> list[T]:
    """Several lists as one, in which the entries of each lie equally far apart."""
    places = [
        ((place + 0.5) / len(entries), number, entry)
        for number, entries in enumerate(series)
        for place, entry in enumerate(entries)
    ]
    return [entry for *_, entry in sorted(places, key=lambda place: place[:2])]
