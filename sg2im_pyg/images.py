"""Pictures as the networks see them and as people do."""

import functools

import torch
from kornia.enhance import denormalize, normalize
from PIL import Image
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FLAT = 1e-5  # share of white; what differs by less is one grey and the rounding of float32


def normalize_images(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 pictures, shape :math:`(N, 3, H, W)`, to the ImageNet normalisation (release)."""
    mean, std = imagenet_statistics(images.device, dtype)
    return normalize(images.to(dtype) / 255, mean, std)


def denormalize_images(images: Tensor, stretch: bool = False) -> Tensor:
    """The inverse of :func:`normalize_images`, rounded and cut off at black and white.

    Args:
        images: Pictures in the ImageNet normalisation, shape :math:`(N, 3, H, W)`.
        stretch: Stretch the contrast of each picture before rounding: its darkest value of all
            channels becomes 0 and its brightest 255, as the release shows its pictures. A picture
            of one grey stays as it is.

    Returns:
        uint8 pictures, shape :math:`(N, 3, H, W)`.
    """
    images = images.detach().float()
    mean, std = imagenet_statistics(images.device, images.dtype)
    images = denormalize(images, mean, std)
    if stretch:
        darkest = images.amin((1, 2, 3), keepdim=True)
        extent = images.amax((1, 2, 3), keepdim=True) - darkest
        images = torch.where(extent > _FLAT, (images - darkest) / extent.clamp(_FLAT), images)
    # In the order of other pictures: the rounding of what is computed of them depends on it.
    return (images * 255).round().clamp(0, 255).to(torch.uint8).contiguous()


def stretched(images: Tensor) -> Tensor:
    """uint8 pictures, shape :math:`(N, 3, H, W)`, each with its contrast stretched from black to
    white, see :func:`denormalize_images`."""
    return denormalize_images(normalize_images(images), stretch=True)


def to_pil(images: Tensor) -> list[Image.Image]:
    """uint8 pictures, shape :math:`(N, 3, H, W)`, as PIL images."""
    return [Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]


@functools.cache  # made anew, a GPU would be waited for
@torch.inference_mode(False)
def imagenet_statistics(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, in shares of white, both of shape
    :math:`(3,)`."""
    return (
        torch.tensor(IMAGENET_MEAN, device=device, dtype=dtype),
        torch.tensor(IMAGENET_STD, device=device, dtype=dtype),
    )
