"""A classifier on frozen embeddings, from the labels there are: what it says of every item, how good it is, what to
label next.

What it asks for are the least certain items, by the margin between the two likeliest classes (Scheffer et al. 2001,
https://doi.org/10.1007/3-540-44816-0_31), spread over groups of alike ones (Zhdanov 2019,
https://arxiv.org/abs/1901.05954): one of each group, so that they are not all the same question.
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

SAMPLE = 20_000  # items that tell how features are distributed; their labels are not needed
MOST_LEARNT = 5_000  # labelled items a classifier is fitted to; beyond, equally many of each class
MOST_WORK = 1.5e9  # multiply-adds of each of the three parts of a training: choose, fit, judge; a part of a second
EXPECTED_STEPS, MOST_STEPS = 10, 30  # iterations of a fit
SOFTMAX = 40  # multiply-adds that an entry of it is worth
FOLDS = 3  # of the cross-validation that chooses
TRIED = PENALTIES[::2]  # penalties
CHOOSING = 2 * FOLDS * len(TRIED)  # fits that choose: two scalings, each fold, each penalty
SUGGESTED, UNCERTAIN = 24, 10  # items to label next, chosen among so many times as many of the least certain
Judged = Literal["source labels", "cross-validation"]


@dataclass(frozen=True, eq=False)
class Learnt:
    """What one training gave.

    version, labelled: of the labels;  head: None where there are not two classes
    predicted: [n] codes of classes, MISSING where there is no head;  confidence: [n] float32, NaN there
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
class Verdict:
    """How predictions compare with what is known.  truth, said: [m] names"""

    truth: np.ndarray
    said: np.ndarray
    judged: Judged

    def point(self, labelled: int) -> CurvePoint:
        found = intervals.accuracy(self.truth == self.said)
        return CurvePoint(labelled=labelled, accuracy=found.value, low=found.low, high=found.high, judged=self.judged)

    def confused(self, names: Sequence[str]) -> str:
        """The mistake that is made most often, as a sentence. A class that was not named cannot be told yet."""
        wrong = (self.truth != self.said) & np.isin(self.truth, names)
        if not wrong.any():
            return ""
        pairs = Counter(zip(self.truth[wrong].tolist(), self.said[wrong].tolist(), strict=True))
        truth, said = min(pairs, key=lambda pair: (-pairs[pair], pair))
        of = int((self.truth == truth).sum())
        return f"Most often mistaken: {truth} for {said}, {pairs[truth, said]:,} of {of:,}."


class Learner:
    """Trains for one state of the labels after the other, on the items of a store."""

    def __init__(self, store: Store, items: Items):
        self.store = store
        self.items = items

    @cached_property
    def sample(self) -> Tensor:
        """[<= SAMPLE d], of all items"""
        rows = np.arange(self.items.n)
        if self.items.n > SAMPLE:
            rows = np.sort(np.random.default_rng(0).choice(self.items.n, SAMPLE, replace=False))
        return torch.tensor(self.store.vectors(rows))

    @cached_property
    def source(self) -> tuple[np.ndarray, frozenset[str]]:
        """What the source calls each item, [n] object with None; and all these names."""
        if "label" not in self.store.columns:
            return np.full(self.items.n, None, object), frozenset()
        labels = self.store.column("label")
        if labels.dtype != object:  # numbers; a class that is counted is called as it is written
            labels = np.array([None if np.isnan(one) else f"{one:g}" for one in labels], object)
        return labels, frozenset(name for name in pd.unique(labels) if name is not None)

    def nothing(self, version: int, labelled: int = 0, classes: Sequence[str] = ()) -> Learnt:
        n = self.items.n
        return Learnt(
            version, labelled, tuple(classes), None, np.full(n, MISSING, np.uint16), np.full(n, np.nan, np.float32)
        )

    def learn(self, version: int, classes: Sequence[str], codes: np.ndarray) -> Learnt:
        """codes: [n] of classes, -1 where an item has no label by hand"""
        rows = np.flatnonzero(codes >= 0)
        present = np.unique(codes[rows])
        if len(present) < 2:
            return self.nothing(version, len(rows), classes)
        names, y = [classes[code] for code in present], np.searchsorted(present, codes[rows])
        some = balanced(y, min(MOST_LEARNT, rows_within(1, len(names), self.store.dim)))
        x = torch.tensor(self.store.vectors(rows[some]))
        choice = self._choose(x, y[some], len(names))
        head = fit_chosen(x, torch.from_numpy(y[some]), len(names), choice, MOST_STEPS)
        predicted, confidence, margin = self._predictions(head)
        margin[rows] = np.inf  # they are labelled
        verdict = self._judge(names, predicted, rows, (x, y[some]), choice)
        return Learnt(
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
        """Of all items: what features are like needs no labels."""
        return Scaling.of(self.sample)

    def _choose(self, x: Tensor, y: np.ndarray, classes: int) -> Choice:
        """Penalty and scaling, chosen with as many of the rows as the work allows.  x: [m d], y: [m]"""
        some = balanced(y, rows_within(CHOOSING, classes, x.shape[1]))
        few = torch.from_numpy(y[some])
        return choose(self.scaling, x[some], few, classes, folds=FOLDS, penalties=TRIED, steps=MOST_STEPS)

    def _predictions(self, head: Head) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every item: class, confidence, and how far it is ahead of the next class.  [n] each"""
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
        chosen = rows[spread(self.store.vectors(rows), SUGGESTED)]
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
    ) -> Verdict | None:
        """By the source's labels of all other items where these are its classes, else by what is held out in turn.

        rows: [r] labelled items;  learnt: [m d] and [m], those that were learnt from
        """
        x, y = learnt
        labels, known = self.source
        called = np.array(names, object)
        if known.issuperset(names):
            judging = np.array([label is not None for label in labels])
            judging[rows] = False
            if judging.any():
                return Verdict(labels[judging], called[predicted[judging]], "source labels")
        folds = make_folds(y)
        if folds is None:
            return None
        truth, said = [], []
        all_fit = len(y) <= rows_within(len(folds), len(names), x.shape[1])
        for fold in folds.numpy()[: None if all_fit else 1]:
            head = fit_chosen(x[~fold], torch.from_numpy(y[~fold]), len(names), choice, MOST_STEPS)
            truth.append(y[fold])
            said.append(head.probabilities(x[fold]).argmax(1).numpy())
        return Verdict(called[np.concatenate(truth)], called[np.concatenate(said)], "cross-validation")


def work(rows: int, classes: int, dim: int) -> float:
    """Multiply-adds of a fit: EXPECTED_STEPS products with the rows and softmaxes, the factors of one matrix.

    Rows that are fewer than the dimensions are fitted within their span, which is found first.
    """
    within = min(rows, dim)
    step = rows * classes * (2 * within + SOFTMAX)
    span = 2 * rows * rows * dim if rows < dim else 0
    return EXPECTED_STEPS * step + 1.5 * within**3 + span


def rows_within(fits: float, classes: int, dim: int) -> int:
    """The most rows with which so many fits stay within MOST_WORK."""
    low, high = 1, MOST_LEARNT
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits * work(middle, classes, dim) <= MOST_WORK else (low, middle - 1)
    return low


def balanced(y: np.ndarray, most: int = MOST_LEARNT) -> np.ndarray:
    """Which rows to learn from: all, or of every class an equal share.  y: [m] -> [<= m]"""
    if len(y) <= most:
        return np.arange(len(y))
    generator, share = np.random.default_rng(0), max(1, most // len(np.unique(y)))
    members = [generator.permutation(np.flatnonzero(y == label))[:share] for label in np.unique(y)]
    return np.sort(np.concatenate(members))


def spread(x: np.ndarray, count: int) -> np.ndarray:
    """The first of each of `count` groups of alike rows.  [m d], the most wanted first -> [<= count], in that order"""
    if len(x) <= count:
        return np.arange(len(x))
    groups = fcluster(linkage(x.astype(np.float64), "ward"), count, "maxclust")
    return np.sort(np.unique(groups, return_index=True)[1])


def curve_with(curve: Mapping[int, CurvePoint], learnt: Learnt) -> dict[int, CurvePoint]:
    """The few-label curve with one more point; what was learnt from labels since taken away is forgotten."""
    before = {labelled: point for labelled, point in curve.items() if labelled < learnt.labelled}
    return before if learnt.point is None else {**before, learnt.labelled: learnt.point}
