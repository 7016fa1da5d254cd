import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from salience.evaluation.few_label import DRAWS, draw_labels, few_label_predictions, fit_few, label_counts
from salience.evaluation.probe import UNCHOSEN, Scaling

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
    found = few_label_predictions(train, y[:90], test, rows, 3)
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
    whole = few_label_predictions(x, y, x, rows, 3)
    assert (few_label_predictions(x, y, x, rows, 3, block=200) == whole).double().mean() > 0.995
