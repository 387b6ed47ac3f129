"""Reads the checkpoints of the 2018 release into this library's modules, and writes such files.

A file is a pickled dict: ``model_kwargs`` and ``model_state`` of the generator and, unless it was
stripped, ``d_obj_kwargs``, ``d_obj_state``, ``d_img_kwargs`` and ``d_img_state`` of the
discriminators, beside training histories that are not read. No code in a file is ever run.
"""

import math
import os
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import LeakyReLU, Module

from sg2im_pyg.data.vocabulary import UNUSED, Vocabulary
from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.formats.limits import (
    _MOST_LAYERS,
    check_extent,
    check_layers,
    check_object_size,
    is_plain_name,
    is_plain_option,
    shortened,
    weight_problem,
)
from sg2im_pyg.formats.torch_file import load_entries, save_entries, weight_shapes
from sg2im_pyg.model import Sg2Im
from sg2im_pyg.model_config import MOST_CHANNELS, ModelConfig
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.nn.convolution_sizes import PUBLISHED_LAYERS
from sg2im_pyg.nn.discriminators import discriminator_options

_HIDDEN_CHANNELS = 1024  # of the release's object discriminator, which has no option for it

_M = TypeVar("_M", bound=Module)

# Names of the release's parameters, as patterns, and our names. What matches nothing is an error,
# what is mapped to None is left out.
Renaming = tuple[tuple[str, str | Callable[[re.Match[str]], str] | None], ...]
GENERATOR: Renaming = (
    (r"obj_embeddings\.", "object_embedding."),
    (r"pred_embeddings\.", "predicate_embedding."),
    (r"gconv\.(?=weight|bias)", "graph_network."),  # a linear layer where there are 0 layers
    (r"gconv\.", "graph_network.convs.0."),
    (r"gconv_net\.gconvs\.(\d+)\.", lambda key: f"graph_network.convs.{int(key[1]) + 1}."),
    (r"box_net\.", "box_head.layers."),
    (r"mask_net\.", "mask_head.layers."),
    (r"refinement_net\.refinement_modules\.(\d+)\.net\.", r"refinement.blocks.\1."),
    (r"refinement_net\.output_conv\.", "refinement.output."),
    (r"rel_aux_net\.", None),  # head of a loss that was given up
)
OBJECT_DISCRIMINATOR: Renaming = (
    (r"discriminator\.cnn\.0\.", "convs."),
    (r"discriminator\.cnn\.2\.", "linear."),
    (r"discriminator\.real_classifier\.", "real_head."),
    (r"discriminator\.obj_classifier\.", "category_head."),
)
IMAGE_DISCRIMINATOR: Renaming = (
    (r"cnn\.", "convs."),
    (r"classifier\.", None),  # made by the release, but never called
)
# The way back. PyG's batch norm has a level more than torch's, which is taken out afterwards.
GENERATOR_BACK: Renaming = (
    (r"object_embedding\.", "obj_embeddings."),
    (r"predicate_embedding\.", "pred_embeddings."),
    (r"graph_network\.convs\.0\.", "gconv."),
    (r"graph_network\.convs\.(\d+)\.", lambda key: f"gconv_net.gconvs.{int(key[1]) - 1}."),
    (r"graph_network\.", "gconv."),
    (r"box_head\.layers\.", "box_net."),
    (r"mask_head\.layers\.", "mask_net."),
    (r"refinement\.blocks\.(\d+)\.", r"refinement_net.refinement_modules.\1.net."),
    (r"refinement\.output\.", "refinement_net.output_conv."),
)
OBJECT_DISCRIMINATOR_BACK: Renaming = (
    (r"convs\.", "discriminator.cnn.0."),
    (r"linear\.", "discriminator.cnn.2."),
    (r"real_head\.", "discriminator.real_classifier."),
    (r"category_head\.", "discriminator.obj_classifier."),
)
IMAGE_DISCRIMINATOR_BACK: Renaming = ((r"convs\.", "cnn."),)


def load_released(
    path: str | os.PathLike[str],
) -> tuple[Sg2Im, ObjectDiscriminator | None, PatchDiscriminator | None]:
    """The models of a checkpoint in the format of the 2018 release, on the CPU, in eval mode.

    Args:
        path: File of the release, with or without the discriminators.

    Returns:
        The generator, and the object's and the picture's discriminator; :obj:`None` for one that
        the file does not hold.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind, holds pickled code, or
            parameters that do not fit the options it names.
    """
    entries = load_entries(path)
    if not is_released(entries):
        raise Sg2ImError(
            f"{path} is no checkpoint of the 2018 release: the entries 'model_kwargs' and "
            "'model_state' are missing."
        )
    return released_generator(entries, path), *released_discriminators(entries, path)


def save_released(
    path: str | os.PathLike[str],
    model: Sg2Im,
    object_discriminator: ObjectDiscriminator | None = None,
    image_discriminator: PatchDiscriminator | None = None,
) -> None:
    """Writes a checkpoint in the format of the 2018 release, which the release's code can load.

    The networks that the release makes but never uses (its auxiliary head for relations, the
    picture discriminator's last convolution) are written with zeros, because its loader asks for
    all names; optimizer states and histories are empty. :func:`load_released` gives the same
    models back.

    Args:
        path: File to write.
        model: The generator.
        object_discriminator: Discriminator of objects' crops, if the file is to hold it.
        image_discriminator: Discriminator of whole pictures, likewise.

    Raises:
        Sg2ImError: If a network has an option that the release does not know; it is named.
        OSError: If the file can not be written; an older one stays.
    """
    vocab = _released_vocab(model.vocabulary)
    config = model.config
    _check_released("mask_head", config.mask_head, "upsample")
    state = _released_state(model, GENERATOR_BACK)
    entries: dict[str, Any] = {
        "args": {"image_size": config.image_size, "mask_size": config.mask_size},
        "vocab": vocab,
        "model_kwargs": {
            "vocab": vocab,
            "image_size": config.image_size,
            "embedding_dim": config.embedding_dim,
            "gconv_dim": config.gconv_dim,
            "gconv_hidden_dim": config.gconv_hidden_dim,
            "gconv_pooling": "avg" if config.gconv_pooling == "mean" else config.gconv_pooling,
            "gconv_num_layers": config.gconv_num_layers,
            "refinement_dims": config.refinement_dims,
            "normalization": config.normalization,
            "activation": _activation(config.negative_slope),
            "mask_size": config.mask_size,
            "mlp_normalization": config.mlp_normalization,
            "layout_noise_dim": config.layout_noise_dim,
        },
        "d_obj_kwargs": {},
        "d_img_kwargs": {},
        "losses_ts": [],
        "losses": defaultdict(list),
        "d_losses": defaultdict(list),
        "checkpoint_ts": [],
        "counters": {"t": 0, "epoch": 0},
        "model_state": _with_auxiliary_head(state, model),
        "model_best_state": None,
        "optim_state": None,
        "d_obj_state": None,
        "d_img_state": None,
        "best_t": [],
    }
    if object_discriminator is not None:
        options = discriminator_options(object_discriminator)
        _check_released("hidden_channels", options["hidden_channels"], _HIDDEN_CHANNELS)
        _check_released("num_categories", options["num_categories"], len(model.vocabulary.objects))
        entries["d_obj_kwargs"] = {
            "vocab": vocab,
            **_released_convolutions(options),
            "object_size": options["object_size"],
        }
        entries["d_obj_state"] = _released_state(object_discriminator, OBJECT_DISCRIMINATOR_BACK)
    if image_discriminator is not None:
        options = discriminator_options(image_discriminator)
        _check_released("patch_scores", options["patch_scores"], False)
        _check_released("in_channels", options["in_channels"], 3)
        entries["d_img_kwargs"] = _released_convolutions(options)
        state = _released_state(image_discriminator, IMAGE_DISCRIMINATOR_BACK)
        state["classifier.weight"] = torch.zeros(1, options["layers"][-1][1], 1, 1)
        state["classifier.bias"] = torch.zeros(1)
        entries["d_img_state"] = state
    save_entries(path, entries, zipped=False)


def released_discriminators(
    entries: Mapping[str, Any], path: str | os.PathLike[str]
) -> tuple[ObjectDiscriminator | None, PatchDiscriminator | None]:
    """The object's and the picture's discriminator from the entries of a file of the release, in
    eval mode; :obj:`None` for one that it does not hold.

    Args:
        entries: What the file holds.
        path: The file, named in errors.
    """
    with _damage_named(path):
        object_discriminator = image_discriminator = None
        if entries.get("d_obj_state"):
            options = _options(entries, "d_obj_kwargs", path)
            categories = len(_names(options.get("vocab", _vocab(entries)), "object", path))
            convolutions = _convolutions(options, path)
            size = check_object_size(options.get("object_size", 32), convolutions["layers"], path)
            object_discriminator = _filled(
                lambda: ObjectDiscriminator(categories, **convolutions, object_size=size),
                entries["d_obj_state"],
                OBJECT_DISCRIMINATOR,
                path,
            )
        if entries.get("d_img_state"):
            arguments = _convolutions(_options(entries, "d_img_kwargs", path), path)
            image_discriminator = _filled(
                lambda: PatchDiscriminator(**arguments),
                entries["d_img_state"],
                IMAGE_DISCRIMINATOR,
                path,
            )
        return object_discriminator, image_discriminator


@contextmanager
def _damage_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever else is wrong in a file from elsewhere."""
    try:
        yield
    except (AttributeError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, Sg2ImError):
            raise
        raise Sg2ImError(
            f"The parts of the checkpoint {path} do not fit together "
            f"({shortened(first_line(error))}): use a whole file of the 2018 release."
        ) from error


def is_released(entries: Any) -> bool:
    """Whether the contents of a checkpoint file have the format of the release."""
    return isinstance(entries, Mapping) and all(
        isinstance(entries.get(name), Mapping) for name in ("model_kwargs", "model_state")
    )


def released_generator(entries: Mapping[str, Any], path: str | os.PathLike[str]) -> Sg2Im:
    """The generator from the entries of a file of the release, in eval mode.

    Args:
        entries: What the file holds.
        path: The file, named in errors.
    """
    with _damage_named(path):
        return _released_generator(entries, path)


def _released_generator(entries: Mapping[str, Any], path: str | os.PathLike[str]) -> Sg2Im:
    options = _options(entries, "model_kwargs", path)
    _check_choice(options, "gconv_pooling", ("avg", "sum"), path)
    _check_choice(options, "mlp_normalization", ("none", "batch"), path)
    _check_choice(options, "normalization", ("none", "batch", "instance"), path)
    image_size = options.get("image_size", (64, 64))
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    try:
        config = ModelConfig(
            # The release's own defaults, where they differ from the published models'.
            image_size=image_size,
            embedding_dim=options.get("embedding_dim", 64),
            gconv_dim=options.get("gconv_dim", 128),
            gconv_hidden_dim=options.get("gconv_hidden_dim", 512),
            gconv_pooling="sum" if options.get("gconv_pooling") == "sum" else "mean",
            gconv_num_layers=options.get("gconv_num_layers", 5),
            mlp_normalization=options.get("mlp_normalization", "none"),
            mask_size=options.get("mask_size") or 0,
            mask_head="upsample",
            layout_noise_dim=options.get("layout_noise_dim", 0),
            refinement_dims=options.get("refinement_dims", (1024, 512, 256, 128, 64)),
            normalization=options.get("normalization", "batch"),
            negative_slope=_negative_slope(options),
        )
        vocabulary = _vocabulary(_vocab(entries), path)
    except Sg2ImError as error:
        raise Sg2ImError(f"The checkpoint {path} holds wrong options: {shortened(error)}") from None
    except (TypeError, ValueError) as error:
        raise Sg2ImError(
            f"The checkpoint {path} holds a wrong option in 'model_kwargs' ({shortened(error)}): "
            "use a file of the 2018 release."
        ) from error
    check_extent(config, entries["model_state"], path)
    return _filled(lambda: Sg2Im(vocabulary, config), entries["model_state"], GENERATOR, path)


_READ_OPTIONS = frozenset(
    "image_size embedding_dim gconv_dim gconv_hidden_dim gconv_pooling gconv_num_layers "
    "refinement_dims normalization activation mask_size mlp_normalization layout_noise_dim "
    "arch padding object_size".split()
)
"""All others no longer matter, whatever they are."""


def _options(
    entries: Mapping[str, Any], name: str, path: str | os.PathLike[str]
) -> Mapping[str, Any]:
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
    options: Mapping[str, Any], name: str, choices: tuple[str, ...], path: str | os.PathLike[str]
) -> None:
    if options.get(name, choices[0]) not in choices:
        raise Sg2ImError(
            f"The checkpoint {path} holds the option {name!r} with the value "
            f"{shortened(repr(options[name]))}; it must be one of {', '.join(choices)}."
        )


def _vocab(entries: Mapping[str, Any]) -> Any:
    return entries["model_kwargs"].get("vocab", entries.get("vocab"))


def _names(vocab: Any, kind: str, path: str | os.PathLike[str]) -> list[str]:
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


def _vocabulary(vocab: Any, path: str | os.PathLike[str]) -> Vocabulary:
    objects, predicates = (_names(vocab, kind, path) for kind in ("object", "pred"))
    vocabulary = Vocabulary(objects, predicates)
    if (len(vocabulary.objects), len(vocabulary.predicates)) != (len(objects), len(predicates)):
        raise Sg2ImError(
            f"The vocabulary of {path} does not begin with '__image__' and '__in_image__', as "
            "that of the 2018 release does: use a file of the release."
        )
    return vocabulary


def _convolutions(options: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Arguments of a discriminator from the release's, e.g. ``arch="C4-64-2,C4-128-2"``."""
    _check_choice(options, "normalization", ("none", "batch", "instance"), path)
    # "same" stands for odd kernels in the release's code; no published file has it.
    _check_choice(options, "padding", ("valid",), path)
    arch = options.get("arch")
    layers: tuple[tuple[int, int, int], ...] = PUBLISHED_LAYERS
    if arch is not None:
        names = [name.strip() for name in (arch.split(",") if isinstance(arch, str) else arch)]
        layers = tuple(_layer(name, path) for name in names[: _MOST_LAYERS + 2] if name != "I3")
    return {
        "layers": check_layers(layers, path),
        "normalization": options.get("normalization", "batch"),
        "negative_slope": _negative_slope(options),
    }


def _layer(name: str, path: str | os.PathLike[str]) -> tuple[int, int, int]:
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


def _activation(negative_slope: float) -> str:
    # The release takes what stands between the first two hyphens: never an exponent such as 1e-05.
    return "leakyrelu-" + np.format_float_positional(negative_slope, trim="0")


def _check_released(name: str, value: Any, only: Any) -> None:
    if value != only:
        raise Sg2ImError(
            f"The format of the 2018 release has no place for {name} {value!r}, only for {only!r}: "
            "keep this model in a checkpoint of sg2im_pyg."
        )


def _released_vocab(vocabulary: Vocabulary) -> dict[str, Any]:
    def indices(names: tuple[str, ...]) -> dict[str, int]:
        return {name: i for i, name in enumerate(names) if name != UNUSED}

    return {
        "object_idx_to_name": list(vocabulary.objects),
        "object_name_to_idx": indices(vocabulary.objects),
        "pred_idx_to_name": list(vocabulary.predicates),
        "pred_name_to_idx": indices(vocabulary.predicates),
    }


def _released_convolutions(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "arch": ",".join("C" + "-".join(map(str, layer)) for layer in options["layers"]),
        "normalization": options["normalization"],
        "activation": _activation(options["negative_slope"]),
        "padding": "valid",
    }


def _released_state(module: Module, renaming: Renaming) -> "OrderedDict[str, Tensor]":
    """Weights under the release's names, each a tensor of its own on the CPU."""
    return OrderedDict(
        (re.sub(r"\.module\.(\w+)$", r".\1", str(_rename(key, renaming))), value.cpu().clone())
        for key, value in module.state_dict().items()
    )


def _with_auxiliary_head(
    state: "OrderedDict[str, Tensor]", model: Sg2Im
) -> "OrderedDict[str, Tensor]":
    """Weights with those of the head that the release has for relations, which are zero: it took
    two boxes and two object vectors, and gave a predicate."""
    config = model.config
    widths = [
        2 * 4 + 2 * config.gconv_dim,
        config.gconv_hidden_dim,
        len(model.vocabulary.predicates),
    ]
    position = 0
    head: dict[str, Tensor] = {}
    for fan_in, fan_out in zip(widths, widths[1:], strict=False):
        head[f"{position}.weight"] = torch.zeros(fan_out, fan_in)
        head[f"{position}.bias"] = torch.zeros(fan_out)
        position += 1
        if config.mlp_normalization == "batch":
            norm = torch.nn.BatchNorm1d(fan_out).state_dict()
            head |= {f"{position}.{name}": value for name, value in norm.items()}
            position += 1
        position += 1  # ReLU
    first = next(key for key in state if key.startswith("refinement_net."))
    whole: OrderedDict[str, Tensor] = OrderedDict()
    for key, value in state.items():
        if key == first:
            whole.update((f"rel_aux_net.{name}", weight) for name, weight in head.items())
        whole[key] = value
    return whole


def _rename(key: str, renaming: Renaming) -> str | None:
    """Our name of a parameter; :obj:`None` for one that is left out, the name itself for others."""
    for pattern, ours in renaming:
        match = re.match(pattern, key)
        if match:
            return None if ours is None else re.sub(f"^{pattern}", ours, key, count=1)
    return key


def _filled(
    make: Callable[[], _M],
    state: Mapping[str, Tensor],
    renaming: Renaming,
    path: str | os.PathLike[str],
) -> _M:
    """A module with the release's parameters, in eval mode; all must be there and fit."""
    wanted = weight_shapes(make)
    copied: dict[str, Tensor] = {}
    for key, value in state.items():
        key = key.removeprefix("module.")  # saved from a DataParallel model
        ours = _rename(key, renaming)
        if ours is None:
            continue
        if ours not in wanted:
            ours = re.sub(r"\.(\w+)$", r".module.\1", ours)  # batch norm of PyG has one level more
        if ours not in wanted:
            raise Sg2ImError(
                f"The checkpoint {path} holds the parameter {key[:100]!r}, which a model with its "
                "options does not have: use a whole file of the 2018 release."
            )
        if ours in copied:
            raise Sg2ImError(
                f"The checkpoint {path} holds the parameter {key!r} twice, with and without "
                "'module.' before it: use a whole file of the 2018 release."
            )
        problem = weight_problem(value, wanted[ours], ours)
        if problem:
            raise Sg2ImError(
                f"The parameter {key!r} of the checkpoint {path} {problem}: use a whole file of "
                "the 2018 release."
            )
        copied[ours] = value
    # PyTorch before 0.4.1 did not count batches; nothing here depends on the count.
    missing = [
        key for key in wanted if key not in copied and not key.endswith("num_batches_tracked")
    ]
    if missing:
        raise Sg2ImError(
            f"The checkpoint {path} lacks parameters, {len(missing)} in all, for example those of "
            f"{missing[0]!r}: use a whole file of the 2018 release."
        )
    module = make()
    module.load_state_dict(copied, strict=False)
    return module.eval()
