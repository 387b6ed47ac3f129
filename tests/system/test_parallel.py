"""Work in processes: order, errors, and no process that outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.system.parallel import ordered_map

REPOSITORY = Path(__file__).resolve().parents[2]


def squared_later(number):
    time.sleep(0.01 * (number % 3))  # later tasks end before earlier ones
    return number * number


def failing(number):
    if number == 7:
        raise Sg2ImError("Number 7 is not wanted.")
    return number


def ending(number):
    os._exit(3)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers):
    tasks = iter(range(40))
    assert list(ordered_map(squared_later, tasks, workers)) == [i * i for i in range(40)]
    found = []
    with pytest.raises(Sg2ImError, match="Number 7"):
        found.extend(ordered_map(failing, range(20), workers))


@pytest.mark.slow
def test_a_worker_that_ends_is_said_to_have_ended():
    with pytest.raises(Sg2ImError, match="worker processes ended unexpectedly"):
        list(ordered_map(ending, range(4), 2))


SCRIPT = """
import os, sys, time
sys.path.insert(0, {repository!r})
from sg2im_pyg.system.parallel import ordered_map

def wait(folder):
    open(os.path.join(folder, str(os.getpid())), "w").close()
    time.sleep(0.2)

if __name__ == "__main__":
    for _ in ordered_map(wait, [sys.argv[1]] * 1000, 2):
        pass
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "kill") or os.name == "nt", reason="asks for processes by pid")
def test_workers_end_when_the_main_process_is_killed(tmp_path):
    script = tmp_path / "work.py"
    script.write_text(SCRIPT.format(repository=str(REPOSITORY)), encoding="utf-8")
    (tmp_path / "pids").mkdir()
    main = subprocess.Popen([sys.executable, script, tmp_path / "pids"])
    until = time.monotonic() + 60
    while len(list((tmp_path / "pids").iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    workers = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    assert len(workers) == 2
    main.send_signal(signal.SIGKILL)
    main.wait()
    while any(is_running(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in workers if is_running(pid)]


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # one that has ended may wait to be collected
    return not (state.is_file() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")
