"""One picture from a file: decoded once, brought to RGB and to one or several sizes."""

import os
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image

from sg2im_pyg.errors import Sg2ImError

PICTURE_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file of pictures for. It knows many more, of which some start programs
(EPS starts Ghostscript), and which it takes a file for the file itself says."""

MAX_PIXELS = 100_000_000
"""A picture that claims more pixels is refused before it is decoded (it would take gigabytes)."""


def load_image(
    path: str | os.PathLike[str], size: tuple[int, int], stored_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads a picture and resizes it: :func:`load_images` for one size.

    Returns:
        Shape :math:`(H, W, 3)`, uint8.
    """
    return load_images(path, [size], stored_size)[0]


def load_images(
    path: str | os.PathLike[str],
    sizes: Sequence[tuple[int, int]],
    stored_size: tuple[int, int] | None = None,
) -> list[np.ndarray]:
    """Reads a picture and resizes it, bilinear with antialiasing, to each of some sizes.

    Grey, palette, CMYK and 16-bit grey pictures become RGB; transparent parts become white; of
    several frames the first is taken. The pixels stay as they are stored: an EXIF orientation is
    not applied, because boxes and masks (those of COCO) refer to the stored pixels.

    Args:
        path: Picture file of one of :data:`PICTURE_FORMATS`.
        sizes: Height and width of each result, in pixels.
        stored_size: Height and width that the picture must have in the file, in pixels;
            :obj:`None` for any.

    Returns:
        One picture a size, shape :math:`(H, W, 3)`, uint8.

    Raises:
        Sg2ImError: If the file is missing, empty, no picture, damaged, cut off, too large to
            decode, or of another size than :obj:`stored_size`.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise Sg2ImError(f"The picture {path} can not be read (it is no file): put a file there.")
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Sg2ImError(
            f"The picture {path} is missing: put it there, or take it out of the annotations."
        ) from error
    except (OSError, ValueError) as error:  # a folder, a name that the system does not take, ...
        reason = getattr(error, "strerror", None) or error
        raise Sg2ImError(f"The picture {path} can not be read ({reason}): put a file there.") from (
            error
        )
    if not content:
        raise Sg2ImError(f"The picture {path} is empty (0 bytes): replace it by a whole copy.")
    try:
        with warnings.catch_warnings():
            # The limit below answers for Pillow's own warning about large pictures.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(content), formats=PICTURE_FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far more than a hundred million") from error
    except Exception as error:  # Pillow's decoders raise nearly anything at foreign bytes
        raise Sg2ImError(
            f"{path} is no picture that can be read ({len(content)} bytes, of an unknown kind or "
            "with a damaged header): replace it by a whole copy."
        ) from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(path, f"{image.width} x {image.height}")
        if stored_size is not None and (image.height, image.width) != tuple(stored_size):
            raise Sg2ImError(
                f"The picture {path} is {image.width} x {image.height} pixels (width x height), "
                f"its entry in the annotations says {stored_size[1]} x {stored_size[0]}: picture "
                "and annotations do not belong together, replace one of them."
            )
        try:
            rgb = _to_rgb(image)
        except Exception as error:
            raise Sg2ImError(
                f"The picture {path} is damaged or cut off ({error}): replace it by a whole copy."
            ) from error
    return [
        np.array(rgb.resize((width, height), Image.Resampling.BILINEAR)) for height, width in sizes
    ]


def lies_inside(name: str) -> bool:
    """Whether a file name stays below its folder, on every system."""
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    parts = {part for kind in kinds for part in kind.parts}
    absolute = any(kind.is_absolute() or kind.drive or kind.root for kind in kinds)
    return not absolute and ".." not in parts and name.isprintable()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion clips at 255
        return Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _too_large(path: Path, size: str) -> Sg2ImError:
    return Sg2ImError(
        f"The picture {path} is too large to decode ({size} pixels, at most {MAX_PIXELS:,} are "
        "taken): replace it by a smaller copy."
    )
