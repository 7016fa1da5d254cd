"""What each option of the autoencoders does, seen in the loss of a whole method and in its shapes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.batch import Progress
from salience.errors import UserError
from salience.methods import Context
from salience.methods.autoencoders.stacked_autoencoder import StackedAutoencoder
from tests.methods.effects import (
    AT,
    Effects,
    assert_rises,
    batch_of,
    built,
    dataset_for,
    loss_of,
    number,
    options_of_family,
    widths,
)

EFFECTS = Effects()
DEFAULT_DIM = {  # with items of 64 values
    "autoencoder": 32,
    "contractive_autoencoder": 128,
    "deep_autoencoder": 32,
    "denoising_autoencoder": 64,
    "sparse_autoencoder": 128,
    "stacked_autoencoder": 256,
}
NARROW = ("autoencoder", "deep_autoencoder")  # whose code is at most as wide as an item


@EFFECTS.of(*(f"{name}.dim" for name in DEFAULT_DIM))
def width_of_the_code(name: str, option: str) -> None:
    for options, dim in (({"dim": 5}, 5), ({}, DEFAULT_DIM[name])):
        method: Any = built(name, **options)
        assert method.dim == method.width == method.embed(batch_of(name)).shape[1] == dim
        assert method.decode(torch.zeros(3, dim).double()).shape == (3, 1, 8, 8)
    if name in NARROW:
        with pytest.raises(UserError, match="at most 64"):
            built(name, dim=65)
    else:
        assert built(name, dim=65).width == 65


@EFFECTS.of("deep_autoencoder.hidden", "deep_autoencoder.depth")
def layers_of_the_deep_autoencoder(name: str, option: str) -> None:
    for options, layers in (
        ({}, [1000, 500, 250]),
        ({"hidden": 100}, [100, 50, 25]),
        ({"hidden": 20}, [20, 10, 7]),  # none narrower than the code
        ({"depth": 1}, [1000]),
        ({"depth": 4}, [1000, 500, 250, 125]),
    ):
        method: Any = built(name, **{"dim": 7, **options})
        assert widths(method.encoder) == [*layers, 7]
        assert widths(method.decoder) == [*layers[::-1], 64]


@EFFECTS.of("stacked_autoencoder.hidden", "stacked_autoencoder.depth")
def layers_of_the_stack(name: str, option: str) -> None:
    for options, layers in (({}, [512, 512, 6]), ({"hidden": 9}, [9, 9, 6]), ({"depth": 1}, [6])):
        method: Any = built(name, dim=6, **options)
        assert widths(method.encoder) == layers
        assert widths(method.decoders) == [64, *layers[:-1]]
        assert [stage.name for stage in method.stages][:-1] == [f"layer {n + 1}" for n in range(len(layers))]


# --- noise ------------------------------------------------------------------------------------------------------------


def unit(name: str, method: Any) -> Tensor:
    return method.encoder.input.unit(batch_of(name, 96).x).double()


def seen_by(network: nn.Module, step: Any) -> Tensor:
    """The first input of a network while a step is taken."""
    seen: list[Tensor] = []
    handle = network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    step()
    handle.remove()
    return seen[0]


def share_within(share: float, expected: float, count: int) -> bool:
    """Whether a share of so many independent values lies within five standard errors."""
    return abs(share - expected) <= 5 * math.sqrt(expected * (1 - expected) / count)


@EFFECTS.of("denoising_autoencoder.noise", "denoising_autoencoder.level")
def what_the_denoising_autoencoder_sees(name: str, option: str) -> None:
    """The encoder sees the noise, and the loss compares with the clean item; each kind at its default and at half."""
    for noise, default in (("masking", 0.25), ("gaussian", 0.3), ("salt-and-pepper", 0.1)):
        for options, level in (({}, default), ({"level": default / 2}, default / 2)):
            method: Any = built(name, noise=noise, **options)
            assert method.level == level
            clean = unit(name, method)
            noisy = seen_by(method.encoder, lambda m=method: loss_of(m, name, rows=96)).double()
            count = clean.numel()
            if noise == "gaussian":
                deviation = (noisy - clean).std()
                assert abs(deviation - level) < 5 * level / math.sqrt(2 * count)
                assert abs((noisy - clean).mean()) < 5 * level / math.sqrt(count)
            else:
                ends = (0.0,) if noise == "masking" else (0.0, 1.0)
                inner = (clean > 0) & (clean < 1)
                for end in ends:
                    share = (noisy[inner] == end).double().mean().item()
                    assert share_within(share, level / len(ends), int(inner.sum()))
                kept = noisy[inner & (noisy > 0) & (noisy < 1)]
                torch.testing.assert_close(kept, clean[inner & (noisy > 0) & (noisy < 1)], rtol=0, atol=1e-6)
            expected = (method.decoder(method.encoder(noisy)) - clean).square().mean()
            torch.testing.assert_close(loss_of(method, name, rows=96), expected, rtol=1e-5, atol=1e-7)


@EFFECTS.of("stacked_autoencoder.level")
def so_much_of_a_layers_input_is_masked(name: str, option: str) -> None:
    """Of each layer's, in its own stage; what it rebuilds is not masked."""
    for level in (0.0, 0.25, 0.6):
        method: Any = built(name, level=level, hidden=40)
        below = unit(name, method)
        for stage in range(3):
            at, layer = Progress(10 * stage, 60, epoch=1, seed=2), method.encoder.body[stage]
            seen = seen_by(layer, lambda m=method, at=at: loss_of(m, name, at, rows=96))
            given = method.encoder.input(below) if stage == 0 else below
            blank = method.encoder.input(torch.zeros_like(below)) if stage == 0 else torch.zeros_like(below)
            there = (below != 0).flatten()
            masked = (seen == blank).flatten()[there]
            assert share_within(masked.double().mean().item(), level, int(there.sum()))
            torch.testing.assert_close(seen.flatten()[there][~masked], given.flatten()[there][~masked])
            rebuilt = method.decoders[stage](layer(seen))
            torch.testing.assert_close(loss_of(method, name, at, rows=96), (rebuilt - below).square().mean())
            below = layer(given).detach()


@pytest.mark.parametrize("name", NARROW)
def test_what_is_rebuilt_is_compared_with_the_item_on_the_unit_scale(name: str) -> None:
    method: Any = built(name)
    x = unit(name, method)
    expected = (method.decoder(method.encoder(x)) - x).square().mean()
    torch.testing.assert_close(loss_of(method, name, rows=96), expected, rtol=1e-6, atol=1e-9)
    standardised = method.encoder.input(x)
    assert not torch.isclose((method.decoder(method.encoder(x)) - standardised).square().mean(), expected, rtol=0.1)


# --- penalties --------------------------------------------------------------------------------------------------------


@EFFECTS.of("sparse_autoencoder.weight")
def so_much_sparsity_weighs(name: str, option: str) -> None:
    """Times the variance of the data, and less over the first 30 % of the steps."""
    variance = sum(std**2 for std in dataset_for(name).spec.std)
    for penalty in ("l1", "kl"):
        for weight in (0.0, 0.05, 2.0):
            method: Any = built(name, weight=weight, penalty=penalty)
            for step, share in ((0, 0.0), (15, 0.5), (30, 1.0), (100, 1.0)):
                terms = method.loss(batch_of(name), Progress(step, 100))
                expected = terms["error"] + weight * share * variance * terms["penalty"]
                torch.testing.assert_close(terms["loss"], expected, rtol=1e-6, atol=1e-9)
            assert number(terms["penalty"]) > 0


@EFFECTS.of("sparse_autoencoder.penalty", "sparse_autoencoder.sparsity")
def penalties_are_those_of_the_texts(name: str, option: str) -> None:
    """Least where a unit's mean is the sparsity, which both its neighbours show."""
    method: Any = built(name, penalty="l1")
    assert not isinstance(list(method.encoder.body.modules())[-1], nn.Sigmoid)
    code = method.embed(batch_of(name))
    assert (code >= 0).all()
    torch.testing.assert_close(method.loss(batch_of(name), AT)["penalty"], code.abs().sum(dim=1).mean())
    for sparsity in (0.05, 0.3):
        method = built(name, penalty="kl", sparsity=sparsity)
        code = method.embed(batch_of(name))
        assert ((code > 0) & (code < 1)).all()
        on, wanted = code.mean(dim=0), torch.tensor(sparsity, dtype=torch.float64)
        expected = torch.distributions.kl_divergence(
            torch.distributions.Bernoulli(wanted), torch.distributions.Bernoulli(on)
        )
        torch.testing.assert_close(method.loss(batch_of(name), AT)["penalty"], expected.sum(), rtol=1e-3, atol=1e-3)
        last = next(layer for layer in reversed(list(method.encoder.modules())) if isinstance(layer, nn.Linear))
        torch.testing.assert_close(last.bias.sigmoid().detach(), wanted.expand(method.dim), rtol=1e-5, atol=1e-6)


@EFFECTS.of("contractive_autoencoder.weight", "contractive_autoencoder.estimate")
def so_much_contraction_weighs(name: str, option: str) -> None:
    """Of the Jacobian of every item by torch, or by one direction of signs whose square has the same mean."""
    variance = sum(std**2 for std in dataset_for(name).spec.std)
    losses = []
    for weight in (0.0, 0.1, 5.0):
        method: Any = built(name, dim=4, weight=weight, encoder="linear")
        assert method.estimate == "exact"
        x = method.encoder.input.unit(batch_of(name).x).double()
        jacobian = torch.stack([
            torch.autograd.functional.jacobian(lambda item, m=method: m.encoder(item[None])[0], item) for item in x
        ])  # fmt: skip
        norm = jacobian.square().flatten(1).sum(dim=1).mean()
        terms = method.loss(batch_of(name), AT)
        torch.testing.assert_close(terms["contraction"], norm)
        torch.testing.assert_close(terms["loss"], terms["error"] + weight * variance**2 * norm)
        losses.append(terms["loss"])
    assert_rises(losses)
    assert built(name, dim=17, encoder="linear").estimate == "hutchinson"
    method = built(name, dim=4, estimate="hutchinson", encoder="linear")
    drawn = torch.stack([method.loss(batch_of(name), Progress(epoch=e))["contraction"] for e in range(200)]).detach()
    assert drawn.std() > 0.01 * norm
    assert abs(drawn.mean() - norm) < 5 * drawn.std() / math.sqrt(200)


# --- fine-tuning ------------------------------------------------------------------------------------------------------


@EFFECTS.of("stacked_autoencoder.fine_tune")
def what_all_layers_learn_in_the_end(name: str, option: str) -> None:
    spec = dataset_for(name).spec
    cases = (("rebuild", 0, True), ("rebuild", 3, True), ("labels", 3, False), ("none", 3, True))
    for choice, classes, decodes in cases:
        method = StackedAutoencoder.build(Context(spec, 96, None, classes=classes), fine_tune=choice)
        assert (method.head is not None) == (choice == "labels")
        assert ("decode" not in method.withheld) == decodes
        assert [stage.name for stage in method.stages][3:] == ([] if choice == "none" else ["fine-tuning"])
        if choice != "none":
            assert method.stages[-1].share == 3  # as long as all layers before
    assert [StackedAutoencoder.build(Context(spec, 96, classes=n)).fine_tune for n in (0, 3)] == ["rebuild", "labels"]
    with pytest.raises(UserError, match="this fit does not use labels"):
        StackedAutoencoder.build(Context(spec, 96), fine_tune="labels")


@pytest.mark.parametrize("key", sorted(EFFECTS))
def test_the_option_does_what_its_help_says(key: str) -> None:
    EFFECTS.run(key)


def test_no_option_is_left_out() -> None:
    assert set(EFFECTS) == options_of_family("autoencoders")
