"""From pixels as stored to the unit scale and back: x in [low, high] -> (x - low) / (high - low)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from salience.modalities.image.spec import ImageSpec


def unit_images(x: Tensor, spec: ImageSpec) -> Tensor:
    """Images as stored, [n c h w] of any dtype -> float32 on [0, 1]."""
    if x.dtype == torch.uint16:  # few operations know this type
        x = x.view(torch.int16).to(torch.int32) & 0xFFFF
    scale = 1.0 / (spec.high - spec.low)
    x = x.to(torch.float32)
    return x * scale if spec.low == 0 else (x - spec.low) * scale


def restored(x: Tensor, spec: ImageSpec) -> np.ndarray:
    """Unit scale -> as stored.  [n c h w]"""
    values = (x * (spec.high - spec.low) + spec.low).numpy()
    if np.issubdtype(spec.dtype, np.integer):
        limits = np.iinfo(spec.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(spec.dtype)


def variance(spec: ImageSpec) -> float:
    """Of a unit-scale value over the training data, around its channel's mean; the mean over channels."""
    return math.fsum(std**2 for std in spec.std) / len(spec.std) if any(spec.std) else 1 / 16  # ImageInput's default
