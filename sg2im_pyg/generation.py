"""From a file of scene graphs to pictures, layouts and drawings: what ``eval/generate.py`` does."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from sg2im_pyg.data import SceneGraph
from sg2im_pyg.drawing import contact_sheet, draw_graph, draw_layout
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.files import replace_when_whole
from sg2im_pyg.images import denormalize_images, to_pil
from sg2im_pyg.model import Sg2Im

_SHEET_COLUMNS = ["scene graph", "predicted layout", "generated picture"]
_SHEET_SCALE = 4  # pictures are small; on the sheet they are shown enlarged


@dataclass
class Generated:
    """What was made of one scene graph."""

    image: Image.Image
    layout: Image.Image
    graph: Image.Image


def generate_from_command_line(arguments: list[str], repository: Path, description: str) -> None:
    """The program ``eval/generate.py``.

    Args:
        arguments: The arguments, without the program's name.
        repository: Folder of the repository; default graphs and runs lie below it.
        description: First lines of the help text.

    Raises:
        Sg2ImError: If the checkpoint or a graph is missing or wrong.
    """
    parser = argparse.ArgumentParser(
        prog="generate.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "graphs",
        nargs="?",
        type=Path,
        default=repository / "eval" / "graphs" / "landscapes.json",
        help="JSON file with one scene graph or a list of them (default: "
        "eval/graphs/landscapes.json)",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="checkpoint of train/run.py or of the 2018 release (default: the best one of the "
        "newest run in runs/)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("generated"),
        help="folder for the pictures (default: generated, in the current directory)",
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes the noise (default: 0)")
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)"
    )
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    checkpoint = options.checkpoint
    if checkpoint is None:
        checkpoint = newest_checkpoint(repository / "runs")
        print(f"Checkpoint: {checkpoint.absolute()}")
    if options.output.exists() and not options.output.is_dir():
        raise Sg2ImError(f"--output {options.output} is a file: give the name of a folder.")
    model = Sg2Im.from_pretrained(checkpoint).to(device)
    graphs = read_graphs(options.graphs, model)
    paths = write_generated(generate_all(model, graphs, options.seed), options.output)
    print(f"{len(graphs)} pictures, layouts and drawings of graphs: {options.output.absolute()}")
    print(f"All on one sheet: {paths[-1].absolute()}")


def read_graphs(path: Path, model: Sg2Im) -> list[SceneGraph]:
    """The scene graphs of a JSON file.

    Raises:
        Sg2ImError: With the file and the number of the graph, if something in it is wrong.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise Sg2ImError(f"There is no file {path.absolute()}: check the path.") from error
    except IsADirectoryError as error:
        raise Sg2ImError(f"{path.absolute()} is a folder: give a JSON file.") from error
    except UnicodeDecodeError as error:
        raise Sg2ImError(f"{path} is no text in UTF-8: give a JSON file.") from error
    except json.JSONDecodeError as error:
        raise Sg2ImError(
            f"{path} is no valid JSON: {error.msg} in line {error.lineno}, column {error.colno}: "
            "correct it there."
        ) from error
    except RecursionError as error:
        raise Sg2ImError(f"{path} is nested too deeply to hold scene graphs.") from error
    listed: list[Any] = entries if isinstance(entries, list) else [entries]
    if not listed:
        raise Sg2ImError(f"{path} holds an empty list: give at least one scene graph.")
    graphs = []
    for number, entry in enumerate(listed):
        try:
            graphs.append(SceneGraph.from_json(entry, model.vocabulary))
        except Sg2ImError as error:
            raise Sg2ImError(f"{path}, graph {number}: {error}") from None
    return graphs


def generate_all(model: Sg2Im, graphs: list[SceneGraph], seed: int) -> list[Generated]:
    """Picture, predicted layout and drawing of each graph."""
    results: list[Generated] = []
    for batch, output in model.generate_outputs(graphs, seed):
        owner = batch.batch.cpu()
        categories, boxes = batch.x.cpu(), output.boxes.float().cpu()
        masks = None if output.masks is None else output.masks.float().cpu()
        for i, image in enumerate(to_pil(denormalize_images(output.images))):
            own = owner == i
            layout = draw_layout(
                categories[own],
                boxes[own],
                None if masks is None else masks[own],
                model.vocabulary,
                size=model.config.image_size,
            )
            graph = draw_graph(graphs[len(results)], model.vocabulary)
            results.append(Generated(image, layout, graph))
    return results


def write_generated(results: list[Generated], folder: Path) -> list[Path]:
    """Writes three files for each graph and the contact sheet; returns the paths, it last."""
    files: dict[str, Image.Image] = {}
    for number, result in enumerate(results):
        files[f"{number:03d}_image.png"] = result.image
        files[f"{number:03d}_layout.png"] = result.layout
        files[f"{number:03d}_graph.png"] = result.graph
    rows = [
        [
            result.graph,
            result.layout,
            result.image.resize(
                (result.image.width * _SHEET_SCALE, result.image.height * _SHEET_SCALE),
                Image.Resampling.BICUBIC,
            ),
        ]
        for result in results
    ]
    files["contact_sheet.png"] = contact_sheet(rows, _SHEET_COLUMNS)
    paths = []
    for name, image in files.items():
        with replace_when_whole(folder / name) as temporary:
            image.save(temporary, format="PNG")
        paths.append(folder / name)
    return paths


def newest_checkpoint(runs: Path) -> Path:
    """The best checkpoint of the newest run, or its last one where none is the best yet.

    Raises:
        Sg2ImError: If no run has written one.
    """
    found = sorted(runs.glob("*/checkpoints/*.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise Sg2ImError(
            f"There is no checkpoint in {runs}: train one with 'make train', or say which to use "
            "with --checkpoint FILE."
        )
    best = found[-1].with_name("best.pt")
    return best if best.is_file() else found[-1]


def choose_device(name: str) -> torch.device:
    """The device of that name, for :obj:`"auto"` a GPU where there is one.

    Raises:
        Sg2ImError: If it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise Sg2ImError(f"--device {name} can not be had here: use cpu or auto.") from error
    return device
