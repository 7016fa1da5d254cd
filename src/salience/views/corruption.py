"""Corruption: noise that a denoising method undoes. Pure functions of items, keys and a level; level 0 is none.

Vincent et al. 2010, https://www.jmlr.org/papers/v11/vincent10a.html, section 3.3. Every value is drawn on its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from salience.batch import Spec
from salience.views.random import Keys
from salience.views.unit import column_widths

FAR = 2.0  # standard deviations: the least and greatest value of a number that has no limits


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
    low, high = limits(spec)
    return salt_and_pepper(x, keys, level, low.to(x), high.to(x))


def limits(spec: Spec) -> tuple[Tensor, Tensor]:
    """The least and greatest unit-scale values: [] for images, [width] for tables."""
    if spec.modality == "image":
        return torch.tensor(0.0), torch.tensor(1.0)
    pairs = zip(spec.columns, column_widths(spec), strict=True)
    low = [-FAR if column.kind == "number" else 0.0 for column, width in pairs for _ in range(width)]
    return torch.tensor(low), torch.tensor([FAR if value else 1.0 for value in low])
