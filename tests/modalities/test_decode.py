import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from salience.modalities.decode import MAX_PIXELS, Target, UnreadableError, decode, probe

RGB8, GREY8, GREY16 = Target(3, 8), Target(1, 8), Target(1, 8, deep=True)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(mode="RGB", size=8):
    values = np.add.outer(np.arange(size) * 20, np.arange(size) * 5).astype(np.uint8)
    image = Image.fromarray(np.stack([values, values[::-1], 255 - values], -1))
    return image.convert(mode)


def png_of_size(width, height):
    """A valid PNG header of that size, and hardly any pixels."""

    def piece(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + piece(b"IDAT", pixels) + piece(b"IEND", b"")


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "PNG"), ("L", "PNG"), ("RGB", "BMP"), ("L", "TIFF"), ("RGB", "PPM")]
)
def test_lossless_files_come_back_to_the_value(mode, kind):
    image = gradient(mode)
    expected = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(encoded(image, kind), Target(len(expected), 8)), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_as_pil_reads_it(mode):
    data = encoded(gradient(mode, 32), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
    found = decode(data, Target(3, 32))
    assert np.abs(found.astype(int) - expected).max() <= 3


def test_jpeg_without_torchvision_is_left_to_pil(monkeypatch):
    data = encoded(gradient(size=32), "JPEG", quality=95)
    fast = decode(data, Target(3, 32)).astype(int)
    monkeypatch.setattr("salience.modalities.decode._torchvision_jpeg", lambda: None)
    assert np.abs(decode(data, Target(3, 32)) - fast).max() <= 3


def test_a_path_is_read_like_its_bytes(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(gradient()))
    np.testing.assert_array_equal(decode(str(path), RGB8), decode(path.read_bytes(), RGB8))


def test_transparent_pixels_show_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255
    found = decode(encoded(Image.fromarray(pixels)), RGB8)
    assert (found[:, :4] == 0).all()
    assert (found[:, 4:] == 255).all()


def test_palette_and_one_bit_images_become_their_colours():
    np.testing.assert_array_equal(
        decode(encoded(gradient().quantize(16)), RGB8),
        np.asarray(gradient().quantize(16).convert("RGB")).transpose(2, 0, 1),
    )
    black_white = gradient("L").point(lambda v: 255 * (v > 60)).convert("1")
    assert set(np.unique(decode(encoded(black_white), GREY8))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_kept_or_brought_to_eight(kind):
    values = (np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)
    data = encoded(Image.fromarray(values), kind)
    assert probe(data).deep
    np.testing.assert_array_equal(decode(data, GREY16)[0], values)
    np.testing.assert_array_equal(decode(data, GREY8)[0], (values / 257).round())


def test_sixteen_bit_pgm_is_read():
    values = (np.arange(64).reshape(8, 8) * 1000).astype(">u2")
    data = b"P5 8 8 65535\n" + values.tobytes()
    assert probe(data).deep
    np.testing.assert_array_equal(decode(data, GREY16)[0], values)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation_turns_the_image(kind):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter clockwise
    image = gradient(size=16)
    plain = decode(encoded(image, kind), Target(3, 16)).astype(int)
    found = decode(encoded(image, kind, exif=turned), Target(3, 16)).astype(int)
    assert np.abs(found - np.rot90(plain, -1, axes=(1, 2))).max() <= 2
    assert np.abs(found - plain).max() > 50


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(30, 20), (200, 100), (5, 9)])
def test_any_size_is_stretched_to_the_square(kind, size):
    image = Image.fromarray(np.full((size[1], size[0], 3), (10, 100, 200), np.uint8))
    found = decode(encoded(image, kind), RGB8)
    assert found.shape == (3, 8, 8)
    assert np.abs(found.astype(int) - np.array([10, 100, 200])[:, None, None]).max() <= 3


def test_shrinking_averages_instead_of_picking_pixels():
    stripes = Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (64, 32)))
    found = decode(encoded(stripes), GREY8)[:, 1:-1, 1:-1]  # the triangle filter is cut off at the border
    assert np.abs(found.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_headers_are_read_without_decoding(kind):
    image = Image.new("RGB" if kind != "GIF" else "P", (31, 17))
    header = probe(encoded(image, kind))
    assert (header.width, header.height, header.colour, header.deep) == (31, 17, True, False)
    grey = probe(encoded(Image.new("L", (31, 17)), kind if kind not in ("GIF", "WEBP") else "PNG"))
    assert not grey.colour


def test_a_jpeg_header_behind_a_large_profile_is_found():
    data = encoded(Image.new("RGB", (31, 17)), "JPEG", icc_profile=b"x" * 150_000)
    assert (probe(data).width, probe(data).height) == (31, 17)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "empty"),
        (None, "empty"),
        (b"this is a text, whatever its name says", "not an image"),
        (png_of_size(40_000, 40_000), "more than the limit"),
        (png_of_size(0, 7), "no pixels"),
        ("/no/such/file.png", "missing"),
    ],
)
def test_what_cannot_be_an_image_is_refused_by_its_header(blob, reason):
    with pytest.raises(UnreadableError, match=reason):
        probe(blob)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_truncated_files_are_refused(kind):
    rng = np.random.default_rng(0)
    data = encoded(Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)), kind)
    with pytest.raises(UnreadableError):
        decode(data[: len(data) // 2], Target(3, 64))


def test_damage_in_the_middle_never_escapes_as_another_error():
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        data = bytearray(encoded(gradient(size=32), kind))
        for _ in range(50):
            data[rng.integers(2, len(data))] = rng.integers(256)
            with contextlib.suppress(UnreadableError):
                probe(bytes(data))
                assert decode(bytes(data), RGB8).shape == (3, 8, 8)


def test_float_pixels_are_refused_with_a_remedy():
    data = encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")
    with pytest.raises(UnreadableError, match="8 or 16 bits"):
        probe(data)


def test_postscript_is_not_run():
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) print\n%%EOF\n"
    with pytest.raises(UnreadableError, match="not an image"):
        probe(program)


def test_the_limit_is_where_pil_begins_to_warn():
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS
