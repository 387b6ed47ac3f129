"""Generates pictures from scene graphs, in words or in a JSON file.

    python eval/generate.py                        newest run or, before one, the library's model
    python eval/generate.py "sky above grass; two boats inside water"
    python eval/generate.py --checkpoint FILE graphs.json --output DIR
    python eval/generate.py --checkpoint FILE graphs.json --seed 1
    python eval/generate.py --checkpoint coco64 coco --stretch
    python eval/generate.py --grow graphs.json                each graph step by step

A checkpoint is a file, or the name of a model: landscapes, which comes with the library, or one of
the 2018 release (eval/fetch.py lists them), which is fetched into the cache once. The file of
graphs holds one graph or a list of them:

    {"objects": ["sky", "grass", "sheep"],
     "relationships": [[0, "above", 1], [2, "inside", 1]]}

A text in place of such a graph is read as the words of the command line are: clauses as above, or
simple sentences; docs/generating.md tells what is understood. What came out is printed.

"seeds": [null, null, 7] beside them gives the sheep a look of its own, which stays the same while
--seed changes the others.

For each graph three pictures are written: what the model paints (000_image.png), the boxes and
masks that it predicts (000_layout.png), and the graph (000_graph.png). contact_sheet.png shows
all of them side by side, figure.png the graphs above their pictures, as the paper's Figure 5 does.
With --grow each graph starts with its first object and grows by an object or a relationship at a
time, as in Figure 6: 000_00_image.png, 000_01_image.png, and so on.

What an earlier run left of such names in the output folder is removed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sg2im_pyg.data.graph_files import checked_graphs, count_steps, grow, read_graphs
from sg2im_pyg.data.language.writer import write_notation
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.published import SHIPPED, checkpoint_path
from sg2im_pyg.system.command_line import parse_options
from sg2im_pyg.system.files import check_output, replace_when_whole
from sg2im_pyg.system.memory import keep_freed_memory
from sg2im_pyg.system.options import option
from sg2im_pyg.system.places import base_folder, find_supplied
from sg2im_pyg.system.program import program_name
from sg2im_pyg.training.run_folder import best_checkpoint, newest_run

if TYPE_CHECKING:  # they take seconds: what is wrong on a command line is said before
    from PIL import Image

    from sg2im_pyg.data import SceneGraph, Vocabulary
    from sg2im_pyg.model import Sg2Im

GRAPHS = Path(__file__).with_name("graphs")
"""Folder of the graphs that come with the library."""

COLUMNS = ("graph", "predicted layout", "picture")
ROWS_OF_SHEET = 50  # a sheet of more could hardly be opened
TEXTS_SHOWN = 20  # graphs in words that are printed as they were read
COLUMNS_OF_FIGURE = 120  # likewise
LAYOUT_SIDE = 256  # pixels that a layout's drawing has at least, for its labels
KINDS = ("image", "layout", "graph")
WRITTEN = re.compile(rf"[0-9]{{3,}}(_[0-9]{{2,}})?_({'|'.join(KINDS)})\.png")


@dataclass
class GenerateOptions:
    """What is generated, and by which model."""

    graphs: str = option("landscapes", positional=True)
    """A graph in words, such as "sky above grass; two boats inside water"; or a JSON file of one
    graph or a list of graphs; or an example that comes with the library: landscapes, coco or
    visual_genome."""
    checkpoint: str | None = option(None, metavar="FILE")
    """Checkpoint of train/run.py or of the 2018 release, or the name of a model: landscapes, or a
    released one such as coco64; null: the best of the newest run, landscapes if there is none."""
    output: str | None = option(None, metavar="DIR")
    """Folder to write to; null: runs/generated/<name of the graph file>."""
    seed: int = 0
    """Seed of the noise and of what objects without seeds of their own look like: a graph and a
    seed give the same picture, whatever other graphs are in the file."""
    size: int | None = option(None, least=8, most=2048)
    """Shorter side of the pictures in pixels, where the model's generator can give it; null: the
    size that it was trained at, at which pictures are best."""
    stretch: bool = False
    """Stretch the contrast of each picture from black to white, as the 2018 release does."""
    grow: bool = False
    """Grow each graph from its first object, by an object or a relationship at a time."""
    names: bool = False
    """Print the names of objects, predicates and attributes that the model knows, and end."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ... to compute on."""

    def __post_init__(self) -> None:
        if not -(2**63) <= self.seed < 2**64:
            raise Sg2ImError(f"--seed must be a number of 64 bits, got {self.seed}.")


def main(arguments: list[str] | None = None, base: Path | None = None) -> None:
    """Generates pictures as a command line says; see :data:`~sg2im_pyg.system.program.COMMANDS`."""
    options = parse_options(GenerateOptions, arguments, program_name("generate"), __doc__)
    base = base or base_folder()
    if options.names:
        print(known_names(find_checkpoint(options.checkpoint, base / "runs")))
        return
    given: list[Any]
    if is_text(options.graphs):
        source, given, is_list = "The graph in words", [options.graphs], False
        folder = slug(options.graphs)
    else:
        path = find_graphs(options.graphs, base)
        given, is_list = read_graphs(path)
        source, folder = str(path), path.stem
    checkpoint = find_checkpoint(options.checkpoint, base / "runs")
    output = Path(options.output or base / "runs" / "generated" / folder).absolute()

    from tqdm import tqdm

    from sg2im_pyg.drawing import contact_sheet, figure, render_graph
    from sg2im_pyg.model import Sg2Im
    from sg2im_pyg.system.device import choose_device

    keep_freed_memory()
    device = choose_device(options.device)
    model = Sg2Im.from_pretrained(checkpoint).to(device).for_generation()
    size = of_shorter_side(model.config.image_size, options.size)
    model.check_size(size)
    entries = checked_graphs(given, source, is_list, model.vocabulary)
    check_output(output)
    remove_earlier(output)
    shipped = " (comes with the library)" if checkpoint in SHIPPED.values() else ""
    print(f"checkpoint     {checkpoint}{shipped}")
    print(f"graphs         {source} ({len(entries)})")
    in_words = [graph for graph, text in zip(entries, given, strict=True) if isinstance(text, str)]
    for graph in in_words[:TEXTS_SHOWN]:
        print(f"read as        {write_notation(graph, model.vocabulary)}")
    if len(in_words) > TEXTS_SHOWN:
        print(f"               (the first {TEXTS_SHOWN} of {len(in_words)} graphs in words)")
    own_seeds = [seed for graph in entries for seed in graph.get("seeds") or () if seed is not None]
    if own_seeds and not (model.config.appearance_dim or model.config.box_flow_dim):
        print("seeds          of objects have no effect: this model draws no looks and no boxes")

    total = sum(map(count_steps, entries)) if options.grow else len(entries)
    pictures = number_steps(entries, model.vocabulary, options.grow)
    names: list[str] = []
    rows: list[list[Image.Image]] = []
    groups: dict[int, list[tuple[Image.Image, Image.Image]]] = {}
    for name, i, graph in tqdm(pictures, total=total, unit="picture", disable=None, leave=False):
        image, layout = paint(model, graph, options.seed, size, options.stretch)
        drawing = render_graph(graph, model.vocabulary, min_size=layout.size[::-1])
        for kind, picture in zip(KINDS, (image, layout, drawing), strict=True):
            save(picture, output / f"{name}_{kind}.png")
        if len(names) < ROWS_OF_SHEET:
            rows.append([drawing, layout, image])
        if len(names) < COLUMNS_OF_FIGURE:
            group = groups.setdefault(i if options.grow else 0, [])
            group.append((render_graph(graph, model.vocabulary), image))
        names.append(name)
    titles = names[: len(rows)] if options.grow else [str(i) for i in range(len(rows))]
    sheet = contact_sheet(rows, COLUMNS, titles, cell_height=max(LAYOUT_SIDE, rows[0][1].height))
    save(sheet, output / "contact_sheet.png")
    below = figure(list(groups.values()), max(LAYOUT_SIDE, rows[0][2].height))
    save(below, output / "figure.png")

    for kind in KINDS:
        until = f" ... {names[-1]}_{kind}.png" if len(names) > 1 else ""
        print(f"{kind:14} {output / f'{names[0]}_{kind}.png'}{until}")
    for title, file, shown in (
        ("contact sheet", "contact_sheet.png", len(rows)),
        ("figure", "figure.png", sum(map(len, groups.values()))),
    ):
        what = "steps" if options.grow else "graphs"
        beyond = f" (the first {shown} {what})" if shown < len(names) else ""
        print(f"{title:14} {output / file}{beyond}")


def known_names(checkpoint: Path) -> str:
    """The names that the model of a checkpoint knows, each on a line below its kind."""
    from sg2im_pyg.data.vocabulary import IMAGE, IN_IMAGE, UNUSED
    from sg2im_pyg.formats.native import open_checkpoint

    vocabulary, _ = open_checkpoint(checkpoint, discriminators=False).vocabulary_and_options()
    lines = []
    for kind in ("objects", "predicates", "attributes"):
        special = (IMAGE, IN_IMAGE, UNUSED)
        names = [name for name in getattr(vocabulary, kind) if name not in special]
        lines += [f"{kind} ({len(names)})", *(f"  {name}" for name in names)]
    return "\n".join(lines)


def is_text(given: str) -> bool:
    """Whether a graph in words is given, and no file."""
    path = Path(given)
    try:
        is_path = path.exists() or (path.parent != Path() and path.parent.is_dir())
    except OSError:  # too long for a path
        is_path = False
    is_path = is_path or path.suffix == ".json"
    return not is_path and re.search(r"[\s;]", given.strip()) is not None


def slug(text: str) -> str:
    """A text as the name of a folder."""
    return "-".join(re.findall("[a-z0-9]+", text.lower()))[:60].strip("-") or "in-words"


def find_graphs(given: str, base: Path) -> Path:
    """A graph file, or an example that comes with the library."""
    path = Path(given)
    example = path.parent != Path() or not path.suffix  # graphs.json is somebody's own
    return (example and find_supplied([path], GRAPHS, base / "eval" / "graphs") or path).absolute()


def find_checkpoint(given: str | None, runs: Path) -> Path:
    """The checkpoint given, or the best of the run that wrote one last, or the one for landscapes
    that comes with the library."""
    if given is not None:
        path = checkpoint_path(given, "--checkpoint")
        if not path.exists():
            raise Sg2ImError(f"There is no checkpoint {path}: check the path.")
        return path
    newest = newest_run(runs, "checkpoints/best.pt", "checkpoints/last.pt")
    return SHIPPED["landscapes"] if newest is None else best_checkpoint(newest)


def of_shorter_side(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """A size whose shorter side is given, in the proportions of another one."""
    if side is None:
        return size
    height, width = (round(length * side / min(size)) for length in size)
    return height, width


def number_steps(
    entries: Sequence[Mapping[str, Any]], vocabulary: "Vocabulary", growing: bool = True
) -> Iterator[tuple[str, int, "SceneGraph"]]:
    """Each graph, or each step of each graph, with the name that its files begin with, and the
    graph's place in the file; the graphs have been checked."""
    from sg2im_pyg.data import SceneGraph

    digits = max(3, len(str(len(entries) - 1)))
    for i, graph in enumerate(entries):
        places = max(2, len(str(count_steps(graph) - 1))) if growing else 0
        for k, step in enumerate(grow(graph) if growing else [graph]):
            name = f"{i:0{digits}}" + (f"_{k:0{places}}" if growing else "")
            yield name, i, SceneGraph.from_json(step, vocabulary)


def remove_earlier(folder: Path) -> None:
    """Removes the numbered pictures of an earlier run, which had other graphs."""
    for path in list(folder.glob("*.png")):
        if WRITTEN.fullmatch(path.name) and path.is_file():
            path.unlink()


def paint(
    model: "Sg2Im", graph: "SceneGraph", seed: int, size: tuple[int, int], stretch: bool
) -> tuple["Image.Image", "Image.Image"]:
    """The picture, and a drawing of the predicted layout.

    Graphs are not batched: each is painted with the same noise, so that pictures differ where
    graphs do, and does not depend on the other graphs of the file in the last bit either.
    """
    from sg2im_pyg.drawing import render_layout
    from sg2im_pyg.images import denormalize_images, to_pil

    [(batch, output)] = model.generate_outputs([graph], seed, size)
    scale = max(4, LAYOUT_SIDE // min(size))
    layout = render_layout(batch.x, output.boxes, output.masks, model.vocabulary, size, scale)
    return to_pil(denormalize_images(output.images, stretch))[0], layout


def save(image: "Image.Image", path: Path) -> None:
    """Writes a picture as PNG."""
    with replace_when_whole(path) as temporary:
        image.save(temporary, format="PNG")
