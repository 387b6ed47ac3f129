"""What eval/benchmark.py measures and how: data, works, levers, processes that take turns."""

import gc
import multiprocessing
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch_geometric.loader import DataLoader

from sg2im_pyg import Sg2Im
from sg2im_pyg.data import SceneLoader
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn import compose_layout
from sg2im_pyg.training.noise import layout_noise
from tests.benchmarks.benchmark_modules import (
    imports_of,
    large_while_built,
    load_module,
    tiny_config,
)
from tests.data.batches import assert_same_batch

NAMES = ("data", "levers", "measuring", "parts", "reference_step", "training", "works")


@pytest.fixture
def modules(monkeypatch):
    """The modules of the benchmark, by short names."""
    found = {name: load_module(f"benchmarks.{name}", monkeypatch) for name in NAMES}
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


def test_the_variants_of_a_case_give_the_same_values(modules, config):
    cases = [
        modules.parts.compared_case(part, config, with_reference=True)
        for part in ("train", "generate", "layout", "gconv")
    ]
    cases += [modules.parts.lever_case(kind, config) for kind in ("train", "generate")]
    for case in cases:
        found = {
            name: modules.measuring.run(variant(), 0)[1] for name, variant in case.variants.items()
        }
        base = found[case.baseline]
        assert base and len(found) > 1
        for name, values in found.items():
            assert modules.parts.values_differ(values, base) < 1e-3, (case.name, name)
    assert [len(case.variants) for case in cases] == [2, 2, 2, 2, 4, 5]


def test_operations_and_memory_are_counted(modules, config):
    work = modules.works.graph_convolution_alone(config, "ours")
    graphs = modules.data.batch_of(config, 4)
    edges, nodes = len(graphs.edge_attr), len(graphs.x)
    first = edges * (3 * 8 * 8 + 8 * (2 * 8 + 64)) + nodes * (8 * 8 + 8 * 64)
    second = edges * (3 * 64 * 8 + 8 * (2 * 8 + 64)) + nodes * (8 * 8 + 8 * 64)
    forward = 2 * (first + second)
    counted = modules.measuring.count_flops(work, 4)
    # Backwards each product is made twice, but for the weights that nothing led to.
    assert 2 * forward < counted <= 3 * forward
    if sys.platform == "linux":
        now, most = modules.measuring.process_memory()
        assert 0.04 < now <= most + 0.01
        assert modules.measuring.peak_memory(work) >= most


def test_loaders_pass_over_all_pictures(modules, config, tmp_path):
    threads = torch.get_num_threads()
    path = tmp_path / "scenes.h5"
    modules.works.write_scenes(path, 7, (16, 16), 0)
    try:
        for kind in (SceneLoader, DataLoader):
            work = modules.works.load_batches(config, path, kind)
            assert modules.measuring.run(work, 0)[1] == {"pictures": 7}
    finally:
        torch.set_num_threads(threads)


class FakeWorker:
    """Says what it is asked, and takes the seconds that it is given."""

    bare_gib = 0.25

    def __init__(self, name, log, seconds):
        self.name, self.log, self.seconds = name, log, seconds

    def ask(self, function, *arguments):
        self.log.append((self.name, function.__name__, *arguments))
        if function.__name__ == "run":
            return self.seconds[arguments[0]], {"loss": float(1 - arguments[0])}
        return {"count_flops": 1000, "peak_memory": 1.0}[function.__name__]


@pytest.fixture
def faked(modules, monkeypatch):
    log = []

    @contextmanager
    def started(variants):
        yield {name: FakeWorker(name, log, seconds) for name, seconds in variants.items()}

    monkeypatch.setattr(modules.measuring, "started", started)
    return modules.measuring.measure, log


def test_variants_take_turns_and_the_median_run_is_counted(faked):
    measure, log = faked
    times = {"a": [9, 9, 3, 1, 2], "b": [9, 9, 6, 5, 4]}
    figures = measure(times, repeats=3, minutes=1, say=lambda text: None)
    runs = [(name, number) for name, request, number in log[:10] if request == "run"]
    assert runs == [(name, number) for number in range(5) for name in "ab"]
    assert figures["a"]["repeats"] == [3, 1, 2] and figures["a"]["seconds"] == 2
    assert figures["b"]["seconds"] == 5 and figures["b"]["values"] == {"loss": 1.0}
    assert (figures["a"]["bare_gib"], figures["a"]["peak_gib"]) == (0.25, 1)
    # Counting needs memory of its own.
    assert log[10:] == [
        ("a", "peak_memory"), ("a", "count_flops", 4),
        ("b", "peak_memory"), ("b", "count_flops", 3),
    ]  # fmt: skip


def test_slow_cases_get_fewer_rounds(faked, modules, monkeypatch):
    measure, _ = faked
    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr(modules.measuring.time, "perf_counter", lambda: next(clock))
    said = []
    times = {"a": list(range(100))}
    figures = measure(times, repeats=50, minutes=7, say=said.append)
    assert len(figures["a"]["repeats"]) == 7 and "instead of 50" in said[0]
    figures = measure(times, repeats=50, minutes=0.1, say=said.append)
    assert len(figures["a"]["repeats"]) == 3
    figures = measure(times, repeats=1, minutes=0.1, say=said.append)
    assert len(figures["a"]["repeats"]) == 1


def test_a_variant_that_fails_or_dies_is_named(modules, config):
    measuring = modules.measuring
    odd = partial(modules.training.train_ours, config, "no such lever")
    with pytest.raises(Sg2ImError, match="'odd' failed: KeyError: 'no such lever'.*training.py"):
        with measuring.started({"odd": odd}):
            pass
    with pytest.raises(Sg2ImError, match="'dead' ended unexpectedly"):
        with measuring.started({"dead": partial(os._exit, 3)}):
            pass
    assert not multiprocessing.active_children()


def test_a_training_in_processes_that_fails_says_why(modules, config):
    config = replace(config, hardware=replace(config.hardware, accelerator="abacus"))
    case = modules.parts.processes_case(config, [1, 2])
    with pytest.raises(Sg2ImError, match=r"'processes: 1' failed: hardware.acc.*abacus"):
        with modules.measuring.started(case.variants):
            pass
    assert not multiprocessing.active_children()


def test_processes_of_which_one_fails_do_not_wait_for_it(modules, config):
    variants = modules.parts.processes_case(config, [2]).variants["processes: 2"]
    with pytest.raises(Sg2ImError, match="'processes: 2' ended unexpectedly"):
        with modules.measuring.started({"processes: 2": [variants[0], partial(os._exit, 3)]}):
            pass
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_what_does_not_train_imports_nothing_of_the_training(modules, config):
    variants = {
        "ours": partial(modules.works.generate_ours, config),
        "lever": partial(modules.works.generate_ours, config, "channels-last"),
        "reference": partial(modules.works.generate_reference, config),
        "layout": partial(modules.works.layout_alone, config, compose_layout),
        "gconv": partial(modules.works.graph_convolution_alone, config, "ours"),
    }
    wrapped = {name: partial(imports_of, variant) for name, variant in variants.items()}
    with modules.measuring.started(wrapped) as workers:
        for name, worker in workers.items():
            imported = worker.ask(modules.measuring.run, 0)[1]
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
        worker = workers["work"]
        built = worker.ask(modules.measuring.peak_memory)
        worker.ask(modules.measuring.run, 1)
        most = worker.ask(modules.measuring.peak_memory)
    assert worker.bare_gib <= built < worker.bare_gib + 0.1
    assert most > worker.bare_gib + 0.3


def test_ours_draws_noise_as_the_training_and_the_reference_compares_with_it(
    modules, config, monkeypatch
):
    seen = []
    ours, reference = modules.training.train_ours(config), modules.training.train_reference(config)
    for module, position in ((modules.training, 4), (modules.reference_step, 2)):
        make = module.training_step

        def step(*arguments, make=make, position=position):
            noise = arguments[position]
            seen.append(noise[0].layout if isinstance(noise, list) else noise)
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
    runs = [modules.measuring.run(work, number)[1] for number in range(2)]
    assert runs == [{"loss": 1}, {}]


def test_rounds_fit_into_the_time_but_are_three(modules):
    rounds = modules.measuring.rounds_within
    assert [rounds(1, 10, 50), rounds(1, 10, 4), rounds(1, 100, 50), rounds(1, 100, 2)] == [
        6, 4, 3, 2,
    ]  # fmt: skip


def test_a_lever_changes_what_is_computed(modules, config):
    config = replace(config, model=replace(config.model, image_size=(64, 64)), batch_size=8)
    flops = {
        without: modules.measuring.count_flops(modules.works.generate_ours(config, without), 1)
        for without in (None, "economical networks")
    }
    assert flops["economical networks"] > 1.2 * flops[None]
    _, players = modules.training.build_ours(config, "in-place activations")
    activations = [m for m in players.generator.bare.modules() if hasattr(m, "inplace")]
    assert len(activations) > 4 and not any(m.inplace for m in activations)
    for without, expected in ((None, False), ("channels-last", True)):
        _, players = modules.training.build_ours(config, without)
        weights = [p for _, player in players.named() for p in player.bare.parameters()]
        assert all(weight.is_contiguous() for weight in weights) == expected
