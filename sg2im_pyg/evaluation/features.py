"""Networks whose features and class probabilities pictures are compared by.

The Inception score, FID and KID say something only together with the network that they were taken
with: a :class:`FeatureNetwork` knows its name, its file and the file's checksum.

Files are not trusted. TorchScript is a small language of its own, compiled when a file is loaded:
it computes with tensors and can neither start programs nor open connections, but two of its
operations reach the disk (``torch.save`` and ``torch.from_file``); a file whose code has them is
refused. It can still compute without end, take all memory or meet an error in torch itself, so a
file of unknown origin is better kept away. Pickled modules (``torch.save`` of a module), which can
do anything when they are loaded, are never unpickled. An ONNX file is data for onnxruntime; no
libraries of further operations are loaded for it.
"""

import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sg2im_pyg.device import choose_device
from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.evaluation.landscape_classifier import (
    SHIPPED_WEIGHTS,
    is_classifier,
    load_classifier,
)
from sg2im_pyg.files import sha256_of
from sg2im_pyg.serialization import load_entries

Output = Literal["auto", "logits", "probabilities", "features"]

BATCH = 32
"""Most pictures that a network gets at once: at 299 x 299 the Inception network takes some 300 MB
for them."""

_MOST_CODE = 64 * 2**20  # bytes of TorchScript code that are read for inspection
_MOST_INPUT = 2**30  # bytes of one input of an ONNX graph with fixed sizes
_PROBE_SIDE = 64  # pixels of the picture that an unused network is asked for its sizes with


class Features(NamedTuple):
    """What a network gives for :math:`N` pictures, on the CPU."""

    features: Tensor
    """For FID and KID, shape :math:`(N, F)`, float32."""
    logits: Tensor | None
    """Their softmax are the class probabilities of the Inception score, shape :math:`(N, K)`,
    float32; none where the network has no classes."""


class FeatureNetwork:
    """A network that maps pictures to features, and perhaps to classes.

    Made by :func:`load_feature_network`.

    Args:
        name: What it is, for people.
        path: Its file.
        run: Maps pictures, uint8, shape :math:`(n, 3, H, W)`, at most :data:`BATCH` at once, to
            one or two tensors.
        output: What the tensors are, see :func:`load_feature_network`.
        size: Height and width in pixels that pictures are resized to before the network.
        device: Where pictures are moved to for :obj:`run`.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        run: Callable[[Tensor], tuple[Tensor, ...]],
        output: Output = "auto",
        size: tuple[int, int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name = name
        self.path = path
        self.sha256 = sha256_of(path)
        self.size = size
        self._run = run
        self._output = output
        self._device = torch.device(device)
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
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
            raise Sg2ImError(
                "A feature network takes uint8 pictures of shape (N, 3, H, W), got "
                f"{images.dtype} of shape {tuple(images.shape)}."
            )
        if not images.numel():
            raise Sg2ImError(
                f"A feature network takes at least one picture, got shape {tuple(images.shape)}."
            )
        parts = [self._features(part) for part in images.split(BATCH)]
        features = torch.cat([part.features for part in parts])
        logits = [part.logits for part in parts if part.logits is not None]
        return Features(features, torch.cat(logits) if logits else None)

    def description(self) -> dict[str, Any]:
        """What stands beside every figure: :obj:`name`, :obj:`file`, :obj:`sha256`, the number of
        :obj:`features` and that of :obj:`classes` (none without classes).

        A network that was not used yet is tried on one picture; the numbers are none where it
        takes no picture of 64 x 64.
        """
        if self._widths is None:
            try:
                self(torch.full((1, 3, _PROBE_SIDE, _PROBE_SIDE), 128, dtype=torch.uint8))
            except Sg2ImError:
                self._widths = None
        features, classes = self._widths or (None, None)
        return {
            "name": self.name,
            "file": self.path.name,
            "sha256": self.sha256,
            "features": features,
            "classes": classes,
        }

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.name!r})"

    def _features(self, images: Tensor) -> Features:
        """Features of at most :data:`BATCH` pictures."""
        images = images.to(self._device)
        if self.size is not None and images.shape[2:] != self.size:
            images = resize_images(images, self.size)
        try:
            outputs = self._run(images)
        except Sg2ImError:
            raise
        except Exception as error:  # whatever the code of a file raises
            raise Sg2ImError(
                f"The {self.name} fails on uint8 pictures of shape {tuple(images.shape)} "
                f"({_last_line(error)}): give a network that takes them, or the size that it takes."
            ) from error
        tensors = [self._matrix(output, len(images)) for output in outputs]
        features, scores = tensors[0], tensors[-1]
        if self._output == "features":
            result = Features(features, None)
        elif self._output == "probabilities":
            result = Features(features, self._logits_of(scores))
        else:
            if self._output == "auto" and len(tensors) == 1 and _are_probabilities(scores):
                raise Sg2ImError(
                    f"The {self.name} gives what look like class probabilities, not logits: say "
                    "which by its output, probabilities, logits or features."
                )
            result = Features(features, scores)
        widths = (features.shape[1], None if result.logits is None else result.logits.shape[1])
        if self._widths not in (None, widths):
            raise Sg2ImError(
                f"The {self.name} gives {widths} values a picture after {self._widths}: give one "
                "whose outputs do not depend on the pictures' size, or a size."
            )
        self._widths = widths
        return result

    def _matrix(self, output: Any, count: int) -> Tensor:
        """An output as float32 on the CPU, shape :math:`(N, K)`."""
        wanted = f"floating point numbers of shape ({count}, K)"
        if not isinstance(output, Tensor):
            raise Sg2ImError(
                f"The {self.name} gives a {type(output).__name__}, not {wanted}: give another."
            )
        if not output.is_floating_point():
            raise Sg2ImError(f"The {self.name} gives {output.dtype}, not {wanted}: give another.")
        shape = tuple(output.shape)
        if output.dim() == 4 and shape[2:] == (1, 1):
            output = output.flatten(1)
        if output.dim() != 2 or len(output) != count or not output.shape[1]:
            raise Sg2ImError(
                f"The {self.name} gives shape {shape} for {count} pictures, not {wanted}: give "
                "another."
            )
        output = output.detach().to("cpu", torch.float32)
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


def load_feature_network(
    source: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    output: Output = "auto",
    size: int | None = None,
) -> FeatureNetwork:
    """Loads a network; see the module's first lines for what is read and what is refused.

    Args:
        source: :obj:`"landscapes"`, the small classifier that comes with the package;
            :obj:`"inception"`, the weights of 2015, fetched on first use into the user's cache; or
            a path (a file with one of these names: ``./landscapes``). A file is recognised by its
            contents:

            - TorchScript that takes uint8 pictures :math:`(N, 3, H, W)`. One whose ``forward`` has
              the arguments ``return_features`` and ``no_output_bias`` is taken as the Inception
              network of 2015, which resizes pictures itself: features with the former, class
              probabilities with the latter, as the published Inception score has them.
            - ONNX with one input, uint8 or floating point; as floating point, pictures are handed
              over from 0 to 255. Where the graph fixes the number of pictures, the last batch is
              filled up; where it fixes their size, they are resized to it. The checksum is that
              of the file itself, not of weights in files beside it.
            - A file of ``eval/train_classifier.py``.
        device: Where the network runs; an ONNX file on CUDA where onnxruntime can, else on the
            CPU.
        output: What a TorchScript or ONNX file gives for :math:`N` pictures. Of two outputs the
            first are the features, the second the logits (or the probabilities). A single one of
            shape :math:`(N, K)` or :math:`(N, K, 1, 1)` serves as features, and unless
            :obj:`output` is :obj:`"features"` as logits too; with :obj:`"probabilities"`, the
            logits are its logarithms. :obj:`"auto"` is :obj:`"logits"`, but refuses a single
            output that looks like probabilities.
        size: Side in pixels that pictures are resized to (bilinear, antialiased, rounded to
            uint8) before the network; none: it takes what it gets.

    Raises:
        Sg2ImError: If a file is missing, damaged, of another kind or refused, if it can not be
            fetched, or if the size does not fit.
    """
    if size is not None and not 8 <= size <= 4096:
        raise Sg2ImError(f"The side for a feature network must lie between 8 and 4096, got {size}.")
    if output not in ("auto", "logits", "probabilities", "features"):
        raise Sg2ImError(
            "The output of a feature network must be auto, logits, probabilities or features, got "
            f"{output!r}."
        )
    device = choose_device(str(device))
    sides = None if size is None else (size, size)
    if source == "landscapes":
        return _load_classifier(SHIPPED_WEIGHTS, device, output, sides)
    if source == "inception":
        from sg2im_pyg.pretrained import INCEPTION, fetch_file

        path = fetch_file(INCEPTION)
    else:
        path = Path(source).absolute()
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise Sg2ImError(
            f"The feature network {path} {kind}: give inception, landscapes, or a TorchScript or "
            "ONNX file."
        )
    with path.open("rb") as file:
        start = file.read(2)
    if zipfile.is_zipfile(path):
        if _is_torchscript(path):
            return _load_torchscript(path, device, output, sides)
        return _load_classifier(path, device, output, sides)
    if start[:1] == b"\x80":  # the first byte of a pickle
        raise _pickled(path)
    return _load_onnx(path, device, output, sides)


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 pictures, shape :math:`(N, 3, H, W)`, in another size (bilinear, antialiased,
    rounded)."""
    resized = functional.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


# The classifier of landscapes ------------------------------------------------------------------


def _load_classifier(
    path: Path, device: torch.device, output: Output, size: tuple[int, int] | None
) -> FeatureNetwork:
    if path != SHIPPED_WEIGHTS:
        try:
            entries = load_entries(path)
        except Sg2ImError:  # pickled code, or no file of torch at all
            entries = None
        if not is_classifier(entries):
            raise _pickled(path)
    classifier = load_classifier(path)[0].to(device)

    def run(images: Tensor) -> tuple[Tensor, ...]:
        classified = classifier(images)
        return classified.features, classified.classes

    shipped = path == SHIPPED_WEIGHTS
    name = "landscape classifier of sg2im_pyg" if shipped else f"landscape classifier {path.name}"
    kept: Output = "features" if output == "features" else "logits"
    return FeatureNetwork(name, path, run, kept, size, device)


def _pickled(path: Path) -> Sg2ImError:
    return Sg2ImError(
        f"{path} is no TorchScript file but holds pickled objects or something else, which is "
        "not loaded: save the network by torch.jit.script(network).save(FILE), or as ONNX."
    )


# TorchScript -----------------------------------------------------------------------------------


def _is_torchscript(path: Path) -> bool:
    """Whether an archive holds TorchScript.

    Raises:
        Sg2ImError: If it does, but is damaged, or has code that reaches the disk.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch's reader does not distinguish upper and lower case.
            entries = [(entry, entry.filename.lower()) for entry in archive.infolist()]
            if not any(name.endswith("/constants.pkl") for _, name in entries):
                return False
            code = [entry for entry, name in entries if name.endswith(".py")]
            old = any(name.endswith("/model.json") for _, name in entries)
            if old or sum(entry.file_size for entry in code) > _MOST_CODE:
                raise Sg2ImError(
                    f"The TorchScript file {path} is of a version before 1.2 or has too much code: "
                    "save the network anew with torch.jit.save."
                )
            for entry in code:
                found = re.search(rb"\b(save|from_file)\b", archive.read(entry))
                if found:
                    raise Sg2ImError(
                        f"The code of the TorchScript file {path} has {found[1].decode()!r}, which "
                        "may read or write files: it is refused; give a network without it."
                    )
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        if isinstance(error, Sg2ImError):
            raise
        raise _damaged(path, error) from error
    except Exception as error:  # such as zlib's own
        raise _damaged(path, error) from error
    return True


def _damaged(path: Path, error: Exception) -> Sg2ImError:
    return Sg2ImError(
        f"The TorchScript file {path} is damaged or from a newer torch ({_last_line(error)}): get "
        "it again."
    )


@contextmanager
def _torchscript() -> Iterator[None]:
    """Without the notices that TorchScript is deprecated, and without its optimisations, which
    depend on the calls before and change the last digits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.jit.optimized_execution(False):
            yield


def _load_torchscript(
    path: Path, device: torch.device, output: Output, size: tuple[int, int] | None
) -> FeatureNetwork:
    try:
        with _torchscript():
            module: Any = torch.jit.load(path, map_location=device).eval()
            arguments = {argument.name for argument in module.forward.schema.arguments}
    except Exception as error:  # damaged bytes can raise nearly anything
        raise _damaged(path, error) from error

    if {"return_features", "no_output_bias"} <= arguments:

        def run_inception(images: Tensor) -> tuple[Tensor, ...]:
            with _torchscript():
                features = module(images, return_features=True)
                if output == "features":
                    return (features,)
                return features, module(images, no_output_bias=True)

        kept: Output = "features" if output == "features" else "probabilities"
        name = "Inception 2015 (TorchScript)"
        return FeatureNetwork(name, path, run_inception, kept, size, device)

    def run(images: Tensor) -> tuple[Tensor, ...]:
        with _torchscript():
            return _one_or_two(module(images))

    return FeatureNetwork(f"TorchScript file {path.name}", path, run, output, size, device)


def _one_or_two(outputs: Any) -> tuple[Tensor, ...]:
    if not isinstance(outputs, (tuple, list)):
        return (outputs,)
    if len(outputs) not in (1, 2):
        raise ValueError(f"it gives {len(outputs)} outputs, not features or features and logits")
    return tuple(outputs)


# ONNX ------------------------------------------------------------------------------------------

_ONNX_TYPES = {
    "tensor(uint8)": torch.uint8,
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
}


def _load_onnx(
    path: Path, device: torch.device, output: Output, size: tuple[int, int] | None
) -> FeatureNetwork:
    try:
        import onnxruntime
    except ImportError as error:
        raise Sg2ImError(
            f"{path} is no TorchScript file, and to read it as an ONNX file onnxruntime is "
            "missing: install it by python -m pip install onnxruntime."
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed too
    options.intra_op_num_threads = torch.get_num_threads()
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its exceptions have no common class
        raise Sg2ImError(
            f"{path} is neither a TorchScript file nor an ONNX file that onnxruntime can read "
            f"({_last_line(error)}): get it again, or give another."
        ) from error
    name = f"ONNX file {path.name}"
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) not in (1, 2):
        raise Sg2ImError(
            f"The {name} has {len(inputs)} inputs and {len(outputs)} outputs: give one that takes "
            "pictures and gives features, or features and logits."
        )
    [taken] = inputs
    shape = list(taken.shape)
    if taken.type not in _ONNX_TYPES or len(shape) != 4 or _fixed(shape[1]) not in (None, 3):
        raise Sg2ImError(
            f"The {name} takes {taken.type} of shape {shape}, not pictures of shape (N, 3, H, W): "
            "give one that takes them as uint8 or floating point."
        )
    dtype = _ONNX_TYPES[taken.type]
    count, height, width = _fixed(shape[0]), _fixed(shape[2]), _fixed(shape[3])
    if (height is None) != (width is None):
        height = width = height or width  # the other side is free: a square
    if height is not None and width is not None:
        if size not in (None, (height, width)):
            raise Sg2ImError(
                f"The {name} takes pictures of {height} x {width} pixels, so they can not be "
                f"resized to {size}: leave the size out."
            )
        size = (height, width)
    if (count or 1) * 3 * (height or 1) * (width or 1) * dtype.itemsize > _MOST_INPUT:
        raise Sg2ImError(
            f"The {name} takes an input of shape {shape}, more than {_MOST_INPUT // 2**30} GiB: "
            "give one for fewer or smaller pictures at once."
        )

    def run(images: Tensor) -> tuple[Tensor, ...]:
        images = images.to("cpu", dtype)
        batches: list[tuple[Tensor, ...]] = []
        for part in images.split(count or len(images)):
            filled = part
            if count is not None and len(part) < count:
                filled = torch.cat([part, part[-1:].expand(count - len(part), -1, -1, -1)])
            given = session.run(None, {taken.name: filled.numpy()})
            tensors = tuple(torch.from_numpy(values) for values in given)
            # Of what was filled up nothing is kept. A wrong number of rows is told later.
            whole = [len(values) == len(filled) for values in tensors if values.dim()]
            batches.append(
                tuple(values[: len(part)] for values in tensors)
                if len(whole) == len(tensors) and all(whole)
                else tensors
            )
        return tuple(torch.cat(parts) for parts in zip(*batches))

    return FeatureNetwork(name, path, run, output, size)


def _fixed(side: Any) -> int | None:
    """The size of a dimension of an ONNX input, none where it is free."""
    return side if isinstance(side, int) and side > 0 else None


# What all need ---------------------------------------------------------------------------------


def _are_probabilities(values: Tensor) -> bool:
    """Whether each row could be probabilities of at least two classes."""
    sums = values.double().sum(1)
    near_one = (sums - 1).abs().max() < 1e-3  # half precision on 1000 classes is off by 1e-4
    return values.shape[1] > 1 and values.min().item() >= -1e-6 and bool(near_one)


def _last_line(error: Exception) -> str:
    """What an error inside a network says, without the trace of its code; one line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    told = next((line for line in reversed(lines) if "Error:" in line), None)
    return (told or first_line(error)).strip().rstrip(".:")[:300]
