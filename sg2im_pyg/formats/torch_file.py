"""Reads files of torch without running code from them, and writes them whole."""

import io
import os
import pickletools
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.formats.archive import begins_as_archive, check_archive
from sg2im_pyg.system.files import replace_when_whole

_MOST_LEVELS = 50  # of containers
_PICKLES = 5  # in a row, in the format before PyTorch 1.6


class _Name:
    """Stands for a built-in type that a file names; unlike the type it can not be called."""


class _NumpyType:
    """Stands for a numpy.dtype in a file: its code and its byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _numpy_scalar(kind: _NumpyType, data: bytes) -> bool | int | float:
    """A number of numpy's as one of Python's."""
    if not re.fullmatch(r"b1|[iu][1248]|f[248]", kind.code) or kind.order not in tuple("<>|="):
        raise ValueError("a numpy scalar that is no number")
    return np.frombuffer(data, kind.order + kind.code, count=1)[0].item()


def _plain_dict(*_: Any) -> dict[Any, Any]:
    """What a defaultdict becomes: torch fills no other kind of dict."""
    return {}


_BUILTIN_NAMES = ("list", "dict", "tuple", "int", "float", "bool", "str")
SAFE_GLOBALS: tuple[tuple[Any, str], ...] = (
    (_plain_dict, "collections.defaultdict"),
    (_NumpyType, "numpy.dtype"),
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
    *((_Name(), f"builtins.{name}") for name in _BUILTIN_NAMES),
)
"""What a file may name beside what :func:`torch.load` allows (tensors and plain containers), and
what is put in its place. The histories in the 2018 release's checkpoints are
:class:`collections.defaultdict` of :class:`list`, and may hold numpy's numbers."""

_NAMES = re.compile(
    r"collections OrderedDict|torch Size|torch device|torch\.nn\.parameter Parameter"
    r"|torch (u?int|b?float|complex)\d+|torch bool|torch(\.cuda)? \w+Storage"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|_codecs encode|"
    + "|".join(re.escape(" ".join(name.rsplit(".", 1))) for _, name in SAFE_GLOBALS)
    + f"|__builtin__ ({'|'.join(_BUILTIN_NAMES)}|long|unicode)"  # as Python 2 called them
)
"""What a file may name in all, as :mod:`pickletools` writes it. :func:`torch.load` would also call
:class:`bytearray` and classes of tensors, which take as much memory as the file asks for."""


def load_entries(path: str | os.PathLike[str]) -> Any:
    """The contents of a file of torch, old format or new, tensors on the CPU.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind, or holds pickled code.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise Sg2ImError(f"There is no checkpoint {path}: check the path, or download the file.")
    # What the system refuses is said here; all that follows is about the contents. The same open
    # file is checked and loaded: what lies at the path may be replaced in between, and torch takes
    # a name that ends in .safetensors for such a file.
    file = path.open("rb")
    try:
        with file, warnings.catch_warnings(), _only_safe_globals():
            warnings.simplefilter("ignore")  # about old pickles: they are read, or refused below
            _check_pickles(file, path)
            file.seek(0)
            entries = torch.load(file, map_location="cpu", weights_only=True)
        _check_contents(entries, path)
        return entries
    except Sg2ImError:
        raise
    except Exception as error:  # damaged bytes can raise nearly anything from the unpickler
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            raise _refused(path, code[1]) from None
        raise Sg2ImError(
            f"{path} can not be read as a checkpoint, it is damaged, cut off or of another kind: "
            "give a file that train/run.py wrote, or one of the 2018 release."
        ) from error


def save_entries(path: str | os.PathLike[str], entries: Mapping[str, Any], zipped: bool) -> None:
    """Writes a file of torch under a temporary name and renames it when it is whole.

    Args:
        path: File to write.
        entries: Its contents.
        zipped: Whether to write today's format, or the one before PyTorch 1.6.

    Raises:
        OSError: If the file can not be written, as on a full disk; an older one stays.
    """
    with replace_when_whole(path) as temporary, temporary.open("wb") as file:
        target = _Target(file)
        try:
            torch.save(entries, cast(Any, target), _use_new_zipfile_serialization=zipped)
        except Exception as error:  # torch's own writer does not say what the system said
            if target.error is None:
                raise
            failed = target.error
            raise OSError(failed.errno, failed.strerror, str(path)) from error


class _Target:
    """A file to write to that keeps what the system refuses; it has no number, so that torch writes
    to it alone."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.error = file, None  # type: IO[bytes], OSError | None

    def write(self, content: Any) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self.file.flush()


def weight_shapes(make: Callable[[], Module]) -> dict[str, torch.Size]:
    """Shapes of a network's weights and buffers by name, without memory for them.

    Options from a file may ask for a network of any size: it is only made when the file holds
    weights of all these shapes.
    """
    with torch.device("meta"):
        return {key: value.shape for key, value in make().state_dict().items()}


def _check_pickles(file: IO[bytes], path: Path) -> None:
    """Checks what the pickles of a file name, before anything is made of them.

    Raises:
        Sg2ImError: At a name that is not among :data:`_NAMES`, and at a zip archive that grows when
            it is read, that torch may understand otherwise, or whose checksums are wrong; torch's
            own are none of these.
    """
    if not begins_as_archive(file):  # torch takes it for the format before 1.6
        for _ in range(_PICKLES):
            _check_pickle(file, path)
        return
    try:
        archive = check_archive(file, most=file.seek(0, os.SEEK_END))
    except Exception as error:  # damaged bytes can raise nearly anything from zipfile
        raise Sg2ImError(
            f"{path} is refused, it is no archive as torch.save writes it or it is damaged "
            f"({shortened(first_line(error), 100)}): give another copy, or save the file "
            "again with torch.save."
        ) from error
    for part in archive.infolist():
        if part.filename.lower().endswith(".pkl"):  # torch's reader does not mind the case
            _check_pickle(io.BytesIO(archive.read(part)), path)


def _check_pickle(file: IO[bytes], path: Path) -> None:
    """Checks one pickle.

    Bytes are pickled as text to be encoded in Latin-1. Any other use of that function could be put
    into itself, and with a codec such as "hex" double its memory each time.
    """
    kept: dict[int, object] = {}  # what the pickle can come back to
    top: object = None
    encoding: list[object] = []  # what has followed the function that encodes
    for operation, given, _ in pickletools.genops(file):
        kind, argument = operation.name, cast(Any, given)
        if kind in ("BINPUT", "LONG_BINPUT"):
            kept[argument] = top
            continue
        top = None
        if kind == "GLOBAL":
            if not _NAMES.fullmatch(argument):
                raise _refused(path, argument.replace(" ", "."))
            top = argument
        elif kind == "BINUNICODE":
            top = "latin1" if argument == "latin1" else "text"
        elif kind in ("BINGET", "LONG_BINGET"):
            top = kept.get(argument)
        elif kind in ("TUPLE2", "REDUCE"):
            top = kind
        if encoding:
            encoding.append(top)
            if len(encoding) == 5:
                text, rest = encoding[1], encoding[2:]
                if text not in ("text", "latin1") or rest != ["latin1", "TUPLE2", "REDUCE"]:
                    raise _refused(path, "_codecs.encode")
                encoding, top = [], None
        elif top == "_codecs encode":
            encoding.append(top)
    if encoding:
        raise _refused(path, "_codecs.encode")


def _check_contents(entries: Any, path: Path) -> None:
    """Checks that a file holds all that its tensors need, and makes its dicts plain ones.

    A container that stands in itself would never end, and one that stands in many others, those in
    many others in turn, would fill all memory once it is written out.

    An :class:`~collections.OrderedDict` in a file can have attributes that hide its methods.

    Raises:
        Sg2ImError: If its tensors have more bytes than it, or its containers more entries.
    """
    most = path.stat().st_size
    if _written_out(entries, most, {}, 0) > most:
        raise Sg2ImError(
            f"{path} has {most:,} bytes, fewer than its lists have entries once those that stand "
            "in several places are written out: it is refused; give another file."
        )
    waiting, seen = [entries], set()
    storages: dict[int, int] = {}
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, Tensor):
            if entry.layout is torch.strided and entry.device.type == "cpu":
                storage = entry.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(entry, (dict, list, tuple, set)) and id(entry) not in seen:
            seen.add(id(entry))
            if isinstance(entry, OrderedDict):
                vars(entry).clear()
            waiting += dict.values(entry) if isinstance(entry, dict) else entry
    if sum(storages.values()) > path.stat().st_size:
        raise Sg2ImError(
            f"{path} has {path.stat().st_size:,} bytes, fewer than its tensors: it is damaged; "
            "give another file."
        )


def _written_out(entry: Any, most: int, known: dict[int, int], level: int) -> int:
    """Number of entries of nested containers; more than allowed where they do not end."""
    if not isinstance(entry, (dict, list, tuple, set)):
        return 1
    if id(entry) not in known:
        known[id(entry)] = most + 1  # until it is counted: where it stands in itself
        inner = dict.values(entry) if isinstance(entry, dict) else entry
        if level > _MOST_LEVELS:
            return most + 1
        total = 1 + sum(_written_out(value, most, known, level + 1) for value in inner)
        known[id(entry)] = min(total, most + 1)
    return known[id(entry)]


def _refused(path: Path, name: str) -> Sg2ImError:
    return Sg2ImError(
        f"{path} holds pickled code ({name[:100]}), which could do anything when it is loaded: it "
        "is refused; use a file that holds only tensors and plain containers."
    )


@contextmanager
def _only_safe_globals() -> Iterator[None]:
    """Within it torch reads what stands in :data:`SAFE_GLOBALS`, and not the many classes that
    other libraries have allowed."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals(list(SAFE_GLOBALS))
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
