"""What ends a run from outside: signals to all of its processes, the death of one that reads data,
curves that vanish. The runs are started as users start them."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.training.test_processes import PROGRAM, alive, children, last, start, written

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="signals and processes as Linux has them"),
]


def said(folder):
    return (folder / "printed.txt").read_text(encoding="utf-8")


def wait_for_a_checkpoint(process, folder):
    deadline = time.monotonic() + 200
    while not (folder / "run" / "checkpoints" / "last.pt").is_file():
        assert process.poll() is None and time.monotonic() < deadline, said(folder)
        time.sleep(0.1)


def goes_on(folder):
    step = last(folder / "run")["training"]["progress"]["step"]
    process = start(1, folder, "--resume", "run", "--steps", str(step + 1), "--data.workers=0")
    return process.returncode == 0


@pytest.fixture
def running(config, tmp_path):
    """A run with a process that reads data, after its first checkpoint, in a group of its own."""
    config.data.workers = 1
    options = written(config, tmp_path)
    with (tmp_path / "printed.txt").open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, "--config", options, "--steps=100000", "--run_dir=run"],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for_a_checkpoint(process, tmp_path)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_sigterm_to_all_processes_saves_and_says_how_to_go_on(running, tmp_path):
    workers = children(running.pid)
    assert workers
    os.killpg(running.pid, signal.SIGTERM)
    assert running.wait(timeout=100) == 130
    text = said(tmp_path)
    assert "everything is saved" in text and "--resume" in text and "Traceback" not in text
    assert not any(map(alive, workers))
    assert goes_on(tmp_path)


def test_the_death_of_a_process_that_reads_saves_and_says_how_to_go_on(running, tmp_path):
    for worker in children(running.pid):
        os.kill(worker, signal.SIGKILL)
    assert running.wait(timeout=100) == 1
    text = said(tmp_path)
    assert "Error: The training data can not be read on (" in text and "Traceback" not in text
    assert "is saved" in text and "--resume" in text
    assert goes_on(tmp_path)


def test_a_second_process_in_the_same_folder_is_told(running, tmp_path):
    second = subprocess.run(
        [sys.executable, PROGRAM, "--resume", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert second.returncode == 1 and "Another process is training in" in second.stderr
    assert "Traceback" not in second.stderr and running.poll() is None


def test_curves_that_vanish_do_not_end_a_run(running, tmp_path):
    for _ in range(100):  # a file may come while the others go
        shutil.rmtree(tmp_path / "run" / "tensorboard", ignore_errors=True)
    assert not (tmp_path / "run" / "tensorboard").exists()
    before = last(tmp_path / "run")["training"]["progress"]["step"]
    deadline = time.monotonic() + 100
    while last(tmp_path / "run")["training"]["progress"]["step"] < before + 20:
        assert running.poll() is None and time.monotonic() < deadline, said(tmp_path)
        time.sleep(0.2)
    assert "Traceback" not in said(tmp_path)


def test_sigterm_to_a_process_other_than_the_first_stops_all(config, tmp_path):
    arguments = ["--config", written(config, tmp_path), "--steps", "100000", "--run_dir", "run"]
    process = start(2, tmp_path, *arguments, wait=False)
    try:
        wait_for_a_checkpoint(process, tmp_path)
        os.kill(children(process.pid)[-1], signal.SIGTERM)
        process.wait(timeout=100)
    finally:
        process.kill()
    assert "everything is saved" in said(tmp_path) and "--resume" in said(tmp_path)
    assert goes_on(tmp_path)
