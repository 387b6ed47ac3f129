import json
import math
import random
from copy import deepcopy
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.ndimage
from filelock import FileLock
from PIL import Image
from pycocotools import mask as coco_mask

from sg2im_pyg.data import Scene, SceneReader
from sg2im_pyg.data.scene_table import unpack_masks
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.coco.layout import find_layout
from sg2im_pyg.sources.coco.options import CocoOptions
from sg2im_pyg.sources.coco.selection import CocoSelection
from sg2im_pyg.sources.coco.source import coco_vocabulary, read_coco
from sg2im_pyg.sources.images import load_image
from sg2im_pyg.sources.masks import Segmentation, resized
from sg2im_pyg.sources.mistakes import WrongAnnotation

WIDTH, HEIGHT = 40, 30
THINGS = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
STUFF = [{"id": 92, "name": "sky"}, {"id": 94, "name": "grass"}, {"id": 183, "name": "other"}]
DEFAULT = CocoSelection()
ANY_COUNT = CocoSelection(min_objects=1)


def prepare_coco(source, root, image_sizes=((64, 64),), mask_size=16, selection=DEFAULT, **options):
    sizes = [f"{height}x{width}" for height, width in image_sizes]
    options |= {"source": str(source), "root": str(root), "image_size": sizes}
    return CocoOptions(mask_size=mask_size, **vars(selection), **options).prepare()


def uncompressed(mask):
    """Lengths of runs down the columns, the first of zeros: written from COCO's description."""
    lengths, value, length = [], 0, 0
    for pixel in mask.T.reshape(-1):
        if pixel != value:
            lengths.append(length)
            value, length = pixel, 0
        length += 1
    return {"size": list(mask.shape), "counts": [*lengths, length]}


def compressed(mask):
    runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def polygon(mask):
    """Outline of a mask that is one rectangle."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, y0 = int(columns[0]), int(rows[0])
    x1, y1 = int(columns[-1]) + 1, int(rows[-1]) + 1
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, y0 = int(columns[0]), int(rows[0])
    return [x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0]


class Scenes:
    """One split as scenes, read without a store."""

    def __init__(
        self, folder, split, image_size=(64, 64), mask_size=16, selection=DEFAULT, **options
    ):
        self.annotations = read_coco(folder, [split], mask_size, selection, **options)[split]
        self.vocabulary = self.annotations.vocabulary
        self.image_folder = find_layout(folder, selection).part(split).images
        self.image_size, self.mask_size = image_size, mask_size

    def __len__(self):
        return len(self.annotations)

    def __getitem__(self, index):
        table = self.annotations.table
        index = range(len(self))[index]
        objects = slice(*table.object_offset[index : index + 2])
        return Scene(
            int(table.image_ids[index]),
            load_image(self.image_folder / self.annotations.files[index], self.image_size),
            table.categories[objects],
            table.boxes[objects],
            unpack_masks(table.packed_masks[objects], self.mask_size) if self.mask_size else None,
        )


class Coco:
    """A folder of COCO in the making."""

    def __init__(self, folder, images="images"):
        self.folder = folder
        self.image_folder = folder / images
        self.annotations = {
            (kind, part): {"images": [], "annotations": [], "categories": deepcopy(categories)}
            for kind, categories in (("instances", THINGS), ("stuff", STUFF))
            for part in ("train2017", "val2017")
        }

    def add_image(self, image_id, part="train2017"):
        entry = {
            "id": image_id,
            "file_name": f"{image_id:012}.jpg",
            "width": WIDTH,
            "height": HEIGHT,
        }
        for kind in ("instances", "stuff"):
            self.annotations[kind, part]["images"].append(entry)
        path = self.image_folder / part / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (image_id % 256, 100, 200)).save(path, quality=95)
        return path

    def add_object(self, image_id, category, mask=None, part="train2017", **fields):
        mask = rectangle(5, 5, 25, 20) if mask is None else mask
        kind = "stuff" if category >= 92 else "instances"
        entries = self.annotations[kind, part]["annotations"]
        entry = {
            "id": len(entries) + 1,
            "image_id": image_id,
            "category_id": category,
            "bbox": bounds(mask),
            "iscrowd": 0,
            "segmentation": compressed(mask),
            **fields,
        }
        entries.append(entry)
        return entry

    def path(self, kind="instances", part="train2017"):
        return self.folder / "annotations" / f"{kind}_{part}.json"

    def write(self):
        (self.folder / "annotations").mkdir(exist_ok=True)
        for (kind, part), content in self.annotations.items():
            self.path(kind, part).write_text(json.dumps(content), encoding="utf-8")
            (self.image_folder / part).mkdir(parents=True, exist_ok=True)
        return self.folder


@pytest.fixture
def coco(tmp_path):
    return Coco(tmp_path)


def small_coco(folder):
    """Six pictures of train2017 and five of val2017, each with three objects."""
    coco = Coco(folder)
    for part, ids in (("train2017", range(10, 16)), ("val2017", (7, 3, 9, 1, 5))):
        for image_id in ids:
            coco.add_image(image_id, part)
            for category in (3, 1, 92):
                coco.add_object(image_id, category, part=part)
    coco.write()
    return coco


# Masks -------------------------------------------------------------------------------------


def small_mask(mask, box, size, smooth):
    """Crop of the rounded box, resized in float64: smooth, with a triangle filter over all pixels
    that is set above one half; otherwise with one that reaches the next pixel alone, as in the 2018
    release."""
    x, y, width, height = box
    x0, y0 = round(x), round(y)
    x1, y1 = max(x0 + 1, round(x + width)), max(y0 + 1, round(y + height))
    crop = mask[y0:y1, x0:x1].astype(np.float64)

    def weights(stored):
        step = stored / size
        reach = max(step, 1) if smooth else 1
        table = np.zeros((size, stored))
        for i in range(size):
            for j in range(stored):
                table[i, j] = max(0, 1 - abs(j + 0.5 - (i + 0.5) * step) / reach)
        return table / table.sum(1, keepdims=True) if smooth else table

    result = weights(crop.shape[0]) @ crop @ weights(crop.shape[1]).T
    if smooth:
        return result
    return result.clip(crop.min(), crop.max()) - 128 / 255 + 0.5  # so that one half decides


def same_pixels(found, expected):
    """Whether a mask is what values above one half say, but for those that rounding decides."""
    decided = np.abs(expected - 0.5) > 1e-5
    assert decided.mean() > 0.9
    np.testing.assert_array_equal(found[decided], expected[decided] > 0.5)


@pytest.mark.parametrize("mask_resize", ["as-released", "smooth"])
@pytest.mark.parametrize("size", [1, 4, 16, 50])
@pytest.mark.parametrize("form", [uncompressed, compressed])
def test_masks_of_both_kinds_of_runs(coco, form, size, mask_resize):
    generator = np.random.default_rng(size)
    masks = []
    for _ in range(8):  # blobs, so that runs of all lengths occur
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        centre = generator.uniform(5, 25, 2)
        mask = np.hypot(y - centre[0], x - centre[1]) < generator.uniform(6, 12)
        masks.append(mask ^ (generator.random(mask.shape) < 0.02))
    coco.add_image(1)
    coco.add_object(1, 92)
    for mask in masks[:7]:
        coco.add_object(1, 1, mask, segmentation=form(mask), iscrowd=int(form is uncompressed))
    scene = Scenes(coco.write(), "train", mask_size=size, mask_resize=mask_resize)[0]
    assert scene.masks.shape == (8, size, size)
    assert scene.masks.dtype == bool
    for mask, got in zip(masks, scene.masks[:7]):
        same_pixels(got, small_mask(mask, bounds(mask), size, mask_resize == "smooth"))


@pytest.mark.parametrize("size", [1, 2, 8, 16, 33])
def test_masks_are_resized_as_by_the_release_s_library(size):
    """scipy's interpolation with zeros around, cut off as scikit-image 0.14 does."""
    generator = np.random.default_rng(size)
    for number in range(60):
        mask = (generator.random(generator.integers(1, 40, 2)) < 0.6).astype(np.uint8)
        if number % 3 == 0:
            mask[:] = number % 2
        shape = np.array(mask.shape)[:, None, None]
        places = (np.mgrid[:size, :size] + 0.5) * shape / size - 0.5
        values = scipy.ndimage.map_coordinates(
            255.0 * mask, places, order=1, mode="grid-constant", prefilter=False
        )
        values = values.clip(255.0 * mask.min(), 255.0 * mask.max())
        np.testing.assert_array_equal(resized(mask, size), values > 128)


def test_the_mask_of_a_thin_object_loses_its_corners():
    assert resized(np.ones((1, 1), np.uint8), 16).all()
    found = resized(np.array([[1], [1], [0]], np.uint8), 6)
    border, middle, empty = [0, 1, 1, 1, 1, 0], [1] * 6, [0] * 6
    rows = [border, middle, middle, border, empty, empty]
    np.testing.assert_array_equal(found.astype(int), rows)


def test_the_smooth_masks_are_those_of_stores_of_before(tmp_path):
    small_coco(tmp_path)
    options = {"workers": 1, "progress": False}
    paths = prepare_coco(tmp_path, tmp_path / "out", mask_resize="smooth", **options)[64, 64]
    assert "mask_resize" not in SceneReader(paths["train"]).settings
    assert prepare_coco(tmp_path, tmp_path / "out", mask_resize="smooth", **options)
    with pytest.raises(Sg2ImError, match=r"mask_resize: None there, 'as-released' now"):
        prepare_coco(tmp_path, tmp_path / "out", **options)
    paths = prepare_coco(tmp_path, tmp_path / "new", **options)[64, 64]
    assert SceneReader(paths["train"]).settings["mask_resize"] == "as-released"


def test_polygons_are_united(coco):
    left, right = rectangle(4, 6, 14, 16), rectangle(24, 6, 34, 16)
    coco.add_image(1)
    coco.add_object(1, 92)
    coco.add_object(1, 1, left | right, segmentation=polygon(left) + polygon(right))
    coco.add_object(1, 3, left, segmentation=[[0, 0, 9, 9], *polygon(left), []])  # two corners
    scene = Scenes(coco.write(), "train", mask_size=30)[0]
    gap = np.zeros((30, 30), bool)
    gap[:, :10] = gap[:, 20:] = True
    np.testing.assert_array_equal(scene.masks[0], gap)
    assert scene.masks[1].all()


def test_a_slanted_polygon_covers_what_lies_inside(coco):
    triangle = [4.0, 4.0, 36.0, 4.0, 4.0, 28.0]
    coco.add_image(1)
    coco.add_object(1, 92)
    coco.add_object(1, 1, segmentation=[triangle], bbox=[0, 0, WIDTH, HEIGHT])
    mask = Scenes(coco.write(), "train", mask_size=40, selection=ANY_COUNT)[0].masks[0]
    y, x = (np.mgrid[:40, :40] + 0.5) * np.array([HEIGHT / 40, WIDTH / 40])[:, None, None]
    # Signed distances to the three sides, in pixels of the picture.
    inside = np.min([x - 4, y - 4, (24 * 36 + 32 * 4 - 24 * x - 32 * y) / 40], axis=0)
    decided = np.abs(inside) > 1
    np.testing.assert_array_equal(mask[decided], inside[decided] > 0)


@pytest.mark.parametrize(
    "box",
    [
        [2.4, 3.6, 20.3, 11.2],
        [30.2, 20.2, 9.9, 9.9],  # 0.1 beyond the right and the lower border
        [-1.5, -2.0, 20.0, 12.0],
        [39.7, 0.0, 0.2, 30.0],  # rounds to a pixel beyond the border
        [20.2, 0.0, 0.2, 30.0],  # rounds to no pixel
    ],
)
def test_masks_and_boxes_of_uneven_boxes(coco, box):
    mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.7
    coco.add_image(1)
    coco.add_object(1, 92)
    coco.add_object(1, 1, mask, bbox=box)
    selection = CocoSelection(min_objects=1, min_object_size=0)
    scene = Scenes(coco.write(), "train", mask_size=8, selection=selection)[0]
    x0, x1 = max(box[0], 0), min(box[0] + box[2], WIDTH)
    y0, y1 = max(box[1], 0), min(box[1] + box[3], HEIGHT)
    expected = [x0 / WIDTH, y0 / HEIGHT, x1 / WIDTH, y1 / HEIGHT]
    assert scene.boxes.dtype == np.float32
    np.testing.assert_allclose(scene.boxes[0], expected, atol=1e-7)
    shown = [min(round(x0), WIDTH - 1), y0, x1 - x0, y1 - y0] if x0 > 39.5 else None
    same_pixels(scene.masks[0], small_mask(mask, shown or [x0, y0, x1 - x0, y1 - y0], 8, False))


def test_an_object_that_its_box_does_not_show_has_an_empty_mask(coco):
    coco.add_image(1)
    coco.add_object(1, 92)
    coco.add_object(1, 1, rectangle(30, 20, 40, 30), bbox=[0, 0, 10, 10])
    scene = Scenes(coco.write(), "train", selection=ANY_COUNT)[0]
    assert not scene.masks[0].any()


def test_no_masks(coco):
    coco.add_image(1)
    coco.add_object(1, 92, segmentation=None)
    scene = Scenes(coco.write(), "train", mask_size=0, selection=ANY_COUNT)[0]
    assert scene.masks is None


# Which objects and pictures ------------------------------------------------------------------


def test_a_scene(coco):
    coco.add_image(42)
    coco.add_object(42, 94, rectangle(0, 20, 40, 30))
    coco.add_object(42, 92, rectangle(0, 0, 40, 15))
    coco.add_object(42, 3, rectangle(20, 10, 40, 25), iscrowd=1)
    coco.add_object(42, 1, rectangle(0, 0, 10, 30))
    reader = Scenes(coco.write(), "train", image_size=(16, 24), mask_size=4)
    assert len(reader) == 1
    scene = reader[0]
    assert scene.image_id == 42
    assert scene.image.shape == (16, 24, 3)
    assert np.abs(scene.image.astype(int) - (42, 100, 200)).max() <= 3
    names = [reader.vocabulary.objects[i] for i in scene.categories]
    assert names == ["car", "person", "grass", "sky"]  # things first, each in the file's order
    np.testing.assert_allclose(scene.boxes[0], [0.5, 1 / 3, 1.0, 25 / 30], atol=1e-7)
    assert scene.masks.all()
    assert [scene.image_id for scene in reader] == [42]


def selected(coco, split="train", **selection):
    reader = Scenes(coco.write(), split, selection=CocoSelection(**selection))
    names = reader.vocabulary.objects
    return {scene.image_id: [names[i] for i in scene.categories] for scene in reader}


@pytest.mark.parametrize(
    "contents",
    [
        ["12\n10\n"],
        ["000000000012\r\n\r\n10"],
        ["[12, 10]"],
        ['\ufeff["12", "COCO_train2014_000000000010.jpg"]'],
        ["12", "10\n99\n"],
    ],
)
def test_only_listed_pictures_are_used(tmp_path, contents):
    small_coco(tmp_path)
    files = [str(tmp_path / f"{i}-ids.txt") for i in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        Path(file).write_text(content, encoding="utf-8")
    selection = CocoSelection(image_ids=files)
    found = read_coco(tmp_path, ["train", "val"], 0, selection)
    assert found["train"].table.image_ids.tolist() == [10, 12]  # in the order of the annotations
    assert found["train"].skipped == {"not in the list of pictures": 4}
    # None of val2017 is listed: the list is one of training pictures alone.
    assert found["val"].table.image_ids.tolist() == [7, 3, 9, 1, 5] and not found["val"].skipped

    Path(files[0]).write_text("9\n11\n7", encoding="utf-8")
    found = read_coco(tmp_path, ["train", "val"], 0, CocoSelection(image_ids=files[:1]))
    assert found["train"].table.image_ids.tolist() == [11]
    assert found["val"].table.image_ids.tolist() == [7, 9]
    assert found["val"].skipped == {"not in the list of pictures": 3}


def test_stores_know_the_list_that_they_were_made_with(tmp_path):
    small_coco(tmp_path)
    ids = tmp_path / "ids.txt"
    ids.write_text("12\n10\n", encoding="utf-8")
    chosen, options = CocoSelection(image_ids=[str(ids)]), {"workers": 1, "progress": False}
    paths = prepare_coco(tmp_path, tmp_path / "out", selection=chosen, **options)[64, 64]
    store = SceneReader(paths["train"])
    assert len(store) == 2 and store.settings["image_ids"][0].startswith("ids.txt ")
    prepare_coco(tmp_path, tmp_path / "out", selection=chosen, **options)
    with pytest.raises(Sg2ImError, match="prepared with other settings .image_ids"):
        prepare_coco(tmp_path, tmp_path / "out", **options)
    ids.write_text("12\n11\n", encoding="utf-8")
    with pytest.raises(Sg2ImError, match="prepared with other settings .image_ids"):
        prepare_coco(tmp_path, tmp_path / "out", selection=chosen, **options)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "lists no picture"),
        ("[]", "lists no picture"),
        ('{"images": [1]}', "lists no picture"),
        ("1\ntwo\n", r"has the entry 'two': expected are numbers"),
        ("[1, true]", "has the entry True"),
        ("[1, 2.5]", "has the entry 2.5"),
        ("[1, null]", "has the entry None"),
        ("[[1], 2]", "has the entry .1."),
        ("-5", "has the entry '-5'"),
        ("9" * 5000, r"has the entry '9+\.\.\.: expected"),
        ("[" + "9" * 5000 + "]", "neither text in UTF-8 nor valid JSON"),
        ("[" * 100_000, "neither text in UTF-8 nor valid JSON"),
        ("[1, 2", "neither text in UTF-8 nor valid JSON"),
        (b"\xff\xfe1", "neither text in UTF-8 nor valid JSON"),
        ("77\n78\n", "No picture of .*instances_train2017.json is in .*ids.txt"),
    ],
)
def test_lists_of_pictures_that_are_none_get_a_sentence(tmp_path, content, sentence):
    small_coco(tmp_path)
    path = tmp_path / "ids.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Sg2ImError, match=sentence):
        read_coco(tmp_path, ["train"], 0, CocoSelection(image_ids=[str(path)]))
    with pytest.raises(Sg2ImError, match="There is no list of pictures .*nowhere"):
        CocoSelection(image_ids=[str(tmp_path / "nowhere")]).settings()


def test_objects_of_two_per_cent_are_ignored(coco):
    coco.add_image(1)
    coco.add_object(1, 92)
    coco.add_object(1, 1, bbox=[0, 0, 6, 4])  # 24 of 1200 pixels
    coco.add_object(1, 3, bbox=[0, 0, 6, 4.01])
    coco.add_object(1, 3, bbox=[3, 3, 0, 20])  # COCO has a few boxes without area
    assert selected(coco, min_objects=1) == {1: ["car", "sky"]}
    assert selected(coco, min_objects=1, min_object_size=0) == {1: ["person", "car", "sky"]}


def test_pictures_of_three_to_eight_objects_in_the_order_of_the_list(coco):
    for image_id in (9, 2, 8, 3, 1):
        coco.add_image(image_id)
        for _ in range(image_id - 1):
            coco.add_object(image_id, 1)
        coco.add_object(image_id, 94)
    assert list(selected(coco)) == [8, 3]
    assert list(selected(coco, min_objects=2, max_objects=9)) == [9, 2, 8, 3]


def test_only_pictures_with_stuff(coco):
    for image_id in (1, 2, 3):
        coco.add_image(image_id)
        for _ in range(3):
            coco.add_object(image_id, 1)
    coco.add_object(1, 94)
    coco.add_object(2, 183)  # "other" is left out, yet the picture has stuff annotations
    assert selected(coco) == {1: ["person"] * 3 + ["grass"], 2: ["person"] * 3}
    assert selected(coco, all_images=True).keys() == {1, 2, 3}
    assert selected(coco, include_other=True)[2] == ["person"] * 3 + ["other"]
    coco.path("stuff").unlink()
    coco.annotations = {k: v for k, v in coco.annotations.items() if k[0] == "instances"}
    assert selected(coco, things_only=True) == dict.fromkeys((1, 2, 3), ["person"] * 3)


def test_lists_of_categories(coco):
    coco.add_image(1)
    for category in (1, 3, 92, 94):
        coco.add_object(1, category)
    assert selected(coco, min_objects=1, things=("car",)) == {1: ["car", "sky", "grass"]}
    assert selected(coco, min_objects=1, stuff=("sky",)) == {1: ["person", "car", "sky"]}
    assert selected(coco, min_objects=1, things=(), stuff=("grass",)) == {1: ["grass"]}
    with pytest.raises(Sg2ImError, match="no thing category 'persn': did you mean 'person'"):
        selected(coco, things=("persn",))
    with pytest.raises(Sg2ImError, match="no stuff category 'car': give one of sky"):
        selected(coco, stuff=("car",))


def test_val_is_divided_after_the_selection(coco):
    for image_id in (5, 4, 3, 2, 1):
        coco.add_image(image_id, "val2017")
        for _ in range(2 if image_id == 4 else 3):
            coco.add_object(image_id, 92, part="val2017")
    assert list(selected(coco, "val", val_images=2)) == [5, 3]
    assert list(selected(coco, "test", val_images=2)) == [2, 1]
    assert list(selected(coco, "val")) == [5, 3, 2, 1]
    assert list(selected(coco, "test")) == []


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"min_object_size": 1.0}, "got 1.0"),
        ({"min_object_size": math.nan}, "got nan"),
        ({"min_objects": 0}, "got 0 to 8"),
        ({"min_objects": 9}, "got 9 to 8"),
        ({"val_images": 0}, "val_images must be a whole number, at least 1, got 0"),
        ({"things_only": True, "stuff": ("sky",)}, "stuff is switched off"),
    ],
)
def test_selections_that_make_no_sense(options, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        CocoSelection(**options)


def test_ids_are_the_indices_of_the_vocabulary(coco):
    reader = Scenes(coco.write(), "train")
    names = reader.vocabulary.objects
    assert len(names) == 184
    named = {i: name for i, name in enumerate(names) if name != "NONE"}
    expected = {entry["id"]: entry["name"] for entry in THINGS + STUFF}
    assert named == {0: "__image__", **expected}
    assert reader.vocabulary.predicates == (
        *("__in_image__", "left of", "right of", "above", "below", "inside", "surrounding"),
    )
    with pytest.raises(Sg2ImError, match="'car' and the stuff 'sky' .* id 3"):
        coco_vocabulary({1: "person", 3: "car"}, {3: "sky"})
    with pytest.raises(Sg2ImError, match="'car' stands twice"):
        coco_vocabulary({1: "car"}, {2: "car"})


# Files that are wrong ------------------------------------------------------------------------


def damage_text(change):
    def damage(coco):
        text = coco.path().read_text(encoding="utf-8")
        coco.path().write_text(change(text), encoding="utf-8")

    return damage


def damage_entry(key="annotations", kind="instances", **fields):
    def damage(coco):
        coco.annotations[kind, "train2017"][key][0].update(fields)
        coco.write()

    return damage


def runs(counts, size=(HEIGHT, WIDTH)):
    return damage_entry(segmentation={"size": list(size), "counts": counts})


def unlisted(coco):
    for kind in ("instances", "stuff"):
        del coco.annotations[kind, "train2017"]["images"][0]
    coco.write()


def stuff_lists_another_size(coco):
    content = coco.annotations["stuff", "train2017"]
    content["images"] = [{**content["images"][0], "width": 39}]
    coco.write()


def listed_twice(coco):
    content = coco.annotations["instances", "train2017"]
    content["images"] = [*content["images"], content["images"][0]]
    coco.write()


def picture(content):
    def damage(coco):
        path = coco.image_folder / "train2017" / f"{10:012}.jpg"
        if content is None:
            path.unlink()
        elif isinstance(content, tuple):
            Image.new("RGB", content).save(path)
        else:
            path.write_bytes(content)

    return damage


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (damage_text(lambda text: text[:500]), "instances_train2017.json ends in the middle"),
        (
            damage_text(lambda text: text[: text.index("counts") + 12]),
            "instances_train2017.json ends in the middle",
        ),
        (damage_text(lambda text: text[:-1]), "instances_train2017.json ends in the middle"),
        (damage_text(lambda text: ""), "instances_train2017.json is empty"),
        (
            damage_text(lambda text: text.replace(",", ";", 1)),
            r"no valid JSON in UTF-8 \(.*, near .*;",
        ),
        (damage_text(lambda text: "[1, 2]"), "has no list 'categories'"),
        (damage_text(lambda text: '{"categories": [7]}'), "has no list 'categories'"),
        (damage_text(lambda text: '{"categories": [null]}'), "has no list 'categories'"),
        (damage_text(lambda text: '{"categories": {"item": 1}}'), "has no list 'categories'"),
        (damage_text(lambda text: '{"categories": []}'), "has no list 'images'"),
        (damage_text(lambda text: "[" * 100_000 + "]" * 100_000), "thousands of brackets"),
        (damage_text(lambda text: '{"a":' * 100_000), "thousands of brackets"),
        (damage_text(lambda text: "[" + "1" * 10_000 + "]"), "no valid JSON .*overflow"),
        (
            damage_text(lambda text: text.replace('"annotations"', '"notes"')),
            "has no list 'annotations'",
        ),
        (lambda coco: coco.path().write_bytes(b"\xff\xd8\xff"), "no valid JSON in UTF-8"),
        (lambda coco: coco.path().unlink(), "lacks .*instances_train2017.json: .* expected are"),
        (lambda coco: coco.path("stuff").unlink(), "lacks .*stuff_train2017.json: .* stuff out"),
        (unlisted, "belongs to the picture 10, which the picture list does not have"),
        (stuff_lists_another_size, r"stuff_train2017.json .* 10 .*\(39 x 30\).* otherwise"),
        (listed_twice, "lists the picture 10 twice"),
        (damage_entry(image_id="ten"), "belongs to the picture 'ten'"),
        (damage_entry(category_id=2), "annotation 1 of .* has the category 2"),
        (damage_entry("categories", id=None), "A category of .* must have an id and a name"),
        (damage_entry("categories", name=""), "A category of .* must have .* a name"),
        (damage_entry("images", width=-1), "A picture of .* must have a width and a height"),
        (damage_entry("images", file_name=None), "A picture of .* must have id and file_name"),
        (damage_entry("images", width=10**400), "no valid JSON .*integer overflow"),
        (damage_entry("images", id=2**63 - 1), "A picture of .* must have id and file_name"),
        (damage_entry("images", file_name="/etc/hosts"), "images/train2017/hosts is missing"),
        (damage_entry("images", file_name="C:x.jpg"), "images/train2017/x.jpg is missing"),
        (damage_entry("images", file_name="..\\x.jpg"), "images/train2017/x.jpg is missing"),
        (damage_entry("images", file_name="a/../../x.jpg"), "images/train2017/x.jpg is missing"),
        (damage_entry("images", file_name="a\0.jpg"), "a file_name without control characters"),
        (damage_entry("images", file_name="\x85.jpg"), "a file_name without control characters"),
        (damage_entry("images", file_name=".."), "that ends in that of a file"),
        (damage_entry(image_id=[10]), r"belongs to the picture \[10\]"),
        (damage_entry(bbox=[1, 2, 3, 1e16]), "expected are four numbers"),
        (damage_entry(bbox=[9, 9, -5, -5]), r"negative width or height, \[9, 9, -5, -5\]"),
        (damage_entry(bbox=[1, 2, 3]), r"the box \[1, 2, 3\]: expected are four numbers"),
        (damage_entry(bbox=[1, 2, 3, math.nan]), "'NaN'.: expected are four numbers"),
        (damage_entry(bbox=[1, 2, 3, "4 px"]), "expected are four numbers"),
        (damage_entry(bbox=None), "expected are four numbers"),
        (damage_entry(bbox=[40, 2, 20, 20]), "wholly outside of its picture of 40 x 30 pixels"),
        (damage_entry(segmentation={"size": [30, 40]}), "annotation 1 of .* neither polygons"),
        (damage_entry(segmentation="a mask"), "has a text for a segmentation"),
        (damage_entry(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "damaged polygon"),
        (damage_entry(segmentation=[[1, 2, 3, 4, 5, math.inf]]), "damaged polygon"),
        (damage_entry(segmentation=[[1, 2, 3, 4, 5, 1e9]]), "damaged polygon"),
        (damage_entry(segmentation=[1, 2, 3, 4, 5, 6]), "damaged polygon"),
        (runs([1200], (40, 30)), r"mask of size \[40, 30\] .* listed with \[30, 40\]"),
        (runs([1199]), "runs do not add up to its picture of 40 x 30"),
        (runs([600, 601]), "runs do not add up"),
        (runs([1300, -100]), "runs do not add up"),
        (runs([600.5, 599.5]), "runs do not add up"),
        (runs("0"), "runs do not add up"),
        (runs("é"), "runs do not add up"),
        (runs("dX1lL"), "runs do not add up"),  # 1300, -100
        (runs("P"), "runs do not add up"),  # says that more follows, and nothing does
        (runs("oooooooooooooooo0"), "runs do not add up"),
        (picture(None), f"{10:012}.jpg is missing"),
        (picture(b""), f"{10:012}.jpg is empty"),
        (picture(b"no picture"), f"{10:012}.jpg is no picture"),
        (picture((30, 40)), "30 x 40 pixels .* says 40 x 30"),
    ],
)
def test_wrong_files_are_answered_with_a_sentence(tmp_path, damage, sentence):
    coco = small_coco(tmp_path / "coco")
    coco.write()
    damage(coco)
    with pytest.raises(Sg2ImError, match=sentence) as error:
        prepare_coco(tmp_path / "coco", tmp_path / "out", progress=False)
    assert str(error.value).endswith(".")
    # No store, and nothing half-written; converted annotations and decoded pictures may stay.
    kept = {".h5", ".rows", ".json", ".remarks"}
    assert {path.suffix for path in (tmp_path / "out").rglob("*.*")} <= kept
    assert not list((tmp_path / "out").glob("*x*/*.h5"))


def test_runs_made_at_random_are_refused_or_decoded():
    """pycocotools alone writes outside of its memory for some of these."""
    generator = random.Random(0)
    good = compressed(rectangle(5, 5, 25, 20))["counts"]
    refused = 0
    for _ in range(3000):
        letters = list(good)
        for _ in range(generator.randint(1, 3)):
            letters[generator.randrange(len(letters))] = chr(generator.randint(48, 111))
        content = {"size": [HEIGHT, WIDTH], "counts": "".join(letters)}
        outline = Segmentation(content, (5, 5, 25, 20), WIDTH, HEIGHT)
        try:
            assert outline.small_mask(4).shape == (4, 4)
        except WrongAnnotation:
            refused += 1
    assert refused > 2000


def test_missing_folders(tmp_path):
    with pytest.raises(Sg2ImError, match="There is no folder .*nowhere"):
        Scenes(tmp_path / "nowhere", "train")
    with pytest.raises(Sg2ImError, match="lacks .*, images/train2017, .* expected are"):
        Scenes(tmp_path, "train")
    with pytest.raises(Sg2ImError, match="train, val and test, got 'minival'"):
        Scenes(tmp_path, "minival")


# Into the store ------------------------------------------------------------------------------


@pytest.mark.parametrize("mask_size", [0, 16])
def test_the_store_holds_what_was_read(tmp_path, mask_size, capsys):
    coco = small_coco(tmp_path / "coco")
    selection = CocoSelection(val_images=3)
    paths = prepare_coco(coco.folder, tmp_path / "out", [(16, 24)], mask_size, selection)[16, 24]
    assert capsys.readouterr() == ("", "")  # not a terminal: no bar
    expected = {"train": [10, 11, 12, 13, 14, 15], "val": [7, 3, 9], "test": [1, 5]}
    for split, image_ids in expected.items():
        assert paths[split] == tmp_path / "out" / "16x24" / f"{split}.h5"
        store = SceneReader(paths[split])
        assert store.image_ids.tolist() == image_ids
        assert store.settings["min_object_size"] == 0.02
        reader = Scenes(coco.folder, split, (16, 24), mask_size, selection)
        assert store.vocabulary == reader.vocabulary
        for index, scene in enumerate(reader):
            for name in ("image", "categories", "boxes", "masks"):
                np.testing.assert_array_equal(getattr(store[index], name), getattr(scene, name))


def test_pictures_beside_the_annotations(tmp_path):
    coco = Coco(tmp_path, images=".")
    coco.add_image(1)
    coco.add_object(1, 92)
    reader = Scenes(coco.write(), "train", selection=ANY_COUNT)
    assert reader.image_folder == tmp_path / "train2017"
    assert reader[0].image_id == 1


def test_a_small_sample_has_an_empty_test_split(tmp_path):
    coco = small_coco(tmp_path / "coco")
    paths = prepare_coco(coco.folder, tmp_path / "out", [(8, 8)], progress=False)[8, 8]
    assert len(SceneReader(paths["val"])) == 5
    assert len(SceneReader(paths["test"])) == 0


def test_what_is_there_stays(tmp_path):
    coco = small_coco(tmp_path / "coco")

    def prepare(**selection):
        selection = CocoSelection(**selection)
        return prepare_coco(coco.folder, tmp_path / "out", [(8, 8)], 4, selection)[8, 8]

    paths = prepare()
    before = {split: path.stat().st_mtime_ns for split, path in paths.items()}
    paths["val"].unlink()
    assert prepare() == paths
    after = {split: path.stat().st_mtime_ns for split, path in paths.items()}
    assert after["train"] == before["train"]
    assert after["test"] == before["test"]
    assert len(SceneReader(paths["val"])) == 5

    with pytest.raises(Sg2ImError, match="train.h5 .* other settings .min_objects: 3 there, 2 now"):
        prepare(min_objects=2)
    with pytest.raises(Sg2ImError, match="val.h5 .* other settings .val_images: 1024 there, 2 now"):
        prepare(val_images=2)
    coco.add_image(77)
    coco.write()
    with pytest.raises(Sg2ImError, match="train.h5 .* other settings .annotation_bytes"):
        prepare()
    paths["train"].write_bytes(b"foreign")
    with pytest.raises(Sg2ImError, match="train.h5 is no whole HDF5 file.* delete it"):
        prepare()
    assert paths["train"].read_bytes() == b"foreign"


def test_pictures_left_out_are_not_forgotten(tmp_path):
    coco = small_coco(tmp_path / "coco")
    (coco.image_folder / "train2017" / f"{10:012}.jpg").unlink()
    options = {"image_sizes": [(8, 8)], "progress": False}
    prepare_coco(coco.folder, tmp_path / "out", skip_unreadable=True, **options)
    with pytest.raises(Sg2ImError, match="with --skip_unreadable, which left out 1 pictures"):
        prepare_coco(coco.folder, tmp_path / "out", **options)
    prepare_coco(coco.folder, tmp_path / "out", skip_unreadable=True, **options)


def test_two_preparations_do_not_write_to_one_root(tmp_path):
    coco = small_coco(tmp_path / "coco")
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".preparing.lock"):
        with pytest.raises(Sg2ImError, match="Another preparation is writing to .*out"):
            prepare_coco(coco.folder, tmp_path / "out", progress=False)
    assert prepare_coco(coco.folder, tmp_path / "out", [(8, 8)], progress=False)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_store_of_a_newer_schema_is_not_to_be_removed(tmp_path):
    coco = small_coco(tmp_path / "coco")
    paths = prepare_coco(coco.folder, tmp_path / "out", [(8, 8)], progress=False)
    with h5py.File(paths[8, 8]["train"], "a") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(Sg2ImError, match="schema version 99.*update sg2im_pyg"):
        prepare_coco(coco.folder, tmp_path / "out", [(8, 8)], progress=False)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"image_sizes": [(4000, 8)]}, "up to 2048, got '4000x8'"),
        ({"mask_size": 2000}, "mask_size must be .* at most 512, got 2000"),
    ],
)
def test_sizes_that_would_take_all_memory(tmp_path, options, sentence):
    coco = small_coco(tmp_path / "coco")
    with pytest.raises(Sg2ImError, match=sentence):
        prepare_coco(coco.folder, tmp_path / "out", progress=False, **options)


def test_no_picture_fits(tmp_path):
    coco = small_coco(tmp_path / "coco")
    with pytest.raises(Sg2ImError, match="No picture of .*train2017 is left with 4 to 8 objects"):
        prepare_coco(coco.folder, tmp_path / "out", selection=CocoSelection(min_objects=4))


def test_train_and_val_of_different_cocos(tmp_path):
    coco = small_coco(tmp_path / "coco")
    content = coco.annotations["instances", "val2017"]
    content["categories"] = [{"id": 1, "name": "human"}, THINGS[1]]
    coco.write()
    for _ in range(2):
        with pytest.raises(Sg2ImError, match="val2017.json has other categories than .*train2017"):
            prepare_coco(coco.folder, tmp_path / "out", [(8, 8)], progress=False)


@pytest.mark.parametrize("image_size, mask_size", [((0, 8), 16), ((8, -1), 16), ((8, 8), -1)])
def test_sizes_below_one_pixel(tmp_path, image_size, mask_size):
    with pytest.raises(Sg2ImError, match="takes sizes in pixels|mask_size must be .* at least 0"):
        prepare_coco(small_coco(tmp_path).folder, tmp_path / "out", [image_size], mask_size)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    coco = small_coco(tmp_path / "coco")
    coco.write()
    coco.path().write_bytes(b"\xef\xbb\xbf" + coco.path().read_bytes())
    assert prepare_coco(tmp_path / "coco", tmp_path / "out", progress=False)
