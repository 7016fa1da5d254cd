"""Conversion between stored pixels and the unit scale: x in [low, high] -> (x - low) / (high - low)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from salience.modalities.image.spec import ImageSpec


def unit_images(x: Tensor, spec: ImageSpec) -> Tensor:
    """Convert stored images [n c h w] of any dtype to float32 in [0, 1]."""
    if x.dtype == torch.uint16:  # few operations support this type
        x = x.view(torch.int16).to(torch.int32) & 0xFFFF
    scale = 1.0 / (spec.high - spec.low)
    x = x.to(torch.float32)
    return x * scale if spec.low == 0 else (x - spec.low) * scale


def to_stored(x: Tensor, spec: ImageSpec) -> np.ndarray:
    """Convert images on the unit scale to stored values.  [n c h w]"""
    values = (x * (spec.high - spec.low) + spec.low).numpy()
    if np.issubdtype(spec.dtype, np.integer):
        limits = np.iinfo(spec.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(spec.dtype)


def variance(spec: ImageSpec) -> float:
    """Return the variance of unit-scale values over the training data, averaged over channels."""
    return math.fsum(std**2 for std in spec.std) / len(spec.std) if any(spec.std) else 1 / 16  # ImageInput's default
