"""All options of a training run, as one tree of dataclasses.

The texts below the fields are the help texts of ``train/run.py``; the YAML files in
``training/configs`` override what differs from these defaults.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.model_config import MOST_CHANNELS, ModelConfig
from sg2im_pyg.nn.discriminators import PUBLISHED_LAYERS, side_after, smallest_input
from sg2im_pyg.training.losses import LossConfig


@dataclass
class DataConfig:
    """Where the pictures come from and how graphs are drawn from them."""

    name: Literal["landscapes", "coco", "visual_genome"] = "coco"
    """Which data set: landscapes are drawn on first use, the others need datasets/prepare.py."""
    root: str | None = None
    """Folder with the prepared data, <root>/<height>x<width>/train.h5 and so on; default:
    datasets/<name> in the repository."""
    relationships: bool = True
    """False leaves only the edges to the image node (the paper's "no relationships")."""
    max_objects: int | None = None
    """Most objects a picture, image node included; others are left out at random."""
    max_objects_per_batch: int | None = None
    """Most objects in all pictures together that a process computes at a time, image nodes
    included: bounds its memory. Where there are more, the pictures with the most lose some at
    random."""
    limit: int | None = None
    """Use only the first so many training pictures."""
    validation_split: Literal["val", "train"] = "val"
    """Split that is validated on; train shows how well a small set can be learnt by heart."""
    validation_limit: int = 1024
    """Most pictures of the validation split that are used."""
    workers: int = 2
    """Processes that read data beside the training; 0 reads within it."""
    storage: Literal["disk", "memory", "device"] = "disk"
    """Where the training pictures are held: left on disk, read into memory once, or held on the
    device of the training, which then makes the batches itself (workers have no meaning)."""


@dataclass
class ImageDiscriminatorConfig:
    """The discriminator of whole pictures. The defaults are the release's."""

    enabled: bool = True
    """False removes it and its loss."""
    layers: tuple[tuple[int, int, int], ...] = PUBLISHED_LAYERS
    """Kernel, channels and stride of each convolution."""
    normalization: Literal["batch", "instance", "none"] = "batch"
    """Normalization before each convolution but the first."""
    patch_scores: bool = False
    """True: one score a patch (paper); False: all channels of the last convolution (release)."""


@dataclass
class ObjectDiscriminatorConfig:
    """The discriminator of objects' crops. The defaults are the release's."""

    enabled: bool = True
    """False removes it and its two losses."""
    layers: tuple[tuple[int, int, int], ...] = PUBLISHED_LAYERS
    """Kernel, channels and stride of each convolution."""
    normalization: Literal["batch", "instance", "none"] = "batch"
    """Normalization before each convolution but the first."""
    object_size: int = 32
    """Side of the crops in pixels."""


@dataclass
class OptimizerConfig:
    """Adam, one for the generator and one for each discriminator."""

    lr: float = 1e-4
    """Learning rate; the first one where there is a schedule."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine lets the learning rate fall to zero over all steps, along half a cosine."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises to its value, in equal parts."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eval_mode_after: int = 100_000
    """Step after which the generator stays in eval mode (batch norm frozen) with its optimizer
    restarted, as in the release; 0 for never."""
    gradient_clip: float | None = None
    """Most that the norm of a network's gradient may be; a larger one is scaled down to it."""
    ema_decay: float | None = None
    """Decay of a moving average of the generator's weights, 0.999 for example; samples, validation
    and the generator of the checkpoints are then the average."""
    discriminator_clip: float | None = None
    """Keep each weight of the discriminators within plus and minus this value; the Wasserstein
    loss (losses.adversarial_kind: wgan) needs it, 0.01 for example."""


@dataclass
class HardwareConfig:
    """Where the run takes place (Lightning Fabric's options)."""

    accelerator: str = "auto"
    """auto, cpu, cuda or mps."""
    devices: str = "auto"
    """Number of devices (processes) a machine, or auto."""
    num_nodes: int = 1
    """Number of machines."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    """Number format: full, mixed half, or mixed bfloat16 precision."""
    sync_batchnorm: bool = True
    """Normalise by the batch of all processes together, so that their number changes no result;
    false: each process by its own part of the batch."""
    compile: Literal["off", "default", "reduce-overhead"] = "off"
    """Compile the networks with torch.compile; reduce-overhead also replays the work as CUDA
    graphs. The first steps take minutes."""


@dataclass
class TrainingConfig:
    """A training run. The defaults are the published settings for COCO at 64 × 64."""

    data: DataConfig = field(default_factory=DataConfig)
    """Where the pictures come from."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The generator."""
    image_discriminator: ImageDiscriminatorConfig = field(default_factory=ImageDiscriminatorConfig)
    """The discriminator of whole pictures."""
    object_discriminator: ObjectDiscriminatorConfig = field(
        default_factory=ObjectDiscriminatorConfig
    )
    """The discriminator of objects' crops."""
    losses: LossConfig = field(default_factory=LossConfig)
    """Weights and kinds of the losses."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimizers."""
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    """Device, precision and processes."""
    steps: int = 1_000_000
    """Training steps in all."""
    batch_size: int = 32
    """Pictures a step, over all processes."""
    accumulation: int = 1
    """Parts in which a process computes its pictures of a step, one after the other, to save
    memory; their gradients are summed. Batch norm normalises each part by itself."""
    seed: int = 0
    """Fixes weights, order of the data, random relations and noise."""
    log_every: int = 50
    """Steps between two points of the curves in TensorBoard."""
    sample_every: int = 5_000
    """Steps between two sample pictures."""
    validate_every: int = 10_000
    """Steps between two validations."""
    checkpoint_every: int = 10_000
    """Steps between two checkpoints (one is also written at the end and on Ctrl-C)."""
    early_stopping: int = 0
    """End after so many validations in a row without a better one; 0 for never."""
    max_skipped_steps: int = 20
    """End after so many steps in a row whose losses are not finite; single ones are skipped."""
    init: str | None = None
    """Checkpoint whose weights a new training starts from, of this library or of the 2018 release;
    names of the vocabulary are matched. A resumed run has its own weights."""

    def __post_init__(self) -> None:
        at_least = {
            "steps": 1,
            "batch_size": 1,
            "accumulation": 1,
            "log_every": 1,
            "sample_every": 1,
            "validate_every": 1,
            "checkpoint_every": 1,
            "early_stopping": 0,
            "max_skipped_steps": 1,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise Sg2ImError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        data_at_least = {"limit": 1, "validation_limit": 1, "workers": 0, "max_objects": 2}
        data_at_least["max_objects_per_batch"] = 2
        for name, least in data_at_least.items():
            value = getattr(self.data, name)
            if value is not None and value < least:
                raise Sg2ImError(f"data.{name} must be at least {least}, got {value}.")
        optimizer = self.optimizer
        if not 0 <= self.seed < 2**32:
            raise Sg2ImError(f"seed must lie between 0 and {2**32 - 1}, got {self.seed}.")
        if not 0 < optimizer.lr < math.inf:
            raise Sg2ImError(f"optimizer.lr must be more than 0, got {optimizer.lr}.")
        if not all(0 <= beta < 1 for beta in optimizer.betas):
            raise Sg2ImError(
                f"optimizer.betas must be two numbers from 0 to below 1, got {optimizer.betas}."
            )
        if optimizer.eval_mode_after < 0:
            raise Sg2ImError(
                "optimizer.eval_mode_after must be a step, or 0 for never, got "
                f"{optimizer.eval_mode_after}."
            )
        if optimizer.warmup_steps < 0:
            raise Sg2ImError(
                f"optimizer.warmup_steps must be at least 0, got {optimizer.warmup_steps}."
            )
        for name in ("gradient_clip", "discriminator_clip"):
            clip = getattr(optimizer, name)
            if clip is not None and not 0 < clip < math.inf:
                raise Sg2ImError(f"optimizer.{name} must be more than 0, got {clip}.")
        if optimizer.gradient_clip is not None and self.hardware.precision == "16-mixed":
            raise Sg2ImError(
                "optimizer.gradient_clip can not be had with hardware.precision=16-mixed, whose "
                "gradients are scaled: use bf16-mixed or 32-true."
            )
        decay = optimizer.ema_decay
        if decay is not None and not 0 <= decay < 1:
            raise Sg2ImError(f"optimizer.ema_decay must lie from 0 to below 1, got {decay}.")
        for name, side in (
            ("image_discriminator", min(self.model.image_size)),
            ("object_discriminator", self.object_discriminator.object_size),
        ):
            player = getattr(self, name)
            player.layers = tuple(tuple(layer) for layer in player.layers)
            if not player.enabled:
                continue
            if not player.layers:
                raise Sg2ImError(f"{name}.layers must name at least one convolution.")
            if any(not 1 <= number <= MOST_CHANNELS for layer in player.layers for number in layer):
                raise Sg2ImError(
                    f"{name}.layers must be lists of kernel, channels and stride, all from 1 to "
                    f"{MOST_CHANNELS}, got {[list(layer) for layer in player.layers]}."
                )
            if side < smallest_input(player.layers):
                raise Sg2ImError(
                    f"{name}.layers need pictures of at least {smallest_input(player.layers)} "
                    f"pixels a side, got {side}: choose larger pictures or fewer layers."
                )
            if player.normalization != "none" and side_after(player.layers[:-1], side) < 2:
                raise Sg2ImError(
                    f"{name}.layers leave one pixel of {side} before their last convolution, which "
                    "can not be normalized: choose larger pictures, fewer layers, or "
                    f"{name}.normalization: none."
                )


def options_to_yaml(options: dict[str, Any]) -> str:
    """All options of a run as YAML, readable by ``train/run.py --config``."""
    return yaml.safe_dump(plain_options(options), sort_keys=False)


def plain_options(value: Any) -> Any:
    """Options with lists in place of tuples, as a YAML file gives them."""
    if isinstance(value, dict):
        return {key: plain_options(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_options(entry) for entry in value]
    return value
