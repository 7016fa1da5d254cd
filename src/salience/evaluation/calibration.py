"""Confidence that is as often right as it says: temperature scaling, and the error that is left.

    p(class) = softmax(scores / temperature)                Guo et al. 2017, https://arxiv.org/abs/1706.04599
    ECE = sum_b n_b / n |accuracy_b - confidence_b|         over equal bins of confidence (section 2 there)

The temperature is the one of least cross-entropy on rows that were held out. Their labels are smoothed as if one row
more were wrong: of few rows that are all right, no confidence of 1 can be concluded (Platt 1999). Few rows can mislead
it: the temperature stays 1 unless a fitted one has the lower log loss on rows that it was not fitted to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15  # as usual
FEWEST = 10  # rows a bin, on average: of few rows in many bins chance alone makes a large error
RANGE = (math.log(0.05), math.log(50.0))  # of temperatures


@dataclass(frozen=True)
class Calibration:
    """How confidences were calibrated.

    temperature: what scores are divided by, 1 where no other one is better on rows it was not fitted to
    before, error: expected calibration error of the held-out rows, as they were and as calibrated without their fold
    rows: how many rows told it
    """

    temperature: float
    before: float
    error: float
    rows: int

    def text(self) -> str:
        """For people, in one sentence."""
        if self.temperature == 1:
            return (
                "confidences are not calibrated (temperature 1): no other one has a lower log loss on the "
                f"{self.rows:,} labelled items, each held out in turn; expected calibration error {self.error:.3f}"
            )
        return (
            f"confidences are calibrated on the {self.rows:,} labelled items, each held out in turn: temperature "
            f"{self.temperature:.2f}, expected calibration error {self.error:.3f}, {self.before:.3f} without"
        )


def calibrate(scores: Tensor, y: Tensor, folds: Tensor) -> Calibration:
    """Fit a temperature to held-out scores, and judge it by folds it was not fitted to.

    scores: [m c], of each row while it was held out; y: [m]; folds: [f m] bool, which rows were held out together
    """
    outside = fit_outside(scores, y, folds)
    before = _error(scores, y)
    if not _better(scores, y, folds, outside):
        return Calibration(1.0, before, before, len(y))
    return Calibration(fit_temperature(scores, y), before, _error(_divided(scores, folds, outside), y), len(y))


def choose_temperature(scores: Tensor, y: Tensor, folds: Tensor) -> float:
    """The fitted temperature, or 1 where that has no higher log loss on rows the fitted one has not seen.

    scores: [m c], of each row while it was held out; y: [m]; folds: [f m] bool
    """
    return fit_temperature(scores, y) if _better(scores, y, folds, fit_outside(scores, y, folds)) else 1.0


def fit_outside(scores: Tensor, y: Tensor, folds: Tensor) -> list[float]:
    """For each fold, the temperature that the rows outside it tell.  -> f values"""
    return [fit_temperature(scores[~fold], y[~fold]) for fold in folds]


def _better(scores: Tensor, y: Tensor, folds: Tensor, outside: list[float]) -> bool:
    """Whether each fold has a lower log loss, in the mean over rows, by the temperature of the rows outside it."""
    return log_loss(_divided(scores, folds, outside), y) < log_loss(scores, y)


def _divided(scores: Tensor, folds: Tensor, temperatures: list[float]) -> Tensor:
    """Each row's scores over the temperature of its fold; 1 for a row in none."""
    divisor = scores.new_ones(len(scores))
    for fold, temperature in zip(folds, temperatures, strict=True):
        divisor[fold] = temperature
    return scores / divisor[:, None]


def log_loss(scores: Tensor, y: Tensor) -> float:
    """Mean over rows of -log p(right class).  scores: [m c], y: [m]"""
    return float(torch.nn.functional.cross_entropy(scores.double(), y))


def _error(scores: Tensor, y: Tensor) -> float:
    confidence, said = scores.softmax(1).max(1)
    return calibration_error(confidence, said == y)


def fit_temperature(scores: Tensor, y: Tensor) -> float:
    """The temperature of least cross-entropy, with labels smoothed by 1 / (n + 2).  scores: [n c] held out, y: [n]"""
    from scipy.optimize import minimize_scalar  # here: it takes a fifth of a second

    scores = scores.double()
    smoothing, others_count = 1 / (len(y) + 2), max(1, scores.shape[1] - 1)
    own = y[:, None]

    def loss(log_temperature: float) -> float:
        log_p = (scores / math.exp(log_temperature)).log_softmax(1)
        right = log_p.gather(1, own)[:, 0]
        others = (log_p.sum(1) - right) / others_count
        return -float(((1 - smoothing) * right + smoothing * others).mean())

    found = minimize_scalar(loss, bounds=RANGE, method="bounded", options={"xatol": 1e-4})
    return math.exp(float(found.x))


def calibration_error(confidence: Tensor, right: Tensor) -> float:
    """Expected calibration error, over BINS bins, fewer for few rows.  confidence: [n] in [0, 1], right: [n] bool"""
    bins = max(1, min(BINS, len(right) // FEWEST))
    confidence, right = confidence.double(), right.double()
    at = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)  # (0, 1/bins], (1/bins, 2/bins], ...
    gap = confidence.new_zeros(bins).index_add_(0, at, right - confidence)
    return float(gap.abs().sum() / len(confidence))
