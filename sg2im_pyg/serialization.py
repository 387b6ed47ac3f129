"""Reads files of torch without running code from them, and writes them whole."""

import errno
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module, Parameter

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.files import replace_when_whole

_MOST_ENTRIES = 1000
"""Of a list among a network's options; more would be no option."""


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


def load_entries(path: str | os.PathLike[str]) -> Any:
    """The contents of a file of torch, old format or new, tensors on the CPU.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind, or holds pickled code.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise Sg2ImError(f"There is no checkpoint {path}: check the path, or download the file.")
    path.open("rb").close()  # says what the system refuses; all that follows is about the contents
    try:
        _check_archive(path)
        with warnings.catch_warnings(), _only_safe_globals():
            warnings.simplefilter("ignore")  # about old pickles: they are read, or refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Sg2ImError:
        raise
    except Exception as error:  # damaged bytes can raise nearly anything from the unpickler
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            raise Sg2ImError(
                f"{path} holds pickled code ({code[1]}), which could do anything when it is "
                "loaded: it is refused; use a file that holds only tensors and plain containers."
            ) from None
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
    with replace_when_whole(path) as temporary:
        try:
            torch.save(entries, temporary, _use_new_zipfile_serialization=zipped)
        except RuntimeError as error:  # torch's own writer names no errno
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def weight_shapes(make: Callable[[], Module]) -> dict[str, torch.Size]:
    """Shapes of a network's weights and buffers by name, without memory for them.

    Options from a file may ask for a network of any size: it is only made when the file holds
    weights of all these shapes.
    """
    with torch.device("meta"):
        return {key: value.shape for key, value in make().state_dict().items()}


def weight_problem(value: Any, shape: torch.Size) -> str | None:
    """What keeps a value of a file from being the weight of a shape, as the end of a sentence."""
    if type(value) not in (Tensor, Parameter):
        return "is no tensor"
    if value.shape != shape:
        return f"has the shape {tuple(value.shape)}, its options ask for {tuple(shape)}"
    if value.layout is not torch.strided or value.device.type != "cpu":
        return "is no ordinary tensor"
    if value.is_quantized or value.is_complex():
        return "does not hold real numbers"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "has fewer numbers than its shape says"
    return None if value.isfinite().all() else "holds numbers that are not finite"


def is_plain_option(value: Any) -> bool:
    """Whether a value of a file can be an option of a network: a number, a short text, or a list
    of such. Others could make a sentence that shows them endless."""
    if isinstance(value, (list, tuple)):
        flat = [n for entry in value[:_MOST_ENTRIES] for n in _entries_of(entry)]
        return len(value) < _MOST_ENTRIES and all(map(_is_short, flat))
    return _is_short(value)


def _entries_of(entry: Any) -> list[Any]:
    return list(entry[:_MOST_ENTRIES]) if isinstance(entry, (list, tuple)) else [entry]


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MOST_ENTRIES
    return value is None or isinstance(value, (bool, int, float))


def _check_archive(path: Path) -> None:
    """Checks that a zip archive does not grow when it is read; torch's own never do."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    with zipfile.ZipFile(path) as archive:
        claimed = sum(part.file_size for part in archive.infolist())
    if claimed > path.stat().st_size:
        raise Sg2ImError(
            f"{path} has {path.stat().st_size:,} bytes and claims to hold {claimed:,}, which "
            "torch.save never writes: it is refused; save the file again with torch.save."
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
