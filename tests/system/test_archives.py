"""Archives of every kind."""

import stat
import zipfile

import pytest

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system import archives
from sg2im_pyg.system.archives import unpack
from tests.system.server import CONTENT, PICTURES, files_below, names, no_space, written, zipped


def test_the_named_members_are_unpacked(tmp_path):
    others = {"readme.txt": b"x", "train2017.txt": b"x", "annotations/a.json.zip": b"x"}
    content = zipped({**others, **PICTURES, "annotations/a.json": b"{}", "train2017/": b""})
    archive = written(tmp_path, content)
    unpack(archive, tmp_path / "out", ["train2017/", "annotations/a.json"])
    assert files_below(tmp_path / "out") == {**PICTURES, "annotations/a.json": b"{}"}


def test_an_interrupted_unpacking_goes_on(tmp_path, monkeypatch):
    archive = written(tmp_path, zipped(PICTURES))
    opened = []
    open_entry = zipfile.ZipFile.open

    def interrupted(self, entry, *arguments, **options):
        opened.append(entry.filename)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return open_entry(self, entry, *arguments, **options)

    monkeypatch.setattr(zipfile.ZipFile, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert len(files_below(tmp_path / "out")) == 2
    assert archives.is_partly_unpacked("pictures.zip", tmp_path / "out")
    unpack(archive, tmp_path / "out", ["train2017/"])
    assert files_below(tmp_path / "out") == PICTURES
    assert len(opened) == 3 + 3  # the two whole ones are not read again
    assert not archives.is_partly_unpacked("pictures.zip", tmp_path / "out")


def test_what_is_unpacked_is_not_looked_at_again(tmp_path, monkeypatch):
    archive = written(tmp_path, zipped(PICTURES))
    unpack(archive, tmp_path, ["train2017/"])
    with monkeypatch.context() as context:
        context.setattr(archives, "ZipFile", None)
        unpack(archive, tmp_path, ["train2017/"])
    for path in (tmp_path / "train2017").iterdir():
        path.unlink()
    unpack(archive, tmp_path, ["train2017/"])  # the marker alone is not believed
    assert len(list((tmp_path / "train2017").iterdir())) == len(PICTURES)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "train2017/../../evil.jpg",
        "/evil.jpg",
        "train2017//evil.jpg",
        "./train2017/evil.jpg",
        "C:/evil.jpg",
        "C:evil.jpg",
        "train2017\\..\\..\\evil.jpg",
        "train2017/a:b.jpg",
        "train2017/con",
        "train2017/LPT1.jpg",
        "train2017/evil.jpg.",
        "train2017/evil ",
        "train2017/ev\nil.jpg",
        "train2017/what?.jpg",
    ],
)
def test_hostile_names_are_refused_before_anything_is_written(tmp_path, name):
    archive = written(tmp_path, zipped({**PICTURES, name: b"evil"}))
    with pytest.raises(Sg2ImError, match="is refused, its entry") as caught:
        unpack(archive, tmp_path / "a" / "out", ["train2017/"])
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["pictures.zip"]


def test_links_and_names_that_collide_are_refused(tmp_path):
    for kind in (stat.S_IFLNK, stat.S_IFIFO):
        link = zipfile.ZipInfo("train2017/link")
        link.create_system, link.external_attr = 3, (kind | 0o777) << 16
        archive = written(tmp_path, zipped({link: b"/etc/passwd"}))
        with pytest.raises(Sg2ImError, match="is a link"):
            unpack(archive, tmp_path / "out", ["train2017/"])
    archive = written(tmp_path, zipped({"train2017/a.jpg": b"1", "train2017/A.JPG": b"2"}))
    with pytest.raises(Sg2ImError, match="is there twice"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert names(tmp_path) == ["pictures.zip"]


def test_an_archive_without_the_members_is_refused(tmp_path):
    archive = written(tmp_path, zipped(PICTURES))
    with pytest.raises(Sg2ImError, match="does not hold val2017/"):
        unpack(archive, tmp_path / "out", ["train2017/", "val2017/"])
    assert names(tmp_path) == ["pictures.zip"]


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_an_archive_cut_off_is_to_be_downloaded_again(tmp_path, kept):
    content = zipped(PICTURES)
    for part in (content[: int(len(content) * kept)], content[-int(len(content) * kept) :]):
        archive = written(tmp_path, part)
        with pytest.raises(Sg2ImError, match="damaged or cut off .* download it again"):
            unpack(archive, tmp_path / "out", ["train2017/"])
        assert not any(name.startswith("train") for name in files_below(tmp_path / "out"))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_within_an_archive_leaves_no_half_file(tmp_path, compression):
    content = bytearray(zipped(PICTURES, compression))
    content[content.index(b"train2017/000000000003.jpg") + 500] ^= 255
    archive = written(tmp_path, bytes(content))
    with pytest.raises(Sg2ImError, match="damaged"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert files_below(tmp_path / "out") == dict(list(PICTURES.items())[:2])


def test_an_entry_larger_than_its_header_says_is_refused(tmp_path):
    size = 50_000_000
    content = zipped({"train2017/bomb.jpg": bytes(size)})
    assert len(content) < 100_000
    archive = written(tmp_path, content.replace(size.to_bytes(4, "little"), b"\x64\0\0\0"))
    with zipfile.ZipFile(archive) as changed:
        assert changed.getinfo("train2017/bomb.jpg").file_size == 100
    with pytest.raises(Sg2ImError, match="damaged"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert files_below(tmp_path / "out") == {}


def test_an_entry_smaller_than_its_header_says_is_refused(tmp_path):
    content = zipped({"train2017/1.jpg": CONTENT})
    size = len(CONTENT).to_bytes(4, "little")
    archive = written(tmp_path, content.replace(size, (2 * len(CONTENT)).to_bytes(4, "little")))
    with pytest.raises(Sg2ImError, match="smaller than its header says"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert files_below(tmp_path / "out") == {}


def test_an_archive_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    archive = written(tmp_path, zipped({"train2017/bomb.jpg": bytes(50_000_000)}))
    no_space(monkeypatch, free=49_000_000)
    with pytest.raises(Sg2ImError, match=r"needs 50\.0 MB"):
        unpack(archive, tmp_path / "out", ["train2017/"])
    assert names(tmp_path) == ["pictures.zip"]
