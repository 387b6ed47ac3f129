"""What eval/benchmark.py measures, and how: random batches, variants in processes of their own.

A variant is a function that builds a :class:`Work` in its own process. The benchmark's process
asks the variants in turn for one run each, so that a slow moment of the machine meets all alike,
and only one of them computes at a time.
"""

import copy
import json
import math
import multiprocessing
import os
import pickle
import re
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [  # processes find the library and the module beside this one
    folder
    for folder in (str(REPOSITORY), str(Path(__file__).resolve().parent))
    if folder not in sys.path
]

import numpy as np  # noqa: E402
import reference_step  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from lightning_fabric import Fabric  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import Module  # noqa: E402
from torch.optim import Adam  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from torch_geometric.data import Batch  # noqa: E402
from torch_geometric.transforms import Compose  # noqa: E402

import sg2im_pyg.model  # noqa: E402
import sg2im_pyg.training.step  # noqa: E402
from sg2im_pyg import SceneGraph, Sg2Im, Vocabulary  # noqa: E402
from sg2im_pyg.data import (  # noqa: E402
    AddImageNode,
    LimitObjects,
    SampleGeometricRelations,
    Scene,
    SceneDataset,
    SceneWriter,
)
from sg2im_pyg.data.draws import draw_keys  # noqa: E402
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES  # noqa: E402
from sg2im_pyg.errors import Sg2ImError, first_line  # noqa: E402
from sg2im_pyg.files import replace_when_whole  # noqa: E402
from sg2im_pyg.nn import TripleConvNet, compose_layout  # noqa: E402
from sg2im_pyg.nn.layout import factor_layout  # noqa: E402
from sg2im_pyg.parallel import _interrupts_ignored, _start_worker  # noqa: E402
from sg2im_pyg.training.config import TrainingConfig  # noqa: E402
from sg2im_pyg.training.step import Players, build_players, training_step  # noqa: E402
from sg2im_pyg.training.trainer import launch_fabric  # noqa: E402

CATEGORIES = 171  # of COCO, things and stuff, without "other"
MASK_SIZE = 16  # of the prepared data
OBJECTS = (3, 8)  # of COCO's pictures, fewest and most


# ---- Data


def coco_like_vocabulary() -> Vocabulary:
    """As many names as COCO's."""
    return Vocabulary([f"category {i}" for i in range(1, CATEGORIES + 1)], GEOMETRIC_PREDICATES)


def random_scene(
    random: np.random.Generator,
    size: tuple[int, int],
    objects: tuple[int, int] = OBJECTS,
    mask_size: int = MASK_SIZE,
) -> Scene:
    """A picture of noise with boxes that cover more than 2 % of it, and masks with wavy rims."""
    count = int(random.integers(objects[0], objects[1] + 1))
    extent = random.uniform(0.15, 0.9, (count, 2))
    corner = random.uniform(0, 1, (count, 2)) * (1 - extent)
    positions = (np.arange(mask_size) + 0.5) / mask_size * 2 - 1
    x, y = np.meshgrid(positions, positions)
    waves = random.integers(1, 5, (count, 1, 1)) * np.arctan2(y, x) + random.uniform(
        0, 2 * np.pi, (count, 1, 1)
    )
    radius = random.uniform(0.6, 1.1, (count, 1, 1)) + 0.2 * np.sin(waves)
    return Scene(
        image_id=0,
        image=random.integers(0, 256, (*size, 3), dtype=np.uint8),
        categories=random.integers(1, CATEGORIES + 1, count),
        boxes=np.concatenate([corner, corner + extent], axis=1).astype(np.float32),
        masks=np.hypot(x, y) < radius,
    )


def random_batch(
    size: tuple[int, int],
    pictures: int,
    seed: int | Sequence[int],
    objects: tuple[int, int] = OBJECTS,
    limit: int | None = None,
    mask_size: int = MASK_SIZE,
) -> Batch:
    """A batch as COCO's would be; the same in every process for the same arguments.

    Args:
        size: Height and width of the pictures.
        pictures: Number of pictures.
        seed: One number or several.
        objects: Fewest and most objects a picture, image node not included.
        limit: Most objects in all, image nodes included, see
            :class:`~sg2im_pyg.data.LimitObjects`.
        mask_size: Side of the masks in mask pixels.
    """
    random = np.random.default_rng(seed)
    scenes = [random_scene(random, size, objects, mask_size) for _ in range(pictures)]
    batch = Batch.from_data_list(
        [
            SceneGraph(
                x=torch.from_numpy(scene.categories),
                edge_index=torch.zeros(2, 0, dtype=torch.long),
                edge_attr=torch.zeros(0, dtype=torch.long),
                boxes=torch.from_numpy(scene.boxes),
                masks=torch.as_tensor(scene.masks, dtype=torch.float32),
                image=torch.from_numpy(scene.image).permute(2, 0, 1).unsqueeze(0).contiguous(),
                draw_key=torch.from_numpy(draw_keys(int(random.integers(2**62)), 0, [number])),
            )
            for number, scene in enumerate(scenes)
        ]
    )
    steps = [SampleGeometricRelations(coco_like_vocabulary()), AddImageNode()]
    batch = Compose([*([LimitObjects(limit)] if limit else []), *steps])(batch)
    del batch.draw_key
    return batch


def batch_of(
    config: TrainingConfig,
    number: int,
    objects: tuple[int, int] = OBJECTS,
    limit: int | None = None,
) -> Batch:
    """The random batch of a number, with the sizes and the seed of a configuration; see
    :func:`random_batch`."""
    model = config.model
    return random_batch(
        model.image_size,
        config.batch_size,
        [config.seed, number],
        objects,
        limit,
        model.mask_size or MASK_SIZE,
    )


# ---- What is measured: ours, with all levers on or one off


@dataclass(frozen=True)
class Lever:
    """One thing that makes ours fast, and how to do without it.

    Each variant has a process of its own, so a lever may change anything in it.
    """

    description: str
    configure: Callable[[TrainingConfig], None] | None = None
    """Called before anything is built: changes options, or the library's modules."""
    change: Callable[[Mapping[str, Module]], None] | None = None
    """Called with the networks by their names (``generator`` and, for training, the two
    discriminators), once they and their optimizers are built."""
    parts: tuple[str, ...] = ("train", "generate")
    """What it makes faster."""


def replace_in(place: object, name: str, value: Any) -> None:
    """Puts something where a module or class of the library has a name, in this process.

    Raises:
        AttributeError: If it has no such name (any more): the lever would do nothing.
    """
    getattr(place, name)
    setattr(place, name, value)


def _multiply_layouts_out(config: TrainingConfig) -> None:
    replace_in(sg2im_pyg.model, "pays_to_factor", lambda *_: False)


def _paint_plainly(networks: Mapping[str, Module]) -> None:
    replace_in(networks["generator"].refinement, "economical", False)


def _plain_memory_format(networks: Mapping[str, Module]) -> None:
    for network in networks.values():
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _plain_adam(config: TrainingConfig) -> None:
    def adam(network: Module, config: TrainingConfig, device: torch.device) -> Adam:
        options = config.optimizer
        parameters = network.parameters()
        return Adam(parameters, options.lr, options.betas, foreach=False, fused=False)

    replace_in(sg2im_pyg.training.step, "adam", adam)


def _keep_discriminators_learning(config: TrainingConfig) -> None:
    replace_in(sg2im_pyg.training.step, "frozen", lambda player: nullcontext())


def _generate_as_trained(config: TrainingConfig) -> None:
    replace_in(Sg2Im, "for_generation", lambda model: model)


LEVERS: dict[str, Lever] = {
    "factored layout": Lever(
        "the layout is not multiplied out for the CRN", configure=_multiply_layouts_out
    ),
    "economical CRN": Lever(
        "neither the layout nor upsampled features are written out",
        change=_paint_plainly,
        parts=("train",),
    ),
    "channels-last": Lever("pictures lie pixel by pixel in memory", change=_plain_memory_format),
    "fused Adam": Lever("all weights are moved at once", configure=_plain_adam, parts=("train",)),
    "frozen discriminators": Lever(
        "no gradient for the discriminators in the generator's step",
        configure=_keep_discriminators_learning,
        parts=("train",),
    ),
    "folded batch norm": Lever(
        "batch norm goes into the weights", configure=_generate_as_trained, parts=("generate",)
    ),
}


def build_ours(config: TrainingConfig, off: str | None = None) -> tuple[Fabric, Players]:
    """Our networks and optimizers, weights from the seed.

    Args:
        config: All options; its device, precision and seed too.
        off: Name of one of :data:`LEVERS` to do without.
    """
    config = copy.deepcopy(config)
    lever = None if off is None else LEVERS[off]
    if lever is not None and lever.configure is not None:
        lever.configure(config)
    fabric = launch_fabric(config)
    torch.manual_seed(config.seed)
    players = build_players(fabric, config, coco_like_vocabulary())
    if lever is not None and lever.change is not None:
        lever.change({name: player.bare for name, player in players.named()})
    return fabric, players


def build_our_generator(config: TrainingConfig, off: str | None = None) -> tuple[Fabric, Sg2Im]:
    """The generator alone, as it is to be used for pictures; otherwise as :func:`build_ours`."""
    config = copy.deepcopy(config)
    lever = None if off is None else LEVERS[off]
    if lever is not None and lever.configure is not None:
        lever.configure(config)
    fabric = launch_fabric(config)
    torch.manual_seed(config.seed)
    model = Sg2Im(coco_like_vocabulary(), config.model).to(fabric.device).eval()
    if lever is not None and lever.change is not None:
        lever.change({"generator": model})
    return fabric, model.for_generation()


def step_ours(
    fabric: Fabric, players: Players, graphs: Batch, config: TrainingConfig
) -> dict[str, Tensor]:
    """One training step of ours; the values that it gives for the curves."""
    shape = (graphs.num_graphs, *noise_shape(config)[1:])
    noise = torch.randn(shape, device=fabric.device)
    return training_step(fabric, players, graphs, config, [noise]).values


def paint_ours(fabric: Fabric, model: Sg2Im, graphs: Batch, noise: Tensor) -> Tensor:
    """Pictures of ours from predicted boxes and masks."""
    with torch.inference_mode(), fabric.autocast():
        return model(graphs, boxes=None, masks=None, noise=noise).images


# ---- Works: each is built in the process of its variant


@dataclass
class Work:
    """Something that is done again and again."""

    device: torch.device
    prepare: Callable[[int], Callable[[], Mapping[str, Any]]]
    """Makes everything ready for the run of a number, and gives what is timed; that returns values
    to compare variants by."""


def train_ours(config: TrainingConfig, off: str | None = None) -> Work:
    fabric, players = build_ours(config, off)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(fabric.device)
        torch.manual_seed(number)  # the noise is drawn in the step
        return lambda: step_ours(fabric, players, graphs, config)

    return Work(fabric.device, prepare)


def train_reference(config: TrainingConfig) -> Work:
    fabric, ours = build_ours(config)
    players = reference_step.build_players(coco_like_vocabulary(), config, fabric.device)
    for name, player in ours.named():
        players.networks()[name].load_state_dict(player.bare.state_dict())
    del ours, player  # the memory is measured

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(fabric.device)
        torch.manual_seed(number)

        def step() -> dict[str, float]:
            noise = torch.randn(noise_shape(config), device=fabric.device)
            with fabric.autocast():
                return reference_step.training_step(players, graphs, noise, config.losses)

        return step

    return Work(fabric.device, prepare)


def generate_ours(config: TrainingConfig, off: str | None = None) -> Work:
    fabric, model = build_our_generator(config, off)

    def paint(graphs: Batch, noise: Tensor) -> Tensor:
        return paint_ours(fabric, model, graphs, noise)

    return _painting(config, fabric, paint)


def generate_reference(config: TrainingConfig) -> Work:
    fabric = launch_fabric(config)
    torch.manual_seed(config.seed)
    ours = Sg2Im(coco_like_vocabulary(), config.model)
    model = reference_step.build_generator(coco_like_vocabulary(), config)
    model.load_state_dict(ours.state_dict())
    model.to(fabric.device)
    del ours

    def paint(graphs: Batch, noise: Tensor) -> Tensor:
        with fabric.autocast():
            return reference_step.generate(model, graphs, noise)

    return _painting(config, fabric, paint)


def _painting(
    config: TrainingConfig, fabric: Fabric, paint: Callable[[Batch, Tensor], Tensor]
) -> Work:
    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number).to(fabric.device)
        generator = torch.Generator().manual_seed(number)
        noise = torch.randn(noise_shape(config), generator=generator).to(fabric.device)

        def step() -> dict[str, Tensor]:
            images = paint(graphs, noise)
            return {"mean": images.mean(), "deviation": images.std()}

        return step

    return Work(fabric.device, prepare)


def noise_shape(config: TrainingConfig) -> tuple[int, int, int, int]:
    return (config.batch_size, config.model.layout_noise_dim, *config.model.image_size)


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
            "reference": reference_step.object_layout,
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
        network = reference_step.GraphNetwork(*sizes)
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


def write_scenes(path: Path, count: int, size: tuple[int, int], seed: int) -> None:
    """A store of random scenes, as datasets/prepare.py would write it."""
    random = np.random.default_rng(seed)
    with SceneWriter(path, coco_like_vocabulary(), size, MASK_SIZE) as writer:
        for number in range(count):
            writer.add(replace(random_scene(random, size), image_id=number))


def load_batches(config: TrainingConfig, path: Path, kind: type) -> Work:
    """One pass over a store on one core, by a loader of this kind."""
    torch.set_num_threads(1)
    dataset = SceneDataset(path)
    steps = [SampleGeometricRelations(dataset.vocabulary), AddImageNode()]
    dataset.transform = Compose(steps)
    loader = kind(dataset, batch_size=config.batch_size, shuffle=True)

    def step() -> dict[str, int]:
        return {"pictures": sum(batch.num_graphs for batch in loader)}

    return Work(torch.device("cpu"), lambda number: step)


def train_small(config: TrainingConfig, objects: tuple[int, int], limit: int | None) -> Work:
    """Training on batches of very different numbers of objects, for its memory.

    Args:
        config: A small model.
        objects: Fewest and most objects a picture.
        limit: Most objects a batch that are kept, image nodes included.
    """
    fabric, players = build_ours(config)

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        graphs = batch_of(config, number, objects, limit).to(fabric.device)
        return lambda: step_ours(fabric, players, graphs, config)

    return Work(fabric.device, prepare)


CONVOLUTIONS = [
    (channels, side, pictures, in_channels_last)
    for pictures in (4, 32)
    for channels, side in ((128, 64), (256, 32), (512, 16))
    for in_channels_last in (False, True)
]
"""Channels in and out, side in pixels, pictures, memory format; kernels are 3 x 3. With the
same number of pictures all have the same number of operations."""


def convolve(accelerator: str, precision: str) -> Work:
    """The convolution of a number of :data:`CONVOLUTIONS`, forward, for the machine's peak."""
    device = torch.device(accelerator)
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16

    def prepare(number: int) -> Callable[[], Mapping[str, Any]]:
        channels, side, pictures, in_channels_last = CONVOLUTIONS[number]
        layout = torch.channels_last if in_channels_last else torch.contiguous_format
        images = torch.randn(pictures, channels, side, side, device=device, dtype=dtype)
        images = images.to(memory_format=layout)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
        weight = weight.to(memory_format=layout)

        def step() -> dict[str, Any]:
            with torch.no_grad():
                F.conv2d(images, weight, padding=1)
            return {}

        return step

    return Work(device, prepare)


# ---- Processes


Variant = Callable[[], Work]
"""A function of this module with its arguments (:class:`functools.partial`): it is pickled."""


class Worker:
    """A variant in a process of its own, started anew (spawn) on every system.

    Args:
        name: Name of the variant, for errors.
        variant: What builds the work there.
    """

    def __init__(self, name: str, variant: Variant) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, variant), daemon=True)
        with _interrupts_ignored():  # Ctrl-C is left to the benchmark's process
            self.process.start()
        other.close()

    def ask(self, request: str, *arguments: Any) -> Any:
        """Sends a request, see :func:`_serve`, and waits for the answer.

        Raises:
            Sg2ImError: If the work failed or its process ended.
        """
        try:
            self.connection.send((request, *arguments))
            kind, answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise Sg2ImError(
                f"The process that measures {self.name!r} ended unexpectedly (out of memory, or "
                "killed): measure smaller batches or sizes."
            ) from error
        if kind == "failed":
            raise Sg2ImError(f"The measurement of {self.name!r} failed: {answer}")
        return answer

    def close(self, at_once: bool) -> None:
        if not at_once:
            try:
                self.connection.send(("end",))
                self.process.join(10)
            except OSError:
                pass
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()


@contextmanager
def started(variants: Mapping[str, Variant]) -> Iterator[dict[str, Worker]]:
    """The processes of variants, ready to run; none is left behind.

    Raises:
        Sg2ImError: If one can not be built.
    """
    workers: dict[str, Worker] = {}
    whole = False
    try:
        for name, variant in variants.items():
            workers[name] = Worker(name, variant)
        for worker in workers.values():
            worker.ask("memory")
        yield workers
        whole = True
    finally:
        for worker in workers.values():
            worker.close(at_once=not whole)


def _serve(connection: Connection, variant: Variant) -> None:
    """Answers requests about a work until there are no more.

    Requests: ``step`` (number, whether values are wanted), ``flops`` (number), ``advance`` (first
    number, count), ``memory``, ``end``.
    """
    _start_worker()
    try:
        try:
            work = variant()
        except Exception as error:
            connection.recv()  # of the first request, which this answers
            connection.send(("failed", _explain(error)))
            return
        while True:
            request, *arguments = connection.recv()
            if request == "end":
                return
            try:
                answer = _REQUESTS[request](work, *arguments)
            except Exception as error:
                connection.send(("failed", _explain(error)))
                return
            connection.send(("done", answer))
    except (EOFError, OSError):
        return  # the benchmark's process has gone


class Run(NamedTuple):
    """What came of one run."""

    seconds: float
    elsewhere: float | None
    """Seconds of processors that others than this process took meanwhile."""
    values: dict[str, float]


def _run(work: Work, number: int, with_values: bool) -> Run:
    """One run, timed."""
    step = work.prepare(number)
    _synchronize(work.device)
    busy, own = busy_seconds(), time.process_time()
    start = time.perf_counter()
    values = step()
    _synchronize(work.device)
    seconds = time.perf_counter() - start
    own, now_busy = time.process_time() - own, busy_seconds()
    elsewhere = None if busy is None or now_busy is None else now_busy - busy - own
    numbers = {name: float(value) for name, value in values.items()} if with_values else {}
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise ValueError(f"{', '.join(bad)} is not finite")
    return Run(seconds, elsewhere, numbers)


def _count_flops(work: Work, number: int) -> int:
    """Floating-point operations of the run of a number, as torch counts them: those of matrix
    products and convolutions."""
    step = work.prepare(number)
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    return counter.get_total_flops()


def _advance(work: Work, first: int, count: int) -> dict[str, float | None]:
    for number in range(first, first + count):
        work.prepare(number)()
    return _memory(work)


def _memory(work: Work) -> dict[str, float | None]:
    """Memory in GiB: what is held now and the most so far, of the process or on its GPU."""
    if work.device.type == "cuda":
        _synchronize(work.device)
        now, peak = torch.cuda.memory_reserved(), torch.cuda.max_memory_allocated()
        return {"now": now / 2**30, "peak": peak / 2**30}
    return {"now": resident_memory(), "peak": peak_memory()}


_REQUESTS: dict[str, Callable[..., Any]] = {
    "step": _run,
    "flops": _count_flops,
    "advance": _advance,
    "memory": _memory,
}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _explain(error: Exception) -> str:
    if isinstance(error, Sg2ImError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"{type(error).__name__}: {first_line(error)} ({where})."


def busy_seconds() -> float | None:
    """Seconds that all processors together have worked since the machine started, those that a
    virtual machine was denied among them; none where nothing says it."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    user, nice, system, _, _, *interrupts_and_steal = map(
        int, stat.read_text(encoding="ascii").split(maxsplit=9)[1:9]
    )
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def peak_memory() -> float | None:
    """Most memory that this process has held, in GiB; none where nothing says it."""
    if sys.platform == "linux":  # getrusage would count that of the process that started this one
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if "VmHWM:" in status:
            return int(status.partition("VmHWM:")[2].split()[0]) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_memory() -> float | None:
    """Memory that this process holds now, in GiB; none where nothing says it."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError:
        return None
    return psutil.Process().memory_info().rss / 2**30


# ---- Measurements


LEAST_REPEATS = 3
"""However slow a case is."""


def measure(
    variants: Mapping[str, Variant],
    warmup: int,
    repeats: int,
    minutes: float,
    say: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Times variants in turns: warm-up rounds, then rounds that count.

    Args:
        variants: By their names.
        warmup: Rounds before those that count, at least 1.
        repeats: Rounds that count; fewer, but at least :data:`LEAST_REPEATS` of these, where they
            would take longer than :obj:`minutes`.
        minutes: Time that the rounds should take at most.
        say: Is told what goes on.

    Returns:
        For each variant: ``repeats`` (seconds of each round), ``seconds`` (their median, the lower
        of two), ``others_cores`` (processors that other programs used meanwhile, on average; none
        where it can not be told), ``flops`` (of the run that took the median), ``peak_gib`` and
        ``built_gib`` (most memory of all, and until the networks were built), ``values`` (of the
        first run).

    Raises:
        Sg2ImError: If one fails.
    """
    with started(variants) as workers:
        built = {name: worker.ask("memory")["peak"] for name, worker in workers.items()}
        runs: dict[str, list[Run]] = {name: [] for name in variants}
        values: dict[str, dict[str, float]] = {}
        for number in range(warmup):
            begin = time.perf_counter()
            for name, worker in workers.items():
                values.setdefault(name, worker.ask("step", number, number == 0).values)
            a_round = time.perf_counter() - begin
        rounds = min(repeats, max(int(60 * minutes / a_round), LEAST_REPEATS))
        fewer = "" if rounds == repeats else f" (instead of {repeats}, to save time)"
        say(f"{rounds} rounds{fewer} of {a_round:.2g} s, about {rounds * a_round / 60:.1f} min")
        for number in range(warmup, warmup + rounds):
            for name, worker in workers.items():
                runs[name].append(worker.ask("step", number, False))
        peaks = {name: worker.ask("memory")["peak"] for name, worker in workers.items()}
        figures = {}
        for name, worker in workers.items():
            seconds = [run.seconds for run in runs[name]]
            median = statistics.median_low(seconds)
            figures[name] = {
                "seconds": median,
                "repeats": seconds,
                "others_cores": cores_of_others(runs[name]),
                "flops": worker.ask("flops", warmup + seconds.index(median)),
                "peak_gib": peaks[name],
                "built_gib": built[name],
                "values": values[name],
            }
    return figures


def cores_of_others(runs: Sequence[Run]) -> float | None:
    """Processors that other programs used during runs, on average."""
    elsewhere = [run.elsewhere for run in runs if run.elsewhere is not None]
    seconds = sum(run.seconds for run in runs)
    if len(elsewhere) < len(runs) or seconds < _SHORTEST:
        return None
    return max(0.0, sum(elsewhere) / seconds)


_SHORTEST = 0.3
"""Seconds in all: the system counts in hundredths, in which shorter ones would drown."""


def measure_convolutions(
    accelerator: str, precision: str, repeats: int, most_seconds: float = 1.0
) -> list[dict[str, Any]]:
    """GFLOP/s of each of :data:`CONVOLUTIONS` that does not take too long.

    Args:
        accelerator: ``cpu`` or ``cuda``.
        precision: As the training's.
        repeats: Runs of each, of which the median counts.
        most_seconds: Those that would take longer are left out.
    """
    measured: list[dict[str, Any]] = []
    longest = 0.0  # seconds a picture
    with started({"convolutions": partial(convolve, accelerator, precision)}) as workers:
        worker = workers["convolutions"]
        for number, (channels, side, pictures, in_channels_last) in enumerate(CONVOLUTIONS):
            if measured and pictures * longest > most_seconds:
                continue
            worker.ask("step", number, False)
            seconds = [worker.ask("step", number, False).seconds for _ in range(repeats)]
            median = statistics.median_low(seconds)
            flops = 2 * 9 * channels**2 * side**2 * pictures
            measured.append(
                {
                    "channels": channels,
                    "side": side,
                    "pictures": pictures,
                    "memory_format": "channels_last" if in_channels_last else "contiguous",
                    "repeats": seconds,
                    "gflops": flops / median / 1e9,
                }
            )
            longest = max(longest, median / pictures)
    return measured


def measure_memory(
    variant: Variant, batches: int, every: int, say: Callable[[str], None]
) -> list[dict[str, float | None]]:
    """Memory of one process over batches: ``batch``, ``now`` and ``peak`` in GiB, every so many
    batches."""
    samples: list[dict[str, float | None]] = []
    with started({"training": variant}) as workers:
        begin = time.perf_counter()
        for first in range(0, batches, every):
            count = min(every, batches - first)
            found = workers["training"].ask("advance", first, count)
            samples.append({"batch": first + count, **found})
            if first == 0 and batches > every:
                each = (time.perf_counter() - begin) / count
                say(f"{batches} batches of {each:.2g} s, about {batches * each / 60:.1f} min")
    return samples


def measure_processes(
    config: TrainingConfig, counts: Sequence[int], warmup: int, repeats: int
) -> list[dict[str, Any]]:
    """Training in several processes, started as torchrun starts them.

    On a CPU each process has one thread, on GPUs each has one of these. They share a batch of
    :attr:`TrainingConfig.batch_size` pictures.

    Args:
        config: All options.
        counts: Numbers of processes; the first one is compared with.
        warmup: Steps before those that count.
        repeats: Steps that count.

    Returns:
        For each number: ``processes``, ``seconds`` (median of a step), ``repeats``,
        ``pictures_per_second`` and ``efficiency`` (pictures a second and process, relative to the
        first number).

    Raises:
        Sg2ImError: If the batch can not be shared, or a training fails.
    """
    measured: list[dict[str, Any]] = []
    for count in counts:
        if config.batch_size % count:
            raise Sg2ImError(
                f"A batch of {config.batch_size} pictures can not be shared by {count} processes: "
                "give a multiple with --batches."
            )
        seconds = _train_in_processes(config, count, warmup, repeats)
        median = statistics.median_low(seconds)
        rate = config.batch_size / median
        base = measured[0] if measured else {"pictures_per_second": rate, "processes": count}
        per_process = base["pictures_per_second"] / base["processes"]
        measured.append(
            {
                "processes": count,
                "seconds": median,
                "repeats": seconds,
                "pictures_per_second": rate,
                "efficiency": rate / count / per_process,
            }
        )
    return measured


_ERROR_LINE = re.compile(r"^(?:\[rank\d+\]: ?)?([\w.]+(?:Error|Exception): .+)$", re.MULTILINE)
"""The last line of a traceback, as a process or torchrun for it prints it."""


def _train_in_processes(
    config: TrainingConfig, count: int, warmup: int, repeats: int
) -> list[float]:
    hardware = replace(config.hardware, devices=str(count))
    config = replace(config, hardware=hardware)
    command = [sys.executable]
    if count > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = dict(os.environ)
    if hardware.accelerator == "cpu":
        environment["OMP_NUM_THREADS"] = "1"
    with TemporaryDirectory() as folder:
        order, answer, log = (Path(folder) / name for name in ("order", "answer", "log"))
        order.write_bytes(pickle.dumps((config, warmup, repeats, str(answer))))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, str(Path(__file__).resolve()), str(order)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                process.wait()
            finally:
                process.terminate()  # torchrun then ends the processes that it started
                process.wait()
        if not answer.is_file():  # it is written once all have made their last step
            said = log.read_text(encoding="utf-8", errors="replace")
            errors = _ERROR_LINE.findall(said) or said.splitlines()[-1:] or ["it said nothing"]
            raise Sg2ImError(f"The training in {count} process(es) failed: {errors[0].strip()}")
        return json.loads(answer.read_text(encoding="utf-8"))


def train_as_one_of_several(order: Path) -> NoReturn:
    """What each process does that :func:`measure_processes` starts; the first one writes the
    seconds of each step."""
    config, warmup, repeats, answer = pickle.loads(order.read_bytes())
    status = 1
    try:
        fabric, players = build_ours(config)
        share = replace(config, batch_size=config.batch_size // fabric.world_size)
        seconds = []
        for number in range(warmup + repeats):
            graphs = batch_of(share, number * fabric.world_size + fabric.global_rank)
            graphs = graphs.to(fabric.device)
            fabric.barrier()
            _synchronize(fabric.device)
            start = time.perf_counter()
            step_ours(fabric, players, graphs, config)
            _synchronize(fabric.device)
            fabric.barrier()
            seconds.append(time.perf_counter() - start)
        if fabric.is_global_zero:
            with replace_when_whole(answer) as temporary:
                temporary.write_text(json.dumps(seconds[warmup:]), encoding="utf-8")
        status = 0
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    # Taking the process group down in order may never end: it waits, holding Python's lock, for
    # gloo's threads, which need that lock to give their last gradients free.
    os._exit(status)


if __name__ == "__main__":
    train_as_one_of_several(Path(sys.argv[1]))
