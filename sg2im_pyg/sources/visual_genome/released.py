"""Visual Genome as the 2018 release's preprocessing left it: ``train.h5``, ..., ``vocab.json``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sg2im_pyg.data.hdf5 import has_own, open_hdf5, own_dataset
from sg2im_pyg.data.scene_table import SceneTable, offsets
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.annotations import Annotations
from sg2im_pyg.sources.images import PICTURE_FORMATS
from sg2im_pyg.sources.picture_files import lies_inside
from sg2im_pyg.sources.preparation import SPLITS, Conversion
from sg2im_pyg.sources.visual_genome.raw_files import read_images
from sg2im_pyg.sources.visual_genome.rules import positions
from sg2im_pyg.sources.visual_genome.source import load_vocabulary, visual_genome_image_folder

_ARRAYS = {
    **{"image_ids": 1, "image_paths": 1, "objects_per_image": 1, "relationships_per_image": 1},
    **{"object_ids": 2, "object_names": 2, "object_boxes": 3},
    **{"relationship_subjects": 2, "relationship_predicates": 2, "relationship_objects": 2},
}
"""What must be there, with the number of dimensions; ``relationship_ids`` is not needed,
``object_attributes`` is misaligned."""

_TRIPLE = ("subjects", "predicates", "objects")


def is_released(folder: str | Path) -> bool:
    """Whether a folder holds the release's files and not the raw ones."""
    folder = Path(folder)
    return (folder / "vocab.json").is_file() and not (folder / "objects.json").is_file()


def read_released(
    source: str | Path, splits: Sequence[str] = SPLITS, images: str | Path | None = None
) -> dict[str, Annotations]:
    """Converts the files that the release's preprocessing wrote.

    Boxes are cut at the picture's border. Attributes are left out: the files have them in an
    array that does not say whose they are.

    Args:
        source: Folder with :obj:`train.h5`, :obj:`val.h5`, :obj:`test.h5` and :obj:`vocab.json`.
        splits: The splits to read.
        images: Folder of the pictures (:obj:`VG_100K`, :obj:`VG_100K_2`), whose sizes are looked
            up there; :obj:`None` to find it in the source folder.

    Raises:
        Sg2ImError: If a file is missing, cut off or lacks an array, if arrays do not agree with
            each other, or a picture is missing.
    """
    source = Path(source)
    folder = visual_genome_image_folder(source) if images is None else Path(images)
    names = load_vocabulary(source / "vocab.json")
    vocabulary = Vocabulary(names.objects, names.predicates)
    found = {}
    for split in splits:
        path = source / f"{split}.h5"
        _check_there(path)
        arrays = _read_arrays(path)
        files: list[str] = arrays.pop("image_paths").tolist()
        sizes = _stored_sizes(source, folder, arrays["image_ids"], files)
        objects, relationships = arrays["objects_per_image"], arrays["relationships_per_image"]
        is_object = _rows(path, "objects_per_image", objects, arrays["object_names"])
        triples = np.stack([arrays[f"relationship_{end}"] for end in _TRIPLE], axis=2)
        is_triple = _rows(path, "relationships_per_image", relationships, triples)
        categories = arrays["object_names"][is_object]
        boxes = arrays["object_boxes"][is_object].astype(np.float64)
        scale = np.repeat(sizes[:, ::-1], objects, axis=0)
        corners = np.concatenate([boxes[:, :2] / scale, (boxes[:, :2] + boxes[:, 2:]) / scale], 1)
        if (boxes[:, 2:] < 0).any() or (categories < 1).any():
            raise _damage(path, "it holds an object without a name or with a box of negative size")
        table = SceneTable(
            image_ids=arrays["image_ids"].astype(np.int64),
            object_offset=offsets(objects),
            categories=categories.astype(np.int32),
            boxes=corners.clip(0, 1).astype(np.float32),
            packed_masks=None,
            relationship_offset=offsets(relationships),
            relationships=triples[is_triple].astype(np.int32),
            attribute_offset=np.zeros(int(objects.sum()) + 1, np.int64),
            object_ids=arrays["object_ids"][is_object].astype(np.int64),
        )
        table.check(str(path), vocabulary)
        found[split] = Annotations(table, vocabulary, 0, files, sizes)
    return found


def released_conversion(source: Path) -> Conversion:
    """What is made of a folder as :func:`read_released` takes it, with the pictures in it.

    Raises:
        Sg2ImError: As :func:`read_released`.
    """
    folder = visual_genome_image_folder(source)
    for name in ("vocab.json", *(f"{split}.h5" for split in SPLITS)):
        _check_there(source / name)
    settings = {
        split: {
            "source": "visual_genome",
            "split": split,
            "annotation_bytes": {
                name: (source / name).stat().st_size for name in ("vocab.json", f"{split}.h5")
            },
        }
        for split in SPLITS
    }
    return Conversion(
        name="Visual Genome",
        settings=settings,
        folders=dict.fromkeys(SPLITS, folder),
        convert=lambda splits: read_released(source, splits, folder),
        wanted="objects and relationships",
        may_be_empty=("val", "test"),
        check_sizes=False,
        note=f"{source} holds the files of the release's preprocessing: they are read as they are, "
        "whatever the options say of vocabulary, objects and pictures.",
    )


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise Sg2ImError(
            f"The file {path} is missing: put it there, as the release's preprocessing writes it."
        )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with open_hdf5(path) as file:
        missing = [name for name in _ARRAYS if not has_own(file, name)]
        if missing:
            raise Sg2ImError(
                f"{path} has no array {missing[0]!r}: expected is a file of the release's "
                f"preprocessing with the arrays {', '.join(_ARRAYS)}."
            )
        try:
            kinds = {name: "OS" if name == "image_paths" else "iu" for name in _ARRAYS}
            arrays = {name: own_dataset(file, name, kinds[name])[()] for name in _ARRAYS}
        except (OSError, TypeError, ValueError) as error:
            raise _damage(path, f"it can not be read ({error})") from error
    count = len(arrays["image_ids"])
    files = [
        (name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name))
        for name in arrays["image_paths"]
    ]
    arrays["image_paths"] = np.array([file.replace("\\", "/") for file in files], object)
    for name, dimensions in _ARRAYS.items():
        values = arrays[name]
        if name != "image_paths":
            low = -(2**31) if name == "object_boxes" else -1
            if values.size and (int(values.max()) >= 2**31 or int(values.min()) < low):
                raise _damage(path, f"{name} holds numbers out of range")
            arrays[name] = values.astype(np.int64)
        if values.ndim != dimensions or len(values) != count:
            raise _damage(
                path,
                f"{name} has the shape {values.shape}, expected are {dimensions} dimensions and "
                f"{count} pictures",
            )
    for kind in ("object_", "relationship_"):
        names = [name for name in _ARRAYS if name.startswith(kind)]
        if len({arrays[name].shape[1] for name in names}) != 1:
            raise _damage(path, f"{', '.join(names)} have different widths")
    if arrays["object_boxes"].shape[2] != 4:
        raise _damage(path, "object_boxes holds no four numbers a box")
    if count and (arrays["image_ids"].min() < 0 or len(set(arrays["image_ids"].tolist())) < count):
        raise _damage(path, "image_ids holds a number twice or a negative one")
    for file in arrays["image_paths"]:
        if not lies_inside(file):
            raise Sg2ImError(
                f"{path} names the picture {file!r}, which lies outside of the folder of pictures."
            )
    return arrays


def _rows(path: Path, name: str, counts: np.ndarray, padded: np.ndarray) -> np.ndarray:
    """Which places of a padded array hold something, shape (N, width)."""
    width = padded.shape[1]
    if (counts < 0).any() or (counts > width).any():
        raise _damage(
            path, f"{name} names more than the {width} that there is room for, or fewer than none"
        )
    return np.arange(width) < counts[:, None]


def _damage(path: Path, what: str) -> Sg2ImError:
    return Sg2ImError(f"{path} is damaged, {what}: replace it by a whole copy.")


def _stored_sizes(
    source: Path, folder: Path, image_ids: np.ndarray, files: Sequence[str]
) -> np.ndarray:
    """Height and width of each picture: as the picture list says, or from the files' headers."""
    if (source / "image_data.json").is_file():
        listed = read_images(source / "image_data.json")
        place = positions(listed.ids, image_ids)
        if (place < 0).any():
            raise Sg2ImError(
                f"{source / 'image_data.json'} does not list the picture "
                f"{image_ids[place < 0][0]}: it must belong to the same Visual Genome."
            )
        return listed.sizes[place]
    sizes, unreadable = np.zeros((len(files), 2), np.int32), []
    for row, file in zip(sizes, files, strict=True):
        try:
            with Image.open(folder / file, formats=PICTURE_FORMATS) as image:
                row[:] = image.height, image.width
        except Exception:  # Pillow raises nearly anything at foreign bytes
            unreadable.append(str(folder / file))
    if unreadable:
        raise Sg2ImError(
            f"{len(unreadable):,} of {len(files):,} pictures are missing or no pictures, the first "
            f"is {unreadable[0]}: their sizes are needed for the boxes. Put them there, or beside "
            "the .h5 files image_data.json of Visual Genome, which lists the sizes."
        )
    return sizes
