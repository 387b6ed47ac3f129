"""The store: what is written is read, and nothing else is taken for it."""

import os
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sg2im_pyg import Sg2ImError, Vocabulary
from sg2im_pyg.data import Scene, SceneReader, SceneWriter
from sg2im_pyg.data import store as store_module
from sg2im_pyg.data.store import SCHEMA_VERSION, read_settings

VOCABULARY = Vocabulary(["sky", "grass", "NONE", "sheep"], ["above", "left of"])


def make_scene(seed, objects=3, relationships=2, size=(4, 6), side=5) -> Scene:
    random = np.random.default_rng(seed)
    return Scene(
        image_id=seed + 2**40,
        image=random.integers(0, 256, (*size, 3), dtype=np.uint8),
        categories=random.integers(0, 5, objects),
        boxes=np.sort(random.random((objects, 2, 2), dtype=np.float32), 1).reshape(-1, 4),
        masks=random.random((objects, side, side)) > 0.5 if side else None,
        relationships=np.stack(
            [
                random.integers(0, max(objects, 1), relationships),
                random.integers(0, 3, relationships),
                random.integers(0, max(objects, 1), relationships),
            ],
            axis=1,
        ),
    )


def write(path, scenes, size=(4, 6), side=5, settings=None):
    with SceneWriter(path, VOCABULARY, size, side, settings) as writer:
        for scene in scenes:
            writer.add(scene)
    return path


def names_in(folder) -> list[str]:
    return [path.name for path in folder.iterdir()]


def assert_same(scene: Scene, expected: Scene) -> None:
    assert scene.image_id == expected.image_id
    for name in ("image", "categories", "boxes", "relationships"):
        found, wanted = getattr(scene, name), getattr(expected, name)
        assert np.array_equal(found, wanted), name
    assert scene.image.dtype == np.uint8 and scene.boxes.dtype == np.float32
    assert scene.categories.dtype == scene.relationships.dtype == np.int64
    if expected.masks is None:
        assert scene.masks is None
    else:
        assert scene.masks.dtype == bool and np.array_equal(scene.masks, expected.masks)


@settings(deadline=None, max_examples=30)
@given(
    counts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=7),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    side=st.sampled_from([0, 1, 2, 3, 8]),
)
def test_what_is_written_is_read(tmp_path_factory, counts, size, side):
    scenes = [
        make_scene(i, objects, relationships if objects else 0, size, side)
        for i, (objects, relationships) in enumerate(counts)
    ]
    path = tmp_path_factory.mktemp("store") / "train.h5"
    write(path, scenes, size, side, {"seed": 3, "min_box": 0.02, "names": ["a"]})
    reader = SceneReader(path)
    assert len(reader) == len(scenes)
    assert reader.vocabulary == VOCABULARY
    assert (reader.image_size, reader.mask_size) == (size, side)
    assert reader.settings == read_settings(path) == {"seed": 3, "min_box": 0.02, "names": ["a"]}
    for found, expected in zip(reader, scenes, strict=True):
        assert_same(found, expected)


def test_positions_count_from_the_end_too_and_end(tmp_path):
    scenes = [make_scene(i) for i in range(3)]
    reader = SceneReader(write(tmp_path / "a.h5", scenes))
    assert_same(reader[-1], scenes[2])
    assert_same(reader[np.int64(1)], scenes[1])
    for index in (3, -4):
        with pytest.raises(IndexError):
            reader[index]


def test_an_empty_split_is_a_split(tmp_path):
    reader = SceneReader(write(tmp_path / "a.h5", []))
    assert len(reader) == 0 and list(reader) == []


@pytest.mark.parametrize("side", [0, 1, 5])
def test_pictures_without_objects_are_kept(tmp_path, side):
    scenes = [make_scene(i, objects=0, relationships=0, side=side) for i in range(2)]
    for found, expected in zip(SceneReader(write(tmp_path / "a.h5", scenes, side=side)), scenes):
        assert_same(found, expected)


def test_missing_folders_are_made_and_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "64x64" / "train.h5"
    write(path, [make_scene(0)])
    write(str(path), [make_scene(1), make_scene(2)])
    assert len(SceneReader(path)) == 2
    assert names_in(path.parent) == ["train.h5"]


@pytest.mark.parametrize("written", [0, 2])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_older_file_and_nothing_else(tmp_path, written, error):
    path = write(tmp_path / "train.h5", [make_scene(0)])
    with pytest.raises(error), SceneWriter(path, VOCABULARY, (4, 6), 5) as writer:
        for i in range(written):
            writer.add(make_scene(i))
        raise error
    assert len(SceneReader(path)) == 1
    assert names_in(tmp_path) == ["train.h5"]


def test_settings_that_are_no_json_raise_before_anything_is_written(tmp_path):
    with (
        pytest.raises(TypeError),
        SceneWriter(tmp_path / "a.h5", VOCABULARY, (4, 6), 5, {"a": {1}}),
    ):
        pass
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("function", ["check_space", "write_columns", "_copy"])
def test_a_failing_write_leaves_the_older_file_and_nothing_else(tmp_path, monkeypatch, function):
    path = write(tmp_path / "train.h5", [make_scene(0)])

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(store_module, function, full)
    with pytest.raises(OSError, match="No space"):
        write(path, [make_scene(1)])
    assert len(SceneReader(path)) == 1
    assert names_in(tmp_path) == ["train.h5"]


def changed(**changes) -> Scene:
    scene = make_scene(3)
    for name, value in changes.items():
        setattr(scene, name, value)
    return scene


@pytest.mark.parametrize(
    ("scene", "sentence"),
    [
        (changed(image=np.zeros((4, 5, 3), np.uint8)), r"image must have the shape \(4, 6, 3\)"),
        (changed(boxes=np.zeros((2, 4), np.float32)), r"boxes must .* \(3, 4\).* got \(2, 4\)"),
        (changed(boxes=np.full((3, 4), np.nan, np.float32)), "within 0 and 1"),
        (changed(boxes=np.full((3, 4), 1.5, np.float32)), "within 0 and 1"),
        (changed(boxes=np.tile(np.float32([0.5, 0, 0.4, 1]), (3, 1))), "x0 <= x1"),
        (changed(masks=None), r"masks must have the shape \(3, 5, 5\) .* got \(\)"),
        (changed(masks=np.zeros((3, 4, 4), bool)), r"got \(3, 4, 4\)"),
        (changed(categories=np.array([0, 1, 5])), "outside of the vocabulary of 5"),
        (changed(categories=np.array([0, 1, -1])), "outside of the vocabulary"),
        (changed(relationships=np.array([[0, 1, 3]])), "names an object that its picture lacks"),
        (changed(relationships=np.array([[-1, 1, 0]])), "names an object that its picture lacks"),
        (changed(relationships=np.array([[0, 3, 1]])), "outside of the vocabulary of 3"),
    ],
)
def test_scenes_that_do_not_fit_raise_and_name_the_picture(scene, sentence, tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(Sg2ImError, match=rf"Picture {scene.image_id}.*{sentence}"):
        write(path, [make_scene(1), scene])
    assert names_in(tmp_path) == []


# --- Files that are no store --------------------------------------------------------------------


def test_a_missing_file_says_how_to_make_it(tmp_path):
    for path in (tmp_path / "none.h5", tmp_path):
        with pytest.raises(Sg2ImError, match=r"no data file .*datasets/prepare\.py"):
            SceneReader(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_gets_a_sentence(tmp_path, share):
    path = write(tmp_path / "train.h5", [make_scene(i) for i in range(9)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(Sg2ImError, match=r"train\.h5 is no whole HDF5 file"):
        SceneReader(path)


def test_a_file_of_another_kind_gets_a_sentence(tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("no HDF5", encoding="utf-8")
    with pytest.raises(Sg2ImError, match=r"text\.h5 is no whole HDF5 file"):
        SceneReader(text)
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["image"] = np.zeros((2, 4, 6, 3), np.uint8)
    with pytest.raises(Sg2ImError, match=r"foreign\.h5 is an HDF5 file of another kind"):
        SceneReader(foreign)


def test_a_newer_schema_says_what_to_do(tmp_path):
    path = write(tmp_path / "train.h5", [make_scene(0)])
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(Sg2ImError, match=rf"schema version {SCHEMA_VERSION + 1}.*update sg2im_pyg"):
        SceneReader(path)


NAMES = [
    "image_id",
    "image",
    "object_offset",
    "object_category",
    "object_box",
    "object_mask",
    "relationship_offset",
    "relationship",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_short_array_gets_a_sentence(tmp_path, name):
    path = write(tmp_path / "train.h5", [make_scene(i) for i in range(3)])
    with h5py.File(path, "a") as file:
        shorter = file[name][:-1]
        del file[name]
        file[name] = shorter
    with pytest.raises(Sg2ImError, match=r"train\.h5 is damaged"):
        SceneReader(path)
    with h5py.File(path, "a") as file:
        del file[name]
    with pytest.raises(Sg2ImError, match=rf"train\.h5 is damaged \(.*{name}"):
        SceneReader(path)


@pytest.mark.parametrize(
    "name", ["schema_version", "image_size", "mask_size", "vocabulary", "settings"]
)
def test_a_missing_attribute_gets_a_sentence(tmp_path, name):
    path = write(tmp_path / "train.h5", [make_scene(0)])
    with h5py.File(path, "a") as file:
        del file.attrs[name]
    with pytest.raises(Sg2ImError, match=r"train\.h5 is damaged"):
        SceneReader(path)


@pytest.mark.parametrize(
    ("name", "row", "value", "sentence"),
    [
        ("object_category", 1, 5, "category is outside of the vocabulary"),
        ("object_category", 1, -1, "category is outside of the vocabulary"),
        ("relationship", 0, [0, 1, 3], "names an object that its picture lacks"),
        ("relationship", 0, [-1, 1, 0], "names an object that its picture lacks"),
        ("relationship", 0, [0, 3, 0], "predicate is outside of the vocabulary"),
        ("object_box", 0, [0, 0, np.nan, 1], "a box is not within 0 and 1"),
        ("object_box", 0, [-0.5, 0, 1, 1], "a box is not within 0 and 1"),
        ("object_box", 0, [0.6, 0, 0.5, 1], "a box has a negative size"),
        ("object_offset", 0, 1, "offsets"),
        ("object_offset", 1, 7, "offsets"),
        ("relationship_offset", 2, 1, "offsets"),
    ],
)
def test_indices_out_of_range_get_a_sentence(tmp_path, name, row, value, sentence):
    path = write(tmp_path / "train.h5", [make_scene(i) for i in range(3)])
    with h5py.File(path, "a") as file:
        file[name][row] = value
    with pytest.raises(Sg2ImError, match=rf"train\.h5.*{sentence}"):
        SceneReader(path)


def test_a_damaged_vocabulary_gets_a_sentence(tmp_path):
    path = write(tmp_path / "train.h5", [make_scene(0)])
    for text in ("{", "[]", '{"objects": ["sky", "sky"], "predicates": []}'):
        with h5py.File(path, "a") as file:
            file.attrs["vocabulary"] = text
        with pytest.raises(Sg2ImError):
            SceneReader(path)


# --- Processes ----------------------------------------------------------------------------------


def test_a_reader_is_pickled_without_its_open_file(tmp_path, monkeypatch):
    scenes = [make_scene(i) for i in range(3)]
    write(tmp_path / "train.h5", scenes)
    monkeypatch.chdir(tmp_path)
    reader = SceneReader("train.h5")
    assert_same(reader[1], scenes[1])
    copied = pickle.dumps(reader)
    monkeypatch.chdir("/")  # the path is kept absolute
    assert_same(pickle.loads(copied)[2], scenes[2])
    assert_same(reader[0], scenes[0])
    assert repr(reader).endswith("train.h5', pictures=3)")


def test_another_process_opens_the_file_for_itself(tmp_path, monkeypatch):
    scenes = [make_scene(i) for i in range(2)]
    reader = SceneReader(write(tmp_path / "train.h5", scenes))
    assert_same(reader[0], scenes[0])
    first = reader._images
    monkeypatch.setattr(os, "getpid", lambda: -7)  # as after a fork
    assert_same(reader[1], scenes[1])
    assert reader._images is not first
