"""Checkpoints of this library, read and checked; :mod:`sg2im_pyg.checkpoint` lists their entries.

A file of the 2018 release is read as well: its entries are translated into ours, and from there on
the same checks hold for both.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch.nn import Module

from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.formats.limits import (
    MOST_SHOWN,
    check_counts,
    check_extent,
    check_layers,
    check_object_size,
    is_plain_name,
    is_plain_option,
    weight_problem,
)
from sg2im_pyg.formats.released import is_released, to_native, weight_name
from sg2im_pyg.formats.safetensors_file import is_safetensors, load_weights
from sg2im_pyg.formats.torch_file import load_entries, weight_shapes
from sg2im_pyg.model_config import ModelConfig, config_from_dict
from sg2im_pyg.nn.discriminators import DISCRIMINATORS

FORMAT = "sg2im_pyg.checkpoint"
VERSION = 1

_DAMAGE = (AttributeError, KeyError, OverflowError, RuntimeError, TypeError, ValueError)
_M = TypeVar("_M", bound=Module)


@dataclass(frozen=True)
class CheckpointFile:
    """What a checkpoint holds, whichever format it has.

    Attributes:
        path: The file, named in sentences.
        entries: Its entries in the format of this library; each has its kind, what is in them is
            checked when it is asked for.
        released: Whether the file has the format of the 2018 release.
    """

    path: Path
    entries: dict[str, Any]
    released: bool

    def vocabulary_and_options(self) -> tuple[Vocabulary, ModelConfig]:
        """What a generator is made of.

        Raises:
            Sg2ImError: If they are wrong, or ask for absurd sizes.
        """
        with self._damage_named():
            _check_plain(self.entries["model_config"])
            for names in self.entries["vocabulary"].values():
                if not isinstance(names, (list, tuple)) or not all(map(is_plain_name, names)):
                    raise TypeError("a vocabulary that is no list of names")
            try:
                config = config_from_dict(self.entries["model_config"])
                vocabulary = Vocabulary.from_dict(self.entries["vocabulary"])
            except Sg2ImError as error:
                raise Sg2ImError(
                    f"The checkpoint {self.path} holds wrong options: "
                    f"{shortened(error, MOST_SHOWN)}"
                ) from error
            check_extent(config, self.entries["generator"], self.path)
            return vocabulary, config

    def discriminator(self, name: str) -> Any:
        """One of :data:`DISCRIMINATORS` with its weights, in eval mode; none where the file does
        not hold it.

        Raises:
            Sg2ImError: If its options or weights are wrong.
        """
        with self._damage_named():
            found = self._options_and_weights(name)
            if found is None:
                return None
            kind, options = DISCRIMINATORS[name], dict(found[0])
            _check_plain(options)
            slope = options.get("negative_slope", 0.0)
            if type(slope) not in (int, float) or not 0 <= slope < math.inf:
                raise ValueError("a negative_slope that is no number, 0 or more")
            if "layers" in options:
                options["layers"] = check_layers(options["layers"], self.path)
            check_counts(options, self.path)
            if "object_size" in options:
                size = check_object_size(options["object_size"], options["layers"], self.path)
                options["object_size"] = size
            return self.fill(name, lambda: kind.network(**options), found[1])

    def fill(self, name: str, make: Callable[[], _M], weights: Mapping[str, Any]) -> _M:
        """A network with weights of the file, in eval mode; all must be there and fit.

        Args:
            name: The network: :obj:`"generator"` or one of :data:`DISCRIMINATORS`.
            make: Makes the network. It is first called without memory for the weights.
            weights: Its weights.

        Raises:
            Sg2ImError: If a weight is missing, too many, or does not fit.
        """

        def shown(key: Any) -> str:
            if self.released:
                key = weight_name(name, key, self.entries["model_config"])
            return repr(key)[:100]

        with self._damage_named():
            shapes = weight_shapes(make)
            unknown = [key for key in weights if key not in shapes]
            if unknown:
                raise Sg2ImError(
                    f"The checkpoint {self.path} holds the parameter {shown(unknown[0])}, which a "
                    f"model with its options does not have: {self._advice}."
                )
            missing = [key for key in shapes if key not in weights]
            if missing:
                raise Sg2ImError(
                    f"The checkpoint {self.path} lacks parameters, {len(missing)} in all, for "
                    f"example those of {shown(missing[0])}: {self._advice}."
                )
            for key, shape in shapes.items():
                problem = weight_problem(weights[key], shape, key)
                if problem:
                    diverged = ", from a training that diverged" if "not finite" in problem else ""
                    raise Sg2ImError(
                        f"The parameter {shown(key)} of the checkpoint {self.path} {problem}"
                        f"{diverged}: {self._advice}."
                    )
            network = make()
            network.load_state_dict(weights)
            return network.eval()

    def _options_and_weights(self, name: str) -> tuple[Mapping[str, Any], Any] | None:
        alone = (self.entries.get("discriminators") or {}).get(name)
        if alone is not None:
            return alone["options"], alone["weights"]
        training = self.entries.get("training") or {}
        weights = (training.get("discriminators") or {}).get(name)
        if weights is None:
            return None
        options = dict(training["config"][name])
        if not options.pop("enabled"):
            raise ValueError(f"weights of the {name}, which is switched off")
        count = len(self.entries["vocabulary"]["objects"])
        return DISCRIMINATORS[name].arguments(options, count), weights

    @property
    def _advice(self) -> str:
        if self.released:
            return "use a whole file of the 2018 release"
        return "give a file that train/run.py wrote"

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Whatever else is wrong in a file from elsewhere."""
        try:
            yield
        except Sg2ImError:
            raise
        except _DAMAGE as error:
            raise Sg2ImError(
                f"The parts of the checkpoint {self.path} do not fit together "
                f"({shortened(first_line(error), MOST_SHOWN)}): {self._advice}."
            ) from error


def open_checkpoint(path: str | os.PathLike[str], discriminators: bool = True) -> CheckpointFile:
    """Reads a checkpoint of this library or of the 2018 release, a file of torch or a safetensors
    file; which it is, its contents say.

    Args:
        path: The file.
        discriminators: Whether they are wanted, too; those of a file of the release are then
            translated.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind or of a newer version.
    """
    return checkpoint_of(file_entries(path), path, discriminators)


def file_entries(path: str | os.PathLike[str]) -> Any:
    """The contents of a file of torch or of a safetensors file, tensors on the CPU.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind, or holds pickled code.
    """
    return load_weights(path) if is_safetensors(path) else load_entries(path)


def open_released(path: str | os.PathLike[str]) -> CheckpointFile:
    """Reads a checkpoint of the 2018 release.

    Raises:
        Sg2ImError: If the file is missing, damaged or of another kind.
    """
    entries = load_entries(path)
    if not is_released(entries):
        raise Sg2ImError(
            f"{path} is no checkpoint of the 2018 release: the entries 'model_kwargs' and "
            "'model_state' are missing."
        )
    return checkpoint_of(entries, path)


def checkpoint_of(
    entries: Any, path: str | os.PathLike[str], discriminators: bool = True
) -> CheckpointFile:
    """See :func:`open_checkpoint`.

    Args:
        entries: What :func:`file_entries` gave for the file.
        path: The file.
        discriminators: Whether they are wanted, too.
    """
    path = Path(path).absolute()
    if not is_released(entries):
        return CheckpointFile(path, _checked(entries, path), released=False)
    file = CheckpointFile(path, {"format": FORMAT, "version": VERSION}, released=True)
    with file._damage_named():
        file.entries.update(to_native(entries, path, discriminators))
    return file


def read_checkpoint(path: str | os.PathLike[str], to_train: bool = False) -> dict[str, Any]:
    """Reads and checks the entries of a checkpoint of this library, tensors on the CPU.

    Args:
        path: The file.
        to_train: Whether a training is to go on from it.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind or of a newer version; if it
            lacks a training that is wanted.
    """
    entries = _checked(file_entries(path), Path(path).absolute())
    if to_train and entries.get("training") is None:
        raise Sg2ImError(
            f"{path} holds only the generator, so training can not go on from it: give a "
            "checkpoint that train/run.py wrote."
        )
    return entries


def entry_of(entries: Any, *names: str) -> Any:
    """An entry of nested dicts; none where a foreign file has something else on the way."""
    for name in names:
        entries = entries.get(name) if isinstance(entries, dict) else None
    return entries


def _check_plain(options: Mapping[str, Any]) -> None:
    wrong = [name for name, value in options.items() if not is_plain_option(value)]
    if wrong:
        raise TypeError(f"the option {wrong[0]!r} is neither a number, a text nor a list of such")


def _checked(entries: Any, path: Path) -> dict[str, Any]:
    """The entries of a file of ours, of a version that this program reads."""
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise Sg2ImError(
            f"{path} is a file of weights, but no checkpoint of sg2im_pyg: give a file that "
            "train/run.py wrote, or one of the 2018 release."
        )
    if type(entries.get("version")) is not int or entries["version"] < 1:
        raise Sg2ImError(
            f"{path} names no version of its format, so it is damaged: give a file that "
            "train/run.py wrote."
        )
    if entries["version"] > VERSION:
        raise Sg2ImError(
            f"{path} has version {shortened(entries['version'])}, this program reads up to "
            f"{VERSION}: update sg2im_pyg."
        )
    optional = ("training", "discriminators", "origin")
    there = [name for name in optional if entries.get(name) is not None]
    for name in ("vocabulary", "model_config", "generator", *there):
        if not isinstance(entries.get(name), dict):
            raise Sg2ImError(
                f"The checkpoint {path} lacks its part {name!r}, so it is damaged: give a file "
                "that train/run.py wrote."
            )
    return entries
