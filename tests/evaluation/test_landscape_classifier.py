import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from sg2im_pyg import SceneGraph
from sg2im_pyg.data import AddImageNode, SceneDataset
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.landscape_classifier import (
    GROUNDS,
    SCENE_CLASSES,
    SHIPPED_WEIGHTS,
    THINGS,
    LandscapeClassifier,
    load_classifier,
    save_classifier,
    scene_classes,
    visible_categories,
)
from sg2im_pyg.sources.landscapes.source import (
    DRAWING,
    LANDSCAPE_OBJECTS,
    landscape_vocabulary,
    prepare_landscapes,
)


@pytest.fixture(scope="module")
def landscapes(tmp_path_factory):
    """Landscapes of another seed than those that the shipped classifier was trained on."""
    root = tmp_path_factory.mktemp("landscapes")
    paths = prepare_landscapes(root, train=1, val=1, test=150, seed=11, progress=False)
    return SceneDataset(paths["test"])


def scene(*objects):
    """A graph of objects, each a name, the width of its box and the share of its mask."""
    vocabulary = landscape_vocabulary()
    masks = torch.zeros(len(objects), 4, 4)
    for mask, (_, _, share) in zip(masks, objects):
        mask.view(-1)[: round(16 * share)] = 1
    return SceneGraph(
        x=torch.tensor([vocabulary.object_index(name) for name, _, _ in objects]),
        edge_index=torch.zeros(2, 0, dtype=torch.long),
        edge_attr=torch.zeros(0, dtype=torch.long),
        boxes=torch.tensor([[0, 0, width, 1] for _, width, _ in objects], dtype=torch.float),
        masks=masks,
    )


def class_names(*scenes):
    return [SCENE_CLASSES[i] for i in scene_classes(Batch.from_data_list(list(scenes)))]


# Classes


def test_class_is_the_largest_ground_and_the_largest_thing_on_a_ground():
    sky = ("sky", 1.0, 1.0)
    assert class_names(
        scene(sky, ("grass", 0.6, 0.5), ("water", 0.4, 0.5), ("boat", 0.2, 0.5)),
        # Two meadows are more than one lake; a house is larger than the larger box of a tree.
        scene(("grass", 0.3, 1), ("water", 0.4, 1), ("grass", 0.3, 1), ("sheep", 0.1, 1)),
        scene(sky, ("sand", 1, 1), ("tree", 0.5, 0.25), ("house", 0.25, 1)),
        # Two sheep are not one large one; roads, mountains and the sky's things do not count.
        scene(("grass", 1, 1), ("sheep", 0.1, 1), ("sheep", 0.1, 1), ("car", 0.15, 1)),
        scene(("water", 0.2, 1), ("road", 0.8, 1), ("mountain", 0.8, 1), ("balloon", 0.4, 1)),
    ) == ["grass, boat", "grass, sheep", "sand, house", "grass, car", "water, no thing"]


def test_of_equal_ones_the_first_counts():
    equal = scene(("sand", 0.5, 1), ("water", 0.5, 1), ("person", 0.2, 1), ("car", 0.2, 1))
    assert class_names(equal) == ["water, car"]


def test_classes_of_drawn_landscapes_are_those_of_a_loop(landscapes):
    expected = []
    for graph in landscapes:
        areas = [
            (LANDSCAPE_OBJECTS[category - 1], (x1 - x0) * (y1 - y0) * mask.mean())
            for category, (x0, y0, x1, y1), mask in zip(
                graph.x.tolist(), graph.boxes.double().numpy(), graph.masks.double().numpy()
            )
        ]
        ground = max(GROUNDS, key=lambda g: sum(area for name, area in areas if name == g))
        things = [(area, name) for name, area in areas if name in THINGS]
        expected.append(f"{ground}, {max(things)[1] if things else 'no thing'}")
    found = scene_classes(landscapes.assemble(range(len(landscapes))))
    assert [SCENE_CLASSES[i] for i in found] == expected


def test_image_nodes_change_nothing(landscapes):
    graphs = landscapes.assemble(range(20))
    with_nodes = AddImageNode()(landscapes.assemble(range(20)))
    assert torch.equal(scene_classes(with_nodes), scene_classes(graphs))
    assert torch.equal(visible_categories(with_nodes), visible_categories(graphs))


def test_visible_categories_are_those_of_the_objects(landscapes):
    found = visible_categories(landscapes.assemble(range(30)))
    for row, graph in zip(found, landscapes):
        assert set((row.nonzero()[:, 0] + 1).tolist()) == set(graph.x.tolist())


def test_classes_need_masks(landscapes):
    graphs = landscapes.assemble(range(3))
    graphs.masks = None
    with pytest.raises(Sg2ImError, match="masks"):
        scene_classes(graphs)


# The shipped classifier


def test_shipped_weights_are_small_and_for_the_landscapes_as_they_are_drawn():
    assert SHIPPED_WEIGHTS.stat().st_size < 500_000
    _, training = load_classifier()
    # Train it again, by eval/train_classifier.py, when pictures are drawn in another way.
    assert training["drawing"] == DRAWING
    assert training["test_accuracy"] > 0.85 > training["most_frequent_class"]


def test_shipped_classifier_recognises_landscapes_that_it_has_never_seen(landscapes):
    classifier, _ = load_classifier()
    graphs = landscapes.assemble(range(len(landscapes)))
    with torch.no_grad():
        said = classifier(graphs.image)
    classes = scene_classes(graphs)
    accuracy = (said.classes.argmax(1) == classes).double().mean()
    assert accuracy > 0.8 > 4 * classes.bincount().max() / len(classes)
    seen = (said.presence > 0) == visible_categories(graphs)
    assert seen.double().mean() > 0.9


def test_shipped_classifier_takes_any_size(landscapes):
    classifier, _ = load_classifier()
    images = landscapes.assemble(range(20)).image
    larger = torch.nn.functional.interpolate(images.float(), (96, 160), mode="bicubic")
    larger = larger.round().clamp(0, 255).to(torch.uint8)
    with torch.no_grad():
        same = classifier(images).classes.argmax(1) == classifier(larger).classes.argmax(1)
        assert same.double().mean() >= 0.9
        assert classifier(images[:, :, :16, :16]).features.shape == (20, 64)


def test_pictures_do_not_change_each_other(landscapes):
    classifier, _ = load_classifier()
    images = landscapes.assemble(range(6)).image
    with torch.no_grad():
        together = classifier(images)
        alone = [torch.cat(parts) for parts in zip(*(classifier(image[None]) for image in images))]
    for one, other in zip(together, alone):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "images, said",
    [
        (torch.zeros(2, 3, 15, 64, dtype=torch.uint8), "at least 16 x 16"),
        (torch.zeros(2, 3, 64, 64), "float32"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), r"\(3, 64, 64\)"),
    ],
)
def test_other_pictures_are_refused(images, said):
    with pytest.raises(Sg2ImError, match=said):
        LandscapeClassifier()(images)


# Files


def test_a_saved_classifier_is_the_same_when_it_is_loaded(tmp_path):
    torch.manual_seed(0)
    classifier = LandscapeClassifier().eval()
    save_classifier(tmp_path / "saved.pt", classifier, {"seed": 5})
    loaded, training = load_classifier(tmp_path / "saved.pt")
    assert training == {"seed": 5}
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        for one, other in zip(classifier(images), loaded(images)):
            assert np.array_equal(one, other)
    assert not loaded.training and list(tmp_path.iterdir()) == [tmp_path / "saved.pt"]


def not_finite(entries):
    entries["weights"]["class_head.bias"][0] = float("nan")


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda entries: entries.update(format="other"), "no landscape classifier"),
        (lambda entries: entries.update(version=99), "update sg2im_pyg"),
        (lambda entries: entries["classes"].reverse(), "other classes"),
        (lambda entries: entries.pop("weights"), "do not fit together"),
        (lambda entries: entries.update(weights=3), "do not fit together"),
        (lambda entries: entries["weights"].popitem(), "do not fit together"),
        (lambda entries: entries.update(training=3), "do not fit together"),
        (not_finite, "not finite"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, said):
    entries = torch.load(SHIPPED_WEIGHTS, weights_only=True)
    change(entries)
    torch.save(entries, tmp_path / "changed.pt")
    with pytest.raises(Sg2ImError, match=said) as caught:
        load_classifier(tmp_path / "changed.pt")
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(Sg2ImError, match="no landscape classifier"):
        load_classifier(tmp_path / "none.pt")
    (tmp_path / "cut.pt").write_bytes(SHIPPED_WEIGHTS.read_bytes()[:5000])
    with pytest.raises(Sg2ImError, match="damaged"):
        load_classifier(tmp_path / "cut.pt")
