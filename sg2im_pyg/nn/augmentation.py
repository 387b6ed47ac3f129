"""Changes of pictures that discriminators see, through which generators learn (`"Differentiable
Augmentation for Data-Efficient GAN Training" <https://arxiv.org/abs/2006.10738>`_, Section 3.2)."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from sg2im_pyg.images import imagenet_statistics

DRAWS = 7
"""Uniform numbers that a picture's changes follow from."""


class Augmentation(NamedTuple):
    """Changes of :math:`N` pictures: a true one and the one generated for it are changed alike.

    What is moved in or cut out is 0: the mean colour of ImageNet, and no category of a label map.
    """

    kinds: Collection[str]
    """Some of :obj:`"colour"`, :obj:`"translation"` and :obj:`"cutout"`, done in this order."""
    draws: Tensor
    """Uniform numbers from 0 to below 1, shape :math:`(N, 7)`."""

    def pictures(self, images: Tensor, in_place: bool = False) -> Tensor:
        """Changed pictures, in the ImageNet normalisation, shape :math:`(N, 3, H, W)`.

        Args:
            images: The pictures.
            in_place: Whether everything must stay in its place, as where boxes are cut out of them:
                then only colours change.
        """
        if "colour" in self.kinds:
            images = _coloured(images, self.draws[:, :3])
        return images if in_place else self._placed(images)

    def labels(self, labels: Tensor) -> Tensor:
        """Label maps of the pictures, moved and cut as these, shape :math:`(N, C, H, W)`."""
        return self._placed(labels)

    def visible(self, images: Tensor) -> Tensor:
        """Which pixels still show something of their picture: 1 or 0, shape :math:`(N, H, W)`.

        Args:
            images: The pictures, shape :math:`(N, 3, H, W)`.
        """
        return self._placed(torch.ones_like(images[:, :1])).squeeze(1)

    def _placed(self, planes: Tensor) -> Tensor:
        if "translation" in self.kinds:
            planes = _translated(planes, self.draws[:, 3:5])
        if "cutout" in self.kinds:
            planes = _cut_out(planes, self.draws[:, 5:7])
        return planes


def _coloured(images: Tensor, draws: Tensor) -> Tensor:
    """Brighter or darker by up to a quarter of the way from black to white; up to twice as
    saturated, or grey; half to one and a half times the contrast."""
    statistics = imagenet_statistics(images.device, images.dtype)
    mean, deviation = (values.view(3, 1, 1) for values in statistics)
    brightness, saturation, contrast = draws.to(images.dtype).t().reshape(3, -1, 1, 1, 1)
    colours = images * deviation + mean + (brightness - 0.5) / 2  # 0 is black, 1 is white
    grey = colours.mean(1, keepdim=True)
    colours = grey + (colours - grey) * (2 * saturation)
    grey = colours.mean((1, 2, 3), keepdim=True)
    colours = grey + (colours - grey) * (contrast + 0.5)
    return (colours - mean) / deviation


def _translated(planes: Tensor, draws: Tensor) -> Tensor:
    """Moved by whole pixels, up to an eighth of each side."""
    for dim, along in zip((2, 3), draws.t(), strict=True):
        side = planes.size(dim)
        most = int(side / 8 + 0.5)
        shift = _below(along, 2 * most + 1) - most
        source = torch.arange(side, device=planes.device) - shift.unsqueeze(1)
        inside = _along((source >= 0) & (source < side), dim)
        source = _along(source.clamp(0, side - 1), dim)
        planes = planes.gather(dim, source.expand_as(planes)) * inside
    return planes


def _cut_out(planes: Tensor, draws: Tensor) -> Tensor:
    """Without a rectangle of half the sides, of which a part may lie outside."""
    hidden = []
    for dim, along in zip((2, 3), draws.t(), strict=True):
        side = planes.size(dim)
        length = int(side / 2 + 0.5)
        first = _below(along, side + 1 - length % 2) - length // 2
        after = torch.arange(side, device=planes.device) - first.unsqueeze(1)
        hidden.append(_along((after >= 0) & (after < length), dim))
    return planes * ~(hidden[0] & hidden[1])


def _below(draws: Tensor, limit: int) -> Tensor:
    """Whole numbers from 0 to below a limit."""
    return (draws * limit).long().clamp(max=limit - 1)  # a product may be rounded up to the limit


def _along(values: Tensor, dim: int) -> Tensor:
    """Values for each place along one side of pictures, shape :math:`(N, S)`, in a shape in which
    they count for all places along the other side."""
    return values[:, None, :, None] if dim == 2 else values[:, None, None, :]
