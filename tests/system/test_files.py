"""Files appear whole under their name or not at all."""

import os

import pytest

from sg2im_pyg.system.files import replace_when_whole, sha256_of, temporary_path


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with replace_when_whole(str(path)) as temporary:
        temporary.write_text("whole", encoding="utf-8")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text(encoding="utf-8") == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_older_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("older", encoding="utf-8")
    with pytest.raises(error), replace_when_whole(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("older", encoding="utf-8")
    with replace_when_whole(path) as temporary:
        temporary.write_text("newer", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "newer"


def test_a_block_that_writes_nothing_raises_and_keeps_the_older_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("older", encoding="utf-8")
    with pytest.raises(FileNotFoundError), replace_when_whole(path):
        pass
    assert path.read_text(encoding="utf-8") == "older"


def test_temporary_names_are_hidden_beside_the_file_and_differ_by_process(tmp_path):
    temporary = temporary_path(tmp_path / "a.txt")
    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".a.txt") and str(os.getpid()) in temporary.name


def test_the_checksum_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert sha256_of(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
