"""A generator as a safetensors file: its weights, and in the header what it is made of.

The header holds one text, under the name :data:`METADATA`: the entries of a checkpoint that are no
weights, as JSON. (The library writes several texts in any order: the same model would give other
bytes each time.)
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.formats.limits import MOST_SHOWN
from sg2im_pyg.system.files import replace_when_whole

METADATA = "sg2im_pyg"
_IN_TEXT = ("format", "version", "vocabulary", "model_config", "origin")
_DIGEST = "sha256"
_MOST_HEADER = 2**24  # bytes; the library allows six times as many


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as these do, with the length of the header and its brace; no file of
    torch does."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def load_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The entries of a checkpoint from a safetensors file, tensors on the CPU; those that it does
    not hold are absent.

    Raises:
        Sg2ImError: If the file is damaged, or its text is no JSON.
    """
    path = Path(path).absolute()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MOST_HEADER:
        raise Sg2ImError(
            f"{path} claims to have a header of {length:,} bytes, {_MOST_HEADER:,} are allowed: "
            "it is damaged; give another file."
        )
    try:
        # It checks before it reads a tensor that all of them lie in the file, one after the other.
        with safe_open(os.fspath(path), "pt") as weights:
            text = (weights.metadata() or {}).get(METADATA, "{}")
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
        stated = json.loads(text)
        if not isinstance(stated, dict):
            raise TypeError("its text is no JSON object")
        written = stated.pop(_DIGEST, None)  # files of before have none
        if written is not None and written != _digest(stated, tensors):
            raise ValueError("its contents are not those that were written, by their checksum")
    except Exception as error:  # the library has exceptions of its own, and torch and json theirs
        raise Sg2ImError(
            f"{path} can not be read as a safetensors file "
            f"({shortened(first_line(error), MOST_SHOWN)}): it is damaged or cut off; give "
            "another file."
        ) from error
    found = {name: stated[name] for name in _IN_TEXT if name in stated}
    return {**found, "generator": tensors}


def save_weights(
    path: str | os.PathLike[str], entries: Mapping[str, Any], half: bool = False
) -> None:
    """Writes a safetensors file under a temporary name and renames it when it is whole. The same
    entries give the same bytes.

    Args:
        path: File to write.
        entries: Those of a checkpoint with a generator alone.
        half: Whether weights of two or more dimensions are rounded to float16. Biases and what
            batch norm has counted stay as they are.

    Raises:
        Sg2ImError: If an entry can not be written as JSON, or a weight is beyond float16.
        OSError: If the file can not be written; an older one stays.
    """
    try:
        text = json.dumps({name: entries[name] for name in _IN_TEXT if name in entries})
    except (TypeError, ValueError, RecursionError) as error:
        raise Sg2ImError(
            f"{path} can not be written: what the model says of itself does not fit into JSON "
            f"({shortened(first_line(error), MOST_SHOWN)})."
        ) from error
    weights = {
        # They may lie in channels-last order; the file has none but the usual one.
        name: (_rounded(value, name) if half else value).detach().cpu().contiguous()
        for name, value in entries["generator"].items()
    }
    stated = json.loads(text)
    text = json.dumps({**stated, _DIGEST: _digest(stated, weights)})
    data = save(weights, {METADATA: text})
    with replace_when_whole(path) as temporary:
        temporary.write_bytes(data)


def _digest(stated: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a file says and holds."""
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
    for name in sorted(weights):
        value = weights[name]
        digest.update(f"{name}:{value.dtype}{tuple(value.shape)};".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _rounded(value: Tensor, name: str) -> Tensor:
    if value.dim() < 2 or not value.is_floating_point():
        return value
    rounded = value.half()
    if not rounded.isfinite().all():
        raise Sg2ImError(f"The parameter {name!r} has numbers beyond float16: leave out --half.")
    return rounded
