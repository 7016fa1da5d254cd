"""The regression probe: how much of a quantity ridge regression finds in the frozen features.

    minimise  mean_i (y_i - w x_i - b)^2 + penalty |w|^2,      R² = 1 - sum_i (y_i - said_i)^2 / sum_i (y_i - mean y)^2

(Hoerl & Kennard 1970, https://doi.org/10.1080/00401706.1970.10488634) on the features as they are and standardised
per dimension; five-fold cross-validation on the training rows, whole groups together, chooses scaling and penalty.
R² is 1 for exact predictions and 0 for the mean of the test rows; below 0, that mean is the better prediction.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import LinAlgWarning

from salience.evaluation.linear_probe import Scaling
from salience.evaluation.split import sample
from salience.measures.intervals import Metric, spread

PENALTIES = tuple(10.0 ** (half / 2) for half in range(4, -15, -1))  # 100 ... 1e-7, for features of unit mean variance
FOLDS = 5
SAMPLE = 5_000  # rows that choose scaling and penalty
BINS = 10  # of the target, by which a split is stratified; fewer where each would have less than FEWEST rows
FEWEST = 5
DRAWS = 1_000  # of the test rows, for intervals
Folds = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Ridge:
    """A fitted probe, and what cross-validation chose.

    weight: [d];  offset: the prediction at the scaled origin
    penalty: on the mean squared error's scale;  score: cross-validated R² of the choice
    """

    scaling: Scaling
    scale: np.ndarray
    weight: np.ndarray
    offset: float
    penalty: float
    standardised: bool
    score: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: [n d] -> [n]"""
        return (x - self.scaling.mean.numpy()) / self.scale @ self.weight + self.offset


def fit_ridge(x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Ridge:
    """Choose scaling and penalty by cross-validation on at most SAMPLE rows, then fit all rows.

    x: [n d], y: [n] float64; groups: [n] or None
    """
    from sklearn.linear_model import Ridge as Fitted

    scaling = Scaling.of(torch.from_numpy(np.ascontiguousarray(x, np.float64)))
    overall = scaling.scale.numpy()
    each = overall * scaling.variance.clamp(min=1e-6).sqrt().numpy()
    rows = sample(np.arange(len(x)), SAMPLE)
    folds = make_folds(y[rows], None if groups is None else groups[rows])
    centred = x - scaling.mean.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # weak penalties are tried, and lose where they fit badly
        tried = [(*choose_penalty(centred[rows] / scale, y[rows], folds), scale) for scale in (overall, each)]
        error, penalty, scale = min(tried, key=lambda one: one[0])
        final = Fitted(penalty * len(x)).fit(centred / scale, y)
    score = 1 - error / max(float(y[rows].var()), 1e-300)
    return Ridge(scaling, scale, final.coef_, float(final.intercept_), penalty, scale is each, score)


def choose_penalty(z: np.ndarray, y: np.ndarray, folds: Folds) -> tuple[float, float]:
    """Least cross-validated mean squared error, and its penalty.  z: [n d] scaled, y: [n]"""
    from sklearn.linear_model import RidgeCV

    chosen = RidgeCV(np.array(PENALTIES) * len(z), cv=folds, scoring="neg_mean_squared_error").fit(z, y)
    return -float(chosen.best_score_), float(chosen.alpha_) / len(z)


def make_folds(y: np.ndarray, groups: np.ndarray | None) -> Folds:
    """(rows to fit, rows to judge) of each fold, whole groups together.  y: [n] -> at most FOLDS pairs of [.] rows"""
    from sklearn.model_selection import GroupKFold, KFold

    if groups is not None and 1 < (count := len(np.unique(groups))) < len(groups):
        return list(GroupKFold(min(FOLDS, count), shuffle=True, random_state=0).split(y, groups=groups))
    return list(KFold(min(FOLDS, len(y)), shuffle=True, random_state=0).split(y))


def strata(values: np.ndarray) -> np.ndarray:
    """Which tenth of the values each belongs to, a larger share of few values; equal ones together.

    values: [n] -> [n] int
    """
    bins = min(BINS, max(1, len(values) // FEWEST))
    edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(np.unique(edges), values, side="right")


def r_squared(truth: np.ndarray, said: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """R², once or for many weightings of the rows; NaN where the weighted truths do not differ.

    truth, said: [m]; weights: [... m], equal by default -> [...]
    """
    weights = np.ones(len(truth)) if weights is None else weights
    total = weights.sum(-1)
    around = weights @ truth**2 - (weights @ truth) ** 2 / total
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(around > 1e-12 * total, 1 - weights @ (truth - said) ** 2 / around, np.nan)


def redrawn(truth: np.ndarray, said: np.ndarray, seed: int = 0) -> tuple[float, np.ndarray]:
    """R², and R² of the test rows drawn anew DRAWS times, the same draws for every representation.

    truth, said: [m] -> value, [draws], NaN where a draw has one value alone
    """
    centred, said = truth - truth.mean(), said - truth.mean()  # squares of far values would lose their digits
    counts = np.random.default_rng(seed).multinomial(len(truth), np.full(len(truth), 1 / len(truth)), DRAWS)
    return float(r_squared(centred, said)), r_squared(centred, said, counts.astype(float))


def r2_metric(truth: np.ndarray, said: np.ndarray) -> Metric:
    """R² with its bootstrap interval over test rows.  truth, said: [m]"""
    value, again = redrawn(truth, said)
    return spread(value, again[np.isfinite(again)], high=1.0)


def r2_gain(truth: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> Metric:
    """How much higher our R² is, over the same draws of test rows.  [m] each"""
    (value, again), (other, other_again) = redrawn(truth, ours), redrawn(truth, theirs)
    difference = again - other_again
    return spread(value - other, difference[np.isfinite(difference)])
