import importlib.util
import io
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from sg2im_pyg.data import SceneReader
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.coco.options import CocoOptions
from sg2im_pyg.sources.coco.source import coco_vocabulary
from sg2im_pyg.sources.visual_genome.options import VisualGenomeOptions

MODULE = Path(__file__).resolve().parents[2] / "eval" / "benchmarks" / "dumps.py"
TRAIN, VAL = 160, 40  # pictures of the small COCO
PICTURES = 120  # of the small Visual Genome


@pytest.fixture(scope="module")
def dumps():
    specification = importlib.util.spec_from_file_location("dumps", MODULE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def visual_genome(dumps, tmp_path_factory):
    """Folder of a small Visual Genome with pictures."""
    folder = tmp_path_factory.mktemp("visual_genome")
    parts = dumps.write_visual_genome(folder, PICTURES, 4000, 3000, 2500, seed=3, progress=False)
    for part, images in parts.items():
        # Small files: the readers accept pictures of another size than the list says.
        small = {name: (32 + height % 7, 40) for name, (height, _) in images.items()}
        dumps.write_pictures(folder / "images" / part, small, distinct=1, progress=False)
    return folder


@pytest.fixture(scope="module")
def coco(dumps, tmp_path_factory):
    """Folder of a small COCO with pictures."""
    folder = tmp_path_factory.mktemp("coco")
    for part, images in dumps.write_coco(folder, TRAIN, VAL, seed=3, progress=False).items():
        dumps.write_pictures(folder / "images" / part, images, distinct=1, progress=False)
    return folder


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Visual Genome ----------------------------------------------------------------------------------


def test_visual_genome_has_the_counts_asked_for(visual_genome):
    entries = {
        key: [entry for image in load(visual_genome / f"{key}.json") for entry in image[key]]
        for key in ("objects", "attributes", "relationships")
    }
    assert len(load(visual_genome / "image_data.json")) == PICTURES
    assert len(entries["objects"]) == 4000
    assert len(entries["relationships"]) == 3000
    assert sum(len(entry.get("attributes", ())) for entry in entries["attributes"]) == 2500


def test_visual_genome_has_the_fields_of_the_real_one(visual_genome):
    images = load(visual_genome / "image_data.json")
    objects = load(visual_genome / "objects.json")
    ids = [image["image_id"] for image in images]
    assert len(set(ids)) == PICTURES
    assert {tuple(sorted(image)) for image in images} == {
        ("coco_id", "flickr_id", "height", "image_id", "url", "width")
    }
    for image, of_image in zip(images, objects, strict=True):
        assert image["url"].endswith(f"/{image['image_id']}.jpg")
        assert of_image["image_url"] == image["url"]
    box = {"object_id", "x", "y", "w", "h", "synsets"}
    for key, fields in (
        ("objects", [box | {"names", "merged_object_ids"}]),
        ("attributes", [box | {"names"}, box | {"names", "attributes"}]),
        ("relationships", [{"relationship_id", "predicate", "subject", "object", "synsets"}]),
    ):
        content = load(visual_genome / f"{key}.json")
        assert [of_image["image_id"] for of_image in content] == ids
        entries = [entry for of_image in content for entry in of_image[key]]
        assert {frozenset(entry) for entry in entries} == set(map(frozenset, fields))
        if key == "relationships":
            for end in ("subject", "object"):
                assert {frozenset(entry[end]) for entry in entries} == {frozenset(box | {"name"})}
    splits = load(visual_genome / "vg_splits.json")
    assert {split: len(numbers) for split, numbers in splits.items()} == {
        "train": 96,
        "val": 12,
        "test": 12,
    }
    assert sorted(sum(splits.values(), [])) == sorted(ids)


def test_visual_genome_agrees_with_itself(visual_genome):
    objects, owner = {}, {}
    for image, of_image in zip(
        load(visual_genome / "image_data.json"), load(visual_genome / "objects.json"), strict=True
    ):
        assert of_image["objects"]
        for entry in of_image["objects"]:
            assert min(entry["x"], entry["y"]) >= 0 and min(entry["w"], entry["h"]) > 0
            assert entry["x"] + entry["w"] <= image["width"]
            assert entry["y"] + entry["h"] <= image["height"]
            assert len(entry["names"]) == len(entry["synsets"])
            objects[entry["object_id"]] = entry
            owner[entry["object_id"]] = image["image_id"]
    assert len(objects) == 4000
    for of_image in load(visual_genome / "attributes.json"):
        for entry in of_image["attributes"]:
            assert owner[entry["object_id"]] == of_image["image_id"]
            same = objects[entry["object_id"]]
            for key in ("x", "y", "w", "h", "names", "synsets"):
                assert entry[key] == same[key]
    for of_image in load(visual_genome / "relationships.json"):
        for entry in of_image["relationships"]:
            for end in (entry["subject"], entry["object"]):
                if end["object_id"] in objects:
                    same = objects[end["object_id"]]
                    assert owner[end["object_id"]] == of_image["image_id"]
                    assert end["name"] == same["names"][0]
                    assert [end[key] for key in "xywh"] == [same[key] for key in "xywh"]


def test_visual_genome_is_as_untidy_as_the_real_one(visual_genome):
    objects = [e for image in load(visual_genome / "objects.json") for e in image["objects"]]
    ids = {entry["object_id"] for entry in objects}
    attributes = [
        e for image in load(visual_genome / "attributes.json") for e in image["attributes"]
    ]
    relationships = [
        e for image in load(visual_genome / "relationships.json") for e in image["relationships"]
    ]
    assert {len(entry["names"]) for entry in objects} == {1, 2}
    assert any(entry["merged_object_ids"] for entry in objects)
    assert 0.8 < len(attributes) / len(objects) < 0.95
    assert 0.3 < np.mean(["attributes" in entry for entry in attributes]) < 0.7
    predicates = [entry["predicate"] for entry in relationships]
    assert any(name.isupper() for name in predicates)
    assert any(name.endswith(" ") for name in predicates)
    ends = [
        entry[end]["object_id"] in ids for entry in relationships for end in ("subject", "object")
    ]
    assert 0.9 < np.mean(ends) < 1
    aliases = [
        line.split(",")
        for line in (visual_genome / "object_alias.txt").read_text("utf-8").splitlines()
    ]
    replaced = {name for _, *others in aliases for name in others}
    assert replaced & {name for entry in objects for name in entry["names"]}
    assert not replaced & {first for first, *_ in aliases}


def test_a_small_visual_genome_has_the_shape_of_the_whole(dumps, tmp_path):
    dumps.write_visual_genome(tmp_path, 1081, progress=False)
    images = load(tmp_path / "image_data.json")
    objects = load(tmp_path / "objects.json")
    counts = np.array([len(of_image["objects"]) for of_image in objects])
    assert counts.sum() == round(3_800_000 * 1081 / 108_077)
    assert counts.min() >= 1 and 14 < counts.std() < 21
    assert 0 < np.mean([min(image["width"], image["height"]) < 200 for image in images]) < 0.03
    short = [min(e["w"], e["h"]) < 32 for of_image in objects for e in of_image["objects"]]
    assert 0.2 < np.mean(short) < 0.45
    aliases = {}
    for line in (tmp_path / "object_alias.txt").read_text(encoding="utf-8").splitlines():
        first, *others = line.split(",")
        aliases.update(dict.fromkeys(others, first))
    names = Counter(
        name
        for of_image in objects
        for entry in of_image["objects"]
        for name in {aliases.get(name, name) for name in entry["names"]}
    )
    # 178 names have 2,000 or more of the 3.8 million objects, of which four fifths are in train.
    frequent = sum(count >= 2000 / 0.8 / 100 for count in names.values())
    assert 150 < frequent < 210
    for key in ("objects", "attributes", "relationships"):
        assert 0.4e9 < (tmp_path / f"{key}.json").stat().st_size * 100 < 0.8e9


def test_visual_genome_can_be_prepared(visual_genome, tmp_path):
    paths = VisualGenomeOptions(
        min_object_instances=10,
        min_attribute_instances=10,
        min_relationship_instances=5,
        source=str(visual_genome),
        root=str(tmp_path),
        image_size=["16"],
        workers=1,
        progress=False,
    ).prepare()[16, 16]
    store = SceneReader(paths["train"])
    assert len(store) > 30
    assert "man" in store.vocabulary.objects and "on" in store.vocabulary.predicates


# COCO -------------------------------------------------------------------------------------------


def test_coco_lists_its_pictures(dumps, coco):
    listed = dumps.coco_pictures(TRAIN, VAL, seed=3)
    for part, number in (("train2017", TRAIN), ("val2017", VAL)):
        instances = load(coco / "annotations" / f"instances_{part}.json")
        stuff = load(coco / "annotations" / f"stuff_{part}.json")
        assert instances["images"] == stuff["images"]
        assert len(instances["images"]) == number
        assert listed[part] == {
            image["file_name"]: (image["height"], image["width"]) for image in stuff["images"]
        }
        for image in instances["images"]:
            assert image["file_name"] == f"{image['id']:012}.jpg"
            with Image.open(coco / "images" / part / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
    assert not listed["train2017"].keys() & listed["val2017"].keys()


def test_coco_has_the_categories_of_the_real_one(coco):
    categories = [
        load(coco / "annotations" / f"{kind}_val2017.json")["categories"]
        for kind in ("instances", "stuff")
    ]
    assert list(map(len, categories)) == [80, 92]
    tables = [{entry["id"]: entry["name"] for entry in entries} for entries in categories]
    vocabulary = coco_vocabulary(*tables)
    assert len(vocabulary.objects) == 184 and vocabulary.objects[183] == "other"
    assert [i for i, name in enumerate(vocabulary.objects) if name == "NONE"] == [
        *(12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
    ]
    assert (tables[0][90], tables[1][92], tables[1][182]) == ("toothbrush", "banner", "wood")


def test_instances_of_coco(coco):
    content = load(coco / "annotations" / "instances_train2017.json")
    images = {image["id"]: image for image in content["images"]}
    entries = content["annotations"]
    assert len(entries) == round(860_001 / 118_287 * TRAIN)
    assert len({entry["id"] for entry in entries}) == len(entries)
    assert [e["image_id"] for e in entries] != sorted(e["image_id"] for e in entries)
    assert {entry["category_id"] for entry in entries} <= {c["id"] for c in content["categories"]}
    shares = []
    for entry in entries:
        image = images[entry["image_id"]]
        x, y, w, h = entry["bbox"]
        shares.append(w * h / image["width"] / image["height"])
        if entry["iscrowd"]:
            continue
        area, points = 0.0, []
        for polygon in entry["segmentation"]:
            corners = list(zip(polygon[0::2], polygon[1::2], strict=True))
            assert 6 <= len(corners) <= 60
            points += corners
            before = corners[-1]
            doubled = 0.0
            for corner in corners:
                doubled += before[0] * corner[1] - corner[0] * before[1]
                before = corner
            area += abs(doubled) / 2
        low, high = np.min(points, 0), np.max(points, 0)
        assert low.min() >= 0 and high[0] <= image["width"] and high[1] <= image["height"]
        assert np.allclose([x, y, w, h], [*low, *(high - low)], atol=1e-6)
        assert entry["area"] == pytest.approx(area, abs=1e-4)
        assert np.array_equal(np.round(points, 2), points)
    assert 0.25 < np.mean(np.array(shares) > 0.02) < 0.45


def test_crowds_of_coco(coco):
    found = 0
    for part in ("train2017", "val2017"):
        content = load(coco / "annotations" / f"instances_{part}.json")
        images = {image["id"]: image for image in content["images"]}
        for entry in content["annotations"]:
            if not entry["iscrowd"]:
                continue
            found += 1
            image, runs = images[entry["image_id"]], entry["segmentation"]
            assert runs["size"] == [image["height"], image["width"]]
            values = np.arange(len(runs["counts"])) % 2
            pixels = np.repeat(values, runs["counts"])
            check_mask(pixels.reshape(image["width"], image["height"]).T, entry)
    assert 5 < found < 40


def test_stuff_of_coco(coco):
    content = load(coco / "annotations" / "stuff_train2017.json")
    images = {image["id"]: image for image in content["images"]}
    assert len({entry["id"] for entry in content["annotations"]}) == len(content["annotations"])
    of_image = defaultdict(list)
    for entry in content["annotations"]:
        of_image[entry["image_id"]].append(entry)
    assert of_image.keys() == images.keys()
    assert 5 < len(content["annotations"]) / TRAIN < 7
    for image_id, entries in list(of_image.items())[:40]:
        image = images[image_id]
        covered = np.zeros((image["height"], image["width"]), int)
        for entry in entries:
            assert entry["segmentation"]["size"] == list(covered.shape)
            mask = coco_mask.decode(entry["segmentation"])
            check_mask(mask, entry)
            covered += mask
        assert covered.max() == 1 and covered.mean() > 0.99
        assert len({entry["category_id"] for entry in entries}) == len(entries)
    length = np.mean([len(entry["segmentation"]["counts"]) for entry in content["annotations"]])
    assert 3000 < length < 7000  # several GB for all of it


def check_mask(mask, entry):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, y0 = int(columns[0]), int(rows[0])
    assert entry["bbox"] == [x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0]
    assert entry["area"] == mask.sum()


def test_coco_can_be_prepared(coco, tmp_path):
    options = {"image_size": ["16"], "workers": 1, "progress": False}
    paths = CocoOptions(source=str(coco), root=str(tmp_path), **options).prepare()[16, 16]
    # The release uses 62 % of the pictures.
    assert 0.4 < len(SceneReader(paths["train"])) / TRAIN < 0.8
    assert len(SceneReader(paths["val"])) > 10


# Pictures and seeds -----------------------------------------------------------------------------


def test_pictures_are_as_large_as_photographs(dumps, tmp_path):
    sizes = {f"{number}.jpg": (480, 640) for number in range(4)}
    dumps.write_pictures(tmp_path, {**sizes, "small.jpg": (33, 50)}, distinct=2, progress=False)
    found = contents(tmp_path)
    for name, content in found.items():
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "JPEG" and picture.mode == "RGB"
            assert picture.size == (sizes.get(name) or (33, 50))[::-1]
    assert all(80_000 < len(found[name]) < 220_000 for name in sizes)
    assert found["0.jpg"] == found["2.jpg"] != found["1.jpg"] == found["3.jpg"]


def test_a_number_of_pictures(dumps, tmp_path):
    dumps.write_pictures(tmp_path, 5, seed=2, distinct=1, progress=False)
    assert contents(tmp_path).keys() == dumps.coco_pictures(5, 1, seed=2)["train2017"].keys()


def test_the_seed_decides_every_byte(dumps, tmp_path):
    written = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        parts = dumps.write_visual_genome(folder / "vg", 20, seed=seed, progress=False)
        assert parts == dumps.visual_genome_pictures(20, seed=seed)
        parts = dumps.write_coco(folder / "coco", 6, 3, seed=seed, progress=False)
        assert parts == dumps.coco_pictures(6, 3, seed=seed)
        sizes = {"a.jpg": (64, 64), "b.jpg": (48, 64)}
        dumps.write_pictures(folder / "pictures", sizes, seed=seed, progress=False)
        written.append(contents(folder))
    aliases = {"object_alias.txt", "relationship_alias.txt"}
    assert len(written[0]) == 13
    assert written[0] == written[1]
    assert {name for name in written[0] if written[0][name] == written[2][name]} == aliases


@pytest.mark.parametrize("pictures", [1, 2])
def test_the_smallest_dumps(dumps, tmp_path, pictures):
    dumps.write_visual_genome(tmp_path / "vg", pictures, pictures, 5, 7, progress=False)
    objects = load(tmp_path / "vg" / "objects.json")
    assert [len(of_image["objects"]) for of_image in objects] == [1] * pictures
    dumps.write_coco(tmp_path / "coco", pictures, 1, progress=False)
    assert len(load(tmp_path / "coco" / "annotations" / "stuff_train2017.json")["images"]) == (
        pictures
    )


def test_impossible_dumps(dumps, tmp_path):
    for write in (
        lambda: dumps.write_visual_genome(tmp_path, 0),
        lambda: dumps.write_coco(tmp_path, 5, 0),
        lambda: dumps.write_pictures(tmp_path, 0),
    ):
        with pytest.raises(Sg2ImError, match="at least 1 picture"):
            write()
    with pytest.raises(Sg2ImError, match="at least as many objects as pictures"):
        dumps.write_visual_genome(tmp_path, 5, objects=4)
    with pytest.raises(Sg2ImError, match="The seed of a dump"):
        dumps.write_coco(tmp_path, 5, 5, seed=-1)
    with pytest.raises(Sg2ImError, match="at least 32 x 32 pixels, got 64 x 8 for a.jpg"):
        dumps.write_pictures(tmp_path, {"a.jpg": (8, 64)})
    assert not list(tmp_path.iterdir())
