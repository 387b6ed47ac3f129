"""Measures the preparation of data at real scale: annotations and pictures.

    python eval/benchmark_preparation.py --what visual_genome --root DIR    (a dump of 2 GB)
    python eval/benchmark_preparation.py --what coco --root DIR             (a dump of 5 GB)
    python eval/benchmark_preparation.py --what pictures --root DIR

The first two convert annotations: minutes and memory. The third writes pictures at training size,
beside decoding and resizing alone. The dumps are synthetic, of the size and the format of the real
ones (benchmarks/dumps.py), and stay in DIR, where the figures are written as JSON too.
"""

import json
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "eval")]  # runs from any directory

from sg2im_pyg.system.command_line import parse_options  # noqa: E402
from sg2im_pyg.system.options import check_options, option  # noqa: E402
from sg2im_pyg.system.parallel import ordered_map, usable_cores  # noqa: E402
from sg2im_pyg.system.program import run_program  # noqa: E402

SIZE = (64, 64)


@dataclass
class PreparationOptions:
    """What is measured."""

    what: Literal["visual_genome", "coco", "pictures"]
    """The annotations of one of the data sets, or the pass over pictures."""
    root: str
    """Folder to work in."""
    workers: int | None = option(None, least=1)
    """Number of processes; null: one a core."""
    count: int | None = option(None, least=1)
    """Number of pictures; null: as many as the data set has, and 4,000 that are decoded."""
    repeats: int = option(3, least=1)
    """How often the pass over pictures is made; the fastest counts."""

    def __post_init__(self) -> None:
        check_options(self, "--")


def main() -> None:
    options = parse_options(PreparationOptions, None, "benchmark_preparation.py", __doc__)
    root, workers = Path(options.root).resolve(), options.workers or usable_cores()
    root.mkdir(parents=True, exist_ok=True)
    if options.what == "pictures":
        figures = convert_pictures(root, workers, options.count or 4000, options.repeats)
    else:
        figures = convert_annotations(options.what, root, workers, options.count)
    figures["processes"] = workers
    figures["machine"] = f"{platform.platform()}, Python {platform.python_version()}"
    for key, value in figures.items():
        print(f"{key:44} {value:,.2f}" if isinstance(value, float) else f"{key:44} {value}")
    result = root / f"benchmark_{options.what}.json"
    result.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written: {result}")


def convert_annotations(data: str, root: Path, workers: int, count: int | None) -> dict[str, Any]:
    """Time and memory of converting the annotations of a dump."""
    from benchmarks import dumps

    from sg2im_pyg.sources.coco.layout import find_layout
    from sg2im_pyg.sources.coco.selection import CocoSelection
    from sg2im_pyg.sources.coco.source import CocoFiles, read_coco
    from sg2im_pyg.sources.visual_genome.source import read_visual_genome

    folder = root / (data if count is None else f"{data}_{count}")
    counts = [] if count is None else [count]
    if data == "visual_genome":
        if not (folder / "relationships.json").is_file():
            dumps.write_visual_genome(folder, *counts)
        start = time.perf_counter()
        found = read_visual_genome(folder, folder / "vg_splits.json", progress=True)
    else:
        if not (folder / "annotations" / "stuff_val2017.json").is_file():
            dumps.write_coco(folder, *2 * counts)
        for part in dumps.COCO_PICTURES:  # the annotations are read without the pictures
            (folder / "images" / part).mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        layout = find_layout(folder, CocoSelection())
        files = CocoFiles(layout, workers=workers, progress=True)
        found = read_coco(files, ("train", "val", "test"))
    seconds = time.perf_counter() - start
    return {
        "gigabytes of JSON": sum(file.stat().st_size for file in folder.rglob("*.json")) / 1e9,
        "minutes": seconds / 60,
        **peak_memory(workers),
        **{f"pictures of {split}": len(part) for split, part in found.items()},
        **{f"objects of {split}": len(part.table.categories) for split, part in found.items()},
    }


def convert_pictures(root: Path, workers: int, count: int, repeats: int) -> dict[str, Any]:
    """The picture pass against decoding and resizing alone, both in all processes."""
    from benchmarks import dumps

    from sg2im_pyg.sources.coco.layout import find_layout
    from sg2im_pyg.sources.coco.selection import CocoSelection
    from sg2im_pyg.sources.coco.source import CocoFiles, read_coco
    from sg2im_pyg.sources.pictures import write_pictures

    folder = root / f"coco_pictures_{count}"
    if not (folder / "images" / "val2017").is_dir():  # the last that is written
        dumps.write_pictures(folder / "images", dumps.write_coco(folder, count, 10))
    selection = CocoSelection(min_objects=1, max_objects=1000, all_images=True)
    sources = CocoFiles(find_layout(folder, selection), workers=workers)
    train = read_coco(sources, ["train"], selection=selection)["train"]
    image_folder = folder / "images" / "train2017"
    files = [image_folder / file for file in train.files]
    chunks = [files[i : i + 16] for i in range(0, len(files), 16)]
    stores = {SIZE: root / "stores" / "train.h5"}
    alone = both = float("inf")
    for _ in range(repeats):  # in turns, so that a slow moment of the machine meets both
        start = time.perf_counter()
        sum(ordered_map(decode_alone, chunks, workers))
        between = time.perf_counter()
        write_pictures(train, image_folder, stores, {}, workers, progress="pictures")
        alone, both = min(alone, between - start), min(both, time.perf_counter() - between)
    return {
        "pictures": len(files),
        "megabytes a picture": sum(f.stat().st_size for f in files) / len(files) / 1e6,
        "pictures a second, decoding and resizing alone": len(files) / alone,
        "pictures a second, picture pass to 64 x 64": len(files) / both,
    }


def decode_alone(paths: list[Path]) -> int:
    """Decodes and resizes pictures as directly as Pillow allows, and throws them away."""
    from PIL import Image

    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR).tobytes()
    return len(paths)


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


if __name__ == "__main__":
    run_program(main)
