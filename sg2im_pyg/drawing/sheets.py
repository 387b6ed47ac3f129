"""Sheets that show pictures, layouts and graphs side by side."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from sg2im_pyg.drawing.palette import GREY, INK, WHITE, load_font, mix, shorten, text_size

Rows = Sequence[Sequence[Image.Image | None]]
Column = tuple[Image.Image, Image.Image]

_RULE = mix(WHITE, GREY, 0.4)  # between the groups of a figure
_LARGEST_GRAPH = (1280, 640)  # height and width in a figure


def image_grid(rows: Rows, cell_size: tuple[int, int] | None = None, gap: int = 4) -> Image.Image:
    """Images in rows and columns on white, without any text (for TensorBoard).

    Each image is enlarged (bicubic) or reduced (Lanczos) until it fits into its cell, its
    proportions kept.

    Args:
        rows: Images of each row; :obj:`None`, and the end of a short row, stay empty.
        cell_size: Height and width of a cell in pixels; the largest height and width by default.
        gap: Pixels around each cell.

    Examples:
        >>> red, blue = (Image.new("RGB", (8, 8), name) for name in ("red", "blue"))
        >>> image_grid([[red, blue], [blue]], gap=2).size
        (22, 22)
    """
    if cell_size is None:
        sizes = [(image.height, image.width) for row in rows for image in row if image]
        cell_size = (
            max((height for height, _ in sizes), default=1),
            max((width for _, width in sizes), default=1),
        )
    widths = [cell_size[1]] * max((len(row) for row in rows), default=0)
    return _grid(rows, cell_size[0], widths, gap)


def contact_sheet(
    rows: Rows,
    column_titles: Sequence[str],
    row_titles: Sequence[str] | None = None,
    cell_height: int = 256,
    max_aspect: float = 2.0,
) -> Image.Image:
    """Images in rows and columns with a title above each column and beside each row.

    Args:
        rows: Images of each row; :obj:`None`, and the end of a short row, stay empty.
        column_titles: Title of each column.
        row_titles: Title of each row.
        cell_height: Height of the cells in pixels. Images are enlarged (bicubic) or reduced
            (Lanczos) to it, their proportions kept.
        max_aspect: A column is as wide as its widest image, but at most so many cell heights;
            wider images become lower.

    Raises:
        ValueError: If there are more images in a row than titles, or row titles are missing.
    """
    if any(len(row) > len(column_titles) for row in rows):
        raise ValueError(
            f"a row holds {max(len(row) for row in rows)} images but there are "
            f"{len(column_titles)} column titles"
        )
    if row_titles is not None and len(row_titles) != len(rows):
        raise ValueError(f"there are {len(rows)} rows but {len(row_titles)} row titles")
    gap = max(4, cell_height // 24)
    font = load_font(max(11, min(28, cell_height // 13)))
    line = text_size("", font)[1]
    columns = [[row[k] for row in rows if k < len(row)] for k in range(len(column_titles))]
    widths = []
    for title, column in zip(column_titles, columns, strict=True):
        aspects = [image.width / image.height for image in column if image]
        wide = cell_height * min(max(aspects, default=1.0), max_aspect)
        title_width = min(text_size(title, font)[0], round(cell_height * max_aspect))
        widths.append(max(round(wide), title_width))
    grid = _grid(rows, cell_height, widths, gap)
    left = 0
    if row_titles is not None:
        row_titles = [shorten(title, font, 1.2 * cell_height) for title in row_titles]
        left = max((text_size(title, font)[0] for title in row_titles), default=0) + gap
    top = line + gap
    sheet = Image.new("RGB", (left + grid.width, top + grid.height), WHITE)
    sheet.paste(grid, (left, top))
    pen = ImageDraw.Draw(sheet)
    x = left + gap
    for title, width in zip(column_titles, widths, strict=True):
        text = shorten(title, font, width)
        pen.text((x + width / 2, gap + line / 2), text, fill=INK, font=font, anchor="mm")
        x += width + gap
    for k, title in enumerate(row_titles or ()):
        y = top + gap + k * (cell_height + gap) + cell_height / 2
        pen.text((left, y), title, fill=INK, font=font, anchor="rm")
    return sheet


def figure(
    groups: Sequence[Sequence[Column]],
    image_height: int = 256,
    most_columns: int = 6,
    most_width: int = 2400,
) -> Image.Image:
    """A row of graphs over the row of their pictures, as in Figures 5 and 6 of the paper.

    All columns are as wide as the widest, and where there are too many for one such double row
    they are shared evenly among several. Graphs keep their size, so that their text is equally
    large everywhere; only those beyond 640 pixels wide or 1280 high are reduced.

    Args:
        groups: The drawing of a graph and the picture below it, for each column. Each group, such
            as the steps in which a graph grows, begins a double row, with a line above it.
        image_height: Height of the pictures in pixels. They are enlarged (bicubic) or reduced
            (Lanczos) to it, their proportions kept.
        most_columns: Columns that a double row has at most.
        most_width: Pixels that a double row is wide at most, unless it has a single column.

    Raises:
        ValueError: If there is no column.
    """
    columns = [
        (_reduced(graph, _LARGEST_GRAPH), _fit(image, (image_height, most_width)))
        for group in groups
        for graph, image in group
    ]
    if not columns:
        raise ValueError("a figure needs at least one column")
    gap = max(8, image_height // 8)
    wide = max(image.width for column in columns for image in column)
    most = max(1, min(most_columns, (most_width - gap) // (wide + gap)))
    rows: list[tuple[Sequence[Column], bool]] = []  # and whether a group begins
    start = 0
    for group in groups:
        parts = -(-len(group) // most)
        for k in range(parts):
            # As many in each row, and where that does not come out even one more in the first.
            count = len(group) // parts + (k < len(group) % parts)
            rows.append((columns[start : start + count], k == 0))
            start += count
    width = gap + max(len(row) for row, _ in rows) * (wide + gap)
    heights = [max(graph.height for graph, _ in row) for row, _ in rows]
    spaces = [0, *(2 * gap if begins else gap for _, begins in rows[1:])]
    below = gap // 2 + image_height + gap  # what follows the graphs of a row
    canvas = Image.new("RGB", (width, gap + sum(heights) + sum(spaces) + len(rows) * below), WHITE)
    pen = ImageDraw.Draw(canvas)
    y = gap
    for (row, begins), height, space in zip(rows, heights, spaces, strict=True):
        if begins and space:
            line = y + (space - gap) // 2
            pen.line([(gap, line), (width - gap, line)], _RULE, 2)
        y += space
        for k, (graph, image) in enumerate(row):
            middle = gap + k * (wide + gap) + wide // 2
            canvas.paste(graph, (middle - graph.width // 2, y + (height - graph.height) // 2))
            top = y + height + gap // 2 + (image_height - image.height) // 2
            canvas.paste(image, (middle - image.width // 2, top))
        y += height + below
    return canvas


def _reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.height <= size[0] and image.width <= size[1] else _fit(image, size)


def _grid(rows: Rows, cell_height: int, widths: Sequence[int], gap: int) -> Image.Image:
    size = (gap + sum(width + gap for width in widths), gap + len(rows) * (cell_height + gap))
    grid = Image.new("RGB", size, WHITE)
    for k, row in enumerate(rows):
        x, y = gap, gap + k * (cell_height + gap)
        for image, width in zip(row, widths, strict=False):
            if image is not None:
                fitted = _fit(image, (cell_height, width))
                left = x + (width - fitted.width) // 2
                grid.paste(fitted, (left, y + (cell_height - fitted.height) // 2))
            x += width + gap
    return grid


def _fit(image: Image.Image, cell_size: tuple[int, int]) -> Image.Image:
    factor = min(cell_size[0] / image.height, cell_size[1] / image.width)
    if factor == 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    smooth = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS
    return image.convert("RGB").resize(size, smooth)
