"""Keyed random bits against SplitMix64 written in Python's integers, and their evenness."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from sg2im_pyg.data.draws import draw_keys, mix, next_keys, random_below, random_bits

INT64 = st.integers(-(2**63), 2**63 - 1)


def splitmix64(key, position):
    """Number `position` of the generator seeded with `key`, as Steele, Lea and Flood give it."""
    z = (key + (position + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_the_reference_is_splitmix64():
    # The numbers that others publish for the seed 1234567 (Rosetta Code, "Pseudo-random
    # numbers/Splitmix64").
    assert [splitmix64(1234567, i) for i in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(st.lists(st.tuples(INT64, st.integers(0, 2**31)), min_size=1, max_size=5))
def test_bits_are_those_of_splitmix64(pairs):
    keys, positions = torch.tensor(pairs).unbind(1)
    bits = random_bits(keys, positions)
    assert bits.dtype == torch.int64
    assert [b % 2**64 for b in bits.tolist()] == [splitmix64(k % 2**64, p) for k, p in pairs]


@given(st.lists(INT64, max_size=5))
def test_mixing_is_the_same_in_numpy_and_torch(numbers):
    array = np.array(numbers, np.int64)
    assert mix(array).tolist() == mix(torch.from_numpy(array)).tolist()


@given(INT64, st.integers(1, 2**31))
def test_numbers_below_a_limit(bits, limit):
    found = int(random_below(torch.tensor([bits]), torch.tensor([limit])))
    assert found == ((bits % 2**64) >> 32) * limit >> 32
    assert 0 <= found < limit


def uniform_table(rows, columns, seed=0, epoch=0):
    """Numbers below 8 for each of some items and positions."""
    keys = torch.from_numpy(draw_keys(seed, epoch, range(rows)))
    bits = random_bits(keys.repeat_interleave(columns), torch.arange(columns).repeat(rows))
    return random_below(bits, torch.full_like(bits, 8)).view(rows, columns), bits


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_draws_are_even_over_items_positions_and_pairs(seed):
    eighths, bits = uniform_table(4000, 8, seed)
    assert chisquare(eighths.flatten().bincount(minlength=8)).pvalue > 1e-4
    for column in eighths.t():  # first objects of pictures, second ones, ...
        assert chisquare(column.bincount(minlength=8)).pvalue > 1e-4
    neighbours = 8 * eighths[:, :-1] + eighths[:, 1:]  # of objects in a picture
    assert chisquare(neighbours.flatten().bincount(minlength=64)).pvalue > 1e-4
    neighbours = 8 * eighths[:-1] + eighths[1:]  # of pictures in the data set
    assert chisquare(neighbours.flatten().bincount(minlength=64)).pvalue > 1e-4
    with_coin = 2 * eighths.flatten() + (bits & 1)  # partner and direction
    assert chisquare(with_coin.bincount(minlength=16)).pvalue > 1e-4


def test_epochs_seeds_and_next_transforms_draw_others():
    first, bits = uniform_table(2000, 4)
    keys = torch.from_numpy(draw_keys(0, 0, range(2000))).repeat_interleave(4)
    following = random_bits(next_keys(keys), torch.arange(4).repeat(2000))
    for other in (
        uniform_table(2000, 4, epoch=1)[0],
        uniform_table(2000, 4, seed=1)[0],
        random_below(following, torch.full_like(following, 8)).view(2000, 4),
    ):
        assert chisquare((8 * first + other).flatten().bincount(minlength=64)).pvalue > 1e-4


def test_keys_follow_from_seed_epoch_and_item():
    keys = draw_keys(3, [0, 0, 1], [5, 6, 5])
    assert keys.dtype == np.int64 and len(set(keys.tolist())) == 3
    assert draw_keys(3, 0, [6]) == keys[1] and draw_keys(3, 1, [5]) == keys[2]
    assert draw_keys(4, 0, [5]) != keys[0]
    assert len(draw_keys(0, 0, [])) == 0
    assert np.unique(draw_keys(0, 0, range(100_000))).size == 100_000
