"""An encoder, a view policy, a metric and a source."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from torch import Tensor, nn

from salience.modalities import Spec
from salience.views import Keys


def narrow(spec: Spec) -> nn.Module:
    """Make an encoder of 12 numbers for items of any shape."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(spec.shape), 12), nn.Tanh())


def shaky(x: Tensor, keys: Keys) -> Tensor:
    """Add noise to every value."""
    return x + 0.1 * keys.normal(*x.shape[1:])


def between(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of the variance that lies between classes."""
    centre = features.mean(0)
    means = np.stack([features[labels == label].mean(0) for label in labels])
    return float(np.square(means - centre).sum() / np.square(features - centre).sum())


def stripes(place: str, split: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images [n 8 8] of horizontal and vertical stripes with their labels; `place` is their number."""
    count = int(place or 60)
    rng = np.random.default_rng(1 if split == "test" else 0)
    labels = np.arange(count) % 2
    rows, columns = np.mgrid[:8, :8]
    images = np.stack([rows % 2, columns % 2])[labels] * 150 + rng.integers(0, 100, (count, 8, 8))
    return images.astype(np.uint8), labels


not_a_function: Any = 3
