"""DINO's loss against the paper's formula and lightly's, its schedules, and the two collapses it balances between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from salience.batch import Batch, Progress
from salience.data import Dataset
from salience.methods import Context
from salience.methods.contrastive import dino
from salience.methods.contrastive.dino import DINO, dino_loss
from salience.methods.contrastive.swav import SwAV
from salience.methods.lightning import LightningMethod, Plan
from salience.modalities.image.spec import ImageSpec
from salience.nets import distance
from salience.training import fit
from tests import contract
from tests.methods.proof import (
    assert_fifty_steps_coincide,
    assert_gradient_stops,
    assert_same_value_and_gradient,
    lightly_loss,
    random_views,
    train_by_hand,
)

WARM = {"student_temperature": 0.3, "teacher_temperature": 0.2}


def random_outputs(n: int = 3, k: int = 5, crops: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Student's, teacher's and a centre, float64."""
    drawn = random_views(n, k, seed, count=crops + 3)
    student = torch.stack(drawn[:crops]).detach().requires_grad_()
    teacher = torch.stack(drawn[crops : crops + 2]).detach().requires_grad_()
    return student, teacher, drawn[-1][0].detach()


def paper_loop(
    student: Tensor, teacher: Tensor, centre: Tensor, *, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Eq. 1 to 4 and the centre, item by item, output by output."""
    total, terms = torch.zeros((), dtype=student.dtype), 0
    crops, n, k = student.shape
    for t in range(2):
        for s in range(crops):
            if s == t:
                continue
            for i in range(n):
                asked = [((teacher[t, i, j] - centre[j]) / teacher_temperature).exp().detach() for j in range(k)]
                said = [(student[s, i, j] / student_temperature).exp() for j in range(k)]
                total = total - sum(asked[j] / sum(asked) * (said[j] / sum(said)).log() for j in range(k))
                terms += 1
    return total / terms


def test_matches_the_papers_loop_in_value_and_gradient() -> None:
    student, teacher, centre = random_outputs()
    ours, theirs = (loss(student, teacher, centre, **WARM) for loss in (dino_loss, paper_loop))
    assert_same_value_and_gradient(ours, theirs, (student,))


@contextmanager
def in_float64() -> Iterator[None]:
    """lightly makes a float32 tensor of the temperature."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def test_matches_lightly_in_value_and_gradient() -> None:
    student, teacher, centre = random_outputs(n=6, k=16, crops=6, seed=1)
    with in_float64():
        reference = lightly_loss().DINOLoss(16, teacher_temp=0.04, student_temp=0.1)
        reference.center[:] = centre
        theirs = reference(list(teacher.detach()), list(student))
    ours = dino_loss(student, teacher, centre, student_temperature=0.1, teacher_temperature=0.04)
    assert_same_value_and_gradient(ours, theirs, (student,))


def test_fifty_steps_with_lightlys_loss_and_its_own_centre_in_our_loop_coincide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = lightly_loss().DINOLoss(64, teacher_temp=0.04, student_temp=0.1).double()

    def theirs(student: Tensor, teacher: Tensor, centre: Tensor, **temperatures: float) -> Tensor:
        with in_float64():
            loss = reference(list(teacher), list(student))  # which moves the centre for the next step
        assert temperatures == {"student_temperature": 0.1, "teacher_temperature": 0.04}
        return loss

    assert_fifty_steps_coincide(monkeypatch, "dino", dino, "dino_loss", theirs, local_crops=1, hidden=64)
    assert reference.center.std() > 1e-3


def test_uniform_teacher_and_zero_student_give_log_k_agreement_on_one_output_gives_0() -> None:
    zeros = torch.zeros(4, 3, 7)
    assert dino_loss(zeros, zeros[:2], torch.zeros(7), **WARM).item() == pytest.approx(math.log(7))
    agreed = torch.full((4, 3, 7), -100.0)
    agreed[..., 2] = 100.0
    assert dino_loss(agreed, agreed[:2], torch.zeros(7), **WARM).item() == pytest.approx(0)
    assert dino_loss(agreed, -agreed[:2], torch.zeros(7), **WARM).item() > 100
    method = contract.build("dino", contract.dataset_for("dino"), outputs=7)
    assert method.collapsed_loss(32) == pytest.approx(math.log(7))


def test_a_constant_on_a_row_and_an_order_of_the_outputs_change_nothing() -> None:
    student, teacher, centre = random_outputs()
    expected = dino_loss(student, teacher, centre, **WARM)
    constant = torch.linspace(-9, 9, 4 * 3, dtype=torch.float64).reshape(4, 3, 1)
    torch.testing.assert_close(dino_loss(student + constant, teacher + constant[:2], centre, **WARM), expected)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(dino_loss(student[..., order], teacher[..., order], centre[order], **WARM), expected)
    torch.testing.assert_close(dino_loss(student, teacher + centre, 2 * centre, **WARM), expected)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher, centre = random_outputs()
    dino_loss(student, teacher, centre, **WARM).backward()
    assert teacher.grad is None
    assert (student.grad.abs().sum(dim=(1, 2)) > 0).all()


@pytest.mark.parametrize(("student_at", "teacher_at"), [(0.01, 1e-3), (0.01, 1e3), (1e3, 1e-3), (1e3, 1e3)])
def test_finite_in_half_precision_at_extreme_temperatures(student_at: float, teacher_at: float) -> None:
    student, teacher, centre = (value.detach().bfloat16() for value in random_outputs(k=64))
    student.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = dino_loss(student, teacher, centre, student_temperature=student_at, teacher_temperature=teacher_at)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def built(**options: float) -> tuple[DINO, Dataset]:
    dataset = contract.dataset_for("dino")
    method = contract.build("dino", dataset, encoder="mlp", **options)
    assert isinstance(method, DINO)
    return method, dataset


def test_the_teacher_sees_the_global_crops_and_is_asked_about_every_other_crop() -> None:
    method, dataset = built(local_crops=2)
    method.double().eval()  # batch norms of the mlp see one crop at a time here
    at, batch = Progress(total=10), dataset.batch(np.arange(16))
    views = method.views(batch, at)
    large, small = ([view.x for view in views[role]] for role in ("global", "local"))
    with torch.no_grad():
        for weight in method.teacher_projector.parameters():
            weight.mul_(1.5)
    student = torch.stack([method.projector(method.encoder(x)) for x in large + small])
    teacher = torch.stack([method.teacher_projector(method.teacher_encoder(x)) for x in large])
    expected = dino_loss(student, teacher, method.centre, student_temperature=0.1, teacher_temperature=0.04)
    torch.testing.assert_close(method.loss(batch, at)["loss"], expected)


def test_schedules_end_where_the_paper_says() -> None:
    method, _ = built(teacher_temperature=0.07)
    decays = [method.weight_decay(Progress(step, 100)) for step in (0, 50, 100)]
    assert decays == pytest.approx([0.04, 0.22, 0.4])
    temperatures = [method.sharpness(Progress(step, 100)) for step in (0, 5, 10, 100)]
    assert temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert built(teacher_temperature=0.02)[0].sharpness(Progress(0, 100)) == pytest.approx(0.02)
    with torch.no_grad():
        method.projector.layers[0].weight.add_(1.0)
    for step, momentum in ((0, 0.996), (50, 0.998), (100, 1.0)):  # 1 - 0.004 (cos(pi k / K) + 1) / 2
        before = method.teacher_projector.layers[0].weight.clone()
        method.after_step(Progress(step, 100))
        moved = method.teacher_projector.layers[0].weight - before
        gap = method.projector.layers[0].weight - before
        torch.testing.assert_close(moved, (1 - momentum) * gap, atol=1e-6, rtol=1e-4)


def test_weights_decay_as_scheduled_from_0_too_and_biases_never(tmp_path) -> None:
    method, dataset = built(decay=0.0, final_decay=0.4)
    plan = Plan(total=4, steps_per_epoch=4, learning_rate=1e-3, weight_decay=0.0)
    seen: list[list[float]] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
            seen.append([group["weight_decay"] for group in trainer.optimizers[0].param_groups])

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_steps=4, callbacks=[Watch()], default_root_dir=tmp_path, **quiet, accelerator="cpu")
    trainer.fit(LightningMethod(method, plan), dataset.loader(16, 0))
    expected = [method.weight_decay(Progress(step, 4)) for step in range(4)]
    assert [weights for weights, _ in seen] == pytest.approx(expected)
    assert expected[0] == 0 < expected[1]
    assert {biases for _, biases in seen} == {0.0}
    decaying, others = ({id(p) for p in group["params"]} for group in trainer.optimizers[0].param_groups)
    assert decaying == {id(p) for p in method.parameters() if p.requires_grad and p.ndim > 1}
    assert others == {id(p) for p in method.parameters() if p.requires_grad and p.ndim <= 1}


def test_the_centre_is_a_moving_average_of_the_teachers_mean_output() -> None:
    method, dataset = built(local_crops=1)
    method.eval()
    expected, place = torch.zeros(method.outputs), method.centre.data_ptr()
    for step in range(3):
        at, batch = Progress(step, 10, epoch=step), dataset.batch(np.arange(16))
        views = method.views(batch, at)["global"]
        with torch.no_grad():
            outputs = torch.cat([method.teacher_projector(method.teacher_encoder(view.x)) for view in views])
        expected = 0.9 * expected + 0.1 * outputs.mean(dim=0)
        method.loss(batch, at)
        method.after_step(at)
        torch.testing.assert_close(method.centre, expected)
    assert expected.std() > 1e-3
    assert method.centre.data_ptr() == place


def test_the_outputs_directions_stay_for_the_first_share_of_steps() -> None:
    method, dataset = built(frozen=0.02)
    for step, kept in ((0, False), (1, False), (2, True)):
        at = Progress(step, 100)
        method.loss(dataset.batch(np.arange(16)), at)["loss"].backward()
        method.before_update(at)
        assert (method.projector.directions.grad is not None) == kept
        assert method.projector.layers[0].weight.grad is not None


@pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
@pytest.mark.parametrize("frozen", [0.0, 1.0])
def test_frozen_directions_stay_through_a_whole_fit(frozen: float, tmp_path) -> None:
    rep = fit(
        "dino", contract.dataset_for("dino"), out=tmp_path / "run", encoder="mlp", frozen=frozen, **contract.QUICK
    )
    method = rep.method
    assert torch.equal(method.projector.directions, method.teacher_projector.directions) == (frozen == 1)
    assert not torch.equal(method.projector.layers[0].weight, method.teacher_projector.layers[0].weight)


def test_without_centring_one_output_is_left_without_sharpening_all_are_alike() -> None:
    def entropies(**options: float) -> tuple[float, float]:
        """Of the mean output and of each, after fifty steps, as shares of log K."""
        method, dataset = built(momentum=0.9, outputs=16, hidden=64, bottleneck=32, **options)
        train_by_hand(method, dataset, rate=0.5)
        seen = method.vitals(dataset.batch(np.arange(96)), Progress(50, 50, seed=5))
        return float(seen["entropy_of_mean"]) / math.log(16), float(seen["mean_entropy"]) / math.log(16)

    assert entropies()[0] > 0.8  # all outputs are in use
    assert max(entropies(centre_momentum=1)) < 0.01
    assert min(entropies(teacher_temperature=1)) > 0.999


def test_no_gradient_enters_the_teachers_part() -> None:
    """With the student for its own teacher it would: at first the two are the same."""
    method, dataset = built(outputs=16, hidden=64, bottleneck=32, local_crops=0)
    method.double()
    at, batch = Progress(5, 10), dataset.batch(np.arange(16))
    crops = torch.cat([method.views.one(batch, at, "global", number).x for number in range(2)])
    outputs = method.projector(method.encoder(crops)).unflatten(0, (2, -1))

    def cross_entropy(targets: Tensor) -> Tensor:
        predictions = (outputs / 0.1).log_softmax(dim=-1)
        return -((targets / 0.04).softmax(dim=-1)[[0, 1]] * predictions[[1, 0]]).sum(dim=-1).mean()

    loss = method.loss(batch, at)["loss"]
    assert_gradient_stops(loss, cross_entropy(outputs.detach()), cross_entropy(outputs), method)


def test_vitals_at_their_ends_and_without_a_trace() -> None:
    method, dataset = built(teacher_temperature=1e6)
    method.eval()
    at, batch = Progress(10, 10), dataset.batch(np.arange(32))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    seen = method.vitals(batch, at)
    assert all(value.ndim == 0 for value in seen.values())
    assert seen["teacher_distance"] == 0
    assert float(seen["mean_entropy"]) == pytest.approx(math.log(64), rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    method.teacher_temperature = 1e-6
    method.centre[3] = -5  # which makes 3 the output for everything
    seen = method.vitals(batch, at)
    assert float(seen["entropy_of_mean"]) == pytest.approx(0, abs=1e-5)
    assert float(seen["mean_entropy"]) == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        for weight in method.encoder.parameters():
            weight.mul_(2)
    assert float(distance(method.teacher_encoder, method.encoder)) == pytest.approx(0.5)


def test_vision_transformers_learn_from_local_crops_of_their_own_size() -> None:
    pytest.importorskip("timm")
    spec = ImageSpec((3, 32, 32), "uint8", 0, 255, (0.5,) * 3, (0.2,) * 3)
    method = DINO.build(Context(spec, 1000, "vit_tiny_patch16_224"), local_crops=1)
    assert method.encoder.local_side == 16
    seen: list[tuple[int, ...]] = []
    method.encoder.register_forward_hook(lambda module, inputs, out: seen.append(tuple(inputs[0].shape)))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    method.loss(Batch(images, torch.arange(2)), Progress(total=10))["loss"].backward()
    assert seen == [(4, 3, 32, 32), (2, 3, 16, 16)]
    assert method.encoder.body.model.pos_embed.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in method.teacher_encoder.parameters())


def test_outputs_follow_the_rows() -> None:
    spec = ImageSpec((3, 8, 8), "uint8", 0, 255, (0.5,) * 3, (0.2,) * 3)
    found = [DINO.build(Context(spec, rows, "mlp"), hidden=8).outputs for rows in (50, 5_000, 50_000)]
    assert found == [64, 256, 2048]


@pytest.mark.parametrize(
    ("side", "policy", "crops"), [(32, "natural", 4), (32, "glyphs", 0), (28, None, 4), (8, None, 0)]
)
def test_local_crops_where_a_part_is_large_enough_and_says_something(side: int, policy: str | None, crops: int) -> None:
    spec = ImageSpec((3, side, side), "uint8", 0, 255)
    assert DINO.build(Context(spec, 100, views=policy)).local_crops == crops
    assert SwAV.build(Context(spec, 100, views=policy)).local_crops == crops
