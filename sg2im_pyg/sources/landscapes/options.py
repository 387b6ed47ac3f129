"""Options of the landscapes' preparation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sg2im_pyg.sources.options import PreparationOptions
from sg2im_pyg.system.options import option

if TYPE_CHECKING:
    from sg2im_pyg.sources.pictures import Paths


@dataclass
class LandscapesOptions(PreparationOptions):
    """Paint landscapes with exact boxes and masks. Needs no download."""

    mask_size: int = option(32, least=0)
    """Side of an object's mask in pixels; 0: no masks."""
    train: int = option(10_000, least=1)
    """Number of pictures to train on."""
    val: int = option(1_000, least=1)
    """Number of pictures to validate on."""
    test: int = option(1_000, least=1)
    """Number of pictures to test on."""
    seed: int = option(0, least=0, below=2**32)
    """Seed of the pictures; the same seed, the same data."""

    def prepare(self) -> "Paths | None":
        from sg2im_pyg.sources.landscapes.source import prepare_landscapes

        names = ("mask_size", "train", "val", "test", "seed", "workers", "progress")
        chosen = {name: getattr(self, name) for name in names}
        return {size: prepare_landscapes(self.folder, size, **chosen) for size in self.sizes}
