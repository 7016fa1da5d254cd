"""Statistics of the bands of log-mel spectrograms."""

from __future__ import annotations

import numpy as np
import torch

from salience.fields.stored_items import Ragged
from salience.modalities.audio.log_mel import log_mel
from salience.modalities.audio.spec import AudioSpec, frames_of
from salience.modalities.audio.unit import FULL

MOST = 2_000  # items, evenly spaced, and
LONGEST = 1 << 20  # samples of each, that the statistics are computed from


def band_statistics(stored: Ragged, spec: AudioSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each band in dB, over the frames of up to MOST items."""
    rows = np.unique(np.linspace(0, len(stored) - 1, min(len(stored), MOST)).astype(np.int64))
    count, total, square = 0, np.zeros(spec.bands), np.zeros(spec.bands)
    for row in rows:
        samples = torch.from_numpy(np.asarray(stored[int(row)][:LONGEST]).astype(np.float32) / np.float32(FULL))
        frames = log_mel(samples[None], spec)[0, : frames_of(len(samples), spec.hop)].double().numpy()
        count += len(frames)
        total += frames.sum(0)
        square += np.square(frames).sum(0)
    mean = total / max(1, count)
    std = np.sqrt(np.maximum(square / max(1, count) - mean**2, 0))
    return tuple(mean.round(4).tolist()), tuple(np.where(std < 1e-3, 1.0, std).round(4).tolist())
