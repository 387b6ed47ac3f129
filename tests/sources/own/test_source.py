import base64
import json
import re
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sg2im_pyg.data import SceneReader
from sg2im_pyg.data.transforms import relationships_of
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.images import TURNED, UNTURNED
from sg2im_pyg.sources.own.formats import recognise
from sg2im_pyg.sources.own.options import OwnOptions
from sg2im_pyg.sources.own.selection import FORMATS
from sg2im_pyg.sources.own.source import read_own
from tests.sources.own import writers
from tests.sources.own.writers import CASES, HEIGHT, NAMES, OUTLINED, TRUTH, WIDTH, coco, write_json

COUNT = len(TRUTH.pictures)
ALL = ("train", "val", "test")


def options(data, **given):
    given = {"annotations": str(data), "root": str(data) + "_out", "image_size": ["16"]} | given
    return OwnOptions(**{"workers": 1, "progress": False} | given)


def read(data, **given):
    """The converted splits of a folder, without a store."""
    asked = options(data, **given)
    annotations, images = asked.places
    return read_own(asked, recognise(annotations, asked.format), images)


def by_picture(splits):
    """Sorted names and boxes of each picture, by the last letter of its file's stem, or by the
    letter of its number."""
    found = {}
    for annotations in splits.values():
        table, names = annotations.table, annotations.vocabulary.objects
        for i, file in enumerate(annotations.files):
            rows = slice(*table.object_offset[i : i + 2])
            stem = Path(file).stem[-1]
            key = "abcd"[int(stem) - 1] if stem.isdigit() else stem
            boxes = (table.boxes[rows] * [WIDTH, HEIGHT, WIDTH, HEIGHT]).round(3).tolist()
            labels = [names[category] for category in table.categories[rows]]
            assert annotations.stored_sizes[i].tolist() == [HEIGHT, WIDTH]
            found[key] = sorted(zip(labels, map(tuple, boxes), strict=True))
    return found


@pytest.mark.parametrize(("kind", "write"), CASES, ids=[write.__name__ for _, write in CASES])
def test_every_format_gives_the_same_objects(tmp_path, kind, write):
    root = tmp_path / "data"
    write(root)
    assert recognise(root).format == kind
    splits = read(root)
    assert by_picture(splits) == {key: sorted(entry) for key, entry in TRUTH.pictures.items()}
    outlined = write in OUTLINED
    annotations = splits["train"]
    assert set(annotations.vocabulary.objects[1:]) == set(NAMES)
    assert annotations.mask_size == (16 if outlined else 0)
    if outlined:  # half of each box, the left upper one
        share = np.unpackbits(annotations.table.packed_masks, axis=1).mean(1)
        assert ((share > 0.4) & (share < 0.6)).all()
    else:
        assert annotations.table.packed_masks is None
    if kind == "scene_graphs":
        assert annotations.vocabulary.predicates[1:] == ("on",)
        assert annotations.vocabulary.attributes == ("green",)
    else:
        assert annotations.vocabulary.predicates[1:] == GEOMETRIC_PREDICATES


def test_all_formats_are_tried():
    assert set(writers.FORMATS) == set(FORMATS)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (writers.roboflow, {"train": "ab", "val": "c", "test": "d"}),
        (writers.voc, {"train": "ab", "val": "c", "test": "d"}),
        (writers.yolo, {"train": "ab", "val": "c", "test": "d"}),
        (writers.yolo_segments, {"train": "ab", "val": "c", "test": "d"}),
        (writers.csv_sides, {"train": "ab", "val": "c", "test": "d"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_splits_as_they_are_given(tmp_path, capsys, write, expected):
    write(tmp_path / "data")
    splits = read(tmp_path / "data")
    assert {split: "".join(sorted(by_picture({split: found}))) for split, found in splits.items()} \
        == expected  # fmt: skip
    assert "Splits as given: train, val, test" in capsys.readouterr().out


def test_splits_that_are_drawn(tmp_path, capsys):
    root = tmp_path / "data"
    keys = [f"p{i}" for i in range(40)]
    content = {"images": [], "annotations": [], "categories": [{"id": 0, "name": "cat"}]}
    for number, key in enumerate(keys):
        writers.picture(root / f"{key}.png", 8, 8)
        entry = {"id": number, "file_name": f"{key}.png", "width": 8, "height": 8}
        content["images"].append(entry)
        content["annotations"].append({"image_id": number, "category_id": 0, "bbox": [1, 1, 4, 4]})
    write_json(root / "all.json", content)

    def files(**given):
        return {split: found.files for split, found in read(root, **given).items()}

    first = files(val_share=0.25, test_share=0.1)
    assert [len(first[split]) for split in ALL] == [26, 10, 4]
    assert sorted(sum(first.values(), [])) == sorted(f"{key}.png" for key in keys)
    assert files(val_share=0.25, test_share=0.1) == first
    assert files(val_share=0.25, test_share=0.1, split_seed=1) != first
    # At least one for validation; of two pictures, one to train on.
    assert [len(files(val_share=0.0, test_share=0.0)[split]) for split in ALL] == [39, 1, 0]
    content["images"] = content["images"][:2]
    content["annotations"] = content["annotations"][:2]
    write_json(root / "all.json", content)
    assert [len(files()[split]) for split in ALL] == [1, 1, 0]
    assert "1 of 2 pictures, drawn with seed 0" in capsys.readouterr().out
    # The order of the files does not matter.
    content["images"].reverse()
    write_json(root / "all.json", content)
    assert files()["val"] == files()["val"]


def test_validation_is_drawn_where_only_it_is_missing(tmp_path):
    root = tmp_path / "data"
    for folder, keys in (("train", "abc"), ("test", "d")):
        writers.pictures(root / folder, ".png", keys)
        write_json(root / folder / "labels.json", coco(keys=keys))
    splits = read(root)
    assert [len(splits[split]) for split in ALL] == [2, 1, 1]
    drawn = read(root, draw_splits=True, test_share=0.0)
    assert [len(drawn[split]) for split in ALL] == [3, 1, 0]


RELATED = {"a": [[1, "chases", 2]], "b": [["3", "left of", 4.0], [5, "chases", 3]]}


def write_related(root):
    content = coco()
    for entry in content["images"]:
        entry["relationships"] = RELATED.get(entry["file_name"][0], [])
    writers.pictures(root)
    write_json(root / "labels.json", content)


def related(splits):
    """Relationships in words, by picture."""
    found = {}
    for annotations in splits.values():
        table, vocabulary = annotations.table, annotations.vocabulary
        for i, file in enumerate(annotations.files):
            objects = slice(*table.object_offset[i : i + 2])
            names = [vocabulary.objects[c] for c in table.categories[objects]]
            rows = table.relationships[slice(*table.relationship_offset[i : i + 2])]
            if len(rows):
                found[Path(file).stem] = [
                    (names[s], vocabulary.predicates[p], names[o]) for s, p, o in rows
                ]
    return found


def test_relationships_of_ones_own(tmp_path):
    """In the picture list by ids, in a list of their own, and in a table by names or positions."""
    expected = {
        "a": [("cat", "chases", "tree")],
        "b": [("cat", "left of", "cat"), ("dog", "chases", "cat")],
    }
    root = tmp_path / "listed"
    write_related(root)
    splits = read(root)
    assert related(splits) == expected
    assert splits["train"].vocabulary.predicates == ("__in_image__", "chases", "left of")
    assert splits["train"].notes == {}

    content = coco()
    content["relationships"] = [
        {"image_id": 1, "subject": 1, "predicate": "chases", "object": 2},
        {"image_id": 2, "subject_id": 3, "predicate": "left of", "object_id": 4},
        {"image_id": 2, "subject": {"object_id": 5}, "predicate": "chases", "object": {"id": 3}},
    ]
    root = tmp_path / "apart"
    writers.pictures(root)
    write_json(root / "labels.json", content)
    assert related(read(root)) == expected

    root = tmp_path / "table"
    writers.yolo_label_studio(root)
    text = "image,subject,predicate,object\na.png,cat,chases,tree\nb,0,left of,1\nb,dog,chases,0\n"
    (tmp_path / "relations.csv").write_text(text, encoding="utf-8")
    assert related(read(root, relationships=str(tmp_path / "relations.csv"))) == expected
    (tmp_path / "relations.csv").write_text(text + "z,cat,chases,dog\n", encoding="utf-8")
    with pytest.raises(Sg2ImError, match="of the picture z, which the annotations do not list"):
        read(root, relationships=str(tmp_path / "relations.csv"))
    (tmp_path / "relations.csv").write_text("image,who,what\n", encoding="utf-8")
    (tmp_path / "relations.csv").write_text("image,who,what\na,b,c\n", encoding="utf-8")
    with pytest.raises(Sg2ImError, match="no table of relationships"):
        read(root, relationships=str(tmp_path / "relations.csv"))


def test_relationships_together_with_geometric_ones(tmp_path, capsys):
    """The six names join the user's; those that he uses stay one."""
    root = tmp_path / "data"
    write_related(root)
    for draw, expected in ((False, "stored"), (True, "both")):
        out = tmp_path / str(draw)
        paths = options(root, root=str(out), draw_geometric=draw, val_share=0.0).prepare()
        store = SceneReader(paths[16, 16]["train"])
        if len(store.relationships):
            assert relationships_of(store) == expected
        names = store.vocabulary.predicates[1:]
        assert names[:2] == ("chases", "left of") and len(names) == (7 if draw else 2)
    plain = tmp_path / "plain"
    writers.cvat(plain)
    store = SceneReader(options(plain).prepare()[16, 16]["train"])
    assert relationships_of(store) == "geometric"


def test_nothing_is_left_out_without_a_word(tmp_path):
    """Each count is the one that was written, and the limits of the release are off."""
    root = tmp_path / "data"
    writers.pictures(root)
    writers.picture(root / "unlisted.png")
    writers.picture(root / "empty.png")
    content = coco()
    content["images"].append({"id": 9, "file_name": "empty.png", "width": 80, "height": 60})
    extra = {"image_id": 1, "category_id": 1}
    tiny = [{"bbox": [5, 5, 0.5, 0.5]} for _ in range(12)]  # far below 2 %, more than 8 objects
    flat = [{"bbox": [5, 5, 10, 0]}, {"segmentation": [[3, 3, 3, 3]]}]
    over = [{"bbox": [70, 50, 30, 30]}]
    content["annotations"] += [extra | other for other in (*tiny, *flat, *over)]
    content["images"][0]["relationships"] = [[1, "on", 2], [1, "on", 77]]
    write_json(root / "labels.json", content)
    splits = read(root)
    assert sum(len(found.table.categories) for found in splits.values()) == 8 + 12 + 1
    assert splits["train"].skipped == {"no object": 1}
    assert splits["train"].notes == {
        "boxes that reach over the picture's border, cut there": 1,
        "objects left out: box without area": 2,
        "objects without an outline, whose box is the mask": 13,
        "pictures of the folder that no annotation names": 1,
        "relationships left out: one of its objects is not there": 1,
    }
    limited = read(root, min_objects=2, max_objects=3, min_object_size=0.02)
    skipped = sum((list(found.skipped.items()) for found in limited.values()), [])
    assert sorted(skipped) == [("fewer than 2 objects", 1), ("no object", 1)]
    notes = limited["train"].notes
    assert notes["objects left out: smaller than min_object_size"] == 13
    assert notes["objects left out: picture left out (fewer than 2 objects)"] == 1
    rare = read(root, min_name_count=3)["train"]
    assert set(rare.vocabulary.objects) == {"__image__", "cat", "dog"}
    assert rare.notes["objects left out: name too rare"] == 2


def test_mistakes_are_named_together_or_left_out(tmp_path):
    root = tmp_path / "data"
    writers.pictures(root)
    (root / "c.png").write_bytes(b"no picture")
    content = coco()
    wrong = [
        {"image_id": 1, "category_id": 1, "bbox": [100, 100, 5, 5]},
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, -5, 5]},
        {"image_id": 99, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"image_id": 1, "category_id": 99, "bbox": [1, 1, 5, 5]},
        {"image_id": 1, "category_id": 1, "bbox": [1, float("nan"), 5, 5]},
        {"image_id": 1, "category_id": 1, "segmentation": {"size": [9, 9], "counts": [81]}},
        {"image_id": 1, "category_id": 1},
    ]
    content["annotations"] += [{"id": 900 + i} | entry for i, entry in enumerate(wrong)]
    write_json(root / "labels.json", content)
    with pytest.raises(Sg2ImError) as caught:
        read(root)
    sentence = str(caught.value)
    assert sentence.startswith("8 mistakes were found in the annotations: ")
    assert [f"annotation {900 + i} " in sentence for i in range(7)] == [True] * 7
    assert "c.png is no picture that can be read" in sentence and "--skip_unreadable" in sentence
    splits = read(root, skip_unreadable=True)
    notes = splits["train"].notes
    assert notes["annotations that can not be used, left out"] == 7
    assert notes["objects left out: picture left out (the picture can not be read)"] == 1
    assert splits["train"].skipped == {"the picture can not be read": 1}
    assert sorted(by_picture(splits)) == ["a", "b", "d"]

    content["annotations"] += [{"id": i, "image_id": 98} for i in range(1000, 1050)]
    write_json(root / "labels.json", content)
    with pytest.raises(Sg2ImError, match=r"(?s)^58 mistakes .*\nAnd 38 more.$"):
        read(root)
    for path in root.glob("*.png"):
        path.unlink()
    with pytest.raises(Sg2ImError, match="No picture is left of the 4 in .*can not be read: 4"):
        read(root, skip_unreadable=True)


@pytest.mark.parametrize(
    "outline",
    [None, [], [[]], [[5, 5]], [[5, 5, 9, 9]], [[4, 6, 24, 6, 24, 6]], {"counts": "", "size": []}],
)
def test_an_outline_that_encloses_nothing_gives_its_box(tmp_path, outline):
    root = tmp_path / "data"
    writers.pictures(root)
    content = coco()
    content["annotations"][0]["segmentation"] = outline
    if isinstance(outline, dict):
        runs = {"counts": [WIDTH * HEIGHT], "size": [HEIGHT, WIDTH]}
        content["annotations"][0]["segmentation"] = runs
    write_json(root / "labels.json", content)
    splits = read(root)
    full = [
        (found.files[i], bits.all())
        for found in splits.values()
        for i in range(len(found))
        for bits in np.unpackbits(
            found.table.packed_masks[slice(*found.table.object_offset[i : i + 2])], axis=1
        )
    ]
    assert [name for name, is_full in full if is_full] == ["a.png"]
    assert splits["train"].notes["objects without an outline, whose box is the mask"] == 1


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot at 3.00\u202fPM.png",
        "a\u00a0b\u3000c.png",
        "e\u0301t\u00e9.png",
        "100% [of it] #1;.png",
        "\U0001f600.png",
    ],
)
def test_file_names_of_all_kinds(tmp_path, name):
    root = tmp_path / "data"
    writers.picture(root / "sub" / name)
    writers.picture(root / "other.png")
    content = coco(keys="ab")
    listed = [f"D:\\foreign\\sub\\{name}", "/data/local-files/?d=x/other.png"]
    for entry, file in zip(content["images"], listed, strict=True):
        entry["file_name"] = file
    write_json(root / "labels.json", content)
    files = sorted(sum((found.files for found in read(root).values()), []))
    assert files == sorted(["other.png", f"sub/{name}"])


def test_pictures_are_looked_for_in_their_folder_alone(tmp_path):
    root = tmp_path / "data"
    writers.picture(tmp_path / "outside.png")
    writers.pictures(root)
    for name in ("../outside.png", str(tmp_path / "outside.png"), "a\0.png", "", "x" * 5000, "\n"):
        content = coco(keys="ab")
        content["images"][0]["file_name"] = name
        write_json(root / "labels.json", content)
        with pytest.raises(Sg2ImError, match="is not below|without an id or a file_name") as found:
            read(root)
        assert len(str(found.value)) < 1000 and str(found.value).replace("\n", "").isprintable()
    # Two of the same name: nothing tells which is meant.
    for folder in ("x", "y"):
        writers.picture(root / folder / "twice.png")
    content["images"][0]["file_name"] = "elsewhere/twice.png"
    write_json(root / "labels.json", content)
    with pytest.raises(Sg2ImError, match="x/twice.png and y/twice.png could both be"):
        read(root)
    content["images"][0]["file_name"] = "C:\\elsewhere\\y\\twice.png"
    write_json(root / "labels.json", content)
    assert "y/twice.png" in sum((found.files for found in read(root).values()), [])


def turned(path, orientation):
    """A picture whose stored pixels are to be turned: wide as stored, high as shown (or not)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)


def test_sizes_and_exif_orientations(tmp_path):
    """A listed size says whether it is that of the turned picture; without one the picture is
    measured as programs show it."""
    root = tmp_path / "data"
    root.mkdir()
    orientations = {"a": 6, "b": 6, "c": 3, "d": 6}
    for key, orientation in orientations.items():
        turned(root / f"{key}.jpg", orientation)
    content = coco(file_name="{}.jpg")
    content["annotations"] = [
        {"image_id": i, "category_id": 1, "bbox": [0, 0, 30, 40]} for i in range(1, 5)
    ]
    listed = content["images"]
    listed[0] |= {"width": str(HEIGHT), "height": float(WIDTH)}
    del listed[3]["width"]
    write_json(root / "labels.json", content)
    splits = read(root)
    sizes = {
        Path(file).stem: size
        for found in splits.values()
        for file, size in zip(found.files, found.stored_sizes.tolist(), strict=True)
    }
    expected = {"a": [WIDTH, HEIGHT], "b": [HEIGHT, WIDTH], "c": [HEIGHT, WIDTH]}
    assert sizes == expected | {"d": [WIDTH, HEIGHT]}
    assert splits["train"].notes == {"pictures without a listed size, measured": 1}
    stores = [SceneReader(path) for path in options(root).prepare()[16, 16].values()]
    notes = Counter()
    for store in stores:
        notes.update(store.settings["report"]["notes"])
    assert notes[TURNED] == 2 and notes[UNTURNED] == 1
    listed[1]["width"] = 999
    write_json(root / "labels.json", content)
    with pytest.raises(Sg2ImError, match="is 80 x 60 pixels .* says 999 x 60"):
        read(root)


def test_the_format_is_said_and_can_be_chosen(tmp_path):
    root = tmp_path / "data"
    writers.cvat(root)
    for key, objects in TRUTH.pictures.items():
        writers.write_voc(root / "xml" / f"{key}.xml", f"{key}.png", objects)
    with pytest.raises(Sg2ImError, match=r"several formats, coco \(instances_default.json\), voc"):
        read(root)
    assert by_picture(read(root, format="voc")).keys() == TRUTH.pictures.keys()
    with pytest.raises(Sg2ImError, match="holds no annotations in the format yolo"):
        read(root, format="yolo")
    write_json(tmp_path / "other.json", {"what": [1]})
    with pytest.raises(Sg2ImError, match="in none of the formats that are read .coco, voc"):
        recognise(tmp_path / "other.json")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(Sg2ImError, match="holds no annotations that are known"):
        recognise(tmp_path / "nothing")
    with pytest.raises(Sg2ImError, match="no file or folder"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(Sg2ImError, match="annotations is not set"):
        OwnOptions(root="x").prepare()
    with pytest.raises(Sg2ImError, match="--images"):
        options(root, images=str(tmp_path / "nowhere")).prepare()
    with pytest.raises(Sg2ImError, match="leaves nothing to train on"):
        OwnOptions(val_share=0.6, test_share=0.5)
    with pytest.raises(Sg2ImError, match="less than min_objects"):
        OwnOptions(min_objects=5, max_objects=4)
    with pytest.raises(Sg2ImError, match="format must be one of coco"):
        OwnOptions(format="excel")


def test_a_single_file_with_pictures_elsewhere(tmp_path):
    writers.pictures(tmp_path / "photos")
    write_json(tmp_path / "labels" / "train.json", coco())
    asked = {"annotations": str(tmp_path / "labels" / "train.json")}
    splits = read(tmp_path, images=str(tmp_path / "photos"), **asked)
    assert [len(splits[split]) for split in ALL] == [3, 1, 0]


def test_stores_are_made_anew_when_an_annotation_changes(tmp_path):
    root = tmp_path / "data"
    writers.yolo_cvat(root)
    inside = {"root": str(root)}  # what is written there is not read
    first = options(root, **inside).prepare()
    assert options(root, **inside).prepare() == first
    assert SceneReader(first[16, 16]["train"]).settings["report"]["notes"] == {}
    path = root / "obj_train_data" / "c.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("1", "0", 1), encoding="utf-8")
    with pytest.raises(Sg2ImError, match=r"prepared with other settings \(annotations: "):
        options(root, **inside).prepare()


def test_pictures_listed_twice(tmp_path):
    """Two files of one split are put together; a picture of another split stays in the first."""
    root = tmp_path / "data"
    writers.pictures(root)
    write_json(root / "things_train.json", coco())
    more = coco(keys="a")
    more["annotations"] = more["annotations"][:1]
    write_json(root / "stuff_train.json", more)
    splits = read(root, val_share=0.3)
    assert sum(len(found.table.categories) for found in splits.values()) == 8 + 1
    write_json(root / "val.json", coco(keys="ab"))
    splits = read(root)
    assert splits["val"].skipped == {"listed in another split, too": 2}


ENTITIES = '<!DOCTYPE a [<!ENTITY x0 "ha"><!ENTITY x1 "&x0;&x0;">]><annotation>&x1;</annotation>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'
PARAMETER = '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1/">%x;]><annotation/>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ENTITIES, "declares entities"),
        (EXTERNAL, "declares entities"),
        (PARAMETER, "declares entities"),
        ("<annotation>" + "<a>" * 5000, "elements in each other"),
        ("<annotation>", "no valid XML"),
        ("<annotation/><annotation/>", "no valid XML"),
        ("<?xml version='1.0' encoding='nonsense'?><annotation/>", "no valid XML"),
        ("<annotations/>", "begins with <annotations>"),
        ("<annotation><object><bndbox/></object></annotation>", "has no name"),
        ("<annotation><object><name>x</name></object></annotation>", "neither a box"),
    ],
)
def test_xml_that_means_harm_or_is_broken(tmp_path, text, expected):
    root = tmp_path / "data"
    writers.voc(root)
    (root / "Annotations" / "e.xml").write_text(text, encoding="utf-8")
    writers.picture(root / "JPEGImages" / "e.jpg")
    with pytest.raises(Sg2ImError, match=expected):
        read(root)
    assert sorted(by_picture(read(root, skip_unreadable=True))) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.1", "line 1 of .* expected are a number of a name and four numbers"),
        ("7 0.5 0.5 0.1 0.1", "has the category 7, but there are 3 names"),
        ("-1 0.5 0.5 0.1 0.1", "has the category -1"),
        ("0 40 30 10 10", "expected are parts of the picture from 0 to 1"),
        ("0 nan 0.5 0.1 0.1", "expected are"),
        ("0 0.5 0.5 -0.1 0.1", "negative width"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.3", "half a corner"),
        (f"{'9' * 4000} 0.5 0.5 0.1 0.1", "expected are|has the category"),
    ],
)
def test_lines_of_yolo_that_are_wrong(tmp_path, line, expected):
    root = tmp_path / "data"
    writers.yolo_label_studio(root)
    (root / "labels" / "a.txt").write_text(line, encoding="utf-8")
    with pytest.raises(Sg2ImError, match=expected):
        read(root)


def test_lists_of_names_of_yolo(tmp_path):
    root = tmp_path / "data"
    writers.yolo(root)
    label = root / "labels" / "train" / "a.txt"
    label.write_text("0 0.5 0.5 0.25 0.5 0.93\n", encoding="utf-8")  # with a confidence
    assert by_picture(read(root))["a"] == [("cat", (30, 15, 50, 45))]
    for text, expected in (
        ("names: &a [*a]", "alias"),
        ("names: 3", "no list of names"),
        ("names: {0: cat, 2: dog}", "no list of names"),
        ("names: " + "[" * 5000, "no YAML"),
        ("names: !!python/object/apply:os.system ['true']", "no YAML"),
    ):
        (root / "data.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(Sg2ImError, match=expected):
            read(root)
    (root / "data.yaml").unlink()
    with pytest.raises(Sg2ImError, match="no list of names: put data.yaml"):
        read(root, format="yolo")
    (tmp_path / "own.txt").write_text("cat\ndog\ntree\n", encoding="utf-8")
    assert len(by_picture(read(root, classes=str(tmp_path / "own.txt")))) == COUNT


@pytest.mark.parametrize(
    "lines",
    [
        "train: images/one\nval: images/two\n",
        "train: /content/x/images/one\nval: ../images/two\ntest:\n",
        "path: C:\\x\ntrain: [images\\one]\nval: [images/two, images/three]\n",
    ],
)
def test_folders_that_data_yaml_names_for_splits(tmp_path, lines):
    root = tmp_path / "data"
    for folder, keys in (("one", "abc"), ("two", "d")):
        writers.pictures(root / "images" / folder, ".png", keys)
        writers.write_yolo(root / "labels" / folder, keys)
    (root / "data.yaml").write_text(f"{lines}names: [cat, dog, tree]\n", encoding="utf-8")
    found = {split: "".join(sorted(by_picture({split: s}))) for split, s in read(root).items()}
    assert found == {"train": "abc", "val": "d", "test": ""}


def test_shapes_of_labelme(tmp_path):
    """A circle, two parts of a group, and what encloses nothing."""
    root = tmp_path / "data"
    writers.pictures(root, keys="ab")
    shapes = [
        {"label": "sun", "shape_type": "circle", "points": [[40, 30], [40, 40]]},
        {"label": "cow", "group_id": 1, "points": [[0, 0], [10, 0], [10, 10], [0, 10]]},
        {"label": "cow", "group_id": 1, "points": [[20, 20], [30, 20], [30, 30], [20, 30]]},
        {"label": "dot", "shape_type": "point", "points": [[5, 5]]},
    ]
    for key in "ab":
        content = {"shapes": shapes, "imagePath": f"{key}.png", "relationships": [[0, "on", 1]]}
        write_json(root / f"{key}.json", content)
    splits = read(root)
    found = by_picture(splits)["a"]
    assert found == [("cow", (0, 0, 30, 30)), ("sun", (30, 20, 50, 40))]
    assert splits["train"].notes["objects left out: box without area"] == 2
    assert related(splits)["a"] == [("sun", "on", "cow")]
    masks = np.unpackbits(splits["train"].table.packed_masks, axis=1).mean(1)
    assert masks[0] == pytest.approx(np.pi / 4, abs=0.05)
    assert masks[1] == pytest.approx(2 / 9, abs=0.05)
    for shape in (
        {"label": "x", "points": [[1]]},
        {"label": "x", "points": "here"},
        {"points": [[1, 1], [2, 2], [3, 1]]},
        {"label": "x", "shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": "???"},
        7,
    ):
        content = {"shapes": [shape], "imagePath": "a.png"}
        write_json(root / "a.json", content)
        with pytest.raises(Sg2ImError, match="shape 1 of .*a.json"):
            read(root)


@pytest.mark.parametrize(
    ("side", "text", "expected"),
    [
        (20_000, None, "larger than its picture"),  # some kilobytes, 400 million pixels
        (4, "A" * (2**24 + 4), "at most 16,777,216 characters"),
        (4, 7, "at most 16,777,216 characters"),
    ],
    ids=("large", "long", "none"),
)
def test_masks_of_labelme_are_bounded_before_they_are_decoded(
    tmp_path, monkeypatch, side, text, expected
):
    root = tmp_path / "data"
    writers.pictures(root, keys="a")
    if text is None:
        # By hand: signature and header are all that is read.
        header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        end = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        text = base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunk + end).decode()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # its own limit does not answer
    shape = {"label": "x", "shape_type": "mask", "points": [[1, 1], [4, 4]], "mask": text}
    content = {"shapes": [shape], "imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    write_json(root / "a.json", content)
    with pytest.raises(Sg2ImError, match=f"shape 1 of .*a.json has a mask .*{expected}"):
        read(root)


def test_json_that_is_broken(tmp_path):
    root = tmp_path / "data"
    writers.cvat(root)
    path = root / "annotations" / "instances_default.json"
    whole = path.read_text(encoding="utf-8")
    for text in (whole[: len(whole) // 2], '{"images": ' + "[" * 100_000, "\0" * 99, "{}"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(Sg2ImError) as found:
            read(root)
        assert len(str(found.value)) < 500
    for content in (
        {"images": [7]},
        {"images": [{"id": [1]}], "annotations": []},
        {"images": {"a": 1}, "annotations": []},
        {"annotations": [{"image_id": {}}]},
    ):
        write_json(path, content)
        with pytest.raises(Sg2ImError):
            read(root)


def test_huge_numbers_take_no_memory(tmp_path):
    root = tmp_path / "data"
    writers.pictures(root)
    huge = 10**400
    for change in (
        {"bbox": [huge, 0, 1, 1]},
        {"bbox": [0, 0, 1e14, 1e14], "segmentation": [[0, 0, 1e14, 0, 1e14, 1e14]]},
        {"segmentation": {"size": [60, 80], "counts": [huge]}},
        {"segmentation": {"size": [10**9, 10**9], "counts": [10**18]}},
    ):
        content = coco()
        content["annotations"][0] |= change
        text = json.dumps(content)
        (root / "labels.json").write_text(text, encoding="utf-8")
        with pytest.raises(Sg2ImError, match="annotation 1 of|integer overflow") as found:
            read(root)
        assert len(str(found.value)) < 1000


def test_tables_that_are_none(tmp_path):
    root = tmp_path / "data"
    writers.csv_tensorflow(root)
    path = root / "labels.csv"
    for text, expected in (
        ("filename,class\na.png,cat\n", "no columns for picture, category and box"),
        ("a" * 200_000, "no table|no columns"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(Sg2ImError, match=expected):
            read(path)
    rows = ["filename,class,xmin,ymin,xmax,ymax", "a.png,cat,1,1,x,9", ",cat,1,1,2,2", "a.png,,,,,"]
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(Sg2ImError, match=r"(?s)^2 mistakes.*line 2 of .*four numbers.*line 3 of"):
        read(path)


def test_names_with_a_meaning_of_their_own(tmp_path):
    root = tmp_path / "data"
    writers.pictures(root)
    content = coco()
    content["categories"][0]["name"] = "__image__"
    write_json(root / "labels.json", content)
    with pytest.raises(Sg2ImError, match="'__image__', which has a meaning of its own"):
        read(root)
    content["categories"][0]["name"] = "  black \t cat\u2028"
    write_json(root / "labels.json", content)
    assert "black cat" in read(root)["train"].vocabulary.objects


def test_the_table_is_printed(tmp_path, capsys):
    from sg2im_pyg.sources.summary import summarise

    root = tmp_path / "data"
    writers.pictures(root)
    content = coco()
    content["annotations"][0]["bbox"] = [5, 5, 0, 5]
    content["annotations"] = [e for e in content["annotations"] if e["image_id"] != 3]
    write_json(root / "labels.json", content)
    text = summarise(options(root).prepare()[16, 16])
    assert re.search(r"left out, and other remarks +train +val +test\n", text)
    assert re.search(r"pictures left out: no object +1 +- +-\n", text)
    assert re.search(r"objects left out: box without area +1 +- +-", text)
    assert "Format: coco (1 file(s)" in capsys.readouterr().out


VALUES = (None, True, -1, 0, 1.5, 1e300, "", "x", "7", "\0", [], {}, [[]], [1, "x"], {"a": [None]})


def mutated(content, random):
    """JSON content with a value somewhere in it replaced, taken away or put twice."""
    places = []

    def collect(value):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                collect(value[key])

    collect(content)
    place, key = places[random.integers(len(places))]
    change = random.integers(3)
    if change == 0:
        place[key] = VALUES[random.integers(len(VALUES))]
    elif change == 1:
        del place[key]
    elif isinstance(place, list):
        place.append(place[key])
    return content


@pytest.mark.parametrize("write", [write for _, write in CASES], ids=lambda write: write.__name__)
def test_whatever_is_wrong_is_a_sentence(tmp_path, write):
    """Files with changed values, bytes and ends are read, or refused in words."""
    root = tmp_path / "data"
    write(root)
    suffixes = (".json", ".xml", ".txt", ".csv", ".yaml", ".names")
    found = (path for path in root.rglob("*") if path.suffix in suffixes)
    files = sorted(path for path in found if path.stat().st_size)
    random = np.random.default_rng(len(write.__name__))
    for _ in range(15):
        path = files[random.integers(len(files))]
        whole = path.read_bytes()
        if path.suffix == ".json" and random.integers(4):
            text = json.dumps(mutated(json.loads(whole), random)).encode()
        else:
            place = int(random.integers(len(whole)))
            some = bytes(random.choice(list(b"\0\xff<>&,;{}[]0-9.eN\n "), 3).tolist())
            text = whole[:place] + (some + whole[place + 2 :]) * int(random.integers(2))
        path.write_bytes(text)
        try:
            read(root)
            read(root, skip_unreadable=True)
        except Sg2ImError as error:
            assert str(error).replace("\n", "").isprintable() and len(str(error)) < 8000
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "outline", [[7, "x"], [[1, 2, "x"]], "text", 5, [[[1, 2], [3]]], [None, 1]]
)
@pytest.mark.parametrize("box", [[1, 1, 5, 5], None])
def test_an_outline_that_is_none(tmp_path, outline, box):
    root = tmp_path / "data"
    writers.pictures(root)
    content = coco()
    content["annotations"][0] |= {"segmentation": outline, "bbox": box}
    write_json(root / "labels.json", content)
    with pytest.raises(Sg2ImError, match="annotation 1 of"):
        read(root)
