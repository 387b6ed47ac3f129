"""What eval/benchmark.py measures without training: generation, the layout, the graph network,
loading.

A process that runs one of these imports what a user of the library would, and nothing of the
training.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch_geometric.data import Batch
from torch_geometric.transforms import Compose

from benchmarks import reference_networks
from benchmarks.data import MASK_SIZE, batch_of, coco_like_vocabulary, noise_shape, random_scene
from benchmarks.levers import FOLDING, LEVERS
from benchmarks.measuring import Work
from sg2im_pyg import Sg2Im
from sg2im_pyg.data import AddImageNode, SampleGeometricRelations, SceneDataset, SceneWriter
from sg2im_pyg.nn import TripleConvNet
from sg2im_pyg.training.config import TrainingConfig


def mixed_precision(config: TrainingConfig) -> torch.autocast:
    """Within it the products are computed in the precision of a configuration."""
    enabled = config.hardware.precision == "bf16-mixed"
    return torch.autocast(config.hardware.accelerator, torch.bfloat16, enabled=enabled)


def generate_ours(config: TrainingConfig, without: str | None = None) -> Work:
    """Pictures from predicted boxes and masks, weights from the seed.

    Args:
        config: All options; its device and seed too.
        without: Name of one of :data:`~levers.LEVERS`, or :data:`~levers.FOLDING`, to do without.
    """
    torch.manual_seed(config.seed)
    model = Sg2Im(coco_like_vocabulary(), config.model).to(config.hardware.accelerator).eval()
    if without is not None and without != FOLDING:
        LEVERS[without](model)
    if without != FOLDING:
        model = model.for_generation()  # the copy alone is kept
    return _painting(config, lambda graphs, noise: model(graphs, noise=noise).images)


def generate_reference(config: TrainingConfig) -> Work:
    torch.manual_seed(config.seed)
    ours = Sg2Im(coco_like_vocabulary(), config.model)
    model = reference_networks.Generator(coco_like_vocabulary(), config.model)
    model.load_state_dict(ours.state_dict())
    model.to(config.hardware.accelerator)
    del ours  # the memory is measured
    return _painting(config, partial(reference_networks.generate, model))


def _painting(config: TrainingConfig, paint: Callable[[Batch, Tensor], Tensor]) -> Work:
    device = torch.device(config.hardware.accelerator)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(device)
        generator = torch.Generator().manual_seed(number)
        noise = torch.randn(noise_shape(config), generator=generator).to(device)

        def step() -> dict[str, Tensor]:
            with torch.no_grad(), mixed_precision(config):  # as Sg2Im.generate
                images = paint(graphs, noise)
            return {"mean": images.mean(), "deviation": images.std()}

        return step

    return Work(device, prepare)


def layout_alone(config: TrainingConfig, compose: Callable[..., Tensor]) -> Work:
    """The layout of true boxes and masks, there and back to the objects' vectors.

    Args:
        config: Sizes and device.
        compose: ``compose_layout`` of the library or of the reference.
    """
    device = torch.device(config.hardware.accelerator)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(device)
        torch.manual_seed(number)
        vectors = torch.randn(len(graphs.x), config.model.gconv_dim, device=device)
        where = (graphs.boxes, graphs.masks, graphs.batch, config.model.image_size)
        return _there_and_back(vectors, lambda v: compose(v, *where, graphs.num_graphs))

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
        x = torch.randn(len(graphs.x), model.embedding_dim, device=device)
        edges = torch.randn(len(graphs.edge_attr), model.embedding_dim, device=device)
        edges.requires_grad_()
        network.zero_grad()
        return _there_and_back(x, lambda x: network(x, graphs.edge_index, edges)[0])

    return Work(device, prepare)


def _there_and_back(
    given: Tensor, compute: Callable[[Tensor], Tensor]
) -> Callable[[], Mapping[str, Any]]:
    given.requires_grad_()

    def step() -> dict[str, Tensor]:
        found = compute(given)
        found.backward(torch.ones_like(found))
        assert given.grad is not None
        return {"gradient": given.grad.norm()}

    return step


def write_scenes(path: Path, count: int, size: tuple[int, int], seed: int) -> None:
    """A store of random scenes, as datasets/prepare.py would write it."""
    random = np.random.default_rng(seed)
    with SceneWriter(path, coco_like_vocabulary(), size, MASK_SIZE) as writer:
        for number in range(count):
            writer.add(replace(random_scene(random, size), image_id=number))


def load_batches(config: TrainingConfig, path: Path, kind: type, in_memory: bool = False) -> Work:
    """One pass over a store on one core, by a loader of this kind."""
    torch.set_num_threads(1)
    dataset = SceneDataset(path, in_memory=in_memory)
    dataset.transform = Compose([SampleGeometricRelations(dataset.vocabulary), AddImageNode()])
    loader = kind(dataset, batch_size=config.batch_size, shuffle=True)

    def step() -> dict[str, int]:
        return {"pictures": sum(batch.num_graphs for batch in loader)}

    return Work(torch.device("cpu"), lambda number: step)
