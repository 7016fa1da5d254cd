import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from salience.evaluation.calibration import choose_temperature
from salience.evaluation.few_label import (
    DRAWS,
    draw_labels,
    few_label_predictions,
    fit_few,
    fold_of,
    label_counts,
    note_draws,
    temperatures,
)
from salience.evaluation.linear_probe import UNCHOSEN, Scaling

LABELS = np.repeat(np.arange(4), [30, 30, 30, 3])


def test_a_draw_takes_so_many_of_each_class_and_no_row_twice():
    rows = draw_labels(LABELS, 5)
    assert rows.shape == (DRAWS, 18)
    assert DRAWS >= 20
    for draw in rows:
        assert len(set(draw)) == 18
        np.testing.assert_array_equal(np.bincount(LABELS[draw]), [5, 5, 5, 3])
    assert len({tuple(sorted(draw)) for draw in rows}) == DRAWS
    np.testing.assert_array_equal(rows, draw_labels(LABELS, 5))


def test_every_row_of_a_class_is_drawn_alike():
    drawn = np.bincount(draw_labels(np.zeros(10, int), 5, draws=4000).ravel())
    assert np.abs(drawn / 4000 - 0.5).max() < 0.04


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(LABELS, [1, 2, 5, 10, 20]), (np.arange(3), [1]), (np.repeat([0, 1], 500), [1, 2, 5, 10, 20, 50, 100])],
)
def test_the_curve_ends_where_most_classes_do(labels, expected):
    assert label_counts(labels) == expected


@pytest.mark.parametrize("d", [4, 50])  # fewer dimensions than labelled rows, and more
def test_equals_scikit_learn_draw_by_draw(d):
    generator = torch.Generator().manual_seed(d)
    centres = 0.8 * torch.randn(3, d, generator=generator)
    y = torch.arange(150) % 3
    x = centres[y] + torch.randn(150, d, generator=generator)
    train, test = x[:90], x[90:]
    rows = draw_labels(y[:90].numpy(), 4)
    found, _ = few_label_predictions(train, y[:90], test, rows, 3)
    scaling = Scaling.of(train)
    for at in range(5):
        model = LogisticRegression(C=1 / UNCHOSEN, max_iter=2000, tol=1e-8)
        model.fit(scaling(train)[rows[at]], y[rows[at]])
        agree = (torch.from_numpy(model.predict(scaling(test))) == found[at]).double().mean()
        assert agree >= 0.98


def test_the_span_changes_no_score():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6, 20, generator=generator, dtype=torch.float64), torch.tensor([[0, 1, 2, 0, 1, 2]] * 2)
    found = fit_few(x, y, 3)
    for at in range(2):
        model = LogisticRegression(C=1 / UNCHOSEN, max_iter=5000, tol=1e-10).fit(x[at], y[at])
        scores = found.scores(x)[at].T
        expected = torch.from_numpy(model.decision_function(x[at]))
        torch.testing.assert_close(scores - scores.mean(1, keepdim=True), expected, atol=0.02, rtol=0.02)


def test_blocks_of_draws_change_nothing():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 5, generator=generator), torch.arange(60) % 3
    rows = draw_labels(y.numpy(), 2)
    whole, confidence = few_label_predictions(x, y, x, rows, 3)
    said, sure = few_label_predictions(x, y, x, rows, 3, block=200)
    assert (said == whole).double().mean() > 0.995
    torch.testing.assert_close(sure, confidence, atol=0.01, rtol=0)


def clusters(n=1500, d=40, spread=0.35, classes=4):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    return spread * torch.randn(classes, d, generator=generator)[y] + torch.randn(n, d, generator=generator), y


def test_confidence_is_calibrated_on_the_labels_of_the_draw_alone():
    x, y = clusters(d=100, spread=0.15)
    rows = draw_labels(y[:500].numpy(), 40)
    said, confidence = few_label_predictions(x[:500], y[:500], x[500:], rows, 4)
    right = (said == y[500:]).double().mean()
    scaling = Scaling.of(x[:500])
    raw = fit_few(scaling(x[:500])[torch.from_numpy(rows)], y[:500][torch.from_numpy(rows)], 4).scores(scaling(x[500:]))
    assert raw.softmax(1).amax(1).mean() > right + 0.1  # as it comes: too sure
    assert abs(confidence.mean() - right) < 0.04
    other = y[:500].clone()
    other[np.setdiff1d(np.arange(500), rows)] = 0  # labels outside the draws
    again = few_label_predictions(x[:500], other, x[500:], rows, 4)
    torch.testing.assert_close(again, (said, confidence))


def test_one_label_per_class_leaves_confidence_as_it_is():
    x, y = clusters()
    rows = draw_labels(y[:500].numpy(), 1)
    _, confidence = few_label_predictions(x[:500], y[:500], x[500:], rows, 4)
    scaling, picked = Scaling.of(x[:500]), torch.from_numpy(rows)
    expected = fit_few(scaling(x[:500])[picked], y[:500][picked], 4).scores(scaling(x[500:])).softmax(1).amax(1)
    torch.testing.assert_close(confidence, expected)


def test_folds_hold_out_each_class_in_turn_but_never_its_only_row():
    np.testing.assert_array_equal(fold_of(np.array([0, 0, 0, 1, 2, 2])), [0, 1, 2, -1, 0, 1])
    np.testing.assert_array_equal(np.bincount(fold_of(np.zeros(12, int))), [3, 3, 2, 2, 2])
    assert fold_of(np.arange(3)).max() == -1


@pytest.mark.parametrize(("k", "folds"), [(2, 2), (5, 5), (50, 3), (200, 1)])  # 100 rows held out are enough
def test_a_draw_s_temperature_is_that_of_its_rows_while_held_out(k, folds):
    x, y = clusters(2000)
    rows = torch.from_numpy(draw_labels(y.numpy(), k, draws=2))
    fold = fold_of(y[rows[0]].numpy())
    for at, found in enumerate(temperatures(x, y, rows, 4)):
        scores, truth, judging = [], [], []
        for one in range(folds):
            held, kept = rows[at, fold == one], rows[at, fold != one]
            scores.append(fit_few(x[kept][None], y[kept][None], 4).scores(x[held])[0].T)
            truth.append(y[held])
            judging += [one] * len(held)
        of = torch.tensor(judging if folds > 1 else [row % 5 for row in range(len(judging))])
        judge = torch.stack([of == one for one in range(folds if folds > 1 else 5)])
        assert float(found) == pytest.approx(choose_temperature(torch.cat(scores), torch.cat(truth), judge), rel=0.02)


def test_many_classes_reach_a_hundred_labels_each_in_fewer_draws():
    labels = np.repeat(np.arange(44), 120)
    assert label_counts(labels) == [1, 2, 5, 10, 20, 50, 100]
    assert draw_labels(labels, 20).shape == (20, 880)
    assert draw_labels(labels, 100).shape == (9, 4400)
    assert note_draws(labels) == [
        "few labels: 20 draws, but 18 of 2,200 rows at 50 labels per class, 9 of 4,400 rows at 100 labels per class"
    ]


def test_few_classes_are_drawn_as_ever_and_without_a_note():
    labels = np.repeat(np.arange(20), 120)
    assert label_counts(labels)[-1] == 100
    assert draw_labels(labels, 100).shape == (20, 2000)
    assert note_draws(labels) == []


def test_a_thousand_classes_stay_within_bounds():
    labels = np.repeat(np.arange(1000), 30)
    assert label_counts(labels) == [1, 2, 5, 10]
    assert draw_labels(labels, 10).shape == (5, 10_000)
