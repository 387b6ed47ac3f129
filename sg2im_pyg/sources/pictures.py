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
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from sg2im_pyg.data.store import SPARE_BYTES, columns_bytes, write_store
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.annotations import Annotations
from sg2im_pyg.sources.images import load_images
from sg2im_pyg.system.disk import check_space
from sg2im_pyg.system.files import replace_when_whole
from sg2im_pyg.system.parallel import ordered_map

_CHUNK = 16  # pictures a task: about 0.1 s of work
_FEW = 256  # pictures; starting processes takes longer than decoding these
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
        Sg2ImError: After all pictures have been tried, if some can not be read; what has been
            decoded is kept, and the next call goes on with those.
        OSError: If the disk is full; what has been decoded is kept.
    """
    sizes = list(paths)
    state = _State.of(annotations, folder, paths)
    # Twice: for a moment the rows and the store that is made of them are both there.
    pictures = 2 * len(annotations) * state.picture_bytes - state.bytes_there()
    check_space(
        {
            next(iter(paths.values())).parent: pictures
            + len(paths) * (columns_bytes(annotations.table) + SPARE_BYTES)
        },
        f"The data of {len(annotations):,} pictures",
    )
    done = state.done
    todo = [index for index in state.unreadable if index < done]
    todo += range(done, len(annotations))
    tasks = _tasks(annotations, folder, sizes, todo, check_sizes)
    with (
        ExitStack() as stack,
        tqdm(
            total=len(annotations),
            initial=len(annotations) - len(todo),
            desc=progress,
            unit=" pictures",
            disable=True if progress is None else None,
        ) as bar,
    ):
        rows = [stack.enter_context(path.open("r+b")) for path in state.rows.values()]
        if len(todo) < _FEW:
            workers = 1
        for result in ordered_map(_decode, tasks, workers):
            # What can not be read is noted before its empty row is there, and what can be read
            # now is forgotten after its row is: a kill in between leaves no black picture.
            state.note(result.errors)
            _write_rows(rows, sizes, result)
            state.forget([index for index in result.indices if index not in result.errors])
            bar.update(len(result.indices))
    if state.unreadable and not skip_unreadable:
        raise Sg2ImError(_unreadable_sentence(state.unreadable, len(annotations), folder))
    kept = None
    if state.unreadable:
        lost = np.array(sorted(state.unreadable))
        kept = np.setdiff1d(np.arange(len(annotations)), lost)
    skipped = dict(annotations.skipped)
    if state.unreadable:
        skipped[UNREADABLE] = len(state.unreadable)
    report = {"skipped_pictures": skipped, "notes": annotations.notes}
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


@dataclass
class _Task:
    indices: list[int]
    paths: list[Path]
    stored_sizes: list[ImageSize | None]
    sizes: list[ImageSize]


@dataclass
class _Result:
    indices: list[int]
    images: list[np.ndarray]  # one array (n, H, W, 3) a size
    errors: dict[int, str]


def _tasks(
    annotations: Annotations,
    folder: Path,
    sizes: list[ImageSize],
    todo: Sequence[int],
    check_sizes: bool,
) -> Iterator[_Task]:
    for start in range(0, len(todo), _CHUNK):
        indices = list(todo[start : start + _CHUNK])
        listed: list[ImageSize | None] = []
        for height, width in annotations.stored_sizes[indices].tolist():
            listed.append((height, width) if check_sizes else None)
        yield _Task(indices, [folder / annotations.files[i] for i in indices], listed, sizes)


def _decode(task: _Task) -> _Result:
    images = [np.zeros((len(task.indices), *size, 3), np.uint8) for size in task.sizes]
    errors = {}
    for row, (index, path, listed) in enumerate(
        zip(task.indices, task.paths, task.stored_sizes, strict=True)
    ):
        try:
            for array, image in zip(images, load_images(path, task.sizes, listed), strict=True):
                array[row] = image
        except Sg2ImError as error:
            errors[index] = str(error)
    return _Result(task.indices, images, errors)


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

    def __init__(self, rows: dict[ImageSize, Path], identity: str, total: int) -> None:
        self.rows = rows
        self.identity = identity
        self.unreadable: dict[int, str] = {}
        self.done = 0
        self._read(total)

    @classmethod
    def of(cls, annotations: Annotations, folder: Path, paths: dict[ImageSize, Path]) -> "_State":
        rows = {size: path.with_name(f".{path.stem}.rows") for size, path in paths.items()}
        names = json.dumps(
            [
                annotations.settings,
                annotations.files,
                annotations.stored_sizes.tolist(),
                str(folder),
            ],
            sort_keys=True,
        )
        identity = hashlib.sha256(names.encode()).hexdigest()
        return cls(rows, identity, len(annotations))

    def _read(self, total: int) -> None:
        for path in self.rows.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            done = total
            for (height, width), path in self.rows.items():
                found = json.loads(_note_path(path).read_text(encoding="utf-8"))
                if found["identity"] != self.identity:
                    raise ValueError("rows of other pictures")
                done = min(done, path.stat().st_size // (height * width * 3))
                self.unreadable |= {int(i): text for i, text in found["unreadable"].items()}
            self.done = done
        except (OSError, ValueError, KeyError, TypeError):
            self.done, self.unreadable = 0, {}
        for (height, width), path in self.rows.items():
            with path.open("ab") as file:  # what came after the last whole picture goes
                file.truncate(self.done * height * width * 3)
        self._write()

    @property
    def picture_bytes(self) -> int:
        """Bytes of one picture at all sizes."""
        return sum(height * width * 3 for height, width in self.rows)

    def bytes_there(self) -> int:
        return self.done * self.picture_bytes

    def note(self, errors: dict[int, str]) -> None:
        if errors:
            self.unreadable.update(errors)
            self._write()

    def forget(self, indices: list[int]) -> None:
        if any(index in self.unreadable for index in indices):
            for index in indices:
                self.unreadable.pop(index, None)
            self._write()

    def remove(self, size: ImageSize) -> None:
        """Removes the rows of a size, when their store is there."""
        self.rows[size].unlink()
        _note_path(self.rows[size]).unlink()

    def _write(self) -> None:
        content = json.dumps({"identity": self.identity, "unreadable": self.unreadable})
        for path in self.rows.values():
            with replace_when_whole(_note_path(path)) as temporary:
                temporary.write_text(content, encoding="utf-8")


def _note_path(rows: Path) -> Path:
    return rows.with_name(f"{rows.name}.json")


def _unreadable_sentence(unreadable: dict[int, str], total: int, folder: Path) -> str:
    sentences = list(unreadable.values())
    if len(sentences) == 1:
        first = sentences[0]
    else:
        first = (
            f"{len(sentences):,} of {total:,} pictures of {folder} can not be read, among them: "
            + " ".join(sentences[:_SHOWN])
        )
    return (
        f"{first} The others of this split are decoded and kept: run the same command again when "
        "that is put right, or leave such pictures out with --skip_unreadable."
    )
