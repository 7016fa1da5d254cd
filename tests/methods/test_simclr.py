"""NT-Xent against the paper's formula in loops, lightly's, closed forms and invariances."""

from __future__ import annotations

import math

import pytest
import torch

from salience.methods.contrastive import simclr
from salience.methods.contrastive.simclr import nt_xent
from tests.methods.proof import assert_fifty_steps_coincide, lightly_loss

N, D = 5, 7


def samples(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, N, D, generator=generator, dtype=torch.float64)
    return a.requires_grad_(), b.requires_grad_()


def paper_loop(a: torch.Tensor, b: torch.Tensor, temperature: float) -> torch.Tensor:
    """Eq. 1, sample by sample: z_1..z_2n with pairs (2k-1, 2k)."""
    z = [view[i] / view[i].norm() for i in range(len(a)) for view in (a, b)]
    total = torch.zeros((), dtype=a.dtype)
    for i in range(len(z)):
        j = i + 1 if i % 2 == 0 else i - 1
        below = sum(((z[i] @ z[k]) / temperature).exp() for k in range(len(z)) if k != i)
        total = total - (((z[i] @ z[j]) / temperature).exp() / below).log()
    return total / len(z)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_matches_the_papers_loop_in_value_and_gradient(temperature: float) -> None:
    a, b = samples()
    ours, theirs = nt_xent(a, b, temperature=temperature), paper_loop(a, b, temperature)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(torch.autograd.grad(ours, (a, b)), torch.autograd.grad(theirs, (a, b)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_matches_lightly_in_value_and_gradient(temperature: float) -> None:
    loss = lightly_loss().NTXentLoss(temperature=temperature)
    a, b = samples(1)
    ours, theirs = nt_xent(a, b, temperature=temperature), loss(a, b)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for one, other in zip(torch.autograd.grad(ours, (a, b)), torch.autograd.grad(theirs, (a, b)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_identical_embeddings_give_log_2n_minus_1() -> None:
    z = torch.ones(N, D)
    torch.testing.assert_close(nt_xent(z, z, temperature=0.1), torch.tensor(2.0 * N - 1).log())


def test_orthogonal_samples_with_equal_views_have_a_closed_form() -> None:
    z, t = torch.eye(4, dtype=torch.float64), 0.5
    expected = math.log(math.exp(1 / t) + 2 * (4 - 1)) - 1 / t  # one positive, 2(n-1) negatives at cosine 0
    assert nt_xent(z, z, temperature=t).item() == pytest.approx(expected, rel=1e-12)


def test_swapping_permuting_and_rescaling_leave_the_loss_unchanged() -> None:
    a, b = samples(2)
    loss = nt_xent(a, b, temperature=0.3)
    order = torch.tensor([3, 0, 4, 1, 2])
    scale = torch.linspace(0.1, 9, N, dtype=torch.float64)[:, None]
    for other in ((b, a), (a[order], b[order]), (a * scale, b / scale)):
        torch.testing.assert_close(nt_xent(*other, temperature=0.3), loss)
    assert not torch.isclose(nt_xent(a[order], b, temperature=0.3), loss)  # pairs matter


@pytest.mark.parametrize("temperature", [1e-3, 0.01, 100.0])
def test_finite_in_half_precision_at_extreme_temperatures(temperature: float) -> None:
    a, b = (view.detach().to(torch.bfloat16).requires_grad_() for view in samples(3))
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(a, b, temperature=temperature)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert all(torch.isfinite(view.grad).all() for view in (a, b))


def test_fifty_steps_with_lightlys_loss_in_our_loop_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = lightly_loss().NTXentLoss(temperature=0.5)
    assert_fifty_steps_coincide(monkeypatch, "simclr", simclr, "nt_xent", lambda a, b, **_: reference(a, b))
