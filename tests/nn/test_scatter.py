"""Sums and means of rows that share an index, with torch-scatter and without."""

import pytest
import torch

from sg2im_pyg.nn import scatter as module
from sg2im_pyg.nn.scatter import scatter


@pytest.fixture(params=["as installed", "without torch-scatter"])
def either_way(request, monkeypatch):
    if request.param == "without torch-scatter":
        monkeypatch.setattr(module, "WITH_TORCH_SCATTER", False)


@pytest.mark.scatter
@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equals_a_loop(either_way, reduce, dtype):
    rows = torch.randn(9, 4).to(dtype)
    index = torch.tensor([5, 0, 0, 2, 5, 5, 2, 0, 0])
    expected = torch.zeros(7, 4, dtype=torch.float64)
    for i in range(7):
        members = rows[index == i].double()
        if len(members):
            expected[i] = members.sum(0) if reduce == "sum" else members.mean(0)
    found = scatter(rows, index, 7, reduce)
    assert found.dtype == dtype
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-12, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.scatter
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_no_rows_give_zeros(either_way, reduce):
    found = scatter(torch.randn(0, 4), torch.zeros(0, dtype=torch.long), 3, reduce)
    assert torch.equal(found, torch.zeros(3, 4))
    assert scatter(torch.randn(0, 4), torch.zeros(0, dtype=torch.long), 0, reduce).shape == (0, 4)


@pytest.mark.scatter
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_gradients(either_way, reduce):
    rows = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([1, 1, 0, 3, 1])
    assert torch.autograd.gradcheck(lambda rows: scatter(rows, index, 4, reduce), rows)
