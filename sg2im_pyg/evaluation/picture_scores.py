"""Collects what a network says of true and generated pictures, and gives the figures of all
metrics of pictures."""

from typing import Any

import torch
from torch import Tensor

from sg2im_pyg.evaluation.features import FeatureNetwork, Features
from sg2im_pyg.evaluation.picture_metrics import Pictures, ScoreOptions
from sg2im_pyg.evaluation.registry import metrics_of


class PictureScores:
    """Collects the features of true and generated pictures and scores them.

    Pictures are not kept, only their features and logits: :math:`4 (F + K)` bytes a picture
    (12 KB with the Inception network), and while KID is taken twice as much again. Each picture
    goes through the network once. How pictures are divided into batches changes nothing beyond
    the last digits of the features. The order of the pictures decides together with the seed
    which group of the Inception score and which subsets of KID they fall into; FID does not
    depend on it.

    Args:
        network: Gives features and logits.
        options: Those of :class:`~sg2im_pyg.evaluation.picture_metrics.ScoreOptions`.

    Raises:
        Sg2ImError: If a number is out of its range.
    """

    def __init__(self, network: FeatureNetwork, **options: int) -> None:
        self.network = network
        self.options = ScoreOptions(**options)
        self._true: list[Features] = []
        self._own: list[Features] = []

    def add_true(self, images: Tensor) -> None:
        """Adds pictures of the split itself, uint8, shape :math:`(N, 3, H, W)`."""
        if len(images):
            self._true.append(self.network(images))

    def add(self, images: Tensor) -> None:
        """Adds pictures of the system, uint8, shape :math:`(N, 3, H, W)`."""
        if len(images):
            self._own.append(self.network(images))

    def reset(self) -> None:
        """Forgets the system's pictures and keeps the true ones, for the next system."""
        self._own = []

    def compute(self) -> dict[str, Any]:
        """The figure of each metric of pictures, as plain JSON values, beside :obj:`pictures`: how
        many were added, and :obj:`notes`: sentences on what could not be taken, or not as asked
        for."""
        own, true = _joined(self._own), _joined(self._true)
        pictures = Pictures(own, true, self.network.name, self.options)
        figures = {metric.key: metric.figure(pictures) for metric in metrics_of("pictures")}
        notes = list(dict.fromkeys(pictures.notes))
        return {**figures, "pictures": len(own.features), "notes": notes}

    def compute_true(self) -> dict[str, Any]:
        """The same of the true pictures, by the metrics that are taken without others; the paper
        has them as the row of real pictures."""
        true = _joined(self._true)
        pictures = Pictures(true, true, self.network.name, self.options)
        figures = {
            metric.key: metric.figure(pictures) if metric.alone else None
            for metric in metrics_of("pictures")
        }
        return {**figures, "pictures": len(true.features), "notes": []}


def _joined(batches: list[Features]) -> Features:
    """All features in one, kept so that they are joined once."""
    if not batches:
        return Features(torch.zeros(0, 0), None)
    if len(batches) > 1:
        logits = [batch.logits for batch in batches if batch.logits is not None]
        features = torch.cat([batch.features for batch in batches])
        batches[:] = [Features(features, torch.cat(logits) if logits else None)]
    return batches[0]
