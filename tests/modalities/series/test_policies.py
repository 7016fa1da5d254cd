"""Views of series: each change happens as often and as strongly as documented, and no draw depends on the padding."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from salience.batch import Batch, Progress
from salience.modalities.series import SeriesSpec
from salience.modalities.series import policies as views
from salience.modalities.series.unit import interpolate, resampled
from salience.views import Views
from salience.views.random import Keys

N = 2000
KEYS = Keys.of(0, 0, torch.arange(N))
EVEN = torch.linspace(0, 1, 33).expand(N, -1)


def test_values_between_steps_are_interpolated() -> None:
    x = torch.tensor([[[0.0], [10.0], [30.0]]])
    at = torch.tensor([[0.0, 0.25, 1.0, 1.5, 2.0]])
    torch.testing.assert_close(interpolate(x, at)[0, :, 0], torch.tensor([0, 2.5, 10, 20, 30]))


def test_resampling_ends_at_the_last_real_step() -> None:
    x = torch.arange(8.0)[None, :, None].repeat(2, 1, 1)
    mask = torch.arange(8) < torch.tensor([[8], [5]])
    torch.testing.assert_close(resampled(x, 3, mask)[..., 0], torch.tensor([[0, 3.5, 7], [0, 2, 4]]))
    one = torch.arange(8) < torch.tensor([[1], [1]])
    assert not resampled(x, 3, one).any()


def test_a_warp_bends_half_of_the_series_and_time_goes_on() -> None:
    along = views.warp(EVEN, KEYS)
    bent = (along - EVEN).abs().amax(1) > 1e-6
    assert stats.binomtest(int(bent.sum()), N, views.WARPED).pvalue > 1e-3
    torch.testing.assert_close(along[:, [0, -1]], EVEN[:, [0, -1]])
    speed = along.diff(dim=1) * 32
    assert 1 - views.WAVES * views.BEND <= speed.min() < 0.5
    assert 1.5 < speed.max() <= 1 + views.WAVES * views.BEND


@pytest.mark.parametrize("share", [views.MOST, views.PART])
def test_a_crop_keeps_a_share_anywhere(share: tuple[float, float]) -> None:
    along = views.crop(EVEN, KEYS, share)
    kept, start = along[:, -1] - along[:, 0], along[:, 0]
    assert stats.kstest(kept.numpy(), stats.uniform(share[0], share[1] - share[0]).cdf).pvalue > 1e-3
    assert stats.kstest((start / (1 - kept)).numpy(), stats.uniform.cdf).pvalue > 1e-3
    assert along.max() <= 1


def test_scaling_multiplies_each_channel_by_its_own_factor() -> None:
    factor = views.scale(torch.ones(N, 5, 2), KEYS)
    assert torch.equal(factor, factor[:, :1].expand_as(factor))
    scaled = factor[:, 0, 0] != 1
    assert stats.binomtest(int(scaled.sum()), N, views.SCALED).pvalue > 1e-3
    logs = factor[scaled, 0].log()
    assert stats.kstest(logs[:, 0].numpy(), stats.norm(0, views.SPREAD).cdf).pvalue > 1e-3
    assert abs(torch.corrcoef(logs.T)[0, 1]) < 0.1


def test_jitter_is_normal_noise_of_a_uniform_strength() -> None:
    noise = views.jitter(torch.zeros(N, 64, 2), KEYS)
    level = noise.flatten(1).std(1)
    assert stats.kstest(level.numpy(), stats.uniform(0, views.NOISE).cdf).pvalue > 1e-3
    assert stats.kstest((noise / level[:, None, None]).flatten()[:4000].numpy(), stats.norm.cdf).pvalue > 1e-3


def test_the_policy_of_values_leaves_time_as_it_is() -> None:
    x = torch.zeros(N, 20, 1)
    x[:, 7] = 100
    assert (views.values(x, KEYS, shape()).argmax(1) == 7).all()
    moved = views.series(x, KEYS, shape()).argmax(1) != 7
    assert moved.float().mean() > 0.6


def shape(*, part: bool = False) -> views.Shape:
    return views.Shape(SeriesSpec((20, 1), "float32", mean=(0.0,), std=(1.0,), steps=20), 0, part)


def test_a_local_view_shows_a_small_part() -> None:
    x = torch.arange(20.0)[None, :, None].repeat(N, 1, 1)
    whole, part = (views.series(x, KEYS, shape(part=part))[..., 0] for part in (False, True))
    assert (whole[:, -1] - whole[:, 0]).mean() > 2 * (part[:, -1] - part[:, 0]).mean()


@pytest.mark.parametrize("name", list(views.POLICIES))
def test_a_view_does_not_depend_on_the_padding(name: str) -> None:
    x = torch.randn(6, 12, 2)
    mask = torch.arange(12) < torch.tensor([[12], [9], [9], [5], [2], [1]])
    keys = Keys.of(0, 0, torch.arange(6))
    short, real = views.POLICIES[name](x, keys, shape(), mask)
    filled = torch.cat([x.masked_fill(~mask[..., None], 77.0), torch.full((6, 4, 2), 99.0)], 1)
    long, still = views.POLICIES[name](filled, keys, shape(), torch.cat([mask, torch.zeros(6, 4) > 0], 1))
    assert torch.equal(real, mask)
    assert torch.equal(still[:, :12], mask)
    torch.testing.assert_close(long[:, :12][mask], short[mask])


def test_views_of_one_length_and_of_masked_series_are_equal() -> None:
    spec = SeriesSpec((20, 3), "float32", mean=(0.0,) * 3, std=(1.0,) * 3, steps=20)
    batch = Batch(torch.randn(4, 20, 3), torch.arange(4))
    drawn = Views("series", spec)
    ragged = Views("series", SeriesSpec((3,), "float32", mean=(0.0,) * 3, std=(1.0,) * 3, steps=20))
    masked = Batch(batch.x, batch.index, mask=torch.ones(4, 20, dtype=torch.bool))
    dense, others = (policy(one, Progress())["global"] for policy, one in ((drawn, batch), (ragged, masked)))
    torch.testing.assert_close(dense[0].x, others[0].x)
    assert not torch.allclose(dense[0].x, dense[1].x)
    later: Tensor = drawn(batch, Progress(epoch=1))["global"][0].x
    assert not torch.allclose(dense[0].x, later)
