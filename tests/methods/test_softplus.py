"""Softplus and the cross-entropy made of it: torch's value, slope and curvature, at extremes too."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from salience.methods.softplus import cross_entropy, softplus


def test_equals_torchs_with_its_slope_and_curvature() -> None:
    x = torch.linspace(-30, 30, 601, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(softplus(x), F.softplus(x, threshold=100), rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(softplus, (x,))
    assert torch.autograd.gradgradcheck(softplus, (x,))


def test_in_float32_it_is_right_to_rounding_and_finite_at_extremes() -> None:
    x = torch.linspace(-100, 100, 2001)
    torch.testing.assert_close(softplus(x).double(), F.softplus(x.double(), threshold=1e3), rtol=1e-7, atol=1.2e-7)
    far = torch.tensor([-1e30, 1e30], requires_grad=True)
    (slope,) = torch.autograd.grad(softplus(far).sum(), far)
    assert softplus(far).tolist() == F.softplus(far).tolist()
    assert slope.tolist() == [0.0, 1.0]


def test_the_cross_entropy_equals_torchs_with_its_slopes_and_curvature() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (10 * torch.randn(7, 5, dtype=torch.float64, generator=generator)).requires_grad_()
    x = torch.rand(7, 5, dtype=torch.float64, generator=generator).requires_grad_()
    theirs = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, x), theirs, rtol=1e-13, atol=1e-14)
    assert torch.autograd.gradcheck(cross_entropy, (logits, x))
    assert torch.autograd.gradgradcheck(cross_entropy, (logits, x))


def test_the_cross_entropy_is_finite_at_extremes() -> None:
    far, black = torch.tensor([-1e30, 1e30], requires_grad=True), torch.tensor([0.0, 1.0])
    (slope,) = torch.autograd.grad(cross_entropy(far, black).sum(), far)
    assert cross_entropy(far, black).tolist() == [0.0, 0.0]
    assert slope.tolist() == [0.0, 0.0]
