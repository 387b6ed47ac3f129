"""Losses and metrics on a fixed set of pictures, and sample pictures to look at."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor
from torch_geometric.data import Batch

from sg2im_pyg.drawing import contact_sheet, render_layout
from sg2im_pyg.images import denormalize_images, normalize_images, to_pil
from sg2im_pyg.metrics import box_iou
from sg2im_pyg.model import Sg2Im
from sg2im_pyg.nn.box_flow import NOISE_CHANNELS
from sg2im_pyg.training.losses import LOSSES, LossConfig, LossContext
from sg2im_pyg.training.noise import appearance_noise, box_noise, layout_noise
from sg2im_pyg.training.processes import over_processes

SAMPLE_COLUMNS = (
    "true picture",
    "true layout",
    "from true layout",
    "from predicted layout",
    "predicted layout",
)


@torch.no_grad()
def validate(fabric: Fabric, model: Sg2Im, batches: list[Batch], weights: LossConfig) -> dict:
    """Validation losses and box recall, in eval mode and with fixed noise.

    Pictures are generated from the true layout and of the true appearance, as in training. The
    recall is that of predicted boxes; the node :obj:`"__image__"` is left out of it, as its box is
    always the whole picture.

    Returns:
        Unweighted losses that need no discriminator, their weighted sum as ``loss``,
        ``box_recall_0.3``, ``box_recall_0.5`` and ``box_iou``; where several processes share the
        batches, over all of them.
    """
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}

    def add(name: str, mean: Tensor | float, count: int) -> None:
        sums[name] = sums.get(name, 0.0) + float(mean) * count
        counts[name] = counts.get(name, 0.0) + count

    with evaluating(model):
        for batch in batches:
            graphs = batch.clone().to(fabric.device)
            noise = fixed_noise(model, batch, fabric.device)
            images = normalize_images(graphs.image)
            with fabric.autocast():
                true = model.encode_appearance(images, graphs)
                looks = None if true is None else true.mean
                output = model(graphs, graphs.boxes, graphs.get("masks"), noise, looks)
            output = output._replace(images=output.images.float(), boxes=output.boxes.float())
            of_boxes = _fixed_box_noise(model, batch)
            flow = model.box_flow_errors(graphs, of_boxes)
            given = LossContext(output, graphs, images, weights, appearance=true, box_flow=flow)
            counted = {"objects": len(graphs.x), "pictures": graphs.num_graphs}
            for name, loss in LOSSES.items():
                value = loss.compute(given)
                if value is not None:
                    add(name, value, counted[loss.mean_over])
            members = graphs.x != 0
            iou = box_iou(output.boxes[members], graphs.boxes[members])
            if len(iou):
                add("box_iou", iou.mean(), len(iou))
                for threshold in (0.3, 0.5):
                    recall = (iou >= threshold).double().mean()
                    add(f"box_recall_{threshold}", recall, len(iou))
    if fabric.world_size > 1:
        names = sorted([*LOSSES, "box_iou", "box_recall_0.3", "box_recall_0.5"])
        table = torch.tensor([[sums.get(n, 0.0), counts.get(n, 0.0)] for n in names])
        table = over_processes(table.to(fabric.device))
        rows = dict(zip(names, table.tolist(), strict=True))
        sums = {name: total for name, (total, count) in rows.items() if count}
        counts = {name: count for name, (_, count) in rows.items() if count}
    values = {name: sums[name] / counts[name] for name in sums}
    values["loss"] = sum(getattr(weights, name) * values[name] for name in LOSSES if name in values)
    return values


@torch.no_grad()
def sample_sheet(fabric: Fabric, model: Sg2Im, batch: Batch) -> Image.Image:
    """Pictures side by side: true picture, true layout, pictures from the true and from the
    predicted layout, predicted layout; one row a graph, the same noise each time."""
    graphs = batch.clone().to(fabric.device)
    noise = fixed_noise(model, batch, fabric.device)
    ids = batch.image_id.tolist()
    drawn = appearance_noise(model.config, 0, 0, ids, batch, torch.device("cpu"))
    with evaluating(model), fabric.autocast():
        looks = model.draw_appearance(graphs, drawn)
        from_true = model(graphs, graphs.boxes, graphs.get("masks"), noise, looks)
        of_boxes = _fixed_box_noise(model, batch)
        if of_boxes is not None:
            of_boxes = of_boxes[:, :NOISE_CHANNELS]
        predicted = model(graphs, noise=noise, appearance=looks, box_noise=of_boxes)
    # Without masks of its own the generator fills whole boxes of the true layout, too.
    true_masks = graphs.get("masks") if model.config.mask_size else None
    made = (denormalize_images(output.images) for output in (from_true, predicted))
    pictures = [to_pil(images) for images in (graphs.image, *made)]
    categories = torch.as_tensor(graphs.x)
    rows = []
    for i in range(graphs.num_graphs):
        own = (graphs.batch == i).cpu()
        layouts = [
            render_layout(
                categories.cpu()[own],
                boxes.cpu()[own].float(),
                None if masks is None else masks.cpu()[own].float(),
                model.vocabulary,
                size=model.config.image_size,
            )
            for boxes, masks in ((graphs.boxes, true_masks), (predicted.boxes, predicted.masks))
        ]
        rows.append([pictures[0][i], layouts[0], pictures[1][i], pictures[2][i], layouts[1]])
    return contact_sheet(rows, list(SAMPLE_COLUMNS))


@torch.no_grad()
def prepare_draws(fabric: Fabric, model: Sg2Im, batches: list[Batch]) -> None:
    """Gives a generator, in eval mode, what it draws from: the appearance of what some pictures
    show, and which categories have boxes that are predicted well enough not to be drawn."""
    vectors, meets, categories, pictures, count = [], [], [], [], 0
    with evaluating(model):
        for batch in batches:
            graphs = batch.clone().to(fabric.device)
            with fabric.autocast():
                true = model.encode_appearance(normalize_images(graphs.image), graphs)
            if true is not None:
                vectors.append(true.mean.float())
            if model.box_flow is not None:
                boxes = model.box_head(model.object_vectors(graphs))
                meets.append(box_iou(boxes, graphs.boxes) >= 0.5)
            categories.append(graphs.x)
            pictures.append(graphs.batch + count)
            count += graphs.num_graphs
    of_objects = torch.cat(categories)
    if model.appearance_bank is not None:
        model.appearance_bank.keep(torch.cat(vectors), of_objects, torch.cat(pictures))
    if model.box_flow is not None:
        model.box_flow.settle(torch.cat(meets), of_objects)


@contextmanager
def evaluating(model: Sg2Im) -> Iterator[None]:
    """Within it the model is in eval mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def fixed_noise(model: Sg2Im, graphs: Batch, device: torch.device) -> Tensor | None:
    """Noise for the layout that follows from each picture's :obj:`image_id` alone; drawn on the
    CPU, so that it is the same on every device."""
    ids = graphs.image_id.tolist()
    noise = layout_noise(model.config, 0, 0, ids, torch.device("cpu"))
    return None if noise is None else noise.to(device)


def _fixed_box_noise(model: Sg2Im, graphs: Batch) -> Tensor | None:
    ids, cpu = graphs.image_id.tolist(), torch.device("cpu")
    noise = box_noise(model.config, 0, 0, ids, graphs, cpu)
    return None if noise is None else noise.to(model.object_embedding.weight.device)
