"""The parts of eval/benchmark.py: what is compared in each, and what follows from the figures."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.loader import DataLoader

from benchmarks.levers import LEVERS, OPTIONS
from benchmarks.loading import load_batches, write_scenes
from benchmarks.measuring import Variant, measure, measure_memory
from benchmarks.peak import measure_convolutions
from benchmarks.processes import measure_processes
from benchmarks.training import train_on_varying_objects, train_ours, train_reference
from benchmarks.works import (
    generate_ours,
    generate_reference,
    graph_convolution_alone,
    layout_alone,
)
from sg2im_pyg.data import SceneLoader
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.training.config import TrainingConfig

if TYPE_CHECKING:
    from jsonargparse import Namespace

ALL_ON = "all on"
"""Variant with all levers on and all options off."""
VARYING_OBJECTS = (3, 30)  # as Visual Genome's
SMALL_BATCH = 8  # pictures
OBJECT_LIMIT = 120  # in a batch of these; without a limit 140 on average, 248 at most
LOADED_PICTURES = 1024


@dataclass
class Case:
    """What is compared with what.

    Args:
        name: Its name in a part.
        config: Sizes and all else of the variants, but for what makes these different.
        baseline: Name of the variant that the others are compared with.
        variants: By their names.
        pictures: Pictures a run; default: a batch.
        inexact: Names of the variants that may give other values than the baseline.
        left_out: Why other variants are not measured here, by their names.
        extra_warmup: Rounds before those that count, in addition to the usual ones.
    """

    name: str
    config: TrainingConfig
    baseline: str
    variants: dict[str, Variant]
    pictures: int = 0
    inexact: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    extra_warmup: int = 0

    def __post_init__(self) -> None:
        self.pictures = self.pictures or self.config.batch_size


def find_peak(options: "Namespace", accelerator: str) -> dict[str, Any]:
    """The machine's convolution peak in GFLOP/s, and all that it was taken from."""
    say("convolution peak of the machine")
    measured = measure_convolutions(accelerator, options.precision, min(options.repeats, 5))
    return {"gflops": max(one["gflops"] for one in measured), "convolutions": measured}


def measure_part(
    part: str, options: "Namespace", configs: Sequence[TrainingConfig], peak: float | None
) -> list[dict[str, Any]]:
    """All figures of a part: a list of cases, see :func:`measure_case`, or of runs.

    Args:
        part: Name of the part.
        options: All options of the program.
        configs: One for each size and batch.
        peak: The machine's convolution peak in GFLOP/s, if it was measured.
    """
    first = configs[0]
    if part == "processes":
        return measure_process_part(options, first)
    if part == "memory":
        return measure_memory_part(options, first)
    if part == "loader":
        with TemporaryDirectory() as folder:
            case = loader_case(options, first, Path(folder))
            return [measure_case(f"loader: {case.name}", case, options, None)]
    if part == "levers":
        cases = [lever_case("train", train_ours, first)]
        cases.append(lever_case("generate", generate_ours, first))
    else:
        several = configs if part in ("train", "generate") else [first]
        cases = [compared_case(part, config, options.reference) for config in several]
    return [
        measure_case(f"{part} {number}/{len(cases)}: {case.name}", case, options, peak)
        for number, case in enumerate(cases, 1)
    ]


def compared_case(part: str, config: TrainingConfig, with_reference: bool) -> Case:
    """Ours, in one or more variants, and the reference."""
    variants: dict[str, Variant]
    if part == "train":
        variants = {
            "ours": partial(train_ours, config),
            "reference": partial(train_reference, config),
        }
    elif part == "generate":
        variants = {
            "ours": partial(generate_ours, config),
            "reference": partial(generate_reference, config),
        }
    elif part == "layout":
        variants = {
            "compose_layout": partial(layout_alone, config, "compose"),
            "factor_layout (not multiplied out)": partial(layout_alone, config, "factor"),
            "reference": partial(layout_alone, config, "reference"),
        }
    else:
        variants = {
            "ours": partial(graph_convolution_alone, config, "ours"),
            "reference": partial(graph_convolution_alone, config, "reference"),
        }
    if not with_reference:
        del variants["reference"]
    baseline = "reference" if with_reference else next(iter(variants))
    return Case(describe(config), config, baseline, variants)


def lever_case(kind: str, make: Callable[..., Any], config: TrainingConfig) -> Case:
    """Ours with each lever off, and with each option on that can be had.

    Args:
        kind: ``train`` or ``generate``.
        make: Builds that work from a configuration and the name of a lever to do without.
        config: All options.
    """
    variants: dict[str, Variant] = {ALL_ON: partial(make, config)}
    case = Case(f"{kind}, {describe(config)}", config, ALL_ON, variants)
    for name, lever in LEVERS.items():
        if kind in lever.parts:
            variants[f"without {name}"] = partial(make, config, name)
    accelerator = config.hardware.accelerator
    for name, option in OPTIONS.items():
        changed = option.switched_on(config)
        if kind not in option.parts or accelerator not in option.accelerators or changed == config:
            continue
        obstacle = option.obstacle(accelerator)
        if obstacle is not None:
            case.left_out[f"with {name}"] = obstacle
            continue
        variants[f"with {name}"] = partial(make, changed)
        if option.changes_values:
            case.inexact.add(f"with {name}")
        if "compile" in option.hardware:
            case.extra_warmup = 1  # the first round takes minutes, and says nothing about others
    return case


def loader_case(options: "Namespace", config: TrainingConfig, folder: Path) -> Case:
    """Loaders of a store, which is written to a folder."""
    path = folder / "scenes.h5"
    pictures = max(LOADED_PICTURES if options.memory_batches >= 100 else 64, config.batch_size)
    write_scenes(path, pictures, config.model.image_size, config.seed)
    variants: dict[str, Variant] = {
        "SceneLoader": partial(load_batches, config, path, SceneLoader),
        "PyG's DataLoader": partial(load_batches, config, path, DataLoader),
    }
    name = f"{pictures} pictures, {describe(config)}"
    return Case(name, config, "PyG's DataLoader", variants, pictures)


def measure_case(
    title: str, case: Case, options: "Namespace", peak: float | None
) -> dict[str, Any]:
    """The figures of a case: what was measured, and what follows from it.

    Args:
        title: Names it for who waits.
        case: What is compared.
        options: All options of the program.
        peak: The machine's convolution peak in GFLOP/s, for those to whom it is a measure.
    """
    say(f"{title}: starts {len(case.variants)} processes")
    measured = measure(
        case.variants,
        options.warmup + case.extra_warmup,
        options.repeats,
        options.case_minutes,
        lambda text: say(f"{title}: {text}"),
    )
    base = measured[case.baseline]
    for name, figures in measured.items():
        seconds, gflop = figures["seconds"], figures.pop("flops") / 1e9 or None
        rate = None if gflop is None else gflop / seconds
        differ = None if name in case.inexact else values_differ(figures["values"], base["values"])
        figures |= {
            "pictures_per_second": case.pictures / seconds,
            "gflop": gflop,
            "gflop_per_second": rate,
            "share_of_peak": None if peak is None or rate is None else rate / peak,
            "relative_time": seconds / base["seconds"],
            "times_faster": base["seconds"] / seconds,
            "memory_ratio": ratio(figures["peak_gib"], base["peak_gib"]),
            "memory_ratio_above_bare": ratio(above_bare(figures), above_bare(base)),
            "values_differ_by": differ,
        }
    return {
        "case": case.name,
        "size": list(case.config.model.image_size),
        "batch": case.config.batch_size,
        "baseline": case.baseline,
        "variants": measured,
        "left_out": case.left_out,
    }


def above_bare(figures: dict[str, Any]) -> float | None:
    """Most memory of the runs above what the process held before its networks were built, GiB."""
    peak, bare = figures["peak_gib"], figures["bare_gib"]
    return None if peak is None or bare is None else peak - bare


def ratio(found: float | None, base: float | None) -> float | None:
    return None if found is None or not base else found / base


def values_differ(found: dict[str, float], base: dict[str, float]) -> float | None:
    """Largest relative difference of values that both variants gave in their first run."""
    common = found.keys() & base.keys()
    if not common:
        return None
    return max(abs(found[name] - base[name]) / max(abs(base[name]), 1e-12) for name in common)


def measure_memory_part(options: "Namespace", config: TrainingConfig) -> list[dict[str, Any]]:
    """Memory over many batches, with and without a limit to the objects of a batch."""
    config = small_config(config)
    runs = []
    for case, limit in (
        ("no limit to objects", None),
        (f"at most {OBJECT_LIMIT} objects a batch", OBJECT_LIMIT),
    ):
        say(f"memory: {case}")
        samples = measure_memory(
            partial(train_on_varying_objects, config, VARYING_OBJECTS, limit),
            options.memory_batches,
            max(1, min(50, options.memory_batches // 4)),
            lambda text: say(f"memory: {text}"),
        )
        runs.append({"case": case, "limit": limit, "samples": samples})
    return runs


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


def measure_process_part(options: "Namespace", config: TrainingConfig) -> list[dict[str, Any]]:
    """Numbers of processes that share a batch; where they can not, it gets a size that they can."""
    counts = process_counts(options.processes, config.hardware.accelerator)
    common = math.lcm(*counts)
    if config.batch_size % common:
        config = replace(config, batch_size=common * max(1, config.batch_size // common))
    say(f"processes: {' and '.join(map(str, counts))}, {describe(config)}")
    return measure_processes(config, counts, options.warmup, options.repeats, options.case_minutes)


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


def describe(config: TrainingConfig) -> str:
    height, width = config.model.image_size
    return f"{height} x {width}, batch {config.batch_size}"


def say(text: str) -> None:
    """What goes on, for who waits."""
    print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)
