"""Options of the preparation of own data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sg2im_pyg.sources.options import PreparationOptions
from sg2im_pyg.sources.own.selection import OwnSelection

if TYPE_CHECKING:
    from sg2im_pyg.sources.pictures import Paths


@dataclass
class OwnOptions(OwnSelection, PreparationOptions):
    """Convert annotations and pictures of your own: JSON in COCO's format (as CVAT, Label Studio,
    Roboflow, labelme2coco, VIA, fiftyone and supervision write it), Pascal VOC's XML, YOLO's text
    files, labelme's JSON, a CSV of boxes, scene graphs of Visual Genome and GQA, VIA's and VoTT's
    own files. Nothing is left out unasked; a table says what could not be used, and why."""

    def __post_init__(self) -> None:
        PreparationOptions.__post_init__(self)
        OwnSelection.__post_init__(self)

    def prepare(self) -> "Paths":
        from sg2im_pyg.sources.own.source import prepare_own

        return prepare_own(self, self.folder, self.sizes, self.processes, self.progress)

    def training_options(self, paths: "Paths") -> dict[str, Any]:
        from sg2im_pyg.sources.own.advice import training_options

        return training_options(paths)
