"""View policies of recordings: functions from log-mel spectrograms to one random view of each.

Views are drawn on the unit scale, where a recording is its log-mel spectrogram [frames bands], so that spectrograms are
computed once for all views of a batch. A gain adds decibels, and noise adds power to each band.

Crop and shift move frames, which is what they do to samples in steps of one hop. SpecAugment: Park et al. 2019,
https://arxiv.org/abs/1904.08779, without time warping; masked parts get the mean of their band, which is 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from salience.modalities.audio.log_mel import decibels
from salience.modalities.audio.spec import AudioSpec
from salience.modalities.audio.unit import SILENCE, statistics
from salience.views.policy import Policy, Shape
from salience.views.random import Keys

MOST, PART = (0.6, 1.0), (0.2, 0.5)  # ranges of the share of a recording that a view shows
GAIN = 6.0  # dB
NOISY, SNR = 0.5, (10.0, 40.0)  # share of views with noise, and its range of signal to noise in dB
SHIFTED = 0.5  # share of views whose start is moved
MASKS, WIDEST_TIME, WIDEST_BAND = 2, 0.2, 0.2  # of each kind, and their greatest shares of frames and bands


def crop(x: Tensor, mask: Tensor, keys: Keys, share: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Cut out consecutive frames, a random share of the real ones; they move to the start.

    Args:
        x: [n t bands] spectrograms.
        mask: [n t] real frames.
        keys: Random keys.
        share: Range of the share, drawn uniformly.
    """
    drawn = keys.fold("crop").uniform(2)
    length = mask.sum(1)
    part = share[0] + drawn[:, 0] * (share[1] - share[0])
    kept = (length * part).round().long().clamp(min=1).minimum(length)
    start = (drawn[:, 1] * (length - kept + 1)).long().minimum(length - kept)
    frames = torch.arange(x.shape[1], device=x.device)
    return _taken(x, start[:, None] + frames), frames < kept[:, None]


def shift(x: Tensor, mask: Tensor, keys: Keys, probability: float) -> Tensor:
    """Move the start of a recording to a random frame; what was before it comes at the end."""
    keys = keys.fold("shift")
    length = mask.sum(1).clamp(min=1)
    start = (keys.fold("start").uniform(1)[:, 0] * length).long()
    start = torch.where(keys.chance(probability, 1)[:, 0], start, 0)
    frames = torch.arange(x.shape[1], device=x.device)
    return _taken(x, (start[:, None] + frames) % length[:, None])


def gain(x: Tensor, keys: Keys, spec: AudioSpec, most: float) -> Tensor:
    """Change the loudness by up to `most` dB in either direction, uniformly."""
    mean, std = (one.to(x) for one in statistics(spec))
    louder = x + keys.fold("gain").between(-most, most, 1, 1) / std
    return louder.maximum((SILENCE - mean) / std)


def noise(
    x: Tensor, mask: Tensor, keys: Keys, spec: AudioSpec, probability: float, ratio: tuple[float, float]
) -> Tensor:
    """Add white noise: to the power of each band and frame, an exponentially distributed one.

    Args:
        x: [n t bands] spectrograms on the unit scale.
        mask: [n t] real frames.
        keys: Random keys.
        spec: The spec of the recordings.
        probability: Share of the views that get noise.
        ratio: Range of the ratio of signal to noise in dB, drawn uniformly; mean powers over frames and bands.
    """
    keys = keys.fold("noise")
    mean, std = (one.to(x) for one in statistics(spec))
    real = x.masked_fill(~mask[..., None], 0.0)
    power = (10 ** ((real * std + mean) / 10)) * mask[..., None]
    loudness = power.sum((1, 2)) / (mask.sum(1).clamp(min=1) * x.shape[2])
    level = loudness * 10 ** (-keys.fold("ratio").between(*ratio, 1)[:, 0] / 10)
    drawn = -torch.log1p(-keys.fold("values").uniform(*x.shape[1:]))
    noisy = (decibels(power + level[:, None, None] * drawn) - mean) / std
    return torch.where(keys.chance(probability, 1, 1), noisy, x)


def spec_augment(x: Tensor, mask: Tensor, keys: Keys, masks: int, time: float, bands: float) -> Tensor:
    """Set random stretches of frames and of bands to the mean.

    Args:
        x: [n t bands] spectrograms.
        mask: [n t] real frames.
        keys: Random keys.
        masks: Number of stretches of frames, and of bands.
        time, bands: Greatest share of the real frames, and of the bands, in one stretch; drawn uniformly from 0.
    """
    length = mask.sum(1)
    hidden = _stretches(keys.fold("time"), length, x.shape[1], masks, time)[:, :, None]
    total = torch.full_like(length, x.shape[2])
    hidden = hidden | _stretches(keys.fold("bands"), total, x.shape[2], masks, bands)[:, None]
    return x.masked_fill(hidden, 0.0)


def sound(x: Tensor, keys: Keys, shape: Shape, mask: Tensor | None = None) -> Any:
    """Augment by crop, shift, gain, noise and SpecAugment.  [n t bands] -> [n t bands], and the mask"""
    real = _real(x, mask)
    moved = shift(x, real, keys, SHIFTED)
    cut, kept = crop(moved, real, keys, PART if shape.part else MOST)
    loud = noise(gain(cut, keys, shape.spec, GAIN), kept, keys, shape.spec, NOISY, SNR)
    return _view(spec_augment(loud, kept, keys, MASKS, WIDEST_TIME, WIDEST_BAND), kept, mask)


def crops(x: Tensor, keys: Keys, shape: Shape, mask: Tensor | None = None) -> Any:
    """Augment by crop alone.  [n t bands] -> [n t bands], and the mask"""
    return _view(*crop(x, _real(x, mask), keys, PART if shape.part else MOST), mask)


def specaugment(x: Tensor, keys: Keys, shape: Shape, mask: Tensor | None = None) -> Any:
    """Augment by SpecAugment alone.  [n t bands] -> [n t bands], and the mask"""
    real = _real(x, mask)
    return _view(spec_augment(x, real, keys, MASKS, WIDEST_TIME, WIDEST_BAND), real, mask)


POLICIES: dict[str, Policy] = {"sound": sound, "crops": crops, "specaugment": specaugment}


def _real(x: Tensor, mask: Tensor | None) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask


def _view(x: Tensor, kept: Tensor, mask: Tensor | None) -> Any:
    """Return the view with its mask; without a mask, the rest gets the mean."""
    x = x * kept[..., None]
    return x if mask is None else (x, kept)


def _taken(x: Tensor, frames: Tensor) -> Tensor:
    """Take frames by number.  [n t bands], [n t] -> [n t bands]"""
    at = frames.clamp(max=x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[2])
    return x.gather(1, at)


def _stretches(keys: Keys, length: Tensor, size: int, count: int, share: float) -> Tensor:
    """Draw which of `size` positions lie in one of `count` random stretches.  length: [n] real ones -> [n size]"""
    drawn = keys.uniform(count, 2)
    width = (drawn[..., 0] * (share * length[:, None] + 1)).long()  # [n count]: 0 to share of the length
    start = (drawn[..., 1] * (length[:, None] - width + 1)).long()
    at = torch.arange(size, device=length.device)
    inside = (at >= start[..., None]) & (at < (start + width)[..., None])
    return inside.any(1)
