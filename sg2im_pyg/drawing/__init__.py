"""Pictures for people: layouts, scene graphs, and sheets that show several side by side."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.drawing.graphs import render_graph
    from sg2im_pyg.drawing.layouts import render_layout
    from sg2im_pyg.drawing.palette import category_colours
    from sg2im_pyg.drawing.sheets import contact_sheet, figure, image_grid

__all__ = [
    "category_colours",
    "contact_sheet",
    "figure",
    "image_grid",
    "render_graph",
    "render_layout",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "graphs": ("render_graph",),
        "layouts": ("render_layout",),
        "palette": ("category_colours",),
        "sheets": ("contact_sheet", "figure", "image_grid"),
        **dict.fromkeys(("charts", "placement"), ()),
    },
)
