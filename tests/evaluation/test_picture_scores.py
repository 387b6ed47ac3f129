import json

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.special import log_softmax

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.features import Features
from sg2im_pyg.evaluation.network_files import load_feature_network
from sg2im_pyg.evaluation.picture_scores import PictureScores
from sg2im_pyg.sources.landscapes.source import paint_landscape

WIDTH, CLASSES = 6, 5


class Network:
    """Features and logits written into the pictures: the first channel's first pixels.

    Its outputs are float32 whose values are quarters, scaled and moved: exact in float64 too.
    """

    name = "network of the tests"

    def __init__(self, offset=0.0, classes=True):
        self.offset, self.classes = offset, classes
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        values = images[:, 0].flatten(1).float() / 64 - 2
        logits = values[:, WIDTH : WIDTH + CLASSES] if self.classes else None
        return Features(values[:, :WIDTH] + self.offset, logits)


def pictures(count, seed, most=256):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(most, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)


def scored(own, true, network=None, **options):
    scores = PictureScores(network or Network(), **options)
    for part in true.split(50):
        scores.add_true(part)
    for part in own.split(50):
        scores.add(part)
    return scores.compute()


def values_of(images, offset=0.0):
    """Features and logits in float64."""
    given = Network(offset)(images)
    return given.features.double().numpy(), given.logits.double().numpy()


# Independent computations


def reference_inception_score(logits, splits, order):
    """Salimans et al. (2016), group by group, picture by picture."""
    groups = []
    for i in range(splits):
        group = order[i * len(order) // splits : (i + 1) * len(order) // splits]
        log_p = log_softmax(logits[group], axis=1)
        log_mean = np.log(np.exp(log_p).mean(0))
        divergences = [np.sum(np.exp(row) * (row - log_mean)) for row in log_p]
        groups.append(np.exp(np.mean(divergences)))
    return np.mean(groups), np.std(groups)


def reference_fid(x, y):
    root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)


def reference_kid(x, y):
    """The unbiased squared maximum mean discrepancy, pair by pair."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    def within(points):
        return sum(
            kernel(points[i], points[j])
            for i in range(len(points))
            for j in range(len(points))
            if i != j
        ) / (len(points) * (len(points) - 1))

    across = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return within(x) + within(y) - 2 * across


# The formulas


@pytest.mark.parametrize("count, splits", [(100, 5), (103, 5), (11, 5), (7, 7), (40, 1)])
def test_inception_score_is_that_of_the_paper(count, splits):
    own = pictures(count, 1)
    found = scored(own, pictures(9, 2), splits=splits, seed=3)["inception_score"]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(3)).numpy()
    mean, deviation = reference_inception_score(values_of(own)[1], splits, order)
    assert found["splits"] == splits
    assert found["mean"] == pytest.approx(mean, rel=1e-12)
    assert found["deviation"] == pytest.approx(deviation, rel=1e-9, abs=1e-12)


def test_inception_score_of_sure_and_diverse_classes_is_their_number():
    class Sure(Network):
        def __call__(self, images):
            rows = images[:, 0, 0, 0].long() % CLASSES
            return Features(torch.zeros(len(images), 2), 2000.0 * torch.eye(CLASSES)[rows])

    images = torch.arange(50, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    score = scored(images, images, Sure(), splits=1)["inception_score"]
    assert score["mean"] == pytest.approx(CLASSES)
    # A single class, as sure as can be: all other probabilities are 0 in double precision.
    same = scored(images[:1].expand(50, -1, -1, -1), images, Sure(), splits=5)["inception_score"]
    assert same == {"mean": pytest.approx(1), "deviation": pytest.approx(0), "splits": 5}


@pytest.mark.parametrize("offset", [0.0, 10_000.0])
def test_fid_is_that_of_scipy(offset):
    own, true = pictures(120, 1, most=200), pictures(90, 2)
    found = scored(own, true, Network(offset))["fid"]
    expected = reference_fid(values_of(own)[0], values_of(true)[0])
    # An offset leaves FID as it is; float32 features next to 10,000 keep steps of 0.001.
    assert found == pytest.approx(expected, rel=1e-9 if not offset else 1e-3)
    if offset:
        moved = reference_fid(values_of(own, offset)[0], values_of(true, offset)[0])
        assert found == pytest.approx(moved, rel=1e-6)


def test_kid_of_all_pictures_is_that_of_a_double_loop():
    own, true = pictures(40, 1, most=200), pictures(40, 2)
    found = scored(own, true, kid_subset_size=40, kid_subsets=1)["kid"]
    expected = reference_kid(values_of(own)[0], values_of(true)[0])
    assert found["mean"] == pytest.approx(expected, rel=1e-10)
    assert (found["subsets"], found["subset_size"], found["deviation"]) == (1, 40, 0)


def test_kid_of_subsets_scatters_around_that_of_all_pictures():
    own, true = pictures(200, 1, most=220), pictures(200, 2)
    every = scored(own, true, kid_subset_size=200)["kid"]["mean"]
    some = scored(own, true, kid_subset_size=50, kid_subsets=200)["kid"]
    assert some["deviation"] > 0 and some["subsets"] == 200
    assert abs(some["mean"] - every) < 5 * some["deviation"] / np.sqrt(200)


def test_equal_pictures_have_no_distance():
    images = pictures(100, 1)
    found = scored(images, images)
    assert 0 <= found["fid"] < 1e-6
    # Unbiased: each picture meets itself among the true ones, so the estimate lies below 0.
    assert found["kid"]["mean"] <= 0


def test_more_different_pictures_are_farther():
    true = pictures(300, 1)
    found = [scored(pictures(300, 2, most), true) for most in (256, 200, 150, 100)]
    for name in ("fid", "kid"):
        distances = [one[name] if name == "fid" else one[name]["mean"] for one in found]
        assert distances == sorted(distances)


# What figures depend on


def test_batches_change_nothing():
    own, true = pictures(64, 1), pictures(60, 2)

    def run(size):
        scores = PictureScores(Network(), kid_subset_size=20, kid_subsets=5)
        for part in own.split(size):
            scores.add(part)
        for part in true.split(size):
            scores.add_true(part)
        return scores.compute(), scores.compute_true()["inception_score"]

    assert run(1) == run(7) == run(64)


def test_seed_decides_the_groups_and_the_global_generators_nothing():
    own, true = pictures(64, 1), pictures(60, 2)
    options = {"kid_subset_size": 20, "kid_subsets": 5}
    first = scored(own, true, seed=4, **options)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    of_torch = torch.random.get_rng_state()
    of_numpy = np.random.get_state()[1].copy()  # noqa: NPY002
    assert scored(own, true, seed=4, **options) == first
    assert torch.equal(torch.random.get_rng_state(), of_torch)
    assert np.array_equal(np.random.get_state()[1], of_numpy)  # noqa: NPY002
    other = scored(own, true, seed=5, **options)
    assert other["fid"] == first["fid"]
    assert other["inception_score"] != first["inception_score"] and other["kid"] != first["kid"]


def test_order_of_the_pictures_does_not_matter_where_all_are_taken_together():
    own, true = pictures(64, 1), pictures(64, 2)
    first = scored(own, true, splits=1)
    second = scored(own.flip(0), true.roll(5, 0), splits=1)
    assert second["fid"] == pytest.approx(first["fid"], rel=1e-9)
    assert second["kid"]["mean"] == pytest.approx(first["kid"]["mean"], rel=1e-9)
    score = first["inception_score"]["mean"]
    assert second["inception_score"]["mean"] == pytest.approx(score, rel=1e-12)


def test_each_picture_goes_through_the_network_once():
    network = Network()
    scores = PictureScores(network)
    scores.add_true(pictures(30, 1))
    scores.add(pictures(20, 2))
    assert scores.compute() == scores.compute()
    assert network.seen == 50


def test_reset_keeps_the_true_pictures():
    scores = PictureScores(Network())
    scores.add_true(pictures(50, 1))
    scores.add(pictures(40, 2))
    first = scores.compute()
    scores.reset()
    assert scores.compute()["pictures"] == 0
    scores.add(pictures(30, 3))
    scores.compute()
    scores.reset()
    scores.add(pictures(40, 2))
    assert scores.compute() == first


def test_inception_score_of_the_true_pictures():
    images = pictures(50, 1)
    scores = PictureScores(Network(), seed=2)
    scores.add_true(images)
    true = scores.compute_true()
    assert true["inception_score"] == scored(images, images, seed=2)["inception_score"]
    assert (true["fid"], true["kid"], true["pictures"]) == (None, None, 50)
    assert PictureScores(Network()).compute_true()["inception_score"] is None


# What can not be taken


def test_result_is_plain_json():
    found = scored(pictures(20, 1), pictures(20, 2))
    assert json.loads(json.dumps(found)) == found


def test_too_few_pictures_give_notes_instead_of_figures():
    none = PictureScores(Network()).compute()
    assert none["inception_score"] is none["fid"] is none["kid"] is None
    assert none["pictures"] == 0 and len(none["notes"]) == 2
    one = scored(pictures(1, 1), pictures(20, 2), splits=2)
    assert one["inception_score"] is one["fid"] is one["kid"] is None
    assert any("2 splits" in note for note in one["notes"])
    without_true = scored(pictures(20, 1), pictures(0, 2))
    assert without_true["fid"] is None and without_true["inception_score"]["mean"] >= 1


def test_a_network_without_classes_gives_no_inception_score():
    found = scored(pictures(20, 1), pictures(20, 2), Network(classes=False))
    assert found["inception_score"] is None and found["fid"] > 0
    assert any("classes" in note and "network of the tests" in note for note in found["notes"])


@pytest.mark.parametrize("count, warned", [(WIDTH, True), (WIDTH + 1, False)])
def test_fid_of_fewer_pictures_than_features_is_taken_with_a_warning(count, warned):
    found = scored(pictures(count, 1), pictures(50, 2))
    assert found["fid"] > 0
    assert any("full rank" in note for note in found["notes"]) == warned


def test_kid_of_fewer_pictures_than_a_subset_takes_smaller_ones():
    found = scored(pictures(30, 1), pictures(20, 2), kid_subset_size=25)
    assert found["kid"]["subset_size"] == 20 and found["kid"]["subsets"] == 100
    assert any("20 pictures instead of 25" in note for note in found["notes"])
    assert not any(
        "KID" in note
        for note in scored(pictures(30, 1), pictures(30, 2), kid_subset_size=25)["notes"]
    )


@pytest.mark.parametrize(
    "options", [{"splits": 0}, {"kid_subsets": 0}, {"kid_subset_size": 1}, {"seed": -1}]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(Sg2ImError, match=next(iter(options))):
        PictureScores(Network(), **options)


# With the shipped classifier


def blur(images, times):
    images = images.float()
    for _ in range(times):
        images = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    return images.round().to(torch.uint8)


def add_noise(images, deviation):
    noise = deviation * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images.float() + noise).round().clamp(0, 255).to(torch.uint8)


def shuffle_patches(images, side):
    """Each picture's patches in another order."""
    count = images.shape[2] // side
    patches = images.unfold(2, side, side).unfold(3, side, side).flatten(2, 3)
    generator = torch.Generator().manual_seed(0)
    patches = torch.stack(
        [patch[:, torch.randperm(count**2, generator=generator)] for patch in patches]
    )
    rows = patches.view(len(images), 3, count, count, side, side)
    return rows.transpose(3, 4).reshape(images.shape)


def test_fid_of_the_shipped_classifier_grows_with_what_is_wrong():
    drawn = np.stack([paint_landscape(5, index).image for index in range(240)])
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    true, own = images[:120], images[120:]
    scores = PictureScores(load_feature_network("landscapes"))
    scores.add_true(true)

    def fid(changed):
        scores.reset()
        scores.add(changed)
        return scores.compute()["fid"]

    clean = fid(own)
    for changes in (
        [blur(own, times) for times in (2, 6, 16)],
        [add_noise(own, deviation) for deviation in (20, 40, 80)],
        [shuffle_patches(own, side) for side in (32, 16, 8)],
    ):
        distances = [clean, *map(fid, changes)]
        assert distances == sorted(distances)
        assert distances[-1] > 5 * clean
