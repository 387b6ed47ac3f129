"""The layers of the library, from its source: no import runs upwards, and none in a circle."""

import importlib.util
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def layers():
    specification = importlib.util.spec_from_file_location("layers", ROOT / "docs" / "layers.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def graph(layers):
    return layers.import_graph()


def test_every_module_is_in_a_layer_and_every_layer_is_there(layers):
    known = layers.modules()
    for module in known:
        layers.layer_of(module)
    parts = {module.split(".")[1] for module in known if "." in module}
    assert {name for layer in layers.LAYERS for name in layer} == parts
    with pytest.raises(LookupError):
        layers.layer_of("sg2im_pyg.nowhere")


def test_imports_run_downwards(layers, graph):
    upwards = [
        f"{module} imports {other}"
        for module, imported in graph.items()
        for other in sorted(imported)
        if layers.layer_of(module) > layers.layer_of(other)
    ]
    assert not upwards


def test_there_is_no_circle_of_modules(graph):
    arrows = networkx.DiGraph((module, other) for module in graph for other in graph[module])
    circles = [sorted(part) for part in networkx.strongly_connected_components(arrows)]
    assert not [circle for circle in circles if len(circle) > 1]


def test_imports_of_every_kind_are_seen(layers):
    known = layers.modules()
    source = """
import sg2im_pyg.metrics
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from sg2im_pyg.data.store import SceneReader
def late():
    from sg2im_pyg.data import store
    from sg2im_pyg import errors
ROW = "sg2im_pyg.model:Sg2Im"
"""
    found = set(layers.imports(source, known))
    assert found == {f"sg2im_pyg.{name}" for name in ("metrics", "data.store", "errors", "model")}


def test_the_documentation_prints_the_list(layers):
    text = layers.ARCHITECTURE.read_text(encoding="utf-8")
    assert layers.listed() in text and layers.with_list(text) == text
