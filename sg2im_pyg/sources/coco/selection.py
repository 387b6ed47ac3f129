"""Which objects and pictures of COCO are used."""

from dataclasses import dataclass

from sg2im_pyg.errors import Sg2ImError


@dataclass(frozen=True)
class CocoSelection:
    """Which objects and which pictures of COCO are used; the defaults are the release's.

    Args:
        min_object_size: Objects whose box covers no more than this fraction of the picture's
            area are ignored, in :math:`[0, 1)`.
        min_objects: Pictures with fewer objects left are not used.
        max_objects: Pictures with more objects left are not used.
        things: Names of the thing categories to use; :obj:`None` for all.
        stuff: Names of the stuff categories to use; :obj:`None` for all.
        use_stuff: Whether stuff is used at all; without it no stuff annotations are needed.
        all_images: Use also pictures without any stuff annotation.
        include_other: Keep objects of the stuff category :obj:`"other"`.
        val_images: The first so many pictures used of val2017 (in the order of its picture list)
            are the validation split, the others the test split. The paper's 1,024 and 2,048
            count the pictures that are left after the selection.

    Raises:
        Sg2ImError: If a value is outside of its range or two of them exclude each other.
    """

    min_object_size: float = 0.02
    min_objects: int = 3
    max_objects: int = 8
    things: tuple[str, ...] | None = None
    stuff: tuple[str, ...] | None = None
    use_stuff: bool = True
    all_images: bool = False
    include_other: bool = False
    val_images: int = 1024

    def __post_init__(self) -> None:
        if not 0 <= self.min_object_size < 1:
            raise Sg2ImError(
                "The smallest object size is a fraction of the picture's area from 0 to below 1, "
                f"got {self.min_object_size}."
            )
        if not 1 <= self.min_objects <= self.max_objects:
            raise Sg2ImError(
                "The number of objects a picture must have a minimum of at least 1 and no more "
                f"than its maximum, got {self.min_objects} to {self.max_objects}."
            )
        if self.val_images < 1:
            raise Sg2ImError(
                f"The validation split needs at least 1 picture, got {self.val_images}."
            )
        if self.stuff is not None and not self.use_stuff:
            raise Sg2ImError(
                "Stuff categories are named although stuff is switched off: leave one of them out."
            )
