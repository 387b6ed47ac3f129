"""What eval/benchmark.py measures and how: data, works, levers, processes that take turns."""

import gc
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch_geometric.loader import DataLoader

from sg2im_pyg import Sg2Im
from sg2im_pyg.data import SceneLoader
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn import refinement
from sg2im_pyg.training.noise import layout_noise
from tests.benchmarks.benchmark_modules import (
    imports_of,
    large_while_built,
    load_module,
    tiny_config,
)
from tests.data.batches import assert_same_batch

NAMES = ("data", "levers", "loading", "parts", "peak", "system", "training", "works")


@pytest.fixture
def modules(monkeypatch):
    """The modules of the benchmark, by short names."""
    found = {name: load_module(f"benchmarks.{name}", monkeypatch) for name in NAMES}
    found["measuring"] = load_module("benchmarks.measuring", monkeypatch)
    found["reference_step"] = load_module("benchmarks.reference_step", monkeypatch)
    return SimpleNamespace(**found)


@pytest.fixture
def config(monkeypatch, tmp_path):
    return tiny_config(tmp_path, monkeypatch)


def test_random_batches_are_those_of_their_seed(modules):
    make = modules.data.random_batch
    assert_same_batch(make((16, 24), 3, 7), make((16, 24), 3, 7))
    assert not torch.equal(make((16, 24), 3, 7).image, make((16, 24), 3, 8).image)
    assert len({len(make((8, 8), 4, seed).x) for seed in range(8)}) > 3


def test_random_batches_look_like_coco(modules):
    batch = modules.data.random_batch((16, 24), 40, 0)
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
        len(modules.data.random_batch((8, 8), 8, 0, objects=(3, 30), limit=limit).x)
        for limit in (None, 60)
    ]
    assert sizes[0] > 60 >= sizes[1] > 50


def test_the_works_of_a_part_give_the_same_values(modules, config):
    for part in ("train", "generate", "layout", "gconv"):
        case = modules.parts.compared_case(part, config, with_reference=True)
        found = {
            name: modules.measuring._run(variant(), 0).values
            for name, variant in case.variants.items()
        }
        reference = found.pop("reference")
        assert reference
        for name, values in found.items():
            if "not multiplied out" in name:
                continue
            for key in reference.keys() & values.keys():
                assert values[key] == pytest.approx(reference[key], rel=1e-3), (part, name, key)


def test_operations_and_memory_are_counted(modules, config):
    work = modules.works.graph_convolution_alone(config, "ours")
    graphs = modules.data.batch_of(config, 4)
    edges, nodes = len(graphs.edge_attr), len(graphs.x)
    first = edges * (3 * 8 * 8 + 8 * (2 * 8 + 64)) + nodes * (8 * 8 + 8 * 64)
    second = edges * (3 * 64 * 8 + 8 * (2 * 8 + 64)) + nodes * (8 * 8 + 8 * 64)
    forward = 2 * (first + second)
    counted = modules.measuring._count_flops(work, 4)
    # Backwards each product is made twice, but for the weights that nothing led to.
    assert 2 * forward < counted <= 3 * forward
    memory = modules.measuring._memory(work.device, 0.04)
    if sys.platform == "linux":
        assert 0.04 == memory.bare < memory.now <= memory.peak + 0.01


def test_loaders_pass_over_all_pictures(modules, config, tmp_path):
    threads = torch.get_num_threads()
    path = tmp_path / "scenes.h5"
    modules.loading.write_scenes(path, 7, (16, 16), 0)
    try:
        for kind in (SceneLoader, DataLoader):
            work = modules.loading.load_batches(config, path, kind)
            assert modules.measuring._run(work, 0).values == {"pictures": 7}
    finally:
        torch.set_num_threads(threads)


class FakeWorker:
    """Says what it is asked, and takes the seconds that it is given."""

    def __init__(self, measuring, name, log, seconds):
        self.make_run, self.make_memory = measuring.Run, measuring.Memory
        self.name, self.log, self.seconds = name, log, seconds

    def ask(self, request, *arguments):
        self.log.append((self.name, request, *arguments))
        if request == "step":
            seconds = self.seconds[arguments[0]]
            return self.make_run(seconds, seconds / 4, {"loss": float(1 - arguments[0])})
        return 1000 if request == "flops" else self.make_memory(0.25, 0.5, 1.0)


@pytest.fixture
def faked(modules, monkeypatch):
    log = []

    def started(variants):
        class Started:
            def __enter__(self):
                return {
                    name: FakeWorker(modules.measuring, name, log, seconds)
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
    assert (figures["a"]["bare_gib"], figures["a"]["built_gib"]) == (0.25, 0.5)
    assert figures["a"]["peak_gib"] == 1
    assert log_of(log, "flops") == [("a", "flops", 4), ("b", "flops", 3)]
    last_memory = max(i for i, entry in enumerate(log) if entry[1] == "memory")
    first_flops = min(i for i, entry in enumerate(log) if entry[1] == "flops")
    assert last_memory < first_flops  # counting needs memory of its own


def test_work_of_other_programs_is_seen(modules):
    if modules.system.busy_seconds() is None:
        pytest.skip("the system does not say how much its processors work")
    run = modules.measuring.Run

    def others(work):
        runs = [modules.measuring._run(work, number) for number in range(3)]
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
    odd = partial(modules.training.train_ours, config, "no such lever")
    with pytest.raises(Sg2ImError, match="'odd' failed: KeyError: 'no such lever'"):
        with measuring.started({"odd": odd}):
            pass
    with pytest.raises(Sg2ImError, match="'dead' ended unexpectedly"):
        with measuring.started({"dead": partial(os._exit, 3)}):
            pass


@pytest.mark.slow
def test_what_does_not_train_imports_nothing_of_the_training(modules, config):
    variants = {
        "peak": partial(modules.peak.convolve, "cpu", "32-true"),
        "ours": partial(modules.works.generate_ours, config),
        "lever": partial(modules.works.generate_ours, config, "channels-last"),
        "reference": partial(modules.works.generate_reference, config),
        "layout": partial(modules.works.layout_alone, config, "reference"),
        "gconv": partial(modules.works.graph_convolution_alone, config, "ours"),
    }
    wrapped = {name: partial(imports_of, variant) for name, variant in variants.items()}
    with modules.measuring.started(wrapped) as workers:
        for name, worker in workers.items():
            imported = worker.ask("step", modules.measuring.COMPARED_RUN).values
            assert [module for module in imported if imported[module]] == ["torch"], name


def test_the_plain_generator_is_not_kept(modules, config):
    work = modules.works.generate_ours(config)
    gc.collect()
    kept = [model for model in gc.get_objects() if type(model) is Sg2Im]
    assert [model.for_generation_only for model in kept] == [True]
    del work


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="not on Linux")
def test_the_peak_is_that_of_the_runs(modules):
    with modules.measuring.started({"work": partial(large_while_built, 200)}) as workers:
        built = workers["work"].ask("memory")
        workers["work"].ask("step", 1)
        run = workers["work"].ask("memory")
    assert built.bare <= built.peak < built.bare + 0.1
    assert run.peak > built.bare + 0.3


def test_ours_draws_noise_as_the_training_and_the_reference_compares_with_it(
    modules, config, monkeypatch
):
    import sg2im_pyg.training.step

    seen = []
    ours, reference = modules.training.train_ours(config), modules.training.train_reference(config)
    for module, position in ((sg2im_pyg.training.step, 4), (modules.reference_step, 2)):
        make = module.training_step

        def step(*arguments, make=make, position=position):
            noise = arguments[position]
            seen.append(noise[0] if isinstance(noise, list) else noise)
            return make(*arguments)

        monkeypatch.setattr(module, "training_step", step)
    for number in (modules.measuring.COMPARED_RUN, 1):
        for work in (ours, reference):
            work.prepare(number)()
    expected = [
        layout_noise(config.model, config.seed, number, range(3), torch.device("cpu"))
        for number in (0, 1)
    ]
    torch.testing.assert_close(seen[:3], [expected[0], expected[0], expected[1]], rtol=0, atol=0)
    assert seen[3].shape == expected[1].shape and not torch.equal(seen[3], expected[1])


def test_values_of_the_compared_run_alone_are_read(modules):
    work = modules.measuring.Work(torch.device("cpu"), lambda number: lambda: {"loss": number + 1})
    runs = [modules.measuring._run(work, number).values for number in range(2)]
    assert runs == [{"loss": 1}, {}]


def test_rounds_fit_into_the_time_but_are_three(modules):
    rounds = modules.measuring.rounds_within
    assert [rounds(1, 10, 50), rounds(1, 10, 4), rounds(1, 100, 50), rounds(1, 100, 2)] == [
        6, 4, 3, 2,
    ]  # fmt: skip


def test_levers_and_options_of_a_case(modules, config, monkeypatch):
    obstacles = {"bf16-mixed": None, "torch.compile": "there is no compiler"}
    for name, obstacle in obstacles.items():
        option = modules.levers.OPTIONS[name]
        changed = replace(option, obstacle=lambda accelerator, obstacle=obstacle: obstacle)
        monkeypatch.setitem(modules.levers.OPTIONS, name, changed)
    case = modules.parts.lever_case("train", modules.training.train_ours, config)
    assert "without losses read when logged" in case.variants and case.baseline == "all on"
    assert "without folded batch norm" not in case.variants
    assert case.variants["with bf16-mixed"].args[0].hardware.precision == "bf16-mixed"
    assert case.inexact == {"with bf16-mixed"} and case.extra_warmup == 0
    assert case.left_out == {"with torch.compile": "there is no compiler"}
    case = modules.parts.lever_case("generate", modules.works.generate_ours, config)
    assert list(case.variants)[-2:] == ["without folded batch norm", "with bf16-mixed"]
    on = modules.levers.OPTIONS["bf16-mixed"].switched_on(config)
    case = modules.parts.lever_case("generate", modules.works.generate_ours, on)
    assert "with bf16-mixed" not in case.variants  # it is on already


def test_memory_above_what_the_process_held(modules, config, monkeypatch):
    def figures(bare, peak):
        return {"seconds": 1.0, "flops": 0, "bare_gib": bare, "peak_gib": peak, "values": {}}

    options = SimpleNamespace(warmup=1, repeats=1, case_minutes=1)
    measured = {"ours": figures(0.5, 1.0), "reference": figures(0.25, 1.25)}
    monkeypatch.setattr(modules.parts, "measure", lambda *_: measured)
    case = modules.parts.Case("any", config, "reference", {})
    found = modules.parts.measure_case("any", case, options, None)["variants"]["ours"]
    assert (found["memory_ratio"], found["memory_ratio_above_bare"]) == (0.8, 0.5)
    measured = {name: figures(None, None) for name in ("ours", "reference")}
    found = modules.parts.measure_case("any", case, options, None)["variants"]["ours"]
    assert found["memory_ratio"] is None and found["memory_ratio_above_bare"] is None


def test_activations_out_of_place_and_plain_kernels(modules, config, monkeypatch):
    _, players = modules.training.build_ours(config, "in-place activations")
    activations = [m for m in players.generator.bare.modules() if hasattr(m, "inplace")]
    assert len(activations) > 4 and not any(m.inplace for m in activations)
    kind = refinement._LayoutConv2d
    monkeypatch.setattr(kind, "_kernels", kind._kernels)  # the lever's change ends with the test
    config = replace(config, model=replace(config.model, refinement_dims=(8, 16)))
    expected = modules.measuring._run(modules.works.generate_ours(config), 0).values
    model = modules.works.build_our_generator(config, "channels-last")
    graphs = modules.data.batch_of(config, 0)
    with torch.no_grad():
        noise = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
        images = [model(graphs, noise=noise).images for _ in range(2)]
    assert torch.equal(*images) and images[0].is_contiguous()
    assert images[0].mean() == pytest.approx(expected["mean"], rel=1e-4)
    prepared = [k for block in model.refinement.blocks for k in next(block.children()).prepared]
    assert prepared


def test_levers_that_change_nothing_are_refused(modules, monkeypatch):
    module = SimpleNamespace(name=1)
    modules.levers.replace_in(module, "name", 2)
    assert module.name == 2
    with pytest.raises(AttributeError):
        modules.levers.replace_in(module, "other", 2)
