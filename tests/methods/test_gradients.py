"""Gradients written by hand: those of a plain formula, also where inputs and outputs are used twice.

A backward pass may write into nothing it is given: autograd may use the same gradient for another tensor, and forgives
no change of it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

import salience
from salience.distributed import _Gather
from salience.methods.autoencoders.sparse_autoencoder import _Rectified
from salience.methods.generative import vae
from salience.modalities.image.convolutions import _Enlarged, _Halving, _ToChannels

Function = Callable[..., Tensor]


def leaky(x: Tensor, leak: float = 0.3) -> Tensor:
    """A function with the gradient of relu, and so much of softplus's below 0."""
    below = leak * F.softplus(x)
    return torch.where(x > 0, x, below - below.detach())


def enlarged(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(x, size=(6, 6), mode="nearest"), weight, padding=1)


IMAGE, WEIGHT = (2, 3, 3, 3), (4, 3, 3, 3)
BY_HAND: dict[str, tuple[Function, Function, tuple[tuple[int, ...], ...]]] = {  # ours, plain, shapes of the inputs
    "_Rectified": (lambda x: _Rectified.apply(x, torch.tensor(0.3, dtype=torch.float64)), leaky, ((5, 3),)),
    "_Halving": (_Halving.apply, lambda x, w: F.conv2d(x, w, stride=2, padding=1), (IMAGE, WEIGHT)),
    "_ToChannels": (_ToChannels.apply, lambda x, w: F.conv2d(x, w, padding=1), (IMAGE, WEIGHT)),
    "_Enlarged": (lambda x, w: _Enlarged.apply(x, w, 6), enlarged, (IMAGE, WEIGHT)),
    "_Gather": (_Gather.apply, lambda x: x * 1, ((5, 3),)),  # alone
}


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """A group of one process, in which messages are sent as in any other."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def classes() -> set[str]:
    """Every class of ours with a backward pass of its own."""
    found = set()
    for path in Path(salience.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Function") for base in node.bases):
                found.add(node.name)
    return found


def test_no_gradient_by_hand_is_left_out() -> None:
    assert set(BY_HAND) == classes()


def inputs(shapes: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("name", BY_HAND)
def test_a_gradient_by_hand_is_that_of_the_formula_where_all_is_used_twice(name: str) -> None:
    """Outputs are added to others, which get the same gradient; inputs are used beside; some need no gradient."""
    ours, plain, shapes = BY_HAND[name]
    given = inputs(shapes)
    beside = torch.randn_like(plain(*given)).requires_grad_()

    def gradients(function: Function) -> tuple[Tensor, ...]:
        out = function(*given)
        seen: list[Tensor] = []
        total = out + beside
        total.register_hook(lambda gradient: seen.append(gradient.clone()))
        total.register_hook(lambda gradient: kept.append(gradient))
        kept: list[Tensor] = []
        loss = total.square().sum() + out.sin().sum() + sum(x.cos().sum() for x in given)
        found = torch.autograd.grad(loss, [*given, beside])
        assert torch.equal(kept[0], seen[0])  # as it was given
        return found

    for one, other in zip(gradients(ours), gradients(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    for number in range(len(given)):  # the others are constants
        fixed = [x if place == number else x.detach() for place, x in enumerate(given)]
        pair = [torch.autograd.grad(f(*fixed).square().sum(), given[number])[0] for f in (ours, plain)]
        torch.testing.assert_close(*pair, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in BY_HAND if name != "_Rectified"])  # whose gradient is not its slope
def test_a_gradient_by_hand_is_the_slope(name: str) -> None:
    ours, _, shapes = BY_HAND[name]
    assert torch.autograd.gradcheck(lambda *x: ours(*x) + ours(*x).square(), inputs(shapes))


def test_the_draw_of_a_code_and_its_divergence_may_be_used_twice() -> None:
    output, noise, beside = inputs(((4, 6), (4, 3), (4, 3)))
    z, divergence = vae.cloud(output, noise.detach())
    loss = ((z + beside) * noise.detach()).sum() + z.square().sum() + divergence @ divergence
    mean, raw = output.chunk(2, dim=1)
    log_variance = 12 * torch.tanh(raw / 12)
    plain = mean + (log_variance / 2).exp() * noise.detach()
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
    expected = ((plain + beside) * noise.detach()).sum() + plain.square().sum() + kl @ kl
    pairs = zip(
        torch.autograd.grad(loss, (output, beside)), torch.autograd.grad(expected, (output, beside)), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other)
    assert torch.autograd.gradcheck(lambda o: vae.cloud(o, noise.detach()), output)
