"""95 % intervals: how far a figure could move with other test rows or other label draws.

Proportions use Wilson's interval (never [1, 1] for a few rows that all came out right); the mean of independent
proportions (balanced accuracy) joins the Wilson intervals of its parts by the square-and-add rule of
https://doi.org/10.1002/sim.4780141104; means use Student's t; everything else the bootstrap or, for smooth functions of
row weights, the infinitesimal jackknife.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Metric:
    """A figure and its 95 % interval; infinite where nothing limits it, as where one value alone was averaged."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | list[float | None]]:
        """For JSON, which has no infinity: None for a limit that is not there."""
        limits = [limit if math.isfinite(limit) else None for limit in (self.low, self.high)]
        return {"value": self.value, "interval": limits}


def plain(value: Any) -> Any:
    """Metrics to dictionaries, all the way down."""
    if isinstance(value, Metric):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return value


def wilson(correct: np.ndarray | float, n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of `correct` successes in `n` trials, elementwise -> (low, high)."""
    p = np.asarray(correct, float) / n
    spread = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * np.square(n, dtype=float)))
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    return np.clip(centre - spread, 0, p), np.clip(centre + spread, p, 1)


def accuracy(right: np.ndarray) -> Metric:
    """right: [n] bool, which test rows were answered correctly."""
    low, high = wilson(right.sum(), len(right))
    return Metric(float(right.mean()), float(low), float(high))


def balanced_accuracy(right: np.ndarray, labels: np.ndarray) -> Metric:
    """The mean of the classes' recalls.  right: [n] bool, labels: [n] the true classes"""
    rows = np.bincount(labels)
    present = rows > 0
    correct = np.bincount(labels, weights=right)[present]
    recall = correct / rows[present]
    low, high = wilson(correct, rows[present])
    classes = present.sum()
    below = np.sqrt(np.square(recall - low).sum()) / classes
    above = np.sqrt(np.square(high - recall).sum()) / classes
    value = float(recall.mean())
    return Metric(value, max(0.0, value - float(below)), min(1.0, value + float(above)))


def mean(values: np.ndarray, low: float = -np.inf, high: float = np.inf) -> Metric:
    """Student's t interval of the mean of independent values [n], cut at the figure's range [low, high].

    Of one value it is the whole range.
    """
    value = float(values.mean())
    if len(values) < 2:
        return Metric(value, low, high)
    from scipy.special import stdtrit  # here: most commands measure no mean

    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return Metric(value, max(low, value - half), min(high, value + half))


def bootstrap(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    low: float = -np.inf,
    high: float = np.inf,
    *,
    draws: int = 300,
    seed: int = 0,
) -> Metric:
    """Bootstrap of a statistic of rows, drawn anew `draws` times, cut at its range.  values: [n ...]"""
    generator = np.random.default_rng(seed)
    n = len(values)
    again = [statistic(values[generator.integers(0, n, n)]) for _ in range(draws)]
    return spread(statistic(values), np.array(again), low, high)


def spread(value: float, again: np.ndarray, low: float = -np.inf, high: float = np.inf) -> Metric:
    """As far around the value as the middle 95 % of the draws lie around their own mean, cut at the figure's range.

    again: [draws], the figure measured again. Their place is not used: rows drawn twice agree with themselves, which
    lifts every measure of agreement between two partitions.
    """
    below, above = np.quantile(again - again.mean(), [0.025, 0.975])
    return Metric(float(value), float(max(low, value + min(below, 0))), float(min(high, value + max(above, 0))))


def jackknife(statistic: Callable[[Tensor], Tensor], n: int, low: float = -np.inf, high: float = np.inf) -> Metric:
    """Infinitesimal jackknife: the normal interval of a smooth function of row weights, one backward pass in all.

    statistic: weights [n], summing to 1 -> []
    """
    import torch

    weights = torch.full((n,), 1 / n, dtype=torch.float64, requires_grad=True)
    value = statistic(weights)
    (influence,) = torch.autograd.grad(value, weights)
    at = float(value.detach())
    half = Z * float((influence - influence.mean()).square().sum().sqrt()) / n
    return Metric(at, max(low, at - half), min(high, at + half))
