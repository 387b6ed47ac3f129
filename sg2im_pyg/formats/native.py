"""Checkpoints of this library: their entries, read and checked."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from torch.nn import Module

from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.formats.limits import is_plain_option, shortened, weight_problem
from sg2im_pyg.formats.torch_file import load_entries, weight_shapes

FORMAT = "sg2im_pyg.checkpoint"


VERSION = 1


_M = TypeVar("_M", bound=Module)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads and checks the entries of a checkpoint, tensors on the CPU.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind or of a newer version.
    """
    return _checked(load_entries(path), Path(path))


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
