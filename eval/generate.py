"""Generates pictures from scene graphs in a JSON file.

    python eval/generate.py                                   newest run, graphs for landscapes
    python eval/generate.py --checkpoint FILE graphs.json --output DIR
    python eval/generate.py --checkpoint FILE graphs.json --seed 1

The file holds one graph or a list of them:

    {"objects": ["sky", "grass", "sheep"],
     "relationships": [[0, "above", 1], [2, "inside", 1]]}

For each graph three pictures are written: what the model paints (000_image.png), the boxes and
masks that it predicts (000_layout.png), and the graph (000_graph.png). contact_sheet.png shows
all of them side by side.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the program runs from any directory, installed or not

import torch  # noqa: E402
from jsonargparse import ArgumentParser, Namespace  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm import tqdm  # noqa: E402

from sg2im_pyg import SceneGraph, Sg2Im, Vocabulary  # noqa: E402
from sg2im_pyg.drawing import contact_sheet, draw_graph, draw_layout  # noqa: E402
from sg2im_pyg.errors import Sg2ImError  # noqa: E402
from sg2im_pyg.files import replace_when_whole  # noqa: E402
from sg2im_pyg.images import denormalize_images, to_pil  # noqa: E402
from sg2im_pyg.program import run_program  # noqa: E402

DEFAULT_GRAPHS = REPOSITORY / "eval" / "graphs" / "landscapes.json"
COLUMNS = ("graph", "predicted layout", "picture")
MOST_BYTES = 64 * 2**20  # of a graph file; some 100,000 graphs
ROWS_OF_SHEET = 50  # a sheet of more could hardly be opened
LAYOUT_SIDE = 256  # pixels that a layout's drawing has at least, for its labels


def main() -> None:
    options = parse_options()
    source = Path(options.graphs).absolute()
    entries, is_list = read_graphs(source)
    if not -(2**63) <= options.seed < 2**64:
        raise Sg2ImError(f"--seed must be a number of 64 bits, got {options.seed}.")
    device = choose_device(options.device)
    checkpoint = find_checkpoint(options.checkpoint)
    output = Path(options.output or REPOSITORY / "runs" / "generated" / source.stem).absolute()

    model = Sg2Im.from_pretrained(checkpoint).to(device)
    graphs = [
        parse_graph(graph, f"{source}, graph {i}" if is_list else str(source), model.vocabulary)
        for i, graph in enumerate(entries)
    ]
    make_folder(output)
    print(f"checkpoint     {checkpoint}")
    print(f"graphs         {source} ({len(graphs)})")

    rows = []
    digits = max(3, len(str(len(graphs) - 1)))
    bar = tqdm(graphs, unit="picture", disable=None, leave=False)
    for i, graph in enumerate(bar):
        image, layout = paint(model, graph, options.seed)
        drawing = draw_graph(graph, model.vocabulary, min_size=layout.size[::-1])
        for kind, picture in (("image", image), ("layout", layout), ("graph", drawing)):
            save(picture, output / f"{i:0{digits}}_{kind}.png")
        if i < ROWS_OF_SHEET:
            rows.append([drawing, layout, image])
    titles = [str(i) for i in range(len(rows))]
    sheet = contact_sheet(rows, COLUMNS, titles, cell_height=max(LAYOUT_SIDE, rows[0][1].height))
    save(sheet, output / "contact_sheet.png")

    first, last = f"{0:0{digits}}", f"{len(graphs) - 1:0{digits}}"
    for kind in ("image", "layout", "graph"):
        until = f" ... {last}_{kind}.png" if len(graphs) > 1 else ""
        print(f"{kind:14} {output / f'{first}_{kind}.png'}{until}")
    beyond = f" (the first {len(rows)} graphs)" if len(rows) < len(graphs) else ""
    print(f"contact sheet  {output / 'contact_sheet.png'}{beyond}")


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
        help="checkpoint of train/run.py or of the 2018 release; null: the best of the newest run",
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


def choose_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Sg2ImError(
            f"The device {name!r} is unknown or can not be used here: give auto, cpu, or another "
            "device of this machine."
        ) from error
    return device


def find_checkpoint(given: str | None) -> Path:
    """The checkpoint given, or that of the run that wrote one last: its best, else its last."""
    if given is not None:
        if not given or Path(given).is_dir():
            raise Sg2ImError(
                f"--checkpoint {given!r} is no file: give one, such as RUN/checkpoints/best.pt."
            )
        return Path(given).absolute()
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


def paint(model: Sg2Im, graph: SceneGraph, seed: int) -> tuple[Image.Image, Image.Image]:
    """The picture, and a drawing of the predicted layout.

    Graphs are not batched: each is painted with the same noise, so that pictures differ where
    graphs do, and does not depend on the other graphs of the file in the last bit either.
    """
    [(batch, output)] = model.generate_outputs([graph], seed)
    size = model.config.image_size
    scale = max(4, LAYOUT_SIDE // min(size))
    layout = draw_layout(batch.x, output.boxes, output.masks, model.vocabulary, size, scale)
    return to_pil(denormalize_images(output.images))[0], layout


def save(image: Image.Image, path: Path) -> None:
    with replace_when_whole(path) as temporary:
        image.save(temporary, format="PNG")


if __name__ == "__main__":
    run_program(main)
