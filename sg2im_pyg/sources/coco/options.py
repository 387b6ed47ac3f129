"""Options of COCO's preparation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sg2im_pyg.sources.coco.selection import CocoSelection, MaskResize, mask_settings
from sg2im_pyg.sources.options import MAX_MASK_SIDE, DownloadOptions
from sg2im_pyg.system.options import option

if TYPE_CHECKING:
    from sg2im_pyg.sources.preparation import Conversion
    from sg2im_pyg.system.fetch import RemoteFile


@dataclass
class CocoOptions(CocoSelection, DownloadOptions):
    """Download and convert COCO 2017 with COCO-Stuff. What is there already is used:
    annotations/{instances,stuff}_{train,val}2017.json and the pictures in images/{train,val}2017
    or {train,val}2017, or the archives."""

    mask_size: int = option(16, least=0, most=MAX_MASK_SIDE)
    """Side of an object's mask in pixels; 0: no masks."""
    mask_resize: MaskResize = "as-released"
    """How masks come to that side: as-released, from the four pixels around each centre, as in the
    2018 release, so that relations come out the same; or smooth, averaged over all pixels."""

    RAW = ("annotations",)

    def __post_init__(self) -> None:
        DownloadOptions.__post_init__(self)
        CocoSelection.__post_init__(self)

    def files(self) -> Sequence["RemoteFile"]:
        from sg2im_pyg.sources.coco.downloads import COCO, COCO_STUFF

        return COCO if self.things_only else (COCO_STUFF, *COCO)

    def known_settings(self) -> dict[str, Any] | None:
        masks = mask_settings(self.mask_size, self.mask_resize)
        return {"source": "coco", **masks, **self.settings()}

    def conversion(self, folder: Path) -> "Conversion":
        from sg2im_pyg.sources.coco.source import coco_conversion

        return coco_conversion(
            folder, self, self.mask_size, self.processes, self.progress, self.mask_resize
        )
