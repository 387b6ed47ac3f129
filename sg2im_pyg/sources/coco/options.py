"""Options of COCO's preparation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sg2im_pyg.errors import Sg2ImError
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
    or {train,val}2017, or the archives. Annotations of other names in the same format are read,
    too: annotations/instances_NAME.json with the pictures in images/NAME."""

    annotations: list[str] | None = option(None, metavar="FILE")
    """Annotation file of train, and perhaps that of val, in place of those in a folder of COCO."""
    images: list[str] | None = option(None, metavar="DIR")
    """Folder of the pictures of --annotations, or one for each."""
    val_share: float = option(0.1, above=0, below=1)
    """Share of the pictures that is validated on where there is one annotation file."""
    split_seed: int = option(0, least=0)
    """Seed that these are drawn with."""
    mask_size: int = option(16, least=0, most=MAX_MASK_SIDE)
    """Side of an object's mask in pixels; 0: no masks."""
    mask_resize: MaskResize = "as-released"
    """How masks come to that side: as-released, from the four pixels around each centre, as in the
    2018 release, so that relations come out the same; or smooth, averaged over all pixels."""

    RAW = ("annotations",)

    def __post_init__(self) -> None:
        DownloadOptions.__post_init__(self)
        CocoSelection.__post_init__(self)
        if (self.annotations is None) != (self.images is None):
            raise Sg2ImError("--annotations and --images go together: give both, or a --source.")

    @property
    def _is_own(self) -> bool:
        """Whether there are annotations of other names than COCO's."""
        from sg2im_pyg.sources.coco.layout import other_names

        in_root = self.root is not None and other_names(Path(self.root)) is not None
        return self.annotations is not None or in_root

    def files(self) -> Sequence["RemoteFile"]:
        from sg2im_pyg.sources.coco.downloads import COCO, COCO_STUFF

        if self._is_own:
            return ()
        return COCO if self.things_only else (COCO_STUFF, *COCO)

    def known_settings(self) -> dict[str, Any] | None:
        if self._is_own:
            return None
        masks = mask_settings(self.mask_size, self.mask_resize)
        return {"source": "coco", **masks, **self.settings()}

    def conversion(self, folder: Path) -> "Conversion":
        from sg2im_pyg.sources.coco.layout import find_layout
        from sg2im_pyg.sources.coco.source import CocoFiles, coco_conversion

        files = CocoFiles(
            find_layout(folder, self, self.annotations, self.images),
            self.val_share,
            self.split_seed,
            self.processes,
            self.skip_unreadable,
            self.progress,
        )
        return coco_conversion(files, self, self.mask_size, self.mask_resize)
