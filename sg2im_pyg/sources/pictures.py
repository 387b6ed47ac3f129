"""The picture pass: decodes each picture of a source once and writes the stores.

Pictures go, in their order, to one file of rows a size. Such a file says by its length how far the
work has come, so that an interrupted preparation goes on, and the store that is made of it when
all pictures are there is the same, byte by byte, as that of an uninterrupted one.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sg2im_pyg.data.store import SPARE_BYTES, columns_bytes, write_store
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.annotations import Annotations
from sg2im_pyg.sources.images import TURNED, UNTURNED, load_images
from sg2im_pyg.sources.picture_files import GUESSED, find_pictures
from sg2im_pyg.system.disk import check_space
from sg2im_pyg.system.files import write_json
from sg2im_pyg.system.parallel import ordered_map
from sg2im_pyg.system.progress import progress_bar

_CHUNK = 16  # pictures a task: about 0.1 s of work
_FEW = 256  # pictures; starting processes takes longer than decoding these
_REMARKS = ("", TURNED, UNTURNED)
_SHOWN = 3  # unreadable pictures that an error names

ImageSize = tuple[int, int]
"""Height and width."""

Paths = dict[ImageSize, dict[str, Path]]
"""The store of each split at each size."""

UNREADABLE = "the picture can not be read"
"""Why pictures were left out, in a store's report."""


def write_pictures(
    annotations: Annotations,
    folder: Path,
    paths: dict[ImageSize, Path],
    settings: dict[str, Any],
    workers: int,
    skip_unreadable: bool = False,
    check_sizes: bool = True,
    progress: str | None = None,
) -> None:
    """Decodes the pictures of a split and writes its store at each size.

    Args:
        annotations: The split.
        folder: Folder that the pictures' files are relative to.
        paths: The store to write at each size (height, width).
        settings: Settings of the preparation, kept in the stores beside the size.
        workers: Number of processes.
        skip_unreadable: Leave pictures out that can not be read, instead of raising.
        check_sizes: Whether a picture must have the size that its source lists.
        progress: What the progress bar is called; :obj:`None` for no bar.

    Raises:
        Sg2ImError: After all pictures have been tried, if some can not be read, or none; what has
            been decoded is kept, and the next call goes on with those.
        OSError: If the disk is full; what has been decoded is kept.
    """
    sizes, total = list(paths), len(annotations)
    state = _State(annotations, folder, paths)
    picture_bytes = sum(height * width * 3 for height, width in sizes)
    # Twice: for a moment the rows and the store that is made of them are both there.
    needed = (2 * total - state.done) * picture_bytes
    needed += len(paths) * (columns_bytes(annotations.table) + SPARE_BYTES)
    check_space({next(iter(paths.values())).parent: needed}, f"The data of {total:,} pictures")
    todo = [*(index for index in state.unreadable if index < state.done), *range(state.done, total)]
    files, guessed = find_pictures(folder, annotations.files)
    tasks = _tasks(annotations, files, todo)
    bar = progress_bar(
        progress, total, progress is not None, initial=total - len(todo), unit=" pictures"
    )
    with ExitStack() as stack, bar:
        rows = [stack.enter_context(path.open("r+b")) for path in state.rows.values()]
        if len(todo) < _FEW:
            workers = 1
        for result in ordered_map(partial(_decode, sizes, check_sizes), tasks, workers):
            # What can not be read is noted before its empty row is there, and what can be read
            # now is forgotten after its row is: a kill in between leaves no black picture.
            state.note(result.errors, result.remarks)
            _write_rows(rows, sizes, result)
            state.forget(set(result.indices) - result.errors.keys())
            bar.update(len(result.indices))
    kept, skipped = None, dict(annotations.skipped)
    if state.unreadable:
        if not skip_unreadable:
            raise Sg2ImError(_unreadable_sentence(state.unreadable, total, folder))
        if len(state.unreadable) == total:
            raise Sg2ImError(
                f"No picture of {folder} can be read, all {total:,} that are used would be left "
                f"out. {next(iter(state.unreadable.values()))}"
            )
        kept = np.setdiff1d(np.arange(total), list(state.unreadable))
        skipped[UNREADABLE] = skipped.get(UNREADABLE, 0) + len(state.unreadable)
    notes = dict(annotations.notes)
    counts = np.bincount(state.remarks if kept is None else state.remarks[kept], minlength=3)
    for what, count in zip((GUESSED, *_REMARKS[1:]), (guessed, *counts[1:].tolist()), strict=True):
        if count:
            notes[what] = count
    report = {"skipped_pictures": skipped, "notes": notes}
    for size, path in paths.items():
        write_store(
            path,
            annotations.table,
            state.rows[size],
            annotations.vocabulary,
            size,
            annotations.mask_size,
            {**settings, "image_size": list(size), "report": report},
            kept,
        )
        state.remove(size)


_Picture = tuple[int, Path, ImageSize]
"""Number of a picture, its file, and the size that the annotations list."""


@dataclass
class _Result:
    indices: list[int]
    images: list[np.ndarray]  # one array (n, H, W, 3) a size
    errors: dict[int, str]
    remarks: dict[int, str]


def _tasks(
    annotations: Annotations, files: Sequence[Path], todo: Sequence[int]
) -> Iterator[list[_Picture]]:
    for start in range(0, len(todo), _CHUNK):
        indices = todo[start : start + _CHUNK]
        listed = [tuple(size) for size in annotations.stored_sizes[indices].tolist()]
        yield list(zip(indices, [files[index] for index in indices], listed, strict=True))


def _decode(sizes: Sequence[ImageSize], strict: bool, pictures: Sequence[_Picture]) -> _Result:
    images = [np.zeros((len(pictures), *size, 3), np.uint8) for size in sizes]
    errors, remarks = {}, {}
    for row, (index, path, listed) in enumerate(pictures):
        try:
            decoded, remark = load_images(path, sizes, listed, strict)
        except Sg2ImError as error:
            errors[index] = str(error)
            continue
        if remark:
            remarks[index] = remark
        for array, image in zip(images, decoded, strict=True):
            array[row] = image
    return _Result([index for index, *_ in pictures], images, errors, remarks)


def _write_rows(files: Sequence[BinaryIO], sizes: Sequence[ImageSize], result: _Result) -> None:
    for file, (height, width), images in zip(files, sizes, result.images, strict=True):
        try:
            for index, image in zip(result.indices, images, strict=True):
                place = index * height * width * 3
                if file.tell() != place:
                    file.seek(place)
                file.write(image.tobytes())
            file.flush()
        except OSError as error:  # the system's own words do not name the file
            error.filename = error.filename or file.name
            raise


class _State:
    """How far the pass has come: a file of rows a size, and beside each a note of what it is."""

    def __init__(
        self, annotations: Annotations, folder: Path, paths: dict[ImageSize, Path]
    ) -> None:
        self.rows = {size: path.with_name(f".{path.stem}.rows") for size, path in paths.items()}
        sizes = annotations.stored_sizes.tolist()
        names = [annotations.settings, annotations.files, sizes, str(folder)]
        content = json.dumps(names, sort_keys=True)
        self.identity = hashlib.sha256(content.encode()).hexdigest()
        self.unreadable: dict[int, str] = {}
        self.remarks = np.zeros(len(annotations), np.uint8)  # of each a place in _REMARKS
        self.done = len(annotations)
        try:
            for (height, width), path in self.rows.items():
                found = json.loads(_note_path(path).read_text(encoding="utf-8"))
                if found["identity"] != self.identity:
                    raise ValueError("rows of other pictures")
                self.done = min(self.done, path.stat().st_size // (height * width * 3))
                self.unreadable |= {int(i): text for i, text in found["unreadable"].items()}
                self.remarks[:] = np.fromfile(_remarks_path(path), np.uint8)
        except (OSError, ValueError, KeyError, TypeError):
            self.done, self.unreadable = 0, {}
            self.remarks[:] = 0
        for (height, width), path in self.rows.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:  # what came after the last whole picture goes
                file.truncate(self.done * height * width * 3)
        self._write_remarks()
        self._write()

    def note(self, errors: dict[int, str], remarks: dict[int, str]) -> None:
        if remarks:
            self.remarks[list(remarks)] = [_REMARKS.index(text) for text in remarks.values()]
            self._write_remarks()
        if errors:
            self.unreadable.update(errors)
            self._write()

    def forget(self, indices: set[int]) -> None:
        if indices & self.unreadable.keys():
            self.unreadable = {i: t for i, t in self.unreadable.items() if i not in indices}
            self._write()

    def remove(self, size: ImageSize) -> None:
        """Removes the rows of a size, when their store is there."""
        self.rows[size].unlink()
        _remarks_path(self.rows[size]).unlink()
        _note_path(self.rows[size]).unlink()

    def _write(self) -> None:
        for path in self.rows.values():
            content = {"identity": self.identity, "unreadable": self.unreadable}
            write_json(_note_path(path), content)

    def _write_remarks(self) -> None:
        for path in self.rows.values():
            self.remarks.tofile(_remarks_path(path))


def _note_path(rows: Path) -> Path:
    return rows.with_name(f"{rows.name}.json")


def _remarks_path(rows: Path) -> Path:
    return rows.with_name(f"{rows.name}.remarks")


def _unreadable_sentence(unreadable: dict[int, str], total: int, folder: Path) -> str:
    first, *others = unreadable.values()
    if others:
        first = (
            f"{len(unreadable):,} of {total:,} pictures of {folder} can not be read, among them: "
            + " ".join([first, *others][:_SHOWN])
        )
    return (
        f"{first} The others of this split are decoded and kept: run the same command again when "
        "that is put right, or leave such pictures out with --skip_unreadable."
    )
