"""Which rows train the probes and which judge them: stratified by class, never through the middle of a group."""

from __future__ import annotations

import warnings

import numpy as np

from salience.errors import UserError

HELD_OUT = 5  # one row in so many


def held_out(labels: np.ndarray, groups: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """A fifth of every class's rows, or of every class as nearly as whole groups allow.

    labels: [n], any integers; groups: [n] or None -> [n] bool
    A class of one row is not held out. Raises UserError where all rows are of one group.
    """
    if groups is not None and len(np.unique(groups)) < len(groups):
        return _whole_groups(labels, groups, seed)
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        share = round(len(rows) / HELD_OUT)
        chosen[rows[: max(share, int(len(rows) > 1))]] = True
    return chosen


def _whole_groups(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold

    count = len(np.unique(groups))
    if count < 2:
        raise UserError("on: all rows belong to one group, which cannot be split; give --test, or leave out --groups")
    folds = StratifiedGroupKFold(min(HELD_OUT, count), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer rows than folds, which are welcome
        _, rows = next(folds.split(np.zeros(len(labels)), _at_least(labels, folds.n_splits), groups))
    chosen = np.zeros(len(labels), bool)
    chosen[rows] = True
    return chosen


def _at_least(labels: np.ndarray, rows: int) -> np.ndarray:
    """scikit-learn refuses when every class has fewer rows than folds; such data are split as if of one class."""
    return labels if np.unique(labels, return_counts=True)[1].max() >= rows else np.zeros_like(labels)


def sample(rows: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """At most so many of the rows, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
