"""Generates a checkpoint's layouts and pictures for a split, and writes the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Batch

from sg2im_pyg.drawing import render_graph, render_layout
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.report import Example
from sg2im_pyg.evaluation.split import Split, Translation
from sg2im_pyg.evaluation.systems import CheckpointSystem
from sg2im_pyg.evaluation.text import run_names
from sg2im_pyg.images import denormalize_images, to_pil
from sg2im_pyg.model import Sg2ImOutput
from sg2im_pyg.sources.picture_files import PICTURE_SUFFIXES
from sg2im_pyg.system.files import replace_when_whole

_LAYOUT_SIDE = 192  # pixels of a layout's picture, for its labels


@dataclass
class Generation:
    """Generates a checkpoint's layouts and pictures for a split.

    What it gives for a picture does not depend on the batch that it comes in, but for rounding.

    Args:
        system: The checkpoint.
        split: The split.
        config: All options, of which none is left to be chosen.
    """

    system: CheckpointSystem
    split: Split
    config: EvaluationConfig

    def __post_init__(self) -> None:
        self.generator = self.system.open(self.split).to(self.config.device)
        names = self.generator.vocabulary
        self.translate = Translation(self.split.vocabulary, names, self.system.path)

    @torch.no_grad()
    def generate(
        self, indices: Sequence[int], draw: int, again: int = 0
    ) -> tuple[Batch, Batch, Sg2ImOutput]:
        """Generates from graphs of some pictures.

        Args:
            indices: Positions of the pictures in the split.
            draw: Number of the graph, where there are several of a picture.
            again: Number of the seed, where a graph is generated from several times.

        Returns:
            The graphs that predictions are compared with, and those that the generator sees, both
            in the data's indices; and what it gives. The former have the split's usual
            relationships also where the generator sees none, so that relations that hold by chance
            are counted.
        """
        given = graphs = self.split.graphs(indices, draw, self.system.relationships)
        if self.system.relationships == "none":
            graphs = self.split.graphs(indices, draw, self.split.relationships)
        config = self.generator.config
        shape = (config.layout_noise_dim, *config.image_size)
        noise = self.split.noise(indices, draw, shape, again)
        moved = self.translate(given).to(self.config.device)
        boxes = moved.boxes if self.config.boxes == "true" else None
        masks = moved.masks if self.config.masks == "true" else None
        looks = None
        if config.appearance_dim:
            drawn = self.split.appearance_noise(indices, draw, given, config.appearance_dim, again)
            looks = self.generator.draw_appearance(moved, drawn)
        of_boxes = None
        if config.box_flow_dim:
            of_boxes = self.split.box_noise(indices, draw, given, again).to(self.config.device)
        noise = noise.to(self.config.device)
        output = self.generator(moved, boxes, masks, noise, looks, box_noise=of_boxes)
        return graphs, given, output

    def example(self, index: int, iou: float) -> Example:
        """The pictures of one row of the report."""
        graphs, given, output = self.generate([index], 0)
        vocabulary, size = self.split.vocabulary, self.split.dataset.image_size
        generated = denormalize_images(output.images, self.config.stretch)
        shape = (vocabulary, size, max(3, _LAYOUT_SIDE // min(size)))
        images = {
            "graph": render_graph(given.get_example(0), vocabulary),
            "true picture": to_pil(graphs.image)[0],
            "true layout": render_layout(graphs.x, graphs.boxes, graphs.get("masks"), *shape),
            "predicted layout": render_layout(graphs.x, output.boxes, output.masks, *shape),
            "generated picture": to_pil(generated)[0],
        }
        return Example(f"picture {self.split.image_id(index)}", iou, self.system.name, images)


class PictureWriter:
    """Writes generated pictures under the number of their true picture.

    Raises:
        Sg2ImError: If the folder holds other pictures, which would be taken for the system's.
    """

    def __init__(self, folder: Path, split: Split, draws: int) -> None:
        self.folder, self.several = folder, draws > 1
        folder.mkdir(parents=True, exist_ok=True)
        ids = map(split.image_id, range(split.pictures))
        own = {self._name(image_id, draw) for image_id in ids for draw in range(draws)}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in PICTURE_SUFFIXES and path.name not in own:
                raise Sg2ImError(
                    f"{folder} holds pictures that this evaluation does not make, such as "
                    f"{path.name}: delete that folder, or give another --output."
                )

    def write(self, images: Tensor, image_ids: list[int], draw: int) -> None:
        """Writes pictures, uint8, shape :math:`(N, 3, H, W)`."""
        for image, image_id in zip(to_pil(images), image_ids, strict=True):
            with replace_when_whole(self.folder / self._name(image_id, draw)) as temporary:
                image.save(temporary, format="PNG")

    def _name(self, image_id: int, draw: int) -> str:
        return f"{image_id:012}_{draw}.png" if self.several else f"{image_id:012}.png"


def open_writers(
    folder: Path, names: Sequence[str], split: Split, config: EvaluationConfig
) -> dict[str, PictureWriter]:
    """A writer for each name; each writes to a folder of its own."""
    return {
        name: PictureWriter(folder / own, split, config.graphs_per_picture or 1)
        for name, own in zip(names, run_names(names), strict=True)
    }
