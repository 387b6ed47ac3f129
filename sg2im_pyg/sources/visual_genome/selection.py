"""Which objects, predicates and pictures of Visual Genome are used."""

from dataclasses import dataclass, fields
from typing import Any

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.options import check_options, option

PREDICATE_RULES = ("as-released", "everywhere")
"""Where predicates are rewritten (lower case, no blanks around, aliases), see
:class:`VisualGenomeSelection`."""


@dataclass
class VisualGenomeSelection:
    """Which names, objects and pictures of Visual Genome are used; the defaults are the release's.

    Raises:
        Sg2ImError: If a value is outside of its range.
    """

    min_object_instances: int = option(2000, least=0)
    """Use a name if at least so many objects of the training split have it."""
    min_attribute_instances: int = option(2000, least=0)
    """Keep an attribute if at least so many objects of the training split have it."""
    min_relationship_instances: int = option(500, least=0)
    """Use a predicate if at least so many relationships of the training split have it, between
    objects that are used."""
    min_image_side: int = option(200, least=0)
    """Leave out pictures with a side under this number of pixels."""
    min_object_side: int = option(32, least=0)
    """Ignore objects whose box has a side under this number of pixels."""
    min_objects: int = 3
    """Leave out pictures with fewer objects than this number."""
    max_objects: int = 30
    """Leave out pictures with more objects than this number."""
    min_relationships: int = option(1, least=0)
    """Leave out pictures with fewer relationships than this number."""
    max_relationships: int = option(30, least=0)
    """Leave out pictures with more relationships than this number."""
    predicates: str = "as-released"
    """Where predicates are rewritten (lower case, aliases): as-released, only in training pictures
    between objects used, others are compared with the vocabulary as written (the published counts
    of pictures depend on it), or everywhere."""

    def __post_init__(self) -> None:
        check_options(self)
        for kind, low, high, least in (
            ("objects", self.min_objects, self.max_objects, "of at least 1 and "),
            ("relationships", self.min_relationships, self.max_relationships, ""),
        ):
            if low > high or (least and low < 1):
                raise Sg2ImError(
                    f"The number of {kind} a picture must have a minimum {least}no more than its "
                    f"maximum, got {low} to {high}."
                )
        if self.predicates not in PREDICATE_RULES:
            raise Sg2ImError(
                f"Predicates are rewritten {' or '.join(map(repr, PREDICATE_RULES))}, got "
                f"{self.predicates!r}."
            )

    def settings(self) -> dict[str, Any]:
        """What stores note of it."""
        return {entry.name: getattr(self, entry.name) for entry in fields(VisualGenomeSelection)}
