"""Count, mean, standard deviation and extremes of every channel or column, computed chunk by chunk.

Chunks are merged with the formula of Chan, Golub and LeVeque, so that one pass is enough and exact to rounding. For two
parts with means a, b and sums of squares A, B around them,

    mean = a + (b - a) n_b / n        square = A + B + (b - a)^2 n_a n_b / n

Squares of values above 1e154 overflow, and squares of values below 1e-162 underflow. Channels with such values are
computed in units of a power of two near their largest magnitude, which causes no rounding.
"""

from __future__ import annotations

import numpy as np

_OF_ZERO = -1100
TAME = 300  # magnitudes from 2^-300 to 2^300 are computed without a unit


class Moments:
    """Statistics [c] float64 of the known (not NaN) values of c channels. `add` takes blocks [n c ...]."""

    def __init__(self, channels: int) -> None:
        self.count = np.zeros(channels)
        self.low = np.full(channels, np.inf)
        self.high = np.full(channels, -np.inf)
        self._exponent = np.full(channels, _OF_ZERO)  # [c] of the unit, 2^exponent, that the next two are in
        self._mean = np.zeros(channels)
        self._square = np.zeros(channels)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each channel, [c]."""
        return np.ldexp(self._mean, self._exponent)

    @property
    def varies(self) -> np.ndarray:
        """Whether each channel has more than one distinct value, [c] bool."""
        return self._square > 0

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation of each channel, [c]; 1 for a constant channel, so that division is safe."""
        std = np.sqrt(self._square / np.maximum(self.count, 1))
        negligible = std <= 1e-12 * np.maximum(np.abs(self._mean), 1e-300)
        return np.where(negligible, 1.0, np.ldexp(std, self._exponent))

    def add(self, block: np.ndarray) -> None:
        """Add a block [n c ...]."""
        if block.dtype in (np.uint8, np.uint16):
            exponent = np.zeros(block.shape[1], dtype=np.int64)
            count, mean, square, low, high = _of_integers(block)
        else:
            count, mean, square, low, high, exponent = _of_numbers(block)
        mean, square = self._in_one_unit(mean, square, exponent)
        total = np.maximum(self.count + count, 1)
        shift = mean - self._mean
        self._square += square + shift**2 * self.count * count / total
        self._mean += shift * count / total
        self.count += count
        self.low = np.minimum(self.low, low)
        self.high = np.maximum(self.high, high)

    def _in_one_unit(self, mean: np.ndarray, square: np.ndarray, exponent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert the current and the new statistics to the larger of their units."""
        common = np.maximum(self._exponent, exponent)
        passed, coming = self._exponent - common, exponent - common
        self._mean, self._square = np.ldexp(self._mean, passed), np.ldexp(self._square, 2 * passed)
        self._exponent = common
        return np.ldexp(mean, coming), np.ldexp(square, 2 * coming)


def _of_integers(block: np.ndarray) -> tuple[np.ndarray, ...]:
    """Compute exact statistics of integers from histograms, four times as fast as with floats."""
    levels = np.arange(np.iinfo(block.dtype).max + 1)
    found = []
    for channel in range(block.shape[1]):
        counts = np.bincount(block[:, channel].ravel(), minlength=len(levels))
        total = counts.sum()
        mean = counts @ levels / total
        present = counts.nonzero()[0]
        found.append((total, mean, counts @ (levels - mean) ** 2, present[0], present[-1]))
    return tuple(np.array(column, dtype=np.float64) for column in zip(*found, strict=True))


def _of_numbers(block: np.ndarray) -> tuple[np.ndarray, ...]:
    """Compute statistics of floats without NaN. Mean and square are in units of 2^exponent, the last result."""
    values = np.moveaxis(block, 1, 0).reshape(block.shape[1], -1).astype(np.float64)  # [c m]
    known = ~np.isnan(values)
    count = known.sum(axis=1).astype(np.float64)
    low = np.where(known, values, np.inf).min(axis=1)
    high = np.where(known, values, -np.inf).max(axis=1)
    exponent = _exponent_of(np.where(count > 0, np.maximum(np.abs(low), np.abs(high)), 0))
    if exponent.any():
        values = np.ldexp(values, -np.maximum(exponent, _OF_ZERO)[:, None])
    mean = np.where(known, values, 0).sum(axis=1) / np.maximum(count, 1)
    square = (np.where(known, values - mean[:, None], 0) ** 2).sum(axis=1)
    return count, mean, square, low, high, exponent


def _exponent_of(magnitude: np.ndarray) -> np.ndarray:
    """Return the exponent of the unit of each channel, [c] int64: 0 for ordinary magnitudes, the minimum for zero."""
    exponent = np.frexp(magnitude)[1].astype(np.int64)
    return np.where(magnitude == 0, _OF_ZERO, np.where(np.abs(exponent) <= TAME, 0, exponent))
