"""The format of the 2018 release: its entries are translated into ours, and ours into its.

A file is a pickled dict: ``model_kwargs`` and ``model_state`` of the generator and, unless it was
stripped, ``d_obj_kwargs``, ``d_obj_state``, ``d_img_kwargs`` and ``d_img_state`` of the
discriminators, beside training histories that are not read. No network is made to read a file, and
no code in one is ever run.
"""

import math
import re
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import BatchNorm1d, LeakyReLU, Linear, Module, ReLU, Sequential

from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, UNUSED, Vocabulary
from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.formats.limits import (
    MOST_LAYERS,
    MOST_SHOWN,
    check_extent,
    is_plain_name,
    is_plain_option,
)
from sg2im_pyg.model_config import MOST_CHANNELS, ModelConfig
from sg2im_pyg.nn.convolution_sizes import PUBLISHED_LAYERS

_HIDDEN_CHANNELS = 1024  # of the release's object discriminator, which has no option for it
_LONGEST_PREFIX = 100  # characters
_OPTIONS = (
    "image_size embedding_dim gconv_dim gconv_hidden_dim gconv_pooling gconv_num_layers "
    "refinement_dims normalization activation mask_size mlp_normalization layout_noise_dim".split()
)
"""Of the generator, in the release's order."""
_TRANSLATED_OPTIONS = ("image_size", "gconv_pooling", "activation", "mask_size")
_SAME_OPTIONS = [name for name in _OPTIONS if name not in _TRANSLATED_OPTIONS]
_READ_OPTIONS = frozenset([*_OPTIONS, "arch", "padding", "object_size"])
"""All others no longer matter, whatever they are."""
_OFF = {
    "box_flow_dim": 0,
    "mask_sharpness": 1.0,
    "appearance_dim": 0,
    "layout_dim": 0,
    "layout_coordinates": False,
    "overlap": "sum",
    "snap": 0.0,
}
"""Options that the release does not have, and what they are in its models."""
_DEFAULTS = {"embedding_dim": 64, "layout_noise_dim": 0}  # where they differ from ours
_DATA_ARGUMENTS = {
    "include_relationships": True,
    # Of Visual Genome
    "max_objects_per_image": 10,
    "vg_use_orphaned_objects": True,
    # Of COCO
    "instance_whitelist": None,
    "stuff_whitelist": None,
    "coco_include_other": False,
    "min_object_size": 0.02,
    "min_objects_per_image": 3,
    "coco_stuff_only": True,
}
"""What the release's programs ask a checkpoint of its training data, with the release's values."""

# ---- Names of weights: what those of the release begin with, and ours; none for what is left out.

_DISCRIMINATORS: dict[str, dict[str, str | None]] = {
    "object_discriminator": {
        "discriminator.cnn.0.": "convs.",
        "discriminator.cnn.2.": "linear.",
        "discriminator.real_classifier.": "real_head.",
        "discriminator.obj_classifier.": "category_head.",
    },
    # The classifier is made by the release, but never called.
    "image_discriminator": {"cnn.": "convs.", "classifier.": None},
}
RELEASED_DISCRIMINATORS = tuple(_DISCRIMINATORS)
"""Those that the release has."""


def _generator_names(options: Mapping[str, Any]) -> dict[str, str | None]:
    """Names of a generator with some of our options."""
    networks = {"box_net.": "box_head.layers."}
    names: dict[str, str | None] = {
        "obj_embeddings.": "object_embedding.",
        "pred_embeddings.": "predicate_embedding.",
        "gconv.": "graph_network.",  # a linear layer where there are 0 layers
    }
    for i in range(options["gconv_num_layers"]):
        theirs = f"gconv_net.gconvs.{i - 1}." if i else "gconv."
        names[theirs] = f"graph_network.convs.{i}."
        networks |= {f"{theirs}net{n}.": f"graph_network.convs.{i}.net{n}." for n in (1, 2)}
    names |= networks
    if options["mlp_normalization"] == "batch":
        # PyG's batch norm, behind the first and the second linear layer, has a level more.
        for theirs, ours in networks.items():
            names |= {f"{theirs}{place}.": f"{ours}{place}.module." for place in (1, 4)}
    names["mask_net."] = "mask_head.layers."
    names["rel_aux_net."] = None  # head of a loss that was given up
    for i in range(len(options["refinement_dims"])):
        names[f"refinement_net.refinement_modules.{i}.net."] = f"refinement.blocks.{i}."
    names["refinement_net.output_conv."] = "refinement.output."
    return names


def _names(network: str, options: Mapping[str, Any]) -> Mapping[str, str | None]:
    return _DISCRIMINATORS[network] if network in _DISCRIMINATORS else _generator_names(options)


def _inverse(names: Mapping[str, str | None]) -> dict[str, str | None]:
    return {ours: theirs for theirs, ours in names.items() if ours is not None}


def weight_name(network: str, key: str, options: Mapping[str, Any]) -> str:
    """What the release calls a weight.

    Args:
        network: Its network: :obj:`"generator"` or one of :data:`DISCRIMINATORS`.
        key: Our name.
        options: Our options of the generator.
    """
    return _renamed(key, _inverse(_names(network, options))) or key


def _renamed(key: str, names: Mapping[str, str | None]) -> str | None:
    """A name with another beginning, by the longest one that is known; none if it is left out.

    Raises:
        KeyError: If no beginning is known.
    """
    ends = [match.end() for match in re.finditer(r"\.", key[:_LONGEST_PREFIX])]
    known = next((key[:end] for end in reversed(ends) if key[:end] in names), "")
    other = names[known]
    return None if other is None else other + key.removeprefix(known)


# ---- Their entries into ours


def is_released(entries: Any) -> bool:
    """Whether the contents of a checkpoint file have the format of the release."""
    return isinstance(entries, Mapping) and all(
        isinstance(entries.get(name), Mapping) for name in ("model_kwargs", "model_state")
    )


def to_native(
    entries: Mapping[str, Any], path: Path, discriminators: bool = True
) -> dict[str, Any]:
    """The entries of one of our checkpoints, without its format and version.

    Options and vocabulary are checked; the weights have our names, and are what the file holds.

    Args:
        entries: What a file of the release holds, see :func:`is_released`.
        path: The file, named in errors.
        discriminators: Whether they are translated, too.

    Raises:
        Sg2ImError: If the entries are wrong; an entry of another kind may raise any of Python's
            errors about it.
    """
    config, vocabulary = _config_and_vocabulary(entries, path)
    check_extent(config, entries["model_state"], path)
    options = asdict(config)
    native: dict[str, Any] = {
        "vocabulary": vocabulary.to_dict(),
        "model_config": options,
        "generator": _weights(entries["model_state"], "generator", options, path),
    }
    kept = {}
    if discriminators and entries.get("d_obj_state"):
        given = _options(entries, "d_obj_kwargs", path)
        names = _listed_names(given.get("vocab", _vocab(entries)), "object", path)
        kept["object_discriminator"] = {
            "options": {
                **_convolutions(given, path),
                "num_categories": len(names),
                "object_size": given.get("object_size", 32),
            },
            "weights": _weights(entries["d_obj_state"], "object_discriminator", options, path),
        }
    if discriminators and entries.get("d_img_state"):
        kept["image_discriminator"] = {
            "options": _convolutions(_options(entries, "d_img_kwargs", path), path),
            "weights": _weights(entries["d_img_state"], "image_discriminator", options, path),
        }
    return {**native, "discriminators": kept}


def _weights(
    state: Mapping[str, Any], network: str, options: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """The weights of a network under our names."""
    names = _names(network, options)
    weights: dict[str, Any] = {}
    for key, value in state.items():
        key = key.removeprefix("module.")  # saved from a DataParallel model
        try:
            ours = _renamed(key, names)
        except KeyError:
            raise Sg2ImError(
                f"The checkpoint {path} holds the parameter {key[:100]!r}, which a model with its "
                "options does not have: use a whole file of the 2018 release."
            ) from None
        if ours is None:
            continue
        if ours in weights:
            raise Sg2ImError(
                f"The checkpoint {path} holds the parameter {key[:100]!r} twice, with and without "
                "'module.' before it: use a whole file of the 2018 release."
            )
        weights[ours] = value
    # PyTorch before 0.4.1 did not count batches; nothing here depends on the count.
    for key in list(weights):
        if key.endswith("running_mean"):
            count = key.removesuffix("running_mean") + "num_batches_tracked"
            weights.setdefault(count, torch.tensor(0))
    return weights


def _config_and_vocabulary(
    entries: Mapping[str, Any], path: Path
) -> tuple[ModelConfig, Vocabulary]:
    options = _options(entries, "model_kwargs", path)
    _check_choice(options, "gconv_pooling", ("avg", "sum"), path)
    _check_choice(options, "mlp_normalization", ("none", "batch"), path)
    _check_choice(options, "normalization", ("none", "batch", "instance"), path)
    image_size = options.get("image_size", (64, 64))
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    try:
        config = ModelConfig(
            **{
                **_DEFAULTS,
                **{name: options[name] for name in _SAME_OPTIONS if name in options},
                "image_size": image_size,
                "gconv_pooling": "sum" if options.get("gconv_pooling") == "sum" else "mean",
                "mask_size": options.get("mask_size") or 0,
                "negative_slope": _negative_slope(options),
            }
        )
        vocabulary = _vocabulary(_vocab(entries), path)
    except Sg2ImError as error:
        raise Sg2ImError(
            f"The checkpoint {path} holds wrong options: {shortened(error, MOST_SHOWN)}"
        ) from None
    except (TypeError, ValueError) as error:
        raise Sg2ImError(
            f"The checkpoint {path} holds a wrong option in 'model_kwargs' "
            f"({shortened(error, MOST_SHOWN)}): use a file of the 2018 release."
        ) from error
    return config, vocabulary


def _options(entries: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    options = entries.get(name)
    if not isinstance(options, Mapping):
        raise Sg2ImError(f"The checkpoint {path} lacks the entry {name!r}: use a whole file.")
    for key, value in options.items():
        if key in _READ_OPTIONS and not is_plain_option(value):
            raise Sg2ImError(
                f"The checkpoint {path} holds a wrong option {key!r} in {name!r}, neither a "
                "number, a text nor a list of such: use a file of the 2018 release."
            )
    return options


def _check_choice(
    options: Mapping[str, Any], name: str, choices: tuple[str, ...], path: Path
) -> None:
    if options.get(name, choices[0]) not in choices:
        raise Sg2ImError(
            f"The checkpoint {path} holds the option {name!r} with the value "
            f"{shortened(repr(options[name]))}; it must be one of {', '.join(choices)}."
        )


def _vocab(entries: Mapping[str, Any]) -> Any:
    return entries["model_kwargs"].get("vocab", entries.get("vocab"))


def _listed_names(vocab: Any, kind: str, path: Path) -> list[str]:
    """Names in index order: as they are listed, or from the index of each name."""
    if isinstance(vocab, Mapping):
        names = vocab.get(f"{kind}_idx_to_name")
        if isinstance(names, (list, tuple)) and all(map(is_plain_name, names)):
            return list(names)
        indices = vocab.get(f"{kind}_name_to_idx")
        if isinstance(indices, Mapping) and all(
            isinstance(name, str) and type(i) is int and 0 <= i < MOST_CHANNELS
            for name, i in indices.items()
        ):
            listed = [UNUSED] * (1 + max(indices.values(), default=-1))
            for name, i in indices.items():
                listed[i] = name
            return listed
    raise Sg2ImError(
        f"The checkpoint {path} has no vocabulary with the lists 'object_idx_to_name' and "
        "'pred_idx_to_name': use a whole file of the 2018 release."
    )


def _vocabulary(vocab: Any, path: Path) -> Vocabulary:
    objects, predicates = (_listed_names(vocab, kind, path) for kind in ("object", "pred"))
    vocabulary = Vocabulary(objects, predicates)
    if (len(vocabulary.objects), len(vocabulary.predicates)) != (len(objects), len(predicates)):
        raise Sg2ImError(
            f"The vocabulary of {path} does not begin with '__image__' and '__in_image__', as "
            "that of the 2018 release does: use a file of the release."
        )
    return vocabulary


def _convolutions(options: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of a discriminator from the release's, e.g. ``arch="C4-64-2,C4-128-2"``."""
    _check_choice(options, "normalization", ("none", "batch", "instance"), path)
    # "same" stands for odd kernels in the release's code; no published file has it.
    _check_choice(options, "padding", ("valid",), path)
    arch = options.get("arch")
    layers: tuple[tuple[int, int, int], ...] = PUBLISHED_LAYERS
    if arch is not None:
        names = [name.strip() for name in (arch.split(",") if isinstance(arch, str) else arch)]
        layers = tuple(_layer(name, path) for name in names[: MOST_LAYERS + 2] if name != "I3")
    return {
        "layers": layers,
        "normalization": options.get("normalization", "batch"),
        "negative_slope": _negative_slope(options),
    }


def _layer(name: str, path: Path) -> tuple[int, int, int]:
    match = re.fullmatch(r"C(\d+)-(\d+)(?:-(\d+))?", name)
    if not match:
        raise Sg2ImError(
            f"The discriminator in {path} has the layer {shortened(repr(name))}; only convolutions "
            "such as 'C4-64-2' (kernel, channels, stride) can be loaded."
        )
    return int(match[1]), int(match[2]), int(match[3] or 1)


def _negative_slope(options: Mapping[str, Any]) -> float:
    # The release takes LeakyReLU whatever the name, with the slope behind its hyphen if there is
    # one, and otherwise torch's.
    kind, hyphen, slope = str(options.get("activation", "leakyrelu-0.2")).lower().partition("-")
    if not kind.startswith("leakyrelu") or not hyphen:
        return LeakyReLU().negative_slope
    if not 0 <= float(slope) < math.inf:
        raise ValueError(f"activation with the slope {slope}")
    return float(slope)


# ---- Our entries into theirs


def from_native(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a checkpoint in the format of the release, which its code can load.

    The networks that the release makes but never uses (its auxiliary head for relations, the
    picture discriminator's last convolution) get zeros, because its loader asks for all names;
    optimizer states and histories are empty. :func:`to_native` gives the same entries back.

    Args:
        entries: Those of one of our checkpoints; its ``training`` is not looked at.

    Raises:
        Sg2ImError: If a network has an option that the release does not know, or the release has no
            such network; it is named.
    """
    vocabulary, options = entries["vocabulary"], entries["model_config"]
    _check_only("generator", options.get("generator", "crn"), "crn")
    _check_only("mask_head", options["mask_head"], "upsample")
    for name, only in _OFF.items():
        _check_only(name, options.get(name, only), only)
    vocab = _released_vocab(vocabulary)
    translated = {
        "gconv_pooling": "avg" if options["gconv_pooling"] == "mean" else "sum",
        "activation": _activation(options["negative_slope"]),
    }
    state = _state(entries["generator"], "generator", options)
    released: dict[str, Any] = {
        "args": _arguments(options, translated["activation"], vocabulary["predicates"]),
        "vocab": vocab,
        "model_kwargs": {
            "vocab": vocab,
            **{name: translated.get(name, options.get(name)) for name in _OPTIONS},
        },
        "d_obj_kwargs": {},
        "d_img_kwargs": {},
        "losses_ts": [],
        "losses": defaultdict(list),
        "d_losses": defaultdict(list),
        "checkpoint_ts": [],
        "counters": {"t": 0, "epoch": 0},
        "model_state": _with_auxiliary_head(state, options, len(vocabulary["predicates"])),
        "model_best_state": None,
        "optim_state": None,
        "d_obj_state": None,
        "d_img_state": None,
        "best_t": [],
    }
    kept = entries.get("discriminators") or {}
    for name in kept:
        if name not in RELEASED_DISCRIMINATORS:
            raise Sg2ImError(
                f"The format of the 2018 release has no place for a {name.replace('_', ' ')}: "
                "leave it out."
            )
    if "object_discriminator" in kept:
        given, weights = (kept["object_discriminator"][part] for part in ("options", "weights"))
        _check_only("hidden_channels", given["hidden_channels"], _HIDDEN_CHANNELS)
        _check_only("num_categories", given["num_categories"], len(vocabulary["objects"]))
        released["d_obj_kwargs"] = {
            "vocab": vocab,
            **_released_convolutions(given),
            "object_size": given["object_size"],
        }
        released["d_obj_state"] = _state(weights, "object_discriminator", options)
    if "image_discriminator" in kept:
        given, weights = (kept["image_discriminator"][part] for part in ("options", "weights"))
        _check_only("patch_scores", given["patch_scores"], False)
        _check_only("in_channels", given["in_channels"], 3)
        _check_only("scales", given.get("scales", 1), 1)
        _check_only("num_labels", given.get("num_labels", 0), 0)
        released["d_img_kwargs"] = _released_convolutions(given)
        state = _state(weights, "image_discriminator", options)
        state["classifier.weight"] = torch.zeros(1, given["layers"][-1][1], 1, 1)
        state["classifier.bias"] = torch.zeros(1)
        released["d_img_state"] = state
    return released


def _arguments(
    options: Mapping[str, Any], activation: str, predicates: Sequence[str]
) -> dict[str, Any]:
    """The command line of the release's training that would make such a model. Its sampling
    program takes from there which pictures and objects of a data set are generated."""
    same = [name for name in _OPTIONS if name not in ("gconv_pooling", "refinement_dims")]
    return {
        "dataset": "coco" if tuple(predicates[1:]) == GEOMETRIC_PREDICATES else "vg",
        **{name: options[name] for name in same if name != "activation"},
        "refinement_network_dims": options["refinement_dims"],
        "activation": activation,
        **_DATA_ARGUMENTS,
    }


def _activation(negative_slope: float) -> str:
    # The release takes what stands between the first two hyphens: never an exponent such as 1e-05.
    return "leakyrelu-" + np.format_float_positional(negative_slope, trim="0")


def _check_only(name: str, value: Any, *only: Any) -> None:
    if value not in only:
        raise Sg2ImError(
            f"The format of the 2018 release has no place for {name} {value!r}, only for "
            f"{' or '.join(map(repr, only))}: keep this model in a checkpoint of sg2im_pyg."
        )


def _released_vocab(vocabulary: Mapping[str, list[str]]) -> dict[str, Any]:
    vocab: dict[str, Any] = {}
    for kind, theirs in (("objects", "object"), ("predicates", "pred")):
        names = vocabulary[kind]
        vocab[f"{theirs}_idx_to_name"] = list(names)
        vocab[f"{theirs}_name_to_idx"] = {name: i for i, name in enumerate(names) if name != UNUSED}
    return vocab


def _released_convolutions(options: Mapping[str, Any]) -> dict[str, Any]:
    _check_only("normalization", options["normalization"], "batch", "instance", "none")
    return {
        "arch": ",".join("C" + "-".join(map(str, layer)) for layer in options["layers"]),
        "normalization": options["normalization"],
        "activation": _activation(options["negative_slope"]),
        "padding": "valid",
    }


def _state(
    weights: Mapping[str, Tensor], network: str, options: Mapping[str, Any]
) -> "OrderedDict[str, Tensor]":
    """Weights under the release's names, each a tensor of its own on the CPU."""
    names = _inverse(_names(network, options))
    return OrderedDict(
        (str(_renamed(key, names)), value.cpu().clone()) for key, value in weights.items()
    )


def _with_auxiliary_head(
    state: "OrderedDict[str, Tensor]", options: Mapping[str, Any], predicates: int
) -> "OrderedDict[str, Tensor]":
    """Weights with those of the head that the release has for relations, which are zero: it took
    two boxes and two embeddings of objects, and gave a predicate."""
    widths = [2 * 4 + 2 * options["embedding_dim"], options["gconv_hidden_dim"], predicates]
    layers: list[Module] = []
    for fan_in, fan_out in pairwise(widths):
        norm = [BatchNorm1d(fan_out)] if options["mlp_normalization"] == "batch" else []
        layers += [Linear(fan_in, fan_out, device="meta"), *norm, ReLU()]
    head = {
        f"rel_aux_net.{name}": torch.zeros(value.shape) if value.is_meta else value
        for name, value in Sequential(*layers).state_dict().items()
    }
    weights = list(state.items())
    place = next(i for i, (key, _) in enumerate(weights) if key.startswith("refinement_net."))
    return OrderedDict([*weights[:place], *head.items(), *weights[place:]])
