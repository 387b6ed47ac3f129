"""Scene graphs written as text: the notation, and plain English."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
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
from sg2im_pyg.data.language.lexicon import lexicon_of, phrase_of
from sg2im_pyg.data.language.reader import MOST_OBJECTS, MOST_RELATIONSHIPS, read_text
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError

_PARTS = 4  # relations that are said of one object before a new start is made
_PREPOSITIONS = set("on in under over near by behind beside around against along at".split()) | {
    *("on top of", "next to", "in front of", "above", "below", "inside", "surrounding"),
    *("beneath", "underneath", "within", "across", "between"),
}
_ORDINAL = {number: word for word, number in ORDINALS.items()}


class _Names:
    """How the names of a vocabulary are written, so that they are read as what they are.

    Args:
        vocabulary: The names.
        quoting: Whether all of them are put in quotation marks, or only those that would be read
            otherwise.
        as_said: Whether they are written as a person says them, "to the left of", where that is
            read as well.
    """

    def __init__(self, vocabulary: Vocabulary, quoting: bool, as_said: bool) -> None:
        self.vocabulary, self.quoting, self.as_said = vocabulary, quoting, as_said
        self.object = cache(self._object)
        self.predicate = cache(self._predicate)
        self.attribute = cache(self._attribute)

    def _object(self, name: str) -> str:
        said = lexicon_of(self.vocabulary).spoken(self.vocabulary.object_index(name))
        return self._written("{}", {"objects": [name], "relationships": []}, said, name)

    def _predicate(self, name: str) -> str:
        thing = self.vocabulary.objects[-1]
        entries = {"objects": [thing], "relationships": [[0, name, 0]]}
        said = GEOMETRIC_PHRASES[name][0] if name in SIDES else name
        if (
            self.as_said
            and phrase_of(f"{name} a") in lexicon_of(self.vocabulary).phrases["predicate"]
        ):
            return quoted(name)  # "on" beside "on a"
        return self._written(f"{quoted(thing)} {{}} {quoted(thing)}", entries, said, name)

    def _attribute(self, name: str) -> str:
        thing = self.vocabulary.objects[-1]
        entries = {"objects": [thing], "attributes": [[name]], "relationships": []}
        return self._written(f"{{}} {quoted(thing)}", entries, name, name)

    def _written(self, pattern: str, entries: dict[str, Any], said: str, name: str) -> str:
        if not self.quoting:
            for words in (said, name) if self.as_said else (name,):
                if _read(pattern.replace("{}", words), self.vocabulary) == entries:
                    return words
        return quoted(name)


def _read(text: str, vocabulary: Vocabulary) -> dict[str, Any] | None:
    """What a text is read as; none if it is not understood."""
    try:
        return read_text(text, vocabulary)
    except Sg2ImError:
        return None


def _written(
    entries: Mapping[str, Any],
    vocabulary: Vocabulary,
    write: Callable[[Mapping[str, Any], _Names], tuple[str, Sequence[int]]],
    as_said: bool,
) -> str:
    """A text that is read back into the same graph, with as few quotation marks as it takes.

    Args:
        entries: The graph in JSON form.
        vocabulary: Its names.
        write: Gives a text, and the objects in the order in which it names them.
        as_said: See :class:`_Names`.
    """
    if len(entries["objects"]) > MOST_OBJECTS or len(entries["relationships"]) > MOST_RELATIONSHIPS:
        raise Sg2ImError(
            f"A graph of {len(entries['objects'])} objects and {len(entries['relationships'])} "
            f"relationships can not be written in words, which may have {MOST_OBJECTS} and "
            f"{MOST_RELATIONSHIPS}: write it as JSON."
        )
    for quoting in (False, True):
        text, order = write(entries, _Names(vocabulary, quoting, as_said))
        read = _read(text, vocabulary)
        if read and _told(read, range(len(read["objects"]))) == _told(entries, order):
            return text
    raise Sg2ImError(
        f"The graph of {listed(list(dict.fromkeys(entries['objects']))[:5])} can not be written in "
        "words that are read back into it, since a predicate of the vocabulary is named like an "
        "object or an attribute, or it is too long: write it as JSON."
    )


class _English:
    """One graph, as it is told."""

    def __init__(self, entries: Mapping[str, Any], written: _Names) -> None:
        self.written = written
        self.names: list[str] = entries["objects"]
        self.attributes = _attributes(entries)
        self.relationships: list[tuple[int, str, int]] = [
            (s, p, o) for s, p, o in entries["relationships"]
        ]
        self.spoken = list(map(written.object, self.names))
        self.count = Counter(self.names)
        self.number: dict[int, int] = {}
        """The number of each object among those of its name, in the order of telling."""
        self._told: Counter[str] = Counter()

    def mention(self, thing: int) -> str:
        """An object, with its article; its attributes where it is told first."""
        name, spoken = self.names[thing], self.spoken[thing]
        is_new = thing not in self.number
        if is_new:
            self._told[name] += 1
            self.number[thing] = self._told[name]
        described = map(self.written.attribute, self.attributes[thing]) if is_new else ()
        words = [*described, spoken]
        number = self.number[thing]
        if self.count[name] > 1 and (number > len(ORDINALS) or self.written.quoting):
            return " ".join([*words, str(number)])
        if self.count[name] > 1:
            words.insert(0, _ORDINAL[number])
        if not is_new or takes_the(spoken):
            return " ".join(["the", *words])
        if is_plural(spoken) and self.count[name] == 1:
            return " ".join(words)
        return " ".join([article(words[0].lstrip('"')), *words])

    def predicate(self, name: str) -> str:
        return self.written.predicate(name)

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
                side = None if self.written.quoting else SIDES.get(predicate)
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
        alone = [thing for thing in range(len(self.names)) if thing not in self.number]
        if alone:
            clauses.append(listed([self.mention(thing) for thing in alone]))
        return "; ".join(clauses)


def _english(entries: Mapping[str, Any], written: _Names) -> tuple[str, Sequence[int]]:
    told = _English(entries, written)
    return told.text(), list(told.number)


def write_english(entries: Mapping[str, Any], vocabulary: Vocabulary) -> str:
    """A graph in plain English; see :meth:`SceneGraph.to_text
    <sg2im_pyg.data.SceneGraph.to_text>`."""
    return _written(entries, vocabulary, _english, as_said=True)


def _notation(entries: Mapping[str, Any], written: _Names) -> tuple[str, Sequence[int]]:
    names, attributes = entries["objects"], _attributes(entries)
    count, numbers, labels = Counter(names), Counter[str](), []
    for name in names:
        numbers[name] += 1
        number = [str(numbers[name])] if count[name] > 1 else []
        labels.append(" ".join([written.object(name), *number]))
    clauses, told = [], 0

    def mention(thing: int) -> str:
        nonlocal told
        if thing < told:
            return labels[thing]
        told += 1
        return " ".join([*map(written.attribute, attributes[thing]), labels[thing]])

    for subject, predicate, obj in entries["relationships"]:
        # Objects are named in their order, so that this is kept, too.
        while True:
            new = list(dict.fromkeys(thing for thing in (subject, obj) if thing >= told))
            if new == list(range(told, told + len(new))):
                break
            clauses.append(mention(told))
        words = [mention(subject), written.predicate(predicate), mention(obj)]
        clauses.append(" ".join(words))
    clauses += [mention(thing) for thing in range(told, len(names))]
    return "; ".join(clauses), range(len(names))


def write_notation(entries: Mapping[str, Any], vocabulary: Vocabulary) -> str:
    """A graph in the notation; see :meth:`SceneGraph.to_notation
    <sg2im_pyg.data.SceneGraph.to_notation>`."""
    return _written(entries, vocabulary, _notation, as_said=False)


def _attributes(entries: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    return entries.get("attributes") or [[]] * len(entries["objects"])


def _told(entries: Mapping[str, Any], order: Iterable[int]) -> Any:
    """A graph but for the order of its objects of different names, for comparison; those of one
    name are told apart by their place in an order."""
    count, key, attributes = Counter[str](), {}, _attributes(entries)
    for thing in order:
        name = entries["objects"][thing]
        count[name] += 1
        key[thing] = name, count[name]
    triples = Counter((key[s], p, key[o]) for s, p, o in entries["relationships"])
    return {key[thing]: set(attributes[thing]) for thing in key}, triples


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
