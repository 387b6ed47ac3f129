"""Training in several processes, for eval/benchmark.py.

torchrun starts this module in each process.
"""

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.data import batch_of
from benchmarks.measuring import WARMUP, explain, rounds_within, synchronize
from benchmarks.training import build_ours, step_ours
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.files import replace_when_whole
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.processes import leave


def train_in_processes(
    config: TrainingConfig, count: int, repeats: int, minutes: float
) -> list[float]:
    """Seconds of each step of a training whose processes share the batch.

    On a CPU each process has one thread, on GPUs each has one of these.

    Args:
        config: All options; :attr:`TrainingConfig.batch_size` is that of all processes.
        count: Number of processes.
        repeats: Steps that count; fewer where they would take longer than :obj:`minutes`, see
            :func:`~measuring.rounds_within`.
        minutes: Time that the steps should take at most.

    Raises:
        Sg2ImError: If the training fails.
    """
    config = replace(config, hardware=replace(config.hardware, devices=str(count)))
    command = [sys.executable]
    if count > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    folders = [str(folder) for folder in Path(__file__).resolve().parents[1:3]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    if config.hardware.accelerator == "cpu":
        environment["OMP_NUM_THREADS"] = "1"
    with TemporaryDirectory() as folder:
        order, answer = Path(folder) / "order", Path(folder) / "answer"
        order.write_bytes(pickle.dumps((config, repeats, minutes, answer)))
        process = subprocess.Popen(
            [*command, "-m", "benchmarks.processes", str(order)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait()
        finally:
            process.terminate()  # torchrun then ends the processes that it started
            process.wait()
        found: dict[str, Any] = {
            "error": "its processes ended unexpectedly (out of memory, or killed)."
        }
        if answer.is_file():
            found = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise Sg2ImError(f"The training in {count} process(es) failed: {found['error']}")
    return found["seconds"]


def take_part(order: Path) -> None:
    """What each process does; the first one writes the seconds of each step, or the one that
    fails first why."""
    config, repeats, minutes, answer = pickle.loads(order.read_bytes())
    found: dict[str, Any] = {}
    try:
        seconds, is_first = train_as_one_of_several(config, repeats, minutes)
        if is_first:
            found["seconds"] = seconds
    except Exception as error:
        found["error"] = explain(error)
    if found and not answer.exists():
        with replace_when_whole(answer) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    leave(int("error" in found))


def train_as_one_of_several(
    config: TrainingConfig, repeats: int, minutes: float
) -> tuple[list[float], bool]:
    """Seconds of each step, and whether this is the first process."""
    fabric, players = build_ours(config)
    share = replace(config, batch_size=config.batch_size // fabric.world_size)

    def timed_step(number: int) -> float:
        graphs = batch_of(share, number * fabric.world_size + fabric.global_rank).to(fabric.device)
        fabric.barrier()
        synchronize(fabric.device)
        start = time.perf_counter()
        step_ours(fabric, players, graphs, config, number)
        synchronize(fabric.device)
        fabric.barrier()
        return time.perf_counter() - start

    before = [timed_step(number) for number in range(WARMUP)]
    rounds = fabric.broadcast(rounds_within(minutes, before[-1], repeats))
    seconds = [timed_step(WARMUP + number) for number in range(rounds)]
    return seconds, fabric.is_global_zero


if __name__ == "__main__":
    take_part(Path(sys.argv[1]))
