"""Inception score, FID, KID and diversity of a system's pictures, and what metrics of pictures are
computed of.

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
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from sg2im_pyg.evaluation.features import Features
from sg2im_pyg.system.options import check_options, option


@dataclass
class ScoreOptions:
    """How the scores of pictures are taken."""

    splits: int = option(5, least=1)
    """Groups for the Inception score (paper: 5)."""
    seed: int = option(0, least=0, most=2**63 - 1)
    """Fixes groups and subsets. The global generators are left as they are."""
    kid_subsets: int = option(100, least=1)
    """Random subsets that KID is averaged over."""
    kid_subset_size: int = option(1000, least=2)
    """Pictures in a subset, as many true as generated ones; where there are fewer pictures, all of
    them."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass
class Pictures:
    """What a network says of a system's pictures and of the true ones.

    Attributes:
        own: Of the system's pictures; without a picture the features have no columns, and without
            classes there are no logits.
        true: Likewise of the true pictures.
        network: The network's name.
        options: How the scores are taken.
        notes: Sentences on what could not be taken, or not as asked for; metrics add to them.
        distances: How unlike each other the system's pictures of each graph with several seeds are,
            shape :math:`(G,)`, see :meth:`FeatureNetwork.distances
            <sg2im_pyg.evaluation.features.FeatureNetwork.distances>`; empty where the network can
            not tell, and none where no such pictures were made.
    """

    own: Features
    true: Features
    network: str
    options: ScoreOptions
    notes: list[str] = field(default_factory=list)
    distances: Tensor | None = None


def inception_score(pictures: Pictures) -> dict[str, Any] | None:
    """:obj:`mean`, :obj:`deviation` (of the population) and :obj:`splits`; none without classes or
    with fewer pictures than splits."""
    logits, splits = pictures.own.logits, pictures.options.splits
    count = len(pictures.own.features)
    if not count:
        pictures.notes.append("The Inception score needs pictures; there are none.")
    elif logits is None:
        pictures.notes.append(
            f"The Inception score needs classes, which the {pictures.network} does not give."
        )
    elif count < splits:
        pictures.notes.append(
            f"The Inception score over {splits} splits needs as many pictures; there are {count}."
        )
    else:
        scores = _scores_of_groups(logits, splits, pictures.options.seed)
        mean, deviation = float(np.mean(scores)), float(np.std(scores))
        return {"mean": mean, "deviation": deviation, "splits": splits}
    return None


def _scores_of_groups(logits: Tensor, splits: int, seed: int) -> list[float]:
    count = len(logits)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    logits = logits.double()
    # A class a billion times a billion times less likely counts for nothing; without this its
    # probability could round to 0 in a whole group, and its logarithm to no number.
    logits = logits.clamp(min=logits.amax(1, keepdim=True) - 700)
    scores = []
    with _quiet(seed):
        metric = InceptionScore(feature=_passing(logits.shape[1]), splits=1)
        for i in range(splits):
            metric.reset()
            rows = order[i * count // splits : (i + 1) * count // splits]
            metric.update(logits[rows])
            scores.append(float(metric.compute()[0]))
    return scores


def fid(pictures: Pictures) -> float | None:
    """At least 0; none with fewer than two true or generated pictures."""
    if _too_few(pictures):
        return None
    own, true = pictures.own.features, pictures.true.features
    width = own.shape[1]
    if min(len(own), len(true)) <= width:
        pictures.notes.append(
            f"FID is taken of {len(own)} generated and {len(true)} true pictures, not more "
            f"than the {width} features: their covariance has not full rank, so it is too "
            "large and can be compared only with figures of as many pictures."
        )
    centre = true.double().mean(0)
    with _quiet(pictures.options.seed):
        metric = FrechetInceptionDistance(feature=_passing(width)).set_dtype(torch.float64)
        for features, real in ((true, True), (own, False)):
            for some in features.split(4096):  # in double precision, so not all at once
                metric.update(some.double() - centre, real=real)
        # Rounding can bring equal distributions a little below zero.
        return max(0.0, float(metric.compute()))


def kid(pictures: Pictures) -> dict[str, Any] | None:
    """:obj:`mean` (unbiased, so it can be a little below 0), :obj:`deviation`, :obj:`subsets` and
    :obj:`subset_size`; none with fewer than two true or generated pictures."""
    if _too_few(pictures):
        return None
    own, true, options = pictures.own.features, pictures.true.features, pictures.options
    size, subsets = min(options.kid_subset_size, len(own), len(true)), options.kid_subsets
    if size < options.kid_subset_size:
        pictures.notes.append(
            f"KID is taken of subsets of {size} pictures instead of {options.kid_subset_size}, "
            f"as there are {len(true)} true and {len(own)} generated ones."
        )
    if size == len(own) == len(true) and subsets > 1:
        subsets = 1
        pictures.notes.append("KID is taken once of all pictures, so it has no deviation.")
    with _quiet(options.seed):
        metric = KernelInceptionDistance(
            feature=_passing(own.shape[1]), subsets=subsets, subset_size=size
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


def diversity(pictures: Pictures) -> dict[str, Any] | None:
    """:obj:`mean`, :obj:`deviation` (of the population) and :obj:`graphs`; none without pictures of
    the same graphs with several seeds."""
    distances = pictures.distances
    if distances is None:
        return None
    if not len(distances):
        pictures.notes.append(
            f"Diversity needs what the layers of a network see, which the {pictures.network} does "
            "not show: take the network landscapes or imagenet."
        )
        return None
    mean, deviation = float(distances.mean()), float(distances.std(correction=0))
    return {"mean": mean, "deviation": deviation, "graphs": len(distances)}


def _too_few(pictures: Pictures) -> bool:
    own, true = len(pictures.own.features), len(pictures.true.features)
    if min(own, true) < 2:
        pictures.notes.append(
            "FID and KID need at least two true and two generated pictures; there are "
            f"{true} and {own}."
        )
    return min(own, true) < 2


def _passing(width: int) -> nn.Module:
    """Hands features on: torchmetrics takes a network, but each picture has gone through it."""
    network = nn.Identity()
    network.num_features = width  # type: ignore[assignment]
    return network


@contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Without torchmetrics' remarks on memory and on single splits; torch's global generator,
    which torchmetrics draws from, is seeded, and as before afterwards."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        # Only that of the CPU: torch.manual_seed would seed those of all devices.
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        yield
