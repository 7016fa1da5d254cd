"""Pictures and arrays made square: each aspect against what torchvision and NumPy make of it."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from PIL import Image

from salience.modalities.image.square import (
    central_square,
    describe_squaring,
    resize,
    square_arrays,
    square_picture,
)

SIZES = [(20, 30), (30, 20), (21, 30), (8, 31), (5, 9), (64, 64)]  # heights and widths


def random_image(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (channels, height, width)).astype(np.uint8)


def as_picture(x):
    return Image.fromarray(x[0] if len(x) == 1 else np.ascontiguousarray(x.transpose(1, 2, 0)))


def as_array(picture):
    return np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)


def both_ways(x, side, aspect):
    """As a picture of its own, and as an array in a batch."""
    return as_array(square_picture(as_picture(x), side, aspect)), square_arrays(x[None], side, aspect)[0]


@pytest.mark.parametrize(("size", "wanted"), [((20, 30), (8, 8)), ((8, 8), (20, 20)), ((64, 64), (16, 24))])
def test_resize_equals_the_antialiased_reference(size, wanted):
    x = np.random.default_rng(0).integers(0, 256, (3, 2, *size)).astype(np.uint8)
    found = resize(x, wanted)
    expected = reference.resize(torch.from_numpy(x).double(), list(wanted), antialias=True).numpy()
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.51


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_a_crop_is_the_resized_central_square(size, channels):
    x = random_image(*size, channels)
    side = min(size)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    square = torch.from_numpy(x[:, top : top + side, left : left + side])
    expected = reference.resize(square.double(), [12, 12], antialias=True).numpy()
    for found in both_ways(x, 12, "crop"):
        assert found.shape == (channels, 12, 12)
        assert np.abs(found - expected).max() <= 1.01


@pytest.mark.parametrize("size", [(12, 18), (18, 12), (12, 13)])
def test_a_crop_without_resizing_keeps_the_values(size):
    x = random_image(*size)
    top, left = (size[0] - 12) // 2, (size[1] - 12) // 2
    for found in both_ways(x, 12, "crop"):
        np.testing.assert_array_equal(found, x[:, top : top + 12, left : left + 12])


@pytest.mark.parametrize("size", SIZES)
def test_stretching_brings_each_side_to_the_square(size):
    x = random_image(*size)
    expected = reference.resize(torch.from_numpy(x).double(), [12, 12], antialias=True).numpy()
    for found in both_ways(x, 12, "stretch"):
        assert np.abs(found - expected).max() <= 1.01


@pytest.mark.parametrize(("size", "inner"), [((20, 40), (6, 12)), ((40, 20), (12, 6)), ((10, 1000), (1, 12))])
def test_padding_centres_the_whole_image_on_the_median_of_its_border(size, inner):
    x = np.full((3, *size), 60, np.uint8)
    x[1] = 200
    x[:, size[0] // 2, size[1] // 2] = 255  # in the middle, so not of the border
    for found in both_ways(x, 12, "pad"):
        top, left = (12 - inner[0]) // 2, (12 - inner[1]) // 2
        outside = found.copy()
        outside[:, top : top + inner[0], left : left + inner[1]] = np.array([60, 200, 60])[:, None, None]
        np.testing.assert_array_equal(outside, np.full((3, 12, 12), 1) * np.array([60, 200, 60])[:, None, None])
        shrunk = reference.resize(torch.from_numpy(x).double(), list(inner), antialias=True).numpy()
        assert np.abs(found[:, top : top + inner[0], left : left + inner[1]] - shrunk).max() <= 1.01


def test_an_image_in_a_batch_is_padded_with_its_own_border():
    x = np.stack([np.full((1, 4, 8), level, np.uint8) for level in (10, 90)])
    found = square_arrays(x, 8, "pad")
    assert [np.unique(image).tolist() for image in found] == [[10], [90]]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_and_float_values_keep_their_scale(dtype):
    x = np.full((2, 1, 10, 20), 40_000, dtype)
    for aspect in ("crop", "pad", "stretch"):
        found = square_arrays(x, 8, aspect)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, 40_000, rtol=1e-6)
        picture = square_picture(Image.fromarray(x[0, 0].astype(np.float32)), 8, aspect)
        assert picture.mode == "F"
        np.testing.assert_allclose(np.asarray(picture), 40_000, rtol=1e-6)


@pytest.mark.parametrize("side", [8, 16, 40])
def test_a_square_image_is_the_same_under_every_aspect(side):
    x = random_image(16, 16)
    plain = np.asarray(as_picture(x).resize((side, side), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    for aspect in ("crop", "pad", "stretch"):
        as_one, in_batch = both_ways(x, side, aspect)
        np.testing.assert_array_equal(as_one, plain)
        np.testing.assert_array_equal(in_batch, resize(x[None], (side, side))[0])


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_one_pixel_lines_become_squares(aspect):
    for size in ((1, 300), (300, 1), (1, 1)):
        for found in both_ways(np.full((3, *size), 77, np.uint8), 16, aspect):
            assert found.shape == (3, 16, 16)
            assert (found == 77).all()


def disc(height, width):
    """A disc in the middle, of three quarters of the shorter side."""
    row, column = np.ogrid[:height, :width]
    far = np.hypot(row - (height - 1) / 2, column - (width - 1) / 2)
    return (255 * (far < 0.375 * min(height, width))).astype(np.uint8)[None]


@pytest.mark.parametrize(("aspect", "round_"), [("crop", True), ("pad", True), ("stretch", False)])
def test_a_circle_stays_a_circle_unless_it_is_stretched(aspect, round_):
    for found in both_ways(disc(100, 200), 50, aspect):
        wide, high = (found[0] > 127).any(0).sum(), (found[0] > 127).any(1).sum()
        assert (abs(int(wide) - int(high)) <= 1) == round_


def test_the_central_square_of_odd_sizes():
    assert central_square(30, 21) == (4, 0, 21)
    assert central_square(8, 31) == (0, 11, 8)


@pytest.mark.parametrize(
    ("sizes", "side", "aspect", "note"),
    [
        ([[64, 64]] * 2, 64, "crop", None),
        ([[64, 64]] * 2, 32, "pad", "resized to 32x32: all are 64x64"),
        (
            [[200, 100]],
            64,
            "crop",
            "resized to 64x64: the shorter side to 64, the centre cropped (all are 200x100; 50% of an image is kept); "
            "use --aspect pad to keep all of it",
        ),
        (
            [[200, 100], [100, 100]],
            64,
            "crop",
            "resized to 64x64: the shorter side to 64, the centre cropped (median size 150x100; 75% of an image is "
            "kept); use --aspect pad to keep all of it",
        ),
        (
            [[200, 100]],
            64,
            "pad",
            "resized to 64x64: the longer side to 64, the rest padded with the median of each image's border "
            "(all are 200x100); use --aspect crop to fill the square",
        ),
        (
            [[200, 100]],
            64,
            "stretch",
            "resized to 64x64: stretched, so shapes change (all are 200x100); use --aspect crop or pad to keep them",
        ),
    ],
)
def test_a_note_says_what_was_done_and_how_to_say_otherwise(sizes, side, aspect, note):
    assert describe_squaring(np.array(sizes), side, aspect) == (() if note is None else (note,))
