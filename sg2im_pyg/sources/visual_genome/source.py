"""Visual Genome: the release's preprocessing rule by rule, and the way into the store."""

from pathlib import Path
from typing import Any

import numpy as np

from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.annotations import Annotations
from sg2im_pyg.sources.preparation import SPLITS, Conversion
from sg2im_pyg.sources.visual_genome.raw_files import (
    NO_ATTRIBUTES,
    read_aliases,
    read_attributes,
    read_images,
    read_json_file,
    read_objects,
    read_relationships,
    read_splits,
)
from sg2im_pyg.sources.visual_genome.rules import VisualGenomeColumns
from sg2im_pyg.sources.visual_genome.selection import VisualGenomeSelection
from sg2im_pyg.system.files import fingerprint

FILES = ("image_data.json", "objects.json", "relationships.json")
"""The raw annotations that are needed, all in one folder."""

OPTIONAL_FILES = ("attributes.json", "object_alias.txt", "relationship_alias.txt")
"""Those that one's own data may lack."""

SPLIT_LIST = "vg_splits.json"
"""The release's list of the pictures of each split."""

_AS_RELEASED = VisualGenomeSelection()

_SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}  # paper, Section 4.1
_LAYOUT = (
    f"expected are {', '.join(FILES)}, perhaps {', '.join(OPTIONAL_FILES)}, and the pictures in "
    "images/VG_100K and images/VG_100K_2 (or VG_100K and VG_100K_2)"
)


def load_vocabulary(path: str | Path) -> Vocabulary:
    """Reads a vocabulary.

    Args:
        path: JSON file of the release (``vocab.json``, with :obj:`"object_idx_to_name"` and so
            on) or with the lists :obj:`"objects"`, :obj:`"predicates"` and, if there are any,
            :obj:`"attributes"`.

    Raises:
        Sg2ImError: If the file is missing or malformed.
    """
    path = Path(path)
    content = read_json_file(path)
    lists = []
    for ours, theirs in (
        ("objects", "object_idx_to_name"),
        ("predicates", "pred_idx_to_name"),
        ("attributes", "attribute_idx_to_name"),
    ):
        found = content.get(theirs, content.get(ours)) if isinstance(content, dict) else None
        if found is None and ours == "attributes":
            found = []
        if not isinstance(found, list) or not all(isinstance(n, str) and n for n in found):
            raise Sg2ImError(f"The vocabulary {path} has no list of names {theirs!r} or {ours!r}.")
        lists.append(found)
    return Vocabulary(*lists)


def read_visual_genome(
    source: str | Path,
    splits: str | Path | int,
    selection: VisualGenomeSelection = _AS_RELEASED,
    vocabulary: Vocabulary | None = None,
    progress: bool = False,
) -> dict[str, Annotations]:
    """Converts the annotations of Visual Genome as the release does.

    The rules, in their order: pictures with a short side are left out. Names of objects are
    replaced by the aliases; the vocabulary holds those that enough objects of the training split
    have, most frequent first (of equals, the first to appear). An object takes the first of its
    names that is in the vocabulary; objects without one, or with a short side, are left out.
    Predicates between objects that are left and frequent enough in the training split are used,
    in the order of their first appearance. Last, pictures with too few or too many objects or
    relationships are left out.

    Boxes are cut at the picture's border; attributes stay with their objects.

    Args:
        source: Folder with :data:`FILES` and perhaps :data:`OPTIONAL_FILES`, without which there
            are no attributes, and names are used as they are written.
        splits: File that lists the pictures of each split, or the seed to draw them with.
        selection: Which names, objects and pictures are used.
        vocabulary: The names to use, instead of counting them.
        progress: Show a bar for each file, if stderr is a terminal.

    Raises:
        Sg2ImError: If a file is missing or malformed, or if the files do not agree with each
            other.
    """
    source = Path(source)
    images = read_images(source / "image_data.json", progress)
    known = images.ids.tolist()
    if isinstance(splits, int):
        ids = draw_splits(images.ids, splits)
    else:
        ids = read_splits(Path(splits), known)
    aliases, predicate_aliases = (
        read_aliases(path) if (path := source / f"{kind}_alias.txt").is_file() else {}
        for kind in ("object", "relationship")
    )
    objects = read_objects(source / "objects.json", known, aliases, progress)
    attributes = NO_ATTRIBUTES
    if (source / "attributes.json").is_file():
        attributes = read_attributes(source / "attributes.json", known, progress)
    relationships = read_relationships(source / "relationships.json", known, progress)
    columns = VisualGenomeColumns(
        images, objects, attributes, relationships, predicate_aliases, ids
    )
    return columns.convert(selection, vocabulary)


def draw_splits(ids: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Divides pictures at random, 80 : 10 : 10 (paper, Section 4.1).

    Args:
        ids: Numbers of the pictures, shape :math:`(N,)`; their order does not matter.
        seed: The same seed gives the same splits.

    Raises:
        Sg2ImError: If the seed is negative.
    """
    if seed < 0:
        raise Sg2ImError(f"The seed of the splits must be at least 0, got {seed}.")
    order = np.random.default_rng(seed).permutation(np.sort(ids))
    ends = np.round(np.cumsum(list(_SHARES.values())) * len(order)).astype(int)
    return dict(zip(_SHARES, np.split(order, ends[:-1]), strict=True))


def visual_genome_conversion(
    source: Path,
    selection: VisualGenomeSelection,
    splits: str | Path | int | None,
    vocabulary: str | Path | None,
    progress: bool,
) -> Conversion:
    """What is made of a folder of Visual Genome.

    Stores are told from others by the selection, the files of splits and vocabulary, and the sizes
    of the annotation files. There are no masks.

    Args:
        source: Folder as for :func:`read_visual_genome`, and the pictures in
            :obj:`images/VG_100K` and :obj:`images/VG_100K_2`, or beside the files.
        selection: Which names, objects and pictures are used.
        splits: File that lists the pictures of each split, or the seed to draw them with;
            :obj:`None` for :data:`SPLIT_LIST` in the source folder, or else the seed 0.
        vocabulary: File of the names to use; :obj:`None` to count them.
        progress: Show bars, if stderr is a terminal.

    Raises:
        Sg2ImError: As :func:`read_visual_genome`.
    """
    if not source.is_dir():
        raise Sg2ImError(
            f"There is no folder {source}: give the folder that holds Visual Genome; {_LAYOUT}."
        )
    missing = [name for name in FILES if not (source / name).is_file()]
    if missing:
        raise Sg2ImError(
            f"{source} lacks {', '.join(missing)}: put what is missing there; {_LAYOUT}."
        )
    there = [name for name in (*FILES, *OPTIONAL_FILES) if (source / name).is_file()]
    folder = visual_genome_image_folder(source)
    chosen = split_source(source, splits)
    names = None if vocabulary is None else load_vocabulary(vocabulary)
    if isinstance(chosen, int):
        shares = " : ".join(f"{share:.0%}" for share in _SHARES.values())
        known_by = f"seed {chosen}"
        note = (
            f"Pictures are divided into train, val and test ({shares}) at random, seed {chosen}: "
            "results are not comparable with those of the release's own splits (vg_splits.json)."
        )
    else:
        known_by, note = fingerprint(chosen), f"Splits: {chosen}"
    absent = [name for name in OPTIONAL_FILES if name not in there]
    if absent:
        note += f"\nThere is no {' and no '.join(absent)}: done without."
    settings: dict[str, Any] = {
        "source": "visual_genome",
        **selection.settings(),
        "splits": known_by,
        # Stores of before have other shares for the same seed, and no word on them.
        **({"split_shares": shares} if isinstance(chosen, int) else {}),
        "vocabulary": None if vocabulary is None else fingerprint(Path(vocabulary)),
        "annotation_bytes": {name: (source / name).stat().st_size for name in there},
    }
    return Conversion(
        name="Visual Genome",
        settings={split: {**settings, "split": split} for split in SPLITS},
        folders=dict.fromkeys(SPLITS, folder),
        convert=lambda _: read_visual_genome(source, chosen, selection, names, progress),
        wanted=f"{selection.min_objects} to {selection.max_objects} objects and "
        f"{selection.min_relationships} to {selection.max_relationships} relationships",
        # Pictures in the list of another size than their file: the release takes no offence.
        check_sizes=False,
        may_be_empty=("val", "test"),
        note=note,
    )


def split_source(source: Path, splits: str | Path | int | None) -> Path | int:
    """Where the splits come from: the file named, the release's list if it is there, or a seed."""
    if splits is None:
        return source / SPLIT_LIST if (source / SPLIT_LIST).is_file() else 0
    if isinstance(splits, int):
        return splits
    if not Path(splits).is_file():
        raise Sg2ImError(
            f"There is no list of splits {splits}: give a JSON file with the lists 'train', 'val' "
            "and 'test', or a seed."
        )
    return Path(splits)


def visual_genome_image_folder(source: Path) -> Path:
    """Folder that holds :obj:`VG_100K` and :obj:`VG_100K_2`.

    Raises:
        Sg2ImError: If there is none.
    """
    for folder in (source / "images", source):
        if (folder / "VG_100K").is_dir() or (folder / "VG_100K_2").is_dir():
            return folder
    raise Sg2ImError(
        f"There are no folders of pictures VG_100K and VG_100K_2 in {source / 'images'} (nor in "
        f"{source}): put them there; {_LAYOUT}."
    )
