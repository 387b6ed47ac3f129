"""What a prepared data set holds, in words and in pictures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sg2im_pyg.data.dataset import SceneDataset
from sg2im_pyg.data.scene_graph import SceneGraph
from sg2im_pyg.data.store import SceneReader
from sg2im_pyg.data.transforms import SampleGeometricRelations, relationships_of
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, UNUSED
from sg2im_pyg.drawing import contact_sheet, render_graph, render_layout
from sg2im_pyg.system.files import replace_when_whole

PREVIEW_PICTURES = 16
_READABLE = 12  # objects of a graph that can be read in the preview
_NAMED = 8  # categories named as the rarest and as the most frequent
_SIDE = 256  # of a cell in the preview, pixels


def summarise(paths: Mapping[str, str | Path]) -> str:
    """Counts of a prepared data set as a text of several lines.

    Args:
        paths: The store of each split.

    Raises:
        Sg2ImError: If a store can not be read.
    """
    stores = {split: SceneReader(path) for split, path in paths.items()}
    lines = [
        f"{'split':6} {'pictures':>9} {'objects':>10}  {'a picture':18} "
        f"{'relations':>10}  a picture"
    ]
    for split, store in stores.items():
        lines.append(
            f"{split:6} {len(store):9,} {len(store.categories):10,}  "
            f"{_a_picture(store.object_offset):18} "
            + (
                f"{len(store.relationships):10,}  {_a_picture(store.relationship_offset)}"
                + (", others drawn in training" if relationships_of(store) == "both" else "")
                if len(store.relationships)
                else f"{'-':>10}  {_without_relationships(store)}"
            )
        )
    first, store = next(iter(stores.items()))
    names = store.vocabulary.objects
    counts = np.bincount(store.categories, minlength=len(names))
    present = np.flatnonzero(counts)
    by_count = present[np.argsort(-counts[present], kind="stable")]
    lines.append(f"most frequent in {first}: " + _counted(by_count[:_NAMED], counts, names))
    if len(by_count) > _NAMED:
        rarest = by_count[_NAMED:][::-1][:_NAMED]
        lines.append(f"rarest in {first}: " + _counted(rarest, counts, names))
    named = [i for i, name in enumerate(names) if name != UNUSED and i > 0]
    never = [names[i] for i in named if not counts[i]]
    if never:
        shown = ", ".join(never[:_NAMED]) + (", ..." if len(never) > _NAMED else "")
        lines.append(f"without an object in {first}: {len(never)} of {len(named)} ({shown})")
    attributes = store.vocabulary.attributes
    if attributes:
        lines.append(f"attributes: {len(attributes)} names, {len(store.attributes):,} in {first}")
    return "\n".join([*lines, *_remarks(stores)])


def render_preview(path: str | Path, seed: int = 0) -> Image.Image:
    """Sixteen pictures of a store beside their boxes, masks and scene graphs.

    They are spread evenly over the store; pictures with a graph too large to be read are passed
    over where there are enough others. Where no relationships are stored, some are drawn from the
    geometry, as in training.

    Args:
        path: The store.
        seed: Seed of the relationships drawn.

    Raises:
        Sg2ImError: If the store can not be read.
    """
    dataset = SceneDataset(path)
    counts = np.diff(dataset.reader.object_offset)
    chosen = np.flatnonzero(counts <= _READABLE)
    if len(chosen) < PREVIEW_PICTURES:
        chosen = np.arange(len(dataset))
    spread = np.linspace(0, len(chosen) - 1, min(PREVIEW_PICTURES, len(chosen)))
    cells = [_cells(dataset, int(chosen[round(place)]), seed) for place in spread]
    rows = [[image for cell in cells[i : i + 2] for image in cell] for i in range(0, len(cells), 2)]
    titles = ["picture", "boxes and masks" if dataset.mask_size else "boxes", "scene graph"]
    return contact_sheet(
        rows, titles * max((len(row) // 3 for row in rows), default=0), None, _SIDE
    )


def write_summary(paths: Mapping[str, str | Path]) -> tuple[str, Path]:
    """Writes :obj:`summary.txt` and :obj:`preview.png` beside the stores.

    Args:
        paths: The store of each split, all in one folder; the first is shown.

    Returns:
        The text, and the file of the picture.
    """
    text = summarise(paths)
    store = Path(next(iter(paths.values())))
    with replace_when_whole(store.with_name("summary.txt")) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    preview = store.with_name("preview.png")
    with replace_when_whole(preview) as temporary:
        render_preview(store).save(temporary, format="PNG")
    return text, preview


def _cells(dataset: SceneDataset, index: int, seed: int) -> list[Image.Image]:
    graph: SceneGraph = dataset[index]
    assert graph.x is not None
    vocabulary, (height, width) = dataset.vocabulary, dataset.image_size
    image = Image.fromarray(dataset.reader.image(index))
    scale = max(1, round(_SIDE / height))
    layout = render_layout(
        graph.x, graph.boxes, graph.get("masks"), vocabulary, (height, width), scale
    )
    if not graph.num_edges and set(GEOMETRIC_PREDICATES) <= set(vocabulary.predicates):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + index)
            graph = SampleGeometricRelations(vocabulary)(graph)
    return [image, layout, render_graph(graph, vocabulary, min_size=(_SIDE, _SIDE))]


def _remarks(stores: Mapping[str, SceneReader]) -> list[str]:
    """A table of what was left out of each split and why, and of what else is to be told."""
    rows: dict[str, dict[str, int]] = {}
    for split, store in stores.items():
        report = store.settings.get("report", {})
        for reason, count in report.get("skipped_pictures", {}).items():
            rows.setdefault(f"pictures left out: {reason}", {})[split] = count
        for note, count in report.get("notes", {}).items():
            rows.setdefault(note, {})[split] = count
    if not rows:
        return ["left out: nothing"]
    width = max(map(len, rows))
    lines = [" ".join([f"{'left out, and other remarks':{width}}", *(f"{s:>9}" for s in stores)])]
    for what, counts in rows.items():
        cells = (f"{counts[split]:9,}" if split in counts else f"{'-':>9}" for split in stores)
        lines.append(" ".join([f"{what:{width}}", *cells]))
    return lines


def _without_relationships(store: SceneReader) -> str:
    drawn = len(store) and relationships_of(store) != "stored"
    return "drawn in training" if drawn else "-"


def _a_picture(offset: np.ndarray) -> str:
    counts = np.diff(offset)
    if not len(counts):
        return "-"
    return f"{counts.mean():.1f} ({counts.min()} to {counts.max()})"


def _counted(indices: np.ndarray, counts: np.ndarray, names: tuple[str, ...]) -> str:
    return ", ".join(f"{names[i]} {counts[i]:,}" for i in indices)
