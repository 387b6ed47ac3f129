"""The options of eval/benchmark.py; nothing heavy is imported before they are right."""

from dataclasses import dataclass
from typing import Literal, get_args

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.options import check_options, option

Part = Literal["train", "generate", "layout", "gconv", "loader", "levers", "memory", "processes"]


@dataclass
class BenchmarkOptions:
    """What is measured, where and how often."""

    parts: list[Part] = option(lambda: list(get_args(Part)))
    """What to measure."""
    config: str = option("coco64")
    """Configuration of the networks and losses, as for train/run.py."""
    sizes: list[int] = option(lambda: [64, 128], least=1)
    """Sides of the pictures in pixels; parts but train and generate take the first."""
    batches: list[int] = option(lambda: [32, 1], least=1)
    """Pictures a batch; parts but train and generate take the first."""
    repeats: int = option(7, least=1)
    """Rounds that count."""
    case_minutes: float = option(2.0, above=0)
    """Most minutes a case: slower ones get fewer rounds, but at least 3 (or repeats)."""
    reference: bool = option(True)
    """Measure the reference too."""
    accelerator: Literal["auto", "cpu", "cuda"] = option("auto")
    """Where to compute; auto: on a CUDA GPU where there is one."""
    precision: Literal["32-true", "bf16-mixed"] = option("32-true")
    """Number format of ours and of the reference."""
    compile: Literal["off", "default", "reduce-overhead"] = option("off")
    """Compile our networks for training, as hardware.compile of train/run.py."""
    memory_batches: int = option(1000, least=1)
    """Batches of the memory's long run."""
    processes: list[int] | None = option(None, least=1)
    """Numbers of processes; null: 1 and 2, on GPUs 1 and as many as there are."""
    output: str | None = option(None)
    """Folder to write to; null: runs/benchmark in the repository."""

    def __post_init__(self) -> None:
        check_options(self, "--")
        for name in ("parts", "sizes", "batches", "processes"):
            given = getattr(self, name)
            if given is not None and (not given or len(set(given)) < len(given)):
                raise Sg2ImError(f"--{name} must name at least one, each once, got {given}.")
