"""What a learnt denoiser has to beat: projection on principal components, and Wiener's filter. Both are told the noise.

pca      x -> m + sum_{j <= k} v_j v_j'(x - m): the mean and components of clean rows, k the best for this noise
wiener   x -> m + max(0, s^2 - p) / s^2 (x - m): mean and variance of the pixels around each, p the noise's power
         (Lim 1990, as scipy.signal.wiener); the window is the best of three for this noise

The components are found in one part of the clean rows, and k and the window are chosen on another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.signal import wiener
from sklearn.decomposition import PCA
from torch import Tensor

WINDOWS = (3, 5, 7)
MOST_COMPONENTS = 256
MOST_TRIED = 200  # images that choose the window


@dataclass(frozen=True)
class Projection:
    """mean: [w], directions: [k w], orthonormal"""

    mean: Tensor
    directions: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[n ...] -> the same"""
        centred = x.flatten(1) - self.mean
        return (self.mean + centred @ self.directions.T @ self.directions).view(x.shape)


@dataclass(frozen=True)
class Wiener:
    """window: pixels a side;  power: the noise's mean square"""

    window: int
    power: float

    def __call__(self, x: Tensor) -> Tensor:
        """[n c h w] -> the same, channel by channel"""
        channels = x.double().flatten(0, 1).numpy()
        with np.errstate(divide="ignore", invalid="ignore"):  # where nothing varies; the mean is taken there
            filtered = np.stack([wiener(channel, self.window, self.power) for channel in channels])
        return torch.from_numpy(np.where(np.isfinite(filtered), filtered, channels)).to(x.dtype).view(x.shape)


def fit_projection(clean: Tensor, chosen_on: Tensor, noisy: Tensor) -> Projection:
    """clean: [n ...] to find components in;  chosen_on: [m ...] clean, and noisy: the same with noise, to choose k"""
    rows = clean.flatten(1)
    most = min(MOST_COMPONENTS, len(rows) - 1, rows.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):  # rows that are all the same explain 0 of 0; nobody asks
        found = PCA(most, random_state=0).fit(rows.numpy())
    mean, directions = (torch.from_numpy(part).to(rows.dtype) for part in (found.mean_, found.components_))
    errors = errors_by_components(
        (chosen_on.flatten(1) - mean) @ directions.T, (noisy.flatten(1) - mean) @ directions.T
    )
    return Projection(mean, directions[: int(errors.argmin())])


def errors_by_components(truth: Tensor, observed: Tensor) -> Tensor:
    """Squared error within the span when only the first k coordinates are kept, k = 0 .. d.  [n d] twice -> [d + 1]

    Kept coordinates bring their noise, dropped ones lose what they held.
    """
    kept = (observed - truth).double().square().sum(dim=0).cumsum(dim=0)
    lost = truth.double().square().sum(dim=0)
    start = lost.new_zeros(1)
    return torch.cat([start, kept]) + lost.sum() - torch.cat([start, lost.cumsum(dim=0)])


def fit_wiener(clean: Tensor, noisy: Tensor) -> Wiener:
    """clean, noisy: [n c h w], the same images"""
    power = float((noisy - clean).double().square().mean())
    few, known = noisy[:MOST_TRIED], clean[:MOST_TRIED]
    fitting = [Wiener(window, power) for window in WINDOWS if window <= clean.shape[-1]] or [Wiener(1, power)]
    return min(fitting, key=lambda one: float((one(few) - known).square().mean()))
