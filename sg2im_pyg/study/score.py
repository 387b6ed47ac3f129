"""Counts the answers of a study: whose answers count, majorities, recall, agreement."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, Literal

from sg2im_pyg.study.options import ScoreOptions
from sg2im_pyg.study.questions import (
    Answer,
    Presented,
    Question,
    RightChoices,
    Study,
    read_study,
)
from sg2im_pyg.study.statistics import even_chance, fleiss_kappa, holm, share_of

FORMAT = "sg2im_pyg study scores"
VERSION = 1

_PASSED = 0.5
"""An attention check with choices is passed where the share of the right ones that were ticked is
so much larger than that of the wrong ones: ticking all, none, or half of both fails."""


def score_folder(folder: Path, options: ScoreOptions, command: str = "") -> dict[str, Any]:
    """The figures of a study's folder; see :func:`score_study`.

    Raises:
        Sg2ImError: If there is no study, or there are no answers.
    """
    study = read_study(folder)

    from sg2im_pyg.study.answers import read_answers

    answers = read_answers(folder if options.answers is None else options.answers)
    return {**score_study(study, answers, options), "folder": str(folder), "command": command}


def score_study(study: Study, answers: Iterable[Answer], options: ScoreOptions) -> dict[str, Any]:
    """Counts the answers to a study's questions.

    An answer counts if its participant was asked the question and gave it no answer before, if it
    is one of the answers that the question has, and if the participant is counted: passed enough
    attention checks and, unless the options say otherwise, finished.

    Returns:
        Plain values for JSON: ``participants`` and ``answers`` (how many of them count, and why the
        others do not), and a table for each kind of question that was asked.

        - ``caption``: of each pair of systems, for how many questions the majority preferred which,
          the share with its interval among questions without a tie, the exact binomial test of
          both being as good, all votes, and Fleiss' kappa.
        - ``objects`` and ``relations``: of each system, how many choices the majority ticked, of
          all and of each group (things and stuff, categories; predicates), and Fleiss' kappa; of
          each pair, what only one of them shows and the exact test of both showing as much.
    """
    sheets = _sheets(study, answers)
    for sheet in sheets.values():
        sheet.check(options)
    counted = [sheet for sheet in sheets.values() if sheet.state == "counted"]
    votes: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for sheet in counted:
        for answer in sheet.answers.values():
            if study.by_id[answer.question].check is None:
                votes[answer.question].append(answer.choice)
    few = sum(0 < len(given) < options.least_votes for given in votes.values())
    votes = {name: given for name, given in votes.items() if len(given) >= options.least_votes}
    asked = [question for question in study.questions if question.check is None]
    numbers = [len(votes[question.id]) for question in asked if question.id in votes]
    kinds = {question.kind for question in asked}
    score: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "title": study.title,
        "systems": list(study.systems),
        "pictures_of": study.pictures_of,
        "settings": {k: v for k, v in asdict(options).items() if k not in ("study", "output")},
        "participants": _participants(sheets.values()),
        "answers": _answers(sheets.values(), counted),
        "questions": {
            "all": len(asked),
            "answered": len(numbers),
            "too_few_votes": few,
            "fewest_votes": min(numbers, default=0),
            "most_votes": max(numbers, default=0),
        },
    }
    if "caption" in kinds:
        score["caption"] = _preferences(study, votes, options.confidence)
    for kind in ("objects", "relations"):
        if kind in kinds:
            score[kind] = _recall(study, kind, votes, options.confidence)
    return score


# Participants ----------------------------------------------------------------------------------


@dataclass
class _Sheet:
    """What a participant was asked and answered."""

    asked: dict[str, Presented]
    answers: dict[str, Answer] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    finished: bool = True
    state: Literal["counted", "unfinished", "failed", "nothing"] = "counted"
    checks: int = 0
    passed: int = 0

    def check(self, options: ScoreOptions) -> None:
        """Decides whether the participant's answers count."""
        results = [
            _is_right(self.asked[name].question, answer.choice)
            for name, answer in self.answers.items()
            if self.asked[name].question.check is not None
        ]
        self.checks, self.passed = len(results), sum(results)
        if not self.answers:
            self.state = "nothing"
        elif not self.finished and not options.unfinished:
            self.state = "unfinished"
        elif self.passed < options.pass_checks * self.checks - 1e-9:
            self.state = "failed"


def _sheets(study: Study, answers: Iterable[Answer]) -> dict[str, _Sheet]:
    """What each participant answered; what none of them can have answered is counted as refused."""
    sheets: dict[str, _Sheet] = {}
    numbers: dict[str, int] = {}
    for answer in answers:
        if answer.participant not in sheets:
            number = numbers[answer.participant] = answer.number
            asked = study.assignment(number) if number >= 0 else []
            sheets[answer.participant] = _Sheet({entry.question.id: entry for entry in asked})
        sheet = sheets[answer.participant]
        sheet.finished &= answer.completed
        reason = ""
        if answer.question not in study.by_id:
            reason = "no such question"
        elif answer.number != numbers[answer.participant] or answer.question not in sheet.asked:
            reason = "not asked of this participant"
        elif not _is_possible(study.by_id[answer.question], answer.choice):
            reason = "no such choice"
        elif answer.question in sheet.answers:
            reason = "answered before"
        if reason:
            sheet.refused[reason] += 1
        else:
            sheet.answers[answer.question] = answer
    return sheets


def _is_possible(question: Question, choice: tuple[str, ...]) -> bool:
    if question.kind == "caption":
        return choice in (("0",), ("1",))
    return len(set(choice)) == len(choice) and set(choice) <= {c.id for c in question.choices}


def _is_right(question: Question, choice: tuple[str, ...]) -> bool:
    """Whether an attention check is passed."""
    check = question.check
    if isinstance(check, RightChoices):
        shares = [len(set(choice) & set(part)) / len(part) for part in (check.right, check.wrong)]
        return shares[0] - shares[1] >= _PASSED
    return choice == (str(check),)


def _participants(sheets: Iterable[_Sheet]) -> dict[str, int]:
    states = Counter(sheet.state for sheet in sheets)
    names = {
        "counted": "counted",
        "failed": "failed_checks",
        "unfinished": "unfinished",
        "nothing": "without_an_answer",
    }
    return {"all": states.total()} | {names[state]: states[state] for state in names}  # type: ignore[index]


def _answers(sheets: Iterable[_Sheet], counted: Sequence[_Sheet]) -> dict[str, Any]:
    sheets = list(sheets)
    refused: Counter[str] = sum((sheet.refused for sheet in sheets), Counter())
    checks = sum(sheet.checks for sheet in counted)
    times = [answer.milliseconds for sheet in counted for answer in sheet.answers.values()]
    left, sided = 0, 0
    for sheet in counted:
        for name, answer in sheet.answers.items():
            question, order = sheet.asked[name]
            if question.kind == "caption" and question.check is None:
                sided += 1
                left += answer.choice == (str(order[0]),)
    return {
        "all": sum(len(sheet.answers) for sheet in sheets) + refused.total(),
        "refused": dict(sorted(refused.items())),
        "of_those_left_out": sum(len(s.answers) for s in sheets if s not in counted),
        "checks": checks,
        "checks_passed": sum(sheet.passed for sheet in counted),
        "votes": sum(len(sheet.answers) for sheet in counted) - checks,
        "median_seconds": round(median(times) / 1000, 2) if times else None,
        "first_picture_chosen": asdict(share_of(left, sided)),
    }


# Figures ---------------------------------------------------------------------------------------


def _preferences(
    study: Study, votes: Mapping[str, Sequence[tuple[str, ...]]], confidence: float
) -> list[dict[str, Any]]:
    """Of each pair of systems, which one the majority of the votes preferred how often."""
    rows = []
    for pair in combinations(study.systems, 2):
        table = []  # votes for the first and for the second system, of each question
        for question in study.questions:
            if question.id in votes and set(question.systems) == set(pair):
                given = Counter(question.systems[int(choice[0])] for choice in votes[question.id])
                table.append([given[name] for name in pair])
        wins = [sum(row[k] > row[1 - k] for row in table) for k in (0, 1)]
        rows.append(
            {
                "systems": list(pair),
                "questions": len(table),
                "wins": wins,
                "ties": len(table) - sum(wins),
                "preferred": [asdict(share_of(won, sum(wins), confidence)) for won in wins],
                "p_value": even_chance(wins[0], sum(wins)),
                "votes": [sum(row[k] for row in table) for k in (0, 1)],
                "kappa": fleiss_kappa(table) if table else None,
            }
        )
    return _adjusted(rows)


@dataclass(frozen=True)
class _Item:
    """A choice of a question, and whether the majority ticked it."""

    scene: int
    text: str
    group: str | None
    thing: bool | None
    ticks: int
    votes: int

    @property
    def seen(self) -> bool:
        return 2 * self.ticks > self.votes


def _recall(
    study: Study,
    kind: Literal["objects", "relations"],
    votes: Mapping[str, Sequence[tuple[str, ...]]],
    confidence: float,
) -> dict[str, Any]:
    """Of each system, how much of what its pictures should show was seen by the majority."""
    items: dict[str, list[_Item]] = {name: [] for name in study.systems}
    for question in study.questions:
        if question.kind != kind or question.id not in votes:
            continue
        given = votes[question.id]
        ticks = Counter(name for choice in given for name in choice)
        for choice in question.choices:
            group = choice.category if kind == "objects" else choice.predicate
            counts = ticks[choice.id], len(given)
            items[question.systems[0]].append(
                _Item(question.scene, choice.text, group, choice.thing, *counts)
            )

    def recall(chosen: Sequence[_Item]) -> dict[str, Any]:
        return asdict(share_of(sum(item.seen for item in chosen), len(chosen), confidence))

    systems = []
    for name, own in items.items():
        row: dict[str, Any] = {"system": name, "all": recall(own)}
        if kind == "objects":
            row["things"] = recall([item for item in own if item.thing is True])
            row["stuff"] = recall([item for item in own if item.thing is False])
        row["kappa"] = fleiss_kappa([[i.ticks, i.votes - i.ticks] for i in own]) if own else None
        systems.append(row)
    listed = [item for own in items.values() for item in own]
    groups = sorted(
        {(item.group, item.thing) for item in listed},
        key=lambda group: (group[1] is False, str(group[0])),  # things before stuff
    )
    by_group = [
        {
            "name": group or "",
            "thing": thing,
            "systems": [
                recall([i for i in items[name] if (i.group, i.thing) == (group, thing)])
                for name in study.systems
            ],
        }
        for group, thing in groups
    ]
    pairs = []
    for pair in combinations(study.systems, 2):
        first, second = ({(i.scene, i.text): i.seen for i in items[name]} for name in pair)
        shared = first.keys() & second.keys()
        only = [
            sum(a[k] and not b[k] for k in shared) for a, b in ((first, second), (second, first))
        ]
        p_value = even_chance(only[0], sum(only))
        pairs.append({"systems": list(pair), "only": only, "p_value": p_value})
    return {"systems": systems, "groups": by_group, "pairs": _adjusted(pairs)}


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of pairs with the p-values that they have together."""
    values = holm([row["p_value"] for row in rows])
    return [{**row, "p_holm": p} for row, p in zip(rows, values, strict=True)]
