"""Colour operations: torchvision's, each sample with its own strength."""

import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import functional as reference

from salience.modalities.image import colour
from salience.views.random import Keys

N = 24


def images(channels=3, seed=0):
    x = torch.rand(N, channels, 12, 12, generator=torch.Generator().manual_seed(seed))
    x[0] = 0  # black, white, grey and fully saturated pixels are where hue and division go wrong
    x[1] = 1
    x[2] = 0.5
    x[3] = (x[3] > 0.5).float()
    x[4] = x[4].mean(0)
    return x


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_sample_is_adjusted_as_torchvision_would(name):
    x = images()
    low, high = (-0.5, 0.5) if name == "hue" else (0.0, 2.0)
    strength = torch.linspace(low, high, N)[torch.randperm(N, generator=torch.Generator().manual_seed(1))]
    ours = getattr(colour, f"adjust_{name}")(x, strength)
    theirs = torch.stack(
        [getattr(reference, f"adjust_{name}")(image, float(s)) for image, s in zip(x, strength, strict=True)]
    )
    torch.testing.assert_close(ours, theirs, atol=4e-6, rtol=0)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_one_channel_is_adjusted_as_torchvision_would(name):
    x, strength = images(1), torch.linspace(0, 2, N)
    ours = getattr(colour, f"adjust_{name}")(x, strength)
    theirs = torch.stack(
        [getattr(reference, f"adjust_{name}")(image, float(s)) for image, s in zip(x, strength, strict=True)]
    )
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


def test_luma_is_torchvisions_grey():
    torch.testing.assert_close(colour.luma(images()), reference.rgb_to_grayscale(images()))


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_channels_that_are_no_colours_weigh_the_same(channels):
    x = images(channels)
    torch.testing.assert_close(colour.luma(x), x.mean(1, keepdim=True))
    shuffled = torch.randperm(channels, generator=torch.Generator().manual_seed(1))
    keys = Keys.of(0, 0, torch.arange(N))
    ours = colour.jitter(x, keys, strength=(0.4, 0.4, 0.4, 0.1), probability=0.8)
    theirs = colour.jitter(x[:, shuffled], keys, strength=(0.4, 0.4, 0.4, 0.1), probability=0.8)
    torch.testing.assert_close(ours[:, shuffled], theirs)


def test_a_strength_that_changes_nothing_changes_nothing():
    x = images()
    for name, nothing in [("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.0)]:
        torch.testing.assert_close(
            getattr(colour, f"adjust_{name}")(x, torch.full((N,), nothing)), x, atol=2e-6, rtol=0
        )


def test_operations_leave_their_input_alone():
    x = images()
    before = x.clone()
    keys = Keys.of(0, 0, torch.arange(N))
    colour.random_grey(colour.jitter(x, keys, strength=(0.4, 0.4, 0.4, 0.1), probability=0.8), keys, probability=0.5)
    assert torch.equal(x, before)


def test_jitter_is_brightness_contrast_saturation_hue_one_after_the_other():
    keys = Keys.of(0, 0, torch.arange(N))
    ours = colour.jitter(images(), keys, strength=(0.4, 0.3, 0.2, 0.1), probability=0.6)
    drawn = keys.fold("jitter").uniform(5)
    for image, u, out in zip(images(), drawn, ours, strict=True):
        if u[0] < 0.6:
            factor = [1 + (2 * float(u[1 + i]) - 1) * s for i, s in enumerate((0.4, 0.3, 0.2))]
            image = reference.adjust_brightness(image, factor[0])
            image = reference.adjust_contrast(image, factor[1])
            image = reference.adjust_saturation(image, factor[2])
            image = reference.adjust_hue(image, (2 * float(u[4]) - 1) * 0.1)
        torch.testing.assert_close(out, image, atol=2e-5, rtol=0)


def test_brightness_is_uniform_and_left_out_as_often_as_asked():
    x = torch.full((20_000, 1, 1, 1), 0.5)
    keys = Keys.of(0, 0, torch.arange(20_000))
    factor = colour.jitter(x, keys, strength=(0.4, 0.0, 0.0, 0.0), probability=0.8).flatten() / 0.5
    assert stats.binomtest(int((factor == 1).sum()), 20_000, 0.2).pvalue > 1e-4
    assert stats.kstest(factor[factor != 1].double().numpy(), stats.uniform(0.6, 0.8).cdf).pvalue > 1e-4


def test_grey_takes_the_colour_of_as_many_as_asked():
    x = torch.rand(5000, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    out = colour.random_grey(x, Keys.of(0, 0, torch.arange(5000)), probability=0.2)
    grey = (out.amax(1) == out.amin(1)).flatten(1).all(1)
    assert stats.binomtest(int(grey.sum()), 5000, 0.2).pvalue > 1e-4
    torch.testing.assert_close(out[grey], reference.rgb_to_grayscale(x[grey], num_output_channels=3))
    assert torch.equal(out[~grey], x[~grey])


def cie_lab(red, green, blue):
    """The formulas of CIE 15 and IEC 61966-2-1 for one pixel, in Python's floats."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    x = 0.4124564 * linear[0] + 0.3575761 * linear[1] + 0.1804375 * linear[2]
    y = 0.2126729 * linear[0] + 0.7151522 * linear[1] + 0.0721750 * linear[2]
    z = 0.0193339 * linear[0] + 0.1191920 * linear[1] + 0.9503041 * linear[2]
    f = [c ** (1 / 3) if c > 216 / 24389 else (24389 / 27 * c + 16) / 116 for c in (x / 0.95047, y, z / 1.08883)]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def test_lab_follows_the_formulas_pixel_by_pixel():
    x = images().double()[:6, :, :4, :4]
    x[5] *= 0.05  # near black, where root and power are lines
    ours, pixels = (image.permute(0, 2, 3, 1).reshape(-1, 3).tolist() for image in (colour.lab(x), x))
    for pixel, (light, a, b) in zip(pixels, ours, strict=True):
        assert cie_lab(*pixel) == pytest.approx((100 * light, 256 * a - 128, 256 * b - 128), abs=1e-4)


@pytest.mark.parametrize(
    ("rgb", "expected"),  # Bruce Lindbloom's calculator
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.2408, 80.0925, 67.2032)),
        ((0, 1, 0), (87.7347, -86.1827, 83.1793)),
        ((0, 0, 1), (32.2970, 79.1875, -107.8602)),
    ],
)
def test_lab_of_the_primaries(rgb, expected):
    light, a, b = colour.lab(torch.tensor(rgb, dtype=torch.float64)[None, :, None, None]).flatten().tolist()
    assert (100 * light, 256 * a - 128, 256 * b - 128) == pytest.approx(expected, abs=2e-3)


def test_lab_stays_on_the_unit_scale_and_greys_have_no_chroma():
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 9)] * 3)[:, :, None, None]
    assert colour.lab(grid).min() > -1e-6
    assert colour.lab(grid).max() < 1 + 1e-6
    grey = colour.lab(torch.linspace(0, 1, 50)[:, None, None, None].expand(-1, 3, 1, 1))
    torch.testing.assert_close(grey[:, 1:], torch.full((50, 2, 1, 1), 0.5), atol=1e-6, rtol=0)
    assert (grey[1:, 0] > grey[:-1, 0]).all()
