"""What each option of the generative methods does, seen in the loss of a whole method, its shapes and its samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from salience.errors import UserError
from salience.nets import distance
from salience.training import fit
from salience.views.random import Keys
from tests import contract
from tests.methods import test_moco as moco
from tests.methods.effects import (
    AT,
    Effects,
    assert_rises,
    assert_weighs,
    batch_of,
    built,
    dataset_for,
    number,
    options_of_family,
    widths,
)

EFFECTS = Effects()
BOUND = 12.0  # of the logarithm of a variance
VIEWED = ("crvae",)  # what rebuilds a view of the item, not the item


def item_or_view(method: Any, name: str) -> Tensor:
    batch = batch_of(name)
    return method.views.one(batch, AT).x if name in VIEWED else method.encoder.input.unit(batch.x)


def code_of(method: Any, x: Tensor, role: str = "latent") -> tuple[Tensor, Normal]:
    """A draw of z, and q(z|x), by torch.distributions."""
    encoder = method.teacher_encoder if role == "key" else method.encoder
    mean, raw = encoder(x).chunk(2, dim=1)
    posterior = Normal(mean, (BOUND * torch.tanh(raw / BOUND) / 2).exp())
    noise = Keys.of(AT.seed, AT.epoch, batch_of("vae").index).fold(role).normal(mean.shape[1])
    return posterior.mean + posterior.stddev * noise, posterior


def divergence(posterior: Normal) -> Tensor:
    return kl_divergence(posterior, Normal(torch.zeros_like(posterior.mean), 1.0)).sum(dim=1).mean()


# --- codes ------------------------------------------------------------------------------------------------------------


@EFFECTS.of("vae.dim", "crvae.dim", "dfcvae.dim")
def width_of_the_code(name: str, option: str) -> None:
    for options, dim in (({"dim": 5}, 5), ({}, 32)):  # by default at most half of the 64 values
        method: Any = built(name, **options)
        assert method.dim == method.width == method.embed(batch_of(name)).shape[1] == dim
        assert widths(method.encoder)[-1] == 2 * dim
        assert method.decode(torch.zeros(3, dim).double()).shape == (3, 1, 8, 8)
        assert method.float().sample(2).shape == (2, 1, 8, 8)
    with pytest.raises(UserError, match="at most 64"):
        built(name, dim=65)


@EFFECTS.of("vae.beta", "crvae.beta", "dfcvae.beta")
def beta_weighs_the_divergence(name: str, option: str) -> None:
    assert_weighs(name, option, lambda terms: terms["kl"])
    method = built(name)
    _, posterior = code_of(method, item_or_view(method, name))
    torch.testing.assert_close(method.loss(batch_of(name), AT)["kl"], divergence(posterior))


@EFFECTS.of("crvae.gamma")
def gamma_weighs_the_contrast(name: str, option: str) -> None:
    assert_weighs(name, option, lambda terms: terms["contrast"])


@EFFECTS.of("crvae.temperature")
def temperature_of_the_contrast_is_that_of_the_formula(name: str, option: str) -> None:
    """Between the code drawn for the first view, and the one that the teacher draws for the second."""
    for temperature in (0.05, 0.8):
        method: Any = built(name, temperature=temperature, dim=4)
        query, _ = code_of(method, item_or_view(method, name))
        key, _ = code_of(method, method.views.one(batch_of(name), AT, "global", 1).x, "key")
        expected = moco.paper_loop(query, key, method.old_keys, temperature)
        torch.testing.assert_close(method.loss(batch_of(name), AT)["contrast"], expected, rtol=1e-9, atol=1e-9)


@EFFECTS.of("crvae.momentum")
def the_teacher_of_crvae_keeps_its_share(name: str, option: str) -> None:
    for momentum in (0.0, 0.75, 1.0):
        method: Any = built(name, momentum=momentum)
        with torch.no_grad():
            for weight in method.encoder.parameters():
                weight.add_(1.0)
        students = list(method.encoder.parameters())
        expected = [p.detach() - momentum for p in students]  # the teacher's share of a way of 1
        method.after_step(AT)
        torch.testing.assert_close([p.detach() for p in method.teacher_encoder.parameters()], expected)
        assert (distance(method.teacher_encoder, method.encoder) < 1e-12) == (momentum == 0)


@EFFECTS.of("crvae.queue")
def a_longer_queue_of_crvae_has_more_negatives(name: str, option: str) -> None:
    contrasts = []
    for length in (0, 8, 64):
        method: Any = built(name, queue=length)
        assert method.old_keys.shape == (length, 32)
        contrasts.append(method.loss(batch_of(name), AT)["contrast"])
    assert number(contrasts[0]) == 0
    assert_rises(contrasts)


@EFFECTS.of("vae.likelihood", "crvae.likelihood")
def the_likelihood_is_torchs(name: str, option: str) -> None:
    assert built(name).likelihood == "bernoulli"  # of one channel
    for likelihood in ("bernoulli", "gaussian"):
        method: Any = built(name, likelihood=likelihood)
        x = item_or_view(method, name).double()
        output = method.decoder(code_of(method, x)[0])
        if likelihood == "bernoulli":
            expected = F.binary_cross_entropy_with_logits(output, x, reduction="none")
            torch.testing.assert_close(method.density.mean(output), Bernoulli(logits=output).mean)
        else:
            scale = (BOUND * torch.tanh(2 * 10 * method.density.log_scale / BOUND) / 2).exp()
            expected = -Normal(output, scale).log_prob(x)
            torch.testing.assert_close(method.density.mean(output), output)
        rebuild = method.loss(batch_of(name), AT)["rebuild"]
        torch.testing.assert_close(rebuild, expected.flatten(1).sum(dim=1).mean())


@EFFECTS.of("vae.autoregressive", "crvae.autoregressive")
def the_decoder_also_sees_the_pixels_before(name: str, option: str) -> None:
    """A pixel changes what is said of those after it, and of none before; and nothing is rebuilt from a code."""
    method: Any = built(name, autoregressive=True)
    nn.init.normal_(method.density.raster.end.weight)
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    other = x.clone()
    other[0, 0, 3, 4] = 1 - other[0, 0, 3, 4]
    told = torch.zeros_like(x)
    changed = (method.density.raster(told, x) != method.density.raster(told, other)).flatten()
    assert not changed[: 3 * 8 + 5].any()
    assert changed[3 * 8 + 5 :].any()
    assert set(method.withheld) == {"decode", "sample"}
    plain: Any = built(name, autoregressive=False)
    assert plain.density.raster is None
    assert not plain.withheld


# --- DFC-VAE ----------------------------------------------------------------------------------------------------------


@EFFECTS.of("dfcvae.layers")
def so_many_layers_are_compared(name: str, option: str) -> None:
    losses = []
    for layers in (1, 2, 3):
        method: Any = built(name, layers=layers)
        x = item_or_view(method, name)
        rebuilt = method.decoder(code_of(method, x)[0])
        seen, wanted = method.perceive(rebuilt), method.perceive(x)
        assert len(seen) == layers
        each = [(a - b).square().flatten(1).sum(dim=1).mean() / 2 for a, b in zip(seen, wanted, strict=True)]
        losses.append(method.loss(batch_of(name), AT)["rebuild"])
        torch.testing.assert_close(losses[-1], torch.stack(each).sum())
    assert_rises(losses)


@EFFECTS.of("dfcvae.features", "dfcvae.network")
def what_compares(name: str, option: str) -> None:
    assert [built(name, features=features).network for features in ("convnet", "mlp")] == ["convnet", "mlp"]
    assert built(name).network == "convnet"
    convolutions, dense = (
        {type(part) for part in built(name, features=features).perceive.modules()} for features in ("convnet", "mlp")
    )
    assert nn.BatchNorm2d in convolutions - dense
    assert nn.BatchNorm1d in dense - convolutions
    with pytest.raises(UserError, match="network: 'mlp' was given"):
        built(name, features="convnet", network="mlp")


# --- two players ------------------------------------------------------------------------------------------------------


@EFFECTS.of("gan.dim")
def width_of_the_noise(name: str, option: str) -> None:
    for dim in (3, 64):
        method: Any = built(name, encoder=None, dim=dim)
        assert widths(method.generator)[0] == method.generator[0].weight.shape[0]
        assert method.generator[0].in_features == dim
        assert method.float().sample(2).shape == (2, 1, 8, 8)


@EFFECTS.of("gan.channels")
def channels_of_the_players(name: str, option: str) -> None:
    for channels in (4, 8):
        method: Any = built(name, encoder=None, channels=channels)
        last = [part for part in method.generator.modules() if isinstance(part, nn.ConvTranspose2d)][-1]
        first = next(part for part in method.encoder.modules() if isinstance(part, nn.Conv2d))
        assert first.out_channels == last.in_channels == channels
        dense: Any = built(name, encoder="mlp", channels=channels)
        assert widths(dense.encoder) == [4 * channels, 4 * channels]
        assert widths(dense.generator)[:2] == [4 * channels, 4 * channels]


def made_and_real(method: Any) -> tuple[Tensor, Tensor]:
    batch = batch_of("gan")
    return method.made(batch, AT, "discriminator").detach(), method.encoder.input.unit(batch.x).double()


@EFFECTS.of("gan.penalty")
def the_penalty_is_on_slopes_where_it_says(name: str, option: str) -> None:
    """Of a linear judge, whose slope w is the same everywhere: |w|^2 / 2, (|w| - 1)^2, or none."""
    for length in (0.5, 1.0, 3.0):
        costs = {"none": 0.0, "r1": 10 * length**2 / 2, "one_centred": 10 * (length - 1) ** 2}
        for penalty, cost in costs.items():
            method: Any = built(name, encoder="linear", penalty=penalty)
            with torch.no_grad():
                slope = method.head.weight @ method.encoder.body[1].weight
                method.head.weight.mul_(length / slope.norm())
            terms = method.turn_loss("discriminator", batch_of(name), AT)
            assert number(terms["loss"] - terms["discriminator"]) == pytest.approx(cost, abs=1e-6)
            assert ("penalty" in terms) == (penalty != "none")


@EFFECTS.of("gan.penalty_weight")
def so_much_the_penalty_weighs(name: str, option: str) -> None:
    for penalty in ("r1", "one_centred"):
        methods = [built(name, penalty=penalty, penalty_weight=weight) for weight in (1.0, 10.0)]
        one, ten = (method.loss(batch_of(name), AT) for method in methods)
        torch.testing.assert_close(ten["penalty"], 10 * one["penalty"])
        torch.testing.assert_close(ten["loss"] - ten["discriminator"], ten["penalty"])
        assert number(one["penalty"]) > 1e-9


@EFFECTS.of("gan.smoothing")
def the_best_judge_is_less_sure_of_real_items(name: str, option: str) -> None:
    """Real items count (1 - s) as real and s as made, and made items as made alone."""
    for smoothing in (0.0, 0.1, 0.4):
        method: Any = built(name, penalty="none", smoothing=smoothing)
        made, real = made_and_real(method)
        p, q = (method.judge(x).sigmoid() for x in (real, made))
        expected = -((1 - smoothing) * p.log() + smoothing * (1 - p).log()).mean() - (1 - q).log().mean()
        torch.testing.assert_close(method.turn_loss("discriminator", batch_of(name), AT)["loss"], expected)


@EFFECTS.of("conditional_gan.factor")
def so_many_times_it_enlarges(name: str, option: str) -> None:
    for factor in (2, 4):
        method: Any = built(name, encoder=None, factor=factor, channels=4, blocks=1)
        assert method.enlarge(torch.rand(1, 1, 5, 6).double()).shape == (1, 1, 5 * factor, 6 * factor)
        x = method.encoder.input.unit(batch_of(name).x)
        means = x.unflatten(3, (-1, factor)).unflatten(2, (-1, factor)).mean(dim=(3, 5))
        seen: list[Tensor] = []
        method.generator.register_forward_hook(lambda _, inputs, __, seen=seen: seen.append(inputs[0]))
        method.turn_loss("generator", batch_of(name), AT)
        torch.testing.assert_close(seen[0], means)


@EFFECTS.of("conditional_gan.adversarial_weight")
def so_much_looking_real_weighs(name: str, option: str) -> None:
    method: Any = built(name, channels=4, blocks=1, adversarial_weight=1.0)
    terms = method.turn_loss("generator", batch_of(name), AT)
    for weight in (0.0, 0.01, 3.0):
        other: Any = built(name, channels=4, blocks=1, adversarial_weight=weight)
        loss = other.turn_loss("generator", batch_of(name), AT)["loss"]
        torch.testing.assert_close(loss, terms["pixels"] + weight * terms["generator"])
    assert number(terms["generator"]) > 0.1


@EFFECTS.of("conditional_gan.channels", "conditional_gan.blocks")
def size_of_the_generator(name: str, option: str) -> None:
    for value in (1, 3):
        method: Any = built(name, encoder=None, **{"channels": 4, "blocks": 2, option: value})
        channels, blocks = (value, 2) if option == "channels" else (4, value)
        assert len(method.generator.blocks) == blocks
        assert method.generator.start.out_channels == channels
        first = next(part for part in method.encoder.modules() if isinstance(part, nn.Conv2d))
        assert first.out_channels == channels


@pytest.mark.parametrize("key", sorted(EFFECTS))
def test_the_option_does_what_its_help_says(key: str) -> None:
    EFFECTS.run(key)


def test_no_option_is_left_out() -> None:
    assert set(EFFECTS) == options_of_family("generative")


@pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
def test_a_run_as_features_compares_by_its_own_weights_under_the_name_of_its_network(tmp_path: Path) -> None:
    run = tmp_path / "features"
    quick = {"encoder": "mlp", **contract.QUICK}
    seen = fit("autoencoder", dataset_for("autoencoder"), out=run, **quick)
    method: Any = fit("dfcvae", dataset_for("dfcvae"), out=tmp_path / "run", features=str(run), **quick).method
    assert method.network == "mlp"
    theirs = next(p for p in seen.method.encoder.parameters() if p.ndim == 2)
    ours = next(p for p in method.perceive.parameters() if p.ndim == 2)
    assert torch.equal(ours, theirs)


# --- samples ----------------------------------------------------------------------------------------------------------


class Noise(nn.Module):
    """Remembers what it is asked to make items of."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, z: Tensor) -> Tensor:
        self.seen.append(z)
        return torch.zeros(len(z), 1, 8, 8)


@pytest.mark.parametrize("name", ["vae", "crvae", "dfcvae", "gan"])
def test_samples_are_made_of_standard_normal_noise(name: str) -> None:
    """Mean 0, variance 1, nothing in common between dimensions, a normal's tails; each within five standard errors."""
    method: Any = built(name, dim=6).float()
    noise = Noise()
    setattr(method, "generator" if name == "gan" else "decoder", noise)
    torch.manual_seed(0)
    n = 4000
    method.sample(n)
    z = torch.cat(noise.seen).double()
    assert z.shape == (n, 6)
    assert z.mean(dim=0).abs().max() < 5 / math.sqrt(n)
    assert (z.T.cov() - torch.eye(6)).abs().max() < 5 * math.sqrt(2 / n)
    inside = math.erf(1 / math.sqrt(2))
    assert abs((z.abs() < 1).double().mean() - inside) < 5 * math.sqrt(inside * (1 - inside) / (6 * n))
    assert not torch.equal(z[:100], z[100:200])
