"""The live classifier works within bounds, whatever the labels are: counted, not timed."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salience.evaluation import logistic
from salience.explorer import learning
from salience.explorer.classifier import THREADS
from salience.explorer.learning import CHOOSING, MOST_LEARNT, MOST_WORK, Learner, balanced, rows_within, work
from tests.explorer.conftest import until


def learner(rows: int, dim: int) -> Learner:
    x = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    store = SimpleNamespace(dim=dim, columns=(), vectors=lambda at: x[at], blocks=lambda: iter([x]))
    return Learner(store, SimpleNamespace(n=rows, ids_of=lambda at: [str(row) for row in at]))


@pytest.mark.parametrize(
    ("rows", "dim", "classes", "labelled"),
    [(570, 256, 10, 500), (570, 256, 250, 570), (5500, 16, 2, 5500), (1200, 1500, 3, 1200), (1500, 64, 700, 1500)],
)
def test_a_training_is_bounded_whatever_the_labels(rows, dim, classes, labelled, monkeypatch):
    products, fits = [], []
    cross_entropy, fit = logistic.weighted_cross_entropy, logistic.fit

    def counting(scores, target, weights):
        products.append(scores.numel())
        return cross_entropy(scores, target, weights)

    def counted(x, y, classes, penalty, **options):
        begun = len(products)
        found = fit(x, y, classes, penalty, **options)
        fits.append((len(penalty), x.shape[-2], x.shape[-1], classes, len(products) - begun))
        return found

    monkeypatch.setattr(logistic, "weighted_cross_entropy", counting)
    monkeypatch.setattr("salience.evaluation.head.fit", counted)
    codes = np.full(rows, -1)
    codes[:labelled] = np.arange(labelled) % classes
    learnt = learner(rows, dim).learn(1, [f"c{code:03}" for code in range(classes)], codes)
    assert learnt.head is not None
    assert learnt.labelled == labelled
    spent = sum(count * b * m * c * (2 * d + learning.SOFTMAX) + b * 1.5 * d**3 for b, m, d, c, count in fits)
    assert 0 < spent < 9 * MOST_WORK  # three parts, each with at most three times as many steps as expected
    assert max(count for *_, count in fits) <= 3 * learning.MOST_STEPS


def test_the_rows_that_fit_the_work_are_the_most_that_do():
    for fits, classes, dim in ((1, 10, 256), (CHOOSING, 10, 256), (1, 1000, 64), (5, 3, 4096)):
        most = rows_within(fits, classes, dim)
        assert fits * work(most, classes, dim) <= MOST_WORK
        assert most == MOST_LEARNT or fits * work(most + 1, classes, dim) > MOST_WORK
    assert rows_within(1, 10**9, 256) == 1


def test_where_not_all_are_learnt_from_every_class_is():
    y = np.repeat([0, 1, 2], [900, 90, 10])
    chosen = balanced(y, 60)
    assert np.bincount(y[chosen]).tolist() == [20, 20, 10]
    assert balanced(y, 2000).tolist() == list(range(1000))
    assert np.bincount(y[balanced(y, 2)]).tolist() == [1, 1, 1]


def test_it_learns_on_one_thread(client, monkeypatch):
    used = []

    def learn(self, version, classes, codes):
        used.append(torch.get_num_threads())
        return self.nothing(version)

    monkeypatch.setattr(Learner, "learn", learn)
    client.post("/labels", json={"rows": [0], "label": "0"})
    until(lambda: used)
    assert set(used) == {THREADS} == {1}


def test_the_end_of_the_server_does_not_wait_for_a_training(served, monkeypatch):
    gate, begun = threading.Event(), threading.Event()

    def endless(self, version, classes, codes):
        begun.set()
        gate.wait()
        return self.nothing(version)

    monkeypatch.setattr(Learner, "learn", endless)
    client = served()
    client.post("/labels", json={"rows": [0], "label": "0"})
    until(begun.is_set)
    client.__exit__(None, None, None)  # would wait for ever
    assert not gate.is_set()
    gate.set()


def test_a_request_that_waits_for_a_training_ends_with_the_server(served, monkeypatch):
    from salience.explorer import classifier

    gate = threading.Event()
    monkeypatch.setattr(classifier, "PATIENCE", None)  # it would wait for ever
    monkeypatch.setattr(Learner, "learn", lambda self, *labels: gate.wait() and self.nothing(labels[0]))
    client = served()
    client.post("/labels", json={"rows": [0], "label": "0"})
    answers = []
    asking = threading.Thread(target=lambda: answers.append(client.post("/predict", json={"rows": [1]})), daemon=True)
    asking.start()
    live = client.app.app.state.explorer.classifier
    until(lambda: live._changed._waiters)
    live.close()
    asking.join(600)
    assert answers[0].status_code == 409
    gate.set()


def at_random(rows: int = 300, dim: int = 64, labelled: int = 200):
    codes = np.full(rows, -1)
    codes[:labelled] = np.random.default_rng(1).permutation(np.arange(labelled) % 2)
    return learner(rows, dim).learn(1, ["a", "b"], codes)


def test_labels_at_random_make_it_unsure_and_judged_as_guessing():
    learnt = at_random()
    assert learnt.confidence.mean() < 0.6  # a penalty that was not chosen would let it be sure
    assert learnt.point.judged == "cross-validation"
    assert abs(learnt.point.accuracy - 0.5) < 4 * 0.5 / np.sqrt(200)  # four standard errors
