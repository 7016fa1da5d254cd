"""Barlow Twins' loss against the paper's formula and lightly's, its closed forms and invariances."""

from __future__ import annotations

import pytest
import torch

from salience.methods.contrastive import barlowtwins
from salience.methods.contrastive.barlowtwins import EPSILON, barlow_twins_loss
from tests.methods.proof import (
    assert_fifty_steps_coincide,
    assert_same_value_and_gradient,
    lightly_loss,
    random_views,
)


def total(a: torch.Tensor, b: torch.Tensor, redundancy: float = 0.0051) -> torch.Tensor:
    return torch.stack(list(barlow_twins_loss(a, b, redundancy=redundancy).values())).sum()


def paper_loop(a: torch.Tensor, b: torch.Tensor, redundancy: float) -> torch.Tensor:
    """Eq. 1 and 2, entry by entry, with the variance as batch norm has it."""
    n, d = a.shape

    def unit(z: torch.Tensor, j: int) -> list[torch.Tensor]:
        mean = sum(z[k, j] for k in range(n)) / n
        variance = sum((z[k, j] - mean) ** 2 for k in range(n)) / n
        return [(z[k, j] - mean) / (variance + EPSILON).sqrt() for k in range(n)]

    total = torch.zeros((), dtype=a.dtype)
    for i in range(d):
        for j in range(d):
            c = sum(x * y for x, y in zip(unit(a, i), unit(b, j), strict=True)) / n
            total = total + ((1 - c) ** 2 if i == j else redundancy * c**2)
    return total


@pytest.mark.parametrize("redundancy", [0.0051, 1.0])
def test_matches_the_papers_loop_in_value_and_gradient(redundancy: float) -> None:
    a, b = random_views(6, 4)
    assert_same_value_and_gradient(total(a, b, redundancy), paper_loop(a, b, redundancy), (a, b))


def test_matches_lightly_in_value_and_gradient() -> None:
    a, b = random_views(8, 5, seed=1)
    theirs = lightly_loss().BarlowTwinsLoss(lambda_param=0.0051)(a, b)
    assert_same_value_and_gradient(total(a, b), theirs, (a, b))


def test_fifty_steps_with_lightlys_loss_in_our_loop_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = lightly_loss().BarlowTwinsLoss(lambda_param=0.0051)

    def theirs(a: torch.Tensor, b: torch.Tensor, *, redundancy: float) -> dict[str, torch.Tensor]:
        return {"invariance": reference(a, b), "redundancy": torch.zeros((), dtype=a.dtype)}

    assert_fifty_steps_coincide(monkeypatch, "barlowtwins", barlowtwins, "barlow_twins_loss", theirs, dim=32)


def test_identical_whitened_views_give_0() -> None:
    (z,) = random_views(200, 6, count=1)
    z = z.detach() - z.detach().mean(0)
    white = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / len(z))).T
    assert total(white, white).item() == pytest.approx(0, abs=1e-7)
    assert total(white, -white).item() == pytest.approx(6 * 4, rel=1e-4)  # every C_ii is -1


def test_one_dimension_said_d_times_costs_the_redundancy() -> None:
    (z,) = random_views(200, 1, count=1)
    copies = z.detach().repeat(1, 5)
    terms = barlow_twins_loss(copies, copies, redundancy=0.01)
    assert terms["invariance"].item() == pytest.approx(0, abs=1e-6)
    assert terms["redundancy"].item() == pytest.approx(0.01 * 5 * 4, rel=1e-3)


def test_a_constant_embedding_costs_its_dimensions() -> None:
    assert total(torch.ones(8, 5), torch.ones(8, 5)).item() == pytest.approx(5)


def test_shifting_scaling_and_permuting_leave_the_loss_unchanged() -> None:
    a, b = random_views(16, 5, seed=2)
    scale = torch.linspace(1, 9, 5, dtype=torch.float64)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for other in ((a * scale + 3, b - scale), (b, a), (a[order], b[order])):
        torch.testing.assert_close(total(*other), total(a, b), rtol=1e-4, atol=0)  # the epsilon in the variance
    assert not torch.isclose(total(a[order], b), total(a, b), rtol=1e-6)  # pairs matter


def test_finite_in_half_precision_even_where_nothing_varies() -> None:
    a, b = (view.detach().bfloat16() for view in random_views(8, 5))
    a[:, 0] = 1
    a.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = total(a, b)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(a.grad).all()
