"""Names of object categories and predicates, in index order."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from sg2im_pyg.errors import Sg2ImError

IMAGE = "__image__"
IN_IMAGE = "__in_image__"
UNUSED = "NONE"
"""Name of an index that no category uses (the release's COCO vocabulary has such holes)."""
GEOMETRIC_PREDICATES = ("left of", "right of", "above", "below", "inside", "surrounding")
"""The relations that follow from boxes and masks alone, in the release's order."""


class Vocabulary:
    """Object categories and predicates of a data set, and the way from names to indices.

    Index 0 is special in both lists: the object :obj:`"__image__"` stands for the whole picture
    and the predicate :obj:`"__in_image__"` ties every other object to it. They are put in front
    where they are missing.

    Args:
        objects: Names of the object categories, in index order. The name :obj:`"NONE"` may
            stand several times, for indices without a category; it can not be looked up.
        predicates: Names of the predicates, in index order.

    Raises:
        Sg2ImError: If a name is empty, no string, or given twice.

    Examples:
        >>> vocabulary = Vocabulary(["sky", "grass"], ["above", "below"])
        >>> vocabulary.objects
        ('__image__', 'sky', 'grass')
        >>> vocabulary.predicate_index("below")
        2
    """

    def __init__(self, objects: Iterable[str], predicates: Iterable[str]) -> None:
        self.objects = _with_special(objects, IMAGE, "object")
        self.predicates = _with_special(predicates, IN_IMAGE, "predicate")
        self._object_index = {name: i for i, name in enumerate(self.objects) if name != UNUSED}
        self._predicate_index = {
            name: i for i, name in enumerate(self.predicates) if name != UNUSED
        }

    def object_index(self, name: str) -> int:
        """Index of an object category; an unknown name raises with the nearest known ones."""
        return _index(name, self._object_index, "object")

    def predicate_index(self, name: str) -> int:
        """Index of a predicate; an unknown name raises with the nearest known ones."""
        return _index(name, self._predicate_index, "predicate")

    def to_dict(self) -> dict[str, list[str]]:
        """Plain containers, as they are stored in data files and checkpoints."""
        return {"objects": list(self.objects), "predicates": list(self.predicates)}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "Vocabulary":
        """The inverse of :meth:`to_dict`.

        Raises:
            Sg2ImError: If a list is missing or holds anything but names.
        """
        for key in ("objects", "predicates"):
            if not isinstance(entries, Mapping) or not isinstance(entries.get(key), (list, tuple)):
                raise Sg2ImError(
                    f"A vocabulary needs the two lists 'objects' and 'predicates'; {key!r} is "
                    "missing or no list."
                )
        return cls(entries["objects"], entries["predicates"])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vocabulary)
            and self.objects == other.objects
            and self.predicates == other.predicates
        )

    def __hash__(self) -> int:
        return hash((self.objects, self.predicates))

    def __repr__(self) -> str:
        return f"Vocabulary(objects={len(self.objects)}, predicates={len(self.predicates)})"


def _with_special(names: Iterable[str], special: str, kind: str) -> tuple[str, ...]:
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or not name:
            raise Sg2ImError(f"Each {kind} name must be a non-empty string, got {name!r}.")
    if not names or names[0] != special:
        names = (special, *names)
    seen = set()
    for name in names:
        if name in seen and name != UNUSED:
            raise Sg2ImError(
                f"The {kind} {name!r} stands twice in the vocabulary; each name may stand once"
                + (f", {special!r} at index 0." if name == special else ".")
            )
        seen.add(name)
    return names


def _index(name: str, index: Mapping[str, int], kind: str) -> int:
    if isinstance(name, str) and name in index:
        return index[name]
    known = [known for known in index if not known.startswith("__")]
    near = difflib.get_close_matches(str(name)[:100].lower(), known, n=3, cutoff=0.5)
    if near:
        hint = "did you mean " + " or ".join(repr(match) for match in near) + "?"
    else:
        shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        hint = f"the known names are: {shown}."
    shown_name = repr(name) if len(repr(name)) <= 60 else repr(name)[:57] + "..."
    raise Sg2ImError(f"The {kind} {shown_name} is not in the vocabulary; {hint}")
