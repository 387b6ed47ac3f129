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
``discriminators``  absent, or for each discriminator that is kept without a training its
                    ``options`` and ``weights``
==================  ==============================================================================
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch.nn import Module

from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.model import Sg2Im, config_from_dict
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.released import (
    check_extent,
    check_layers,
    check_object_size,
    discriminator_options,
    is_released,
    load_released,
    released_discriminators,
    released_generator,
)
from sg2im_pyg.serialization import (
    is_plain_name,
    is_plain_option,
    load_entries,
    save_entries,
    shortened,
    weight_problem,
    weight_shapes,
)

FORMAT = "sg2im_pyg.checkpoint"
VERSION = 1


_M = TypeVar("_M", bound=Module)


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


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads and checks the entries of a checkpoint, tensors on the CPU.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind or of a newer version.
    """
    return _checked(load_entries(path), Path(path))


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
        entries: What :func:`~sg2im_pyg.serialization.load_entries` gave for the file.
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


def _discriminators(
    entries: Mapping[str, Any], vocabulary: Vocabulary
) -> dict[str, tuple[dict[str, Any], Any]]:
    """Arguments and weights of each discriminator in a file of ours."""
    found = {}
    training, alone = entries.get("training") or {}, entries.get("discriminators") or {}
    for name, weights in (training.get("discriminators") or {}).items():
        options = dict(training["config"][name])
        if not options.pop("enabled"):
            raise ValueError(f"weights of the {name}, which is switched off")
        if name == "object_discriminator":
            options["num_categories"] = len(vocabulary.objects)
        found[name] = options, weights
    for name, entry in alone.items():
        found[name] = dict(entry["options"]), entry["weights"]
    for options, _ in found.values():
        _check_plain(options)
        slope = options.get("negative_slope", 0.0)
        if type(slope) not in (int, float) or not 0 <= slope < math.inf:
            raise ValueError("a negative_slope that is no number, 0 or more")
    return found


def _check_plain(options: Mapping[str, Any]) -> None:
    wrong = [name for name, value in options.items() if not is_plain_option(value)]
    if wrong:
        raise TypeError(f"the option {wrong[0]!r} is neither a number, a text nor a list of such")


def _filled(make: Callable[[], _M], weights: Mapping[str, Any], path: Path) -> _M:
    """A network with weights of a file, in eval mode; all must be there and fit."""
    shapes = weight_shapes(make)
    differing = sorted(set(shapes) ^ set(weights), key=str)
    if differing:
        raise KeyError(f"weights of {str(differing[0])[:100]}")
    for name, shape in shapes.items():
        problem = weight_problem(weights[name], shape, name)
        if problem:
            diverged = ", from a training that diverged" if "not finite" in problem else ""
            raise Sg2ImError(
                f"The weight {name!r} of the checkpoint {path.absolute()} {problem}{diverged}: "
                "give an earlier one, or another file."
            )
    network = make()
    network.load_state_dict(weights)
    return network.eval()


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Whatever else is wrong in a file from elsewhere."""
    try:
        yield
    except (AttributeError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, Sg2ImError):
            raise
        raise Sg2ImError(
            f"The parts of the checkpoint {path.absolute()} do not fit together "
            f"({shortened(first_line(error))}): give a file that train/run.py wrote."
        ) from error


def _checked(entries: Any, path: Path) -> dict[str, Any]:
    """The entries of a file of ours, of a version that this program reads."""
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise Sg2ImError(
            f"{path.absolute()} is a file of torch, but no checkpoint of sg2im_pyg: give a file "
            "that train/run.py wrote, or one of the 2018 release."
        )
    if type(entries.get("version")) is not int or entries["version"] < 1:
        raise Sg2ImError(
            f"{path.absolute()} names no version of its format, so it is damaged: give a file that "
            "train/run.py wrote."
        )
    if entries["version"] > VERSION:
        raise Sg2ImError(
            f"{path.absolute()} has version {shortened(entries['version'])}, this program reads up "
            f"to {VERSION}: update sg2im_pyg."
        )
    parts = {"vocabulary": dict, "model_config": dict, "generator": dict}
    for name in ("training", "discriminators"):
        if entries.get(name) is not None:
            parts[name] = dict
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
    "LoadedPlayers",
    "load_generator",
    "load_players",
    "load_released",
    "players_from_entries",
    "read_checkpoint",
    "save_checkpoint",
]
