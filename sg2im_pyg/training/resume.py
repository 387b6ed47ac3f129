"""What a checkpoint keeps of a run beside the generator, and how a run goes on from it."""

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from sg2im_pyg.data import Vocabulary
from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.formats.limits import MOST_SHOWN, weight_problem
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.nn.discriminators import DISCRIMINATORS
from sg2im_pyg.training.config import TrainingConfig, differing_options, listed_differences
from sg2im_pyg.training.players import Players, adam, bare_optimizer


@dataclass
class Progress:
    """Where a run stands: what a checkpoint keeps beside weights and random states."""

    step: int = 0
    best_loss: float = float("inf")
    best_step: int = 0
    validations_since_best: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    """Values of the last validation."""


def training_state(players: Players, config: TrainingConfig, progress: Progress) -> dict[str, Any]:
    """The entry ``training`` of a checkpoint."""
    average: dict[str, Any] = {}  # what is kept beside it: it is the checkpoint's generator itself
    if players.average is not None:
        average["generator"] = players.generator.bare.state_dict()
        average["averaged_steps"] = int(players.average.n_averaged)
    return {
        "config": asdict(config),
        "progress": asdict(progress),
        "discriminators": {
            name: player.bare.state_dict()
            for name, player in players.named()
            if name != "generator"
        },
        "optimizers": {name: player.optimizer.state_dict() for name, player in players.named()},
        **average,
        "random_state": torch.get_rng_state(),
        "cuda_random_state": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore(
    checkpoint: Path,
    players: Players,
    config: TrainingConfig,
    vocabulary: Vocabulary,
    fabric: Fabric,
) -> Progress:
    """Puts weights, optimizers and random states of a checkpoint in place.

    Raises:
        Sg2ImError: If the checkpoint has another vocabulary or other networks.
    """
    entries = read_checkpoint(checkpoint, to_train=True)
    training = entries["training"]
    stored = Vocabulary.from_dict(entries["vocabulary"])
    if stored != vocabulary:
        raise Sg2ImError(
            f"The checkpoint {checkpoint} has another vocabulary than the data in "
            f"{config.data.root} ({_difference(stored, vocabulary)}): give the data it was "
            "trained on, or start a new run."
        )
    try:
        _restore_generator(players, entries["generator"], training)
        if set(training["optimizers"]) != {name for name, _ in players.named()}:
            raise ValueError("other discriminators")
        progress = _progress(training["progress"])
        if frozen_statistics(config, progress.step):
            freeze_statistics(fabric, players, config)
        for name, player in players.named():
            if name != "generator":
                _load_weights(player.bare, training["discriminators"][name])
            _restore_optimizer(player.optimizer, training["optimizers"][name])
        if fabric.world_size == 1:
            torch.set_rng_state(_bytes(training["random_state"], torch.get_rng_state()))
            if training["cuda_random_state"] is not None and torch.cuda.is_available():
                now = torch.cuda.get_rng_state()
                torch.cuda.set_rng_state(_bytes(training["cuda_random_state"], now))
    except (
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        LookupError,
        OverflowError,
    ) as error:
        reason = _changed_options(training, config) or first_line(error)
        raise Sg2ImError(
            f"The checkpoint {checkpoint} does not fit the options of this run "
            f"({shortened(reason, MOST_SHOWN)}): resume without changing model or discriminators, "
            "or start a new run."
        ) from error
    if progress.step > config.steps:
        raise Sg2ImError(
            f"The run in {checkpoint} has made {progress.step} steps already, and --steps asks "
            f"for {config.steps}: ask for more."
        )
    return progress


def _restore_generator(players: Players, weights: dict[str, Any], training: dict[str, Any]) -> None:
    """Puts the weights in place that training goes on from, and their average."""
    _load_weights(players.generator.bare, training.get("generator", weights))
    if players.average is None:
        return
    _load_weights(players.average.module, weights)
    # A run without an average goes on with one: it begins at the weights as they are.
    averaged = training.get("averaged_steps", 1)
    if not _is_count(averaged):
        raise ValueError("a number of averaged steps that is none")
    players.average.n_averaged.fill_(averaged)


def _load_weights(network: Module, weights: dict[str, Any]) -> None:
    """Puts weights of a file in place, each of which must be one of the network's."""
    if not isinstance(weights, dict):
        raise TypeError("weights that are none")
    for name, value in network.state_dict().items():
        problem = weight_problem(weights[name], value.shape, name) if name in weights else None
        if problem:
            raise ValueError(f"the parameter {name} {problem}")
    network.load_state_dict(weights)


def _progress(stored: dict[str, Any]) -> Progress:
    """Where a run stood, of which any entry may be anything."""
    progress = Progress(**stored)
    for entry in fields(Progress):
        value = getattr(progress, entry.name)
        if entry.name == "validation":
            fits = isinstance(value, dict) and all(
                isinstance(name, str) and isinstance(number, (int, float))
                for name, number in value.items()
            )
        elif entry.name == "best_loss":
            fits = isinstance(value, (int, float)) and not math.isnan(value)
        else:
            fits = _is_count(value)
        if not fits:
            raise ValueError(f"{entry.name} {shortened(repr(value))}")
    return progress


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _bytes(state: Any, now: Tensor) -> Tensor:
    """A random state of a file, of the kind of the present one."""
    problem = weight_problem(state, now.shape) or (state.dtype != now.dtype and "is none")
    if problem:
        raise ValueError(f"a random state that {problem}")
    return state


def _restore_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Loads the state of an optimizer into one that may be computed in another way. Its numbers
    (learning rates and decays) are those of the run's options, and nothing else is taken of it."""
    bare = bare_optimizer(optimizer)
    own = bare.state_dict()["param_groups"]
    numbers = [group["params"] for group in state["param_groups"]]
    if numbers != [group["params"] for group in own]:
        raise ValueError("an optimizer of other parameters")
    parameters = [parameter for group in bare.param_groups for parameter in group["params"]]
    for number, moments in state["state"].items():
        if type(number) is not int or not 0 <= number < len(parameters):
            raise ValueError("an optimizer of other parameters")
        shape = parameters[number].shape
        for key, wanted in (("step", torch.Size()), ("exp_avg", shape), ("exp_avg_sq", shape)):
            of_squares = "running_var" if key != "exp_avg" else ""  # never below zero
            problem = weight_problem(moments[key], wanted, of_squares)
            # A square may be beyond float32 in a run that goes on all the same.
            if problem and "not finite" not in problem:
                raise ValueError(f"an optimizer's {key} {problem}")
        if set(moments) != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError("an optimizer with other moments")
    optimizer.load_state_dict({"state": state["state"], "param_groups": own})
    for parameter, moments in bare_optimizer(optimizer).state.items():
        for key, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # In the order in memory of the parameter, which a fused optimizer relies on.
                moments[key] = torch.empty_like(parameter).copy_(value)


def _changed_options(training: dict[str, Any], config: TrainingConfig) -> str:
    """Options of the networks that a checkpoint was made with otherwise."""
    stored, changed = training.get("config"), []
    if isinstance(stored, dict):
        for part in ("model", *DISCRIMINATORS):
            changed += differing_options(part, stored.get(part), asdict(getattr(config, part)))
    return listed_differences(changed)


def freeze_statistics(fabric: Fabric, players: Players, config: TrainingConfig) -> None:
    """Eval mode for the generator, with its optimizer restarted (release)."""
    generator = players.generator
    generator.network.eval()
    optimizer = fabric.setup_optimizers(adam("generator", generator.bare, config, fabric.device))
    assert isinstance(optimizer, Optimizer)
    generator.optimizer = optimizer


def frozen_statistics(config: TrainingConfig, step: int) -> bool:
    return 0 < config.optimizer.eval_mode_after <= step


def _difference(stored: Vocabulary, given: Vocabulary) -> str:
    for kind in ("objects", "predicates"):
        mine, other = getattr(stored, kind), getattr(given, kind)
        if mine != other:
            extra = sorted(set(mine) ^ set(other))
            names = f", for example {extra[0]!r}" if extra else " in another order"
            return f"{len(mine)} {kind} against {len(other)}{names}"
    return "the same names"


def count_skipped(progress: Progress, step: int, not_finite: list[str], most: int) -> None:
    """Counts steps that were skipped; too many in a row end the run.

    Args:
        progress: Where they are counted.
        step: Number of the step.
        not_finite: Names of what was not finite in it; none if it was not skipped.
        most: How many in a row.

    Raises:
        Sg2ImError: With the name of the loss that is not finite.
    """
    if not not_finite:
        progress.skipped_in_a_row = 0
        return
    progress.skipped_steps += 1
    progress.skipped_in_a_row += 1
    if progress.skipped_in_a_row >= most:
        raise Sg2ImError(
            f"The last {most} steps up to step {step} were skipped because "
            f"{' and '.join(not_finite)} was not finite: lower optimizer.lr or the weight "
            "of that loss, and go on from the last checkpoint with --resume."
        )
