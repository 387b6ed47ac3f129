"""What makes ours fast: levers that are on and can be switched off, and options that are off.

Each variant of eval/benchmark.py has a process of its own, so a lever may change anything in it.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch.nn import LeakyReLU, Module, ReLU

from benchmarks.measuring import Work, started
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.training.config import HardwareConfig, TrainingConfig


@dataclass(frozen=True)
class Lever:
    """One thing that makes ours fast, and how to do without it."""

    description: str
    switch_off: Callable[[], None] | None = None
    """Called before anything is built: replaces functions of the library."""
    change: Callable[[Mapping[str, Module]], None] | None = None
    """Called with the networks by their names (``generator`` and, for training, the two
    discriminators), once they and their optimizers are built."""
    parts: tuple[str, ...] = ("train", "generate")
    """What it makes faster, or smaller."""


def replace_in(place: object, name: str, value: Any) -> None:
    """Puts something where a module or class of the library has a name, in this process.

    Raises:
        AttributeError: If it has no such name (any more): the lever would do nothing.
    """
    getattr(place, name)
    setattr(place, name, value)


# The modules of the training are imported where they are needed: a process that generates pictures
# is measured without them.


def _multiply_layouts_out() -> None:
    import sg2im_pyg.model

    replace_in(sg2im_pyg.model, "pays_to_factor", lambda *_: False)


def _double_features() -> None:
    import sg2im_pyg.nn.heads
    import sg2im_pyg.nn.refinement

    for module in (sg2im_pyg.nn.refinement, sg2im_pyg.nn.heads):
        replace_in(module, "pays_to_merge", lambda *_: False)


def _keep_plain_kernels() -> None:
    """A generator that only generates prepares kernels in channels-last order by itself."""
    from sg2im_pyg.nn.refinement import Kernels, _LayoutConv2d

    prepare = _LayoutConv2d._kernels

    def kernels(conv: _LayoutConv2d, *parts: Any) -> Kernels:
        made = prepare(conv, *parts)
        if conv.prepared is None:
            return made
        plain = Kernels(*(kernel.contiguous() for kernel in made))
        conv.prepared.update({key: plain for key, kept in conv.prepared.items() if kept is made})
        return plain

    replace_in(_LayoutConv2d, "_kernels", kernels)


def _lay_out_plainly(networks: Mapping[str, Module]) -> None:
    for network in networks.values():
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _keep_what_activations_overwrite(networks: Mapping[str, Module]) -> None:
    for module in networks["generator"].modules():
        if isinstance(module, LeakyReLU | ReLU):
            module.inplace = False


def _move_weights_one_by_one() -> None:
    from torch.optim import Adam

    import sg2im_pyg.training.players

    def adam(network: Module, config: TrainingConfig, device: torch.device) -> Adam:
        options = config.optimizer
        parameters = network.parameters()
        return Adam(parameters, options.lr, options.betas, foreach=False, fused=False)

    replace_in(sg2im_pyg.training.players, "adam", adam)


def _keep_discriminators_learning() -> None:
    import sg2im_pyg.training.step

    replace_in(sg2im_pyg.training.step, "frozen", lambda player: nullcontext())


def _generate_as_trained() -> None:
    from sg2im_pyg import Sg2Im

    replace_in(Sg2Im, "for_generation", lambda model: model)


def _read_losses_at_once() -> None:
    import sg2im_pyg.training.step

    make_step = sg2im_pyg.training.step.training_step

    def step(*arguments: Any) -> Any:
        result = make_step(*arguments)
        result.read()
        return result

    replace_in(sg2im_pyg.training.step, "training_step", step)


LEVERS: dict[str, Lever] = {
    "factored layout": Lever(
        "the layout is not multiplied out for the CRN", switch_off=_multiply_layouts_out
    ),
    "merged upsampling": Lever(
        "doubled features are convolved without doubling them", switch_off=_double_features
    ),
    "channels-last": Lever(
        "pictures lie pixel by pixel in memory",
        switch_off=_keep_plain_kernels,
        change=_lay_out_plainly,
    ),
    "in-place activations": Lever(
        "the generator's activations overwrite what they are given",
        change=_keep_what_activations_overwrite,
        parts=("train",),
    ),
    "fused Adam": Lever(
        "all weights are moved at once", switch_off=_move_weights_one_by_one, parts=("train",)
    ),
    "frozen discriminators": Lever(
        "no gradient for the discriminators in the generator's step",
        switch_off=_keep_discriminators_learning,
        parts=("train",),
    ),
    "losses read when logged": Lever(
        "the processor does not wait for the losses of each step",
        switch_off=_read_losses_at_once,
        parts=("train",),
    ),
    "folded batch norm": Lever(
        "batch norm goes into the weights", switch_off=_generate_as_trained, parts=("generate",)
    ),
}
"""Those that are on, by name."""


@dataclass(frozen=True)
class Option:
    """One thing that can make ours faster and that is off by default."""

    description: str
    hardware: Mapping[str, str]
    """Options of :class:`~sg2im_pyg.training.config.HardwareConfig` that switch it on."""
    obstacle: Callable[[str], str | None]
    """Says why an accelerator can not have it, if it can not."""
    parts: tuple[str, ...] = ("train",)
    accelerators: tuple[str, ...] = ("cpu", "cuda")
    """For others it means nothing."""
    changes_values: bool = False

    def switched_on(self, config: TrainingConfig) -> TrainingConfig:
        hardware = {**asdict(config.hardware), **self.hardware}
        return replace(config, hardware=HardwareConfig(**hardware))


def _obstacle_to_bfloat16(accelerator: str) -> str | None:
    if accelerator == "cuda":
        return None
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if supported is not None and supported():
        return None
    return "this processor does not multiply bfloat16 (AVX512-BF16)"


def _obstacle_to_compiling(accelerator: str) -> str | None:
    """Whether there is a compiler is found out in a process of its own."""
    try:
        with started({"torch.compile": partial(compile_something, accelerator)}):
            return None
    except Sg2ImError as error:
        return str(error).removesuffix(".")


def compile_something(accelerator: str) -> Work:
    """Compiles a small function; there is nothing to run.

    Raises:
        Exception: If nothing can be compiled.
    """
    device = torch.device(accelerator)
    torch.compile(torch.sin)(torch.zeros(8, device=device))
    return Work(device, lambda number: dict)


OPTIONS: dict[str, Option] = {
    "bf16-mixed": Option(
        "products in bfloat16",
        {"precision": "bf16-mixed"},
        _obstacle_to_bfloat16,
        parts=("train", "generate"),
        changes_values=True,
    ),
    "torch.compile": Option(
        "parts of the networks are compiled", {"compile": "default"}, _obstacle_to_compiling
    ),
    "CUDA graphs": Option(
        "compiled, and parts of fixed shapes replayed as CUDA graphs",
        {"compile": "reduce-overhead"},
        _obstacle_to_compiling,
        accelerators=("cuda",),
    ),
}
"""Those that are off, by name."""
