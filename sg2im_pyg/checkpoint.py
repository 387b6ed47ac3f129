"""Checkpoints: all that is needed to generate pictures and to go on training, in one file.

A file holds plain containers, numbers, texts and tensors only, and is read with
``weights_only=True``: nothing in it is ever executed. :func:`save_safetensors` writes a generator
alone as a safetensors file. The entries:

==================  ==============================================================================
entry               meaning
==================  ==============================================================================
``format``          :data:`FORMAT`
``version``         :data:`VERSION`
``vocabulary``      names of the categories and predicates
``model_config``    options of the generator (:class:`~sg2im_pyg.model_config.ModelConfig`)
``generator``       its weights
``training``        absent in a file that is only for generating; otherwise the options of the
                    run, its step and best score, weights of the discriminators, states of the
                    optimizers and of the random numbers
``discriminators``  absent, or for each discriminator that is kept without a training its
                    ``options`` and ``weights``
``origin``          in safetensors files: how the generator was trained, as far as it is known:
                    the ``config`` and ``progress`` of its training, a ``note``
==================  ==============================================================================
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.native import (
    FORMAT,
    VERSION,
    CheckpointFile,
    checkpoint_of,
    open_checkpoint,
    open_released,
)
from sg2im_pyg.formats.released import from_native
from sg2im_pyg.formats.safetensors_file import save_weights
from sg2im_pyg.formats.torch_file import save_entries
from sg2im_pyg.model import Sg2Im
from sg2im_pyg.nn.discriminators import DISCRIMINATORS


class LoadedPlayers(NamedTuple):
    """The networks of a checkpoint, on the CPU, in eval mode."""

    model: Sg2Im
    """The generator."""
    discriminators: dict[str, Any]
    """Those of :data:`~sg2im_pyg.nn.discriminators.DISCRIMINATORS` that the file holds, by name."""


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Sg2Im,
    training: Mapping[str, Any] | None = None,
    discriminators: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint under a temporary name and renames it when it is whole.

    Args:
        path: File to write.
        model: The generator.
        training: What the run needs to go on, see :mod:`sg2im_pyg.training.resume`; it has the
            discriminators in it.
        discriminators: Those to keep without a training, by their names in
            :data:`~sg2im_pyg.nn.discriminators.DISCRIMINATORS`.

    Raises:
        OSError: If the file can not be written, as on a full disk; an older one stays.
        Sg2ImError: If the model can only generate.
    """
    entries = _entries(model, discriminators)
    if training is not None:
        entries["training"] = dict(training)
    save_entries(path, entries, zipped=True)


def save_released(
    path: str | os.PathLike[str],
    model: Sg2Im,
    discriminators: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint in the format of the 2018 release, see
    :func:`~sg2im_pyg.formats.released.from_native`; :func:`load_released` gives the same models
    back.

    Args:
        path: File to write.
        model: The generator.
        discriminators: Those that the file is to hold, by name: of objects' crops and of whole
            pictures.

    Raises:
        Sg2ImError: If a network has an option that the release does not know, or the release has no
            such network; it is named.
        OSError: If the file can not be written; an older one stays.
    """
    entries = from_native(_entries(model, discriminators))
    save_entries(path, entries, zipped=False)


def save_safetensors(
    path: str | os.PathLike[str],
    model: Sg2Im,
    origin: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Writes a generator as a safetensors file; :meth:`Sg2Im.from_pretrained` gives it back. The
    same model gives the same bytes.

    Args:
        path: File to write.
        model: The generator.
        origin: How it was trained, of what JSON can hold.
        half: Whether weights of two or more dimensions are rounded to float16, in half the bytes.

    Raises:
        OSError: If the file can not be written, as on a full disk; an older one stays.
        Sg2ImError: If the model can only generate, or a weight is beyond float16.
    """
    save_weights(path, {**_entries(model), "origin": dict(origin or {})}, half)


def load_players(path: str | os.PathLike[str]) -> LoadedPlayers:
    """All networks of a checkpoint: one of ours, with or without a training, or one in the format
    of the 2018 release. Which it is, its contents say.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind or of a newer version.
    """
    return _players(open_checkpoint(path))


def load_released(path: str | os.PathLike[str]) -> LoadedPlayers:
    """The networks of a checkpoint in the format of the 2018 release.

    Args:
        path: File of the release, with or without the discriminators.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind, holds pickled code, or
            parameters that do not fit the options it names.
    """
    return _players(open_released(path))


def players_from_entries(entries: Any, path: str | os.PathLike[str]) -> LoadedPlayers:
    """See :func:`load_players`.

    Args:
        entries: What :func:`~sg2im_pyg.formats.native.file_entries` gave for the file.
        path: The file, named in errors.
    """
    return _players(checkpoint_of(entries, path))


def _players(file: CheckpointFile) -> LoadedPlayers:
    model = Sg2Im.from_file(file)
    found = {name: file.discriminator(name) for name in DISCRIMINATORS}
    return LoadedPlayers(model, {name: each for name, each in found.items() if each is not None})


def _entries(model: Sg2Im, discriminators: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint keeps of networks."""
    if model.for_generation_only:
        raise Sg2ImError(
            "A copy made by for_generation() has folded weights, which no file holds: save the "
            "model that it was made of."
        )
    entries: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "vocabulary": model.vocabulary.to_dict(),
        "model_config": asdict(model.config),
        "generator": model.state_dict(),
    }
    if discriminators:
        entries["discriminators"] = {
            name: {"options": player.options, "weights": player.state_dict()}
            for name, player in discriminators.items()
        }
    return entries
