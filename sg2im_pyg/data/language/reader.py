"""Scene graphs read from text: the notation, and simple sentences.

A text is a row of clauses, and a clause says of objects where they are:

    text      = clause {(";" | ".") clause}
    clause    = objects {[","] relation} [("," | "and" | ", and") clause]
    relation  = predicate objects | "with" objects ("to its left" | predicate "it")
    objects   = object {("," | "and" | ", and") object}
    object    = [article | count | "first"] {attribute} name [number] | pronoun

What is said right after an object is said of that object; after a comma or "and" it is said of the
objects that the clause began with. Nothing is left out and nothing is guessed: where a word has no
meaning, or a clause more than one, :func:`read_text` says so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sg2im_pyg.data.language.english import (
    ARTICLES,
    COPULAS,
    NUMBERS,
    ORDINALS,
    OWN_SIDES,
    PRONOUNS,
    RELATIVES,
    RESERVED,
    is_background,
)
from sg2im_pyg.data.language.lexicon import Kind, Lexicon, Meaning, lexicon_of
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError, nearest, shortened

MOST_CHARACTERS = 100_000
"""Of a text."""
MOST_OBJECTS = 1_000
"""Of a graph in words."""
MOST_RELATIONSHIPS = 10_000
"""Of a graph in words."""

_MOST_TOLD = 20  # things that one sentence says are not understood
_FUNCTION_WORDS = RESERVED | COPULAS | set(NUMBERS) | set(ORDINALS)
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|([;,])|([^\s;,"]+)|(")')
_NUMBER = re.compile("[0-9]{1,6}")


@dataclass(frozen=True)
class _Token:
    text: str
    kind: str
    """word, quoted, comma or end (of a clause)."""


@dataclass(eq=False)
class _Thing:
    """Objects as a clause names them."""

    text: str
    pronoun: str | None = None
    article: str | None = None
    count: int | None = None
    number: int | None = None
    attributes: list[int] = field(default_factory=list)
    meanings: list[Meaning] = field(default_factory=list)


@dataclass(eq=False)
class _Clause:
    text: str = ""
    things: list[_Thing] = field(default_factory=list)
    """In the order in which they are named."""
    subjects: list[_Thing] = field(default_factory=list)
    relations: list[tuple[list[_Thing], int, list[_Thing]]] = field(default_factory=list)
    descriptions: list[tuple[list[_Thing], list[int]]] = field(default_factory=list)


class _NotUnderstood(Exception):
    """What is said of a clause, or of words of it, that has no meaning or several."""

    def __init__(self, words: str, reason: str) -> None:
        super().__init__(f"{shortened(repr(words))} ({reason})")


def read_text(text: str, vocabulary: Vocabulary) -> dict[str, Any]:
    """The JSON form of a graph in words; see :meth:`SceneGraph.from_text
    <sg2im_pyg.data.SceneGraph.from_text>`.

    Raises:
        Sg2ImError: With all words that were not understood, or all clauses.
    """
    if len(text) > MOST_CHARACTERS:
        raise Sg2ImError(
            f"The graph in words has {len(text)} characters, more than the {MOST_CHARACTERS} that "
            "it may have: make several graphs of it, or give it as JSON."
        )
    lexicon = lexicon_of(vocabulary)
    tokens = list(_tokens(text))
    problems = list(_unknown_words(tokens, lexicon))
    if not problems:
        scene = _Scene(lexicon)
        for start, end in _clause_ranges(tokens):
            try:
                for clause in _Parser(tokens[start:end], lexicon).clauses():
                    scene.add(clause)
            except _NotUnderstood as problem:
                problems.append(str(problem))
        if not problems and not scene.categories:
            raise Sg2ImError(
                f"The graph in words {shortened(repr(text))} names no object: write for example "
                f"{_example(vocabulary)!r}."
            )
    if problems:
        told = list(dict.fromkeys(problems))
        more = f", and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
        raise Sg2ImError(f"Not understood: {', '.join(told[:_MOST_TOLD])}{more}.")
    return scene.entries()


def _example(vocabulary: Vocabulary) -> str:
    first, last = vocabulary.objects[1:][0], vocabulary.objects[-1]
    return " ".join([last, *[word for p in vocabulary.predicates[1:2] for word in (p, first)]])


def _tokens(text: str) -> Iterator[_Token]:
    for quoted, mark, word, opening in _TOKEN.findall(re.sub("[“”]", '"', text)):
        if mark:
            yield _Token(mark, "comma" if mark == "," else "end")
        elif word:
            bare = word.rstrip(".!?")
            for part in filter(None, bare.split("_")):
                yield _Token(part, "word")
            if bare != word:
                yield _Token(word[len(bare) :], "end")
        elif opening:
            yield _Token('"', "quoted")  # it is never closed, and so no name
        else:
            yield _Token(quoted.replace('""', '"'), "quoted")


def _clause_ranges(tokens: list[_Token]) -> Iterator[tuple[int, int]]:
    start = 0
    for i, token in enumerate([*tokens, _Token(";", "end")]):
        if token.kind == "end":
            if i > start:
                yield start, i
            start = i + 1


def _unknown_words(tokens: list[_Token], lexicon: Lexicon) -> Iterator[str]:
    """What is said of each word that no clause could give a meaning."""
    parser, told, i = _Parser(tokens, lexicon), set(), 0
    while i < len(tokens):
        token, phrases = tokens[i], (parser.longest(kind, i) for kind in lexicon.phrases)
        length = max(*phrases, len(parser.own_side(i)), parser.is_function_word(i))
        unclear, names = parser.unclear(i)
        if unclear > length:
            words = " ".join(token.text for token in tokens[i : i + unclear])
            meant = " or ".join(map(repr, names))
            yield str(_NotUnderstood(words, f"it may mean {meant}: write which"))
            i += unclear
            continue
        if not length and token.kind in ("word", "quoted"):
            is_part = token.kind == "word" and token.text.casefold() in lexicon.words
            if not is_part and token.text not in told:
                told.add(token.text)
                yield str(_NotUnderstood(token.text, _reason(parser, i, len(told))))
        i += max(length, 1)


def _reason(parser: "_Parser", i: int, count: int) -> str:
    """What is said of an unknown word."""
    lexicon, token = parser.lexicon, parser.tokens[i]
    if token.text == '"':
        return "a quotation mark without another one"
    if count > _MOST_TOLD:
        return ""  # it is not shown
    names = [name for kind in lexicon.names for name in lexicon.known(kind)]
    is_before = token.kind == "word" and parser.longest("object", i + 1) > 0
    if is_before and not lexicon.names["attribute"]:
        near = nearest(token.text, names, "the names are").removesuffix(".")
        return f"no name, and the model knows no attributes: leave it out, or {near}"
    return nearest(token.text, names, "the names are").removesuffix(".")


class _Parser:
    """The tokens of one clause, or of several that commas and "and" join."""

    def __init__(self, tokens: list[_Token], lexicon: Lexicon) -> None:
        self.tokens, self.lexicon = tokens, lexicon
        self.words = [t.text.casefold() if t.kind == "word" else None for t in tokens]

    # ---- words

    def word(self, i: int) -> str | None:
        return self.words[i] if i < len(self.words) else None

    def match(self, kind: Kind, i: int) -> tuple[list[Meaning], int]:
        """The meaning of the longest phrase that stands at a place, and its length."""
        if i < len(self.tokens) and self.tokens[i].kind == "quoted":
            found = self.lexicon.exact(kind, self.tokens[i].text)
            return found, int(bool(found))
        for phrase in self._phrases(i):
            if phrase in self.lexicon.phrases[kind]:
                return self.lexicon.phrases[kind][phrase], len(phrase)
        return [], 0

    def _phrases(self, i: int) -> Iterator[tuple[str, ...]]:
        """The words from a place on, the longest phrase first."""
        words: list[str] = []
        while len(words) < self.lexicon.longest and (word := self.word(i + len(words))):
            words.append(word)
        for length in range(len(words), 0, -1):
            yield tuple(words[:length])

    def longest(self, kind: Kind, i: int) -> int:
        return self.match(kind, i)[1]

    def unclear(self, i: int) -> tuple[int, list[str]]:
        for phrase in self._phrases(i):
            for phrases in self.lexicon.unclear.values():
                if phrase in phrases:
                    return len(phrase), phrases[phrase]
        return 0, []

    def own_side(self, i: int) -> tuple[str, ...]:
        """The phrase like "to its left" that stands at a place, or an empty one."""
        for length in (4, 3):
            phrase = tuple(word or "" for word in self.words[i : i + length])
            if phrase in OWN_SIDES and OWN_SIDES[phrase][0] in self.lexicon.vocabulary.predicates:
                return phrase
        return ()

    def is_function_word(self, i: int) -> bool:
        word = self.word(i)
        return word is not None and (word in _FUNCTION_WORDS or bool(_NUMBER.fullmatch(word)))

    def text(self, start: int, end: int) -> str:
        return " ".join(token.text for token in self.tokens[start:end]).replace(" ,", ",")

    def fail(self, i: int, reason: str) -> _NotUnderstood:
        if i >= len(self.tokens):
            return _NotUnderstood(self.text(0, i), reason)
        return _NotUnderstood(self.tokens[i].text, f"{reason}, in {self.around(i)}")

    def around(self, i: int) -> str:
        """Some words of a clause on both sides of a place, in quotation marks."""
        start, end = max(0, i - 5), min(len(self.tokens), i + 4)
        before, after = "..." if start else "", "..." if end < len(self.tokens) else ""
        return repr(before + self.text(start, end) + after)

    # ---- objects

    def thing(self, i: int) -> tuple[_Thing, int] | None:
        """The object, or objects of one name, at a place, and where they end."""
        start, thing = i, _Thing("")
        if (word := self.word(i)) in PRONOUNS and not self.longest("object", i):
            return _Thing(str(word), pronoun=word), i + 1
        if self.word(i) in ARTICLES | {"another"}:
            thing.article = self.word(i)
            i += 1
        elif self.word(i) == "both":
            thing.article, thing.count = "the", 2
            i += 1 + (self.word(i + 1) == "the")
        word = self.word(i) or ""
        if thing.count is None and not self.longest("object", i):
            if word in ORDINALS:
                thing.number = ORDINALS[word]
                i += 1
            elif word in NUMBERS or _NUMBER.fullmatch(word):
                thing.count = NUMBERS.get(word) or int(word)
                i += 1
        while True:
            described, length = self.match("attribute", i)
            names, longest = self.match("object", i)
            after = i + length
            if length and (self.word(after) == "and" or self._is_comma(after)):
                # "a red and large boat"; what could be a name is one: "an orange and a boat".
                after += not longest and self.longest("attribute", after + 1) > 0
            if length >= longest and length and self._is_described(after, longest > 0):
                thing.attributes.append(described[0].index)
                i = after
                continue
            break
        if not longest:
            return None
        i += longest
        thing.meanings = names
        word = self.word(i) or ""
        if _NUMBER.fullmatch(word) and thing.number is None and thing.count is None:
            thing.number = int(word)
            i += 1
        thing.text = self.text(start, i)
        return thing, i

    def _is_described(self, i: int, may_end: bool) -> bool:
        """Whether what stands at a place goes on after an attribute: if that could be a name as
        well ("an orange standing on a table"), not where a predicate stands there."""
        length = max(self.longest("object", i), self.longest("attribute", i))
        return length > (self.longest("predicate", i) if may_end else 0)

    def _is_comma(self, i: int) -> bool:
        return i < len(self.tokens) and self.tokens[i].kind == "comma"

    def separator(self, i: int) -> int:
        """Where a comma, an "and", or both end."""
        i += self._is_comma(i)
        return i + (self.word(i) == "and")

    def things(self, i: int, clause: _Clause, ends_before_clause: bool) -> tuple[list[_Thing], int]:
        """A list of objects; of one that a predicate follows the next clause may be told."""
        found: list[_Thing] = []
        after, commas = i, False
        while (thing := self.thing(after)) is not None:
            if found and ends_before_clause and self.says_something(thing[1]):
                # "a tree, a house and a boat are ...": of the boat alone, or of all three?
                if len(found) > 1 and (commas or not self._is_comma(i)):
                    reason = "it may go on with the list or begin something new: write two clauses"
                    raise self.fail(after, reason)
                break
            commas |= bool(found) and self._is_comma(i)
            found.append(thing[0])
            i = thing[1]
            after = self.separator(i)
            if after == i:
                break
        if not found:
            raise self.fail(i, "an object should stand here")
        clause.things += found
        return found, i

    # ---- what is said of them

    def predicate(self, i: int, verbs: bool = True) -> tuple[int, int] | None:
        """The predicate at a place, after verbs such as "is", and where it ends."""
        while True:
            found, length = self.match("predicate", i)
            if found:
                return found[0].index, i + length
            if not (verbs and self.word(i) in COPULAS):
                return None
            i += 1

    def says_something(self, i: int) -> bool:
        """Whether at a place something is said of the object before it."""
        return self.word(i) in COPULAS or self.predicate(i) is not None or bool(self.own_side(i))

    def own_relation(self, i: int) -> tuple[int, str, int] | None:
        """What "to its left" or "above it" say: predicate, pronoun, and where it ends."""
        if phrase := self.own_side(i):
            name, pronoun = OWN_SIDES[phrase]
            return self.lexicon.vocabulary.predicate_index(name), pronoun, i + len(phrase)
        found = self.predicate(i, verbs=False)
        if found and (pronoun := self.word(found[1]) or "") in ("it", "them"):
            return found[0], pronoun, found[1] + 1
        return None

    def with_phrase(self, i: int, about: list[_Thing], clause: _Clause) -> int:
        """Reads "with a tree to its left and a cloud above it"; where it ends, or its beginning if
        it is another phrase."""
        start = i
        while True:
            begin = i + 1 if i == start else self.separator(i)
            if begin == i or self.thing(begin) is None:
                return i
            heard = _Clause()
            others, end = self.things(begin, heard, ends_before_clause=False)
            relation = self.own_relation(end)
            if relation is None:
                return i
            predicate, _, i = relation
            clause.things += heard.things
            clause.relations.append((others, predicate, about))

    def clauses(self) -> Iterator[_Clause]:
        i = int(self.word(0) == "and")
        while i < len(self.tokens):
            start, clause = i, _Clause()
            i = self.clause(i, clause)
            clause.text = self.text(start, i)
            yield clause

    def clause(self, i: int, clause: _Clause) -> int:
        if self.word(i) == "there" and self.word(i + 1) in COPULAS:
            i += 2
        leading = None if self.thing(i) else self.predicate(i)
        if leading:  # "below the sky there is the grass"
            predicate, i = leading
            places, i = self.things(i, clause, ends_before_clause=False)
            i += self._is_comma(i)
            i += self.word(i) == "there"
            while self.word(i) in COPULAS:
                i += 1
        clause.subjects, i = self.things(i, clause, ends_before_clause=False)
        if leading:
            clause.relations.append((clause.subjects, predicate, places))
        last = clause.subjects
        while i < len(self.tokens):
            place, i = i, self.separator(i)
            is_apart = i > place
            if i == len(self.tokens):
                raise self.fail(i - 1, "nothing comes after it")
            if is_apart and self.thing(i) and not self.predicate(i):
                return i  # the next clause
            is_relative = self.word(i) in RELATIVES
            about = clause.subjects if is_apart and not is_relative else last
            i += is_relative
            if self.word(i) == "with":
                end = self.with_phrase(i, about, clause)
                if end > i:
                    if about is not clause.subjects:
                        reason = "it is not clear of what: write a comma, or two clauses"
                        raise self.fail(i, reason)
                    i = end
                    continue
                if not self.predicate(i):
                    reason = "it needs a place, as in 'with a tree above it'"
                    raise self.fail(i, reason)
            i, last = self.statement(i, about, clause)
        return i

    def statement(self, i: int, about: list[_Thing], clause: _Clause) -> tuple[int, list[_Thing]]:
        """What is said once: where it ends, and of what is spoken right after it."""
        verb = i
        while self.word(verb) in COPULAS:
            verb += 1
        if phrase := self.own_side(verb):
            name, pronoun = OWN_SIDES[phrase]
            thing = _Thing(" ".join(phrase), pronoun=pronoun)
            clause.things.append(thing)
            predicate = self.lexicon.vocabulary.predicate_index(name)
            clause.relations.append((about, predicate, [thing]))
            return verb + len(phrase), about
        found = self.predicate(i)
        if found:
            predicate, i = found
            if self.thing(i) is None:
                raise self.fail(i - 1, "an object should come after it")
            objects, i = self.things(i, clause, ends_before_clause=True)
            clause.relations.append((about, predicate, objects))
            return i, objects[-1:]
        attributes = []
        end = verb
        while verb > i and (match := self.match("attribute", end))[1]:
            attributes.append(match[0][0].index)
            verb = end + match[1]
            end = self.separator(verb)
        if attributes:
            clause.descriptions.append((about, attributes))
            return verb, about
        if verb > i:
            raise self.fail(min(verb, len(self.tokens)), "a predicate should come after the verb")
        raise self.fail(i, "a predicate should stand here" if i else "an object should stand here")


class _Scene:
    """The objects that were named, and what was said of them."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.categories: list[int] = []
        self.attributes: list[set[int]] = []
        self.numbers: list[int] = []
        self.relationships: list[tuple[int, int, int]] = []
        self._order: list[int] = []
        self._rows: dict[int, dict[int, int]] = {}
        self._first_free: dict[int, int] = {}
        self._before: tuple[list[int], list[list[int]]] | None = None

    def add(self, clause: _Clause) -> None:
        first_row, first_triple = len(self.categories), len(self.relationships)
        found: dict[int, list[int]] = {}
        for thing in clause.things:
            if thing.pronoun not in ("itself", "themselves"):
                found[id(thing)] = self._rows_of(thing, clause)

        def rows(things: list[_Thing]) -> list[int]:
            return [row for thing in things for row in found[id(thing)]]

        groups = [rows(clause.subjects)]
        for about, predicate, objects in clause.relations:
            subjects, others = rows(about), []
            for thing in objects:
                if id(thing) in found:
                    others += [(s, o) for s in subjects for o in found[id(thing)]]
                else:
                    others += [(s, s) for s in subjects]
                if len(self.relationships) + len(others) > MOST_RELATIONSHIPS:
                    reason = f"more than {MOST_RELATIONSHIPS} relationships in one graph"
                    raise _NotUnderstood(clause.text, reason)
            self.relationships += [(s, predicate, o) for s, o in others]
            groups.append([o for _, o in others])
        for about, attributes in clause.descriptions:
            for row in rows(about):
                self.attributes[row].update(attributes)
        told = (row for triple in self.relationships[first_triple:] for row in triple[::2])
        named = dict.fromkeys(row for group in found.values() for row in group)
        self._order += [row for row in dict.fromkeys((*told, *named)) if row >= first_row]
        several = dict.fromkeys(tuple(dict.fromkeys(group)) for group in groups)
        self._before = list(named), [list(group) for group in several if len(group) > 1]

    def entries(self) -> dict[str, Any]:
        """The graph in JSON form: objects as the relationships name them, those of one name by
        their numbers."""
        by_number = {
            category: iter([rows[number] for number in sorted(rows)])
            for category, rows in self._rows.items()
        }
        order = [next(by_number[self.categories[row]]) for row in self._order]
        place = {row: i for i, row in enumerate(order)}
        names = self.lexicon.names
        entries: dict[str, Any] = {"objects": [names["object"][self.categories[r]] for r in order]}
        if any(self.attributes):
            entries["attributes"] = [
                [names["attribute"][a] for a in sorted(self.attributes[row])] for row in order
            ]
        entries["relationships"] = [
            [place[s], names["predicate"][p], place[o]] for s, p, o in self.relationships
        ]
        return entries

    def told(self, row: int) -> str:
        """How an object is named in a sentence about it."""
        category = self.categories[row]
        number = f" {self.numbers[row]}" if len(self._rows[category]) > 1 else ""
        return repr(self.lexicon.spoken(category) + number)

    def _new(self, thing: _Thing, category: int, number: int | None = None) -> int:
        if len(self.categories) == MOST_OBJECTS:
            raise _NotUnderstood(thing.text, f"more than {MOST_OBJECTS} objects in one graph")
        rows = self._rows.setdefault(category, {})
        if number is None:
            number = self._first_free.get(category, 1)
            while number in rows:
                number += 1
            self._first_free[category] = number + 1
        rows[number] = len(self.categories)
        self.categories.append(category)
        self.attributes.append(set(thing.attributes))
        self.numbers.append(number)
        return rows[number]

    def _rows_of(self, thing: _Thing, clause: _Clause) -> list[int]:
        """The objects that are meant, those that are new among them."""
        if thing.pronoun is not None:
            return self._antecedent(thing, clause)
        category = thing.meanings[0].index
        forms = {meaning.several for meaning in thing.meanings}
        there = self._rows.get(category, {})
        if thing.number is not None:
            if thing.number not in there:
                return [self._new(thing, category, thing.number)]
            row = there[thing.number]
            if not self.attributes[row] >= set(thing.attributes):
                reason = "that object was told before without this attribute"
                raise _NotUnderstood(thing.text, f"{reason}, in {shortened(repr(clause.text))}")
            return [row]
        fitting = [row for row in there.values() if self.attributes[row] >= set(thing.attributes)]
        if thing.count is not None:
            if thing.article == "the" and fitting:
                if len(fitting) != thing.count:
                    raise _NotUnderstood(thing.text, f"there are {len(fitting)} of them")
                return fitting
            if thing.count == 0 or (thing.count == 1 and forms == {True}):
                raise _NotUnderstood(thing.text, "the number does not go with the name")
            return [self._new(thing, category) for _ in range(thing.count)]
        if forms == {True}:
            if len(fitting) > 1 and thing.article in (None, "the"):
                return fitting
            raise _NotUnderstood(thing.text, "say how many, as in 'two'")
        if thing.article in ("a", "an", "another"):
            return [self._new(thing, category)]
        if len(fitting) > 1:
            meant = " or ".join(self.told(row) for row in fitting[:3])
            raise _NotUnderstood(
                thing.text, f"it may be {meant}: say which, in {shortened(repr(clause.text))}"
            )
        return fitting or [self._new(thing, category)]

    def _antecedent(self, thing: _Thing, clause: _Clause) -> list[int]:
        """The objects that a pronoun stands for, in the clause before."""
        where = f"in {shortened(repr(clause.text))}"
        named, groups = self._before or ([], [])
        if thing.pronoun == "it":
            things = [
                row for row in named if not is_background(self.lexicon.spoken(self.categories[row]))
            ]
            meant = [[row] for row in things or named]
        else:
            meant = groups
        if not meant:
            raise _NotUnderstood(
                thing.text, f"there is nothing before it that it could be, {where}"
            )
        if len(meant) > 1:
            names = " or ".join(" and ".join(map(self.told, rows)) for rows in meant[:3])
            raise _NotUnderstood(thing.text, f"it may be {names}: say which, {where}")
        return meant[0]
