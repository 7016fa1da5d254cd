"""SupCon against the paper's formula in loops and pytorch-metric-learning's; without labels it is SimCLR."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from salience.batch import Progress
from salience.cli import main
from salience.data import open_data
from salience.methods.contrastive import supcon
from salience.methods.contrastive.simclr import nt_xent
from salience.methods.contrastive.supcon import supcon_loss
from salience.training import fit
from tests import contract
from tests.methods.proof import assert_fifty_steps_coincide, assert_same_value_and_gradient, random_views

LABEL = torch.tensor([0, 2, 0, 1, 2, 0])
SOME = torch.tensor([0, -1, 0, 1, -1, 1])


def paper_loop(a: torch.Tensor, b: torch.Tensor, label: torch.Tensor, temperature: float) -> torch.Tensor:
    """Eq. 2, vector by vector; a sample of unknown class has its other view for company."""
    z = [view[i] / view[i].norm() for i in range(len(a)) for view in (a, b)]
    sample = [i for i in range(len(a)) for _ in range(2)]
    total = torch.zeros((), dtype=a.dtype)
    for i in range(len(z)):
        others = [k for k in range(len(z)) if k != i]
        below = sum(((z[i] @ z[k]) / temperature).exp() for k in others)
        known = label[sample[i]] >= 0
        positives = [
            k for k in others if sample[k] == sample[i] or (known and label[sample[k]] == label[sample[i]])
        ]  # fmt: skip
        logs = sum((((z[i] @ z[p]) / temperature).exp() / below).log() for p in positives)
        total = total - logs / len(positives)
    return total / len(z)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("label", [LABEL, SOME, torch.full((6,), -1)], ids=["all", "some", "none"])
def test_matches_the_papers_loop_in_value_and_gradient(label: torch.Tensor, temperature: float) -> None:
    a, b = random_views(6, 7)
    ours = supcon_loss(a, b, label, temperature=temperature)
    assert_same_value_and_gradient(ours, paper_loop(a, b, label, temperature), (a, b))


def metric_learning_loss(temperature: float) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = pytest.importorskip("pytorch_metric_learning.losses")
    reference = losses.SupConLoss(temperature=temperature)
    return lambda a, b, label: reference(torch.cat([a, b]), torch.cat([label, label]))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_matches_pytorch_metric_learning_in_value_and_gradient(temperature: float) -> None:
    a, b = random_views(6, 7, seed=1)
    theirs = metric_learning_loss(temperature)(a, b, LABEL)
    assert_same_value_and_gradient(supcon_loss(a, b, LABEL, temperature=temperature), theirs, (a, b))


def test_fifty_steps_with_their_loss_in_our_loop_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = metric_learning_loss(0.1)

    def theirs(a: torch.Tensor, b: torch.Tensor, label: torch.Tensor, **_: float) -> torch.Tensor:
        return reference(a, b, torch.where(label < 0, 100 + torch.arange(len(label)), label))  # it knows no unknown

    assert_fifty_steps_coincide(monkeypatch, "supcon", supcon, "supcon_loss", theirs)


@pytest.mark.parametrize("label", [None, torch.full((6,), -1), torch.arange(6)], ids=["no", "unknown", "different"])
def test_without_two_of_a_class_it_is_nt_xent(label: torch.Tensor | None) -> None:
    a, b = random_views(6, 7, seed=2)
    ours, simclr = supcon_loss(a, b, label, temperature=0.3), nt_xent(a, b, temperature=0.3)
    torch.testing.assert_close(ours, simclr, rtol=1e-14, atol=0)
    assert not torch.isclose(supcon_loss(a, b, LABEL, temperature=0.3), simclr)


def test_unknown_samples_are_no_class() -> None:
    a, b = random_views(6, 7, seed=3)
    one_class = torch.where(SOME < 0, 7, SOME)
    ours = supcon_loss(a, b, SOME, temperature=0.3)
    assert not torch.isclose(ours, supcon_loss(a, b, one_class, temperature=0.3))
    apart = torch.tensor([0, 8, 0, 1, 9, 1])
    torch.testing.assert_close(ours, supcon_loss(a, b, apart, temperature=0.3))


@pytest.mark.parametrize("label", [LABEL, None])
def test_identical_embeddings_give_log_2n_minus_1(label: torch.Tensor | None) -> None:
    z = torch.ones(6, 8)
    loss = supcon_loss(z, z, label, temperature=0.1)
    assert loss.item() == pytest.approx(math.log(11))
    assert contract.build("supcon", contract.dataset_for("supcon")).collapsed_loss(6) == pytest.approx(math.log(11))


def test_classes_on_orthogonal_axes_have_a_closed_form() -> None:
    z, t = torch.eye(3, dtype=torch.float64).repeat(2, 1), 0.5  # three classes of two samples: four vectors each
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    expected = math.log(3 * math.exp(1 / t) + 8) - 1 / t
    assert supcon_loss(z, z, label, temperature=t).item() == pytest.approx(expected, rel=1e-12)


def test_swapping_permuting_renaming_and_rescaling_leave_the_loss_unchanged() -> None:
    a, b = random_views(6, 7, seed=4)
    loss = supcon_loss(a, b, LABEL, temperature=0.3)
    order = torch.tensor([3, 0, 4, 1, 5, 2])
    scale = torch.linspace(0.1, 9, 6, dtype=torch.float64)[:, None]
    renamed = torch.tensor([5, 0, 3])[LABEL]
    same = [(b, a, LABEL), (a[order], b[order], LABEL[order]), (a * scale, b / scale, LABEL), (a, b, renamed)]
    for one, other, label in same:
        torch.testing.assert_close(supcon_loss(one, other, label, temperature=0.3), loss)
    assert not torch.isclose(supcon_loss(a, b, LABEL[order], temperature=0.3), loss)


@pytest.mark.parametrize("temperature", [1e-3, 0.01, 100.0])
def test_finite_in_half_precision_at_extreme_temperatures(temperature: float) -> None:
    a, b = (view.detach().bfloat16().requires_grad_() for view in random_views(6, 7, seed=5))
    with torch.autocast("cpu", torch.bfloat16):
        loss = supcon_loss(a, b, SOME, temperature=temperature)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert all(torch.isfinite(view.grad).all() for view in (a, b))


def test_the_method_reads_the_labels_of_its_batch() -> None:
    dataset = contract.dataset_for("supcon")
    method = contract.build("supcon", dataset)
    batch, at = dataset.batch(np.arange(12)), Progress(total=10)
    blind = type(batch)(batch.x, batch.index)
    assert not torch.isclose(method.loss(batch, at)["loss"], method.loss(blind, at)["loss"])


def test_fit_turns_labels_on_by_itself_and_refuses_data_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rep = fit("supcon", contract.dataset_for("supcon"), out=tmp_path / "run", epochs=1, batch_size=32, progress=False)
    assert rep.config.model.use_labels is True
    np.save(tmp_path / "x.npy", open_data("digits", progress=False).x[:40])
    assert main(["fit", "supcon", str(tmp_path / "x.npy"), "--out", str(tmp_path / "other")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "supcon" in said[0]
    assert "label" in said[0]
    assert not (tmp_path / "other").exists()
