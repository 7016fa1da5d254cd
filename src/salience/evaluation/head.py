"""A classifier on a few labels of a frozen representation: penalty and scaling chosen by cross-validation.

Chosen by held-out likelihood, not accuracy: its confidences are to be believed. Where a class has a single label
nothing can be held out, and the penalty is the few-label curve's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from salience.evaluation.few_label import span
from salience.evaluation.logistic import Linear, fit
from salience.evaluation.probe import PENALTIES, UNCHOSEN, Scaling

FOLDS = 5


@dataclass(frozen=True)
class Head:
    """A linear classifier.  mean, scale: [d] or [], what features are shifted and divided by"""

    mean: Tensor
    scale: Tensor
    linear: Linear

    def probabilities(self, x: Tensor) -> Tensor:
        """x: [n d] -> [n c]"""
        return self.linear.scores((x - self.mean) / self.scale)[0].softmax(0).T


def fit_head(x: Tensor, rows: Tensor, y: Tensor, classes: int) -> Head:
    """x: [n d] all features, the unlabelled too; rows: [m] the labelled ones; y: [m] in [0, classes)"""
    scaling = Scaling.of(x)
    each = scaling.scale * scaling.variance.clamp(min=1e-6).sqrt()
    folds = make_folds(y.numpy())
    if folds is None:
        return _fit(x[rows], y, classes, scaling.mean, scaling.scale, UNCHOSEN / len(y))
    tried = [(*cross_validate((x[rows] - scaling.mean) / s, y, classes, folds), s) for s in (scaling.scale, each)]
    _, penalty, scale = max(tried, key=lambda one: one[0])
    return _fit(x[rows], y, classes, scaling.mean, scale, penalty)


def make_folds(y: np.ndarray, seed: int = 0) -> Tensor | None:
    """[folds m] bool, which rows each fold holds out, stratified; None where a class has but one row."""
    fewest = int(np.bincount(y).min())
    if fewest < 2:
        return None
    generator, count = np.random.default_rng(seed), min(FOLDS, fewest)
    fold = np.zeros(len(y), int)
    for label in np.unique(y):
        rows = generator.permutation(np.flatnonzero(y == label))
        fold[rows] = np.arange(len(rows)) % count
    return torch.from_numpy(fold == np.arange(count)[:, None])


def cross_validate(x: Tensor, y: Tensor, classes: int, folds: Tensor) -> tuple[float, float]:
    """Best mean held-out log-likelihood, and its penalty.  x: [m d], y: [m], folds: [f m] bool"""
    x = _within(x)[0]
    fitting = (~folds).to(x.dtype)
    fitting = fitting / fitting.sum(1, keepdim=True)
    linear, found = None, []
    for penalty in PENALTIES:
        strength = x.new_full((len(folds), x.shape[1]), penalty)
        linear = fit(x, y, classes, strength, weights=fitting, start=linear, tolerance=1e-5)
        likelihood = linear.scores(x).log_softmax(1)[:, y, torch.arange(len(y))]  # [f m]
        found.append((float(likelihood[folds].mean()), penalty))
    return max(found)


def _fit(x: Tensor, y: Tensor, classes: int, mean: Tensor, scale: Tensor, penalty: float) -> Head:
    within, basis = _within((x - mean) / scale)
    linear = fit(within, y, classes, x.new_full((1, within.shape[1]), penalty))
    return Head(mean, scale, linear if basis is None else Linear(linear.weight @ basis.T, linear.bias))


def _within(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Fewer rows than dimensions: the rows in a basis of their span, [m m] and [d m]; else the rows themselves."""
    if len(x) >= x.shape[1]:
        return x, None
    basis, within = span(x[None])
    return within[0], basis[0]
