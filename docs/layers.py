"""The layers of the library: their order, the imports between them, and the drawing of both.

    python docs/layers.py

renders docs/layers.png anew and writes the list into docs/architecture.md. tests/test_layers.py
fails on an import that runs upwards, on a circle, and on a module in no layer.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "sg2im_pyg"
ARCHITECTURE = REPOSITORY / "docs" / "architecture.md"
DRAWING = REPOSITORY / "docs" / "layers.png"

LAYERS: tuple[dict[str, str], ...] = (
    {"__main__": "the command sg2im", "commands": "what the programs do, and their options"},
    {"study": "studies with people: questions, answers, figures"},
    {"evaluation": "figures of systems on a split, tables, the report, the ablation"},
    {"training": "one run: losses, step, loop, processes, run folder"},
    {"sources": "from annotations and pictures of each source to stores"},
    {"checkpoint": "networks to files and back"},
    {"model": "Sg2Im: from scene graphs to pictures"},
    {"formats": "files of weights: read safely, checked, translated, fetched by name"},
    {"drawing": "pictures of graphs, layouts and tables", "metrics": "figures of boxes and masks"},
    {"data": "scene graphs, vocabulary, transforms, store, data set, loader"},
    {"model_config": "options of the model"},
    {"nn": "layers, generators, discriminators"},
    {"web": "pages: who may ask for them, and serving them"},
    {"images": "pixels", "system": "files, disks, downloads, processes, command lines"},
    {"errors": "the one exception for what a user can put right"},
)
"""Modules and packages from the top down, and what they are for. Imports run downwards only."""


def modules() -> dict[str, Path]:
    """All modules of the library by their dotted names."""
    found = {}
    for path in sorted((REPOSITORY / PACKAGE).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the library that a module imports anywhere: at its top, for types, in functions,
    and by names in strings such as those of lazy tables."""
    tree = ast.parse(source)
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    # The name of a file format is no module.
    formats = [node.value for node in assigned if ast.unparse(node.targets[0]) == "FORMAT"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in known else str(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node in formats:
                continue
            name = node.value.partition(":")[0]
            if name in known and name != PACKAGE:
                yield name


def import_graph() -> dict[str, set[str]]:
    """What each module imports. The faces of packages are left out: they hand names on."""
    known = modules()
    return {
        name: set(imports(path.read_text(encoding="utf-8"), known)) - {name, PACKAGE}
        for name, path in known.items()
        if path.name != "__init__.py"
    }


def layer_of(module: str) -> int | None:
    """Number of a module's layer, counted from the top; none for the package itself."""
    if module == PACKAGE:
        return None
    part = module.split(".")[1]
    found = [number for number, layer in enumerate(LAYERS) if part in layer]
    if not found:
        raise LookupError(f"{module} is in no layer: give it a place in LAYERS of docs/layers.py")
    return found[0]


def listed() -> str:
    """The list of layers as it stands in docs/architecture.md."""
    rows = [
        f"| {', '.join(f'`{name}`' for name in layer)} | {'; '.join(layer.values())} |"
        for layer in LAYERS
    ]
    return "\n".join(["| layer | what stands there |", "|---|---|", *rows])


def with_list(text: str) -> str:
    """A text with the list of layers in its place, between two comments."""
    begin, end = "<!-- layers -->", "<!-- end of layers -->"
    return re.sub(
        f"{begin}.*?{end}", lambda _: f"{begin}\n{listed()}\n{end}", text, flags=re.DOTALL
    )


def render(path: Path) -> None:
    """Renders the layers as stairs: each part is a step, and the dots to the right of it stand over
    the parts that it imports. An import that ran upwards would lie to the left of its step."""
    from matplotlib.figure import Figure

    purpose = {name: what for layer in LAYERS for name, what in layer.items()}
    parts = list(purpose)
    lines: Counter[str] = Counter()
    arrows: Counter[tuple[str, str]] = Counter()
    for name, file in modules().items():
        lines[name.partition(".")[2].partition(".")[0]] += file.read_bytes().count(b"\n")
    for module, imported in import_graph().items():
        arrows.update((module.split(".")[1], other.split(".")[1]) for other in imported)

    axes = Figure(figsize=(17, 8.5)).add_axes((0, 0, 1, 1))
    middle = {"ha": "center", "va": "center", "zorder": 4}
    box = {"boxstyle": "round,pad=0.4", "facecolor": "#e6eef7", "edgecolor": "#3b6ea5"}
    for place, name in enumerate(parts):
        axes.plot([place, place, len(parts) - 0.4], [0.6, -place, -place], color="#dfe3e8")
        text = f"{name}\n{lines[name]:,} lines"
        axes.text(place, -place, text, size=6.5, bbox=box, **middle)
        axes.text(len(parts) - 0.3, -place, purpose[name], ha="left", va="center", size=9)
    for (above, below), count in arrows.items():
        x, y = parts.index(below), -parts.index(above)
        if above != below:
            axes.scatter(x, y, s=110 + 12 * count, color="#3b6ea5", zorder=3)
            axes.text(x, y, str(count), color="white", size=7, **middle)
    axes.set_xlim(-0.6, len(parts) + 5.2)
    axes.set_ylim(-len(parts) + 0.4, 0.8)
    axes.axis("off")
    axes.figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})


def main() -> None:
    render(DRAWING)
    text = ARCHITECTURE.read_text(encoding="utf-8")
    ARCHITECTURE.write_text(with_list(text), encoding="utf-8")
    print(f"{DRAWING}\n{ARCHITECTURE}")


if __name__ == "__main__":
    sys.exit(main())
