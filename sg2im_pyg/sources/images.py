"""One picture from a file: decoded once, brought to RGB and to one or several sizes."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from sg2im_pyg.errors import Sg2ImError

PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file of pictures for. It knows many more, of which some start programs
(EPS starts Ghostscript), and which it takes a file for the file itself says."""

MAX_PIXELS = 100_000_000
"""A picture that claims more pixels is refused before it is decoded (it would take gigabytes)."""


TURNED = "pictures turned as their EXIF orientation says"
UNTURNED = "pictures with an EXIF orientation that their size does not tell of, used as stored"
"""What is told of pictures with an EXIF orientation."""

_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height


def load_image(
    path: str | os.PathLike[str], size: tuple[int, int], listed_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads a picture and resizes it: :func:`load_images` for one size.

    Returns:
        Shape :math:`(H, W, 3)`, uint8.
    """
    return load_images(path, [size], listed_size)[0][0]


def load_images(
    path: str | os.PathLike[str],
    sizes: Sequence[tuple[int, int]],
    listed_size: tuple[int, int] | None = None,
    strict: bool = True,
) -> tuple[list[np.ndarray], str]:
    """Reads a picture and resizes it, bilinear with antialiasing, to each of some sizes.

    Grey, palette, CMYK and 16-bit grey pictures become RGB; transparent parts become white; of
    several frames the first is taken. The pixels stay as they are stored, because boxes and masks
    (those of COCO) refer to these; but where the listed size is that of the turned picture, its
    EXIF orientation is applied.

    Args:
        path: Picture file of one of :data:`PICTURE_FORMATS`.
        sizes: Height and width of each result, in pixels.
        listed_size: Height and width in the annotations, in pixels; :obj:`None` for any.
        strict: Whether the picture must have that size.

    Returns:
        One picture a size, shape :math:`(H, W, 3)`, uint8; and :data:`TURNED`, :data:`UNTURNED` or
        nothing.

    Raises:
        Sg2ImError: If the file is missing, empty, no picture, damaged, cut off, too large to
            decode, or of another size than it must have.
    """
    path = Path(path)
    with _open(path) as image:
        remark = ""
        if listed_size is not None:
            stored, turned = _sizes(image, path, listed_size if strict else None)
            if tuple(listed_size) == stored:
                is_turned = _orientation(image) != 1
                remark = UNTURNED if is_turned and turned == stored else ""
            elif tuple(listed_size) == turned:
                remark = TURNED
        try:
            rgb = _to_rgb(ImageOps.exif_transpose(image) if remark == TURNED else image)
        except Exception as error:
            raise Sg2ImError(
                f"The picture {path} is damaged or cut off ({error}): replace it by a whole copy."
            ) from error
    resized = [
        np.array(rgb.resize((width, height), Image.Resampling.BILINEAR)) for height, width in sizes
    ]
    return resized, remark


def measure_image(
    path: str | os.PathLike[str], listed_size: tuple[int, int] | None = None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of a picture in pixels, as it is stored, and turned as its EXIF orientation
    says, one of which must be the listed size; nothing is decoded. Errors as in
    :func:`load_images`."""
    path = Path(path)
    with _open(path) as image:
        return _sizes(image, path, listed_size)


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """A picture of which nothing is decoded yet, and no more read than its header."""
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise Sg2ImError(f"The picture {path} can not be read (it is no file): put a file there.")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            count = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Sg2ImError(
                f"The picture {path} is missing: put it there, or take it out of the annotations."
            ) from error
        except (OSError, ValueError) as error:  # a name that the system does not take, ...
            reason = getattr(error, "strerror", None) or error
            sentence = f"The picture {path} can not be read ({reason}): put a file there."
            raise Sg2ImError(sentence) from error
        if not count:
            raise Sg2ImError(f"The picture {path} is empty (0 bytes): replace it by a whole copy.")
        try:
            with warnings.catch_warnings():
                # The limit below answers for Pillow's own warning about large pictures.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = stack.enter_context(Image.open(file, formats=PICTURE_FORMATS))
        except Image.DecompressionBombError as error:
            raise _too_large(path, "far more than a hundred million") from error
        except Exception as error:  # Pillow's decoders raise nearly anything at foreign bytes
            raise Sg2ImError(
                f"{path} is no picture that can be read ({count} bytes, of an unknown kind or with "
                "a damaged header): replace it by a whole copy."
            ) from error
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(path, f"{image.width} x {image.height}")
        yield image


def _orientation(image: Image.Image) -> int:
    """1 for none; EXIF data that can not be read says nothing."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return found if found in range(1, 9) else 1


def _sizes(
    image: Image.Image, path: Path, listed: tuple[int, int] | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width as stored, and turned, one of which must be the listed size."""
    stored = image.height, image.width
    turned = stored[::-1] if _orientation(image) in _SIDEWAYS else stored
    if listed is not None and tuple(listed) not in (stored, turned):
        raise Sg2ImError(
            f"The picture {path} is {image.width} x {image.height} pixels (width x height), its "
            f"entry in the annotations says {listed[1]} x {listed[0]}: picture and annotations do "
            "not belong together, replace one of them."
        )
    return stored, turned


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
