"""A classifier on a few labels of a frozen representation: penalty and scaling chosen by cross-validation.

Chosen by held-out likelihood, not accuracy: its confidences are to be believed. They are calibrated on the same
held-out rows where that makes them better (see evaluation.calibration). Where a class has a single label nothing can be
held out: the penalty is the few-label curve's, and confidences are not calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from salience.evaluation.calibration import Calibration, calibrate
from salience.evaluation.few_label import span
from salience.evaluation.linear_probe import PENALTIES, UNCHOSEN, Scaling
from salience.evaluation.logistic import Linear, fit

FOLDS = 5
STEPS = 100  # iterations of one fit, at most


@dataclass(frozen=True)
class Head:
    """A linear classifier.

    mean, scale: [d] or [], what features are shifted and divided by
    calibration: of its confidences, None where nothing could be held out
    """

    mean: Tensor
    scale: Tensor
    linear: Linear
    calibration: Calibration | None = None

    def probabilities(self, x: Tensor) -> Tensor:
        """x: [n d] -> [n c]"""
        temperature = 1.0 if self.calibration is None else self.calibration.temperature
        return (self.linear.scores((x - self.mean) / self.scale)[0] / temperature).softmax(0).T


@dataclass(frozen=True)
class Choice:
    """How a head is fitted.

    mean, scale: [d] or [], what features are shifted and divided by;  strength: the penalty times the labelled rows
    calibration: of the confidences, where cross-validation could find one
    """

    mean: Tensor
    scale: Tensor
    strength: float
    calibration: Calibration | None = None


def fit_head(x: Tensor, rows: Tensor, y: Tensor, classes: int) -> Head:
    """x: [n d] all features, the unlabelled too; rows: [m] the labelled ones; y: [m] in [0, classes)"""
    return fit_chosen(x[rows], y, classes, choose(Scaling.of(x), x[rows], y, classes))


def choose(
    scaling: Scaling,
    x: Tensor,
    y: Tensor,
    classes: int,
    *,
    folds: int = FOLDS,
    penalties: Sequence[float] = PENALTIES,
    steps: int = STEPS,
) -> Choice:
    """Choose penalty and scaling by cross-validation; the penalty is fixed where a class has but one row.

    scaling: of all features;  x: [m d] labelled rows, y: [m] in [0, classes)
    steps: iterations that a fit may take
    """
    held_out = make_folds(y.numpy(), most=folds)
    if held_out is None:
        return Choice(scaling.mean, scaling.scale, UNCHOSEN)
    each = scaling.scale * scaling.variance.clamp(min=1e-6).sqrt()
    tried = []
    for scale in (scaling.scale, each):
        tried.append((cross_validate((x - scaling.mean) / scale, y, classes, held_out, penalties, steps), scale))
    best, scale = max(tried, key=lambda one: one[0].likelihood)
    return Choice(scaling.mean, scale, best.penalty * len(y), calibrate(best.scores, y, held_out))


def fit_chosen(x: Tensor, y: Tensor, classes: int, choice: Choice, steps: int = STEPS) -> Head:
    """x: [m d], y: [m] in [0, classes)"""
    within, basis = _within((x - choice.mean) / choice.scale)
    penalty = x.new_full((1, within.shape[1]), choice.strength / len(y))
    linear = fit(within, y, classes, penalty, steps=steps)
    whole = linear if basis is None else Linear(linear.weight @ basis.T, linear.bias)
    return Head(choice.mean, choice.scale, whole, choice.calibration)


def make_folds(y: np.ndarray, seed: int = 0, most: int = FOLDS) -> Tensor | None:
    """[folds m] bool, which rows each fold holds out, stratified; None where a class has but one row."""
    fewest = int(np.bincount(y).min())
    if fewest < 2:
        return None
    generator, count = np.random.default_rng(seed), min(most, fewest)
    fold = np.zeros(len(y), int)
    for label in np.unique(y):
        rows = generator.permutation(np.flatnonzero(y == label))
        fold[rows] = np.arange(len(rows)) % count
    return torch.from_numpy(fold == np.arange(count)[:, None])


@dataclass(frozen=True)
class CrossValidated:
    """The best mean held-out log-likelihood, its penalty, and what each row got while it was held out, [m c]."""

    likelihood: float
    penalty: float
    scores: Tensor


def cross_validate(
    x: Tensor,
    y: Tensor,
    classes: int,
    folds: Tensor,
    penalties: Sequence[float] = PENALTIES,
    steps: int = STEPS,
) -> CrossValidated:
    """Try all penalties.  x: [m d], y: [m], folds: [f m] bool"""
    x = _within(x)[0]
    fitting = (~folds).to(x.dtype)
    fitting = fitting / fitting.sum(1, keepdim=True)
    linear, best = None, None
    for penalty in penalties:
        strength = x.new_full((len(folds), x.shape[1]), penalty)
        linear = fit(x, y, classes, strength, weights=fitting, start=linear, tolerance=1e-5, steps=steps)
        scores = linear.scores(x)  # [f c m]
        likelihood = float(scores.log_softmax(1)[:, y, torch.arange(len(y))][folds].mean())
        if best is None or likelihood >= best.likelihood:
            best = CrossValidated(likelihood, penalty, (scores * folds[:, None]).sum(0).T)
    assert best is not None
    return best


def _within(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Fewer rows than dimensions: the rows in a basis of their span, [m m] and [d m]; else the rows themselves."""
    if len(x) >= x.shape[1]:
        return x, None
    basis, within = span(x[None])
    return within[0], basis[0]
