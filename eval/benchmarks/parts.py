"""The parts of eval/benchmark.py: what is compared with what in each, and what is written."""

import json
import math
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from importlib import metadata
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from torch_geometric.loader import DataLoader

from benchmarks import reference_networks
from benchmarks.levers import FOLDING, LEVERS
from benchmarks.measuring import Variants, Work, measure, peak_memory, run, started
from benchmarks.options import BenchmarkOptions, Part
from benchmarks.tables import format_table
from benchmarks.training import train_as_one_of, train_ours, train_reference
from benchmarks.works import (
    generate_ours,
    generate_reference,
    graph_convolution_alone,
    layout_alone,
    load_batches,
    write_scenes,
)
from sg2im_pyg.data import SceneLoader
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.nn import compose_layout
from sg2im_pyg.system.files import check_output, replace_when_whole
from sg2im_pyg.system.parallel import usable_cores
from sg2im_pyg.training.command_line import parse_command
from sg2im_pyg.training.config import TrainingConfig

VARYING_OBJECTS = (3, 30)  # a picture, as Visual Genome's
SMALL_BATCH = 8  # pictures
OBJECT_LIMIT = 120  # in a batch of these; without a limit 140 on average, 248 at most
LOADED_PICTURES = 1024
VERSIONS = ("torch", "torch-geometric", "lightning-fabric", "kornia", "numpy")


COMPARED: dict[str, dict[str, Callable[..., Work]]] = {
    "train": {"ours": train_ours, "reference": train_reference},
    "generate": {"ours": generate_ours, "reference": generate_reference},
    "layout": {
        "ours": partial(layout_alone, compose=compose_layout),
        "reference": partial(layout_alone, compose=reference_networks.object_layout),
    },
    "gconv": {
        "ours": partial(graph_convolution_alone, kind="ours"),
        "reference": partial(graph_convolution_alone, kind="reference"),
    },
}
"""The parts that compare ours with the reference: what builds each from a configuration."""


def measure_parts(options: BenchmarkOptions, repository: Path) -> None:
    """Measures, prints a table a part and writes ``benchmark.json``; what is done is kept,
    whatever comes after it.

    Raises:
        Sg2ImError: If an option can not be had here or with the others, before anything is
            measured; or if a measurement fails.
    """
    accelerator = choose_accelerator(options.accelerator)
    configs = plan(options, accelerator, repository)
    options = replace(options, processes=process_counts(options.processes, accelerator))
    path = Path(options.output or repository / "runs" / "benchmark").absolute() / "benchmark.json"
    check_output(path.parent)
    result: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", "eval/benchmark.py", *sys.argv[1:]]),
        "options": asdict(options),
        "config": asdict(configs[0]),
        "machine": {
            "device": "CPU" if accelerator == "cpu" else torch.cuda.get_device_name(),
            "cpu": cpu_name(),
            "usable_cores": usable_cores(),
            "threads": torch.get_num_threads(),
            "system": platform.platform(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in VERSIONS},
        },
        "parts": {},
    }
    for name in ("machine", "versions"):
        print(f"{name:12} {', '.join(f'{key} {value}' for key, value in result[name].items())}")
    for part in options.parts:
        result["parts"][part] = measure_part(part, options, configs)
        print(f"\n{format_table(part, result['parts'][part])}", flush=True)
        with replace_when_whole(path) as temporary:
            temporary.write_text(json.dumps(result, indent=2, allow_nan=False), encoding="utf-8")
    print(f"\nfigures      {path}")


def choose_accelerator(name: str) -> str:
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise Sg2ImError(
            "--accelerator cuda can not be had here, torch sees no CUDA GPU: use cpu or auto."
        )
    return "cuda" if there and name != "cpu" else "cpu"


def plan(options: BenchmarkOptions, accelerator: str, repository: Path) -> list[TrainingConfig]:
    """The configuration of each size and batch, in that order; the first one's is that of the
    parts that take one alone.

    Raises:
        Sg2ImError: If the configuration is wrong, or does not go with a size or the reference.
    """
    config = parse_command(["--config", options.config], repository, "").config
    if options.reference and COMPARED.keys() & options.parts:
        reference_networks.check_options(config)
    hardware = replace(
        config.hardware,
        accelerator=accelerator,
        devices="1",
        num_nodes=1,
        precision=options.precision,
        compile=options.compile,
    )
    config = replace(config, hardware=hardware)
    return [
        replace(config, model=replace(config.model, image_size=(size, size)), batch_size=batch)
        for size, batch in product(options.sizes, options.batches)
    ]


def process_counts(given: list[int] | None, accelerator: str) -> list[int]:
    """The numbers of processes to measure; by default one, and two or as many as there are GPUs.

    Raises:
        Sg2ImError: If there are not so many GPUs.
    """
    gpus = torch.cuda.device_count()
    if given is None:
        return sorted({1, gpus if accelerator == "cuda" else 2})
    if accelerator == "cuda" and max(given) > gpus:
        raise Sg2ImError(
            f"--processes can be {gpus} at most, the number of GPUs here, got {max(given)}."
        )
    return given


@dataclass
class Case:
    """What is compared with what.

    Args:
        name: Its name in a part.
        config: Sizes and all else that the variants have in common.
        baseline: Name of the variant that the others are compared with.
        variants: By their names.
        pictures: How many a run takes; by default a batch.
    """

    name: str
    config: TrainingConfig
    baseline: str
    variants: Variants
    pictures: int | None = None


def measure_part(
    part: Part, options: BenchmarkOptions, configs: Sequence[TrainingConfig]
) -> list[dict[str, Any]]:
    """All figures of a part: a list of cases.

    Each has ``case`` (its name), ``size``, ``batch``, ``baseline`` and ``variants``: the figures
    by the names of the variants, see :func:`~measuring.measure`.
    """
    first = configs[0]
    if part == "memory":
        return [measure_memory(options, first)]
    with TemporaryDirectory() as folder:
        if part == "processes":
            cases = [processes_case(first, options.processes or [1])]
        elif part == "loader":
            cases = [loader_case(first, Path(folder))]
        elif part == "levers":
            cases = [lever_case(name, first) for name in ("train", "generate")]
        else:
            several = configs if part in ("train", "generate") else [first]
            cases = [compared_case(part, config, options.reference) for config in several]
        return [measure_case(part, case, options) for case in cases]


def compared_case(part: str, config: TrainingConfig, with_reference: bool) -> Case:
    """Ours and the reference."""
    variants = {kind: partial(make, config) for kind, make in COMPARED[part].items()}
    if not with_reference:
        del variants["reference"]
    return Case(describe(config), config, [*variants][-1], variants)


def lever_case(kind: str, config: TrainingConfig) -> Case:
    """Ours with each lever off.

    Args:
        kind: ``train`` or ``generate``.
        config: All options.
    """
    ours = COMPARED[kind]["ours"]
    names = [*LEVERS] if kind == "train" else [*LEVERS, FOLDING]
    variants = {f"without {name}": partial(ours, config, name) for name in names}
    name = f"{kind}, {describe(config)}"
    return Case(name, config, "all on", {"all on": partial(ours, config), **variants})


def loader_case(config: TrainingConfig, folder: Path) -> Case:
    """Loaders of a store, which is written to a folder."""
    path = folder / "scenes.h5"
    write_scenes(path, LOADED_PICTURES, config.model.image_size, config.seed)
    variants = {
        "SceneLoader": partial(load_batches, config, path, SceneLoader),
        "SceneLoader, in memory": partial(load_batches, config, path, SceneLoader, True),
        "PyG's DataLoader": partial(load_batches, config, path, DataLoader),
    }
    name = f"{LOADED_PICTURES:,} pictures, {describe(config)}"
    return Case(name, config, "PyG's DataLoader", variants, LOADED_PICTURES)


def processes_case(config: TrainingConfig, counts: list[int]) -> Case:
    """Numbers of processes that share a batch; where they can not, it gets a size that they can."""
    common = math.lcm(*counts)
    if config.batch_size % common:
        config = replace(config, batch_size=common * max(1, config.batch_size // common))
    variants = {}
    for count in counts:
        port = find_free_network_port()
        variants[f"processes: {count}"] = [
            partial(train_as_one_of, config, count, rank, port) for rank in range(count)
        ]
    return Case(describe(config), config, f"processes: {counts[0]}", variants)


def measure_case(part: str, case: Case, options: BenchmarkOptions) -> dict[str, Any]:
    """The figures of a case."""
    title = f"{part}: {case.name}"
    say(f"{title}: {', '.join(case.variants)}")
    measured = measure(
        case.variants, options.repeats, options.case_minutes, lambda text: say(f"{title}: {text}")
    )
    base = measured[case.baseline]["values"]
    for figures in measured.values():
        pictures = case.pictures or case.config.batch_size
        figures["pictures_per_second"] = pictures / figures["seconds"]
        figures["values_differ_by"] = values_differ(figures["values"], base)
    return case_entry(case.name, case.config, case.baseline, measured)


def case_entry(
    name: str, config: TrainingConfig, baseline: str, variants: dict[str, Any]
) -> dict[str, Any]:
    size = list(config.model.image_size)
    entry = {"case": name, "size": size, "batch": config.batch_size, "baseline": baseline}
    return {**entry, "variants": variants}


def values_differ(found: dict[str, float], base: dict[str, float]) -> float | None:
    """Largest relative difference of values that both variants gave in their first run."""
    return max(
        (abs(found[k] - base[k]) / max(abs(base[k]), 1e-12) for k in found.keys() & base.keys()),
        default=None,
    )


def measure_memory(options: BenchmarkOptions, config: TrainingConfig) -> dict[str, Any]:
    """Memory early and late in a training, with and without a limit to the objects of a batch."""
    config = small_config(config)
    name = f"{VARYING_OBJECTS[0]} to {VARYING_OBJECTS[1]} objects a picture, {describe(config)}"
    batches, found = options.memory_batches, {}
    for kind, limit in (("no limit", None), (f"at most {OBJECT_LIMIT} objects", OBJECT_LIMIT)):
        say(f"memory: {kind}, {batches:,} batches")
        training = partial(train_ours, config, None, VARYING_OBJECTS, limit)
        with started({kind: training}) as workers:
            worker = workers[kind]
            for number in range(batches):
                worker.ask(run, number)
                if number + 1 in (math.ceil(batches / 20), batches):
                    figures = {"peak_gib": worker.ask(peak_memory), "bare_gib": worker.bare_gib}
                    found[f"{kind}, to batch {number + 1:,}"] = figures
    return case_entry(name, config, next(iter(found)), found)


def small_config(config: TrainingConfig) -> TrainingConfig:
    """Narrow networks, so that the memory's long run is done in minutes."""
    layers = ((4, 16, 2), (4, 32, 2), (4, 64, 2))
    widths = {"embedding_dim": 32, "gconv_dim": 32, "gconv_hidden_dim": 64}
    model = replace(config.model, image_size=(32, 32), refinement_dims=(64, 32, 16), **widths)
    return replace(
        config,
        model=model,
        image_discriminator=replace(config.image_discriminator, layers=layers[:2]),
        object_discriminator=replace(config.object_discriminator, layers=layers, object_size=32),
        batch_size=SMALL_BATCH,
    )


def describe(config: TrainingConfig) -> str:
    height, width = config.model.image_size
    return f"{height} x {width}, batch {config.batch_size}"


def cpu_name() -> str:
    """As the system names it."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        return next(line for line in lines if line.startswith("model name")).split(": ", 1)[1]
    return platform.processor() or platform.machine()


def say(text: str) -> None:
    """What goes on, for who waits."""
    print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)
