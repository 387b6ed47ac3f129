"""eval/benchmark.py: its machinery in this process, and the program as a person runs it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from sg2im_pyg.data import SceneLoader
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.training.command_line import parse_command
from tests.data.batches import assert_same_batch

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "eval" / "benchmark.py"
TINY = """\
model:
  embedding_dim: 8
  gconv_dim: 64
  gconv_hidden_dim: 8
  gconv_num_layers: 2
  mask_size: 4
  layout_noise_dim: 2
  refinement_dims: [8, 4]
image_discriminator:
  layers: [[4, 4, 2], [4, 8, 2]]
object_discriminator:
  layers: [[4, 4, 2], [4, 8, 2]]
  object_size: 12
losses:
  mask: 0.1
"""


@pytest.fixture
def modules(monkeypatch):
    """The program and what it measures with, as modules."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    specification = importlib.util.spec_from_file_location("benchmark", PROGRAM)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    import benchmark_plot
    import measuring

    return SimpleNamespace(program=program, measuring=measuring, plot=benchmark_plot)


@pytest.fixture
def tiny(tmp_path):
    folder = tmp_path / "with a space"
    folder.mkdir()
    path = folder / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def config(modules, tiny):
    options = SimpleNamespace(
        config=str(tiny),
        reference=True,
        parts=["train"],
        precision="32-true",
        sizes=[16],
        batches=[3],
        seed=5,
    )
    [config] = modules.program.plan(options, "cpu")
    return config


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


# ---- the program


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
    unlimited, limited = result["parts"]["memory"]
    assert [sample["batch"] for sample in unlimited["samples"]] == [2, 4, 6, 8]
    assert unlimited["limit"] is None and limited["limit"] == 120
    one, two = result["parts"]["processes"]
    assert (one["processes"], two["processes"], one["efficiency"]) == (1, 2, 1)
    assert two["efficiency"] == pytest.approx(one["seconds"] / two["seconds"] / 2)
    for words in ("One training step", "times", "% of", "efficiency", str(output)):
        assert words in out
    assert "about" in err and "Traceback" not in err


@pytest.mark.slow
def test_every_lever_can_be_switched_off_and_changes_no_value(modules, tiny):
    status, _, err = run(tiny, "--parts", "[levers]", "--repeats", 1, "--output", "out")
    assert status == 0, err
    result = json.loads((tiny.parent / "out" / "benchmark.json").read_text(encoding="utf-8"))
    levers = modules.measuring.LEVERS
    for kind, case in zip(("train", "generate"), result["parts"]["levers"], strict=True):
        expected = [f"without {name}" for name, lever in levers.items() if kind in lever.parts]
        assert list(case["variants"]) == ["all on", *expected]
        for figures in case["variants"].values():
            assert figures["values_differ_by"] < 1e-3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals to a group of processes")
def test_an_interrupt_leaves_no_process_behind(tiny):
    process = start(
        tiny, "--parts", "[train]", "--repeats", 100_000, "--case_minutes", 9, "--output", "out",
        start_new_session=True,
    )  # fmt: skip
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
        (["--seed", "-1"], "--seed must lie between 0"),
        (["--output", "tiny.yaml"], "is a file"),
        (["--config", "lsgan.yaml"], "losses.adversarial_kind=gan, got lsgan"),
        (["--accelerator", "cuda"], "no CUDA GPU"),
    ],
)
def test_bad_options_are_one_sentence(modules, tiny, monkeypatch, capsys, others, words):
    monkeypatch.chdir(tiny.parent)
    lsgan = TINY.replace("losses:", "losses:\n  adversarial_kind: lsgan")
    Path("lsgan.yaml").write_text(lsgan, encoding="utf-8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments(tiny, "--output", "o", *others)])
    with pytest.raises(SystemExit) as ended:
        modules.program.run_program(modules.program.main)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and error.count("\n") == 1 and words in error


def test_unknown_words_are_refused(modules, tiny, monkeypatch, capsys):
    for others in (["--parts", "[trian]"], ["--precision", "8"], ["--repeats", "many"], ["--x"]):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments(tiny, *others)])
        with pytest.raises(SystemExit) as ended:
            modules.program.parse_options()
        assert ended.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


def test_the_default_is_the_published_configuration(modules, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark.py"])
    options = modules.program.parse_options()
    modules.program.check_options(options)
    configs = modules.program.plan(options, "cpu")
    assert [(c.model.image_size[0], c.batch_size) for c in configs] == [
        (64, 32), (64, 1), (128, 32), (128, 1),
    ]  # fmt: skip
    published = parse_command(["--config", "coco64"], REPOSITORY, "").config
    assert configs[0].model == published.model and configs[0].losses.mask == 0.1


# ---- what is measured


def test_random_batches_are_those_of_their_seed(modules):
    make = modules.measuring.random_batch
    assert_same_batch(make((16, 24), 3, 7), make((16, 24), 3, 7))
    assert not torch.equal(make((16, 24), 3, 7).image, make((16, 24), 3, 8).image)
    assert len({len(make((8, 8), 4, seed).x) for seed in range(8)}) > 3


def test_random_batches_look_like_coco(modules):
    batch = modules.measuring.random_batch((16, 24), 40, 0)
    assert batch.num_graphs == 40 and batch.image.shape == (40, 3, 16, 24)
    assert batch.image.dtype == torch.uint8 and "draw_key" not in batch
    counts = batch.ptr.diff() - 1  # without the image node
    assert (int(counts.min()), int(counts.max())) == (3, 8)
    objects = batch.x != 0
    assert int(objects.sum()) == int(counts.sum())
    assert 1 <= batch.x[objects].min() and batch.x.max() <= 171
    width, height = (batch.boxes[:, 2:] - batch.boxes[:, :2]).unbind(1)
    assert (width * height > 0.02).all() and batch.boxes.min() >= 0 and batch.boxes.max() <= 1
    covered = batch.masks[objects].mean(dim=(1, 2))
    assert batch.masks.shape[1:] == (16, 16) and covered.min() > 0.1 and covered.max() < 1
    # One relationship an object, and its edge to the image node.
    assert int((batch.edge_attr != 0).sum()) == int((batch.edge_attr == 0).sum()) == len(width) - 40
    assert set(batch.edge_attr.tolist()) == set(range(7))


def test_an_object_limit_holds_for_a_batch(modules):
    sizes = [
        len(modules.measuring.random_batch((8, 8), 8, 0, objects=(3, 30), limit=limit).x)
        for limit in (None, 60)
    ]
    assert sizes[0] > 60 >= sizes[1] > 50


def test_the_works_of_a_part_give_the_same_values(modules, config):
    for part in ("train", "generate", "layout", "gconv"):
        found = {
            name: modules.measuring._run(variant(), 1, True).values
            for name, variant in modules.program.variants_of(part, config).items()
        }
        reference = found.pop("reference")
        assert reference
        for name, values in found.items():
            if "not multiplied out" in name:
                continue
            for key in reference.keys() & values.keys():
                assert values[key] == pytest.approx(reference[key], rel=1e-3), (part, name, key)


def test_operations_and_memory_are_counted(modules, config):
    work = modules.measuring.graph_convolution_alone(config, "ours")
    graphs = modules.measuring.batch_of(config, 4)
    edges, nodes = len(graphs.edge_attr), len(graphs.x)
    first = edges * (3 * 8 * 8 + 8 * (2 * 8 + 64)) + nodes * (8 * 8 + 8 * 64)
    second = edges * (3 * 64 * 8 + 8 * (2 * 8 + 64)) + nodes * (8 * 8 + 8 * 64)
    forward = 2 * (first + second)
    counted = modules.measuring._count_flops(work, 4)
    # Backwards each product is made twice, but for the weights that nothing led to.
    assert 2 * forward < counted <= 3 * forward
    memory = modules.measuring._memory(work)
    if sys.platform == "linux":
        assert 0.05 < memory["now"] <= memory["peak"] + 0.01


def test_loaders_pass_over_all_pictures(modules, config, tmp_path):
    threads = torch.get_num_threads()
    path = tmp_path / "scenes.h5"
    modules.measuring.write_scenes(path, 7, (16, 16), 0)
    try:
        for kind in (SceneLoader, DataLoader):
            work = modules.measuring.load_batches(config, path, kind)
            assert modules.measuring._run(work, 0, True).values == {"pictures": 7}
    finally:
        torch.set_num_threads(threads)


class FakeWorker:
    """Says what it is asked, and takes the seconds that it is given."""

    def __init__(self, make_run, name, log, seconds):
        self.make_run, self.name, self.log, self.seconds = make_run, name, log, seconds

    def ask(self, request, *arguments):
        self.log.append((self.name, request, *arguments))
        if request == "step":
            seconds = self.seconds[arguments[0]]
            return self.make_run(seconds, seconds / 4, {"loss": 1.0} if arguments[1] else {})
        return 1000 if request == "flops" else {"now": 0.5, "peak": 1.0}


@pytest.fixture
def faked(modules, monkeypatch):
    log, make_run = [], modules.measuring.Run

    def started(variants):
        class Started:
            def __enter__(self):
                return {
                    name: FakeWorker(make_run, name, log, seconds)
                    for name, seconds in variants.items()
                }

            def __exit__(self, *_):
                return None

        return Started()

    monkeypatch.setattr(modules.measuring, "started", started)
    return modules.measuring.measure, log


def test_variants_take_turns_and_the_median_run_is_counted(faked):
    measure, log = faked
    times = {"a": [9, 9, 3, 1, 2], "b": [9, 9, 6, 5, 4]}
    figures = measure(times, warmup=2, repeats=3, minutes=1, say=lambda text: None)
    steps = [(name, number) for name, request, number, *_ in log_of(log, "step")]
    assert steps == [(name, number) for number in range(5) for name in "ab"]
    assert figures["a"]["repeats"] == [3, 1, 2] and figures["a"]["seconds"] == 2
    assert figures["a"]["others_cores"] == 0.25
    assert figures["b"]["seconds"] == 5 and figures["b"]["values"] == {"loss": 1.0}
    assert log_of(log, "flops") == [("a", "flops", 4), ("b", "flops", 3)]
    last_memory = max(i for i, entry in enumerate(log) if entry[1] == "memory")
    first_flops = min(i for i, entry in enumerate(log) if entry[1] == "flops")
    assert last_memory < first_flops  # counting needs memory of its own


def test_work_of_other_programs_is_seen(modules):
    if modules.measuring.busy_seconds() is None:
        pytest.skip("the system does not say how much its processors work")
    run = modules.measuring.Run

    def others(work):
        runs = [modules.measuring._run(work, number, False) for number in range(3)]
        return modules.measuring.cores_of_others(runs)

    def wait():
        time.sleep(0.2)
        return {}

    def compute():
        end = time.perf_counter() + 0.2
        while time.perf_counter() < end:
            pass
        return {}

    work = modules.measuring.Work
    quiet = others(work(torch.device("cpu"), lambda number: compute))
    spin = [sys.executable, "-c", "while True: pass"]
    process = subprocess.Popen(spin)
    try:
        busy = others(work(torch.device("cpu"), lambda number: wait))
    finally:
        process.kill()
        process.wait()
    assert busy > 0.5 and quiet >= 0
    assert modules.measuring.cores_of_others([run(1, None, {})]) is None
    assert modules.measuring.cores_of_others([run(0.001, 0.01, {})]) is None


def log_of(log, request):
    return [entry for entry in log if entry[1] == request]


def test_slow_cases_get_fewer_rounds(faked, modules, monkeypatch):
    measure, _ = faked
    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr(modules.measuring.time, "perf_counter", lambda: next(clock))
    said = []
    times = {"a": list(range(100))}
    figures = measure(times, warmup=1, repeats=50, minutes=7, say=said.append)
    assert len(figures["a"]["repeats"]) == 7 and "instead of 50" in said[0]
    figures = measure(times, warmup=1, repeats=50, minutes=0.1, say=said.append)
    assert len(figures["a"]["repeats"]) == 3
    figures = measure(times, warmup=1, repeats=1, minutes=0.1, say=said.append)
    assert len(figures["a"]["repeats"]) == 1


def test_a_variant_that_fails_or_dies_is_named(modules, config):
    measuring = modules.measuring
    with pytest.raises(Sg2ImError, match="'odd' failed: KeyError: 'no such lever'"):
        with measuring.started({"odd": partial(measuring.train_ours, config, "no such lever")}):
            pass
    with pytest.raises(Sg2ImError, match="'dead' ended unexpectedly"):
        with measuring.started({"dead": partial(os._exit, 3)}):
            pass


def test_levers_that_change_nothing_are_refused(modules, monkeypatch):
    module = SimpleNamespace(name=1)
    modules.measuring.replace_in(module, "name", 2)
    assert module.name == 2
    with pytest.raises(AttributeError):
        modules.measuring.replace_in(module, "other", 2)


def test_a_picture_of_memory_alone_or_of_nothing(modules, tmp_path):
    samples = [{"batch": 1, "now": 0.5, "peak": 0.6}, {"batch": 2, "now": None, "peak": None}]
    result = {
        "machine": {"cpu": "any", "usable_cores": 1},
        "device": "CPU",
        "precision": "32-true",
        "versions": {"torch": "2"},
    }
    for parts in ({"memory": [{"case": "all", "samples": samples}]}, {"processes": []}):
        modules.plot.draw_benchmark(tmp_path / "picture.png", {**result, "parts": parts})
        assert Image.open(tmp_path / "picture.png").width > 100
