"""Statistics against formulas written out, other computations, and published examples."""

import itertools
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sg2im_pyg.study.statistics import even_chance, fleiss_kappa, holm, share_of

PSYCHIATRISTS = """
    444444 222555 233335 555555 222444 113333 333355 113334 114444 555555
    144444 124444 222333 144444 224445 333335 111455 111112 224444 133555
    555555 244444 224555 114444 144445 222224 111155 224444 133333 555555
""".split()
"""Fleiss (1971), Table 1: the diagnoses, of five, of six psychiatrists for each of 30 patients."""


@pytest.mark.parametrize(
    ("count", "of"), [(0, 1), (1, 1), (0, 10), (7, 10), (692, 1024), (1, 5000)]
)
@pytest.mark.parametrize("z", [1.959963984540054, 2.5758293035489004])
def test_the_interval_is_wilson_s(count, of, z):
    p = count / of
    centre = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    found = share_of(count, of, 0.95 if z < 2 else 0.99)
    assert found.share == p
    assert [found.low, found.high] == pytest.approx([centre - half, centre + half], abs=1e-12)


def test_an_interval_as_published():
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, Table I, method 3.
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611)}
    for (count, of), interval in published.items():
        found = share_of(count, of)
        assert [found.low, found.high] == pytest.approx(interval, abs=5e-5)


def test_of_nothing_there_is_no_share():
    assert vars(share_of(0, 0)) == {"count": 0, "of": 0, "share": None, "low": None, "high": None}
    assert even_chance(0, 0) is None


@pytest.mark.parametrize(("count", "of"), [(0, 1), (5, 10), (9, 10), (40, 101), (332, 1024)])
def test_the_binomial_test_sums_what_is_no_likelier(count, of):
    ways = [comb(of, k) for k in range(of + 1)]
    expected = sum(way for way in ways if way <= ways[count]) / 2**of
    assert even_chance(count, of) == pytest.approx(expected, rel=1e-9)


def test_kappa_of_fleiss_example():
    table = [[row.count(str(k)) for k in range(1, 6)] for row in PSYCHIATRISTS]
    assert fleiss_kappa(table) == pytest.approx(0.430, abs=5e-4)
    # The values of the paper on the way there: mean agreement and what chance would give.
    counts = np.array(table)
    assert counts.sum(0) / 180 == pytest.approx([0.144, 0.144, 0.167, 0.306, 0.239], abs=5e-4)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=8))
def test_kappa_is_the_agreement_of_pairs_beyond_chance(table):
    """Also with different numbers of votes: counted from the votes one by one."""
    items = [[k for k, count in enumerate(row) for _ in range(count)] for row in table]
    items = [votes for votes in items if len(votes) > 1]
    if not items:
        assert fleiss_kappa(table) is None
        return
    pairs = [list(itertools.combinations(votes, 2)) for votes in items]
    observed = np.mean([np.mean([a == b for a, b in some]) for some in pairs])
    everybody = [vote for votes in items for vote in votes]
    chance = sum((everybody.count(k) / len(everybody)) ** 2 for k in range(3))
    if len(set(everybody)) == 1:
        assert fleiss_kappa(table) is None
    else:
        assert fleiss_kappa(table) == pytest.approx((observed - chance) / (1 - chance))


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_rejects_what_the_steps_reject(values):
    """At each level a hypothesis is rejected just where the adjusted value is not larger."""
    adjusted = holm(values)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
            if values[place] * (len(values) - rank) > level:
                break
            rejected.add(place)
        assert {k for k, p in enumerate(adjusted) if p <= level} == rejected
