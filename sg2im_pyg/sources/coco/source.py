"""COCO 2017 with COCO-Stuff: its annotations converted, and their way into the store."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sg2im_pyg.data.scene_table import SceneTable, offsets, pack_masks, packed_bytes
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, IMAGE, UNUSED, Vocabulary
from sg2im_pyg.errors import Sg2ImError, nearest
from sg2im_pyg.sources.annotations import Annotations
from sg2im_pyg.sources.coco.annotation_file import AnnotationFile, Id, ListedImage
from sg2im_pyg.sources.coco.image_ids import read_image_ids
from sg2im_pyg.sources.coco.layout import Layout, Part, find_layout
from sg2im_pyg.sources.coco.selection import CocoSelection, MaskResize, mask_settings
from sg2im_pyg.sources.images import UNTURNED, measure_image
from sg2im_pyg.sources.masks import Segmentation
from sg2im_pyg.sources.mistakes import LEFT_OUT, Mistakes, WrongAnnotation
from sg2im_pyg.sources.picture_files import find_pictures
from sg2im_pyg.sources.pictures import UNREADABLE
from sg2im_pyg.sources.preparation import SPLITS, Conversion
from sg2im_pyg.system.parallel import ordered_map
from sg2im_pyg.system.progress import progress_bar

_AS_RELEASED = CocoSelection()

_OTHER = "other"  # the stuff category of all that is left over
_MASKS_A_TASK = 256  # about 0.2 s of work
_MOST_INDEX = 9999  # ids are indices of the vocabulary: a wild one would take all memory

BOX_AS_MASK = "objects without an outline, whose mask is their whole box"
MEASURED = "pictures without a listed size, measured"
NUMBERED = "pictures whose id is no number, numbered in their order"
MOVED = "categories whose index is not their id"
"""What is told of annotations that were completed."""


@dataclass(frozen=True)
class CocoFiles:
    """How to read a COCO.

    Attributes:
        layout: Where its files lie.
        val_share: Share of the pictures used that is validated on, where there is one part only.
        seed: Of the pictures drawn for it.
        workers: Number of processes that decode masks.
        skip_unreadable: Leave annotations out that can not be used, and pictures that can not be
            measured, instead of raising.
        progress: Show a bar for each pass, if stderr is a terminal.
    """

    layout: Layout
    val_share: float = 0.1
    seed: int = 0
    workers: int = 1
    skip_unreadable: bool = False
    progress: bool = False


def read_coco(
    files: CocoFiles | str | Path,
    splits: Sequence[str],
    mask_size: int = 16,
    selection: CocoSelection = _AS_RELEASED,
    mask_resize: MaskResize = "as-released",
) -> dict[str, Annotations]:
    """Converts the annotations of some splits of COCO 2017.

    Objects stand in the order of the files, things before stuff, and crowds count as objects (as
    in the release). The index of a category is its COCO id where it can be one (see
    :func:`coco_indices`). Boxes are cut at the picture's border. The files are read entry by entry,
    each twice: once to see which pictures are used, once for the masks of these (see
    :class:`Segmentation`); an object whose outline is missing or encloses no pixel has its whole
    box as mask.

    Args:
        files: The files, or the folder of COCO, with :obj:`annotations/instances_train2017.json`
            and so on, and pictures in :obj:`images/train2017` or :obj:`train2017`.
        splits: Any of :obj:`"train"`, :obj:`"val"` and :obj:`"test"`; the last two share val2017.
        mask_size: Side of the masks, in pixels; :obj:`0` for none.
        selection: Which objects and pictures are used.
        mask_resize: How masks come to their size.

    Raises:
        Sg2ImError: If a file is missing or malformed, if the files do not agree with each other,
            or if a name of the selection is unknown; after all has been read, if annotations can
            not be used.
    """
    for split in splits:
        if split not in SPLITS:
            raise Sg2ImError(f"The splits of COCO are train, val and test, got {split!r}.")
    if not isinstance(files, CocoFiles):
        files = CocoFiles(find_layout(Path(files), selection))
    layout, mistakes = files.layout, Mistakes()
    # All parts, also those that are not asked for: their categories make one vocabulary.
    opened = {
        part: [AnnotationFile(path, files.progress) for path in part.annotations]
        for part in layout.parts
    }
    indices, vocabulary = coco_indices(list(opened.values()))
    found: dict[str, Annotations] = {}
    listed = None if selection.image_ids is None else read_image_ids(selection.image_ids)
    for part, of_part in opened.items():
        wanted = [split for split in splits if layout.part(split) == part]
        if not wanted:
            continue
        reading = _PartReader(
            part, of_part, list(opened.values()), indices, vocabulary, selection, files, listed,
            mask_resize == "smooth",
        )  # fmt: skip
        whole, reasons = reading.read(mask_size, mistakes)
        if layout.val is None:
            shares = _draw(whole, reasons, files.val_share, files.seed)
        elif part == layout.train:
            shares = {"train": (whole, reasons)}
        else:
            shares = _divide(whole, reasons, selection.val_images)
        for split in wanted:
            found[split], left_out = shares[split]
            counts = Counter(reason for reason in left_out if reason)
            found[split].skipped = dict(sorted(counts.items()))
            if split != next(iter(shares)):  # what is told of a part, is told once
                found[split].notes = {}
    if not files.skip_unreadable:
        mistakes.check()
    return found


def coco_indices(
    parts: Sequence[Sequence[AnnotationFile]],
) -> tuple[dict[AnnotationFile, dict[Id, int]], Vocabulary]:
    """The index in the vocabulary of each category.

    It is the category's id where that is a whole number from 1 to 9999; others take the first free
    indices. Categories of one name are one, also where they have different ids in a file or in
    different parts.

    Args:
        parts: For each part the file of the things and perhaps that of the stuff.

    Returns:
        For each file the indices by ids; and the vocabulary, which holds the categories of all.

    Raises:
        Sg2ImError: If parts name an id differently, or a thing and a stuff category share an id or
            a name.
    """
    names: list[dict[str, int]] = [{}, {}]  # indices of things, of stuff
    named: dict[int, tuple[str, AnnotationFile]] = {}
    waiting: list[tuple[int, str]] = []
    for part in parts:
        for kind, file in enumerate(part):
            for key, name in sorted(file.categories.items(), key=lambda entry: not _fits(entry[0])):
                if name in names[kind]:
                    continue
                if not _fits(key):
                    waiting.append((kind, name))
                    continue
                other, place = named.setdefault(int(key), (name, file))
                if other != name and place not in part:
                    raise Sg2ImError(
                        f"{file.path} has other categories than {place.path}, {key} is {name!r} "
                        f"here and {other!r} there: both must come from the same COCO."
                    )
                names[kind][name] = int(key)
    for kind, name in waiting:
        if name not in names[kind]:
            taken = {*names[0].values(), *names[1].values()}
            names[kind][name] = next(i for i in range(1, len(taken) + 2) if i not in taken)
    things, stuff = ({index: name for name, index in kind.items()} for kind in names)
    indices = {
        file: {key: names[kind][name] for key, name in file.categories.items()}
        for part in parts
        for kind, file in enumerate(part)
    }
    return indices, coco_vocabulary(things, stuff)


def _fits(key: Id) -> bool:
    return isinstance(key, int) and 1 <= key <= _MOST_INDEX


def coco_vocabulary(things: Mapping[int, str], stuff: Mapping[int, str]) -> Vocabulary:
    """Vocabulary in which the index of a category is its COCO id, as in the release.

    Indices that no category uses are named :obj:`"NONE"`. The category :obj:`"other"` has a name
    even where its objects are left out: the whole of COCO with COCO-Stuff gives the 184 names of
    the released checkpoints (things 1 to 90, stuff 92 to 182, "other" 183).

    Args:
        things: Names of the thing categories by their ids.
        stuff: Names of the stuff categories by their ids.

    Raises:
        Sg2ImError: If a thing and a stuff category share an id or a name.

    Examples:
        >>> coco_vocabulary({1: "person", 3: "car"}, {4: "sky"}).objects
        ('__image__', 'person', 'NONE', 'car', 'sky')
    """
    shared = sorted(things.keys() & stuff.keys())
    if shared:
        raise Sg2ImError(
            f"The thing {things[shared[0]]!r} and the stuff {stuff[shared[0]]!r} have the same "
            f"category id {shared[0]}: both annotation files must come from the same COCO."
        )
    names = {**things, **stuff, 0: IMAGE}
    return Vocabulary(
        (names.get(index, UNUSED) for index in range(max(names) + 1)), GEOMETRIC_PREDICATES
    )


def coco_conversion(
    files: CocoFiles,
    selection: CocoSelection,
    mask_size: int,
    mask_resize: MaskResize = "as-released",
) -> Conversion:
    """What is made of a COCO; arguments and errors as for :func:`read_coco`.

    Stores are told from others by the selection and by the sizes of the annotation files. The test
    split may be empty (a sample with fewer pictures in val2017 than the validation split takes).
    """
    settings: dict[str, dict[str, Any]] = {}
    folders: dict[str, Path] = {}
    layout = files.layout
    for split in SPLITS:
        part = layout.part(split)
        folders[split] = part.images
        settings[split] = {
            "source": "coco",
            "split": split,
            **mask_settings(mask_size, mask_resize),
            **selection.settings(),
            "annotation_bytes": {path.name: path.stat().st_size for path in part.annotations},
        }
        if layout.val is None:
            settings[split] |= {"val_share": files.val_share, "split_seed": files.seed}
        if split == "train" or layout.val is None:
            del settings[split]["val_images"]
    note = ""
    if layout.val is None:
        note = (
            f"There is one annotation file: {files.val_share:g} of its pictures are validated on, "
            f"drawn with seed {files.seed} (--val_share, --split_seed)."
        )
    return Conversion(
        name="COCO",
        settings=settings,
        folders=folders,
        convert=lambda splits: read_coco(files, splits, mask_size, selection, mask_resize),
        wanted=f"{selection.min_objects} to {selection.max_objects} objects larger than "
        f"{selection.min_object_size:g} of the picture",
        note=note,
    )


@dataclass
class _PartReader:
    """Reads one part."""

    part: Part
    files: list[AnnotationFile]
    parts: list[list[AnnotationFile]]  # of all parts
    indices: dict[AnnotationFile, dict[Id, int]]
    vocabulary: Vocabulary
    selection: CocoSelection
    how: CocoFiles
    listed: set[int] | None  # numbers of the pictures that are wanted; none for all
    smooth: bool

    def __post_init__(self) -> None:
        self.chosen = [self._choose(0, self.selection.things, "thing")]
        if self.selection.use_stuff:
            stuff = self.files[1]
            self.chosen.append(self._choose(1, self.selection.stuff, "stuff"))
            if not self.selection.include_other:
                others = {key for key, name in stuff.categories.items() if name == _OTHER}
                self.chosen[1] = {k: i for k, i in self.chosen[1].items() if k not in others}

    def read(self, mask_size: int, mistakes: Mistakes) -> tuple[Annotations, list[str]]:
        """All pictures used, and of each listed picture why it is not ("": it is)."""
        selection, before = self.selection, mistakes.count
        images, unmeasured, notes = self._images()
        position = {key: i for i, key in enumerate(images)}
        rows: list[tuple[int, int, int, int, int]] = []  # picture, file, entry, category, id
        corners: list[tuple[float, float, float, float]] = []
        for number, (file, indices) in enumerate(zip(self.files, self.chosen, strict=True)):
            for found in file.objects(images, selection.min_object_size, indices, mistakes):
                place = position[found.image]
                rows.append((place, number, found.entry, found.category, found.annotation_id))
                corners.append(found.outline.corners)
        table = np.array(rows, np.int64).reshape(-1, 5)
        boxes = np.array(corners, np.float64).reshape(-1, 4)
        del rows, corners

        has_stuff = None
        if selection.use_stuff and not selection.all_images:
            annotated = self.files[1].annotated_images
            has_stuff = np.array([key in annotated for key in images], bool)
        reasons = self._reasons(np.bincount(table[:, 0], minlength=len(images)), has_stuff)
        reasons[self._not_listed(images)] = "not in the list of pictures"
        for key in unmeasured:
            reasons[position[key]] = UNREADABLE
        kept = (reasons == "")[table[:, 0]]
        order = np.argsort(table[kept, 0], kind="stable")  # things before stuff, in files' order
        table, boxes = table[kept][order], boxes[kept][order]
        packed = None
        if mask_size:
            packed, is_wrong, without = self._masks(images, table, mask_size, mistakes)
            if is_wrong.any():  # where they are left out, pictures may have too few objects
                table, boxes, packed = table[~is_wrong], boxes[~is_wrong], packed[~is_wrong]
                without = without[~is_wrong]
                counts = np.bincount(table[:, 0], minlength=len(images))
                is_used = reasons == ""
                reasons[is_used] = self._reasons(counts, None)[is_used]
                kept = (reasons == "")[table[:, 0]]
                table, boxes, packed, without = (
                    table[kept],
                    boxes[kept],
                    packed[kept],
                    without[kept],
                )
            if without.any():
                notes[BOX_AS_MASK] = int(without.sum())
        if mistakes.count > before:
            notes[LEFT_OUT] = mistakes.count - before

        used = np.flatnonzero(reasons == "")
        listed = list(images.values())
        sizes = np.array([(found.height, found.width) for found in listed], np.int64).reshape(-1, 2)
        scale = np.tile(sizes[table[:, 0]][:, ::-1], (1, 2))
        counts = np.bincount(table[:, 0], minlength=len(images))
        scene_table = SceneTable(
            image_ids=np.array([listed[i].number for i in used], np.int64),
            object_offset=offsets(counts[used]),
            categories=table[:, 3].astype(np.int32),
            boxes=(boxes / scale).clip(0, 1).astype(np.float32),
            packed_masks=packed,
            relationship_offset=np.zeros(len(used) + 1, np.int64),
            attribute_offset=np.zeros(len(table) + 1, np.int64),
            object_ids=table[:, 4].copy(),
        )
        names = [listed[i].file_name for i in used]
        stored_sizes = sizes[used].astype(np.int32)
        annotations = Annotations(scene_table, self.vocabulary, mask_size, names, stored_sizes)
        annotations.notes = notes
        return annotations, reasons.tolist()

    def _choose(self, kind: int, names: Sequence[str] | None, title: str) -> dict[Id, int]:
        """Indices of the named categories by their ids, of all where none are named."""
        file, of_kind = self.files[kind], [part[kind] for part in self.parts]
        known = dict.fromkeys(name for file in of_kind for name in file.categories.values())
        for name in names or ():
            if name not in known:
                raise Sg2ImError(f"COCO has no {title} category {name!r}: {nearest(name, known)}")
        wanted = known if names is None else names
        index = self.indices[file]
        return {key: index[key] for key, name in file.categories.items() if name in wanted}

    def _images(self) -> tuple[dict[Id, ListedImage], set[Id], dict[str, int]]:
        """The picture list with the sizes that it lacks, the pictures that can not be measured,
        and what is to be told of it."""
        things = self.files[0]
        for stuff in self.files[1:]:
            stuff.check_images(things.images, things.path)
        images, notes = dict(things.images), {}
        named = sum(key != found.number for key, found in images.items())
        moved = {
            file.categories[key]
            for file in self.files
            for key, index in self.indices[file].items()
            if key != index
        }
        unlisted = [key for key, found in images.items() if not found.width]
        unmeasured, unsure = self._measure(images, unlisted) if unlisted else (set(), 0)
        for what, count in (
            (NUMBERED, named),
            (MOVED, len(moved)),
            (MEASURED, len(unlisted) - len(unmeasured)),
            (UNTURNED, unsure),
        ):
            if count:
                notes[what] = count
        return images, unmeasured, notes

    def _measure(self, images: dict[Id, ListedImage], unlisted: list[Id]) -> tuple[set[Id], int]:
        """Fills in sizes; gives the pictures that can not be measured, and the number of those of
        which it can not be told whether they are to be turned."""
        paths, _ = find_pictures(self.part.images, [found.file_name for found in images.values()])
        path_of = dict(zip(images, paths, strict=True))
        sideways: dict[Id, tuple[int, int]] = {}
        errors: dict[Id, Sg2ImError] = {}
        for key in unlisted:
            try:
                stored, turned = measure_image(path_of[key])
            except Sg2ImError as error:
                errors[key] = error
                continue
            images[key] = replace(images[key], height=stored[0], width=stored[1])
            if stored != turned:
                sideways[key] = turned
        if errors and not self.how.skip_unreadable:
            first = next(iter(errors.values()))
            raise Sg2ImError(
                f"{len(errors):,} pictures without a listed size can not be measured, such as this "
                f"one: {first} Or leave such pictures out with --skip_unreadable."
            )
        unsure = len(sideways)
        if sideways:
            ends = [file.extents(set(sideways)) for file in self.files]
            for key, (height, width) in sideways.items():
                right, bottom = np.max([(0, 0), *(of[key] for of in ends if key in of)], axis=0)
                found = images[key]
                fits_stored = right <= found.width and bottom <= found.height
                if not fits_stored and right <= width and bottom <= height:
                    images[key] = replace(found, height=height, width=width)
                    unsure -= 1
        return set(errors), unsure

    def _reasons(self, counts: np.ndarray, has_stuff: np.ndarray | None) -> np.ndarray:
        """Why pictures are not used, by their numbers of objects."""
        low, high = self.selection.min_objects, self.selection.max_objects
        reasons = np.full(len(counts), "", object)
        reasons[counts < low] = f"fewer than {low} objects"
        reasons[counts > high] = f"more than {high} objects"
        if has_stuff is not None:
            reasons[~has_stuff] = "no stuff annotation"
        return reasons

    def _not_listed(self, images: Mapping[Id, ListedImage]) -> np.ndarray:
        """Which pictures are not in the list of those wanted; none where it has none of a part
        other than train."""
        if self.listed is None:
            return np.zeros(len(images), bool)
        is_listed = np.array([found.number in self.listed for found in images.values()], bool)
        if not is_listed.any() and self.part == self.how.layout.train:
            raise Sg2ImError(
                f"No picture of {self.part.annotations[0]} is in "
                f"{' or '.join(self.selection.image_ids or ())}: give a list of numbers of COCO's "
                "pictures of 2017."
            )
        return ~is_listed & is_listed.any()

    def _masks(
        self,
        images: Mapping[Id, ListedImage],
        table: np.ndarray,
        mask_size: int,
        mistakes: Mistakes,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Packed masks of the rows of the table, which of them are wrong, and which are boxes."""
        packed = np.zeros((len(table), packed_bytes(mask_size)), np.uint8)
        is_wrong, is_box = np.zeros(len(table), bool), np.zeros(len(table), bool)
        outlines = self._outlines(images, table)
        tasks = iter(lambda: list(islice(outlines, _MASKS_A_TASK)), [])
        workers = self.how.workers if len(table) > 500 else 1
        title, progress = f"Masks of {self.part.name}", self.how.progress
        with progress_bar(title, len(table), progress, unit=" masks") as bar:
            decode = partial(_decode_masks, mask_size, self.smooth)
            for done in ordered_map(decode, tasks, workers):
                packed[done.rows] = done.packed
                is_box[done.without] = True
                for row, label, what in done.wrong:
                    is_wrong[row] = True
                    mistakes.add_entry(self.files[table[row, 1]].path, label, what)
                bar.update(len(done.rows))
        return packed, is_wrong, is_box

    def _outlines(
        self, images: Mapping[Id, ListedImage], table: np.ndarray
    ) -> "Iterator[_Outline]":
        """The outlines of the rows of the table, in the order of the files."""
        for number, (file, indices) in enumerate(zip(self.files, self.chosen, strict=True)):
            rows = np.flatnonzero(table[:, 1] == number)
            row_of_entry = dict(zip(table[rows, 2].tolist(), rows.tolist(), strict=True))
            for found in file.objects(images, self.selection.min_object_size, indices):
                row = row_of_entry.get(found.entry)
                if row is not None:
                    yield row, found.label, found.outline


_Outline = tuple[int, str, Segmentation]
"""Row of an object in the table, what its annotation is called, and its outline."""


@dataclass
class _Decoded:
    rows: list[int]
    packed: np.ndarray
    without: list[int]  # rows whose outline encloses nothing
    wrong: list[tuple[int, str, str]]  # rows whose outline can not be read, their labels, and why


def _decode_masks(mask_size: int, smooth: bool, outlines: Sequence[_Outline]) -> _Decoded:
    masks = np.ones((len(outlines), mask_size, mask_size), bool)
    without, wrong = [], []
    for mask, (row, label, outline) in zip(masks, outlines, strict=True):
        try:
            found = outline.small_mask(mask_size, smooth)
        except WrongAnnotation as error:
            wrong.append((row, label, str(error)))
            continue
        if found is None:
            without.append(row)
        else:
            mask[:] = found
    return _Decoded([row for row, *_ in outlines], pack_masks(masks), without, wrong)


def _divide(
    whole: Annotations, reasons: Sequence[str], val_images: int
) -> dict[str, tuple[Annotations, list[str]]]:
    """The first pictures used of val2017 are the validation split, the others the test split."""
    used = np.flatnonzero([reason == "" for reason in reasons])
    # Pictures that are not used count to the split that they lie in.
    border = len(reasons) if len(used) <= val_images else int(used[val_images])
    return {
        split: (whole.select(np.arange(len(whole))[part]), list(reasons[share]))
        for split, part, share in (
            ("val", slice(None, val_images), slice(None, border)),
            ("test", slice(val_images, None), slice(border, None)),
        )
    }


def _draw(
    whole: Annotations, reasons: Sequence[str], share: float, seed: int
) -> dict[str, tuple[Annotations, list[str]]]:
    """A share of the pictures used, drawn at random, is the validation split; there is no test."""
    count = len(whole)
    drawn = np.random.default_rng(seed).permutation(count)[: max(1, round(share * count))]
    is_val = np.isin(np.arange(count), drawn)
    return {
        "train": (whole.select(np.flatnonzero(~is_val)), list(reasons)),
        "val": (whole.select(np.flatnonzero(is_val)), []),
        "test": (whole.select(np.zeros(0, np.int64)), []),
    }
