"""Confidence that is as often right as it says: temperature scaling, and the error that is left.

    p(class) = softmax(scores / temperature)                Guo et al. 2017, https://arxiv.org/abs/1706.04599
    ECE = sum_b n_b / n |accuracy_b - confidence_b|         over equal bins of confidence (section 2 there)

The temperature is the one of least cross-entropy on rows that were held out. Their labels are smoothed as if one row
more were wrong: of few rows that are all right, no confidence of 1 can be concluded (Platt 1999).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

BINS = 15  # as usual
FEWEST = 10  # rows a bin, on average: of few rows in many bins chance alone makes a large error
RANGE = (math.log(0.05), math.log(50.0))  # of temperatures


@dataclass(frozen=True)
class Calibration:
    """How confidences were calibrated.

    temperature: what scores are divided by
    before, error: expected calibration error of the held-out rows, as they were and as calibrated without their fold
    rows: how many rows told it
    """

    temperature: float
    before: float
    error: float
    rows: int

    def text(self) -> str:
        """For people, in one sentence."""
        return (
            f"confidences are calibrated on the {self.rows:,} labelled items, each held out in turn: temperature "
            f"{self.temperature:.2f}, expected calibration error {self.error:.3f}, {self.before:.3f} without"
        )


def calibrate(scores: Tensor, y: Tensor, folds: Tensor) -> Calibration:
    """Fit a temperature to held-out scores, and judge it by folds it was not fitted to.

    scores: [m c], of each row while it was held out; y: [m]; folds: [f m] bool, which rows were held out together
    """
    error = {}
    for name, temperatures in (("before", [1.0] * len(folds)), ("error", _temperatures(scores, y, folds))):
        divided = scores / (torch.tensor(temperatures, dtype=scores.dtype) @ folds.to(scores.dtype))[:, None]
        confidence, said = divided.softmax(1).max(1)
        error[name] = calibration_error(confidence, said == y)
    return Calibration(fit_temperature(scores, y), error["before"], error["error"], len(y))


def _temperatures(scores: Tensor, y: Tensor, folds: Tensor) -> list[float]:
    """For each fold, the temperature that the rows outside it tell.  -> f values"""
    return [fit_temperature(scores[~fold], y[~fold]) for fold in folds]


def fit_temperature(scores: Tensor, y: Tensor) -> float:
    """The temperature of least cross-entropy, with labels smoothed by 1 / (n + 2).  scores: [n c] held out, y: [n]"""
    scores = scores.double()
    smoothing = 1 / (len(y) + 2)

    def loss(log_temperature: float) -> float:
        log_p = (scores / math.exp(log_temperature)).log_softmax(1)
        right = log_p[torch.arange(len(y)), y]
        others = (log_p.sum(1) - right) / max(1, scores.shape[1] - 1)
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
