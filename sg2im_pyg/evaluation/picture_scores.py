"""Collects what a network says of true and generated pictures, and gives the figures of all
metrics of pictures."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sg2im_pyg.evaluation.features import FeatureNetwork, Features
from sg2im_pyg.evaluation.picture_metrics import Pictures, ScoreOptions
from sg2im_pyg.evaluation.registry import Metric, metrics_of


class PictureScores:
    """Collects the features of true and generated pictures and scores them.

    Pictures are not kept, only their features and logits: :math:`4 (F + K)` bytes a picture
    (12 KB with the Inception network), and while KID is taken twice as much again. Each picture
    goes through the network once. How pictures are divided into batches changes nothing beyond
    the last digits of the features. The order of the pictures decides together with the seed
    which group of the Inception score and which subsets of KID they fall into; FID does not
    depend on it.

    Args:
        network: Gives features and logits; without one nothing is collected and no figure taken.
        options: Those of :class:`~sg2im_pyg.evaluation.picture_metrics.ScoreOptions`.

    Raises:
        Sg2ImError: If a number is out of its range.
    """

    def __init__(self, network: FeatureNetwork | None, **options: int) -> None:
        self.network = network
        self.options = ScoreOptions(**options)
        self._true: list[Features] = []
        self._own: list[Features] = []
        self._distances: list[Tensor] | None = None

    def add_true(self, images: Tensor) -> None:
        """Adds pictures of the split itself, uint8, shape :math:`(N, 3, H, W)`."""
        if self.network is not None and len(images):
            self._true.append(self.network(images))

    def add(self, images: Tensor) -> None:
        """Adds pictures of the system, uint8, shape :math:`(N, 3, H, W)`."""
        if self.network is not None and len(images):
            self._own.append(self.network(images))

    def add_variants(self, variants: Sequence[Tensor]) -> None:
        """Adds several pictures of the same graphs with other seeds, which count for diversity
        alone.

        Args:
            variants: The first pictures of the graphs, the second ones and so on, at least two,
                each uint8, shape :math:`(N, 3, H, W)`.
        """
        if self.network is None:
            return
        found = self.network.distances(variants)
        self._distances = [*(self._distances or ()), *(() if found is None else (found,))]

    def reset(self) -> None:
        """Forgets the system's pictures and keeps the true ones, for the next system."""
        self._own, self._distances = [], None

    def compute(self) -> dict[str, Any] | None:
        """The figure of each metric of pictures, as plain JSON values, beside :obj:`pictures`: how
        many were added, and :obj:`notes`: sentences on what could not be taken, or not as asked
        for."""
        return self._figures(_joined(self._own), metrics_of("pictures"))

    def compute_true(self) -> dict[str, Any] | None:
        """The same of the true pictures, by the metrics that are taken without others; the paper
        has them as the row of real pictures."""
        alone = [metric for metric in metrics_of("pictures") if metric.alone]
        figures = self._figures(_joined(self._true), alone)
        return figures and {**figures, "notes": []}

    def _figures(self, own: Features, metrics: list[Metric]) -> dict[str, Any] | None:
        if self.network is None:
            return None
        pictures = Pictures(own, _joined(self._true), self.network.name, self.options)
        if self._distances is not None:
            pictures.distances = torch.cat([torch.zeros(0).double(), *self._distances])
        figures: dict[str, Any] = {metric.key: None for metric in metrics_of("pictures")}
        figures |= {metric.key: metric.figure(pictures) for metric in metrics}
        notes = list(dict.fromkeys(pictures.notes))
        return {**figures, "pictures": len(own.features), "notes": notes}


def _joined(batches: list[Features]) -> Features:
    """All features in one, kept so that they are joined once."""
    if not batches:
        return Features(torch.zeros(0, 0), None)
    if len(batches) > 1:
        logits = [batch.logits for batch in batches if batch.logits is not None]
        features = torch.cat([batch.features for batch in batches])
        batches[:] = [Features(features, torch.cat(logits) if logits else None)]
    return batches[0]
