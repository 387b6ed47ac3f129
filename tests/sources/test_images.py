import io

import numpy as np
import pytest
from PIL import Image

from sg2im_pyg.errors import Sg2ImError
from sg2im_pyg.sources import images
from sg2im_pyg.sources.images import TURNED, UNTURNED, load_image, load_images, measure_image


def triangle_weights(stored, wanted):
    """Bilinear resizing with antialiasing, from its definition: a triangle as wide as the step."""
    weights = np.zeros((wanted, stored))
    step = stored / wanted
    for i in range(wanted):
        for j in range(stored):
            distance = abs((j + 0.5) - (i + 0.5) * step) / max(step, 1)
            weights[i, j] = max(0, 1 - distance)
        weights[i] /= weights[i].sum()
    return weights


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)


@pytest.mark.parametrize("size", [(8, 8), (30, 50), (16, 70), (45, 20)])
def test_resizes_as_the_formula_says(tmp_path, noise, size):
    path = tmp_path / "noise.png"
    Image.fromarray(noise).save(path)
    rows, columns = triangle_weights(30, size[0]), triangle_weights(50, size[1])
    expected = np.einsum("hi,ijc,wj->hwc", rows, noise.astype(np.float64), columns)
    image = load_image(path, size)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert np.abs(image - expected).max() <= 1.01  # two passes, each rounded to 8 bits


def test_result_can_be_written_to(tmp_path, noise):
    path = tmp_path / "noise.png"
    Image.fromarray(noise).save(path)
    load_image(str(path), (30, 50))[:] = 0


@pytest.mark.parametrize(
    "mode, colour, expected",
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("LA", (100, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("I;16", 0x8080, (128, 128, 128)),
    ],
)
def test_every_kind_of_pixels_becomes_rgb(tmp_path, mode, colour, expected):
    path = tmp_path / "picture.png"
    Image.new(mode, (6, 4), colour).save(path)
    assert np.abs(load_image(path, (2, 3)).astype(int) - expected).max() <= 1


def test_palette_and_its_transparent_entry(tmp_path):
    picture = Image.new("P", (6, 4), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    picture.save(tmp_path / "solid.png")
    picture.save(tmp_path / "clear.png", transparency=1)
    assert (load_image(tmp_path / "solid.png", (4, 6)) == (200, 100, 50)).all()
    assert (load_image(tmp_path / "clear.png", (4, 6)) == 255).all()


def test_cmyk_jpeg(tmp_path):
    path = tmp_path / "cmyk.jpg"
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(path, quality=95)
    assert np.abs(load_image(path, (4, 4)).astype(int) - (0, 255, 255)).max() <= 4


def with_orientation(path, orientation, size=(32, 16)):
    """A picture whose left quarter is white and whose upper right corner is red, as stored."""
    stored = Image.new("RGB", size)
    stored.paste((255, 255, 255), (0, 0, size[0] // 4, size[1]))
    stored.paste((255, 0, 0), (3 * size[0] // 4, 0, size[0], size[1] // 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, exif=exif)
    return np.asarray(stored)


# By the EXIF standard: where row 0 and column 0 of what is stored are to be seen.
SHOWN = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_orientation_is_applied_where_the_listed_size_asks_for_it(tmp_path, orientation):
    path = tmp_path / "turned.png"
    pixels = with_orientation(path, orientation)
    sideways = orientation > 4
    assert measure_image(path) == ((16, 32), (32, 16) if sideways else (16, 32))
    [image], remark = load_images(path, [(16, 32)], (16, 32))
    np.testing.assert_array_equal(image, pixels)  # annotations of the stored pixels
    assert remark == (UNTURNED if 1 < orientation <= 4 else "")
    assert load_images(path, [(16, 32)])[1] == ""
    if sideways:
        [image], remark = load_images(path, [(32, 16)], (32, 16))
        np.testing.assert_array_equal(image, SHOWN[orientation](pixels))
        assert remark == TURNED
    else:
        with pytest.raises(Sg2ImError, match="32 x 16 pixels .* says 16 x 32"):
            load_images(path, [(32, 16)], (32, 16))
    [image], remark = load_images(path, [(16, 32)], (99, 99), strict=False)
    np.testing.assert_array_equal(image, pixels)


def test_the_size_of_a_square_does_not_tell_of_its_orientation(tmp_path):
    pixels = with_orientation(tmp_path / "a.png", 6, (16, 16))
    [image], remark = load_images(tmp_path / "a.png", [(16, 16)], (16, 16))
    np.testing.assert_array_equal(image, pixels)
    assert remark == UNTURNED


def jpeg(size=(64, 48)):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "is missing"),
        (b"", r"is empty \(0 bytes\)"),
        (b"<html>not found</html>", "is no picture"),
        (jpeg()[:1000], "damaged or cut off"),
        (jpeg()[:10], "is no picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is no picture"),
    ],
)
def test_unreadable_file(tmp_path, content, sentence):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Sg2ImError, match=sentence) as error:
        load_image(path, (8, 8))
    assert str(path) in str(error.value)


def test_damaged_png(tmp_path, noise):
    path = tmp_path / "bad.png"
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Sg2ImError, match="damaged or cut off"):
        load_image(path, (8, 8))


def test_another_size_than_listed(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(jpeg((64, 48)))
    load_image(path, (8, 8), listed_size=(48, 64))
    with pytest.raises(Sg2ImError, match="64 x 48 pixels .* says 48 x 64"):
        load_image(path, (8, 8), listed_size=(64, 48))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pillow_limit", [None, 100, 1000, 2000])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch, pillow_limit):
    """With Pillow's own guard off, raising, warning, and silent."""
    path = tmp_path / "huge.jpg"
    path.write_bytes(jpeg((40, 30)))
    monkeypatch.setattr(images, "MAX_PIXELS", 1199)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    with pytest.raises(Sg2ImError, match="too large to decode"):
        load_image(path, (8, 8))
    monkeypatch.setattr(images, "MAX_PIXELS", 1200)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert load_image(path, (8, 8)).shape == (8, 8, 3)
