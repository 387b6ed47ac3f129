"""What an object looks like, beyond what the graph says of it: a vector for each object."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import BatchNorm2d, Conv2d, Embedding, Flatten, LeakyReLU, Linear, Module, Sequential
from torch_geometric.nn.inits import reset

from sg2im_pyg.nn.layout import crop_objects, resize_masks

_CROP = 32  # side of the crops in pixels
_SLOPE = 0.2

PICTURES_KEPT = 512
"""Pictures whose vectors a bank keeps."""


class Appearance(NamedTuple):
    """Normal distributions of appearance vectors with independent entries."""

    mean: Tensor
    """Shape :math:`(O, A)`."""
    log_variance: Tensor
    """Shape :math:`(O, A)`."""

    def sample(self, noise: Tensor) -> Tensor:
        """Vectors of these distributions from standard normal noise, both :math:`(O, A)`."""
        return self.mean + noise * (0.5 * self.log_variance).exp()

    def divergence(self) -> Tensor:
        r"""Kullback-Leibler divergence of each object's distribution from the standard normal one
        (`"Auto-Encoding Variational Bayes" <https://arxiv.org/abs/1312.6114>`_, Appendix B), in
        nats, shape :math:`(O,)`."""
        variance = self.log_variance.exp()
        return 0.5 * (self.mean.square() + variance - 1 - self.log_variance).sum(dim=1)


class AppearanceEncoder(Module):
    """Encodes each object's crop and mask, as a variational auto-encoder does: in training its
    distributions are kept near the standard normal one, from which vectors are drawn where there is
    no picture.

    Three convolutions of the crop, the mask beside it, then two linear layers, which see the
    category too.

    Args:
        num_categories: Number of object categories, the special one included.
        channels: Size :math:`A` of the vectors.
        hidden_channels: Channels of the first convolution; the others have twice as many.

    Shapes:
        - **input:** pictures :math:`(N, 3, H, W)`, boxes :math:`(O, 4)`, masks
          :math:`(O, M, M)`, picture of each object :math:`(O,)`, categories :math:`(O,)`
        - **output:** :class:`Appearance`

    Examples:
        >>> encoder = AppearanceEncoder(10, channels=4)
        >>> boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]])
        >>> appearance = encoder(torch.randn(1, 3, 64, 64), boxes, torch.ones(2, 8, 8),
        ...                      torch.tensor([0, 0]), torch.tensor([3, 4]))
        >>> appearance.mean.shape
        torch.Size([2, 4])
    """

    def __init__(self, num_categories: int, channels: int, hidden_channels: int = 32) -> None:
        super().__init__()
        self.channels = channels
        width = hidden_channels
        self.embedding = Embedding(num_categories, width)
        self.convs = Sequential(
            Conv2d(4, width, 4, stride=2, padding=1),
            LeakyReLU(_SLOPE, inplace=True),
            Conv2d(width, 2 * width, 4, stride=2, padding=1),
            BatchNorm2d(2 * width),
            LeakyReLU(_SLOPE, inplace=True),
            Conv2d(2 * width, 2 * width, 4, stride=2, padding=1),
            BatchNorm2d(2 * width),
            LeakyReLU(_SLOPE, inplace=True),
            Flatten(),
        )
        side = _CROP // 8
        self.linears = Sequential(
            Linear(2 * width * side * side + width, 4 * width),
            LeakyReLU(_SLOPE),
            Linear(4 * width, 2 * channels),
        )

    def reset_parameters(self) -> None:
        for module in (self.embedding, self.convs, self.linears):
            reset(module)

    def forward(
        self, images: Tensor, boxes: Tensor, masks: Tensor, batch: Tensor, categories: Tensor
    ) -> Appearance:
        crops = crop_objects(images, boxes, batch, _CROP)
        planes = resize_masks(masks.to(crops.dtype), crops.shape[-2:])
        features = self.convs(torch.cat([crops, planes.unsqueeze(1)], dim=1))
        both = self.linears(torch.cat([features, self.embedding(categories)], dim=1))
        return Appearance(*both.chunk(2, dim=1))

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.embedding.num_embeddings}, {self.channels})"


class AppearanceBank(Module):
    """Appearance vectors of true pictures, from which those of new ones are drawn.

    A picture gets the vector of one of the kept pictures; each of its objects that of an object of
    its category, out of those few whose own picture was most alike. So what belongs together, such
    as a dark sky and dark grass, stays together, which independent normal vectors would not see to.
    Banks of appearances are known from `"Specifying Object Attributes and Relations in Interactive
    Scene Generation" <https://arxiv.org/abs/1909.05379>`_, Section 3.

    Args:
        num_categories: Number of object categories :math:`C`, the special one (of image nodes)
            included.
        channels: Size :math:`A` of the vectors.
        pictures: Most pictures that are kept.
        objects: Most objects of a category that are kept.
        alike: Objects out of which one is drawn; at most :obj:`objects`.

    Raises:
        ValueError: If one is drawn out of more objects than are kept; from loading weights, if
            more are said to be kept than there is room for.

    Shapes:
        - **input:** normal noise :math:`(O, A)`, categories :math:`(O,)`, picture of each object
          :math:`(O,)`, number of pictures
        - **output:** vectors :math:`(O, A)`; the noise itself where nothing is kept yet
    """

    picture_vectors: Tensor
    vectors: Tensor
    of_pictures: Tensor
    counts: Tensor

    def __init__(
        self,
        num_categories: int,
        channels: int,
        pictures: int = PICTURES_KEPT,
        objects: int = 128,
        alike: int = 8,
    ) -> None:
        super().__init__()
        if not 1 <= alike <= objects:
            raise ValueError(f"alike must be from 1 to {objects}, the objects kept, got {alike}")
        self.objects = objects
        self.alike = alike
        self.register_buffer("picture_vectors", torch.zeros(pictures, channels))
        self.register_buffer("vectors", torch.zeros(num_categories, objects, channels))
        self.register_buffer("of_pictures", torch.zeros(num_categories, objects, channels))
        self.register_buffer("counts", torch.zeros(num_categories, dtype=torch.long))
        self.register_load_state_dict_post_hook(_check_counts)

    def reset_parameters(self) -> None:
        for kept in (self.picture_vectors, self.vectors, self.of_pictures, self.counts):
            kept.zero_()

    @torch.no_grad()
    def keep(self, vectors: Tensor, categories: Tensor, batch: Tensor) -> None:
        """Keeps vectors of the objects of pictures in place of those of before.

        Args:
            vectors: Shape :math:`(O, A)`.
            categories: Shape :math:`(O,)`; each picture has one image node, of category 0.
            batch: Picture of each object, shape :math:`(O,)`.
        """
        self.reset_parameters()
        of_image = vectors[categories == 0]
        of_objects = of_image.index_select(0, batch)
        kept = of_image[: len(self.picture_vectors)]
        self.picture_vectors[: len(kept)] = kept
        self.counts[0] = len(kept)
        for category in range(1, len(self.counts)):
            chosen = (categories == category).nonzero().view(-1)[: self.objects]
            self.vectors[category, : len(chosen)] = vectors[chosen]
            self.of_pictures[category, : len(chosen)] = of_objects[chosen]
            self.counts[category] = len(chosen)

    def forward(
        self, noise: Tensor, categories: Tensor, batch: Tensor, num_pictures: int
    ) -> Tensor:
        # Uniform numbers below 1 from the first normal number of each object.
        uniform = torch.special.ndtr(noise[:, 0].float()).clamp(max=1 - 1e-6)
        counts = self.counts[categories]
        chosen = self.picture_vectors[(uniform * self.counts[0]).long()]
        is_picture = (categories == 0).unsqueeze(1)
        own = chosen.new_zeros(num_pictures, chosen.size(1))
        own = own.index_add(0, batch, chosen * is_picture)
        distances = (self.of_pictures[categories] - own[batch].unsqueeze(1)).square().sum(dim=2)
        place = torch.arange(self.objects, device=noise.device)
        distances = distances.masked_fill(place >= counts.unsqueeze(1), torch.inf)
        nearest = distances.topk(self.alike, largest=False).indices
        among = counts.clamp(min=1, max=self.alike)
        index = nearest.gather(1, (uniform * among).long().unsqueeze(1)).squeeze(1)
        vectors = torch.where(is_picture, chosen, self.vectors[categories, index])
        return torch.where((counts == 0).unsqueeze(1), noise, vectors.to(noise.dtype))

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self.picture_vectors)}, {self.objects})"


def _check_counts(bank: AppearanceBank, _: Any) -> None:
    """Weights may come from elsewhere, and counts are places in the other buffers."""
    most = torch.full_like(bank.counts, bank.objects)
    most[0] = len(bank.picture_vectors)
    if ((bank.counts < 0) | (bank.counts > most)).any():
        raise ValueError("a bank of appearances whose counts do not fit its vectors")
