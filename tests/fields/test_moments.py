import numpy as np
import pytest

from salience.fields.moments import Moments


def moments_of(x, sizes):
    found = Moments(x.shape[1])
    for start, stop in zip(np.cumsum([0, *sizes])[:-1], np.cumsum(sizes), strict=True):
        found.add(x[start:stop])
    return found


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_chunks_of_any_size_give_the_statistics_of_the_whole(dtype):
    x = (np.random.default_rng(0).gamma(2, 20, (50, 3, 4, 5)) % 255).astype(dtype)
    found = moments_of(x, [1, 30, 19])
    whole = x.astype(np.float64)
    np.testing.assert_allclose(found.mean, whole.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, whole.std((0, 2, 3)), rtol=1e-12)
    np.testing.assert_array_equal(found.low, whole.min((0, 2, 3)))
    np.testing.assert_array_equal(found.high, whole.max((0, 2, 3)))


def test_missing_values_do_not_count():
    x = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 5.0], [8.0, 7.0]])
    found = moments_of(x, [2, 2])
    np.testing.assert_allclose(found.mean, [4, 6])
    np.testing.assert_allclose(found.std, [np.std([1, 3, 8]), 1])
    np.testing.assert_array_equal(found.count, [3, 2])


def test_a_constant_has_spread_one_and_a_large_offset_keeps_its_precision():
    rng = np.random.default_rng(0)
    x = np.stack([np.full(1000, 0.1), 1e8 + rng.normal(size=1000)], axis=1)
    found = moments_of(x, [300, 700])
    assert found.std[0] == 1
    np.testing.assert_allclose(found.std[1], x[:, 1].std(), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-60, 1e60, 1e153, 1e155, 1e300])
def test_values_of_any_magnitude_have_a_mean_and_a_spread(scale):
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(3, 1, 90), rng.gamma(1, 1, 90)], axis=1)
    found = moments_of(x * scale, [20, 30, 40])
    np.testing.assert_allclose(found.mean / scale, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std / scale, x.std(0), rtol=1e-12)
    assert found.varies.all()


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]])
def test_blocks_of_different_magnitudes_are_merged(order):
    parts = [np.full((5, 1), 1e-200), np.arange(5.0)[:, None], np.linspace(-1, 1, 6)[:, None] * 1e200]
    found = Moments(1)
    for part in order:
        found.add(parts[part])
    whole = np.concatenate(parts) / 1e200
    np.testing.assert_allclose(found.mean / 1e200, whole.mean(0), atol=1e-16)
    np.testing.assert_allclose(found.std / 1e200, whole.std(0), rtol=1e-12)
    assert (found.low, found.high) == (-1e200, 1e200)


def test_zeros_and_missing_values_have_no_magnitude():
    x = np.array([[0.0, np.nan, 1e200], [0.0, np.nan, np.nan], [0.0, 3.0, np.nan]])
    found = moments_of(x, [1, 1, 1])
    np.testing.assert_array_equal(found.mean, [0, 3, 1e200])
    np.testing.assert_array_equal(found.std, [1, 1, 1])
    np.testing.assert_array_equal(found.varies, [False, False, False])
    np.testing.assert_array_equal(found.count, [3, 1, 1])


def test_ordinary_values_are_not_rescaled():
    """To the bit, since equal seeds give equal weights."""
    x = np.random.default_rng(0).normal(2, 3, (64, 4))
    found = moments_of(x, [64])
    values = np.moveaxis(x, 1, 0).reshape(4, -1).astype(np.float64)
    mean = values.sum(axis=1) / 64
    square = ((values - mean[:, None]) ** 2).sum(axis=1)
    np.testing.assert_array_equal(found.mean, mean)
    np.testing.assert_array_equal(found.std, np.sqrt(square / 64))
