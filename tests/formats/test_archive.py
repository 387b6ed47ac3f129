"""Archives that Python and torch read differently: one is checked, the other would be loaded."""

import io
import struct
import zipfile

import pytest
import torch
from torch.nn import Linear

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.network_files import load_feature_network
from sg2im_pyg.formats.torch_file import load_entries


def saved(value):
    file = io.BytesIO()
    torch.save({"which": torch.full((2,), float(value))}, file)
    return file.getvalue()


FIRST, SECOND = saved(1), saved(2)
END = 22  # bytes of the record that a zip archive ends with


def after_a_directory_of_its_own():
    """Two whole archives: the numbers in the last record, counted from the file's beginning, lead
    into the first one; counted from the last record, into the second one."""
    return FIRST + SECOND


def in_the_comment_of_another():
    return FIRST[:-2] + struct.pack("<H", len(SECOND)) + SECOND


def with_bytes_before():
    return b"PK\x03\x04" + bytes(96) + FIRST


def with_bytes_behind():
    return FIRST + bytes(8)


def with_a_hidden_entry():
    """The directory begins before one more entry than it lists."""
    zipped = zipfile.ZipFile(io.BytesIO(FIRST))
    start = zipped.start_dir
    extra = b"PK\x03\x04" + bytes(26) + b"hidden" * 20
    shift = struct.pack("<Q", start + len(extra))
    end = FIRST[start:].replace(struct.pack("<Q", start), shift)
    end = end.replace(struct.pack("<L", start), struct.pack("<L", start + len(extra)))
    place = len(FIRST) + len(extra) - END - 20 - 56
    old = struct.pack("<Q", len(FIRST) - END - 20 - 56)
    return FIRST[:start] + extra + end.replace(old, struct.pack("<Q", place))


def rewritten(change=lambda archive: None, method=zipfile.ZIP_STORED, **renamed):
    """The first archive as Python writes it, with other names of entries."""
    file = io.BytesIO()
    old = zipfile.ZipFile(io.BytesIO(FIRST))
    with zipfile.ZipFile(file, "w", method) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        change(new)
    return file.getvalue()


def with_a_second_entry_in_capitals():
    pickle = zipfile.ZipFile(io.BytesIO(SECOND)).read("archive/data.pkl")
    return rewritten(lambda new: new.writestr("ARCHIVE/DATA.PKL", pickle))


def with_another_number_of_entries():
    narrow = struct.pack("<2H", *[len(zipfile.ZipFile(io.BytesIO(FIRST)).infolist())] * 2)
    head, end = FIRST[:-END], FIRST[-END:]
    return head + end.replace(narrow, struct.pack("<2H", 3, 3))


@pytest.mark.parametrize(
    "attack",
    [
        after_a_directory_of_its_own,
        in_the_comment_of_another,
        with_bytes_before,
        with_bytes_behind,
        with_a_hidden_entry,
        with_a_second_entry_in_capitals,
        with_another_number_of_entries,
    ],
)
def test_an_archive_that_two_readers_understand_differently_is_refused(attack, tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(attack())
    with pytest.raises(Sg2ImError, match=r"file\.pt is refused, it is no archive as torch\.save"):
        load_entries(path)


def test_the_attack_that_this_is_about_works_on_a_plain_reader(tmp_path):
    """Python finds the second archive, torch loads the first one."""
    path = tmp_path / "file.pt"
    path.write_bytes(after_a_directory_of_its_own())
    with zipfile.ZipFile(path) as archive:
        assert archive.read("archive/data/0") == struct.pack("<2f", 2, 2)
    with path.open("rb") as file:
        assert torch.load(file, weights_only=True)["which"].tolist() == [1, 1]


def test_an_archive_that_was_packed_anew_is_read(tmp_path):
    (tmp_path / "again.pt").write_bytes(rewritten())
    assert load_entries(tmp_path / "again.pt")["which"].tolist() == [1, 1]


def test_no_flipped_bit_is_loaded_as_another_number(tmp_path):
    """Each bit of a small file: a sentence, or what was written (bits that nobody reads)."""
    path, silent = tmp_path / "flipped.pt", 0
    for place in range(0, len(FIRST), 3):
        content = bytearray(FIRST)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            found = load_entries(path)
        except Sg2ImError as error:
            assert "flipped.pt" in str(error)
        else:
            silent += 1
            assert list(found) == ["which"]
            assert found["which"].tolist() == [1, 1]
    assert silent < len(FIRST) / 3 / 2


def test_torchscript_in_an_archive_of_two_minds_is_refused(tmp_path):
    path = tmp_path / "network.pt"
    torch.jit.script(Linear(3, 2)).save(path)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(Sg2ImError, match="TorchScript file .* is damaged"):
        load_feature_network(path)
