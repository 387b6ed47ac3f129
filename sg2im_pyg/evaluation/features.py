"""Networks whose features and class probabilities pictures are compared by.

The Inception score, FID and KID say something only together with the network that they were taken
with: a :class:`FeatureNetwork` knows its name, its file and the file's checksum.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.system.files import sha256_of

Output = Literal["auto", "logits", "probabilities", "features"]

BATCH = 32
"""Most pictures that a network gets at once: at 299 x 299 the Inception network takes some 300 MB
for them."""

_PROBE_SIDE = 64  # pixels of the picture that an unused network is asked for its sizes with


class Features(NamedTuple):
    """What a network gives for :math:`N` pictures, on the CPU."""

    features: Tensor
    """For FID and KID, shape :math:`(N, F)`, float32."""
    logits: Tensor | None
    """Their softmax are the class probabilities of the Inception score, shape :math:`(N, K)`,
    float32; none where the network has no classes."""


@dataclass(eq=False)
class FeatureNetwork:
    """A network that maps pictures to features, and perhaps to classes.

    Made by :func:`~sg2im_pyg.evaluation.network_files.load_feature_network`.

    Args:
        name: What it is, for people.
        path: Its file.
        run: Maps pictures, uint8, shape :math:`(n, 3, H, W)`, at most :data:`BATCH` at once, to
            a tensor, or to two.
        output: What the tensors are, see
            :func:`~sg2im_pyg.evaluation.network_files.load_feature_network`.
        size: Height and width in pixels that pictures are resized to before the network.
        device: Where pictures are moved to for :obj:`run`.
        maps: Gives what some of its layers see in such pictures, each
            :math:`(n, C_l, H_l, W_l)`, for perceptual distances; none where they can not be had.
    """

    name: str
    path: Path
    run: Callable[[Tensor], Any] = field(repr=False)
    output: Output = "auto"
    size: tuple[int, int] | None = None
    device: torch.device | str = "cpu"
    maps: Callable[[Tensor], list[Tensor]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.sha256 = sha256_of(self.path)
        self._widths: tuple[int, int | None] | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        """Features of pictures.

        Args:
            images: Pictures, uint8, shape :math:`(N, 3, H, W)`, on any device.

        Raises:
            Sg2ImError: If they are no such pictures, or if the network fails on them or gives
                what are no features.
        """
        _check_pictures(images)
        parts = [self._features(part) for part in images.split(BATCH)]
        features = torch.cat([part.features for part in parts])
        logits = [part.logits for part in parts if part.logits is not None]
        return Features(features, torch.cat(logits) if logits else None)

    @torch.no_grad()
    def distances(self, variants: Sequence[Tensor]) -> Tensor | None:
        """How unlike each other several pictures of the same thing look to the network: the mean
        over all pairs of their :func:`perceptual_distance`.

        Args:
            variants: At least two pictures of each of :math:`N` things: the first ones, the second
                ones and so on, each uint8, shape :math:`(N, 3, H, W)`.

        Returns:
            Shape :math:`(N,)`, float64, on the CPU; none if the network gives no maps.

        Raises:
            Sg2ImError: If they are no such pictures.
        """
        for images in variants:
            _check_pictures(images)
        if self.maps is None:
            return None
        found = []
        for parts in zip(*(images.split(BATCH) for images in variants), strict=True):
            seen = [self.maps(self._prepared(part)) for part in parts]
            pairs = [perceptual_distance(*pair) for pair in combinations(seen, 2)]
            found.append(torch.stack(pairs).mean(0))
        return torch.cat(found)

    def description(self) -> dict[str, Any]:
        """What stands beside every figure: :obj:`name`, :obj:`file`, :obj:`sha256`, the number of
        :obj:`features` and that of :obj:`classes` (none without classes).

        A network that was not used yet is tried on one picture; the numbers are none where it
        takes no picture of 64 x 64.
        """
        if self._widths is None:
            with suppress(Sg2ImError):
                self(torch.full((1, 3, _PROBE_SIDE, _PROBE_SIDE), 128, dtype=torch.uint8))
        features, classes = self._widths or (None, None)
        return {
            "name": self.name,
            "file": self.path.name,
            "sha256": self.sha256,
            "features": features,
            "classes": classes,
        }

    def _features(self, images: Tensor) -> Features:
        """Features of at most :data:`BATCH` pictures."""
        images = self._prepared(images)
        try:
            outputs = self.run(images)
            outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
            if len(outputs) not in (1, 2):
                raise ValueError(f"it gives {len(outputs)} outputs, not features (and logits)")
        except Sg2ImError:
            raise
        except Exception as error:  # whatever the code of a file raises
            raise Sg2ImError(
                f"The {self.name} fails on uint8 pictures of shape {tuple(images.shape)} "
                f"({last_line(error)}): give a network that takes them, or the size that it takes."
            ) from error
        tensors = [self._matrix(output, len(images)) for output in outputs]
        features, logits = tensors[0], None if self.output == "features" else tensors[-1]
        if self.output == "probabilities":
            logits = self._logits_of(tensors[-1])
        elif self.output == "auto" and len(tensors) == 1 and _are_probabilities(features):
            raise Sg2ImError(
                f"The {self.name} gives what look like class probabilities, not logits: say which "
                "by its output, probabilities, logits or features."
            )
        widths = (features.shape[1], None if logits is None else logits.shape[1])
        if self._widths not in (None, widths):
            raise Sg2ImError(
                f"The {self.name} gives {widths} values a picture after {self._widths}: give one "
                "whose outputs do not depend on the pictures' size, or a size."
            )
        self._widths = widths
        return Features(features, logits)

    def _prepared(self, images: Tensor) -> Tensor:
        """Pictures where the network is, in the size that is wanted."""
        images = images.to(self.device)
        if self.size is not None and images.shape[2:] != self.size:
            images = resize_images(images, self.size)
        return images

    def _matrix(self, output: Any, count: int) -> Tensor:
        """An output as float32 on the CPU, shape :math:`(N, K)`."""
        found, fits = f"a {type(output).__name__}", False
        if isinstance(output, Tensor):
            shape = tuple(output.shape)
            found = f"{output.dtype} of shape {shape}"
            fits = len(shape) > 1 and shape[0] == count and shape[2:] in ((), (1, 1))
        if not fits or not output.is_floating_point() or not output.numel():
            raise Sg2ImError(
                f"The {self.name} gives {found} for {count} pictures, not floating point numbers "
                f"of shape ({count}, K): give another."
            )
        output = output.flatten(1).detach().to("cpu", torch.float32)
        if not output.isfinite().all():
            raise Sg2ImError(
                f"The {self.name} gives values that are not finite: its weights are damaged, or it "
                "takes other pictures."
            )
        return output

    def _logits_of(self, probabilities: Tensor) -> Tensor:
        if not _are_probabilities(probabilities):
            sums = probabilities.sum(1)
            raise Sg2ImError(
                f"The {self.name} gives no probabilities: they lie between "
                f"{probabilities.min():.4g} and {probabilities.max():.4g} and sum to "
                f"{sums.min():.4g} to {sums.max():.4g}; say what it gives: logits or features."
            )
        # The softmax of the logarithms are the probabilities again; a probability of 0 becomes
        # the smallest normal number, which counts for nothing.
        return probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()


def perceptual_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    r"""Distances between pictures in the layers of a network.

    At each place of a layer's map the channels are taken as a vector of length 1, and the squared
    distance of both pictures' vectors is averaged over the places, then over the layers. That is
    the baseline of `"The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"
    <https://arxiv.org/abs/1801.03924>`_ (Equation 1 with all weights 1, but averaged over the
    layers): not the metric LPIPS itself, whose weights were learnt from people's judgements.

    Args:
        first: Maps of :math:`N` pictures, each :math:`(N, C_l, H_l, W_l)`.
        second: Those of the pictures that they are compared with.

    Returns:
        Shape :math:`(N,)`, float64, on the CPU, from 0 to 4.
    """
    distances = []
    for maps in zip(first, second, strict=True):
        one, other = (values.float() for values in maps)
        one, other = (v / (v.norm(dim=1, keepdim=True) + 1e-10) for v in (one, other))
        distances.append((one - other).square().sum(1).mean((1, 2)).double().cpu())
    return torch.stack(distances).mean(0)


def _check_pictures(images: Tensor) -> None:
    fits = images.dtype == torch.uint8 and images.dim() == 4 and images.shape[1] == 3
    if not fits or not images.numel():
        raise Sg2ImError(
            "A feature network takes one or more uint8 pictures of shape (N, 3, H, W), got "
            f"{images.dtype} of shape {tuple(images.shape)}."
        )


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 pictures, shape :math:`(N, 3, H, W)`, in another size (bilinear, antialiased,
    rounded)."""
    resized = functional.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def _are_probabilities(values: Tensor) -> bool:
    """Whether each row could be probabilities of at least two classes."""
    sums = values.double().sum(1)
    near_one = (sums - 1).abs().max() < 1e-3  # half precision on 1000 classes is off by 1e-4
    return values.shape[1] > 1 and values.min().item() >= -1e-6 and bool(near_one)


def last_line(error: Exception) -> str:
    """What an error inside a network says, without the trace of its code; one line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    told = next((line for line in reversed(lines) if "Error:" in line), None)
    return (told or first_line(error)).strip().rstrip(".:")[:300]
