"""From a source's annotations and pictures to one store a split and size; what is there stays."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sg2im_pyg.data.store import SceneReader, store_path
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.annotations import Annotations, plain, saved_annotations
from sg2im_pyg.sources.mistakes import LEFT_OUT
from sg2im_pyg.sources.pictures import UNREADABLE, ImageSize, Paths, write_pictures

SPLITS = ("train", "val", "test")

CONVERTED = "converted"
"""Folder below the root that keeps the converted annotations, one file a split."""


@dataclass(frozen=True)
class Conversion:
    """What the preparation must know of a source of annotated pictures.

    Attributes:
        name: Its name in sentences.
        settings: Settings of each split (plain JSON values): what makes its store what it is.
        folders: Folder of the pictures of each split.
        convert: Converts the annotations of some splits.
        wanted: Which pictures are used, for the sentence that there is none.
        may_be_empty: Splits that may hold no picture.
        check_sizes: Whether pictures must have the size that the annotations list.
        note: What a person is told when the stores are there.
    """

    name: str
    settings: dict[str, dict[str, Any]]
    folders: dict[str, Path]
    convert: Callable[[Sequence[str]], dict[str, Annotations]]
    wanted: str
    may_be_empty: tuple[str, ...] = ("test",)
    check_sizes: bool = True
    note: str = ""


def prepare_stores(
    source: Conversion,
    root: str | Path,
    image_sizes: Sequence[ImageSize],
    workers: int,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> Paths:
    """Writes the stores that are missing as :obj:`root/<H>x<W>/<split>.h5`.

    The converted annotations are kept in :obj:`root/converted`.

    Args:
        source: Where the data comes from.
        root: Folder of the prepared data.
        image_sizes: Height and width of the pictures, in pixels.
        workers: Number of processes.
        skip_unreadable: Leave out pictures and annotations that can not be used, instead of
            raising.
        progress: Show bars, if stderr is a terminal.

    Raises:
        Sg2ImError: If a store is there with other settings; if no picture fits; if splits have
            different vocabularies; if a picture can not be read.
    """
    root = Path(root)
    paths = _store_paths(root, image_sizes, source.settings)
    with _only_one(root):
        missing: dict[str, list[ImageSize]] = {}
        vocabulary, ready = None, ""
        for split, settings in source.settings.items():
            for size, stores in paths.items():
                wanted = {**settings, "image_size": list(size)}
                store = _ready_store(stores[split], wanted, skip_unreadable)
                if store is None:
                    missing.setdefault(split, []).append(size)
                else:
                    vocabulary, ready = vocabulary or store.vocabulary, ready or split

        saved = {split: root / CONVERTED / f"{split}.h5" for split in missing}
        found: dict[str, Annotations] = {}
        for split, path in saved.items():
            annotations = saved_annotations(path, source.settings[split])
            if annotations is None:
                continue
            whole = not (annotations.notes.get(LEFT_OUT) or annotations.skipped.get(UNREADABLE))
            if whole or skip_unreadable:
                found[split] = annotations
        absent = [split for split in missing if split not in found]
        converted = source.convert(absent) if absent else {}
        for split in absent:
            found[split] = converted[split]
            found[split].settings = plain(source.settings[split])
            if not len(found[split]) and split not in source.may_be_empty:
                raise Sg2ImError(
                    f"No picture of {source.folders[split]} is left with {source.wanted}: widen "
                    f"the selection, or give more of {source.name}."
                )
        for split, annotations in found.items():
            vocabulary, ready = vocabulary or annotations.vocabulary, ready or split
            if annotations.vocabulary != vocabulary:
                raise Sg2ImError(
                    f"The annotations of the split {split} (pictures in {source.folders[split]}) "
                    f"have other categories than those of {ready} (pictures in "
                    f"{source.folders[ready]}): both must come from the same {source.name}."
                )
        for split in absent:
            found[split].save(saved[split])
        for split, sizes in missing.items():
            write_pictures(
                found[split],
                source.folders[split],
                {size: paths[size][split] for size in sizes},
                source.settings[split],
                workers,
                skip_unreadable,
                source.check_sizes,
                f"{source.name} {split}" if progress else None,
            )
    return paths


def prepared_stores(
    root: Path, image_sizes: Sequence[ImageSize], settings: Mapping[str, Any]
) -> Paths | None:
    """The stores of all splits and sizes, if they are there, whole, and made with some settings."""
    paths = _store_paths(root, image_sizes, SPLITS)
    for stores in paths.values():
        for split, path in stores.items():
            try:
                found = SceneReader(path).settings
            except Sg2ImError:
                return None
            for key, value in plain(settings).items():
                # Where val2017 is divided does not matter to the training split.
                if found.get(key) != value and (split, key) != ("train", "val_images"):
                    return None
    return paths


def check_settings(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises unless a store that is there was made with the settings that are asked for."""
    if found.get("source") != wanted.get("source"):
        raise Sg2ImError(
            f"{path} holds other data than that of {wanted.get('source')}: choose another folder "
            "with --root."
        )
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise Sg2ImError(
                f"{path} was prepared with other settings ({key}: {found.get(key)!r} there, "
                f"{wanted.get(key)!r} now): delete it, or choose another folder with --root."
            )


def _store_paths(root: Path, image_sizes: Iterable[ImageSize], splits: Iterable[str]) -> Paths:
    splits = list(splits)
    return {
        size: {split: store_path(root, size, split) for split in splits} for size in image_sizes
    }


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """Keeps a second preparation from writing to the same root."""
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".preparing.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise Sg2ImError(
            f"Another preparation is writing to {root}: wait for its end, or choose another folder "
            "with --root."
        ) from error
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # on Windows while another process has just opened it
            (root / ".preparing.lock").unlink(missing_ok=True)


def _ready_store(path: Path, settings: dict[str, Any], skip_unreadable: bool) -> SceneReader | None:
    """The store at a path, if there is one and it was made with these settings."""
    if not path.exists():
        return None
    store = SceneReader(path)
    found = {key: value for key, value in store.settings.items() if key != "report"}
    check_settings(path, found, plain(settings))
    report = store.settings.get("report", {})
    for what, count in (
        ("pictures", report.get("skipped_pictures", {}).get(UNREADABLE)),
        ("annotations", report.get("notes", {}).get(LEFT_OUT)),
    ):
        if count and not skip_unreadable:
            raise Sg2ImError(
                f"{path} was prepared with --skip_unreadable, which left out {count:,} {what}: "
                "give that option again, or remove the file to prepare it anew."
            )
    return store
