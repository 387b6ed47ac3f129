"""eval/benchmark.py as a person runs it, its options, tables and picture."""

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
from PIL import Image

from sg2im_pyg.training.command_line import parse_command
from tests.benchmarks.benchmark_modules import PROGRAM, REPOSITORY, TINY, load_module


@pytest.fixture
def program(monkeypatch):
    return load_module("benchmark", monkeypatch)


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
    parts = "[train,layout,memory,processes]"
    status, out, err = run(
        tiny, "--parts", parts, "--repeats", 2, "--memory_batches", 8, "--output", "out put"
    )
    assert status == 0, err
    output = tiny.parent / "out put"
    assert sorted(path.name for path in output.iterdir()) == ["benchmark.json", "benchmark.png"]
    assert Image.open(output / "benchmark.png").width > 800
    result = json.loads((output / "benchmark.json").read_text(encoding="utf-8"))
    assert list(result["parts"]) == ["train", "layout", "memory", "processes"]
    assert result["format"] == "sg2im_pyg.benchmark" and result["device"] == "CPU"
    assert result["versions"]["torch"] == torch.__version__ and result["torch_config"]
    assert result["machine"]["cpu"] and result["machine"]["usable_cores"] >= 1
    assert result["convolution_peak"]["gflops"] > 0 and result["seconds"] > 0
    [case] = result["parts"]["train"]
    assert (case["size"], case["batch"], case["baseline"]) == ([16, 16], 2, "reference")
    assert set(case["variants"]) == {"ours", "reference"}
    ours, reference = case["variants"]["ours"], case["variants"]["reference"]
    for figures in (ours, reference):
        assert len(figures["repeats"]) == 2 and figures["seconds"] == min(figures["repeats"])
        assert figures["pictures_per_second"] == pytest.approx(2 / figures["seconds"])
        assert figures["gflop"] > 0 and 0 < figures["share_of_peak"] < 1
    ratio = reference["seconds"] / ours["seconds"]
    assert ours["times_faster"] == pytest.approx(ratio)
    assert ours["relative_time"] == pytest.approx(1 / ratio)
    # Both started from the same weights and saw the same batch and noise, in their own processes.
    assert ours["values_differ_by"] < 1e-4 and "generator/pixel" in ours["values"]
    assert set(result["parts"]["layout"][0]["variants"]) >= {"compose_layout", "reference"}
    assert 0 < ours["bare_gib"] < ours["built_gib"] <= ours["peak_gib"] + 0.01
    above = [f["peak_gib"] - f["bare_gib"] for f in (ours, reference)]
    assert ours["memory_ratio_above_bare"] == pytest.approx(above[0] / above[1])
    unlimited, limited = result["parts"]["memory"]
    assert [sample["batch"] for sample in unlimited["samples"]] == [2, 4, 6, 8]
    assert unlimited["limit"] is None and limited["limit"] == 120
    one, two = result["parts"]["processes"]
    assert (one["processes"], two["processes"], one["efficiency"]) == (1, 2, 1)
    assert one["pictures"] == two["pictures"] == 2 and len(one["repeats"]) == 2
    assert two["efficiency"] == pytest.approx(one["seconds"] / two["seconds"] / 2)
    for words in ("One training step", "above bare", "% of", "efficiency", str(output)):
        assert words in out
    assert "about" in err and "Traceback" not in err


@pytest.mark.slow
def test_every_lever_can_be_switched_off_and_changes_no_value(monkeypatch, tiny):
    levers = load_module("benchmarks.levers", monkeypatch).LEVERS
    monkeypatch.setenv("CXX", str(tiny.parent / "no compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tiny.parent / "nothing compiled"))
    status, out, err = run(tiny, "--parts", "[levers]", "--repeats", 1, "--output", "out")
    assert status == 0, err
    result = json.loads((tiny.parent / "out" / "benchmark.json").read_text(encoding="utf-8"))
    for kind, case in zip(("train", "generate"), result["parts"]["levers"], strict=True):
        expected = [f"without {name}" for name, lever in levers.items() if kind in lever.parts]
        assert list(case["variants"]) in (
            ["all on", *expected],
            ["all on", *expected, "with bf16-mixed"],
        )
        for name, figures in case["variants"].items():
            if name == "with bf16-mixed":
                assert figures["values_differ_by"] is None and figures["values"]
            else:
                assert figures["values_differ_by"] < 1e-3, name
    assert "with torch.compile" in result["parts"]["levers"][0]["left_out"]
    assert "with torch.compile: not measured, " in out and "of all on" in out


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
        (["--batches", "[4,0]"], "--batches must be 1 or more, got 0"),
        (["--repeats", "0"], "--repeats must be 1 or more, got 0"),
        (["--warmup", "0"], "--warmup must be 1 or more, got 0"),
        (["--case_minutes", "-1"], "--case_minutes must be more than 0"),
        (["--memory_batches", "0"], "--memory_batches"),
        (["--processes", "[2,0]"], "--processes must be 1 or more, got 0"),
        (["--processes", "[]"], "--processes must name at least one"),
        (["--seed", "-1"], "--seed must lie between 0"),
        (["--output", "tiny.yaml"], "is a file"),
        (["--config", "lsgan.yaml"], "losses.adversarial_kind=gan, got lsgan"),
        (["--accelerator", "cuda"], "no CUDA GPU"),
    ],
)
def test_bad_options_are_one_sentence(program, tiny, monkeypatch, capsys, others, words):
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


def test_unknown_words_are_refused(program, tiny, monkeypatch, capsys):
    for others in (["--parts", "[trian]"], ["--precision", "8"], ["--repeats", "many"], ["--x"]):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments(tiny, *others)])
        with pytest.raises(SystemExit) as ended:
            program.parse_options()
        assert ended.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


def test_the_default_is_the_published_configuration(program, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark.py"])
    options = program.parse_options()
    program.check_options(options)
    configs = program.plan(options, "cpu")
    assert [(c.model.image_size[0], c.batch_size) for c in configs] == [
        (64, 32), (64, 1), (128, 32), (128, 1),
    ]  # fmt: skip
    published = parse_command(["--config", "coco64"], REPOSITORY, "").config
    assert configs[0].model == published.model and configs[0].losses.mask == 0.1


def test_a_picture_of_memory_alone_or_of_nothing(monkeypatch, tmp_path):
    plot = load_module("benchmarks.plot", monkeypatch)
    samples = [{"batch": 1, "now": 0.5, "peak": 0.6}, {"batch": 2, "now": None, "peak": None}]
    result = {
        "machine": {"cpu": "any", "usable_cores": 1},
        "device": "CPU",
        "precision": "32-true",
        "versions": {"torch": "2"},
    }
    for parts in ({"memory": [{"case": "all", "samples": samples}]}, {"processes": []}):
        plot.draw_benchmark(tmp_path / "picture.png", {**result, "parts": parts})
        assert Image.open(tmp_path / "picture.png").width > 100


def variant_figures(**others):
    figures = {
        "seconds": 0.5,
        "relative_time": 1.25,
        "times_faster": 0.8,
        "pictures_per_second": 4.0,
        "gflop": None,
        "gflop_per_second": None,
        "share_of_peak": None,
        "peak_gib": 1.5,
        "memory_ratio": 0.75,
        "memory_ratio_above_bare": 0.5,
        "values_differ_by": None,
        "others_cores": None,
    }
    return {**figures, **others}


def test_tables_say_what_was_left_out_and_slowed_down(monkeypatch):
    tables = load_module("benchmarks.tables", monkeypatch)
    case = {
        "case": "train",
        "variants": {
            "all on": variant_figures(others_cores=0.5, relative_time=1.0),
            "without it": variant_figures(values_differ_by=2e-6),
        },
        "left_out": {"with more": "there is no compiler"},
    }
    lines = tables.format_part("levers", [case]).splitlines()
    assert lines[0] == "train" and lines[1].split() == [
        "seconds", "times", "the", "time", "peak", "peak", "above", "bare",
    ]  # fmt: skip
    assert lines[4].split() == ["all", "on", "0.5", "1.00", "1.50", "0.75", "0.50"]
    assert lines[5].split()[2:] == ["0.5", "1.25", "1.50", "0.75", "0.50"]
    assert lines[6:8] == [
        "What the first runs give differs by 2e-06",
        "train, with more: not measured, there is no compiler",
    ]
    assert lines[8].startswith("train: other programs used 0.5 cores")
    assert tables.format_part("train", [case]).splitlines()[-3:] == lines[6:]
    run = {"processes": 2, "pictures": 32, "seconds": 2.0}
    run |= {"pictures_per_second": 16.0, "efficiency": 0.9}
    last = tables.format_part("processes", [run]).splitlines()[-1]
    assert last.split() == ["2", "16", "2", "16.0", "0.90"]
