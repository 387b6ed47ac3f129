"""Collects a system's predicted layouts over a split, and gives the figures of all metrics of
layouts, in all, by category and by predicate."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.utils import scatter

from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES, Vocabulary
from sg2im_pyg.evaluation.layout_metrics import NO_LAYOUTS, Layouts, mean
from sg2im_pyg.evaluation.registry import metrics_of
from sg2im_pyg.metrics import box_iou, mask_iou, relations_hold


class LayoutScores:
    """Collects predicted layouts batch by batch; the image nodes are left out.

    Args:
        vocabulary: Names of the data's categories and predicates.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._batches = [NO_LAYOUTS]
        # Position of each predicate among the geometric ones, -1 for all others.
        places = {name: place for place, name in enumerate(GEOMETRIC_PREDICATES)}
        self._geometric = torch.tensor([places.get(name, -1) for name in vocabulary.predicates])

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
        of_masks = torch.full_like(iou, torch.nan)
        if masks is not None and "masks" in graphs:
            of_masks = mask_iou(masks[members], graphs.masks.float().cpu()[members])
        kinds = self._geometric[graphs.edge_attr.cpu()]
        chosen = kinds >= 0
        edges = graphs.edge_index.cpu()[:, chosen]
        holds = relations_hold(boxes, masks, edges, kinds[chosen])
        own = (categories[members], boxes[members], true_boxes[members])
        self._batches.append(Layouts(*own, iou, of_masks, kinds[chosen], holds))
        picture = graphs.batch.cpu()[members]
        counts = scatter(torch.ones_like(iou), picture, dim_size=graphs.num_graphs, reduce="sum")
        sums = scatter(iou, picture, dim_size=graphs.num_graphs, reduce="sum")
        return sums / counts

    def compute(self) -> dict[str, Any]:
        """The figures over all objects; :obj:`None` where there is nothing to count."""
        layouts = self._joined()
        return {
            "objects": len(layouts.categories),
            "relations": len(layouts.relations),
            **{metric.key: metric.figure(layouts) for metric in metrics_of("layout")},
        }

    def by_category(self) -> list[dict[str, Any]]:
        """The figures of each category that occurs, the most frequent first."""
        layouts = self._joined()
        kinds, counts = layouts.categories.unique(return_counts=True)
        metrics = [metric for metric in metrics_of("layout") if metric.by_category]
        rows = []
        for place in counts.argsort(descending=True, stable=True).tolist():
            own = layouts.of_category(int(kinds[place]))
            figures = {metric.key: metric.figure(own) for metric in metrics}
            name = self.vocabulary.objects[int(kinds[place])]
            rows.append({"name": name, "objects": len(own.categories), **figures})
        return rows

    def by_predicate(self) -> list[dict[str, Any]]:
        """How many relations of each geometric predicate hold."""
        layouts = self._joined()
        rows = []
        for number, name in enumerate(GEOMETRIC_PREDICATES):
            own = layouts.holds[layouts.relations == number]
            if len(own):
                rows.append({"name": name, "relations": len(own), "accuracy": mean(own).item()})
        return rows

    def _joined(self) -> Layouts:
        """All batches in one, kept so that they are joined once."""
        self._batches = [Layouts(*map(torch.cat, zip(*self._batches)))]
        return self._batches[0]
