"""Feature networks from files: TorchScript, ONNX, the classifier of landscapes, that of ImageNet.

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
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.evaluation.features import FeatureNetwork, Output, last_line
from sg2im_pyg.evaluation.imagenet import imagenet_weights, load_imagenet_classifier
from sg2im_pyg.evaluation.landscape_classifier import SHIPPED_WEIGHTS, load_classifier
from sg2im_pyg.formats.archive import check_archive
from sg2im_pyg.system.cache import fetch_file
from sg2im_pyg.system.device import choose_device
from sg2im_pyg.system.fetch import RemoteFile

INCEPTION = RemoteFile(
    "inception-2015-12-05.pt",
    (
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
        "inception-2015-12-05.pt",
    ),
)
"""Inception v3 with the weights of 2015 that the Inception score and FID are defined with, as
TorchScript."""

NETWORKS: dict[str, Callable[[], Path]] = {
    "inception": lambda: fetch_file(INCEPTION),
    "imagenet": imagenet_weights,
    "landscapes": lambda: SHIPPED_WEIGHTS,
}
"""Networks that have a name, each with what gives its file; the row of a source of data names
one."""

_MOST_CODE = 64 * 2**20  # bytes of TorchScript code that are read for inspection
_MOST_INPUT = 2**30  # bytes of one input of an ONNX graph with fixed sizes


def load_feature_network(
    source: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    output: Output = "auto",
    size: int | None = None,
) -> FeatureNetwork:
    """Loads a network; see the module's first lines for what is read and what is refused.

    Args:
        source: One of :data:`NETWORKS`: :obj:`"landscapes"`, the small classifier that comes with
            the package, :obj:`"imagenet"`, EfficientNet-Lite0 from the packages of the extra
            ``imagenet``, or :obj:`"inception"`, the weights of 2015, fetched on first use into the
            user's cache; or a path (a file with one of these names: ``./landscapes``). A file is
            recognised by its contents:

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
        Sg2ImError: If a file or a package is missing, if a file is damaged, of another kind or
            refused, if it can not be fetched, or if the size does not fit.
    """
    if size is not None and not 8 <= size <= 4096:
        raise Sg2ImError(f"The side for a feature network must lie between 8 and 4096, got {size}.")
    if output not in get_args(Output):
        known = ", ".join(get_args(Output))
        raise Sg2ImError(f"The output of a feature network must be one of {known}, got {output!r}.")
    device = choose_device(str(device))
    sides = None if size is None else (size, size)
    path = NETWORKS[source]() if source in NETWORKS else Path(source).absolute()
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise Sg2ImError(
            f"The feature network {path} {kind}: give {', '.join(NETWORKS)}, or a TorchScript or "
            "ONNX file."
        )
    if source == "imagenet":  # a file of weights alone, which does not say what of
        return _load_imagenet(path, device, output, sides)
    with path.open("rb") as file:
        is_pickle = file.read(1) == b"\x80"
    load = _load_onnx
    if zipfile.is_zipfile(path) or is_pickle:
        load = _load_classifier if is_pickle or not _is_torchscript(path) else _load_torchscript
    return load(path, device, output, sides)


# TorchScript -----------------------------------------------------------------------------------


def _is_torchscript(path: Path) -> bool:
    """Whether an archive holds TorchScript.

    Raises:
        Sg2ImError: If it does, but is damaged, or has code that reaches the disk.
    """
    try:
        with path.open("rb") as file:
            archive = check_archive(file, path.stat().st_size + _MOST_CODE)
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
    except Sg2ImError:
        raise
    except Exception as error:  # of zipfile, and zlib's own
        raise _damaged(path, error) from error
    return True


def _damaged(path: Path, error: Exception) -> Sg2ImError:
    return Sg2ImError(
        f"The TorchScript file {path} is damaged or from a newer torch ({last_line(error)}): get "
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
            # Only a schema says what TorchScript takes; it stands in torch 2.8 to 2.13.
            arguments = {argument.name for argument in module.forward.schema.arguments}
    except Exception as error:  # damaged bytes can raise nearly anything
        raise _damaged(path, error) from error

    is_inception = {"return_features", "no_output_bias"} <= arguments

    @_torchscript()
    def run(images: Tensor) -> Any:
        if not is_inception:
            return module(images)
        features = module(images, return_features=True)
        return features if output == "features" else (features, module(images, no_output_bias=True))

    name = f"TorchScript file {path.name}"
    if is_inception:
        name = "Inception 2015 (TorchScript)"
        output = "features" if output == "features" else "probabilities"
    return FeatureNetwork(name, path, run, output, size, device)


# The classifier of landscapes ------------------------------------------------------------------


def _load_classifier(
    path: Path, device: torch.device, output: Output, size: tuple[int, int] | None
) -> FeatureNetwork:
    try:
        classifier = load_classifier(path)[0].to(device)
    except Sg2ImError as error:  # pickled code, or no file of torch at all
        raise Sg2ImError(
            f"{path} is no TorchScript file, and no landscape classifier ({first_line(error)}): "
            "save a network by torch.jit.script(network).save(FILE), or as ONNX."
        ) from error

    def run(images: Tensor) -> tuple[Tensor, ...]:
        classified = classifier(images)
        return classified.features, classified.classes

    shipped = path == SHIPPED_WEIGHTS
    name = "landscape classifier of sg2im_pyg" if shipped else f"landscape classifier {path.name}"
    output = "features" if output == "features" else "logits"
    return FeatureNetwork(name, path, run, output, size, device, classifier.maps)


# The classifier of ImageNet ---------------------------------------------------------------------


def _load_imagenet(
    path: Path, device: torch.device, output: Output, size: tuple[int, int] | None
) -> FeatureNetwork:
    classifier = load_imagenet_classifier(path).to(device)
    output = "features" if output == "features" else "logits"
    name = "EfficientNet-Lite0 (ImageNet)"
    return FeatureNetwork(name, path, classifier, output, size, device, classifier.maps)


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
            f"({last_line(error)}): get it again, or give another."
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
    sides = [side if isinstance(side, int) and side > 0 else None for side in shape]
    if taken.type not in _ONNX_TYPES or len(sides) != 4 or sides[1] not in (None, 3):
        raise Sg2ImError(
            f"The {name} takes {taken.type} of shape {shape}, not pictures of shape (N, 3, H, W): "
            "give one that takes them as uint8 or floating point."
        )
    dtype = _ONNX_TYPES[taken.type]
    count, _, height, width = sides  # none of those that are free
    height, width = height or width, width or height  # where one of both is free: a square
    if height and width:
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
        batch = count or len(images)
        filled = torch.cat([images, images[-1:].expand(-len(images) % batch, -1, -1, -1)])
        given = [session.run(None, {taken.name: part.numpy()}) for part in filled.split(batch)]
        tensors = [torch.from_numpy(np.concatenate(parts)) for parts in zip(*given)]
        # Of what was filled up nothing is kept. A wrong number of rows is told later.
        return tuple(t[: len(images)] if len(t) == len(filled) else t for t in tensors)

    return FeatureNetwork(name, path, run, output, size)
