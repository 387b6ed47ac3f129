"""For the tests of eval/benchmark.py: its modules, a small configuration, and works to measure."""

import importlib
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "eval" / "benchmark.py"
TINY = """\
model:
  embedding_dim: 8
  gconv_dim: 64
  gconv_hidden_dim: 8
  gconv_num_layers: 2
  mask_size: 4
  layout_noise_dim: 2
  refinement_dims: [8, 4]
image_discriminator:
  layers: [[4, 4, 2], [4, 8, 2]]
object_discriminator:
  layers: [[4, 4, 2], [4, 8, 2]]
  object_size: 12
losses:
  mask: 0.1
seed: 5
"""


def load_module(name, monkeypatch):
    """A module of eval/; processes that the test starts find it too."""
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    return importlib.import_module(name)


def tiny_config(folder, monkeypatch):
    """Batches of three pictures of 16 x 16 on the CPU."""
    path = folder / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    options = load_module("benchmarks.options", monkeypatch).BenchmarkOptions(
        config=str(path), parts=["train"], sizes=[16], batches=[3]
    )
    [config] = load_module("benchmarks.parts", monkeypatch).plan(options, "cpu", REPOSITORY)
    return config


# ---- Works that are built in processes of their own


def imports_of(variant):
    """A work of which a run says which modules of others its process holds (1) and which not."""
    importlib.import_module("benchmark")  # as a process that the program starts does
    from benchmarks.measuring import Work

    names = ("lightning_fabric", "tensorboard", "matplotlib", "sg2im_pyg.training.trainer")
    work = variant()

    def step():
        work.prepare(0)()
        return {name: name in sys.modules for name in (*names, "torch")}

    return Work(work.device, lambda number: step)


def large_while_built(mebibytes):
    """A work that needs twice so much memory for a moment while it is built, and in each run."""
    import torch
    from benchmarks.measuring import Work

    bytearray(b"x" * (mebibytes << 20))  # and the bytes that it is made of

    def step():
        bytearray(b"x" * (mebibytes << 20))
        return {}

    return Work(torch.device("cpu"), lambda number: step)
