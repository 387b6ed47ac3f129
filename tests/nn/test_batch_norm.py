"""Batch norm over several processes against torch's over the whole batch in one."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.nn import BatchNorm1d, BatchNorm2d, Sequential

from sg2im_pyg.nn.batch_norm import SharedBatchNorm, share_statistics
from sg2im_pyg.nn.triple_conv import triple_mlp

SIZES = [(5, 3, 4, 2), (2, 3, 4, 2), (1, 3, 4, 2)]  # another number in each process


def network(norm, affine=True):
    torch.manual_seed(0)
    made = Sequential(norm(3, affine=affine)).double()
    with torch.no_grad():
        for values in made.parameters():
            values.uniform_(0.5, 2)
    return made


def inputs(flat):
    torch.manual_seed(1)
    whole = [torch.randn(*size, dtype=torch.float64) * 3 + 100 for size in SIZES]
    return [part[:, :, 0, 0] if flat else part for part in whole]


def run(made, values):
    """Output, gradients and running statistics after two calls."""
    values = values.clone().requires_grad_()
    made(values)
    result = made(values)
    weight = torch.linspace(-1, 1, 3, dtype=torch.float64).view(1, 3, *[1] * (values.dim() - 2))
    (result.pow(3) * weight).sum().backward()
    grads = [p.grad for p in made.parameters()]
    return [result.detach(), values.grad, *grads, *made.buffers()]


def worker(rank, folder, flat, affine):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=len(SIZES)
    )
    made = network(BatchNorm1d if flat else BatchNorm2d, affine)
    names = list(made.state_dict())
    share_statistics(made, torch.device("cpu"))
    assert isinstance(made[0], SharedBatchNorm) and list(made.state_dict()) == names
    found = run(made, inputs(flat)[rank])
    torch.save(found, f"{folder}/{rank}.pt")
    half = made.float()(inputs(flat)[rank].bfloat16())  # as under autocast
    assert half.dtype == torch.bfloat16 and half.isfinite().all()
    dist.destroy_process_group()


@pytest.mark.parametrize(("flat", "affine"), [(True, True), (False, True), (False, False)])
def test_equals_batch_norm_of_the_whole_batch(flat, affine, tmp_path):
    torch.multiprocessing.spawn(worker, (tmp_path.as_posix(), flat, affine), nprocs=len(SIZES))
    expected = run(network(BatchNorm1d if flat else BatchNorm2d, affine), torch.cat(inputs(flat)))
    after = 4 if affine else 2  # output and gradients
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(SIZES))]
    for i in (0, 1):  # output and gradient of the input, in parts
        torch.testing.assert_close(torch.cat([part[i] for part in parts]), expected[i])
    for i in range(2, after):  # gradients of the parameters, to be summed
        torch.testing.assert_close(sum(part[i] for part in parts), expected[i])
    for part in parts:
        for found, buffer in zip(part[after:], expected[after:], strict=True):
            torch.testing.assert_close(found, buffer)


def test_pyg_s_batch_norm_takes_part_with_a_single_row_too():
    mlp = triple_mlp([3, 4], "batch_norm")
    names = list(mlp.state_dict())
    share_statistics(mlp, torch.device("cpu"))
    assert isinstance(mlp[1].module, SharedBatchNorm) and not mlp[1].allow_single_element
    assert list(mlp.state_dict()) == names


def test_without_other_processes_it_is_batch_norm():
    values = torch.cat(inputs(False))
    made = network(BatchNorm2d)
    share_statistics(made, torch.device("cpu"))
    for found, expected in zip(run(made, values), run(network(BatchNorm2d), values), strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="at least two dimensions"):
        made(torch.randn(3))
