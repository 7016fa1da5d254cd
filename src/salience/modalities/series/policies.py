"""View policies of series: crop, time warp, scaling and jitter, on the unit scale.

Um et al. 2017, https://arxiv.org/abs/1706.00527, and Le Guennec et al. 2016 describe these changes. A draw of a step
does not depend on the number of steps, so a view is the same in any padding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from salience.modalities.series.unit import interpolate, lengths_of
from salience.views.policy import Policy, Shape
from salience.views.random import Keys

MOST, PART = (0.5, 1.0), (0.1, 0.4)  # ranges of the share of a series' steps that a crop keeps
WARPED, WAVES, BEND = 0.5, 3, 0.25  # probability of a time warp, its number of cosines and their largest amplitude
SCALED, SPREAD = 0.8, 0.2  # probability of scaling, and standard deviation of the logarithm of its factor
NOISE = 0.2  # largest standard deviation of the jitter


def series(x: Tensor, keys: Keys, shape: Shape, mask: Tensor | None = None) -> Any:
    """Augment series by crop, time warp, scaling and jitter.  [n t c] -> [n t c]"""
    lengths = lengths_of(x, mask)
    along = torch.arange(x.shape[1], device=x.device) / (lengths[:, None] - 1).clamp(min=1)  # [n t] 0 to 1
    along = crop(warp(along.clamp(max=1), keys), keys, PART if shape.part else MOST)
    x = interpolate(x, along * (lengths[:, None] - 1).clamp(min=0))
    return values(x, keys, shape, mask)


def values(x: Tensor, keys: Keys, shape: Shape, mask: Tensor | None = None) -> Any:
    """Augment series by scaling and jitter, and leave time as it is.  [n t c] -> [n t c]"""
    x = jitter(scale(x, keys), keys)
    return x if mask is None else (x, mask)


def warp(along: Tensor, keys: Keys) -> Tensor:
    """Bend time: its speed varies smoothly within 1 -+ WAVES * BEND, and both ends stay.  [n t] in 0..1 -> [n t]"""
    bend = keys.fold("bend").between(-BEND, BEND, WAVES)
    bend = torch.where(keys.fold("warp").chance(WARPED, 1), bend, 0)
    waves = math.pi * torch.arange(1, WAVES + 1, device=along.device)
    return along + ((along[..., None] * waves).sin() / waves * bend[:, None]).sum(-1)


def crop(along: Tensor, keys: Keys, share: tuple[float, float]) -> Tensor:
    """Keep a part of each series, which is stretched to the whole.  [n t] in 0..1 -> [n t]"""
    kept = keys.fold("share").between(*share, 1)
    return keys.fold("start").uniform(1) * (1 - kept) + along * kept


def scale(x: Tensor, keys: Keys) -> Tensor:
    """Multiply each channel by a factor.  [n t c] -> [n t c]"""
    factor = (SPREAD * keys.fold("factor").normal(x.shape[2])).exp()
    return x * torch.where(keys.fold("scale").chance(SCALED, 1), factor, 1)[:, None]


def jitter(x: Tensor, keys: Keys) -> Tensor:
    """Add normal noise, whose standard deviation is uniform in 0..NOISE for each series.  [n t c] -> [n t c]"""
    level = keys.fold("noise level").between(0, NOISE, 1, 1)
    radius = (-2 * (1 - keys.fold("radius").uniform(*x.shape[1:])).log()).sqrt()
    angle = 2 * math.pi * keys.fold("angle").uniform(*x.shape[1:])
    return x + level * radius * angle.cos()  # not `Keys.normal`, whose draws depend on how many there are


POLICIES: dict[str, Policy] = {"series": series, "values": values}
