"""Which objects and pictures of COCO are used, and how stores note it."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.coco.image_ids import id_files
from sg2im_pyg.system.files import fingerprint
from sg2im_pyg.system.options import check_options, option

MaskResize = Literal["as-released", "smooth"]
"""How masks are resized, see :func:`sg2im_pyg.sources.masks.resized`."""


@dataclass
class CocoSelection:
    """Which objects and which pictures of COCO are used; the defaults are the release's.

    Raises:
        Sg2ImError: If a value is outside of its range or two of them exclude each other.
    """

    min_object_size: float = option(0.02, least=0, below=1)
    """Ignore objects whose box covers no more than this fraction of the picture (0 to 1)."""
    min_objects: int = 3
    """Leave out pictures with fewer objects than this number."""
    max_objects: int = 8
    """Leave out pictures with more objects than this number."""
    things: list[str] | None = None
    """Names of the thing categories to use (person car); null: all."""
    stuff: list[str] | None = None
    """Names of the stuff categories to use; null: all."""
    things_only: bool = False
    """Use no stuff, for a COCO without stuff annotations."""
    all_images: bool = False
    """Use also pictures that have no stuff annotation."""
    image_ids: list[str] | None = option(None, metavar="FILE")
    """Use only pictures whose numbers these files list, one a line or as a JSON list; null: all. Of
    val2017 all are used where they list none of it. The paper's are those of the challenge of 2017,
    whose lists lie in COCO-Stuff's archive (docs/data.md)."""
    include_other: bool = False
    """Keep objects of the stuff category 'other'."""
    val_images: int = option(1024, least=1)
    """Number of fitting pictures of val2017, from the first of its picture list on, to validate on;
    the others are the test split. The paper's 1,024 and 2,048 count such pictures, too."""

    def __post_init__(self) -> None:
        check_options(self)
        if not 1 <= self.min_objects <= self.max_objects:
            raise Sg2ImError(
                "The number of objects a picture must have a minimum of at least 1 and no more "
                f"than its maximum, got {self.min_objects} to {self.max_objects}."
            )
        if self.stuff is not None and self.things_only:
            raise Sg2ImError(
                "Stuff categories are named although stuff is switched off: leave one of them out."
            )

    @property
    def use_stuff(self) -> bool:
        """Whether stuff is used at all; without it no stuff annotations are needed."""
        return not self.things_only

    def settings(self) -> dict[str, Any]:
        """What stores note of it."""
        names = [entry.name.replace("things_only", "use_stuff") for entry in fields(CocoSelection)]
        settings = {name: getattr(self, name) for name in names}
        if self.image_ids is None:  # stores of before have no word on it
            del settings["image_ids"]
        else:
            settings["image_ids"] = [fingerprint(path) for path in id_files(self.image_ids)]
        return settings


def mask_settings(mask_size: int, mask_resize: MaskResize) -> dict[str, Any]:
    """What stores note of their masks. Those of before have smooth ones and no word on it."""
    as_released = mask_size and mask_resize == "as-released"
    return {"mask_size": mask_size, **({"mask_resize": mask_resize} if as_released else {})}
