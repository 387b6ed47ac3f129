"""Inception score, FID and KID of a system's pictures.

The formulas are torchmetrics'; what it leaves to its caller is fixed here so that figures can be
compared with published ones and come out the same each time:

- **Inception score** (Salimans et al., 2016): the pictures are divided at random into groups, the
  score of each is taken, and the mean and the deviation over the groups are given. torchmetrics
  divides :math:`N` pictures into chunks of :math:`\\lceil N / s \\rceil`, of which there may be
  fewer than :math:`s` (11 pictures and 5 splits: 4 chunks), and gives the sample deviation
  (divided by :math:`s - 1`). The original, which the paper used, has exactly :math:`s` groups,
  whose sizes differ by at most one, and the deviation of the population (divided by :math:`s`).
  So torchmetrics is asked for one group at a time, and the mean and the deviation are taken as in
  the original. For the same groups, its deviation is the one here times
  :math:`\\sqrt{s / (s - 1)}`.
- **FID** (Heusel et al., 2017): in double precision, around the mean of the true features, which
  changes nothing but keeps the digits of features far from zero.
- **KID** (Binkowski et al., 2018): the unbiased estimate with the cubic kernel, in double
  precision; mean and deviation (of the population, in torchmetrics and in the original) over
  random subsets.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.features import FeatureNetwork, Features


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
        splits: Groups for the Inception score (paper: 5).
        seed: Fixes groups and subsets. The global generators are left as they are.
        kid_subsets: Random subsets that KID is averaged over.
        kid_subset_size: Pictures in a subset, as many true as generated ones; where there are
            fewer pictures, all of them.

    Raises:
        Sg2ImError: If a number is out of its range.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        splits: int = 5,
        seed: int = 0,
        kid_subsets: int = 100,
        kid_subset_size: int = 1000,
    ) -> None:
        for name, value, least in (
            ("splits", splits, 1),
            ("kid_subsets", kid_subsets, 1),
            ("kid_subset_size", kid_subset_size, 2),
        ):
            if value < least:
                raise Sg2ImError(f"{name} must be at least {least}, got {value}.")
        if not 0 <= seed < 2**63:
            raise Sg2ImError(f"The seed must lie in [0, 2**63), got {seed}.")
        self.network = network
        self.splits = splits
        self.seed = seed
        self.kid_subsets = kid_subsets
        self.kid_subset_size = kid_subset_size
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
        """The scores, as plain JSON values.

        Returns:
            A dict of

            - :obj:`inception_score`: :obj:`mean`, :obj:`deviation` (of the population) and
              :obj:`splits`; none without classes or with fewer pictures than splits;
            - :obj:`fid`: at least 0; none with fewer than two true or generated pictures;
            - :obj:`kid`: :obj:`mean` (unbiased, so it can be a little below 0), :obj:`deviation`,
              :obj:`subsets` and :obj:`subset_size`; none with fewer than two of either;
            - :obj:`pictures`: how many were added;
            - :obj:`notes`: sentences on what could not be taken, or not as asked for.
        """
        notes: list[str] = []
        own, true = _joined(self._own), _joined(self._true)
        counts = [0 if part is None else len(part.features) for part in (own, true)]
        scores: dict[str, Any] = {
            "inception_score": self._inception_score(own, notes),
            "fid": None,
            "kid": None,
            "pictures": counts[0],
            "notes": notes,
        }
        if own is None or true is None or min(counts) < 2:
            notes.append(
                "FID and KID need at least two true and two generated pictures; there are "
                f"{counts[1]} and {counts[0]}."
            )
            return scores
        scores["fid"] = self._fid(own.features, true.features, notes)
        scores["kid"] = self._kid(own.features, true.features, notes)
        return scores

    def true_inception_score(self) -> dict[str, Any] | None:
        """The Inception score of the true pictures, as in :meth:`compute`; the paper has it as the
        row of real pictures. None where it can not be taken."""
        return self._inception_score(_joined(self._true), [])

    def _inception_score(self, part: Features | None, notes: list[str]) -> dict[str, Any] | None:
        if part is None:
            notes.append("The Inception score needs pictures; there are none.")
            return None
        if part.logits is None:
            notes.append(
                f"The Inception score needs classes, which the {self.network.name} does not give."
            )
            return None
        count = len(part.logits)
        if count < self.splits:
            notes.append(
                f"The Inception score over {self.splits} splits needs as many pictures; there are "
                f"{count}."
            )
            return None
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(count, generator=generator)
        logits = part.logits.double()
        # A class a billion times a billion times less likely counts for nothing; without this its
        # probability could round to 0 in a whole group, and its logarithm to no number.
        logits = logits.clamp(min=logits.amax(1, keepdim=True) - 700)
        scores = []
        with _quiet(self.seed):
            metric = InceptionScore(feature=_Passing(logits.shape[1]), splits=1)
            for i in range(self.splits):
                metric.reset()
                rows = order[i * count // self.splits : (i + 1) * count // self.splits]
                metric.update(logits[rows])
                scores.append(float(metric.compute()[0]))
        return {
            "mean": float(np.mean(scores)),
            "deviation": float(np.std(scores)),
            "splits": self.splits,
        }

    def _fid(self, own: Tensor, true: Tensor, notes: list[str]) -> float:
        width = own.shape[1]
        if min(len(own), len(true)) <= width:
            notes.append(
                f"FID is taken of {len(own)} generated and {len(true)} true pictures, not more "
                f"than the {width} features: their covariance has not full rank, so it is too "
                "large and can be compared only with figures of as many pictures."
            )
        centre = true.double().mean(0)
        with _quiet(self.seed):
            metric = FrechetInceptionDistance(feature=_Passing(width)).set_dtype(torch.float64)
            for features, real in ((true, True), (own, False)):
                for some in features.split(4096):  # in double precision, so not all at once
                    metric.update(some.double() - centre, real=real)
            # Rounding can bring equal distributions a little below zero.
            return max(0.0, float(metric.compute()))

    def _kid(self, own: Tensor, true: Tensor, notes: list[str]) -> dict[str, Any]:
        fewest = min(len(own), len(true))
        size, subsets = min(self.kid_subset_size, fewest), self.kid_subsets
        if size < self.kid_subset_size:
            notes.append(
                f"KID is taken of subsets of {size} pictures instead of {self.kid_subset_size}, "
                f"as there are {len(true)} true and {len(own)} generated ones."
            )
        if size == len(own) == len(true) and subsets > 1:
            subsets = 1
            notes.append("KID is taken once of all pictures, so it has no deviation.")
        with _quiet(self.seed):
            metric = KernelInceptionDistance(
                feature=_Passing(own.shape[1]), subsets=subsets, subset_size=size
            )
            metric.update(true.double(), real=True)
            metric.update(own.double(), real=False)
            mean, deviation = metric.compute()
        return {
            "mean": float(mean),
            "deviation": float(deviation),
            "subsets": subsets,
            "subset_size": size,
        }


class _Passing(nn.Module):
    """Hands features on: torchmetrics takes a network, but each picture has gone through it."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _joined(parts: list[Features]) -> Features | None:
    """All features in one, kept so that they are joined once."""
    if not parts:
        return None
    if len(parts) > 1:
        logits = [part.logits for part in parts if part.logits is not None]
        parts[:] = [
            Features(
                torch.cat([part.features for part in parts]), torch.cat(logits) if logits else None
            )
        ]
    return parts[0]


@contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Without torchmetrics' remarks on memory and on single splits; torch's global generator,
    which torchmetrics draws from, is seeded, and as before afterwards."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)
        yield
