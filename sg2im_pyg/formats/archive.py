"""Zip archives that are read twice, by Python to be checked and by torch to be loaded: only such
are taken that both understand in the same way, and whose contents have their checksums.

An archive with bytes before it, with a second directory or with a name in two places may be one
thing to one reader and another thing to the other, so that what is checked is not what is loaded.
torch itself compares no checksums, although it writes one for each entry.
"""

import struct
import zipfile
from typing import IO

_FIRST = b"PK\x03\x04"
"""What every archive that torch writes begins with, and what it knows one by."""
_LOCAL, _END, _END_64, _LOCATOR_64 = "<4s5H3L2H", "<4s4H2LH", "<4sQ2H2L4Q", "<4sLQL"
_SATURATED = (0xFFFF, 0xFFFFFFFF)  # in the place of numbers that stand in a record of 64 bits
_ENCRYPTED, _SIZES_BEHIND = 1, 8  # flags of an entry
_SIZE_64 = 1  # the extra field with sizes of 64 bits
_MOST_BEHIND = 24  # bytes of checksum and sizes behind an entry
_BLOCK = 2**20


def begins_as_archive(file: IO[bytes]) -> bool:
    """Whether torch takes an open file for an archive; it is left at its beginning."""
    file.seek(0)
    first = file.read(len(_FIRST))
    file.seek(0)
    return first == _FIRST


def check_archive(file: IO[bytes], most: int) -> zipfile.ZipFile:
    """Opens an archive whose directory and contents are beyond doubt.

    Args:
        file: The open file.
        most: Bytes that its contents may have.

    Raises:
        ValueError: If two readers could differ about it, or it has more; with the reason.
        Exception: What :mod:`zipfile` and its decoders raise at a damaged file.
    """
    size = file.seek(0, 2)
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    claimed = sum(entry.file_size for entry in entries)
    if claimed > most:
        raise ValueError(f"it has {size:,} bytes and claims to hold {claimed:,}")
    end = _check_end(file, size, len(entries))
    names = [entry.orig_filename for entry in entries]
    # torch's reader does not distinguish upper and lower case, and ends a name at a zero byte.
    if len({name.casefold() for name in names}) < len(names) or "\0" in "".join(names):
        raise ValueError("two of its entries have the same name")
    place = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if not 0 <= entry.header_offset - place <= (_MOST_BEHIND if place else 0):
            raise ValueError("its entries do not lie one after the other")
        place = _check_entry(file, entry)
    if not 0 <= end - place <= _MOST_BEHIND:
        raise ValueError("there is something between its entries and its directory")
    for entry in entries:
        with archive.open(entry) as content:  # zipfile compares the checksum at its end
            while content.read(_BLOCK):
                pass
    return archive


def _check_end(file: IO[bytes], size: int, count: int) -> int:
    """Checks the records at the end of an archive; gives the place where its directory begins."""
    place = size - struct.calcsize(_END)
    mark, disk, first_disk, here, entries, length, start, comment = _read(file, _END, place)
    found = (disk, first_disk, here, entries, length, start)
    if mark != b"PK\x05\x06" or comment:
        raise ValueError("it does not end with its directory")
    before = place - struct.calcsize(_LOCATOR_64)
    if before > 0 and _read(file, _LOCATOR_64, before)[0] == b"PK\x06\x07":
        _, _, wide, _ = _read(file, _LOCATOR_64, before)
        place = before - struct.calcsize(_END_64)
        if wide != place:
            raise ValueError("it has two directories")
        mark, rest, _, _, *numbers = _read(file, _END_64, place)
        if mark != b"PK\x06\x06" or rest != struct.calcsize(_END_64) - 12:
            raise ValueError("its directory is damaged")
        for narrow, number in zip(found, numbers, strict=True):
            if narrow not in (number, *_SATURATED):
                raise ValueError("it has two directories")
        found = tuple(numbers)
    disk, first_disk, here, entries, length, start = found
    if disk or first_disk or here != entries or entries != count or start + length != place:
        raise ValueError("its directory is damaged, or there are bytes before it")
    return start


def _check_entry(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Compares an entry of the directory with what stands before its content; gives its end."""
    header = _read(file, _LOCAL, entry.header_offset)
    mark, _, flags, method, _, _, checksum, packed, unpacked, name_bytes, extra_bytes = header
    if mark != _FIRST or flags != entry.flag_bits or method != entry.compress_type:
        raise ValueError("an entry differs from the directory")
    if flags & _ENCRYPTED or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("an entry is encrypted or packed in an unusual way")
    stated = (entry.CRC, entry.compress_size, entry.file_size)
    for there, wanted in zip((checksum, packed, unpacked), stated, strict=True):
        later = flags & _SIZES_BEHIND and there == 0
        if not (there == wanted or later or (there == _SATURATED[1] and wanted > there)):
            raise ValueError("an entry differs from the directory")
    if method == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
        raise ValueError("an entry has two sizes")
    _check_extra(entry.extra)
    begins = entry.header_offset + struct.calcsize(_LOCAL) + name_bytes + extra_bytes
    return begins + entry.compress_size


def _check_extra(extra: bytes) -> None:
    """Readers differ about an extra field of sizes that stands there twice."""
    place, wide = 0, 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        wide += kind == _SIZE_64
        place += 4 + length
    if wide > 1:
        raise ValueError("an entry has two sizes")


def _read(file: IO[bytes], form: str, place: int) -> tuple:
    if place < 0:
        raise ValueError("it is cut off")
    file.seek(place)
    return struct.unpack(form, file.read(struct.calcsize(form)))
