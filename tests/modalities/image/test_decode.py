import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from salience.modalities.image import decode as module
from salience.modalities.image.decode import (
    MAX_PIXELS,
    Target,
    UnreadableError,
    decode,
    decode_whole,
    measure_opacity,
    probe,
)
from salience.modalities.image.headers import ignore_pil_warnings

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
    monkeypatch.setattr("salience.modalities.image.decode._torchvision_jpeg", lambda: None)
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


@pytest.mark.parametrize(("ground", "level"), [("white", 255), ("black", 0), ("grey", 128)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_ground(mode, ground, level):
    pixels = np.full((8, 8, 4), 60, np.uint8)
    pixels[:4, :, 3] = 255
    pixels[4:, :, 3] = 0
    image = Image.fromarray(pixels)
    data = encoded(image if mode == "RGBA" else image.convert("LA") if mode == "LA" else image.quantize(4))
    assert probe(data).alpha
    for found in (decode(data, Target(3, 8, ground=ground)), decode_whole(data, 3, ground=ground)):
        assert (found[:, :4] == 60).all()
        assert (found[:, 4:] == level).all()
    assert (decode(data, Target(1, 8, deep=True, ground=ground))[:, 4:] == level * 257).all()


def test_half_transparent_pixels_are_mixed_with_the_ground():
    data = encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128)))
    found = decode(data, Target(3, 8, ground="black"))
    assert np.abs(found[:, 0, 0].astype(int) - [128, 0, 0]).max() <= 1


def test_how_light_the_opaque_part_is():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = 255
    light, opacity = measure_opacity(encoded(Image.fromarray(pixels)))
    np.testing.assert_array_equal(light[opacity > 0], 1)
    assert opacity.mean() == 0.5
    assert measure_opacity(encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 255)))) is None
    assert measure_opacity(encoded(gradient())) is None


@pytest.mark.parametrize(
    ("mode", "kind", "alpha"),
    [("RGBA", "PNG", True), ("LA", "PNG", True), ("RGB", "PNG", False), ("RGBA", "WEBP", True), ("RGB", "TIFF", False)],
)
def test_a_header_says_whether_pixels_may_be_transparent(mode, kind, alpha):
    assert probe(encoded(Image.new(mode, (31, 17)), kind)).alpha == alpha


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_a_header_says_whether_there_are_further_pages_or_frames(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert probe(data).several
    assert not probe(encoded(frames[0], kind)).several
    np.testing.assert_allclose(decode(data, RGB8)[:, 4, 4], [255, 0, 0], atol=3)


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


@pytest.mark.parametrize("side", [16, 8])  # 16: a JPEG is left to torchvision, 8: everything goes through PIL
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_orientation_turns_the_image_as_pil_does(kind, orientation, side):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(gradient(size=16), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    expected = np.asarray(upright.resize((side, side), Image.Resampling.BILINEAR)).transpose(2, 0, 1).astype(int)
    assert probe(data).orientation == orientation
    assert np.abs(decode(data, Target(3, side)).astype(int) - expected).max() <= 3
    np.testing.assert_array_equal(decode_whole(data, 3).shape[1:], (16, 16))
    assert np.abs(decode_whole(data, 3).astype(int) - np.asarray(upright).transpose(2, 0, 1)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_header_has_the_sides_of_the_upright_image(kind):
    exif = Image.Exif()
    exif[0x0112] = 8
    header = probe(encoded(Image.new("RGB", (30, 20)), kind, exif=exif))
    assert (header.width, header.height) == (20, 30)


def with_exif(exif, kind="JPEG"):
    """An image with these bytes as EXIF."""
    return encoded(gradient(size=24), kind, exif=b"Exif\0\0" + exif)


def mutated(data, first, last, rng, most=5):
    """Up to `most` bytes from `first` to `last` replaced."""
    changed = bytearray(data)
    for at in rng.integers(first, last, rng.integers(1, most + 1)):
        changed[at] = rng.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("side", [24, 8])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_exif_loses_no_picture(kind, side):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A] = "Maker", 3, 72.0
    exif[0x8769] = {0x9003: "2024:01:01 00:00:00", 0x829A: 0.01}
    exif = exif.tobytes().removeprefix(b"Exif\0\0")
    rng = np.random.default_rng(0)
    plain = decode(encoded(gradient(size=24), kind), Target(3, side)).astype(int)
    turned = set()
    with ignore_pil_warnings():
        for _ in range(200):
            data = with_exif(mutated(exif, 0, len(exif), rng), kind)
            found = decode(data, Target(3, side)).astype(int)
            turned.add(orientation := probe(data).orientation)
            if orientation in (1, 3):
                expected = plain if orientation == 1 else plain[:, ::-1, ::-1]
                assert np.abs(found - expected).max() <= 3
    assert {1, 3} <= turned


@pytest.mark.parametrize("side", [24, 8])
def test_damaged_details_of_a_tiff_lose_no_picture(side):
    """The camera's details are a directory of their own, which only who asks for them has to read."""
    exif, copy = Image.Exif(), Image.Exif()
    exif[0x0112], exif[0x8769] = 3, {0x9003: "2024:01:01 00:00:00", 0x829A: 0.01}
    copy.load(exif.tobytes())
    data = encoded(gradient(size=24), "TIFF", exif=copy)
    details = Image.open(io.BytesIO(data)).tag_v2[0x8769]
    expected = decode(encoded(gradient(size=24)), Target(3, side))[:, ::-1, ::-1]
    rng = np.random.default_rng(0)
    with ignore_pil_warnings():
        for _ in range(200):
            damaged = mutated(data, details, details + 50, rng)
            assert probe(damaged).orientation == 3
            np.testing.assert_array_equal(decode(damaged, Target(3, side)), expected)


@pytest.mark.parametrize("damage", [b"", b"MM", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"x" * 99])
@pytest.mark.parametrize("side", [24, 8])
def test_exif_that_is_no_exif_leaves_the_image_upright(damage, side):
    with ignore_pil_warnings():
        found = decode(with_exif(damage), Target(3, side)).astype(int)
    plain = decode(encoded(gradient(size=24), "JPEG"), Target(3, side)).astype(int)
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(30, 20), (200, 100), (5, 9)])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_any_size_becomes_a_square(kind, size, aspect):
    image = Image.fromarray(np.full((size[1], size[0], 3), (10, 100, 200), np.uint8))
    found = decode(encoded(image, kind), Target(3, 8, aspect=aspect))
    assert found.shape == (3, 8, 8)
    assert np.abs(found.astype(int) - np.array([10, 100, 200])[:, None, None]).max() <= 3


def panorama(width=96, height=32):
    """Red, green and blue thirds, from left to right; wide third parts, so that JPEG keeps the colours."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for third in range(3):
        pixels[:, third * width // 3 : (third + 1) * width // 3, third] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("side", [32, 16, 8])  # torchvision's path; PIL's; PIL's with a JPEG that is shrunk early
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_each_aspect_keeps_of_a_panorama(kind, side):
    data = encoded(panorama(), kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    crop, pad, stretch = (decode(data, Target(3, side, aspect=aspect)) for aspect in ("crop", "pad", "stretch"))
    middle = crop[:, :, 2:-2].astype(int)
    assert np.abs(middle - np.array([0, 255, 0])[:, None, None]).max() <= 40
    for whole in (pad, stretch):
        row = whole[:, side // 2].argmax(0)
        assert (row[0], row[side // 2], row[-1]) == (0, 1, 2)
    assert (stretch[:, 0] == stretch[:, side // 2]).all()
    assert not (pad[:, 0] == pad[:, side // 2]).all()


def test_a_large_jpeg_is_still_shrunk_while_it_is_decoded(monkeypatch):
    sizes = []
    whole = module.square_picture
    monkeypatch.setattr(module, "square_picture", lambda p, *rest: sizes.append(p.size) or whole(p, *rest))
    decode(encoded(Image.new("RGB", (640, 320)), "JPEG"), Target(3, 32, aspect="crop"))
    assert sizes == [(160, 80)]  # no side below twice the one wanted


def test_a_photograph_turned_by_its_camera_is_cropped_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    for side in (32, 16):
        data = encoded(panorama(), "JPEG", exif=exif, quality=100, subsampling=0)
        pad = decode(data, Target(3, side, aspect="pad"))
        column = pad[:, :, side // 2].argmax(0)
        assert (column[0], column[side // 2], column[-1]) == (0, 1, 2)


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
        (png_of_size(40_000, 40_000), "exceed the limit"),
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_damaged_file_is_read_or_refused_with_one_short_reason(kind):
    rng = np.random.default_rng(0)
    frames = [gradient(size=32), gradient(size=32).rotate(90)]
    several = {} if kind in ("JPEG", "BMP") else {"save_all": True, "append_images": frames[1:]}
    data = encoded(frames[0], kind, **several)
    reasons = []
    with ignore_pil_warnings():
        for _ in range(150):
            damaged = mutated(data, 2, len(data), rng)
            try:
                probe(damaged)
                measure_opacity(damaged)
                assert decode(damaged, RGB8).shape == (3, 8, 8)
            except UnreadableError as unreadable:
                reasons.append(str(unreadable))
    assert reasons
    assert all(0 < len(reason) <= 200 and "\n" not in reason for reason in reasons)


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), OverflowError("long"), struct.error("short"), SyntaxError("x\ny")]
)
def test_whatever_a_decoder_raises_becomes_a_reason(error, monkeypatch):
    def fails(*args, **options):
        raise error

    data = encoded(gradient(), "BMP")
    monkeypatch.setattr(Image, "open", fails)
    for read in (probe, lambda blob: decode(blob, RGB8), measure_opacity):
        with pytest.raises(UnreadableError) as refused:
            read(data)
        assert str(refused.value)
        assert "\n" not in str(refused.value)


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
