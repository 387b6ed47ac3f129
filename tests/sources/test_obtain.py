"""Whole data sets from a server on this machine."""

import hashlib
import io
import json
import re
import zipfile
from dataclasses import replace

import pytest

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources import obtain as obtain_module
from sg2im_pyg.sources.coco import downloads as coco_table
from sg2im_pyg.sources.coco.options import CocoOptions
from sg2im_pyg.sources.obtain import obtain
from sg2im_pyg.sources.visual_genome import downloads as genome_table
from sg2im_pyg.sources.visual_genome.options import VisualGenomeOptions
from sg2im_pyg.system import disk
from tests.system import server as serving
from tests.system.server import PICTURES, files_below, names, no_space, zipped

server, waits, patience = serving.server, serving.waits, serving.patience


def obtain_coco(folder, with_stuff=True, **options):
    return obtain(CocoOptions(things_only=not with_stuff).files(), folder, **options)


def obtain_visual_genome(folder, **options):
    return obtain(VisualGenomeOptions(root=str(folder)).files(), folder, **options)


def serve(server, files, archives_by_name):
    """The real table, with small archives that the server holds."""
    small = []
    for file in files:
        content = archives_by_name[file.name]
        address = server.put(f"/{file.name}", content)
        small.append(
            replace(
                file,
                addresses=(address,),
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest() if file.sha256 else None,
                unpacked_size=2 * len(content),
            )
        )
    return tuple(small)


@pytest.fixture
def coco(server, monkeypatch):
    """COCO's table with small archives; what lies in the data folder in the end."""
    val = {"val2017/000000000139.jpg": b"a picture"}
    annotations = {
        f"annotations/{kind}_{part}2017.json": f"{kind} {part}".encode()
        for kind in ("instances", "stuff")
        for part in ("train", "val")
    }
    instances = {name: text for name, text in annotations.items() if "instances" in name}
    stuff = {name: text for name, text in annotations.items() if "stuff" in name}
    contents = {
        "train2017.zip": zipped(PICTURES, zipfile.ZIP_STORED),
        "val2017.zip": zipped(val, zipfile.ZIP_STORED),
        "annotations_trainval2017.zip": zipped(
            {**instances, "annotations/captions_train2017.json": b"not needed"}
        ),
        "stuff_annotations_trainval2017.zip": zipped(
            {**stuff, "annotations/stuff_train2017_pixelmaps.zip": b"not needed"}
        ),
    }
    monkeypatch.setattr(coco_table, "COCO", serve(server, coco_table.COCO, contents))
    monkeypatch.setattr(
        coco_table, "COCO_STUFF", serve(server, [coco_table.COCO_STUFF], contents)[0]
    )
    pictures = {f"images/{name}": content for name, content in {**PICTURES, **val}.items()}
    return {**pictures, **annotations}


def without_downloads(folder):
    return {
        name: content
        for name, content in files_below(folder).items()
        if not name.startswith("downloads/")
    }


def test_coco_is_fetched_and_unpacked(server, coco, patience, tmp_path, capsys):
    report = obtain_coco(tmp_path / "coco", patience=patience)
    assert without_downloads(tmp_path / "coco") == coco
    assert {request.path for request in server.requests} == {
        f"/{file.name}" for file in (*coco_table.COCO, coco_table.COCO_STUFF)
    }
    assert len([line for line in report if line.startswith("downloaded ")]) == 4
    assert "unpacked images/train2017" in report
    total = disk.format_bytes(sum(server.sent()))
    assert f"To download: {total}" in capsys.readouterr().out

    again = obtain_coco(tmp_path / "coco", download=False)
    assert len(server.requests) == 4
    assert "images/train2017: there already" in again
    assert all(line.endswith("there already") for line in again)


def test_coco_without_stuff(server, coco, patience, tmp_path):
    obtain_coco(tmp_path, with_stuff=False, patience=patience)
    assert without_downloads(tmp_path) == {k: v for k, v in coco.items() if "stuff" not in k}


def test_what_was_put_there_by_hand_is_not_fetched(server, coco, patience, tmp_path):
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "1.jpg").write_bytes(b"mine")
    (tmp_path / "annotations").mkdir()
    mine = tmp_path / "annotations" / "instances_val2017.json"
    mine.write_bytes(b"mine")
    report = obtain_coco(tmp_path, with_stuff=False, patience=patience)
    assert {r.path for r in server.requests} == {"/val2017.zip", "/annotations_trainval2017.zip"}
    assert "images/train2017: there already" in report
    assert not (tmp_path / "images" / "train2017").exists()
    assert mine.read_bytes() == b"mine"
    assert (tmp_path / "annotations" / "instances_train2017.json").exists()


@pytest.mark.parametrize("place", [".", "downloads"])
def test_archives_put_there_by_hand_are_unpacked_without_the_network(server, coco, tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    for file in (*coco_table.COCO, coco_table.COCO_STUFF):
        (tmp_path / place / file.name).write_bytes(server.contents[f"/{file.name}"])
    obtain_coco(tmp_path, download=False)
    assert coco.items() <= without_downloads(tmp_path).items()
    assert server.requests == []


def test_a_wrong_archive_is_named_before_anything_is_fetched(server, coco, patience, tmp_path):
    (tmp_path / "train2017.zip").write_bytes(b"half")
    with pytest.raises(Sg2ImError, match=r"train2017.zip is not .* has 4 bytes instead of"):
        obtain_coco(tmp_path, patience=patience)
    assert server.requests == []


def test_a_folder_unpacked_halfway_is_not_taken_for_whole(server, coco, patience, tmp_path):
    obtain_coco(tmp_path, patience=patience)
    folder = tmp_path / "images"
    next((folder / "train2017").iterdir()).unlink()
    marker = folder / ".train2017.zip.unpacked.json"
    state = json.loads(marker.read_text(encoding="utf-8"))
    marker.write_text(json.dumps({**state, "whole": False}), encoding="utf-8")
    assert "unpacked images/train2017" in obtain_coco(tmp_path, download=False)
    assert without_downloads(tmp_path) == coco
    assert len(server.requests) == 4


def test_what_is_missing_is_said_where_downloading_is_switched_off(server, coco, tmp_path):
    folder = tmp_path / "coco"
    (folder / "val2017").mkdir(parents=True)
    (folder / "val2017" / "1.jpg").touch()
    with pytest.raises(Sg2ImError) as caught:
        obtain_coco(folder, with_stuff=False, download=False)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert f"{folder} lacks annotations/instances_train2017.json, " in sentence
    assert "images/train2017," in sentence and "val2017.zip from" not in sentence.replace(
        "annotations_trainval2017.zip from", ""
    )
    assert f"train2017.zip from {server.address}/train2017.zip" in sentence
    assert str(folder / "downloads") in sentence
    assert server.requests == []


@pytest.mark.parametrize("answer", ["y\n", "Yes\n", "n\n", "\n", ""])
def test_a_person_is_asked_before_a_download(
    server, coco, patience, tmp_path, monkeypatch, capsys, answer
):
    monkeypatch.setattr(obtain_module, "is_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    if answer.lower().startswith("y"):
        assert obtain_coco(tmp_path, patience=patience, ask=True)
    else:
        with pytest.raises(Sg2ImError, match=r"Nothing was downloaded: put annotations/stuff_tra"):
            obtain_coco(tmp_path, patience=patience, ask=True)
        assert not list(tmp_path.iterdir())
    question = capsys.readouterr().err
    assert question.startswith(f"{tmp_path} lacks annotations/stuff_train2017.json, ")
    assert "images/train2017" in question and "Download " in question and "[y/N]" in question


def test_nobody_is_asked_where_nothing_is_missing_or_nobody_is_there(
    server, coco, patience, tmp_path, monkeypatch
):
    monkeypatch.setattr(obtain_module, "agrees", None)
    assert obtain_coco(tmp_path, patience=patience, ask=True)  # tests have no terminal
    monkeypatch.setattr(obtain_module, "is_terminal", lambda: True)
    assert obtain_coco(tmp_path, patience=patience, ask=True)


def test_room_for_archives_and_what_is_in_them_is_asked_for_first(
    server, coco, patience, tmp_path, monkeypatch
):
    archive_bytes = sum(file.size for file in (*coco_table.COCO, coco_table.COCO_STUFF))
    no_space(monkeypatch, free=3 * archive_bytes - 1)
    with pytest.raises(Sg2ImError, match="What is missing needs"):
        obtain_coco(tmp_path / "new", patience=patience)
    assert server.requests == [] and names(tmp_path) == []
    no_space(monkeypatch, free=3 * archive_bytes)
    obtain_coco(tmp_path / "new", patience=patience)


@pytest.fixture
def visual_genome(server, monkeypatch):
    texts = {f"{name}.json": f"[{name!r}]".encode() for name in ("objects", "attributes")}
    texts |= {f"{name}.json": f"[{name!r}]".encode() for name in ("relationships", "image_data")}
    contents = {f"{name}.zip": zipped({name: text}) for name, text in texts.items()}
    plain = {"object_alias.txt": b"a,b", "relationship_alias.txt": b"c,d", "vg_splits.json": b"{}"}
    contents |= plain
    contents["images.zip"] = zipped({"VG_100K/1.jpg": b"one", "VG_100K/2.jpg": b"two"})
    contents["images2.zip"] = zipped({"VG_100K_2/3.jpg": b"three"})
    monkeypatch.setattr(
        genome_table,
        "VISUAL_GENOME",
        serve(server, genome_table.VISUAL_GENOME, contents),
    )
    pictures = {"VG_100K/1.jpg": b"one", "VG_100K/2.jpg": b"two", "VG_100K_2/3.jpg": b"three"}
    return {**texts, **plain, **{f"images/{name}": picture for name, picture in pictures.items()}}


def test_visual_genome_is_fetched_and_unpacked(server, visual_genome, patience, tmp_path):
    obtain_visual_genome(tmp_path, patience=patience)
    assert without_downloads(tmp_path) == visual_genome
    asked = len(server.requests)
    assert len(obtain_visual_genome(tmp_path, download=False)) == len(genome_table.VISUAL_GENOME)
    assert len(server.requests) == asked


def test_the_splits_of_visual_genome_may_be_missing(server, visual_genome, patience, tmp_path):
    del server.contents["/vg_splits.json"]
    report = obtain_visual_genome(tmp_path, patience=patience)
    assert any(line.startswith("vg_splits.json: not there (") for line in report)
    del visual_genome["vg_splits.json"]
    assert without_downloads(tmp_path) == visual_genome
    assert "vg_splits.json: not there" in obtain_visual_genome(tmp_path, download=False)


def test_pictures_of_visual_genome_may_lie_in_the_data_folder(
    server, visual_genome, patience, tmp_path
):
    for name in ("VG_100K", "VG_100K_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    obtain_visual_genome(tmp_path, patience=patience)
    assert not any("images" in request.path for request in server.requests)


def test_a_folder_without_files_is_no_folder_of_pictures(server, coco, patience, tmp_path):
    (tmp_path / "images" / "val2017").mkdir(parents=True)
    (tmp_path / "images" / "val2017" / ".DS_Store").touch()
    obtain_coco(tmp_path, patience=patience)
    assert (tmp_path / "images" / "val2017" / "000000000139.jpg").exists()


def test_nothing_is_done_for_no_files(tmp_path):
    assert obtain([], tmp_path) == []
    assert names(tmp_path) == []


def test_the_tables_are_well_formed():
    files = [
        *coco_table.COCO,
        coco_table.COCO_STUFF,
        *genome_table.VISUAL_GENOME,
    ]
    assert len({file.name for file in files}) == len(files)
    for file in files:
        assert re.fullmatch(r"[\w.]+", file.name)
        assert file.addresses
        for address in file.addresses:
            assert re.fullmatch(r"https?://[a-z0-9.]+/[\w./~-]+", address)
            assert address.endswith(f"/{file.name}")
        assert len(set(file.addresses)) == len(file.addresses)
        assert any(address.startswith("https://") for address in file.addresses)
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.optional or (file.size or 0) > 0
        assert file.name.endswith(".zip") == bool(file.members)
        for member in file.members:
            assert re.fullmatch(r"[\w./]+", member) and not member.startswith(("/", "."))
    assert [file.name for file in files if file.optional] == ["vg_splits.json"]
