"""The parts of eval/benchmark.py: what is compared with what in each, and what is written."""

import json
import math
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch_geometric.loader import DataLoader

from benchmarks import reference_networks
from benchmarks.levers import FOLDING, LEVERS
from benchmarks.measuring import Variant, advance, measure, peak_memory, started
from benchmarks.options import BenchmarkOptions, Part
from benchmarks.processes import train_in_processes
from benchmarks.tables import format_table
from benchmarks.training import train_ours, train_reference
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
from sg2im_pyg.system.files import make_output, replace_when_whole
from sg2im_pyg.system.parallel import usable_cores
from sg2im_pyg.training.command_line import parse_command
from sg2im_pyg.training.config import TrainingConfig

VARYING_OBJECTS = (3, 30)  # a picture, as Visual Genome's
SMALL_BATCH = 8  # pictures
OBJECT_LIMIT = 120  # in a batch of these; without a limit 140 on average, 248 at most
LOADED_PICTURES = 1024
VERSIONS = ("torch", "torch-geometric", "lightning-fabric", "kornia", "numpy")


def measure_parts(options: BenchmarkOptions, repository: Path) -> None:
    """Measures, prints a table a part and writes ``benchmark.json``; what is done is kept,
    whatever comes after it.

    Raises:
        Sg2ImError: If an option can not be had here or with the others, before anything is
            measured; or if a measurement fails.
    """
    accelerator = choose_accelerator(options.accelerator)
    configs = plan(options, accelerator, repository)
    process_counts(options.processes, accelerator)
    output = Path(options.output or repository / "runs" / "benchmark").absolute()
    make_output(output)
    path = output / "benchmark.json"
    machine = {
        "device": "CPU" if accelerator == "cpu" else torch.cuda.get_device_name(),
        "cpu": cpu_name(),
        "usable_cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }
    versions = {"python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in VERSIONS}
    result: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", "eval/benchmark.py", *sys.argv[1:]]),
        "options": asdict(options),
        "config": asdict(configs[0]),
        "machine": machine,
        "versions": versions,
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
    if options.reference and {"train", "generate", "layout", "gconv"} & set(options.parts):
        reference_networks.check_options(config)
    hardware = replace(
        config.hardware,
        accelerator=accelerator,
        devices="1",
        num_nodes=1,
        precision=options.precision,
        compile=options.compile,
    )
    return [
        replace(
            config,
            model=replace(config.model, image_size=(size, size)),
            hardware=hardware,
            batch_size=batch,
        )
        for size in options.sizes
        for batch in options.batches
    ]


def process_counts(given: list[int] | None, accelerator: str) -> list[int]:
    """The numbers of processes to measure; by default one, and two or as many as there are GPUs.

    Raises:
        Sg2ImError: If there are not so many GPUs.
    """
    most = torch.cuda.device_count() if accelerator == "cuda" else None
    if given is None:
        return sorted({1, 2 if most is None else most})
    if most is not None and max(given) > most:
        raise Sg2ImError(
            f"--processes can be {most} at most, the number of GPUs here, got {max(given)}."
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
    """

    name: str
    config: TrainingConfig
    baseline: str
    variants: dict[str, Variant]


def measure_part(
    part: Part, options: BenchmarkOptions, configs: Sequence[TrainingConfig]
) -> list[dict[str, Any]]:
    """All figures of a part: a list of cases.

    Each has ``case`` (its name), ``size``, ``batch``, ``baseline`` and ``variants``: the figures
    by the names of the variants, see :func:`~measuring.measure`.
    """
    first = configs[0]
    if part == "processes":
        return [measure_processes(options, first)]
    if part == "memory":
        return [measure_memory(options, first)]
    if part == "loader":
        with TemporaryDirectory() as folder:
            return [measure_case(part, loader_case(first, Path(folder)), options, LOADED_PICTURES)]
    if part == "levers":
        cases = [lever_case(name, first) for name in ("train", "generate")]
    else:
        several = configs if part in ("train", "generate") else [first]
        cases = [compared_case(part, config, options.reference) for config in several]
    return [measure_case(part, case, options, case.config.batch_size) for case in cases]


def compared_case(part: str, config: TrainingConfig, with_reference: bool) -> Case:
    """Ours and the reference."""
    ours, reference = {
        "train": (partial(train_ours, config), partial(train_reference, config)),
        "generate": (partial(generate_ours, config), partial(generate_reference, config)),
        "layout": (
            partial(layout_alone, config, compose_layout),
            partial(layout_alone, config, reference_networks.object_layout),
        ),
        "gconv": (
            partial(graph_convolution_alone, config, "ours"),
            partial(graph_convolution_alone, config, "reference"),
        ),
    }[part]
    if not with_reference:
        return Case(describe(config), config, "ours", {"ours": ours})
    return Case(describe(config), config, "reference", {"ours": ours, "reference": reference})


def lever_case(kind: str, config: TrainingConfig) -> Case:
    """Ours with each lever off.

    Args:
        kind: ``train`` or ``generate``.
        config: All options.
    """
    make: Any = train_ours if kind == "train" else generate_ours
    names = [*LEVERS] if kind == "train" else [*LEVERS, FOLDING]
    variants = {f"without {name}": partial(make, config, name) for name in names}
    name = f"{kind}, {describe(config)}"
    return Case(name, config, "all on", {"all on": partial(make, config), **variants})


def loader_case(config: TrainingConfig, folder: Path) -> Case:
    """Loaders of a store, which is written to a folder."""
    path = folder / "scenes.h5"
    write_scenes(path, LOADED_PICTURES, config.model.image_size, config.seed)
    variants: dict[str, Variant] = {
        "SceneLoader": partial(load_batches, config, path, SceneLoader),
        "SceneLoader, in memory": partial(load_batches, config, path, SceneLoader, True),
        "PyG's DataLoader": partial(load_batches, config, path, DataLoader),
    }
    name = f"{LOADED_PICTURES:,} pictures, {describe(config)}"
    return Case(name, config, "PyG's DataLoader", variants)


def measure_case(part: str, case: Case, options: BenchmarkOptions, pictures: int) -> dict[str, Any]:
    """The figures of a case, whose runs take so many pictures."""
    title = f"{part}: {case.name}"
    say(f"{title}: {len(case.variants)} processes")
    measured = measure(
        case.variants, options.repeats, options.case_minutes, lambda text: say(f"{title}: {text}")
    )
    base = measured[case.baseline]["values"]
    for figures in measured.values():
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
    common = found.keys() & base.keys()
    if not common:
        return None
    return max(abs(found[name] - base[name]) / max(abs(base[name]), 1e-12) for name in common)


def measure_memory(options: BenchmarkOptions, config: TrainingConfig) -> dict[str, Any]:
    """Memory early and late in a training, with and without a limit to the objects of a batch."""
    config = small_config(config)
    name = f"{VARYING_OBJECTS[0]} to {VARYING_OBJECTS[1]} objects a picture, {describe(config)}"
    batches = options.memory_batches
    found: dict[str, Any] = {}
    for kind, limit in (("no limit", None), (f"at most {OBJECT_LIMIT} objects", OBJECT_LIMIT)):
        training = partial(train_ours, config, None, VARYING_OBJECTS, limit)
        with started({kind: training}) as workers:
            worker, done = workers[kind], 0
            for until in (math.ceil(batches / 20), batches):
                say(f"memory: {kind}, to batch {until:,}")
                worker.ask(advance, done, until - done)
                done = until
                found[f"{kind}, to batch {until:,}"] = {
                    "peak_gib": worker.ask(peak_memory),
                    "bare_gib": worker.bare_gib,
                }
    return case_entry(name, config, next(iter(found)), found)


def small_config(config: TrainingConfig) -> TrainingConfig:
    """Narrow networks, so that the memory's long run is done in minutes."""
    layers = ((4, 16, 2), (4, 32, 2), (4, 64, 2))
    model = replace(
        config.model,
        image_size=(32, 32),
        embedding_dim=32,
        gconv_dim=32,
        gconv_hidden_dim=64,
        refinement_dims=(64, 32, 16),
    )
    return replace(
        config,
        model=model,
        image_discriminator=replace(config.image_discriminator, layers=layers[:2]),
        object_discriminator=replace(config.object_discriminator, layers=layers, object_size=32),
        batch_size=SMALL_BATCH,
    )


def measure_processes(options: BenchmarkOptions, config: TrainingConfig) -> dict[str, Any]:
    """Numbers of processes that share a batch; where they can not, it gets a size that they can."""
    counts = process_counts(options.processes, config.hardware.accelerator)
    common = math.lcm(*counts)
    if config.batch_size % common:
        config = replace(config, batch_size=common * max(1, config.batch_size // common))
    found: dict[str, Any] = {}
    for count in counts:
        say(f"processes: {count}, {describe(config)}")
        seconds = train_in_processes(config, count, options.repeats, options.case_minutes)
        median = statistics.median_low(seconds)
        found[f"processes: {count}"] = {
            "seconds": median,
            "repeats": seconds,
            "pictures_per_second": config.batch_size / median,
        }
    return case_entry(describe(config), config, next(iter(found)), found)


def describe(config: TrainingConfig) -> str:
    height, width = config.model.image_size
    return f"{height} x {width}, batch {config.batch_size}"


def cpu_name() -> str:
    """As the system names it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def say(text: str) -> None:
    """What goes on, for who waits."""
    print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)
