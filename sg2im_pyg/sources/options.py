"""Options of the preparation: the fields of these dataclasses are the command line of
``prepare.py``, and the text below a field is its help text.

The data itself is read by other modules, which are imported when the preparation begins.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.options import check_options, option

if TYPE_CHECKING:
    from sg2im_pyg.sources.pictures import Paths
    from sg2im_pyg.sources.preparation import Conversion
    from sg2im_pyg.system.fetch import RemoteFile

MAX_SIDE, MAX_MASK_SIDE = 2048, 512
"""Largest pictures and masks, in pixels: sixteen pictures are held at once by each process."""


@dataclass
class PreparationOptions:
    """What every source can be asked for.

    A source derives its own options from these, with a method :meth:`prepare`.

    Raises:
        Sg2ImError: If a value is none of its option.
    """

    root: str | None = None
    """Folder that all is written to, the stores as <height>x<width>/{train,val,test}.h5; default:
    datasets/<source> in the repository."""
    image_size: list[str] = option(lambda: ["64"])
    """Size of the pictures in pixels: 64 for a square, 48x64 for height and width; several sizes
    (64 128) are made in one go."""
    workers: int | None = option(None, least=1)
    """Number of processes; null: one a core."""
    progress: bool = True
    """Show a progress bar on a terminal."""

    def __post_init__(self) -> None:
        check_options(self)
        if not self.sizes:
            raise Sg2ImError("image_size names no size: give at least one, such as 64.")

    @classmethod
    def for_training(
        cls, root: str | Path, image_size: tuple[int, int], mask_size: int
    ) -> "PreparationOptions":
        """The options of the data that a training needs; without masks for it, the usual ones."""
        height, width = image_size
        options: dict[str, Any] = {"root": str(root), "image_size": [f"{height}x{width}"]}
        if mask_size and any(entry.name == "mask_size" for entry in fields(cls)):
            options["mask_size"] = mask_size
        return cls(**options)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of the pictures, in pixels."""
        sizes: dict[tuple[int, int], None] = {}
        for text in self.image_size:
            match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip().lower())
            height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
                raise Sg2ImError(
                    "--image_size takes sizes in pixels such as 64 (a square) or 48x64 (height and "
                    f"width), up to {MAX_SIDE}, got {text!r}."
                )
            sizes[height, width] = None
        return list(sizes)

    @property
    def folder(self) -> Path:
        """The root, which programs fill in where it is not given."""
        if self.root is None:
            raise Sg2ImError("root is not set: give the folder that the data is written to.")
        return Path(self.root)

    @property
    def processes(self) -> int:
        """Number of processes, also where it is not given."""
        from sg2im_pyg.system.parallel import usable_cores

        return self.workers or usable_cores()

    def prepare(self) -> "Paths | None":
        """Writes the stores that are missing.

        Returns:
            The store of each split at each size; :obj:`None` if none was asked for.

        Raises:
            Sg2ImError: If something is missing or wrong, or stores are there with other settings.
        """
        raise NotImplementedError

    def training_options(self, paths: "Paths") -> dict[str, Any]:
        """Options of a training that fit what was prepared, beside those that every source has:
        values by names such as :obj:`"model.mask_size"` or :obj:`"config"`; :obj:`None` takes one
        away.

        Args:
            paths: What :meth:`prepare` gave.
        """
        return {}


@dataclass
class DownloadOptions(PreparationOptions):
    """What every source can be asked for whose annotations and pictures are downloaded.

    A source gives :attr:`RAW`, :meth:`files`, :meth:`conversion` and :meth:`known_settings`.
    """

    source: str | None = None
    """Folder that holds the data already, unpacked: nothing is downloaded or written there; null:
    --root, and what is missing is downloaded."""
    download_only: bool = False
    """Download and unpack, convert nothing."""
    no_download: bool = False
    """Use no network, only what is there."""
    yes: bool = False
    """Download what is missing without asking a person at a terminal."""
    mirror: str | None = None
    """Address of a folder that holds the archives, tried before the usual ones."""
    skip_unreadable: bool = False
    """Leave out pictures that are missing or damaged, and annotations that can not be used, instead
    of ending with an error."""

    RAW: ClassVar[tuple[str, ...]]
    """Files or folders of which one lies in the root where the raw data does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.download_only and (self.no_download or self.source):
            raise Sg2ImError(
                "--download_only downloads into --root, and --no_download or --source rule that "
                "out: leave one of them out."
            )

    def files(self) -> Sequence["RemoteFile"]:
        """What the raw data consists of."""
        raise NotImplementedError

    def conversion(self, folder: Path) -> "Conversion":
        """What is made of the raw data in a folder."""
        raise NotImplementedError

    def known_settings(self) -> dict[str, Any] | None:
        """Settings by which stores are known where the raw data is gone; :obj:`None` where only
        that can tell."""
        raise NotImplementedError

    def prepare(self) -> "Paths | None":
        from sg2im_pyg.sources.obtain import obtain
        from sg2im_pyg.sources.preparation import prepare_stores, prepared_stores

        root, settings = self.folder, self.known_settings()
        raw = Path(self.source).resolve() if self.source else root
        if not self.source:
            raw_is_there = any((root / name).exists() for name in self.RAW)
            if settings is not None and not (raw_is_there or self.download_only):
                paths = prepared_stores(root, self.sizes, settings)
                if paths is not None:  # what they were made of is gone, and not needed any more
                    return paths
            root.mkdir(parents=True, exist_ok=True)
            steps = obtain(
                self.files(),
                root,
                self.mirror,
                not self.no_download,
                self.progress,
                ask=not self.yes,
            )
            if self.download_only:
                print("\n".join(steps))
                return None
        conversion = self.conversion(raw)
        paths = prepare_stores(
            conversion, root, self.sizes, self.processes, self.skip_unreadable, self.progress
        )
        if conversion.note:
            print(conversion.note)
        return paths
