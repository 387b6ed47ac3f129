"""The whole evaluation against plain loops over pictures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import save_checkpoint, save_safetensors
from sg2im_pyg.data import SceneDataset
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.evaluate import check_evaluation, evaluate
from sg2im_pyg.evaluation.network_files import load_feature_network
from sg2im_pyg.evaluation.picture_scores import PictureScores
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.images import IMAGENET_MEAN, IMAGENET_STD, denormalize_images
from sg2im_pyg.metrics import box_diversity, box_iou, box_recall, mask_iou
from sg2im_pyg.sources.landscapes.source import landscape_vocabulary

from .conftest import tiny_model


def options(stores, **more):
    return EvaluationConfig(
        **{"data": str(stores["test"]), "device": "cpu", "network": "none", **more}
    )


def system(evaluation, number=1):
    return evaluation.result["systems"][number]


def test_figures_of_layouts_equal_a_loop_over_pictures(stores, checkpoint):
    found = evaluate(options(stores, checkpoint=[str(checkpoint)], seed=5, batch_size=5))
    model, split = Sg2Im.from_pretrained(checkpoint), Split(stores["test"], seed=5)
    predicted, true, categories, masks = [], [], [], []
    for index in range(12):
        graph = split.graphs([index], 0, "geometric")
        with torch.no_grad():
            output = model(graph)
        own = graph.x != 0
        predicted.append(output.boxes[own])
        true.append(graph.boxes[own])
        categories.append(graph.x[own])
        masks.append(mask_iou(output.masks[own], graph.masks[own]))
    predicted, true, categories, masks = map(torch.cat, (predicted, true, categories, masks))
    figures = system(found)["layout"]
    assert figures["objects"] == len(true) == found.result["data"]["objects"]
    assert figures["box_recall_0.3"] == pytest.approx(box_recall(predicted, true, 0.3))
    assert figures["box_recall_0.5"] == pytest.approx(box_recall(predicted, true, 0.5))
    assert figures["mean_iou"] == pytest.approx(box_iou(predicted, true).mean().item(), abs=1e-6)
    assert figures["mask_iou"] == pytest.approx(masks.mean().item(), abs=1e-6)
    spread = box_diversity(predicted, categories)
    assert (figures["sigma_x"], figures["sigma_area"]) == pytest.approx(spread, abs=1e-6)
    assert figures["relations"] == len(true)  # one drawn for each object
    spread = box_diversity(true, categories)
    own = system(found, 0)["layout"]
    assert (own["sigma_x"], own["sigma_area"]) == pytest.approx(spread, abs=1e-6)
    assert own["mean_iou"] is None


def test_batch_size_does_not_matter(stores, checkpoint):
    results = []
    for batch_size in (1, 5, 64):
        config = options(
            stores, checkpoint=[str(checkpoint)], batch_size=batch_size, network="landscapes"
        )
        result = evaluate(config).result
        results.append(result["systems"])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert one["layout"] == pytest.approx(two["layout"], abs=1e-5)
            assert one["pictures"]["inception_score"]["mean"] == pytest.approx(
                two["pictures"]["inception_score"]["mean"], rel=1e-3
            )
            if one["kind"] == "checkpoint":
                assert one["pictures"]["fid"] == pytest.approx(two["pictures"]["fid"], rel=1e-2)


def generated(split, model, draws, boxes=False, masks=False):
    images = []
    for draw in range(draws):
        for index in range(split.pictures):
            graph = split.graphs([index], draw, "geometric")
            noise = split.noise([index], draw, (2, 16, 16))
            with torch.no_grad():
                output = model(
                    graph, graph.boxes if boxes else None, graph.masks if masks else None, noise
                )
            images.append(denormalize_images(output.images))
    return torch.cat(images)


@pytest.mark.parametrize("layout", ["predicted", "true"])
def test_pictures_are_scored_from_the_layout_asked_for(stores, checkpoint, layout, tmp_path):
    config = options(
        stores,
        checkpoint=[str(checkpoint)],
        graphs_per_picture=2,
        boxes=layout,
        masks=layout,
        network="landscapes",
        splits=3,
        seed=1,
    )
    found = evaluate(config, tmp_path)
    true = layout == "true"
    split, model = Split(stores["test"], seed=1), Sg2Im.from_pretrained(checkpoint)
    expected = generated(split, model, 2, true, true)
    written = sorted(tmp_path.rglob("*.png"))
    assert len(written) == 24
    ids = [split.image_id(index) for index in range(12)]
    for picture, (draw, index) in zip(
        expected, [(draw, index) for draw in range(2) for index in range(12)], strict=True
    ):
        [path] = [path for path in written if path.stem == f"{ids[index]:012}_{draw}"]
        image = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
        # Convolutions in batches of other sizes may round a value to the next one.
        assert (image.int() - picture.int()).abs().max() <= 1
    scores = PictureScores(load_feature_network("landscapes"), splits=3, seed=1)
    scores.add_true(SceneDataset(stores["test"]).assemble(range(12)).image)
    scores.add(expected)
    wanted, figures = scores.compute(), system(found)["pictures"]
    assert figures["pictures"] == wanted["pictures"] == 24
    assert figures["fid"] == pytest.approx(wanted["fid"], rel=2e-2)
    assert figures["inception_score"]["mean"] == pytest.approx(
        wanted["inception_score"]["mean"], rel=1e-2
    )
    # The layout's figures are those of predictions, whatever pictures are generated from.
    assert system(found)["layout"]["mean_iou"] < 0.9


def test_pictures_are_scored_with_their_contrast_stretched(stores, checkpoint, tmp_path):
    chosen = {"checkpoint": [str(checkpoint)], "network": "landscapes", "splits": 3}
    found = evaluate(options(stores, stretch=True, examples=0, **chosen), tmp_path)

    def stretched_by_hand(pictures):
        return np.stack([(p - p.min()) / (p.max() - p.min()) * 255 for p in pictures])

    true = SceneDataset(stores["test"]).assemble(range(12)).image
    split, model, mean, std = Split(stores["test"]), Sg2Im.from_pretrained(checkpoint), *(
        np.array(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
    )  # fmt: skip
    made = []
    for index in range(12):
        graph = split.graphs([index], 0, "geometric")
        with torch.no_grad():
            output = model(graph, noise=split.noise([index], 0, (2, 16, 16)))
        made.append(output.images[0].double().numpy() * std + mean)
    expected = stretched_by_hand(made)
    for path in tmp_path.rglob("*.png"):
        image = np.array(Image.open(path)).transpose(2, 0, 1)
        assert (image.min(), image.max()) == (0, 255)
        [place] = [i for i in range(12) if f"{split.image_id(i):012}" == path.stem]
        assert np.abs(image - expected[place]).max() <= 1
    scores = PictureScores(load_feature_network("landscapes"), splits=3)
    of_bytes = [stretched_by_hand(true.double().numpy()), expected]
    of_bytes = [torch.from_numpy(pictures.round()).to(torch.uint8) for pictures in of_bytes]
    scores.add_true(of_bytes[0])
    scores.add(of_bytes[1])
    figures, wanted = system(found)["pictures"], scores.compute()
    assert figures["fid"] == pytest.approx(wanted["fid"], rel=2e-2)
    real = system(found, 0)["pictures"]["inception_score"]["mean"]
    assert real == pytest.approx(scores.compute_true()["inception_score"]["mean"], rel=1e-2)
    as_they_are = evaluate(options(stores, examples=0, **chosen))
    assert figures["fid"] != pytest.approx(system(as_they_are)["pictures"]["fid"], rel=5e-2)
    assert figures["fid"] > 0 and system(found)["layout"] == system(as_they_are)["layout"]


def test_a_folder_stands_in_the_same_table(stores, checkpoint, tmp_path):
    """The split's own pictures, as another system's, have nothing to be told apart by."""
    images = SceneDataset(stores["test"]).assemble(range(12)).image
    folder = tmp_path / "Another <system>"
    (folder / "below").mkdir(parents=True)
    for k, image in enumerate(images):
        path = folder / ("below" if k % 2 else ".") / f"{k}.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    config = options(
        stores, checkpoint=[str(checkpoint)], images=[str(folder)], network="landscapes", splits=2
    )
    evaluation = evaluate(config)
    names = [row["name"] for row in evaluation.result["systems"]]
    assert names == ["true pictures", f"{checkpoint.parent.parent.name}/best", "Another <system>"]
    row = system(evaluation, 2)
    assert row["layout"] is None and row["pictures"]["pictures"] == 12
    assert row["pictures"]["fid"] == pytest.approx(0, abs=1e-3)
    assert row["notes"] == []
    real = system(evaluation, 0)["pictures"]["inception_score"]
    assert row["pictures"]["inception_score"]["mean"] == pytest.approx(real["mean"], rel=0.2)
    assert system(evaluation, 1)["pictures"]["fid"] > 1

    for path in (folder / "10.png", folder / "below" / "3.png"):  # none is the first
        Image.new("RGB", (40, 30)).save(path)
    notes = system(evaluate(options(stores, images=[str(folder)], network="landscapes")))["notes"]
    assert len(notes) == 1
    assert "Of the 12 pictures 2 had another size and were resized to 16 x 16" in notes[0]


def test_true_masks_are_none_for_a_model_without(stores, tmp_path):
    path = tmp_path / "boxes.pt"
    save_checkpoint(path, tiny_model(mask_size=0))
    true, predicted = (
        system(evaluate(options(stores, checkpoint=[str(path)], masks=masks, network="landscapes")))
        for masks in ("true", "predicted")
    )
    assert true["pictures"] == predicted["pictures"] and true["layout"] == predicted["layout"]
    assert any("whole boxes are filled" in note for note in true["notes"])
    assert not any("whole boxes are filled" in note for note in predicted["notes"])


def test_a_folder_given_by_two_dots_has_a_name(stores, tmp_path, monkeypatch):
    inside = tmp_path / "theirs" / "inside"
    inside.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(inside / "0.png")
    monkeypatch.chdir(inside)
    assert system(evaluate(options(stores, images=[".."])))["name"] == "theirs"


def test_result_is_plain_json_without_nan(stores, checkpoint):
    evaluation = evaluate(options(stores, checkpoint=[str(checkpoint)], network="landscapes"))
    text = json.dumps(evaluation.result, allow_nan=False)
    assert json.loads(text) == evaluation.result
    assert evaluation.result["settings"]["graphs_per_picture"] == 1
    assert evaluation.result["network"]["sha256"]


def test_examples_are_the_best_and_the_worst(stores, checkpoint):
    evaluation = evaluate(options(stores, checkpoint=[str(checkpoint)], examples=3))
    assert list(evaluation.examples) == ["A sample of the split", "Best by IoU", "Worst by IoU"]
    best, worst = (
        [example.iou for example in evaluation.examples[title]]
        for title in ("Best by IoU", "Worst by IoU")
    )
    model, split = Sg2Im.from_pretrained(checkpoint), Split(stores["test"])
    means = []
    for index in range(12):
        graph = split.graphs([index], 0, "geometric")
        with torch.no_grad():
            boxes = model(graph).boxes
        means.append(box_iou(boxes, graph.boxes)[graph.x != 0].mean().item())
    assert best == pytest.approx(sorted(means)[::-1][:3], abs=1e-5)
    assert worst == pytest.approx(sorted(means)[:3], abs=1e-5)
    example = evaluation.examples["Best by IoU"][0]
    assert set(example.images) == {
        *("graph", "true picture", "true layout", "predicted layout", "generated picture")
    }
    assert not evaluate(options(stores, checkpoint=[str(checkpoint)], examples=0)).examples


def test_a_checkpoint_trained_without_relationships_is_evaluated_without(stores, tmp_path):
    paths = []
    for name, relationships in (("with", True), ("without", False)):
        path = tmp_path / name / "checkpoints" / "last.pt"
        training = {
            "config": {"data": {"relationships": relationships}},
            "progress": {"step": 7},
        }
        save_checkpoint(path, tiny_model(), training)
        paths.append(str(path))
    rows = evaluate(options(stores, checkpoint=paths)).result["systems"][1:]
    assert [row["name"] for row in rows] == ["with/last", "without/last"]
    assert [row["step"] for row in rows] == [7, 7]
    assert [row["relationships"] for row in rows] == ["geometric", "none"]
    assert rows[0]["layout"] != rows[1]["layout"]
    # What it does not see is counted all the same: the relations that hold by chance.
    assert rows[0]["layout"]["relations"] == rows[1]["layout"]["relations"] > 0
    forced = evaluate(options(stores, checkpoint=paths, relationships="geometric"))
    assert system(forced, 2)["layout"] == rows[0]["layout"]
    alone = tmp_path / "alone.safetensors"  # its header says how it was trained
    save_safetensors(alone, tiny_model(), training)
    row = system(evaluate(options(stores, checkpoint=[str(alone)])))
    assert (row["name"], row["step"], row["relationships"]) == (alone.name, 7, "none")
    assert row["layout"] == rows[1]["layout"]


def test_a_model_with_other_indices_is_matched_by_name(stores, checkpoint, tmp_path):
    """The same model with its names in another order, and with some it never sees."""
    model, names = Sg2Im.from_pretrained(checkpoint), landscape_vocabulary()
    objects = ["unicorn", *names.objects[:0:-1]]
    predicates = ["under", *names.predicates[:0:-1]]
    turned = tiny_model(1, Vocabulary(objects, predicates))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for table, kind in (("object_embedding", "objects"), ("predicate_embedding", "predicates")):
        rows = turned.state_dict()[f"{table}.weight"].clone()
        for name in getattr(names, kind):
            place = getattr(turned.vocabulary, kind).index(name)
            rows[place] = state[f"{table}.weight"][getattr(names, kind).index(name)]
        state[f"{table}.weight"] = rows
    turned.load_state_dict(state)
    path = tmp_path / "turned.pt"
    save_checkpoint(path, turned)
    evaluation = evaluate(options(stores, checkpoint=[str(checkpoint), str(path)]))
    assert system(evaluation, 1)["layout"] == pytest.approx(system(evaluation, 2)["layout"])
    assert system(evaluation, 1)["categories"] == system(evaluation, 2)["categories"]


@pytest.mark.parametrize("limit", [1, 2])
def test_one_picture_is_enough(stores, checkpoint, limit):
    config = options(stores, checkpoint=[str(checkpoint)], limit=limit, network="landscapes")
    evaluation = evaluate(config)
    assert evaluation.result["data"]["pictures"] == limit
    assert system(evaluation)["layout"]["objects"] >= 3 * limit
    assert (system(evaluation)["pictures"]["fid"] is None) == (limit == 1)
    json.dumps(evaluation.result, allow_nan=False)


def test_a_model_without_masks(stores, tmp_path):
    path = tmp_path / "boxes.pt"
    save_checkpoint(path, tiny_model(mask_size=0))
    row = system(evaluate(options(stores, checkpoint=[str(path)])))
    assert row["layout"]["mask_iou"] is None and "Masks are not compared" in row["notes"][0]
    assert row["layout"]["mean_iou"] > 0


def test_what_does_not_fit_is_said_before_anything_is_scored(
    stores, checkpoint, tmp_path, monkeypatch
):
    def refuse(*_):
        raise AssertionError("scored")

    monkeypatch.setattr("sg2im_pyg.evaluation.evaluate._score_true_pictures", refuse)
    large = tmp_path / "large.pt"
    save_checkpoint(large, tiny_model(image_size=(32, 32)))
    foreign = tmp_path / "foreign.pt"
    save_checkpoint(foreign, tiny_model(vocabulary=Vocabulary(["cat"], ["above"])))
    empty = tmp_path / "empty"
    empty.mkdir()
    no_picture = tmp_path / "broken"
    no_picture.mkdir()
    (no_picture / "a.png").write_bytes(b"no picture")
    good = [str(checkpoint)]
    for given, sentence in (
        (
            {"checkpoint": [*good, str(large)]},
            "makes pictures of 32 x 32, .* holds pictures of 16 x 16",
        ),
        ({"checkpoint": [str(foreign)]}, "does not know the data's object 'sky' and 15 more"),
        ({"checkpoint": [str(tmp_path / "none.pt")]}, "There is no checkpoint"),
        ({"images": [str(empty)]}, "holds no picture"),
        ({"images": [str(tmp_path / "none")]}, "There is no folder"),
        (
            {"checkpoint": good, "images": [str(no_picture)], "network": "landscapes"},
            "a.png is no picture",
        ),
        ({"checkpoint": good, "data": str(tmp_path / "none.h5")}, "There is no data file"),
        ({"checkpoint": good, "device": "gpu7"}, "device 'gpu7' is unknown"),
    ):
        with pytest.raises(Sg2ImError, match=sentence):
            evaluate(options(stores, **given))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "There is nothing to evaluate"),
        ({"checkpoint": ["a"], "names": ["a", "b"]}, "There are 2 names for 1 checkpoints"),
        (
            {"checkpoint": ["a"], "splits": 0},
            "splits must be a whole number, at least 1 and at most 1,000, got 0",
        ),
        (
            {"checkpoint": ["a"], "limit": 0},
            "limit must be a whole number, at least 1 .* or null, got 0",
        ),
    ],
)
def test_wrong_options_are_named(given, sentence):
    with pytest.raises(Sg2ImError, match=sentence):
        EvaluationConfig(data="test.h5", **given)


def test_rows_of_the_same_name_get_numbers(stores, checkpoint):
    config = options(stores, checkpoint=[str(checkpoint)] * 2, limit=1)
    names = [row["name"] for row in evaluate(config).result["systems"]]
    assert len(set(names)) == 3 and names[2] == f"{names[1]} (2)"
    config = options(stores, checkpoint=[str(checkpoint)], names=["ours"], limit=1)
    assert system(evaluate(config))["name"] == "ours"
    # A number that another row has as its own name is passed over.
    config = options(
        stores, checkpoint=[str(checkpoint)] * 3, names=["ours", "ours", "ours (2)"], limit=1
    )
    names = [row["name"] for row in evaluate(config).result["systems"]]
    assert len(set(names)) == 4


def test_each_checkpoint_writes_pictures_to_a_folder_of_its_own(stores, checkpoint, tmp_path):
    names = ["a/b", "a:b", "A-B", "\U0001d49c" * 80]  # the last one: four bytes a character
    config = options(stores, checkpoint=[str(checkpoint)] * 4, names=names, limit=2, examples=0)
    evaluate(config, tmp_path)
    folders = list(tmp_path.iterdir())
    assert len({folder.name.lower() for folder in folders}) == 4
    assert all(len(list(folder.glob("*.png"))) == 2 for folder in folders)


def test_pictures_of_another_evaluation_are_not_mixed_with_new_ones(stores, checkpoint, tmp_path):
    def write(**more):
        config = options(stores, checkpoint=[str(checkpoint)], examples=0, **more)
        evaluate(config, tmp_path)
        return len(list(tmp_path.rglob("*.png")))

    assert write(limit=2) == 2
    assert write(limit=2) == 2
    assert write(limit=3) == 3
    for more in ({"limit": 2}, {"limit": 3, "graphs_per_picture": 2}):
        with pytest.raises(Sg2ImError, match="holds pictures that this evaluation does not make"):
            write(**more)
    assert len(list(tmp_path.rglob("*.png"))) == 3


@pytest.mark.parametrize(
    "training",
    [
        {"config": [1], "progress": [1]},
        {"config": {"data": None}, "progress": {"step": "many"}},
        {"config": {"data": [1]}, "progress": {"step": float("nan")}},
        {"progress": {"step": 2**63}},
        {"progress": {"step": -1}},
        {"progress": {"step": True}},
        {"progress": {"step": torch.zeros(2)}},
    ],
)
def test_what_a_foreign_file_says_of_its_training_is_not_trusted(stores, training, tmp_path):
    path = tmp_path / "foreign.pt"
    save_checkpoint(path, tiny_model(), training)
    row = system(evaluate(options(stores, checkpoint=[str(path)], limit=1, examples=0)))
    assert row["step"] is None and row["relationships"] == "geometric"


def test_an_evaluation_is_checked_before_its_checkpoints_are_made(stores, checkpoint, tmp_path):
    missing, there = str(tmp_path / "later.pt"), [str(checkpoint)]
    assert check_evaluation(options(stores, checkpoint=[missing]), "landscapes") is None
    network = load_feature_network("landscapes")
    later = EvaluationConfig(data=str(tmp_path / "later.h5"), checkpoint=[missing], device="cpu")
    assert check_evaluation(later, "landscapes") == network.sha256
    large = tmp_path / "large.pt"
    save_checkpoint(large, tiny_model(image_size=(32, 32)))
    for given, sentence in (
        ({"checkpoint": [str(large)]}, "makes pictures of 32 x 32"),
        ({"checkpoint": there, "network": str(tmp_path / "no.pt")}, "no.pt does not exist"),
        ({"checkpoint": there, "device": "gpu7"}, "device 'gpu7' is unknown"),
    ):
        with pytest.raises(Sg2ImError, match=sentence):
            check_evaluation(options(stores, **given), "landscapes")


def test_where_inception_can_not_be_had_the_sentence_says_what_else_to_do(
    stores, checkpoint, monkeypatch
):
    def refuse(*_, **__):
        raise Sg2ImError("inception could not be downloaded.")

    monkeypatch.setattr("sg2im_pyg.evaluation.network_files.fetch_file", refuse)
    with pytest.raises(Sg2ImError, match="could not be downloaded. .* or --network none"):
        evaluate(options(stores, checkpoint=[str(checkpoint)], network="inception"))
