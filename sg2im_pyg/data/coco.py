"""COCO 2017 with COCO-Stuff: annotated pictures as scenes, and their way into the store."""

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from sg2im_pyg.data.images import load_image
from sg2im_pyg.data.scene import Scene
from sg2im_pyg.data.store import SceneReader, SceneWriter, read_settings
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, IMAGE, UNUSED, Vocabulary
from sg2im_pyg.errors import Sg2ImError

PARTS = {"train": "train2017", "val": "val2017", "test": "val2017"}
"""The part of COCO that each split comes from (COCO's own test part has no annotations)."""

_OTHER = "other"  # the stuff category of all that is left over
_MAX_SIDE = 100_000  # pixels
_MAX_CATEGORY_ID = 9999  # ids are indices of the vocabulary: a wild one would take all memory
_LAYOUT = (
    "expected are annotations/{instances,stuff}_{train,val}2017.json and the pictures in "
    "images/{train,val}2017 or {train,val}2017"
)


@dataclass(frozen=True)
class CocoSelection:
    """Which objects and which pictures of COCO are used; the defaults are the release's.

    Args:
        min_object_size: Objects whose box covers no more than this fraction of the picture's
            area are ignored, in :math:`[0, 1)`.
        min_objects: Pictures with fewer objects left are not used.
        max_objects: Pictures with more objects left are not used.
        things: Names of the thing categories to use; :obj:`None` for all.
        stuff: Names of the stuff categories to use; :obj:`None` for all.
        use_stuff: Whether stuff is used at all; without it no stuff annotations are needed.
        all_images: Use also pictures without any stuff annotation.
        include_other: Keep objects of the stuff category :obj:`"other"`.
        val_images: The first so many pictures used of val2017 (in the order of its picture list)
            are the validation split, the others the test split. The paper's 1,024 and 2,048
            count the pictures that are left after the selection.

    Raises:
        Sg2ImError: If a value is outside of its range or two of them exclude each other.
    """

    min_object_size: float = 0.02
    min_objects: int = 3
    max_objects: int = 8
    things: tuple[str, ...] | None = None
    stuff: tuple[str, ...] | None = None
    use_stuff: bool = True
    all_images: bool = False
    include_other: bool = False
    val_images: int = 1024

    def __post_init__(self) -> None:
        if not 0 <= self.min_object_size < 1:
            raise Sg2ImError(
                "The smallest object size is a fraction of the picture's area from 0 to below 1, "
                f"got {self.min_object_size}."
            )
        if not 1 <= self.min_objects <= self.max_objects:
            raise Sg2ImError(
                "The number of objects a picture must have a minimum of at least 1 and no more "
                f"than its maximum, got {self.min_objects} to {self.max_objects}."
            )
        if self.val_images < 1:
            raise Sg2ImError(
                f"The validation split needs at least 1 picture, got {self.val_images}."
            )
        if self.stuff is not None and not self.use_stuff:
            raise Sg2ImError(
                "Stuff categories are named although stuff is switched off: leave one of them out."
            )


class CocoReader:
    """One split of COCO 2017 as a sequence of scenes.

    Objects stand in the order of the files, things before stuff, and crowds count as objects (as
    in the release). The index of a category is its COCO id (see :func:`coco_vocabulary`). Boxes
    are cut at the picture's border. Masks are decoded at the picture's size, cropped to the box
    rounded to pixels, resized bilinearly with antialiasing, and a pixel is set above 0.5.

    Args:
        source: Folder of COCO, with :obj:`annotations/instances_train2017.json` and so on, and
            pictures in :obj:`images/train2017` or :obj:`train2017`.
        split: :obj:`"train"`, :obj:`"val"` or :obj:`"test"`; the last two share val2017.
        image_size: Height and width of the pictures, in pixels.
        mask_size: Side of the masks, in pixels; :obj:`0` for none.
        selection: Which objects and pictures are used.

    Raises:
        Sg2ImError: If a file is missing or malformed, if the files do not agree with each other,
            if a name of the selection is unknown; at access if a picture or mask can not be read.
    """

    def __init__(
        self,
        source: str | Path,
        split: str,
        image_size: tuple[int, int] = (64, 64),
        mask_size: int = 16,
        selection: CocoSelection = CocoSelection(),
    ) -> None:
        self.image_folder = _image_folder(Path(source), split)
        self.image_size = image_size
        self.mask_size = mask_size
        paths = _annotation_paths(Path(source), split, selection)

        # One file after the other: parsed, each of them takes gigabytes.
        things = _AnnotationFile(paths[0])
        self._images = things.images()
        objects: dict[int, list[_Object]] = {image_id: [] for image_id in self._images}
        chosen = _choose(things.categories, selection.things, "thing")
        for found in things.objects(self._images, selection.min_object_size, chosen):
            objects[found.image_id].append(found)
        thing_categories, candidates = things.categories, list(self._images)
        del things

        stuff_categories: dict[int, str] = {}
        if selection.use_stuff:
            stuff = _AnnotationFile(paths[1])
            stuff.check_images(self._images, paths[0])
            stuff_categories = stuff.categories
            chosen = _choose(stuff_categories, selection.stuff, "stuff")
            if not selection.include_other:
                chosen -= {i for i, name in stuff_categories.items() if name == _OTHER}
            for found in stuff.objects(self._images, selection.min_object_size, chosen):
                objects[found.image_id].append(found)
            if not selection.all_images:
                candidates = [i for i in candidates if i in stuff.annotated_images]
            del stuff

        self.vocabulary = coco_vocabulary(thing_categories, stuff_categories)
        used = [
            image_id
            for image_id in candidates
            if selection.min_objects <= len(objects[image_id]) <= selection.max_objects
        ]
        if split == "val":
            used = used[: selection.val_images]
        elif split == "test":
            used = used[selection.val_images :]
        self.image_ids = used
        self._objects = {image_id: objects[image_id] for image_id in used}

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Scene:
        image_id = self.image_ids[index]
        listed = self._images[image_id]
        objects = self._objects[image_id]
        scale = np.array([listed.width, listed.height] * 2, np.float64)
        corners = np.array([found.corners for found in objects], np.float64)
        masks = None
        if self.mask_size:
            masks = np.stack([_small_mask(found, listed, self.mask_size) for found in objects])
        return Scene(
            image_id=image_id,
            image=load_image(
                self.image_folder / listed.file_name,
                self.image_size,
                stored_size=(listed.height, listed.width),
            ),
            categories=np.array([found.category for found in objects], np.int64),
            boxes=(corners / scale).clip(0, 1).astype(np.float32),
            masks=masks,
        )

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"CocoReader({str(self.image_folder)!r}, pictures={len(self)})"


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


def prepare_coco(
    source: str | Path,
    root: str | Path,
    image_size: tuple[int, int] = (64, 64),
    mask_size: int = 16,
    selection: CocoSelection = CocoSelection(),
    progress: bool = True,
) -> dict[str, Path]:
    """Writes COCO as :obj:`root/<H>x<W>/{train,val,test}.h5`.

    A split that is there already, made with the same settings from annotation files of the same
    sizes, is left as it is. The test split may be empty (a sample with fewer pictures in val2017
    than the validation split takes).

    Args:
        source: Folder of COCO, as :class:`CocoReader` takes it.
        root: Folder of the prepared data.
        image_size: Height and width of the pictures, in pixels.
        mask_size: Side of the masks, in pixels; :obj:`0` for none.
        selection: Which objects and pictures are used.
        progress: Show a bar a split, if stderr is a terminal.

    Returns:
        The file of each split.

    Raises:
        Sg2ImError: As :class:`CocoReader`; if a split is there with other settings; if no
            picture fits the selection; if train and val have different categories.
    """
    if min(image_size) < 1 or mask_size < 0:
        raise Sg2ImError(
            "Pictures must be at least 1 x 1 pixels and masks at least 0 pixels wide, got "
            f"{image_size[0]} x {image_size[1]} and {mask_size}."
        )
    source, root = Path(source), Path(root)
    paths = {split: root / f"{image_size[0]}x{image_size[1]}" / f"{split}.h5" for split in PARTS}
    settings: dict[str, dict[str, Any]] = {}
    for split in PARTS:
        _image_folder(source, split)  # say what is missing before minutes of work
        settings[split] = {
            "source": "coco",
            "split": split,
            "image_size": list(image_size),
            "mask_size": mask_size,
            **asdict(selection),
            "annotation_bytes": {
                path.name: path.stat().st_size
                for path in _annotation_paths(source, split, selection)
            },
        }
        if split == "train":
            del settings[split]["val_images"]
    missing = [split for split in PARTS if not _is_prepared(paths[split], settings[split])]

    ready = [split for split in PARTS if split not in missing]
    vocabulary = SceneReader(paths[ready[0]]).vocabulary if ready else None
    for split in missing:
        reader = CocoReader(source, split, image_size, mask_size, selection)
        if not len(reader) and split != "test":
            raise Sg2ImError(
                f"No picture of {reader.image_folder} is left with {selection.min_objects} to "
                f"{selection.max_objects} objects larger than {selection.min_object_size:g} of "
                "the picture: widen the selection, or give more of COCO."
            )
        vocabulary = vocabulary or reader.vocabulary
        if reader.vocabulary != vocabulary:
            raise Sg2ImError(
                f"The annotations of {PARTS[split]} in {source / 'annotations'} have other "
                f"categories than those of {PARTS[(ready or missing)[0]]}: both must come from "
                "the same COCO."
            )
        with (
            SceneWriter(paths[split], vocabulary, image_size, mask_size, settings[split]) as writer,
            tqdm(
                total=len(reader),
                desc=f"COCO {split}",
                unit=" pictures",
                disable=None if progress else True,
            ) as bar,
        ):
            for scene in reader:
                writer.add(scene)
                bar.update()
    return paths


@dataclass(frozen=True)
class _ListedImage:
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class _Object:
    image_id: int
    category: int
    corners: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the stored picture
    segmentation: Any
    where: str


class _AnnotationFile:
    """A COCO annotation file, its entries checked as they are handed out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = _load_json(path)
        self._entries: dict[str, list[dict[str, Any]]] = {}
        for key in ("images", "annotations", "categories"):
            entries = content.get(key) if isinstance(content, dict) else None
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                raise Sg2ImError(
                    f"{path} has no list {key!r} of entries: expected is an annotation file of "
                    "COCO with 'images', 'annotations' and 'categories'."
                )
            self._entries[key] = entries
        self.categories: dict[int, str] = {}
        for entry in self._entries["categories"]:
            number: Any = entry.get("id")
            name: Any = entry.get("name")
            if not _is_whole(number, 1, _MAX_CATEGORY_ID) or not (isinstance(name, str) and name):
                raise self._malformed(
                    "category", entry, f"an id from 1 to {_MAX_CATEGORY_ID} and a name"
                )
            if number in self.categories:
                raise Sg2ImError(f"{path} has two categories with the id {number}: replace it.")
            self.categories[number] = name
        twice = [name for name, count in Counter(self.categories.values()).items() if count > 1]
        if twice:
            raise Sg2ImError(f"{path} has two categories with the name {twice[0]!r}: replace it.")
        numbers = (entry.get("image_id") for entry in self._entries["annotations"])
        self.annotated_images = {number for number in numbers if type(number) is int}

    def images(self) -> dict[int, _ListedImage]:
        """The picture list by ids, in the order of the file."""
        images: dict[int, _ListedImage] = {}
        for entry in self._entries["images"]:
            number: Any = entry.get("id")
            name: Any = entry.get("file_name")
            width: Any = entry.get("width")
            height: Any = entry.get("height")
            if not (
                _is_whole(number, 0)
                and isinstance(name, str)
                and name
                and _is_whole(width, 1, _MAX_SIDE)
                and _is_whole(height, 1, _MAX_SIDE)
            ):
                raise self._malformed("picture", entry, "id, file_name, width and height")
            if not _lies_inside(name):
                raise self._malformed(
                    "picture", entry, "a file_name inside of the folder of pictures"
                )
            if number in images:
                raise Sg2ImError(f"{self.path} lists the picture {number} twice: replace it.")
            images[number] = _ListedImage(name, width, height)
        return images

    def check_images(self, expected: Mapping[int, _ListedImage], expected_path: Path) -> None:
        """Raises where this file's picture list does not agree with another one."""
        for number, listed in self.images().items():
            if expected.get(number) != listed:
                raise Sg2ImError(
                    f"{self.path} lists the picture {number} as {listed.file_name} "
                    f"({listed.width} x {listed.height}), {expected_path.name} "
                    + ("lists it otherwise" if number in expected else "does not list it")
                    + ": both files must come from the same COCO."
                )

    def objects(
        self, images: Mapping[int, _ListedImage], min_size: float, categories: set[int]
    ) -> Iterator[_Object]:
        """Objects of some categories that are larger than a fraction of their picture."""
        for entry in self._entries["annotations"]:
            where = f"annotation {entry.get('id')} of {self.path}"
            image_id: Any = entry.get("image_id")
            category: Any = entry.get("category_id")
            if not _is_whole(image_id, 0) or image_id not in images:
                raise Sg2ImError(
                    f"The {where} belongs to the picture {image_id!r}, which the picture list "
                    "does not have: picture list and annotations must come from the same COCO."
                )
            if not _is_whole(category, 0) or category not in self.categories:
                raise Sg2ImError(
                    f"The {where} has the category {category!r}, which the list of categories "
                    "does not have: replace the file by a whole copy."
                )
            x, y, width, height = _box(entry.get("bbox"), where)
            listed = images[image_id]
            # Boxes without area (COCO has some) go the way of all that are too small.
            if width * height <= min_size * listed.width * listed.height:
                continue
            if not (x < listed.width and y < listed.height and x + width > 0 and y + height > 0):
                raise Sg2ImError(
                    f"The {where} has the box {entry['bbox']} (x, y, width, height), wholly "
                    f"outside of its picture of {listed.width} x {listed.height} pixels: correct "
                    "or remove it."
                )
            if category in categories:
                yield _Object(
                    image_id,
                    category,
                    (x, y, x + width, y + height),
                    entry.get("segmentation"),
                    where,
                )

    def _malformed(self, kind: str, entry: dict[str, Any], expected: str) -> Sg2ImError:
        shown = json.dumps(entry)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        return Sg2ImError(f"A {kind} of {self.path} must have {expected}, got {shown}.")


def _load_json(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if not text.strip():
            raise Sg2ImError(f"{path} is empty: download or copy it again.")
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise Sg2ImError(
            f"{path} is no JSON text in UTF-8 (byte {error.start}): replace it by a whole copy."
        ) from error
    except json.JSONDecodeError as error:
        # A cut is seen at the end, not where the parser stops: that may be where a string began.
        if error.pos >= len(text.rstrip()) or text.rstrip()[-1:] not in ("}", "]"):
            raise Sg2ImError(
                f"{path} ends in the middle (after {len(text):,} characters, it was cut off): "
                "download or copy it again."
            ) from error
        raise Sg2ImError(
            f"{path} is no valid JSON ({error.msg} in line {error.lineno}, column {error.colno}):"
            " replace it by a whole copy."
        ) from error
    except Sg2ImError:
        raise
    except (RecursionError, ValueError) as error:
        raise Sg2ImError(
            f"{path} is no annotation file of COCO, it has thousands of brackets in each other or "
            "a number of thousands of digits: replace it by a whole copy."
        ) from error


def _lies_inside(name: str) -> bool:
    """Whether a file name stays below its folder, on every system."""
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    parts = {part for kind in kinds for part in kind.parts}
    absolute = any(kind.is_absolute() or kind.drive or kind.root for kind in kinds)
    return not absolute and ".." not in parts and name.isprintable()


def _annotation_paths(source: Path, split: str, selection: CocoSelection) -> list[Path]:
    """Files of the things and, where it is used, of the stuff of a split."""
    kinds = ("instances", "stuff") if selection.use_stuff else ("instances",)
    paths = [source / "annotations" / f"{kind}_{PARTS[split]}.json" for kind in kinds]
    for path in paths:
        if not source.is_dir():
            raise Sg2ImError(
                f"There is no folder {source}: give the folder that holds COCO; {_LAYOUT}."
            )
        if not path.is_file():
            hint = ", or leave stuff out (--things-only)" if path.name.startswith("stuff") else ""
            raise Sg2ImError(f"The file {path} is missing: put it there{hint}; {_LAYOUT}.")
    return paths


def _image_folder(source: Path, split: str) -> Path:
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


def _is_prepared(path: Path, settings: Mapping[str, Any]) -> bool:
    if not path.exists():
        return False
    try:
        found = read_settings(path)
    except Sg2ImError as error:
        raise Sg2ImError(
            f"{path} is there, but it is no whole store of sg2im_pyg: remove it, or choose "
            "another folder with --root."
        ) from error
    wanted = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise Sg2ImError(
                f"{path} was prepared with other settings ({key}: {found.get(key)!r} there, "
                f"{wanted.get(key)!r} now): remove it, or choose another folder with --root."
            )
    return True


def _choose(categories: Mapping[int, str], names: Sequence[str] | None, kind: str) -> set[int]:
    """Ids of the named categories, of all where none are named."""
    if names is None:
        return set(categories)
    ids = {name: number for number, name in categories.items()}
    for name in names:
        if name not in ids:
            near = difflib.get_close_matches(str(name).lower(), ids, n=3, cutoff=0.5)
            shown = near or list(ids)[:8]
            raise Sg2ImError(
                f"COCO has no {kind} category {name!r}; "
                + ("near are " if near else "some of them are ")
                + ", ".join(map(repr, shown))
                + "."
            )
    return {ids[name] for name in names}


def _box(box: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise Sg2ImError(
            f"The {where} has the box {box!r}: expected are four numbers x, y, width, height in "
            "pixels."
        )
    x, y, width, height = box
    if width < 0 or height < 0:
        raise Sg2ImError(
            f"The {where} has a box of negative width or height, {box} (x, y, width, height): "
            "correct or remove it."
        )
    return x, y, width, height


def _small_mask(found: _Object, listed: _ListedImage, size: int) -> np.ndarray:
    """Mask of an object within its box, shape (size, size), bool."""
    x0, y0, x1, y1 = (round(corner) for corner in found.corners)
    # At least one pixel is cropped, and none outside of the picture.
    x0, y0 = min(max(x0, 0), listed.width - 1), min(max(y0, 0), listed.height - 1)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    crop = _decode(found, listed)[y0:y1, x0:x1].astype(np.float32)
    resized = Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized) > 0.5


def _decode(found: _Object, listed: _ListedImage) -> np.ndarray:
    """Mask of an object at the picture's size, shape (height, width), uint8.

    Everything is checked first: pycocotools reads and writes outside of its memory when the
    runs do not add up to the picture.
    """
    segmentation, height, width = found.segmentation, listed.height, listed.width
    if isinstance(segmentation, list):
        polygons = _polygons(segmentation, found, listed)
        if not polygons:
            return np.zeros((height, width), np.uint8)
        runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return coco_mask.decode(runs)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise Sg2ImError(
            f"The {found.where} has no segmentation: expected are polygons (a list of lists of "
            "numbers) or runs ('size' and 'counts')."
        )
    if segmentation.get("size") != [height, width]:
        raise Sg2ImError(
            f"The {found.where} has a mask of size {segmentation.get('size')} (height, width), "
            f"its picture is listed with {[height, width]}: the files do not belong together."
        )
    counts = segmentation["counts"]
    lengths = _uncompress(counts) if isinstance(counts, str) else _whole_numbers(counts)
    if lengths is None or (lengths < 0).any() or int(lengths.sum()) != height * width:
        raise Sg2ImError(
            f"The {found.where} has a damaged mask, whose runs do not add up to its picture of "
            f"{width} x {height} pixels: replace the file by a whole copy."
        )
    runs = {"size": [height, width], "counts": counts}
    return coco_mask.decode(
        runs if isinstance(counts, str) else coco_mask.frPyObjects(runs, height, width)
    )


def _polygons(polygons: list[Any], found: _Object, listed: _ListedImage) -> list[list[float]]:
    """The polygons that enclose an area; two corners or fewer (pycocotools: a box) do not."""
    for polygon in polygons:
        if (
            not isinstance(polygon, list)
            or len(polygon) % 2
            or not all(map(_is_number, polygon))
            # pycocotools walks along each edge pixel by pixel
            or any(not -listed.width <= x <= 2 * listed.width for x in polygon[0::2])
            or any(not -listed.height <= y <= 2 * listed.height for y in polygon[1::2])
        ):
            raise Sg2ImError(
                f"The {found.where} has a damaged polygon: expected is a list x, y, x, y, ... of "
                f"positions in its picture of {listed.width} x {listed.height} pixels."
            )
    return [polygon for polygon in polygons if len(polygon) >= 6]


def _uncompress(counts: str) -> np.ndarray | None:
    """Lengths of the runs of a compressed RLE, :obj:`None` where it breaks the format.

    Only to check them. The format (pycocotools, ``maskApi.c``): five bits a character from "0"
    on, lowest first, the sixth bit says that more follow, the fifth of the last is the sign; from
    the fourth run on, the difference to the run two before.
    """
    if not counts or not counts.isascii():
        return None
    bits = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    is_last = (bits & 0x20) == 0
    if (bits < 0).any() or (bits > 0x3F).any() or not is_last[-1]:
        return None
    starts = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
    lengths = np.diff(np.append(starts, len(bits)))
    if lengths.max() > 6:  # more than 30 bits
        return None
    place = 5 * (np.arange(len(bits)) - np.repeat(starts, lengths))
    values = np.add.reduceat((bits & 0x1F) << place, starts)
    is_negative = (bits[is_last] & 0x10) != 0
    values -= is_negative * (np.int64(1) << 5 * lengths)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _whole_numbers(counts: Any) -> np.ndarray | None:
    if not isinstance(counts, list) or not all(_is_whole(count, 0, 2**31) for count in counts):
        return None
    return np.array(counts, np.int64)


def _is_number(value: Any) -> bool:
    # Whole numbers of hundreds of digits do not fit into a float.
    return type(value) in (int, float) and abs(value) < 1e15


def _is_whole(value: Any, low: int, high: int = 2**62) -> bool:
    return type(value) is int and low <= value <= high
