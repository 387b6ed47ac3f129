"""Making a study of checkpoints and of folders of pictures."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.commands import prepare
from sg2im_pyg.commands import study as command
from sg2im_pyg.data import Scene, SceneGraph, SceneWriter, Vocabulary
from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.evaluation.config import EvaluationConfig
from sg2im_pyg.evaluation.generation import Generation
from sg2im_pyg.evaluation.split import Split
from sg2im_pyg.evaluation.systems import open_systems
from sg2im_pyg.images import denormalize_images, to_pil
from sg2im_pyg.sources.coco.source import coco_vocabulary
from sg2im_pyg.sources.landscapes.source import LANDSCAPE_OBJECTS, landscape_vocabulary
from sg2im_pyg.sources.landscapes.things import KINDS as THINGS
from sg2im_pyg.sources.registry import SOURCES
from sg2im_pyg.study.captions import find_captions, read_captions
from sg2im_pyg.study.make import make_study
from sg2im_pyg.study.options import MakeOptions
from sg2im_pyg.study.questions import RightChoices, read_study
from tests.evaluation.conftest import tiny_model
from tests.sources.coco.test_source import small_coco  # noqa: F401


@pytest.fixture
def split(stores):
    return Split(Path(stores["test"]))  # 12 landscapes of 16 x 16


@pytest.fixture
def folder(split, tmp_path):
    """Pictures of one colour each, which tells the scene."""
    folder = tmp_path / "their system"
    folder.mkdir()
    for scene in range(split.pictures):
        image = Image.new("RGB", (32, 32), (20 * scene, 7, 99))
        image.save(folder / f"{split.image_id(scene):012}.png")
    return folder


def make(tmp_path, stores, name="study", **options):
    given = {"data": str(stores["test"]), "scenes": 5, "device": "cpu", "checks": 6, **options}
    lines = list(make_study(MakeOptions(**given), tmp_path / name, "the command"))
    return read_study(tmp_path / name), lines


def entries_of(split, scene):
    return split.graphs([scene], 0, "geometric").get_example(0).to_json(split.vocabulary)


def caption_of(split, scene):
    """The graph in words, without relationships that were drawn twice."""
    entries = entries_of(split, scene)
    triples = entries["relationships"]
    once = [triple for k, triple in enumerate(triples) if triple not in triples[:k]]
    graph = SceneGraph.from_json({**entries, "relationships": once}, split.vocabulary)
    return graph.to_text(split.vocabulary)


def tiles(pixels):
    """The 64 tiles of a picture of 16 x 16."""
    return pixels.reshape(8, 2, 8, 2, 3).swapaxes(1, 2).reshape(64, -1).tolist()


def colour(path):
    return np.asarray(Image.open(path)).reshape(-1, 3)[0].tolist()


def test_pictures_are_those_of_the_systems(tmp_path, stores, checkpoint, folder, split):
    study, lines = make(tmp_path, stores, checkpoint=[str(checkpoint)], images=[str(folder)])
    ours, theirs = study.systems
    assert (ours, theirs) == (f"{checkpoint.parents[1].name}/best", "their system")
    assert study.command == "the command" and study.pictures_of == "landscapes, test.h5"
    config = EvaluationConfig(
        data=str(stores["test"]), checkpoint=[str(checkpoint)], network="none", device="cpu"
    )
    generation = Generation(open_systems(config, split)[0], split, config)
    asked = [q for q in study.questions if q.check is None]
    assert Counter(q.kind for q in asked) == {"caption": 5, "objects": 10, "relations": 10}
    for question in asked:
        for picture, system in zip(question.pictures, question.systems, strict=True):
            path = tmp_path / "study" / picture
            if system == theirs:
                assert colour(path) == [20 * question.scene, 7, 99]
                assert Image.open(path).size == (16, 16)  # resized, as in an evaluation
            else:
                output = generation.generate([question.scene], 0)[2]
                [painted] = to_pil(denormalize_images(output.images))
                there = np.asarray(Image.open(path)).astype(int)
                assert np.abs(there - np.asarray(painted)).max() <= 1
    assert any("participants answer every question three times" in line for line in lines)


def test_questions_say_what_is_in_the_graph(tmp_path, stores, folder, split):
    study, _ = make(tmp_path, stores, images=[str(folder)] * 2, names=["a", "b"])
    for question in study.questions:
        entries = entries_of(split, question.scene)
        names, triples = entries["objects"], entries["relationships"]
        told = {f"{names[s]} {p} {names[o]}" for s, p, o in triples}
        texts = [choice.text for choice in question.choices]
        assert len(set(texts)) == len(texts)
        if question.kind == "caption":
            assert question.text == caption_of(split, question.scene)
            assert all(name in question.text for name in names)
        elif question.check is None and question.kind == "objects":
            assert set(texts) == set(names)
            assert all(choice.thing == (choice.text in THINGS) for choice in question.choices)
        elif question.check is None:
            assert set(texts) == told
            assert all(f" {choice.predicate} " in choice.text for choice in question.choices)
        else:
            assert isinstance(question.check, RightChoices)
            by_id = {choice.id: choice.text for choice in question.choices}
            right = {by_id[name] for name in question.check.right}
            wrong = {by_id[name] for name in question.check.wrong}
            if question.kind == "objects":
                assert right <= set(names) and not wrong & set(names)
            else:
                assert right <= told
                assert not {text.split()[0] for text in wrong} & set(names)


def test_checks_show_the_true_picture_and_its_tiles_in_disorder(tmp_path, stores, folder, split):
    study, _ = make(tmp_path, stores, images=[str(folder)] * 2)
    assert study.systems == ("their system", "their system (2)")
    checks = [q for q in study.questions if q.check is not None]
    scenes = {q.scene for q in study.questions if q.check is None}
    assert len(checks) == 6 and not {q.scene for q in checks} & scenes
    for question in checks:
        for picture, system in zip(question.pictures, question.systems, strict=True):
            shown = np.asarray(Image.open(tmp_path / "study" / picture))
            true = split.dataset.reader.image(question.scene)
            if system == "true":
                assert (shown == true).all()
            else:
                assert sorted(tiles(shown)) == sorted(tiles(true))
                assert not (shown == true).all()


def test_a_seed_fixes_the_study_to_the_byte(tmp_path, stores, checkpoint, folder):
    given = {"checkpoint": [str(checkpoint)], "images": [str(folder)]}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(tmp_path, stores, name, seed=seed, **given)
    contents = [
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        for name in "abc"
    ]
    assert contents[0] == contents[1] != contents[2]
    assert contents[0].keys() != contents[2].keys()  # names of pictures depend on it


def test_a_scene_that_a_system_has_no_picture_of_is_not_asked_about(
    tmp_path, stores, folder, split
):
    whole = tmp_path / "whole"
    whole.mkdir()
    for path in folder.iterdir():
        (whole / f"COCO_val2014_{path.stem}.png").write_bytes(path.read_bytes())
    missing = [3, 4, 7]
    for scene in missing:
        (folder / f"{split.image_id(scene):012}.png").unlink()
    given = {"images": [str(folder), str(whole)], "scenes": 12, "checks": 0}
    study, lines = make(tmp_path, stores, **given)
    assert {q.scene for q in study.questions} == set(range(12)) - set(missing)
    assert lines[0].startswith("their system has no picture of 3 of the 12 scenes")
    assert "There are 9 scenes to ask about, not 12." in lines
    for question in study.questions:
        shown = {tuple(colour(tmp_path / "study" / p)) for p in question.pictures}
        assert shown == {(20 * question.scene, 7, 99)}


def test_names_of_pictures(tmp_path, stores, folder, split):
    """Several pictures of a scene: the first is taken. Without numbers: the order counts."""
    several, unnamed, few = (tmp_path / name for name in ("several", "unnamed", "few"))
    for place in (several, unnamed, few):
        place.mkdir()
    for scene in range(12):
        content = (folder / f"{split.image_id(scene):012}.png").read_bytes()
        (several / f"{split.image_id(scene):012}_0.png").write_bytes(content)
        Image.new("RGB", (16, 16), "white").save(several / f"{split.image_id(scene):012}_1.png")
        (unnamed / f"picture {chr(97 + scene)}.png").write_bytes(content)
    (few / "a.png").write_bytes(content)
    study, lines = make(tmp_path, stores, images=[str(several), str(unnamed)], checks=0)
    assert any("unnamed has names without numbers" in line for line in lines)
    for question in study.questions:
        shown = {tuple(colour(tmp_path / "study" / p)) for p in question.pictures}
        assert shown == {(20 * question.scene, 7, 99)}
    with pytest.raises(Sg2ImError, match="no scene of .* of which each system has a picture"):
        make(tmp_path, stores, "b", images=[str(several), str(few)])
    assert not (tmp_path / "b").exists()


def test_three_systems(tmp_path, stores, checkpoint, folder):
    given = {"checkpoint": [str(checkpoint)] * 2, "images": [str(folder)]}
    study, _ = make(tmp_path, stores, names=["a", "true", "c"], **given)
    assert study.systems == ("a", "true (2)", "c")
    captions = [q for q in study.questions if q.kind == "caption" and q.check is None]
    pairs = Counter(frozenset(q.systems) for q in captions)
    assert pairs == {frozenset(p): 5 for p in combinations(study.systems, 2)}


# Captions --------------------------------------------------------------------------------------


def captions_file(path, split, scenes, **changes):
    entries = [
        {"id": k, "image_id": split.image_id(scene), "caption": f"A caption\n of {scene}. "}
        for k, scene in enumerate(scenes)
    ]
    path.write_text(json.dumps({"annotations": entries, **changes}), encoding="utf-8")
    return str(path)


def test_captions_of_a_file_are_taken_and_others_made(tmp_path, stores, folder, split):
    file = captions_file(tmp_path / "captions.json", split, range(0, 12, 2))
    study, lines = make(
        tmp_path, stores, images=[str(folder)] * 2, captions=file, scenes=12, kinds=["caption"]
    )
    for question in study.questions:
        read = f"A caption of {question.scene}."
        made = caption_of(split, question.scene)
        assert question.text == (made if question.scene % 2 else read)
    assert any(
        line.startswith("captions     6 of ") and "6 made of graphs" in line for line in lines
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": [{"image_id": 1}]}, "must have image_id and caption"),
        ({"annotations": [{"image_id": "x", "caption": "a"}]}, "must have image_id and caption"),
        ({"annotations": {}}, "annotations"),
        ({"annotations": [{"image_id": 5**20, "caption": "a"}]}, "has no caption of any picture"),
    ],
)
def test_captions_that_are_none(tmp_path, stores, folder, split, changes, said):
    file = captions_file(tmp_path / "captions.json", split, [0], **changes)
    with pytest.raises(Sg2ImError, match=said):
        make(tmp_path, stores, images=[str(folder)] * 2, captions=file)
    assert not (tmp_path / "study").exists() and not list(tmp_path.glob(".study*"))


# Mistakes --------------------------------------------------------------------------------------


def test_what_is_wrong_is_said_before_anything_is_written(tmp_path, stores, folder, checkpoint):
    two = {"images": [str(folder)] * 2}
    with pytest.raises(Sg2ImError, match="two or more systems"):
        make(tmp_path, stores, images=[str(folder)])
    with pytest.raises(Sg2ImError, match="There are 3 names"):
        make(tmp_path, stores, **two, names=["a", "b", "c"])
    with pytest.raises(Sg2ImError, match="There is no folder"):
        make(tmp_path, stores, images=[str(folder), str(tmp_path / "none")])
    with pytest.raises(Sg2ImError, match="There is no data file"):
        make(tmp_path, {"test": tmp_path / "none.h5"}, **two)
    (tmp_path / "text").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Sg2ImError, match="no text in UTF-8"):
        make(tmp_path, stores, **two, consent=str(tmp_path / "text"))
    foreign = tmp_path / "foreign.pt"
    save_checkpoint(foreign, tiny_model(vocabulary=Vocabulary(["zebra"], ["above"])))
    with pytest.raises(Sg2ImError, match="does not know the data's object"):
        make(tmp_path, stores, checkpoint=[str(foreign), str(checkpoint)])
    (folder / "broken.png").write_bytes(b"no picture")
    with pytest.raises(Sg2ImError, match=r"broken\.png is no picture"):
        make(tmp_path, stores, **two)
    assert not (tmp_path / "study").exists()


def test_the_command_from_making_to_scores(tmp_path, stores, folder, capsys):
    (tmp_path / "consent.txt").write_text("You may stop.\n\nAlways.", encoding="utf-8")
    words = ["--data", str(stores["test"]), "--images", str(folder), str(folder), "--scenes=4"]
    words += ["--checks=3", "--checks_per_person=3", "--consent", str(tmp_path / "consent.txt")]
    command.main(["make", *words, "--device=cpu"], tmp_path)
    study = read_study(tmp_path / "runs" / "study")
    assert (tmp_path / "runs" / "study" / "consent.txt").read_text("utf-8").startswith("You may")
    assert "--scenes=4" in study.command
    assert "serve" in capsys.readouterr().out
    with pytest.raises(Sg2ImError, match="something in .*study already"):
        command.main(["make", *words], tmp_path)

    table = ["participant,number,question,choice,milliseconds,completed"]
    for number in range(3):
        for question, _ in study.assignment(number):
            check = question.check
            chosen = check.right if isinstance(check, RightChoices) else (str(check or 0),)
            if question.kind != "caption" and check is None:
                chosen = tuple(choice.id for choice in question.choices)
            cell = json.dumps(list(chosen)).replace('"', '""')
            table.append(f'p{number},{number},{question.id},"{cell}",1000,true')
    (tmp_path / "answers.csv").write_text("\n".join(table), encoding="utf-8")
    words = [str(tmp_path / "runs" / "study"), "--answers", str(tmp_path / "answers.csv")]
    command.main(["score", *words], tmp_path)
    said = capsys.readouterr().out
    assert "Of 3 participants 3 are counted." in said and "## Object recall" in said
    written = sorted(p.name for p in (tmp_path / "runs" / "study" / "scores").iterdir())
    assert written == [f"scores.{kind}" for kind in ("csv", "json", "md", "png", "tex")]
    with pytest.raises(Sg2ImError, match="There are no answers in"):
        command.main(["score", words[0]], tmp_path)


# Things and stuff ------------------------------------------------------------------------------


def test_sources_tell_things_from_stuff():
    vocabulary = landscape_vocabulary()
    stuff = SOURCES["landscapes"].stuff
    assert {vocabulary.objects[k] for k in stuff} == set(LANDSCAPE_OBJECTS) - set(THINGS)
    assert SOURCES["visual_genome"].stuff is None


def test_coco_s_stuff_is_told_and_named_in_plain_words(tmp_path):
    # Ids as in COCO's files: things end at 90, COCO-Stuff goes from 92 to 182, merged ones to 200.
    names = {1: "person", 90: "toothbrush", 92: "banner", 182: "wood", 186: "sky-other-merged"}
    names |= {112: "door-stuff", 199: "wall-other-merged", 176: "wall-tile", 173: "wall-other"}
    stuff = {number: name for number, name in names.items() if number > 91}
    vocabulary = coco_vocabulary({1: names[1], 90: names[90]}, stuff)
    store = tmp_path / "store.h5"
    with SceneWriter(store, vocabulary, (8, 8), 0, {"source": "coco", "split": "val"}) as writer:
        for scene in range(8):
            categories = np.array([1, 186, 112, 182] if scene % 2 else [90, 199, 173, 92])
            boxes = np.random.default_rng(scene).uniform(0, 0.5, (4, 4)).astype(np.float32)
            boxes[:, 2:] += 0.5
            pixels = np.full((8, 8, 3), scene, np.uint8)
            writer.add(Scene(scene, pixels, categories, boxes))
    split = Split(store)
    images = tmp_path / "pictures"
    images.mkdir()
    for scene in range(8):
        Image.new("RGB", (8, 8)).save(images / f"{scene}.png")
    study, _ = make(tmp_path, {"test": store}, images=[str(images)] * 2, scenes=8, checks=0)
    choices = {
        (choice.category, choice.text, choice.thing)
        for question in study.questions
        if question.kind == "objects"
        for choice in question.choices
    }
    assert choices == {
        ("person", "person", True),
        ("sky-other-merged", "sky", False),
        ("door-stuff", "door", False),
        ("wood", "wood", False),
        ("toothbrush", "toothbrush", True),
        # Both would be "wall" in one question: they keep their names.
        ("wall-other-merged", "wall-other-merged", False),
        ("wall-other", "wall-other", False),
        ("banner", "banner", False),
    }
    for question in study.questions:
        if question.kind == "caption":
            assert "-merged" not in question.text and "-stuff" not in question.text
    assert split.origin.name == "coco"


def test_captions_beside_coco_s_annotations_are_found(tmp_path, capsys):
    small_coco(tmp_path)
    prepare.main(["coco", "--root", str(tmp_path), "--image_size", "16", "--workers", "1"])
    split = Split(tmp_path / "16x16" / "val.h5")
    assert find_captions(split) is None
    path = tmp_path / "annotations" / "captions_val2017.json"
    captions_file(path, split, range(split.pictures))
    assert find_captions(split) == path
    found = read_captions(path, [split.image_id(0)], 0)
    assert found == {split.image_id(0): "A caption of 0."}
    training = Split(tmp_path / "16x16" / "train.h5")
    assert find_captions(training) is None


def test_one_of_several_captions_is_drawn_by_the_seed(tmp_path):
    entries = [{"image_id": 7, "caption": f"caption {k}"} for k in range(5)]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"annotations": entries}), encoding="utf-8")
    drawn = [read_captions(path, [7], seed)[7] for seed in range(20)]
    assert 3 <= len(set(drawn)) <= 5
    assert drawn == [read_captions(path, [7, 8], seed)[7] for seed in range(20)]
