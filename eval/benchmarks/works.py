"""What eval/benchmark.py measures without training: generation, the layout, the graph network.

A process that runs one of these imports what a user of the library would, and nothing of the
training.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch_geometric.data import Batch

from benchmarks import reference_networks
from benchmarks.data import batch_of, coco_like_vocabulary, noise_shape
from benchmarks.levers import LEVERS
from benchmarks.measuring import Work
from sg2im_pyg import Sg2Im
from sg2im_pyg.nn import TripleConvNet, compose_layout
from sg2im_pyg.nn.layout import factor_layout
from sg2im_pyg.training.config import TrainingConfig


def mixed_precision(config: TrainingConfig) -> torch.autocast:
    """Within it the products are computed in the precision of a configuration."""
    enabled = config.hardware.precision == "bf16-mixed"
    return torch.autocast(config.hardware.accelerator, torch.bfloat16, enabled=enabled)


def build_our_generator(config: TrainingConfig, off: str | None = None) -> Sg2Im:
    """Our generator, weights from the seed, as it is to be used for pictures.

    Args:
        config: All options; its device and seed too.
        off: Name of one of :data:`~levers.LEVERS` to do without.
    """
    lever = None if off is None else LEVERS[off]
    if lever is not None and lever.switch_off is not None:
        lever.switch_off()
    torch.manual_seed(config.seed)
    model = Sg2Im(coco_like_vocabulary(), config.model).to(config.hardware.accelerator).eval()
    if lever is not None and lever.change is not None:
        lever.change({"generator": model})
    return model.for_generation()  # the copy alone is kept


def generate_ours(config: TrainingConfig, off: str | None = None) -> Work:
    """Pictures from predicted boxes and masks."""
    model = build_our_generator(config, off)

    def paint(graphs: Batch, noise: Tensor) -> Tensor:
        with torch.no_grad():  # as Sg2Im.generate
            return model(graphs, noise=noise).images

    return _painting(config, paint)


def generate_reference(config: TrainingConfig) -> Work:
    torch.manual_seed(config.seed)
    ours = Sg2Im(coco_like_vocabulary(), config.model)
    model = reference_networks.build_generator(coco_like_vocabulary(), config)
    model.load_state_dict(ours.state_dict())
    model.to(config.hardware.accelerator)
    del ours  # the memory is measured

    def paint(graphs: Batch, noise: Tensor) -> Tensor:
        return reference_networks.generate(model, graphs, noise)

    return _painting(config, paint)


def _painting(config: TrainingConfig, paint: Callable[[Batch, Tensor], Tensor]) -> Work:
    device = torch.device(config.hardware.accelerator)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(device)
        generator = torch.Generator().manual_seed(number)
        noise = torch.randn(noise_shape(config), generator=generator).to(device)

        def step() -> dict[str, Tensor]:
            with mixed_precision(config):
                images = paint(graphs, noise)
            return {"mean": images.mean(), "deviation": images.std()}

        return step

    return Work(device, prepare)


def layout_alone(config: TrainingConfig, kind: str) -> Work:
    """The layout of true boxes and masks, there and back to the objects' vectors.

    Args:
        config: Sizes and device.
        kind: ``compose``, ``factor`` (not multiplied out) or ``reference``.
    """
    device = torch.device(config.hardware.accelerator)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(device)
        torch.manual_seed(number)
        vectors = torch.randn(len(graphs.x), config.model.gconv_dim, device=device)
        vectors.requires_grad_()
        make: Any = {
            "compose": compose_layout,
            "factor": factor_layout,
            "reference": reference_networks.object_layout,
        }[kind]

        def step() -> dict[str, Tensor]:
            result = make(
                vectors,
                graphs.boxes,
                graphs.masks,
                graphs.batch,
                config.model.image_size,
                graphs.num_graphs,
            )
            if kind == "factor":
                result.vectors.backward(torch.ones_like(result.vectors))
                return {}
            result.backward(torch.ones_like(result))
            assert vectors.grad is not None
            return {"gradient": vectors.grad.norm()}

        return step

    return Work(device, prepare)


def graph_convolution_alone(config: TrainingConfig, kind: str) -> Work:
    """The graph network, there and back to its weights and the vectors that enter it.

    Args:
        config: Sizes and device.
        kind: ``ours`` or ``reference``.
    """
    device, model = torch.device(config.hardware.accelerator), config.model
    torch.manual_seed(config.seed)
    sizes = (model.embedding_dim, model.gconv_dim, model.gconv_num_layers, model.gconv_hidden_dim)
    network: Module = TripleConvNet(*sizes, aggr=model.gconv_pooling)
    if kind == "reference":
        weights = network.state_dict()
        network = reference_networks.GraphNetwork(*sizes)
        network.load_state_dict(weights)
    network.to(device)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(device)
        torch.manual_seed(number)
        x = torch.randn(len(graphs.x), model.embedding_dim, device=device).requires_grad_()
        edges = torch.randn(len(graphs.edge_attr), model.embedding_dim, device=device)
        edges.requires_grad_()
        network.zero_grad()

        def step() -> dict[str, Tensor]:
            found, _ = network(x, graphs.edge_index, edges)
            found.backward(torch.ones_like(found))
            assert x.grad is not None
            return {"gradient": x.grad.norm()}

        return step

    return Work(device, prepare)
