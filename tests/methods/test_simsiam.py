"""SimSiam's loss against the paper's formula and lightly's, its closed forms, and the stop-gradient it stands on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from salience.batch import Progress
from salience.methods.contrastive import simsiam
from salience.methods.contrastive.simsiam import simsiam_loss
from tests import contract
from tests.methods.proof import (
    assert_fifty_steps_coincide,
    assert_gradient_stops,
    assert_same_value_and_gradient,
    lightly_loss,
    random_views,
)


def paper_loop(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Eq. 1, row by row."""
    total = torch.zeros((), dtype=p.dtype)
    for mine, other in zip(p, z.detach(), strict=True):
        dot = sum(mine[i] * other[i] for i in range(len(mine)))
        total = total - dot / (mine.square().sum().sqrt() * other.square().sum().sqrt())
    return total / len(p)


def test_matches_the_papers_loop_in_value_and_gradient() -> None:
    p, z = random_views(5, 7)
    assert_same_value_and_gradient(simsiam_loss(p, z), paper_loop(p, z), (p,))


def test_matches_lightly_in_value_and_gradient() -> None:
    p, z = random_views(5, 7, seed=1)
    theirs = lightly_loss().NegativeCosineSimilarity()(p, z.detach())
    assert_same_value_and_gradient(simsiam_loss(p, z), theirs, (p,))


def test_fifty_steps_with_lightlys_loss_in_our_loop_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = lightly_loss().NegativeCosineSimilarity()
    assert_fifty_steps_coincide(monkeypatch, "simsiam", simsiam, "simsiam_loss", lambda p, z: reference(p, z.detach()))


def test_parallel_is_minus_1_opposite_is_1_orthogonal_is_0() -> None:
    p, _ = random_views(5, 8)
    assert simsiam_loss(p, 3 * p).item() == pytest.approx(-1, abs=1e-12)
    assert simsiam_loss(p, -0.1 * p).item() == pytest.approx(1, abs=1e-12)
    assert simsiam_loss(torch.eye(4)[:2], torch.eye(4)[2:]).item() == pytest.approx(0)


def test_rescaling_rows_leaves_the_loss_unchanged() -> None:
    p, z = random_views(5, 7, seed=2)
    scale = torch.linspace(0.1, 9, 5, dtype=torch.float64)[:, None]
    torch.testing.assert_close(simsiam_loss(p * scale, z / scale), simsiam_loss(p, z))


def test_the_projection_gets_no_gradient() -> None:
    p, z = random_views(5, 7)
    simsiam_loss(p, z).backward()
    assert z.grad is None
    assert p.grad.abs().sum() > 0


def test_finite_in_half_precision() -> None:
    p, z = (view.detach().bfloat16().requires_grad_() for view in random_views(5, 7))
    with torch.autocast("cpu", torch.bfloat16):
        loss = simsiam_loss(p, z)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(p.grad).all()


def test_the_loss_is_the_mean_of_both_directions_and_no_gradient_enters_a_projection() -> None:
    """Of the first view and the second, by the formula alone; what is predicted is a constant."""
    dataset = contract.dataset_for("simsiam")
    method = contract.build("simsiam", dataset, encoder="mlp", dim=16).double()
    at, batch = Progress(total=10), dataset.batch(np.arange(16))
    z1, z2 = (method.projector(method.encoder(method.views.one(batch, at, "global", i).x)) for i in range(2))
    p1, p2 = method.predictor(z1), method.predictor(z2)

    def cosine(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return ((p / p.norm(dim=1, keepdim=True)) * (z / z.norm(dim=1, keepdim=True))).sum(dim=1).mean()

    stopped = -(cosine(p1, z2.detach()) + cosine(p2, z1.detach())) / 2
    through = -(cosine(p1, z2) + cosine(p2, z1)) / 2
    assert_gradient_stops(method.loss(batch, at)["loss"], stopped, through, method)
    assert not torch.isclose(cosine(p1, z2), cosine(p2, z1), rtol=1e-3)  # so that either alone would be noticed
