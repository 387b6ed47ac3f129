"""Generators as safetensors files: what is written comes back, and a sentence for every file that
is no good."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import load_players, save_checkpoint, save_safetensors
from sg2im_pyg.formats import safetensors_file
from sg2im_pyg.formats.native import file_entries, open_checkpoint, read_checkpoint
from sg2im_pyg.formats.safetensors_file import METADATA, is_safetensors

GRAPH = {"objects": ["sky", "größe"], "relationships": [[0, "above", 1]]}
ORIGIN = {"config": {"steps": 3, "data": {"name": "landscapes"}}, "progress": {"step": 2}}


@pytest.fixture
def model():
    model = Sg2Im(
        Vocabulary(["sky", "NONE", "größe"], ["above"], ["red"]),
        image_size=(8, 16),
        refinement_dims=(4, 4),
        gconv_hidden_dim=8,
        mask_size=4,
        box_flow_dim=4,
    )
    for name, value in model.named_buffers():  # as after some steps
        value.fill_(3 if name.endswith("tracked") else 0.7)
    return model.to(memory_format=torch.channels_last)  # as a training leaves it


@pytest.fixture
def path(model, tmp_path):
    save_safetensors(tmp_path / "model.safetensors", model, ORIGIN)
    return tmp_path / "model.safetensors"


def parts_of(path):
    """The header and the bytes after it, read as the format's description has them; without the
    checksum, as a file of somebody who means harm, or of before there was one."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    stated = json.loads(header["__metadata__"][METADATA])
    del stated["sha256"]
    header["__metadata__"][METADATA] = json.dumps(stated)
    return header, data[8 + length :]


def write(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def refused(path):
    """The one sentence about a file."""
    with pytest.raises(Sg2ImError, match=r"model\.safetensors") as caught:
        Sg2Im.from_pretrained(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800
    return str(caught.value)


# ---- what is written comes back


def test_a_model_comes_back_to_the_bit(model, path):
    assert is_safetensors(path) and [p.name for p in path.parent.iterdir()] == [path.name]
    found = Sg2Im.from_pretrained(path)
    assert not found.training
    assert found.vocabulary == model.vocabulary and found.config == model.config
    wanted = model.state_dict()
    assert found.state_dict().keys() == wanted.keys()
    for name, value in found.state_dict().items():
        assert value.dtype == wanted[name].dtype and torch.equal(value, wanted[name]), name
    first, second = (m.generate([GRAPH], seed=1)[0] for m in (found, model))
    np.testing.assert_array_equal(first, second)


def test_it_is_read_wherever_a_generator_is(model, path):
    players = load_players(path)
    assert players.model.config == model.config and not players.discriminators
    assert open_checkpoint(path).entries["origin"] == read_checkpoint(path)["origin"] == ORIGIN
    with pytest.raises(Sg2ImError, match="only the generator"):
        read_checkpoint(path, to_train=True)
    renamed = path.with_name("model.pt")  # which it is, its contents say
    path.rename(renamed)
    assert Sg2Im.from_pretrained(renamed).config == model.config
    save_checkpoint(path, model)
    assert not is_safetensors(path) and Sg2Im.from_pretrained(path).config == model.config


def test_the_file_is_one_of_the_format_s_own_reader(model, path):
    tensors = safetensors.torch.load_file(path)
    assert tensors.keys() == model.state_dict().keys()
    header, data = parts_of(path)
    for name, value in model.state_dict().items():
        start, end = header[name]["data_offsets"]
        kind = {torch.float32: "<f4", torch.int64: "<i8", torch.bool: "?"}[value.dtype]
        found = np.frombuffer(data[start:end], kind).reshape(header[name]["shape"])
        np.testing.assert_array_equal(found, value.numpy())
    stated = json.loads(header["__metadata__"][METADATA])
    assert (stated["format"], stated["version"]) == ("sg2im_pyg.checkpoint", 1)
    assert stated["vocabulary"]["objects"] == ["__image__", "sky", "NONE", "größe"]
    assert stated["model_config"]["image_size"] == [8, 16]


def test_the_same_model_gives_the_same_bytes(path):
    """Also in another process, whose hashes of texts are others."""
    code = (
        "import sys; from sg2im_pyg import Sg2Im; one, two = sys.argv[1:]; "
        "from sg2im_pyg.checkpoint import save_safetensors; "
        "from sg2im_pyg.formats.native import file_entries; "
        "save_safetensors(two, Sg2Im.from_pretrained(one), file_entries(one)['origin'])"
    )
    again = path.with_name("again.safetensors")
    subprocess.run([sys.executable, "-c", code, path, again], check=True, timeout=120)
    assert again.read_bytes() == path.read_bytes()


def test_halves_are_rounded_weights_and_whole_statistics(model, path):
    half = path.with_name("half.safetensors")
    save_safetensors(half, model, half=True)
    found = Sg2Im.from_pretrained(half).state_dict()
    for name, value in model.state_dict().items():
        wanted = value if value.dim() < 2 else value.half().float()
        assert found[name].dtype == value.dtype and torch.equal(found[name], wanted), name
    assert half.stat().st_size < 0.6 * path.stat().st_size
    again = path.with_name("again.safetensors")
    save_safetensors(again, Sg2Im.from_pretrained(half), half=True)
    assert again.read_bytes() == half.read_bytes()


def test_what_can_not_be_written_gets_a_sentence(model, path):
    before = path.read_bytes()
    with torch.no_grad():
        model.object_embedding.weight[1, 0] = 1e5
    with pytest.raises(Sg2ImError, match=r"'object_embedding\.weight' has numbers beyond float16"):
        save_safetensors(path, model, half=True)
    endless = []
    endless.append(endless)
    for origin in ({"config": torch.zeros(2)}, {"config": endless}):
        with pytest.raises(Sg2ImError, match="does not fit into JSON"):
            save_safetensors(path, model, origin)
    with pytest.raises(Sg2ImError, match="folded weights"):
        save_safetensors(path, model.for_generation())
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_a_full_disk_leaves_the_older_file(model, path, monkeypatch):
    before = path.read_bytes()

    def full(target, data):
        with target.open("wb") as file:
            file.write(data[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_safetensors(path, model)
    monkeypatch.undo()
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


# ---- files that are no good


@pytest.mark.parametrize("kept", [9, 100, 0.5, 0.999])
def test_truncated_files(path, kept):
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    assert "can not be read as a safetensors file" in refused(path)


def test_longer_files(path):
    path.write_bytes(path.read_bytes() + b"more")
    assert "can not be read as a safetensors file" in refused(path)


@pytest.mark.parametrize("length", [2**24 + 1, 2**40, 2**64 - 1])
def test_headers_that_are_too_long(path, length):
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    assert f"header of {length:,} bytes" in refused(path)


def first_tensor(header):
    return next(entry for name, entry in header.items() if name != "__metadata__")


def overlap(header):
    names = [name for name in header if name != "__metadata__"]
    first, second = [name for name in names if header[name]["shape"] == [8]][:2]
    header[first]["data_offsets"] = header[second]["data_offsets"]


@pytest.mark.parametrize(
    "change",
    [
        lambda header: first_tensor(header).update(dtype="O64"),
        lambda header: first_tensor(header).update(data_offsets=[0, 2**63]),
        lambda header: first_tensor(header).update(data_offsets=[8, 0]),
        lambda header: first_tensor(header).update(data_offsets=[-8, 0]),
        lambda header: first_tensor(header).update(shape=[2**62, 2**62]),
        lambda header: first_tensor(header).update(shape=[2**40]),
        lambda header: first_tensor(header).update(shape=[-1]),
        lambda header: first_tensor(header).pop("shape"),
        lambda header: header.update(hole={"dtype": "U8", "shape": [4], "data_offsets": [1, 5]}),
        overlap,
        lambda header: header.update(__metadata__={METADATA: 3}),
        lambda header: header.update(__metadata__=[]),
        lambda header: header["__metadata__"].update({METADATA: "no JSON"}),
        lambda header: header["__metadata__"].update({METADATA: "[1, 2]"}),
        lambda header: header["__metadata__"].update({METADATA: "[" * 100_000}),
        lambda header: header["__metadata__"].update({METADATA: '{"version": ' + "9" * 5000 + "}"}),
    ],
)
def test_damaged_headers(path, change):
    header, data = parts_of(path)
    change(header)
    write(path, header, data)
    assert "can not be read as a safetensors file" in refused(path)


@pytest.mark.parametrize("place", [0.5, 0.9, -1])
def test_a_flipped_bit_gets_a_sentence(path, place):
    content = bytearray(path.read_bytes())
    content[place if place < 0 else int(len(content) * place)] ^= 1
    path.write_bytes(content)
    assert "not those that were written, by their checksum" in refused(path)


def test_a_changed_text_gets_a_sentence(path):
    content = path.read_bytes()
    assert content.count(b"sky") == 1
    path.write_bytes(content.replace(b"sky", b"ski"))
    assert "not those that were written, by their checksum" in refused(path)


def test_a_file_of_before_has_no_checksum(model, path):
    write(path, *parts_of(path))
    assert Sg2Im.from_pretrained(path).config == model.config


def test_names_given_twice(path):
    header, data = parts_of(path)
    text = json.dumps(header).encode()
    write(path, text[:-1] + b', "x": 1, "x": 2}', data)
    assert "can not be read as a safetensors file" in refused(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "another"}, "no checkpoint of sg2im_pyg"),
        ({"format": None}, "no checkpoint of sg2im_pyg"),
        ({"version": 99}, "version 99"),
        ({"version": "1"}, "names no version"),
        ({"version": 10**400}, "reads up to"),
        ({"vocabulary": None}, "lacks its part 'vocabulary'"),
        ({"vocabulary": {"objects": ["sky"] * 2, "predicates": []}}, "wrong options"),
        ({"vocabulary": {"objects": 3}}, "do not fit together"),
        ({"model_config": {"colour": 1}}, "wrong options"),
        ({"model_config": {"gconv_dim": 65_536, "gconv_hidden_dim": 65_536}}, "model.safetensors"),
        ({"model_config": {"image_size": [2**40, 2**40]}}, "each at most 4,096"),
        ({"model_config": {"gconv_dim": [[[]]]}}, "do not fit together"),
        ({"origin": 3}, "lacks its part 'origin'"),
    ],
)
def test_texts_that_do_not_fit(path, change, words):
    header, data = parts_of(path)
    stated = {**json.loads(header["__metadata__"][METADATA]), **change}
    header["__metadata__"][METADATA] = json.dumps(stated)
    write(path, header, data)
    assert words in refused(path)


def test_a_text_can_not_bring_other_parts(path):
    header, data = parts_of(path)
    stated = json.loads(header["__metadata__"][METADATA])
    stated |= {"training": {}, "discriminators": {}, "generator": {}}
    header["__metadata__"][METADATA] = json.dumps(stated)
    write(path, header, data)
    entries = file_entries(path)
    assert not {"training", "discriminators"} & entries.keys() and entries["generator"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("box_head.layers.0.bias"), "lacks parameters, 1 in all"),
        (lambda w: w.update(more=torch.zeros(2)), "holds the parameter 'more'"),
        (lambda w: w.update({"object_embedding.weight": torch.zeros(2, 3)}), "has the shape"),
        (lambda w: w.update({"object_embedding.weight": torch.zeros(0, 2**40)}), "has the shape"),
        (lambda w: w["object_embedding.weight"].fill_(torch.inf), "not finite"),
        (lambda w: w["refinement.blocks.0.1.running_var"].fill_(-1), "variances below zero"),
        (lambda w: w.clear(), "model.safetensors"),
    ],
)
def test_weights_that_do_not_fit(path, change, words):
    header, _ = parts_of(path)
    weights = safetensors.torch.load(path.read_bytes())
    change(weights)
    path.write_bytes(safetensors.torch.save(weights, header["__metadata__"]))
    assert words in refused(path)


def test_files_of_others(path):
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(2)}))
    assert "no checkpoint of sg2im_pyg" in refused(path)
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(2)}, {"format": "pt"}))
    assert "no checkpoint of sg2im_pyg" in refused(path)
    path.write_text('a text {"objects": []}', encoding="utf-8")
    refused(path)
    path.write_bytes(b"")
    refused(path)
    path.unlink()
    assert "There is no checkpoint" in refused(path)


def test_a_long_header_is_refused_before_it_is_read(path, monkeypatch):
    monkeypatch.setattr(safetensors_file, "_MOST_HEADER", 100)
    monkeypatch.setattr(safetensors_file, "safe_open", None)
    assert "100 are allowed" in refused(path)
