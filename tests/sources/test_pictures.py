"""The picture pass: decoded once, in processes, going on where it stopped."""

import errno

import numpy as np
import pytest
from PIL import Image

from sg2im_pyg import Vocabulary
from sg2im_pyg.data import Scene, SceneReader
from sg2im_pyg.data.scene_table import SceneTable, offsets
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources import pictures as pictures_module
from sg2im_pyg.sources.annotations import Annotations, saved_annotations
from sg2im_pyg.sources.images import load_image, load_images
from sg2im_pyg.sources.pictures import write_pictures

COUNT = 60
SIZES = [(8, 12), (16, 16)]


def make_source(folder, count=COUNT):
    """Pictures of noise, each with one or two objects, attributes and a relationship."""
    generator = np.random.default_rng(0)
    scenes, files, sizes = [], [], []
    for i in range(count):
        height, width = (int(side) for side in generator.integers(20, 40, 2))
        path = folder / f"{i % 3}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        objects = 1 + i % 2
        scenes.append(
            Scene(
                i + 100,
                np.zeros((1, 1, 3), np.uint8),
                generator.integers(1, 3, objects),
                np.sort(generator.random((objects, 2, 2)), 1).reshape(-1, 4),
                generator.random((objects, 4, 4)) > 0.5,
                np.array([[0, 1, objects - 1]]),
            )
        )
        files.append(f"{i % 3}/{i}.png")
        sizes.append((height, width))
    table = SceneTable.from_scenes(scenes, 4)
    table.attribute_offset = offsets(np.arange(len(table.categories)) % 3)
    table.attributes = np.arange(table.attribute_offset[-1], dtype=np.int32) % 2
    table.object_ids = np.arange(len(table.categories)) + 7
    return Annotations(
        table,
        Vocabulary(["sky", "grass"], ["above"], ["red", "tall"]),
        4,
        files,
        np.array(sizes, np.int32),
        {"source": "noise", "maker": "numpy"},
        {"no reason": 2},
        {"odd boxes": 3},
    )


def paths_in(folder):
    return {size: folder / f"{size[0]}x{size[1]}" / "train.h5" for size in SIZES}


def write(annotations, source, target, **options):
    paths = paths_in(target)
    options = {"settings": annotations.settings, "workers": 1, **options}
    write_pictures(annotations, source, paths, **options)
    return paths


def contents(paths):
    return [path.read_bytes() for path in paths.values()]


@pytest.fixture
def source(tmp_path):
    return tmp_path / "pictures"


def test_the_stores_hold_pictures_and_annotations(source, tmp_path):
    annotations = make_source(source)
    paths = write(annotations, source, tmp_path / "out")
    for size, path in paths.items():
        store = SceneReader(path)
        assert store.image_size == size and len(store) == COUNT
        for i, file in enumerate(annotations.files):
            np.testing.assert_array_equal(store.image(i), load_image(source / file, size))
        for name in vars(annotations.table):
            np.testing.assert_array_equal(
                getattr(store, name), getattr(annotations.table, name), err_msg=name
            )
        assert store.vocabulary.attributes == ("red", "tall")
        report = {"report": {"skipped_pictures": {"no reason": 2}, "notes": {"odd boxes": 3}}}
        assert store.settings == {**annotations.settings, "image_size": list(size), **report}
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left == {"train.h5"}


def test_one_picture_at_several_sizes_is_that_of_each_size(source):
    make_source(source, 1)
    images, _ = load_images(source / "0" / "0.png", SIZES)
    for size, image in zip(SIZES, images, strict=True):
        np.testing.assert_array_equal(image, load_image(source / "0" / "0.png", size))
        with Image.open(source / "0" / "0.png") as stored:
            pixels = np.asarray(stored, np.float64)
        np.testing.assert_allclose(image, antialiased(pixels, size), atol=1)


def antialiased(pixels, size):
    """Bilinear with antialiasing: a triangle filter as wide as a pixel of the result, float64."""

    def weights(stored, wanted):
        step = stored / wanted
        distance = (np.arange(stored) + 0.5)[None] - ((np.arange(wanted) + 0.5) * step)[:, None]
        table = np.maximum(0, 1 - np.abs(distance) / max(step, 1))
        return table / table.sum(1, keepdims=True)

    rows, columns = weights(pixels.shape[0], size[0]), weights(pixels.shape[1], size[1])
    return np.einsum("ih,hwc,jw->ijc", rows, pixels, columns)


@pytest.mark.slow
def test_processes_change_nothing(source, tmp_path, monkeypatch):
    annotations = make_source(source)
    monkeypatch.setattr(pictures_module, "_FEW", 0)
    one = write(annotations, source, tmp_path / "one", workers=1)
    two = write(annotations, source, tmp_path / "two", workers=2)
    assert contents(one) == contents(two)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space")])
@pytest.mark.parametrize("pictures", [0, 1, 32, 48])
def test_an_interrupted_pass_goes_on_and_ends_in_the_same_bytes(
    source, tmp_path, monkeypatch, error, pictures
):
    annotations = make_source(source)
    whole = write(annotations, source, tmp_path / "whole")
    written = pictures_module._write_rows
    done = []

    def interrupted(files, sizes, result):
        if len(done) * pictures_module._CHUNK >= pictures:
            files[0].write(b"half of a row")  # what a killed process leaves behind
            files[0].flush()
            raise error
        done.append(result)
        written(files, sizes, result)

    monkeypatch.setattr(pictures_module, "_write_rows", interrupted)
    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        write(annotations, source, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.h5"))
    monkeypatch.setattr(pictures_module, "_write_rows", written)
    decoded = []
    load = pictures_module.load_images
    monkeypatch.setattr(
        pictures_module,
        "load_images",
        lambda path, *rest: decoded.append(path) or load(path, *rest),
    )
    annotations.save(tmp_path / "saved.h5")  # as another run of the program finds them
    parts = write(Annotations.load(tmp_path / "saved.h5"), source, tmp_path / "out")
    assert contents(parts) == contents(whole)
    assert len(decoded) == COUNT - pictures_module._CHUNK * len(done)


def test_a_store_that_can_not_be_written_costs_no_decoding(source, tmp_path, monkeypatch):
    """The first size is written; the second finds a full disk, and is written later."""
    annotations = make_source(source)
    whole = write(annotations, source, tmp_path / "whole")
    write_store = pictures_module.write_store

    def full(path, *rest):
        if path.parent.name == "16x16":
            raise OSError(errno.ENOSPC, "No space")
        write_store(path, *rest)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(pictures_module, "write_store", full)
        write(annotations, source, tmp_path / "out")
    monkeypatch.setattr(pictures_module, "load_images", None)  # nothing is decoded again
    path = paths_in(tmp_path / "out")[16, 16]
    write_pictures(annotations, source, {(16, 16): path}, annotations.settings, 1)
    assert contents(paths_in(tmp_path / "out")) == contents(whole)
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left == {"train.h5"}


def test_what_other_annotations_left_is_not_used(source, tmp_path, monkeypatch):
    annotations = make_source(source)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pictures_module, "write_store", stop)
        with pytest.raises(KeyboardInterrupt):
            write(annotations, source, tmp_path / "out")
    fewer = annotations.select(np.arange(5, COUNT))
    store = SceneReader(write(fewer, source, tmp_path / "out")[SIZES[0]])
    expected = load_image(source / fewer.files[0], SIZES[0])
    np.testing.assert_array_equal(store.image(0), expected)


def test_unreadable_pictures_are_named_together_and_tried_again(source, tmp_path):
    annotations = make_source(source)
    whole = write(annotations, source, tmp_path / "whole")
    broken = [source / annotations.files[i] for i in (3, 40)]
    kept = [path.read_bytes() for path in broken]
    broken[0].write_bytes(b"")
    broken[1].unlink()
    with pytest.raises(Sg2ImError) as error:
        write(annotations, source, tmp_path / "out")
    for part in ("2 of 60 pictures", "3.png is empty (0 bytes)", "40.png is missing", "kept: run"):
        assert part in str(error.value)
    assert not list((tmp_path / "out").rglob("*.h5"))
    broken[0].write_bytes(kept[0])
    with pytest.raises(Sg2ImError, match=r"^The picture .*40\.png is missing"):
        write(annotations, source, tmp_path / "out")
    broken[1].write_bytes(kept[1])
    assert contents(write(annotations, source, tmp_path / "out")) == contents(whole)


@pytest.mark.parametrize("again", [False, True])
def test_a_kill_in_mid_chunk_leaves_no_black_picture(source, tmp_path, monkeypatch, again):
    """With a picture that can not be read, or that can be read only now."""
    annotations = make_source(source)
    whole = write(annotations, source, tmp_path / "whole")
    broken = source / annotations.files[3]
    content = broken.read_bytes()
    broken.unlink()
    if again:
        with pytest.raises(Sg2ImError, match="3.png is missing"):
            write(annotations, source, tmp_path / "out")
        broken.write_bytes(content)
    written = pictures_module._write_rows

    def killed(files, sizes, result):
        if again:
            raise KeyboardInterrupt  # noted as read, and its row is not there
        written(files, sizes, result)
        raise KeyboardInterrupt  # its empty row is there

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pictures_module, "_write_rows", killed)
        write(annotations, source, tmp_path / "out")
    if not again:
        with pytest.raises(Sg2ImError, match="3.png is missing"):
            write(annotations, source, tmp_path / "out")
        broken.write_bytes(content)
    assert contents(write(annotations, source, tmp_path / "out")) == contents(whole)


def test_unreadable_pictures_are_left_out_when_asked(source, tmp_path):
    annotations = make_source(source)
    (source / annotations.files[0]).write_bytes(b"no picture")
    (source / annotations.files[20]).unlink()
    Image.new("RGB", (5, 5)).save(source / annotations.files[59])  # another size than listed
    paths = write(annotations, source, tmp_path / "out", skip_unreadable=True)
    rest = [i for i in range(COUNT) if i not in (0, 20, 59)]
    expected = annotations.table.select(np.array(rest))
    for size, path in paths.items():
        store = SceneReader(path)
        for name in vars(expected):
            np.testing.assert_array_equal(getattr(store, name), getattr(expected, name))
        for row, i in enumerate(rest):
            image = load_image(source / annotations.files[i], size)
            np.testing.assert_array_equal(store.image(row), image)
        assert store.settings["report"]["skipped_pictures"] == {
            "no reason": 2,
            "the picture can not be read": 3,
        }


def test_a_picture_of_another_size_is_taken_where_the_list_does_not_count(source, tmp_path):
    annotations = make_source(source)
    Image.new("RGB", (5, 5), "red").save(source / annotations.files[1])
    paths = write(annotations, source, tmp_path / "out", check_sizes=False)
    assert SceneReader(paths[SIZES[0]]).image(1).reshape(-1, 3).tolist() == [[255, 0, 0]] * 96


def test_room_is_asked_for_before_the_work(source, tmp_path, monkeypatch):
    annotations = make_source(source)
    monkeypatch.setattr("sg2im_pyg.system.disk.free_bytes", lambda _: 2**16)
    sentence = r"data of 60 pictures needs .* MB of disk space in .*, where 65.5 kB are free"
    with pytest.raises(Sg2ImError, match=sentence):
        write(annotations, source, tmp_path / "out")


def test_annotations_are_saved_and_found_again(source, tmp_path):
    annotations = make_source(source)
    path = tmp_path / "converted" / "train.h5"
    annotations.save(path)
    found = saved_annotations(path, annotations.settings)
    for name in vars(annotations.table):
        np.testing.assert_array_equal(getattr(found.table, name), getattr(annotations.table, name))
    for name in (
        "vocabulary",
        "mask_size",
        "files",
        "skipped",
        "notes",
        "settings",
    ):
        assert getattr(found, name) == getattr(annotations, name), name
    np.testing.assert_array_equal(found.stored_sizes, annotations.stored_sizes)
    assert saved_annotations(path, {"source": "other"}) is None
    assert saved_annotations(tmp_path / "none.h5", {}) is None
    path.write_bytes(path.read_bytes()[:1000])
    assert saved_annotations(path, annotations.settings) is None
    with pytest.raises(Sg2ImError, match="no whole HDF5 file"):
        Annotations.load(path)


def test_a_split_without_a_picture_that_can_be_read_is_an_error(source, tmp_path):
    annotations = make_source(source, 4)
    for name in annotations.files:
        (source / name).write_bytes(b"no picture")
    with pytest.raises(Sg2ImError, match="No picture of .*pictures can be read, all 4 .*0.png"):
        write(annotations, source, tmp_path / "out", skip_unreadable=True)
    assert not list(tmp_path.rglob("train.h5"))


def test_what_was_guessed_is_counted_also_after_an_interruption(source, tmp_path, monkeypatch):
    annotations = make_source(source)
    for place in (1, 3, 50):  # stored sideways, as a telephone does
        path = source / annotations.files[place]
        exif = Image.Exif()
        exif[0x0112] = 6
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    annotations.files = [f"/somewhere/{file}" for file in annotations.files]
    whole = write(annotations, source, tmp_path / "whole")
    store = SceneReader(whole[SIZES[0]])
    assert store.settings["report"]["notes"] == {
        "odd boxes": 3,
        "pictures found by the last part of their path": COUNT,
        "pictures turned as their EXIF orientation says": 3,
    }
    written, done = pictures_module._write_rows, []

    def interrupted(*arguments):
        if done:
            raise KeyboardInterrupt
        done.append(written(*arguments))

    monkeypatch.setattr(pictures_module, "_write_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(annotations, source, tmp_path / "out")
    monkeypatch.setattr(pictures_module, "_write_rows", written)
    assert contents(write(annotations, source, tmp_path / "out")) == contents(whole)
