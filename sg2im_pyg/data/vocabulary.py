"""Names of object categories, predicates and attributes of objects, in index order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sg2im_pyg.errors import Sg2ImError, nearest, shortened

IMAGE = "__image__"
IN_IMAGE = "__in_image__"
UNUSED = "NONE"
"""Name of an index that no category uses (the release's COCO vocabulary has such holes)."""
GEOMETRIC_PREDICATES = ("left of", "right of", "above", "below", "inside", "surrounding")
"""The relations that follow from boxes and masks alone, in the release's order."""


@dataclass(init=False, repr=False, unsafe_hash=True)
class Vocabulary:
    """Object categories, predicates and attributes of a data set, and the way from names to
    indices.

    Index 0 is special in the first two lists: the object :obj:`"__image__"` stands for the whole
    picture and the predicate :obj:`"__in_image__"` ties every other object to it. They are put in
    front where they are missing.

    Args:
        objects: Names of the object categories, in index order. The name :obj:`"NONE"` may
            stand several times, for indices without a category; it can not be looked up.
        predicates: Names of the predicates, in index order.
        attributes: Names of the objects' attributes, in index order; none where data has none.

    Raises:
        Sg2ImError: If a name is empty, no string, or given twice.

    Examples:
        >>> vocabulary = Vocabulary(["sky", "grass"], ["above", "below"])
        >>> vocabulary.objects
        ('__image__', 'sky', 'grass')
        >>> vocabulary.predicate_index("below")
        2
    """

    objects: tuple[str, ...]
    predicates: tuple[str, ...]
    attributes: tuple[str, ...]

    def __init__(
        self, objects: Iterable[str], predicates: Iterable[str], attributes: Iterable[str] = ()
    ) -> None:
        self.objects = _checked(objects, "object", IMAGE)
        self.predicates = _checked(predicates, "predicate", IN_IMAGE)
        self.attributes = _checked(attributes, "attribute")
        self._object_index, self._predicate_index, self._attribute_index = (
            {name: i for i, name in enumerate(names) if name != UNUSED}
            for names in (self.objects, self.predicates, self.attributes)
        )

    def object_index(self, name: str) -> int:
        """Index of an object category; an unknown name raises with the nearest known ones."""
        return _index(name, self._object_index, "object")

    def predicate_index(self, name: str) -> int:
        """Index of a predicate; an unknown name raises with the nearest known ones."""
        return _index(name, self._predicate_index, "predicate")

    def attribute_index(self, name: str) -> int:
        """Index of an attribute; an unknown name raises with the nearest known ones."""
        return _index(name, self._attribute_index, "attribute")

    def to_dict(self) -> dict[str, list[str]]:
        """Plain containers, as they are stored in data files and checkpoints; attributes only
        where there are some."""
        names = {"objects": list(self.objects), "predicates": list(self.predicates)}
        return names | ({"attributes": list(self.attributes)} if self.attributes else {})

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
        attributes = entries.get("attributes", [])
        if not isinstance(attributes, (list, tuple)):
            raise Sg2ImError("'attributes' of a vocabulary must be a list of names.")
        return cls(entries["objects"], entries["predicates"], attributes)

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind}={len(names)}" for kind, names in self.to_dict().items())
        return f"Vocabulary({counts})"


def _checked(names: Iterable[str], kind: str, special: str | None = None) -> tuple[str, ...]:
    """Names of one kind, the special one in front where it is missing."""
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or not name:
            raise Sg2ImError(f"Each {kind} name must be a non-empty string, got {name!r}.")
    if special and names[:1] != (special,):
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
    raise Sg2ImError(
        f"The {kind} {shortened(repr(name))} is not in the vocabulary; "
        f"{nearest(name, known, 'the known names are:')}"
    )
