"""Work in several processes whose results come in the order of the tasks."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from sg2im_pyg.errors import Sg2ImError

Task = TypeVar("Task")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; knows of limits set by schedulers
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered_map(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """Calls a function on each task in worker processes; results come in the order of the tasks.

    Few tasks are under way at once, so that slow use of the results does not fill the memory.
    Processes are started anew (spawn), the same on every system. Ctrl-C is left to this process.

    Args:
        function: A function of a module; it and the tasks must be picklable.
        tasks: Taken as they are needed.
        workers: Number of processes; with 1 the work is done in this one.

    Raises:
        Sg2ImError: If a worker process ends unexpectedly.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                with interrupts_ignored():  # by a process that this starts, too
                    pending.append(pool.submit(function, task))
                if len(pending) > 3 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise Sg2ImError(
                "The worker processes ended unexpectedly (out of memory, or killed); put the "
                "calling script's code below 'if __name__ == \"__main__\":', or work with "
                "workers=1."
            ) from error
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Within it Ctrl-C does nothing to this process, nor later to processes that are started in
    it; in threads other than the main one it changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start_worker() -> None:
    """What a worker process has to call first: it leaves Ctrl-C to the process that started it,
    and ends when that one does, however that ends."""
    # Ctrl-C reaches the whole group of processes; only the main one may answer it. Where started
    # processes do not inherit that (Windows), this is the first moment to say it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Workers hold both ends of the pipe that they get their tasks from: without this, they would
    # wait for ever when the main process is killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
