"""The README, CONTRIBUTING and docs/: each command in them is run, in a copy of the repository, and
each example in Python.

Commands stand in blocks without a language; what a machine alone can not do (several machines,
SLURM) stands in blocks of `bash`. `make test` is what runs this, .ci/run runs `make train` and
`make lint`; commands that install (pip on Windows, conda) are compared with the files they read.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sg2im_pyg import Sg2Im, Vocabulary
from sg2im_pyg.checkpoint import save_released
from sg2im_pyg.sources.landscapes.source import prepare_landscapes
from sg2im_pyg.training.command_line import CONFIGURATIONS
from tests.sources.coco.test_source import small_coco
from tests.sources.own import writers
from tests.sources.visual_genome.test_source import released_visual_genome

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
}
BLOCKS = [
    (page, kind, code)
    for page, text in PAGES.items()
    for kind, code in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
]
COMMANDS = dict.fromkeys(
    line for _, kind, code in BLOCKS if not kind for line in code.splitlines() if line
)
EXAMPLES = [(page, code) for page, kind, code in BLOCKS if kind == "python"]
SHORT = """
    --steps 2 --batch_size 2 --data.workers 0 --data.validation_limit 2 --model.gconv_hidden_dim 8
    --model.refinement_dims [8,4] --hardware.accelerator cpu
""".split()
SMALL = """
model: {gconv_hidden_dim: 8, gconv_num_layers: 1, refinement_dims: [8, 4]}
image_discriminator: {layers: [[4, 4, 2], [4, 8, 2]]}
object_discriminator: {layers: [[4, 4, 2], [4, 8, 2]], object_size: 12}
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the repository."""
    copy = tmp_path_factory.mktemp("copy") / "sg2im_pyg"
    copy.mkdir()
    for folder in ("sg2im_pyg", "train", "eval"):
        shutil.copytree(REPOSITORY / folder, copy / folder)
    (copy / "datasets").mkdir()
    shutil.copy(REPOSITORY / "datasets" / "prepare.py", copy / "datasets")
    (copy / "small.yaml").write_text(SMALL, encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def copy(repository):
    """A copy of the repository in which `make train` has been run, on little data."""
    copy = repository
    small_coco(copy / "COCO_FOLDER")
    released_visual_genome(copy / "VG_FOLDER")
    writers.cvat(copy / "MY_PICTURES")
    for i, graph in enumerate(json_blocks()):
        (copy / ("graphs.json" if not i else f"graphs{i}.json")).write_text(json.dumps(graph))
    columns = "participant,number,question,choice,milliseconds,completed\n"
    (copy / "answers.csv").write_text(columns, encoding="utf-8")
    # The landscapes are there, with fewer pictures: nothing is drawn.
    prepare_landscapes(copy / "datasets" / "landscapes", (64, 64), 16, 4, 4, 4, 0, 1, False)
    run(copy, ["train/run.py", *SHORT])
    return copy


def json_blocks():
    return [json.loads(code) for _, kind, code in BLOCKS if kind == "json"]


@pytest.fixture
def released_models(copy):
    """Address of a server with files in the release's format, of models never trained."""
    folder = copy.parent / "released"
    folder.mkdir()
    graphs = json.loads(
        (copy / "sg2im_pyg" / "commands" / "graphs" / "coco.json").read_text(encoding="utf-8")
    )
    objects = {name for graph in graphs for name in graph["objects"]}
    predicates = {predicate for graph in graphs for _, predicate, _ in graph["relationships"]}
    model = Sg2Im(Vocabulary(sorted(objects), sorted(predicates)), refinement_dims=(8, 4))
    for name in ("coco64", "vg64"):
        save_released(folder / f"{name}.pt", model)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def adapted(words, copy, address):
    """The words of a command for little data and time, and without the network or a GPU."""
    if words[0] == "train/run.py":
        return words + (SHORT if "--resume" not in words else ["--steps", "3"])
    if words[0] == "eval/ablation.py":
        return [*words, *SHORT, "--rows", "full", "true_layout"]
    if words[0] == "eval/fetch.py":
        return [*words, "--mirror", address]
    if words[0] == "eval/benchmark.py":
        chosen = [] if "--parts" in words else ["--parts", "[layout]"]
        words = [word if word != "cuda" else "cpu" for word in words]
        small = ["--sizes", "[16]", "--batches", "[1]", "--repeats", "1", "--output", "measured"]
        return [*words, *chosen, *small, "--config", "small.yaml"]
    if words[0] == "eval/benchmark_preparation.py":
        return [*words, "--count", "64", "--repeats", "1", "--workers", "1"]
    return [word.replace("runs/RUN", newest_run(copy).as_posix()) for word in words]


def newest_run(copy):
    [newest] = list((copy / "runs").glob("landscapes-no_gconv-*"))
    return newest


def run(folder, arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**ENVIRONMENT, "SG2IM_CACHE": str(folder / "cache"), "NO_PROXY": "*", "no_proxy": "*"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def test_every_command_is_known():
    """A command of a new kind needs a test."""
    known = (
        r"make (train|test|lint)$|python (train|eval|datasets)/|tensorboard --logdir runs$|conda "
        r"|py -m|torchrun --standalone|python -m pip (wheel|install)"
    )
    for command in COMMANDS:
        assert re.match(known + r"|\.venv\\Scripts\\python ", command), command


@pytest.mark.slow
def test_the_commands_run(copy, released_models):
    # Others need the trainings on landscapes; COCO and Visual Genome come last, as pictures from
    # one's own graphs are made by the newest run.
    def turn(command):
        if re.search("--config (coco|vg)|prepare.py (coco|visual|own)|MY_DATA", command):
            return 2
        return int(not command.startswith("python train/"))

    for command in sorted(COMMANDS, key=turn):
        program, *words = shlex.split(command, comments=True)
        if program == "python" and not words[0].startswith(("-m", "eval/benchmark")):
            run(copy, adapted(words, copy, released_models))
        if program == "torchrun":
            words = [word.replace("--nproc-per-node=8", "--nproc-per-node=2") for word in words]
            run(copy, ["-m", "torch.distributed.run", *words, *SHORT])
    runs = {path.name.rsplit("-", 2)[0] for path in (copy / "runs").iterdir()}
    assert {"landscapes", "landscapes-no_gconv", "coco64", "vg64"} <= runs
    assert (copy / "pictures" / "000_image.png").is_file()
    assert (copy / "runs" / "generated" / "coco" / "figure.png").is_file()
    assert (copy / "runs" / "ablation-landscapes" / "tables.md").is_file()
    assert (newest_run(copy) / "evaluation" / "test" / "report.html").is_file()
    assert (copy / "runs" / "study" / "scores" / "scores.md").is_file()
    for folder in ("COCO_FOLDER", "VG_FOLDER"):
        for name in ("train.h5", "summary.txt", "preview.png"):
            assert (copy / folder / "64x64" / name).is_file()

    for page, code in EXAMPLES:
        code = re.sub(r"runs/landscapes-\d+-\d+", newest_run(copy).as_posix(), code)
        printed = run(copy, ["-c", code])
        if "SceneLoader" in code:
            assert printed.startswith("SceneGraphBatch("), page
        if "accuracy" in code:
            assert float(printed.split()[-1]) > 0.9, page
    assert (copy / "boat.png").is_file()
    assert (copy / "runs" / "from_python" / "checkpoints" / "last.pt").is_file()


@pytest.mark.slow
def test_the_commands_that_measure_run(repository):
    measuring = [command for command in COMMANDS if command.startswith("python eval/benchmark")]
    for command in measuring:
        _, *words = shlex.split(command, comments=True)
        run(repository, adapted(words, repository, None))
    assert len(measuring) > 5 and (repository / "measured" / "benchmark.json").is_file()


@pytest.mark.slow
def test_tensorboard_shows_the_run(copy):
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", "runs", "--port", "0"],
        cwd=copy,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = None
        while address is None:
            line = server.stderr.readline()
            assert line, "TensorBoard ended before it served"
            address = re.search(r"http://localhost:\d+", line)
        with urllib.request.urlopen(f"{address[0]}/data/plugin/scalars/tags", timeout=60) as page:
            curves = {name for names in json.load(page).values() for name in names}
        assert {"generator/pixel", "validation/box_recall_0.5", "learning_rate"} <= curves
    finally:
        server.kill()
        server.communicate()


def test_what_installs_names_files_that_exist():
    installing = [c for c in COMMANDS if "pip install" in c or c.startswith("conda env")]
    assert len(installing) >= 5
    for command in installing:
        for option, name in re.findall(r"(-c|-f) (\S+)", command):
            assert (REPOSITORY / name).is_file(), (option, name)
    tested = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    [torch] = re.findall(r"torch-([\d.]+)\+cpu\.html", PAGES["docs/installation.md"])
    assert f"torch=={torch}\n" in tested  # the wheels named there are for the torch that is tested


@pytest.mark.parametrize("page", PAGES)
def test_names_of_files_and_configurations_exist(page):
    text, here = PAGES[page], (REPOSITORY / page).parent
    for name in re.findall(r"`(\w+\.yaml)`", text):
        assert name in ("config.yaml", "data.yaml") or (CONFIGURATIONS / name).is_file(), name
    folders = "sg2im_pyg|tests|train|eval|datasets|docs"
    for name in re.findall(rf"(?<![\w/])(?:{folders})/[\w/]+\.py", text):
        assert "/NAME/" in name or (REPOSITORY / name).is_file(), name
    for name in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text):
        assert (here / name).exists(), name


def test_the_readme_takes_a_quarter_of_an_hour():
    assert len(PAGES["README.md"].splitlines()) <= 160
