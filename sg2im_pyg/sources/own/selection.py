"""Where own data lies, and what of it is used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.options import MAX_MASK_SIDE
from sg2im_pyg.system.options import check_options, option

FormatName = Literal["coco", "voc", "yolo", "labelme", "csv", "scene_graphs", "via", "vott"]

FORMATS: tuple[str, ...] = get_args(FormatName)
"""Names of the formats."""


@dataclass
class OwnSelection:
    """Where annotations and pictures lie, which of them are used, and how splits are drawn.

    Raises:
        Sg2ImError: If a value is outside of its range or two of them exclude each other.
    """

    annotations: str | None = None
    """File or folder of the annotations; in a folder, names of files and folders such as train,
    valid and test say which split they are of."""
    images: str | None = None
    """Folder of the pictures; null: that of the annotations."""
    format: FormatName | None = None
    """Format of the annotations; null: told by what they hold."""
    classes: str | None = None
    """YOLO's list of names: data.yaml, classes.txt or obj.names; null: the one that lies there."""
    relationships: str | None = None
    """CSV of relationships, with the columns image, subject, predicate and object: names of
    pictures; ids, positions from 0 or unique names of objects; and names of predicates."""
    draw_geometric: bool = False
    """Draw geometric relationships (left of, above, inside, ...) in training beside your own;
    without any of your own they are always drawn."""
    val_share: float = option(0.1, least=0, below=1)
    """Share of the pictures that is drawn for validation, where the annotations name no such
    split; at least one picture."""
    test_share: float = option(0.1, least=0, below=1)
    """Share of the pictures that is drawn for the test, where the annotations name no splits at
    all."""
    draw_splits: bool = False
    """Draw all splits, also where the annotations name some."""
    split_seed: int = option(0, least=0, most=2**32 - 1)
    """Seed that splits are drawn with."""
    mask_size: int | None = option(None, least=0, most=MAX_MASK_SIDE)
    """Side of an object's mask in pixels; 0: no masks; null: 16 where objects have outlines that
    are no boxes, 0 elsewhere."""
    min_object_size: float = option(0.0, least=0, below=1)
    """Leave out objects whose box covers no more than this fraction of the picture (0 to 1)."""
    min_objects: int = option(1, least=1)
    """Leave out pictures with fewer objects than this number."""
    max_objects: int | None = option(None, least=1)
    """Leave out pictures with more objects than this number."""
    min_name_count: int = option(1, least=1)
    """Leave out objects, relationships and attributes whose name occurs less often than this."""
    skip_unreadable: bool = False
    """Leave out pictures and annotations that are missing or wrong, instead of ending with an
    error."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.val_share + self.test_share >= 1:
            raise Sg2ImError(
                f"val_share and test_share are {self.val_share:g} and {self.test_share:g}, which "
                "leaves nothing to train on: give smaller shares."
            )
        if self.max_objects is not None and self.max_objects < self.min_objects:
            raise Sg2ImError(
                f"max_objects is {self.max_objects}, less than min_objects, {self.min_objects}: "
                "give a larger one, or leave it out."
            )

    @property
    def places(self) -> tuple[Path, Path]:
        """Where the annotations lie, and the folder of the pictures.

        Raises:
            Sg2ImError: If the first is not given, or the second is no folder.
        """
        if self.annotations is None:
            raise Sg2ImError("annotations is not set: give the file or folder with --annotations.")
        annotations = Path(self.annotations).resolve()
        folder = annotations if annotations.is_dir() else annotations.parent
        images = folder if self.images is None else Path(self.images).resolve()
        if not images.is_dir():
            raise Sg2ImError(
                f"There is no folder {images}: give the folder of the pictures with --images."
            )
        return annotations, images
