import numpy as np
import pytest

from salience.modalities.moments import Moments


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
