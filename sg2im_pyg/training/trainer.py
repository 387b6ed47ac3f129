"""One training run, from the data to the last checkpoint."""

from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.training.compilation import compile_players
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.data import load_data
from sg2im_pyg.training.initial import start_from
from sg2im_pyg.training.loader import DeviceBatches
from sg2im_pyg.training.noise import step_draws
from sg2im_pyg.training.players import build_players, discriminator_ratio, learning_rate
from sg2im_pyg.training.processes import (
    ReadingFailed,
    is_stopped,
    launch_fabric,
    memory_named,
    next_batches,
    notice_workers_when_they_are_asked,
    other_processes,
    stop_requests,
)
from sg2im_pyg.training.resume import Progress, freeze_statistics, frozen_statistics, restore
from sg2im_pyg.training.run import Run
from sg2im_pyg.training.run_folder import begin_folder, closing, summary
from sg2im_pyg.training.step import training_step

Folder = Literal["new", "numbered", "existing"]


def train(
    config: TrainingConfig,
    run_dir: Path,
    checkpoint: Path | None = None,
    folder: Folder = "existing",
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
    fabric = launch_fabric(config)
    run_dir = Path(fabric.broadcast(str(run_dir)))
    with other_processes(fabric, run_dir):
        return _train(config, fabric, run_dir, checkpoint, folder)


def _train(
    config: TrainingConfig, fabric: Fabric, run_dir: Path, checkpoint: Path | None, folder: Folder
) -> bool:
    # ---- Data
    data = load_data(config, fabric)
    vocabulary = data.training_set.vocabulary

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
    data.batches.start_step = progress.step
    if config.hardware.compile != "off":
        compile_players(players, config.hardware.compile)

    # ---- Folder of the run
    with ExitStack() as until_the_end:
        if fabric.is_global_zero:
            run_dir = until_the_end.enter_context(begin_folder(config, run_dir, folder))
        run = Run(config, fabric, run_dir, players, data, progress)
        until_the_end.callback(run.logger.close)
        run.logger.say(summary(run) + initial)

        # ---- Train
        try:
            with stop_requests() as stop:
                batches = DeviceBatches(data.loader, fabric.device)
                notice_workers_when_they_are_asked()
                players.generator.network.train(not frozen_statistics(config, progress.step))
                while progress.step < config.steps and not run.stopped_early:
                    if is_stopped(fabric, stop, progress.step):
                        break
                    parts = next_batches(batches, config.accumulation)
                    draws = step_draws(config, progress.step, data.batches, parts, fabric.device)
                    rate = learning_rate(config, progress.step)
                    players.set_learning_rate(rate, discriminator_ratio(config))
                    with memory_named(config):
                        result = training_step(fabric, players, parts, config, draws)
                    run.count(result, rate)
                    if progress.step == config.optimizer.eval_mode_after:
                        freeze_statistics(fabric, players, config)
                    with run.logger.pause():
                        if run.due(config.validate_every):
                            run.validate()
                        if run.due(config.sample_every) or run.stopped_early:
                            run.show_samples()
                        if run.due(config.checkpoint_every):
                            run.save("last.pt")
                run.read_results()
                whole = progress.step >= config.steps or run.stopped_early
                if not whole or run.stopped_early:
                    run.save("last.pt")
        except ReadingFailed as error:
            run.read_results()
            run.save("last.pt")
            raise Sg2ImError(
                f"The training data can not be read on ({error}). Everything up to step "
                f"{progress.step} is saved: put that right, or read with fewer processes "
                f'(--data.workers), and go on with --resume "{run_dir}".'
            ) from error
    if fabric.is_global_zero:
        print(closing(run, whole), flush=True)
    return whole
