"""Corruption: noise that a denoising method undoes. Pure functions of items, keys and a level; level 0 is none.

Vincent et al. 2010, https://www.jmlr.org/papers/v11/vincent10a.html, section 3.3. Every value is drawn on its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from salience.views.random import Keys

if TYPE_CHECKING:
    from salience.modalities.spec import Spec


def masking(x: Tensor, keys: Keys, level: float) -> Tensor:
    """A share `level` of the values becomes 0.  x: [n ...] -> the same"""
    return x.masked_fill(keys.chance(level, *x.shape[1:]), 0.0)


def gaussian(x: Tensor, keys: Keys, level: float) -> Tensor:
    """Normal noise with standard deviation `level`.  x: [n ...] -> the same"""
    return x + level * keys.normal(*x.shape[1:]).to(x.dtype)


def salt_and_pepper(x: Tensor, keys: Keys, level: float, low: Tensor, high: Tensor) -> Tensor:
    """A share `level` of the values becomes the least or the greatest possible one, as a fair coin falls.

    x: [n ...] -> the same;  low, high: [] or of an item's shape
    """
    u = keys.uniform(*x.shape[1:])
    return torch.where(u < level / 2, low.to(x), torch.where(u < level, high.to(x), x))


def corrupted(x: Tensor, keys: Keys, kind: str, level: float, spec: Spec) -> Tensor:
    """Unit-scale items with noise of this kind.  [n ...] -> the same"""
    if kind == "masking":
        return masking(x, keys, level)
    if kind == "gaussian":
        return gaussian(x, keys, level)
    low, high = spec.modality.limits(spec)
    return salt_and_pepper(x, keys, level, low.to(x), high.to(x))
