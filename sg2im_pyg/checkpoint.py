"""Checkpoints: all that is needed to generate pictures and to go on training, in one file.

A file holds plain containers, numbers, texts and tensors only, and is read with
``weights_only=True``: nothing in it is ever executed. Its entries:

==================  ==============================================================================
entry               meaning
==================  ==============================================================================
``format``          :data:`FORMAT`
``version``         :data:`VERSION`
``vocabulary``      names of the categories and predicates
``model_config``    options of the generator (:class:`~sg2im_pyg.model.ModelConfig`)
``generator``       its weights
``training``        absent in a file that is only for generating; otherwise the options of the
                    run, its step and best score, weights of the discriminators, states of the
                    optimizers and of the random numbers
==================  ==============================================================================
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.files import replace_when_whole
from sg2im_pyg.model import Sg2Im, config_from_dict
from sg2im_pyg.released import is_released, load_released, released_generator
from sg2im_pyg.serialization import load_entries

FORMAT = "sg2im_pyg.checkpoint"
VERSION = 1


def save_checkpoint(
    path: str | os.PathLike[str], model: Sg2Im, training: Mapping[str, Any] | None = None
) -> None:
    """Writes a checkpoint under a temporary name and renames it when it is whole.

    Args:
        path: File to write.
        model: The generator.
        training: What the run needs to go on, see :mod:`sg2im_pyg.training.resume`.

    Raises:
        OSError: If the file can not be written, as on a full disk; an older one stays.
    """
    entries: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "vocabulary": model.vocabulary.to_dict(),
        "model_config": asdict(model.config),
        "generator": model.state_dict(),
    }
    if training is not None:
        entries["training"] = dict(training)
    with replace_when_whole(path) as temporary:
        try:
            torch.save(entries, temporary)
        except RuntimeError as error:  # torch's own writer names no errno
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads and checks the entries of a checkpoint, tensors on the CPU.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind or of a newer version.
    """
    return _checked(load_entries(path), Path(path))


def load_generator(path: str | os.PathLike[str]) -> Sg2Im:
    """See :meth:`Sg2Im.from_pretrained`."""
    path = Path(path)
    entries = load_entries(path)
    if is_released(entries):
        return released_generator(entries, path)
    _checked(entries, path)
    try:
        vocabulary = Vocabulary.from_dict(entries["vocabulary"])
        model = Sg2Im(vocabulary, config_from_dict(entries["model_config"]))
        model.load_state_dict(entries["generator"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise Sg2ImError(
            f"The parts of the checkpoint {path.absolute()} do not fit together "
            f"({first_line(error)}): give a file that train/run.py wrote."
        ) from error
    if not all(weight.isfinite().all() for weight in model.state_dict().values()):
        raise Sg2ImError(
            f"The checkpoint {path.absolute()} holds weights that are not finite, from a training "
            "that diverged: give an earlier one."
        )
    return model.eval()


def _checked(entries: Any, path: Path) -> dict[str, Any]:
    """The entries of a file of ours, of a version that this program reads."""
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise Sg2ImError(
            f"{path.absolute()} is a file of torch, but no checkpoint of sg2im_pyg: give a file "
            "that train/run.py wrote, or one of the 2018 release."
        )
    if type(entries.get("version")) is not int:
        raise Sg2ImError(
            f"{path.absolute()} names no version of its format, so it is damaged: give a file that "
            "train/run.py wrote."
        )
    if entries["version"] > VERSION:
        raise Sg2ImError(
            f"{path.absolute()} has version {entries['version']}, this program reads up to "
            f"{VERSION}: update sg2im_pyg."
        )
    parts = {"vocabulary": dict, "model_config": dict, "generator": dict}
    if entries.get("training") is not None:
        parts["training"] = dict
    for name, kind in parts.items():
        if not isinstance(entries.get(name), kind):
            raise Sg2ImError(
                f"The checkpoint {path.absolute()} lacks its part {name!r}, so it is damaged: give "
                "a file that train/run.py wrote."
            )
    return entries


__all__ = [
    "FORMAT",
    "VERSION",
    "load_generator",
    "load_released",
    "read_checkpoint",
    "save_checkpoint",
]
