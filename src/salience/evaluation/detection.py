"""Detection: does a score put what is strange above what is ordinary? AUROC, with an interval that is never a point.

AUROC is the chance that a strange item scores above an ordinary one (a tie counts half). Its interval is Newcombe's
fifth, https://doi.org/10.1002/sim.2324: like Wilson's for a proportion, the values t with |t - AUROC| <= 1.96 s(t),

    s(t)^2 = t (1 - t) (1 + ((m + n) / 2 - 1) ((1 - t) / (2 - t) + t / (1 + t))) / (m n)

of m strange and n ordinary items, so that it stays honest where every strange item came out on top.
"""

from __future__ import annotations

import numpy as np

from salience.measures.intervals import Metric, Z


def auroc(scores: np.ndarray, strange: np.ndarray) -> Metric:
    """scores: [n], higher is stranger;  strange: [n] bool, with items of both kinds"""
    from sklearn.metrics import roc_auc_score

    m, n = int(strange.sum()), int((~strange).sum())
    value = float(roc_auc_score(strange, scores))
    return Metric(value, _limit(value, 0.0, m, n), _limit(value, 1.0, m, n))


def _limit(value: float, end: float, m: int, n: int) -> float:
    """Where the interval ends between the value and this end of the range."""

    from scipy.optimize import brentq

    def excess(t: float) -> float:
        middling = (m + n) / 2 - 1
        variance = t * (1 - t) * (1 + middling * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)
        return (t - value) ** 2 - Z**2 * variance

    return end if value == end else float(brentq(excess, value + (end - value) * 1e-9, end))
