"""eval/benchmark.py and eval/benchmark_preparation.py as a person runs them, options and tables."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from sg2im_pyg.system.command_line import parse_options
from sg2im_pyg.system.program import UsageError
from sg2im_pyg.training.command_line import parse_command
from tests.benchmarks.benchmark_modules import PROGRAM, REPOSITORY, TINY, load_module


@pytest.fixture
def tiny(tmp_path):
    folder = tmp_path / "with a space"
    folder.mkdir()
    path = folder / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


def arguments(tiny, *others):
    return [
        "--config",
        tiny.name,
        "--sizes",
        "[16]",
        "--batches",
        "[2]",
        "--accelerator",
        "cpu",
    ] + [str(other) for other in others]


def start(tiny, *others, **options):
    """As a person does, from another folder; -I leaves out PYTHONPATH and that folder."""
    return subprocess.Popen(
        [sys.executable, "-I", str(PROGRAM), *arguments(tiny, *others)],
        cwd=tiny.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **options,
    )


def run(tiny, *others):
    process = start(tiny, *others)
    out, err = process.communicate(timeout=280)
    return process.returncode, out, err


@pytest.mark.slow
def test_as_a_person_runs_it(tiny):
    parts = "[train,memory,processes]"
    others = ["--memory_batches", 40, "--processes", "[2]", "--output", "out put"]
    status, out, err = run(tiny, "--parts", parts, "--repeats", 2, *others)
    assert status == 0, err
    output = tiny.parent / "out put"
    assert [path.name for path in output.iterdir()] == ["benchmark.json"]
    result = json.loads((output / "benchmark.json").read_text(encoding="utf-8"))
    assert list(result["parts"]) == ["train", "memory", "processes"]
    assert result["versions"]["torch"] == torch.__version__ and result["options"]["repeats"] == 2
    assert result["machine"]["device"] == "CPU" and result["machine"]["usable_cores"] >= 1
    [case] = result["parts"]["train"]
    assert (case["size"], case["batch"], case["baseline"]) == ([16, 16], 2, "reference")
    assert set(case["variants"]) == {"ours", "reference"}
    ours, reference = case["variants"]["ours"], case["variants"]["reference"]
    for figures in (ours, reference):
        assert len(figures["repeats"]) == 2 and figures["seconds"] == min(figures["repeats"])
        assert figures["pictures_per_second"] == pytest.approx(2 / figures["seconds"])
        assert figures["gflop"] > 0 and 0 < figures["bare_gib"] < figures["peak_gib"]
    # Both started from the same weights and saw the same batch and noise, in their own processes.
    assert ours["values_differ_by"] < 1e-4 and "generator/pixel" in ours["values"]
    [case] = result["parts"]["memory"]
    assert list(case["variants"]) == [
        "no limit, to batch 2", "no limit, to batch 40",
        "at most 120 objects, to batch 2", "at most 120 objects, to batch 40",
    ]  # fmt: skip
    [case] = result["parts"]["processes"]
    for figures in case["variants"].values():
        assert len(figures["repeats"]) == 2
        assert figures["pictures_per_second"] == pytest.approx(2 / figures["seconds"])
    for words in ("16 x 16, batch 2, reference", "faster", "processes: 2", str(output)):
        assert words in out
    assert "about" in err and "Traceback" not in err


@pytest.mark.slow
def test_the_pass_over_pictures_is_measured(tmp_path):
    program = PROGRAM.parent / "benchmark_preparation.py"
    command = [program, "--what", "pictures", "--root", "root", "--count", "20", "--repeats", "1"]
    subprocess.run([sys.executable, "-I", *command], cwd=tmp_path, check=True, timeout=280)
    figures = json.loads((tmp_path / "root" / "benchmark_pictures.json").read_text("utf-8"))
    assert figures["pictures"] == 20
    assert figures["pictures a second, picture pass to 64 x 64"] > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals to a group of processes")
def test_an_interrupt_leaves_no_process_behind(tiny):
    process = start(
        tiny, "--parts", "[train]", "--repeats", 100_000, "--case_minutes", 9, "--output", "out",
        start_new_session=True,
        # A test that itself runs in the background of a shell would hand on that it hears none.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        for line in process.stderr:
            if "rounds" in line:
                break
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "Interrupted.\n")
        for _ in range(100):
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("a process is still there")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (["--config", "coco64", "--sizes", "[64,48]"], "multiples of 32"),
        (["--config", "missing.yaml"], "There is no configuration missing.yaml"),
        (["--sizes", "[]"], "--sizes must name at least one"),
        (["--sizes", "[16,16]"], "each once"),
        (["--batches", "[4,0]"], "--batches must be a list of whole numbers, each at least 1"),
        (["--repeats", "0"], "--repeats must be a whole number, at least 1, got 0"),
        (["--case_minutes", "-1"], "--case_minutes must be a number, more than 0"),
        (["--processes", "[2,0]"], "--processes must be"),
        (["--processes", "[]"], "--processes must name at least one"),
        (["--output", "tiny.yaml"], "is a file"),
        (["--config", "lsgan.yaml"], "losses.adversarial_kind=gan, got lsgan"),
        (["--accelerator", "cuda"], "no CUDA GPU"),
    ],
)
def test_bad_options_are_one_sentence(tiny, monkeypatch, capsys, others, words):
    program = load_module("benchmark", monkeypatch)
    monkeypatch.chdir(tiny.parent)
    lsgan = TINY.replace("losses:", "losses:\n  adversarial_kind: lsgan")
    Path("lsgan.yaml").write_text(lsgan, encoding="utf-8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments(tiny, "--output", "o", *others)])
    with pytest.raises(SystemExit) as ended:
        program.run_program(program.main)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and error.count("\n") == 1 and words in error


def test_unknown_words_are_refused(tiny, monkeypatch):
    options = load_module("benchmarks.options", monkeypatch)
    for others in (["--parts", "[trian]"], ["--precision", "8"], ["--repeats", "many"], ["--x"]):
        with pytest.raises(UsageError):
            parse_options(options.BenchmarkOptions, arguments(tiny, *others), "benchmark.py", "")


def test_the_default_is_the_published_configuration(monkeypatch):
    options = load_module("benchmarks.options", monkeypatch).BenchmarkOptions()
    configs = load_module("benchmarks.parts", monkeypatch).plan(options, "cpu", REPOSITORY)
    assert [(c.model.image_size[0], c.batch_size) for c in configs] == [
        (64, 32), (64, 1), (128, 32), (128, 1),
    ]  # fmt: skip
    published = parse_command(["--config", "coco64"], REPOSITORY, "").config
    assert configs[0].model == published.model and configs[0].losses.mask == 0.1


def test_help_comes_before_torch(monkeypatch):
    code = "import sys, runpy; sys.argv[1:] = ['--help']\n"
    code += f"try: runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n"
    code += "finally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "--case_minutes" in done.stdout, done.stderr


def test_a_table_has_a_line_a_variant(monkeypatch):
    tables = load_module("benchmarks.tables", monkeypatch)
    variants = {
        "ours": {
            "seconds": 0.5, "pictures_per_second": 4.0, "gflop": 3.0, "peak_gib": 1.5,
            "bare_gib": 0.5, "values_differ_by": 2e-6,
        },
        "reference": {"seconds": 1.25, "pictures_per_second": 1.6, "gflop": None},
    }  # fmt: skip
    case = {"case": "small", "baseline": "reference", "variants": variants}
    lines = tables.format_table("train", [case]).splitlines()
    assert lines[1].split()[:2] == ["train", "a"]
    assert lines[3].split() == [
        "small,", "ours", "0.5", "2.50", "4.0", "3.0", "6.0", "1.50", "0.50", "2e-06",
    ]  # fmt: skip
    assert lines[4].split()[1:] == ["reference", "1.25", "1.00", "1.6", "-", "-", "-", "-", "-"]
    memory = {"case": "any", "baseline": "a", "variants": {"a": {"peak_gib": 1, "bare_gib": None}}}
    last = tables.format_table("memory", [memory]).splitlines()[-1]
    assert last.split() == ["any,", "a", *"-----", "1.00", "-", "-"]
