"""A new training that starts from the weights of a checkpoint (``train/run.py --init FILE``)."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Module

from sg2im_pyg.checkpoint import LoadedPlayers, load_players
from sg2im_pyg.data.vocabulary import IMAGE, IN_IMAGE, UNUSED, Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.training.config import TrainingConfig, differing_options, listed_differences
from sg2im_pyg.training.players import Players

ROWS = {
    "generator": {
        "object_embedding.weight": "objects",
        "predicate_embedding.weight": "predicates",
        "appearance_encoder.embedding.weight": "objects",
        "appearance_bank.vectors": "objects",
        "appearance_bank.of_pictures": "objects",
        "appearance_bank.counts": "objects",
        "box_flow.object_embedding.weight": "objects",
        "box_flow.settled": "objects",
        "box_flow.relation_head.subject_embedding.weight": "objects",
        "box_flow.relation_head.object_embedding.weight": "objects",
        "box_flow.predicate_embedding.weight": "predicates",
        "box_flow.relation_head.layers.3.weight": "predicates",
        "box_flow.relation_head.layers.3.bias": "predicates",
    },
    "object_discriminator": {"category_head.weight": "objects", "category_head.bias": "objects"},
    "segmenting_discriminator": {  # the last row is that of generated pixels
        "output.weight": "objects",
        "output.bias": "objects",
        "output.parametrizations.weight.original": "objects",
        "output.parametrizations.weight.0._u": "objects",
    },
}
"""Weights with one row for each name of a vocabulary."""
_SHOWN_NAMES = 5
_WITHOUT_WEIGHT = ("num_categories", "object_size")  # of a discriminator: no weight depends on it
_WITHOUT_WEIGHT_IN_ONE_LAYER = (*_WITHOUT_WEIGHT, "normalization", "negative_slope")


def start_from(path: Path, players: Players, config: TrainingConfig, vocabulary: Vocabulary) -> str:
    """Puts the weights of a checkpoint into freshly made networks; optimizers stay fresh.

    Rows of embeddings and of the heads for categories go to the place that their name has in the
    data's vocabulary. Names that the checkpoint does not know, and a discriminator that it does not
    hold, keep their fresh weights.

    Args:
        path: Checkpoint of this library or of the 2018 release.
        players: The networks of the run.
        config: Its options.
        vocabulary: That of its data.

    Returns:
        What was taken, as lines to print that each follow a line break.

    Raises:
        Sg2ImError: If the file is no good, its networks have other options, or its vocabulary
            shares no name with the data's.
    """
    loaded = load_players(path)
    _check_options(path, loaded, players, config)
    known = loaded.model.vocabulary
    there, here = _names(known), _names(vocabulary)
    lacking = [name for kind in here for name in here[kind] if name not in there[kind]]
    count = sum(map(len, here.values()))
    if len(lacking) == count:
        raise Sg2ImError(
            f"The vocabularies of {path} and of the data in {config.data.root} have no name in "
            f"common ({_listed(there['objects'])} there, {_listed(here['objects'])} here): give a "
            "checkpoint of such data, or leave out --init."
        )
    taken, fresh = [], []
    for name, player in players.named():
        source: Module | None
        source = loaded.model if name == "generator" else loaded.discriminators.get(name)
        if source is None:
            fresh.append(name.replace("_", " "))
            continue
        weights = matched(
            source.state_dict(), player.bare.state_dict(), ROWS.get(name, {}), known, vocabulary
        )
        try:
            player.bare.load_state_dict(weights)
        except RuntimeError as error:
            # Of a discriminator from elsewhere, whose rows for names are not known here.
            raise Sg2ImError(
                f"The weights of the {name.replace('_', ' ')} in {path} do not fit this run's: "
                f"pass --{name}.enabled=false."
            ) from error
        taken.append(name.replace("_", " "))
    others = f"; fresh: {', '.join(fresh)}" if fresh else ""
    lines = f"\nStarts from the weights of {path}: {', '.join(taken)}{others}"
    if lacking:
        lines += (
            f"\nNames that this file lacks, with fresh weights: {len(lacking)} of {count} "
            f"({_listed(lacking)})"
        )
    return lines


def matched(
    source: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    rows: Mapping[str, str],
    known: Vocabulary,
    wanted: Vocabulary,
) -> dict[str, Tensor]:
    """Weights of one network in the order of another vocabulary.

    Args:
        source: Its weights.
        fresh: Weights for names that it does not know.
        rows: Names of the weights that have a row for each name, and of the vocabulary's list.
        known: Vocabulary of :obj:`source`.
        wanted: Vocabulary of :obj:`fresh` and of the result.
    """
    weights = dict(source)
    for key, kind in rows.items():
        if key not in source:
            continue  # of an option that is off
        before, after = getattr(known, kind), getattr(wanted, kind)
        if before == after:
            continue  # unused indices and all
        places = {name: i for i, name in enumerate(before) if name != UNUSED}
        weights[key] = fresh[key].clone()
        for i, name in enumerate(after):
            if name in places:
                weights[key][i] = source[key][places[name]]
        if len(fresh[key]) > len(after):  # a last row that no name has
            weights[key][-1] = source[key][-1]
    return weights


def _check_options(
    path: Path, loaded: LoadedPlayers, players: Players, config: TrainingConfig
) -> None:
    """Compares the options that weights depend on, of the networks that both have."""
    there, here = _weighty(loaded.model.config), _weighty(config.model)
    differing = differing_options("model", there, here)
    for name, player in players.named():
        source = loaded.discriminators.get(name)  # none of the generator, and of what is not there
        if source is None:
            continue
        options: dict[str, Any] = source.options
        in_one_layer = len(options.get("layers", ())) == 1
        free = _WITHOUT_WEIGHT_IN_ONE_LAYER if in_one_layer else _WITHOUT_WEIGHT
        there = {option: value for option, value in options.items() if option not in free}
        differing += differing_options(name, there, player.bare.options)
    if differing:
        given = " ".join(_as_option(name, there) for name, there, _ in differing)
        raise Sg2ImError(
            f"The networks in {path} have other options than this run "
            f"({listed_differences(differing)}): pass {given}."
        )


def _weighty(config: ModelConfig) -> dict[str, Any]:
    """The options of a generator that its weights depend on, in shape or meaning."""
    options = asdict(config)
    del options["image_size"]  # all its layers work at any size
    del options["mask_sharpness"]  # only when pictures are generated
    if not config.mask_size:
        del options["mask_head"]
    if not config.gconv_num_layers:
        del options["gconv_pooling"]
    return options


def _as_option(name: str, value: Any) -> str:
    part, _, option = name.partition(".")
    if part != "model" and option in ("negative_slope", "hidden_channels", "in_channels"):
        return f"--{part}.enabled=false"  # a training has no option for it
    return f"--{name}={str(value).replace(' ', '')}"


def _names(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """All names but the special ones, which each vocabulary has."""
    return {
        kind: [name for name in getattr(vocabulary, kind) if name not in (IMAGE, IN_IMAGE, UNUSED)]
        for kind in ("objects", "predicates")
    }


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
