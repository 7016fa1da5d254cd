"""A classifier on frozen embeddings: its predictions for every item, its accuracy, and items to label next.

The suggested items are the least certain ones, by the margin between the two most likely classes (Scheffer et al. 2001,
https://doi.org/10.1007/3-540-44816-0_31). They are grouped by similarity, and each group contributes one item (Zhdanov
2019, https://arxiv.org/abs/1901.05954), so that the suggestions differ from each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from salience.evaluation.head import Choice, Head, choose, fit_chosen, make_folds
from salience.evaluation.linear_probe import PENALTIES, Scaling
from salience.explorer.answers import CurvePoint, Suggestion
from salience.explorer.items import Items
from salience.explorer.points import MISSING, Encoded, encode_codes
from salience.measures import intervals
from salience.store import Store

SAMPLE = 20_000  # items from which the distribution of features is estimated, without labels
MOST_LEARNT = 5_000  # maximum number of labelled items to train on; above, an equal number per class
MOST_WORK = 1.5e9  # multiply-adds of each part of a training (selection, fit, evaluation); a fraction of a second
EXPECTED_STEPS, MOST_STEPS = 10, 30  # number of iterations of a fit
SOFTMAX = 40  # cost of one entry of a softmax, in multiply-adds
FOLDS = 3  # folds of the cross-validation that selects penalty and scaling
TRIED = PENALTIES[::2]  # penalties that are tried
CHOOSING = 2 * FOLDS * len(TRIED)  # number of fits for the selection: two scalings, each fold, each penalty
SUGGESTED, UNCERTAIN = 24, 10  # number of suggestions; factor for the least certain items they come from
Judged = Literal["source labels", "cross-validation"]


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """The result of one training.

    version, labelled: version and number of the labels;  head: None with fewer than two classes
    predicted: [n] codes of classes, MISSING without a head;  confidence: [n] float32, NaN without a head
    """

    version: int
    labelled: int
    classes: tuple[str, ...]
    head: Head | None
    predicted: np.ndarray
    confidence: np.ndarray
    suggestions: tuple[Suggestion, ...] = ()
    point: CurvePoint | None = None
    confused: str = ""

    def encoded_predictions(self) -> Encoded:
        codes = np.where(self.predicted == MISSING, -1, self.predicted.astype(np.int64))
        return encode_codes(codes, list(self.classes), in_order=True)

    def encoded_confidence(self) -> Encoded:
        missing = int(np.isnan(self.confidence).sum())
        low, high = (None, None) if self.head is None else (0.0, 1.0)
        return Encoded("number", self.confidence, missing=missing, low=low, high=high)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions compared with true labels.  truth, said: [m] names"""

    truth: np.ndarray
    said: np.ndarray
    judged: Judged

    def point(self, labelled: int) -> CurvePoint:
        found = intervals.accuracy(self.truth == self.said)
        return CurvePoint(labelled=labelled, accuracy=found.value, low=found.low, high=found.high, judged=self.judged)

    def confused(self, names: Sequence[str]) -> str:
        """Describe the most common mistake, as a sentence. Classes without labels by hand do not count."""
        wrong = (self.truth != self.said) & np.isin(self.truth, names)
        if not wrong.any():
            return ""
        pairs = Counter(zip(self.truth[wrong].tolist(), self.said[wrong].tolist(), strict=True))
        truth, said = min(pairs, key=lambda pair: (-pairs[pair], pair))
        of = int((self.truth == truth).sum())
        return f"Most common mistake: {truth} classified as {said}, {pairs[truth, said]:,} of {of:,}."


class Learner:
    """Trains a classifier on the items of a store, for successive versions of the labels."""

    def __init__(self, store: Store, items: Items):
        self.store = store
        self.items = items

    @cached_property
    def sample(self) -> Tensor:
        """Return the features of a sample of all items, [<= SAMPLE d]."""
        rows = np.arange(self.items.n)
        if self.items.n > SAMPLE:
            rows = np.sort(np.random.default_rng(0).choice(self.items.n, SAMPLE, replace=False))
        return torch.tensor(self.store.vectors(rows))

    @cached_property
    def source(self) -> tuple[np.ndarray, frozenset[str]]:
        """Return the source's label of each item, [n] object with None, and the set of these labels."""
        if "label" not in self.store.columns:
            return np.full(self.items.n, None, object), frozenset()
        labels = self.store.column("label")
        if labels.dtype != object:  # numbers; a numeric class is named by its number
            labels = np.array([None if np.isnan(one) else f"{one:g}" for one in labels], object)
        return labels, frozenset(name for name in pd.unique(labels) if name is not None)

    def nothing(self, version: int, labelled: int = 0, classes: Sequence[str] = ()) -> TrainingResult:
        n = self.items.n
        return TrainingResult(
            version, labelled, tuple(classes), None, np.full(n, MISSING, np.uint16), np.full(n, np.nan, np.float32)
        )

    def learn(self, version: int, classes: Sequence[str], codes: np.ndarray) -> TrainingResult:
        """Train a classifier.  codes: [n] of classes, -1 if an item has no label by hand"""
        rows = np.flatnonzero(codes >= 0)
        present = np.unique(codes[rows])
        if len(present) < 2:
            return self.nothing(version, len(rows), classes)
        names, y = [classes[code] for code in present], np.searchsorted(present, codes[rows])
        some = balance_classes(y, min(MOST_LEARNT, rows_within(1, len(names), self.store.dim)))
        x = torch.tensor(self.store.vectors(rows[some]))
        choice = self._choose(x, y[some], len(names))
        head = fit_chosen(x, torch.from_numpy(y[some]), len(names), choice, MOST_STEPS)
        predicted, confidence, margin = self._predictions(head)
        margin[rows] = np.inf  # already labelled
        verdict = self._judge(names, predicted, rows, (x, y[some]), choice)
        return TrainingResult(
            version,
            len(rows),
            tuple(names),
            head,
            predicted,
            confidence,
            tuple(self._suggestions(names, predicted, confidence, margin)),
            None if verdict is None else verdict.point(len(rows)),
            "" if verdict is None else verdict.confused(names),
        )

    @cached_property
    def scaling(self) -> Scaling:
        """Return the scaling of features, estimated from all items without labels."""
        return Scaling.of(self.sample)

    def _choose(self, x: Tensor, y: np.ndarray, classes: int) -> Choice:
        """Select penalty and scaling, on as many of the rows as the budget allows.  x: [m d], y: [m]"""
        some = balance_classes(y, rows_within(CHOOSING, classes, x.shape[1]))
        few = torch.from_numpy(y[some])
        return choose(self.scaling, x[some], few, classes, folds=FOLDS, penalties=TRIED, steps=MOST_STEPS)

    def _predictions(self, head: Head) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return for every item: class, confidence, and the margin to the second most likely class.  [n] each"""
        parts = []
        for block in self.store.blocks():
            best = head.probabilities(torch.tensor(block)).topk(2, dim=1)
            first, second = best.values.numpy().T
            parts.append((best.indices[:, 0].numpy().astype(np.uint16), first, first - second))
        predicted, confidence, margin = (np.concatenate(part) for part in zip(*parts, strict=True))
        return predicted, confidence, margin

    def _suggestions(
        self, names: Sequence[str], predicted: np.ndarray, confidence: np.ndarray, margin: np.ndarray
    ) -> list[Suggestion]:
        count = min(SUGGESTED * UNCERTAIN, int(np.isfinite(margin).sum()))
        if not count:
            return []
        rows = np.argpartition(margin, count - 1)[:count]
        rows = rows[np.argsort(margin[rows], kind="stable")]
        chosen = rows[select_diverse(self.store.vectors(rows), SUGGESTED)]
        told = zip(chosen.tolist(), self.items.ids_of(chosen), strict=True)
        return [
            Suggestion(row=row, id=id, label=names[predicted[row]], confidence=float(confidence[row]))
            for row, id in told
        ]

    def _judge(
        self,
        names: Sequence[str],
        predicted: np.ndarray,
        rows: np.ndarray,
        learnt: tuple[Tensor, np.ndarray],
        choice: Choice,
    ) -> Evaluation | None:
        """Evaluate on the source's labels of all other items if the classes are the source's, else by cross-validation.

        rows: [r] labelled items;  learnt: [m d] and [m], the training set
        """
        x, y = learnt
        labels, known = self.source
        called = np.array(names, object)
        if known.issuperset(names):
            judging = np.array([label is not None for label in labels])
            judging[rows] = False
            if judging.any():
                return Evaluation(labels[judging], called[predicted[judging]], "source labels")
        folds = make_folds(y)
        if folds is None:
            return None
        truth, said = [], []
        all_fit = len(y) <= rows_within(len(folds), len(names), x.shape[1])
        for fold in folds.numpy()[: None if all_fit else 1]:
            head = fit_chosen(x[~fold], torch.from_numpy(y[~fold]), len(names), choice, MOST_STEPS)
            truth.append(y[fold])
            said.append(head.probabilities(x[fold]).argmax(1).numpy())
        return Evaluation(called[np.concatenate(truth)], called[np.concatenate(said)], "cross-validation")


def estimate_work(rows: int, classes: int, dim: int) -> float:
    """Estimate the multiply-adds of a fit: EXPECTED_STEPS products and softmaxes, and one matrix factorisation.

    If there are fewer rows than dimensions, the fit is restricted to the span of the rows, which is computed first.
    """
    within = min(rows, dim)
    step = rows * classes * (2 * within + SOFTMAX)
    span = 2 * rows * rows * dim if rows < dim else 0
    return EXPECTED_STEPS * step + 1.5 * within**3 + span


def rows_within(fits: float, classes: int, dim: int) -> int:
    """Return the largest number of rows for which this many fits stay within MOST_WORK."""
    low, high = 1, MOST_LEARNT
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits * estimate_work(middle, classes, dim) <= MOST_WORK else (low, middle - 1)
    return low


def balance_classes(y: np.ndarray, most: int = MOST_LEARNT) -> np.ndarray:
    """Select the rows to train on: all, or an equal number per class.  y: [m] -> [<= m]"""
    if len(y) <= most:
        return np.arange(len(y))
    generator, share = np.random.default_rng(0), max(1, most // len(np.unique(y)))
    members = [generator.permutation(np.flatnonzero(y == label))[:share] for label in np.unique(y)]
    return np.sort(np.concatenate(members))


def select_diverse(x: np.ndarray, count: int) -> np.ndarray:
    """Group similar rows and return the first of each of `count` groups.  [m d], sorted by priority -> [<= count]"""
    if len(x) <= count:
        return np.arange(len(x))
    groups = fcluster(linkage(x.astype(np.float64), "ward"), count, "maxclust")
    return np.sort(np.unique(groups, return_index=True)[1])


def extend_curve(curve: Mapping[int, CurvePoint], learnt: TrainingResult) -> dict[int, CurvePoint]:
    """Add a point to the few-label curve, and drop points with more labels, which have been removed since."""
    before = {labelled: point for labelled, point in curve.items() if labelled < learnt.labelled}
    return before if learnt.point is None else {**before, learnt.labelled: learnt.point}
