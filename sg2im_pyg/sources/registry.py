"""The sources of data: the one table in which a new source takes a row.

Nothing else of a source is known outside its own folder: programs, training and evaluation ask the
row. It is small on purpose, so that listing the sources imports none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sg2im_pyg.errors import Sg2ImError, nearest, shortened


@dataclass(frozen=True)
class Source:
    """A source of annotated pictures.

    Attributes:
        name: Its name: of the command ``prepare.py NAME``, of the option ``data.name``, and noted
            in its stores.
        title: What it is, in one line.
        options: Dataclass of its options, whose fields are its command line and whose method
            ``prepare()`` writes its stores (see
            :class:`~sg2im_pyg.sources.options.PreparationOptions`); or where it stands, as
            :obj:`"module:name"`.
        graphs_per_picture: How many graphs of a picture an evaluation draws.
        max_objects: Most objects of the graphs that an evaluation or a validation draws, image
            node included; none for all.
        feature_network: Network of the picture scores: :obj:`"inception"`, or one of
            :data:`~sg2im_pyg.evaluation.network_files.NETWORKS`.
        configurations: Training configuration that fits pictures of a size (height, width); the
            first is taken for others. Without one :data:`DEFAULT_CONFIGURATION` is taken.
        stuff: Indices in its vocabulary of the categories that are stuff (sky, grass), not things;
            none where it does not tell one from the other.
        made_on_first_use: Whether a training makes the data that is missing, without being asked.
    """

    name: str
    title: str
    options: str | type
    graphs_per_picture: int = 1
    max_objects: int | None = None
    feature_network: str = "inception"
    configurations: Mapping[tuple[int, int], str] = field(default_factory=dict)
    made_on_first_use: bool = False
    stuff: range | None = None

    def load_options(self) -> type[Any]:
        """The dataclass of its options, imported when it is asked for."""
        if isinstance(self.options, type):
            return self.options
        module, _, name = self.options.partition(":")
        return getattr(import_module(module), name)


DEFAULT_CONFIGURATION = "landscapes"
"""Training configuration where none is named."""

OWN = "own"
"""Name of the source of people's own data; what no source prepared counts as such, too."""

SOURCES: dict[str, Source] = {}
"""All sources by name; :func:`register_source` adds one."""


def register_source(source: Source) -> Source:
    """Adds a source, or puts one in the place of another of the same name."""
    SOURCES[source.name] = source
    return source


def find_source(name: str) -> Source:
    """The source of a name.

    Raises:
        Sg2ImError: If there is none; the nearest are named.
    """
    if name in SOURCES:
        return SOURCES[name]
    shown = shortened(repr(name))
    raise Sg2ImError(f"There is no source of data {shown}: {nearest(name, SOURCES)}")


def source_of(settings: Mapping[str, Any]) -> Source | None:
    """The source that a store was prepared from, by the settings noted in it; none for a store of
    other origin."""
    return SOURCES.get(str(settings.get("source")))


register_source(
    Source(
        name="landscapes",
        title="painted landscapes with exact boxes and masks (no download)",
        options="sg2im_pyg.sources.landscapes.options:LandscapesOptions",
        feature_network="landscapes",
        configurations={(64, 64): DEFAULT_CONFIGURATION},
        made_on_first_use=True,
        stuff=range(1, 7),  # sky to mountain
    )
)
register_source(
    Source(
        name="coco",
        title="COCO 2017 with COCO-Stuff (about 22 GB to download)",
        options="sg2im_pyg.sources.coco.options:CocoOptions",
        graphs_per_picture=5,
        configurations={(64, 64): "coco64"},
        stuff=range(92, 256),  # ids of things end at 90; merged stuff goes on to 200
    )
)
register_source(
    Source(
        name="visual_genome",
        title="Visual Genome 1.4 (about 16 GB to download)",
        options="sg2im_pyg.sources.visual_genome.options:VisualGenomeOptions",
        max_objects=10,
        configurations={(64, 64): "vg64", (128, 128): "vg128"},
    )
)
register_source(
    Source(
        name=OWN,
        title="your own annotations and pictures (COCO, VOC, YOLO, labelme, CSV, scene graphs)",
        options="sg2im_pyg.sources.own.options:OwnOptions",
    )
)
