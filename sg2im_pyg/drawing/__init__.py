"""Pictures for people: layouts, scene graphs, and sheets that show several side by side."""

from typing import TYPE_CHECKING

from sg2im_pyg.system.lazy import lazy_names

if TYPE_CHECKING:
    from sg2im_pyg.drawing.graphs import render_graph as render_graph
    from sg2im_pyg.drawing.layouts import render_layout as render_layout
    from sg2im_pyg.drawing.palette import category_colours as category_colours
    from sg2im_pyg.drawing.sheets import contact_sheet as contact_sheet
    from sg2im_pyg.drawing.sheets import figure as figure
    from sg2im_pyg.drawing.sheets import image_grid as image_grid

__all__, __getattr__, __dir__ = lazy_names(__name__)
