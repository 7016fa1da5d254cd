"""Corruption: noise that a denoising method removes. Pure functions of items, keys and a level; level 0 is no noise.

Vincent et al. 2010, https://www.jmlr.org/papers/v11/vincent10a.html, section 3.3. Values are drawn independently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from salience.views.random import Keys

if TYPE_CHECKING:
    from salience.modalities.spec import Spec


def masking(x: Tensor, keys: Keys, level: float) -> Tensor:
    """Set a share `level` of the values to 0.  x: [n ...] -> [n ...]"""
    return x.masked_fill(keys.chance(level, *x.shape[1:]), 0.0)


def gaussian(x: Tensor, keys: Keys, level: float) -> Tensor:
    """Add normal noise with standard deviation `level`.  x: [n ...] -> [n ...]"""
    return x + level * keys.normal(*x.shape[1:]).to(x.dtype)


def salt_and_pepper(x: Tensor, keys: Keys, level: float, low: Tensor, high: Tensor) -> Tensor:
    """Set a share `level` of the values to the minimum or the maximum, with equal probability.

    Args:
        x: [n ...] items.
        keys: Random keys of the items.
        level: Share of the values.
        low, high: Minimum and maximum, [] or the shape of an item.
    """
    u = keys.uniform(*x.shape[1:])
    return torch.where(u < level / 2, low.to(x), torch.where(u < level, high.to(x), x))


def corrupted(x: Tensor, keys: Keys, kind: str, level: float, spec: Spec) -> Tensor:
    """Add noise of this kind to unit-scale items.  [n ...] -> [n ...]"""
    if kind == "masking":
        return masking(x, keys, level)
    if kind == "gaussian":
        return gaussian(x, keys, level)
    low, high = spec.modality.value_range(spec)
    return salt_and_pepper(x, keys, level, low.to(x), high.to(x))
