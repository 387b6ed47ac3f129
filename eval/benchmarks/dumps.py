"""Synthetic raw dumps for eval/benchmark_preparation.py: Visual Genome and COCO as downloaded.

The files have the formats, the sizes and roughly the statistics of the real ones, and none of
their content. The same arguments give the same bytes (with the same numpy). All is written piece
by piece, so that gigabytes need little memory. A small dump with its pictures:

    write_pictures(folder / "images", write_coco(folder, train_pictures=200, val_pictures=50))
"""

import io
import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.random import Generator
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from sg2im_pyg.system.files import replace_when_whole

Size = tuple[int, int]
Images = dict[str, Size]
"""Pictures by folder and file name, with the height and the width of each in pixels."""
Entry = dict[str, Any]

# Height, width and how often; a hundredth of Visual Genome's has a side under 200 pixels.
_SIZES = {(375, 500): 0.3, (600, 800): 0.29, (480, 640): 0.2, (800, 600): 0.2, (260, 180): 0.01}
_COCO_SIZES = {(480, 640): 0.35, (640, 480): 0.2, (427, 640): 0.3, (375, 500): 0.15}

# Visual Genome ----------------------------------------------------------------------------------

VISUAL_GENOME_PICTURES = 108_077
_OBJECTS, _RELATIONSHIPS, _ATTRIBUTES = 35.2, 21.3, 25.9  # a picture, on average

# How many names there are, and what is added to a rank in Zipf's law (Mandelbrot): the chance of
# rank r is about proportional to 1 / (r + shift), so that the release's thresholds leave about as
# many as of the real ones (178 objects and 45 predicates).
_THINGS, _KINDS = (75_000, 6), (60_000, 2)
_RELATIONS = 1.45  # exponent of Zipf's law for predicates
_ALIASED = 300  # of the most frequent names
_MISSING = 90_000_000  # ids from here on are those that objects.json lacks


def write_visual_genome(
    folder: Path, pictures: int = VISUAL_GENOME_PICTURES, seed: int = 0
) -> Images:
    """Writes the files of Visual Genome 1.4, its aliases and the splits (80, 10 and 10 %).

    As in the real ones, there are pictures with a side under 200 pixels, objects with two names,
    objects without attributes, predicates in upper case or with a blank behind them, and
    relationships of objects that ``objects.json`` lacks.
    """
    rng = np.random.default_rng([seed, 1])
    ids = 1 + rng.permutation(pictures)
    names = [f"VG_100K{'_2' * (number % 2)}/{number}.jpg" for number in ids.tolist()]
    images = dict(zip(names, _draw_sizes(rng, _SIZES, pictures), strict=True))
    listed: list[Entry] = []
    for number, (name, (height, width)) in zip(ids.tolist(), images.items(), strict=True):
        url = f"https://cs.stanford.edu/people/rak248/{name}"
        entry = {"width": width, "height": height, "url": url, "image_id": number}
        listed.append({**entry, "coco_id": None, "flickr_id": number + 10_000_000})
    parts = np.split(rng.permutation(ids), [round(0.8 * pictures), round(0.9 * pictures)])
    splits = {name: part.tolist() for name, part in zip(("train", "val", "test"), parts)}
    for file_name, text in {
        "image_data.json": json.dumps(listed),
        "vg_splits.json": json.dumps(splits),
        "object_alias.txt": "".join(f"thing {i},things {i}\n" for i in range(_ALIASED)),
        "relationship_alias.txt": "".join(f"at {i},is at {i}\n" for i in range(_ALIASED)),
    }.items():
        with _new_file(folder / file_name) as file:
            file.write(text)
    numbers = itertools.count(1_000_000)
    with ExitStack() as stack:
        keys = ("objects", "attributes", "relationships")
        files = [stack.enter_context(_new_file(folder / f"{key}.json")) for key in keys]
        for i, image in enumerate(tqdm(listed, "Visual Genome", unit=" pictures", disable=None)):
            objects = _draw_objects(rng, image, numbers)
            attributes = _draw_attributes(rng, objects)
            relationships = _draw_relationships(rng, objects, numbers)
            drawn = (objects, attributes, relationships)
            for file, key, entries in zip(files, keys, drawn, strict=True):
                content = {"image_id": image["image_id"], key: entries, "image_url": image["url"]}
                file.write(f"{', ' if i else '['}{json.dumps(content)}")
        for file in files:
            file.write("]")
    return images


def _draw_objects(rng: Generator, image: Entry, numbers: Iterator[int]) -> list[Entry]:
    count = 1 + rng.poisson(rng.gamma(4.0, (_OBJECTS - 1) / 4))  # few pictures have many objects
    extent = np.array([image["width"], image["height"]])
    share = np.exp(rng.normal(-1.8, 1.0, (count, 2)))  # a third of the objects is below 32 pixels
    sides = np.clip(np.rint(share * extent), 4, extent).astype(int)
    boxes = np.hstack([rng.integers(extent - sides + 1), sides]).tolist()
    objects: list[Entry] = []
    for box, ranks in zip(boxes, _draw_ranks(rng, *_THINGS, (count, 2)), strict=True):
        plural, two_names = rng.random(2) < (0.05, 0.04)
        names = [f"thing{'s' if plural else ''} {rank}" for rank in ranks[: 1 + two_names]]
        entry = {"object_id": next(numbers), **dict(zip("xywh", box, strict=True)), "names": names}
        synsets = [f"{name.replace(' ', '_')}.n.01" for name in names]
        objects.append({**entry, "synsets": synsets, "merged_object_ids": []})
    return objects


def _draw_attributes(rng: Generator, objects: list[Entry]) -> list[Entry]:
    entries = [{k: v for k, v in entry.items() if k != "merged_object_ids"} for entry in objects]
    counts = rng.poisson(_ATTRIBUTES / _OBJECTS, len(objects))
    for entry, count in zip(entries, counts, strict=True):
        if count:  # otherwise the key is missing
            entry["attributes"] = [f"kind {rank}" for rank in _draw_ranks(rng, *_KINDS, count)]
    return entries


def _draw_relationships(
    rng: Generator, objects: list[Entry], numbers: Iterator[int]
) -> list[Entry]:
    count = rng.poisson(len(objects) * _RELATIONSHIPS / _OBJECTS)
    # People relate what is common: an end is the more frequent of two objects.
    common_first = sorted(objects, key=lambda entry: int(entry["names"][0].split()[1]))
    pairs = rng.integers(len(objects), size=(count, 2, 2)).min(axis=2).tolist()
    ranks, entries = rng.zipf(_RELATIONS, count) - 1, []
    for rank, pair, luck in zip(ranks, pairs, rng.random(count), strict=True):
        ends = []
        for end in (common_first[place] for place in pair):
            box = {key: end[key] for key in ("object_id", *"xywh")}
            ends.append({**box, "name": end["names"][0], "synsets": []})
        if luck < 0.05:
            ends[0]["object_id"] += _MISSING
        spellings = {0.8: "at {}", 0.85: "AT {}", 0.9: "at {} ", 1.0: "is at {}"}
        spelling = next(text for most, text in spellings.items() if luck < most)
        entry = {"relationship_id": next(numbers), "predicate": spelling.format(rank)}
        entries.append({**entry, "synsets": [], "subject": ends[0], "object": ends[1]})
    return entries


def _draw_ranks(rng: Generator, names: int, shift: int, shape: Any) -> np.ndarray:
    return (shift * ((1 + names / shift) ** rng.random(shape) - 1)).astype(int)


# COCO -------------------------------------------------------------------------------------------

COCO_PICTURES = {"train2017": 118_287, "val2017": 5_000}
_INSTANCES = 860_001 / 118_287  # a picture, on average
_CROWD_SHARE = 0.0115
_HOLES = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_CATEGORIES = {
    "instances": {i: f"thing {i}" for i in range(1, 91) if i not in _HOLES},
    "stuff": {**{i: f"stuff {i}" for i in range(92, 183)}, 183: "other"},
}
"""Names by ids, which are those of the real ones."""
_MOST_SCENES = 64  # of stuff, for each size of picture


def write_coco(
    folder: Path,
    train_pictures: int = COCO_PICTURES["train2017"],
    val_pictures: int = COCO_PICTURES["val2017"],
    seed: int = 0,
) -> Images:
    """Writes ``annotations/{instances,stuff}_{train,val}2017.json``.

    A picture has 7.27 instances on average, in no order: polygons, and one crowd in 90 with
    uncompressed runs. Every picture has stuff, about six disjoint masks with compressed runs,
    taken from a pool.
    """
    rng = np.random.default_rng([seed, 2])
    total = train_pictures + val_pictures
    ids, sizes = (1 + rng.permutation(total)).tolist(), _draw_sizes(rng, _COCO_SIZES, total)
    scenes = range(min(_MOST_SCENES, 4 + total // 100))
    pool = {size: [_stuff_of_scene(rng, *size) for _ in scenes] for size in _COCO_SIZES}
    every = [
        {"id": number, "file_name": f"{number:012}.jpg", "height": height, "width": width}
        for number, (height, width) in zip(ids, sizes, strict=True)
    ]
    parts = {"train2017": every[:train_pictures], "val2017": every[train_pictures:]}
    for part, listed in parts.items():
        # Of each picture a scene of stuff, which gives crowds their shape too.
        chosen = [pool[i["height"], i["width"]][rng.integers(len(scenes))] for i in listed]
        for kind, draw in (("instances", _instances), ("stuff", _stuff)):
            categories = [{"id": i, "name": name} for i, name in _CATEGORIES[kind].items()]
            entries = tqdm(draw(rng, listed, chosen), f"COCO {kind}, {part}", disable=None)
            with _new_file(folder / "annotations" / f"{kind}_{part}.json") as file:
                file.write(f'{{"info": {{}}, "images": {json.dumps(listed)}, "annotations": [')
                for i, entry in enumerate(entries, start=1):
                    entry["id"] = i if kind == "instances" else i + 10_000_000
                    file.write(f"{', ' if i > 1 else ''}{json.dumps(entry)}")
                file.write(f'], "categories": {json.dumps(categories)}}}')
    return {
        f"{part}/{image['file_name']}": (image["height"], image["width"])
        for part, listed in parts.items()
        for image in listed
    }


def _instances(rng: Generator, listed: list[Entry], scenes: list[list[Entry]]) -> Iterator[Entry]:
    """Entries of things."""
    # Ten times as many in one picture as in another is nothing special, and some have none.
    weights = np.exp(0.95 * rng.standard_normal(len(listed)))
    count = rng.poisson(_INSTANCES * len(listed))
    ids = np.array([*_CATEGORIES["instances"]])
    chances = 1 / (np.arange(len(ids)) + 1.5)  # a quarter are persons
    categories = rng.choice(ids, count, p=chances / chances.sum()).tolist()
    for owner in rng.choice(len(listed), count, p=weights / weights.sum()).tolist():
        image = listed[owner]
        entry = {"image_id": image["id"], "category_id": categories.pop()}
        if rng.random() < _CROWD_SHARE:
            yield {**entry, **_as_crowd(scenes[owner][0])}
            continue
        # 35 % of the boxes cover more than 2 % of the picture; 41 % of COCO's objects are "small".
        root = np.exp(np.clip(rng.normal(-4.7, 2.1), -9, -0.1) / 2)
        aspect = np.exp(0.5 * rng.standard_normal())
        extent = np.array([image["width"], image["height"]])
        side = (np.minimum([root * aspect, root / aspect], 0.98) * extent).round(2)
        corner = ((extent - side) * rng.random(2)).round(2)
        outline = _draw_outline(rng)
        pieces = [outline]
        if rng.random() < 0.1:  # in two pieces, beside each other
            pieces = [outline * [0.44, 1] + [left, 0] for left in (0, 0.56)]
        area = sum(abs(np.linalg.det(np.stack([p, np.roll(p, -1, 0)], 1)).sum()) for p in pieces)
        yield {
            **entry,
            "bbox": [*corner.tolist(), *side.tolist()],
            "area": round(float(area / 2 * side.prod()), 2),
            "iscrowd": 0,
            "segmentation": [(corner + piece * side).round(2).ravel().tolist() for piece in pieces],
        }


def _draw_outline(rng: Generator) -> np.ndarray:
    """The corners of a polygon that fills a box of 1 x 1, shape (P, 2)."""
    count = int(np.clip(np.exp(3 + 0.55 * rng.standard_normal()), 6, 60))
    angle = 2 * np.pi * (np.arange(count) + 0.8 * rng.random(count)) / count
    points = np.stack([np.cos(angle), np.sin(angle)], 1) * (1 - 0.35 * rng.random((count, 1)))
    return (points - points.min(0)) / np.ptp(points, axis=0)


def _stuff(rng: Generator, listed: list[Entry], scenes: list[list[Entry]]) -> Iterator[Entry]:
    """Entries of stuff; the categories of a picture differ, and most pictures have "other"."""
    *ids, other = _CATEGORIES["stuff"]
    for image, scene in zip(listed, scenes, strict=True):
        categories = rng.permutation(ids)[: len(scene)].tolist()
        if rng.random() < 0.8:
            categories[0] = other
        for category, shape in zip(categories, scene, strict=True):
            yield {"image_id": image["id"], "category_id": category, **shape}


def _stuff_of_scene(rng: Generator, height: int, width: int) -> list[Entry]:
    """Boxes, areas and segmentations with ragged borders that together cover a picture."""
    raggedness = 0.135 * np.exp(0.6 * rng.standard_normal())
    levels = [
        1.5 * _noise(rng, height, width, 160) + raggedness * _noise(rng, height, width, 10, 3)
        for _ in range(rng.integers(4, 10))
    ]
    pieces = np.argmax(levels, axis=0)
    shapes = []
    for index in np.unique(pieces):
        runs = coco_mask.encode(np.asfortranarray(pieces == index, np.uint8))
        segmentation = {"size": [height, width], "counts": runs["counts"].decode("ascii")}
        bbox, area = coco_mask.toBbox(runs).tolist(), float(coco_mask.area(runs))
        shapes.append({"bbox": bbox, "area": area, "iscrowd": 0, "segmentation": segmentation})
    return shapes


def _as_crowd(shape: Entry) -> Entry:
    """A mask with its runs uncompressed, as crowds have them."""
    pixels = coco_mask.decode(shape["segmentation"]).T.ravel()  # down the columns, zeros first
    changes = np.flatnonzero(np.diff(pixels, prepend=0))
    counts = np.diff(changes, prepend=0, append=pixels.size).tolist()
    segmentation = {**shape["segmentation"], "counts": counts}
    return {**shape, "iscrowd": 1, "segmentation": segmentation}


# Pictures ---------------------------------------------------------------------------------------


def write_pictures(folder: Path, images: Images, seed: int = 0, distinct: int = 24) -> None:
    """Writes JPEG files that take as much space and time to decode as photographs: at 640 x 480
    pixels about 130 KB, as COCO's.

    Args:
        folder: Where the files are written, in folders of their own.
        images: The files, as :func:`write_coco` gives them.
        seed: Seed of all that is drawn.
        distinct: How many different pictures there are of each size; files beyond it are copies.
    """
    for i, (name, size) in enumerate(tqdm(images.items(), "Pictures", disable=None)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_photograph(seed, *size, i % distinct))


@lru_cache(maxsize=200)
def _photograph(seed: int, height: int, width: int, number: int) -> bytes:
    """Colours, texture and grain as a JPEG file."""
    rng = np.random.default_rng([seed, 3, height, width, number])
    colours = np.stack([_noise(rng, height, width, 160) for _ in range(3)], 2)
    # Photographs have as much contrast in each octave: noise of all sizes, of the same strength.
    texture = _noise(rng, height, width, 64, 32, 16, 8, 4, 2)[..., None]
    grain = rng.standard_normal((height, width, 1), np.float32)
    pixels = 128 + 40 * colours + rng.uniform(6, 11) * texture + rng.uniform(9, 16) * grain
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


# All --------------------------------------------------------------------------------------------


def _draw_sizes(rng: Generator, sizes: dict[Size, float], count: int) -> list[Size]:
    every = [*sizes]
    return [every[i] for i in rng.choice(len(every), count, p=[*sizes.values()])]


def _noise(rng: Generator, height: int, width: int, *cells: int) -> np.ndarray:
    """Smooth normal noise (H, W), float32: a sum of bumps as wide as each cell, in pixels."""
    image = np.zeros((height, width), np.float32)
    for cell in cells:
        coarse = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32)
        image += Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return image


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """A text file that has its name only once it is whole."""
    with (
        replace_when_whole(path) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as file,
    ):
        yield file
