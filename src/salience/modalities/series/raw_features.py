"""The raw-input baseline of series."""

from __future__ import annotations

import torch
from torch import Tensor

from salience.modalities.series.unit import resampled
from salience.nets.recurrent import masked_mean


def raw_features(x: Tensor, steps: int, mask: Tensor | None = None) -> Tensor:
    """Return each series resampled to `steps`, and the mean and standard deviation of its channels.

    x on the unit scale [n t c], mask [n t] -> [n (steps + 2) c]
    """
    mean = masked_mean(x, mask)
    std = masked_mean((x - mean[:, None]).square(), mask).sqrt()
    return torch.cat([resampled(x, steps, mask).flatten(1), mean, std], dim=1)
