"""Measures this library against the step written straight from the paper (reference_step.py).

    python eval/benchmark.py                                  everything, at the published size
    python eval/benchmark.py --parts [train,generate] --sizes [64] --batches [32]
    python eval/benchmark.py --accelerator cuda --precision bf16-mixed
    python eval/benchmark.py --config landscapes --parts [levers]

Parts: train and generate (a training step; pictures from given batches), layout and gconv (these
two alone, forward and backward), loader (pictures a second on one core), levers (ours with each
thing that makes it fast switched off, and with what is off by default), memory (over many
batches), processes (one against several). The data are random, of the sizes of COCO's.

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
from dataclasses import asdict, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from sg2im_pyg.training.config import TrainingConfig

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "eval")]  # runs from any directory

from sg2im_pyg.errors import Sg2ImError  # noqa: E402
from sg2im_pyg.system.files import make_output  # noqa: E402
from sg2im_pyg.system.program import run_program  # noqa: E402

Part = Literal["train", "generate", "layout", "gconv", "loader", "levers", "memory", "processes"]
TITLES: dict[Part, str] = {
    "train": "One training step",
    "generate": "Pictures from given batches",
    "layout": "The layout alone, forward and backward",
    "gconv": "The graph convolution alone, forward and backward",
    "loader": "One pass over a data set, on one core",
    "levers": "Ours with one lever off, or with one option on",
    "memory": "Memory over batches of 3 to 30 objects a picture",
    "processes": "Training in several processes that share a batch",
}
VERSIONS = ("torch", "torch-geometric", "torch-scatter", "lightning-fabric", "kornia", "numpy")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, which are commands to type."""


def main() -> None:
    options = parse_options()
    begin = time.perf_counter()
    check_options(options)
    import torch
    from benchmarks.parts import find_peak, measure_part, process_counts
    from benchmarks.plot import draw_benchmark
    from benchmarks.process_memory import cpu_name
    from benchmarks.tables import format_part

    from sg2im_pyg import __version__
    from sg2im_pyg.system.files import replace_when_whole
    from sg2im_pyg.system.parallel import usable_cores

    # ---- What is to be done: whatever is wrong is said before anything is measured
    accelerator = choose_accelerator(options.accelerator)
    configs = plan(options, accelerator)
    process_counts(options.processes, accelerator)
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
    peak = None
    if {"train", "generate", "layout", "gconv", "levers"} & set(options.parts):
        result["convolution_peak"] = find_peak(options, accelerator)
        peak = result["convolution_peak"]["gflops"]
        print(f"peak         {peak:.1f} GFLOP/s (the best of 3 x 3 convolutions)", flush=True)
        save()
    for part in options.parts:
        result["parts"][part] = measure_part(part, options, configs, peak)
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
    option("--parts", type=list[Part], default=list(TITLES), help="what to measure")
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
        "--processes",
        type=list[int] | None,
        help="numbers of processes; null: 1 and 2, on GPUs 1 and as many as there are",
    )
    option(
        "--output",
        type=str | None,
        metavar="DIR",
        help="folder to write to; null: runs/benchmark in the repository",
    )
    return parser.parse_args()


def check_options(options: "Namespace") -> None:
    """Checks what the types of the options do not."""
    for name in ("parts", "sizes", "batches", "processes"):
        given = getattr(options, name)
        if name == "processes" and given is None:
            continue
        if not given or len(set(given)) < len(given):
            raise Sg2ImError(f"--{name} must name at least one, each once, got {given}.")
    for name, values, least in (
        ("sizes", options.sizes, 1),
        ("batches", options.batches, 1),
        ("repeats", [options.repeats], 1),
        ("warmup", [options.warmup], 1),
        ("memory_batches", [options.memory_batches], 1),
        ("processes", options.processes or [1], 1),
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
    make_output(output)
    return output


def plan(options: "Namespace", accelerator: str) -> "list[TrainingConfig]":
    """The configuration of each size and batch, in that order; the first one's is that of the
    parts that take one alone.

    Raises:
        Sg2ImError: If the configuration is wrong, or does not go with a size or the reference.
    """
    from benchmarks.reference_networks import check_options as check_for_reference

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
        compile="off",
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


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    run_program(main)
