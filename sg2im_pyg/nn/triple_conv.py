"""Graph convolution over (subject, predicate, object) triples."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Linear, Module, ModuleList, ReLU, Sequential
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.inits import reset
from torch_geometric.nn.resolver import normalization_resolver
from torch_geometric.typing import OptTensor

from sg2im_pyg.nn.scatter import scatter

OptInt = Optional[int]  # noqa: UP045 - PyG reads the annotations of layers, but not "int | None"


class TripleConv(MessagePassing):
    r"""The graph convolution operator from the `"Image Generation from Scene Graphs"
    <https://arxiv.org/abs/1804.01622>`_ paper (Section 3, Figure 3).

    For every edge :math:`(s, p, o)` one network sees the features of subject, predicate and
    object, and gives a candidate for the subject, the new predicate, and a candidate for the
    object

    .. math::
        \left[ \mathbf{c}^{s}_{spo}, \mathbf{e}^{\prime}_{spo}, \mathbf{c}^{o}_{spo} \right] =
        \mathrm{MLP}_1 \left( \mathbf{x}_s \, \Vert \, \mathbf{e}_{spo} \, \Vert \, \mathbf{x}_o
        \right),

    a second one maps the mean of all candidates of a node to its new features

    .. math::
        \mathbf{x}^{\prime}_i = \mathrm{MLP}_2 \left( \mathrm{mean} \left( \{
        \mathbf{c}^{s}_{ipo} \} \cup \{ \mathbf{c}^{o}_{spi} \} \right) \right).

    A node without edges pools zeros.

    Args:
        in_channels (int): Size of each input node feature.
        out_channels (int): Size of each output node and edge feature.
        hidden_channels (int, optional): Size of the hidden layers and the candidates.
            (default: :obj:`512`)
        aggr (str or list or Aggregation, optional): How candidates are pooled, :obj:`"mean"`,
            :obj:`"sum"` or any other aggregation of PyG. (default: :obj:`"mean"`)
        norm (str or Callable, optional): Normalization after each linear layer, by name as in
            :class:`torch_geometric.nn.MLP`, *e.g.*, :obj:`"batch_norm"`, or a function of the
            number of channels. (default: :obj:`None`)
        edge_channels (int, optional): Size of each input edge feature, if it is not
            :obj:`in_channels`. (default: :obj:`None`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F_{in})`, edge indices
          :math:`(2, |\mathcal{E}|)` from subject to object, edge features
          :math:`(|\mathcal{E}|, D_{in})`
        - **output:** node features :math:`(|\mathcal{V}|, F_{out})`, edge features
          :math:`(|\mathcal{E}|, F_{out})`

    Examples:
        >>> conv = TripleConv(16, 32, hidden_channels=64)
        >>> x, edge_attr = torch.randn(3, 16), torch.randn(2, 16)
        >>> edge_index = torch.tensor([[0, 1], [1, 2]])
        >>> x, edge_attr = conv(x, edge_index, edge_attr)
        >>> x.shape, edge_attr.shape
        (torch.Size([3, 32]), torch.Size([2, 32]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int = 512,
        aggr: str | list[str] | Aggregation = "mean",
        norm: str | Callable[..., Module] | None = None,
        edge_channels: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(aggr=aggr, **kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.hidden_channels = hidden_channels
        self.edge_channels = in_channels if edge_channels is None else edge_channels
        self.reduce = {"mean": "mean", "sum": "sum", "add": "sum"}.get(str(aggr).lower())
        pooled = hidden_channels
        if self.reduce is None:
            pooled = _channels_after(self.aggr_module, hidden_channels)
        self.net1 = triple_mlp(
            [2 * in_channels + self.edge_channels, hidden_channels]
            + [2 * hidden_channels + out_channels],
            norm,
        )
        self.pooled_channels = pooled
        self.net2 = triple_mlp([pooled, hidden_channels, out_channels], norm)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for layer in [*self.net1, *self.net2]:
            reset(layer)
            if isinstance(layer, Linear):
                torch.nn.init.kaiming_normal_(layer.weight)  # release; the bias is torch's default

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> tuple[Tensor, Tensor]:
        triples = self.edge_updater(edge_index, x=x, edge_attr=edge_attr)
        subjects, edge_attr, objects = triples.split(
            [self.hidden_channels, self.out_channels, self.hidden_channels], dim=1
        )
        # Candidates travel along each edge to its object, and against it to its subject.
        both_ways = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        candidates = torch.cat([objects, subjects], dim=0)
        pooled = self.propagate(both_ways, candidates=candidates, size=(x.size(0), x.size(0)))
        return self.net2(pooled), edge_attr

    def edge_update(self, x_j: Tensor, edge_attr: Tensor, x_i: Tensor) -> Tensor:
        # PyG's default flow runs from subject (j) to object (i).
        return self.net1(torch.cat([x_j, edge_attr, x_i], dim=1))

    def message(self, candidates: Tensor) -> Tensor:
        return candidates

    def aggregate(
        self, inputs: Tensor, index: Tensor, ptr: OptTensor = None, dim_size: OptInt = None
    ) -> Tensor:
        if self.reduce is None and not len(inputs):
            # Without any edge some aggregations fail; all nodes pool zeros.
            return inputs.new_zeros(dim_size or 0, self.pooled_channels)
        if self.reduce is None or dim_size is None:
            index, order = index.sort(stable=True)  # some aggregations ask for sorted rows
            return super().aggregate(inputs[order], index, None, dim_size)
        return scatter(inputs, index, dim_size, self.reduce)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels})"


class TripleConvNet(Module):
    r"""A stack of :class:`TripleConv` layers, the whole graph network of the paper.

    Args:
        in_channels (int): Size of each input node feature.
        out_channels (int): Size of each output node and edge feature.
        num_layers (int, optional): Number of layers, at least 1. (default: :obj:`5`)
        hidden_channels (int, optional): See :class:`TripleConv`. (default: :obj:`512`)
        aggr (str or list or Aggregation, optional): See :class:`TripleConv`.
            (default: :obj:`"mean"`)
        norm (str or Callable, optional): See :class:`TripleConv`. (default: :obj:`None`)
        edge_channels (int, optional): Size of each input edge feature, if it is not
            :obj:`in_channels`. (default: :obj:`None`)

    Shapes: as :class:`TripleConv`.

    Raises:
        ValueError: If :obj:`num_layers` is less than 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_layers: int = 5,
        hidden_channels: int = 512,
        aggr: str | list[str] | Aggregation = "mean",
        norm: str | Callable[..., Module] | None = None,
        edge_channels: int | None = None,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_layers = num_layers
        self.convs = ModuleList(
            TripleConv(
                out_channels if i else in_channels,
                out_channels,
                hidden_channels,
                aggr=aggr,
                norm=norm,
                edge_channels=None if i else edge_channels,
            )
            for i in range(num_layers)
        )

    def reset_parameters(self) -> None:
        reset(self.convs)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs:
            x, edge_attr = conv(x, edge_index, edge_attr)
        return x, edge_attr

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, "
            f"num_layers={self.num_layers})"
        )


def _channels_after(aggr: Aggregation, channels: int) -> int:
    """Width of what an aggregation makes of rows of a width: several are concatenated."""
    parameter = next(aggr.parameters(), torch.empty(0))
    row, index = parameter.new_zeros(1, channels), torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        return aggr(row, index.to(row.device), dim_size=1).size(-1)


def triple_mlp(channels: list[int], norm: str | Callable[..., Module] | None) -> Sequential:
    """Linear layers, each followed by an optional normalization and ReLU (the last one too)."""
    layers: list[Module] = []
    for fan_in, fan_out in pairwise(channels):
        layers.append(Linear(fan_in, fan_out))
        if isinstance(norm, str):
            # One row has no variance: PyG's layer then uses the running statistics.
            is_batch_norm = norm.lower().replace("_", "") == "batchnorm"
            options = {"allow_single_element": True} if is_batch_norm else {}
            layers.append(normalization_resolver(norm, fan_out, **options))
        elif norm is not None:
            layers.append(norm(fan_out))
        layers.append(ReLU(inplace=norm is None))  # a linear layer does not need its result again
    return Sequential(*layers)
