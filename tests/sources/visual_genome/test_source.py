"""Visual Genome: the release's rules, against its own result and against a direct loop."""

import json
import shutil
import zipfile
from collections import Counter
from copy import deepcopy
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from sg2im_pyg.data import SceneReader, Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.visual_genome.options import VisualGenomeOptions
from sg2im_pyg.sources.visual_genome.released import is_released, read_released
from sg2im_pyg.sources.visual_genome.selection import PREDICATE_RULES, VisualGenomeSelection
from sg2im_pyg.sources.visual_genome.source import (
    draw_splits,
    load_vocabulary,
    read_visual_genome,
    visual_genome_conversion,
    visual_genome_image_folder,
)

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "vg_dump.zip"
THRESHOLDS = {
    "min_object_instances": 20,
    "min_attribute_instances": 20,
    "min_relationship_instances": 8,
}


def prepare_visual_genome(source, root, image_sizes=((64, 64),), selection=None, **options):
    sizes = [f"{height}x{width}" for height, width in image_sizes]
    options |= {"source": str(source), "root": str(root), "image_size": sizes}
    return VisualGenomeOptions(**vars(selection or VisualGenomeSelection()), **options).prepare()


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """A dump in the raw format, and what the release's preprocessing makes of it."""
    folder = tmp_path_factory.mktemp("vg_dump")
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def own_dump(dump, tmp_path):
    """The dump's raw files, to be changed, without the release's result."""
    folder = tmp_path / "vg"
    shutil.copytree(dump, folder, ignore=shutil.ignore_patterns("expected"))
    return folder


def add_pictures(folder, into="images"):
    """Small stand-ins of the right proportions for the pictures of a dump."""
    for entry in json.loads((folder / "image_data.json").read_text(encoding="utf-8")):
        path = folder / into / "/".join(entry["url"].split("/")[-2:])
        path.parent.mkdir(parents=True, exist_ok=True)
        number = entry["image_id"]
        size = (entry["width"] // 10, entry["height"] // 10)
        Image.new("RGB", size, (number % 256, number // 256, 99)).save(path, quality=95)
    return folder


def released_visual_genome(folder):
    """A folder as people have it: the files of the release's preprocessing, and pictures."""
    folder.mkdir()
    with zipfile.ZipFile(GOLDEN) as archive:
        for name in ("train.h5", "val.h5", "test.h5", "vocab.json"):
            (folder / name).write_bytes(archive.read(f"expected/{name}"))
        (folder / "image_data.json").write_bytes(archive.read("image_data.json"))
    return add_pictures(folder)


def objects_of(annotations, index):
    return slice(*annotations.table.object_offset[index : index + 2])


def relationships_of(annotations, index):
    table = annotations.table
    rows = slice(*table.relationship_offset[index : index + 2])
    return table.relationships[rows].tolist()


def attributes_of(annotations, index):
    offset, rows = annotations.table.attribute_offset, objects_of(annotations, index)
    return [
        annotations.table.attributes[offset[row] : offset[row + 1]].tolist()
        for row in range(rows.start, rows.stop)
    ]


# The release's own result ----------------------------------------------------------------------


def assert_as_released(annotations, expected, split, with_attributes=True):
    """Every picture, object, box and triple of the release's file, in its order."""
    table = annotations.table
    assert table.image_ids.tolist() == expected["image_ids"][:].tolist()
    assert annotations.files == [name.decode() for name in expected["image_paths"][:]]
    for index in range(len(table)):
        rows = objects_of(annotations, index)
        count = int(expected["objects_per_image"][index])
        assert rows.stop - rows.start == count
        names = expected["object_names"][index][:count]
        assert table.categories[rows].tolist() == names.tolist()
        ids = expected["object_ids"][index][:count]
        assert table.object_ids[rows].tolist() == ids.tolist()
        x, y, w, h = expected["object_boxes"][index][:count].astype(np.float64).T
        height, width = annotations.stored_sizes[index]
        corners = np.stack([x / width, y / height, (x + w) / width, (y + h) / height], 1)
        np.testing.assert_allclose(table.boxes[rows], corners.clip(0, 1), atol=1e-6)
        count = int(expected["relationships_per_image"][index])
        triples = [
            expected[f"relationship_{name}"][index][:count].tolist()
            for name in ("subjects", "predicates", "objects")
        ]
        assert relationships_of(annotations, index) == [list(t) for t in zip(*triples, strict=True)]
        if with_attributes:
            counts = expected["attributes_per_object"][index][: rows.stop - rows.start]
            assert [len(names) for names in attributes_of(annotations, index)] == counts.tolist()


def test_the_release_s_preprocessing_is_reproduced(dump):
    selection = VisualGenomeSelection(**THRESHOLDS)
    found = read_visual_genome(dump, dump / "vg_splits.json", selection)
    vocabulary = json.loads((dump / "expected" / "vocab.json").read_text(encoding="utf-8"))
    assert list(found) == ["train", "val", "test"]
    for split, annotations in found.items():
        assert list(annotations.vocabulary.objects) == vocabulary["object_idx_to_name"]
        assert list(annotations.vocabulary.predicates) == vocabulary["pred_idx_to_name"]
        assert list(annotations.vocabulary.attributes) == vocabulary["attribute_idx_to_name"]
        with h5py.File(dump / "expected" / f"{split}.h5") as expected:
            assert_as_released(annotations, expected, split)


def test_the_release_s_files_are_read(dump, tmp_path):
    folder = tmp_path / "released"
    shutil.copytree(dump / "expected", folder)
    assert is_released(folder) and not is_released(dump)
    shutil.copy(dump / "image_data.json", folder)
    (folder / "images" / "VG_100K").mkdir(parents=True)
    raw = read_visual_genome(dump, dump / "vg_splits.json", VisualGenomeSelection(**THRESHOLDS))
    for split, annotations in read_released(folder).items():
        names = raw[split].vocabulary
        assert annotations.vocabulary == Vocabulary(names.objects, names.predicates)
        with h5py.File(folder / f"{split}.h5") as expected:
            assert_as_released(annotations, expected, split, with_attributes=False)
        np.testing.assert_array_equal(annotations.table.boxes, raw[split].table.boxes)
        np.testing.assert_array_equal(annotations.stored_sizes, raw[split].stored_sizes)


def test_without_a_picture_list_sizes_come_from_the_pictures(dump, tmp_path):
    folder = tmp_path / "released"
    shutil.copytree(dump / "expected", folder)
    shutil.copy(dump / "image_data.json", folder)
    listed = read_released(add_pictures(folder))
    (folder / "image_data.json").unlink()
    for split, annotations in read_released(folder).items():
        tenth = listed[split].stored_sizes // 10  # the stand-ins are ten times smaller
        np.testing.assert_array_equal(annotations.stored_sizes, tenth)
    paths = prepare_visual_genome(folder, tmp_path / "out", [(16, 16)], workers=1, progress=False)
    store = SceneReader(paths[16, 16]["val"])
    assert len(store) == 5 and store.mask_size == 0
    number = int(store.image_ids[0])
    colour = np.array([number % 256, number // 256, 99])
    assert np.abs(store.image(0).mean((0, 1)) - colour).max() < 4
    (folder / "images" / listed["train"].files[3]).unlink()
    with pytest.raises(Sg2ImError, match=r"1 of 45 pictures are missing .*image_data.json"):
        read_released(folder)


# The rules, as a direct loop -------------------------------------------------------------------


def rules(folder, splits, selection):
    """The release's preprocessing as reference: plain loops over the parsed files."""

    def load(name):
        return json.loads((folder / name).read_text(encoding="utf-8"))

    def aliases(name):
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        rows = [[name.strip() for name in line.split(",")] for line in lines]
        return {name: row[0] for row in rows for name in row}

    listed = {entry["image_id"]: entry for entry in load("image_data.json")}
    splits = {
        split: [
            i
            for i in ids
            if min(listed[i]["width"], listed[i]["height"]) >= selection.min_image_side
        ]
        for split, ids in splits.items()
    }
    train, all_ids = set(splits["train"]), {i for ids in splits.values() for i in ids}
    object_aliases, predicate_aliases = (
        aliases("object_alias.txt"),
        aliases("relationship_alias.txt"),
    )

    def frequent(names, least):
        return [name for name, count in Counter(names).most_common() if count >= least]

    objects = load("objects.json")
    names = [
        name
        for image in objects
        if image["image_id"] in train
        for thing in image["objects"]
        for name in dict.fromkeys(object_aliases.get(n, n) for n in thing["names"])
    ]
    object_names = frequent(names, selection.min_object_instances)
    used = {}
    for image in objects:
        if image["image_id"] not in all_ids:
            continue
        for thing in image["objects"]:
            fitting = [object_aliases.get(n, n) for n in thing["names"]]
            fitting = [name for name in fitting if name in object_names]
            if fitting and min(thing["w"], thing["h"]) >= selection.min_object_side:
                used[thing["object_id"]] = object_names.index(fitting[0]) + 1

    relationships = load("relationships.json")
    counts = Counter()
    for image in relationships:
        for relation in image["relationships"]:
            predicate = relation["predicate"].lower().strip()
            predicate = predicate_aliases.get(predicate, predicate)
            is_counted = (
                image["image_id"] in train
                and relation["subject"]["object_id"] in used
                and relation["object"]["object_id"] in used
            )
            if is_counted or selection.predicates == "everywhere":
                relation["predicate"] = predicate
            counts[predicate] += is_counted
    predicates = [p for p, n in counts.items() if n >= selection.min_relationship_instances]
    # In the order of the first appearance that was counted.
    seen = [
        relation["predicate"]
        for image in relationships
        if image["image_id"] in train
        for relation in image["relationships"]
        if relation["subject"]["object_id"] in used and relation["object"]["object_id"] in used
    ]
    predicates = [p for p in dict.fromkeys(seen) if p in predicates]

    kept = {}
    objects = {image["image_id"]: image["objects"] for image in objects}
    relationships = {image["image_id"]: image["relationships"] for image in relationships}
    for split, ids in splits.items():
        kept[split] = {}
        for image_id in ids:
            things = [t["object_id"] for t in objects[image_id] if t["object_id"] in used]
            triples = [
                [things.index(s), predicates.index(relation["predicate"]) + 1, things.index(o)]
                for relation in relationships[image_id]
                if (s := relation["subject"]["object_id"]) in things
                and (o := relation["object"]["object_id"]) in things
                and relation["predicate"] in predicates
            ]
            if (
                selection.min_objects <= len(things) <= selection.max_objects
                and selection.min_relationships <= len(triples) <= selection.max_relationships
            ):
                kept[split][image_id] = ([used[t] for t in things], triples)
    return object_names, predicates, kept


@pytest.mark.parametrize("predicates", PREDICATE_RULES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"min_object_instances": 35, "min_objects": 2, "max_objects": 12},
        {"min_relationship_instances": 1, "max_relationships": 5, "min_relationships": 2},
        {"min_image_side": 400, "min_object_side": 100, "min_relationships": 0},
    ],
)
def test_the_rules_agree_with_a_direct_loop(dump, predicates, changes):
    selection = VisualGenomeSelection(**{**THRESHOLDS, "predicates": predicates, **changes})
    splits = json.loads((dump / "vg_splits.json").read_text(encoding="utf-8"))
    names, predicate_names, expected = rules(dump, splits, selection)
    found = read_visual_genome(dump, dump / "vg_splits.json", selection)
    for split, annotations in found.items():
        assert list(annotations.vocabulary.objects[1:]) == names
        assert list(annotations.vocabulary.predicates[1:]) == predicate_names
        assert annotations.table.image_ids.tolist() == list(expected[split])
        for index, (categories, triples) in enumerate(expected[split].values()):
            rows = objects_of(annotations, index)
            assert annotations.table.categories[rows].tolist() == categories
            assert relationships_of(annotations, index) == triples
        left_out = len(splits[split]) - len(expected[split])
        assert sum(annotations.skipped.values()) == left_out


def test_the_quirk_shows(dump):
    """Rewriting predicates everywhere finds more relationships, in val and test alone."""
    sizes = {}
    for rule in PREDICATE_RULES:
        selection = VisualGenomeSelection(**THRESHOLDS, predicates=rule)
        found = read_visual_genome(dump, dump / "vg_splits.json", selection)
        sizes[rule] = {split: len(a.table.relationships) for split, a in found.items()}
    assert sizes["everywhere"]["train"] == sizes["as-released"]["train"]
    assert sizes["everywhere"]["test"] > sizes["as-released"]["test"]


# Options ---------------------------------------------------------------------------------------


def test_a_given_vocabulary_is_used(dump, tmp_path):
    given = load_vocabulary(dump / "expected" / "vocab.json")
    # Thresholds that would leave nothing to count.
    selection = VisualGenomeSelection(min_relationship_instances=10**6)
    found = read_visual_genome(dump, dump / "vg_splits.json", selection, given)
    counted = read_visual_genome(dump, dump / "vg_splits.json", VisualGenomeSelection(**THRESHOLDS))
    for split, annotations in found.items():
        assert annotations.vocabulary == counted[split].vocabulary
        np.testing.assert_array_equal(
            annotations.table.relationships, counted[split].table.relationships
        )
        np.testing.assert_array_equal(annotations.table.attributes, counted[split].table.attributes)
    own = tmp_path / "own.json"
    own.write_text('{"objects": ["sky", "tree"], "predicates": ["on"]}', encoding="utf-8")
    given = load_vocabulary(own)
    assert given.objects == ("__image__", "sky", "tree") and given.attributes == ()
    for text in ("[", "[]", '{"objects": ["sky"]}', '{"objects": [1], "predicates": []}'):
        own.write_text(text, encoding="utf-8")
        with pytest.raises(Sg2ImError, match=r"own\.json"):
            load_vocabulary(own)


def test_boxes_of_fractions_and_numbers_as_text(own_dump):
    """Each number a quarter of a pixel larger, and written in another way."""
    selection = VisualGenomeSelection(**THRESHOLDS)
    before = read_visual_genome(own_dump, own_dump / "vg_splits.json", selection)["train"]
    path = own_dump / "objects.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for picture in content:
        for entry in picture["objects"]:
            entry |= {key: str(entry[key] + 0.25) for key in "xy"}
            entry["object_id"] = float(entry["object_id"])
    path.write_text(json.dumps(content), encoding="utf-8")
    after = read_visual_genome(own_dump, own_dump / "vg_splits.json", selection)["train"]
    np.testing.assert_array_equal(after.table.image_ids, before.table.image_ids)
    of_picture = np.repeat(np.arange(len(before)), np.diff(before.table.object_offset))
    size = before.stored_sizes[of_picture][:, [1, 0, 1, 0]]
    inside = (before.table.boxes > 0).all(1) & (before.table.boxes < 1).all(1)
    moved = (after.table.boxes - before.table.boxes)[inside] * size[inside]
    assert inside.sum() > 100
    np.testing.assert_allclose(moved, np.minimum(0.25, moved.max()), atol=1e-3)


def test_without_attributes_and_aliases(own_dump, tmp_path):
    """As with an empty list and empty files in their places."""
    (own_dump / "images" / "VG_100K").mkdir(parents=True)
    selection = VisualGenomeSelection(**THRESHOLDS)
    files = {"attributes.json": "[]", "object_alias.txt": "", "relationship_alias.txt": ""}
    for name, text in files.items():
        (own_dump / name).write_text(text, encoding="utf-8")
    expected = read_visual_genome(own_dump, own_dump / "vg_splits.json", selection)
    for name in files:
        (own_dump / name).unlink()
    found = read_visual_genome(own_dump, own_dump / "vg_splits.json", selection)
    for split, annotations in found.items():
        assert annotations.vocabulary == expected[split].vocabulary
        for name, values in vars(expected[split].table).items():
            np.testing.assert_array_equal(getattr(annotations.table, name), values)
    conversion = visual_genome_conversion(own_dump, selection, None, None, False)
    assert "no attributes.json and no object_alias.txt and no relation" in conversion.note
    kept = VisualGenomeOptions(root=str(own_dump), no_download=True).files()
    assert not {file.name for file in kept} & {*files, "attributes.json.zip"}
    everything = {file.name for file in VisualGenomeOptions(root=str(own_dump)).files()}
    assert {"attributes.json.zip", "object_alias.txt"} <= everything


def test_attributes_must_be_lists(own_dump):
    path = own_dump / "attributes.json"
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    next(entry for image in content for entry in image["attributes"])["attributes"] = "red"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(Sg2ImError, match="a list of attributes if there are any"):
        read_visual_genome(own_dump, 0, VisualGenomeSelection(**THRESHOLDS))


def test_splits_are_drawn_from_a_seed(own_dump):
    with pytest.raises(Sg2ImError, match="seed of the splits must be at least 0, got -5"):
        draw_splits(np.arange(10), -5)
    ids = np.arange(1000) * 7
    splits = draw_splits(ids, 3)
    assert {split: len(found) for split, found in splits.items()} == {
        "train": 800,
        "val": 100,
        "test": 100,
    }
    assert sorted(np.concatenate(list(splits.values())).tolist()) == ids.tolist()
    again = draw_splits(ids[::-1], 3)
    other = draw_splits(ids, 4)
    assert all((splits[split] == again[split]).all() for split in splits)
    assert (splits["train"] != other["train"]).any()
    add_pictures(own_dump)
    (own_dump / "vg_splits.json").unlink()
    paths = prepare_visual_genome(
        own_dump, own_dump / "out", [(8, 8)], VisualGenomeSelection(**THRESHOLDS), progress=False
    )
    settings = SceneReader(paths[8, 8]["train"]).settings
    assert (settings["splits"], settings["split_shares"]) == ("seed 0", "80% : 10% : 10%")


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"min_objects": 0}, "got 0 to 30"),
        ({"min_relationships": 31}, "got 31 to 30"),
        ({"min_image_side": -1}, "min_image_side must be a whole number, at least 0, got -1"),
        ({"predicates": "never"}, "'as-released' or 'everywhere', got 'never'"),
    ],
)
def test_selections_that_make_no_sense(options, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        VisualGenomeSelection(**options)


# Into the store --------------------------------------------------------------------------------


@pytest.mark.parametrize("into", ["images", "."])
def test_the_store_holds_what_was_read(own_dump, tmp_path, into):
    add_pictures(own_dump, into)
    assert visual_genome_image_folder(own_dump) == own_dump / into
    selection = VisualGenomeSelection(**THRESHOLDS)
    sizes = [(8, 12), (16, 16)]
    paths = prepare_visual_genome(
        own_dump, tmp_path / "out", sizes, selection, workers=1, progress=False
    )
    found = read_visual_genome(own_dump, own_dump / "vg_splits.json", selection)
    for size in sizes:
        for split, annotations in found.items():
            store = SceneReader(paths[size][split])
            assert (store.image_size, store.mask_size) == (size, 0)
            assert store.vocabulary == annotations.vocabulary
            for name in ("image_ids", "categories", "boxes", "relationships", "attributes"):
                expected = getattr(annotations.table, name)
                np.testing.assert_array_equal(getattr(store, name), expected)
            assert store.settings["report"]["skipped_pictures"] == annotations.skipped
            number = int(store.image_ids[-1])
            colour = np.array([number % 256, number // 256, 99])
            assert np.abs(store.image(-1).mean((0, 1)) - colour).max() < 4


def test_boxes_outside_of_their_picture_stay_and_are_counted(own_dump):
    path = own_dump / "objects.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    selection = VisualGenomeSelection(**THRESHOLDS)
    before = read_visual_genome(own_dump, own_dump / "vg_splits.json", selection)
    chosen = set(before["train"].table.object_ids[[0, 5]].tolist())
    for image in content:
        for thing in image["objects"]:
            if thing["object_id"] in chosen:
                thing["x"], thing["y"] = -5000, 10
    path.write_text(json.dumps(content), encoding="utf-8")
    after = read_visual_genome(own_dump, own_dump / "vg_splits.json", selection)
    assert after["train"].notes == {"boxes wholly outside of their picture": 2}
    assert before["train"].notes == {}
    for split in after:
        for name in ("categories", "relationships", "image_ids"):
            expected = getattr(before[split].table, name)
            np.testing.assert_array_equal(getattr(after[split].table, name), expected)
    assert after["train"].table.boxes[[0, 5]][:, [0, 2]].tolist() == [[0, 0], [0, 0]]


def change(name, function):
    def damage(folder):
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(function(content)), encoding="utf-8")

    return damage


def first_object(**fields):
    def update(content):
        next(image for image in content if image["objects"])["objects"][0].update(fields)
        return content

    return change("objects.json", update)


def first_relationship(**fields):
    def update(content):
        image = next(image for image in content if image["relationships"])
        image["relationships"][0].update(fields)
        return content

    return change("relationships.json", update)


def cut(name, share=0.6):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return damage


def twice(content):
    return [*content, deepcopy(content[0])]


def unknown(content):
    return [{**content[0], "image_id": 10**6}, *content[1:]]


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (cut("objects.json"), r"objects\.json ends in the middle"),
        (cut("relationships.json"), r"relationships\.json ends in the middle"),
        (cut("attributes.json"), r"attributes\.json ends in the middle"),
        (cut("image_data.json", 0), r"image_data\.json is empty"),
        (cut("vg_splits.json"), r"vg_splits\.json is no valid JSON"),
        (change("objects.json", lambda c: {"objects": c}), "is no list of entries"),
        (change("objects.json", lambda c: [1, *c]), "is no list of entries"),
        (change("objects.json", twice), r"objects\.json has the picture \d+ twice"),
        (change("image_data.json", twice), r"image_data\.json lists the picture \d+ twice"),
        (change("objects.json", unknown), "objects of the picture 1000000, which image_data"),
        (change("relationships.json", unknown), "relationships of the picture 1000000, which"),
        (change("attributes.json", unknown), "attributes of the picture 1000000, which"),
        (first_object(x="left"), "object of picture .* must have a whole number object_id, numb"),
        (first_object(w=None), "must have a whole number object_id, numbers x, y"),
        (first_object(object_id=2.5), "must have a whole number object_id, numbers x, y"),
        (first_object(x=2**40), "beyond two thousand million pixels"),
        (first_object(names=None), "a list of names"),
        (first_object(names=[3]), "a list of names"),
        (first_object(names="tree"), "a list of names"),
        (first_relationship(predicate=None), "must have a predicate, and a subject"),
        (first_relationship(subject={}), "must have a predicate, and a subject"),
        (
            change("image_data.json", lambda c: [{**c[0], "width": 0}, *c[1:]]),
            "must have image_id, width, height and url",
        ),
        (
            change("image_data.json", lambda c: [{**c[0], "url": "http://a/../.."}, *c[1:]]),
            "a url that ends in a folder and a file name",
        ),
        (change("vg_splits.json", lambda c: {**c, "val": 3}), "has no list 'val' of numbers"),
        (
            change("vg_splits.json", lambda c: {**c, "val": [10**6]}),
            "names the picture 1000000, which image_data.json does not list",
        ),
        (
            change("vg_splits.json", lambda c: {**c, "val": c["train"][:1]}),
            r"vg_splits\.json names the picture \d+ twice",
        ),
        (lambda folder: (folder / "objects.json").unlink(), "vg lacks objects.json: .* expected"),
        (
            lambda folder: (folder / "object_alias.txt").write_bytes(b"\xff\xfe"),
            r"object_alias\.txt is no text in UTF-8 \(byte 0\)",
        ),
        (
            lambda folder: shutil.rmtree(folder / "images"),
            "no folders of pictures VG_100K and VG_100K_2",
        ),
    ],
)
def test_wrong_files_are_answered_with_a_sentence(own_dump, tmp_path, damage, sentence):
    (own_dump / "images" / "VG_100K").mkdir(parents=True)
    damage(own_dump)
    with pytest.raises(Sg2ImError, match=sentence) as error:
        prepare_visual_genome(own_dump, tmp_path / "out", progress=False)
    assert str(error.value).endswith(".")
    assert not list(tmp_path.glob("out/*"))


def without(name):
    def damage(file):
        del file[name]

    return damage


def replaced(name, function):
    def damage(file):
        values = function(file[name][:])
        del file[name]
        file[name] = values

    return damage


def linked(name):
    def damage(file):
        del file[name]
        file[name] = h5py.ExternalLink("val.h5", name)

    return damage


def elsewhere(name):
    def damage(file):
        shape, kind = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, shape, kind, external=[("val.h5", 0, h5py.h5f.UNLIMITED)])

    return damage


def out_of_range(values):
    values[0, 0] = 999
    return values


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (without("object_boxes"), "has no array 'object_boxes': expected is a file of the release"),
        (without("relationships_per_image"), "has no array 'relationships_per_image'"),
        (without("image_paths"), "has no array 'image_paths'"),
        (linked("image_ids"), "has no array 'image_ids'"),
        (elsewhere("object_names"), "object_names lies in another file"),
        (replaced("object_names", lambda v: v[:-1]), "object_names has the shape"),
        (replaced("object_names", lambda v: v[:, :-1]), "have different widths"),
        (replaced("object_boxes", lambda v: v[..., :3]), "no four numbers a box"),
        (
            replaced("object_names", lambda v: v.astype(float)),
            "object_names is no dataset of its type",
        ),
        (replaced("objects_per_image", lambda v: v + 99), "more than the 30 that there is room"),
        (replaced("object_names", out_of_range), "a category is outside of the vocabulary"),
        (replaced("relationship_predicates", out_of_range), "a predicate is outside"),
        (replaced("relationship_subjects", out_of_range), "an object that its picture lacks"),
        (replaced("image_paths", lambda v: [b"../../x.jpg"] * len(v)), "outside of the folder"),
        (replaced("image_ids", lambda v: v * 0), "image_ids holds a number twice"),
        (replaced("image_ids", lambda v: v - 10**6), "image_ids holds numbers out of range"),
        (replaced("object_names", lambda v: v.astype(np.int64) + 2**62), "out of range"),
        (replaced("objects_per_image", lambda v: v + 1), "without a name or with a box of neg"),
    ],
)
def test_wrong_released_files(dump, tmp_path, damage, sentence):
    folder = tmp_path / "released"
    shutil.copytree(dump / "expected", folder)
    shutil.copy(dump / "image_data.json", folder)
    (folder / "images" / "VG_100K").mkdir(parents=True)
    with h5py.File(folder / "train.h5", "a") as file:
        damage(file)
    with pytest.raises(Sg2ImError, match=sentence):
        read_released(folder)


def test_a_released_file_that_is_cut_or_missing(dump, tmp_path):
    folder = tmp_path / "released"
    shutil.copytree(dump / "expected", folder)
    (folder / "images" / "VG_100K").mkdir(parents=True)
    content = (folder / "val.h5").read_bytes()
    (folder / "val.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(Sg2ImError, match=r"val\.h5 is no whole HDF5 file"):
        read_released(folder, ["val"])
    (folder / "val.h5").unlink()
    with pytest.raises(Sg2ImError, match=r"val\.h5 is missing: put it there"):
        prepare_visual_genome(folder, tmp_path / "out")
