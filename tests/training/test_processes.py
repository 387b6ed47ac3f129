"""Several processes: the same numbers as one, each with its share, and what happens when one
dies. The processes are started as users start them, by torchrun."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.training.config import options_to_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "train" / "run.py"
DOUBLE = Path(__file__).with_name("double_precision.py")


def written(config, tmp_path):
    """A file of options; each picture has another number of objects, and parts are uneven."""
    config.steps, config.batch_size, config.hardware.devices = 5, 6, "auto"
    config.optimizer.ema_decay = 0.5
    path = tmp_path / "options.yaml"
    path.write_text(options_to_yaml(asdict(config)), encoding="utf-8")
    return path


@pytest.fixture
def options(config, tmp_path):
    return written(config, tmp_path)


def command(processes, *arguments):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, *(launcher if processes > 1 else []), DOUBLE, PROGRAM, *arguments]


def start(processes, folder, *arguments, wait=True):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "printed.txt").open("w", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [str(part) for part in command(processes, *arguments)],
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    if wait:
        process.wait(timeout=300)
    return process


def printed(folder):
    return (folder / "printed.txt").read_text(encoding="utf-8")


def last(folder, name="last.pt"):
    return read_checkpoint(folder / "checkpoints" / name)


def curves(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(point.step, point.value) for point in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if not tag.startswith("speed")
    }


def assert_close(first, second, where=""):
    if isinstance(first, torch.Tensor):
        # Moments of a gradient that is zero but for rounding have no digits to compare.
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-7, msg=where)
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_close(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, float):
        assert first == pytest.approx(second, rel=1e-6), where


def assert_same_run(first, second):
    one, other = last(first), last(second)
    assert one["generator"]["object_embedding.weight"].dtype == torch.float64
    assert_close(one["generator"], other["generator"])
    for part in ("generator", "discriminators", "progress"):
        assert_close(one["training"][part], other["training"][part], part)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_any_number_goes_on(options, tmp_path):
    given = ["--config", options]
    for processes in (1, 2):
        process = start(processes, tmp_path, *given, "--run_dir", f"run {processes}")
        assert process.returncode == 0, printed(tmp_path)
    assert printed(tmp_path).count("Done: 5 steps.") == 1  # the first process alone speaks
    one, two = tmp_path / "run 1", tmp_path / "run 2"
    assert_same_run(one, two)
    first, second = curves(one), curves(two)
    assert first.keys() == second.keys()
    for name, points in first.items():
        assert [step for step, _ in points] == [step for step, _ in second[name]], name
        values = [[value for _, value in each] for each in (points, second[name])]
        assert values[0] == pytest.approx(values[1], rel=1e-5), name
    files = [{p.name.split(".")[0] for p in run.rglob("*") if p.is_file()} for run in (one, two)]
    assert files[0] == files[1]
    assert len(list((two / "tensorboard").iterdir())) == 1

    # ---- From one process to two it goes on as from two to one.
    for source, name in ((one, "from one"), (two, "from two")):
        checkpoint = source / "checkpoints" / "last.pt"
        arguments = ["--resume", checkpoint, "--run_dir", name, "--steps", "7"]
        process = start(2 if source is one else 1, tmp_path, *arguments)
        assert process.returncode == 0, printed(tmp_path)
    assert_same_run(tmp_path / "from one", tmp_path / "from two")


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_with_everything_on(everything, tmp_path):
    options = written(everything, tmp_path)
    for processes in (1, 2):
        process = start(processes, tmp_path, "--config", options, "--run_dir", f"run {processes}")
        assert process.returncode == 0, printed(tmp_path)
    assert_same_run(tmp_path / "run 1", tmp_path / "run 2")

    # ---- Statistics copied at each step, and networks of which a part does nothing.
    options = ["--hardware.sync_batchnorm", "false", "--model.gconv_num_layers", "0"]
    arguments = ["--config", written(everything, tmp_path), "--run_dir", "copied", *options]
    process = start(2, tmp_path, *arguments, "--steps", "2")
    assert process.returncode == 0, printed(tmp_path)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_with_a_sentence(options, tmp_path):
    arguments = ["--config", options, "--steps", "100000", "--run_dir", "run"]
    process = start(2, tmp_path, *arguments, wait=False)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.is_file() and time.monotonic() < deadline:
            assert process.poll() is None, printed(tmp_path)
            time.sleep(0.1)
        workers = children(process.pid)
        assert len(workers) == 2
        os.kill(workers[-1], signal.SIGKILL)
        process.wait(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0
    message = printed(tmp_path)
    assert "Error: Another process of this run has ended, so process 0 of 2" in message
    assert "--resume" in message and "in train\n" not in message  # no traceback of ours
    assert not any(alive(worker) for worker in workers)
    step = last(tmp_path / "run")["training"]["progress"]["step"]
    arguments = ["--resume", "run", "--steps", str(step + 1)]
    assert start(1, tmp_path, *arguments).returncode == 0, printed(tmp_path)


def children(pid):
    """Process numbers of the children, in the order of their start."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    )
    return sorted(map(int, listed.stdout.split()))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_numbers_of_processes_that_do_not_fit_get_a_sentence(options, tmp_path):
    arguments = ["--config", options, "--batch_size", "7", "--run_dir", "run"]
    assert start(2, tmp_path, *arguments).returncode != 0
    assert "Error: batch_size 7 can not be divided among 2 processes" in printed(tmp_path)
    assert not (tmp_path / "run").exists()
    arguments = ["--config", options, "--hardware.devices=3", "--run_dir", "run"]
    assert start(2, tmp_path, *arguments).returncode != 0
    assert "Error: The processes that were started do not fit" in printed(tmp_path)
