"""Synthetic raw dumps for benchmarks and tests: Visual Genome and COCO as they are downloaded.

The files have the formats, the sizes and roughly the statistics of the real ones, and none of
their content. The same arguments give the same bytes (with the same numpy). All is written piece
by piece, so that gigabytes need little memory. A small dump with its pictures:

    for part, images in write_coco(folder, train_pictures=200, val_pictures=50).items():
        write_pictures(folder / "images" / part, images)
"""

import io
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.landscapes.source import paint_landscape
from sg2im_pyg.system.files import replace_when_whole

Images = dict[str, tuple[int, int]]
"""File names of pictures, with the height and the width of each in pixels."""

# Visual Genome ----------------------------------------------------------------------------------

VISUAL_GENOME_TOTALS = {
    "pictures": 108_077,
    "objects": 3_800_000,
    "relationships": 2_300_000,
    "attributes": 2_800_000,
}

# Height, width and how often.
_VISUAL_GENOME_SIZES = (
    *((375, 500, 0.24), (600, 800, 0.20), (768, 1024, 0.16), (500, 375, 0.08), (800, 600, 0.06)),
    *((1024, 768, 0.05), (480, 640, 0.08), (333, 500, 0.05), (500, 333, 0.03)),
    *((683, 1024, 0.04), (260, 180, 0.005), (180, 260, 0.005)),
)
_VISUAL_GENOME_HOST = "https://cs.stanford.edu/people/rak248"

# Zipf-Mandelbrot laws, the chance of rank r being proportional to (r + shift) ** -exponent, chosen
# so that the thresholds of the release leave about 178 objects and 45 predicates in train.
_OBJECT_NAMES, _OBJECT_LAW = 75_000, (0.96, 5.0)
_PREDICATES, _PREDICATE_LAW = 200_000, (1.45, 0.0)  # some 36,000 forms of them occur
_ATTRIBUTES, _ATTRIBUTE_LAW = 60_000, (1.0, 1.0)

_NOUNS = """
    man tree window shirt building wall person sign sky woman ground grass table pole head light
    water car hand hair people leg fence clouds ear plate street door chair shadow shorts road
    sidewalk line floor train hat face jacket eye leaf snow tail shoe field pants bag clock bus
    flower bench roof glass arm boy nose girl handle rock wheel letter post horse tire helmet
    elephant stripe cat dog bowl giraffe cup bird boat surfboard mirror bike wave lamp skateboard
    zebra plane umbrella cow sheep pillow truck number motorcycle cabinet bed curtain mountain dirt
    bottle counter edge tile foot finger glove top paper tie box beach picture racket sand player
    bear logo airplane kite sink wing food pizza bush banana branch brick bridge cap ball basket
    sock wire screen towel toilet fork knife spoon desk shelf book phone laptop keyboard mouse cake
    vase frame backpack coat jeans sunglasses board stone frisbee neck mouth horn hill house lid
    container cloth napkin tower trunk vehicle wood word windshield skier ski child court couch
    drawer engine guy hoof ceiling lady log orange apple carrot pot railing river seat stand
    sneaker sweater track van watch plant fruit vegetable bread meat sauce tray oven stove lake
    ocean shore path curb crosswalk gate stairs step rail rope chain belt buckle button collar
    sleeve pocket zipper strap cord cable plug socket switch knob hinge
""".split()
_ADJECTIVES = """
    white black green blue brown red wooden yellow large gray small tall long metal clear silver
    orange grey short dark standing round open old tan plastic big glass cloudy pink parked young
    bare bright leafy concrete brick thin light sitting walking striped wet distant empty hanging
    thick square colorful dirty paved gold purple grassy beige closed stone smiling blurry
    rectangular wide curved broken tiled shiny tinted lit framed painted folded flat sandy rocky
    snowy faded maroon floral upper lower left right front back inner outer rusty bald
""".split()
_RELATIONS = [
    relation.strip()
    for relation in """
    on|has|in|of|wearing|with|behind|holding|near|on top of|next to|under|by|above|in front of|
    sitting on|standing on|along|attached to|at|standing in|riding|over|carrying|hanging from|
    covering|walking on|parked on|sitting in|for|laying on|inside|beside|below|eating|watching|
    looking at|made of|covered in|belonging to|against|around|playing|and|between|walking in|
    using|pulling|lying on|covered with|from|painted on|growing on|mounted on|across|to|on side of|
    says|part of|on back of|flying in|touching|full of|driving on|swinging|hitting|throwing
""".split("|")
]
_VERBS = """
    standing sitting walking lying leaning hanging flying looking running jumping playing parked
    mounted growing painted printed written placed stacked folded resting floating driving moving
    facing pointing reaching crossing grazing waiting talking skiing surfing swimming sleeping
    climbing falling shining reflecting covering
""".split()
_PREPOSITIONS = """
    on in at near by under above below behind beside with over along across through against
    inside outside around between toward from into onto upon beneath past off down up
""".split()
_BLOCK = 1_000  # pictures that are written at once


def visual_genome_pictures(
    pictures: int = VISUAL_GENOME_TOTALS["pictures"], seed: int = 0
) -> dict[str, Images]:
    """The pictures of a dump of :func:`write_visual_genome`, by the folders they belong to."""
    ids, sizes, folders = _draw_visual_genome_pictures(pictures, seed)
    images: dict[str, Images] = {"VG_100K": {}, "VG_100K_2": {}}
    for image_id, (height, width), folder in zip(ids.tolist(), sizes.tolist(), folders):
        images[folder][f"{image_id}.jpg"] = (height, width)
    return images


def write_visual_genome(
    folder: str | Path,
    pictures: int = VISUAL_GENOME_TOTALS["pictures"],
    objects: int | None = None,
    relationships: int | None = None,
    attributes: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Images]:
    """Writes the files of Visual Genome 1.4, its aliases and the splits (80, 10 and 10 %).

    As in the real ones, there are pictures with a side under 200 pixels, objects with two names,
    objects without attributes (the key is missing, or the whole object), predicates in upper case
    or with a blank behind them, and relationships of objects that :obj:`objects.json` lacks.

    Args:
        folder: Folder of the files, made where it is missing.
        pictures: Number of pictures.
        objects: Number of objects, at least one a picture; :obj:`None` for 35 a picture, which
            gives the 3.8 million of the real one.
        relationships: Number of relationships; :obj:`None` for 21 a picture, 2.3 million.
        attributes: Number of attributes; :obj:`None` for 26 a picture, 2.8 million.
        seed: Seed of all that is drawn.
        progress: Show a bar, if stderr is a terminal.

    Returns:
        The pictures of each folder (:obj:`VG_100K`, :obj:`VG_100K_2`), as
        :func:`write_pictures` takes them.

    Raises:
        Sg2ImError: If there are no pictures, or fewer objects than pictures.
    """
    totals = {"objects": objects, "relationships": relationships, "attributes": attributes}
    number = {
        key: round(VISUAL_GENOME_TOTALS[key] * pictures / VISUAL_GENOME_TOTALS["pictures"])
        if total is None
        else total
        for key, total in totals.items()
    }
    _check_pictures(pictures, seed)
    if number["objects"] < pictures or min(number.values()) < 0:
        raise Sg2ImError(
            "Every picture of Visual Genome has an object: at least as many objects as pictures "
            f"are needed, got {number['objects']:,} for {pictures:,} pictures (and "
            f"{number['relationships']:,} relationships, {number['attributes']:,} attributes)."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ids, sizes, folders = _draw_visual_genome_pictures(pictures, seed)
    urls = [f"{_VISUAL_GENOME_HOST}/{f}/{i}.jpg" for i, f in zip(ids.tolist(), folders)]
    rng = np.random.default_rng([seed, 2])
    _write_image_data(folder / "image_data.json", ids, sizes, urls, rng)
    _write_splits(folder / "vg_splits.json", ids, rng)
    _write_aliases(folder)

    # Few pictures have many objects, and pictures with many have many relationships.
    objects_per_image = _share_out(rng.gamma(4.0, size=pictures), number["objects"], least=1)
    weights = rng.gamma(1.5, size=pictures) * objects_per_image * (objects_per_image > 1)
    related = int(weights.sum() > 0) * number["relationships"]
    relationships_per_image = _share_out(weights, related)
    objects_per_block = np.add.reduceat(objects_per_image, range(0, pictures, _BLOCK))
    attributes_per_block = _share_out(objects_per_block, number["attributes"])

    draw = _VisualGenomeBlock(rng)
    with (
        _new_file(folder / "objects.json") as object_file,
        _new_file(folder / "attributes.json") as attribute_file,
        _new_file(folder / "relationships.json") as relationship_file,
        tqdm(
            total=pictures,
            desc="Visual Genome",
            unit=" pictures",
            disable=None if progress else True,
        ) as bar,
    ):
        separator = "["
        for start in range(0, pictures, _BLOCK):
            block = slice(start, start + _BLOCK)
            draw.objects(objects_per_image[block], sizes[block])
            heads = [f'{{"image_id": {image_id}, ' for image_id in ids[block].tolist()]
            tails = [f'], "image_url": "{url}"}}' for url in urls[block]]
            for file, key, entries, ends in (
                (object_file, "objects", draw.object_texts(), tails),
                (
                    attribute_file,
                    "attributes",
                    draw.attribute_texts(int(attributes_per_block[start // _BLOCK])),
                    ["]}"] * len(heads),
                ),
                (
                    relationship_file,
                    "relationships",
                    draw.relationship_texts(relationships_per_image[block]),
                    ["]}"] * len(heads),
                ),
            ):
                file.write(separator)
                file.write(
                    ", ".join(
                        f'{head}"{key}": [{", ".join(texts)}{end}'
                        for head, texts, end in zip(heads, entries, ends)
                    )
                )
            separator = ", "
            bar.update(len(heads))
        for file in (object_file, attribute_file, relationship_file):
            file.write("]")
    return visual_genome_pictures(pictures, seed)


class _VisualGenomeBlock:
    """Draws the objects of some pictures, and writes them as entries of the three files."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        names, predicates = _object_names(), _predicates()
        # As JSON; there is nothing to escape in them.
        self.names = [f'"{name}"' for name in names]
        self.synsets = [f'"{name.replace(" ", "_")}.n.01"' for name in names]
        self.attributes = [f'"{name}"' for name in _attribute_names()]
        self.predicates = [
            [f'"{predicate}"' for predicate in predicates],
            [f'"{predicate.upper()}"' for predicate in predicates],
            [f'"{predicate.capitalize()}"' for predicate in predicates],
            [f'"{predicate} "' for predicate in predicates],
        ]
        self.forms = (0.84, 0.92, 0.95)  # up to which share there is each of these but the last
        self.next_object, self.next_relationship = 1_000_000, 15_000
        self.missing = 90_000_000  # where the ids begin that objects.json lacks

    def objects(self, counts: np.ndarray, sizes: np.ndarray) -> None:
        """Draws objects: how many a picture, and height and width of the pictures."""
        rng, total = self.rng, int(counts.sum())
        self.counts, self.starts = counts, np.cumsum(counts) - counts
        extent = np.repeat(sizes, counts, 0)[:, ::-1]  # width, height
        # A third has a side below 32 pixels.
        share = np.exp(-1.95 + 0.95 * rng.standard_normal((total, 1)))
        share = share * np.exp(0.45 * rng.standard_normal((total, 2)))
        side = np.clip(np.rint(share * extent), 4, extent).astype(np.int64)
        corner = np.floor(rng.random((total, 2)) * (extent - side + 1)).astype(np.int64)
        self.ranks = _draw_ranks(rng, _OBJECT_NAMES, _OBJECT_LAW, total)
        self.ids = list(range(self.next_object, self.next_object + total))
        self.next_object += total
        self.boxes = [
            f'"x": {x}, "y": {y}, "w": {w}, "h": {h}'
            for x, y, w, h in zip(*corner.T.tolist(), *side.T.tolist())
        ]
        ranks = self.ranks.tolist()
        self.texts = [  # up to the synsets: what objects and attributes have in common
            f'{{"object_id": {number}, {box}, "names": [{self.names[rank]}], '
            f'"synsets": [{self.synsets[rank]}]'
            for number, box, rank in zip(self.ids, self.boxes, ranks)
        ]
        twice = np.flatnonzero(rng.random(total) < 0.04)
        others = _draw_ranks(rng, _OBJECT_NAMES, _OBJECT_LAW, len(twice))
        for index, other in zip(twice.tolist(), others.tolist()):
            first = ranks[index]
            self.texts[index] = (
                f'{{"object_id": {self.ids[index]}, {self.boxes[index]}, '
                f'"names": [{self.names[first]}, {self.names[other]}], '
                f'"synsets": [{self.synsets[first]}, {self.synsets[other]}]'
            )

    def object_texts(self) -> Iterator[list[str]]:
        texts = [text + ', "merged_object_ids": []}' for text in self.texts]
        for index in np.flatnonzero(self.rng.random(len(texts)) < 0.03).tolist():
            merged = self.missing + self.ids[index]
            texts[index] = f'{self.texts[index]}, "merged_object_ids": [{merged}]}}'
        return _in_lists(texts, self.counts)

    def attribute_texts(self, number: int) -> Iterator[list[str]]:
        """Entries with so many attributes in all; some objects have none, some no entry."""
        listed = self.rng.random(len(self.texts)) < 0.9
        listed[0] = True
        owners = self.rng.choice(np.flatnonzero(listed), number)
        counts = np.bincount(owners, minlength=len(listed))
        ranks = _draw_ranks(self.rng, _ATTRIBUTES, _ATTRIBUTE_LAW, number)
        drawn = _in_lists([self.attributes[rank] for rank in ranks.tolist()], counts)
        texts = [
            f'{text}, "attributes": [{", ".join(names)}]}}' if names else text + "}"
            for text, names, is_listed in zip(self.texts, drawn, listed.tolist())
            if is_listed
        ]
        return _in_lists(texts, np.add.reduceat(listed.astype(np.int64), self.starts))

    def relationship_texts(self, counts: np.ndarray) -> Iterator[list[str]]:
        """Entries of relationships, so many a picture."""
        rng, total = self.rng, int(counts.sum())
        start, size = np.repeat(self.starts, counts), np.repeat(self.counts, counts)
        # People relate what is common: an end is the more frequent of two objects.
        ends = np.floor(rng.random((4, total)) * size).astype(np.int64) + start
        common = self.ranks[ends[:2]] <= self.ranks[ends[2:]]
        subjects, objects = np.where(common, ends[:2], ends[2:])
        objects = np.where(objects == subjects, start + (objects - start + 1) % size, objects)
        ranks = _draw_ranks(rng, _PREDICATES, _PREDICATE_LAW, total)
        forms = np.searchsorted(self.forms, rng.random(total), side="right")
        missing = rng.random((2, total)) < 0.03
        numbers = range(self.next_relationship, self.next_relationship + total)
        self.next_relationship += total
        tails = [
            f', "name": {self.names[rank]}, {box}, "synsets": [{self.synsets[rank]}]}}'
            for rank, box in zip(self.ranks.tolist(), self.boxes)
        ]
        texts = [
            f'{{"relationship_id": {number}, "predicate": {self.predicates[form][rank]}, '
            f'"subject": {{"object_id": {self.ids[subject] + self.missing * no_subject}'
            f"{tails[subject]}, "
            f'"object": {{"object_id": {self.ids[object_] + self.missing * no_object}'
            f'{tails[object_]}, "synsets": []}}'
            for number, form, rank, subject, object_, no_subject, no_object in zip(
                *(numbers, forms.tolist(), ranks.tolist(), subjects.tolist(), objects.tolist()),
                *missing.tolist(),
            )
        ]
        return _in_lists(texts, counts)


def _draw_visual_genome_pictures(
    pictures: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Ids, heights and widths (N, 2), and folders, in the order of the files."""
    _check_pictures(pictures, seed)
    rng = np.random.default_rng([seed, 1])
    ids = 1 + rng.choice(max(2_417_997, pictures), pictures, replace=False)  # the largest id
    shares = np.array([share for _, _, share in _VISUAL_GENOME_SIZES])
    drawn = rng.choice(len(shares), pictures, p=shares / shares.sum())
    sizes = np.array([size[:2] for size in _VISUAL_GENOME_SIZES], np.int64)[drawn]
    folders = ["VG_100K" if first else "VG_100K_2" for first in rng.random(pictures) < 0.6]
    return ids, sizes, folders


def _write_image_data(
    path: Path, ids: np.ndarray, sizes: np.ndarray, urls: list[str], rng: np.random.Generator
) -> None:
    coco_ids = rng.integers(1, 581_930, len(ids))
    is_coco, has_flickr = rng.random((2, len(ids))) < [[0.5], [0.98]]
    flickr_ids = rng.integers(10_000_000, 2_000_000_000, len(ids))
    entries = (
        {
            "width": width,
            "height": height,
            "url": url,
            "image_id": image_id,
            "coco_id": coco_id if known else None,
            "flickr_id": flickr_id if has else None,
        }
        for (height, width), url, image_id, coco_id, known, flickr_id, has in zip(
            *(sizes.tolist(), urls, ids.tolist(), coco_ids.tolist(), is_coco.tolist()),
            *(flickr_ids.tolist(), has_flickr.tolist()),
        )
    )
    with _new_file(path) as file:
        file.write(f"[{', '.join(map(json.dumps, entries))}]")


def _write_splits(path: Path, ids: np.ndarray, rng: np.random.Generator) -> None:
    parts = np.split(rng.permutation(ids), [round(0.8 * len(ids)), round(0.9 * len(ids))])
    splits = {name: part.tolist() for name, part in zip(("train", "val", "test"), parts)}
    with _new_file(path) as file:
        file.write(json.dumps(splits))


def _write_aliases(folder: Path) -> None:
    """The first name of a line stands for the others."""
    with _new_file(folder / "object_alias.txt") as file:
        file.writelines(f"{noun},{_plural(noun)},a {noun}\n" for noun in _NOUNS)
    with _new_file(folder / "relationship_alias.txt") as file:
        file.writelines(
            f"{relation},is {relation},{relation} a,{relation} the\n" for relation in _RELATIONS
        )


@lru_cache
def _object_names() -> list[str]:
    """Distinct object names, the most frequent first; the plurals have the nouns as aliases."""
    phrases = itertools.chain(
        _NOUNS,
        (f"{adjective} {noun}" for noun in _NOUNS[:8] for adjective in _ADJECTIVES),
        map(_plural, _NOUNS),
        (f"{adjective} {noun}" for noun in _NOUNS for adjective in _ADJECTIVES),
        (f"{noun} {part}" for noun in _NOUNS for part in _NOUNS),
        (f"{part} of {noun}" for noun in _NOUNS for part in _NOUNS),
    )
    return _first_distinct(phrases, _OBJECT_NAMES)


@lru_cache
def _predicates() -> list[str]:
    phrases = itertools.chain(
        _RELATIONS,
        (f"is {relation}" for relation in _RELATIONS),
        (f"{verb} {preposition}" for preposition in _PREPOSITIONS for verb in _VERBS),
        (f"{relation} {article}" for relation in _RELATIONS for article in ("a", "the")),
        (
            f"{verb} {preposition} {noun} of"
            for noun in _NOUNS
            for preposition in _PREPOSITIONS
            for verb in _VERBS
        ),
    )
    return _first_distinct(phrases, _PREDICATES)


@lru_cache
def _attribute_names() -> list[str]:
    phrases = itertools.chain(
        _ADJECTIVES,
        (f"{one} {two}" for one in _ADJECTIVES for two in _ADJECTIVES),
        (f"made of {noun}" for noun in _NOUNS),
        (f"{adjective} like a {noun}" for noun in _NOUNS for adjective in _ADJECTIVES),
        (
            f"{verb} {preposition} a {noun}"
            for noun in _NOUNS
            for preposition in ("on", "by", "in", "near")
            for verb in _VERBS
        ),
    )
    return _first_distinct(phrases, _ATTRIBUTES)


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("s", "sh", "ch", "x")) else "s")


def _first_distinct(phrases: Iterator[str], number: int) -> list[str]:
    distinct: dict[str, None] = {}
    for phrase in phrases:
        distinct[phrase] = None
        if len(distinct) == number:
            return list(distinct)
    raise AssertionError(f"There are only {len(distinct)} of {number} names.")


def _draw_ranks(
    rng: np.random.Generator, number: int, law: tuple[float, float], size: int
) -> np.ndarray:
    """Ranks from 0 on, out of a Zipf-Mandelbrot law with an exponent and a shift."""
    return np.searchsorted(_cumulated(number, *law), rng.random(size), side="right")


@lru_cache
def _cumulated(number: int, exponent: float, shift: float) -> np.ndarray:
    chances = np.cumsum((np.arange(1, number + 1) + shift) ** -exponent)
    return chances / chances[-1]


# COCO -------------------------------------------------------------------------------------------

COCO_TOTALS = {"train2017": 118_287, "val2017": 5_000}
"""Number of pictures of each part."""

# Ids and names by supercategory; the ids of the things have the real one's holes.
_THINGS = """
    person: 1 person
    vehicle: 2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat
    outdoor: 10 traffic light, 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench
    animal: 16 bird, 17 cat, 18 dog, 19 horse, 20 sheep, 21 cow, 22 elephant, 23 bear, 24 zebra
    animal: 25 giraffe
    accessory: 27 backpack, 28 umbrella, 31 handbag, 32 tie, 33 suitcase
    sports: 34 frisbee, 35 skis, 36 snowboard, 37 sports ball, 38 kite, 39 baseball bat
    sports: 40 baseball glove, 41 skateboard, 42 surfboard, 43 tennis racket
    kitchen: 44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl
    food: 52 banana, 53 apple, 54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog
    food: 59 pizza, 60 donut, 61 cake
    furniture: 62 chair, 63 couch, 64 potted plant, 65 bed, 67 dining table, 70 toilet
    electronic: 72 tv, 73 laptop, 74 mouse, 75 remote, 76 keyboard, 77 cell phone
    appliance: 78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator
    indoor: 84 book, 85 clock, 86 vase, 87 scissors, 88 teddy bear, 89 hair drier, 90 toothbrush
"""
_STUFF = """
    textile: 92 banner, 93 blanket, 104 cloth, 105 clothes, 109 curtain, 131 mat, 137 napkin
    textile: 141 pillow, 152 rug, 167 textile-other, 168 towel
    plant: 94 branch, 97 bush, 119 flower, 124 grass, 129 leaves, 134 moss, 142 plant-other
    plant: 163 straw, 169 tree
    building: 95 bridge, 96 building-other, 128 house, 151 roof, 158 skyscraper, 166 tent
    furniture-stuff: 98 cabinet, 107 counter, 108 cupboard, 110 desk-stuff, 112 door-stuff
    furniture-stuff: 123 furniture-other, 130 light, 133 mirror-stuff, 156 shelf, 161 stairs
    furniture-stuff: 165 table
    structural: 99 cage, 113 fence, 138 net, 146 railing, 164 structural-other
    raw-material: 100 cardboard, 132 metal, 139 paper, 143 plastic
    floor: 101 carpet, 114 floor-marble, 115 floor-other, 116 floor-stone, 117 floor-tile
    floor: 118 floor-wood
    ceiling: 102 ceiling-other, 103 ceiling-tile
    sky: 106 clouds, 157 sky-other
    ground: 111 dirt, 125 gravel, 126 ground-other, 136 mud, 140 pavement, 144 platform
    ground: 145 playingfield, 147 railroad, 149 road, 154 sand, 159 snow
    water: 120 fog, 148 river, 155 sea, 178 water-other, 179 waterdrops
    food-stuff: 121 food-other, 122 fruit, 153 salad, 170 vegetable
    solid: 127 hill, 135 mountain, 150 rock, 160 solid-other, 162 stone, 182 wood
    wall: 171 wall-brick, 172 wall-concrete, 173 wall-other, 174 wall-panel, 175 wall-stone
    wall: 176 wall-tile, 177 wall-wood
    window: 180 window-blind, 181 window-other
    other: 183 other
"""
_COCO_SIZES = ((480, 640, 0.35), (640, 480, 0.2), (427, 640, 0.3), (375, 500, 0.15))
_INSTANCES_PER_IMAGE = 860_001 / 118_287
_CROWD_SHARE = 0.0115
_MAX_SCENES = 64  # of stuff, for each size of picture; each is some six masks


def coco_pictures(
    train_pictures: int = COCO_TOTALS["train2017"],
    val_pictures: int = COCO_TOTALS["val2017"],
    seed: int = 0,
) -> dict[str, Images]:
    """The pictures of a dump of :func:`write_coco`, by the parts they belong to."""
    return {
        part: {
            f"{number:012}.jpg": (height, width)
            for number, (height, width) in zip(ids.tolist(), sizes.tolist())
        }
        for part, (ids, sizes) in _draw_coco_pictures(train_pictures, val_pictures, seed).items()
    }


def write_coco(
    folder: str | Path,
    train_pictures: int = COCO_TOTALS["train2017"],
    val_pictures: int = COCO_TOTALS["val2017"],
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Images]:
    """Writes :obj:`annotations/{instances,stuff}_{train,val}2017.json`.

    A picture has 7.27 instances on average, in no order: polygons, and one crowd in 90 with
    uncompressed runs. Every picture has stuff, about six disjoint masks with compressed runs,
    taken from a pool.

    Args:
        folder: Folder of COCO, made where it is missing.
        train_pictures: Number of pictures of train2017.
        val_pictures: Number of pictures of val2017.
        seed: Seed of all that is drawn.
        progress: Show a bar a file, if stderr is a terminal.

    Returns:
        The pictures of each part (:obj:`train2017`, :obj:`val2017`), as :func:`write_pictures`
        takes them.

    Raises:
        Sg2ImError: If a part has no pictures.
    """
    annotations = Path(folder) / "annotations"
    drawn = _draw_coco_pictures(train_pictures, val_pictures, seed)
    annotations.mkdir(parents=True, exist_ok=True)
    masks = _MaskPool(seed, min(_MAX_SCENES, 4 + (train_pictures + val_pictures) // 100))
    for number, (part, (ids, sizes)) in enumerate(drawn.items()):
        head = _coco_head(part, ids, sizes, np.random.default_rng([seed, 4, number]))
        rng = np.random.default_rng([seed, 5, number])
        for kind, table, texts in (
            ("instances", _THINGS, _instance_texts(rng, ids, sizes, masks)),
            ("stuff", _STUFF, _stuff_texts(rng, ids, sizes, masks)),
        ):
            with (
                _new_file(annotations / f"{kind}_{part}.json") as file,
                tqdm(
                    desc=f"COCO {kind}, {part}",
                    unit=" objects",
                    disable=None if progress else True,
                ) as bar,
            ):
                file.write(head)
                separator = ""
                for block in texts:
                    file.write(separator + ", ".join(block))
                    separator = ", "
                    bar.update(len(block))
                file.write(f'], "categories": {json.dumps(_categories(table))}}}')
    return coco_pictures(train_pictures, val_pictures, seed)


def _draw_coco_pictures(
    train_pictures: int, val_pictures: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ids, and heights and widths (N, 2), of the pictures of each part, in the files' order."""
    _check_pictures(train_pictures, seed)
    _check_pictures(val_pictures, seed)
    rng = np.random.default_rng([seed, 3])
    total = train_pictures + val_pictures
    ids = 1 + rng.choice(max(581_929, total), total, replace=False)  # the largest id of COCO
    drawn = rng.choice(len(_COCO_SIZES), total, p=[share for _, _, share in _COCO_SIZES])
    sizes = np.array([size[:2] for size in _COCO_SIZES], np.int64)[drawn]
    train, val = slice(train_pictures), slice(train_pictures, None)
    return {"train2017": (ids[train], sizes[train]), "val2017": (ids[val], sizes[val])}


def _categories(table: str) -> list[dict[str, str | int]]:
    found: list[dict[str, str | int]] = []
    for line in table.strip().splitlines():
        supercategory, categories = line.strip().split(": ")
        for category in categories.split(", "):
            number, name = category.split(" ", 1)
            found.append({"supercategory": supercategory, "id": int(number), "name": name})
    return sorted(found, key=lambda category: category["id"])


def _coco_head(part: str, ids: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> str:
    """A file's text up to the first annotation."""
    licenses = [
        {"url": f"http://creativecommons.org/licenses/{name}/2.0/", "id": number, "name": name}
        for number, name in enumerate(("by-nc-sa", "by-nc", "by-nc-nd", "by", "by-sa"), start=1)
    ]
    info = {"description": "Synthetic, in the format of COCO 2017", "version": "1.0", "year": 2017}
    drawn = rng.integers([1, 1, 0, 10**9], [6, 29, 86_400, 9 * 10**9], (len(ids), 4)).tolist()
    images = ", ".join(
        f'{{"license": {license_id}, "file_name": "{number:012}.jpg", '
        f'"coco_url": "http://images.cocodataset.org/{part}/{number:012}.jpg", '
        f'"height": {height}, "width": {width}, "date_captured": "2013-11-{day:02} '
        f'{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}", '
        f'"flickr_url": "http://farm{license_id}.staticflickr.com/{flickr % 9999}/{flickr}_z.jpg", '
        f'"id": {number}}}'
        for number, (height, width), (license_id, day, second, flickr) in zip(
            ids.tolist(), sizes.tolist(), drawn
        )
    )
    return (
        f'{{"info": {json.dumps(info)}, "licenses": {json.dumps(licenses)}, '
        f'"images": [{images}], "annotations": ['
    )


def _instance_texts(
    rng: np.random.Generator, ids: np.ndarray, sizes: np.ndarray, masks: "_MaskPool"
) -> Iterator[list[str]]:
    """Entries of things, block by block."""
    # Ten times as many in one picture as in another is nothing special, and 1 % have none.
    weights = np.exp(0.95 * rng.standard_normal(len(ids)))
    counts = _share_out(weights, max(1, round(_INSTANCES_PER_IMAGE * len(ids))))
    owners = rng.permutation(np.repeat(np.arange(len(ids)), counts))
    categories = np.array([category["id"] for category in _categories(_THINGS)], np.int64)
    chances = 1 / (np.arange(len(categories)) + 1.5)  # a quarter are persons
    numbers = itertools.count(1)
    for start in range(0, len(owners), 20_000):
        owner = owners[start : start + 20_000]
        shapes = _polygon_shapes(rng, sizes[owner])
        for index in np.flatnonzero(rng.random(len(owner)) < _CROWD_SHARE).tolist():
            crowds = masks.crowds(*sizes[owner[index]].tolist())
            shapes[index] = crowds[rng.integers(len(crowds))]
        drawn = rng.choice(categories, len(owner), p=chances / chances.sum())
        yield [
            f'{{"id": {number}, "image_id": {image_id}, "category_id": {category}, {shape}}}'
            for image_id, category, shape, number in zip(
                ids[owner].tolist(), drawn.tolist(), shapes, numbers
            )
        ]


def _polygon_shapes(rng: np.random.Generator, sizes: np.ndarray) -> list[str]:
    """Box, area and segmentation of one object in each of some pictures of sizes (N, 2).

    All in hundredths of a pixel, whole numbers, up to the text.
    """
    extent = 100.0 * sizes[:, ::-1]  # width, height
    # 35 % of the boxes cover more than 2 % of the picture; 41 % of COCO's objects are "small".
    area = np.exp(np.clip(-4.7 + 2.1 * rng.standard_normal(len(sizes)), -9, -0.1))
    aspect = np.exp(0.5 * rng.standard_normal(len(sizes)))
    side = np.sqrt(area)[:, None] * np.stack([aspect, 1 / aspect], 1)
    side = np.minimum(side, 0.98) * extent
    corner = rng.random((len(sizes), 2)) * (extent - side)

    # One object in ten is in two pieces, which stand beside each other in its box.
    pieces = 1 + (rng.random(len(sizes)) < 0.1)
    owner = np.repeat(np.arange(len(sizes)), pieces)
    first = np.cumsum(pieces) - pieces
    is_second = np.arange(len(owner)) != first[owner]
    reach = np.where(pieces[owner] == 2, 0.22, 0.5)[:, None] * [1.0, 0.0] + [0.0, 0.5]
    middle = np.where(is_second, 0.78, reach[:, 0])
    centre = corner[owner] + side[owner] * np.stack([middle, np.full(len(owner), 0.5)], 1)

    # Corners in the order of their angles around the middle.
    counts = np.clip(np.rint(np.exp(3 + 0.55 * rng.standard_normal(len(owner)))), 6, 60)
    counts = counts.astype(np.int64)
    starts = np.cumsum(counts) - counts
    polygon = np.repeat(np.arange(len(owner)), counts)
    step = np.arange(len(polygon)) - starts[polygon] + 0.8 * rng.random(len(polygon))
    angle = 2 * np.pi * step / counts[polygon]
    distance = 1 - 0.35 * rng.random((len(polygon), 1))
    direction = np.stack([np.cos(angle), np.sin(angle)], 1)
    points = centre[polygon] + distance * direction * (reach * side[owner])[polygon]
    points = np.clip(np.rint(points), 0, extent[owner][polygon]).astype(np.int64)

    following = np.arange(1, len(polygon) + 1)
    following[starts + counts - 1] = starts
    cross = points[:, 0] * points[following, 1] - points[following, 0] * points[:, 1]
    doubled = np.add.reduceat(np.abs(np.add.reduceat(cross, starts)), first)
    least = np.minimum.reduceat(points, starts[first])
    boxes = np.concatenate([least, np.maximum.reduceat(points, starts[first]) - least], 1)

    hundredths = _hundredths()
    words = [hundredths[coordinate] for coordinate in points.ravel().tolist()]
    ends = [2 * end for end in (starts + counts).tolist()]
    polygons = [f"[{', '.join(words[begin:end])}]" for begin, end in itertools.pairwise([0, *ends])]
    return [
        f'"bbox": [{hundredths[x]}, {hundredths[y]}, {hundredths[w]}, {hundredths[h]}], '
        f'"area": {twice / 20_000}, "iscrowd": 0, "segmentation": [{", ".join(pieces_)}]'
        for (x, y, w, h), twice, pieces_ in zip(
            boxes.tolist(), doubled.tolist(), _in_lists(polygons, pieces)
        )
    ]


@lru_cache
def _hundredths() -> list[str]:
    """Texts of 0, 0.01, ... up to the largest coordinate."""
    largest = max(max(size[:2]) for size in _COCO_SIZES)
    return [str(number / 100) for number in range(100 * largest + 1)]


def _stuff_texts(
    rng: np.random.Generator, ids: np.ndarray, sizes: np.ndarray, masks: "_MaskPool"
) -> Iterator[list[str]]:
    """Entries of stuff, block by block; the categories of a picture differ."""
    categories = np.array([category["id"] for category in _categories(_STUFF)], np.int64)
    # "other" (last) is all that things cover, so that most pictures have it. The frequency of the
    # rest has nothing to do with their ids, but is the same in both parts.
    ranks = np.random.default_rng(0).permutation(len(categories) - 1)
    chances = np.append(1 / (ranks + 8.0), 0.8)
    numbers = itertools.count(10_000_000)
    for start in range(0, len(ids), 500):
        block = slice(start, start + 500)
        # The order of exponential waiting times: a draw without replacement for each picture.
        waits = rng.standard_exponential((len(ids[block]), len(categories))) / chances
        drawn = categories[np.argsort(waits, 1)]
        scenes = rng.integers(masks.scenes_per_size, size=len(drawn))
        yield [
            f'{{"id": {number}, "image_id": {image_id}, "category_id": {category}, {shape}}}'
            for image_id, (height, width), chosen, scene in zip(
                ids[block].tolist(), sizes[block].tolist(), drawn.tolist(), scenes.tolist()
            )
            for category, shape, number in zip(chosen, masks.scene(height, width, scene), numbers)
        ]


class _MaskPool:
    """Masks of stuff and of crowds for each size of picture, drawn when they are asked for."""

    def __init__(self, seed: int, scenes_per_size: int) -> None:
        self.seed = seed
        self.scenes_per_size = scenes_per_size
        self._scenes: dict[tuple[int, int, int], list[str]] = {}
        self._crowds: dict[tuple[int, int], list[str]] = {}

    def scene(self, height: int, width: int, number: int) -> list[str]:
        """Box, area and segmentation of the pieces of a picture that is all stuff."""
        key = (height, width, number)
        if key not in self._scenes:
            rng = np.random.default_rng([self.seed, 6, *key])
            pieces = _draw_pieces(rng, height, width)
            self._scenes[key] = [_shape(piece, crowd=False) for piece in pieces]
        return self._scenes[key]

    def crowds(self, height: int, width: int) -> list[str]:
        key = (height, width)
        if key not in self._crowds:
            rng = np.random.default_rng([self.seed, 7, *key])
            crowds = [_draw_crowd(rng, height, width) for _ in range(4 * self.scenes_per_size)]
            self._crowds[key] = [_shape(crowd, crowd=True) for crowd in crowds]
        return self._crowds[key]


def _draw_pieces(rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    """Masks (H, W), each pixel set in one of them: layers above each other with ragged borders."""
    number = int(rng.integers(4, 10))
    raggedness = 0.12 * np.exp(0.6 * rng.standard_normal())
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    pieces = np.zeros((height, width), np.int64)
    highest = np.full((height, width), -np.inf, np.float32)
    for index in range(number):
        level = -2.5 * np.abs(rows - np.float32(rng.random()))
        level = level + _noise(rng, height, width, 160) + 0.35 * _noise(rng, height, width, 40)
        level += raggedness * (_noise(rng, height, width, 10) + 0.7 * _noise(rng, height, width, 3))
        pieces[level > highest] = index
        highest = np.maximum(highest, level)
    present = np.flatnonzero(np.bincount(pieces.ravel(), minlength=number) > 40)
    return [pieces == index for index in present]


def _draw_crowd(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    centre, spread = rng.uniform(0.2, 0.8, 2), rng.uniform(0.08, 0.3, 2)
    level = 1 - ((y - centre[0]) / spread[0]) ** 2 - ((x - centre[1]) / spread[1]) ** 2
    return level + 0.5 * _noise(rng, height, width, 20) > 0


def _noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth normal noise (H, W), float32, with bumps as wide as a cell, in pixels."""
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _shape(mask: np.ndarray, crowd: bool) -> str:
    """Box, area and segmentation of a mask (H, W), as compressed runs or, for crowds, plain."""
    runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    box, area = coco_mask.toBbox(runs).tolist(), float(coco_mask.area(runs))
    if crowd:
        pixels = np.concatenate([[False], mask.T.ravel()])  # down the columns, zeros first
        changes = np.flatnonzero(pixels[1:] != pixels[:-1])
        counts: str | list[int] = np.diff(changes, prepend=0, append=mask.size).tolist()
    else:
        counts = runs["counts"].decode("ascii")
    segmentation = json.dumps({"size": list(mask.shape), "counts": counts})
    return (
        f'"bbox": {json.dumps(box)}, "area": {area}, "iscrowd": {int(crowd)}, '
        f'"segmentation": {segmentation}'
    )


# Pictures ---------------------------------------------------------------------------------------


def write_pictures(
    folder: str | Path,
    pictures: int | Mapping[str, tuple[int, int]],
    seed: int = 0,
    distinct: int = 24,
    progress: bool = True,
) -> None:
    """Writes JPEG files that take as much space and time to decode as photographs.

    At 640 x 480 pixels they are 100 to 200 KB, as COCO's are.

    Args:
        folder: Folder of the files, made where it is missing.
        pictures: Height and width of each file by its name; or a number of files, which are then
            named and sized as COCO's are.
        seed: Seed of the drawing.
        distinct: How many different pictures there are of each size; files beyond it are copies.
        progress: Show a bar, if stderr is a terminal.

    Raises:
        Sg2ImError: If there are no pictures, or a picture has a side under 32 pixels.
    """
    if not isinstance(pictures, Mapping):
        _check_pictures(pictures, seed)
        pictures = coco_pictures(pictures, 1, seed)["train2017"]
    for name, (height, width) in pictures.items():
        if min(height, width) < 32:
            raise Sg2ImError(
                f"Pictures must be at least 32 x 32 pixels, got {width} x {height} for {name}."
            )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pool: dict[tuple[int, int, int], bytes] = {}
    written: dict[tuple[int, int], int] = {}
    for name, (height, width) in tqdm(
        pictures.items(), desc="Pictures", unit="", disable=None if progress else True
    ):
        number = written.get((height, width), 0)
        written[height, width] = number + 1
        key = (height, width, number % distinct)
        if key not in pool:
            pool[key] = _photograph(seed, *key)
        (folder / name).write_bytes(pool[key])


def _photograph(seed: int, height: int, width: int, number: int) -> bytes:
    """A landscape under the texture and the grain of a photograph, as a JPEG file."""
    rng = np.random.default_rng([seed, 8, height, width, number])
    picture = paint_landscape(seed, number, (height // 2, width // 2), mask_size=0).image
    smooth = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    # Photographs have as much contrast in each octave: noise of all sizes, of the same strength.
    texture = sum(_noise(rng, height, width, cell) for cell in (64, 32, 16, 8, 4, 2))
    strength = rng.uniform(6, 11) * np.clip(1 + 0.5 * _noise(rng, height, width, 100), 0.2, 2)
    grain = rng.uniform(9, 16) * rng.standard_normal((height, width, 1), np.float32)
    pixels = np.asarray(smooth) + (strength * texture)[..., None] + grain
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


# Both -------------------------------------------------------------------------------------------


def _check_pictures(pictures: int, seed: int) -> None:
    if pictures < 1:
        raise Sg2ImError(f"A dump needs at least 1 picture in each part, got {pictures}.")
    if not 0 <= seed < 2**32:
        raise Sg2ImError(f"The seed of a dump must lie in [0, 2**32), got {seed}.")


def _share_out(weights: np.ndarray, total: int, least: int = 0) -> np.ndarray:
    """Whole numbers (N) that add up to the total, in proportion to the weights, none too small."""
    cumulated = np.cumsum(weights, dtype=np.float64)
    ends = np.rint(cumulated / max(cumulated[-1], 1e-9) * (total - least * len(weights)))
    return least + np.diff(ends, prepend=0).astype(np.int64)


def _in_lists(texts: list[str], counts: np.ndarray) -> Iterator[list[str]]:
    """The texts in lists of the given lengths."""
    ends = np.cumsum(counts).tolist()
    return (texts[start:end] for start, end in itertools.pairwise([0, *ends]))


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """A text file that has its name only once it is whole."""
    with (
        replace_when_whole(path) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as file,
    ):
        yield file
