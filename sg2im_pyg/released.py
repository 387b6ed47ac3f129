"""Reads the checkpoints of the 2018 release into this library's modules.

A file is a pickled dict: ``model_kwargs`` and ``model_state`` of the generator and, unless it was
stripped, ``d_obj_kwargs``, ``d_obj_state``, ``d_img_kwargs`` and ``d_img_state`` of the
discriminators, beside training histories that are not read. No code in a file is ever run.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import LeakyReLU, Module

from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.model import ModelConfig, Sg2Im
from sg2im_pyg.nn import ObjectDiscriminator, PatchDiscriminator
from sg2im_pyg.nn.discriminators import PUBLISHED_LAYERS
from sg2im_pyg.serialization import load_entries

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
    model = released_generator(entries, path)
    with _damage_named(path):
        return model, *_discriminators(entries, path)


def _discriminators(
    entries: Mapping[str, Any], path: str | os.PathLike[str]
) -> tuple[ObjectDiscriminator | None, PatchDiscriminator | None]:
    object_discriminator = image_discriminator = None
    if entries.get("d_obj_state"):
        options = _options(entries, "d_obj_kwargs", path)
        object_discriminator = ObjectDiscriminator(
            len(_vocabulary(options.get("vocab", _vocab(entries)), path).objects),
            **_convolutions(options, path),
            object_size=int(options.get("object_size", 32)),
        )
        _copy_state(object_discriminator, entries["d_obj_state"], OBJECT_DISCRIMINATOR, path)
    if entries.get("d_img_state"):
        options = _options(entries, "d_img_kwargs", path)
        image_discriminator = PatchDiscriminator(**_convolutions(options, path))
        _copy_state(image_discriminator, entries["d_img_state"], IMAGE_DISCRIMINATOR, path)
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
            f"The parts of the checkpoint {path} do not fit together ({error}): use a whole file "
            "of the 2018 release."
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
        model = Sg2Im(_vocabulary(_vocab(entries), path), config)
    except Sg2ImError as error:
        raise Sg2ImError(f"The checkpoint {path} holds wrong options: {error}") from None
    except (TypeError, ValueError) as error:
        raise Sg2ImError(
            f"The checkpoint {path} holds a wrong option in 'model_kwargs' ({error}): use a file "
            "of the 2018 release."
        ) from error
    _copy_state(model, entries["model_state"], GENERATOR, path)
    return model


def _options(
    entries: Mapping[str, Any], name: str, path: str | os.PathLike[str]
) -> Mapping[str, Any]:
    options = entries.get(name)
    if not isinstance(options, Mapping):
        raise Sg2ImError(f"The checkpoint {path} lacks the entry {name!r}: use a whole file.")
    return options


def _check_choice(
    options: Mapping[str, Any], name: str, choices: tuple[str, ...], path: str | os.PathLike[str]
) -> None:
    if options.get(name, choices[0]) not in choices:
        raise Sg2ImError(
            f"The checkpoint {path} holds the option {name!r} with the value {options[name]!r}; "
            f"it must be one of {', '.join(choices)}."
        )


def _vocab(entries: Mapping[str, Any]) -> Any:
    return entries["model_kwargs"].get("vocab", entries.get("vocab"))


def _vocabulary(vocab: Any, path: str | os.PathLike[str]) -> Vocabulary:
    keys = ("object_idx_to_name", "pred_idx_to_name")
    if not isinstance(vocab, Mapping) or not all(isinstance(vocab.get(key), list) for key in keys):
        raise Sg2ImError(
            f"The checkpoint {path} has no vocabulary with the lists 'object_idx_to_name' and "
            "'pred_idx_to_name': use a whole file of the 2018 release."
        )
    objects, predicates = (vocab[key] for key in keys)
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
    _check_choice(options, "padding", ("valid",), path)  # "same" was never published
    arch = options.get("arch")
    layers: tuple[tuple[int, int, int], ...] = PUBLISHED_LAYERS
    if arch is not None:
        names = [name.strip() for name in (arch.split(",") if isinstance(arch, str) else arch)]
        layers = tuple(_layer(name, path) for name in names if name != "I3")
    return {
        "layers": layers,
        "normalization": options.get("normalization", "batch"),
        "negative_slope": _negative_slope(options),
    }


def _layer(name: str, path: str | os.PathLike[str]) -> tuple[int, int, int]:
    match = re.fullmatch(r"C(\d+)-(\d+)(?:-(\d+))?", name)
    if not match:
        raise Sg2ImError(
            f"The discriminator in {path} has the layer {name!r}; only convolutions such as "
            "'C4-64-2' (kernel, channels, stride) can be loaded."
        )
    return int(match[1]), int(match[2]), int(match[3] or 1)


def _negative_slope(options: Mapping[str, Any]) -> float:
    # The release takes LeakyReLU whatever the name, with the slope behind its hyphen if there is
    # one, and otherwise torch's.
    name = str(options.get("activation", "leakyrelu-0.2")).lower()
    given = re.fullmatch(r"leakyrelu-(\d*\.?\d+(?:e-?\d+)?)", name)
    return float(given[1]) if given else LeakyReLU().negative_slope


def _rename(key: str, renaming: Renaming) -> str | None:
    """Our name of a parameter; :obj:`None` for one that is left out, the name itself for others."""
    for pattern, ours in renaming:
        match = re.match(pattern, key)
        if match:
            return None if ours is None else re.sub(f"^{pattern}", ours, key, count=1)
    return key


def _copy_state(
    module: Module, state: Mapping[str, Tensor], renaming: Renaming, path: str | os.PathLike[str]
) -> None:
    """Copies the release's parameters and sets eval mode; all must be there and fit."""
    wanted = module.state_dict()
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
                f"The checkpoint {path} holds the parameter {key!r}, which a model with its "
                "options does not have: use a whole file of the 2018 release."
            )
        if not isinstance(value, Tensor) or value.shape != wanted[ours].shape:
            raise Sg2ImError(
                f"The parameter {key!r} of the checkpoint {path} has the shape "
                f"{tuple(getattr(value, 'shape', ()))}, its options ask for "
                f"{tuple(wanted[ours].shape)}: use a whole file of the 2018 release."
            )
        if not value.isfinite().all():
            raise Sg2ImError(
                f"The parameter {key!r} of the checkpoint {path} holds numbers that are not "
                "finite: use another file."
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
    module.load_state_dict(copied, strict=False)
    module.eval()
