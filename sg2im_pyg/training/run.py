"""A run under way: what it counts, saves, validates and shows."""

import json
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric import Fabric

from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.system.files import replace_when_whole
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.data import TrainingData
from sg2im_pyg.training.logging import RunLogger
from sg2im_pyg.training.players import Players
from sg2im_pyg.training.processes import STEPS_UNREAD
from sg2im_pyg.training.resume import Progress, count_skipped, training_state
from sg2im_pyg.training.step import StepResult
from sg2im_pyg.training.validation import prepare_draws, sample_sheet, validate


@dataclass
class Run:
    """What a run does beside its steps. All its processes take part; the first one writes."""

    config: TrainingConfig
    fabric: Fabric
    folder: Path
    players: Players
    data: TrainingData
    progress: Progress
    """Where the run stands; it is kept up to date."""
    stopped_early: bool = False
    """Whether too many validations in a row were no better."""

    def __post_init__(self) -> None:
        self._writes = self.fabric.is_global_zero
        size, start = self.data.batches.batch_size, self.progress.step
        self.logger = RunLogger(self.folder, self.config.steps, start, size, active=self._writes)
        self._unread: list[tuple[int, StepResult]] = []
        on_cpu = self.fabric.device.type == "cpu"
        self._prepared_at = -1
        self._may_wait = 1 if on_cpu else min(STEPS_UNREAD, self.config.max_skipped_steps)

    @property
    def examples(self) -> Path:
        """File of graphs in the names of the run's vocabulary, beside its checkpoints."""
        return self.folder / "checkpoints" / "example_graphs.json"

    def due(self, every: int) -> bool:
        """Whether something is to be done after this step, as after the last one."""
        step = self.progress.step
        return step % every == 0 or step == self.config.steps

    def count(self, result: StepResult, rate: float) -> None:
        """Counts a step and writes its curves; results are read when it is time to, as a GPU has to
        be waited for."""
        config, progress = self.config, self.progress
        progress.step += 1
        self._unread.append((progress.step, result))
        self.logger.step()
        intervals = (
            config.log_every,
            config.validate_every,
            config.sample_every,
            config.checkpoint_every,
        )
        if len(self._unread) >= self._may_wait or any(map(self.due, intervals)):
            values = self.read_results()
        if self.due(config.log_every):
            others = {"learning_rate": rate, "skipped_steps": float(progress.skipped_steps)}
            self.logger.curves(progress.step, {**values, **others})

    def read_results(self) -> dict[str, float]:
        """The values of the last step; steps that were skipped are counted.

        Raises:
            Sg2ImError: If too many were skipped in a row.
        """
        values: dict[str, float] = {}
        for step, result in self._unread:
            values, not_finite = result.read()
            count_skipped(self.progress, step, not_finite, self.config.max_skipped_steps)
        self._unread.clear()
        return values

    def prepare_draws(self) -> None:
        """Gives the generator what it draws from, once for its weights of this step."""
        if self._prepared_at != self.progress.step and self.data.examples:
            self._prepared_at = self.progress.step
            prepare_draws(self.fabric, self.players.for_samples, self.data.examples)

    def validate(self) -> None:
        """Validates, and keeps the weights if they are the best so far."""
        progress, data = self.progress, self.data
        if not data.held_out:
            return
        model, batches = self.players.for_samples, data.validation_batches
        progress.validation = validate(self.fabric, model, batches, self.config.losses)
        is_best = progress.validation["loss"] < progress.best_loss
        progress.validations_since_best += 1
        if is_best:
            progress.best_loss, progress.best_step = progress.validation["loss"], progress.step
            progress.validations_since_best = 0
            self.save("best.pt")
        self.logger.validation(progress.step, progress.validation, is_best)
        self.stopped_early = 0 < self.config.early_stopping <= progress.validations_since_best

    def show_samples(self) -> None:
        """Shows pictures of validation and training graphs."""
        if not self._writes:
            return
        self.prepare_draws()
        for name, graphs in self.data.sheets.items():
            if graphs is not None:
                sheet = sample_sheet(self.fabric, self.players.for_samples, graphs)
                self.logger.samples(self.progress.step, name, sheet)

    def save(self, name: str) -> None:
        """Writes a checkpoint, and beside the first one graphs to try it with."""
        if self._writes:
            if not self.examples.is_file():
                self._write_examples()
            self.prepare_draws()
            state = training_state(self.players, self.config, self.progress)
            save_checkpoint(self.folder / "checkpoints" / name, self.players.for_samples, state)

    def _write_examples(self) -> None:
        """The graphs of the sample pictures, as a person would write them."""
        sheet = next((graphs for graphs in self.data.sheets.values() if graphs is not None), None)
        if sheet is None:
            return
        vocabulary = self.data.training_set.vocabulary
        found = [graph.to_json(vocabulary) for graph in sheet.cpu().to_data_list()]
        lines = ",\n".join(json.dumps(graph) for graph in found if graph["objects"])
        if lines:
            with replace_when_whole(self.examples) as temporary:
                temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
