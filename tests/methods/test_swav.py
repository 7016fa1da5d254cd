"""SwAV's codes and loss against the paper's formulas and lightly's, its queue, and what keeps clusters in use."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from salience.batch import Progress
from salience.data import Dataset
from salience.methods.contrastive import swav
from salience.methods.contrastive.swav import SwAV, sinkhorn, swav_loss
from salience.training import fit
from tests import contract
from tests.methods.proof import (
    assert_fifty_steps_coincide,
    assert_same_value_and_gradient,
    lightly_loss,
    random_views,
    train_by_hand,
    without_batch_norm,
)
from tests.two_processes import two_processes

PAPER = {"temperature": 0.1, "epsilon": 0.05, "iterations": 3}
ROWS = 16


def random_scores(n: int = 6, k: int = 5, crops: int = 4, queue: int = 0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cosines of the crops and of two queues with k prototypes, float64."""
    z = torch.stack(random_views(n + queue, 8, seed, count=crops)).detach()
    prototypes = random_views(k, 8, seed + 1, count=1)[0].detach()
    scores = torch.nn.functional.normalize(z, dim=2) @ torch.nn.functional.normalize(prototypes, dim=1).T
    return scores[:, :n].clone().requires_grad_(), scores[:2, n:].clone()


def paper_codes(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Algorithm 1's sinkhorn, entry by entry: first each prototype's row, then each sample's column."""
    n, k = scores.shape
    q = [[math.exp(float(scores[i, j]) / epsilon) for i in range(n)] for j in range(k)]
    for _ in range(iterations):
        for j in range(k):
            total = sum(q[j])
            q[j] = [value / total / k for value in q[j]]
        for i in range(n):
            total = sum(q[j][i] for j in range(k))
            for j in range(k):
                q[j][i] = q[j][i] / total / n
    return torch.tensor([[q[j][i] * n for j in range(k)] for i in range(n)], dtype=scores.dtype)


def paper_loop(scores: Tensor, queued: Tensor, *, temperature: float, epsilon: float, iterations: int) -> Tensor:
    crops, n, k = scores.shape
    total, terms = torch.zeros((), dtype=scores.dtype), 0
    for t in range(2):
        codes = paper_codes(torch.cat([scores[t].detach(), queued[t]]), epsilon, iterations)
        for s in range(crops):
            if s == t:
                continue
            for i in range(n):
                said = [(scores[s, i, j] / temperature).exp() for j in range(k)]
                total = total - sum(codes[i, j] * (said[j] / sum(said)).log() for j in range(k))
                terms += 1
    return total / terms


@pytest.mark.parametrize("iterations", [1, 2, 3, 10])
def test_codes_are_the_papers(iterations: int) -> None:
    scores = random_scores()[0][0].detach()
    ours = sinkhorn(scores, epsilon=0.05, iterations=iterations)
    torch.testing.assert_close(ours, paper_codes(scores, 0.05, iterations), rtol=1e-10, atol=1e-12)


def test_codes_are_lightlys() -> None:
    reference = pytest.importorskip("lightly.loss.swav_loss") if lightly_loss() else None
    scores = random_scores(n=40, k=12, seed=3)[0].detach()
    ours = sinkhorn(scores, epsilon=0.05, iterations=3)
    theirs = torch.stack([reference.sinkhorn(each, iterations=3, epsilon=0.05) for each in scores])
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_rows_of_the_codes_sum_to_1_and_columns_tend_to_n_over_k() -> None:
    scores = random_scores(n=40, k=8)[0][0].detach()
    gaps = []
    for iterations in (1, 3, 30, 1000):
        codes = sinkhorn(scores, epsilon=0.05, iterations=iterations)
        torch.testing.assert_close(codes.sum(dim=1), torch.ones(40, dtype=torch.float64))
        gaps.append(float((codes.sum(dim=0) - 40 / 8).abs().max()))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-6 < gaps[0]


def test_a_prototype_near_to_everything_gets_no_more_than_its_share() -> None:
    scores = random_scores(n=40, k=8)[0][0].detach()
    favoured = scores.clone()
    favoured[:, 2] += 0.5
    codes = (sinkhorn(each, epsilon=0.05, iterations=3) for each in (scores, favoured))
    torch.testing.assert_close(*codes)


def test_matches_the_papers_loop_in_value_and_gradient() -> None:
    scores, queued = random_scores(queue=3)
    assert_same_value_and_gradient(swav_loss(scores, queued, **PAPER), paper_loop(scores, queued, **PAPER), (scores,))


@pytest.mark.parametrize(("crops", "queue"), [(2, 0), (2, 9), (6, 0), (6, 9)])
def test_matches_lightly_in_value_and_gradient(crops: int, queue: int) -> None:
    scores, queued = random_scores(n=7, k=5, crops=crops, queue=queue, seed=1)
    theirs = by_lightly(scores, queued, **PAPER)
    assert_same_value_and_gradient(swav_loss(scores, queued, **PAPER), theirs, (scores,))


def by_lightly(scores: Tensor, queued: Tensor, *, temperature: float, epsilon: float, iterations: int) -> Tensor:
    loss = lightly_loss().SwaVLoss(temperature, iterations, epsilon)
    return loss(list(scores[:2]), list(scores[2:]), list(queued) if queued.shape[1] else None)[0]


def test_fifty_steps_with_lightlys_loss_in_our_loop_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def theirs(scores: Tensor, queued: Tensor, **options: float) -> Tensor:
        used.append(queued.shape[1])
        return by_lightly(scores, queued, **options)

    assert_fifty_steps_coincide(monkeypatch, "swav", swav, "swav_loss", theirs, local_crops=1)
    assert used == [0] * 6 + [96] * 44  # full after six steps of 16


def test_equal_scores_give_uniform_codes_and_log_k() -> None:
    scores = torch.full((4, 6, 7), 0.3)
    torch.testing.assert_close(sinkhorn(scores, epsilon=0.05, iterations=3), torch.full((4, 6, 7), 1 / 7))
    assert swav_loss(scores, scores[:2, :0], **PAPER).item() == pytest.approx(math.log(7))
    one_hot = torch.eye(6).expand(4, 6, 6)
    assert swav_loss(one_hot, one_hot[:2, :0], temperature=0.01, epsilon=0.01, iterations=3).item() < 1e-6
    method = contract.build("swav", contract.dataset_for("swav"), prototypes=7)
    assert method.collapsed_loss(32) == pytest.approx(math.log(7))


def test_no_gradient_enters_the_codes() -> None:
    """With codes as constants the gradient of a cross-entropy is softmax - code, of the other crop."""
    scores, queued = random_scores(crops=2, queue=3)
    swav_loss(scores, queued, **PAPER).backward()
    for mine, other in ((0, 1), (1, 0)):
        code = paper_codes(torch.cat([scores[other].detach(), queued[other]]), 0.05, 3)[:6]
        expected = ((scores[mine].detach() / 0.1).softmax(dim=1) - code) / (0.1 * 6 * 2)
        torch.testing.assert_close(scores.grad[mine], expected)


def test_finite_in_half_precision_at_epsilon_0_003_even_where_an_exponential_vanishes() -> None:
    scores = random_scores(n=32, k=16)[0].detach().bfloat16()
    scores[:, 5] = -1.0  # an item far from every prototype
    scores[:, :, 3] = -1.0  # a prototype far from every item
    scores.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = swav_loss(scores, scores[:2, :0].detach(), temperature=0.01, epsilon=0.003, iterations=50)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()
    codes = sinkhorn(1e4 * scores.detach().float(), epsilon=0.003, iterations=50)
    torch.testing.assert_close(codes.sum(dim=-1), torch.ones(4, 32))


def built(**options: float) -> tuple[SwAV, Dataset]:
    dataset = contract.dataset_for("swav")
    method = contract.build("swav", dataset, encoder="mlp", **options)
    assert isinstance(method, SwAV)
    return method, dataset


@pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
def test_prototypes_are_unit_vectors_before_and_after_training(tmp_path) -> None:
    rep = fit("swav", contract.dataset_for("swav"), out=tmp_path / "run", encoder="mlp", **contract.QUICK)
    for method in (built()[0], rep.method):
        torch.testing.assert_close(method.scorer.weight.norm(dim=1), torch.ones(method.prototypes))


@pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
@pytest.mark.parametrize("frozen", [0.0, 1.0])
def test_frozen_prototypes_stay_through_a_whole_fit(frozen: float, tmp_path) -> None:
    options = {"encoder": "mlp", "frozen": frozen, **contract.QUICK}
    dataset = contract.dataset_for("swav")
    reps = [fit("swav", dataset, out=tmp_path / str(rate), learning_rate=rate, **options) for rate in (1e-3, 2e-3)]
    one, other = (rep.method.scorer.weight for rep in reps)
    assert torch.allclose(one, other, atol=1e-6) == (frozen == 1)


def test_prototypes_stay_for_the_first_share_of_steps() -> None:
    method, dataset = built(frozen=0.02)
    for step, kept in ((0, False), (1, False), (2, True)):
        at = Progress(step, 100)
        method.loss(dataset.batch(np.arange(16)), at)["loss"].backward()
        method.before_update(at)
        assert (method.scorer.weight.grad is not None) == kept
        assert method.projector[0].weight.grad is not None


def test_the_queue_is_first_in_first_out_and_wraps() -> None:
    method, _ = built(queue=5, dim=2)
    place = method.earlier.data_ptr()
    for step in range(3):
        items = torch.arange(3) + 3 * step
        method.latest = torch.stack([items, 100 + items], dim=1)[..., None].expand(3, 2, 2).float()
        method.after_step(Progress(step, 10))
    assert method.earlier[:, 0, 0].tolist() == [5, 6, 7, 8, 4]
    assert method.earlier[:, 1, 1].tolist() == [105, 106, 107, 108, 104]
    assert method.earlier.data_ptr() == place
    method.latest = torch.arange(100.0, 112)[:, None, None].expand(12, 2, 2)
    method.after_step(Progress(3, 10))
    assert sorted(method.earlier[:, 0, 0].tolist()) == [107, 108, 109, 110, 111]


def test_the_queue_holds_the_projections_of_the_global_crops_and_waits_until_it_is_full() -> None:
    method, dataset = built(queue=20, queue_start=0.3, local_crops=1)
    method.eval()
    projected = []
    for step in range(5):
        at, batch = Progress(step, 10, epoch=step), dataset.batch(np.arange(8) + 8 * step)
        expected = 20 if step >= 3 else 0
        assert method.queued(8, at).shape == (2, expected, method.prototypes)
        with torch.no_grad():
            z = [method.projector(method.encoder(view.x)) for view in method.views(batch, at)["global"]]
        projected += list(torch.nn.functional.normalize(torch.stack(z, dim=1), dim=2))
        method.loss(batch, at)
        method.after_step(at)
    apart = torch.cdist(method.earlier.flatten(1), torch.stack(projected[-20:]).flatten(1))  # whatever their order
    assert apart.amin(dim=1).max() < 1e-4
    assert sorted(apart.argmin(dim=1).tolist()) == list(range(20))
    assert not method.queued(8, Progress(2, 10)).numel()  # not full
    assert not method.queued(8, Progress(5, 100)).numel()  # full, and too early
    expected = torch.stack([method.scorer(method.earlier[:, view]) for view in (0, 1)])
    torch.testing.assert_close(method.queued(8, Progress(5, 10)), expected)


def test_no_queue_at_all() -> None:
    method, dataset = built(queue=0)
    assert len(train_by_hand(method, dataset, steps=3)) == 3
    assert method.earlier.numel() == 0


def with_queue(rows: slice, *, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """Loss and gradients of the third step, when the queue is full, and the queue it leaves."""
    method, dataset = built(queue=2 * ROWS, local_crops=1)
    method = without_batch_norm(method).double()
    for step in range(3):
        at = Progress(step, 10, epoch=step, seed=2, rank=rank, world=world)
        method.zero_grad()
        loss = method.loss(dataset.batch(np.arange(ROWS)[rows] + ROWS * step), at)["loss"]
        loss.backward()
        method.after_step(at)
    assert method.queued(len(range(ROWS)[rows]), at).shape[1] == 2 * ROWS
    return {"loss": loss.detach()} | {key: p.grad for key, p in method.named_parameters()} | {"queue": method.earlier}


def on_half(rank: int) -> dict[str, Tensor]:
    half = ROWS // 2
    return with_queue(slice(rank * half, rank * half + half), rank=rank, world=2)


@pytest.mark.slow
def test_two_processes_with_a_full_queue_equal_one() -> None:
    whole, (first, second) = with_queue(slice(None)), two_processes(on_half)
    for key, expected in whole.items():
        torch.testing.assert_close((first[key] + second[key]) / 2, expected, rtol=1e-9, atol=1e-11, msg=key)
    assert torch.equal(first["queue"], second["queue"])
    assert not torch.equal(first["loss"], second["loss"])


def test_a_copy_made_halfway_goes_on_alike() -> None:
    method, dataset = built(queue=40)
    train_by_hand(method, dataset, steps=8)
    twin = built(queue=40)[0].double()
    twin.load_state_dict(method.state_dict())
    at, batch = Progress(8, 10), dataset.batch(np.arange(16))
    assert method.queued(16, at).numel()
    torch.testing.assert_close(twin.train().loss(batch, at)["loss"], method.loss(batch, at)["loss"], rtol=0, atol=0)


def test_without_equal_shares_one_prototype_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def usage() -> float:
        method, dataset = built()
        train_by_hand(method, dataset, rate=0.5, steps=150)
        return float(method.vitals(dataset.batch(np.arange(96)), Progress(150, 150))["prototype_usage"])

    assert usage() > 0.7
    monkeypatch.setattr(swav, "sinkhorn", lambda scores, *, epsilon, iterations: (scores / epsilon).softmax(dim=-1))
    assert usage() < 1.5 / 32


def test_usage_is_the_perplexity_of_the_mean_share_of_the_latest_samples() -> None:
    """The mean over all steps at first, a moving one from the twentieth on; each step's batch is small beside K."""
    method, dataset = built(temperature=0.1)
    batch, expected, place = dataset.batch(np.arange(4)), torch.zeros(method.prototypes), method.usage.data_ptr()
    assert method.vitals(batch, Progress(0, 100)) == {}  # nothing was assigned yet
    for step in range(30):
        view = torch.nn.functional.normalize(torch.randn(4, method.dim), dim=1)
        method.latest = torch.stack([view, torch.zeros_like(view)], dim=1)
        method.after_step(Progress(step, 100))
        share = (view @ method.scorer.weight.T / 0.1).softmax(dim=1).mean(dim=0)
        new = 1 / (step + 1) if step < 20 else 0.05
        expected = (1 - new) * expected + new * share
    torch.testing.assert_close(method.usage, expected.detach())
    assert method.usage.data_ptr() == place
    seen = method.vitals(batch, Progress(30, 100))["prototype_usage"]
    torch.testing.assert_close(seen, torch.distributions.Categorical(probs=expected).entropy().exp().detach() / 32)


def test_usage_at_its_ends() -> None:
    for temperature, usage in ((1e6, 1.0), (1e-6, 1 / 32)):  # everything to all alike, everything to one
        method, dataset = built(temperature=temperature)
        method.latest = method.scorer.weight.detach()[3].expand(8, 2, method.dim)
        method.after_step(Progress(0, 10))
        seen = method.vitals(dataset.batch(np.arange(8)), Progress(1, 10))["prototype_usage"]
        assert seen.ndim == 0
        assert float(seen) == pytest.approx(usage, rel=1e-5)


@pytest.mark.parametrize(("temperature", "epsilon"), [(0.01, 1e3), (1e3, 0.003), (1e3, 1e3)])
def test_finite_in_half_precision_at_extreme_temperatures(temperature: float, epsilon: float) -> None:
    scores = random_scores(n=32, k=16)[0].detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = swav_loss(scores, scores[:2, :0].detach(), temperature=temperature, epsilon=epsilon, iterations=3)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()
    if temperature > 1:  # all predictions are nearly alike
        assert loss.item() == pytest.approx(math.log(16), rel=1e-3)
