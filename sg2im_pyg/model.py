"""The whole generator: from scene graphs to pictures."""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch_geometric.data import Batch

from sg2im_pyg.data.batching import most_objects
from sg2im_pyg.data.scene_graph import SceneGraph, add_image_node, check_indices
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.native import CheckpointFile, open_checkpoint
from sg2im_pyg.formats.published import checkpoint_path
from sg2im_pyg.images import denormalize_images, to_pil
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.nn import BoxHead, MaskHead, compose_layout
from sg2im_pyg.nn.compiled_part import CompiledPart
from sg2im_pyg.nn.generators import Generator, find_generator
from sg2im_pyg.nn.layout import FactoredLayout, factor_layout, pays_to_factor
from sg2im_pyg.nn.object_encoder import ObjectEncoder

_GENERATED_AT_ONCE = 32  # pictures a forward pass in generate(): bounds its memory


class Sg2ImOutput(NamedTuple):
    """What the generator gives for a batch of :math:`N` pictures with :math:`O` objects in all."""

    images: Tensor
    """Pictures in the ImageNet normalisation, shape :math:`(N, 3, H, W)`."""
    boxes: Tensor
    """Predicted boxes :obj:`[x0, y0, x1, y1]` in units of the picture, :math:`(O, 4)`."""
    masks: Tensor | None
    """Predicted masks in :math:`[0, 1]`, :math:`(O, M, M)`, or none with a mask size of 0."""


class Sg2Im(ObjectEncoder):
    r"""Generates pictures from scene graphs (`"Image Generation from Scene Graphs"
    <https://arxiv.org/abs/1804.01622>`_, Section 3).

    The encoder gives a vector for each object, from which boxes and masks are predicted; the
    layout is made of all three, and a generator turns it into a picture.

    Args:
        vocabulary: Names of the categories and predicates; kept as :obj:`.vocabulary`.
        config: Options; kept as :obj:`.config`.
        **options: Options by name, see :class:`ModelConfig`, in place of :obj:`config`.

    Examples:
        >>> model = Sg2Im(Vocabulary(["sky", "grass"], ["above"]), image_size=(32, 32),
        ...               refinement_dims=(16, 8))
        >>> image, = model.generate([{"objects": ["sky", "grass"],
        ...                           "relationships": [[0, "above", 1]]}], seed=0)
        >>> image.size
        (32, 32)
    """

    def __init__(
        self, vocabulary: Vocabulary, config: ModelConfig | None = None, **options: Any
    ) -> None:
        if config is not None and options:
            raise ValueError("give the options either as config or by name, not both")
        config = config or ModelConfig(**options)
        norm = None if config.mlp_normalization == "none" else "batch_norm"
        super().__init__(
            len(vocabulary.objects),
            len(vocabulary.predicates),
            config.embedding_dim,
            config.gconv_dim,
            config.gconv_hidden_dim,
            config.gconv_num_layers,
            config.gconv_pooling,
            norm,
        )
        self.vocabulary = vocabulary
        self.config = config
        self.for_generation_only = False
        self.box_head = BoxHead(config.gconv_dim, config.gconv_hidden_dim, norm)
        self.mask_head = None
        if config.mask_size:
            self.mask_head = MaskHead(
                config.gconv_dim, config.mask_size, config.mask_head == "transposed"
            )
        # Of any kind; named after the first one, as in all checkpoints.
        self.refinement: Generator = find_generator(config.generator).make(
            config.gconv_dim + config.layout_noise_dim, config
        )

    def for_generation(self) -> "Sg2Im":
        """A copy that gives the same pictures faster, and can do nothing else.

        What depends on weights alone is computed beforehand, and no gradient is kept. Later
        changes of this model do not reach it.
        """
        other = copy.deepcopy(self).eval().requires_grad_(False)
        other.refinement.fold()
        other.for_generation_only = True
        return other

    def train(self, mode: bool = True) -> "Sg2Im":
        if mode and self.for_generation_only:
            raise RuntimeError(
                "this copy was made by for_generation() and can not be trained: train the model it "
                "was made of"
            )
        return super().train(mode)

    def forward(
        self,
        graphs: Batch | SceneGraph,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Sg2ImOutput:
        """Generates one picture for each graph of a batch.

        Args:
            graphs: Batch of :class:`SceneGraph` with their image nodes, or one such graph.
            boxes: Boxes that replace the predicted ones in the layout, shape :math:`(O, 4)`.
            masks: Masks that replace the predicted ones, shape :math:`(O, M, M)`, of any size.
            noise: Noise for the layout, shape
                :math:`(N, \\text{layout\\_noise\\_dim}, H, W)`; drawn where it is not given.
        """
        vectors = self.object_vectors(graphs)
        batch, num_graphs = graphs.batch, 1
        if batch is None:
            batch = torch.zeros_like(graphs.x)  # type: ignore[arg-type]
        else:
            num_graphs = graphs.num_graphs
        predicted_boxes = self.box_head(vectors)
        predicted_masks = None if self.mask_head is None else self.mask_head(vectors)
        parts = (
            vectors,
            predicted_boxes if boxes is None else boxes,
            predicted_masks if masks is None else masks,
            batch,
            self.config.image_size,
            num_graphs,
            most := most_objects(graphs),
        )
        layout: Tensor | FactoredLayout
        if self.refinement.takes_factored and pays_to_factor(most, self.config.gconv_dim):
            layout = factor_layout(*parts)
        else:
            layout = compose_layout(*parts)
        if self.config.layout_noise_dim:
            shape = (num_graphs, self.config.layout_noise_dim, *self.config.image_size)
            if noise is None:
                noise = torch.randn(shape, dtype=vectors.dtype, device=vectors.device)
            elif noise.shape != shape:
                raise ValueError(f"noise must have the shape {shape}, got {tuple(noise.shape)}")
            noise = noise.to(vectors.dtype)
        else:
            noise = None
        images = self.refinement(layout, noise)
        return Sg2ImOutput(images, predicted_boxes, predicted_masks)

    def parts_to_compile(self) -> list[CompiledPart]:
        # The number of objects comes first, in edge_index that of relationships second.
        parts = [
            *self.refinement.parts_to_compile(),
            CompiledPart(self.graph_network, varying=(0, 1, 0)),
            CompiledPart(self.box_head, varying=(0,)),
        ]
        if self.mask_head is not None:
            parts.append(CompiledPart(self.mask_head, varying=(0,)))
        return parts

    def to_batch(self, graphs: Iterable[Mapping[str, Any] | SceneGraph]) -> Batch:
        """Puts scene graphs, or their JSON form, into one batch on the model's device.

        Raises:
            Sg2ImError: If there is none, or one has a wrong form or unknown names.
        """
        if isinstance(graphs, (Mapping, SceneGraph)):
            graphs = [graphs]
        converted = []
        for i, graph in enumerate(graphs):
            if isinstance(graph, SceneGraph):
                bare = SceneGraph(graph.x, graph.edge_index, graph.edge_attr)
                check_indices(bare, self.vocabulary, f"Scene graph {i}")
                converted.append(add_image_node(bare))
            else:
                converted.append(SceneGraph.from_json(graph, self.vocabulary))
        if not converted:
            raise Sg2ImError("There is no scene graph to generate from: give at least one.")
        return Batch.from_data_list(converted).to(self.object_embedding.weight.device)

    @torch.no_grad()
    def generate_outputs(
        self, graphs: Sequence[Mapping[str, Any] | SceneGraph], seed: int | None = None
    ) -> list[tuple[Batch, Sg2ImOutput]]:
        """Batches of bounded size and what the model gives for each, in eval mode.

        The noise is drawn on the CPU: a seed gives the same pictures on every device.
        """
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        graphs, was_training = list(graphs), self.training
        self.eval()
        try:
            results = []
            for start in range(0, max(len(graphs), 1), _GENERATED_AT_ONCE):
                batch = self.to_batch(graphs[start : start + _GENERATED_AT_ONCE])
                shape = (self.config.layout_noise_dim, *self.config.image_size)
                noise = torch.stack(
                    [torch.randn(shape, generator=generator) for _ in range(batch.num_graphs)]
                )
                results.append((batch, self(batch, noise=noise.to(batch.x.device))))
            return results
        finally:
            self.train(was_training)

    def generate(
        self,
        graphs: Sequence[Mapping[str, Any] | SceneGraph] | Mapping[str, Any] | SceneGraph,
        seed: int | None = None,
    ) -> list[Image.Image]:
        """Pictures for scene graphs, given as JSON dicts or :class:`SceneGraph` objects.

        Args:
            graphs: See :meth:`SceneGraph.from_json`; a single one is a list of one.
            seed: Fixes the noise, and so the pictures.

        Raises:
            Sg2ImError: If there is none, or one has a wrong form or unknown names.
        """
        if isinstance(graphs, (Mapping, SceneGraph)):
            graphs = [graphs]
        return [
            image
            for _, output in self.generate_outputs(graphs, seed)
            for image in to_pil(denormalize_images(output.images))
        ]

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> "Sg2Im":
        """The generator of a checkpoint, in eval mode.

        Args:
            path: A checkpoint of this library or of the 2018 release. A text may be a name, too:
                :obj:`"landscapes"`, which comes with the library, or one of
                :data:`~sg2im_pyg.formats.published.PRETRAINED`, which is fetched once.

        Raises:
            Sg2ImError: If the file is missing, damaged or of another kind, or there is no model of
                that name.
        """
        if isinstance(path, str):
            path = checkpoint_path(path, "The checkpoint")
        return cls.from_file(open_checkpoint(path, discriminators=False))

    @classmethod
    def from_file(cls, file: CheckpointFile) -> "Sg2Im":
        """See :meth:`from_pretrained`, for a file that is read already."""
        vocabulary, config = file.vocabulary_and_options()
        return file.fill("generator", lambda: cls(vocabulary, config), file.entries["generator"])

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.vocabulary}, image_size={self.config.image_size})"
