"""What is installed, which versions are asked for, and what the two make commands do."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sg2im_pyg.sources.landscapes.source import prepare_landscapes

ROOT = Path(__file__).resolve().parents[1]

# Names on conda-forge that differ from those of pip.
CONDA_NAMES = {
    "matplotlib-base": "matplotlib",
    "pytorch": "torch",
    "pytorch-geometric": "torch-geometric",
    "pytorch-scatter": "torch-scatter",
}


def read_setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def parse_requirements(text: str) -> dict[str, Requirement]:
    """Requirements by name, one a line, without comments."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def read_declared() -> dict[str, Requirement]:
    """All of setup.cfg: dependencies and extras."""
    setup = read_setup()
    extras = setup["options.extras_require"]
    texts = [setup["options"]["install_requires"], *extras.values()]
    return parse_requirements("\n".join(texts))


def list_tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(
        [git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the source tree by the setuptools that is installed."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    for folder in ("sg2im_pyg", "datasets", "train", "eval", "tests"):
        # The folders that must stay out are represented by an importable module.
        (source / folder).mkdir()
        (source / folder / "__init__.py").touch()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sg2im_pyg", source / "sg2im_pyg", ignore=ignore, dirs_exist_ok=True)
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (path,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_the_whole_library_and_nothing_else(wheel):
    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    library = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "sg2im_pyg").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert installed == library
    assert {"sg2im_pyg/py.typed", "sg2im_pyg/weights/landscapes.safetensors"} <= installed


def test_wheel_carries_the_license(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/LICENSE"))
    assert wheel.read(name).decode().startswith("MIT License")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The programs of an environment in which the wheel was installed, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install"]

    options = ["--quiet", "--no-deps", "--no-index", "--no-warn-script-location"]
    subprocess.run([*pip, *options, wheel.filename], check=True, timeout=300)
    # The libraries it needs are those of this environment; an editable sg2im_pyg is not found so.
    [packages] = folder.glob("**/site-packages")
    lines = "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (packages / "libraries.pth").write_text(lines, encoding="utf-8")
    return programs


@pytest.mark.slow
def test_the_installed_wheel_trains_and_generates(installed, tmp_path):
    prepare_landscapes(
        tmp_path / "datasets/landscapes", (16, 16), 4, 6, 4, 4, workers=1, progress=False
    )
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [str(installed / words[0]), *words[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    place = run("python", "-c", "import sg2im_pyg; print(sg2im_pyg.__file__)").strip()
    assert Path(place).is_relative_to(installed.parent)
    said = run("sg2im", "generate", "--device=cpu", "--output=first")  # before any training
    assert "landscapes.safetensors (comes with the library)" in said
    assert (tmp_path / "first" / "000_image.png").is_file()
    tiny = ["--model.image_size=[16,16]", "--model.refinement_dims=[8,4]", "--model.mask_size=4"]
    tiny += [f"--{name}_discriminator.layers=[[4,4,2],[4,8,2]]" for name in ("image", "object")]
    tiny += ["--batch_size=2", "--data.workers=0", "--hardware.accelerator=cpu"]
    assert "Done: 2 steps" in run("sg2im", "train", "--steps", "2", *tiny)
    assert "comes with" not in run("sg2im", "generate", "--device=cpu")
    [trained] = (tmp_path / "runs").glob("landscapes-*/checkpoints/last.pt")
    pictures = tmp_path / "runs" / "generated" / "landscapes"
    assert trained.is_file() and (pictures / "000_image.png").is_file()
    assert "train " in run("python", "-m", "sg2im_pyg", "--help")


def test_names_and_modules_are_there_when_they_are_used():
    code = (
        "import sys, sg2im_pyg, sg2im_pyg.sources.landscapes.source; "
        "assert 'torch' not in sys.modules; "
        "sg2im_pyg.nn.TripleConv, sg2im_pyg.data.SceneDataset, sg2im_pyg.metrics.box_recall; "
        "from sg2im_pyg import *; Sg2Im, SceneGraph, Vocabulary; "
        "assert not hasattr(sg2im_pyg, 'nothing') and 'Sg2Im' in dir(sg2im_pyg)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)


def test_conda_environment_has_the_packages_of_setup_cfg():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    (from_pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert "-e ." in from_pip
    lines += [line for line in from_pip if line != "-e ."]
    found = {}
    for name, requirement in parse_requirements("\n".join(lines)).items():
        found[CONDA_NAMES.get(name, name)] = requirement

    assert str(found.pop("python").specifier) == read_setup()["options"]["python_requires"]
    assert found.keys() - {"pip", "setuptools"} == read_declared().keys()
    for name, requirement in read_declared().items():
        assert found[name].specifier == requirement.specifier, name
        assert found[name].extras == requirement.extras, name


def test_constraints_fit_the_bounds_of_setup_cfg():
    declared = read_declared()
    constraints = parse_requirements((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert constraints.keys() == declared.keys()
    for name, constraint in constraints.items():
        (specifier,) = constraint.specifier
        assert specifier.operator == "==", name
        assert declared[name].specifier.contains(specifier.version), name


def test_constraints_leave_python_3_10_a_choice():
    constraints = parse_requirements((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    old_python = {**default_environment(), "python_version": "3.10"}
    free = {
        name
        for name, constraint in constraints.items()
        if constraint.marker is not None and not constraint.marker.evaluate(old_python)
    }
    # NumPy ended its support for Python 3.10 with 2.3: a pin on a newer one could not be met.
    assert "numpy" in free


def test_no_tracked_file_names_a_place_on_the_machine_it_was_written_on():
    place = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|farm)/")
    registry = "pypi" + ".org"
    found = []
    for path in list_tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # A picture.
        if place.search(text) or registry in text:
            found.append(path.relative_to(ROOT).as_posix())
    assert not found


# A Python that installs nothing: `-m venv` puts a copy of it into the environment, everything else
# is written to a log. It fails at the words in FAIL_AT, calls itself 3.9 where OLD is set, and
# plays the machines where torch-scatter is prebuilt (PREBUILT) or cannot be built (NO_BUILD,
# NO_NVCC).
FAKE_PYTHON = """\
#!/bin/sh
case "$*" in
  "--version") echo "Python 3.9.18"; exit 0 ;;
  *version_info*) test -z "$OLD" -a \\( "$(basename "$0")" != python -o -e .venv/pip \\); exit ;;
esac
echo "$*" >> log
if [ -n "$FAIL_AT" ]; then case "$*" in *"$FAIL_AT"*) echo "no network" >&2; exit 1 ;; esac; fi
case "$*" in
  "-m venv --clear .venv")
    mkdir -p .venv/bin; cp "$0" .venv/bin/python; touch .venv/pip ;;
  *cpp_extension*) test -n "$NO_NVCC" ;;
  *torch_scatter*) test -e .venv/torch_scatter ;;
  *--only-binary*) test -n "$PREBUILT" && touch .venv/torch_scatter ;;
  *--no-deps*) test -z "$NO_BUILD" && touch .venv/torch_scatter ;;
esac
"""


class FakeCheckout:
    """A folder with the Makefile, and a Python that only writes down how it is called."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        (folder / "fake-python").write_text(FAKE_PYTHON, encoding="utf-8")
        (folder / "fake-python").chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "MFLAGS"))
        }
        return subprocess.run(
            ["make", "PYTHON=./fake-python", *arguments],
            cwd=self.folder,
            env={**kept, "CXX": "true", **environment},
            capture_output=True,
            text=True,
        )

    def read_calls(self) -> list[str]:
        """How Python was called since the last time this was asked."""
        log = self.folder / "log"
        calls = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return calls


@pytest.fixture
def checkout(tmp_path) -> FakeCheckout:
    if shutil.which("make") is None:
        pytest.skip("no make")
    return FakeCheckout(tmp_path)


def test_make_without_a_goal_lists_the_goals(checkout):
    listed = checkout.make().stdout
    for goal in ("make train", "make test", "make lint"):
        assert goal in listed
    assert not checkout.read_calls()


def test_make_train_installs_torch_before_the_rest_and_then_trains(checkout):
    result = checkout.make("train", "ARGS=--steps 3")
    assert result.returncode == 0, result.stderr
    calls = checkout.read_calls()
    installs = [call for call in calls if " install " in call]
    assert installs[0].endswith("pip setuptools wheel")
    assert installs[1].endswith("constraints.txt torch")
    assert installs[2].endswith("-e .")
    assert calls[-1] == "train/run.py --steps 3"


def test_make_does_nothing_twice(checkout):
    checkout.make("test")
    checkout.read_calls()
    checkout.make("train")
    assert checkout.read_calls() == ["train/run.py"]
    checkout.make("test")
    assert all(call.startswith("-m pytest") for call in checkout.read_calls())


def test_make_installs_again_when_the_dependencies_change(checkout):
    checkout.make("train")
    checkout.read_calls()
    future = (checkout.folder / ".venv/.installed").stat().st_mtime + 10
    os.utime(checkout.folder / "setup.cfg", (future, future))
    checkout.make("train")
    installs = [call for call in checkout.read_calls() if " install " in call]
    assert [install.split()[-2:] for install in installs] == [["-e", "."]]


def test_make_goes_on_where_it_was_stopped(checkout):
    stopped = checkout.make("train", FAIL_AT="constraints.txt torch")
    assert stopped.returncode != 0
    assert not any("train/run.py" in call for call in checkout.read_calls())
    assert checkout.make("train").returncode == 0
    calls = checkout.read_calls()
    assert calls[0].endswith("constraints.txt torch")
    assert calls[-1] == "train/run.py"


def test_make_replaces_a_half_made_environment(checkout):
    (checkout.folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(checkout.folder / "fake-python", checkout.folder / ".venv/bin/python")  # No pip.
    assert checkout.make("train").returncode == 0
    assert checkout.read_calls()[0] == "-m venv --clear .venv"


def test_make_asks_for_a_newer_python(checkout):
    result = checkout.make("train", OLD="yes")
    assert result.returncode != 0
    assert "needs Python 3.10 or newer" in result.stderr
    assert "Python 3.9.18" in result.stderr
    assert not checkout.read_calls()


def test_torch_index_is_used_for_torch_alone(checkout):
    checkout.make("train", "TORCH_INDEX=https://example.org/cpu")
    with_index = [call for call in checkout.read_calls() if "example.org" in call]
    assert len(with_index) == 1
    assert with_index[0].endswith(" torch")


def test_prebuilt_torch_scatter_is_preferred(checkout):
    result = checkout.make("train", PREBUILT="yes")
    assert result.returncode == 0
    assert "compiled" not in result.stdout
    assert not any(
        "--no-deps --force-reinstall torch-scatter --no-build" in call
        for call in checkout.read_calls()
    )


def test_source_build_of_torch_scatter_is_announced_before_it_starts(checkout):
    result = checkout.make("train")
    assert "8 to 10 minutes" in result.stdout
    assert result.stdout.index("compiled from C++") < result.stdout.index("== Training")


@pytest.mark.parametrize("trouble", [{"NO_BUILD": "yes"}, {"CXX": "false"}, {"NO_NVCC": "yes"}])
def test_training_goes_on_without_torch_scatter(checkout, trouble):
    result = checkout.make("train", **trouble)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("torch-scatter is not installed") == 1
    assert checkout.read_calls()[-1] == "train/run.py"
    # The build that failed is not tried at every start, only when asked for.
    checkout.make("train", **trouble)
    assert checkout.read_calls() == ["train/run.py"]
    assert checkout.make("scatter").returncode == 0
    assert (checkout.folder / ".venv/torch_scatter").exists()
