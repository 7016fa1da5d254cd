"""Conversion between arrays of images of any layout and stored images, for the scikit-learn estimators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from salience.errors import UserError
from salience.modalities.image.conversion import as_images
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.square import resize


def from_array(x: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Convert [n h w], [n c h w] or [n h w c] to [n *spec.shape].

    Raises:
        UserError: A value does not fit the type of the images in `fit`.
    """
    stored = x.astype(spec.dtype, copy=False)
    if not np.array_equal(stored, x):
        raise UserError(f"X: expected {spec.dtype} values as in fit, got {x.dtype}; rescale them as in fit")
    return resize(as_images(stored), spec.shape[1:])


def to_array(unit: Tensor, spec: ImageSpec, shape: Sequence[int]) -> np.ndarray:
    """Convert [n c h w] on the unit scale to stored values in the shape of the items in `fit`, [n *shape]."""
    # position of each value of [c h w] in an item of that shape
    place = as_images(np.arange(np.prod(shape)).reshape(1, *shape))[0]
    same = unit.shape[1:] == place.shape
    resized = unit if same else F.interpolate(unit, place.shape[1:], mode="bilinear", antialias=True)
    items = np.empty((len(unit), place.size), np.float32)
    items[:, place.ravel()] = (resized * (spec.high - spec.low) + spec.low).flatten(1).numpy()
    return items.reshape(-1, *shape)
