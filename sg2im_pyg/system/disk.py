"""Room on disks."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from sg2im_pyg.errors import Sg2ImError


def check_space(needs: Mapping[Path, int], purpose: str) -> None:
    """Raises unless the disks have room for so many bytes in these folders.

    Args:
        needs: Bytes by folder; folders need not exist yet, and those on one disk share its room.
        purpose: What the room is for, the subject of the sentence.

    Raises:
        Sg2ImError: If a disk has less room.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs.items():
        disk = _existing(folder).stat().st_dev
        first, before = disks.get(disk, (folder, 0))
        disks[disk] = (first, before + needed)
    for folder, needed in disks.values():
        free = free_bytes(folder)
        if needed > free:
            raise Sg2ImError(
                f"{purpose} needs {format_bytes(needed)} of disk space in {folder}, where "
                f"{format_bytes(free)} are free: make room, or choose a folder on another disk."
            )


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


def format_bytes(count: int) -> str:
    """A number of bytes for people.

    Examples:
        >>> format_bytes(19_336_861_798), format_bytes(815_585_330), format_bytes(12)
        ('19.3 GB', '815.6 MB', '12 bytes')
    """
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _existing(folder: Path) -> Path:
    """The folder itself or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())
