import numpy as np
import pytest
from PIL import Image

from salience.errors import UserError
from salience.fields.moments import Moments
from salience.modalities.image import conversion as image
from salience.modalities.image.decode import Target
from salience.modalities.image.spec import ImageSpec


def spec_of(x, **options):
    moments = Moments(x.shape[1])
    moments.add(x)
    return image.make_spec(x.shape[1:], x.dtype.name, moments, **options)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9, 6, 7), (9, 1, 6, 7)),
        ((9, 3, 6, 7), (9, 3, 6, 7)),
        ((9, 6, 7, 3), (9, 3, 6, 7)),
        ((9, 6, 7, 1), (9, 1, 6, 7)),
        ((9, 3, 3, 3), (9, 3, 3, 3)),
        ((9, 13, 64, 64), (9, 13, 64, 64)),
        ((9, 8, 8, 3), (9, 3, 8, 8)),
        ((9, 4, 4, 3), (9, 3, 4, 4)),
    ],
)
def test_the_channel_axis_is_found(shape, expected):
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    found = image.as_images(x)
    assert found.shape == expected
    assert np.shares_memory(found, x)


def test_no_channel_axis_is_an_error_with_the_shape():
    with pytest.raises(UserError, match=r"\(9, 50, 60, 70\)"):
        image.as_images(np.zeros((9, 50, 60, 70)))


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (np.array([0, 255], np.int64), "uint8"),
        (np.array([0, 256], np.int32), "uint16"),
        (np.array([0, 70000], np.int32), "float32"),
        (np.array([-1, 5], np.int8), "float32"),
        (np.array([0.5], np.float64), "float32"),
        (np.array([0.5], np.float16), "float32"),
        (np.array([0.5], ">f4"), "float32"),
        (np.array([True]), "uint8"),
    ],
)
def test_arrays_are_stored_as_small_as_their_values_allow(x, dtype):
    x = x.reshape(1, 1, 1, -1)
    found = image.as_stored(x, image.stored_dtype(x))
    assert found.dtype.name == dtype
    np.testing.assert_allclose(found, x * 255 if x.dtype == bool else x)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("uint8", 3, 250, (0, 255)),
        ("uint8", 0, 16, (0, 16)),
        ("uint8", 0, 0, (0, 255)),
        ("uint16", 0, 4095, (0, 4095)),
        ("uint16", 0, 60000, (0, 65535)),
        ("float32", 0, 1, (0, 1)),
        ("float32", 0.1, 0.3, (0, 1)),
        ("float32", 0, 255, (0, 255)),
        ("float32", 0, 16, (0, 16)),
        ("float32", -1, 1, (-1, 1)),
        ("float32", 7, 7, (7, 8)),
    ],
)
def test_the_scale_of_an_array_follows_its_type_and_values(dtype, low, high, expected):
    x = np.array([low, high], dtype).reshape(2, 1, 1, 1)
    spec = spec_of(x)
    np.testing.assert_allclose((spec.low, spec.high), expected)


def test_files_are_on_the_full_scale_however_dark():
    assert spec_of(np.full((2, 1, 2, 2), 9, np.uint8), full_scale=True).high == 255


def test_statistics_are_on_the_unit_scale():
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 5, 5)).astype(np.uint8)
    spec = spec_of(x)
    np.testing.assert_allclose(spec.mean, (x / 255).mean((0, 2, 3)))
    np.testing.assert_allclose(spec.std, (x / 255).std((0, 2, 3)))
    assert spec_of(np.full((4, 1, 2, 2), 200, np.uint8)).std == (1.0,)


@pytest.mark.parametrize(
    ("sizes", "asked", "sides"),
    [
        ([[28, 28]] * 3, None, {"crop": 28, "pad": 28, "stretch": 28}),
        ([[200, 200]] * 3, None, {"crop": 200, "pad": 200, "stretch": 200}),
        ([[28, 20]] * 3, None, {"crop": 20, "pad": 28, "stretch": 28}),
        ([[500, 400]] * 3, None, {"crop": 224, "pad": 224, "stretch": 224}),
        ([[500, 100]] * 3, None, {"crop": 100, "pad": 224, "stretch": 96}),
        ([[100, 90], [80, 70], [120, 300]], None, {"crop": 64, "pad": 96, "stretch": 64}),
        ([[200, 90], [90, 200], [200, 91]], None, {"crop": 64, "pad": 128, "stretch": 64}),
        ([[200, 90], [90, 200]], None, {"crop": 64, "pad": 128, "stretch": 128}),
        ([[10, 12], [9, 9]], None, {"crop": 32, "pad": 32, "stretch": 32}),
        ([[28, 28]] * 3, 28, {"crop": 28, "pad": 28, "stretch": 28}),
        ([[28, 20]] * 3, 40, {"crop": 40, "pad": 40, "stretch": 40}),
    ],
)
def test_resolution_follows_the_sizes_unless_asked(sizes, asked, sides):
    found = {aspect: image.choose_resolution(np.array(sizes), asked, aspect)[0] for aspect in sides}
    assert found == sides


@pytest.mark.parametrize(
    ("headers", "channels", "deep"),
    [
        ([[8, 8, 0, 0], [8, 8, 0, 0]], 1, False),
        ([[8, 8, 0, 0], [8, 8, 1, 0]], 3, False),
        ([[8, 8, 0, 1], [8, 8, 0, 1]], 1, True),
        ([[8, 8, 0, 1], [8, 8, 0, 0]], 1, False),
        ([[8, 8, 0, 1], [8, 8, 1, 0]], 3, False),
    ],
)
def test_one_format_for_all_files(headers, channels, deep):
    target, notes = image.choose_target(np.array(headers), None, "pad")
    assert target == Target(channels, 8, deep, "pad")
    mixed = len({tuple(header[2:]) for header in headers}) > 1
    assert bool(notes) == mixed


def test_convert_between_grey_and_colour_types_and_ranges():
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8)).astype(np.uint8)
    colour, grey = spec_of(x), spec_of(x[:, :1])
    unit = ImageSpec((3, 8, 8), "float32", 0.0, 1.0)
    np.testing.assert_allclose(image.convert(x, colour, unit), x / 255, rtol=1e-6)
    luma = np.tensordot(x, [0.299, 0.587, 0.114], axes=(1, 0))
    assert np.abs(image.convert(x, colour, grey)[:, 0] - luma).max() <= 0.51
    repeated = image.convert(x[:, :1], grey, colour)
    np.testing.assert_array_equal(repeated, np.concatenate([x[:, :1]] * 3, axis=1))
    back = image.convert(image.convert(x, colour, unit), unit, colour)
    np.testing.assert_array_equal(back, x)


def test_values_of_one_type_are_taken_as_they_are():
    dim = ImageSpec((1, 4, 4), "uint8", 0, 15)
    want = ImageSpec((1, 4, 4), "uint8", 0, 16)
    x = np.full((2, 1, 4, 4), 15, np.uint8)
    np.testing.assert_array_equal(image.convert(x, dim, want), x)


@pytest.mark.parametrize(
    ("dtype", "run", "expected"),
    [
        ("uint8", ("uint8", 0, 16), ("uint8", 0, 16)),
        ("uint8", ("uint16", 0, 4095), ("uint8", 0, 255)),
        ("bool", ("float32", 0, 1), ("uint8", 0, 255)),
        (">u2", ("uint8", 0, 255), ("uint16", 0, 65535)),
        ("int64", ("uint16", 0, 4095), ("uint16", 0, 4095)),
        ("int64", ("float32", -3, 5), ("float32", -3, 5)),
        ("float64", ("float32", -3, 5), ("float32", -3, 5)),
        ("float16", ("uint8", 0, 16), ("float32", 0, 1)),
    ],
)
def test_a_run_reads_arrays_by_their_type(dtype, run, expected):
    found = image.read_by_type((1, 2, 2), np.dtype(dtype), ImageSpec((1, 2, 2), *run))
    assert (found.dtype, found.low, found.high) == expected


def test_more_channels_than_three_are_not_converted():
    with pytest.raises(UserError, match="trained on 4 channels"):
        image.check_convertible(3, ImageSpec((4, 8, 8), "uint8"))


class OneItem:
    def __init__(self, x, spec):
        self.x, self.spec = x, spec

    def item(self, row):
        return self.x[row]


def test_a_thumbnail_shows_the_unit_scale():
    x = np.zeros((2, 3, 4, 4), np.float32)
    x[1, 0] = 2.0
    shown = image.thumbnail(OneItem(x, ImageSpec((3, 4, 4), "float32", 0.0, 2.0)), 1)
    assert isinstance(shown, Image.Image)
    assert shown.size == (4, 4)
    assert shown.getpixel((0, 0)) == (255, 0, 0)
    grey = image.thumbnail(OneItem(x[:, 1:2], ImageSpec((1, 4, 4), "float32", -2.0, 2.0)), 0)
    assert grey.getpixel((3, 3)) == 128


def test_a_run_says_which_images_it_brings_to_its_channels_and_size():
    grey = ImageSpec((1, 8, 8), "uint8", 0, 255)
    sizes = np.array([[8, 8], [8, 8], [8, 8]])
    assert image.describe_conversion(sizes, np.array([1, 1, 1]), grey, "crop") == ()
    assert image.describe_conversion(sizes, np.array([3, 1, 3]), grey, "crop") == (
        "2 images converted to grey, as in training",
    )
    resized, brought = image.describe_conversion(2 * sizes, np.array([3, 3, 3]), grey, "crop")
    assert resized.startswith("resized to 8x8: all are 16x16")
    assert brought == "all converted to grey, as in training"
