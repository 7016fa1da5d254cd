"""The linear probe: how much of the classes a linear classifier finds in the frozen features.

Multinomial logistic regression along a path of penalties, strong to weak, each started where the last ended, on the
features as they are and standardised per dimension; a validation split of the training rows chooses between them by
accuracy, and the winner is fitted again on all training rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from salience.evaluation.logistic import Linear, Precondition, fit, second_moments

PENALTIES = tuple(10.0 ** (-half / 2) for half in range(15))  # 1 ... 1e-7, for features of unit mean variance
UNCHOSEN = 3.0  # penalty times rows, where none are left to choose it; digits and CIFAR-10 are flat from 0.3 to 30
CHOOSING = 1e-4  # of the loss: enough to tell penalties apart
SHARED = 3  # penalties in a row that share a preconditioner
PATIENCE = 3  # penalties without a better mark, after which the path has passed its best
SAMPLE = 10_000  # rows that walk the whole path; where there are more, all walk the part around its best
FINE = (10**0.25, 10**-0.25, 10**-0.75)  # times the penalty that was best with a sample


@dataclass(frozen=True)
class Scaling:
    """Centre each dimension, bring the mean variance to 1; `variance` [d] is what each dimension then has."""

    mean: Tensor
    scale: Tensor
    variance: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Scaling:
        """x: [n d]"""
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        average = variance.mean().clamp(min=1e-20)
        return cls(mean, average.sqrt(), variance / average)

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale

    def penalties(self) -> Tensor:
        """What a unit penalty is for features as they are, and for standardised ones.  -> [2 d]"""
        return torch.stack([torch.ones_like(self.variance), self.variance.clamp(min=1e-6)])


@dataclass(frozen=True)
class Probe:
    """A fitted probe, and what the validation split chose."""

    scaling: Scaling
    linear: Linear
    penalty: float
    standardised: bool

    def scores(self, x: Tensor) -> Tensor:
        """Logits.  x: [n d] -> [c n]"""
        return self.linear.scores(self.scaling(x))[0]


def fit_probe(x: Tensor, y: Tensor, classes: int, validation: Tensor) -> Probe:
    """Choose scaling and penalty with the validation rows, then fit on all rows.

    x: [n d], y: [n] int64, validation: [n] bool
    """
    scaling = Scaling.of(x)
    x, unit = scaling(x), scaling.penalties()
    if not validation.any():  # one row a class: there is nothing to choose with
        final = UNCHOSEN / len(x)
        return Probe(scaling, fit(x, y, classes, final * unit[:1]), final, standardised=False)
    rows = (~validation).nonzero()[:, 0]
    few, judging = evenly_spaced(rows, SAMPLE), (x[validation], y[validation])
    moments = second_moments(x[few], x.new_full((len(few),), 1 / len(few)))
    chosen = choose(path(x[few], y[few], classes, unit, moments, PENALTIES), *judging)
    unit = unit[chosen.scaling, None]
    if len(few) < len(rows):
        around = chosen.penalty * len(few) / len(rows)  # it acts against the sum over rows: its share shrinks with them
        fine = path(x[rows], y[rows], classes, unit, moments, [around * step for step in FINE], chosen.linear)
        chosen = replace(choose(fine, *judging), scaling=chosen.scaling)
    final = chosen.penalty * len(rows) / len(x)
    hessian = Precondition(moments, final * unit)
    linear = fit(x, y, classes, final * unit, start=chosen.linear, hessian=hessian, tolerance=1e-5)
    return Probe(scaling, linear, final, bool(chosen.scaling))


@dataclass(frozen=True)
class Chosen:
    """The best of a path: its penalty, its scaling's position, its classifier."""

    penalty: float
    scaling: int
    linear: Linear


def choose(tried: Iterator[tuple[float, Linear]], x: Tensor, y: Tensor) -> Chosen:
    """Follow the path until it has passed its best.  x: [n d], y: [n] the rows that judge"""
    best, chosen, patience = (-1.0, 0.0), None, PATIENCE
    for penalty, linear in tried:
        marks = accuracy_and_likelihood(linear.scores(x), y)
        here = max(range(len(marks)), key=marks.__getitem__)
        patience -= 1
        if marks[here] > best:
            best, patience = marks[here], PATIENCE
            chosen = Chosen(penalty, here, linear[here])
        if not patience:
            break
    assert chosen is not None
    return chosen


def path(
    x: Tensor,
    y: Tensor,
    classes: int,
    unit: Tensor,
    moments: Tensor,
    penalties: Sequence[float],
    start: Linear | None = None,
) -> Iterator[tuple[float, Linear]]:
    """Fits from strong to weak penalties, each from where the last ended.

    x: [n d], y: [n], unit: [b d], moments: of the rows, or of some of them -> penalty, b classifiers
    """
    for at, penalty in enumerate(penalties):
        if at % SHARED == 0:
            hessian = Precondition(moments, penalty * unit)
        start = fit(x, y, classes, penalty * unit, start=start, hessian=hessian, tolerance=CHOOSING)
        yield penalty, start


def accuracy_and_likelihood(scores: Tensor, y: Tensor) -> list[tuple[float, float]]:
    """(accuracy, mean log-likelihood) of each classifier.  scores: [b c n], y: [n]"""
    right = (scores.argmax(1) == y).double().mean(1)
    likelihood = scores.log_softmax(1)[:, y, torch.arange(len(y))].double().mean(1)
    return list(zip(right.tolist(), likelihood.tolist(), strict=True))


def evenly_spaced(rows: Tensor, most: int) -> Tensor:
    """At most so many of the rows, spread evenly over them."""
    return rows if len(rows) <= most else rows[torch.linspace(0, len(rows) - 1, most).long()]
