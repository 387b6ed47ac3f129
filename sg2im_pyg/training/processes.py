"""The processes of a run: starting them, stopping together, and noticing that one has ended."""

import inspect
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sg2im_pyg.errors import Sg2ImError, first_line, shortened
from sg2im_pyg.training.config import TrainingConfig

STEPS_UNREAD = 10
"""Steps whose losses may wait on a GPU, and after which it is asked whether to stop."""


def launch_fabric(config: TrainingConfig) -> Fabric:
    """Fabric with the options of a run, its processes started."""
    # oneDNN, which convolves on a CPU, keeps what it compiles for 1024 shapes. A step needs fewer
    # than 256; as numbers of objects vary, the others would only fill the memory.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    hardware = config.hardware
    devices, nodes = hardware.devices, hardware.num_nodes
    strategy: Any = "auto"
    if "LOCAL_WORLD_SIZE" in os.environ and devices == "auto":  # torchrun says how many there are
        devices = os.environ["LOCAL_WORLD_SIZE"]
        nodes = int(os.environ["WORLD_SIZE"]) // int(devices)
    gpus = 0 if hardware.accelerator in ("cpu", "mps") else torch.cuda.device_count()
    several = gpus > 1 if devices == "auto" else devices != "1"
    if several or nodes > 1 or "RANK" in os.environ:
        # Running statistics of each process's own part would drift apart: the first one's are
        # copied. Those of the batch of all processes are the same everywhere.
        options: dict[str, Any] = {_buffers_option(): not hardware.sync_batchnorm}
        strategy = DDPStrategy(**options)
    try:
        fabric = Fabric(
            accelerator=hardware.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=hardware.precision,
            strategy=strategy,
        )
    except Exception as error:  # Lightning raises nearly anything at wrong options
        raise Sg2ImError(
            f"hardware.accelerator={hardware.accelerator}, hardware.devices={hardware.devices}, "
            f"hardware.precision={hardware.precision} can not be had here: {error}"
        ) from error
    if hardware.precision == "16-mixed" and fabric.device.type == "cpu":
        raise Sg2ImError(
            "hardware.precision=16-mixed needs a GPU: use 32-true or bf16-mixed on a CPU."
        )
    try:
        fabric.launch()
    except ValueError as error:
        raise Sg2ImError(
            f"The processes that were started do not fit hardware.devices={devices} and "
            f"hardware.num_nodes={nodes} ({first_line(error)}): leave hardware.devices at auto "
            "under torchrun, or give the same numbers to both."
        ) from error
    return fabric


def _buffers_option() -> str:
    """The option of torch for copying buffers between processes at each step, which has had two
    names."""
    known = inspect.signature(DistributedDataParallel).parameters
    return "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"


def over_processes(values: Tensor) -> Tensor:
    """The sum over all processes. Unlike with Fabric's own, the host waits for nothing."""
    if dist.is_available() and dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values


def is_stopped(fabric: Fabric, stop: threading.Event, step: int) -> bool:
    """Whether a request to stop has come to any process; all end after the same step."""
    if fabric.world_size == 1:
        return stop.is_set()
    if step % (1 if fabric.device.type == "cpu" else STEPS_UNREAD):
        return False  # asking makes a GPU wait
    return bool(over_processes(torch.tensor(float(stop.is_set()), device=fabric.device)) > 0)


@contextmanager
def other_processes(fabric: Fabric, run_dir: Path) -> Iterator[None]:
    """Says in a sentence that another process of the run has ended, which this one notices when
    it waits for that one's numbers."""
    try:
        yield
    except (RuntimeError, ConnectionError) as error:
        named = ("gloo", "nccl", "connection", "peer", "socket", "store", "timed out")
        if fabric.world_size == 1 or not any(word in str(error).lower() for word in named):
            raise
        raise Sg2ImError(
            f"Another process of this run has ended, so process {fabric.global_rank} of "
            f"{fabric.world_size} can not go on (see that one's message). Checkpoints that it has "
            f"written are whole: go on with --resume {run_dir}."
        ) from error


class ReadingFailed(Sg2ImError):
    """A batch did not come; what was computed up to here is whole."""


def next_batches(batches: Iterator[Any], count: int) -> list[Any]:
    """The next batches, or why there are none.

    Raises:
        ReadingFailed: If a process that reads data has ended, or could not read.
    """
    try:
        return [next(batches) for _ in range(count)]
    except (RuntimeError, Sg2ImError, OSError) as error:
        text = str(error)
        if isinstance(error, RuntimeError) and "DataLoader worker" not in text:
            raise
        # Of an error in another process the text has its traceback, and its own words at the end.
        own = text.rpartition(f"{Sg2ImError.__name__}: ")[2].strip().splitlines()
        raise ReadingFailed(own[-1] if own else type(error).__name__) from error


def notice_workers_when_they_are_asked() -> None:
    """Keeps torch from raising in the middle of a step, whose half would be saved, when a process
    that reads data ends; it is noticed when the next batch does not come."""
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad alloc")


@contextmanager
def memory_named(config: TrainingConfig) -> Iterator[None]:
    """Says in a sentence that a step takes more memory than there is, and what takes less."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not any(
            words in str(error).lower() for words in _NO_MEMORY
        ):
            raise
        most = config.data.max_objects_per_batch
        raise Sg2ImError(
            f"There is not enough memory for a step ({shortened(first_line(error), 120)}): lower "
            f"batch_size ({config.batch_size}), raise accumulation ({config.accumulation}), or set "
            f"data.max_objects_per_batch ({'no limit' if most is None else most}), and go on from "
            "the last checkpoint with --resume."
        ) from error


def leave(status: int) -> None:
    """Ends a program that has done its work.

    One process of several ends at once: threads of the connection to the others may still run,
    and Python's own end aborts or hangs when they do.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if status:
        sys.exit(status)


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C (or SIGTERM) sets; a second Ctrl-C interrupts at once.

    What comes within a second is the same one: under torchrun a process hears of it twice, from
    the terminal and from torchrun.
    """
    stop = threading.Event()
    heard = math.inf

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if stop.is_set() and time.monotonic() - heard > 1:
            raise KeyboardInterrupt
        heard = min(heard, time.monotonic())
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals can only be handled in the main thread
        return
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
