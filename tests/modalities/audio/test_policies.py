"""Each augmentation happens with its probability and strength, and leaves padding alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from salience.modalities.audio import policies
from salience.modalities.audio.policies import POLICIES
from salience.modalities.audio.spec import AudioSpec
from salience.views.policy import Shape
from salience.views.random import Keys

N, FRAMES, BANDS = 2000, 30, 8
SPEC = replace(AudioSpec.at(8000), bands=BANDS, mean=(-30.0,) * BANDS, std=tuple(np.linspace(5, 20, BANDS)))
LENGTHS = torch.arange(N) % 21 + 10  # 10 to 30 frames
MASK = torch.arange(FRAMES) < LENGTHS[:, None]
KEYS = Keys.of(0, 0, torch.arange(N))


@pytest.fixture
def x() -> Tensor:
    """Frame t of a recording has the value t in all bands; padding is 99."""
    return torch.arange(FRAMES).float().expand(N, FRAMES)[..., None].repeat(1, 1, BANDS).where(MASK[..., None], 99.0)


def test_a_crop_is_a_random_stretch_of_the_share_asked_for(x: Tensor) -> None:
    cut, mask = policies.crop(x, MASK, KEYS, (0.6, 1.0))
    kept = mask.sum(1)
    assert ((kept >= (0.6 * LENGTHS - 0.51)) & (kept <= LENGTHS)).all()
    assert abs(float((kept / LENGTHS).mean()) - 0.8) < 0.01
    start = cut[:, 0, 0]
    frames = torch.arange(FRAMES)
    assert torch.equal(cut[..., 0][mask], (start[:, None] + frames)[mask])  # consecutive
    assert (start + kept <= LENGTHS).all()
    room = LENGTHS - kept
    share = (start / room)[room > 3]
    assert abs(float(share.mean()) - 0.5) < 0.03


def test_a_shift_turns_real_frames_around(x: Tensor) -> None:
    moved = policies.shift(x, MASK, KEYS, 0.5)[..., 0]
    length = LENGTHS[:, None]
    frames = torch.arange(FRAMES)
    start = moved[:, :1]
    assert torch.equal(moved[MASK], ((start + frames) % length)[MASK])
    changed = (start[:, 0] != 0).float()
    assert abs(float(changed.mean()) - 0.5 * float((1 - 1 / LENGTHS).mean())) < 0.04
    assert torch.equal(policies.shift(x, MASK, KEYS, 0.0)[MASK], x[MASK])


def test_a_gain_adds_the_same_decibels_to_all_bands() -> None:
    x = torch.zeros(N, 3, BANDS)
    louder = policies.gain(x, KEYS, SPEC, 6.0) * torch.tensor(SPEC.std)
    assert (louder - louder[:, :1, :1]).abs().max() < 1e-4
    drawn = louder[:, 0, 0]
    assert drawn.min() > -6.001
    assert drawn.max() < 6.001
    assert abs(float(drawn.mean())) < 0.2
    assert abs(float(drawn.std()) - 6 / 3**0.5) < 0.15
    silence = (-100.0 - torch.tensor(SPEC.mean)) / torch.tensor(SPEC.std)
    quiet = policies.gain(silence.expand(N, 3, BANDS), KEYS, SPEC, 6.0)
    assert (quiet >= silence).all()


def test_noise_has_its_probability_and_its_ratio_to_the_signal() -> None:
    mean, std = torch.tensor(SPEC.mean), torch.tensor(SPEC.std)
    silence = ((-100.0 - mean) / std).expand(N, FRAMES, BANDS).clone()
    x = silence.clone()
    x[:, 0] = (-20.0 - mean) / std  # one loud frame: what is in the others is noise
    noisy = policies.noise(x, MASK, KEYS, SPEC, 0.5, (20.0, 20.0))
    changed = (noisy[:, 1] != x[:, 1]).any(1)
    assert abs(float(changed.float().mean()) - 0.5) < 0.04
    power = (10 ** ((noisy * std + mean) / 10))[changed]
    signal = 10 ** (-20 / 10) / LENGTHS[changed]
    ratio = power[:, 1:10].mean((1, 2)) / signal
    assert abs(10 * float(ratio.mean().log10()) + 20) < 0.3


def test_spec_augment_masks_its_share_of_frames_and_bands() -> None:
    ones = torch.ones(N, FRAMES, BANDS)
    hidden = policies.spec_augment(ones, MASK, KEYS, 1, 0.4, 0.0)[..., 0] == 0
    assert not hidden[~MASK].any()
    width = hidden.sum(1)
    assert (width <= 0.4 * LENGTHS + 1).all()
    assert abs(float((width / LENGTHS).mean()) - 0.2) < 0.02
    assert ((hidden[:, 1:] & ~hidden[:, :-1]).sum(1) + hidden[:, 0] <= 1).all()  # one stretch
    bands = policies.spec_augment(ones, MASK, KEYS, 1, 0.0, 0.5)[:, 0] == 0
    assert abs(float(bands.float().mean()) - 0.25) < 0.03
    assert bands.sum(1).max() == 4
    one = (policies.spec_augment(ones, MASK, KEYS, 1, 0.4, 0.0) == 0).sum()
    two = (policies.spec_augment(ones, MASK, KEYS, 2, 0.4, 0.0) == 0).sum()
    assert two > 1.5 * one


@pytest.mark.parametrize("name", POLICIES)
def test_a_view_depends_on_its_keys_alone_and_not_on_padding(name: str, x: Tensor) -> None:
    policy, shape, rows = POLICIES[name], Shape(SPEC, 0), torch.tensor([5, 17, 900])
    x = x.where(~MASK[..., None], x / 30)
    whole, kept = policy(x, KEYS, shape, MASK)
    some, mask = policy(x[rows], Keys.of(0, 0, rows), shape, MASK[rows])
    torch.testing.assert_close(some, whole[rows])
    assert torch.equal(mask, kept[rows])
    other = x.where(MASK[..., None], -7.0)
    torch.testing.assert_close(policy(other, KEYS, shape, MASK)[0], whole)
    again, _ = policy(x, Keys.of(0, 1, torch.arange(N)), shape, MASK)
    assert not torch.equal(again, whole)
    assert policy(x, KEYS, shape).shape == x.shape  # items of one length without masks


def test_local_views_are_shorter(x: Tensor) -> None:
    _, most = policies.crops(x, KEYS, Shape(SPEC, 0), MASK)
    _, part = policies.crops(x, KEYS, Shape(SPEC, 0, part=True), MASK)
    assert part.sum() < 0.6 * most.sum()
