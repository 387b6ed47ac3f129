"""The drawn landscapes: exact boxes and masks, sensible places, files that depend on nothing."""

import os
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sg2im_pyg.data.store import SceneReader
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources.landscapes import source as landscapes
from sg2im_pyg.sources.landscapes.canvas import Canvas, Dice
from sg2im_pyg.sources.landscapes.source import (
    LANDSCAPE_OBJECTS,
    MIN_BOX_AREA,
    SPLIT_STRIDE,
    landscape_vocabulary,
    paint_landscape,
    prepare_landscapes,
)

THINGS = LANDSCAPE_OBJECTS[6:]
GROUNDS = {
    "tree": {"grass"},
    "sheep": {"grass"},
    "boat": {"water"},
    "car": {"road"},
    "house": {"grass", "sand"},
    "person": {"grass", "sand", "road"},
}


@pytest.fixture(scope="module")
def scenes():
    return [paint_landscape(3, index) for index in range(600)]


@pytest.fixture(scope="module")
def boxes_of(scenes):
    """All boxes of a category, in pixels of 64 x 64."""
    found = defaultdict(list)
    for scene in scenes:
        for category, box in zip(scene.categories, scene.boxes, strict=True):
            found[LANDSCAPE_OBJECTS[category - 1]].append(64 * box)
    return {name: np.array(boxes) for name, boxes in found.items()}


def assert_same_scene(first, second):
    assert first.image_id == second.image_id
    for name in ("image", "categories", "boxes", "masks"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_vocabulary_names_sixteen_categories_and_the_six_geometric_predicates():
    vocabulary = landscape_vocabulary()
    assert vocabulary.objects == ("__image__", *LANDSCAPE_OBJECTS)
    assert len(set(LANDSCAPE_OBJECTS)) == 16
    assert len(vocabulary.predicates) == 7
    assert vocabulary.object_index("sky") == 1


# One picture


def test_a_picture_follows_from_seed_and_index_alone():
    forward = [paint_landscape(5, index) for index in range(6)]
    backward = [paint_landscape(5, index) for index in reversed(range(6))]
    for first, second in zip(forward, reversed(backward), strict=True):
        assert_same_scene(first, second)


def test_no_two_pictures_are_equal_within_and_between_splits_and_seeds(scenes):
    pictures = [scene.image.tobytes() for scene in scenes[:300]]
    for start in (SPLIT_STRIDE, 2 * SPLIT_STRIDE):
        pictures += [paint_landscape(3, start + index).image.tobytes() for index in range(300)]
    pictures += [paint_landscape(4, index).image.tobytes() for index in range(100)]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize(
    "image_size, mask_size",
    [
        ((64, 64), 16),
        ((64, 64), 7),
        ((32, 32), 16),
        ((64, 96), 32),
        ((128, 32), 16),
        ((256, 256), 16),
    ],
)
def test_boxes_and_masks_are_those_of_the_visible_pixels(image_size, mask_size):
    height, width = image_size
    for index in range(3):
        scene = paint_landscape(0, index, image_size, mask_size)
        image, owners, names = landscapes._paint(0, index, image_size)
        np.testing.assert_array_equal(scene.image, image)
        kept = [number for number, name in enumerate(names) if name is not None]
        assert [LANDSCAPE_OBJECTS[c - 1] for c in scene.categories] == [names[k] for k in kept]
        for number, box, mask in zip(kept, scene.boxes, scene.masks, strict=True):
            pixels = [(y, x) for y in range(height) for x in range(width) if owners[y, x] == number]
            ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
            x0, y0, x1, y1 = min(xs), min(ys), max(xs) + 1, max(ys) + 1
            np.testing.assert_allclose(
                box, [x0 / width, y0 / height, x1 / width, y1 / height], rtol=0, atol=1e-7
            )
            np.testing.assert_array_equal(
                mask, covered_cells(owners[y0:y1, x0:x1] == number, mask_size)
            )


def covered_cells(visible, size):
    """Cells of which at least half is visible: areas summed pixel by pixel, in fractions."""
    height, width = visible.shape
    area = [[Fraction(0)] * size for _ in range(size)]
    cell_height, cell_width = Fraction(height, size), Fraction(width, size)

    def spans(pixel, cell):
        """Cells that a pixel reaches, and how far it reaches into each."""
        for number in range(int(pixel / cell), size):
            reach = min(pixel + 1, (number + 1) * cell) - max(pixel, number * cell)
            if reach <= 0:
                break
            yield number, reach

    columns = [list(spans(x, cell_width)) for x in range(width)]
    for y in range(height):
        for row, tall in spans(y, cell_height):
            for x in range(width):
                if visible[y, x]:
                    for column, wide in columns[x]:
                        area[row][column] += tall * wide
    half = cell_height * cell_width / 2
    return np.array([[cell >= half for cell in row] for row in area])


def test_canvas_gives_each_pixel_to_the_object_that_owns_most_of_it():
    canvas = Canvas((8, 12))
    dice = Dice(np.random.Generator(np.random.PCG64(0)))
    for name in ("sky", "sun", "cloud", "tree"):
        canvas.begin(name)
        x, y = dice.between(0, 30), dice.between(0, 20)
        canvas.ellipse(x, y, x + 18, y + 14, canvas.fill(dice.colour([(90, 120, 60)])))
    samples, colours = np.array(canvas.owners), np.array(canvas.colours).astype(int)
    image, owners = canvas.reduce()
    for row in range(8):
        for column in range(12):
            block = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            votes = [int((samples[block] == number).sum()) for number in range(4)]
            assert votes[owners[row, column]] == max(votes)
            mean = colours[block].mean((0, 1))
            assert np.abs(image[row, column] - mean).max() <= 1


def test_colours_and_owners_show_the_same_shapes():
    """A thing's own colour stands where its owner's pixels are, and nowhere else."""
    canvas = Canvas((32, 32))
    for name, colour in (("sky", (10, 20, 200)), ("grass", (10, 200, 20)), ("sun", (250, 220, 0))):
        canvas.begin(name)
        if name == "sky":
            canvas.polygon([(0, 0), (128, 0), (128, 128), (0, 128)], canvas.fill(colour))
        elif name == "grass":
            canvas.gradient([(0, 70), (60, 40), (128, 90), (128, 128), (0, 128)], colour, colour)
        else:
            canvas.ellipse(30, 20, 90, 80, canvas.fill(colour))
    colours, owners = np.array(canvas.colours), np.array(canvas.owners)
    for number, colour in enumerate([(10, 20, 200), (10, 200, 20), (250, 220, 0)]):
        np.testing.assert_array_equal((colours == colour).all(-1), owners == number)


def test_light_and_shadow_belong_to_what_they_fall_on():
    canvas = Canvas((16, 16))
    canvas.begin("grass")
    canvas.ellipse(10, 10, 30, 30, (0, 0, 0, 60), owned=False)
    canvas.begin("sun")
    canvas.ellipse(40, 40, 60, 60, (0, 0, 0, 60), owned=False)
    assert not np.array(canvas.owners).any()


@pytest.mark.parametrize(
    "image_size", [(32, 32), (128, 128), (256, 256), (64, 96), (32, 128), (128, 32)]
)
def test_every_size_gives_three_to_eight_objects_within_the_picture(image_size):
    for index in range(12):
        scene = paint_landscape(1, index, image_size)
        count = len(scene.categories)
        assert scene.image.shape == (*image_size, 3) and scene.image.dtype == np.uint8
        assert 3 <= count <= 8
        assert scene.boxes.shape == (count, 4) and scene.boxes.dtype == np.float32
        assert scene.masks.shape == (count, 16, 16) and scene.masks.dtype == bool
        assert (scene.boxes >= 0).all() and (scene.boxes <= 1).all()
        assert (scene.boxes[:, :2] < scene.boxes[:, 2:]).all()


def test_no_masks_on_request():
    assert paint_landscape(0, 0, mask_size=0).masks is None


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"seed": -1, "index": 0}, "seed"),
        ({"seed": 0, "index": 2**32}, "index"),
        ({"seed": 0, "index": 0, "image_size": (8, 64)}, "image_size"),
        ({"seed": 0, "index": 0, "mask_size": -1}, "mask_size"),
    ],
)
def test_arguments_out_of_range_are_told(arguments, told):
    with pytest.raises(Sg2ImError, match=told):
        paint_landscape(**arguments)


# Many pictures


def test_objects_are_few_and_large_enough_to_be_seen(scenes):
    counts = np.array([len(scene.categories) for scene in scenes])
    assert set(counts) == set(range(3, 9))
    for scene in scenes:
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        assert (sides.prod(1) > MIN_BOX_AREA).all()
        assert scene.masks.any((1, 2)).all()


def test_all_categories_appear_often(boxes_of):
    for name in LANDSCAPE_OBJECTS:
        assert len(boxes_of[name]) > 0.05 * 600, name


def test_sky_is_above_the_grounds_and_the_horizon_varies(scenes, boxes_of):
    for name in ("grass", "water", "sand", "road"):
        assert boxes_of[name][:, [1, 3]].mean() > boxes_of["sky"][:, [1, 3]].mean() + 20
    bottoms = boxes_of["sky"][:, 3]
    assert bottoms.min() < 20 and bottoms.max() > 44 and bottoms.std() > 7
    for scene in scenes:
        names = [LANDSCAPE_OBJECTS[c - 1] for c in scene.categories]
        assert names.count("sky") == 1
        assert {"grass", "water", "sand"} & set(names)


def test_things_stand_where_they_belong(scenes):
    for scene in scenes:
        names = [LANDSCAPE_OBJECTS[c - 1] for c in scene.categories]
        for name, box in zip(names, scene.boxes, strict=True):
            if name not in GROUNDS:
                continue
            foot = [(box[0] + box[2]) / 2, box[3]]
            slack = 2.5 / 64  # a rounded pixel, and the part of a boat's hull that is hidden
            assert any(
                other[0] - slack <= foot[0] <= other[2] + slack
                and other[1] - slack <= foot[1] <= other[3] + slack
                for ground, other in zip(names, scene.boxes, strict=True)
                if ground in GROUNDS[name]
            ), (scene.image_id, name)


def test_sun_moon_clouds_and_balloons_are_in_the_sky(scenes):
    for scene in scenes:
        names = [LANDSCAPE_OBJECTS[c - 1] for c in scene.categories]
        sky = scene.boxes[names.index("sky")]
        for name, box in zip(names, scene.boxes, strict=True):
            if name in ("sun", "moon", "cloud", "balloon"):
                assert (box[1] + box[3]) / 2 < sky[3], (scene.image_id, name)
        assert not {"sun", "moon"} <= set(names)


def test_a_category_says_nearly_nothing_about_left_and_right(boxes_of):
    """Without relations the best guess for x is the middle: that is what makes graphs useful."""
    centres = {name: boxes_of[name][:, [0, 2]].mean(1) / 64 for name in THINGS}
    everything = np.concatenate(list(centres.values()))
    explained = sum(len(x) * (x.mean() - everything.mean()) ** 2 for x in centres.values())
    assert explained / ((everything - everything.mean()) ** 2).sum() < 0.02
    for name, x in centres.items():
        assert abs(x.mean() - 0.5) < 0.075, name
        # A uniform place within the picture, less the thing's own width.
        width = (boxes_of[name][:, 2] - boxes_of[name][:, 0]).mean() / 64
        assert x.std() > 0.65 * (1 - width) / np.sqrt(12), name


@pytest.mark.parametrize(
    "first, second", [("grass", "water"), ("grass", "sand"), ("sand", "water")]
)
def test_two_grounds_lie_in_either_order(scenes, first, second):
    beside, behind = [], []
    for scene in scenes:
        names = [LANDSCAPE_OBJECTS[c - 1] for c in scene.categories]
        if first in names and second in names:
            a, b = (scene.boxes[names.index(name)] for name in (first, second))
            across, down = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
            if abs(across) > 0.2:
                beside.append(across < 0)
            elif abs(down) > 0.15:
                behind.append(down < 0)
    for orders in (beside, behind):
        assert len(orders) >= 20
        assert 0.2 < np.mean(orders) < 0.8


# Files


def small(root, **options):
    return prepare_landscapes(
        root, **{"train": 70, "val": 8, "test": 6, "workers": 1, "progress": False, **options}
    )


def test_prepared_files_hold_the_drawn_pictures(tmp_path):
    paths = small(tmp_path, image_size=(32, 48), mask_size=8, seed=9)
    assert list(paths) == ["train", "val", "test"]
    assert all(path == tmp_path / "32x48" / f"{split}.h5" for split, path in paths.items())
    starts = {"train": 0, "val": SPLIT_STRIDE, "test": 2 * SPLIT_STRIDE}
    for split, count in (("train", 70), ("val", 8), ("test", 6)):
        reader = SceneReader(paths[split])
        assert len(reader) == count
        assert reader.vocabulary == landscape_vocabulary()
        assert (reader.image_size, reader.mask_size) == ((32, 48), 8)
        for place in (0, count - 1):
            drawn = paint_landscape(9, starts[split] + place, (32, 48), 8)
            assert_same_scene(reader[place], drawn)


def test_fewer_training_pictures_leave_the_other_splits_as_they_are(tmp_path):
    first = small(tmp_path / "a")
    second = small(tmp_path / "b", train=5)
    for split in ("val", "test"):
        one, other = SceneReader(first[split]), SceneReader(second[split])
        for place in range(len(one)):
            assert_same_scene(one[place], other[place])


@pytest.mark.slow
def test_several_processes_write_the_same_as_one(tmp_path):
    serial = small(tmp_path / "serial", train=120)
    parallel = small(tmp_path / "parallel", train=120, workers=2)
    for split in serial:
        one, other = SceneReader(serial[split]), SceneReader(parallel[split])
        assert len(one) == len(other) and one.settings == other.settings
        for place in range(len(one)):
            assert_same_scene(one[place], other[place])


def test_whole_files_are_kept_and_missing_ones_drawn(tmp_path):
    paths = small(tmp_path)
    before = {split: path.stat().st_mtime_ns for split, path in paths.items()}
    paths["val"].unlink()
    small(tmp_path)
    assert len(SceneReader(paths["val"])) == 8
    for split in ("train", "test"):
        assert paths[split].stat().st_mtime_ns == before[split]


@pytest.mark.parametrize("options", [{"seed": 1}, {"val": 9}, {"mask_size": 8}])
def test_files_with_other_settings_are_told_and_left_alone(tmp_path, options):
    paths = small(tmp_path)
    before = {split: path.read_bytes() for split, path in paths.items()}
    with pytest.raises(Sg2ImError, match=f"{next(iter(options))}.*delete it") as error:
        small(tmp_path, **options)
    assert str(paths["val" if "val" in options else "train"]) in str(error.value)
    assert {split: path.read_bytes() for split, path in paths.items()} == before


def test_a_file_cut_short_is_told(tmp_path):
    path = small(tmp_path)["val"]
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Sg2ImError, match="val.h5"):
        small(tmp_path)


def test_nothing_stays_behind_when_drawing_is_interrupted(tmp_path, monkeypatch):
    def interrupted(seed, index, *arguments):
        if index == 3:
            raise KeyboardInterrupt
        return paint_landscape(seed, index, *arguments)

    monkeypatch.setattr(landscapes, "paint_landscape", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "options, told",
    [({"train": 0}, "'train'"), ({"workers": 0}, "workers"), ({"seed": -1}, "seed")],
)
def test_numbers_out_of_range_are_told(tmp_path, options, told):
    with pytest.raises(Sg2ImError, match=told):
        small(tmp_path, **options)


@pytest.mark.slow
def test_a_script_without_main_guard_is_told_what_to_do(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from sg2im_pyg.sources.landscapes.source import prepare_landscapes\n"
        f"prepare_landscapes({str(tmp_path / 'data')!r}, train=120, val=1, test=1, workers=2)\n",
        encoding="utf-8",
    )
    repository = str(Path(landscapes.__file__).parents[3])
    run = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": repository},
    )
    assert run.returncode != 0
    assert "__main__" in run.stderr.splitlines()[-1]
    assert not list((tmp_path / "data").rglob("*.h5"))
