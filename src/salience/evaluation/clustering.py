"""Clusters against classes: k-means with as many clusters as classes, fitted on training rows, judged on test rows.

Accuracy under the best one-to-one matching of clusters and classes (Hungarian method), normalised mutual information
(arithmetic mean of the entropies), adjusted Rand index (Hubert & Arabie, https://doi.org/10.1007/BF01908075). All three
are functions of the contingency table, and are computed from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from salience.measures.intervals import Metric, spread

LOWEST = {"accuracy": 0.0, "nmi": 0.0, "ari": -1.0}
Table = np.ndarray  # [clusters classes], how many rows fell where


def cluster(train: np.ndarray, test: np.ndarray, clusters: int, seed: int = 0) -> np.ndarray:
    """k-means on train, the nearest centre for test.  train: [n d], test: [m d] -> [m]"""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(min(clusters, len(train)), n_init=3, max_iter=100, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct rows than clusters: the figures show it
        return means.fit(train).predict(test)


def contingency(found: np.ndarray, labels: np.ndarray) -> Table:
    """found, labels: [n] int -> [clusters classes]"""
    table = np.zeros((found.max() + 1, labels.max() + 1), np.int64)
    np.add.at(table, (found, labels), 1)
    return table


def matched_accuracy(table: Table) -> float:
    """The share of rows in the class their cluster is matched with."""
    from scipy.optimize import linear_sum_assignment

    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def nmi(table: Table) -> float:
    """Mutual information over the mean of the two entropies; 1 where both partitions are trivial."""
    joint = table / table.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    if entropy(rows) + entropy(columns) < 1e-12:
        return 1.0
    information = entropy(rows) + entropy(columns) - entropy(joint)
    return float(max(0.0, 2 * information / (entropy(rows) + entropy(columns))))


def entropy(p: np.ndarray) -> float:
    """In nats, of probabilities of any shape."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def ari(table: Table) -> float:
    """(pairs together in both - expected) / (mean of the pairs together in either - expected)"""
    together, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / max(1.0, pairs(table.sum()))
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def pairs(counts: np.ndarray) -> float:
    """How many pairs can be formed within the groups of these sizes."""
    counts = np.asarray(counts, float)
    return float((counts * (counts - 1) / 2).sum())


def clustering_metrics(found: np.ndarray, labels: np.ndarray, draws: int = 200) -> dict[str, Metric]:
    """found, labels: [n]; intervals: bootstrap over test rows with the clusters as they are"""
    table = contingency(found, labels)
    generator = np.random.default_rng(0)
    again = generator.multinomial(table.sum(), (table / table.sum()).ravel(), draws).reshape(draws, *table.shape)
    measures: dict[str, Callable[[Table], float]] = {"accuracy": matched_accuracy, "nmi": nmi, "ari": ari}
    return {
        name: spread(measure(table), np.array([measure(one) for one in again]), LOWEST[name], 1.0)
        for name, measure in measures.items()
    }
