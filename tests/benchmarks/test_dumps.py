"""The synthetic dumps: formats, statistics, and that the library can prepare them."""

import io
import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from sg2im_pyg.data import SceneReader
from sg2im_pyg.sources.coco.options import CocoOptions
from sg2im_pyg.sources.coco.source import coco_vocabulary
from sg2im_pyg.sources.visual_genome.options import VisualGenomeOptions
from tests.benchmarks.benchmark_modules import load_module

TRAIN, VAL = 160, 40  # pictures of the small COCO
PICTURES = 1081  # of the small Visual Genome, a hundredth of the whole


@pytest.fixture(scope="module")
def dumps():
    with pytest.MonkeyPatch.context() as patch:
        yield load_module("benchmarks.dumps", patch)


@pytest.fixture(scope="module")
def visual_genome(dumps, tmp_path_factory):
    """Folder of a small Visual Genome with pictures."""
    folder = tmp_path_factory.mktemp("visual_genome")
    images = dumps.write_visual_genome(folder, PICTURES, seed=3)
    # Small files: the readers accept pictures of another size than the list says.
    small = {name: (32 + height % 7, 40) for name, (height, _) in images.items()}
    dumps.write_pictures(folder / "images", small, distinct=1)
    return folder


@pytest.fixture(scope="module")
def coco(dumps, tmp_path_factory):
    """Folder of a small COCO with pictures."""
    folder = tmp_path_factory.mktemp("coco")
    dumps.write_pictures(folder / "images", dumps.write_coco(folder, TRAIN, VAL, 3), distinct=1)
    return folder


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_visual_genome_agrees_with_itself(visual_genome):
    images = load(visual_genome / "image_data.json")
    lists = {key: load(visual_genome / f"{key}.json") for key in ("objects", "attributes")}
    lists["relationships"] = load(visual_genome / "relationships.json")
    for key, content in lists.items():
        assert [entry["image_id"] for entry in content] == [image["image_id"] for image in images]
        lists[key] = [entry[key] for entry in content]
    missing = 0
    for image, objects, attributes, relationships in zip(images, *lists.values(), strict=True):
        known = {entry["object_id"]: entry for entry in objects}
        assert len(known) == len(objects) > 0
        for entry in objects:
            assert min(entry["x"], entry["y"]) >= 0 and min(entry["w"], entry["h"]) > 0
            assert entry["x"] + entry["w"] <= image["width"]
            assert entry["y"] + entry["h"] <= image["height"]
            assert len(entry["names"]) == len(entry["synsets"])
        for entry in attributes:
            same = known[entry["object_id"]]
            assert all(entry[key] == same[key] for key in ("x", "y", "w", "h", "names"))
        for entry in relationships:
            for end in (entry["subject"], entry["object"]):
                same = known.get(end["object_id"])
                missing += same is None
                assert same is None or end["name"] == same["names"][0]
    count = sum(map(len, lists["relationships"]))
    assert 0.01 < missing / (2 * count) < 0.04
    splits = load(visual_genome / "vg_splits.json")
    assert sorted(sum(splits.values(), [])) == sorted(image["image_id"] for image in images)


def test_visual_genome_has_the_statistics_of_the_real_one(visual_genome):
    images = load(visual_genome / "image_data.json")
    assert 0 < np.mean([min(image["width"], image["height"]) < 200 for image in images]) < 0.03
    objects = [entry["objects"] for entry in load(visual_genome / "objects.json")]
    counts = np.array(list(map(len, objects)))
    objects = sum(objects, [])
    assert abs(len(objects) - 38_000) < 2000 and 14 < counts.std() < 21
    assert 0.2 < np.mean([min(entry["w"], entry["h"]) < 32 for entry in objects]) < 0.45
    assert {len(entry["names"]) for entry in objects} == {1, 2}
    # 178 names have 2,000 or more of the 3.8 million objects, of which four fifths are in train.
    names = Counter(e["names"][0].replace("things", "thing") for e in objects)
    assert 150 < sum(count >= 2000 / 0.8 / 100 for count in names.values()) < 210
    attributes = [
        e for entry in load(visual_genome / "attributes.json") for e in entry["attributes"]
    ]
    assert abs(sum(len(e.get("attributes", ())) for e in attributes) - 28_000) < 1500
    assert 0.3 < np.mean(["attributes" in entry for entry in attributes]) < 0.7
    predicates = [
        entry["predicate"]
        for picture in load(visual_genome / "relationships.json")
        for entry in picture["relationships"]
    ]
    assert abs(len(predicates) - 23_000) < 1300
    assert any(name.isupper() for name in predicates)
    assert any(name.endswith(" ") for name in predicates)
    for key in ("objects", "attributes", "relationships"):
        assert 0.4e9 < (visual_genome / f"{key}.json").stat().st_size * 100 < 0.8e9


def test_visual_genome_can_be_prepared(visual_genome, tmp_path):
    paths = VisualGenomeOptions(
        min_object_instances=20,
        min_attribute_instances=20,
        min_relationship_instances=5,
        source=str(visual_genome),
        root=str(tmp_path),
        image_size=["16"],
        workers=1,
        progress=False,
    ).prepare()[16, 16]
    store = SceneReader(paths["train"])
    assert len(store) > 400
    assert "thing 3" in store.vocabulary.objects and "at 0" in store.vocabulary.predicates


def test_coco_lists_its_pictures_and_categories(coco):
    tables, seen = [], set()
    for part, number in (("train2017", TRAIN), ("val2017", VAL)):
        instances = load(coco / "annotations" / f"instances_{part}.json")
        stuff = load(coco / "annotations" / f"stuff_{part}.json")
        assert instances["images"] == stuff["images"] and len(stuff["images"]) == number
        seen |= {image["id"] for image in stuff["images"]}
        for image in stuff["images"]:
            with Image.open(coco / "images" / part / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
        tables = [{e["id"]: e["name"] for e in file["categories"]} for file in (instances, stuff)]
    assert len(seen) == TRAIN + VAL and list(map(len, tables)) == [80, 92]
    vocabulary = coco_vocabulary(*tables)
    assert len(vocabulary.objects) == 184 and vocabulary.objects[183] == "other"
    assert [i for i, name in enumerate(vocabulary.objects) if name == "NONE"] == [
        *(12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
    ]


def test_instances_of_coco(coco):
    content = load(coco / "annotations" / "instances_train2017.json")
    images = {image["id"]: image for image in content["images"]}
    entries = content["annotations"]
    assert 5 < len(entries) / TRAIN < 10
    assert len({entry["id"] for entry in entries}) == len(entries)
    assert [e["image_id"] for e in entries] != sorted(e["image_id"] for e in entries)
    shares, crowds = [], 0
    for entry in entries:
        height, width = (images[entry["image_id"]][key] for key in ("height", "width"))
        x, y, w, h = entry["bbox"]
        shares.append(w * h / width / height)
        if entry["iscrowd"]:
            crowds += 1
            runs = coco_mask.frPyObjects(entry["segmentation"], height, width)
            check_mask(coco_mask.decode(runs), entry)
            continue
        points = np.concatenate([np.reshape(p, (-1, 2)) for p in entry["segmentation"]])
        assert all(12 <= len(polygon) <= 120 for polygon in entry["segmentation"])
        assert np.allclose(points.min(0), [x, y], atol=0.011) and points.min() >= 0
        assert np.allclose(points.max(0), [x + w, y + h], atol=0.011)
        assert (points.max(0) <= [width, height]).all()
        drawn = coco_mask.merge(coco_mask.frPyObjects(entry["segmentation"], height, width))
        assert abs(float(coco_mask.area(drawn)) - entry["area"]) < 2 * (w + h) + 4
    assert 0.25 < np.mean(np.array(shares) > 0.02) < 0.45 and crowds > 3


def test_stuff_of_coco(coco):
    content = load(coco / "annotations" / "stuff_train2017.json")
    images = {image["id"]: image for image in content["images"]}
    of_image = defaultdict(list)
    for entry in content["annotations"]:
        of_image[entry["image_id"]].append(entry)
    assert of_image.keys() == images.keys()
    assert 5 < len(content["annotations"]) / TRAIN < 7
    for image_id, entries in list(of_image.items())[:40]:
        covered = 0
        for entry in entries:
            mask = coco_mask.decode(entry["segmentation"])
            assert mask.shape == (images[image_id]["height"], images[image_id]["width"])
            check_mask(mask, entry)
            covered = covered + mask
        assert (covered == 1).all()
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


def test_pictures_are_as_large_as_photographs(dumps, tmp_path):
    sizes = {f"part/{number}.jpg": (480, 640) for number in range(4)}
    dumps.write_pictures(tmp_path, sizes, distinct=2)
    found = {name: (tmp_path / name).read_bytes() for name in sizes}
    for content in found.values():
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (640, 480))
        assert 80_000 < len(content) < 220_000
    assert found["part/0.jpg"] == found["part/2.jpg"] != found["part/1.jpg"]


def test_the_seed_decides_every_byte(dumps, tmp_path):
    written = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        dumps.write_visual_genome(folder, 20, seed=seed)
        dumps.write_pictures(folder, dumps.write_coco(folder, 6, 3, seed), seed)
        files = [path for path in folder.rglob("*") if path.is_file()]
        written.append({str(path.relative_to(folder)): path.read_bytes() for path in files})
    assert len(written[0]) == 7 + 4 + 9 and written[0] == written[1]
    same = {name for name in written[0] if written[0][name] == written[2].get(name)}
    assert same == {"object_alias.txt", "relationship_alias.txt"}
