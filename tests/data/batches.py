"""What it means that two batches are the same."""

import torch
from torch_geometric.data import Batch


def assert_same_batch(found: Batch, expected: Batch) -> None:
    """They agree in class, entries, types, values, and in how they are taken apart."""
    assert type(found) is type(expected)
    assert set(found.keys()) == set(expected.keys())
    assert found.num_graphs == expected.num_graphs == len(found)
    for key in expected.keys():
        assert_same(found[key], expected[key], key)
    for records in ("_slice_dict", "_inc_dict"):
        one, other = getattr(found, records), getattr(expected, records)
        assert set(one) == set(other)
        for key in other:
            assert_same(one[key], other[key], f"{records} of {key}")
    for one, other in zip(found.to_data_list(), expected.to_data_list(), strict=True):
        assert_same_graph(one, other)


def assert_same_graph(found, expected):
    assert type(found) is type(expected)
    assert set(found.keys()) == set(expected.keys())
    for key in expected.keys():
        assert_same(found[key], expected[key], key)


def assert_same(found, expected, name):
    assert type(found) is type(expected), name
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, name
        assert found.shape == expected.shape and torch.equal(found, expected), name
    else:
        assert found == expected, name
