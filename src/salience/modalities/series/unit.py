"""The unit scale of series: each channel standardised with the statistics of the training data; and resampling."""

from __future__ import annotations

import torch
from torch import Tensor

from salience.modalities.series.spec import SeriesSpec


def unit_series(x: Tensor, spec: SeriesSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standardise stored series; a channel that is missing in a series becomes 0.  [n t c] -> [n t c]"""
    mean, std = _statistics(spec, x.device)
    return torch.nan_to_num(((x.double() - mean) / std).to(dtype), nan=0.0)


def stored_series(x: Tensor, spec: SeriesSpec) -> Tensor:
    """Convert series on the unit scale to stored ones.  [n t c] -> [n t c] float32"""
    mean, std = _statistics(spec, x.device)
    return (x.double() * std + mean).float()


def resampled(x: Tensor, steps: int, mask: Tensor | None = None) -> Tensor:
    """Resample every series to one number of steps, from its first to its last real one, by linear interpolation.

    [n t c], mask [n t] of which the real steps come first -> [n steps c]
    """
    at = torch.linspace(0, 1, steps, device=x.device, dtype=torch.float64)
    return interpolate(x, at.expand(len(x), -1) * (lengths_of(x, mask)[:, None] - 1).clamp(min=0))


def lengths_of(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the number of real steps of each series.  [n t c], [n t] -> [n] int64"""
    return torch.full((len(x),), x.shape[1], device=x.device) if mask is None else mask.sum(1)


def interpolate(x: Tensor, positions: Tensor) -> Tensor:
    """Return the values of series at fractional positions, by linear interpolation.  [n t c], [n m] -> [n m c]"""
    last = x.shape[1] - 1
    low = positions.floor().long().clamp(0, last)
    share = (positions - low)[..., None].to(x.dtype)
    before, after = (x.gather(1, at[..., None].expand(-1, -1, x.shape[2])) for at in (low, (low + 1).clamp(max=last)))
    return torch.where(share > 0, before + share * (after - before), before)


def _statistics(spec: SeriesSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, dtype=torch.float64, device=device) for values in (spec.mean, spec.std))
    return mean, std
