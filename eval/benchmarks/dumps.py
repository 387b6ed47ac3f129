"""Synthetic raw dumps for eval/benchmark_preparation.py: Visual Genome and COCO as downloaded.

The files have the formats, the sizes and roughly the statistics of the real ones, and none of
their content. The same arguments give the same bytes (with the same numpy). All is written piece
by piece, so that gigabytes need little memory. A small dump with its pictures:

    write_pictures(folder / "images", write_coco(folder, train_pictures=200, val_pictures=50))
"""

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from sg2im_pyg.system.files import replace_when_whole

Images = dict[str, tuple[int, int]]
"""Pictures by folder and file name, with the height and the width of each in pixels."""
Entry = dict[str, Any]

# Height, width and how often; a hundredth of Visual Genome's has a side under 200 pixels.
_SIZES = ((375, 500, 0.3), (600, 800, 0.29), (480, 640, 0.2), (800, 600, 0.2), (260, 180, 0.01))
_COCO_SIZES = ((480, 640, 0.35), (640, 480, 0.2), (427, 640, 0.3), (375, 500, 0.15))

# Visual Genome ----------------------------------------------------------------------------------

VISUAL_GENOME_PICTURES = 108_077
_OBJECTS, _RELATIONSHIPS, _ATTRIBUTES = 35.2, 21.3, 25.9  # a picture, on average

# How many names there are, and a Zipf-Mandelbrot law: the chance of rank r is proportional to
# (r + shift) ** -exponent, so that the release's thresholds leave about as many as of the real ones
# (178 objects and 45 predicates).
_THINGS, _RELATIONS, _KINDS = (75_000, 1.0, 5.0), (200_000, 1.45, 0.0), (60_000, 1.0, 1.0)
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
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 1])
    ids = 1 + rng.permutation(pictures)
    images: Images = {}
    listed: list[Entry] = []
    for number, size in zip(ids.tolist(), _draw_sizes(rng, _SIZES, pictures), strict=True):
        name = f"{'VG_100K' if rng.random() < 0.6 else 'VG_100K_2'}/{number}.jpg"
        images[name] = size
        url = f"https://cs.stanford.edu/people/rak248/{name}"
        entry = {"width": size[1], "height": size[0], "url": url, "image_id": number}
        listed.append({**entry, "coco_id": None, "flickr_id": number + 10_000_000})
    parts = np.split(rng.permutation(ids), [round(0.8 * pictures), round(0.9 * pictures)])
    splits = {name: part.tolist() for name, part in zip(("train", "val", "test"), parts)}
    for file_name, text in (
        ("image_data.json", json.dumps(listed)),
        ("vg_splits.json", json.dumps(splits)),
        ("object_alias.txt", "".join(f"thing {i},things {i}\n" for i in range(_ALIASED))),
        ("relationship_alias.txt", "".join(f"at {i},is at {i}\n" for i in range(_ALIASED))),
    ):
        with _new_file(folder / file_name) as file:
            file.write(text)

    object_ids, relationship_ids = itertools.count(1_000_000), itertools.count(15_000)
    with ExitStack() as stack:
        files = {
            key: stack.enter_context(_new_file(folder / f"{key}.json"))
            for key in ("objects", "attributes", "relationships")
        }
        for i, image in enumerate(tqdm(listed, "Visual Genome", unit=" pictures", disable=None)):
            objects = _draw_objects(rng, image, object_ids)
            attributes = _draw_attributes(rng, objects)
            relationships = _draw_relationships(rng, objects, relationship_ids)
            for (key, file), entries in zip(
                files.items(), (objects, attributes, relationships), strict=True
            ):
                content = {"image_id": image["image_id"], key: entries, "image_url": image["url"]}
                file.write(f"{', ' if i else '['}{json.dumps(content)}")
        for file in files.values():
            file.write("]")
    return images


def _draw_objects(rng: np.random.Generator, image: Entry, ids: Iterator[int]) -> list[Entry]:
    count = 1 + rng.poisson(rng.gamma(4.0, (_OBJECTS - 1) / 4))  # few pictures have many objects
    extent = np.array([image["width"], image["height"]])
    share = np.exp(-1.95 + 0.95 * rng.standard_normal((count, 1)))  # a third is below 32 pixels
    share = share * np.exp(0.45 * rng.standard_normal((count, 2)))
    sides = np.clip(np.rint(share * extent), 4, extent).astype(np.int64)
    corners = np.floor(rng.random((count, 2)) * (extent - sides + 1)).astype(np.int64)
    ranks, luck = _draw_ranks(rng, _THINGS, 2 * count).tolist(), rng.random(count).tolist()
    objects: list[Entry] = []
    for (x, y), (w, h), chance in zip(corners.tolist(), sides.tolist(), luck, strict=True):
        names = [f"thing{'s' if 0.9 < chance < 0.95 else ''} {ranks.pop()}"]
        if chance > 0.96:
            names.append(f"thing {ranks.pop()}")
        entry = {"object_id": next(ids), "x": x, "y": y, "w": w, "h": h, "names": names}
        synsets = [f"{name.replace(' ', '_')}.n.01" for name in names]
        objects.append({**entry, "synsets": synsets, "merged_object_ids": []})
    return objects


def _draw_attributes(rng: np.random.Generator, objects: list[Entry]) -> list[Entry]:
    counts = rng.poisson(_ATTRIBUTES / _OBJECTS, len(objects))
    names = iter(_draw_ranks(rng, _KINDS, int(counts.sum())).tolist())
    entries = [{k: v for k, v in entry.items() if k != "merged_object_ids"} for entry in objects]
    for entry, count in zip(entries, counts.tolist(), strict=True):
        if count:  # otherwise the key is missing
            entry["attributes"] = [f"kind {rank}" for rank in itertools.islice(names, count)]
    return entries


def _draw_relationships(
    rng: np.random.Generator, objects: list[Entry], ids: Iterator[int]
) -> list[Entry]:
    if len(objects) < 2:
        return []
    count = rng.poisson(len(objects) * _RELATIONSHIPS / _OBJECTS)
    # People relate what is common: an end is the more frequent of two objects.
    common = np.array([int(entry["names"][0].split()[1]) for entry in objects])
    drawn = rng.integers(len(objects), size=(4, count))
    subjects, others = np.where(common[drawn[:2]] <= common[drawn[2:]], drawn[:2], drawn[2:])
    others = np.where(others == subjects, (others + 1) % len(objects), others)
    ranks, luck = _draw_ranks(rng, _RELATIONS, count).tolist(), rng.random(count).tolist()
    entries = []
    for subject, other, rank, chance in zip(
        subjects.tolist(), others.tolist(), ranks, luck, strict=True
    ):
        ends = []
        for place in (subject, other):
            end = {key: objects[place][key] for key in ("object_id", "x", "y", "w", "h")}
            ends.append({**end, "name": objects[place]["names"][0], "synsets": []})
        if chance < 0.05:
            ends[0]["object_id"] += _MISSING
        predicate = f"{'is ' if chance > 0.95 else ''}at {rank}"
        if 0.8 < chance < 0.9:
            predicate = predicate.upper() if chance < 0.85 else f"{predicate} "
        entry = {"relationship_id": next(ids), "predicate": predicate, "synsets": []}
        entries.append({**entry, "subject": ends[0], "object": ends[1]})
    return entries


def _draw_ranks(rng: np.random.Generator, law: tuple[int, float, float], count: int) -> np.ndarray:
    return np.searchsorted(_cumulated(*law), rng.random(count), side="right")


@lru_cache
def _cumulated(number: int, exponent: float, shift: float) -> np.ndarray:
    chances = np.cumsum((np.arange(1, number + 1) + shift) ** -exponent)
    return chances / chances[-1]


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
_OUTLINES = 500


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
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 2])
    total = train_pictures + val_pictures
    ids = 1 + rng.permutation(total)
    sizes = _draw_sizes(rng, _COCO_SIZES, total)
    scenes = min(_MOST_SCENES, 4 + total // 100)
    pool = {
        size[:2]: [_stuff_of_scene(rng, *size[:2]) for _ in range(scenes)] for size in _COCO_SIZES
    }
    images: Images = {}
    for part, own in (
        ("train2017", slice(train_pictures)),
        ("val2017", slice(train_pictures, None)),
    ):
        listed = [
            {"id": number, "file_name": f"{number:012}.jpg", "height": height, "width": width}
            for number, (height, width) in zip(ids[own].tolist(), sizes[own], strict=True)
        ]
        images |= {f"{part}/{i['file_name']}": (i["height"], i["width"]) for i in listed}
        for kind, entries in (
            ("instances", _instances(rng, listed, pool)),
            ("stuff", _stuff(rng, listed, pool)),
        ):
            categories = [{"id": i, "name": name} for i, name in _CATEGORIES[kind].items()]
            with _new_file(folder / "annotations" / f"{kind}_{part}.json") as file:
                file.write(f'{{"info": {{}}, "images": {json.dumps(listed)}, "annotations": [')
                for i, entry in enumerate(_shown(entries, f"COCO {kind}, {part}")):
                    file.write(f"{', ' if i else ''}{json.dumps(entry)}")
                file.write(f'], "categories": {json.dumps(categories)}}}')
    return images


def _instances(
    rng: np.random.Generator, listed: list[Entry], pool: Mapping[tuple[int, int], list[list[Entry]]]
) -> Iterator[Entry]:
    """Entries of things."""
    outlines = [_draw_outline(rng) for _ in range(_OUTLINES)]
    # Ten times as many in one picture as in another is nothing special, and some have none.
    counts = rng.poisson(_INSTANCES * np.exp(0.95 * rng.standard_normal(len(listed)) - 0.45))
    owners = rng.permutation(np.repeat(np.arange(len(listed)), counts))
    # 35 % of the boxes cover more than 2 % of the picture; 41 % of COCO's objects are "small".
    area = np.exp(np.clip(-4.7 + 2.1 * rng.standard_normal(len(owners)), -9, -0.1))
    aspect = np.exp(0.5 * rng.standard_normal(len(owners)))
    shares = np.minimum(np.sqrt(area)[:, None] * np.stack([aspect, 1 / aspect], 1), 0.98)
    ids = np.array([*_CATEGORIES["instances"]])
    chances = 1 / (np.arange(len(ids)) + 1.5)  # a quarter are persons
    categories = rng.choice(ids, len(owners), p=chances / chances.sum()).tolist()
    for i, owner in enumerate(owners.tolist()):
        image = listed[owner]
        size = (image["height"], image["width"])
        entry = {"id": i + 1, "image_id": image["id"], "category_id": categories[i]}
        if rng.random() < _CROWD_SHARE:
            scene = pool[size][rng.integers(len(pool[size]))]
            yield {**entry, **_as_crowd(scene[0])}
            continue
        extent = np.array(size[::-1])
        side = (shares[i] * extent).round(2)
        corner = ((extent - side) * rng.random(2)).round(2)
        outline, unit_area = outlines[rng.integers(_OUTLINES)]
        pieces = [outline]
        if rng.random() < 0.1:  # in two pieces, beside each other
            pieces = [outline * [0.44, 1], outline * [0.44, 1] + [0.56, 0]]
            unit_area *= 0.88
        yield {
            **entry,
            "bbox": [*corner.tolist(), *side.tolist()],
            "area": round(unit_area * float(side.prod()), 2),
            "iscrowd": 0,
            "segmentation": [(corner + piece * side).round(2).ravel().tolist() for piece in pieces],
        }


def _draw_outline(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The corners of a polygon that fills a box of 1 x 1, shape (P, 2), and its area."""
    count = int(np.clip(np.exp(3 + 0.55 * rng.standard_normal()), 6, 60))
    angle = 2 * np.pi * (np.arange(count) + 0.8 * rng.random(count)) / count
    distance = 1 - 0.35 * rng.random((count, 1))
    points = distance * np.stack([np.cos(angle), np.sin(angle)], 1)
    points = (points - points.min(0)) / np.ptp(points, axis=0)
    (x, y), (next_x, next_y) = points.T, np.roll(points, -1, axis=0).T
    return points, abs(float((x * next_y - next_x * y).sum())) / 2


def _stuff(
    rng: np.random.Generator, listed: list[Entry], pool: Mapping[tuple[int, int], list[list[Entry]]]
) -> Iterator[Entry]:
    """Entries of stuff; the categories of a picture differ, and most pictures have "other"."""
    *ids, other = _CATEGORIES["stuff"]
    numbers = itertools.count(10_000_000)
    for image in listed:
        scenes = pool[image["height"], image["width"]]
        scene = scenes[rng.integers(len(scenes))]
        categories = rng.permutation(ids)[: len(scene)].tolist()
        if rng.random() < 0.8:
            categories[0] = other
        for category, shape in zip(categories, scene, strict=True):
            entry = {"id": next(numbers), "image_id": image["id"], "category_id": category}
            yield {**entry, **shape}


def _stuff_of_scene(rng: np.random.Generator, height: int, width: int) -> list[Entry]:
    """Boxes, areas and segmentations that together cover a picture: layers above each other with
    ragged borders."""
    number = int(rng.integers(4, 10))
    raggedness = 0.12 * np.exp(0.6 * rng.standard_normal())
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    levels = []
    for _ in range(number):
        level = -2.5 * np.abs(rows - np.float32(rng.random()))
        level = level + _noise(rng, height, width, 160) + 0.35 * _noise(rng, height, width, 40)
        level += raggedness * (_noise(rng, height, width, 10) + 0.7 * _noise(rng, height, width, 3))
        levels.append(level)
    pieces = np.argmax(levels, axis=0)
    shapes = []
    for index in np.flatnonzero(np.bincount(pieces.ravel(), minlength=number)):
        runs = coco_mask.encode(np.asfortranarray(pieces == index, np.uint8))
        counts = runs["counts"].decode("ascii")
        shapes.append(
            {
                "bbox": coco_mask.toBbox(runs).tolist(),
                "area": float(coco_mask.area(runs)),
                "iscrowd": 0,
                "segmentation": {"size": [height, width], "counts": counts},
            }
        )
    return shapes


def _as_crowd(shape: Entry) -> Entry:
    """A mask with its runs uncompressed, as crowds have them."""
    mask = coco_mask.decode(shape["segmentation"])
    pixels = np.concatenate([[0], mask.T.ravel()])  # down the columns, zeros first
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    counts = np.diff(changes, prepend=0, append=mask.size).tolist()
    segmentation = {"size": list(mask.shape), "counts": counts}
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
    pool: dict[tuple[int, int, int], bytes] = {}
    for i, (name, size) in enumerate(_shown(images.items(), "Pictures")):
        key = (*size, i % distinct)
        if key not in pool:
            pool[key] = _photograph(seed, *key)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pool[key])


def _photograph(seed: int, height: int, width: int, number: int) -> bytes:
    """Colours, texture and grain as a JPEG file."""
    rng = np.random.default_rng([seed, 3, height, width, number])
    colours = np.stack([_noise(rng, height, width, 160) for _ in range(3)], 2)
    # Photographs have as much contrast in each octave: noise of all sizes, of the same strength.
    texture = sum(_noise(rng, height, width, cell) for cell in (64, 32, 16, 8, 4, 2))
    strength = rng.uniform(6, 11) * np.clip(1 + 0.5 * _noise(rng, height, width, 100), 0.2, 2)
    grain = rng.uniform(9, 16) * rng.standard_normal((height, width, 1), np.float32)
    pixels = 128 + 40 * colours + (strength * texture)[..., None] + grain
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


# All --------------------------------------------------------------------------------------------


def _draw_sizes(
    rng: np.random.Generator, sizes: tuple[tuple[int, int, float], ...], count: int
) -> list[tuple[int, int]]:
    drawn = rng.choice(len(sizes), count, p=[share for _, _, share in sizes])
    return [sizes[i][:2] for i in drawn.tolist()]


def _noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth normal noise (H, W), float32, with bumps as wide as a cell, in pixels."""
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _shown(entries: Iterable[Any], what: str) -> Iterable[Any]:
    """Entries under a bar, if stderr is a terminal."""
    return tqdm(entries, what, unit="", disable=None)


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """A text file that has its name only once it is whole."""
    with (
        replace_when_whole(path) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as file,
    ):
        yield file
