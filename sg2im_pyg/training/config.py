"""All options of a training run, as one tree of dataclasses.

The texts below the fields are the help texts of ``train/run.py``; the YAML files in
``training/configs`` override what differs from these defaults.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.model_config import MOST_CHANNELS, ModelConfig
from sg2im_pyg.nn.convolution_sizes import PUBLISHED_LAYERS, side_after, smallest_input
from sg2im_pyg.sources.registry import find_source
from sg2im_pyg.system.options import check_options, option
from sg2im_pyg.training.losses import LossConfig

_MOST_DEVICES = 1024  # of a machine
_MOST_CONVOLUTIONS = 32  # as of a file, see formats/limits.py


@dataclass
class DataConfig:
    """Where the pictures come from and how graphs are drawn from them."""

    name: str = "coco"
    """Which source of data: landscapes (drawn on first use), coco or visual_genome (these need
    datasets/prepare.py), or another one of the table of sources."""
    root: str | None = None
    """Folder with the prepared data, <root>/<height>x<width>/train.h5 and so on; default:
    datasets/<name> in the repository."""
    relationships: bool = True
    """False leaves only the edges to the image node (the paper's "no relationships")."""
    max_objects: int | None = option(None, least=2)
    """Most objects a picture, image node included; others are left out at random."""
    subsampling: Literal["exact", "as-released"] = "exact"
    """exact: never more than max_objects; as-released: one more (11 for 10) where relationships
    have more objects than that leaves room for, an oversight of the release."""
    validation_max_objects: int | None = option(None, least=0)
    """The same number for validation; null: max_objects, or, where that is null, what the source is
    scored with (10 on Visual Genome, as in the release, all elsewhere); 0: all."""
    max_objects_per_batch: int | None = option(None, least=2)
    """Most objects in all pictures together that a process computes at a time, image nodes
    included: bounds its memory. Where there are more, the pictures with the most lose some at
    random."""
    limit: int | None = option(None, least=1)
    """Use only the first so many training pictures."""
    validation_split: Literal["val", "train"] = "val"
    """Split that is validated on; train shows how well a small set can be learnt by heart."""
    validation_limit: int = option(1024, least=1)
    """Most pictures of the validation split that are used."""
    workers: int = option(2, least=0, most=256)
    """Processes that read data beside the training; 0 reads within it."""
    storage: Literal["disk", "memory", "device"] = "disk"
    """Where the training pictures are held: left on disk, read into memory once, or held on the
    device of the training, which then makes the batches itself (workers have no meaning)."""


@dataclass
class DiscriminatorConfig:
    """What both discriminators have. The defaults are the release's."""

    enabled: bool = True
    """False removes it and its losses."""
    layers: tuple[tuple[int, int, int], ...] = option(PUBLISHED_LAYERS, least=1, most=MOST_CHANNELS)
    """Kernel, channels and stride of each convolution."""
    normalization: Literal["batch", "instance", "spectral", "none"] = "batch"
    """Normalization before each convolution but the first; spectral: that of the weights."""


@dataclass
class ImageDiscriminatorConfig(DiscriminatorConfig):
    """The discriminator of whole pictures. The defaults are the release's."""

    patch_scores: bool = False
    """True: one score a patch (paper); False: all channels of the last convolution (release)."""
    scales: int = option(1, least=1, most=8)
    """Number of such networks; each further one sees the pictures at half the size, as long as its
    layers fit them."""
    conditional: bool = False
    """Whether it sees the categories at each place beside the picture."""


@dataclass
class ObjectDiscriminatorConfig(DiscriminatorConfig):
    """The discriminator of objects' crops. The defaults are the release's."""

    object_size: int = option(32, least=1, most=4096)
    """Side of the crops in pixels."""


@dataclass
class SegmentingDiscriminatorConfig:
    """The discriminator that puts each pixel into a category or takes it for generated (OASIS)."""

    enabled: bool = False
    """True adds it and its loss."""
    channels: int = option(32, least=1, most=MOST_CHANNELS)
    """Channels at full size; four times as many at an eighth of it."""
    normalization: Literal["spectral", "none"] = "spectral"
    """Whether its weights are normalized."""


@dataclass
class OptimizerConfig:
    """Adam, one for the generator and one for each discriminator."""

    lr: float = option(1e-4, above=0)
    """Learning rate; the first one where there is a schedule."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine lets the learning rate fall to zero over all steps, along half a cosine."""
    warmup_steps: int = option(0, least=0)
    """Steps over which the learning rate rises to its value, in equal parts."""
    betas: tuple[float, float] = option((0.9, 0.999), least=0, below=1)
    """Decay of the running means of the gradient and of its square."""
    discriminator_lr: float | None = option(None, above=0)
    """First learning rate of the discriminators; null: that of the generator."""
    discriminator_betas: tuple[float, float] | None = option(None, least=0, below=1)
    """Decays for the discriminators; null: those of the generator."""
    discriminator_steps: int = option(1, least=1, most=1000)
    """Times that the discriminators learn from each batch."""
    eval_mode_after: int = option(100_000, least=0)
    """Step after which the generator stays in eval mode (batch norm frozen) with its optimizer
    restarted, as in the release; 0 for never."""
    gradient_clip: float | None = option(None, above=0)
    """Most that the norm of a network's gradient may be; a larger one is scaled down to it."""
    ema_decay: float | None = option(None, least=0, below=1)
    """Decay of a moving average of the generator's weights, 0.999 for example; samples, validation
    and the generator of the checkpoints are then the average."""
    discriminator_clip: float | None = option(None, above=0)
    """Keep each weight of the discriminators within plus and minus this value; the Wasserstein
    loss (losses.adversarial_kind: wgan) needs it, 0.01 for example."""


@dataclass
class HardwareConfig:
    """Where the run takes place (Lightning Fabric's options)."""

    accelerator: str = "auto"
    """auto, cpu, cuda or mps."""
    devices: str = "auto"
    """Number of devices (processes) a machine, or auto."""
    num_nodes: int = option(1, least=1, most=10_000)
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
    segmenting_discriminator: SegmentingDiscriminatorConfig = field(
        default_factory=SegmentingDiscriminatorConfig
    )
    """The discriminator of single pixels."""
    losses: LossConfig = field(default_factory=LossConfig)
    """Weights and kinds of the losses."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimizers."""
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    """Device, precision and processes."""
    steps: int = option(1_000_000, least=1)
    """Training steps in all."""
    batch_size: int = option(32, least=1, most=2**20)
    """Pictures a step, over all processes."""
    predicted_masks: float = option(0.0, least=0, most=1)
    """Share of the pictures of a step whose layout is made of the predicted masks, so that the
    generator knows such; the others have true ones (paper)."""
    accumulation: int = option(1, least=1, most=2**20)
    """Parts in which a process computes its pictures of a step, one after the other, to save
    memory; their gradients are summed. Batch norm normalises each part by itself."""
    seed: int = option(0, least=0, most=2**32 - 1)
    """Fixes weights, order of the data, random relations and noise."""
    log_every: int = option(50, least=1)
    """Steps between two points of the curves in TensorBoard."""
    sample_every: int = option(5_000, least=1)
    """Steps between two sample pictures."""
    validate_every: int = option(10_000, least=1)
    """Steps between two validations."""
    checkpoint_every: int = option(10_000, least=1)
    """Steps between two checkpoints (one is also written at the end and on Ctrl-C)."""
    early_stopping: int = option(0, least=0)
    """End after so many validations in a row without a better one; 0 for never."""
    max_skipped_steps: int = option(20, least=1)
    """End after so many steps in a row whose losses are not finite; single ones are skipped."""
    init: str | None = None
    """Checkpoint whose weights a new training starts from, of this library or of the 2018 release;
    names of the vocabulary are matched. A resumed run has its own weights."""

    def __post_init__(self) -> None:
        check_options(self)
        find_source(self.data.name)
        for name in ("data", "optimizer", "hardware"):
            check_options(getattr(self, name), f"{name}.")
        if self.optimizer.gradient_clip is not None and self.hardware.precision == "16-mixed":
            raise Sg2ImError(
                "optimizer.gradient_clip can not be had with hardware.precision=16-mixed, whose "
                "gradients are scaled: use bf16-mixed or 32-true."
            )
        penalties = self.losses.r1 or self.losses.r2
        if penalties and self.hardware.precision == "16-mixed":
            raise Sg2ImError(
                "losses.r1 and losses.r2 can not be had with hardware.precision=16-mixed, whose "
                "gradients are scaled: use bf16-mixed or 32-true."
            )
        if penalties and self.hardware.compile != "off":
            raise Sg2ImError(
                "losses.r1 and losses.r2 can not be had with hardware.compile: compiled networks "
                "have no second derivatives: switch one of them off."
            )
        check_options(self.segmenting_discriminator, "segmenting_discriminator.")
        if self.segmenting_discriminator.enabled and any(s % 8 for s in self.model.image_size):
            raise Sg2ImError(
                "segmenting_discriminator needs pictures whose sides are multiples of 8, got "
                f"{self.model.image_size}."
            )
        devices = self.hardware.devices
        if devices.isdecimal() and not 1 <= int(devices[:9]) <= _MOST_DEVICES:
            raise Sg2ImError(
                f"hardware.devices must be auto, or a number from 1 to {_MOST_DEVICES:,} or a list "
                f"of devices, got {shortened(devices)}."
            )
        for name in ("image_discriminator", "object_discriminator"):
            player = getattr(self, name)
            if player.enabled is False:  # not None, which check_options refuses
                continue
            check_options(player, f"{name}.")
            if len(player.layers) > _MOST_CONVOLUTIONS:
                raise Sg2ImError(
                    f"{name}.layers must name at most {_MOST_CONVOLUTIONS} convolutions, got "
                    f"{len(player.layers):,}."
                )
            side = getattr(player, "object_size", min(self.model.image_size))
            player.layers = tuple(map(tuple, player.layers))
            if not player.layers:
                raise Sg2ImError(f"{name}.layers must name at least one convolution.")
            if side < smallest_input(player.layers):
                raise Sg2ImError(
                    f"{name}.layers need pictures of at least {smallest_input(player.layers)} "
                    f"pixels a side, got {side}: choose larger pictures or fewer layers."
                )
            normalized = player.normalization in ("batch", "instance")
            if normalized and side_after(player.layers[:-1], side) < 2:
                raise Sg2ImError(
                    f"{name}.layers leave one pixel of {side} before their last convolution, which "
                    "can not be normalized: choose larger pictures, fewer layers, or "
                    f"{name}.normalization: none."
                )
            if player.normalization == "batch" and penalties:
                raise Sg2ImError(
                    "losses.r1 and losses.r2 are gradients at single pictures, which "
                    f"{name}.normalization: batch mixes: choose spectral, instance or none."
                )
        judge = self.image_discriminator
        while judge.scales > 1 and not self._sees(judge.scales):
            judge.scales -= 1
        matching = judge.enabled and self.losses.feature_matching
        if matching and len(judge.layers) + judge.patch_scores < 2:
            raise Sg2ImError(
                "losses.feature_matching compares layers before the scores, of which "
                "image_discriminator has none: give it one more, or patch_scores."
            )

    def _sees(self, scales: int) -> bool:
        """Whether the layers of the image discriminator fit the smallest pictures of its scales."""
        judge = self.image_discriminator
        side = min(self.model.image_size) // 2 ** (scales - 1)
        normalized = judge.normalization in ("batch", "instance")
        enough = not normalized or side_after(judge.layers[:-1], side) >= 2
        return side >= smallest_input(judge.layers) and enough


def options_to_yaml(options: dict[str, Any]) -> str:
    """All options of a run as YAML, readable by ``train/run.py --config``."""
    return yaml.safe_dump(plain_options(options), sort_keys=False)


def differing_options(part: str, there: Any, here: Any) -> list[tuple[str, Any, Any]]:
    """Names and values of the options that a part of a run has otherwise than a file.

    Args:
        part: Name of the part.
        there: Its options in the file.
        here: Its options in the run; only those that both have are compared.
    """
    there, here = plain_options(there), plain_options(here)
    both = [name for name in there if name in here] if isinstance(there, dict) else []
    return [(f"{part}.{n}", there[n], here[n]) for n in both if there[n] != here[n]]


def listed_differences(differing: list[tuple[str, Any, Any]]) -> str:
    """What :func:`differing_options` found, in words."""
    return ", ".join(f"{name}: {there} there, {here} here" for name, there, here in differing)


def plain_options(value: Any) -> Any:
    """Options with lists in place of tuples, as a YAML file gives them."""
    if isinstance(value, dict):
        return {key: plain_options(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_options(entry) for entry in value]
    return value
