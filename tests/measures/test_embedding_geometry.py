import numpy as np
import pytest
import torch
from torch.nn import functional as F

from salience.measures.embedding_geometry import alignment, effective_rank, geometry_metrics, std, uniformity


def rows(n=60, d=6, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(60, 6), (6, 60)])
def test_effective_rank_is_the_exponential_of_the_singular_values_entropy(shape):
    x = rows(*shape) * torch.logspace(0, -2, shape[1], dtype=torch.float64)
    share = np.linalg.svd(x.numpy(), compute_uv=False)
    share = share / share.sum()
    assert float(effective_rank(x)) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)


def test_effective_rank_counts_equal_directions_and_sees_a_collapse():
    assert float(effective_rank(torch.eye(8)[:, :5].repeat(4, 1))) == pytest.approx(5)
    assert float(effective_rank(torch.ones(20, 4))) == pytest.approx(1, abs=1e-4)


def test_uniformity_is_the_log_of_the_mean_over_pairs():
    x = rows(10)
    z = F.normalize(x, dim=1)
    kernel = [torch.exp(-2 * (z[i] - z[j]).square().sum()) for i in range(10) for j in range(10) if i != j]
    assert float(uniformity(x)) == pytest.approx(float(torch.stack(kernel).mean().log()))
    assert float(uniformity(torch.ones(5, 3))) == pytest.approx(0)


def test_std_is_one_for_even_dimensions_and_zero_for_a_collapse():
    assert float(std(rows(5000, 16)).mean()) == pytest.approx(1, abs=0.02)
    assert float(std(torch.ones(9, 4)).max()) < 1e-5
    z = F.normalize(rows(), dim=1)
    torch.testing.assert_close(std(rows()), z.std(0, correction=0) * 6**0.5)


def test_alignment_is_the_mean_squared_distance_on_the_sphere():
    a, b = rows(), rows(seed=1)
    expected = (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean()
    assert alignment(a, b).value == pytest.approx(float(expected))
    assert alignment(a, 3 * a).value == pytest.approx(0)
    assert alignment(a, -a).value == pytest.approx(4)


def test_equal_weights_change_nothing_and_a_weight_of_two_is_a_row_twice():
    x = rows(20)
    weights = torch.ones(20, dtype=torch.float64)
    weights[3] = 2
    twice = torch.cat([x, x[3:4]])
    torch.testing.assert_close(effective_rank(x, weights / 21), effective_rank(twice))
    torch.testing.assert_close(std(x, weights / 21), std(twice))


def test_intervals_agree_with_the_bootstrap():
    x = rows(300, 5) * torch.tensor([3.0, 1, 1, 0.5, 0.2], dtype=torch.float64)
    found = geometry_metrics(x)
    generator = np.random.default_rng(0)
    again = {"effective_rank": [], "std_mean": []}
    for _ in range(300):
        drawn = x[generator.integers(0, 300, 300)]
        again["effective_rank"].append(float(effective_rank(drawn)))
        again["std_mean"].append(float(std(drawn).mean()))
    for name, values in again.items():
        assert found[name].high - found[name].low == pytest.approx(2 * 1.96 * np.std(values), rel=0.25)
    assert found["uniformity"].low < found["uniformity"].value < found["uniformity"].high


@pytest.mark.parametrize("x", [torch.zeros(10, 4), torch.ones(10, 4)])
def test_a_collapsed_cloud_has_figures_all_the_same(x):
    found = geometry_metrics(x)
    assert found["effective_rank"].value == pytest.approx(1, abs=1e-3)
    assert found["uniformity"].value == pytest.approx(0)
    assert found["std_mean"].value == pytest.approx(0, abs=1e-5)
    assert all(np.isfinite([metric.low, metric.high]).all() for metric in found.values())
