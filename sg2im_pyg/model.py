"""The whole generator: from scene graphs to pictures."""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import Linear
from torch_geometric.data import Batch
from torch_geometric.utils import scatter

from sg2im_pyg.data.batching import most_objects, object_ends
from sg2im_pyg.data.draws import draw_keys
from sg2im_pyg.data.scene_graph import SceneGraph, add_image_node, check_indices
from sg2im_pyg.data.vocabulary import Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.formats.native import CheckpointFile, open_checkpoint
from sg2im_pyg.formats.published import checkpoint_path
from sg2im_pyg.images import denormalize_images, normalize_images, to_pil
from sg2im_pyg.model_config import ModelConfig
from sg2im_pyg.nn import BoxHead, MaskHead, compose_layout
from sg2im_pyg.nn.appearance import Appearance, AppearanceBank, AppearanceEncoder
from sg2im_pyg.nn.box_flow import (
    NOISE_CHANNELS,
    TRAINING_NOISE_CHANNELS,
    BoxFlow,
    FlowErrors,
    SceneObjects,
)
from sg2im_pyg.nn.compiled_part import CompiledPart
from sg2im_pyg.nn.generators import Generator, find_generator
from sg2im_pyg.nn.heads import LinearMaskHead, TextureHead
from sg2im_pyg.nn.layout import (
    FactoredLayout,
    coordinate_vectors,
    factor_layout,
    pays_to_factor,
    replace_coordinates,
    resize_masks,
    sharpened,
)
from sg2im_pyg.nn.object_encoder import ObjectEncoder

_STREAM_OF_LOOKS = 2**40  # apart from the noise of layouts: a look is the same at all sizes
_STREAM_OF_BOXES = 2**41
_STREAM_OF_OWN_LOOKS = 2**54  # for seeds of objects, which are smaller
_STREAM_OF_OWN_BOXES = 2**55
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
        self.box_flow = None
        if config.box_flow_dim:
            self.box_flow = BoxFlow(
                len(vocabulary.objects), len(vocabulary.predicates), config.box_flow_dim
            )
        self.appearance_encoder = self.appearance_bank = None
        channels = config.gconv_dim
        if config.appearance_dim:
            sizes = (len(vocabulary.objects), config.appearance_dim)
            self.appearance_encoder = AppearanceEncoder(*sizes)
            self.appearance_bank = AppearanceBank(*sizes)
            channels += 2 * config.appearance_dim  # the object's own and the picture's
        self.mask_head: MaskHead | LinearMaskHead | None = None
        if config.mask_size and config.mask_head == "linear":
            self.mask_head = LinearMaskHead(channels, config.mask_size)
        elif config.mask_size:
            transposed = config.mask_head == "transposed"
            self.mask_head = MaskHead(channels, config.mask_size, transposed)
        self.texture_head = None
        if config.texture_dim:
            self.texture_head = TextureHead(channels, config.texture_dim, config.texture_size)
        self.to_layout = None
        if config.layout_dim:
            self.to_layout = Linear(channels, config.layout_dim)
            channels = config.layout_dim
        channels += config.texture_dim + 6 * config.layout_coordinates
        # Of any kind; named after the first one, as in all checkpoints.
        self.refinement: Generator = find_generator(config.generator).make(
            channels + config.layout_noise_dim, config
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
        appearance: Tensor | None = None,
        size: tuple[int, int] | None = None,
        unmasked: Tensor | None = None,
        box_noise: Tensor | None = None,
    ) -> Sg2ImOutput:
        """Generates one picture for each graph of a batch.

        Args:
            graphs: Batch of :class:`SceneGraph` with their image nodes, or one such graph.
            boxes: Boxes that replace the predicted ones in the layout, shape :math:`(O, 4)`.
            masks: Masks that replace the predicted ones, shape :math:`(O, M, M)`, of any size. A
                model without masks (a mask size of 0) fills whole boxes all the same (release).
            noise: Noise for the layout, shape
                :math:`(N, \\text{layout\\_noise\\_dim}, H, W)`; drawn where it is not given.
            appearance: What each object looks like, shape
                :math:`(O, \\text{appearance\\_dim})`; drawn where it is not given.
            size: Height and width of the pictures; by default those that the model is made for.
            unmasked: Objects that get predicted masks even where others are given, shape
                :math:`(O,)`, bool.
            box_noise: Normal noise from which boxes are drawn, shape :math:`(O, 4)`, if the model
                draws any; drawn where neither it nor boxes are given. In training the predicted
                boxes are those before the draw.
        """
        vectors = self.object_vectors(graphs)
        batch, num_graphs = _pictures_of(graphs)
        size = size or self.config.image_size
        predicted_boxes = self.box_head(vectors)
        learning = self.training or (boxes is not None and torch.is_grad_enabled())
        if self.config.snap and not learning:  # a loss, also in eval mode, needs the gradient
            predicted_boxes = _snapped(predicted_boxes, self.config.snap)
        if self.box_flow is not None and not learning and (boxes is None or box_noise is not None):
            box_noise = _drawn_unless_given(
                "box_noise", box_noise, (len(vectors), NOISE_CHANNELS), vectors
            )
            objects = _objects_of(graphs)
            settled = self.box_flow.settled[objects.categories]
            predicted_boxes = self.box_flow.draw(objects, box_noise, predicted_boxes, settled)
        if self.appearance_encoder is not None:
            if appearance is None:
                appearance = self.draw_appearance(graphs)
            shape = (len(vectors), self.config.appearance_dim)
            appearance = _drawn_unless_given("appearance", appearance, shape, vectors)
            # That of the image node is that of the whole picture, which all objects see.
            of_picture = appearance * (graphs.x == 0).unsqueeze(1)  # type: ignore[operator]
            of_picture = scatter(of_picture, batch, dim_size=num_graphs, reduce="sum")
            vectors = torch.cat([vectors, appearance, of_picture.index_select(0, batch)], dim=1)
        predicted_masks = None if self.mask_head is None else self.mask_head(vectors)
        wanted = not learning and (masks is None or unmasked is not None)  # else they are compared
        if predicted_masks is not None and self.config.mask_sharpness != 1 and wanted:
            predicted_masks = sharpened(predicted_masks, self.config.mask_sharpness)
        boxes = predicted_boxes if boxes is None else boxes
        masks = predicted_masks if masks is None or self.mask_head is None else masks
        if unmasked is not None and masks is not None and predicted_masks is not None:
            true = resize_masks(masks.to(predicted_masks.dtype), predicted_masks.shape[-2:])
            masks = torch.where(unmasked.view(-1, 1, 1), predicted_masks, true)
        if self.config.overlap == "front":
            boxes, masks = _with_backdrop(graphs.x == 0, boxes, masks)  # type: ignore[arg-type]
        textures = None if self.texture_head is None else self.texture_head(vectors)
        if self.to_layout is not None:
            vectors = self.to_layout(vectors)
        if self.config.layout_coordinates:
            vectors = torch.cat([vectors, coordinate_vectors(boxes)], dim=1)
        parts = (vectors, boxes, masks, batch, size, num_graphs, most := most_objects(graphs))
        layout: Tensor | FactoredLayout
        if textures is not None or self.config.layout_coordinates:
            # Places in small boxes need more digits than half precision has.
            with torch.autocast(vectors.device.type, enabled=False):
                if textures is not None:
                    textures = textures.to(boxes.dtype)
                layout = compose_layout(*parts, overlap=self.config.overlap, textures=textures)
                if self.config.layout_coordinates:
                    layout = replace_coordinates(layout)
        elif self.refinement.takes_factored and pays_to_factor(most, vectors.size(1)):
            layout = factor_layout(*parts, overlap=self.config.overlap)
        else:
            layout = compose_layout(*parts, overlap=self.config.overlap)
        if self.config.layout_noise_dim:
            noise_shape = (num_graphs, self.config.layout_noise_dim, *size)
            noise = _drawn_unless_given("noise", noise, noise_shape, vectors)
        else:
            noise = None
        images = self.refinement(layout, noise)
        return Sg2ImOutput(images, predicted_boxes, predicted_masks)

    def encode_appearance(self, images: Tensor, graphs: Batch) -> Appearance | None:
        """Distributions of what the objects of pictures look like; none if the model has no
        appearance vectors.

        Args:
            images: Pictures in the ImageNet normalisation, shape :math:`(N, 3, H, W)`.
            graphs: Their graphs with :obj:`boxes`; :obj:`masks` are full where there are none.
        """
        if self.appearance_encoder is None:
            return None
        masks = graphs.get("masks")
        if masks is None:
            masks = images.new_ones(len(graphs.x), 1, 1)
        images = images.to(self.object_embedding.weight.dtype)
        found = self.appearance_encoder(images, graphs.boxes, masks, graphs.batch, graphs.x)
        return Appearance(*(values.to(images.dtype) for values in found))  # also under autocast

    def box_flow_errors(self, graphs: Batch, noise: Tensor | None = None) -> FlowErrors | None:
        """What the drawing of boxes is trained by; none if the model draws none.

        Args:
            graphs: Graphs with their true :obj:`boxes`.
            noise: Normal noise, shape :math:`(O, F)`, see
                :meth:`~sg2im_pyg.nn.box_flow.BoxFlow.errors`; drawn where it is not given.
        """
        if self.box_flow is None:
            return None
        if noise is None:
            shape = (len(graphs.boxes), TRAINING_NOISE_CHANNELS)
            noise = torch.randn(shape, device=graphs.boxes.device)
        return self.box_flow.errors(_objects_of(graphs), graphs.boxes, noise)

    def parts_to_compile(self) -> list[CompiledPart]:
        # The number of objects comes first, in edge_index that of relationships second.
        parts = [
            *self.refinement.parts_to_compile(),
            CompiledPart(self.graph_network, varying=(0, 1, 0)),
            CompiledPart(self.box_head, varying=(0,)),
        ]
        if self.mask_head is not None:
            parts.append(CompiledPart(self.mask_head, varying=(0,)))
        if self.texture_head is not None:
            parts.append(CompiledPart(self.texture_head, varying=(0,)))
        return parts

    def to_batch(self, graphs: Iterable[str | Mapping[str, Any] | SceneGraph]) -> Batch:
        """Puts scene graphs, in words or JSON too, into one batch on the model's device.

        Raises:
            Sg2ImError: If there is none, or one has a wrong form or unknown names.
        """
        if isinstance(graphs, (str, Mapping, SceneGraph)):
            graphs = [graphs]
        converted = []
        for i, graph in enumerate(graphs):
            if isinstance(graph, SceneGraph):
                bare = SceneGraph(graph.x, graph.edge_index, graph.edge_attr)
                if graph.get("seeds") is not None:
                    bare.seeds = graph.seeds
                check_indices(bare, self.vocabulary, f"Scene graph {i}")
                converted.append(add_image_node(bare))
            elif isinstance(graph, str):
                converted.append(SceneGraph.from_text(graph, self.vocabulary))
            else:
                converted.append(SceneGraph.from_json(graph, self.vocabulary))
        if not converted:
            raise Sg2ImError("There is no scene graph to generate from: give at least one.")
        if any("seeds" in graph for graph in converted):  # a batch has them of all or of none
            for graph in converted:
                if "seeds" not in graph:
                    graph.seeds = torch.full_like(graph.x, -1)  # type: ignore[arg-type]
        return Batch.from_data_list(converted).to(self.object_embedding.weight.device)

    @torch.no_grad()
    def generate_outputs(
        self,
        graphs: Sequence[str | Mapping[str, Any] | SceneGraph],
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        appearance: Sequence[Tensor | None] | None = None,
    ) -> list[tuple[Batch, Sg2ImOutput]]:
        """Batches of bounded size and what the model gives for each, in eval mode; the arguments
        are those of :meth:`generate`.

        Noise and appearance are drawn on the CPU: a seed gives the same pictures on every device.
        """
        generator, of_looks, of_boxes = (torch.Generator() for _ in range(3))
        generator.seed() if seed is None else generator.manual_seed(seed)
        seed = generator.initial_seed()
        of_looks.manual_seed((seed + _STREAM_OF_LOOKS) % 2**63)
        # On a CPU only the lower half of a seed counts, so that a stream's number is mixed into it.
        of_boxes.manual_seed(int(draw_keys(seed + _STREAM_OF_BOXES, 0, [0])[0]))
        graphs, was_training = list(graphs), self.training
        if appearance is not None and len(appearance) != len(graphs):
            raise Sg2ImError(
                f"There are {len(appearance)} entries of appearance for {len(graphs)} graphs: give "
                "one for each, or None where it is to be drawn."
            )
        if appearance is not None and self.appearance_encoder is None:
            raise Sg2ImError(
                "This model has no appearance vectors (its appearance_dim is 0): leave appearance "
                "out, or use a model that was trained with them."
            )
        size = self.check_size(size)
        self.eval()
        try:
            results = []
            for start in range(0, max(len(graphs), 1), _GENERATED_AT_ONCE):
                chosen = slice(start, start + _GENERATED_AT_ONCE)
                batch = self.to_batch(graphs[chosen])
                channels, shape = self.config.appearance_dim, (self.config.layout_noise_dim, *size)
                drawn, starts, noise = [], [], []
                # Graph by graph, so that it plays no part which ones are in a batch. The picture's
                # look is drawn first, so that it stays as a graph grows; its node is the last one.
                for objects in np.diff(object_ends(batch)).tolist():
                    drawn.append(_normal_rows(objects, channels, of_looks).roll(-1, 0))
                    starts.append(_normal_rows(objects, NOISE_CHANNELS, of_boxes))
                    noise.append(torch.randn(shape, generator=generator))
                look_noise, box_noise = torch.cat(drawn), torch.cat(starts)
                if "seeds" in batch:
                    _draw_own(look_noise, batch.seeds, _STREAM_OF_OWN_LOOKS)
                    _draw_own(box_noise, batch.seeds, _STREAM_OF_OWN_BOXES)
                looks = self.draw_appearance(batch, look_noise)
                if looks is not None and appearance is not None:
                    looks = _with_given(looks, batch, appearance[chosen])
                layout_noise = torch.stack(noise).to(batch.x.device)
                output = self(
                    batch,
                    noise=layout_noise,
                    appearance=looks,
                    size=size,
                    box_noise=box_noise.to(batch.x.device),
                )
                results.append((batch, output))
            return results
        finally:
            self.train(was_training)

    @torch.no_grad()
    def appearance_of(self, graph: SceneGraph) -> Tensor:
        """What the objects of a picture look like, to be given to :meth:`generate` for others.

        Args:
            graph: One graph with :obj:`image` and :obj:`boxes`, and perhaps :obj:`masks`, such as
                those of a :class:`~sg2im_pyg.data.SceneDataset`; the image node may be missing.

        Returns:
            Shape :math:`(O, \\text{appearance\\_dim})`; the last row is that of the whole picture.

        Raises:
            Sg2ImError: If the model has no appearance vectors, or the graph no picture.
        """
        if self.appearance_encoder is None:
            raise Sg2ImError("This model has no appearance vectors: give one that was trained so.")
        if graph.get("image") is None or graph.get("boxes") is None:
            raise Sg2ImError(
                "The scene graph needs image and boxes, to see what objects look like."
            )
        batch = Batch.from_data_list([add_image_node(graph.clone())])
        batch = batch.to(self.object_embedding.weight.device)
        was_training = self.training
        self.eval()
        try:
            found = self.encode_appearance(normalize_images(batch.image), batch)
        finally:
            self.train(was_training)
        assert found is not None
        return found.mean

    def draw_appearance(
        self, graphs: Batch | SceneGraph, noise: Tensor | None = None
    ) -> Tensor | None:
        """What the objects of graphs may look like, drawn from what the bank has kept of true
        pictures; none if the model has no appearance vectors.

        Args:
            graphs: A batch with its image nodes, or one such graph.
            noise: Normal noise, shape :math:`(O, \\text{appearance\\_dim})`; drawn where it is
                not given.
        """
        if self.appearance_bank is None:
            return None
        batch, num_graphs = _pictures_of(graphs)
        if noise is None:
            shape = (len(batch), self.config.appearance_dim)
            noise = torch.randn(shape, device=batch.device)
        return self.appearance_bank(noise.to(batch.device), graphs.x, batch, num_graphs)

    def check_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """The size of pictures that is wanted, or that of the model where none is.

        Raises:
            Sg2ImError: If the generator can not give it.
        """
        if size is None:
            return self.config.image_size
        return replace(self.config, image_size=size).image_size

    def generate(
        self,
        graphs: Sequence[str | Mapping[str, Any] | SceneGraph]
        | str
        | Mapping[str, Any]
        | SceneGraph,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        appearance: Sequence[Tensor | None] | None = None,
    ) -> list[Image.Image]:
        """Pictures for scene graphs, given as JSON dicts, in words (:obj:`"sky above grass; two
        boats inside water"`) or as :class:`SceneGraph` objects.

        What an object with a seed of its own (:obj:`"seeds"` of a graph) looks like follows from
        that seed, whatever else is in the graph: it is one of the looks of its category that go
        with the look of the whole picture, which is the picture's seed's. Where the model draws
        boxes, the seed fixes the noise that the object's box is drawn from, too; boxes are drawn
        together, so those of the others may move with it. Models that draw neither do not look at
        the seeds of objects.

        Args:
            graphs: See :meth:`SceneGraph.from_json` and, for words, :meth:`SceneGraph.from_text`; a
                single one is a list of one.
            seed: Fixes the noise and what objects without seeds of their own look like, and so the
                pictures.
            size: Height and width in pixels; by default those that the model was trained at, at
                which pictures are best.
            appearance: For each graph what its objects look like, shape
                :math:`(O, \\text{appearance\\_dim})`, such as the :obj:`mean` that
                :meth:`encode_appearance` gives for those of a picture, the last row that of the
                whole picture, which may be left out; rows of NaN, and graphs with none, are drawn.
                What is given goes before an object's own seed.

        Raises:
            Sg2ImError: If there is none, or one has a wrong form or unknown names; if the generator
                can not give the size; if appearance is of another shape, or the model has none.
        """
        if isinstance(graphs, (str, Mapping, SceneGraph)):
            graphs = [graphs]
        return [
            image
            for _, output in self.generate_outputs(graphs, seed, size, appearance)
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


def _pictures_of(graphs: Batch | SceneGraph) -> tuple[Tensor, int]:
    """The picture of each object, and their number; a graph that is no batch is one picture."""
    if graphs.batch is None:
        return torch.zeros_like(graphs.x), 1  # type: ignore[arg-type]
    return graphs.batch, graphs.num_graphs


def _objects_of(graphs: Batch | SceneGraph) -> SceneObjects:
    batch, pictures = _pictures_of(graphs)
    return SceneObjects(
        graphs.x,  # type: ignore[arg-type]
        graphs.edge_index,  # type: ignore[arg-type]
        graphs.edge_attr,  # type: ignore[arg-type]
        batch,
        pictures,
        most_objects(graphs),
    )


def _drawn_unless_given(
    name: str, values: Tensor | None, shape: tuple[int, ...], like: Tensor
) -> Tensor:
    """Values of a shape, or normal ones where there are none."""
    if values is None:
        return torch.randn(shape, dtype=like.dtype, device=like.device)
    if values.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {tuple(values.shape)}")
    return values.to(like.dtype)


def _snapped(boxes: Tensor, distance: float) -> Tensor:
    """Boxes whose sides lie on the picture's border on their own side where they are near to it; so
    nothing that is thin and near to it vanishes."""
    corner, opposite = boxes.tensor_split(2, dim=1)
    corner = torch.where(corner < distance, 0, corner)
    return torch.cat([corner, torch.where(opposite > 1 - distance, 1, opposite)], dim=1)


def _with_backdrop(
    is_picture: Tensor, boxes: Tensor, masks: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Boxes and masks in which the image node fills the whole picture, behind everything else."""
    whole = (torch.arange(4, device=boxes.device) >= 2).to(boxes.dtype)  # 0, 0, 1, 1
    boxes = torch.where(is_picture.unsqueeze(1), whole, boxes)
    if masks is not None:
        masks = masks.masked_fill(is_picture.view(-1, 1, 1), 1)
    return boxes, masks


def _normal_rows(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """Normal numbers, of which the first rows are the same however many there are."""
    # torch draws sixteen at a time, and the last ones otherwise where a few are left over.
    return torch.randn(count, -(-channels // 16) * 16, generator=generator)[:, :channels]


def _draw_own(rows: Tensor, seeds: Tensor, stream: int) -> None:
    """Draws the rows of objects with seeds of their own, not -1, anew from these."""
    generator = torch.Generator()
    for row, seed in zip(rows, seeds.tolist(), strict=True):
        if seed >= 0:
            generator.manual_seed(int(draw_keys(seed + stream, 0, [0])[0]))
            row.copy_(_normal_rows(1, len(row), generator)[0])


def _with_given(looks: Tensor, graphs: Batch, given: Sequence[Tensor | None]) -> Tensor:
    """Appearance vectors with those that were given, row by row unless they are no numbers."""
    looks = looks.clone()
    for first, end, own in zip(graphs.ptr, graphs.ptr[1:], given, strict=False):
        if own is None:
            continue
        objects = int(end - first)
        # The image node is the last one, and may be left out.
        if own.dim() != 2 or own.size(1) != looks.size(1) or objects - len(own) not in (0, 1):
            raise Sg2ImError(
                f"appearance must have the shape {(objects, looks.size(1))}, a row for each object "
                f"and one for the picture, got {tuple(own.shape)}."
            )
        rows = looks[first : first + len(own)]
        own = own.to(looks)
        rows.copy_(torch.where(own.isnan(), rows, own))
    return looks
