"""Measures the preparation at real scale: annotations, pictures, and how fast data is fed.

    python datasets/benchmark.py annotations visual_genome --root DIR   (writes a dump of 1.7 GB)
    python datasets/benchmark.py annotations coco --root DIR            (writes a dump of 5 GB)
    python datasets/benchmark.py pictures --root DIR
    python datasets/benchmark.py loader --root DIR

The dumps are synthetic, of the size and the format of the real ones (see dumps.py). Each command
prints its figures and writes them to DIR as JSON.
"""

import json
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jsonargparse import Namespace

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from sg2im_pyg.system.program import run_program  # noqa: E402

SIZES = ((64, 64), (128, 128))


def main() -> None:
    options = parse_options()
    name = options.subcommand
    given = options[name]
    root = Path(given.root).resolve()
    root.mkdir(parents=True, exist_ok=True)
    measure = {"annotations": annotations, "pictures": pictures, "loader": loader}[name]
    figures = measure(given, root)
    figures["machine"] = (
        f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    )
    for key, value in figures.items():
        print(f"{key:44} {value:,.2f}" if isinstance(value, float) else f"{key:44} {value}")
    name = f"{name}_{given.data}" if name == "annotations" else name
    result = root / f"benchmark_{name}.json"
    result.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written: {result}")


def annotations(given: "Namespace", root: Path) -> dict[str, Any]:
    """Time and memory of converting the annotations of a dump of real scale."""
    from sg2im_pyg.sources.coco.source import read_coco
    from sg2im_pyg.sources.visual_genome.source import read_visual_genome
    from sg2im_pyg.system.parallel import usable_cores

    dumps = load_dumps()
    folder = root / given.data
    if given.data == "visual_genome":
        if not (folder / "vg_splits.json").is_file():
            dumps.write_visual_genome(folder)
        files = sorted(folder.glob("*.json"))
        start = time.perf_counter()
        found = read_visual_genome(folder, folder / "vg_splits.json", progress=True)
    else:
        if not (folder / "annotations" / "stuff_val2017.json").is_file():
            dumps.write_coco(folder)
        for part in ("train2017", "val2017"):  # the annotations are read without the pictures
            (folder / "images" / part).mkdir(parents=True, exist_ok=True)
        files = sorted(folder.glob("annotations/*.json"))
        start = time.perf_counter()
        found = read_coco(
            folder, ("train", "val", "test"), workers=given.workers or usable_cores(), progress=True
        )
    seconds = time.perf_counter() - start
    return {
        "gigabytes of JSON": sum(file.stat().st_size for file in files) / 1e9,
        "minutes": seconds / 60,
        **peak_memory(given.workers or usable_cores()),
        **{f"pictures of {split}": len(part) for split, part in found.items()},
        **{f"objects of {split}": len(part.table.categories) for split, part in found.items()},
    }


def pictures(given: "Namespace", root: Path) -> dict[str, Any]:
    """The picture pass against decoding and resizing alone, both on all cores."""
    from sg2im_pyg.sources.coco.selection import CocoSelection
    from sg2im_pyg.sources.coco.source import read_coco
    from sg2im_pyg.sources.pictures import write_pictures
    from sg2im_pyg.system.parallel import ordered_map, usable_cores

    workers = given.workers or usable_cores()
    dumps = load_dumps()
    folder = root / f"coco_{given.count}"
    if not (folder / "images" / "train2017").is_dir():
        written = dumps.write_coco(folder, train_pictures=given.count, val_pictures=10)
        for part, images in written.items():
            dumps.write_pictures(folder / "images" / part, images)
    selection = CocoSelection(min_objects=1, max_objects=1000, all_images=True)
    source = read_coco(folder, ["train"], selection=selection, workers=workers, progress=True)
    train = source["train"]
    image_folder = folder / "images" / "train2017"
    files = [image_folder / file for file in train.files]
    chunks = [files[i : i + 16] for i in range(0, len(files), 16)]
    seconds: dict[str, list[float]] = {"alone": [], "pass": []}
    for _ in range(given.repeats):  # in turns, so that a slow moment of the machine meets both
        start = time.perf_counter()
        for _ in ordered_map(decode_alone, chunks, workers):
            pass
        seconds["alone"].append(time.perf_counter() - start)
        paths = {size: root / "stores" / f"{size[0]}" / "train.h5" for size in SIZES[:1]}
        start = time.perf_counter()
        write_pictures(train, image_folder, paths, {}, workers, progress="pictures")
        seconds["pass"].append(time.perf_counter() - start)
    alone, whole = min(seconds["alone"]), min(seconds["pass"])
    return {
        "pictures": len(files),
        "processes": workers,
        "megabytes a picture": sum(f.stat().st_size for f in files) / len(files) / 1e6,
        "pictures a second, decoding and resizing alone": len(files) / alone,
        "pictures a second, picture pass to 64 x 64": len(files) / whole,
        "share": alone / whole,
    }


def decode_alone(paths: list[Path]) -> int:
    """Decodes and resizes pictures as directly as Pillow allows, and throws them away."""
    from PIL import Image

    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB").resize(SIZES[0], Image.Resampling.BILINEAR).tobytes()
    return len(paths)


def loader(given: "Namespace", root: Path) -> dict[str, Any]:
    """Pictures a second that the loaders give on one core, COCO-like graphs at 64 x 64."""
    import numpy as np
    import torch
    from torch_geometric.loader import DataLoader
    from torch_geometric.transforms import Compose

    from sg2im_pyg.data import (
        AddImageNode,
        SampleGeometricRelations,
        Scene,
        SceneDataset,
        SceneLoader,
        SceneWriter,
        Vocabulary,
    )
    from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES

    torch.set_num_threads(1)
    path = root / f"loader_{given.count}.h5"
    if not path.is_file():
        random = np.random.default_rng(0)
        vocabulary = Vocabulary([f"category {i}" for i in range(171)], GEOMETRIC_PREDICATES)
        with SceneWriter(path, vocabulary, (64, 64), 16) as writer:
            for i in range(given.count):
                objects = int(random.integers(3, 9))
                corners = np.sort(random.random((objects, 2, 2), np.float32), 1)
                writer.add(
                    Scene(
                        i,
                        random.integers(0, 256, (64, 64, 3), dtype=np.uint8),
                        random.integers(1, 172, objects),
                        corners.reshape(-1, 4),
                        random.random((objects, 16, 16)) > 0.4,
                    )
                )
    figures: dict[str, Any] = {"pictures": given.count}
    for where in ("disk", "memory"):
        dataset = SceneDataset(path, in_memory=where == "memory")
        dataset.transform = Compose([SampleGeometricRelations(dataset.vocabulary), AddImageNode()])
        for name, made in (
            ("SceneLoader", SceneLoader(dataset, batch_size=32)),
            ("PyG's DataLoader", DataLoader(dataset, batch_size=32, shuffle=True)),
        ):
            rates = []
            for _ in range(given.repeats + 1):
                start = time.perf_counter()
                count = sum(batch.num_graphs for batch in made)
                rates.append(count / (time.perf_counter() - start))
            rate = sorted(rates[1:])[given.repeats // 2]  # the first warms up
            figures[f"pictures a second, {name}, {where}"] = rate
            figures[f"microseconds a picture, {name}, {where}"] = 1e6 / rate
    return figures


def peak_memory(workers: int) -> dict[str, float]:
    """Largest memory of this process and of its workers, in GiB, where the system says it."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    unit = 2**30 if sys.platform == "darwin" else 2**20
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    return {"GiB at most, main process": own, "GiB at most, all processes": own + workers * child}


def load_dumps() -> Any:
    """The generator beside this file, which is no package."""
    import importlib.util

    specification = importlib.util.spec_from_file_location(
        "sg2im_dumps", Path(__file__).resolve().parent / "benchmarks" / "dumps.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def parse_options() -> "Namespace":
    """Reads the command line; mistakes in it end the program with exit status 2."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(description="Measure the preparation of data at real scale.")
    commands = parser.add_subcommands(dest="subcommand", required=True, metavar="WHAT")
    for name, explanation in (
        ("annotations", "converting annotations of real scale: minutes and memory"),
        ("pictures", "the picture pass against decoding and resizing alone"),
        ("loader", "pictures a second that the loaders give on one core"),
    ):
        command = ArgumentParser(description=explanation)
        if name == "annotations":
            command.add_argument(
                "data", type=Literal["visual_genome", "coco"], help="format of the dump"
            )
        command.add_argument(
            "--root", type=str, required=True, metavar="DIR", help="folder to work in"
        )
        if name != "loader":
            command.add_argument(
                "--workers", type=int | None, help="number of processes; null: one a core"
            )
        if name != "annotations":
            command.add_argument(
                "--count", type=int, default=4000, help="number of pictures to measure with"
            )
            command.add_argument(
                "--repeats", type=int, default=3, help="how often each measurement is made"
            )
        commands.add_subcommand(name, command, help=explanation)
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
