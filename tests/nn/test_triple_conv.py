"""TripleConv against a loop over triples that is written from the paper's formula."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Module
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.nn import BatchNorm
from torch_geometric.nn.aggr import (
    LSTMAggregation,
    MaxAggregation,
    MeanAggregation,
    MultiAggregation,
    QuantileAggregation,
    Set2Set,
    SoftmaxAggregation,
    SortAggregation,
)

from sg2im_pyg.nn import TripleConv, TripleConvNet

# 0 -> 1 twice with different predicates, a loop at 2, 2 -> 0; node 3 is in no triple.
EDGE_INDEX = torch.tensor([[0, 0, 2, 2], [1, 1, 2, 0]])
POOLS = {
    "mean": lambda rows: rows.mean(0),
    "sum": lambda rows: rows.sum(0),
    "max": lambda rows: rows.max(0),
}


def direct(conv: TripleConv, x, edge_index, edge_attr, pools=("mean",)):
    """The layer of one graph, triple by triple, in numpy."""

    def mlp(network, row):
        for layer in network:
            if isinstance(layer, Linear):
                weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
                row = np.maximum(weight @ row + bias, 0)
        return row

    x, edge_attr = x.detach().numpy(), edge_attr.detach().numpy()
    hidden, out = conv.hidden_channels, conv.out_channels
    candidates: list[list[np.ndarray]] = [[] for _ in x]
    edges = []
    for (subject, obj), predicate in zip(edge_index.t().tolist(), edge_attr, strict=True):
        row = mlp(conv.net1, np.concatenate([x[subject], predicate, x[obj]]))
        candidates[subject].append(row[:hidden])
        edges.append(row[hidden : hidden + out])
        candidates[obj].append(row[hidden + out :])
    nodes = []
    for rows in candidates:
        pooled = [POOLS[pool](np.stack(rows)) if rows else np.zeros(hidden) for pool in pools]
        nodes.append(mlp(conv.net2, np.concatenate(pooled)))
    return torch.tensor(np.stack(nodes)), torch.tensor(np.array(edges)).view(-1, out)


def features(nodes=4, edges=4, channels=8, edge_channels=8, dtype=torch.float64):
    return torch.randn(nodes, channels, dtype=dtype), torch.randn(edges, edge_channels, dtype=dtype)


@pytest.mark.scatter
@pytest.mark.parametrize(
    ("aggr", "pools"),
    [
        ("mean", ["mean"]),
        ("sum", ["sum"]),
        ("add", ["sum"]),
        ("max", ["max"]),
        (["mean", "max"], ["mean", "max"]),
        (["sum"], ["sum"]),
        (MeanAggregation(), ["mean"]),
        (MaxAggregation(), ["max"]),
        (MultiAggregation(["max", "sum", "mean"]), ["max", "sum", "mean"]),
    ],
    ids=str,
)
def test_equals_the_formula(aggr, pools):
    conv = TripleConv(8, 16, hidden_channels=32, aggr=aggr).double()
    x, edge_attr = features()
    nodes, edges = conv(x, EDGE_INDEX, edge_attr)
    expected_nodes, expected_edges = direct(conv, x, EDGE_INDEX, edge_attr, pools)
    assert nodes.shape == (4, 16) and edges.shape == (4, 16)
    torch.testing.assert_close(nodes, expected_nodes, rtol=0, atol=1e-10)
    torch.testing.assert_close(edges, expected_edges, rtol=0, atol=1e-10)


@pytest.mark.scatter
def test_float32_equals_the_formula():
    conv = TripleConv(8, 16, hidden_channels=32)
    x, edge_attr = features(dtype=torch.float32)
    nodes, edges = conv(x, EDGE_INDEX, edge_attr)
    expected_nodes, expected_edges = direct(conv, x, EDGE_INDEX, edge_attr)
    torch.testing.assert_close(nodes.double(), expected_nodes.double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(edges.double(), expected_edges.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "aggr", [SoftmaxAggregation(learn=True), LSTMAggregation(6, 9), Set2Set(6, 2), "median"]
)
def test_any_aggregation_of_pyg_is_taken(aggr):
    conv = TripleConv(4, 5, hidden_channels=6, aggr=aggr)
    nodes, edges = conv(torch.randn(4, 4), EDGE_INDEX, torch.randn(4, 4))
    assert nodes.shape == (4, 5) and edges.shape == (4, 5)
    nodes.sum().backward()
    assert conv.net1[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("norm", ["batch_norm", "BatchNorm", BatchNorm])
def test_norm_stands_between_linear_and_relu(norm):
    conv = TripleConv(4, 5, hidden_channels=6, norm=norm).double()
    x, edge_attr = features(channels=4, edge_channels=4)
    nodes, edges = conv(x, EDGE_INDEX, edge_attr)

    def mlp(network, rows):
        for layer in network:
            if isinstance(layer, Linear):
                rows = rows @ layer.weight.T + layer.bias
                deviation = (rows.var(0, unbiased=False) + 1e-5).sqrt()
                rows = ((rows - rows.mean(0)) / deviation).relu()
        return rows

    subject, obj = EDGE_INDEX
    triples = mlp(conv.net1, torch.cat([x[subject], edge_attr, x[obj]], dim=1))
    pooled = torch.zeros(4, 6, dtype=torch.double)
    pooled[0] = torch.stack([triples[0, :6], triples[1, :6], triples[3, 11:]]).mean(0)
    pooled[1] = triples[:2, 11:].mean(0)
    pooled[2] = torch.stack([triples[2, :6], triples[2, 11:], triples[3, :6]]).mean(0)
    torch.testing.assert_close(nodes, mlp(conv.net2, pooled))
    torch.testing.assert_close(edges, triples[:, 6:11])


@pytest.mark.parametrize("edges", [0, 1])
def test_batch_norm_takes_a_graph_of_one_edge_or_none(edges):
    conv = TripleConv(4, 5, hidden_channels=6, norm="batch_norm")
    nodes, _ = conv(torch.randn(2, 4), EDGE_INDEX[:, :edges], torch.randn(edges, 4))
    assert nodes.isfinite().all()


@pytest.mark.scatter
def test_edge_features_may_have_a_width_of_their_own():
    conv = TripleConv(8, 16, hidden_channels=32, edge_channels=3).double()
    x, edge_attr = features(edge_channels=3)
    nodes, edges = conv(x, EDGE_INDEX, edge_attr)
    expected_nodes, expected_edges = direct(conv, x, EDGE_INDEX, edge_attr)
    torch.testing.assert_close(nodes, expected_nodes, rtol=0, atol=1e-10)
    torch.testing.assert_close(edges, expected_edges, rtol=0, atol=1e-10)
    net = TripleConvNet(8, 16, num_layers=2, hidden_channels=32, edge_channels=3).double()
    assert net(x, EDGE_INDEX, edge_attr)[1].shape == (4, 16)


@pytest.mark.scatter
@pytest.mark.parametrize("aggr", ["mean", "sum", "max", ["mean", "max"]])
def test_nodes_without_triples_pool_zeros(aggr):
    conv = TripleConv(8, 16, hidden_channels=32, aggr=aggr)
    x, edge_attr = features(dtype=torch.float32)
    pooled = torch.zeros(1, conv.net2[0].in_features)
    nodes, _ = conv(x, EDGE_INDEX, edge_attr)
    torch.testing.assert_close(nodes[3:], conv.net2(pooled))
    nodes, edges = conv(x, EDGE_INDEX[:, :0], edge_attr[:0])
    torch.testing.assert_close(nodes, conv.net2(pooled).expand(4, -1))
    assert edges.shape == (0, 16)


@pytest.mark.scatter
def test_gradients_of_nodes_and_edges():
    conv = TripleConv(3, 2, hidden_channels=4).double()
    x, edge_attr = features(channels=3, edge_channels=3)
    inputs = (x.requires_grad_(), edge_attr.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, e: conv(x, EDGE_INDEX, e), inputs)
    sum(out.sum() for out in conv(x, EDGE_INDEX, edge_attr)).backward()
    assert all(parameter.grad is not None for parameter in conv.parameters())


@pytest.mark.scatter
def test_order_of_nodes_and_of_edges_does_not_matter():
    conv = TripleConv(8, 16, hidden_channels=32).double()
    x, edge_attr = features()
    nodes, edges = conv(x, EDGE_INDEX, edge_attr)
    order, edge_order = torch.tensor([2, 0, 3, 1]), torch.tensor([3, 1, 0, 2])
    position = order.argsort()
    moved_nodes, moved_edges = conv(
        x[order], position[EDGE_INDEX[:, edge_order]], edge_attr[edge_order]
    )
    torch.testing.assert_close(moved_nodes, nodes[order], rtol=0, atol=1e-12)
    torch.testing.assert_close(moved_edges, edges[edge_order], rtol=0, atol=1e-12)


def test_direction_of_an_edge_matters():
    conv = TripleConv(8, 16, hidden_channels=32)
    x, edge_attr = features(dtype=torch.float32)
    forwards = conv(x, EDGE_INDEX, edge_attr)[0]
    assert not torch.allclose(forwards, conv(x, EDGE_INDEX.flip(0), edge_attr)[0])


def test_edge_index_of_pyg_gives_the_same():
    conv = TripleConv(8, 16, hidden_channels=32)
    x, edge_attr = features(dtype=torch.float32)
    found = conv(x, EdgeIndex(EDGE_INDEX, sparse_size=(4, 4)), edge_attr)
    for value, expected in zip(found, conv(x, EDGE_INDEX, edge_attr), strict=True):
        assert torch.equal(value, expected)


def random_graph(nodes, edges, channels=6):
    return Data(
        x=torch.randn(nodes, channels, dtype=torch.float64),
        edge_index=torch.randint(nodes, (2, edges)),
        edge_attr=torch.randn(edges, channels, dtype=torch.float64),
    )


@pytest.mark.scatter
def test_a_batch_equals_its_graphs_one_by_one():
    graphs = [random_graph(*sizes) for sizes in ((3, 5), (1, 0), (6, 2), (2, 9), (1, 1))]
    net = TripleConvNet(6, 7, num_layers=3, hidden_channels=9).double()
    (batch,) = DataLoader(graphs, batch_size=len(graphs))
    nodes, edges = net(batch.x, batch.edge_index, batch.edge_attr)
    single = [net(graph.x, graph.edge_index, graph.edge_attr) for graph in graphs]
    torch.testing.assert_close(nodes, torch.cat([n for n, _ in single]), rtol=0, atol=1e-12)
    torch.testing.assert_close(edges, torch.cat([e for _, e in single]), rtol=0, atol=1e-12)


@pytest.mark.scatter
def test_a_net_is_its_layers_in_turn():
    net = TripleConvNet(6, 7, num_layers=3, hidden_channels=9).double()
    graph = random_graph(5, 6)
    x, edge_attr = graph.x, graph.edge_attr
    for conv in net.convs:
        x, edge_attr = direct(conv, x, graph.edge_index, edge_attr)
    nodes, edges = net(graph.x, graph.edge_index, graph.edge_attr)
    torch.testing.assert_close(nodes, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(edges, edge_attr, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="num_layers must be at least 1, got 0"):
        TripleConvNet(6, 7, num_layers=0)


def test_reset_parameters_draws_weights_anew_and_resets_norms():
    def state(module):
        return {key: value.clone() for key, value in module.state_dict().items()}

    for make in (
        lambda: TripleConv(8, 16, 32, norm="batch_norm"),
        lambda: TripleConvNet(8, 16, 2, 32),
    ):
        torch.manual_seed(0)
        module = make()
        first = state(module)
        module.train()(torch.randn(4, 8), EDGE_INDEX, torch.randn(4, 8))
        torch.manual_seed(1)
        module.reset_parameters()
        second = state(module)
        drawn = [key for key, value in first.items() if value.dim() == 2]
        assert drawn and not any(torch.equal(first[key], second[key]) for key in drawn)
        running = [key for key in first if "running" in key or "tracked" in key]
        assert all(torch.equal(first[key], second[key]) for key in running)


def test_linear_weights_are_kaiming_normal():
    weight = TripleConv(128, 128).net1[2].weight
    assert weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert weight.mean().abs() < 1e-3


def test_repr():
    assert repr(TripleConv(8, 16)) == "TripleConv(8, 16)"
    assert repr(TripleConvNet(8, 16)) == "TripleConvNet(8, 16, num_layers=5)"


def compiled_equals_eager(backend, modules, sizes=((4, 4), (7, 12), (3, 9))):
    for module in modules:
        compiled = torch.compile(module, fullgraph=True, backend=backend)
        for nodes, edges in sizes:
            graph = random_graph(nodes, edges)
            found = compiled(graph.x, graph.edge_index, graph.edge_attr)
            expected = module(graph.x, graph.edge_index, graph.edge_attr)
            for value, wanted in zip(found, expected, strict=True):
                torch.testing.assert_close(value, wanted, rtol=0, atol=1e-10)
        found[0].sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.fixture
def clean_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.scatter
def test_compiles_to_one_graph(clean_compiler):
    compiled_equals_eager(
        "aot_eager",
        [
            TripleConv(6, 5, 8).double(),
            TripleConv(6, 5, 8, aggr="sum", norm="batch_norm").double().eval(),
            TripleConv(6, 5, 8, aggr="max").double(),
            TripleConvNet(6, 6, 2, 8).double(),
        ],
    )


@pytest.mark.slow
@pytest.mark.scatter
def test_compiles_to_one_graph_with_inductor(clean_compiler):
    compiled_equals_eager("inductor", [TripleConv(6, 5, 8).double()], sizes=[(4, 4)])


# --- In a graph network that has nothing to do with pictures ------------------------------------

COLOURS = 3


class EdgeColours(InMemoryDataset):
    """Random graphs; a node's label is the colour of the one edge that arrives at it."""

    def __init__(self, size: int = 64) -> None:
        super().__init__(root=None)
        generator = torch.Generator().manual_seed(3)
        graphs = []
        for _ in range(size):
            colours = torch.randint(COLOURS, (8,), generator=generator)
            sources = torch.randint(8, (8,), generator=generator)
            graphs.append(
                Data(
                    x=torch.randn(8, 4, generator=generator),
                    edge_index=torch.stack([sources, torch.arange(8)]),
                    edge_attr=colours,
                    y=colours,
                )
            )
        self.data, self.slices = self.collate(graphs)


class Classifier(Module):
    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.colours = Embedding(COLOURS, 5)
        self.conv = TripleConv(4, channels, hidden_channels=32, edge_channels=5)
        self.head = Linear(channels, COLOURS)

    def forward(self, data: Data) -> Tensor:
        x, _ = self.conv(data.x, data.edge_index, self.colours(data.edge_attr))
        return self.head(x)


@pytest.mark.scatter
def test_trains_a_node_classifier_whose_labels_stand_on_the_edges():
    torch.manual_seed(0)
    dataset = EdgeColours()
    accuracy = {}
    for name in ("with edges", "without edges"):
        model = Classifier()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        loader = DataLoader(dataset[:48], batch_size=16, shuffle=True)
        for _, data in itertools.product(range(25), loader):
            if name == "without edges":
                data.edge_index, data.edge_attr = data.edge_index[:, :0], data.edge_attr[:0]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(data), data.y).backward()
            optimizer.step()
        (data,) = DataLoader(dataset[48:], batch_size=16)
        if name == "without edges":
            data.edge_index, data.edge_attr = data.edge_index[:, :0], data.edge_attr[:0]
        accuracy[name] = (model(data).argmax(1) == data.y).double().mean().item()
    assert accuracy["with edges"] > 0.85
    assert accuracy["without edges"] < 0.6


# --- With and without torch-scatter -------------------------------------------------------------

PROGRAM = """
import sys, torch
from sg2im_pyg.nn import TripleConvNet
from sg2im_pyg.nn.scatter import WITH_TORCH_SCATTER
torch.manual_seed(0)
net = TripleConvNet(6, 7, 2, 9).double()
x = torch.randn(5, 6, dtype=torch.double, requires_grad=True)
edge_attr = torch.randn(8, 6, dtype=torch.double)
nodes, edges = net(x, torch.randint(5, (2, 8)), edge_attr)
(gradient,) = torch.autograd.grad(nodes.sum() + edges.sum(), x)
torch.save([WITH_TORCH_SCATTER, nodes.detach(), edges.detach(), gradient], sys.argv[1])
"""


@pytest.mark.slow
def test_torch_scatter_changes_nothing(tmp_path):
    pytest.importorskip("torch_scatter")
    found = []
    for switch in ("0", "1"):
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / switch)],
            env={**os.environ, "SG2IM_NO_TORCH_SCATTER": switch, "PYTHONPATH": path},
            check=True,
        )
        found.append(torch.load(tmp_path / switch, weights_only=True))
    assert [flag for flag, *_ in found] == [True, False]
    for value, expected in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "aggr", ["median", "quantile", "sort", "lstm", "max", "softmax", ["max", "std"]]
)
def test_any_aggregation_of_a_graph_without_edges_is_zero(aggr):
    if aggr == "quantile":
        aggr = QuantileAggregation(0.3)
    elif aggr == "sort":
        aggr = SortAggregation(2)
    elif aggr == "lstm":
        aggr = LSTMAggregation(8, 8)
    conv = TripleConv(4, 6, hidden_channels=8, aggr=aggr)
    none = torch.zeros(2, 0, dtype=torch.long)
    nodes, edges = conv(torch.randn(3, 4), none, torch.zeros(0, 4))
    assert edges.shape == (0, 6)
    pooled = next(layer for layer in conv.net2 if isinstance(layer, Linear)).in_features
    torch.testing.assert_close(nodes, conv.net2(torch.zeros(3, pooled)))
