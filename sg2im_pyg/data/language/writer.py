"""Scene graphs written as text: the notation, and plain English."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sg2im_pyg.data.language.english import (
    GEOMETRIC_PHRASES,
    ORDINALS,
    SIDES,
    article,
    is_background,
    is_plural,
    takes_the,
)
from sg2im_pyg.data.language.lexicon import lexicon_of
from sg2im_pyg.data.vocabulary import Vocabulary

_PARTS = 4  # relations that are said of one object before a new start is made
_PREPOSITIONS = set("on in under over near by behind beside around against along at".split()) | {
    *("on top of", "next to", "in front of", "above", "below", "inside", "surrounding"),
    *("beneath", "underneath", "within", "across", "between"),
}
_ORDINAL = {number: word for word, number in ORDINALS.items()}


class _English:
    """One graph, as it is told."""

    def __init__(self, entries: Mapping[str, Any], vocabulary: Vocabulary, quoting: bool) -> None:
        lexicon = lexicon_of(vocabulary)
        self.quoting = quoting
        self.names: list[str] = entries["objects"]
        self.attributes: Sequence[Sequence[str]] = entries.get("attributes") or [[]] * len(
            self.names
        )
        self.relationships: list[tuple[int, str, int]] = [
            (s, p, o) for s, p, o in entries["relationships"]
        ]
        self.spoken = [
            quoted(name) if quoting else lexicon.spoken(vocabulary.object_index(name))
            for name in self.names
        ]
        self.count = Counter(self.names)
        self.order: list[int] = []
        """Objects in the order in which they are told."""
        self._number: dict[int, int] = {}
        self._told: Counter[str] = Counter()

    def mention(self, thing: int) -> str:
        """An object, with its article; its attributes where it is told first."""
        name, spoken = self.names[thing], self.spoken[thing]
        is_new = thing not in self._number
        if is_new:
            self._told[name] += 1
            self._number[thing] = self._told[name]
            self.order.append(thing)
        described = [quoted(a) if self.quoting else a for a in self.attributes[thing]]
        words = [*(described if is_new else ()), spoken]
        number = self._number[thing]
        if self.count[name] > 1 and number > len(ORDINALS):
            return " ".join([*words, str(number)])
        if self.count[name] > 1:
            words.insert(0, _ORDINAL[number])
        if not is_new or takes_the(spoken):
            return " ".join(["the", *words])
        if is_plural(spoken) and self.count[name] == 1:
            return " ".join(words)
        return " ".join([article(words[0].lstrip('"')), *words])

    def predicate(self, name: str) -> str:
        if self.quoting:
            return quoted(name)
        return GEOMETRIC_PHRASES[name][0] if name in SIDES else name

    def clause(self, head: int, relationships: Iterable[int]) -> str:
        """An object and some of the relationships that it is in."""
        told = defaultdict(list)
        for row in relationships:
            subject, predicate, obj = self.relationships[row]
            told[predicate, subject == head].append(obj if subject == head else subject)
        start = self.mention(head)
        out, around = [], []
        for (predicate, is_subject), others in told.items():
            if is_subject:
                names = ["itself" if other == head else self.mention(other) for other in others]
                out.append(f"{self.predicate(predicate)} {listed(names)}")
        for (predicate, is_subject), others in told.items():
            if not is_subject:
                side = None if self.quoting else SIDES.get(predicate)
                where = f"to its {side}" if side else f"{self.predicate(predicate)} it"
                around.append(f"{listed([self.mention(other) for other in others])} {where}")
        parts = [*out, *([f"with {listed(around)}"] if around else [])]
        return f"{start} {', '.join(parts)}" if parts else start

    def is_said_of_object(self, row: int) -> bool:
        """Whether a relationship can be told of its object: "with a tree to its left"."""
        subject, predicate, obj = self.relationships[row]
        word = predicate.partition(" ")[0]
        told = predicate in SIDES or predicate in _PREPOSITIONS or word.endswith("ing")
        return told and subject != obj

    def text(self) -> str:
        open_rows: dict[int, dict[int, None]] = defaultdict(dict)
        for row, (subject, _, obj) in enumerate(self.relationships):
            open_rows[subject][row] = None
            if self.is_said_of_object(row):
                open_rows[obj][row] = None
        # First what has most to tell; of two, things before what lies around them.
        background = [is_background(name) for name in self.spoken]
        waiting = [(-len(rows), background[thing], thing) for thing, rows in open_rows.items()]
        heapq.heapify(waiting)
        clauses = []
        while waiting:
            size, is_behind, thing = heapq.heappop(waiting)
            rows = open_rows[thing]
            if not rows:
                continue
            if -size != len(rows):  # some were told meanwhile
                heapq.heappush(waiting, (-len(rows), is_behind, thing))
                continue
            chosen = list(rows)[:_PARTS]
            for row in chosen:
                subject, _, obj = self.relationships[row]
                open_rows[subject].pop(row, None)
                open_rows[obj].pop(row, None)
            # What is told alone is told of its subject: "the sun inside the sky".
            head = thing if len(chosen) > 1 else self.relationships[chosen[0]][0]
            clauses.append(self.clause(head, chosen))
            heapq.heappush(waiting, (-len(rows), is_behind, thing))
        alone = [thing for thing in range(len(self.names)) if thing not in self._number]
        if alone:
            clauses.append(listed([self.mention(thing) for thing in alone]))
        return "; ".join(clauses)


def write_english(entries: Mapping[str, Any], vocabulary: Vocabulary) -> str:
    """A graph in plain English; see :meth:`SceneGraph.to_text
    <sg2im_pyg.data.SceneGraph.to_text>`."""
    return _English(entries, vocabulary, quoting=False).text()


def listed(words: Sequence[str]) -> str:
    """Words as one lists them.

    Examples:
        >>> listed(["a tree", "a house", "a car"])
        'a tree, a house and a car'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def quoted(name: str) -> str:
    """A name that is read as it is, in quotation marks; such a mark within it is doubled."""
    return '"' + name.replace('"', '""') + '"'
