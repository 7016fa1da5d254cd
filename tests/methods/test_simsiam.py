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
    assert_same_value_and_gradient,
    lightly_loss,
    random_views,
    train_by_hand,
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


def test_the_loss_is_the_mean_of_both_directions() -> None:
    dataset = contract.dataset_for("simsiam")
    method = contract.build("simsiam", dataset).double()
    at, batch = Progress(total=10), dataset.batch(np.arange(16))
    z1, z2 = (method.projector(method.encoder(view.x)) for view in method.views(batch, at)["global"])
    p1, p2 = method.predictor(z1), method.predictor(z2)
    one, other = simsiam_loss(p1, z2), simsiam_loss(p2, z1)
    torch.testing.assert_close(method.loss(batch, at)["loss"], (one + other) / 2)
    assert one != other


def test_without_the_stop_gradient_it_collapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard deviation of z / |z| falls from about 1 / sqrt(d) towards 0 (the paper's figure 2)."""

    def spread() -> tuple[float, float]:
        dataset = contract.dataset_for("simsiam")
        method = contract.build("simsiam", dataset, encoder="mlp", dim=32)
        losses = train_by_hand(method, dataset, steps=150, rate=1.0)
        with torch.no_grad():
            x = method.encoder.input.unit(dataset.batch(np.arange(96)).x)
            z = torch.nn.functional.normalize(method.projector[:-1](method.encoder(x)), dim=1)
        return float(z.std(dim=0).mean() * z.shape[1] ** 0.5), losses[-1]

    healthy, least = spread()
    monkeypatch.setattr(simsiam, "simsiam_loss", lambda p, z: -torch.cosine_similarity(p, z, dim=1).mean())
    collapsed, loss = spread()
    assert collapsed < 0.6 * healthy
    assert loss < -0.75 < -0.5 < least  # on its way to -1, which says nothing
