"""How eval/benchmark.py measures: variants in processes of their own, in turns.

A variant is a function that builds a :class:`Work` in its own process. The benchmark's process
asks the variants in turn for one run each, so that a slow moment of the machine meets all alike,
and only one of them computes at a time.
"""

import gc
import math
import multiprocessing
import re
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.system.parallel import interrupts_ignored, start_worker

COMPARED_RUN = 0
"""Number of the run whose values variants are compared by; it is never one that counts for time."""
WARMUP = 2
"""Rounds before those that count: the first may compile, the second says how long one takes."""
LEAST_REPEATS = 3
"""Rounds that count, however slow a case is."""


@dataclass
class Work:
    """Something that is done again and again."""

    device: torch.device
    prepare: Callable[[int], Callable[[], Mapping[str, Any]]]
    """Makes everything ready for the run of a number, and gives what is timed; that returns values
    to compare variants by."""


Variant = Callable[[], Work]
"""A function of a module with its arguments (:class:`functools.partial`): it is pickled."""
Variants = Mapping[str, Variant | list[Variant]]
"""By their names; a list is one variant that works in as many processes."""


# ---- In the process of a variant

_work: Work


def with_work(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(_work, *arguments)


def build(variant: Variant) -> float | None:
    """Builds the work; the memory that the process held before, in GiB.

    What counts later is the memory of the runs, not of building the networks.
    """
    global _work
    bare, _ = process_memory()
    _work = variant()
    gc.collect()
    if _work.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(_work.device)
        bare = 0.0
    with suppress(OSError):  # only Linux can forget a peak
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return bare


def run(work: Work, number: int) -> tuple[float, dict[str, float]]:
    """Seconds of the run of a number, and its values, which are read in :data:`COMPARED_RUN`
    alone."""
    step = work.prepare(number)
    synchronize(work.device)
    start = time.perf_counter()
    values = step()
    synchronize(work.device)
    seconds = time.perf_counter() - start
    numbers = {}
    for name, value in (values if number == COMPARED_RUN else {}).items():
        numbers[name] = float(value)
        if not math.isfinite(numbers[name]):
            raise ValueError(f"{name} is not finite")
    return seconds, numbers


def count_flops(work: Work, number: int) -> int:
    """Floating-point operations of the run of a number, as torch counts them: those of matrix
    products and convolutions."""
    step = work.prepare(number)
    counter = FlopCounterMode(display=False)
    with torch.compiler.set_stance("force_eager"), counter:  # it does not look into compiled code
        step()
    return counter.get_total_flops()


def peak_memory(work: Work) -> float | None:
    """Most memory of the process, or of its GPU, since the work was built, in GiB."""
    if work.device.type == "cuda":
        synchronize(work.device)
        return torch.cuda.max_memory_allocated(work.device) / 2**30
    return process_memory()[1]


def process_memory() -> tuple[float | None, float | None]:
    """Memory that this process holds now, and the most that it has held, in GiB; none where
    nothing says it."""
    with suppress(OSError, KeyError):  # getrusage would count the process that started this one
        status = Path("/proc/self/status").read_text("utf-8")
        kib = dict(re.findall(r"Vm(RSS|HWM):\s*(\d+)", status))
        return int(kib["RSS"]) / 2**20, int(kib["HWM"]) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None, None
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return None, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---- In the process of the benchmark


class Worker:
    """A variant in processes of its own, started anew (spawn) on every system.

    Args:
        name: Name of the variant, for errors.
        variants: What builds the work, in one process or in several that need each other;
            :meth:`wait` for :attr:`building` says when they have.
    """

    bare_gib: float | None = None

    def __init__(self, name: str, variants: Sequence[Variant]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pools = [ProcessPoolExecutor(1, context, start_worker) for _ in variants]
        with interrupts_ignored():  # by the processes that this starts: Ctrl-C is left to us
            self.building = [p.submit(build, v) for p, v in zip(self.pools, variants, strict=True)]

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function there with the work and further arguments; as :meth:`wait`."""
        return self.wait([pool.submit(with_work, function, *arguments) for pool in self.pools])

    def wait(self, answers: "Sequence[Future[Any]]") -> Any:
        """What the first process answers, once all have answered.

        Raises:
            Sg2ImError: If one failed or ended.
        """
        try:
            # Where one fails, others may wait for it for ever.
            done = wait(answers, return_when=FIRST_EXCEPTION).done
            return [answer.result() for answer in answers if answer in done][0]
        except BrokenProcessPool as error:
            raise Sg2ImError(
                f"The process that measures {self.name!r} ended unexpectedly (out of memory, or "
                "killed): measure smaller batches or sizes."
            ) from error
        except Exception as error:
            raise Sg2ImError(
                f"The measurement of {self.name!r} failed: {explain(error)}"
            ) from error


@contextmanager
def started(variants: Variants) -> Iterator[dict[str, Worker]]:
    """The processes of variants, ready to run; none is left behind.

    Raises:
        Sg2ImError: If one can not be built.
    """
    others = set(multiprocessing.active_children())
    workers: dict[str, Worker] = {}
    try:
        for name, variant in variants.items():
            workers[name] = Worker(name, variant if isinstance(variant, list) else [variant])
        for worker in workers.values():
            worker.bare_gib = worker.wait(worker.building)
        yield workers
    finally:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()  # it may be amid a run of minutes, or connected to others
            process.join()
        for worker in workers.values():
            for pool in worker.pools:
                pool.shutdown()


def explain(error: Exception) -> str:
    """What an error says, and where it was raised if it is none of ours, as one sentence."""
    if isinstance(error, Sg2ImError):
        return str(error)
    lines = str(error.__cause__ or "").splitlines()  # the traceback of another process
    lines = lines or traceback.format_tb(error.__traceback__)
    places = [line.strip().splitlines()[0] for line in lines if line.lstrip().startswith("File ")]
    return f"{type(error).__name__}: {first_line(error)} ({places[-1]})."


def measure(
    variants: Variants, repeats: int, minutes: float, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Times variants in turns: :data:`WARMUP` rounds, then rounds that count.

    Args:
        variants: By their names.
        repeats: Rounds that count; fewer, but at least :data:`LEAST_REPEATS` of these, where they
            would take longer than :obj:`minutes`.
        minutes: Time that the rounds should take at most.
        say: Is told what goes on.

    Returns:
        For each variant, of its first process: ``seconds`` (the median of the rounds, the lower of
        two), ``repeats`` (seconds of each round), ``gflop`` (operations of the run that took the
        median), ``peak_gib`` (most memory of the runs; where the system can not forget a peak, of
        the building too), ``bare_gib`` (memory before anything was built), ``values`` (of the
        first run).

    Raises:
        Sg2ImError: If one fails.
    """
    with started(variants) as workers:
        runs: dict[str, list[tuple[float, dict[str, float]]]] = {name: [] for name in variants}

        def make_round(number: int) -> None:
            for name, worker in workers.items():
                runs[name].append(worker.ask(run, number))

        for number in range(WARMUP):
            begin = time.perf_counter()
            make_round(number)
            a_round = time.perf_counter() - begin
        rounds = rounds_within(minutes, a_round, repeats)
        fewer = "" if rounds == repeats else f" (instead of {repeats}, to save time)"
        say(f"{rounds} rounds{fewer} of {a_round:.2g} s, about {rounds * a_round / 60:.1f} min")
        for number in range(WARMUP, WARMUP + rounds):
            make_round(number)
        figures = {}
        for name, worker in workers.items():
            seconds = [found for found, _ in runs[name][WARMUP:]]
            median = statistics.median_low(seconds)
            figures[name] = {
                "seconds": median,
                "repeats": seconds,
                # Before the count, which needs memory of its own.
                "peak_gib": worker.ask(peak_memory),
                "gflop": worker.ask(count_flops, WARMUP + seconds.index(median)) / 1e9 or None,
                "bare_gib": worker.bare_gib,
                "values": runs[name][COMPARED_RUN][1],
            }
    return figures


def rounds_within(minutes: float, seconds: float, repeats: int) -> int:
    """How many rounds of so many seconds count, at most :obj:`repeats`, within some minutes, but
    at least :data:`LEAST_REPEATS` of these."""
    return min(repeats, max(int(60 * minutes / seconds), LEAST_REPEATS))
