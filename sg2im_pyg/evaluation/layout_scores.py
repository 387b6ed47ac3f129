"""Metrics of a system's predicted layouts over a split, in all, by category and by predicate."""

import math
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.utils import scatter

from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, Vocabulary
from sg2im_pyg.metrics import box_diversity, box_iou, mask_iou, relations_hold

THRESHOLDS = (0.3, 0.5)
"""IoUs at which the recall of boxes is given (paper, Table 2)."""


class LayoutScores:
    """Collects predicted layouts batch by batch; the image nodes are left out.

    Args:
        vocabulary: Names of the data's categories and predicates.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._categories: list[Tensor] = []
        self._boxes: list[Tensor] = []
        self._box_iou: list[Tensor] = []
        self._mask_iou: list[Tensor] = []
        self._relations: list[Tensor] = []
        self._holds: list[Tensor] = []
        # Position of each predicate among the geometric ones, -1 for all others.
        self._geometric = torch.tensor(
            [
                GEOMETRIC_PREDICATES.index(name) if name in GEOMETRIC_PREDICATES else -1
                for name in vocabulary.predicates
            ]
        )

    def add(self, graphs: Batch, boxes: Tensor, masks: Tensor | None) -> Tensor:
        """Adds the predictions for a batch.

        Args:
            graphs: The graphs in the data's vocabulary, with true boxes, with true masks where
                there are any, and with image nodes.
            boxes: Predicted boxes, shape :math:`(O, 4)`.
            masks: Predicted masks, shape :math:`(O, M, M)`, or none.

        Returns:
            Mean IoU of each picture's boxes, shape :math:`(N,)`; not a number for a picture
            without objects.
        """
        categories = graphs.x.cpu()
        members = categories != 0
        boxes, true_boxes = boxes.detach().float().cpu(), graphs.boxes.float().cpu()
        masks = None if masks is None else masks.detach().float().cpu()
        iou = box_iou(boxes[members], true_boxes[members])
        self._categories.append(categories[members])
        self._boxes.append(boxes[members])
        self._box_iou.append(iou)
        if masks is not None and "masks" in graphs:
            self._mask_iou.append(mask_iou(masks[members], graphs.masks.float().cpu()[members]))
        kinds = self._geometric[graphs.edge_attr.cpu()]
        chosen = kinds >= 0
        edges = graphs.edge_index.cpu()[:, chosen]
        self._relations.append(kinds[chosen])
        self._holds.append(relations_hold(boxes, masks, edges, kinds[chosen]))
        picture = graphs.batch.cpu()[members]
        counts = scatter(torch.ones_like(iou), picture, dim_size=graphs.num_graphs, reduce="sum")
        sums = scatter(iou, picture, dim_size=graphs.num_graphs, reduce="sum")
        return torch.where(counts > 0, sums / counts, torch.nan)

    def compute(self) -> dict[str, Any]:
        """The figures over all objects; :obj:`None` where there is nothing to count."""
        relations = torch.cat([*self._holds, torch.zeros(0, dtype=torch.bool)])
        return {
            **self._figures(None),
            "relations": len(relations),
            "relation_accuracy": _number(relations.double().mean()),
        }

    def by_category(self) -> list[dict[str, Any]]:
        """The figures of each category that occurs, the most frequent first."""
        categories = torch.cat([*self._categories, torch.zeros(0, dtype=torch.long)])
        kinds, counts = categories.unique(return_counts=True)
        order = counts.argsort(descending=True, stable=True)
        return [
            {"name": self.vocabulary.objects[kind], **self._figures(categories == kind)}
            for kind in kinds[order].tolist()
        ]

    def by_predicate(self) -> list[dict[str, Any]]:
        """How many relations of each geometric predicate hold."""
        relations = torch.cat([*self._relations, torch.zeros(0, dtype=torch.long)])
        holds = torch.cat([*self._holds, torch.zeros(0, dtype=torch.bool)])
        rows = []
        for number, name in enumerate(GEOMETRIC_PREDICATES):
            own = holds[relations == number]
            if len(own):
                accuracy = _number(own.double().mean())
                rows.append({"name": name, "relations": len(own), "accuracy": accuracy})
        return rows

    def _figures(self, chosen: Tensor | None) -> dict[str, Any]:
        """Figures of all objects, or of those that a mask of shape (O,) chooses."""
        categories, boxes, iou, masks = (
            torch.cat([*parts, empty])
            for parts, empty in (
                (self._categories, torch.zeros(0, dtype=torch.long)),
                (self._boxes, torch.zeros(0, 4)),
                (self._box_iou, torch.zeros(0)),
                (self._mask_iou, torch.zeros(0)),
            )
        )
        if chosen is not None:
            categories, boxes, iou = categories[chosen], boxes[chosen], iou[chosen]
            masks = masks[chosen] if len(masks) else masks
        spread_x, spread_area = box_diversity(boxes, categories)
        return {
            "objects": len(iou),
            **{f"box_recall_{t}": _number((iou >= t).double().mean()) for t in THRESHOLDS},
            "mean_iou": _number(iou.double().mean()),
            "sigma_x": _number(spread_x),
            "sigma_area": _number(spread_area),
            "mask_iou": _number(masks.double().mean()),
        }


def _number(value: Tensor | float) -> float | None:
    """A figure for JSON, which knows no NaN."""
    number = float(value)
    return number if math.isfinite(number) else None
