"""Scene graphs as people, data sets and programs write them in JSON, in the one form that
:meth:`SceneGraph.from_json <sg2im_pyg.data.SceneGraph.from_json>` checks: names of objects, and
triples of a position, a predicate and a position.

Read are, beside that form: names in place of positions; objects as dicts with a name, attributes
and an id; relationships as dicts (Visual Genome, language models); objects by their ids with their
relations in them (GQA); relationships alone, which name their objects. What has no other meaning is
left as it is, for from_json to say what is wrong with it.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from sg2im_pyg.data.language.lexicon import Kind, lexicon_of, phrase_of
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError, nearest, shortened

_OBJECTS = ("objects", "nodes", "entities")
_RELATIONSHIPS = ("relationships", "relations", "edges", "triples")
_ABOUT_PICTURES = {"image_id", "image_url", "width", "height", "location", "weather"}
_NAME = ("name", "names", "label", "category")
_ID = ("id", "object_id")
_SUBJECT = ("subject_id", "subject", "source")
_PREDICATE = ("predicate", "relation", "name", "label")
_OBJECT = ("object_id", "object", "target")
# One entry an object in this form, a list of them beside "objects" in the other one.
_OF_OBJECTS = {"attributes": "attributes", "seed": "seeds", "box": "boxes", "mask": "masks"}
# What Visual Genome and GQA tell besides; places in pixels are of their pictures, not of ours.
_PASSED_OVER = {"x", "y", "w", "h", "synsets", "merged_object_ids", "relations"}
_ALSO_OF_RELATIONSHIPS = {"relationship_id", "id", "synsets"}
_MOST_SHOWN = 20


def in_one_form(entries: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """A graph with names of objects as the vocabulary has them, capital letters aside, and
    positions in place of names and ids.

    Raises:
        Sg2ImError: If a name stands for several objects of the graph, an id for none, or an object
            or relationship has no name or an entry that it may not have.
    """
    reader = _FormReader(vocabulary)
    form = {key: value for key, value in entries.items() if key not in _ABOUT_PICTURES}
    objects = _take(form, _OBJECTS, None)
    relationships = _take(form, _RELATIONSHIPS, ())
    if _holds_dicts(objects, Mapping):
        reader.add_by_ids(objects)
    elif isinstance(objects, (list, tuple)):
        for entry in objects:
            reader.add(entry)
    elif objects is None and isinstance(relationships, (list, tuple)) and relationships:
        reader.takes_new = True
    else:
        reader.names = None
    if isinstance(relationships, (list, tuple)):
        relationships = [
            reader.triple(row, relationship) for row, relationship in enumerate(relationships)
        ] + reader.own_relations()
    form["objects"] = objects if reader.names is None else reader.names
    for key, of_objects in _OF_OBJECTS.items():
        values = [entry.get(key) for entry in reader.entries]
        if any(value is not None and value != [] for value in values):
            if of_objects in form:
                raise Sg2ImError(
                    f"A scene graph has {of_objects!r} and objects with {key!r}: give one of them."
                )
            form[of_objects] = [v or [] for v in values] if key == "attributes" else values
    if isinstance(form.get("attributes"), (list, tuple)):
        form["attributes"] = [
            [reader.known("attribute", name) for name in names]
            if isinstance(names, (list, tuple))
            else names
            for names in form["attributes"]
        ]
    form["relationships"] = relationships
    return form


def unknown_names(form: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[tuple[Kind, str]]:
    """Names of a graph in the one form that the vocabulary does not have."""
    lists: dict[Kind, list[Any]] = {"object": [], "predicate": [], "attribute": []}
    if isinstance(form["objects"], (list, tuple)):
        lists["object"] += form["objects"]
    if isinstance(form["relationships"], (list, tuple)):
        triples = (t for t in form["relationships"] if isinstance(t, (list, tuple)) and len(t) == 3)
        lists["predicate"] += [predicate for _, predicate, _ in triples]
    if vocabulary.attributes and isinstance(form.get("attributes"), (list, tuple)):
        lists["attribute"] += [
            name for own in form["attributes"] if isinstance(own, (list, tuple)) for name in own
        ]
    lexicon = lexicon_of(vocabulary)
    for kind, names in lists.items():
        for name in names:
            if isinstance(name, str) and not name.startswith("__") and not lexicon.has(kind, name):
                yield kind, name


def told_unknown(names: Mapping[tuple[Kind, str], str], vocabulary: Vocabulary) -> str:
    """A sentence about names that are not in the vocabulary.

    Args:
        names: What is said of each beside it, such as the graph in which it stands, or nothing.
        vocabulary: The names that there are.
    """
    lexicon, shown = lexicon_of(vocabulary), []
    for (kind, name), where in list(names.items())[:_MOST_SHOWN]:
        known = nearest(name, lexicon.listed(kind), "the known names are").removesuffix(".")
        shown.append(f"{kind} {shortened(repr(name))} ({where}{known})")
    more = f", and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return f"{len(names)} names are not in the vocabulary: {', '.join(shown)}{more}."


def is_graph(entries: Any) -> bool:
    """Whether a JSON object has the entries of a scene graph."""
    return isinstance(entries, Mapping) and not entries.keys().isdisjoint(
        (*_OBJECTS, *_RELATIONSHIPS)
    )


class _FormReader:
    """Objects of one graph, by position, name and id."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.lexicon = lexicon_of(vocabulary)
        self.names: list[Any] | None = []
        self.entries: list[Mapping[str, Any]] = []
        self.takes_new = False
        """Whether names and ids that were not told before stand for new objects."""
        self._by_name: dict[str, list[int]] = {}
        self._by_id: dict[Hashable, int] = {}

    def known(self, kind: Kind, name: Any) -> Any:
        """A name as the vocabulary has it; one that it does not have, as it is."""
        if not isinstance(name, str):
            return name
        found = self.lexicon.exact(kind, name)
        if not found and kind == "predicate":  # "to the left of" and its like
            found = self.lexicon.phrases[kind].get(phrase_of(name), [])
        return self.lexicon.names[kind][found[0].index] if len(found) == 1 else name

    def add(self, entry: Any, key: Hashable = None) -> int:
        assert self.names is not None
        row = len(self.names)
        fields: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
        name = entry
        if isinstance(entry, Mapping):
            name = self._name_of(entry, row)
            key = _first(entry, _ID) if key is None else key
        name = self.known("object", name)
        self.names.append(name)
        self.entries.append(fields)
        if isinstance(name, str):
            self._by_name.setdefault(name.casefold(), []).append(row)
        if isinstance(key, (str, int)):
            if str(key) in self._by_id:
                raise Sg2ImError(f"Object {row}: its id {shortened(repr(key))} is another's, too.")
            self._by_id[str(key)] = row
        return row

    def add_by_ids(self, objects: Mapping[str, Any]) -> None:
        for key, entry in objects.items():
            self.add(entry, key)

    def _name_of(self, entry: Mapping[str, Any], row: int) -> Any:
        unknown = sorted(map(str, set(entry) - {*_NAME, *_ID, *_OF_OBJECTS, *_PASSED_OVER}))
        if unknown:
            raise Sg2ImError(
                f"Object {row} has the entry {shortened(repr(unknown[0]))}, which an object may "
                f"not have; it may have 'name', 'id' and {', '.join(map(repr, _OF_OBJECTS))}."
            )
        name = _first(entry, _NAME)
        if isinstance(name, (list, tuple)) and name:  # Visual Genome: one of them is known
            known = [n for n in name if isinstance(n, str) and self.lexicon.exact("object", n)]
            name = (known or name)[0]
        if not isinstance(name, str):
            raise Sg2ImError(f"Object {row} ({shortened(repr(entry))}) has no 'name'.")
        return name

    def own_relations(self) -> list[Any]:
        """Relations that stand in their subjects, as GQA has them."""
        triples = []
        for row, entry in enumerate(self.entries):
            relations = entry.get("relations") or []
            if not _holds_dicts(relations, list) and relations:
                raise Sg2ImError(
                    f"'relations' of object {row} must be a list of dicts with 'name' and 'object'."
                )
            for relation in relations:
                where = f"Relation {shortened(repr(relation))} of object {row}"
                other = self._row(_first(relation, _OBJECT), where, is_id=True)
                triples.append([row, self.known("predicate", _first(relation, _PREDICATE)), other])
        return triples

    def triple(self, row: int, relationship: Any) -> Any:
        """A relationship with positions for names and ids."""
        where = f"Relationship {row} ({shortened(repr(relationship))})"
        if isinstance(relationship, Mapping):
            known = {*_SUBJECT, *_PREDICATE, *_OBJECT, *_ALSO_OF_RELATIONSHIPS}
            unknown = sorted(map(str, set(relationship) - known))
            ends = [_first(relationship, keys) for keys in (_SUBJECT, _OBJECT)]
            predicate = _first(relationship, _PREDICATE)
            if unknown or None in ends or predicate is None:
                raise Sg2ImError(
                    f"{where} must be a triple [subject, predicate, object] or have the entries "
                    "'subject', 'predicate' and 'object'"
                    + (f", not {shortened(repr(unknown[0]))}." if unknown else ".")
                )
            is_id = bool(self._by_id)
        elif isinstance(relationship, (list, tuple)) and len(relationship) == 3:
            ends, predicate, is_id = [relationship[0], relationship[2]], relationship[1], False
        else:
            return relationship
        subject, obj = (self._row(end, where, is_id) for end in ends)
        return [subject, self.known("predicate", predicate), obj]

    def _row(self, end: Any, where: str, is_id: bool) -> Any:
        """The position of the object that a relationship names; what names none, as it is."""
        if isinstance(end, Mapping):
            key = _first(end, _ID)
            row = self._by_id.get(str(key))
            if row is not None or self.names is None:
                return row
            if key is not None:
                return self.add(end)
            end = self._name_of(end, len(self.names))
        if isinstance(end, bool) or not isinstance(end, (str, int)):
            return end
        if (is_id or isinstance(end, str)) and str(end) in self._by_id:
            return self._by_id[str(end)]
        if isinstance(end, int) and is_id:
            raise Sg2ImError(f"{where}: no object has the id {shortened(repr(end))}.")
        if isinstance(end, int) or self.names is None:
            return end
        name = self.known("object", end)
        rows = self._by_name.get(name.casefold(), [])
        if not rows:  # "boat 2" is the second boat
            bare, _, number = end.rpartition(" ")
            place = int(number) if number.isdecimal() and len(number) < 7 else 0
            if place and self.takes_new:
                row = self.add(bare)
                self._by_name[name.casefold()] = [row]
                return row
            if place:
                rows = self._by_name.get(self.known("object", bare).casefold(), [])
                rows = rows[place - 1 : place]
        if len(rows) > 1:
            raise Sg2ImError(
                f"{where}: {shortened(repr(end))} stands for {len(rows)} objects; give a position, "
                f"or a number as in {f'{shortened(end)} 1'!r}."
            )
        if rows:
            return rows[0]
        return self.add(end) if self.takes_new else end


def _take(form: dict[str, Any], keys: tuple[str, ...], otherwise: Any) -> Any:
    """Takes an entry out under the first of its names; under another one where it is filled."""
    for key in keys:
        if key in form and (key == keys[0] or form[key]):
            return form.pop(key)
    return otherwise


def _first(entry: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)


def _holds_dicts(values: Any, kind: type) -> bool:
    if not isinstance(values, kind) or not values:
        return False
    items: Any = values.values() if isinstance(values, Mapping) else values
    return all(isinstance(item, Mapping) for item in items)
