"""How eval/benchmark.py measures: variants in processes of their own, in turns.

A variant is a function that builds a :class:`Work` in its own process. The benchmark's process
asks the variants in turn for one run each, so that a slow moment of the machine meets all alike,
and only one of them computes at a time.
"""

import gc
import math
import multiprocessing
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.process_memory import busy_seconds, peak_memory, reset_peak_memory, resident_memory
from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.system.parallel import interrupts_ignored, start_worker

COMPARED_RUN = 0
"""Number of the run whose values variants are compared by; it is never one that counts for time."""


@dataclass
class Work:
    """Something that is done again and again."""

    device: torch.device
    prepare: Callable[[int], Callable[[], Mapping[str, Any]]]
    """Makes everything ready for the run of a number, and gives what is timed; that returns values
    to compare variants by."""


Variant = Callable[[], Work]
"""A function of this module with its arguments (:class:`functools.partial`): it is pickled."""


class Worker:
    """A variant in a process of its own, started anew (spawn) on every system.

    Args:
        name: Name of the variant, for errors.
        variant: What builds the work there.
    """

    def __init__(self, name: str, variant: Variant) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, variant), daemon=True)
        with interrupts_ignored():  # Ctrl-C is left to the benchmark's process
            self.process.start()
        other.close()

    def ask(self, request: str, *arguments: Any) -> Any:
        """Sends a request, see :func:`_serve`, and waits for the answer.

        Raises:
            Sg2ImError: If the work failed or its process ended.
        """
        try:
            self.connection.send((request, *arguments))
            kind, answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise Sg2ImError(
                f"The process that measures {self.name!r} ended unexpectedly (out of memory, or "
                "killed): measure smaller batches or sizes."
            ) from error
        if kind == "failed":
            raise Sg2ImError(f"The measurement of {self.name!r} failed: {answer}")
        return answer

    def close(self, at_once: bool) -> None:
        if not at_once:
            try:
                self.connection.send(("end",))
                self.process.join(10)
            except OSError:
                pass
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()


@contextmanager
def started(variants: Mapping[str, Variant]) -> Iterator[dict[str, Worker]]:
    """The processes of variants, ready to run; none is left behind.

    Raises:
        Sg2ImError: If one can not be built.
    """
    workers: dict[str, Worker] = {}
    whole = False
    try:
        for name, variant in variants.items():
            workers[name] = Worker(name, variant)
        for worker in workers.values():
            worker.ask("memory")
        yield workers
        whole = True
    finally:
        for worker in workers.values():
            worker.close(at_once=not whole)


def _serve(connection: Connection, variant: Variant) -> None:
    """Answers requests about a work until there are no more.

    Requests: ``step`` (number), ``flops`` (number), ``advance`` (first number, count), ``memory``,
    ``end``.
    """
    start_worker()
    bare = resident_memory()
    try:
        try:
            work = variant()
            gc.collect()
            _forget_peak(work.device)
        except Exception as error:
            connection.recv()  # of the first request, which this answers
            connection.send(("failed", _explain(error)))
            return
        while True:
            request, *arguments = connection.recv()
            if request == "end":
                return
            try:
                if request == "memory":
                    answer = _memory(work.device, bare)
                else:
                    answer = _REQUESTS[request](work, *arguments)
            except Exception as error:
                connection.send(("failed", _explain(error)))
                return
            connection.send(("done", answer))
    except (EOFError, OSError):
        return  # the benchmark's process has gone


class Run(NamedTuple):
    """What came of one run."""

    seconds: float
    elsewhere: float | None
    """Seconds of processors that others than this process took meanwhile."""
    values: dict[str, float]


def _run(work: Work, number: int) -> Run:
    """The run of a number, timed; values are read in :data:`COMPARED_RUN` alone."""
    step = work.prepare(number)
    synchronize(work.device)
    busy, own = busy_seconds(), time.process_time()
    start = time.perf_counter()
    values = step()
    synchronize(work.device)
    seconds = time.perf_counter() - start
    own, now_busy = time.process_time() - own, busy_seconds()
    elsewhere = None if busy is None or now_busy is None else now_busy - busy - own
    compared = values if number == COMPARED_RUN else {}
    numbers = {name: float(value) for name, value in compared.items()}
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise ValueError(f"{', '.join(bad)} is not finite")
    return Run(seconds, elsewhere, numbers)


def _count_flops(work: Work, number: int) -> int:
    """Floating-point operations of the run of a number, as torch counts them: those of matrix
    products and convolutions."""
    step = work.prepare(number)
    counter = FlopCounterMode(display=False)
    with torch.compiler.set_stance("force_eager"), counter:  # it does not look into compiled code
        step()
    return counter.get_total_flops()


def _advance(work: Work, first: int, count: int) -> None:
    for number in range(first, first + count):
        work.prepare(number)()


class Memory(NamedTuple):
    """Memory of a process, or of its GPU, in GiB; none where nothing says it."""

    bare: float | None
    """Held once everything was imported, before anything was built."""
    now: float | None
    """Held now; on a GPU what torch has reserved."""
    peak: float | None
    """Most since the work was built."""


def _memory(device: torch.device, bare: float | None) -> Memory:
    if device.type == "cuda":
        synchronize(device)
        now, peak = torch.cuda.memory_reserved(), torch.cuda.max_memory_allocated()
        return Memory(0.0, now / 2**30, peak / 2**30)
    return Memory(bare, resident_memory(), peak_memory())


def _forget_peak(device: torch.device) -> None:
    """What counts is the memory of the runs, not of building the networks."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    reset_peak_memory()


_REQUESTS: dict[str, Callable[..., Any]] = {
    "step": _run,
    "flops": _count_flops,
    "advance": _advance,
}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _explain(error: Exception) -> str:
    if isinstance(error, Sg2ImError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"{type(error).__name__}: {first_line(error)} ({where})."


LEAST_REPEATS = 3
"""However slow a case is."""


def measure(
    variants: Mapping[str, Variant],
    warmup: int,
    repeats: int,
    minutes: float,
    say: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Times variants in turns: warm-up rounds, then rounds that count.

    Args:
        variants: By their names.
        warmup: Rounds before those that count, at least 1.
        repeats: Rounds that count; fewer, but at least :data:`LEAST_REPEATS` of these, where they
            would take longer than :obj:`minutes`.
        minutes: Time that the rounds should take at most.
        say: Is told what goes on.

    Returns:
        For each variant: ``repeats`` (seconds of each round), ``seconds`` (their median, the lower
        of two), ``others_cores`` (processors that other programs used meanwhile, on average; none
        where it can not be told), ``flops`` (of the run that took the median), ``bare_gib``,
        ``built_gib`` and ``peak_gib`` (memory before anything was built, held once it was, and
        the most of the runs; where the system can not forget a peak, of the building too),
        ``values`` (of the first run).

    Raises:
        Sg2ImError: If one fails.
    """
    with started(variants) as workers:
        built: dict[str, Memory] = {name: worker.ask("memory") for name, worker in workers.items()}
        runs: dict[str, list[Run]] = {name: [] for name in variants}
        values: dict[str, dict[str, float]] = {}
        for number in range(warmup):
            begin = time.perf_counter()
            for name, worker in workers.items():
                run = worker.ask("step", number)
                if number == COMPARED_RUN:
                    values[name] = run.values
            a_round = time.perf_counter() - begin
        rounds = rounds_within(minutes, a_round, repeats)
        fewer = "" if rounds == repeats else f" (instead of {repeats}, to save time)"
        say(f"{rounds} rounds{fewer} of {a_round:.2g} s, about {rounds * a_round / 60:.1f} min")
        for number in range(warmup, warmup + rounds):
            for name, worker in workers.items():
                runs[name].append(worker.ask("step", number))
        peaks: dict[str, Memory] = {name: worker.ask("memory") for name, worker in workers.items()}
        figures = {}
        for name, worker in workers.items():
            seconds = [run.seconds for run in runs[name]]
            median = statistics.median_low(seconds)
            figures[name] = {
                "seconds": median,
                "repeats": seconds,
                "others_cores": cores_of_others(runs[name]),
                "flops": worker.ask("flops", warmup + seconds.index(median)),
                "bare_gib": built[name].bare,
                "built_gib": built[name].now,
                "peak_gib": peaks[name].peak,
                "values": values[name],
            }
    return figures


def rounds_within(minutes: float, seconds: float, repeats: int) -> int:
    """How many rounds of so many seconds count, at most :obj:`repeats`, within some minutes, but
    at least :data:`LEAST_REPEATS` of these."""
    return min(repeats, max(int(60 * minutes / seconds), LEAST_REPEATS))


def cores_of_others(runs: Sequence[Run]) -> float | None:
    """Processors that other programs used during runs, on average."""
    elsewhere = [run.elsewhere for run in runs if run.elsewhere is not None]
    seconds = sum(run.seconds for run in runs)
    if len(elsewhere) < len(runs) or seconds < _SHORTEST:
        return None
    return max(0.0, sum(elsewhere) / seconds)


_SHORTEST = 0.3
"""Seconds in all: the system counts in hundredths, in which shorter ones would drown."""


def measure_memory(
    variant: Variant, batches: int, every: int, say: Callable[[str], None]
) -> list[dict[str, float | None]]:
    """Memory of one process over batches: ``batch``, ``now`` and ``peak`` in GiB, every so many
    batches."""
    samples: list[dict[str, float | None]] = []
    with started({"training": variant}) as workers:
        begin = time.perf_counter()
        for first in range(0, batches, every):
            count = min(every, batches - first)
            workers["training"].ask("advance", first, count)
            memory: Memory = workers["training"].ask("memory")
            samples.append({"batch": first + count, "now": memory.now, "peak": memory.peak})
            if first == 0 and batches > every:
                each = (time.perf_counter() - begin) / count
                say(f"{batches} batches of {each:.2g} s, about {batches * each / 60:.1f} min")
    return samples
