"""Pictures for people: layouts, scene graphs, and sheets that show several side by side."""

from sg2im_pyg.drawing.graphs import render_graph
from sg2im_pyg.drawing.layouts import render_layout
from sg2im_pyg.drawing.palette import category_colours
from sg2im_pyg.drawing.sheets import contact_sheet, figure, image_grid

__all__ = [
    "category_colours",
    "contact_sheet",
    "render_graph",
    "render_layout",
    "figure",
    "image_grid",
]
