"""VICReg's terms against the paper's formulas and lightly's, their closed forms, and what each of them prevents."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from salience.methods.contrastive import vicreg
from salience.methods.contrastive.vicreg import missing_spread, squared_covariance, vicreg_loss
from tests import contract
from tests.methods.proof import (
    assert_fifty_steps_coincide,
    assert_same_value_and_gradient,
    lightly_loss,
    random_views,
    train_by_hand,
)

WEIGHTS = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}


def total(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.stack([WEIGHTS[name] * term for name, term in vicreg_loss(a, b).items()]).sum()


def paper_loop(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Eq. 1 to 6, entry by entry."""
    n, d = a.shape
    loss = 25 * sum((a[k, j] - b[k, j]) ** 2 for k in range(n) for j in range(d)) / n / d
    for z in (a, b):
        mean = [sum(z[k, j] for k in range(n)) / n for j in range(d)]
        covariance = [
            [sum((z[k, i] - mean[i]) * (z[k, j] - mean[j]) for k in range(n)) / (n - 1) for j in range(d)]
            for i in range(d)
        ]
        zero = torch.zeros((), dtype=a.dtype)
        spread = sum(torch.maximum(zero, 1 - (covariance[j][j] + 1e-4).sqrt()) for j in range(d)) / d
        between = sum(covariance[i][j] ** 2 for i in range(d) for j in range(d) if i != j) / d
        loss = loss + 25 * spread / 2 + between
    return loss


@pytest.mark.parametrize("shape", [(6, 4), (4, 7)])  # more samples than dimensions, and fewer
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])  # variances below, around and above 1
def test_matches_the_papers_loop_in_value_and_gradient(scale: float, shape: tuple[int, int]) -> None:
    a, b = (view.detach().mul(scale).requires_grad_() for view in random_views(*shape))
    assert_same_value_and_gradient(total(a, b), paper_loop(a, b), (a, b))


def test_matches_lightly_in_value_and_gradient() -> None:
    a, b = random_views(8, 5, seed=1)
    assert_same_value_and_gradient(total(a, b), lightly_loss().VICRegLoss()(a, b), (a, b))


def test_fifty_steps_with_lightlys_loss_in_our_loop_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = lightly_loss().VICRegLoss(lambda_param=1, mu_param=1, nu_param=0.04)

    def theirs(a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        nothing = torch.zeros((), dtype=a.dtype)
        return {"invariance": reference(a, b), "variance": nothing, "covariance": nothing}  # times 25

    assert_fifty_steps_coincide(monkeypatch, "vicreg", vicreg, "vicreg_loss", theirs, dim=32)


def test_a_constant_embedding_misses_99_hundredths_of_the_spread() -> None:
    terms = vicreg_loss(torch.ones(8, 5), torch.ones(8, 5))
    assert terms["variance"].item() == pytest.approx(0.99)
    assert terms["invariance"].item() == terms["covariance"].item() == 0


def test_decorrelated_dimensions_have_no_covariance_and_equal_ones_have_all() -> None:
    axes = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert squared_covariance(axes).item() == pytest.approx(0, abs=1e-12)
    same = axes[:, :1].repeat(1, 3)
    assert squared_covariance(same).item() == pytest.approx((4 / 3) ** 2 * 6 / 3)  # unbiased variance 4/3
    assert missing_spread(axes).item() == 0


def test_shifting_and_permuting_leave_what_they_should() -> None:
    a, b = random_views(16, 5, seed=2)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for other in ((a + 3, b + 3), (b, a), (a[order], b[order])):
        torch.testing.assert_close(total(*other), total(a, b))
    assert total(a + 3, b) > total(a, b)


def test_finite_in_half_precision_even_where_nothing_varies() -> None:
    a, b = (view.detach().bfloat16() for view in random_views(8, 5))
    a[:, 0] = 1
    a.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = total(a, b)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(a.grad).all()


def test_without_the_variance_term_the_projections_shrink_to_a_point() -> None:
    def spread(variance: float) -> float:
        dataset = contract.dataset_for("vicreg")
        method = contract.build("vicreg", dataset, encoder="mlp", dim=32, variance=variance)
        train_by_hand(method, dataset, steps=100, rate=0.1)
        with torch.no_grad():
            x = method.encoder.input.unit(dataset.batch(np.arange(96)).x)
            return float(method.projector(method.encoder(x)).std(dim=0).mean())

    assert spread(0.0) < 0.1 * spread(25.0)
