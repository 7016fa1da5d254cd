import numpy as np
import pytest
from scipy.linalg import sqrtm

from salience.evaluation.frechet import frechet_distance, gaussian_distance, moments


def cloud(n=60, d=5, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + generator.normal(size=d)


def test_closed_form_of_independent_dimensions():
    a, b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.25])
    mean_a, mean_b = np.array([0.0, 1.0, 2.0]), np.array([3.0, 1.0, 2.0])
    expected = 9 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert gaussian_distance(mean_a, np.diag(a), mean_b, np.diag(b)) == pytest.approx(expected, rel=1e-12)


def test_matches_the_matrix_root_of_scipy():
    a, b = cloud(seed=1), cloud(seed=2)
    shared = np.trace(sqrtm(np.cov(a.T) @ np.cov(b.T))).real
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T))
    assert frechet_distance(a, b) == pytest.approx(apart - 2 * shared, rel=1e-9)


def test_0_of_equal_sets_symmetric_and_more_when_moved():
    a, b = cloud(seed=1), cloud(seed=2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * a.shape[1], rel=1e-9)


def test_turning_and_moving_both_clouds_changes_nothing_and_scale_is_squared():
    a, b = cloud(seed=1), cloud(seed=2)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    distance = frechet_distance(a, b)
    assert frechet_distance(a @ turn + 7, b @ turn + 7) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * distance, rel=1e-9)


def test_fewer_rows_than_dimensions_are_no_obstacle():
    a, b = cloud(6, 12, seed=1), cloud(6, 12, seed=2)
    assert np.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_moments_are_those_of_numpy():
    mean, covariance = moments(cloud())
    np.testing.assert_allclose(mean, cloud().mean(0))
    np.testing.assert_allclose(covariance, np.cov(cloud().T))
