"""The few-label curve: logistic regression on 1, 2, 5, 10, ... labelled rows per class, over many draws of these rows.

Every representation meets the same draws, so their differences are paired. All draws are fitted at once; with fewer
labelled rows than dimensions the weights lie in the span of the rows, and the fit happens there, exactly.
Confidences are calibrated draw by draw on the labels of the draw alone, by cross-validation (see
evaluation.calibration); with one label per class nothing can be held out, and they stay as they are.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from salience.evaluation.calibration import choose_temperature
from salience.evaluation.linear_probe import UNCHOSEN, Scaling
from salience.evaluation.logistic import Linear, fit

PER_CLASS = (1, 2, 5, 10, 20, 50, 100)
DRAWS, LEAST_DRAWS = 20, 5
FOLDS = 5  # of a draw, for its calibration
ENOUGH = 100  # rows held out, after which no further fold is fitted
USUAL_ROWS = 2_000  # labelled rows in one draw; of more, fewer draws are made
MOST_ROWS = 10_000  # in one draw; beyond, it is no few-label task and the linear probe says it better


def label_counts(labels: np.ndarray) -> list[int]:
    """The numbers of labels per class that most classes can give.  labels: [n] -> e.g. [1, 2, 5, 10]"""
    rows = np.bincount(labels)
    rows = rows[rows > 0]
    return [k for k in PER_CLASS if k == 1 or (k < np.median(rows) and k * len(rows) <= MOST_ROWS)]


def draw_count(rows: int) -> int:
    """How many draws are made of so many labelled rows: their cost grows with the rows, their spread shrinks."""
    return DRAWS if rows <= USUAL_ROWS else max(LEAST_DRAWS, DRAWS * USUAL_ROWS // rows)


def rows_drawn(labels: np.ndarray, per_class: int) -> int:
    """Labelled rows of one draw; a class with fewer rows gives all it has.  labels: [n]"""
    return int(np.minimum(np.unique(labels, return_counts=True)[1], per_class).sum())


def note_draws(labels: np.ndarray) -> list[str]:
    """Where fewer draws are made than usual.  labels: [n] of the training rows"""
    sizes = {k: rows_drawn(labels, k) for k in label_counts(labels)}
    fewer = [
        f"{draw_count(size)} of {size:,} rows at {k} labels per class" for k, size in sizes.items() if size > USUAL_ROWS
    ]
    return [f"few labels: {DRAWS} draws, but {', '.join(fewer)}"] if fewer else []


def draw_labels(labels: np.ndarray, per_class: int, draws: int | None = None, seed: int = 0) -> np.ndarray:
    """Which rows are labelled in each draw; a class with fewer rows gives all it has.  labels: [n] -> [draws m]

    draws: None makes as many as `draw_count` says
    """
    if draws is None:
        draws = draw_count(rows_drawn(labels, per_class))
    generator = np.random.default_rng((seed, per_class))
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.array(
        [np.concatenate([generator.permutation(rows)[:per_class] for rows in members]) for _ in range(draws)]
    )


def few_label_predictions(
    train: Tensor, labels: Tensor, test: Tensor, rows: np.ndarray, classes: int, block: int = 1 << 25
) -> tuple[Tensor, Tensor]:
    """What classifiers trained on each draw's rows alone say of the test rows, and how sure they are.

    train: [n d], labels: [n], test: [t d], rows: [draws m] -> classes [draws t] int64, confidences [draws t]
    """
    scaling = Scaling.of(train)  # of all training rows: their values need no labels
    train, test, picked = scaling(train), scaling(test), torch.from_numpy(rows)
    size = max(1, block // (len(test) * classes))
    temperature = temperatures(train, labels, picked, classes)
    confidence, said = [], []
    for some, divisor in zip(picked.split(size), temperature.split(size), strict=True):
        scores = fit_few(train[some], labels[some], classes).scores(test)  # [draws c t]
        best = (scores / divisor[:, None, None]).softmax(1).max(1)
        confidence.append(best.values)
        said.append(best.indices)
    return torch.cat(said), torch.cat(confidence)


def temperatures(train: Tensor, labels: Tensor, rows: Tensor, classes: int) -> Tensor:
    """Each draw's temperature, from its own labels; 1 where nothing can be held out.

    train: [n d] scaled, labels: [n], rows: [draws m], every draw with the same labels in the same order -> [draws]
    """
    fold = fold_of(labels[rows[0]].numpy())
    count = int(fold.max()) + 1
    if count < 2:
        return train.new_ones(len(rows))
    used = range(min(count, math.ceil(ENOUGH / max(1, (fold == 0).sum()))))  # of many rows the first fold is enough
    scores, truth = [], []
    for at in used:
        held, kept = rows[:, fold == at], rows[:, fold != at]
        scores.append(fit_few(train[kept], labels[kept], classes).scores(train[held]).mT)  # [draws h c]
        truth.append(labels[held])
    folds = judging_folds(torch.cat([torch.full((held.shape[1],), at) for at, held in enumerate(truth)]))
    of_draws = zip(torch.cat(scores, 1), torch.cat(truth, 1), strict=True)
    return train.new_tensor([choose_temperature(held, y, folds) for held, y in of_draws])


def judging_folds(fold: Tensor) -> Tensor:
    """Rows that judge a temperature fitted to the others: a fold of the draw, or, of a single one, each fifth row.

    fold: [m], which fold each row was held out with -> [f m] bool
    """
    if int(fold.max()) == 0:
        fold = torch.arange(len(fold)) % FOLDS
    return fold == torch.arange(int(fold.max()) + 1)[:, None]


def fold_of(y: np.ndarray) -> np.ndarray:
    """Which fold each row is held out with: the rows of a class in turn, -1 for a class of one row.  y: [m] -> [m]"""
    fold = np.full(len(y), -1)
    count = min(FOLDS, int(np.bincount(y).max()))
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        if len(members) > 1:
            fold[members] = np.arange(len(members)) % count
    return fold


def fit_few(x: Tensor, y: Tensor, classes: int, strength: float = UNCHOSEN) -> Linear:
    """One classifier per draw, at a penalty fixed beforehand: there are no labels to choose it with.

    x: [b m d], y: [b m]
    """
    b, m, d = x.shape
    penalty = strength / m
    if m >= d:
        return fit(x, y, classes, x.new_full((b, d), penalty), tolerance=1e-5)
    basis, within = span(x)
    inside = fit(within, y, classes, x.new_full((b, m), penalty), tolerance=1e-5)
    return Linear(inside.weight @ basis.mT, inside.bias)


def span(x: Tensor) -> tuple[Tensor, Tensor]:
    """An orthonormal basis of the rows, and the rows in it.  x: [b m d], m < d -> [b d m], [b m m]"""
    basis, triangle = torch.linalg.qr(x.mT)
    return basis, triangle.mT
