"""Stores from elsewhere: nothing outside of them is read, and no byte of them is another one."""

import shutil

import h5py
import numpy as np
import pytest

from sg2im_pyg import Sg2ImError
from sg2im_pyg.commands import prepare
from sg2im_pyg.data import SceneReader
from sg2im_pyg.data.store import verify_store
from tests.data.test_store import make_scene, write

PICTURE = 4 * 6 * 3


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "4x6" / "train.h5"
    return write(path, [make_scene(seed) for seed in range(3)])


def replaced(name, make):
    def change(file, elsewhere):
        before = file[name][:]
        del file[name]
        made = make(before, elsewhere)
        if made is not None:
            file[name] = made
        return before

    return change


def external_storage(file, elsewhere):
    del file["image"]
    file.create_dataset("image", (3, 4, 6, 3), "u1", external=[(str(elsewhere), 0, 3 * PICTURE)])


def virtual(file, elsewhere):
    del file["image_id"]
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(str(elsewhere), "image_id", (3,))
    file.create_virtual_dataset("image_id", layout)


def endless(file, elsewhere, **options):
    del file["image_id"]
    file.create_dataset("image_id", (2**40,), "i8", **options)


ATTACKS = {
    "external storage": (external_storage, "image lies in another file"),
    "virtual": (virtual, "image_id lies in another file"),
    "external link": (
        replaced("image", lambda _, path: h5py.ExternalLink(str(path), "/image")),
        "image is missing, or a link",
    ),
    "external text": (
        lambda file, path: file.__setitem__("text", h5py.ExternalLink(str(path), "/text")),
        None,  # not followed: the vocabulary is that of the attributes
    ),
    "soft link": (replaced("image", lambda *_: h5py.SoftLink("/object_box")), "image is missing"),
    "endless": (endless, "image_id claims more bytes than the file has"),
    "endless, packed": (
        lambda *given: endless(*given, chunks=(2**20,), compression="gzip"),
        "image_id claims more bytes",
    ),
    "unsigned": (
        replaced("object_offset", lambda v, _: v.astype("u8") - np.array([0, 9, 0, 0], "u8")),
        "offsets of the objects are not in order",
    ),
    "long numbers": (replaced("object_box", lambda v, _: v.astype("g")), "no dataset of its type"),
    "nothing": (replaced("image_id", lambda *_: h5py.Empty("i8")), "no dataset of its type"),
    "a number": (replaced("image_id", lambda *_: np.int64(3)), "is damaged"),
    "mask size": (lambda file, _: file.attrs.modify("mask_size", 2**40), "masks of"),
    "brackets": (lambda file, _: file.attrs.modify("vocabulary", "[" * 50_000), "is damaged"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_store_takes_neither_other_files_nor_memory(name, store, tmp_path):
    change, sentence = ATTACKS[name]
    path = shutil.copy(store, tmp_path / "changed.h5")
    elsewhere = shutil.copy(store, tmp_path / "elsewhere.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]  # as in a file of an attacker, or one of before
        change(file, elsewhere)
    if sentence is None:
        assert len(SceneReader(path)) == 3
        return
    with pytest.raises(Sg2ImError, match=sentence) as refused:
        SceneReader(path)
    assert len(str(refused.value)) < 600


def test_numbers_in_another_order_of_bytes_are_read(store, tmp_path):
    path = shutil.copy(store, tmp_path / "big.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]
        for name in ("object_offset", "object_box", "object_category"):
            values = file[name][:]
            del file[name]
            file[name] = values.astype(values.dtype.newbyteorder(">"))
    found, expected = SceneReader(path), SceneReader(store)
    assert np.array_equal(found[1].boxes, expected[1].boxes)
    assert found.object_offset.dtype.isnative and found.boxes.dtype.isnative


def test_every_flipped_bit_of_numbers_and_names_is_told(store, tmp_path):
    whole, path = store.read_bytes(), tmp_path / "flipped.h5"
    with h5py.File(store) as file:
        places = {
            name: (dataset.id.get_offset(), dataset.size * dataset.dtype.itemsize)
            for name, dataset in file.items()
            if dataset.id.get_offset() is not None
        }
    places["vocabulary"] = (whole.index(b'"grass"'), 7)
    for name, (start, count) in places.items():
        for place in range(start, start + count, 5):
            content = bytearray(whole)
            content[place] ^= 1 << place % 8
            path.write_bytes(content)
            with pytest.raises(Sg2ImError, match="checksum|written|damaged|order|box|:"):
                verify_store(path)
            if name != "image":  # pictures are not looked at when a file is opened
                with pytest.raises(Sg2ImError):
                    SceneReader(path)


def test_verify_looks_at_all_and_names_what_is_damaged(store, tmp_path, capsys):
    root = tmp_path / "data"
    for size, split in (("4x6", "train"), ("4x6", "val"), ("8x8", "train")):
        (root / size).mkdir(parents=True, exist_ok=True)
        shutil.copy(store, root / size / f"{split}.h5")
    prepare.main(["--verify", str(root)], tmp_path)
    assert capsys.readouterr().out.count("whole: ") == 3
    with h5py.File(store) as file:
        place = file["image"].id.get_offset() + PICTURE
    path = root / "4x6" / "val.h5"
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(Sg2ImError, match=r"1 of 3 files are damaged. 1 of 3 pictures of .*place 1"):
        prepare.main(["coco", "--root", str(root), "--verify"], tmp_path)
    with pytest.raises(Sg2ImError, match="There is no prepared data in"):
        prepare.main(["landscapes", "--verify"], tmp_path)


def test_stores_of_before_are_read_and_said_to_be_without_checksums(store, tmp_path, capsys):
    path = shutil.copy(store, tmp_path / "old.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"], file["image_checksum"]
    assert len(SceneReader(path)) == 3
    prepare.main(["--verify", str(path)], tmp_path)
    assert "but for the pictures, it was prepared before" in capsys.readouterr().out


def test_a_store_that_is_cut_off_while_it_is_read_gets_a_sentence(store, tmp_path):
    path = shutil.copy(store, tmp_path / "cut.h5")
    reader = SceneReader(path)
    reader.image(0)
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(Sg2ImError, match="was cut off to 1,000 bytes while it was read"):
        reader.images(np.arange(3))
