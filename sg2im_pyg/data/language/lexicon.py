"""The phrases of a vocabulary: its names, their plurals and what else is said for them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sg2im_pyg.data.language.english import (
    GEOMETRIC_PHRASES,
    MAY_MEAN,
    SYNONYMS,
    plural,
    verb_forms,
)
from sg2im_pyg.data.vocabulary import IMAGE, IN_IMAGE, UNUSED, Vocabulary

Kind = Literal["object", "predicate", "attribute"]
Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """What a phrase stands for."""

    index: int
    """Index in the vocabulary."""
    several: bool = False
    """Whether the phrase is a plural of the name."""


class Lexicon:
    """The phrases of a vocabulary, in lower case and without underscores.

    Names of the vocabulary go before plurals, and both before synonyms. A phrase that could stand
    for several names is in :obj:`unclear` instead, with these names.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.names: dict[Kind, tuple[str, ...]] = {
            "object": vocabulary.objects,
            "predicate": vocabulary.predicates,
            "attribute": vocabulary.attributes,
        }
        self.phrases: dict[Kind, dict[Phrase, list[Meaning]]] = {}
        self.unclear: dict[Kind, dict[Phrase, list[str]]] = {}
        self._exact: dict[Kind, dict[str, int]] = {}
        for kind, names in self.names.items():
            self.phrases[kind], self.unclear[kind] = {}, {}
            self._exact[kind] = {name: i for i, name in enumerate(names) if is_name(name)}
            self._add(kind, (((name, i, False)) for name, i in self._exact[kind].items()))
        plain = self._plain_names()
        self._add("object", ((name, i, False) for name, i in plain))
        self._add("object", ((plural(name), i, True) for name, i in self._exact["object"].items()))
        self._add("object", ((plural(name), i, True) for name, i in plain))
        self._add("object", self._synonyms())
        self._add("predicate", self._other_predicates())
        for phrase, names in MAY_MEAN.items():
            known = [name for name in names if name in self._exact["predicate"]]
            if known and phrase_of(phrase) not in self.phrases["predicate"]:
                self.unclear["predicate"][phrase_of(phrase)] = known
        self.longest = max(
            len(phrase)
            for kind in self.phrases
            for phrase in (*self.phrases[kind], *self.unclear[kind], ("",))
        )
        self.words = {
            word
            for kind in self.phrases
            for phrase in (*self.phrases[kind], *self.unclear[kind])
            for word in phrase
        }
        self._spoken = {
            i: name
            for name, i in plain
            if [m.index for m in self.phrases["object"].get(phrase_of(name), ())] == [i]
        }

    def spoken(self, index: int) -> str:
        """How a person would say the name of a category: "sky" for "sky-other"."""
        return self._spoken.get(index, self.names["object"][index])

    def exact(self, kind: Kind, name: str) -> list[Meaning]:
        """The meaning of a name that is given whole; capital letters do not matter, unless names
        differ in nothing else."""
        if name in self._exact[kind]:
            return [Meaning(self._exact[kind][name])]
        return [
            meaning
            for meaning in self.phrases[kind].get(phrase_of(name), ())
            if self.names[kind][meaning.index].casefold() == name.casefold()
        ]

    def _add(self, kind: Kind, entries: Iterable[tuple[str, int, bool]]) -> None:
        """Adds phrases, unless there are such already."""
        phrases, new = self.phrases[kind], {}
        for name, index, several in entries:
            phrase, meaning = phrase_of(name), Meaning(index, several)
            if phrase in phrases:
                # One form for one and for several: "two sheep".
                if several and [m.index for m in phrases[phrase]] == [index]:
                    new[phrase] = [Meaning(index, False), meaning]
            elif phrase and meaning not in (found := new.setdefault(phrase, [])):
                found.append(meaning)
        for phrase, meanings in new.items():
            if len({meaning.index for meaning in meanings}) > 1:
                names = [self.names[kind][meaning.index] for meaning in meanings]
                self.unclear[kind].setdefault(phrase, names)
            else:
                phrases[phrase] = meanings

    def _plain_names(self) -> list[tuple[str, int]]:
        """Names as people write them: without COCO's "-other" and "-stuff"."""
        plain = []
        for name, index in self._exact["object"].items():
            base = re.sub(r"[-_ ](other|stuff)$", "", name).replace("_", " ").strip()
            if base and base != name:
                plain.append((base, index))
        return plain

    def _synonyms(self) -> Iterator[tuple[str, int, bool]]:
        phrases = self.phrases["object"]
        for group in SYNONYMS:
            there = {m.index: None for name in group for m in phrases.get(phrase_of(name), ())}
            for name in group:
                if phrase_of(name) not in phrases:
                    for index in there:
                        yield name, index, False
                        yield plural(name), index, True

    def _other_predicates(self) -> Iterator[tuple[str, int, bool]]:
        for name, index in self._exact["predicate"].items():
            for other in (*GEOMETRIC_PHRASES.get(name, ()), *verb_forms(name)):
                yield other, index, False


@lru_cache(maxsize=16)
def lexicon_of(vocabulary: Vocabulary) -> Lexicon:
    """The phrases of a vocabulary, made once."""
    return Lexicon(vocabulary)


def is_name(name: str) -> bool:
    """Whether a name of a vocabulary is one that a graph may use."""
    return name not in (IMAGE, IN_IMAGE, UNUSED)


def phrase_of(name: str) -> Phrase:
    """The words of a name, in lower case."""
    return tuple(re.split(r"[\s_]+", name.casefold().strip(" _\t\r\n")))
