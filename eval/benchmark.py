"""Measures this library against the step written straight from the paper (reference_step.py).

    python eval/benchmark.py                                  everything, at the published size
    python eval/benchmark.py --parts [train,generate] --sizes [64] --batches [32]
    python eval/benchmark.py --accelerator cuda --precision bf16-mixed
    python eval/benchmark.py --config landscapes --parts [levers]

Parts: train and generate (a training step; pictures from given batches), layout and gconv (these
two alone, forward and backward), loader (pictures a second on one core), levers (ours with each
thing that makes it fast switched off), memory (over many batches), processes (one against
several). The data are random, of the sizes of COCO's.

Every variant runs in a process of its own and all take turns, so that a slow moment of the machine
meets all alike. Printed are tables; written are benchmark.json with every single figure, and
benchmark.png.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from sg2im_pyg.training.config import TrainingConfig

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "eval")]  # runs from any directory

from sg2im_pyg.errors import Sg2ImError  # noqa: E402
from sg2im_pyg.program import run_program  # noqa: E402

Part = Literal["train", "generate", "layout", "gconv", "loader", "levers", "memory", "processes"]
PARTS: tuple[Part, ...] = (
    "train",
    "generate",
    "layout",
    "gconv",
    "loader",
    "levers",
    "memory",
    "processes",
)
TITLES = {
    "train": "One training step",
    "generate": "Pictures from given batches",
    "layout": "The layout alone, forward and backward",
    "gconv": "The graph convolution alone, forward and backward",
    "loader": "One pass over a data set, on one core",
    "levers": "Ours, with one lever off",
    "memory": "Memory over batches of 3 to 30 objects a picture",
    "processes": "Training in several processes",
}
VARYING_OBJECTS = (3, 30)  # as Visual Genome's
SMALL_BATCH = 8  # pictures
OBJECT_LIMIT = 120  # in a batch of these; without a limit 140 on average, 248 at most
LOADED_PICTURES = 1024
VERSIONS = ("torch", "torch-geometric", "torch-scatter", "lightning-fabric", "kornia", "numpy")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, which are commands to type."""


def main() -> None:
    options = parse_options()
    begin = time.perf_counter()
    check_options(options)
    import torch
    from benchmark_plot import draw_benchmark

    from sg2im_pyg import __version__
    from sg2im_pyg.files import replace_when_whole
    from sg2im_pyg.parallel import usable_cores

    # ---- What is to be done: whatever is wrong is said before anything is measured
    accelerator = choose_accelerator(options.accelerator)
    configs = plan(options, accelerator)
    output = choose_output(options.output)
    device = "CPU" if accelerator == "cpu" else torch.cuda.get_device_name()
    machine = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "sg2im_pyg": __version__,
    }
    versions |= {name.replace("-", "_"): version_of(name) for name in VERSIONS}
    result: dict[str, Any] = {
        "format": "sg2im_pyg.benchmark",
        "version": 1,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", "eval/benchmark.py", *sys.argv[1:]]),
        "options": options.as_dict(),
        "config": asdict(configs[0]),
        "machine": machine,
        "device": device,
        "precision": options.precision,
        "versions": versions,
        "torch_config": torch.__config__.show(),
        "convolution_peak": None,
        "parts": {},
    }
    print(f"machine      {machine['cpu']}, {machine['usable_cores']} cores, {machine['system']}")
    print(f"device       {device}, {machine['threads']} threads, precision {options.precision}")
    known = [f"{name} {number}" for name, number in versions.items() if number]
    print(f"versions     {', '.join(known)}")
    print(f"output       {output}", flush=True)

    def save() -> None:
        with replace_when_whole(output / "benchmark.json") as temporary:
            temporary.write_text(json.dumps(result, indent=2, allow_nan=False), encoding="utf-8")

    # ---- Measure: what is done is kept, whatever comes after it
    if {"train", "generate", "layout", "gconv", "levers"} & set(options.parts):
        result["convolution_peak"] = peak = find_peak(options, accelerator)
        print(f"peak         {peak['gflops']:.1f} GFLOP/s (the best of 3 x 3 convolutions)")
        save()
    for part in options.parts:
        result["parts"][part] = measure_part(part, options, configs, result["convolution_peak"])
        print(f"\n{TITLES[part]}\n{format_part(part, result['parts'][part])}", flush=True)
        save()
    result["seconds"] = time.perf_counter() - begin
    save()
    with replace_when_whole(output / "benchmark.png") as temporary:
        draw_benchmark(temporary, result)

    print(f"\ntook         {result['seconds'] / 60:.1f} min")
    print(f"figures      {output / 'benchmark.json'}")
    print(f"picture      {output / 'benchmark.png'}")


def parse_options() -> "Namespace":
    """Reads the command line; mistakes in it end the program with exit status 2."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="benchmark.py", description=__doc__, formatter_class=HelpFormatter)
    option = parser.add_argument
    option("--parts", type=list[Part], default=list(PARTS), help="what to measure")
    option(
        "--config",
        type=str,
        default="coco64",
        metavar="FILE",
        help="configuration of the networks and losses, as for train/run.py",
    )
    option(
        "--sizes",
        type=list[int],
        default=[64, 128],
        help="sides of the pictures in pixels; parts but train and generate take the first",
    )
    option(
        "--batches",
        type=list[int],
        default=[32, 1],
        help="pictures a batch; parts but train and generate take the first",
    )
    option("--repeats", type=int, default=7, help="rounds that count")
    option("--warmup", type=int, default=1, help="rounds before those that count")
    option(
        "--case_minutes",
        type=float,
        default=2.0,
        help="most minutes a case: slower ones get fewer rounds, but at least 3 (or --repeats)",
    )
    option("--reference", type=bool, default=True, help="measure the reference step too")
    option("--seed", type=int, default=0, help="seed of the weights and of the data")
    option(
        "--accelerator",
        type=Literal["auto", "cpu", "cuda"],
        default="auto",
        help="where to compute; auto: on a CUDA GPU where there is one",
    )
    option(
        "--precision",
        type=Literal["32-true", "bf16-mixed"],
        default="32-true",
        help="number format of ours and of the reference",
    )
    option("--memory_batches", type=int, default=1000, help="batches of the memory's long run")
    option(
        "--output",
        type=str | None,
        metavar="DIR",
        help="folder to write to; null: runs/benchmark in the repository",
    )
    return parser.parse_args()


def check_options(options: "Namespace") -> None:
    """Checks what the types of the options do not."""
    for name in ("parts", "sizes", "batches"):
        given = getattr(options, name)
        if not given or len(set(given)) < len(given):
            raise Sg2ImError(f"--{name} must name at least one, each once, got {given}.")
    for name, values, least in (
        ("sizes", options.sizes, 1),
        ("batches", options.batches, 1),
        ("repeats", [options.repeats], 1),
        ("warmup", [options.warmup], 1),
        ("memory_batches", [options.memory_batches], 1),
    ):
        if min(values) < least:
            raise Sg2ImError(f"--{name} must be {least} or more, got {min(values)}.")
    if not 0 < options.case_minutes < float("inf"):
        raise Sg2ImError(f"--case_minutes must be more than 0, got {options.case_minutes}.")
    if not 0 <= options.seed < 2**32:
        raise Sg2ImError(f"--seed must lie between 0 and {2**32 - 1}, got {options.seed}.")


def choose_accelerator(name: str) -> str:
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise Sg2ImError(
            "--accelerator cuda can not be had here, torch sees no CUDA GPU: use cpu or auto."
        )
    return "cuda" if there and name != "cpu" else "cpu"


def choose_output(given: str | None) -> Path:
    """The folder to write to, checked before the work begins."""
    output = Path(given or REPOSITORY / "runs" / "benchmark").absolute()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=output):  # refused now, not after an hour of work
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise Sg2ImError(
            f"--output {output} is a file, or lies below one: give a folder."
        ) from error
    return output


def plan(options: "Namespace", accelerator: str) -> "list[TrainingConfig]":
    """The configuration of each size and batch, in that order; the first one's is that of the
    parts that take one alone.

    Raises:
        Sg2ImError: If the configuration is wrong, or does not go with a size or the reference.
    """
    from reference_step import check_options as check_for_reference

    from sg2im_pyg.training.command_line import parse_command

    config = parse_command(["--config", options.config], REPOSITORY, "").config
    if options.reference and set(options.parts) - {"loader", "levers", "memory", "processes"}:
        check_for_reference(config)
    hardware = replace(
        config.hardware,
        accelerator=accelerator,
        devices="1",
        num_nodes=1,
        precision=options.precision,
    )
    return [
        replace(
            config,
            model=replace(config.model, image_size=(size, size)),
            hardware=hardware,
            batch_size=batch,
            seed=options.seed,
        )
        for size in options.sizes
        for batch in options.batches
    ]


def find_peak(options: "Namespace", accelerator: str) -> dict[str, Any]:
    """The machine's convolution peak in GFLOP/s, and all that it was taken from."""
    from measuring import measure_convolutions

    say("convolution peak of the machine")
    measured = measure_convolutions(accelerator, options.precision, min(options.repeats, 5))
    return {"gflops": max(one["gflops"] for one in measured), "convolutions": measured}


def measure_part(
    part: Part,
    options: "Namespace",
    configs: "list[TrainingConfig]",
    peak: dict[str, Any] | None,
) -> list[dict[str, Any]]:
    """All figures of a part: a list of cases, see :func:`measure_case`, or of runs."""
    import measuring

    first = configs[0]
    if part == "processes":
        return measure_process_part(options, first)
    if part == "memory":
        return measure_memory_part(options, first)
    if part == "loader":
        with TemporaryDirectory() as folder:
            return [load_case(options, first, Path(folder))]
    cases: list[tuple[str, TrainingConfig, str, dict[str, Callable[[], Any]]]] = []
    if part == "levers":
        for kind, make in (("train", measuring.train_ours), ("generate", measuring.generate_ours)):
            variants: dict[str, Callable[[], Any]] = {"all on": partial(make, first)}
            for name, lever in measuring.LEVERS.items():
                if kind in lever.parts:
                    variants[f"without {name}"] = partial(make, first, name)
            cases.append((f"{kind}, {describe(first)}", first, "all on", variants))
    else:
        for config in configs if part in ("train", "generate") else [first]:
            variants = variants_of(part, config)
            baseline = "reference"
            if not options.reference:
                del variants["reference"]
                baseline = next(iter(variants))
            cases.append((describe(config), config, baseline, variants))
    return [
        measure_case(part, number, len(cases), case, options, peak)
        for number, case in enumerate(cases, 1)
    ]


def variants_of(part: Part, config: "TrainingConfig") -> dict[str, Callable[[], Any]]:
    """What is compared in a part, by name; the reference is among them."""
    import measuring

    if part == "train":
        return {
            "ours": partial(measuring.train_ours, config),
            "reference": partial(measuring.train_reference, config),
        }
    if part == "generate":
        return {
            "ours": partial(measuring.generate_ours, config),
            "reference": partial(measuring.generate_reference, config),
        }
    if part == "layout":
        return {
            "compose_layout": partial(measuring.layout_alone, config, "compose"),
            "factor_layout (not multiplied out)": partial(measuring.layout_alone, config, "factor"),
            "reference": partial(measuring.layout_alone, config, "reference"),
        }
    return {
        "ours": partial(measuring.graph_convolution_alone, config, "ours"),
        "reference": partial(measuring.graph_convolution_alone, config, "reference"),
    }


def measure_case(
    part: str,
    number: int,
    count: int,
    case: "tuple[str, TrainingConfig, str, dict[str, Callable[[], Any]]]",
    options: "Namespace",
    peak: dict[str, Any] | None,
    pictures: int | None = None,
) -> dict[str, Any]:
    """The figures of a case: what was measured, and what follows from it.

    Args:
        part: Name of the part.
        number: Number of the case in its part.
        count: Cases of the part.
        case: Its name, configuration, baseline and variants.
        options: All options.
        peak: The machine's convolution peak, for those to whom it is a measure.
        pictures: Pictures a run; default: a batch.
    """
    from measuring import measure

    name, config, baseline, variants = case
    title = f"{part} {number}/{count}: {name}"
    say(f"{title}: starts {len(variants)} processes")
    measured = measure(
        variants,
        options.warmup,
        options.repeats,
        options.case_minutes,
        lambda text: say(f"{title}: {text}"),
    )
    base = measured[baseline]
    for figures in measured.values():
        seconds, gflop = figures["seconds"], figures.pop("flops") / 1e9 or None
        rate = None if gflop is None else gflop / seconds
        figures |= {
            "pictures_per_second": (pictures or config.batch_size) / seconds,
            "gflop": gflop,
            "gflop_per_second": rate,
            "share_of_peak": rate / peak["gflops"] if peak and rate is not None else None,
            "relative_time": seconds / base["seconds"],
            "times_faster": base["seconds"] / seconds,
            "memory_ratio": figures["peak_gib"] and figures["peak_gib"] / base["peak_gib"],
            "values_differ_by": largest_difference(figures["values"], base["values"]),
        }
    return {
        "case": name,
        "size": list(config.model.image_size),
        "batch": config.batch_size,
        "baseline": baseline,
        "variants": measured,
    }


def load_case(options: "Namespace", config: "TrainingConfig", folder: Path) -> dict[str, Any]:
    import measuring
    from torch_geometric.loader import DataLoader

    from sg2im_pyg.data import SceneLoader

    path = folder / "scenes.h5"
    pictures = max(LOADED_PICTURES if options.memory_batches >= 100 else 64, config.batch_size)
    measuring.write_scenes(path, pictures, config.model.image_size, config.seed)
    variants: dict[str, Callable[[], Any]] = {
        "SceneLoader": partial(measuring.load_batches, config, path, SceneLoader),
        "PyG's DataLoader": partial(measuring.load_batches, config, path, DataLoader),
    }
    name = f"{pictures} pictures, {describe(config)}"
    case = (name, config, "PyG's DataLoader", variants)
    return measure_case("loader", 1, 1, case, options, None, pictures)


def measure_memory_part(options: "Namespace", config: "TrainingConfig") -> list[dict[str, Any]]:
    """Memory over many batches, with and without a limit to the objects of a batch."""
    import measuring

    config = small_config(config)
    runs = []
    for case, limit in (
        ("no limit to objects", None),
        (f"at most {OBJECT_LIMIT} objects a batch", OBJECT_LIMIT),
    ):
        say(f"memory: {case}")
        samples = measuring.measure_memory(
            partial(measuring.train_small, config, VARYING_OBJECTS, limit),
            options.memory_batches,
            max(1, min(50, options.memory_batches // 4)),
            lambda text: say(f"memory: {text}"),
        )
        runs.append({"case": case, "limit": limit, "samples": samples})
    return runs


def small_config(config: "TrainingConfig") -> "TrainingConfig":
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


def measure_process_part(options: "Namespace", config: "TrainingConfig") -> list[dict[str, Any]]:
    """One process against two on a CPU, or against as many as there are GPUs."""
    import torch
    from measuring import LEAST_REPEATS, measure_processes

    most = torch.cuda.device_count() if config.hardware.accelerator == "cuda" else 2
    counts = [1] if most == 1 else [1, most]
    if config.batch_size % most:
        config = replace(config, batch_size=most * max(1, config.batch_size // most))
    say(f"processes: {' and '.join(map(str, counts))}, {describe(config)}")
    repeats = min(options.repeats, LEAST_REPEATS)
    return measure_processes(config, counts, options.warmup, repeats)


def format_part(part: str, figures: list[dict[str, Any]]) -> str:
    import benchmark_plot

    formats = {
        "memory": benchmark_plot.format_memory_table,
        "processes": benchmark_plot.format_process_table,
    }
    return formats.get(part, benchmark_plot.format_case_table)(figures)


def largest_difference(found: dict[str, float], base: dict[str, float]) -> float | None:
    """Largest relative difference of values that both variants gave in their first run."""
    common = found.keys() & base.keys()
    if not common:
        return None
    return max(abs(found[name] - base[name]) / max(abs(base[name]), 1e-12) for name in common)


def describe(config: "TrainingConfig") -> str:
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


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def say(text: str) -> None:
    """What goes on, for who waits."""
    print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_program(main)
