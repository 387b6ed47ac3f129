"""One training run, from the data to the last checkpoint."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric

from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.data import (
    SceneLoader,
)
from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.sources.landscapes.source import prepare_landscapes
from sg2im_pyg.system.files import replace_when_whole
from sg2im_pyg.training.compilation import compile_players
from sg2im_pyg.training.config import TrainingConfig, options_to_yaml
from sg2im_pyg.training.data import _all_splits, _first_graphs, _mask_size, data_root, open_split
from sg2im_pyg.training.initial import start_from
from sg2im_pyg.training.loader import DeviceBatches, TrainingBatches, fixed_batches
from sg2im_pyg.training.logging import RunLogger
from sg2im_pyg.training.noise import layout_noise
from sg2im_pyg.training.players import build_players, learning_rate
from sg2im_pyg.training.processes import (
    STEPS_UNREAD,
    is_stopped,
    launch_fabric,
    other_processes,
    stop_requests,
)
from sg2im_pyg.training.resume import (
    Progress,
    count_skipped,
    freeze_statistics,
    frozen_statistics,
    restore,
    training_state,
)
from sg2im_pyg.training.run_folder import _closing, _summary, make_run_dir
from sg2im_pyg.training.step import StepResult, training_step
from sg2im_pyg.training.validation import sample_sheet, validate


def train(
    config: TrainingConfig,
    run_dir: Path,
    checkpoint: Path | None = None,
    folder: Literal["new", "numbered", "existing"] = "existing",
) -> bool:
    """Trains, from the beginning or from a checkpoint on.

    Args:
        config: All options.
        run_dir: Folder of the run; made where it is missing.
        checkpoint: File to go on from.
        folder: Whether the folder must be new, must be new and gets a number where its name is
            taken, or may be there already.

    Returns:
        Whether the run came to its end; :obj:`False` if it was interrupted (everything is saved).

    Raises:
        Sg2ImError: If data, checkpoint and options do not fit together, or losses stay not
            finite.
    """
    # ---- Devices
    fabric = launch_fabric(config)
    run_dir = Path(fabric.broadcast(str(run_dir)))
    with other_processes(fabric, run_dir):
        return _train(config, fabric, run_dir, checkpoint, folder)


def _train(
    config: TrainingConfig,
    fabric: Fabric,
    run_dir: Path,
    checkpoint: Path | None,
    folder: Literal["new", "numbered", "existing"],
) -> bool:
    first = fabric.is_global_zero
    if config.batch_size % fabric.world_size:
        raise Sg2ImError(
            f"batch_size {config.batch_size} can not be divided among {fabric.world_size} "
            "processes: choose a multiple of their number."
        )
    if config.batch_size // fabric.world_size < config.accumulation:
        raise Sg2ImError(
            f"accumulation {config.accumulation} leaves parts without a picture: a process has "
            f"{config.batch_size // fabric.world_size} of the batch, so choose no more than that."
        )

    # ---- Data
    if first and config.data.name == "landscapes" and not _all_splits(config):
        prepare_landscapes(data_root(config), config.model.image_size, _mask_size(config))
    fabric.barrier()
    storage = config.data.storage
    training_set = open_split(
        config,
        "train",
        augment=True,
        in_memory=storage != "disk",
        device=fabric.device if storage == "device" else None,
    )
    validation_set = open_split(config, config.data.validation_split, augment=False)
    vocabulary = training_set.vocabulary
    if validation_set.vocabulary != vocabulary:
        raise Sg2ImError(
            f"{training_set.reader.path} and {validation_set.reader.path} have different "
            "vocabularies: prepare both splits again."
        )
    pictures = min(config.data.limit or len(training_set), len(training_set))
    if pictures < fabric.world_size * config.accumulation:
        raise Sg2ImError(
            f"There are {pictures} training pictures for {fabric.world_size} process(es) with "
            f"{config.accumulation} part(s) each: use fewer processes or parts, or more pictures."
        )
    batch_size = min(config.batch_size, pictures)
    at_once = -(-batch_size // (fabric.world_size * config.accumulation))
    least = 2 * at_once
    if (config.data.max_objects_per_batch or least) < least:
        raise Sg2ImError(
            f"data.max_objects_per_batch must be at least {least}, the nodes of {least // 2} "
            f"pictures with one object each, got {config.data.max_objects_per_batch}: allow more, "
            "or let accumulation make smaller parts."
        )
    held_out = min(config.data.validation_limit, len(validation_set))
    if config.data.validation_split == "train":
        held_out = min(held_out, pictures)
    share = range(fabric.global_rank, held_out, fabric.world_size)
    validation_batches = fixed_batches(validation_set, share, at_once, config.seed)
    sheets = {"samples": _first_graphs(validation_set, held_out, config.seed)}
    if config.data.validation_split != "train":
        sheets["training_samples"] = _first_graphs(training_set, pictures, config.seed)

    # ---- Networks and optimizers
    fabric.seed_everything(config.seed, verbose=False)
    try:
        players = build_players(fabric, config, vocabulary)
    except (RuntimeError, MemoryError) as error:
        raise Sg2ImError(
            f"The networks can not be made on {fabric.device} ({first_line(error)}): choose "
            "smaller ones, or a device with more memory."
        ) from error
    progress, initial = Progress(), ""
    if config.init is not None and checkpoint is None:
        initial = start_from(Path(config.init), players, config, vocabulary)
    torch.manual_seed(config.seed)  # whatever making the networks has drawn

    # ---- Resume
    if checkpoint is not None:
        progress = restore(checkpoint, players, config, vocabulary, fabric)
    if config.hardware.compile != "off":
        compile_players(players, config.hardware.compile)
    if first:
        run_dir = make_run_dir(run_dir, folder)
        with replace_when_whole(run_dir / "config.yaml") as temporary:
            temporary.write_text(options_to_yaml(asdict(config)), encoding="utf-8")
    batches = TrainingBatches(
        pictures,
        config.batch_size,
        config.seed,
        progress.step,
        fabric.global_rank,
        fabric.world_size,
        config.accumulation,
    )
    loader = SceneLoader(
        training_set,
        seed=config.seed,
        num_workers=0 if training_set.device.type != "cpu" else config.data.workers,
        batch_sampler=batches,
        pin_memory=fabric.device.type == "cuda",
    )
    logger = RunLogger(run_dir, config.steps, progress.step, batches.batch_size, active=first)
    logger.say(_summary(config, run_dir, fabric, pictures, held_out, players, progress) + initial)

    def save(name: str) -> None:
        if first:
            state = training_state(players, config, progress)
            save_checkpoint(run_dir / "checkpoints" / name, players.for_samples, state)

    def evaluate() -> None:
        """Validates, and keeps the weights if they are the best so far."""
        if not held_out:
            return
        weights = config.losses
        progress.validation = validate(fabric, players.for_samples, validation_batches, weights)
        is_best = progress.validation["loss"] < progress.best_loss
        progress.validations_since_best += 1
        if is_best:
            progress.best_loss, progress.best_step = progress.validation["loss"], progress.step
            progress.validations_since_best = 0
            save("best.pt")
        logger.validation(progress.step, progress.validation, is_best)

    def show_samples() -> None:
        for name, graphs in sheets.items():
            if first and graphs is not None:
                sheet = sample_sheet(fabric, players.for_samples, graphs)
                logger.samples(progress.step, name, sheet)

    def due(every: int) -> bool:
        return progress.step % every == 0 or progress.step == config.steps

    everything = (
        config.log_every,
        config.validate_every,
        config.sample_every,
        config.checkpoint_every,
    )
    unread: list[tuple[int, StepResult]] = []

    def read_results() -> dict[str, float]:
        """The values of the last step; steps that were skipped are counted."""
        values: dict[str, float] = {}
        for step, result in unread:
            values, not_finite = result.read()
            count_skipped(progress, step, not_finite, config.max_skipped_steps)
        unread.clear()
        return values

    # ---- Train
    stopped_early = False
    may_wait = 1 if fabric.device.type == "cpu" else min(STEPS_UNREAD, config.max_skipped_steps)
    try:
        with stop_requests() as stop:
            data = DeviceBatches(loader, fabric.device)
            players.generator.network.train(not frozen_statistics(config, progress.step))
            while progress.step < config.steps and not stopped_early:
                if is_stopped(fabric, stop, progress.step):
                    break
                parts = [next(data) for _ in range(config.accumulation)]
                noise = [
                    layout_noise(config.model, config.seed, progress.step, places, fabric.device)
                    for places in batches.places()
                ]
                rate = learning_rate(config, progress.step)
                players.set_learning_rate(rate)
                result = training_step(fabric, players, parts, config, noise)
                progress.step += 1
                unread.append((progress.step, result))
                logger.step()
                if len(unread) >= may_wait or any(map(due, everything)):
                    values = read_results()
                if due(config.log_every):
                    others = {
                        "learning_rate": rate,
                        "skipped_steps": float(progress.skipped_steps),
                    }
                    logger.curves(progress.step, {**values, **others})
                if progress.step == config.optimizer.eval_mode_after:
                    freeze_statistics(fabric, players, config)
                with logger.pause():
                    if due(config.validate_every):
                        evaluate()
                        patience = config.early_stopping
                        stopped_early = 0 < patience <= progress.validations_since_best
                    if due(config.sample_every) or stopped_early:
                        show_samples()
                    if due(config.checkpoint_every):
                        save("last.pt")
            read_results()
            whole = progress.step >= config.steps or stopped_early
            if not whole or stopped_early:
                save("last.pt")
    finally:
        logger.close()
    if first:
        print(_closing(config, run_dir, progress, whole, stopped_early), flush=True)
    return whole
