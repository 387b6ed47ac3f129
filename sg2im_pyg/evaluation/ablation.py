"""The rows of the paper's Tables 1 and 2: what each trains, what it is evaluated with, and how the
tables are written."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sg2im_pyg.drawing.charts import render_row_charts
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.system.files import replace_when_whole
from sg2im_pyg.training.config import TrainingConfig, plain_options


@dataclass(frozen=True)
class Row:
    """A row of the tables.

    Args:
        slug: Name in paths and on the command line.
        title: Name in the tables.
        config: Configuration that is given after the data set's, if any.
        trained_as: The row whose training this one takes; its own where it is the same.
        layout: Boxes and masks that pictures are generated from.
        relationships: Whether the graphs have relationships.
    """

    slug: str
    title: str
    config: str | None = None
    trained_as: str = ""
    layout: Literal["predicted", "true"] = "predicted"
    relationships: bool = True

    @property
    def training(self) -> str:
        return self.trained_as or self.slug


ROWS = (
    Row("full", "full"),
    Row("no_gconv", "no graph convolution", "no_gconv"),
    Row("no_relationships", "no relationships", "no_relationships", relationships=False),
    Row("no_discriminators", "no discriminators", "no_discriminators"),
    Row("no_object_discriminator", "no object discriminator", "no_object_discriminator"),
    Row("no_image_discriminator", "no image discriminator", "no_image_discriminator"),
    Row("true_layout", "true layout", trained_as="full", layout="true"),
    Row(
        "true_layout_no_gconv",
        "true layout without graph convolution",
        "no_gconv",
        trained_as="no_gconv",
        layout="true",
    ),
)
"""Rows of Table 1 (paper, Section 4.3); those that predict layouts make Table 2. Training always
gives the layout the true boxes and masks, so a row with the true layout at test time needs no
training of its own."""

_PLACES = {"data.workers", "data.storage", "data.root", "log_every", "sample_every"}
_PLACES |= {"checkpoint_every", "init"}
"""Options that a row may have been trained with otherwise: they do not change its figures (or, for
``init``, name a file of another place)."""


def choose_rows(slugs: Sequence[str] | None) -> list[Row]:
    """Rows by their names, in the tables' order; all without names.

    Raises:
        Sg2ImError: If there is no such row.
    """
    known = {row.slug: row for row in ROWS}
    for slug in slugs or ():
        if slug not in known:
            raise Sg2ImError(f"There is no row {slug!r}: the rows are {', '.join(known)}.")
    return [row for row in ROWS if not slugs or row.slug in slugs]


def training_state_of(
    run_dir: Path, config: TrainingConfig
) -> tuple[Literal["new", "begun", "done"], int]:
    """How far a row's training in a folder is.

    Args:
        run_dir: Folder of the row's run.
        config: The options that the row is wanted with.

    Returns:
        The state and the steps made.

    Raises:
        Sg2ImError: If the folder holds a training with other options.
    """
    last = run_dir / "checkpoints" / "last.pt"
    if not last.is_file():
        return ("begun" if (run_dir / "config.yaml").is_file() else "new"), 0
    training = read_checkpoint(last).get("training")
    if not isinstance(training, dict) or not isinstance(training.get("config"), dict):
        raise Sg2ImError(f"{last} does not say how it was trained: give another --output.")
    there, wanted = (
        _flat(plain_options(options)) for options in (training["config"], asdict(config))
    )
    for name in sorted(wanted.keys() & there.keys()):
        if there[name] != wanted[name] and name not in _PLACES and "hardware." not in name:
            raise Sg2ImError(
                f"{run_dir} holds a training with other options ({name}: {there[name]} there, "
                f"{wanted[name]} asked for): ask for the same, or give another --output."
            )
    progress = training.get("progress")
    step = progress.get("step", 0) if isinstance(progress, dict) else 0
    if type(step) is not int:
        raise Sg2ImError(f"{last} does not say how far it was trained: give another --output.")
    return ("done" if step >= config.steps else "begun"), step


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


# Tables ----------------------------------------------------------------------------------------

Table = tuple[list[str], list[list[str]]]
"""Heads of the columns, and rows of cells."""


def table_1(result: Mapping[str, Any]) -> Table:
    """How good the pictures are (paper, Table 1, with FID and KID beside the Inception score)."""
    rows = []
    for entry in result["rows"]:
        pictures = entry["pictures"] or {}
        score, kid = pictures.get("inception_score"), pictures.get("kid")
        rows.append(
            [
                entry["title"],
                "-" if not score else f"{score['mean']:.2f} ± {score['deviation']:.2f}",
                _cell(pictures.get("fid"), 2),
                "-" if not kid else f"{kid['mean']:.4f} ± {kid['deviation']:.4f}",
            ]
        )
    return ["row", "Inception score ↑", "FID ↓", "KID ↓"], rows


def table_2(result: Mapping[str, Any]) -> Table:
    """How good the predicted layouts are (paper, Table 2, with four figures more)."""
    heads = ["row", "R@0.3 ↑", "R@0.5 ↑", "σ x", "σ area"]
    heads += ["mean IoU ↑", "relations ↑", "mask IoU ↑"]
    names = ["box_recall_0.3", "box_recall_0.5", "sigma_x", "sigma_area"]
    names += ["mean_iou", "relation_accuracy", "mask_iou"]
    rows = [
        [entry["title"], *(_cell(entry["layout"].get(name), 3) for name in names)]
        for entry in result["rows"]
        if entry["layout"] is not None and entry["layout_is"] == "predicted"
    ]
    return heads, rows


def format_markdown(result: Mapping[str, Any]) -> str:
    """Both tables, and under them what they were made with."""
    parts = []
    for title, (heads, rows) in _titled(result):
        lines = [f"**{title}**", "", _line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
        parts.append("\n".join([*lines, *map(_line, rows)]))
    return "\n\n".join([*parts, _footnote(result)]) + "\n"


def format_csv(result: Mapping[str, Any]) -> str:
    """All figures of all rows, one line a row, for a spreadsheet or pandas."""
    text = io.StringIO()
    flat = [_flat(entry) for entry in result["rows"]]
    names = list(dict.fromkeys(name for entry in flat for name in entry if "notes" not in name))
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def write_tables(folder: Path, result: Mapping[str, Any]) -> list[Path]:
    """Writes both tables as Markdown, CSV and a plot.

    Returns:
        The paths.
    """
    markdown, table, plot = (folder / f"tables.{kind}" for kind in ("md", "csv", "png"))
    for path, text in ((markdown, format_markdown(result)), (table, format_csv(result))):
        with replace_when_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with replace_when_whole(plot) as temporary:
        plot_tables(result, temporary)
    return [markdown, table, plot]


def plot_tables(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Both tables as a picture (PNG): a bar a row for each of four figures."""
    entries = result["rows"]
    layouts = [entry for entry in entries if entry["layout_is"] == "predicted" and entry["layout"]]

    def pictures(name: str) -> list[float | None]:
        return [(entry["pictures"] or {}).get(name) for entry in entries]

    scores = [(e["pictures"] or {}).get("inception_score") or {} for e in entries]
    titles = [entry["title"] for entry in entries]
    names = [entry["title"] for entry in layouts]
    real = (result.get("true_pictures") or {}).get("mean")
    render_row_charts(
        path,
        [
            (
                "Inception score, higher is better",
                titles,
                {"": [score.get("mean") for score in scores]},
                [score.get("deviation") for score in scores],
                None if real is None else (real, "true pictures"),
            ),
            ("FID, lower is better", titles, {"": pictures("fid")}, None, None),
            (
                "Box recall, higher is better",
                names,
                {
                    f"at IoU {t}": [entry["layout"][f"box_recall_{t}"] for entry in layouts]
                    for t in (0.3, 0.5)
                },
                None,
                None,
            ),
            (
                "Relations that hold, higher is better",
                names,
                {"": [entry["layout"]["relation_accuracy"] for entry in layouts]},
                None,
                None,
            ),
        ],
        _footnote(result),
    )


def _titled(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    return [
        ("Table 1: pictures", table_1(result)),
        ("Table 2: predicted layouts", table_2(result)),
    ]


def _footnote(result: Mapping[str, Any]) -> str:
    data, network = result["data"], result["network"]
    parts = [f"{data['pictures']:,} pictures of {data['source']} ({Path(data['file']).name})"]
    graphs = result["settings"]["graphs_per_picture"]
    if graphs > 1:
        parts.append(f"{graphs} graphs each")
    if result.get("steps"):
        parts.append(f"{result['steps']:,} training steps a row")
    real = result.get("true_pictures")
    if network is not None:
        parts.append(f"Inception score, FID and KID by {network['name']}")
        if real:
            parts.append(
                f"true pictures have an Inception score of {real['mean']:.2f} ± "
                f"{real['deviation']:.2f}"
            )
    return "; ".join(parts) + "."


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
