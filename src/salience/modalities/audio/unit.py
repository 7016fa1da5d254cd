"""The unit scale of recordings: their log-mel spectrogram, each band standardised over the training data."""

from __future__ import annotations

import torch
from torch import Tensor

from salience.modalities.audio.log_mel import log_mel
from salience.modalities.audio.spec import AudioSpec

FULL = 32_768.0  # stored value of a sample of 1
SILENCE = -100.0  # dB
USUAL = (-40.0, 20.0)  # mean and std in dB without statistics


def unit_audio(x: Tensor, spec: AudioSpec) -> Tensor:
    """Convert stored samples [n t] to the unit scale, [n frames bands]."""
    mean, std = (one.to(x.device) for one in statistics(spec))
    return (log_mel(x.float() / FULL, spec) - mean) / std


def statistics(spec: AudioSpec) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each band in dB, [bands] each."""
    mean = torch.tensor(spec.mean or [USUAL[0]] * spec.bands)
    return mean, torch.tensor(spec.std or [USUAL[1]] * spec.bands).clamp(min=1e-3)


def mean_and_std(x: Tensor, mask: Tensor | None) -> Tensor:
    """Compute mean and standard deviation of each band over the real frames.  [n frames bands] -> [n 2*bands]"""
    real = torch.ones(x.shape[:2], device=x.device) if mask is None else mask.to(x.dtype)
    real = real[..., None] / real.sum(1).clamp(min=1)[:, None, None]
    mean = (x * real).sum(1)
    variance = ((x - mean[:, None]).square() * real).sum(1)
    return torch.cat([mean, variance.sqrt()], dim=1)
