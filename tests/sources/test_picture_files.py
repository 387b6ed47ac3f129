"""Pictures are found where annotations of other computers name them, and never elsewhere."""

import os
import unicodedata

import pytest

from sg2im_pyg.sources.picture_files import PictureFinder, find_pictures, lies_inside, names_a_file


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"picture")
    return folder


@pytest.mark.parametrize(
    "name, found",
    [
        ("a.png", "a.png"),
        ("sub/b.png", "sub/b.png"),
        ("./a.png", "a.png"),
        ("sub\\b.png", "sub/b.png"),
        ("images\\a.png", "a.png"),
        ("images/train/a.png", "a.png"),
        ("C:\\Users\\me\\data\\a.png", "a.png"),
        ("C:a.png", "a.png"),
        ("D:/data/sub/b.png", "sub/b.png"),
        ("\\\\server\\share\\sub\\b.png", "sub/b.png"),
        ("/photos/me/a.png", "a.png"),
        ("../../data/sub/b.png", "sub/b.png"),
        ("b.png", "sub/b.png"),  # in a folder below
        ("other/c.png", "sub/deep/c.png"),
        ("../outside.png", None),
        ("/etc/hostname", None),
        ("a/../../outside.png", None),
        ("twice.png", None),  # of two it can not be told which
        ("sub", None),  # a folder
    ],
)
def test_a_picture_is_looked_for_by_the_end_of_its_path(tmp_path, name, found):
    folder = make(tmp_path / "images", "a.png", "sub/b.png", "sub/deep/c.png")
    make(folder, "x/twice.png", "y/twice.png")
    make(tmp_path, "outside.png")
    [path], guessed = find_pictures(folder, [name])
    as_it_stands = {"a.png", "sub/b.png", "./a.png", "sub\\b.png"}
    if found is None:
        assert not path.is_file() and guessed == 0
    else:
        assert path.is_file() and path.samefile(folder / found)
        assert guessed == (name not in as_it_stands)
    assert folder.resolve() in path.resolve().parents


@pytest.mark.skipif(os.name == "nt", reason="a backslash separates there")
def test_a_file_with_a_backslash_in_its_name(tmp_path):
    folder = make(tmp_path, "sub\\b.png", "sub/b.png")
    assert find_pictures(folder, ["sub\\b.png"]) == ([folder / "sub\\b.png"], 0)


def test_a_file_is_taken_for_one_picture_only(tmp_path):
    folder = make(tmp_path, "a.png", "b.png")
    paths, guessed = find_pictures(folder, ["one/a.png", "two/a.png", "b.png", "three/b.png"])
    assert guessed == 0
    assert [path.is_file() for path in paths] == [False, False, True, False]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_may_be_letters_of_their_own(tmp_path, form):
    name = unicodedata.normalize(form, "sub/J\u00fcrgen \u30d1.png")
    folder = make(tmp_path, name)
    for other in ("NFC", "NFD"):
        [path], guessed = find_pictures(folder, [unicodedata.normalize(other, name)])
        assert path.is_file() and guessed == 0


@pytest.mark.parametrize(
    "name, fits",
    [
        ("3.00.01\u202fPM.png", True),  # of macOS
        ("a\u00a0b.png", True),
        ("\u3000.png", True),
        ("\U0001f468\u200d\U0001f469.png", True),
        ("\uf8ff.png", True),  # private use
        ("a\nb.png", False),
        ("a\0.png", False),
        ("\x85.png", False),
        ("\x7f.png", False),
        ("\ud800.png", False),  # no encoding has it
        ("", False),
        ("..", False),
        ("a/..", False),
        ("/", False),
    ],
)
def test_only_control_characters_are_refused(name, fits):
    assert names_a_file(name) == fits


def test_what_lies_inside():
    assert lies_inside("a/b.png") and lies_inside("a\u202fb.png")
    for name in ("/a", "../a", "a/../../b", "C:a", "C:\\a", "\\a", "..\\a"):
        assert not lies_inside(name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_folders_that_are_links_or_hidden(tmp_path):
    folder = make(tmp_path / "images", ".hidden/a.png")
    (folder / "link").symlink_to(make(tmp_path / "other", "b.png"), target_is_directory=True)
    paths, guessed = find_pictures(folder, ["D:\\x\\.hidden\\a.png", "/photos/me/link/b.png"])
    assert paths == [folder / ".hidden" / "a.png", folder / "link" / "b.png"] and guessed == 2


def test_a_file_beside_its_annotation_comes_first(tmp_path):
    finder = PictureFinder(make(tmp_path, "x/a.png", "y/a.png", "a.JPG"))
    assert finder.find("a.png", tmp_path / "y") == "y/a.png"
    assert finder.find("a", tmp_path / "x", any_suffix=True) == "x/a.png"
    assert finder.find("C:\\photos\\x\\A.PNG", tmp_path) == "x/a.png"
    assert finder.find("b.png", tmp_path) is None
    assert finder.guessed == 1 and finder.unlisted({"x/a.png"}) == 2
