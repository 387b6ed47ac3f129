"""Broken and hostile inputs of all readers, drawn from a seed, and what must hold for each: one
sentence or a result, within seconds and without much memory.

    python -m tests.hostile 400 [SEED]        so many inputs a reader, with figures of what came out
"""

import contextlib
import json
import random
import resource
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from sg2im_pyg import Sg2Im, Sg2ImError, Vocabulary
from sg2im_pyg.data import SceneGraph
from sg2im_pyg.data.graph_files import read_graphs
from sg2im_pyg.data.store import verify_store
from sg2im_pyg.formats.native import open_checkpoint
from sg2im_pyg.sources.json_stream import read_entries
from sg2im_pyg.system.archives import unpack
from sg2im_pyg.system.command_line import CommandLine
from sg2im_pyg.training.command_line import RunOptions, parse_command
from sg2im_pyg.training.config import TrainingConfig
from sg2im_pyg.training.run_folder import find_run

GOLDEN = Path(__file__).with_name("golden")
RUN = GOLDEN / "old" / "run" / "checkpoints" / "last.pt"
STORE = GOLDEN / "old" / "landscapes" / "16x16" / "test.h5"
RELEASED = GOLDEN / "full.official.pt"

VALUES = (
    *(None, True, -1, 0, 3, 2**31, -(2**63), 2**70, 10**400, 1e300, float("inf"), float("nan")),
    *("", "x", "null", "\x1b[31m", "\x00", "\u202e", "\ud800", "x" * 50_000, "[" * 5000),
    *("{a: " * 999, "&a [*a]", "!!python/name:os.system", "../../etc/passwd", "1e999", "0x7f"),
    *(
        [],
        {},
        [[]],
        [None],
        [1, 2],
        {"class_path": "os.system"},
        {"": {}},
        ["x"] * 3000,
        [-1e9] * 2,
    ),
)
VOCABULARY = Vocabulary(["sky", "grass", "sheep"], ["above", "inside"])


def flipped(content: bytes, dice: random.Random) -> bytes:
    """A file's bytes with a few bits, a piece, or the end changed."""
    changed, kind = bytearray(content), dice.randrange(5)
    if kind == 0:
        return content[: dice.randrange(len(content))]
    if kind == 1:
        start = dice.randrange(len(content))
        return content[:start] + dice.randbytes(dice.randrange(1, 64)) + content[start:]
    if kind == 2:
        start = dice.randrange(len(content))
        del changed[start : start + dice.randrange(1, 64)]
        return bytes(changed)
    for _ in range(dice.choice((1, 1, 4, 64))):
        # Headers and directories stand at the ends.
        anywhere, ahead = dice.randrange(len(changed)), dice.randrange(min(4096, len(changed)))
        place = dice.choice((anywhere, ahead))
        changed[place - dice.choice((0, len(changed) // 2))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def changed(value: object, dice: random.Random) -> object:
    """Plain containers with one entry replaced, removed or put elsewhere."""
    value = json.loads(json.dumps(value))
    holder, path = value, []
    while isinstance(holder, (dict, list)) and holder and (not path or dice.random() < 0.6):
        key = dice.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        path.append((holder, key))
        holder = holder[key]
    holder, key = path[-1]
    holder[key] = dice.choice(VALUES)
    return value


def graphs(folder: Path, dice: random.Random) -> None:
    graph = {
        "objects": ["sky", "grass", "sheep"],
        "relationships": [[0, "above", 1], [2, "inside", 1]],
        "seeds": [None, 1, 7],
    }
    path = folder / "graphs.json"
    text = json.dumps(changed([graph, graph], dice)).encode("utf-8", "surrogatepass")
    path.write_bytes(flipped(text, dice) if dice.random() < 0.5 else text)
    entries, _ = read_graphs(path)
    for entry in entries:
        SceneGraph.from_json(entry, VOCABULARY)


def annotations(folder: Path, dice: random.Random) -> None:
    entry = {"id": 3, "bbox": [1, 2, 3.5, 4], "segmentation": [[1, 2, 3, 4, 5, 6]]}
    path = folder / "annotations.json"
    text = json.dumps(changed({"annotations": [entry] * 3}, dice)).encode("utf-8", "surrogatepass")
    if dice.random() < 0.1:
        text = dice.choice((b"[ ", b'{"a": [', b"[[],[")) * dice.choice((500, 50_000))
    path.write_bytes(flipped(text, dice) if dice.random() < 0.5 else text)
    list(read_entries(path, "annotations"))


def configurations(folder: Path, dice: random.Random) -> None:
    options = {"steps": 5, "model": {"mask_size": 16, "image_size": [64, 64]}, "losses": {"box": 1}}
    path = folder / "options.yaml"
    made = changed(options, dice)
    text = yaml.safe_dump(made).encode("utf-8", "backslashreplace")
    path.write_bytes(flipped(text, dice) if dice.random() < 0.5 else text)
    parse_command(["--config", str(path), "--run_dir", str(folder)], folder, "")


LINE: list[CommandLine] = []


def option_values(folder: Path, dice: random.Random) -> None:
    if not LINE:
        LINE.append(CommandLine(RunOptions, TrainingConfig, program="program"))
    name, value = dice.choice(list(LINE[0].hints)), dice.choice(VALUES)
    if dice.random() < 0.5:
        LINE[0].fill(LINE[0].read([f"--{name}={value}"]))
    else:
        LINE[0].fill({}, [("options.yaml", {name: value})])


def checkpoints(folder: Path, dice: random.Random) -> None:
    path = folder / "file.pt"
    path.write_bytes(flipped(dice.choice((RUN, RELEASED)).read_bytes(), dice))
    file = open_checkpoint(path)
    Sg2Im.from_file(file)
    for name in ("object_discriminator", "image_discriminator"):
        file.discriminator(name)


def resumed_runs(folder: Path, dice: random.Random) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    path = folder / "checkpoints" / "last.pt"
    path.write_bytes(flipped(RUN.read_bytes(), dice))
    find_run(str(path), folder)


def stores(folder: Path, dice: random.Random) -> None:
    path = folder / "store.h5"
    path.write_bytes(flipped(STORE.read_bytes(), dice))
    verify_store(path)


def archives(folder: Path, dice: random.Random) -> None:
    path = folder / "archive.zip"
    with zipfile.ZipFile(path, "w", dice.choice((0, zipfile.ZIP_DEFLATED))) as archive:
        for name in (
            "a/one.txt",
            "a/two.txt",
            dice.choice(("../three", "/four", "a/x\x1b", "five")),
        ):
            archive.writestr(name, dice.randbytes(50) * 20)
    path.write_bytes(flipped(path.read_bytes(), dice))
    unpack(path, folder / "out", ["a/"], progress=False)


READERS: tuple[Callable[[Path, random.Random], None], ...] = (
    graphs,
    annotations,
    configurations,
    option_values,
    checkpoints,
    resumed_runs,
    stores,
    archives,
)


@dataclass
class Outcome:
    """What came of one input."""

    kind: str
    """``read``, ``sentence``, ``exit``, or the name of an exception that none may be."""
    text: str
    seconds: float


def outcomes(reader: Callable, count: int, seed: int) -> Iterator[Outcome]:
    """Gives a reader so many inputs; the same ones for the same seed."""
    for number in range(count):
        dice = random.Random(f"{reader.__name__} {seed} {number}")
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
            start, kind, text = time.process_time(), "read", ""
            try:
                reader(Path(folder), dice)
            except Sg2ImError as error:
                kind, text = "sentence", str(error)
            except SystemExit:
                kind = "exit"
            except Exception as error:
                kind, text = f"{type(error).__name__} ({number})", str(error)[:200]
            yield Outcome(kind, text, time.process_time() - start)


def main(count: int, seed: int) -> None:
    for reader in READERS:
        found = list(outcomes(reader, count, seed))
        kinds = Counter(outcome.kind for outcome in found)
        longest = max(len(outcome.text) for outcome in found)
        slowest = max(outcome.seconds for outcome in found)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{reader.__name__}: {dict(kinds)}, longest sentence {longest}, slowest "
            f"{slowest:.2f} s of processor, memory {memory:.0f} MB",
            flush=True,
        )
        for outcome in found:
            if outcome.kind not in ("read", "sentence", "exit"):
                print("   ", outcome.kind, repr(outcome.text)[:160], flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
