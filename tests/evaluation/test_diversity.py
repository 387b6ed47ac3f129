"""Diversity: how unlike each other pictures of one graph are, against loops over pixels."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sg2im_pyg import Sg2Im, Sg2ImError
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.evaluation.ablation_tables import table_1
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.evaluate import evaluate
from sg2im_pyg.evaluation.features import BATCH, perceptual_distance
from sg2im_pyg.evaluation.landscape_classifier import load_classifier
from sg2im_pyg.evaluation.network_files import load_feature_network
from sg2im_pyg.evaluation.picture_scores import PictureScores
from sg2im_pyg.evaluation.report import write_report
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.evaluation.table import format_markdown, format_table
from sg2im_pyg.images import denormalize_images
from tests.evaluation.conftest import tiny_model


def pictures(count, seed=0, side=16):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def looped_distance(first, second):
    """Of one pair, from maps of shape (C, H, W): place by place, layer by layer."""
    of_layers = []
    for one, other in zip(first, second, strict=True):
        one, other = (values.double().numpy() for values in (one, other))
        of_places = []
        for y in range(one.shape[1]):
            for x in range(one.shape[2]):
                a, b = one[:, y, x], other[:, y, x]
                a, b = (v / np.linalg.norm(v) if v.any() else v for v in (a, b))
                of_places.append(((a - b) ** 2).sum())
        of_layers.append(np.mean(of_places))
    return np.mean(of_layers)


def maps_of(images):
    """What leaves the classifier's ReLUs, by hooks on the modules."""
    classifier, found = load_classifier()[0], []
    for layer in classifier.layers:
        if isinstance(layer, torch.nn.ReLU):
            layer.register_forward_hook(lambda _, __, seen: found.append(seen))
    classifier(images)
    return found


def test_the_distance_is_that_of_unit_vectors_averaged_over_places_then_layers():
    torch.manual_seed(0)
    first, second = ([torch.randn(3, c, h, w) for c, h, w in ((4, 2, 3), (2, 1, 1))] for _ in "ab")
    first[0][0, :, 1, 2] = 0  # nothing is seen there
    found = perceptual_distance(first, second)
    assert found.shape == (3,) and found.dtype == torch.float64
    for number in range(3):
        pair = ([values[number] for values in maps] for maps in (first, second))
        assert found[number].item() == pytest.approx(looped_distance(*pair), rel=1e-5)
    # Lengths do not matter; the same is 0 and the opposite 4.
    longer = [values * 7 for values in first]
    torch.testing.assert_close(perceptual_distance(longer, second), found)
    torch.testing.assert_close(perceptual_distance(second, first), found)
    assert perceptual_distance(first, longer).abs().max() < 1e-10
    assert perceptual_distance(second, [-values for values in second]) == pytest.approx([4] * 3)


@pytest.mark.parametrize("side", [16, 64, 70])
def test_the_classifier_shows_what_leaves_its_layers(side):
    images = pictures(3, side=side)
    classifier = load_classifier()[0]
    found, expected = classifier.maps(images), maps_of(images)
    assert [tuple(values.shape[1:]) for values in found] == [
        (24, 32, 32), (32, 32, 32), (48, 16, 16), (48, 16, 16), (64, 8, 8), (64, 8, 8)
    ]  # fmt: skip
    assert all(map(torch.equal, found, expected))
    torch.testing.assert_close(found[-1].mean((2, 3)), classifier(images).features)
    with pytest.raises(Sg2ImError, match="takes uint8 pictures"):
        classifier.maps(images.float())


def test_several_pictures_are_compared_in_pairs_whatever_the_batches():
    network = load_feature_network("landscapes")
    count = BATCH + 2
    variants = [pictures(count, seed) for seed in range(3)]
    found = network.distances(variants)
    assert found.shape == (count,)
    for number in (0, BATCH, BATCH + 1):
        maps = [[m[0] for m in maps_of(images[number : number + 1])] for images in variants]
        expected = np.mean([looped_distance(*pair) for pair in combinations(maps, 2)])
        assert found[number].item() == pytest.approx(expected, rel=1e-4)
    # In the size that the network was to see.
    shrunk = load_feature_network("landscapes", size=16)
    large = [pictures(2, seed, 40) for seed in range(2)]
    small = [shrunk._prepared(images) for images in large]
    assert small[0].shape == (2, 3, 16, 16)
    torch.testing.assert_close(shrunk.distances(large), network.distances(small))
    with pytest.raises(Sg2ImError, match="one or more uint8 pictures"):
        network.distances([variants[0], variants[1].float()])


def test_the_figure_is_the_mean_over_graphs_and_only_where_it_was_asked_for():
    network = load_feature_network("landscapes")
    scores = PictureScores(network, splits=1)
    for seed in (5, 6):
        scores.add_true(pictures(4, seed))
        scores.add(pictures(4, seed + 2))
    without = scores.compute()
    assert without["diversity"] is None and "iversity" not in str(without["notes"])
    variants = [pictures(5, seed) for seed in range(2)]
    scores.add_variants([images[:3] for images in variants])
    scores.add_variants([images[3:] for images in variants])
    found, distances = scores.compute(), network.distances(variants).numpy()
    assert found["diversity"]["graphs"] == 5
    assert found["diversity"]["mean"] == pytest.approx(distances.mean())
    assert found["diversity"]["deviation"] == pytest.approx(distances.std())
    assert {**found, "diversity": None} == without  # other figures are as they were
    assert scores.compute_true()["diversity"] is None
    scores.reset()
    assert scores.compute()["diversity"] is None

    same = PictureScores(network, splits=1)
    same.add(pictures(2))
    same.add_variants([pictures(2)] * 3)
    assert same.compute()["diversity"] == {"mean": 0, "deviation": 0, "graphs": 2}
    none = PictureScores(None)
    none.add_variants(variants)
    assert none.compute() is None


def test_a_network_that_shows_no_layers_has_a_note(tmp_path):
    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean([2, 3])

    torch.jit.script(Mean()).save(tmp_path / "mean.pt")
    scores = PictureScores(load_feature_network(tmp_path / "mean.pt"), splits=1)
    scores.add(pictures(2))
    assert not any("Diversity" in note for note in scores.compute()["notes"])
    scores.add_variants([pictures(2), pictures(2, 1)])
    found = scores.compute()
    assert found["diversity"] is None
    assert any("mean.pt does not show" in note for note in found["notes"])


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A checkpoint of a model that draws looks and boxes."""
    path = tmp_path_factory.mktemp("seeing") / "model.pt"
    save_checkpoint(path, tiny_model(appearance_dim=4, box_flow_dim=8))
    return path


def config_of(stores, checkpoint, **options):
    return EvaluationConfig(
        data=str(stores["test"]), checkpoint=[str(checkpoint)], device="cpu",
        network="landscapes", splits=2, examples=0, batch_size=5, **options,
    )  # fmt: skip


def test_an_evaluation_generates_each_graph_with_several_seeds(stores, seeing, tmp_path):
    plain = evaluate(config_of(stores, seeing, graphs_per_picture=2)).result
    assert "iversity" not in format_table(plain) + format_markdown(plain)
    wanted = config_of(stores, seeing, graphs_per_picture=2, diversity_seeds=3)
    evaluation = evaluate(wanted)
    result = evaluation.result
    true, own = result["systems"]
    assert result["settings"]["diversity_seeds"] == 3 and true["pictures"]["diversity"] is None
    figures = own["pictures"]
    # The same pictures count for all else.
    assert {**own, "pictures": {**figures, "diversity": None}} == plain["systems"][1]

    # Picture by picture, with the same graph and other noise.
    model, split = Sg2Im.from_pretrained(seeing), Split(stores["test"])
    distances = []
    for index in range(12):
        graph = split.graphs([index], 0, "geometric")
        maps = []
        for again in range(3):
            looks = model.draw_appearance(
                graph, split.appearance_noise([index], 0, graph, 4, again)
            )
            noise = split.noise([index], 0, (2, 16, 16), again)
            boxes = split.box_noise([index], 0, graph, again)
            with torch.no_grad():
                output = model(graph, noise=noise, appearance=looks, box_noise=boxes)
            maps.append([m[0] for m in maps_of(denormalize_images(output.images))])
        distances.append(np.mean([looped_distance(*pair) for pair in combinations(maps, 2)]))
    assert figures["diversity"]["graphs"] == 12 and np.mean(distances) > 1e-4
    assert figures["diversity"]["mean"] == pytest.approx(np.mean(distances), rel=0.05)

    # It is shown.
    value = f"{figures['diversity']['mean']:.3f}"
    table = format_table(result)
    assert "diver-" in table and value in table
    assert "Diversity ↑" in format_markdown(result)
    assert "KID and Diversity by landscape classifier" in table
    write_report(tmp_path / "report.html", result, evaluation.examples)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("Diversity") >= 3 and "not LPIPS itself" in page
    write_report(tmp_path / "plain.html", plain, {})
    assert "Diversity" not in (tmp_path / "plain.html").read_text(encoding="utf-8")
    rows = [{**own, "title": "full", "layout_is": "predicted"}]
    assert table_1({"rows": rows})[0][-1] == "diversity ↑"
    assert "diversity ↑" not in table_1({"rows": [{**rows[0], **plain["systems"][1]}]})[0]


def test_noise_of_another_time_is_other_noise(stores):
    split = Split(stores["test"])
    graph = split.graphs([3, 4], 0, "geometric")
    kinds = (
        lambda again: split.noise([3, 4], 0, (2, 4, 4), again),
        lambda again: split.appearance_noise([3, 4], 0, graph, 4, again),
        lambda again: split.box_noise([3, 4], 0, graph, again),
    )
    for draw in kinds:
        times = [draw(again) for again in range(3)]
        for one, other in combinations(times, 2):
            assert one.shape == other.shape and not torch.isclose(one, other).any()
        assert torch.equal(draw(1), times[1])
    assert torch.equal(split.noise([3, 4], 0, (2, 4, 4)), kinds[0](0))
    assert torch.equal(split.noise([4], 0, (2, 4, 4), 2), kinds[0](2)[1:])


def test_the_number_of_seeds_is_checked():
    with pytest.raises(Sg2ImError, match="diversity_seeds must be a whole number, at least 1"):
        config_of({"test": "test.h5"}, SimpleNamespace(), diversity_seeds=0)
