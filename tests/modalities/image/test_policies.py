"""Every transformation of every policy: how often it happens and how strongly, measured on views of known pictures.

Colours are told by pictures of one colour, which no crop changes; places by ramps, which a map leaves ramps. Draws are
a function of the row, so a row has the same crop, light and noise for any picture. A share is right within four
standard errors, a distribution by a Kolmogorov-Smirnov test at the same chance, 6e-5.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import RandomResizedCrop

from salience.batch import Batch, Progress
from salience.modalities import find
from salience.modalities.image.colour import luma
from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec
from salience.views import ANY, make_views

N, SIDE = 2500, 24
POLICIES = [*find("image").policies, *find("table").policies]
CHANCE = 6.3e-5  # of being farther off than four standard errors
PICTURES = ImageSpec((3, SIDE, SIDE), "float32", 0.0, 1.0)
AT = Progress(epoch=2, seed=11)
NOISE = 0.35 + 0.3 * torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))  # no light brings it to 1
TABLE = TableSpec((3,), "float32", columns=(Column("a"), Column("b", "category", ("x", "y", "z")), Column("c")))


def views_of(
    picture: Tensor,
    policy: str,
    *,
    role: str = "global",
    number: int = 0,
    at: Progress = AT,
    rows: int = N,
    skip: int = 0,
) -> Tensor:
    """[rows ...]: one view of the same item in so many rows, whose number begins at `skip`."""
    table = policy == "table"
    spec = TABLE if table else replace(PICTURES, shape=tuple(picture.shape))
    views = make_views(policy, spec, {"global": 2, "other": 1, "local": 2}, None if table else picture.shape[-1])
    items = picture.expand(rows, *picture.shape).contiguous()
    return views.one(Batch(items, torch.arange(skip, skip + rows)), at, role, number).x


def one_colour(*colour: float) -> Tensor:
    return torch.tensor(colour)[:, None, None].expand(3, SIDE, SIDE)


def ramps() -> Tensor:
    """First channel: how far to the right, -1 to 1; second: how far down; brought to .4 to .6."""
    at = (2 * torch.arange(SIDE) + 1) / SIDE - 1
    across, down = at.expand(SIDE, SIDE), at[:, None].expand(SIDE, SIDE)
    return 0.5 + 0.1 * torch.stack([across, down, torch.zeros(SIDE, SIDE)])


def assert_share(found: Tensor, expected: float) -> None:
    n = found.numel()
    assert abs(found.double().mean().item() - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def assert_uniform(found: Tensor, low: float, high: float) -> None:
    assert stats.kstest(found.double().numpy(), stats.uniform(low, high - low).cdf).pvalue > CHANCE


def assert_independent(*columns: Tensor) -> None:
    together = np.corrcoef(np.stack([column.double().flatten().numpy() for column in columns]))
    n = columns[0].numel()
    assert np.abs(together - np.eye(len(columns))).max() < 5 / math.sqrt(n)


# --- light ------------------------------------------------------------------------------------------------------------


@cache
def brightness_and_contrast(policy: str, **which: Any) -> tuple[Tensor, Tensor]:
    """Their factors [n] [n], from what becomes of a picture of one colour: b (k c + (1 - k) luma) in each channel."""
    before = one_colour(0.4, 0.6, 0.5)
    after = views_of(before, policy, **which).mean(dim=(2, 3)).double()
    grey = luma(before[None].double()).mean()
    both = (after[:, 1] - after[:, 0]) / (0.6 - 0.4)  # b k
    return (after[:, 2] - both * (0.5 - grey)) / grey, both / ((after[:, 2] - both * (0.5 - grey)) / grey)


@pytest.mark.parametrize(("policy", "strength"), [("grey", 0.4), ("medical", 0.2)])
@pytest.mark.parametrize("role", ["global", "local"])
def test_brightness_and_contrast_vary_always(policy: str, strength: float, role: str) -> None:
    brightness, contrast = brightness_and_contrast(policy, role=role)
    assert_uniform(brightness, 1 - strength, 1 + strength)
    assert_uniform(contrast, 1 - strength, 1 + strength)
    assert_independent(brightness, contrast)


@pytest.mark.parametrize("policy", ["crops", "glyphs", "identity"])
def test_light_does_not_vary(policy: str) -> None:
    """But for noise, which is the same for both pictures."""
    grey, colour = (views_of(one_colour(*c), policy, rows=300).double() for c in ((0.5, 0.5, 0.5), (0.4, 0.6, 0.5)))
    expected = (one_colour(0.4, 0.6, 0.5) - 0.5).double().expand_as(colour)
    within = (grey > 0) & (grey < 1) & (colour > 0) & (colour < 1)  # the noise may be cut off
    torch.testing.assert_close((colour - grey)[within], expected[within], rtol=0, atol=2e-5)


@cache
def natural_factors(role: str = "global") -> dict[str, Tensor]:
    """Brightness, contrast, saturation and hue of each row, and which rows are grey and jittered.  [n] each

    (A weighted mean of three equal channels is .9999 of them, as torchvision's weights are.)
    Brightness from a grey picture, contrast from the difference that is left of a grey picture's two halves to the
    same crop's, saturation and hue from a picture of one colour.
    """
    brightness = views_of(one_colour(0.5, 0.5, 0.5), "natural", role=role).mean(dim=(1, 2, 3)).double() / 0.5
    ramp = ramps()[:1].expand(3, SIDE, SIDE)
    before, after = (views_of(ramp, policy, role=role)[:, 0].flatten(1).double() for policy in ("crops", "natural"))
    contrast = after.std(dim=1) / before.std(dim=1) / brightness
    colour = (0.5, 0.4, 0.42)
    seen = views_of(one_colour(*colour), "natural", role=role).mean(dim=(2, 3)).double()
    spread = (seen.amax(dim=1) - seen.amin(dim=1)) / (max(colour) - min(colour))
    grey = spread < 1e-4
    hues = torch.tensor([colorsys.rgb_to_hsv(*row)[0] for row in seen.tolist()], dtype=torch.float64)
    turned = (hues - colorsys.rgb_to_hsv(*colour)[0] + 0.5) % 1 - 0.5
    return {
        "brightness": brightness, "contrast": contrast, "saturation": spread / (brightness * contrast), "hue": turned,
        "grey": grey, "jittered": ((brightness - 1).abs() > 3e-4) | ((contrast - 1).abs() > 1e-3),
    }  # fmt: skip


STRENGTHS = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.6, 1.4), "hue": (-0.1, 0.1)}


@pytest.mark.parametrize("role", ["global", "local"])
def test_natural_jitters_four_in_five_and_takes_the_colour_of_one_in_five(role: str) -> None:
    found = natural_factors(role)
    jittered = found["jittered"]
    assert_share(jittered, 0.8)
    assert_share(found["grey"], 0.2)
    assert_independent(jittered, found["grey"])
    coloured = ~found["grey"]
    plain = coloured & ~jittered
    for name, (low, high) in STRENGTHS.items():
        assert_uniform(found[name][coloured & jittered], low, high)
        assert (found[name][plain] - (low + high) / 2).abs().max() < 1e-3, name
    assert_independent(*(found[name][coloured & jittered] for name in STRENGTHS))


@pytest.mark.parametrize("policy", ["grey", "glyphs", "medical", "crops", "identity"])
def test_no_other_policy_changes_hue_or_takes_colour(policy: str) -> None:
    seen = views_of(one_colour(0.5, 0.4, 0.42), policy, rows=500).mean(dim=(2, 3)).double()
    hues = torch.tensor([colorsys.rgb_to_hsv(*row)[0] for row in seen.tolist()])
    assert (hues - colorsys.rgb_to_hsv(0.5, 0.4, 0.42)[0]).abs().max() < (0.2 if policy == "glyphs" else 1e-3)  # noise
    assert (seen.amax(dim=1) - seen.amin(dim=1)).min() > 0.02


# --- places -----------------------------------------------------------------------------------------------------------


@cache
def matrices(policy: str, role: str) -> Tensor:
    """The map of each row's view, from its places to the item's, [n 2 3]: by least squares, away from the edges."""
    seen = views_of(ramps(), policy, role=role).double()
    plain = views_of(one_colour(0.5, 0.5, 0.5), policy, role=role).double()
    flat = views_of(one_colour(0.4, 0.6, 0.5), policy, role=role).mean(dim=(2, 3)).double()
    scale = torch.ones(N) if policy in ("glyphs", "crops") else (flat[:, 1] - flat[:, 0]) / 0.2  # of what light does
    places = (seen - plain)[:, :2] / 0.1  # without noise
    at = (2 * torch.arange(SIDE) + 1) / SIDE - 1
    inner = at.abs() < 0.4
    across, down = torch.meshgrid(at[inner], at[inner], indexing="xy")
    design = torch.stack([across.flatten(), down.flatten(), torch.ones(across.numel())], dim=1).double()
    values = places[:, :, inner][:, :, :, inner].flatten(2) / scale[:, None, None]  # [n 2 pixels]
    matrix = values @ torch.linalg.pinv(design).T
    sees_the_item = (values - matrix @ design.T).abs().amax(dim=(1, 2)) < 0.01  # and nothing of what is around it
    assert sees_the_item.double().mean() > (0.7 if role == "local" else 0.999)
    return torch.where(sees_the_item[:, None, None], matrix, torch.nan)


def assert_like(found: Tensor, drawn: np.ndarray) -> None:
    """Both have one distribution, where something was found."""
    assert stats.ks_2samp(found[~found.isnan()].double().numpy(), drawn).pvalue > CHANCE


def boxes(area: tuple[float, float], ratio: tuple[float, float], count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Width and height, as shares of a side, as the paper of Inception has them: the first of ten draws that fits."""
    rng = np.random.default_rng(0)
    share = rng.uniform(*area, (count, 10))
    aspect = np.exp(rng.uniform(*np.log(ratio), (count, 10)))
    width, height = np.round(SIDE * np.sqrt(share * aspect)), np.round(SIDE * np.sqrt(share / aspect))
    fits = (width <= SIDE) & (height <= SIDE)
    first = fits.argmax(axis=1)[:, None]
    assert fits.any(axis=1).all()
    return tuple(np.take_along_axis(side, first, axis=1)[:, 0] / SIDE for side in (width, height))  # type: ignore[return-value]


AREAS = {"global": (0.2, 1.0), "local": (0.1, 0.4)}


@pytest.mark.parametrize("role", ["global", "local"])
def test_crops_have_their_area_and_are_flipped_half_the_time(role: str) -> None:
    matrix = matrices("crops", role)
    width, height = matrix[:, 0, 0].abs(), matrix[:, 1, 1]
    drawn = boxes(AREAS[role], (3 / 4, 4 / 3))
    for found, theirs in zip((width, height), drawn, strict=True):
        assert_like(found * SIDE + torch.linspace(-0.5, 0.5, N), theirs * SIDE + np.linspace(-0.5, 0.5, len(theirs)))
    assert_share(matrix[:, 0, 0] < 0, 0.5)
    assert (height > 0).all()  # never upside down
    assert_independent((matrix[:, 0, 0] < 0), width, matrix[:, 0, 2])
    assert matrix[:, 0, 1].abs().max() < 1e-3  # nor turned
    for axis, side in ((0, width), (1, height)):
        free = 1 - side > 1 / SIDE
        assert_uniform_within(matrix[free, axis, 2], (1 - side[free]))


def assert_uniform_within(place: Tensor, reach: Tensor) -> None:
    """Centres are anywhere within +- reach: mean 0, and mean square a third of it, by four standard errors."""
    steps = torch.round(reach * SIDE)  # whole pixels on either side
    expected = reach.square() * (steps + 2) / steps / 3  # of a discrete uniform distribution
    for found, wanted in ((place, torch.zeros_like(place)), (place.square(), expected)):
        gap = found - wanted
        assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(len(gap))


def test_boxes_are_those_of_torchvision() -> None:
    transform = RandomResizedCrop(SIDE, scale=AREAS["global"], ratio=(3 / 4, 4 / 3))
    torch.manual_seed(0)
    drawn = [transform.make_params([torch.zeros(1, SIDE, SIDE)]) for _ in range(3000)]
    widths = np.array([params["width"] for params in drawn]) / SIDE
    assert_like(torch.from_numpy(widths), boxes(AREAS["global"], (3 / 4, 4 / 3))[0])


@pytest.mark.parametrize("role", ["global", "local"])
def test_grey_crops_and_flips_as_crops_does_and_then_varies_the_light(role: str) -> None:
    before, after = (views_of(NOISE, policy, role=role).double() for policy in ("crops", "grey"))
    brightness, contrast = (factor[:, None, None, None] for factor in brightness_and_contrast("grey", role=role))
    mean = luma(before).mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(after, brightness * (contrast * before + (1 - contrast) * mean), rtol=0, atol=1e-4)


@pytest.mark.parametrize("role", ["global", "local"])
def test_what_natural_neither_jitters_nor_makes_grey_is_the_crop(role: str) -> None:
    found = natural_factors(role)
    plain = ~found["grey"] & ~found["jittered"]
    crops, natural = (views_of(NOISE, policy, role=role)[plain] for policy in ("crops", "natural"))
    torch.testing.assert_close(natural, crops, rtol=0, atol=2e-4)


def taken_apart(matrix: Tensor) -> dict[str, Tensor]:
    """Rotation in degrees, shear, log size of both axes, shift as a share of the side."""
    turn = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    sx = matrix[:, :, 0].norm(dim=1)
    sy = torch.linalg.det(matrix[:, :, :2]) / sx
    slant = (matrix[:, 0, 1] * turn.cos() + matrix[:, 1, 1] * turn.sin()) / sy
    return {
        "turn": torch.rad2deg(turn), "shear": slant, "width": -sx.log(), "height": -sy.log(),
        "across": matrix[:, 0, 2] / 2, "down": matrix[:, 1, 2] / 2,
    }  # fmt: skip


def test_glyphs_are_turned_slanted_resized_and_shifted() -> None:
    found = taken_apart(matrices("glyphs", "global"))
    log = (math.log(0.8), math.log(1.2))
    ranges = {
        "turn": (-20, 20), "shear": (-0.2, 0.2), "width": log, "height": log, "across": (-0.1, 0.1), "down": (-0.1, 0.1)
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        assert_uniform(found[name], low, high)
    assert_independent(*found.values())


def test_a_part_of_a_glyph_is_a_quarter_to_six_tenths() -> None:
    area = torch.linalg.det(matrices("glyphs", "local")[:, :, :2])
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(np.log(0.8), np.log(1.2), (20_000, 2)))
    width, height = boxes((0.25, 0.6), (3 / 4, 4 / 3))
    assert_like(area, width * height / sizes.prod(axis=1))


@pytest.mark.parametrize("role", ["global", "local"])
def test_glyphs_have_noise_of_up_to_a_tenth(role: str) -> None:
    noise = (views_of(one_colour(0.5, 0.5, 0.5), "glyphs", role=role) - 0.5).double().flatten(1)
    assert_uniform(noise.std(dim=1), 0.0, 0.1)
    unit = noise / noise.std(dim=1, keepdim=True)
    assert abs(unit.mean()) < 4 / math.sqrt(unit.numel())
    assert_share(unit.abs() < 1, math.erf(1 / math.sqrt(2)))
    assert_independent(noise[:, 5], noise[:, 6], noise[:, 5 + SIDE], noise[:, 5 + SIDE**2])


def test_scans_are_cropped_widely_and_turned_a_little() -> None:
    matrix = matrices("medical", "global")
    sides = matrix[:, :, :2].norm(dim=2)  # of the box, as a turn comes first
    turn = torch.rad2deg(torch.atan2(matrix[:, 1, 0] / sides[:, 1], matrix[:, 0, 0] / sides[:, 0]))
    assert_uniform(turn, -10, 10)
    for found, theirs in zip(sides.T, boxes((0.5, 1.0), (9 / 10, 10 / 9)), strict=True):
        assert_like(found * SIDE + torch.linspace(-0.5, 0.5, N), theirs * SIDE + np.linspace(-0.5, 0.5, len(theirs)))
    assert_independent(turn, sides[:, 0], matrix[:, 0, 2])


def test_a_part_of_a_scan_is_a_fifth_to_a_half_of_that() -> None:
    area = torch.linalg.det(matrices("medical", "local")[:, :, :2])
    (width, height), (less, lower) = boxes((0.5, 1.0), (9 / 10, 10 / 9)), boxes((0.2, 0.5), (9 / 10, 10 / 9))
    order = np.random.default_rng(1).permutation(len(less))
    assert_like(area, width * height * (less * lower)[order])


@pytest.mark.parametrize("policy", ["glyphs", "medical"])
@pytest.mark.parametrize("role", ["global", "local"])
def test_what_must_not_be_flipped_never_is(policy: str, role: str) -> None:
    matrix = matrices(policy, role)
    matrix = matrix[~matrix.isnan().any(dim=(1, 2))]
    assert (torch.linalg.det(matrix[:, :, :2]) > 0).all()
    assert (matrix[:, 0, 0] > 0).all()


def test_the_identity_is_the_item() -> None:
    for role in ("global", "local"):
        assert torch.equal(views_of(NOISE, "identity", role=role, rows=3), NOISE.expand(3, 3, SIDE, SIDE))


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "hidden"), [("global", 0.3), ("local", 0.6)])
def test_columns_are_hidden_and_numbers_blurred(role: str, hidden: float) -> None:
    x = views_of(torch.tensor([1.0, 2.0, -1.0]), "table", role=role)  # [n 5]: a, x, y, z, c
    gone = torch.stack([x[:, 0] == 0, (x[:, 1:4] == 0).all(dim=1), x[:, 4] == 0])
    for column in gone:
        assert_share(column, hidden)
    assert_independent(*gone)
    for value, place in ((1.0, 0), (-1.0, 4)):
        noise = (x[:, place] - value)[x[:, place] != 0].double()
        assert stats.kstest(noise.numpy(), stats.norm(0, 0.1).cdf).pvalue > CHANCE
    both = ~gone[0] & ~gone[2]
    assert_independent(x[both, 0], x[both, 4])
    assert {tuple(row) for row in x[:, 1:4].tolist()} == {(0.0, 0.0, 0.0), (0.0, 0.0, 1.0)}


# --- who draws what ---------------------------------------------------------------------------------------------------

COMPANIES: dict[str, dict[str, Any]] = {
    "draw": {"number": 1},
    "role": {"role": "other"},
    "row": {"skip": 1},
    "epoch": {"at": Progress(epoch=3, seed=11)},
    "seed": {"at": Progress(epoch=2, seed=12)},
}


SMALL = 12  # pixels a side are enough to tell draws apart


@cache
def decided(policy: str, company: str | None = None) -> Tensor:
    """A few numbers that each draw decides on, in 1500 rows.  [n k]"""
    small = ramps()[:, ::2, ::2] + one_colour(0.1, 0.0, -0.1)[:, :SMALL, :SMALL]
    item = torch.tensor([1.0, 2.0, -1.0]) if policy == "table" else small
    x = views_of(item, policy, rows=1500, **(COMPANIES[company] if company else {})).double()
    if policy == "table":
        return torch.stack([(x[:, 0] != 0).double(), (x[:, 4] != 0).double(), x[:, 0]], dim=1)
    near, far = SMALL // 4, 3 * SMALL // 4
    return torch.stack([x[:, 0, near, far], x[:, 0, near, near], x[:, 1, far, near], x[:, 2].mean(dim=(1, 2))], 1)


@pytest.mark.parametrize("company", COMPANIES)
@pytest.mark.parametrize("policy", POLICIES)
def test_draws_are_independent_by_role_draw_row_epoch_and_seed(policy: str, company: str) -> None:
    """Uncorrelated, and hardly ever twice the same."""
    first, other = decided(policy), decided(policy, company)
    assert (first == other).all(dim=1).double().mean() < (0.5 if policy == "table" else 0.01)
    shared = [np.corrcoef(a.numpy(), b.numpy())[0, 1] for a, b in zip(first.T, other.T, strict=True) if a.std() > 1e-6]
    assert shared
    assert max(abs(value) for value in shared) < 4.5 / math.sqrt(len(first))


@pytest.mark.parametrize("policy", [*POLICIES, *ANY])
def test_a_step_of_the_training_is_no_part_of_a_draw(policy: str) -> None:
    item = torch.tensor([1.0, 2.0, -1.0]) if policy == "table" else NOISE
    first, later = (views_of(item, policy, rows=20, at=Progress(step, 9, epoch=2, seed=11)) for step in (0, 7))
    assert torch.equal(first, later)
