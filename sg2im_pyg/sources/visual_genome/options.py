"""Options of Visual Genome's preparation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.options import DownloadOptions
from sg2im_pyg.sources.visual_genome.selection import VisualGenomeSelection

if TYPE_CHECKING:
    from sg2im_pyg.sources.preparation import Conversion
    from sg2im_pyg.system.fetch import RemoteFile


@dataclass
class VisualGenomeOptions(VisualGenomeSelection, DownloadOptions):
    """Download and convert Visual Genome 1.4. What is there already is used: image_data.json,
    objects.json, attributes.json, relationships.json, object_alias.txt, relationship_alias.txt,
    vg_splits.json and the pictures in images/VG_100K and images/VG_100K_2, or the archives. A
    folder with vocab.json, train.h5, val.h5 and test.h5 of the 2018 release's preprocessing is
    read as it is."""

    vocabulary: str | None = None
    """JSON file with the names to use (the release's vocab.json is one); null: count them."""
    splits: str | None = None
    """JSON file with the lists train, val and test of numbers of pictures; null: the release's
    vg_splits.json if it is there, else at random."""
    split_seed: int | None = None
    """Divide the pictures at random with this seed instead of a list."""

    RAW = ("objects.json", "vocab.json")

    def __post_init__(self) -> None:
        DownloadOptions.__post_init__(self)
        VisualGenomeSelection.__post_init__(self)
        if self.splits is not None and self.split_seed is not None:
            raise Sg2ImError("--splits and --split_seed exclude each other: leave one of them out.")

    def files(self) -> Sequence["RemoteFile"]:
        from sg2im_pyg.sources.visual_genome.downloads import VISUAL_GENOME

        # Beside the files of the release's own preprocessing nothing else is needed.
        if (self.folder / "vocab.json").is_file():
            return ()
        if not self.no_download:
            return VISUAL_GENOME
        # One's own data may have neither attributes nor aliases.
        from sg2im_pyg.sources.visual_genome.source import OPTIONAL_FILES

        optional = {f"{name}{ending}" for name in OPTIONAL_FILES for ending in ("", ".zip")}
        return [file for file in VISUAL_GENOME if file.name not in optional]

    def known_settings(self) -> dict[str, Any] | None:
        if (self.vocabulary, self.splits, self.split_seed) != (None, None, None):
            return None
        return {"source": "visual_genome", **self.settings()}

    def conversion(self, folder: Path) -> "Conversion":
        from sg2im_pyg.sources.visual_genome.released import is_released, released_conversion
        from sg2im_pyg.sources.visual_genome.source import visual_genome_conversion

        if is_released(folder):
            return released_conversion(folder)
        splits = self.splits if self.split_seed is None else self.split_seed
        return visual_genome_conversion(folder, self, splits, self.vocabulary, self.progress)
