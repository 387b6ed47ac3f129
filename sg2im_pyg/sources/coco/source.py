"""COCO 2017 with COCO-Stuff: its annotations converted, and their way into the store."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sg2im_pyg.data.scene_table import SceneTable, offsets, pack_masks, packed_bytes
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, IMAGE, UNUSED, Vocabulary
from sg2im_pyg.errors import Sg2ImError, nearest
from sg2im_pyg.sources.annotations import Annotations
from sg2im_pyg.sources.coco.annotation_file import AnnotationFile
from sg2im_pyg.sources.coco.image_ids import read_image_ids
from sg2im_pyg.sources.coco.masks import Segmentation
from sg2im_pyg.sources.coco.selection import CocoSelection, MaskResize, mask_settings
from sg2im_pyg.sources.preparation import Conversion
from sg2im_pyg.system.parallel import ordered_map
from sg2im_pyg.system.progress import progress_bar

PARTS = {"train": "train2017", "val": "val2017", "test": "val2017"}
"""The part of COCO that each split comes from (COCO's own test part has no annotations)."""

_AS_RELEASED = CocoSelection()

_OTHER = "other"  # the stuff category of all that is left over
_MASKS_A_TASK = 256  # about 0.2 s of work
_LAYOUT = (
    "expected are annotations/{instances,stuff}_{train,val}2017.json and the pictures in "
    "images/{train,val}2017 or {train,val}2017"
)


def read_coco(
    source: str | Path,
    splits: Sequence[str],
    mask_size: int = 16,
    selection: CocoSelection = _AS_RELEASED,
    workers: int = 1,
    progress: bool = False,
    mask_resize: MaskResize = "as-released",
) -> dict[str, Annotations]:
    """Converts the annotations of some splits of COCO 2017.

    Objects stand in the order of the files, things before stuff, and crowds count as objects (as
    in the release). The index of a category is its COCO id (see :func:`coco_vocabulary`). Boxes
    are cut at the picture's border. The files are read entry by entry, each twice: once to see
    which pictures are used, once for the masks of these (see :class:`Segmentation`).

    Args:
        source: Folder of COCO, with :obj:`annotations/instances_train2017.json` and so on, and
            pictures in :obj:`images/train2017` or :obj:`train2017`.
        splits: Any of :obj:`"train"`, :obj:`"val"` and :obj:`"test"`; the last two share val2017.
        mask_size: Side of the masks, in pixels; :obj:`0` for none.
        selection: Which objects and pictures are used.
        workers: Number of processes that decode masks.
        progress: Show a bar for each pass, if stderr is a terminal.
        mask_resize: How masks come to their size.

    Raises:
        Sg2ImError: If a file is missing or malformed, if the files do not agree with each other,
            or if a name of the selection is unknown.
    """
    source = Path(source)
    for split in splits:
        coco_image_folder(source, split)  # say what is missing before minutes of work
        _annotation_paths(source, split, selection)
    found: dict[str, Annotations] = {}
    wanted = None if selection.image_ids is None else read_image_ids(selection.image_ids)
    for part in dict.fromkeys(PARTS[split] for split in splits):
        first = next(split for split in splits if PARTS[split] == part)
        paths = _annotation_paths(source, first, selection)
        smooth = mask_resize == "smooth"
        whole, reasons = _read_part(paths, mask_size, smooth, selection, wanted, workers, progress)
        shares = {"train": (whole, reasons)}
        if part != PARTS["train"]:
            shares = _divide(whole, reasons, selection.val_images)
        for split in [split for split in splits if split in shares]:
            found[split], left_out = shares[split]
            counts = Counter(reason for reason in left_out if reason)
            found[split].skipped = dict(sorted(counts.items()))
    return found


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
    source: Path,
    selection: CocoSelection,
    mask_size: int,
    workers: int,
    progress: bool,
    mask_resize: MaskResize = "as-released",
) -> Conversion:
    """What is made of a folder of COCO; arguments and errors as for :func:`read_coco`.

    Stores are told from others by the selection and by the sizes of the annotation files. The test
    split may be empty (a sample with fewer pictures in val2017 than the validation split takes).
    """
    settings: dict[str, dict[str, Any]] = {}
    folders: dict[str, Path] = {}
    for split in PARTS:
        folders[split] = coco_image_folder(source, split)
        settings[split] = {
            "source": "coco",
            "split": split,
            **mask_settings(mask_size, mask_resize),
            **selection.settings(),
            "annotation_bytes": {
                path.name: path.stat().st_size
                for path in _annotation_paths(source, split, selection)
            },
        }
        if split == "train":
            del settings[split]["val_images"]
    return Conversion(
        name="COCO",
        settings=settings,
        folders=folders,
        convert=lambda splits: read_coco(
            source, splits, mask_size, selection, workers, progress, mask_resize
        ),
        wanted=f"{selection.min_objects} to {selection.max_objects} objects larger than "
        f"{selection.min_object_size:g} of the picture",
    )


def coco_image_folder(source: Path, split: str) -> Path:
    """Folder of the pictures of a split.

    Raises:
        Sg2ImError: If it is missing, or there is no such split.
    """
    if split not in PARTS:
        raise Sg2ImError(f"The splits of COCO are train, val and test, got {split!r}.")
    if not source.is_dir():
        raise Sg2ImError(
            f"There is no folder {source}: give the folder that holds COCO; {_LAYOUT}."
        )
    folders = [source / "images" / PARTS[split], source / PARTS[split]]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise Sg2ImError(
        f"There is no folder of pictures {folders[0]} (nor {folders[1]}): put it there; {_LAYOUT}."
    )


def _read_part(
    paths: Sequence[Path],
    mask_size: int,
    smooth: bool,
    selection: CocoSelection,
    wanted: set[int] | None,
    workers: int,
    progress: bool,
) -> tuple[Annotations, list[str]]:
    """All pictures used of one part, and of each listed picture why it is not ("": it is)."""
    things = AnnotationFile(paths[0], progress)
    files = [things]
    chosen = [_choose(things.categories, selection.things, "thing")]
    stuff_categories: dict[int, str] = {}
    if selection.use_stuff:
        stuff = AnnotationFile(paths[1], progress)
        files.append(stuff)
        stuff_categories = stuff.categories
        chosen.append(_choose(stuff_categories, selection.stuff, "stuff"))
        if not selection.include_other:
            chosen[1] -= {i for i, name in stuff_categories.items() if name == _OTHER}
        stuff.check_images(things.images, paths[0])
    vocabulary = coco_vocabulary(things.categories, stuff_categories)

    images = things.images
    position = {image_id: i for i, image_id in enumerate(images)}
    rows: list[tuple[int, int, int, int, int]] = []  # picture, file, entry, category, id
    corners: list[tuple[float, float, float, float]] = []
    for number, (file, categories) in enumerate(zip(files, chosen, strict=True)):
        for found in file.objects(images, selection.min_object_size, categories):
            place = position[found.image_id]
            rows.append((place, number, found.entry, found.category, found.annotation_id))
            corners.append(found.outline.corners)
    table = np.array(rows, np.int64).reshape(-1, 5)
    boxes = np.array(corners, np.float64).reshape(-1, 4)
    del rows, corners

    counts = np.bincount(table[:, 0], minlength=len(images))
    low, high = selection.min_objects, selection.max_objects
    reasons = np.full(len(images), "", object)
    reasons[counts < low] = f"fewer than {low} objects"
    reasons[counts > high] = f"more than {high} objects"
    if selection.use_stuff and not selection.all_images:
        has_stuff = np.isin(list(images), list(files[1].annotated_images))
        reasons[~has_stuff] = "no stuff annotation"
    if wanted is not None:
        is_wanted = np.array([number in wanted for number in images], bool)
        if not is_wanted.any() and PARTS["train"] in paths[0].name:
            raise Sg2ImError(
                f"No picture of {paths[0]} is in {' or '.join(selection.image_ids or ())}: give a "
                "list of numbers of COCO's pictures of 2017."
            )
        reasons[~is_wanted & is_wanted.any()] = "not in the list of pictures"
    used = reasons == ""

    kept = used[table[:, 0]] if len(table) else np.zeros(0, bool)
    order = np.argsort(table[kept, 0], kind="stable")  # things before stuff, in the files' order
    table, boxes = table[kept][order], boxes[kept][order]
    sizes = np.array([(found.height, found.width) for found in images.values()]).reshape(-1, 2)
    scale = np.tile(sizes[table[:, 0]][:, ::-1], (1, 2))
    packed = None
    if mask_size:
        packed = np.zeros((len(table), packed_bytes(mask_size)), np.uint8)
        title = f"Masks of {paths[0].stem.split('_', 1)[1]}"
        outlines = _outlines(files, chosen, selection, table)
        tasks = iter(lambda: list(islice(outlines, _MASKS_A_TASK)), [])
        workers = workers if len(table) > 500 else 1
        with progress_bar(title, len(table), progress, unit=" masks") as bar:
            decode = partial(_decode_masks, mask_size, smooth)
            for places, masks in ordered_map(decode, tasks, workers):
                packed[places] = masks
                bar.update(len(places))
    listed = np.array(list(images), np.int64)[used]
    scene_table = SceneTable(
        image_ids=listed,
        object_offset=offsets(counts[used]),
        categories=table[:, 3].astype(np.int32),
        boxes=(boxes / scale).clip(0, 1).astype(np.float32),
        packed_masks=packed,
        relationship_offset=np.zeros(len(listed) + 1, np.int64),
        attribute_offset=np.zeros(len(table) + 1, np.int64),
        object_ids=table[:, 4].copy(),
    )
    names = [images[number].file_name for number in listed.tolist()]
    stored_sizes = sizes[used].astype(np.int32)
    return Annotations(scene_table, vocabulary, mask_size, names, stored_sizes), reasons.tolist()


def _outlines(
    files: Sequence[AnnotationFile],
    chosen: Sequence[set[int]],
    selection: CocoSelection,
    table: np.ndarray,
) -> Iterator[tuple[int, Segmentation]]:
    """Rows of the table and the outline of the object there, in the order of the files."""
    for number, (file, categories) in enumerate(zip(files, chosen, strict=True)):
        rows = np.flatnonzero(table[:, 1] == number)
        row_of_entry = dict(zip(table[rows, 2].tolist(), rows.tolist(), strict=True))
        for found in file.objects(file.images, selection.min_object_size, categories):
            row = row_of_entry.get(found.entry)
            if row is not None:
                yield row, found.outline


def _decode_masks(
    mask_size: int, smooth: bool, outlines: list[tuple[int, Segmentation]]
) -> tuple[np.ndarray, np.ndarray]:
    masks = np.stack([outline.small_mask(mask_size, smooth) for _, outline in outlines])
    return np.array([row for row, _ in outlines]), pack_masks(masks)


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


def _annotation_paths(source: Path, split: str, selection: CocoSelection) -> list[Path]:
    """Files of the things and, where it is used, of the stuff of a split."""
    kinds = ("instances", "stuff") if selection.use_stuff else ("instances",)
    paths = [source / "annotations" / f"{kind}_{PARTS[split]}.json" for kind in kinds]
    for path in paths:
        if not path.is_file():
            hint = ", or leave stuff out (--things_only)" if path.name.startswith("stuff") else ""
            raise Sg2ImError(f"The file {path} is missing: put it there{hint}; {_LAYOUT}.")
    return paths


def _choose(categories: Mapping[int, str], names: Sequence[str] | None, kind: str) -> set[int]:
    """Ids of the named categories, of all where none are named."""
    if names is None:
        return set(categories)
    ids = {name: number for number, name in categories.items()}
    for name in names:
        if name not in ids:
            raise Sg2ImError(f"COCO has no {kind} category {name!r}: {nearest(name, ids)}")
    return {ids[name] for name in names}
