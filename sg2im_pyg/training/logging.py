"""What a run shows: curves and pictures in TensorBoard, and a progress bar."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from sg2im_pyg.errors import first_line
from sg2im_pyg.system.files import replace_when_whole
from sg2im_pyg.training.losses import LOSSES

SECONDS_BETWEEN_LINES = 60.0
"""Time between two lines about the progress, where there is no terminal."""


class RunLogger:
    """Writes the curves and sample pictures of a run, and shows its progress on a terminal.

    Args:
        run_dir: Folder of the run.
        steps: Steps in all.
        start_step: Steps that were already made; later points of an interrupted run are dropped.
        batch_size: Pictures a step.
        active: :obj:`False` for all processes but the first: they write and show nothing.
    """

    def __init__(
        self, run_dir: Path, steps: int, start_step: int, batch_size: int, active: bool = True
    ) -> None:
        self.run_dir = run_dir
        self.batch_size = batch_size
        self.writer: SummaryWriter | None = None
        self._lost = False  # whether curves can not be written any more
        if active:
            self.writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=start_step + 1)
        self._hook = threading.excepthook
        if active:
            threading.excepthook = self._of_threads
        self.bar = tqdm(
            total=steps,
            initial=start_step,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            disable=None if active else True,  # None: only on a terminal
        )
        self._since, self._steps_since = time.perf_counter(), 0
        self._total, self._start_step, self._done = steps, start_step, start_step
        self._began = self._said = time.perf_counter()

    def step(self) -> None:
        """Counts a step; where there is no terminal for the bar, a line a minute tells of it."""
        self._steps_since += 1
        self._done += 1
        self.bar.update()
        now = time.perf_counter()
        if self.bar.disable and now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            passed = now - self._began
            left = passed / (self._done - self._start_step) * (self._total - self._done)
            self.say(
                f"step {self._done} of {self._total}, {tqdm.format_interval(passed)} passed, "
                f"{tqdm.format_interval(left)} left"
            )

    def curves(self, step: int, values: Mapping[str, torch.Tensor | float]) -> None:
        """Writes points of the curves; on the bar, the generator's losses and the speed."""
        speed = self.images_per_second()
        if self.writer is None:
            return
        scalars = {name: float(value) for name, value in values.items()}
        for name, value in {**scalars, "speed/images_per_second": speed}.items():
            self._write("add_scalar", name, value, step)
        shown = {
            loss.label: f"{scalars[f'generator/{name}']:.3f}"
            for name, loss in LOSSES.items()
            if f"generator/{name}" in scalars
        }
        self.bar.set_postfix({**shown, "img/s": f"{speed:.0f}"}, refresh=False)

    def images_per_second(self) -> float:
        """Pictures a second since the last call."""
        now = time.perf_counter()
        speed = self._steps_since * self.batch_size / max(now - self._since, 1e-9)
        self._since, self._steps_since = now, 0
        return speed

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Within it time does not count for the speed (validation, checkpoints)."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def validation(self, step: int, values: Mapping[str, float], is_best: bool) -> None:
        """Writes the curves of a validation and prints its line."""
        if self.writer is None:
            return
        for name, value in values.items():
            self._write("add_scalar", f"validation/{name}", value, step)
        self._write("flush")
        labels = {name: name.replace("_", " ") for name in LOSSES}
        labels |= {"box_recall_0.3": "box recall at 0.3", "box_recall_0.5": "at 0.5"}
        parts = [f"loss {values['loss']:.4f}"] + [
            f"{label} {values[name]:.3f}" for name, label in labels.items() if name in values
        ]
        self.say(f"step {step}: validation {', '.join(parts)}" + (" (best)" if is_best else ""))

    def samples(self, step: int, name: str, sheet: Image.Image) -> None:
        """Keeps sample pictures in the run's folder and in TensorBoard."""
        if self.writer is None:
            return
        folder = self.run_dir / "samples"
        for path in (folder / f"{name}_{step:08d}.png", self.run_dir / f"{name}.png"):
            with replace_when_whole(path) as temporary:
                sheet.save(temporary, format="PNG")
        self._write("add_image", f"samples/{name}", np.asarray(sheet), step, dataformats="HWC")

    def say(self, line: str) -> None:
        """Prints a line, above the bar where there is one."""
        if self.writer is not None:
            self.bar.write(line, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        self.bar.close()
        if self.writer is not None:
            self._write("close")
        threading.excepthook = self._hook

    def _write(self, what: str, *given: Any, **options: Any) -> None:
        """Calls the writer of the curves. A folder that was deleted and a full disk cost the run
        its further curves, not itself."""
        if self.writer is None or self._lost:
            return
        try:
            getattr(self.writer, what)(*given, **options)
        except (OSError, RuntimeError) as error:
            self._lost = True
            self.say(f"Curves can not be written any more ({first_line(error)}); the run goes on.")

    def _of_threads(self, args: threading.ExceptHookArgs) -> None:
        # TensorBoard's thread raises again what it hands to the next call of its writer.
        if type(args.thread).__module__.partition(".")[0] != "tensorboard":
            self._hook(args)
