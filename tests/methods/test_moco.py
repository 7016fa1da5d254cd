"""MoCo against the papers' formula and lightly's memory bank; its queue, its groups, and the same on two processes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods import Context
from salience.methods.contrastive import moco
from salience.methods.contrastive.moco import MoCo, in_groups, moco_loss, shuffled
from salience.modalities.image.spec import ImageSpec
from salience.nets import distance
from salience.nets.queue import queue_for
from tests import contract
from tests.methods.proof import (
    assert_fifty_steps_coincide,
    assert_same_value_and_gradient,
    lightly_loss,
    random_views,
)
from tests.two_processes import two_processes

ROWS, GROUPS, QUEUE = 16, 4, 24
Left = dict[str, Tensor]


def random_queue(length: int, width: int, seed: int = 9) -> Tensor:
    return F.normalize(random_views(length, width, seed, count=1)[0].detach(), dim=1)


def paper_loop(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Eq. 1, query by query, over its own key and the queue."""
    total = torch.zeros((), dtype=query.dtype)
    for q, k in zip(query, key.detach(), strict=True):
        unit = [q[i] / q.norm() for i in range(len(q))]
        own = sum(unit[i] * k[i] / k.norm() for i in range(len(q)))
        others = [sum(unit[i] * old[i] for i in range(len(q))) for old in queue]
        below = sum((cosine / temperature).exp() for cosine in [own, *others])
        total = total - ((own / temperature).exp() / below).log()
    return total / len(query)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 2.0])
def test_matches_the_papers_loop_in_value_and_gradient(temperature: float) -> None:
    (q, k), queue = random_views(5, 7), random_queue(11, 7)
    ours = moco_loss(q, k, queue, temperature=temperature)
    assert_same_value_and_gradient(ours, paper_loop(q, k, queue, temperature), (q,))


def with_bank(temperature: float, queue: Tensor) -> nn.Module:
    """lightly's loss with its own memory bank, which begins as this queue."""
    loss = lightly_loss().NTXentLoss(temperature=temperature, memory_bank_size=tuple(queue.shape))
    loss.memory_bank.bank = queue.clone()
    return loss


@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_matches_lightly_in_value_and_gradient(temperature: float) -> None:
    (q, k), queue = random_views(5, 7, seed=1), random_queue(11, 7)
    theirs = with_bank(temperature, queue)(q, k.detach())
    assert_same_value_and_gradient(moco_loss(q, k, queue, temperature=temperature), theirs, (q,))


def test_fifty_steps_with_lightlys_loss_and_bank_in_our_loop_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees our queue once, before the first step: from there on its bank must stay the same as ours by itself."""
    bank: list[Callable[[Tensor, Tensor], Tensor]] = []

    def theirs(query: Tensor, key: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
        if not bank:
            bank.append(with_bank(temperature, queue))
        return bank[0](query, key)

    assert queue_for(contract.ROWS) % 16 == 0  # lightly's bank drops keys where a batch reaches over its end
    assert_fifty_steps_coincide(monkeypatch, "moco", moco, "moco_loss", theirs)


def test_without_a_queue_there_is_nothing_to_tell_apart() -> None:
    q, k = random_views(5, 7)
    loss = moco_loss(q, k, torch.empty(0, 7, dtype=q.dtype), temperature=0.2)
    assert loss.item() == 0


def test_orthogonal_keys_have_a_closed_form_and_equal_ones_give_log_of_all() -> None:
    axes, t = torch.eye(8, dtype=torch.float64), 0.5
    expected = math.log(math.exp(1 / t) + 5) - 1 / t  # its own key, five at cosine 0
    assert moco_loss(axes[:3], 2 * axes[:3], axes[3:], temperature=t).item() == pytest.approx(expected, rel=1e-12)
    collapsed = moco_loss(axes[:1], axes[:1], axes[:1].expand(5, 8), temperature=0.07).item()
    method = contract.build("moco", contract.dataset_for("moco"), queue=5)
    assert collapsed == pytest.approx(method.collapsed_loss(32)) == pytest.approx(math.log(6))


def test_rescaling_and_the_order_of_the_queue_leave_the_loss_unchanged() -> None:
    (q, k), queue = random_views(5, 7, seed=2), random_queue(11, 7)
    loss = moco_loss(q, k, queue, temperature=0.3)
    scale = torch.linspace(0.1, 9, 5, dtype=torch.float64)[:, None]
    torch.testing.assert_close(moco_loss(q * scale, k / scale, queue.flip(0), temperature=0.3), loss)
    assert not torch.isclose(moco_loss(q, k.flip(0), queue, temperature=0.3), loss)  # whose key it is matters


def test_keys_and_queue_get_no_gradient() -> None:
    (q, k), queue = random_views(5, 7), random_queue(11, 7).requires_grad_()
    moco_loss(q, k, queue, temperature=0.2).backward()
    assert k.grad is None
    assert queue.grad is None
    assert q.grad.abs().sum() > 0


@pytest.mark.parametrize("temperature", [1e-3, 0.01, 100.0])
def test_finite_in_half_precision_at_extreme_temperatures(temperature: float) -> None:
    q, k = (view.detach().bfloat16().requires_grad_() for view in random_views(5, 7, seed=3))
    with torch.autocast("cpu", torch.bfloat16):
        loss = moco_loss(q, k, random_queue(11, 7).float(), temperature=temperature)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(q.grad).all()


def test_a_step_puts_the_keys_of_its_batch_into_the_queue() -> None:
    dataset = contract.dataset_for("moco")
    method = contract.build("moco", dataset, queue=40, head="linear").double()
    batch, at = dataset.batch(np.arange(ROWS)), Progress(step=2, total=10, seed=4)
    before = method.old_keys.clone()
    method.loss(batch, at)
    torch.testing.assert_close(method.old_keys, before, rtol=0, atol=0)  # nothing before the optimiser has stepped
    expected, _ = method.keys(batch, at)
    method.after_step(at)
    torch.testing.assert_close(method.old_keys[:ROWS], expected)
    torch.testing.assert_close(method.old_keys[ROWS:], before[ROWS:], rtol=0, atol=0)
    torch.testing.assert_close(method.old_keys.norm(dim=1), torch.ones(40).double())
    assert method.written == ROWS
    assert method.vitals(batch, at)["queue_filled"] == ROWS / 40


@pytest.mark.parametrize("momentum", [0.0, 0.75, 1.0])
def test_the_teacher_keeps_its_share(momentum: float) -> None:
    dataset = contract.dataset_for("moco")
    method = contract.build("moco", dataset, momentum=momentum)
    start = [p.clone() for p in method.teacher_encoder.parameters()]
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(1.0)
    method.after_step(Progress(5, 10))
    for p, before in zip(method.teacher_encoder.parameters(), start, strict=True):
        torch.testing.assert_close(p, before + (1 - momentum), rtol=1e-5, atol=1e-6)
    apart = distance(method.teacher_encoder, method.encoder)
    assert method.vitals(dataset.batch(np.arange(4)), Progress())["teacher_distance"] == apart
    assert (apart == 0) == (momentum == 0)


def test_keys_come_back_to_their_items() -> None:
    """Without shuffling and groups, keys are the teacher's projections of the second views; with them, by eval mode."""
    dataset = contract.dataset_for("moco")
    method = contract.build("moco", dataset).double().eval()  # fixed statistics: company changes nothing
    batch, at = dataset.batch(np.arange(ROWS)), Progress(step=3, total=10, seed=4)
    view = method.views(batch, at)["global"][1].x
    expected = F.normalize(method.teacher_projector(method.teacher_encoder(view)), dim=1)
    torch.testing.assert_close(method.keys(batch, at)[0], expected)
    first = method.projector(method.encoder(method.views(batch, at)["global"][0].x))
    loss = moco_loss(first, expected, method.old_keys, temperature=method.temperature)
    torch.testing.assert_close(method.loss(batch, at)["loss"], loss)


def test_the_shuffle_is_a_function_of_seed_and_step_that_mixes_groups() -> None:
    batch = Batch(torch.arange(64, dtype=torch.uint8)[:, None], torch.arange(100, 164))
    share, back = shuffled(batch, Progress(step=1, seed=2))
    assert torch.equal(share.index, 100 + share.x[:, 0].long())
    assert torch.equal(share.index[back], batch.index)
    again, other = (shuffled(batch, Progress(step=step, seed=2))[0].index for step in (1, 2))
    assert torch.equal(share.index, again)
    assert not torch.equal(share.index, other)
    for group in share.index.split(16):  # of each query group some, of none most
        came_from = torch.bincount((group - 100) // 16, minlength=4)
        assert came_from.min() > 0
        assert came_from.max() <= 8


def test_groups_are_normalised_on_their_own_and_remembered_together() -> None:
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norm = nn.BatchNorm1d(3).double()
    out = in_groups(norm, x, 3)
    assert out.shape == x.shape
    parts = (x[:4], x[4:7], x[7:])
    for part, normalised in zip(parts, out.split([4, 3, 3]), strict=True):
        expected = (part - part.mean(0)) / (part.var(0, unbiased=False) + norm.eps).sqrt()
        torch.testing.assert_close(normalised, expected)
    torch.testing.assert_close(norm.running_mean, 0.1 * sum(part.mean(0) for part in parts) / 3)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * sum(part.var(0) for part in parts) / 3)
    assert norm.num_batches_tracked == 1
    assert not torch.allclose(out, norm(x))


def test_a_network_without_batch_norm_runs_once() -> None:
    seen: list[int] = []
    network = nn.Linear(3, 2)
    network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    in_groups(network, torch.randn(12, 3), 4)
    assert seen == [12]
    in_groups(nn.Sequential(network, nn.BatchNorm1d(2)), torch.randn(12, 3), 4)
    assert seen == [12, 3, 3, 3, 3]


def test_a_group_has_at_least_two_rows() -> None:
    dataset = contract.dataset_for("moco")
    method = contract.build("moco", dataset, groups=64)
    assert [method.groups_of(n) for n in (256, 128, 7, 2)] == [64, 64, 3, 1]
    assert torch.isfinite(method.loss(dataset.batch(np.arange(7)), Progress(total=10))["loss"])


def test_what_auto_becomes() -> None:
    spec = ImageSpec((1, 8, 8), "uint8", 0, 255)

    def built(**options: object) -> MoCo:
        return MoCo.build(Context(spec, 1000, "linear"), **options)

    assert (built().temperature, built(head="linear").temperature, built(temperature=0.5).temperature) == (
        0.2,
        0.07,
        0.5,
    )
    assert [len(built(head=head).projector) for head in ("linear", "mlp")] == [1, 3]
    assert built(queue=7).old_keys.shape == (7, 128)


def two_steps(rows: slice, *, rank: int = 0, world: int = 1) -> Left:
    """Losses and gradients of two steps on these rows, and every buffer and teacher they leave; with batch norm."""
    dataset = contract.dataset_for("moco")
    method = contract.build("moco", dataset, encoder="convnet", groups=GROUPS, queue=QUEUE).double().train()
    left: Left = {}
    for step in range(2):
        at = Progress(step, 10, epoch=step, seed=2, rank=rank, world=world)
        method.zero_grad()
        loss = method.loss(dataset.batch((np.arange(ROWS) + 20 * step)[rows]), at)["loss"]
        loss.backward()
        method.after_step(at)
        left |= {f"loss {step}": loss.detach()}
        left |= {f"{key} {step}": p.grad for key, p in method.named_parameters() if p.grad is not None}
    return left | {f"{key} after": value for key, value in method.state_dict().items()}


def on_half(rank: int) -> Left:
    half = ROWS // 2
    left = two_steps(slice(rank * half, rank * half + half), rank=rank, world=2)
    wrapped = nn.parallel.DistributedDataParallel(contract.build("moco", contract.dataset_for("moco"), queue=QUEUE))
    sent = [tuple(buffer.shape) for buffer in wrapped.modules_buffers]
    return left | {"queue is sent": torch.tensor((QUEUE, 128) in sent), "others are": torch.tensor(len(sent) > 0)}


@pytest.mark.slow
def test_two_processes_at_equal_groups_equal_one_with_batch_norm() -> None:
    """Four groups, of one process or two of each: losses, gradients, statistics, queue; keys cross processes."""
    whole, (first, second) = two_steps(slice(None)), two_processes(on_half)
    assert not torch.equal(first["loss 1"], second["loss 1"])
    for key, expected in whole.items():
        mean = (first[key] + second[key]) / 2 if expected.is_floating_point() else first[key]
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-11, msg=lambda text, key=key: f"{key}: {text}")
        if key.endswith(" after"):
            torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)
    assert not first["queue is sent"]
    assert first["others are"]
