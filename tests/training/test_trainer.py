"""Whole runs: what they leave behind, how they stop, and that a resumed run equals an unbroken
one."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.checkpoint import save_checkpoint
from sg2im_pyg.formats.native import read_checkpoint
from sg2im_pyg.sources.landscapes.options import LandscapesOptions
from sg2im_pyg.training import run, trainer
from sg2im_pyg.training.data import open_split
from sg2im_pyg.training.loader import fixed_batches
from sg2im_pyg.training.losses import LOSSES
from sg2im_pyg.training.processes import launch_fabric
from sg2im_pyg.training.run_folder import begin_folder, make_run_dir
from sg2im_pyg.training.trainer import train

pytestmark = pytest.mark.filterwarnings("ignore")


def assert_same(first, second, where=""):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{where}/{i}")
    else:
        assert first == second, where


def curves(run_dir):
    events = EventAccumulator(str(run_dir / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    return {tag: events.Scalars(tag) for tag in tags["scalars"]}, tags["images"]


def test_a_run_leaves_checkpoints_curves_pictures_and_its_options(config, tmp_path, capsys):
    assert train(config, tmp_path / "run")
    run = tmp_path / "run"
    assert {p.name for p in (run / "checkpoints").iterdir()} == {
        *("best.pt", "last.pt", "example_graphs.json")
    }
    assert (run / "samples.png").is_file() and (run / "training_samples.png").is_file()
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["image_size"] == [16, 16]
    scalars, images = curves(run)
    off = {"appearance", "feature_matching", "segmenting", "box_flow", "box_relation"}
    wanted = {f"generator/{name}" for name in LOSSES.keys() - off}
    assert not {f"generator/{name}" for name in off} & set(scalars)
    wanted |= {"image_discriminator/adversarial", "object_discriminator/adversarial"}
    wanted |= {"learning_rate", "speed/images_per_second", "gradient_norm/generator"}
    wanted |= {"validation/loss", "validation/box_recall_0.3", "validation/box_recall_0.5"}
    assert wanted <= set(scalars)
    assert [point.step for point in scalars["generator/pixel"]] == list(range(1, 9))
    assert "samples/samples" in images
    printed = capsys.readouterr().out
    assert printed.count(str(run)) >= 2 and "generate" in printed
    model = Sg2Im.from_pretrained(run / "checkpoints" / "best.pt")
    assert model.generate([{"objects": ["sky"]}], seed=0)[0].size == (16, 16)
    assert not list(run.rglob("*.tmp"))


class Killed(Exception):
    """Stands for a process that ends at once."""


@pytest.mark.parametrize(
    ("killed_at", "options"),
    [
        (4, {}),
        (6, {"optimizer.ema_decay": 0.5, "optimizer.gradient_clip": 0.1}),
        (7, {"accumulation": 2, "data.max_objects_per_batch": 12}),
    ],
)
def test_a_run_killed_at_any_step_and_resumed_equals_an_unbroken_one(
    config, tmp_path, monkeypatch, killed_at, options
):
    config.optimizer.schedule = "cosine"
    for name, value in options.items():
        *parts, last = name.split(".")
        setattr(getattr(config, parts[0]) if parts else config, last, value)
    assert train(config, tmp_path / "unbroken")
    original, steps = trainer.training_step, []

    def dying(*arguments):
        steps.append(None)
        if len(steps) == killed_at:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(trainer, "training_step", dying)
    with pytest.raises(Killed):
        train(config, tmp_path / "broken")
    monkeypatch.setattr(trainer, "training_step", original)
    torch.rand(7)  # the new process has another random state
    time.sleep(1.1)  # files of curves are in the order of their names, which count seconds
    last = tmp_path / "broken" / "checkpoints" / "last.pt"
    assert read_checkpoint(last)["training"]["progress"]["step"] == (killed_at - 1) // 3 * 3
    assert train(config, tmp_path / "broken", last)
    for name in ("last.pt", "best.pt"):
        runs = [
            read_checkpoint(tmp_path / run / "checkpoints" / name) for run in ("unbroken", "broken")
        ]
        assert_same(*runs)
    first, second = (curves(tmp_path / run)[0]["generator/pixel"] for run in ("unbroken", "broken"))
    assert [(p.step, p.value) for p in first] == [(p.step, p.value) for p in second]


@pytest.mark.parametrize("storage", ["memory", "device"])
def test_where_pictures_are_held_changes_nothing(config, tmp_path, storage):
    config.steps = 3
    assert train(config, tmp_path / "disk")
    config.data.storage = storage
    assert train(config, tmp_path / storage)
    ends = [
        read_checkpoint(tmp_path / run / "checkpoints" / "last.pt") for run in ("disk", storage)
    ]
    assert_same(ends[0]["generator"], ends[1]["generator"])
    assert_same(ends[0]["training"]["progress"], ends[1]["training"]["progress"])


def test_the_switch_to_eval_mode_survives_a_break(config, tmp_path, monkeypatch):
    config.optimizer.eval_mode_after = 4
    assert train(config, tmp_path / "unbroken")
    with stopping_after(monkeypatch, 6):
        assert not train(config, tmp_path / "broken")
    monkeypatch.undo()
    monkeypatch.setattr(LandscapesOptions, "prepare", lambda _: None)
    last = tmp_path / "broken" / "checkpoints" / "last.pt"
    assert train(config, tmp_path / "broken", last)
    ends = [
        read_checkpoint(tmp_path / r / "checkpoints" / "last.pt") for r in ("unbroken", "broken")
    ]
    assert_same(ends[0]["generator"], ends[1]["generator"])
    steps = [
        state["step"] for state in ends[0]["training"]["optimizers"]["generator"]["state"].values()
    ]
    assert set(map(int, steps)) == {4}  # restarted after step 4
    tracked = ends[0]["generator"]["refinement.blocks.0.1.num_batches_tracked"]
    assert tracked == 4


@contextmanager
def stopping_after(monkeypatch, step):
    """A request to stop (Ctrl-C) arrives during a step."""
    stop, original, made = threading.Event(), trainer.training_step, []

    @contextmanager
    def requests():
        yield stop

    def counting(*arguments):
        made.append(None)
        if len(made) == step:
            stop.set()
        return original(*arguments)

    monkeypatch.setattr(trainer, "stop_requests", requests)
    monkeypatch.setattr(trainer, "training_step", counting)
    yield


def test_ctrl_c_saves_and_says_how_to_go_on(config, tmp_path, monkeypatch, capsys):
    with stopping_after(monkeypatch, 5):
        assert not train(config, tmp_path / "run")
    entries = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    assert entries["training"]["progress"]["step"] == 5
    assert f'--resume "{tmp_path / "run"}"' in capsys.readouterr().out


def test_losses_that_stay_not_finite_end_the_run_with_their_name(config, tmp_path):
    config.max_skipped_steps = 3
    config.losses.pixel = float("inf")
    with pytest.raises(Sg2ImError, match="last 3 steps .* generator/total"):
        train(config, tmp_path / "run")


def test_early_stopping(config, tmp_path, monkeypatch, capsys):
    config.early_stopping, config.validate_every, config.steps = 2, 1, 50
    values = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    monkeypatch.setattr(run, "validate", lambda *_: {"loss": next(values)})
    assert train(config, tmp_path / "run")
    entries = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    assert entries["training"]["progress"]["step"] == 4
    assert "since step 2" in capsys.readouterr().out


def test_a_checkpoint_of_another_vocabulary_is_refused(config, tmp_path):
    model = Sg2Im(Vocabulary(["sky", "sheep"], ["above"]), config.model)
    path = tmp_path / "other.pt"
    save_checkpoint(path, model, {"config": {}, "progress": {}, "optimizers": {}})
    with pytest.raises(Sg2ImError, match="another vocabulary"):
        train(config, tmp_path / "run", path)


def test_a_checkpoint_of_other_networks_is_refused(config, tmp_path):
    train(config, tmp_path / "run")
    config.model.gconv_dim = 16
    with pytest.raises(Sg2ImError, match="does not fit the options"):
        train(config, tmp_path / "again", tmp_path / "run" / "checkpoints" / "last.pt")


def test_missing_data_says_what_to_run(config, tmp_path):
    config.data.root = str(tmp_path)
    with pytest.raises(Sg2ImError, match="datasets/prepare.py landscapes"):
        train(config, tmp_path / "run")


def test_without_relationships_only_image_edges_are_left(config):
    config.data.relationships = False
    graph = open_split(config, "train", augment=True)[0]
    assert (graph.edge_attr == 0).all() and len(graph.edge_attr) == len(graph.x) - 1


def test_one_picture_can_be_learnt(config, tmp_path):
    config.data.limit = 1
    config.data.validation_split = "train"
    assert train(config, tmp_path / "run")


def test_two_runs_never_share_a_folder(tmp_path):
    wanted = tmp_path / "runs" / "landscapes"
    assert make_run_dir(wanted, "numbered") == wanted
    assert make_run_dir(wanted, "numbered") == tmp_path / "runs" / "landscapes-2"
    assert make_run_dir(wanted, "new") == wanted  # it is empty
    (wanted / "config.yaml").write_text("of somebody else")
    with pytest.raises(Sg2ImError, match="is not empty"):
        make_run_dir(wanted, "new")
    (tmp_path / "file").write_text("")
    for kind in ("new", "existing"):
        with pytest.raises(Sg2ImError, match="is a file"):
            make_run_dir(tmp_path / "file", kind)


def test_files_of_a_killed_process_are_removed(config, tmp_path):
    unfinished = tmp_path / "checkpoints" / ".best.pt.123.tmp"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"half")
    with begin_folder(config, tmp_path, "existing"):
        assert not unfinished.exists()


def test_a_diverging_run_ends_with_the_names_of_the_losses(config, tmp_path):
    config.optimizer.lr, config.steps, config.validate_every = 1e30, 30, 100
    with pytest.raises(Sg2ImError, match="were skipped because"):
        train(config, tmp_path / "run")


def test_fewer_steps_than_were_made(config, tmp_path):
    train(config, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    before = (tmp_path / "run" / "config.yaml").read_text(), last.read_bytes()
    config.steps = 5
    with pytest.raises(Sg2ImError, match="has made 8 steps already, and --steps asks for 5"):
        train(config, tmp_path / "run", last)
    assert before == ((tmp_path / "run" / "config.yaml").read_text(), last.read_bytes())
    config.steps = 8
    assert train(config, tmp_path / "run", last)  # it is finished already


@pytest.mark.parametrize(
    "change",
    [
        lambda training: training["progress"].update(step="x"),
        lambda training: training["progress"].update(step=-5),
        lambda training: training.update(random_state=None),
        lambda training: training.update(random_state=torch.zeros(3)),
        lambda training: training.pop("cuda_random_state"),
        lambda training: training.pop("optimizers"),
    ],
)
def test_damaged_checkpoints_get_a_sentence(config, tmp_path, change):
    config.steps = 2
    train(config, tmp_path / "run")
    entries = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    change(entries["training"])
    torch.save(entries, tmp_path / "damaged.pt")
    with pytest.raises(Sg2ImError, match=r"damaged\.pt does not fit"):
        train(config, tmp_path / "run", tmp_path / "damaged.pt")


def test_changed_options_of_the_networks_are_named(config, tmp_path):
    config.steps = 2
    train(config, tmp_path / "run")
    config.model.gconv_hidden_dim = 9
    with pytest.raises(Sg2ImError, match=r"model\.gconv_hidden_dim: 8 there, 9 here"):
        train(config, tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.pt")


def test_landscapes_of_other_numbers_are_trained_on(config, tmp_path, monkeypatch):
    """Nothing is drawn, and nothing asked, where all splits are there."""
    monkeypatch.setattr(LandscapesOptions, "prepare", None)
    config.steps = 1
    assert train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "value"), [("devices", "two"), ("accelerator", "tpu"), ("precision", "16-mixed")]
)
def test_hardware_that_is_not_there(config, option, value):
    setattr(config.hardware, option, value)
    with pytest.raises(Sg2ImError, match=f"hardware.{option}"):
        launch_fabric(config)


def test_the_average_is_what_a_checkpoint_generates_with(config, tmp_path):
    config.optimizer.ema_decay = 0.9
    assert train(config, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    entries = read_checkpoint(last)
    name = "refinement.blocks.0.0.weight"
    raw, average = entries["training"]["generator"][name], entries["generator"][name]
    assert not torch.allclose(raw, average)
    assert torch.equal(Sg2Im.from_pretrained(last).state_dict()[name], average)
    # Without the average the training goes on with the weights themselves; a run that had none
    # starts one from where it is.
    config.optimizer.ema_decay, config.steps = None, 9
    config.validate_every = config.sample_every = 100
    assert train(config, tmp_path / "plain", last)
    plain = tmp_path / "plain" / "checkpoints" / "last.pt"
    entries = read_checkpoint(plain)
    assert "generator" not in entries["training"]
    assert (entries["generator"][name] - raw).abs().max() < 5e-3  # one step of Adam
    config.optimizer.ema_decay, config.steps = 0.5, 10
    assert train(config, tmp_path / "again", plain)
    again = read_checkpoint(tmp_path / "again" / "checkpoints" / "last.pt")
    middle = (entries["generator"][name] + again["training"]["generator"][name]) / 2
    torch.testing.assert_close(again["generator"][name], middle)


def test_a_checkpoint_of_an_optimizer_in_another_memory_order_is_gone_on_with(config, tmp_path):
    """As those of earlier versions, which had neither a fused Adam nor channels-last weights."""
    config.steps = 3
    assert train(config, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    entries = read_checkpoint(last)
    for optimizer in entries["training"]["optimizers"].values():
        for group in optimizer["param_groups"]:
            group["fused"] = group["foreach"] = None
        for moments in optimizer["state"].values():
            for key, value in moments.items():
                moments[key] = value.contiguous()
    older = tmp_path / "older.pt"
    save_checkpoint(older, Sg2Im.from_pretrained(last), entries["training"])
    config.steps = 6
    for name, checkpoint in (("new", last), ("old", older)):
        assert train(config, tmp_path / name, checkpoint)
    ends = [read_checkpoint(tmp_path / n / "checkpoints" / "last.pt") for n in ("new", "old")]
    assert_same(ends[0]["generator"], ends[1]["generator"])
    assert all(
        group["fused"]
        for optimizer in ends[1]["training"]["optimizers"].values()
        for group in optimizer["param_groups"]
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"accumulation": 5}, "accumulation 5 leaves parts without a picture: a process has 4"),
        ({"batch_size": 40, "accumulation": 40}, "There are 20 training pictures for 1 process"),
        ({"max_objects_per_batch": 7}, "max_objects_per_batch must be at least 8, the nodes of 4"),
    ],
)
def test_parts_that_can_not_be_had_get_a_sentence(config, tmp_path, options, sentence):
    for name, value in options.items():
        setattr(config.data if hasattr(config.data, name) else config, name, value)
    with pytest.raises(Sg2ImError, match=sentence):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- Everything on --------------------------------------------------------------------------------


def end(folder):
    return read_checkpoint(folder / "checkpoints" / "last.pt")


def overlap(first, second):
    """Intersection over union of two boxes."""
    width, height = (min(first[i + 2], second[i + 2]) - max(first[i], second[i]) for i in (0, 1))
    common = max(width, 0) * max(height, 0)
    areas = [max(x1 - x0, 0) * max(y1 - y0, 0) for x0, y0, x1, y1 in (first, second)]
    return common / (sum(areas) - common)


def test_a_run_with_everything_on_stops_goes_on_and_paints(everything, tmp_path, monkeypatch):
    config = everything
    config.steps, config.checkpoint_every, config.sample_every = 4, 2, 2
    assert train(config, tmp_path / "unbroken")
    with monkeypatch.context() as patched, stopping_after(patched, 2):
        assert not train(config, tmp_path / "broken")
    last = tmp_path / "broken" / "checkpoints" / "last.pt"
    assert read_checkpoint(last)["training"]["progress"]["step"] == 2
    torch.rand(7)
    assert train(config, tmp_path / "broken", last)
    assert_same(end(tmp_path / "unbroken"), end(tmp_path / "broken"))
    config.seed = 1
    assert train(config, tmp_path / "other seed")
    config.seed = 0
    entries = end(tmp_path / "unbroken")["generator"], end(tmp_path / "other seed")["generator"]
    name = "refinement.first.weight"
    assert not torch.allclose(*(entry[name] for entry in entries))
    scalars = set(curves(tmp_path / "unbroken")[0])
    assert {f"generator/{name}" for name in LOSSES} <= scalars
    for player in ("image", "object", "segmenting"):
        assert {f"{player}_discriminator/{p}" for p in ("r1", "r2")} <= scalars

    model = Sg2Im.from_pretrained(tmp_path / "unbroken" / "checkpoints" / "last.pt")
    assert model.config == config.model
    # The bank holds all training pictures, and of each category what they show.
    dataset = open_split(config, "train", augment=True)
    graphs = fixed_batches(dataset, range(20), 20, seed=0)[0]
    bank = model.appearance_bank
    assert bank.counts[0] == len(dataset) == 20
    shown = graphs.x.bincount(minlength=len(bank.counts))
    assert torch.equal(bank.counts, shown.clamp(max=bank.objects))
    # Its pictures are the weights' own.
    images = graphs.image / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    images = images / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        means = model.encode_appearance(images, graphs).mean[graphs.x == 0]
    torch.testing.assert_close(bank.picture_vectors[:20], means, rtol=1e-4, atol=1e-5)
    assert not bank.picture_vectors[20:].any()
    # Boxes are drawn of what the regression seldom meets.
    with torch.no_grad():
        boxes = model.box_head(model.object_vectors(graphs)).tolist()
    for category in range(len(model.vocabulary.objects)):
        own = (graphs.x == category).nonzero().view(-1).tolist()
        met = sum(overlap(boxes[o], graphs.boxes[o].tolist()) >= 0.5 for o in own)
        assert bool(model.box_flow.settled[category]) == (bool(own) and met >= 0.2 * len(own))

    graph = {"objects": ["sky", "grass", "sheep"], "relationships": [[0, "above", 1]]}
    first, again, other = (np.asarray(model.generate([graph], seed=s)[0]) for s in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    (large,) = model.generate([graph], seed=0, size=(32, 32))
    assert large.size == (32, 32)


def test_small_shares_of_predicted_masks_come_in_their_turn(everything, tmp_path, monkeypatch):
    everything.steps, everything.predicted_masks, everything.accumulation = 5, 0.1, 2
    everything.validate_every = everything.sample_every = 100
    original, seen = trainer.training_step, []

    def watching(*arguments):
        seen.append(torch.cat([draws.unmasked for draws in arguments[4]]).tolist())
        return original(*arguments)

    monkeypatch.setattr(trainer, "training_step", watching)
    assert train(everything, tmp_path / "run")
    assert [place for place, chosen in enumerate(sum(seen, [])) if chosen] == [9, 19]
