"""Generates pictures from scene graphs in a JSON file.

    python eval/generate.py                                   newest run, graphs for landscapes
    python eval/generate.py --checkpoint FILE graphs.json --output DIR
    python eval/generate.py --checkpoint FILE graphs.json --seed 1
    python eval/generate.py --checkpoint coco64 eval/graphs/coco.json --stretch
    python eval/generate.py --grow graphs.json                each graph step by step

A checkpoint is a file, or the name of a model of the 2018 release (eval/fetch.py lists them), which
is fetched into the cache once. The file of graphs holds one graph or a list of them:

    {"objects": ["sky", "grass", "sheep"],
     "relationships": [[0, "above", 1], [2, "inside", 1]]}

For each graph three pictures are written: what the model paints (000_image.png), the boxes and
masks that it predicts (000_layout.png), and the graph (000_graph.png). contact_sheet.png shows
all of them side by side, figure.png the graphs above their pictures, as the paper's Figure 5 does.
With --grow each graph starts with its first object and grows by an object or a relationship at a
time, as in Figure 6: 000_00_image.png, 000_01_image.png, and so on.

What an earlier run left of such names in the output folder is removed.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

from jsonargparse import ArgumentParser, Namespace  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm import tqdm  # noqa: E402

from sg2im_pyg import SceneGraph, Sg2Im, Vocabulary  # noqa: E402
from sg2im_pyg.drawing import contact_sheet, figure, render_graph, render_layout  # noqa: E402
from sg2im_pyg.errors import Sg2ImError  # noqa: E402
from sg2im_pyg.formats.published import checkpoint_path  # noqa: E402
from sg2im_pyg.images import denormalize_images, to_pil  # noqa: E402
from sg2im_pyg.system.device import choose_device  # noqa: E402
from sg2im_pyg.system.files import replace_when_whole  # noqa: E402
from sg2im_pyg.system.program import run_program  # noqa: E402

DEFAULT_GRAPHS = REPOSITORY / "eval" / "graphs" / "landscapes.json"
COLUMNS = ("graph", "predicted layout", "picture")
MOST_BYTES = 64 * 2**20  # of a graph file; some 100,000 graphs
ROWS_OF_SHEET = 50  # a sheet of more could hardly be opened
COLUMNS_OF_FIGURE = 120  # likewise
LAYOUT_SIDE = 256  # pixels that a layout's drawing has at least, for its labels
KINDS = ("image", "layout", "graph")
WRITTEN = re.compile(rf"[0-9]{{3,}}(_[0-9]{{2,}})?_({'|'.join(KINDS)})\.png")


def main() -> None:
    options = parse_options()
    source = Path(options.graphs).absolute()
    entries, is_list = read_graphs(source)
    if not -(2**63) <= options.seed < 2**64:
        raise Sg2ImError(f"--seed must be a number of 64 bits, got {options.seed}.")
    device = choose_device(options.device)
    checkpoint = find_checkpoint(options.checkpoint)
    output = Path(options.output or REPOSITORY / "runs" / "generated" / source.stem).absolute()

    model = Sg2Im.from_pretrained(checkpoint).to(device).for_generation()
    graphs = [
        parse_graph(graph, f"{source}, graph {i}" if is_list else str(source), model.vocabulary)
        for i, graph in enumerate(entries)
    ]
    make_folder(output)
    remove_earlier(output)
    print(f"checkpoint     {checkpoint}")
    print(f"graphs         {source} ({len(graphs)})")

    total = len(graphs)
    pictures = number(graphs)
    if options.grow:
        total = sum(map(count_steps, entries))
        pictures = number_steps(entries, model.vocabulary)
    names: list[str] = []
    rows: list[list[Image.Image]] = []
    groups: list[list[tuple[Image.Image, Image.Image]]] = []
    for name, i, graph in tqdm(pictures, total=total, unit="picture", disable=None, leave=False):
        image, layout = paint(model, graph, options.seed, options.stretch)
        drawing = render_graph(graph, model.vocabulary, min_size=layout.size[::-1])
        for kind, picture in zip(KINDS, (image, layout, drawing), strict=True):
            save(picture, output / f"{name}_{kind}.png")
        if len(names) < ROWS_OF_SHEET:
            rows.append([drawing, layout, image])
        if len(names) < COLUMNS_OF_FIGURE:
            if not groups or (options.grow and i == len(groups)):
                groups.append([])
            groups[-1].append((render_graph(graph, model.vocabulary), image))
        names.append(name)
    titles = names[: len(rows)] if options.grow else [str(i) for i in range(len(rows))]
    sheet = contact_sheet(rows, COLUMNS, titles, cell_height=max(LAYOUT_SIDE, rows[0][1].height))
    save(sheet, output / "contact_sheet.png")
    save(figure(groups, max(LAYOUT_SIDE, rows[0][2].height)), output / "figure.png")

    for kind in KINDS:
        until = f" ... {names[-1]}_{kind}.png" if len(names) > 1 else ""
        print(f"{kind:14} {output / f'{names[0]}_{kind}.png'}{until}")
    for title, file, shown in (
        ("contact sheet", "contact_sheet.png", len(rows)),
        ("figure", "figure.png", sum(map(len, groups))),
    ):
        what = "steps" if options.grow else "graphs"
        beyond = f" (the first {shown} {what})" if shown < len(names) else ""
        print(f"{title:14} {output / file}{beyond}")


def parse_options() -> Namespace:
    """Reads the command line; mistakes in it end the program with exit status 2."""
    parser = ArgumentParser(description="Generate pictures from scene graphs in a JSON file.")
    option = parser.add_argument
    option(
        "graphs",
        type=str,
        nargs="?",
        default=str(DEFAULT_GRAPHS),
        help="JSON file of one graph or a list of graphs; the landscapes' example by default",
    )
    option(
        "--checkpoint",
        type=str | None,
        metavar="FILE",
        help="checkpoint of train/run.py or of the 2018 release, or the name of a released model "
        "such as coco64; null: the best of the newest run",
    )
    option(
        "--output",
        type=str | None,
        metavar="DIR",
        help="folder to write to; null: runs/generated/<name of the graph file>",
    )
    option(
        "--seed",
        type=int,
        default=0,
        help="seed of the noise: a graph and a seed give the same picture, whatever other graphs "
        "are in the file",
    )
    option(
        "--stretch",
        action="store_true",
        help="stretch the contrast of each picture from black to white, as the 2018 release does",
    )
    option(
        "--grow",
        action="store_true",
        help="grow each graph from its first object, by an object or a relationship at a time",
    )
    option(
        "--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1, mps, ... to compute on"
    )
    return parser.parse_args()


def read_graphs(path: Path) -> tuple[list[Any], bool]:
    """The graphs of a file, not yet checked, and whether the file holds a list."""
    if path.is_dir():
        raise Sg2ImError(f"{path} is a folder: give a JSON file of scene graphs.")
    if not path.is_file():
        raise Sg2ImError(f"There is no graph file {path}: check the path.")
    if path.stat().st_size > MOST_BYTES:
        raise Sg2ImError(
            f"{path} has {path.stat().st_size / 2**20:.0f} MiB, more than the "
            f"{MOST_BYTES // 2**20} MiB that a graph file may have: split it."
        )
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Sg2ImError(
            f"{path} is no UTF-8 text (byte {error.start}): save it as JSON in UTF-8."
        ) from error
    except json.JSONDecodeError as error:
        raise Sg2ImError(
            f"{path}, line {error.lineno}, column {error.colno}: this is no JSON "
            f"({error.msg}): correct it there."
        ) from error
    except (RecursionError, ValueError) as error:  # lists in lists in lists; endless numbers
        raise Sg2ImError(
            f"{path} is no file of scene graphs: it has thousands of brackets in each other or a "
            "number of thousands of digits."
        ) from error
    is_list = isinstance(entries, list)
    if is_list and not entries:
        raise Sg2ImError(f"{path} holds an empty list: give at least one scene graph.")
    return entries if is_list else [entries], is_list


def parse_graph(entries: Mapping[str, Any], where: str, vocabulary: Vocabulary) -> SceneGraph:
    try:
        return SceneGraph.from_json(entries, vocabulary)
    except Sg2ImError as error:
        raise Sg2ImError(f"{where}: {error}") from error


def number(graphs: list[SceneGraph]) -> Iterator[tuple[str, int, SceneGraph]]:
    """Each graph with the name that its files begin with, and its place in the file."""
    digits = max(3, len(str(len(graphs) - 1)))
    for i, graph in enumerate(graphs):
        yield f"{i:0{digits}}", i, graph


def number_steps(
    entries: list[Mapping[str, Any]], vocabulary: Vocabulary
) -> Iterator[tuple[str, int, SceneGraph]]:
    """What :func:`number` gives, for each step of each graph; the graphs have been checked."""
    digits = max(3, len(str(len(entries) - 1)))
    for i, graph in enumerate(entries):
        places = max(2, len(str(count_steps(graph) - 1)))
        for k, step in enumerate(grow(graph)):
            yield f"{i:0{digits}}_{k:0{places}}", i, SceneGraph.from_json(step, vocabulary)


def count_steps(entries: Mapping[str, Any]) -> int:
    return len(entries["objects"]) + len(entries.get("relationships", []))


def grow(entries: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps in which a graph grows: its first object, then one object or relationship more at
    a time. Objects come in their order, each relationship once both of its objects are there."""
    objects = entries["objects"]
    waiting: dict[int, list[Any]] = {}
    for relationship in entries.get("relationships", []):
        subject, _, obj = relationship
        waiting.setdefault(max(subject, obj), []).append(relationship)
    there: list[Any] = []
    for last in range(len(objects)):
        yield {"objects": objects[: last + 1], "relationships": there}
        for relationship in waiting.get(last, []):
            there = [*there, relationship]
            yield {"objects": objects[: last + 1], "relationships": there}


def find_checkpoint(given: str | None) -> Path:
    """The checkpoint given, or that of the run that wrote one last: its best, else its last."""
    if given is not None:
        return checkpoint_path(given, "--checkpoint")
    runs = REPOSITORY / "runs"
    written: dict[Path, float] = {}
    for name in ("best.pt", "last.pt"):
        for path in runs.glob(f"*/checkpoints/{name}"):
            moment = path.stat().st_mtime
            written[path.parent] = max(moment, written.get(path.parent, moment))
    if not written:
        raise Sg2ImError(
            f"There is no trained model below {runs}: run `make train`, or give --checkpoint."
        )
    newest = max(written, key=lambda folder: written[folder])
    best = newest / "best.pt"
    return best if best.is_file() else newest / "last.pt"


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise Sg2ImError(f"--output {path} is a file, or lies below one: give a folder.") from error


def remove_earlier(folder: Path) -> None:
    """Removes the numbered pictures of an earlier run, which had other graphs."""
    for path in folder.iterdir():
        if WRITTEN.fullmatch(path.name) and path.is_file():
            path.unlink()


def paint(
    model: Sg2Im, graph: SceneGraph, seed: int, stretch: bool
) -> tuple[Image.Image, Image.Image]:
    """The picture, and a drawing of the predicted layout.

    Graphs are not batched: each is painted with the same noise, so that pictures differ where
    graphs do, and does not depend on the other graphs of the file in the last bit either.
    """
    [(batch, output)] = model.generate_outputs([graph], seed)
    size = model.config.image_size
    scale = max(4, LAYOUT_SIDE // min(size))
    layout = render_layout(batch.x, output.boxes, output.masks, model.vocabulary, size, scale)
    return to_pil(denormalize_images(output.images, stretch))[0], layout


def save(image: Image.Image, path: Path) -> None:
    with replace_when_whole(path) as temporary:
        image.save(temporary, format="PNG")


if __name__ == "__main__":
    run_program(main)
