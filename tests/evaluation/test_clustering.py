from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics

from salience.evaluation.clustering import ari, cluster, clustering_metrics, contingency, matched_accuracy, nmi

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 4, 200)
CASES = [
    np.where(GENERATOR.random(200) < 0.6, (LABELS + 1) % 4, GENERATOR.integers(0, 4, 200)),
    GENERATOR.integers(0, 3, 200),
    GENERATOR.integers(0, 7, 200),
    (LABELS + 2) % 4,
    np.zeros(200, int),
]


@pytest.mark.parametrize("found", CASES)
def test_nmi_and_ari_equal_scikit_learn(found):
    table = contingency(found, LABELS)
    assert nmi(table) == pytest.approx(metrics.normalized_mutual_info_score(LABELS, found), abs=1e-12)
    assert ari(table) == pytest.approx(metrics.adjusted_rand_score(LABELS, found), abs=1e-12)


def test_accuracy_is_that_of_the_best_matching():
    found = CASES[0]
    best = max(np.mean(np.array(matching)[found] == LABELS) for matching in permutations(range(4)))
    assert matched_accuracy(contingency(found, LABELS)) == pytest.approx(best)


def test_no_class_is_matched_twice():
    table = np.array([[50, 0], [50, 0]])  # two clusters of the one class
    assert matched_accuracy(table) == 0.5


def test_one_cluster_of_one_class_is_perfect():
    table = contingency(np.zeros(5, int), np.zeros(5, int))
    assert (nmi(table), ari(table), matched_accuracy(table)) == (1.0, 1.0, 1.0)


def test_kmeans_finds_clusters_in_rows_it_has_not_seen():
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    y = np.arange(90) % 3
    x = (centres[y] + np.random.default_rng(0).normal(size=(90, 2))).astype(np.float32)
    found = clustering_metrics(cluster(x[:60], x[60:], 3), y[60:])
    assert {name: metric.value for name, metric in found.items()} == {"accuracy": 1.0, "nmi": 1.0, "ari": 1.0}


def test_interval_is_the_bootstraps():
    found = clustering_metrics(CASES[0], LABELS)["accuracy"]
    generator = np.random.default_rng(5)
    again = []
    for _ in range(300):
        rows = generator.integers(0, 200, 200)
        again.append(matched_accuracy(contingency(CASES[0][rows], LABELS[rows])))
    np.testing.assert_allclose((found.low, found.high), np.quantile(again, [0.025, 0.975]), atol=0.02)


def test_intervals_of_clusters_are_of_200_draws(monkeypatch):
    from salience.evaluation import clustering

    asked, plain = [], clustering.nmi
    monkeypatch.setattr(clustering, "nmi", lambda table: asked.append(table.sum()) or plain(table))
    clustering.clustering_metrics(np.arange(30) % 3, np.arange(30) % 2)
    assert asked == [30] * 201  # and the rows themselves
