"""How discriminators are asked: what they are given beside pictures, and how they see these."""

from typing import Any

from torch import Tensor
from torch_geometric.data import Batch

from sg2im_pyg.nn.augmentation import Augmentation
from sg2im_pyg.nn.discriminators import DISCRIMINATORS


def beside(
    discriminator: str, network: Any, graphs: Batch, labels: Tensor | None
) -> tuple[Tensor, ...]:
    """What a discriminator is given beside pictures.

    Args:
        discriminator: Its name.
        network: The network itself, without a wrapper.
        graphs: Graphs of the pictures.
        labels: Their label maps, if any discriminator wants them.
    """
    if DISCRIMINATORS[discriminator].judges == "objects":
        return graphs.boxes, graphs.batch
    wanted = getattr(network, "num_labels", 0)
    return (labels,) if wanted and labels is not None else ()


def augmented(discriminator: str, images: Tensor, augmentation: Augmentation | None) -> Tensor:
    """Pictures as a discriminator sees them; one of objects with other colours alone, as boxes say
    where these are."""
    if augmentation is None:
        return images
    return augmentation.pictures(images, DISCRIMINATORS[discriminator].judges == "objects")


def augmented_labels(labels: Tensor | None, augmentation: Augmentation | None) -> Tensor | None:
    """Label maps that go with such pictures."""
    return labels if labels is None or augmentation is None else augmentation.labels(labels)
