"""Batch norm whose statistics are those of the batch of all processes."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.nn import BatchNorm1d, BatchNorm2d, Module, SyncBatchNorm


def share_statistics(network: Module, device: torch.device) -> None:
    """Makes the batch norms of a network use the statistics of all processes' parts of a batch.

    On a GPU they become torch's :class:`~torch.nn.SyncBatchNorm`, elsewhere
    :class:`SharedBatchNorm`, as torch's refuses other devices. Names, parameters and buffers stay.

    Args:
        network: A module with batch norms in it, not one itself.
        device: Where it will be.
    """
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, (BatchNorm1d, BatchNorm2d)):
                continue
            if hasattr(module, "allow_single_element"):
                # PyG's batch norm leaves statistics out where there is one row: here all processes
                # must take part, and together they have more.
                setattr(module, "allow_single_element", False)  # noqa: B010 - no module has it for sure
            if device.type == "cuda":
                setattr(module, name, SyncBatchNorm.convert_sync_batchnorm(child))
            else:
                options = (child.num_features, child.eps, child.momentum, child.affine)
                shared = SharedBatchNorm(*options)
                for key, values in (*child.named_parameters(), *child.named_buffers()):
                    setattr(shared, key, values)
                setattr(module, name, shared.train(child.training))


class SharedBatchNorm(BatchNorm2d):
    """Batch norm over the batch of all processes, on any device (CPU: gloo).

    The same as :class:`~torch.nn.SyncBatchNorm`: in training mode, means and variances are those
    of all processes' inputs together, of which each may have another number.

    Shapes:
        - **input:** :math:`(N, C)` or :math:`(N, C, ...)`
        - **output:** the same
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() < 2:
            raise ValueError(f"expected an input of at least two dimensions, got {input.dim()}")
        statistics, weights = (self.running_mean, self.running_var), (self.weight, self.bias)
        if not self.training:
            return F.batch_norm(input, *statistics, *weights, False, 0.0, self.eps)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / float(self.num_batches_tracked)
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return F.batch_norm(input, *statistics, *weights, True, momentum, self.eps)
        result, mean, variance, count = _SharedNormalization.apply(input, *weights, self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(mean, momentum)
            # The variance of a sample, as in torch's own.
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), momentum)
        return result


class _SharedNormalization(torch.autograd.Function):
    """Normalization by the mean and variance over all processes."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels, axes = values.size(1), [0, *range(2, values.dim())]
        own, given = values.numel() // channels, values.dtype
        values = values.to(torch.promote_types(given, torch.float32))  # half has too few digits
        if own:
            variance, mean = torch.var_mean(values, axes, correction=0)
        else:
            variance = mean = values.new_zeros(channels)
        table = torch.cat([mean, variance, mean.new_full((1,), own)])
        tables = [torch.empty_like(table) for _ in range(dist.get_world_size())]
        dist.all_gather(tables, table, group=_group())
        means, variances, counts = torch.stack(tables).split([channels, channels, 1], dim=1)
        # Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
        # sample variances", 1979: no large sums of squares are subtracted.
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        variance = (counts * (variances + (means - mean).square())).sum(0) / count
        ctx.save_for_backward(values, weight, mean, variance, count)
        ctx.eps, ctx.axes, ctx.given = eps, axes, given
        result = F.batch_norm(values, mean, variance, weight, bias, False, 0.0, eps).to(given)
        ctx.mark_non_differentiable(mean, variance, count)
        return result, mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        values, weight, mean, variance, count = ctx.saved_tensors
        gradient = gradient.to(values.dtype)
        shape = [1, -1, *[1] * (values.dim() - 2)]
        scale = (variance + ctx.eps).rsqrt()
        centred = (values - mean.view(shape)) * scale.view(shape)
        of_bias, of_weight = gradient.sum(ctx.axes), (gradient * centred).sum(ctx.axes)
        sums = torch.cat([of_bias, of_weight])
        dist.all_reduce(sums, group=_group())
        first, second = (sums / count).chunk(2)
        of_values = gradient - first.view(shape) - centred * second.view(shape)
        if weight is None:
            return (of_values * scale.view(shape)).to(ctx.given), None, None, None
        of_values = of_values * (weight * scale).view(shape)
        return of_values.to(ctx.given), of_weight, of_bias, None


_own_group: list[Any] = []


def _group() -> Any:
    """The processes, as a group of its own: the gradients of the weights are averaged meanwhile,
    and must not be mixed up with these sums."""
    if not _own_group:
        _own_group.append(dist.new_group())
    return _own_group[0]
