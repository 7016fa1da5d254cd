"""The live classifier works within bounds, whatever the labels are: counted, not timed."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salience.evaluation import logistic
from salience.evaluation.head import choose, fit_chosen
from salience.evaluation.linear_probe import PENALTIES, Scaling
from salience.explorer import learning
from salience.explorer.classifier import THREADS
from salience.explorer.learning import (
    CHOOSING,
    MOST_LEARNT,
    MOST_WORK,
    Learner,
    balance_classes,
    estimate_work,
    rows_within,
)
from salience.measures import intervals
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
        assert fits * estimate_work(most, classes, dim) <= MOST_WORK
        assert most == MOST_LEARNT or fits * estimate_work(most + 1, classes, dim) > MOST_WORK
    assert rows_within(1, 10**9, 256) == 1


def test_where_not_all_are_learnt_from_every_class_is():
    y = np.repeat([0, 1, 2], [900, 90, 10])
    chosen = balance_classes(y, 60)
    assert np.bincount(y[chosen]).tolist() == [20, 20, 10]
    assert balance_classes(y, 2000).tolist() == list(range(1000))
    assert np.bincount(y[balance_classes(y, 2)]).tolist() == [1, 1, 1]


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


def test_a_class_without_an_item_here_shifts_no_name():
    """Labels of items that are no longer in the store have a class, and no row."""
    codes = np.full(300, -1)
    codes[:40] = np.where(np.arange(40) % 2, 2, 0)
    one = learner(300, 8)
    one.store.vectors = lambda at: np.eye(8, dtype=np.float32)[codes[np.asarray(at)] + 1]
    one.store.blocks = lambda: iter([one.store.vectors(np.arange(300))])
    learnt = one.learn(1, ["a", "gone", "z"], codes)
    assert learnt.classes == ("a", "z")
    assert [learnt.classes[code] for code in learnt.predicted[:4]] == ["a", "z", "a", "z"]


def test_of_items_that_are_all_alike_one_is_asked_for():
    """Thirty different items, each ten times: the 24 suggestions are of 24 of them."""
    x = np.repeat(np.random.default_rng(0).normal(size=(30, 6)), 10, axis=0).astype(np.float32)
    store = SimpleNamespace(dim=6, columns=(), vectors=lambda at: x[at], blocks=lambda: iter([x]))
    codes = np.full(300, -1)
    codes[[0, 10, 20, 30]] = [0, 1, 0, 1]
    one = Learner(store, SimpleNamespace(n=300, ids_of=lambda at: [str(row) for row in at]))
    suggested = [suggestion.row for suggestion in one.learn(1, ["a", "b"], codes).suggestions]
    assert len(suggested) == 24
    assert len({row // 10 for row in suggested}) == 24


def test_while_it_learns_from_new_labels_old_predictions_are_no_answer(client, monkeypatch):
    from salience.explorer import classifier

    client.post("/labels", json={"rows": [0], "label": "0"})
    client.post("/labels", json={"rows": [1], "label": "1"})
    assert client.post("/predict", json={"rows": [2]}).status_code == 200
    gate, learn = threading.Event(), Learner.learn
    monkeypatch.setattr(classifier, "PATIENCE", 0.0)
    monkeypatch.setattr(Learner, "learn", lambda self, *given: gate.wait(600) and learn(self, *given))
    client.post("/labels", json={"rows": [3], "label": "1"})
    answer = client.post("/predict", json={"rows": [2]})
    assert answer.json() == {"error": "labels: the classifier is still training; repeat the request later"}
    assert answer.status_code == 409
    assert client.get("/labels/export", params={"what": "predictions"}).status_code == 409
    gate.set()


def test_every_labelled_item_is_judged_in_turn():
    """Cross-validation is over all folds: its interval is that of all labelled items."""
    point = at_random(labelled=60).point
    assert point.accuracy * 60 == pytest.approx(round(point.accuracy * 60))
    found = intervals.accuracy(np.arange(60) < round(point.accuracy * 60))
    assert (point.low, point.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("seed", [0, 7])  # with the latter the penalties between or more folds choose another one
def test_the_penalty_is_the_best_of_a_range(seed):
    """The classifier is that of the held-out choice, which is at neither end of the range."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(200) % 2
    x = torch.randn(200, 12, generator=generator) + y[:, None] * torch.tensor([1.0] * 4 + [0.0] * 8)
    store = SimpleNamespace(dim=12, columns=(), vectors=lambda at: x.numpy()[at], blocks=lambda: iter([x.numpy()]))
    one = Learner(store, SimpleNamespace(n=200, ids_of=lambda at: [str(row) for row in at]))
    learnt = one.learn(1, ["a", "b"], np.where(np.arange(200) < 60, y.numpy(), -1))
    tried = PENALTIES[::2]
    chosen = choose(Scaling.of(x), x[:60], y[:60], 2, folds=3, penalties=tried, steps=30)
    assert tried[-1] < chosen.strength / 60 < tried[0]
    probabilities = fit_chosen(x[:60], y[:60], 2, chosen, 30).probabilities(x)
    np.testing.assert_allclose(learnt.confidence, probabilities.amax(1), atol=1e-4)
    np.testing.assert_array_equal(learnt.predicted, probabilities.argmax(1))
