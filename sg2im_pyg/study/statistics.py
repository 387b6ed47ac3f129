"""Statistics of votes: shares with their intervals, tests, agreement."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sg2im_pyg.system.lazy import packages_of

with packages_of("study"):
    from scipy.stats import binomtest


@dataclass(frozen=True)
class Share:
    """How many of some, with a Wilson interval for the share that it estimates."""

    count: int
    of: int
    share: float | None
    """None of nothing, as are the ends of its interval."""
    low: float | None
    high: float | None


def share_of(count: int, of: int, confidence: float = 0.95) -> Share:
    """A share with its Wilson score interval (Wilson, "Probable inference, the law of succession,
    and statistical inference", 1927), without a correction for continuity.

    Examples:
        >>> found = share_of(81, 263)
        >>> f"{found.share:.4f} {found.low:.4f} {found.high:.4f}"
        '0.3080 0.2553 0.3662'
    """
    if not of:
        return Share(count, of, None, None, None)
    interval = binomtest(count, of).proportion_ci(confidence, method="wilson")
    return Share(count, of, count / of, float(interval.low), float(interval.high))


def even_chance(count: int, of: int) -> float | None:
    """The exact binomial test of both of two outcomes being equally likely: how likely an outcome
    at least as unlikely as this one is, on either side.

    For two systems that are judged by the same items, with the items that only one of them has as
    outcomes, this is McNemar's exact test.

    Examples:
        >>> even_chance(9, 10)
        0.021484375
    """
    return float(binomtest(count, of, 0.5).pvalue) if of else None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values that several tests made together have, by Holm ("A simple sequentially rejective
    multiple test procedure", 1979); those that are missing are no tests.

    Examples:
        >>> holm([0.01, 0.04, 0.03, None])
        [0.03, 0.06, 0.06, None]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = min(1.0, max(least, (len(known) - rank) * p))
        adjusted[place] = least
    return adjusted


def fleiss_kappa(votes: Sequence[Sequence[int]]) -> float | None:
    """How far votes agree beyond chance (Fleiss, "Measuring nominal scale agreement among many
    raters", 1971): 1 where all agree, 0 where they agree as often as votes drawn at random would.

    Items may have different numbers of votes: the agreement of an item is the share of its pairs of
    votes that agree, and the mean is taken over the items that have a pair. With as many votes for
    each item this is Fleiss' own formula.

    Args:
        votes: Votes for each category, of each item, shape :math:`(N, k)`.

    Returns:
        The kappa; none where no item has two votes, or all votes are for one category.

    Examples:
        >>> fleiss_kappa([[3, 0], [0, 3]])
        1.0
    """
    table = np.array(votes, np.float64).reshape(len(votes), -1)
    counts = table.sum(1)
    table, counts = table[counts >= 2], counts[counts >= 2]
    if not len(table):
        return None
    agreement = ((table * (table - 1)).sum(1) / (counts * (counts - 1))).mean()
    chance = ((table.sum(0) / table.sum()) ** 2).sum()
    return None if chance == 1 else float((agreement - chance) / (1 - chance))
