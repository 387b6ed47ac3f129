"""Checkpoints: all that is needed to generate pictures and to go on training, in one file.

A file holds plain containers, numbers, texts and tensors only, and is read with
``weights_only=True``: nothing in it is ever executed. Its entries:

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
==================  ==============================================================================
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.limits import (
    check_extent,
    check_layers,
    check_object_size,
    is_plain_name,
    shortened,
)
from sg2im_pyg.formats.native import (
    FORMAT,
    VERSION,
    _check_plain,
    _checked,
    _damage_named,
    _discriminators,
    _filled,
    read_checkpoint,
)
from sg2im_pyg.formats.released import (
    is_released,
    load_released,
    released_discriminators,
    released_generator,
)
from sg2im_pyg.formats.torch_file import load_entries, save_entries
from sg2im_pyg.model import Sg2Im
from sg2im_pyg.model_config import config_from_dict
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.nn.discriminators import discriminator_options


class LoadedPlayers(NamedTuple):
    """The networks of a checkpoint, on the CPU, in eval mode."""

    model: Sg2Im
    """The generator."""
    object_discriminator: ObjectDiscriminator | None
    """Discriminator of objects' crops, if the file holds it."""
    image_discriminator: PatchDiscriminator | None
    """Discriminator of whole pictures, if the file holds it."""


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Sg2Im,
    training: Mapping[str, Any] | None = None,
    object_discriminator: ObjectDiscriminator | None = None,
    image_discriminator: PatchDiscriminator | None = None,
) -> None:
    """Writes a checkpoint under a temporary name and renames it when it is whole.

    Args:
        path: File to write.
        model: The generator.
        training: What the run needs to go on, see :mod:`sg2im_pyg.training.resume`; it has the
            discriminators in it.
        object_discriminator: Discriminator to keep without a training.
        image_discriminator: Likewise.

    Raises:
        OSError: If the file can not be written, as on a full disk; an older one stays.
        Sg2ImError: If the model can only generate.
    """
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
    if training is not None:
        entries["training"] = dict(training)
    kept = {
        "object_discriminator": object_discriminator,
        "image_discriminator": image_discriminator,
    }
    discriminators = {
        name: {"options": discriminator_options(player), "weights": player.state_dict()}
        for name, player in kept.items()
        if player is not None
    }
    if discriminators:
        entries["discriminators"] = discriminators
    save_entries(path, entries, zipped=True)


def load_generator(path: str | os.PathLike[str]) -> Sg2Im:
    """See :meth:`Sg2Im.from_pretrained`."""
    path = Path(path)
    return _generator(load_entries(path), path)


def load_players(path: str | os.PathLike[str]) -> LoadedPlayers:
    """All networks of a checkpoint: one of ours, with or without a training, or one in the format
    of the 2018 release. Which it is, its contents say.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind or of a newer version.
    """
    return players_from_entries(load_entries(path), path)


def players_from_entries(entries: Any, path: str | os.PathLike[str]) -> LoadedPlayers:
    """See :func:`load_players`.

    Args:
        entries: What :func:`~sg2im_pyg.formats.torch_file.load_entries` gave for the file.
        path: The file, named in errors.
    """
    path = Path(path)
    model = _generator(entries, path)
    if is_released(entries):
        return LoadedPlayers(model, *released_discriminators(entries, path))
    with _damage_named(path):
        found = _discriminators(entries, model.vocabulary)
        object_discriminator = image_discriminator = None
        if "object_discriminator" in found:
            arguments, weights = found["object_discriminator"]
            layers = check_layers(arguments["layers"], path.absolute())
            size = check_object_size(arguments["object_size"], layers, path.absolute())
            options = {**arguments, "layers": layers, "object_size": size}
            object_discriminator = _filled(lambda: ObjectDiscriminator(**options), weights, path)
        if "image_discriminator" in found:
            arguments, weights = found["image_discriminator"]
            picture_options = {
                **arguments,
                "layers": check_layers(arguments["layers"], path.absolute()),
            }
            image_discriminator = _filled(
                lambda: PatchDiscriminator(**picture_options), weights, path
            )
    return LoadedPlayers(model, object_discriminator, image_discriminator)


def _generator(entries: Any, path: Path) -> Sg2Im:
    if is_released(entries):
        return released_generator(entries, path)
    _checked(entries, path)
    with _damage_named(path):
        _check_plain(entries["model_config"])
        for names in entries["vocabulary"].values():
            if not isinstance(names, (list, tuple)) or not all(map(is_plain_name, names)):
                raise TypeError("a vocabulary that is no list of names")
        try:
            config = config_from_dict(entries["model_config"])
            vocabulary = Vocabulary.from_dict(entries["vocabulary"])
        except Sg2ImError as error:
            raise Sg2ImError(
                f"The checkpoint {path.absolute()} holds wrong options: {shortened(error)}"
            ) from error
        check_extent(config, entries["generator"], path.absolute())
        return _filled(lambda: Sg2Im(vocabulary, config), entries["generator"], path)


__all__ = [
    "FORMAT",
    "VERSION",
    "LoadedPlayers",
    "load_generator",
    "load_players",
    "load_released",
    "players_from_entries",
    "read_checkpoint",
    "save_checkpoint",
]
