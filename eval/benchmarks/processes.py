"""Training in several processes, for eval/benchmark.py.

torchrun starts this file in each process.
"""

import json
import os
import pickle
import re
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))  # the processes find the library, installed or not

from benchmarks.measuring import rounds_within, synchronize  # noqa: E402
from sg2im_pyg.errors import Sg2ImError  # noqa: E402
from sg2im_pyg.system.files import replace_when_whole  # noqa: E402
from sg2im_pyg.training.config import TrainingConfig  # noqa: E402


def measure_processes(
    config: TrainingConfig, counts: Sequence[int], warmup: int, repeats: int, minutes: float
) -> list[dict[str, Any]]:
    """Training in several processes, started as torchrun starts them.

    On a CPU each process has one thread, on GPUs each has one of these. They share a batch of
    :attr:`TrainingConfig.batch_size` pictures.

    Args:
        config: All options.
        counts: Numbers of processes; the first one is compared with.
        warmup: Steps before those that count.
        repeats: Steps that count; fewer where they would take longer than :obj:`minutes`, see
            :func:`~measuring.rounds_within`.
        minutes: Time that the steps of a number of processes should take at most.

    Returns:
        For each number: ``processes``, ``pictures`` (of a step, in all), ``seconds`` (median of a
        step), ``repeats``, ``pictures_per_second`` and ``efficiency`` (pictures a second and
        process, relative to the first number).

    Raises:
        Sg2ImError: If the batch can not be shared, or a training fails.
    """
    measured: list[dict[str, Any]] = []
    for count in counts:
        if config.batch_size % count:
            raise Sg2ImError(
                f"A batch of {config.batch_size} pictures can not be shared by {count} processes: "
                "give a multiple with --batches."
            )
        seconds = _train_in_processes(config, count, warmup, repeats, minutes)
        median = statistics.median_low(seconds)
        rate = config.batch_size / median
        base = measured[0] if measured else {"pictures_per_second": rate, "processes": count}
        per_process = base["pictures_per_second"] / base["processes"]
        measured.append(
            {
                "processes": count,
                "pictures": config.batch_size,
                "seconds": median,
                "repeats": seconds,
                "pictures_per_second": rate,
                "efficiency": rate / count / per_process,
            }
        )
    return measured


_ERROR_LINE = re.compile(r"^(?:\[rank\d+\]: ?)?([\w.]+(?:Error|Exception): .+)$", re.MULTILINE)
"""The last line of a traceback, as a process or torchrun for it prints it."""


def _train_in_processes(
    config: TrainingConfig, count: int, warmup: int, repeats: int, minutes: float
) -> list[float]:
    hardware = replace(config.hardware, devices=str(count))
    config = replace(config, hardware=hardware)
    command = [sys.executable]
    if count > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = dict(os.environ)
    if hardware.accelerator == "cpu":
        environment["OMP_NUM_THREADS"] = "1"
    with TemporaryDirectory() as folder:
        order, answer, log = (Path(folder) / name for name in ("order", "answer", "log"))
        order.write_bytes(pickle.dumps((config, warmup, repeats, minutes, answer)))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, str(Path(__file__).resolve()), str(order)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                process.wait()
            finally:
                process.terminate()  # torchrun then ends the processes that it started
                process.wait()
        if not answer.is_file():  # it is written once all have made their last step
            said = log.read_text(encoding="utf-8", errors="replace")
            errors = _ERROR_LINE.findall(said) or said.splitlines()[-1:] or ["it said nothing"]
            raise Sg2ImError(f"The training in {count} process(es) failed: {errors[0].strip()}")
        return json.loads(answer.read_text(encoding="utf-8"))


def train_as_one_of_several(order: Path) -> NoReturn:
    """What each process does that :func:`measure_processes` starts; the first one writes the
    seconds of each step."""
    from benchmarks.data import batch_of
    from benchmarks.training import build_ours, step_ours

    config, warmup, repeats, minutes, answer = pickle.loads(order.read_bytes())
    status = 1
    try:
        fabric, players = build_ours(config)
        share = replace(config, batch_size=config.batch_size // fabric.world_size)
        seconds: list[float] = []

        def advance(steps: int) -> None:
            for number in range(len(seconds), len(seconds) + steps):
                graphs = batch_of(share, number * fabric.world_size + fabric.global_rank)
                graphs = graphs.to(fabric.device)
                fabric.barrier()
                synchronize(fabric.device)
                start = time.perf_counter()
                step_ours(fabric, players, graphs, config, number)
                synchronize(fabric.device)
                fabric.barrier()
                seconds.append(time.perf_counter() - start)

        advance(warmup)
        advance(fabric.broadcast(rounds_within(minutes, seconds[-1], repeats)))
        if fabric.is_global_zero:
            with replace_when_whole(answer) as temporary:
                temporary.write_text(json.dumps(seconds[warmup:]), encoding="utf-8")
        status = 0
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    # Taking the process group down in order may never end: it waits, holding Python's lock, for
    # gloo's threads, which need that lock to give their last gradients free.
    os._exit(status)


if __name__ == "__main__":
    train_as_one_of_several(Path(sys.argv[1]))
