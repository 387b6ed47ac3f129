"""Annotations in COCO's format as other programs write them, and what can not be used of them."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from sg2im_pyg.data import SceneReader
from sg2im_pyg.data.scene_table import unpack_masks
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.coco.options import CocoOptions

WIDTH, HEIGHT = 40, 30
BOXES = {"car": [2, 2, 20, 10], "house": [10, 4, 25, 20], "tree": [0, 10, 12, 18]}


def outline(box):
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


class Own:
    """A folder with annotations of three pictures to train on and two to validate on."""

    def __init__(self, folder):
        self.folder, self.parts = folder, {}
        for part, count in (("train2017", 3), ("val2017", 2)):
            content = self.parts[part] = {"images": [], "annotations": [], "categories": []}
            for number, name in enumerate(BOXES, 1):
                content["categories"].append({"id": number, "name": name})
            for i in range(1, count + 1):
                file = f"{part}_{i}.png"
                entry = {"id": i, "file_name": file, "width": WIDTH, "height": HEIGHT}
                content["images"].append(entry)
                path = folder / "images" / part / file
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (WIDTH, HEIGHT), (i, 100, 200)).save(path)
                for number, box in enumerate(BOXES.values(), 1):
                    annotations = content["annotations"]
                    entry = {"id": len(annotations) + 1, "image_id": i, "category_id": number}
                    annotations.append({**entry, "bbox": box, "segmentation": outline(box)})

    def entries(self, key):
        return [entry for part in self.parts.values() for entry in part[key]]

    def write(self, rename=lambda part: part):
        (self.folder / "annotations").mkdir(exist_ok=True)
        for part, content in self.parts.items():
            path = self.folder / "annotations" / f"instances_{rename(part)}.json"
            path.write_text(json.dumps(content))

    def prepare(self, root="out", rename=lambda part: part, **options):
        self.write(rename)
        options = {"source": str(self.folder), "things_only": True, "workers": 1} | options
        root = self.folder / root
        made = CocoOptions(root=str(root), image_size=["16"], progress=False, **options).prepare()
        return {split: SceneReader(path) for split, path in made[16, 16].items()}


@pytest.fixture
def own(tmp_path):
    return Own(tmp_path)


def names(store):
    """Names of the objects of each picture."""
    of_all = [store.vocabulary.objects[i] for i in store.categories]
    ends = store.object_offset
    return [of_all[ends[i] : ends[i + 1]] for i in range(len(store))]


def notes(store):
    return store.settings["report"]["notes"]


def remap(entries, key, change):
    for entry in entries:
        entry[key] = change(entry[key])


# Ids and numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [str, float, lambda i: f"{i:012}", lambda i: f"{i}.0"])
def test_whole_numbers_in_every_form(own, change):
    for key, name in (
        *(("annotations", "image_id"), ("annotations", "category_id"), ("images", "width")),
        *(("categories", "id"), ("images", "height"), ("annotations", "id")),
    ):
        remap(own.entries(key), name, change)
    remap(own.entries("annotations"), "bbox", lambda box: [str(value) for value in box])
    remap(own.entries("annotations"), "segmentation", lambda s: [[str(x) for x in s[0]]])
    store = own.prepare()["train"]
    assert store.image_ids.tolist() == [1, 2, 3]
    assert names(store) == [["car", "house", "tree"]] * 3
    assert store.vocabulary.objects == ("__image__", "car", "house", "tree")
    np.testing.assert_allclose(store.boxes[0], [2 / 40, 2 / 30, 22 / 40, 12 / 30], atol=1e-6)
    assert unpack_masks(store.packed_masks, 16).all() and notes(store) == {}


@pytest.mark.parametrize(
    "change, objects",
    [
        (lambda i: i - 1, ["house", "tree", "car"]),  # 0 is the picture's own node
        (lambda i: i + 2_345_678_900, ["car", "house", "tree"]),
        (lambda i: f"id_{i}", ["car", "house", "tree"]),
        (lambda i: -i, ["car", "house", "tree"]),
    ],
)
def test_categories_whose_ids_can_be_no_index(own, change, objects):
    remap(own.entries("categories"), "id", change)
    remap(own.entries("annotations"), "category_id", change)
    stores = own.prepare()
    for split in ("train", "val"):
        assert list(stores[split].vocabulary.objects[1:]) == objects
        assert names(stores[split])[0] == ["car", "house", "tree"]
    assert notes(stores["train"])["categories whose index is not their id"] >= 1


def test_pictures_whose_ids_are_names_or_long(own):
    for part, content in own.parts.items():
        remap(content["images"], "id", lambda i, part=part: f"{part}-{i}" if i < 3 else 9876543210)
        remap(
            content["annotations"],
            "image_id",
            lambda i, part=part: f"{part}-{i}" if i < 3 else 9876543210,
        )
    store = own.prepare()["train"]
    assert store.image_ids.tolist() == [9876543211, 9876543212, 9876543210]
    assert names(store) == [["car", "house", "tree"]] * 3
    assert notes(store)["pictures whose id is no number, numbered in their order"] == 2


def test_nan_and_entries_that_are_not_used(own):
    for key in ("images", "annotations", "categories"):
        for entry in own.entries(key):
            entry |= {"area": math.nan, "iscrowd": -math.inf, "more": [{"a": math.nan}]}
    for content in own.parts.values():
        content["categories"].insert(0, {"id": 0, "name": "objects", "supercategory": "none"})
        content["categories"].append({"id": 4, "name": "nobody"})
    stores = own.prepare()
    assert names(stores["train"]) == [["car", "house", "tree"]] * 3
    assert stores["train"].vocabulary.objects[1:] == ("car", "house", "tree", "nobody", "objects")


def test_two_ids_of_one_name_are_one_category(own):
    """As where a supercategory is listed beside its only category."""
    for content in own.parts.values():
        content["categories"].insert(0, {"id": 0, "name": "car"})
        content["annotations"][0]["category_id"] = 0
    store = own.prepare()["train"]
    assert store.vocabulary.objects == ("__image__", "car", "house", "tree")
    assert names(store) == [["car", "house", "tree"]] * 3


def test_one_id_of_two_names(own):
    own.parts["val2017"]["categories"].append({"id": 2, "name": "barn"})
    with pytest.raises(Sg2ImError, match="two categories with the id 2, 'house' and 'barn'"):
        own.prepare()


def test_a_part_may_lack_a_category_or_count_others(own):
    content = own.parts["val2017"]
    content["categories"] = [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}]
    content["annotations"] = [e for e in content["annotations"] if e["category_id"] != 2]
    remap(content["annotations"], "category_id", lambda i: 1 if i == 1 else 2)
    stores = own.prepare(min_objects=1)
    assert stores["val"].vocabulary == stores["train"].vocabulary
    assert names(stores["val"]) == [["car", "tree"]] * 2
    content["categories"].append({"id": 3, "name": "boat"})  # which is the tree of train
    with pytest.raises(Sg2ImError, match="3 is 'boat' here and 'tree' there"):
        own.prepare("other", min_objects=1)


# Pictures --------------------------------------------------------------------------------------


def test_pictures_without_a_listed_size_are_measured(own):
    for entry, missing in zip(own.entries("images"), (None, 0, "NaN", math.nan, "")):
        entry["width"] = missing
        if missing == 0:
            del entry["height"]
    stores = own.prepare()
    assert notes(stores["train"]) == {"pictures without a listed size, measured": 3}
    np.testing.assert_allclose(stores["train"].boxes[0], [2 / 40, 2 / 30, 22 / 40, 12 / 30])
    (own.folder / "images" / "train2017" / "train2017_2.png").unlink()
    with pytest.raises(Sg2ImError, match="1 pictures without a listed size .*train2017_2.png is"):
        own.prepare("other")
    store = own.prepare("other", skip_unreadable=True)["train"]
    assert store.image_ids.tolist() == [1, 3]
    assert store.settings["report"]["skipped_pictures"] == {"the picture can not be read": 1}
    with pytest.raises(Sg2ImError, match="which left out 1 pictures"):
        own.prepare("other")


def test_a_turned_picture_without_a_listed_size(own):
    """Boxes that only the turned picture has room for tell that it is meant."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in (1, 2):
        path = own.folder / "images" / "train2017" / f"train2017_{i}.png"
        Image.new("RGB", (HEIGHT, WIDTH)).save(path, exif=exif)  # shown as WIDTH x HEIGHT
        own.parts["train2017"]["images"][i - 1]["width"] = None
    for entry in own.parts["train2017"]["annotations"]:
        if entry["image_id"] == 2:
            entry |= {"bbox": [2, 2, 20, 20], "segmentation": None}
    store = own.prepare()["train"]
    np.testing.assert_allclose(store.boxes[0], [2 / 40, 2 / 30, 22 / 40, 12 / 30], atol=1e-6)
    np.testing.assert_allclose(store.boxes[3], [2 / 30, 2 / 40, 22 / 30, 22 / 40], atol=1e-6)
    assert notes(store)["pictures turned as their EXIF orientation says"] == 1
    untold = "pictures with an EXIF orientation that their size does not tell of, used as stored"
    assert notes(store)[untold] == 1


# Outlines --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "segmentation",
    [
        *(None, [], [[]], {}, "", 0, math.nan),
        [[5, 5]],  # a point
        [[5, 5, 5, 5, 5, 5]],
        [[2, 2, 22, 12]],  # two corners
        [[2, 2, 10, 2, 22, 2]],  # flat
        [[2, 2, 12, 7, 22, 12]],
        [[3, 3, 3.2, 3, 3.2, 3.2, 3, 3.2]],  # less than a pixel
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": []},
        "missing",
    ],
)
def test_an_object_without_an_outline_has_its_box_as_mask(own, segmentation):
    entry = own.parts["train2017"]["annotations"][0]
    entry["segmentation"] = segmentation
    if segmentation == "missing":
        del entry["segmentation"]
    other = own.parts["train2017"]["annotations"][1]  # an outline of the left half
    other["segmentation"] = outline([10, 4, 12.5, 20])
    store = own.prepare()["train"]
    masks = unpack_masks(store.packed_masks, 16)
    assert masks[0].all() and masks[1][:, :7].all() and not masks[1][:, 9:].any()
    assert notes(store) == {"objects without an outline, whose mask is their whole box": 1}


# What can not be used --------------------------------------------------------------------------

WRONG = [
    ({"bbox": [100, 10, 30, 30]}, "wholly outside"),
    ({"bbox": [9, 9, -5, 5]}, "negative width or height"),
    ({"bbox": None}, "expected are four numbers"),
    ({"bbox": [1, 2, 3, math.nan]}, "expected are four numbers"),
    ({"image_id": 77}, "belongs to the picture 77"),
    ({"category_id": "boat"}, "has the category 'boat'"),
    ({"segmentation": [[1, 2, 3, 4, 5, 1e9]]}, "damaged polygon"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [7]}}, "do not add up"),
    ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": [7]}}, "a mask of size"),
]


@pytest.mark.parametrize("fields, sentence", WRONG)
def test_an_annotation_that_can_not_be_used_is_named_or_left_out(own, fields, sentence):
    own.parts["train2017"]["annotations"][1] |= fields
    with pytest.raises(Sg2ImError, match=rf"The annotation 2 of .*train2017.json .*{sentence}"):
        own.prepare(min_objects=2)
    assert not list(own.folder.rglob("*.h5"))
    stores = own.prepare(min_objects=2, skip_unreadable=True)
    assert names(stores["train"]) == [["car", "tree"], *[["car", "house", "tree"]] * 2]
    assert notes(stores["train"]) == {"annotations that can not be used, left out": 1}
    assert notes(stores["val"]) == {}
    with pytest.raises(Sg2ImError, match="which left out 1 annotations"):
        own.prepare(min_objects=2)


def test_a_picture_that_loses_too_many_objects_is_left_out(own):
    own.parts["train2017"]["annotations"][1] |= WRONG[0][0]  # its box
    own.parts["train2017"]["annotations"][4] |= WRONG[7][0]  # its outline
    store = own.prepare(skip_unreadable=True)["train"]
    assert store.image_ids.tolist() == [3] and names(store) == [["car", "house", "tree"]]
    assert store.settings["report"]["skipped_pictures"] == {"fewer than 3 objects": 2}
    assert notes(store) == {"annotations that can not be used, left out": 2}


def test_all_that_can_not_be_used_is_named_together(own):
    """Whatever its kind is, and in whichever file."""
    for entry, (fields, _) in zip(own.entries("annotations"), WRONG):
        entry |= fields
    own.parts["val2017"]["annotations"][0] |= WRONG[1][0]
    with pytest.raises(Sg2ImError) as error:
        own.prepare()
    said = str(error.value)
    assert (
        said.startswith("10 mistakes were found in the annotations: ")
        and "--skip_unreadable" in said
    )
    for number, (_, sentence) in enumerate(WRONG, 1):
        assert f"annotation {number} " in said and sentence in said
    assert said.count("train2017.json") == 1 and said.count("val2017.json:\n  annotation 1 ") == 1


def test_the_first_twenty_are_named(own):
    content = own.parts["train2017"]
    content["annotations"] = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [0, 0, -1, 1]} for i in range(1, 51)
    ]
    with pytest.raises(
        Sg2ImError, match=r"(?s)50 mistakes .*annotation 20 .*\nAnd 30 more"
    ) as error:
        own.prepare()
    assert "annotation 21 " not in str(error.value)


def test_a_split_that_is_left_without_pictures_is_an_error(own):
    for entry in own.parts["val2017"]["annotations"]:
        entry["bbox"] = [100, 100, 5, 5]
    with pytest.raises(Sg2ImError, match="No picture of .*val2017 is left"):
        own.prepare(skip_unreadable=True)


# Where things lie ------------------------------------------------------------------------------


def test_parts_of_other_names(own):
    (own.folder / "images" / "train2017").rename(own.folder / "images" / "train")
    (own.folder / "images" / "val2017").rename(own.folder / "validation")
    rename = {"train2017": "train", "val2017": "validation"}.get
    stores = own.prepare(rename=rename)
    assert [len(store) for store in stores.values()] == [3, 2, 0]


def test_a_single_annotation_file_is_divided(own):
    """A share is validated on; the seed says which."""
    content = own.parts.pop("train2017")
    del own.parts["val2017"]
    template, objects = content["images"][0], content["annotations"][:3]
    content["images"] = [{**template, "id": i} for i in range(1, 11)]
    content["annotations"] = [{**entry, "image_id": i} for i in range(1, 11) for entry in objects]
    own.parts["default"] = content
    (own.folder / "images" / "train2017").rename(own.folder / "images" / "default")
    found = {}
    for i, seed in enumerate((0, 0, 1)):
        stores = own.prepare(f"out{i}", split_seed=seed, val_share=0.2)
        assert [len(store) for store in stores.values()] == [8, 2, 0]
        numbers = {split: store.image_ids.tolist() for split, store in stores.items()}
        assert sorted(numbers["train"] + numbers["val"]) == list(range(1, 11))
        assert found.setdefault(seed, numbers) == numbers
    assert found[0] != found[1]


def test_files_may_be_named(own, tmp_path):
    own.write(lambda part: f"of_{part}")
    files = [str(tmp_path / "annotations" / f"instances_of_{p}2017.json") for p in ("train", "val")]
    folders = [str(tmp_path / "images" / f"{part}2017") for part in ("train", "val")]
    stores = own.prepare(source=None, annotations=files, images=folders)
    assert [len(store) for store in stores.values()] == [3, 2, 0]
    with pytest.raises(Sg2ImError, match="--annotations and --images go together"):
        own.prepare(annotations=files)
    with pytest.raises(Sg2ImError, match="no folder of pictures .*nowhere: check --images"):
        own.prepare("other", annotations=files, images=[str(tmp_path / "nowhere")])
    with pytest.raises(Sg2ImError, match="without stuff: give --things_only"):
        own.prepare("other", annotations=files, images=folders, things_only=False)


def test_all_that_is_missing_is_named_at_once(own):
    own.write()
    (own.folder / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(Sg2ImError) as error:
        CocoOptions(root=str(own.folder / "out"), source=str(own.folder)).prepare()
    said = str(error.value)
    assert "lacks annotations/stuff_train2017.json, annotations/instances_val2017.json, " in said
    assert "annotations/stuff_val2017.json" in said and "images/val2017," not in said
