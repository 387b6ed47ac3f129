"""Scores of layouts against loops over objects."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch_geometric.data import Batch

from sg2im_pyg import SceneGraph, Vocabulary
from sg2im_pyg.data import AddImageNode
from sg2im_pyg.data.geometry import geometric_predicates
from sg2im_pyg.data.vocabulary import GEOMETRIC_PREDICATES
from sg2im_pyg.evaluation.layout_scores import LayoutScores

VOCABULARY = Vocabulary(["sky", "grass", "sheep", "never"], [*GEOMETRIC_PREDICATES, "near"])


def random_graph(objects, generator, masks=True):
    """True layout of a picture, with relations that hold in it."""
    boxes = torch.rand(objects, 2, 2, generator=generator).sort(1).values.flatten(1)
    own = (torch.rand(objects, 8, 8, generator=generator) > 0.3).float()
    pairs = [[s, o] for s in range(objects) for o in range(objects) if s != o]
    edges = torch.tensor(pairs, dtype=torch.long).view(-1, 2).t()
    kinds = geometric_predicates(boxes, own if masks else None, *edges) + 1
    kinds[::5] = VOCABULARY.predicate_index("near")
    x = torch.randint(1, 4, (objects,), generator=generator)
    graph = SceneGraph(x, edges, kinds, boxes=boxes)
    if masks:
        graph.masks = own
    return graph


def batches(count, generator, masks=True):
    for _ in range(count):
        graphs = [random_graph(objects, generator, masks) for objects in (1, 4, 6)]
        yield Batch.from_data_list([AddImageNode()(graph) for graph in graphs])


def predictions(batch, generator):
    noise = 0.2 * torch.randn(batch.boxes.shape, generator=generator)
    masks = torch.rand(len(batch.x), 8, 8, generator=generator)
    return batch.boxes + noise, masks


def xywh(box):
    return [[box[0], box[1], max(box[2] - box[0], 0), max(box[3] - box[1], 0)]]


def encode(mask):
    return [coco_mask.encode(np.asfortranarray((mask.numpy() >= 0.5).astype(np.uint8)))]


def test_all_figures_equal_a_loop_over_objects_and_relations():
    generator = torch.Generator().manual_seed(0)
    scores = LayoutScores(VOCABULARY)
    rows, held = [], []
    for batch in batches(5, generator):
        boxes, masks = predictions(batch, generator)
        means = scores.add(batch, boxes, masks)
        for picture in range(batch.num_graphs):
            own = []
            for k in range(len(batch.x)):
                if batch.batch[k] != picture or batch.x[k] == 0:
                    continue
                iou = coco_mask.iou(
                    np.array(xywh(boxes[k].tolist())), np.array(xywh(batch.boxes[k].tolist())), [0]
                ).item()
                of_masks = coco_mask.iou(encode(masks[k]), encode(batch.masks[k]), [0]).item()
                x0, y0, x1, y1 = boxes[k].double().tolist()
                area = max(x1 - x0, 0) * max(y1 - y0, 0)
                rows.append((int(batch.x[k]), iou, of_masks, (x0 + x1) / 2, area))
                own.append(iou)
            assert means[picture] == pytest.approx(np.mean(own), abs=1e-6)
        for (s, o), kind in zip(batch.edge_index.t().tolist(), batch.edge_attr.tolist()):
            name = VOCABULARY.predicates[kind]
            if name in GEOMETRIC_PREDICATES:
                pair = torch.tensor([s, o])
                found = geometric_predicates(boxes[pair], masks[pair], *torch.tensor([[0], [1]]))
                held.append((name, GEOMETRIC_PREDICATES[found.item()] == name))

    def expected(rows):
        by_category = {}
        for category, _, _, x, area in rows:
            by_category.setdefault(category, []).append((x, area))
        spread = np.mean([np.std(values, axis=0) for values in by_category.values()], axis=0)
        return {
            "objects": len(rows),
            "box_recall_0.3": np.mean([row[1] >= 0.3 for row in rows]),
            "box_recall_0.5": np.mean([row[1] >= 0.5 for row in rows]),
            "mean_iou": np.mean([row[1] for row in rows]),
            "sigma_x": spread[0],
            "sigma_area": spread[1],
            "mask_iou": np.mean([row[2] for row in rows]),
        }

    found = scores.compute()
    assert found.pop("relations") == len(held) > 100
    assert found.pop("relation_accuracy") == pytest.approx(np.mean([holds for _, holds in held]))
    assert found == pytest.approx(expected(rows), abs=1e-6)
    by_category = {row.pop("name"): row for row in scores.by_category()}
    assert set(by_category) == {"sky", "grass", "sheep"}
    for name, figures in by_category.items():
        own = [row for row in rows if VOCABULARY.objects[row[0]] == name]
        assert figures == pytest.approx(expected(own), abs=1e-6)
    counts = [row["objects"] for row in scores.by_category()]
    assert counts == sorted(counts, reverse=True)
    for row in scores.by_predicate():
        own = [holds for name, holds in held if name == row["name"]]
        assert row["relations"] == len(own) and row["accuracy"] == pytest.approx(np.mean(own))


def test_perfect_predictions_have_perfect_figures():
    scores = LayoutScores(VOCABULARY)
    for batch in batches(2, torch.Generator().manual_seed(1)):
        assert (scores.add(batch, batch.boxes, batch.masks) == 1).all()
    figures = scores.compute()
    for name in ("box_recall_0.3", "box_recall_0.5", "mean_iou", "mask_iou", "relation_accuracy"):
        assert figures[name] == 1


def test_figures_that_can_not_be_had_are_none():
    empty = LayoutScores(VOCABULARY)
    assert set(empty.compute().values()) == {0, None}
    assert empty.by_category() == empty.by_predicate() == []

    scores = LayoutScores(VOCABULARY)
    generator = torch.Generator().manual_seed(2)
    for batch in batches(1, generator, masks=False):
        batch.edge_attr[:] = 0  # no relationships
        scores.add(batch, *predictions(batch, generator))
        figures = scores.compute()
    assert figures["mask_iou"] is None and figures["relation_accuracy"] is None
    assert figures["relations"] == 0 and figures["objects"] == 11
    # A model without masks: relations go by the boxes' centres.
    for batch in batches(1, generator):
        scores.add(batch, batch.boxes, None)
    assert scores.compute()["mask_iou"] is None and scores.compute()["relations"] > 0
