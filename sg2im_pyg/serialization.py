"""Reads files of torch without running code from them."""

import collections
import os
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from sg2im_pyg.errors import Sg2ImError

SAFE_CONTAINERS: tuple[Any, ...] = (
    collections.defaultdict,
    collections.Counter,
    list,
    dict,
    set,
    tuple,
    int,
    float,
    bool,
    str,
)
"""What a file may hold beside what :func:`torch.load` allows (tensors and plain containers);
the histories in the 2018 release's checkpoints are :class:`collections.defaultdict` of
:class:`list`."""


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
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(SAFE_CONTAINERS)):
            warnings.simplefilter("ignore")  # about old pickles: they are read, or refused below
            return torch.load(path, map_location="cpu", weights_only=True)
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
