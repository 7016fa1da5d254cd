"""Mutual information against a loop, an integral and its limits; active units; the bound over a data set."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from salience.evaluation.latent import active_units, bound, log_densities, mutual_information, posteriors
from salience.methods.generative.vae import VAE
from tests import contract


def clouds(n: int, d: int, *, apart: float = 1.0, width: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Means, log variances [n d], noise [2 n d]; float64"""
    generator = torch.Generator().manual_seed(seed)
    mean, spread = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return apart * mean, 2 * math.log(width) + 0.5 * spread, noise


def by_loops(mean: Tensor, log_variance: Tensor, noise: Tensor) -> float:
    """Mean over draws of log q(z|x) - log 1/n sum_j q(z|x_j), density by density."""
    (draws, n, d), total = noise.shape, 0.0
    for s in range(draws):
        for i in range(n):
            z = [float(mean[i, a] + noise[s, i, a] * math.exp(log_variance[i, a] / 2)) for a in range(d)]
            densities = []
            for j in range(n):
                density = 1.0
                for a in range(d):
                    variance = math.exp(log_variance[j, a])
                    density *= math.exp(-((z[a] - float(mean[j, a])) ** 2) / 2 / variance)
                    density /= math.sqrt(2 * math.pi * variance)
                densities.append(density)
            total += math.log(densities[i] / (sum(densities) / n))
    return total / draws / n


@pytest.mark.parametrize("apart", [0.1, 1.0, 3.0])
def test_mutual_information_is_that_of_the_loop(apart: float) -> None:
    codes = clouds(7, 3, apart=apart)
    assert mutual_information(*codes).item() == pytest.approx(by_loops(*codes), rel=1e-10)


def test_mutual_information_is_the_integral_in_one_dimension() -> None:
    mean = torch.tensor([-1.0, 0.2, 0.9], dtype=torch.float64)
    std = torch.tensor([0.5, 0.3, 0.8], dtype=torch.float64)
    z = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    each = torch.distributions.Normal(mean[:, None], std[:, None]).log_prob(z)  # [3 z]
    mixture = each.logsumexp(dim=0) - math.log(3)
    exact = torch.trapezoid(each.exp() * (each - mixture), z).mean()
    even = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000  # quantiles: draws without chance
    noise = torch.distributions.Normal(0.0, 1.0).icdf(even)[:, None, None].expand(-1, 3, 1)
    found = mutual_information(mean[:, None], 2 * std.log()[:, None], noise)
    assert found.item() == pytest.approx(exact.item(), abs=1e-4)


def test_collapsed_codes_know_nothing_and_separate_ones_all_that_n_items_can_show() -> None:
    n = 300  # more than one part
    mean, log_variance, _ = clouds(n, 4)
    same = mutual_information(mean[:1].expand(n, -1), log_variance[:1].expand(n, -1))
    assert same.item() == pytest.approx(0, abs=1e-9)
    far = mutual_information(1e3 * mean, log_variance)
    assert far.item() == pytest.approx(math.log(n), abs=1e-9)


@pytest.mark.parametrize("apart", [0.0, 0.3, 1.0, 10.0])
def test_it_lies_between_0_and_log_n_and_grows_with_the_distance(apart: float) -> None:
    mean, log_variance, noise = clouds(200, 2, width=1.0)
    here, further = (mutual_information(a * mean, log_variance * 0, noise) for a in (apart, apart + 0.5))
    assert -1e-9 < here < further <= math.log(200) + 1e-9


def test_the_order_of_items_and_of_dimensions_and_a_shift_do_not_matter() -> None:
    mean, log_variance, noise = clouds(20, 3)
    once = mutual_information(mean, log_variance, noise)
    order, axes = torch.randperm(20, generator=torch.Generator().manual_seed(1)), [2, 0, 1]
    torch.testing.assert_close(mutual_information(mean[order], log_variance[order], noise[:, order]), once)
    torch.testing.assert_close(mutual_information(mean[:, axes], log_variance[:, axes], noise[..., axes]), once)
    torch.testing.assert_close(mutual_information(mean + 5, log_variance, noise), once)
    assert torch.equal(mutual_information(mean, log_variance), mutual_information(mean, log_variance))


def test_densities_of_narrow_clouds_keep_their_digits() -> None:
    mean, _, noise = clouds(6, 3)
    log_variance = torch.full_like(mean, -12.0)
    z = mean + math.exp(-6) * noise[0]
    exact = torch.distributions.Normal(mean, math.exp(-6)).log_prob(z[:, None]).sum(dim=2)
    torch.testing.assert_close(log_densities(z, mean, log_variance) - 1.5 * math.log(2 * math.pi), exact)


def test_a_unit_is_active_when_its_mean_varies_by_more_than_a_hundredth() -> None:
    signs = torch.tensor([[1.0], [-1.0]]).repeat(50, 1)
    mean = signs * torch.tensor([0.0, 0.0099, 0.0101, 1.0]).sqrt() + torch.tensor([5.0, 0.0, 0.0, -3.0])
    assert active_units(mean) == 2
    assert active_units(mean, threshold=0.0) == 3
    assert active_units(torch.ones(10, 4)) == 0


def test_items_go_where_the_method_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a graphics card, for which the device without values stands here: what stayed behind would be refused."""
    dataset = contract.dataset_for("vae")
    method = contract.build("vae", dataset, encoder="mlp", dim=4).eval().to("meta")
    assert isinstance(method, VAE)
    mean, log_variance = posteriors(method, dataset)
    assert mean.device == log_variance.device == torch.device("meta")
    seen: list[str] = []
    monkeypatch.setattr(method, "log_likelihood", lambda batch, k: seen.append(batch.x.device.type) or torch.zeros(1))
    bound(method, dataset, k=1)
    assert set(seen) == {"meta"}


def test_the_bound_of_a_data_set_is_the_mean_of_its_items() -> None:
    dataset = contract.dataset_for("vae")
    method = contract.build("vae", dataset, encoder="mlp", dim=4).eval()
    assert isinstance(method, VAE)
    rated = method.log_likelihood(dataset.batch(np.arange(len(dataset))), 3).numpy()
    found = bound(method, dataset, k=3)
    assert found.value == pytest.approx(rated.mean(), rel=1e-5)
    assert found.low < found.value < found.high
    mean, log_variance = posteriors(method, dataset)
    assert mean.shape == log_variance.shape == (len(dataset), 4)
    torch.testing.assert_close(mean, method.embed(dataset.batch(np.arange(len(dataset)))))
