"""Super-resolution by two players: pairs, the regression without a discriminator, the interpolation it begins with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.methods import Context
from salience.methods.generative.conditional_gan import ConditionalGAN, pixel_error, shrunk, signal_to_noise
from salience.modalities.image.dcgan import Enlarger, interpolated
from salience.modalities.image.spec import ImageSpec
from tests import contract
from tests.methods.proof import assert_same_value_and_gradient, random_views

AT = Progress(step=2, total=10, epoch=1, seed=4)


def built(*, awake: bool = True, **options: Any) -> ConditionalGAN:
    """awake: with a last layer as if it had learnt something"""
    dataset = contract.dataset_for("conditional_gan")
    method = contract.build("conditional_gan", dataset, **{"channels": 4, "blocks": 2, **options})
    assert isinstance(method, ConditionalGAN)
    if awake:
        nn.init.normal_(last(method).weight, std=0.1)
    return method


def last(method: ConditionalGAN) -> nn.Conv2d:
    assert isinstance(method.generator, Enlarger)
    return method.generator.end


def some(n: int = 6) -> Batch:
    return contract.dataset_for("conditional_gan").batch(np.arange(n))


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# --- what the two players see -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["convnet", "mlp"])
def test_the_discriminator_sees_pairs(encoder: str) -> None:
    """Other conditions beside the same images change its loss; the same pairs in another order do not."""
    method = built(encoder=encoder).double()
    x = method.encoder.input.unit(some().x).double()
    condition = shrunk(x, 2)
    logits = method.judge(condition, x)
    assert not torch.allclose(method.judge(condition.roll(1, 0), x), logits, atol=1e-3)
    assert not torch.allclose(method.judge(condition, x.roll(1, 0)), logits, atol=1e-3)
    torch.testing.assert_close(method.judge(condition.roll(1, 0), x.roll(1, 0)), logits.roll(1, 0))
    assert logits.shape == ((6, 1, 2, 2) if encoder == "convnet" else (6, 1, 1, 1))


def test_both_turns_match_the_papers_in_value_and_gradient() -> None:
    """Patch by patch and pixel by pixel, in float64."""
    method = built(adversarial_weight=0.3).double()
    batch = some(3)
    x = method.encoder.input.unit(batch.x)
    condition = shrunk(x, 2)
    made = method.generator(condition)
    real, false = method.judge(condition, x), method.judge(condition, made.detach())
    patches = real.numel()
    d = -torch.stack([torch.sigmoid(logit).log() for logit in real.flatten()]).sum() / patches
    d = d - torch.stack([(1 - torch.sigmoid(logit)).log() for logit in false.flatten()]).sum() / patches
    players = [tuple(p for module in method.player(turn) for p in module.parameters()) for turn in method.turns]
    assert_same_value_and_gradient(method.turn_loss("discriminator", batch, AT)["loss"], d, players[0])
    error = torch.stack([(a - b).abs() for a, b in zip(made.flatten(), x.flatten(), strict=True)]).sum() / x.numel()
    said = method.judge(condition, made).flatten()
    fooled = -torch.stack([torch.sigmoid(logit).log() for logit in said]).sum() / patches
    terms = method.turn_loss("generator", batch, AT)
    torch.testing.assert_close(terms["pixels"], error)
    torch.testing.assert_close(terms["generator"], fooled)
    assert_same_value_and_gradient(terms["loss"], error + 0.3 * fooled, players[1])


def test_with_weight_0_the_generator_is_a_plain_regression_to_the_bit() -> None:
    """Trained in turns beside a discriminator that learns, and alone on the absolute error."""
    method, alone = built(awake=False, adversarial_weight=0.0), built(awake=False).generator
    start = {name: p.clone() for name, p in method.named_parameters()}
    optimisers = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (method, alone)]
    for step in range(5):
        batch = contract.dataset_for("conditional_gan").batch(np.arange(12) + step)
        for loss in method.losses(batch, AT):
            optimisers[0].zero_grad()
            loss.backward()
            optimisers[0].step()
        x = method.encoder.input.unit(batch.x)
        optimisers[1].zero_grad()
        (alone(nn.functional.avg_pool2d(x, 2)) - x).abs().mean().backward()
        optimisers[1].step()
    for (name, ours), theirs in zip(method.generator.named_parameters(), alone.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    for name, p in method.named_parameters():
        assert not torch.equal(p, start[name]), name
    assert method.turn_loss("generator", some(), AT).keys() == {"loss", "pixels"}


# --- enlarging --------------------------------------------------------------------------------------------------------


def cubic(distance: float) -> float:
    """Keys' kernel with a = -3/4."""
    a, t = -0.75, abs(distance)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def matrix(length: int, factor: int) -> Tensor:
    """[factor*length length], of which each row weighs four pixels; those beyond the edge are the edge's."""
    weights = torch.zeros(factor * length, length, dtype=torch.float64)
    for row in range(factor * length):
        centre = (row + 0.5) / factor - 0.5
        for pixel in range(math.floor(centre) - 1, math.floor(centre) + 3):
            weights[row, min(max(pixel, 0), length - 1)] += cubic(centre - pixel)
    return weights


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 7), (1, 3), (1, 1)])
def test_untrained_it_enlarges_by_bicubic_interpolation(factor: int, height: int, width: int) -> None:
    method = built(awake=False, factor=factor).double().eval()
    x = images(2, 1, height, width)
    expected = torch.einsum("ih,jw,nchw->ncij", matrix(height, factor), matrix(width, factor), x)
    torch.testing.assert_close(method.generator(x), expected)
    torch.testing.assert_close(method.enlarge(x), expected.clamp(0, 1))
    nn.init.constant_(last(method).bias, 2.0)  # type: ignore[arg-type]
    torch.testing.assert_close(method.enlarge(x), torch.ones_like(expected))  # an image stays one


def test_shrinking_takes_means_of_squares_and_leaves_a_plain_image_plain() -> None:
    x = images(2, 3, 8, 12)
    for factor in (2, 4):
        small = shrunk(x, factor)
        assert small.shape == (2, 3, 8 // factor, 12 // factor)
        for row, column in ((0, 0), (1, 2)):
            square = x[:, :, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            torch.testing.assert_close(small[:, :, row, column], square.mean((2, 3)))
        plain = torch.full((1, 1, 4, 4), 0.3)
        torch.testing.assert_close(interpolated(plain, factor), torch.full((1, 1, 4 * factor, 4 * factor), 0.3))


def test_what_is_far_away_does_not_matter_to_a_pixel() -> None:
    """The generator is convolutional: a part of an image is enlarged as the whole, but for its edges."""
    method = built().double().eval()
    x = images(1, 1, 40, 8)
    torch.testing.assert_close(method.enlarge(x)[:, :, :20], method.enlarge(x[:, :, :24])[:, :, :20])


def test_decibels() -> None:
    x = images(3, 1, 4, 4) / 2
    off = x + torch.tensor([0.1, 0.01, 0.0], dtype=torch.float64).view(3, 1, 1, 1)
    torch.testing.assert_close(signal_to_noise(off, x), torch.tensor([20.0, 40.0, 120.0], dtype=torch.float64))
    a, b = random_views(4, 3)
    assert pixel_error(a, b).item() == pytest.approx(np.abs((a - b).detach().numpy()).mean())


def test_a_fit_beats_interpolation(tmp_path: Path) -> None:
    rep = contract.fitted("conditional_gan", tmp_path / "run")
    probes = json.loads((tmp_path / "run" / "health.json").read_text())["probes"]
    assert probes[0]["psnr_gain"] == 0
    assert probes[-1]["psnr_gain"] > 0.03
    assert probes[-1]["loss"] < probes[0]["loss"]
    assert {"judged_real", "judged_fake"} <= probes[0].keys()
    assert "enlarges" in rep.capabilities


# --- the representation, and what is refused --------------------------------------------------------------------------


def test_the_representation_is_of_an_image_beside_its_condition() -> None:
    method, batch = built().eval(), some()
    x = method.encoder.input.unit(batch.x)
    pair = torch.cat([interpolated(shrunk(x, 2), 2), x], dim=1)
    torch.testing.assert_close(method.embed(batch), method.strongest(method.encoder(pair)))
    detail = torch.tensor([[0.1, -0.1], [-0.1, 0.1]]).repeat(4, 4)  # which shrinking takes away
    torch.testing.assert_close(shrunk(x + detail, 2), shrunk(x, 2))
    assert not torch.allclose(method.encode(x + detail), method.encode(x), atol=1e-2)


@pytest.mark.parametrize(
    ("side", "factor", "words"),
    [
        (27, 2, "27x27 images cannot be shrunk 2-fold; take a --resolution that is a multiple"),
        (6, 4, "cannot be shrunk 4-fold"),
        (4, 4, "4x4 images are too small to shrink 4-fold; use a --resolution of 8"),
        (2, 2, "--resolution of 4"),
    ],
)
def test_images_that_cannot_be_shrunk_are_refused(side: int, factor: int, words: str) -> None:
    with pytest.raises(UserError, match=rf"^factor: .*{words}"):
        ConditionalGAN.build(Context(ImageSpec((1, side, side), "uint8", 0, 255), 10), factor=factor)


@pytest.mark.parametrize("side", [4, 12, 28, 64])
def test_it_builds_for_images_of_other_sides(side: int) -> None:
    spec = ImageSpec((3, side, side), "uint8", 0, 255, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    method = ConditionalGAN.build(Context(spec, 10), channels=2, blocks=1)
    batch = Batch(torch.zeros(2, 3, side, side, dtype=torch.uint8), torch.arange(2))
    assert method.embed(batch).shape == (2, method.width)
    assert [loss.ndim for loss in method.losses(batch, AT)] == [0, 0]
    assert isinstance(method.generator, Enlarger)


def test_finite_in_half_precision() -> None:
    method, batch = built(), some()
    with torch.autocast("cpu", torch.bfloat16):
        for loss in method.losses(batch, AT):
            assert loss.dtype == torch.float32
            loss.backward()
    for name, p in method.named_parameters():
        assert p.grad is not None
        assert torch.isfinite(p.grad).all(), name
