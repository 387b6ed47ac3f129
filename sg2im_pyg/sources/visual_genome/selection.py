"""Which objects, predicates and pictures of Visual Genome are used."""

from dataclasses import asdict, dataclass

from sg2im_pyg.errors import Sg2ImError

PREDICATE_RULES = ("as-released", "everywhere")
"""Where predicates are rewritten (lower case, no blanks around, aliases), see
:class:`VisualGenomeSelection`."""


@dataclass(frozen=True)
class VisualGenomeSelection:
    """Which names, objects and pictures of Visual Genome are used; the defaults are the release's.

    Args:
        min_object_instances: A name of objects is used if so many objects of the training split
            have it.
        min_attribute_instances: The same for attributes.
        min_relationship_instances: The same for predicates, between objects that are used.
        min_image_side: Pictures with a shorter side, in pixels, are left out.
        min_object_side: Objects with a shorter side, in pixels, are left out.
        min_objects: Pictures with fewer objects left are left out.
        max_objects: Pictures with more objects left are left out.
        min_relationships: Pictures with fewer relationships left are left out.
        max_relationships: Pictures with more relationships left are left out.
        predicates: Where predicates are rewritten (lower case, no blanks around, aliases):
            :obj:`"as-released"` only in pictures of the training split and between objects that
            are used, others are compared with the vocabulary as written (the published counts of
            pictures depend on it); :obj:`"everywhere"`.

    Raises:
        Sg2ImError: If a value is outside of its range.
    """

    min_object_instances: int = 2000
    min_attribute_instances: int = 2000
    min_relationship_instances: int = 500
    min_image_side: int = 200
    min_object_side: int = 32
    min_objects: int = 3
    max_objects: int = 30
    min_relationships: int = 1
    max_relationships: int = 30
    predicates: str = "as-released"

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "predicates" and value < 0:
                raise Sg2ImError(f"{name} must be at least 0, got {value}.")
        for kind, low, high in (
            ("objects", self.min_objects, self.max_objects),
            ("relationships", self.min_relationships, self.max_relationships),
        ):
            if low > high or (kind == "objects" and low < 1):
                raise Sg2ImError(
                    f"The number of {kind} a picture must have a minimum "
                    f"{'of at least 1 and ' if kind == 'objects' else ''}no more than its maximum, "
                    f"got {low} to {high}."
                )
        if self.predicates not in PREDICATE_RULES:
            raise Sg2ImError(
                f"Predicates are rewritten {' or '.join(map(repr, PREDICATE_RULES))}, got "
                f"{self.predicates!r}."
            )
