"""GAN's losses and penalties against the papers' formulas, the best discriminator there is, and what is generated."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

from salience.batch import Progress
from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.health.diagnosis import diagnose
from salience.methods import Context
from salience.methods.generative.gan import (
    GAN,
    PENALTIES,
    classes_made,
    covered,
    discriminator_loss,
    generator_loss,
    rightness,
    spread,
    steepness,
)
from salience.modalities import Spec
from salience.modalities.image.dcgan import sides_of
from salience.modalities.image.spec import ImageSpec
from salience.nets.adversaries import make_discriminator, make_generator
from salience.training.flops import step_flops
from salience.views.random import Keys
from tests import contract
from tests.health.test_diagnosis import CONFIG, record_of
from tests.methods.proof import assert_same_value_and_gradient, random_views

AT = Progress(step=2, total=10, epoch=1, seed=4)


def built(**options: Any) -> GAN:
    method = contract.build("gan", contract.dataset_for("gan"), **{"channels": 4, **options})
    assert isinstance(method, GAN)
    return method


def some(n: int = 6) -> Any:
    return contract.dataset_for("gan").batch(np.arange(n))


# --- the two losses ---------------------------------------------------------------------------------------------------


def sure(logit: Tensor) -> Tensor:
    return 1 / (1 + (-logit).exp())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_losses_match_the_papers_in_value_and_gradient(smoothing: float) -> None:
    real, made = random_views(7, 1)
    expected = torch.zeros((), dtype=torch.float64)
    for x, g in zip(real, made, strict=True):
        of_real = (1 - smoothing) * sure(x).log() + smoothing * (1 - sure(x)).log()
        expected = expected - (of_real + (1 - sure(g)).log()).squeeze() / 7
    assert_same_value_and_gradient(discriminator_loss(real, made, smoothing=smoothing), expected, (real, made))
    fooled = torch.stack([-sure(g).log().squeeze() / 7 for g in made]).sum()
    assert_same_value_and_gradient(generator_loss(made), fooled, (made,))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("q", [(1, 2, 3, 4), (4, 3, 2, 1), (7, 1, 1, 1)])
def test_the_best_discriminator_of_known_distributions(q: tuple[int, ...], smoothing: float) -> None:
    """p / (p + q) for each thing, and a loss of log 4 - 2 JSD(p, q): log 4 for p = q."""
    p = (4, 3, 2, 1)
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    real, made = (logits.repeat_interleave(torch.tensor(counts)) for counts in (p, q))
    exact: dict[str, Any] = {"tolerance_grad": 1e-12, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
    best = torch.optim.LBFGS([logits], max_iter=200, **exact)

    def loss() -> Tensor:
        best.zero_grad()
        real, made = (logits.repeat_interleave(torch.tensor(counts)) for counts in (p, q))
        value = discriminator_loss(real, made, smoothing=smoothing)
        value.backward()
        return value

    assert discriminator_loss(real, made, smoothing=smoothing).item() == pytest.approx(math.log(4), rel=1e-12)
    best.step(loss)
    share = torch.tensor([(1 - smoothing) * a / (a + b) for a, b in zip(p, q, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(sure(logits.detach()), share, rtol=1e-6, atol=1e-8)
    if smoothing == 0:
        divergence = jensenshannon(np.array(p) / 10, np.array(q) / 10) ** 2  # scipy gives its root, in nats
        assert loss().item() == pytest.approx(math.log(4) - 2 * divergence, rel=1e-9)


def test_the_generator_goes_where_minimax_would_and_farther_where_it_is_found_out() -> None:
    """Slopes in a logit: -(1 - D) here, -D of log(1 - D), so that the ratio is (1 - D) / D."""
    logits = torch.linspace(-6, 6, 13, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(13 * generator_loss(logits), logits)
    (minimax,) = torch.autograd.grad((1 - sure(logits)).log().sum(), logits)
    assert (ours < 0).all()
    assert (minimax < 0).all()
    torch.testing.assert_close(ours / minimax, ((1 - sure(logits)) / sure(logits)).detach())


def test_finite_in_half_precision_for_whoever_has_won() -> None:
    for sign in (-1, 1):
        logits = torch.full((4, 1), sign * 1e4, dtype=torch.bfloat16, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = discriminator_loss(logits, -logits) + generator_loss(logits)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


# --- penalties --------------------------------------------------------------------------------------------------------


def test_r1_of_a_linear_judge_is_half_its_squared_weight_and_moves_it_by_its_weight() -> None:
    w, x = random_views(5, 3)
    weight = w[0].detach().requires_grad_()
    steep = steepness(x, lambda x: x @ weight + 3)
    torch.testing.assert_close(steep, weight.square().sum().expand(5))
    (slope,) = torch.autograd.grad(PENALTIES["r1"](steep), weight)
    torch.testing.assert_close(slope, weight.detach())


def test_one_centred_is_zero_for_a_judge_of_slope_one_and_finite_for_a_flat_one() -> None:
    w, x = random_views(5, 3)
    for length in (0.0, 0.5, 1.0, 3.0):
        weight = (length * w[0] / w[0].norm()).detach().requires_grad_()
        loss = PENALTIES["one_centred"](steepness(x, partial(torch.matmul, other=weight)))
        assert loss.item() == pytest.approx((length - 1) ** 2, abs=3e-6)
        (slope,) = torch.autograd.grad(loss, weight)
        expected = 2 * (length - 1) * weight / length if length else torch.zeros(3).double()
        torch.testing.assert_close(slope, expected.detach(), rtol=1e-6, atol=1e-6)


def test_the_slope_of_a_curved_judge() -> None:
    """x'Ax / 2 has slope Ax: squared length by loops, and its gradient in A."""
    a, x = random_views(3, 3)
    ours = PENALTIES["r1"](steepness(x, lambda x: ((x @ a) * x).sum(1) / 2))
    expected = torch.zeros((), dtype=torch.float64)
    for item in x.detach():
        for i in range(3):
            expected = expected + sum((a[i, j] + a[j, i]) / 2 * item[j] for j in range(3)) ** 2 / 2 / 3
    assert_same_value_and_gradient(ours, expected, (a,))


@pytest.mark.parametrize("encoder", ["convnet", "mlp", "linear"])
@pytest.mark.parametrize("penalty", ["r1", "one_centred"])
def test_the_methods_penalty_is_that_of_each_item_alone(penalty: str, encoder: str) -> None:
    """At x or between x and G(z), where it is standardised, by central differences."""
    method, batch = built(penalty=penalty, penalty_weight=3.0, encoder=encoder).double(), some(3)
    terms = method.turn_loss("discriminator", batch, AT)
    x, made = method.encoder.input.unit(batch.x).double(), method.made(batch, AT, "discriminator")
    u = Keys.of(AT.seed, AT.epoch, batch.index).fold("gan", "between").uniform().double()
    assert 0 < u.min() < u.max() < 1
    total = 0.0
    for item in range(3):
        at = x[item] if penalty == "r1" else u[item] * x[item] + (1 - u[item]) * made[item]
        at = method.encoder.input(at[None]).detach()
        steps = 1e-6 * torch.eye(at.numel(), dtype=torch.float64).unflatten(1, at.shape[1:])
        with torch.no_grad():
            both = [method.head(method.encoder.body(at + sign * steps)) for sign in (1, -1)]
        length = float((both[0] - both[1]).norm()) / 2e-6
        total += (length**2 / 2 if penalty == "r1" else (length - 1) ** 2) * 3.0 / 3
    assert terms["penalty"].item() == pytest.approx(total, rel=1e-5)
    torch.testing.assert_close(terms["loss"], terms["discriminator"] + terms["penalty"])


def test_a_turn_has_the_losses_of_its_player_alone() -> None:
    method, batch = built(penalty="none", smoothing=0.1).double(), some()
    with torch.no_grad():
        real = method.judge(method.encoder.input.unit(batch.x))
        first, second = (method.judge(method.made(batch, AT, turn)) for turn in method.turns)
    terms = method.turn_loss("discriminator", batch, AT)
    assert terms.keys() == {"loss", "discriminator", "judged_real", "judged_fake"}
    torch.testing.assert_close(terms["loss"], discriminator_loss(real, first, smoothing=0.1))
    torch.testing.assert_close(method.turn_loss("generator", batch, AT)["loss"], generator_loss(second))
    assert not torch.equal(first, second)
    with pytest.raises(ValueError, match="out of range"):
        contract.catalogue.find("gan").check({"smoothing": 0.5})


def test_a_penalty_costs_operations_and_has_gradients_in_half_precision() -> None:
    batch = some()
    assert step_flops(built(), batch) > step_flops(built(penalty="none"), batch)
    method = built(penalty="one_centred")
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.turn_loss("discriminator", batch, AT)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    for p in (*method.encoder.parameters(), *method.head.parameters()):
        assert p.grad is not None
        assert torch.isfinite(p.grad).all()


# --- what is generated ------------------------------------------------------------------------------------------------


def test_the_generator_moves_to_the_data() -> None:
    """It begins far off; both mean and spread of what it makes become those of the rows."""
    rows = np.random.default_rng(0).normal([3.0, -1.0], [1.0, 0.2], (64, 2)).astype(np.float32)
    dataset = open_data(rows, progress=False)
    torch.manual_seed(0)
    method = GAN.build(Context(dataset.spec, 64), dim=2, channels=8)
    last = list(method.generator.children())[-2]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias.add_(torch.tensor([4.0, -4.0]))
    optimiser = torch.optim.Adam(method.parameters(), lr=5e-3, betas=GAN.betas)
    batch = dataset.batch(np.arange(64))
    for step in range(200):
        for loss in method.losses(batch, Progress(step, 200, epoch=step)):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        made = method.eval().sample(500)
    torch.testing.assert_close(made.mean(dim=0), torch.zeros(2), rtol=0, atol=0.3)
    torch.testing.assert_close(made.std(dim=0), torch.ones(2), rtol=0, atol=0.4)


def spec_of(side: int, channels: int = 1) -> Spec:
    return ImageSpec((channels, side, side), "uint8", 0, 255, (0.3,) * channels, (0.2,) * channels)


@pytest.mark.parametrize("side", [2, 3, 5, 8, 9, 13, 23, 28, 31, 32, 45, 64])
def test_nets_for_images_of_any_side(side: int) -> None:
    spec = spec_of(side, 1 + side % 2 * 2)
    encoder, strongest = make_discriminator("convnet", spec, channels=2)
    made = make_generator(None, spec, dim=3, channels=2)(torch.randn(2, 3))
    assert made.shape == (2, *spec.shape)
    assert 0 <= made.min() < made.max() <= 1
    flat = encoder(made)
    assert flat.shape == (2, encoder.dim)
    quarters = strongest(flat)
    assert quarters.shape == (2, strongest.width)
    assert strongest.maps(flat).shape[2] == sides_of(side)[-1]
    if strongest.side > 2:
        first = strongest.maps(flat)[:, :, : -(-strongest.side // 2), : -(-strongest.side // 2)].amax((2, 3))
        torch.testing.assert_close(quarters.unflatten(1, (-1, 2, 2))[:, :, 0, 0], first)


def test_how_often_nets_halve() -> None:
    assert [sides_of(side)[-1] for side in (8, 16, 28, 32, 64, 128)] == [2, 4, 3, 4, 4, 4]
    assert len(sides_of(64)) == 1 + 4  # DCGAN's
    with pytest.raises(UserError, match=r"^encoder: .* take mlp$"):
        sides_of(1)


def test_a_tables_categories_are_made_as_probabilities() -> None:
    frame = pd.DataFrame({"size": np.arange(40.0), "kind": list("abca") * 10, "age": np.arange(40.0) ** 2})
    dataset = open_data(frame, progress=False)
    method = GAN.build(Context(dataset.spec, 40), dim=2, channels=4).eval()
    with torch.no_grad():
        made = method.sample(5)
    kinds = [column.kind for column in dataset.spec.columns]
    assert kinds == ["number", "category", "number"]
    assert made.shape == (5, 5)
    torch.testing.assert_close(made[:, 1:4].sum(dim=1), torch.ones(5))
    assert (made[:, 1:4] > 0).all()


def test_an_items_noise_is_its_own_and_a_sample_follows_torchs_seed() -> None:
    method, batch = built().eval(), some(8)
    order = torch.randperm(8)
    mixed = batch.__class__(batch.x[order], batch.index[order])
    with torch.no_grad():
        made = method.made(batch, AT, "generator")
        torch.testing.assert_close(method.made(mixed, AT, "generator"), made[order])
        assert not torch.allclose(method.made(batch, Progress(2, 10, 2, 4), "generator"), made)
        torch.manual_seed(1)
        first = method.sample(300)
        torch.manual_seed(1)
        torch.testing.assert_close(method.sample(300), first)
    assert first.shape == (300, 1, 8, 8)
    assert spread(first[:150]) > 0


def test_the_judge_sees_every_item_alone_in_training_too() -> None:
    method = built().train()
    x = method.encoder.input.unit(some().x)
    torch.testing.assert_close(method.judge(x)[:1], method.judge(x[:1]))
    assert not [part for part in method.encoder.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


# --- signs of health --------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """Makes these items, whatever the noise."""

    def __init__(self, items: Tensor):
        super().__init__()
        self.items = items

    def forward(self, noise: Tensor) -> Tensor:
        return self.items[: len(noise)]


def signs(generator: Callable[[Tensor], Tensor], dataset: Dataset) -> dict[str, float]:
    method, batch = built().eval(), dataset.batch(np.arange(96))
    method.generator = Fixed(generator(method.encoder.input.unit(batch.x)))
    with torch.no_grad():
        return {name: float(value) for name, value in method.vitals(batch, AT).items()}


def test_vitals_tell_lost_modes_from_a_copy_of_the_data() -> None:
    dataset = contract.dataset_for("gan")  # three kinds, in turn
    copied = signs(lambda x: x.flip(0), dataset)
    assert copied["sample_spread"] == pytest.approx(1)
    assert copied["coverage"] == 1
    assert copied["judged_real"] == pytest.approx(1 - copied["judged_fake"])  # nobody can tell them apart
    one_kind = signs(lambda x: x[::3].repeat(3, 1, 1, 1), dataset)
    assert one_kind["coverage"] == pytest.approx(1 / 3)
    one_item = signs(lambda x: x[:1].expand_as(x), dataset)
    assert one_item["sample_spread"] == 0
    assert one_item["coverage"] < 0.2


def test_classes_that_are_not_made_are_told_where_labels_are_known() -> None:
    hits = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]).repeat(4)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, -1, -1]).repeat(4)
    assert float(classes_made(hits, labels)) == pytest.approx(2 / 3)  # 1, 1/2 and 0: the second just so
    assert float(classes_made(torch.zeros(32), labels)) == 0
    assert classes_made(hits[:28], labels[:28]) is not None
    assert classes_made(hits[:26], labels[:26]) is None  # 8, 6 and 6 of a class: one has enough
    dataset = contract.structured_images(labelled=True)
    assert signs(lambda x: x.flip(0), dataset)["classes_made"] == 1
    assert signs(lambda x: x[::3].repeat(3, 1, 1, 1), dataset)["classes_made"] == pytest.approx(1 / 3)
    assert "classes_made" not in signs(lambda x: x, contract.structured_images())


@pytest.mark.parametrize(
    ("digits", "verdict"), [((1,), "failing"), ((1, 7), "failing"), (tuple(range(10)), "healthy")], ids=str
)
def test_a_generator_of_few_of_the_digits_is_told_however_good_the_neighbours(
    digits: tuple[int, ...], verdict: str
) -> None:
    data = open_data("digits", progress=False)
    items = data.batch(np.arange(len(data)))
    method = contract.build("gan", data, channels=4).eval()
    pool = method.encoder.input.unit(items.x[256:])[torch.isin(items.label[256:], torch.tensor(digits))]
    method.generator = Fixed(pool[torch.randint(len(pool), (256,), generator=torch.Generator().manual_seed(0))])
    with torch.no_grad():
        seen = {name: float(value) for name, value in method.vitals(data.batch(np.arange(256)), AT).items()}
    record = record_of(**{name: (value, value) for name, value in seen.items()}, knn=(0.4, 0.9))
    del record["about"]["collapsed_loss"]
    found = diagnose(record, CONFIG | {"method": "gan"})
    assert found.verdict == verdict
    told = ["much of the data is never generated", "some classes are hardly generated"]
    assert [finding.what for finding in found.findings] == (told if verdict == "failing" else [])


def test_coverage_matches_a_loop_and_spread_too() -> None:
    (near_by, made), far = random_views(9, 2, seed=3), torch.tensor([100.0, 0.0], dtype=torch.float64)
    real = torch.cat([near_by.detach(), near_by.detach() + far])  # nothing is made where the second nine are
    made = made.detach()
    near = 0
    for i, x in enumerate(real):
        reach = sorted(float((x - other).norm()) for j, other in enumerate(real) if j != i)[4]
        near += min(float((x - other).norm()) for other in made) <= reach
    assert 0 < near <= 9
    assert float(covered(real, made).mean()) == pytest.approx(near / 18)
    line = torch.arange(6.0)[:, None]  # of 0 the fifth neighbour is 5; one made at -4.5 is near enough to 0 alone
    assert float(covered(line, torch.tensor([[-4.5]])).mean()) == pytest.approx(1 / 6)
    assert float(covered(line, torch.tensor([[-5.5]])).mean()) == 0
    pairs = [float((real[i] - real[j]).norm()) for i in range(18) for j in range(i)]
    assert float(spread(real)) == pytest.approx(sum(pairs) / len(pairs))
    told = rightness(torch.tensor([1.0, 2.0, -1.0]), torch.tensor([-1.0, 3.0]))
    assert (float(told["judged_real"]), float(told["judged_fake"])) == (pytest.approx(2 / 3), 0.5)
