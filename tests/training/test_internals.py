"""What torch does not document and the training relies on is still so."""

import copy

import pytest
import torch
from lightning_fabric import Fabric
from torch.optim import Adam

from sg2im_pyg.training.internals import (
    changing_nothing_where,
    gradients_before_backward,
    mark_varying,
)


@pytest.mark.parametrize("holds", [False, True])
def test_a_fused_step_changes_nothing_where_a_condition_holds(holds):
    weights = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = Adam([weights], lr=0.1, fused=True)
    weights.grad = torch.tensor([1.0, float("nan") if holds else -1.0])
    for step in range(2):  # the second one has a state already
        before = copy.deepcopy(optimizer.state_dict()["state"])
        with changing_nothing_where(torch.tensor(holds), optimizer):
            optimizer.step()
        state = optimizer.state[weights]
        assert state["step"] == (0 if holds else step + 1)
        if holds and step:
            for key, value in before[0].items():
                assert torch.equal(state[key], value), key
    assert torch.equal(weights, torch.tensor([1.0, 2.0])) == holds
    optimizer.step()
    assert state["step"] == (1 if holds else 3)  # afterwards it is as before


def test_a_varying_size_is_compiled_once():
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module

    double = torch.compile(lambda x: 2 * x, backend=backend)
    for size in (2, 3, 5):
        numbers = torch.ones(size, 4)
        mark_varying(numbers, 0)
        assert torch.equal(double(numbers), 2 * numbers)
    assert len(graphs) == 1


def test_gradients_before_backward_are_refused_but_where_they_are_wanted():
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    network = torch.nn.Linear(2, 1)
    network, _ = fabric.setup(network, torch.optim.SGD(network.parameters(), lr=1.0))
    inputs = torch.ones(1, 2, requires_grad=True)
    with gradients_before_backward():
        (gradient,) = torch.autograd.grad(network(inputs).sum(), inputs)
    torch.testing.assert_close(gradient, network.weight.detach(), rtol=1e-2, atol=1e-2)
    assert network.weight.grad is None
    with pytest.raises(RuntimeError, match="fabric.backward"):  # otherwise it need not be there
        torch.autograd.grad(network(inputs).sum(), inputs)
