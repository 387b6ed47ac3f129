"""Sheets that show pictures, layouts and graphs side by side."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from sg2im_pyg.drawing.palette import INK, WHITE, load_font, shorten, text_size

Rows = Sequence[Sequence[Image.Image | None]]


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
    draw = ImageDraw.Draw(sheet)
    x = left + gap
    for title, width in zip(column_titles, widths, strict=True):
        text = shorten(title, font, width)
        draw.text((x + width / 2, gap + line / 2), text, fill=INK, font=font, anchor="mm")
        x += width + gap
    for k, title in enumerate(row_titles or ()):
        y = top + gap + k * (cell_height + gap) + cell_height / 2
        draw.text((left, y), title, fill=INK, font=font, anchor="rm")
    return sheet


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
