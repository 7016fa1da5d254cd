"""CMC against the paper's formula in loops and its closed forms; luminance and chroma see nothing of each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from salience.batch import Progress
from salience.cli import main
from salience.data import open_data
from salience.methods.contrastive import cmc
from salience.methods.contrastive.cmc import CMC, cmc_loss
from salience.modalities.image.colour import lab
from tests import contract
from tests.methods.proof import assert_fifty_steps_coincide, assert_same_value_and_gradient, random_views


def paper_loop(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Section 3: every image's two vectors, first from a to all of b, then from b to all of a."""
    total = torch.zeros((), dtype=a.dtype)
    for anchors, others in ((a, b), (b, a)):
        for i in range(len(a)):
            score = [
                ((anchors[i] @ other) / (anchors[i].norm() * other.norm()) / temperature).exp() for other in others
            ]  # fmt: skip
            total = total - (score[i] / sum(score)).log()
    return total / (2 * len(a))


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_matches_the_papers_loop_in_value_and_gradient(temperature: float) -> None:
    a, b = random_views(5, 7)
    assert_same_value_and_gradient(cmc_loss(a, b, temperature=temperature), paper_loop(a, b, temperature), (a, b))


def test_fifty_steps_with_the_papers_loop_in_ours_coincide(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_fifty_steps_coincide(
        monkeypatch, "cmc", cmc, "cmc_loss", lambda a, b, *, temperature: loops(a, b, temperature)
    )


def loops(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """The same as probabilities, image by image: fast enough for fifty steps."""
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    score = (a @ b.T / temperature).exp()
    own = score.diagonal()
    return -((own / score.sum(0)).log() + (own / score.sum(1)).log()).mean() / 2


def test_identical_embeddings_give_log_n() -> None:
    z = torch.ones(6, 8)
    method = contract.build("cmc", contract.dataset_for("cmc"))
    assert cmc_loss(z, z, temperature=0.07).item() == pytest.approx(math.log(6))
    assert method.collapsed_loss(6) == pytest.approx(math.log(6))


def test_orthogonal_images_with_equal_sides_have_a_closed_form() -> None:
    z, t = torch.eye(4, dtype=torch.float64), 0.5
    expected = math.log(math.exp(1 / t) + 3) - 1 / t
    assert cmc_loss(z, z, temperature=t).item() == pytest.approx(expected, rel=1e-12)


def test_swapping_permuting_and_rescaling_leave_the_loss_unchanged() -> None:
    a, b = random_views(5, 7, seed=2)
    loss = cmc_loss(a, b, temperature=0.3)
    order = torch.tensor([3, 0, 4, 1, 2])
    scale = torch.linspace(0.1, 9, 5, dtype=torch.float64)[:, None]
    for other in ((b, a), (a[order], b[order]), (a * scale, b / scale)):
        torch.testing.assert_close(cmc_loss(*other, temperature=0.3), loss)
    assert not torch.isclose(cmc_loss(a[order], b, temperature=0.3), loss)  # pairs matter


@pytest.mark.parametrize("temperature", [1e-3, 0.01, 100.0])
def test_finite_in_half_precision_at_extreme_temperatures(temperature: float) -> None:
    a, b = (view.detach().bfloat16().requires_grad_() for view in random_views(5, 7, seed=3))
    with torch.autocast("cpu", torch.bfloat16):
        loss = cmc_loss(a, b, temperature=temperature)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert all(torch.isfinite(view.grad).all() for view in (a, b))


def method_and_images() -> tuple[CMC, Tensor]:
    dataset = contract.dataset_for("cmc")
    method = contract.build("cmc", dataset).double().eval()
    assert isinstance(method, CMC)
    x = method.views.unit(dataset.batch(np.arange(12)).x).double()
    return method, 0.2 + 0.6 * x  # away from the ends, where a colour could not be shifted


def shifted_colour(x: Tensor) -> Tensor:
    """Other colours of the same luminance: in linear light, red gains what blue and green lose, as CIE 1931 weighs."""
    linear = ((x + 0.055) / 1.055) ** 2.4
    red, green, blue = linear.unbind(1)
    gain = 0.02
    moved = torch.stack([red + gain, green - gain * 0.2126729 / 0.7151522, blue], dim=1)
    return moved ** (1 / 2.4) * 1.055 - 0.055


def test_changing_chroma_leaves_the_luminance_code_and_changes_the_other() -> None:
    method, x = method_and_images()
    before, after = (method.encode(images).split(method.widths, dim=1) for images in (x, shifted_colour(x)))
    torch.testing.assert_close(after[0], before[0], rtol=1e-6, atol=1e-9)
    assert (after[1] - before[1]).abs().max() > 1e-3


def test_changing_luminance_leaves_the_chroma_code_and_changes_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    method, x = method_and_images()
    before = method.encode(x).split(method.widths, dim=1)
    lighter = torch.tensor([0.1, 0.0, 0.0], dtype=torch.float64)[:, None, None]
    monkeypatch.setattr(cmc, "lab", lambda images: lab(images) + lighter)  # there is no such image for every colour
    after = method.encode(x).split(method.widths, dim=1)
    assert torch.equal(after[1], before[1])
    assert (after[0] - before[0]).abs().max() > 1e-3


def test_the_loss_sets_luminance_against_chroma_of_one_view() -> None:
    dataset = contract.dataset_for("cmc")
    method = contract.build("cmc", dataset).double().eval()
    batch, at = dataset.batch(np.arange(16)), Progress(total=10, seed=3)
    assert method.views.policy == "crops"
    x = lab(method.views(batch, at)["global"][0].x)
    light = method.luminance_projector(method.encoder.body.luminance(x[:, :1]))
    colour = method.chroma_projector(method.encoder.body.chroma(x[:, 1:]))
    torch.testing.assert_close(method.loss(batch, at)["loss"], cmc_loss(light, colour, temperature=0.07))


def test_the_representation_is_both_sides() -> None:
    dataset = contract.dataset_for("cmc")
    method = contract.build("cmc", dataset, encoder="mlp").eval()
    batch = dataset.batch(np.arange(4))
    codes, x = method.embed(batch), lab(batch.x / 255)
    assert codes.shape == (4, method.width) == (4, 512)
    torch.testing.assert_close(codes[:, :256], method.encoder.body.luminance(x[:, :1]))
    torch.testing.assert_close(codes[:, 256:], method.encoder.body.chroma(x[:, 1:]))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_are_refused_in_one_line(channels: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = contract.structured_images().x[:, :1].repeat(channels, axis=1)
    np.save(tmp_path / "grey.npy", grey)
    assert open_data(grey, progress=False).spec.channels == channels
    assert main(["fit", "cmc", str(tmp_path / "grey.npy"), "--out", str(tmp_path / "run")]) == 2
    about, error = capsys.readouterr().err.strip().splitlines()
    assert about.startswith("cmc on grey: 96 images")
    assert "cmc contrasts luminance with colour" in error
    assert ("are grey" if channels == 3 else "have 1 channel;") in error
    assert not (tmp_path / "run").exists()
