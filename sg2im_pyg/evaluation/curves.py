"""An evaluation in TensorBoard: figures over the steps of training, pictures, settings."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from sg2im_pyg.drawing import contact_sheet
from sg2im_pyg.evaluation.registry import metrics_of
from sg2im_pyg.evaluation.report import Example
from sg2im_pyg.evaluation.table import figure_of, format_markdown
from sg2im_pyg.evaluation.text import clean, format_number, markdown_text, run_names

_CELL_HEIGHT = 160  # pixels of the pictures in a sheet


def write_curves(
    folder: str | os.PathLike[str],
    result: Mapping[str, Any],
    examples: Mapping[str, Sequence[Example]],
) -> None:
    """Adds an evaluation to a folder of TensorBoard.

    Points stand at the step that a system was trained to, 0 where it has none, so that evaluations
    of several checkpoints into one folder make curves. Where there are several systems each has a
    run of its own below the folder, named as it is. Nothing that the folder holds is removed.

    Args:
        folder: Folder to write to, made where it is missing.
        result: What an evaluation found; see :func:`~sg2im_pyg.evaluation.evaluate.evaluate`.
        examples: Rows of pictures, by the title of their section.
    """
    folder, systems = Path(folder), result["systems"]
    runs = run_names([system["name"] for system in systems]) if len(systems) > 1 else [""]
    for system, run in zip(systems, runs, strict=True):
        with SummaryWriter(str(folder / run)) as writer:
            _write_figures(writer, system)
            _write_sheets(writer, system, examples)
    last = max((_step(system) for system in systems), default=0)
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("evaluation/table", format_markdown(result), last)
        writer.add_text("evaluation/settings", _settings(result), last)


def _step(system: Mapping[str, Any]) -> int:
    return int(system.get("step") or 0)


def _write_figures(writer: SummaryWriter, system: Mapping[str, Any]) -> None:
    step = _step(system)
    for metric in metrics_of():
        tags = (f"evaluation/{metric.key}", f"evaluation/{metric.key}_deviation")
        for tag, value in zip(tags, figure_of(system, metric) or ()):
            if value is not None:
                writer.add_scalar(tag, value, step)
    with_curves = [metric for metric in metrics_of("layout") if metric.curve_by_category]
    for row in system["categories"]:
        for metric in with_curves:
            value = row.get(metric.key)
            if format_number(value) != "-":
                tag = f"evaluation_categories/{clean(row['name'])}/{metric.key}"
                writer.add_scalar(tag, value, step)


def _write_sheets(
    writer: SummaryWriter, system: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]
) -> None:
    """One sheet of pictures for each section that shows the system."""
    for title, rows in examples.items():
        own = [row for row in rows if row.system == system["name"] and row.images]
        if not own:
            continue
        columns = list(dict.fromkeys(column for row in own for column in row.images))
        sheet = contact_sheet(
            [[row.images.get(column) for column in columns] for row in own],
            [clean(column) for column in columns],
            [_row_title(row) for row in own],
            _CELL_HEIGHT,
        )
        # The run has the system's name already, and a later checkpoint may have another one.
        section = clean(title).removesuffix(f": {clean(system['name'])}")
        writer.add_image(
            f"evaluation/{section}", np.asarray(sheet), _step(system), dataformats="HWC"
        )


def _row_title(row: Example) -> str:
    return clean(row.title) + ("" if row.iou is None else f", IoU {format_number(row.iou, 2)}")


def _settings(result: Mapping[str, Any]) -> str:
    """Everything that the figures were taken with, as a list in Markdown."""
    entries: dict[str, Any] = {"sg2im_pyg": result["sg2im_pyg"], "date": result["date"]}
    entries |= {"command": result["command"]}
    for group in ("data", "settings", "network"):
        entries |= {f"{group}: {name}": value for name, value in (result[group] or {}).items()}
    entries |= {f"system: {system['name']}": system["source"] for system in result["systems"]}
    return "\n".join(
        f"- {markdown_text(name)}: {markdown_text('-' if value is None else value)}"
        for name, value in entries.items()
    )
