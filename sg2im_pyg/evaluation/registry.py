"""The metrics: the one table in which a new metric takes a row.

A metric is a function of what was predicted or generated, and a row that says how its figure is
called, shown and explained. All else reads the rows: ``evaluation.json``, the tables, the report,
TensorBoard, and the tables and bars of the ablation.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from sg2im_pyg.evaluation.layout_metrics import box_recall, mean, mean_mask_iou
from sg2im_pyg.evaluation.picture_metrics import diversity, fid, inception_score, kid
from sg2im_pyg.metrics import box_diversity

Group = Literal["layout", "pictures"]


@dataclass(frozen=True)
class Metric:
    """A figure that systems are compared by.

    Attributes:
        key: Its name in ``evaluation.json`` and in TensorBoard.
        title: Its name where there is room.
        heads: Its short name, on two lines for a terminal.
        group: What it is a figure of: predicted layouts, or pictures. The entry of a system of
            this name holds it.
        compute: Gives it, from :class:`~sg2im_pyg.evaluation.layout_metrics.Layouts` or
            :class:`~sg2im_pyg.evaluation.picture_metrics.Pictures`: a number, which counts as
            missing where it is not finite; :obj:`None`; or a dict with :obj:`mean` and
            :obj:`deviation`.
        meaning: What it is, in sentences for the report.
        source: Where it was published.
        better: Which values are better; :obj:`"near"`: those near to the true pictures'.
        digits: Digits after the point.
        deviation_over: Entry of the dict that says over how many groups the deviation is taken;
            none for a metric without deviation.
        alone: Whether it is taken without the true layouts or pictures: these then have it too.
        by_category: Whether layouts have it for each category, too.
        curve_by_category: Whether TensorBoard has a curve of it for each category.
        share: Whether it is a share, from 0 to 1, of which the report shows bars by category.
        chart: Its chart among the bars of the ablation, and its name there where the chart shows
            several metrics; none for a metric without.
        in_paper: Whether it stands in the paper's tables; the ablation's tables show those first.
        optional: Whether it is taken only when asked for, so that tables show it only where a
            system has it.
    """

    key: str
    title: str
    heads: tuple[str, str]
    group: Group
    compute: Callable[[Any], Any]
    meaning: str
    source: str = "Not in the paper"
    better: Literal["higher", "lower", "near"] = "higher"
    digits: int = 3
    deviation_over: str | None = None
    alone: bool = False
    by_category: bool = False
    curve_by_category: bool = False
    share: bool = False
    chart: tuple[str, str] | None = None
    in_paper: bool = False
    optional: bool = False

    @property
    def short(self) -> str:
        """Its short name on one line."""
        return " ".join(self.heads).replace("- ", "").strip()

    def figure(self, given: Any) -> float | Mapping[str, Any] | None:
        """Its figure as a value for JSON, which knows no NaN."""
        found = self.compute(given)
        if found is None or isinstance(found, Mapping):
            return found
        return float(found) if math.isfinite(found) else None


METRICS: dict[str, Metric] = {}
"""All metrics by their keys; :func:`register_metric` adds one."""


def register_metric(metric: Metric) -> Metric:
    """Adds a metric, or puts one in the place of another of the same key."""
    METRICS[metric.key] = metric
    return metric


def metrics_of(*groups: Group) -> list[Metric]:
    """Metrics in the order of the columns: those of one group after the other; all of them
    without a group."""
    wanted: tuple[Group, ...] = groups or ("layout", "pictures")
    return [metric for group in wanted for metric in METRICS.values() if metric.group == group]


_PAPER = "Johnson, Gupta, Fei-Fei, CVPR 2018"

for _metric in (
    *(
        Metric(
            key=f"box_recall_{threshold}",
            title=f"Box recall at IoU {threshold}",
            heads=("", f"R@{threshold}"),
            group="layout",
            compute=partial(box_recall, threshold=threshold),
            meaning="Share of the true boxes whose predicted box has an intersection over union of "
            f"at least {threshold} with it.",
            source=f"{_PAPER}, Section 4.4 and Table 2 (R@{threshold})",
            by_category=True,
            curve_by_category=True,
            share=True,
            chart=("Box recall", f"at IoU {threshold}"),
            in_paper=True,
        )
        for threshold in (0.3, 0.5)
    ),
    Metric(
        key="mean_iou",
        title="Mean IoU",
        heads=("mean", "IoU"),
        group="layout",
        compute=lambda layouts: mean(layouts.box_iou),
        meaning="Intersection over union of predicted and true box, averaged over all objects.",
        by_category=True,
        share=True,
    ),
    Metric(
        key="sigma_x",
        title="Sigma x",
        heads=("sigma", "x"),
        group="layout",
        compute=lambda layouts: box_diversity(layouts.boxes, layouts.categories)[0],
        meaning="Standard deviation of the predicted boxes' centre x within a category, averaged "
        "over the categories; in units of the picture. A model that ignores the graph puts all "
        "objects of a category into one place and has a small value.",
        source=f"{_PAPER}, Table 2",
        better="near",
        alone=True,
        by_category=True,
        in_paper=True,
    ),
    Metric(
        key="sigma_area",
        title="Sigma area",
        heads=("sigma", "area"),
        group="layout",
        compute=lambda layouts: box_diversity(layouts.boxes, layouts.categories)[1],
        meaning="Standard deviation of the predicted boxes' areas within a category, averaged over "
        "the categories.",
        source=f"{_PAPER}, Table 2",
        better="near",
        alone=True,
        by_category=True,
        in_paper=True,
    ),
    Metric(
        key="relation_accuracy",
        title="Relation accuracy",
        heads=("rela-", "tions"),
        group="layout",
        compute=lambda layouts: mean(layouts.holds),
        meaning="Share of the graphs' geometric relations (left of, above, inside, ...) that hold "
        "between the predicted boxes and masks.",
        source=f"Not in the paper; the rules are those of {_PAPER}, Section 4.1",
        chart=("Relations that hold", ""),
    ),
    Metric(
        key="mask_iou",
        title="Mask IoU",
        heads=("mask", "IoU"),
        group="layout",
        compute=mean_mask_iou,
        meaning="Intersection over union of predicted and true mask as if both lay in the same "
        "box, averaged over all objects.",
        by_category=True,
        share=True,
    ),
    Metric(
        key="inception_score",
        title="Inception score",
        heads=("Inception", "score"),
        group="pictures",
        compute=inception_score,
        meaning="The exponential of the mean KL divergence between the classes that a network sees "
        "in a picture and those that it sees in all: high where each picture is clearly something "
        "and the pictures differ. Mean and deviation over random groups of pictures.",
        source=f"Salimans et al. 2016; {_PAPER}, Table 1",
        digits=2,
        deviation_over="splits",
        alone=True,
        chart=("Inception score", ""),
        in_paper=True,
    ),
    Metric(
        key="fid",
        title="FID",
        heads=("", "FID"),
        group="pictures",
        compute=fid,
        meaning="Fréchet distance between the normal distributions that fit the network's features "
        "of the true and of the generated pictures; 0 is best.",
        source="Heusel et al. 2017",
        better="lower",
        digits=2,
        chart=("FID", ""),
    ),
    Metric(
        key="kid",
        title="KID",
        heads=("", "KID"),
        group="pictures",
        compute=kid,
        meaning="Squared maximum mean discrepancy with a cubic kernel between the same features, "
        "averaged over random subsets; it is unbiased and can be a little below 0.",
        source="Bińkowski et al. 2018",
        better="lower",
        digits=4,
        deviation_over="subsets",
    ),
    Metric(
        key="diversity",
        title="Diversity",
        heads=("diver-", "sity"),
        group="pictures",
        compute=diversity,
        meaning="How unlike each other pictures of one graph with several seeds are: the squared "
        "distance of the network's features, as vectors of length 1 at each place of several "
        "layers, averaged over places, layers and pairs; mean and deviation over the graphs. It is "
        "LPIPS with all weights 1 on another network, not LPIPS itself.",
        source="Zhang et al. 2018, the baseline without learnt weights",
        deviation_over="graphs",
        optional=True,
    ),
):
    register_metric(_metric)
