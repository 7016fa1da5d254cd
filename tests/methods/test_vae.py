"""The VAE's bound against loops, torch.distributions, integrals, and probabilistic PCA; the bound of k draws."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from salience.batch import Batch, Progress
from salience.data import open_data
from salience.errors import UserError
from salience.methods import Context
from salience.methods.generative import vae
from salience.methods.generative.vae import (
    SPEED,
    VAE,
    WIDEST,
    Density,
    bernoulli,
    bounded,
    gaussian,
    iwae,
    noise_of,
    posterior,
)
from salience.modalities.image.spec import ImageSpec
from salience.representation import load
from salience.training import fit
from salience.verbs.reconstruct import reconstruct
from salience.verbs.sample import sample
from tests import contract
from tests.methods.proof import assert_same_value_and_gradient, random_views

AT = Progress(step=2, total=10, epoch=1, seed=3)
PLAIN = ImageSpec((1, 2, 3), "float32", 0.0, 1.0, mean=(0.0,), std=(1.0,))  # stored as a linear net sees it


def unbounded(log_variance: Tensor) -> Tensor:
    """What becomes this when it is bounded."""
    return WIDEST * torch.atanh(torch.as_tensor(log_variance, dtype=torch.float64) / WIDEST)


def test_the_divergence_is_that_of_torch_in_value_and_gradient() -> None:
    mean, log_variance = random_views(5, 4)
    theirs = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(4), torch.ones(4))).sum(dim=1)
    ours = vae.kl_divergence(mean, log_variance)
    weights = torch.arange(1.0, 6, dtype=torch.float64)
    assert_same_value_and_gradient(ours @ weights, theirs @ weights, (mean, log_variance))


def test_draw_and_divergence_at_once_are_those_of_the_formulas_in_value_and_gradient() -> None:
    """Each has a gradient of its own; deviations as far as a factor of 200 from 1, where the tanh bends."""
    (output,) = random_views(7, 10, count=1)
    output = (output * 8).detach().requires_grad_()
    noise, weights = (values.detach() for values in random_views(7, 5, seed=1))
    for of_draw, of_kl in ((1.0, 0.0), (0.0, 1.0), (0.7, -2.0)):
        z, kl = vae.cloud(output, noise)
        mean, log_variance = posterior(output)
        plain = vae.drawn(mean, log_variance, noise), vae.kl_divergence(mean, log_variance)
        torch.testing.assert_close((z, kl), plain, rtol=1e-12, atol=1e-12)
        ours, theirs = (of_draw * (a * weights).sum() + of_kl * (b * weights[:, 0]).sum() for a, b in ((z, kl), plain))
        assert_same_value_and_gradient(ours, theirs, (output,))
    assert torch.autograd.gradcheck(lambda values: vae.cloud(values, noise), output)


def test_a_standard_normal_posterior_has_no_divergence_and_any_other_has() -> None:
    zero = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    divergence = vae.kl_divergence(zero, zero).sum()
    assert divergence.item() == 0
    assert not torch.autograd.grad(divergence, zero)[0].any()
    mean, log_variance = random_views(50, 4)
    assert vae.kl_divergence(mean, log_variance).min() > 0


def test_likelihoods_are_those_of_torch_in_value_and_gradient() -> None:
    output, x = random_views(3, 8)
    output, x = output.unflatten(1, (2, 2, 2)), x.detach().sigmoid().unflatten(1, (2, 2, 2))
    black = (x > 0.5).double()
    theirs = -Bernoulli(logits=output).log_prob(black).flatten(1).sum(dim=1)
    assert_same_value_and_gradient(bernoulli(output, black).sum(), theirs.sum(), (output,))
    log_variance = torch.tensor(-1.3, dtype=torch.float64, requires_grad=True)
    theirs = -Normal(output, (log_variance / 2).exp()).log_prob(x).flatten(1).sum(dim=1)
    assert_same_value_and_gradient(gaussian(output, x, log_variance).sum(), theirs.sum(), (output, log_variance))
    best = (x - output).square().mean().log().detach().requires_grad_()  # the variance that fits best is the error
    assert torch.autograd.grad(gaussian(output.detach(), x, best).sum(), best)[0].abs() < 1e-9


def small(likelihood: str, **options: object) -> tuple[VAE, Batch]:
    """A linear VAE of 8x8 images in float64, and some of them."""
    dataset = contract.dataset_for("vae")
    method = contract.build("vae", dataset, encoder="linear", dim=3, likelihood=likelihood, **options).double()
    assert isinstance(method, VAE)
    return method, dataset.batch(np.arange(4))


def maps_of(method: VAE) -> tuple[nn.Linear, nn.Linear]:
    """The two linear maps of a linear VAE."""
    body, decoder = method.encoder.body, method.decoder
    assert isinstance(body, nn.Sequential)
    assert isinstance(decoder, nn.Sequential)
    to_code, from_code = body[1], decoder[0]
    assert isinstance(to_code, nn.Linear)
    assert isinstance(from_code, nn.Linear)
    return to_code, from_code


def log_variance_of(method: VAE) -> float:
    assert method.density.log_scale is not None
    return bounded(2 * SPEED * method.density.log_scale).item()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_loss_is_that_of_loops(likelihood: str) -> None:
    method, batch = small(likelihood, beta=0.7)
    terms = method.loss(batch, AT)
    eps, spec = noise_of(batch, AT, 3), method.encoder.input.spec
    to_code, from_code = maps_of(method)
    rebuild = kl = 0.0
    for i in range(4):
        x = (batch.x[i].double() / 255).flatten()
        seen = to_code.weight @ ((x - spec.mean[0]) / spec.std[0]) + to_code.bias
        code = []
        for j in range(3):
            mean, log_variance = seen[j].item(), 12 * math.tanh(seen[3 + j].item() / 12)
            kl += (mean**2 + math.exp(log_variance) - 1 - log_variance) / 2 / 4
            code.append(mean + math.exp(log_variance / 2) * eps[i, j].item())
        output = from_code.weight @ torch.tensor(code, dtype=torch.float64) + from_code.bias
        for value, wanted in zip(output.tolist(), x.tolist(), strict=True):
            if likelihood == "bernoulli":
                p = 1 / (1 + math.exp(-value))
                rebuild -= (wanted * math.log(p) + (1 - wanted) * math.log(1 - p)) / 4
            else:
                sigma = math.exp(log_variance_of(method) / 2)
                log_density = -((wanted - value) ** 2) / 2 / sigma**2 - math.log(sigma) - math.log(2 * math.pi) / 2
                rebuild -= log_density / 4
    assert terms["kl"].item() == pytest.approx(kl, rel=1e-6)
    assert terms["rebuild"].item() == pytest.approx(rebuild, rel=1e-6)
    assert terms["loss"].item() == pytest.approx(terms["rebuild"].item() + 0.7 * terms["kl"].item(), rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_divergence_alone(beta: float) -> None:
    (method, batch), (usual, _) = small("bernoulli", beta=beta), small("bernoulli")
    terms, others = method.loss(batch, AT), usual.loss(batch, AT)
    assert torch.equal(terms["rebuild"], others["rebuild"])
    assert torch.equal(terms["kl"], others["kl"])
    torch.testing.assert_close(terms["loss"] - others["loss"], (beta - 1) * terms["kl"])


def principal(x: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tipping & Bishop 1999: mean, W, sigma^2 of probabilistic PCA, and the eigenvalues kept."""
    mean = x.mean(dim=0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    values, vectors = values.flip(0), vectors.flip(1)
    noise = values[dim:].mean()
    return mean, vectors[:, :dim] * (values[:dim] - noise).sqrt(), noise, values[:dim]


def at_principal(dim: int = 2) -> tuple[VAE, Batch, Tensor]:
    """A linear VAE whose weights are probabilistic PCA's, the items, and their exact log-likelihoods [n]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator) @ torch.randn(6, 6, generator=generator) * 0.3 + 0.5
    mean, loadings, noise, kept = principal(x.double(), dim)
    method = VAE.build(Context(PLAIN, 40, "linear"), dim=dim, likelihood="gaussian").double()
    to_code, from_code = maps_of(method)
    assert method.density.log_scale is not None
    back = loadings.T / kept[:, None]  # M^-1 W^T, where M = W^T W + sigma^2 = the eigenvalues
    with torch.no_grad():
        to_code.weight.copy_(torch.cat([back, torch.zeros(dim, 6)]))
        to_code.bias.copy_(torch.cat([-back @ mean, unbounded((noise / kept).log())]))
        from_code.weight.copy_(loadings)
        from_code.bias.copy_(mean)
        method.density.log_scale.copy_(unbounded(noise.log()) / 2 / SPEED)
    exact = MultivariateNormal(mean, loadings @ loadings.T + noise * torch.eye(6)).log_prob(x.double())
    return method, Batch(x.unflatten(1, (1, 2, 3)), torch.arange(40)), exact


def test_a_linear_one_at_probabilistic_pca_has_its_likelihood_and_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch, exact = at_principal()
    points = math.sqrt(2) * torch.cat([torch.eye(2), -torch.eye(2)]).double()  # means of cubics are exact in them
    losses = []
    for point in points:
        monkeypatch.setattr(vae, "noise_of", lambda batch, at, dim, point=point: point.expand(len(batch), dim))
        losses.append(method.loss(batch, AT)["loss"])
    loss = torch.stack(losses).mean()
    torch.testing.assert_close(loss, -exact.mean(), rtol=1e-9, atol=0)
    for gradient in torch.autograd.grad(loss, list(method.parameters())):
        assert gradient.abs().max() < 1e-7
    with torch.no_grad():
        maps_of(method)[1].weight.mul_(1.1)
    assert torch.autograd.grad(method.loss(batch, AT)["loss"], maps_of(method)[1].weight)[0].abs().max() > 1e-2


def test_with_the_exact_posterior_every_draw_gives_the_exact_likelihood() -> None:
    method, batch, exact = at_principal()
    for k in (1, 5):
        torch.testing.assert_close(method.log_likelihood(batch, k), exact, rtol=0, atol=1e-6)  # noise is float32


def test_with_another_posterior_the_bound_is_below_and_many_draws_come_close() -> None:
    method, batch, exact = at_principal()
    with torch.no_grad():
        maps_of(method)[0].bias.add_(torch.tensor([0.3, -0.2, 0.4, 0.5]))
    often = Batch(batch.x.repeat(100, 1, 1, 1), torch.arange(4000))  # each item with a hundred different noises
    gaps = [(exact.repeat(100) - method.log_likelihood(often, k)).mean().item() for k in (1, 5, 25, 125)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.3
    assert 0 < gaps[-1] < 0.02


def nonlinear(z: Tensor) -> Tensor:
    """[n 1] -> logits [n 3]"""
    return torch.cat([2 * z, z.square() - 1, torch.sin(3 * z)], dim=1)


def test_the_expected_bound_of_k_draws_grows_from_the_elbo_to_the_likelihood() -> None:
    """By Gauss-Hermite quadrature over the noise of one, two and three draws, and over z."""
    x = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    mean, log_variance = torch.tensor([[0.4]], dtype=torch.float64), torch.tensor([[-0.5]], dtype=torch.float64)
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(40))
    weights = weights / weights.sum()
    code, noise = (mean.expand(40, 1), log_variance.expand(40, 1)), nodes[:, None]
    error = bernoulli(nonlinear(vae.drawn(*code, noise)), x.expand(40, -1))
    each = vae.log_weight(error, *code, noise)  # of one draw at each node
    expected = []
    for k in (1, 2, 3):
        grid = torch.tensor(list(product(range(40), repeat=k))).T  # [k 40^k]
        expected.append((iwae(each[grid]) @ weights[grid].prod(dim=0)).item())
    elbo = -(error @ weights) - vae.kl_divergence(mean, log_variance).item()
    assert expected[0] == pytest.approx(elbo.item(), abs=1e-10)
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None]
    joint = Normal(0.0, 1.0).log_prob(z[:, 0]) - bernoulli(nonlinear(z), x.expand(len(z), -1))
    exact = torch.trapezoid(joint.exp(), z[:, 0]).log().item()
    assert expected[0] + 1e-3 < expected[1] < expected[2] < exact


def test_the_bound_of_equal_weights_is_their_logarithm_and_its_gradient_their_share() -> None:
    torch.testing.assert_close(iwae(torch.full((7, 3), -800.0)), torch.full((3,), -800.0))
    weights = torch.tensor([[0.2], [0.5], [0.3]], dtype=torch.float64).log().requires_grad_()
    (gradient,) = torch.autograd.grad(iwae(weights).sum(), weights)
    torch.testing.assert_close(gradient, weights.exp().detach())


def test_likelihoods_are_the_same_again_and_alone() -> None:
    method, batch = small("bernoulli")
    rated = method.log_likelihood(batch, 4)
    assert torch.equal(rated, method.log_likelihood(batch, 4))
    torch.testing.assert_close(method.log_likelihood(Batch(batch.x[2:3], batch.index[2:3]), 4), rated[2:3])
    assert method.log_likelihood(batch, 1).mean() < method.log_likelihood(batch, 50).mean()


def test_losses_stay_finite_in_half_precision_whatever_the_encoder_gives() -> None:
    output = torch.tensor([[1e3, -1e3, 1e4, -1e4]], dtype=torch.bfloat16, requires_grad=True)
    mean, log_variance = posterior(output)
    assert mean.dtype == torch.float32
    assert log_variance.abs().max() <= WIDEST
    loss = vae.kl_divergence(mean, log_variance).sum() + gaussian(mean, mean * 0, log_variance[0, 1]).sum()
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, output)[0]).all()
    method, batch = small("gaussian")
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.float().loss(batch, AT)
    assert all(term.dtype == torch.float32 for term in terms.values())


def test_what_is_decoded_and_sampled_are_items() -> None:
    method, batch = small("bernoulli")
    method.float()
    codes = method.embed(batch)
    assert codes.shape == (4, method.width)
    torch.testing.assert_close(codes, method.posterior(batch)[0])
    torch.testing.assert_close(method.decode(codes), method.decoder(codes).sigmoid())
    torch.manual_seed(0)
    sampled = method.sample(5)
    assert sampled.shape == (5, 1, 8, 8)
    assert 0 <= sampled.min() <= sampled.max() <= 1
    torch.manual_seed(0)
    torch.testing.assert_close(method.sample(5), sampled)


def test_it_begins_with_the_mean_of_the_data() -> None:
    for likelihood in ("bernoulli", "gaussian"):
        method, _ = small(likelihood)
        nn.init.zeros_(maps_of(method)[1].weight)
        mean = torch.tensor(method.encoder.input.spec.mean[0], dtype=torch.float64)
        torch.testing.assert_close(method.decode(torch.zeros(1, 3).double()).mean(), mean, rtol=1e-5, atol=0)
    assert math.exp(log_variance_of(method) / 2) == pytest.approx(method.encoder.input.spec.std[0])


def test_active_units_fall_silent_with_the_means() -> None:
    method, batch = small("bernoulli")
    with torch.no_grad():
        maps_of(method)[0].weight[0] = 0  # a dimension that says the same of every item
    assert method.vitals(batch, AT)["active_units"] == pytest.approx(2 / 3)
    with torch.no_grad():
        maps_of(method)[0].weight.zero_()
        nn.init.zeros_(maps_of(method)[0].bias)
    signs = method.vitals(batch, AT)
    assert signs["active_units"] == signs["kl"] == 0


def test_what_health_asks_of_codes_is_the_mean_divergence_and_the_share_in_use() -> None:
    method, batch = small("gaussian")
    mean, log_variance = method.posterior(batch)
    theirs = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(3), torch.ones(3))).sum(dim=1)
    vitals = method.vitals(batch, AT)
    torch.testing.assert_close(vitals["kl"], theirs.mean())
    torch.testing.assert_close(vitals["active_units"], (mean.var(dim=0, correction=0) > 0.01).float().mean())


def test_the_likelihood_suits_the_data_and_the_code_fits_it() -> None:
    colour = replace(PLAIN, shape=(3, 8, 8), mean=(0.5,) * 3, std=(0.2,) * 3)
    table = open_data(np.random.default_rng(0).normal(size=(20, 5)), progress=False).spec
    kinds = [VAE.build(Context(spec, 20, "linear")) for spec in (PLAIN, colour, table)]
    assert [kind.likelihood for kind in kinds] == ["bernoulli", "gaussian", "gaussian"]
    assert [kind.dim for kind in kinds] == [3, 64, 2]
    assert [kind.density.log_scale is None for kind in kinds] == [True, False, False]
    with pytest.raises(UserError, match="likelihood: 'bernoulli' requires values between 0 and 1"):
        VAE.build(Context(table, 20), likelihood="bernoulli")
    with pytest.raises(UserError, match="dim: a code of 9 values for items of 5"):
        VAE.build(Context(table, 20), dim=9)


def autoregressive(**options: object) -> tuple[VAE, Batch]:
    """With weights in the raster everywhere, also where training begins with none."""
    dataset = contract.dataset_for("vae").subset(range(3))
    method = contract.build("vae", dataset, encoder="linear", dim=2, autoregressive=True, **options).double()
    for parameter in method.density.raster.parameters():
        nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(len(parameter)))
    return method, dataset.batch(np.arange(3))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_an_autoregressive_likelihood_is_the_product_over_pixels_of_what_those_before_say(likelihood: str) -> None:
    """Pixel by pixel: all that come later are hidden, and only this one's chance is taken."""
    method, batch = autoregressive(likelihood=likelihood)
    (z,) = random_views(3, 2, count=1)
    x = method.encoder.input.unit(batch.x).double()
    told, terms = method.decoder(z), []
    for row, column in product(range(x.shape[2]), range(x.shape[3])):
        before = torch.zeros_like(x)
        before[:, :, :row] = x[:, :, :row]
        before[:, :, row, :column] = x[:, :, row, :column]
        output, value = method.density.raster(told, before)[:, 0, row, column], x[:, 0, row, column]
        if likelihood == "bernoulli":
            terms.append(-(value * output.sigmoid().log() + (1 - value) * (1 - output.sigmoid()).log()))
        else:
            deviation = (bounded(2 * SPEED * method.density.log_scale) / 2).exp()
            terms.append(-Normal(output, deviation).log_prob(value))
    ours, theirs = method.density(method.decoder(z), x).sum(), torch.stack(terms).sum()
    assert_same_value_and_gradient(ours, theirs, (z,))
    assert (method.density(told, x) - Density(likelihood, method.encoder.input.spec)(told, x)).abs().min() > 1e-6


@pytest.mark.slow
def test_a_strong_decoder_says_more_of_items_and_leaves_the_code_less() -> None:
    dataset = contract.dataset_for("vae")
    items, found = dataset.batch(np.arange(64)), []
    for strong in (False, True):
        method = contract.build("vae", dataset, encoder="mlp", dim=4, autoregressive=strong)
        optimiser = torch.optim.Adam(method.parameters(), lr=3e-3)
        for step in range(250):
            batch = dataset.batch(np.random.default_rng(step).permutation(len(dataset))[:32])
            optimiser.zero_grad()
            method.loss(batch, Progress(step, 250, epoch=step, seed=5))["loss"].backward()
            optimiser.step()
        with torch.no_grad():
            found.append((method.eval().log_likelihood(items, 10).mean(), method.vitals(items, AT)["kl"]))
    (likelihood, kl), (strong_likelihood, strong_kl) = found
    assert strong_likelihood > likelihood + 0.5
    assert strong_kl < 0.5 * kl


def test_what_a_decoder_that_needs_the_item_cannot_do_is_refused() -> None:
    method, _ = autoregressive()
    assert set(method.withheld) == {"decode", "sample"}
    assert not method.rebuilds(AT)
    assert contract.build("vae", contract.dataset_for("vae")).withheld == {}
    table = open_data(np.random.default_rng(0).normal(size=(20, 5)), progress=False).spec
    with pytest.raises(UserError, match="autoregressive: the values of table rows have no order"):
        VAE.build(Context(table, 20), autoregressive=True)


def test_an_autoregressive_run_is_loaded_as_it_was_and_rates_its_items(tmp_path: Path) -> None:
    dataset = contract.dataset_for("vae")
    rep = fit("vae", dataset, out=tmp_path / "run", dim=4, autoregressive=True, **contract.QUICK)
    again = load(tmp_path / "run")
    assert again.capabilities == ("rates",)
    assert again.config.model.withheld == ("decode", "sample")
    np.testing.assert_array_equal(again.log_likelihood(dataset), rep.log_likelihood(dataset))
    for verb in (reconstruct, sample):
        with pytest.raises(UserError, match=r"^run: this vae cannot .*: its decoder is autoregressive"):
            verb(again, dataset)
