import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from salience.evaluation.calibration import calibrate
from salience.evaluation.head import choose, cross_validate, fit_chosen, fit_head, make_folds
from salience.evaluation.linear_probe import PENALTIES, UNCHOSEN, Scaling


def problem(n=200, d=30, classes=3, spread=0.7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    return spread * torch.randn(classes, d, generator=generator)[y] + torch.randn(n, d, generator=generator), y


def test_folds_hold_every_row_out_once_and_every_class_each_time():
    y = np.repeat([0, 1], [9, 4])
    folds = make_folds(y)
    assert folds.shape == (4, 13)
    assert (folds.sum(0) == 1).all()
    for fold in folds.numpy():
        assert set(y[~fold]) == {0, 1}
        assert set(y[fold]) == {0, 1}
    assert make_folds(np.array([0, 0, 1])) is None


def test_cross_validation_equals_fits_without_the_held_out_rows():
    x, y = problem(24, 4)
    x, folds = x.double(), make_folds(y.numpy())
    found = cross_validate(x, y, 3, folds)
    mark, penalty = found.likelihood, found.penalty
    total = 0.0
    for fold in folds:
        rows = int((~fold).sum())
        model = LogisticRegression(C=1 / (rows * penalty), tol=1e-8, max_iter=2000).fit(x[~fold], y[~fold])
        total += np.log(model.predict_proba(x[fold])[range(int(fold.sum())), y[fold]]).sum()
    assert abs(mark - total / 24) < 5e-3


def test_without_enough_labels_it_is_the_fixed_penalty():
    x, y = problem(90)
    head = fit_head(x, torch.arange(3), y[:3], 3)
    z = Scaling.of(x)(x)
    model = LogisticRegression(C=1 / UNCHOSEN, tol=1e-8).fit(z[:3], y[:3])
    np.testing.assert_allclose(head.probabilities(x), model.predict_proba(z), atol=0.01)


def test_confidence_is_about_as_often_right():
    x, y = problem(3000)
    probability = fit_head(x, torch.arange(60), y[:60], 3).probabilities(x[60:])
    confidence, said = probability.max(1)
    torch.testing.assert_close(probability.sum(1), torch.ones(2940))
    right = (said == y[60:]).float()
    assert right.mean() > 0.85
    assert abs(float(confidence.mean() - right.mean())) < 0.08


def test_confidences_are_those_of_the_scores_over_the_temperature():
    x, y = problem(300, d=40, spread=0.2, classes=4)
    head = fit_head(x, torch.arange(60), y[:60], 4)
    assert head.calibration.temperature > 1.05  # sharpened by few labels in many dimensions
    scores = head.linear.scores((x - head.mean) / head.scale)[0].T
    torch.testing.assert_close(head.probabilities(x), (scores / head.calibration.temperature).softmax(1))


def test_the_temperature_is_fitted_to_scores_of_rows_that_were_held_out():
    x, y = problem(300, d=40, spread=0.2, classes=4)
    few, folds = y[:60], make_folds(y[:60].numpy())
    head = fit_head(x, torch.arange(60), few, 4)
    z = (x[:60] - head.mean) / head.scale
    found = cross_validate(z, few, 4, folds)
    assert head.calibration == calibrate(found.scores, few, folds)
    for fold in folds:  # within the span of the rows, a fit without them
        rows = int((~fold).sum())
        model = LogisticRegression(C=1 / (rows * found.penalty), tol=1e-8, max_iter=2000).fit(z[~fold], few[~fold])
        np.testing.assert_allclose(
            found.scores[fold].softmax(1), model.predict_proba(z[fold]), atol=0.03, err_msg="scores of held-out rows"
        )


def test_the_penalty_of_least_held_out_loss_is_chosen():
    x, y = problem(40, 6)
    folds = make_folds(y.numpy())
    found = cross_validate(x, y, 3, folds)
    loss = {}
    for penalty in PENALTIES:
        total = 0.0
        for fold in folds:
            rows = int((~fold).sum())
            model = LogisticRegression(C=1 / (rows * penalty), tol=1e-6, max_iter=3000).fit(x[~fold], y[~fold])
            total -= np.log(model.predict_proba(x[fold])[range(int(fold.sum())), y[fold]]).sum()
        loss[penalty] = total
    assert found.penalty == min(loss, key=loss.get)
    assert PENALTIES[-1] < found.penalty < PENALTIES[0]


@pytest.mark.parametrize("uneven", [False, True])
def test_the_scaling_of_the_higher_held_out_likelihood_is_chosen_and_its_penalty_kept(uneven):
    """Uneven: one dimension tells the classes, and another, a thousand times as wide, is noise."""
    x, y = problem(90, 6)
    if uneven:
        x[:, 0] = 0.8 * y + torch.randn(90, generator=torch.Generator().manual_seed(1))
        x[:, 1:] = 1000 * torch.randn(90, 5, generator=torch.Generator().manual_seed(2))
    scaling, folds = Scaling.of(x), make_folds(y.numpy())
    each = scaling.scale * scaling.variance.sqrt()
    tried = [(cross_validate((x - scaling.mean) / scale, y, 3, folds), scale) for scale in (scaling.scale, each)]
    best, scale = max(tried, key=lambda one: one[0].likelihood)
    assert abs(tried[0][0].likelihood - tried[1][0].likelihood) > 1e-3
    assert (scale is each) == uneven
    chosen = choose(scaling, x, y, 3)
    torch.testing.assert_close(chosen.scale, scale)
    assert chosen.strength == pytest.approx(best.penalty * 90)  # the penalty itself, of as many rows
    head = fit_chosen(x, y, 3, chosen)
    model = LogisticRegression(C=1 / chosen.strength, tol=1e-8, max_iter=5000).fit((x - scaling.mean) / scale, y)
    np.testing.assert_allclose(
        (head.linear.scores((x - scaling.mean) / scale)[0].softmax(0).T),
        model.predict_proba((x - scaling.mean) / scale),
        atol=0.02,
    )


def test_folds_are_drawn_and_do_not_follow_the_order_of_the_rows():
    """Neighbouring rows may be alike: of 100 of one class, turn by turn would be in order."""
    fold = make_folds(np.zeros(100, int)).int().argmax(0)
    assert not torch.equal(fold, torch.arange(100) % 5)
    assert not torch.equal(fold, make_folds(np.zeros(100, int), seed=1).int().argmax(0))
