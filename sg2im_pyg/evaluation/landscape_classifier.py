"""A small classifier of the drawn landscapes, whose weights come with the package.

It stands in for the Inception network where the Inception score, FID and KID are taken of
landscapes, so that such an evaluation needs no download. Its figures compare systems on landscapes
with each other; they can not be compared with figures of the Inception network.

The Inception score needs one class a picture, which the data does not name. It is derived from
the objects: the ground that covers most of the picture (grass, water or sand), together with the
largest thing that stands on a ground (tree, house, car, boat, sheep or person), or none. That makes
21 classes such as "water, boat" or "sand, no thing", each of 1 to 15 % of the pictures. What hangs
in the sky, roads and mountains do not count: they go with any of the classes. So that the features
know of them all the same, a second head says which of the 16 categories can be seen; it is there
for the training only.

The network was trained by ``eval/train_classifier.py``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Batch

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.formats.torch_file import load_entries, save_entries
from sg2im_pyg.sources.landscapes.source import LANDSCAPE_OBJECTS

FORMAT = "sg2im_pyg.landscape_classifier"
VERSION = 1

SHIPPED_WEIGHTS = Path(__file__).with_name("landscape_classifier.pt")
"""The weights that come with the package."""

GROUNDS = ("grass", "water", "sand")
THINGS = ("tree", "house", "car", "boat", "sheep", "person")
SCENE_CLASSES = tuple(f"{ground}, {thing}" for ground in GROUNDS for thing in (*THINGS, "no thing"))
"""Names of the classes, see the module's first lines."""

INPUT_SIZE = 64
"""Height and width in pixels that pictures are resized to; landscapes are drawn so by default."""

LEAST_SIZE = 16
"""Height and width in pixels that a picture must have, as for drawing landscapes."""

FEATURES = 64
"""Number of features of a picture."""

_ADVICE = "give a file that eval/train_classifier.py wrote"


class Classified(NamedTuple):
    """What the classifier says of :math:`N` pictures."""

    features: Tensor
    """Averages over the picture of the last convolution's channels, shape :math:`(N, 64)`."""
    classes: Tensor
    """Logits of :data:`SCENE_CLASSES`, shape :math:`(N, 21)`."""
    presence: Tensor
    """Logits of each category being visible, in the order of
    :data:`~sg2im_pyg.sources.landscapes.source.LANDSCAPE_OBJECTS`, shape :math:`(N, 16)`."""


class LandscapeClassifier(nn.Module):
    """Six convolutions, the average over the picture, and two linear heads.

    Shapes:
        - **input:** pictures, uint8, shape :math:`(N, 3, H, W)` with :math:`H, W \\ge 16`; other
          sizes than 64 x 64 are resized to it (bilinear, antialiased).
        - **output:** :class:`Classified`, float32.
    """

    # Channels and strides of the convolutions. Things are at least 7 pixels high: the first map
    # has half the picture's side, the last one an eighth.
    LAYERS = ((24, 2), (32, 1), (48, 2), (48, 1), (64, 2), (FEATURES, 1))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, stride in self.LAYERS:
            layers += [
                nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.class_head = nn.Linear(channels, len(SCENE_CLASSES))
        self.presence_head = nn.Linear(channels, len(LANDSCAPE_OBJECTS))

    def forward(self, images: Tensor) -> Classified:
        return self.classify(_floating(images))

    def classify(self, images: Tensor) -> Classified:
        """As :meth:`forward`, for pictures as float32 from -1 to 1."""
        features = self.layers(_resized(images)).mean((2, 3))
        return Classified(features, self.class_head(features), self.presence_head(features))

    def maps(self, images: Tensor) -> list[Tensor]:
        """What leaves each of the ReLUs, for pictures as :meth:`forward` takes them."""
        result, found = _resized(_floating(images)), []
        for layer in self.layers:
            result = layer(result)
            if isinstance(layer, nn.ReLU):
                found.append(result)
        return found


def _floating(images: Tensor) -> Tensor:
    """uint8 pictures as float32 from -1 to 1."""
    fits = images.dtype == torch.uint8 and images.dim() == 4 and images.shape[1] == 3
    if not fits or min(images.shape[2:]) < LEAST_SIZE:
        raise Sg2ImError(
            "The landscape classifier takes uint8 pictures of shape (N, 3, H, W), at least "
            f"{LEAST_SIZE} x {LEAST_SIZE}, got {images.dtype} of shape {tuple(images.shape)}."
        )
    return images.float() / 127.5 - 1


def _resized(images: Tensor) -> Tensor:
    """Pictures in the size that the classifier sees."""
    size = (INPUT_SIZE, INPUT_SIZE)
    if images.shape[2:] == size:
        return images
    return functional.interpolate(images, size, mode="bilinear", antialias=True)


def scene_classes(graphs: Batch) -> Tensor:
    """The class of each landscape.

    Args:
        graphs: Landscapes with categories :obj:`x`, :obj:`boxes` and :obj:`masks`; image nodes do
            not count.

    Returns:
        Positions in :data:`SCENE_CLASSES`, shape :math:`(N,)`, int64. An area is that of the box
        times the share of the mask that is set; of equal areas the first in the order of
        :data:`GROUNDS` or :data:`THINGS` counts.

    Raises:
        Sg2ImError: If there are no masks.
    """
    if graphs.get("masks") is None:
        raise Sg2ImError(
            "The classes of landscapes follow from masks, which these have none of: draw them "
            "with masks."
        )
    boxes = graphs.boxes
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * graphs.masks.mean((1, 2))
    shape = (graphs.num_graphs, 1 + len(LANDSCAPE_OBJECTS))
    place = graphs.batch * shape[1] + graphs.x
    flat = area.new_zeros(shape[0] * shape[1])
    # A ground can lie in several parts, of which each is an object; things are single ones.
    total = flat.index_add(0, place, area).view(shape)[:, _indices(GROUNDS)]
    largest = flat.scatter_reduce(0, place, area, "amax").view(shape)[:, _indices(THINGS)]
    thing = torch.where(largest.amax(1) > 0, _first_largest(largest), len(THINGS))
    return _first_largest(total) * (len(THINGS) + 1) + thing


def visible_categories(graphs: Batch) -> Tensor:
    """Which categories each landscape holds, shape :math:`(N, 16)`, bool, in the order of
    :data:`~sg2im_pyg.sources.landscapes.source.LANDSCAPE_OBJECTS`."""
    shape = (graphs.num_graphs, 1 + len(LANDSCAPE_OBJECTS))
    present = torch.zeros(shape, dtype=torch.bool, device=graphs.x.device)
    present[graphs.batch, graphs.x] = True
    return present[:, 1:]


def save_classifier(
    path: str | os.PathLike[str], classifier: LandscapeClassifier, training: Mapping[str, Any]
) -> None:
    """Writes weights under a temporary name and renames the file when it is whole.

    Args:
        path: File to write.
        classifier: The classifier.
        training: How it was trained and how well it does: plain numbers and texts.

    Raises:
        OSError: If the file can not be written.
    """
    entries = {
        "format": FORMAT,
        "version": VERSION,
        "classes": list(SCENE_CLASSES),
        "categories": list(LANDSCAPE_OBJECTS),
        "weights": {name: value.cpu() for name, value in classifier.state_dict().items()},
        "training": dict(training),
    }
    save_entries(path, entries, zipped=True)


def load_classifier(
    path: str | os.PathLike[str] = SHIPPED_WEIGHTS,
) -> tuple[LandscapeClassifier, dict[str, Any]]:
    """Reads a classifier; nothing in the file is executed.

    Args:
        path: File of :func:`save_classifier`; by default the weights that come with the package.

    Returns:
        The classifier, in eval mode on the CPU, and how it was trained.

    Raises:
        Sg2ImError: If the file is missing, damaged, of another kind, of a newer version, or for
            other classes.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise Sg2ImError(f"There is no landscape classifier {path}: {_ADVICE}.")
    entries = load_entries(path)
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise Sg2ImError(f"{path} is a file of torch, but no landscape classifier: {_ADVICE}.")
    version = entries.get("version")
    if type(version) is int and version > VERSION:
        raise Sg2ImError(
            f"{path} has version {version}, this program reads up to {VERSION}: update sg2im_pyg."
        )
    name = f"the landscape classifier {path}"
    if entries.get("classes") != list(SCENE_CLASSES):
        raise Sg2ImError(f"The program and {name} have other classes: {_ADVICE}.")
    classifier = LandscapeClassifier()
    try:
        classifier.load_state_dict(entries["weights"])
        training = dict(entries["training"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise Sg2ImError(
            f"The parts of {name} do not fit together ({first_line(error)}): {_ADVICE}."
        ) from error
    if not all(value.isfinite().all() for value in classifier.state_dict().values()):
        raise Sg2ImError(f"The weights of {name} are not finite: {_ADVICE}.")
    return classifier.eval().requires_grad_(False), training


def _indices(names: tuple[str, ...]) -> list[int]:
    return [1 + LANDSCAPE_OBJECTS.index(name) for name in names]


def _first_largest(values: Tensor) -> Tensor:
    """Column of each row's largest value, the first of equal ones, shape :math:`(N,)`."""
    # argmax does not say which of equal values it takes, and takes different ones on a GPU.
    columns = torch.arange(values.shape[1], 0, -1, device=values.device)
    is_largest = values == values.amax(1, keepdim=True)
    return values.shape[1] - (is_largest * columns).amax(1)
