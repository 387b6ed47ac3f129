"""Own data: annotations in any of the formats, and their way into the store."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sg2im_pyg.data.scene_table import SceneTable, offsets
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, IMAGE, IN_IMAGE, UNUSED, Vocabulary
from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.sources.annotations import Annotations
from sg2im_pyg.sources.json_stream import whole
from sg2im_pyg.sources.mistakes import LEFT_OUT, Mistakes
from sg2im_pyg.sources.own.finishing import BOX_FOR_OUTLINE, Finished, Finishing, finish
from sg2im_pyg.sources.own.formats import Found, recognise
from sg2im_pyg.sources.own.records import OwnPicture
from sg2im_pyg.sources.own.selection import OwnSelection
from sg2im_pyg.sources.own.table import read_relationships
from sg2im_pyg.sources.picture_files import GUESSED, PictureFinder, last_part
from sg2im_pyg.sources.pictures import UNREADABLE, ImageSize, Paths
from sg2im_pyg.sources.preparation import SPLITS, Conversion, prepare_stores
from sg2im_pyg.system.files import sha256_of
from sg2im_pyg.system.parallel import ordered_map
from sg2im_pyg.system.progress import progress_bar

MASK_SIZE = 16
"""Side of masks where it is not given and there are outlines."""

RARE = "name too rare"
WITHOUT_OBJECT = "no object"
LISTED_ELSEWHERE = "listed in another split, too"
"""Why pictures, objects and others are left out."""

_MANY = 64  # pictures a task
_FEW = 256  # pictures; starting processes takes longer than finishing these
_NUMBERED = ("split_seed", "min_object_size", "min_objects", "max_objects", "min_name_count")
_NOTED = ("val_share", "test_share", "draw_splits", *_NUMBERED, "mask_size", "draw_geometric")


def prepare_own(
    selection: OwnSelection,
    root: Path,
    image_sizes: Sequence[ImageSize],
    workers: int,
    progress: bool = True,
) -> Paths:
    """Writes the stores of own data that are missing, and prints what was recognised.

    Args:
        selection: Where annotations and pictures lie, and what of them is used.
        root: Folder of the prepared data.
        image_sizes: Height and width of the pictures, in pixels.
        workers: Number of processes.
        progress: Show bars, if stderr is a terminal.

    Raises:
        Sg2ImError: If annotations are of no known format, or wrong, or no picture is left; see
            :func:`~sg2im_pyg.sources.preparation.prepare_stores`.
    """
    annotations, images = selection.places
    found = recognise(annotations, selection.format)
    print(f"Format: {found.format} ({len(found.files):,} file(s) in {annotations})")
    if found.passed_over:
        names = ", ".join(path.name for path in found.passed_over[:3])
        print(f"Files of no known format, passed over: {len(found.passed_over)} ({names})")
    conversion = Conversion(
        name="your data",
        settings=_settings(selection, found),
        folders=dict.fromkeys(SPLITS, images),
        convert=lambda _: read_own(selection, found, images, workers, progress),
        wanted=f"at least {selection.min_objects} object(s)",
    )
    return prepare_stores(
        conversion, root, image_sizes, workers, selection.skip_unreadable, progress
    )


def read_own(
    selection: OwnSelection, found: Found, images: Path, workers: int = 1, progress: bool = False
) -> dict[str, Annotations]:
    """Converts annotations.

    Categories and predicates are numbered by their frequency, of equal ones by name.

    Args:
        selection: Which objects and pictures are used, and how splits are drawn.
        found: The annotations.
        images: Folder of the pictures.
        workers: Number of processes.
        progress: Show a bar, if stderr is a terminal.

    Raises:
        Sg2ImError: If something is wrong and is not to be left out.
    """
    return _Reading(selection, found, images, workers, progress).annotations()


@dataclass
class _Row:
    """A picture, and why it is left out."""

    picture: OwnPicture
    file: str | None
    finished: Finished = field(default_factory=Finished)
    reason: str = ""
    objects: int = 0  # as they were read


class _Reading:
    """The conversion, step by step."""

    def __init__(
        self, selection: OwnSelection, found: Found, images: Path, workers: int, progress: bool
    ) -> None:
        self.options = selection
        self.workers = workers
        self.progress = progress
        self.found = found
        self.images = images
        self.mistakes = Mistakes()
        self.left_out: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        chosen = MASK_SIZE if selection.mask_size is None else selection.mask_size
        self.finishing = Finishing(chosen, selection.min_object_size)

    def annotations(self) -> dict[str, Annotations]:
        rows = self._finished(self._rows())
        if not self.options.skip_unreadable:
            self.mistakes.check()
        wrong = self.mistakes.count - sum(row.reason == UNREADABLE for row in rows)
        if wrong:
            self.left_out[LEFT_OUT] += wrong
        self._choose_names(rows)
        for row in rows:
            row.reason = row.reason or self._reason(row)
            if row.reason and row.objects:
                count = len(row.finished.names) if row.finished.size else row.objects
                self._leave_out("objects", f"picture left out ({row.reason})", count)
        used = [row for row in rows if not row.reason]
        if not used:
            reasons = Counter(row.reason for row in rows)
            listed = ", ".join(f"{reason}: {count:,}" for reason, count in reasons.items())
            raise Sg2ImError(
                f"No picture is left of the {len(rows):,} in {self.found.root}"
                + (f" ({listed})." if listed else ": there are no annotations.")
            )
        splits = self._splits(used)
        table = self._table(used)
        result = {split: table.select(np.flatnonzero(splits == split)) for split in SPLITS}
        for split in SPLITS:
            # What belongs to no split is told with the first.
            reasons = Counter(
                row.reason for row in rows if row.reason and (row.picture.split or "train") == split
            )
            result[split].skipped = dict(sorted(reasons.items()))
            result[split].notes = {}
        result["train"].notes = dict(sorted((self.left_out + self.notes).items()))
        return result

    def _rows(self) -> list[_Row]:
        """All pictures, each once."""
        rows: dict[str, _Row] = {}
        missing: list[_Row] = []
        for picture, file in self._located():
            earlier = None if file is None else rows.get(file)
            if file is None:
                missing.append(_Row(picture, None, reason=UNREADABLE))
            elif earlier is None:
                rows[file] = _Row(picture, file)
            elif picture.split in (None, earlier.picture.split):
                earlier.picture.objects += picture.objects
                earlier.picture.relationships += picture.relationships
                self.notes["pictures listed several times, their objects put together"] += 1
            else:
                missing.append(_Row(picture, file, reason=LISTED_ELSEWHERE))
        return [*rows.values(), *missing]

    def _finished(self, rows: list[_Row]) -> list[_Row]:
        """Measures the pictures and makes arrays of their objects."""
        for row in rows:
            row.objects = len(row.picture.objects)
        todo = [row for row in rows if not row.reason]
        unlisted = sum(row.picture.size is None for row in todo)
        if 0 < unlisted < len(todo):
            self.notes["pictures without a listed size, measured"] = unlisted
        parts = [todo[start : start + _MANY] for start in range(0, len(todo), _MANY)]
        tasks = ([(self.images / str(row.file), row.picture) for row in part] for part in parts)
        workers = self.workers if len(todo) >= _FEW else 1
        with progress_bar("Objects", len(todo), self.progress, unit=" pictures") as bar:
            results = ordered_map(partial(finish, self.finishing), tasks, workers)
            for part, finished in zip(parts, results, strict=True):
                for row, result in zip(part, finished, strict=True):
                    row.finished = result
                    row.picture.objects, row.picture.relationships = [], []  # not needed again
                    for sentence in result.wrong:
                        self.mistakes.add(sentence)
                    if result.unreadable:
                        self.mistakes.add(result.unreadable)
                        row.reason = UNREADABLE
                    self.left_out += result.left_out
                    self.notes += result.notes
                bar.update(len(part))
        return rows

    def _located(self) -> Iterator[tuple[OwnPicture, str | None]]:
        """Pictures with their files, none where there is none."""
        finder = PictureFinder(self.images)
        own = self._own_relationships()
        used: set[str] = set()
        for picture in self.found.read(self.mistakes, _path(self.options.classes)):
            name, split = picture.name, picture.split
            file, why = None, ""
            try:
                file = finder.find(name, picture.folder, split, picture.any_suffix)
                if file is None and picture.also:
                    file = finder.find(picture.also, picture.folder, split, True)
            except Sg2ImError as error:
                why = f": {error}"
            called = [name, picture.key, last_part(name)]
            if file is not None:
                called += [file, Path(file).name, Path(file).stem]
            for key in dict.fromkeys(called):
                if key is not None and key in own:
                    picture.relationships += own.pop(key)
            if file is None:
                self.mistakes.add(
                    f"The picture {shortened(name)}, which {picture.where} names, is not below "
                    f"{self.images}{why}."
                )
            else:
                used.add(file)
            yield picture, file
        for key, triples in own.items():
            self.mistakes.add(
                f"{self.options.relationships} has {len(triples)} relationship(s) of the picture "
                f"{shortened(key)}, which the annotations do not list."
            )
        unlisted = finder.unlisted(used)
        if unlisted:
            self.notes["pictures of the folder that no annotation names"] = unlisted
        if finder.guessed:
            self.notes[GUESSED] = finder.guessed

    def _own_relationships(self) -> dict[str, list[tuple[Any, str, Any]]]:
        if self.options.relationships is None:
            return {}
        return dict(read_relationships(Path(self.options.relationships)))

    def _choose_names(self, rows: Sequence[_Row]) -> None:
        """Names that are frequent enough; what has others is taken away."""
        least = self.options.min_name_count
        self.names = _frequent((n for row in rows for n in row.finished.names), least)
        self.attributes = _frequent(
            (a for row in rows for o in row.finished.attributes for a in o), least
        )
        for row in rows:
            finished = row.finished
            kept = [i for i, name in enumerate(finished.names) if name in self.names]
            if len(kept) < len(finished.names):
                self._leave_out("objects", RARE, len(finished.names) - len(kept))
                self._keep(finished, kept)
        self.predicates = _frequent(
            (p for row in rows for _, p, _ in row.finished.relationships), least
        )
        for row in rows:
            related = row.finished.relationships
            row.finished.relationships = [t for t in related if t[1] in self.predicates]
            rare = len(related) - len(row.finished.relationships)
            self._leave_out("relationships", RARE, rare)

    def _leave_out(self, kind: str, reason: str, count: int) -> None:
        if count:
            self.left_out[f"{kind} left out: {reason}"] += count

    def _keep(self, finished: Finished, kept: Sequence[int]) -> None:
        places = {old: new for new, old in enumerate(kept)}
        finished.names = [finished.names[i] for i in kept]
        finished.keys = [finished.keys[i] for i in kept]
        finished.attributes = [finished.attributes[i] for i in kept]
        finished.boxes = finished.boxes[list(kept)]
        if finished.masks is not None:
            finished.masks = finished.masks[list(kept)]
        finished.relationships = [
            (places[s], p, places[o])
            for s, p, o in finished.relationships
            if s in places and o in places
        ]

    def _reason(self, row: _Row) -> str:
        """Why a picture is left out; nothing where it is used."""
        count, low, high = (
            len(row.finished.names),
            self.options.min_objects,
            self.options.max_objects,
        )
        if count == 0:
            return WITHOUT_OBJECT
        if count < low:
            return f"fewer than {low} objects"
        return f"more than {high} objects" if high is not None and count > high else ""

    def _splits(self, rows: Sequence[_Row]) -> np.ndarray:
        """The split of each picture: as it is given, and drawn where none is."""
        options = self.options
        given = np.array([row.picture.split or "" for row in rows], object)
        if options.draw_splits or "train" not in given:
            given[:] = ""
        named = set(given) - {""}
        given[given == ""] = "train"
        order = np.array(sorted(range(len(rows)), key=lambda i: str(rows[i].file)))
        random = np.random.default_rng(options.split_seed)
        shares = {"val": options.val_share} if "val" not in named else {}
        if not named:
            shares["test"] = options.test_share
        for split, share in shares.items():
            pool = order[given[order] == "train"]
            count = min(round(share * len(rows)), len(pool) - 1)
            if split == "val":
                count = min(max(count, 1), len(pool) - 1)
            given[random.permutation(pool)[:count]] = split
            print(f"Split {split}: {count} of {len(rows)} pictures, drawn with seed "
                  f"{options.split_seed}")  # fmt: skip
        if named:
            print(f"Splits as given: {', '.join(s for s in SPLITS if s in named)}")
        return given

    def _table(self, rows: Sequence[_Row]) -> Annotations:
        """All pictures that are used."""
        finished = [row.finished for row in rows]
        predicates = list(self.predicates)
        if not predicates or self.options.draw_geometric:
            predicates += [name for name in GEOMETRIC_PREDICATES if name not in self.predicates]
        vocabulary = Vocabulary(self.names, predicates, self.attributes)
        mask_size = self.finishing.mask_size
        if self.options.mask_size is None and not any(f.has_outline for f in finished):
            mask_size = 0
            self.notes.pop(BOX_FOR_OUTLINE, None)  # there are no masks at all
        masks = [f.masks for f in finished if f.masks is not None]
        numbers = [row.picture.number for row in rows]
        if None in numbers or len(set(numbers)) < len(numbers):
            numbers = list(range(len(rows)))
        keys = [whole(key) for f in finished for key in f.keys]
        attributes = [
            [vocabulary.attribute_index(a) for a in names if a in self.attributes]
            for f in finished
            for names in f.attributes
        ]
        related = [
            (s, vocabulary.predicate_index(p), o) for f in finished for s, p, o in f.relationships
        ]
        table = SceneTable(
            image_ids=np.array(numbers, np.int64),
            object_offset=offsets([len(f.names) for f in finished]),
            categories=np.array(
                [vocabulary.object_index(n) for f in finished for n in f.names], np.int32
            ),
            boxes=np.concatenate([f.boxes for f in finished]),
            packed_masks=np.concatenate(masks) if mask_size else None,
            relationship_offset=offsets([len(f.relationships) for f in finished]),
            relationships=np.array(related, np.int32).reshape(-1, 3),
            attribute_offset=offsets([len(a) for a in attributes]),
            attributes=np.array([a for names in attributes for a in names], np.int32),
            object_ids=None if None in keys else np.array(keys, np.int64),
        )
        sizes = np.array([f.size for f in finished], np.int32).reshape(-1, 2)
        return Annotations(table, vocabulary, mask_size, [str(row.file) for row in rows], sizes)


def _settings(options: OwnSelection, found: Found) -> dict[str, dict[str, Any]]:
    """What makes the store of each split what it is."""
    digest = hashlib.sha256()
    extra = [path for path in map(_path, (options.classes, options.relationships)) if path]
    for path in dict.fromkeys([*found.files, *found.lists, *extra]):
        if not path.is_file():
            raise Sg2ImError(f"There is no file {path}: check the path.")
        below = path.is_relative_to(found.root)
        name = path.relative_to(found.root).as_posix() if below else path.name
        digest.update(f"{name}\0{sha256_of(path)}\0".encode("utf-8", "surrogateescape"))
    noted = {name: getattr(options, name) for name in _NOTED}
    settings = {"source": "own", "format": found.format, "annotations": digest.hexdigest()[:16]}
    return {split: {**settings, **noted, "split": split} for split in SPLITS}


def _frequent(names: Any, least: int) -> dict[str, int]:
    """Names that occur often enough with their counts, most frequent first."""
    counts = Counter(names)
    for special in (IMAGE, IN_IMAGE, UNUSED):
        if special in counts:
            raise Sg2ImError(
                f"The annotations use the name {special!r}, which has a meaning of its own here: "
                "rename it."
            )
    chosen = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return {name: count for name, count in chosen if count >= least}


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).resolve()
