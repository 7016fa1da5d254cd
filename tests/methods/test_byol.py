"""BYOL's loss against the paper's formula and lightly's, its closed forms, and what keeps it from collapsing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from salience.batch import Progress
from salience.methods.contrastive import byol
from salience.methods.contrastive.byol import byol_loss
from tests import contract
from tests.methods.proof import (
    assert_fifty_steps_coincide,
    assert_same_value_and_gradient,
    lightly_loss,
    random_views,
    train_by_hand,
)


def paper_loop(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Eq. 2: the squared distance of the unit vectors, row by row."""
    total = torch.zeros((), dtype=prediction.dtype)
    for q, z in zip(prediction, target.detach(), strict=True):
        total = total + sum((q[i] / q.norm() - z[i] / z.norm()) ** 2 for i in range(len(q)))
    return total / len(prediction)


def test_matches_the_papers_loop_in_value_and_gradient() -> None:
    q, z = random_views(5, 7)
    assert_same_value_and_gradient(byol_loss(q, z), paper_loop(q, z), (q,))


def test_matches_lightly_in_value_and_gradient() -> None:
    q, z = random_views(5, 7, seed=1)
    theirs = 2 + 2 * lightly_loss().NegativeCosineSimilarity()(q, z.detach())
    assert_same_value_and_gradient(byol_loss(q, z), theirs, (q,))


def test_fifty_steps_with_lightlys_loss_in_our_loop_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = lightly_loss().NegativeCosineSimilarity()
    assert_fifty_steps_coincide(monkeypatch, "byol", byol, "byol_loss", lambda q, z: 2 + 2 * reference(q, z.detach()))


def test_parallel_is_0_opposite_is_4_orthogonal_is_2() -> None:
    q, _ = random_views(5, 8)
    assert byol_loss(q, 3 * q).item() == pytest.approx(0, abs=1e-12)
    assert byol_loss(q, -0.1 * q).item() == pytest.approx(4, abs=1e-12)
    assert byol_loss(torch.eye(4)[:2], torch.eye(4)[2:]).item() == pytest.approx(2)


def test_rescaling_rows_leaves_the_loss_unchanged() -> None:
    q, z = random_views(5, 7, seed=2)
    scale = torch.linspace(0.1, 9, 5, dtype=torch.float64)[:, None]
    torch.testing.assert_close(byol_loss(q * scale, z / scale), byol_loss(q, z))


def test_the_target_gets_no_gradient() -> None:
    q, z = random_views(5, 7)
    byol_loss(q, z).backward()
    assert z.grad is None
    assert q.grad.abs().sum() > 0


def test_finite_in_half_precision() -> None:
    q, z = (view.detach().bfloat16().requires_grad_() for view in random_views(5, 7))
    with torch.autocast("cpu", torch.bfloat16):
        loss = byol_loss(q, z)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(q.grad).all()


def test_each_view_predicts_what_the_teacher_makes_of_the_other() -> None:
    """By the formula, with a teacher that is no longer the student; the sum of both orders, which differ."""
    dataset = contract.dataset_for("byol")
    method = contract.build("byol", dataset, encoder="mlp", dim=8).double()
    with torch.no_grad():
        for weight in [*method.teacher_encoder.parameters(), *method.teacher_projector.parameters()]:
            weight.add_(0.1 * torch.randn_like(weight))
    at, batch = Progress(total=10), dataset.batch(np.arange(16))
    a, b = (method.views.one(batch, at, "global", number).x for number in range(2))
    predicted = [method.predictor(method.projector(method.encoder(x))) for x in (a, b)]
    wanted = [method.teacher_projector(method.teacher_encoder(x)) for x in (b, a)]
    orders = [paper_loop(q, z) for q, z in zip(predicted, wanted, strict=True)]
    loss = method.loss(batch, at)["loss"]
    torch.testing.assert_close(loss, orders[0] + orders[1])
    assert not torch.isclose(orders[0], orders[1], rtol=1e-3)
    loss.backward()
    assert all(p.grad is None for p in [*method.teacher_encoder.parameters(), *method.teacher_projector.parameters()])


def test_the_teacher_follows_the_papers_schedule() -> None:
    dataset = contract.dataset_for("byol")
    method = contract.build("byol", dataset, momentum=0.9)
    start = method.teacher_projector[0].weight.clone()
    with torch.no_grad():
        method.projector[0].weight.add_(1.0)
    gap = method.projector[0].weight - start
    for step, momentum in ((0, 0.9), (50, 0.95), (100, 1.0)):  # 1 - 0.1 (cos(pi k / K) + 1) / 2
        before = method.teacher_projector[0].weight.clone()
        method.after_step(Progress(step, 100))
        moved = method.teacher_projector[0].weight - before
        torch.testing.assert_close(moved, (1 - momentum) * (method.projector[0].weight - before), atol=1e-6, rtol=1e-4)
    assert gap.min() > 0.9


def spread_after(monkeypatch: pytest.MonkeyPatch, *without: str) -> float:
    """How far apart the projections of a trained BYOL are, 1 at most, with parts of it taken out."""
    dataset = contract.dataset_for("byol")
    method = contract.build("byol", dataset, encoder="mlp")
    if "predictor" in without:
        monkeypatch.setattr(method, "predictor", torch.nn.Identity())
    if "teacher" in without:
        monkeypatch.setattr(method, "target", lambda x, mask=None: method.projector(method.encoder(x)))
    if "stop-gradient" in without:
        monkeypatch.setattr(byol, "byol_loss", lambda q, z: 2 - 2 * torch.cosine_similarity(q, z, dim=1).mean())
    train_by_hand(method, dataset, rate=0.2)
    with torch.no_grad():
        x = method.encoder.input.unit(dataset.batch(np.arange(96)).x)
        z = torch.nn.functional.normalize(method.projector(method.encoder(x)), dim=1)
    return float(z.std(dim=0).mean() * z.shape[1] ** 0.5)


def test_a_gradient_into_the_target_makes_it_collapse_and_so_does_no_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time. Without the teacher alone it is SimSiam, and stands."""
    sound = spread_after(monkeypatch, "teacher")
    assert sound > 0.7
    assert spread_after(monkeypatch) > 0.7
    assert spread_after(monkeypatch, "predictor") < 0.5 * sound
    assert spread_after(monkeypatch, "teacher", "stop-gradient") < 0.5 * sound
