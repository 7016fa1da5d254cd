import math

import numpy as np
import pytest
import torch

from salience.evaluation.calibration import calibrate, calibration_error, choose_temperature, fit_temperature


def drawn(n=4000, classes=5, sharpness=2.0, factor=3.0, seed=0):
    """Scores that are `factor` times too large for labels drawn by softmax(scores / factor)."""
    generator = torch.Generator().manual_seed(seed)
    true = sharpness * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return factor * true, torch.multinomial(true.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_what_scores_were_multiplied_by(factor):
    assert fit_temperature(*drawn(factor=factor)) == pytest.approx(factor, rel=0.08)


def test_the_temperature_is_that_of_least_cross_entropy_with_smoothed_labels():
    scores, y = drawn(30)
    found = fit_temperature(scores, y)

    def loss(temperature):
        total = 0.0
        for row, label in zip((scores / temperature).tolist(), y.tolist(), strict=True):
            p = [math.exp(one) for one in row]
            for at, one in enumerate(p):
                target = 1 - 1 / 32 if at == label else 1 / 32 / 4
                total -= target * math.log(one / sum(p))
        return total

    assert loss(found) < min(loss(0.97 * found), loss(1.03 * found))


def test_of_few_rows_that_are_all_right_nothing_is_certain():
    scores, y = 10 * torch.eye(4).repeat(5, 1), torch.arange(4).repeat(5)
    confidence = (scores / fit_temperature(scores, y)).softmax(1).amax(1)
    torch.testing.assert_close(confidence, torch.full((20,), 21 / 22), atol=1e-3, rtol=0)  # rule of succession


def test_the_calibration_error_is_the_sum_over_bins_as_it_is_defined():
    generator = np.random.default_rng(0)
    confidence, right = generator.uniform(0.2, 1, 500), generator.random(500) < 0.7
    confidence[:2] = [1.0, 1 / 15]
    expected = 0.0
    for b in range(15):
        here = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if here.any():
            expected += here.mean() * abs(right[here].mean() - confidence[here].mean())
    found = calibration_error(torch.from_numpy(confidence), torch.from_numpy(right))
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("confidence", "right", "error"), [(0.9, 1.0, 0.1), (0.9, 0.5, 0.4), (0.5, 0.5, 0.0)])
def test_the_calibration_error_of_one_confidence_is_its_distance_from_the_accuracy(confidence, right, error):
    answers = torch.arange(100) < 100 * right
    assert calibration_error(torch.full((100,), confidence), answers) == pytest.approx(error, abs=1e-6)


def test_few_rows_have_few_bins():
    """Of 20 rows that are as often right as they say, 15 bins would see an error of a quarter."""
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(200):
        confidence = 0.5 + 0.5 * torch.rand(20, generator=generator)
        errors.append(calibration_error(confidence, torch.rand(20, generator=generator) < confidence))
    assert np.mean(errors) < 0.12


def test_a_calibration_is_judged_by_folds_it_was_not_fitted_to():
    scores, y = drawn(60)
    folds = torch.arange(60) % 3 == torch.arange(3)[:, None]
    found = calibrate(scores, y, folds)
    confidence, right = torch.zeros(60, dtype=torch.float64), torch.zeros(60, dtype=torch.bool)
    for fold in folds:
        p = (scores[fold] / fit_temperature(scores[~fold], y[~fold])).softmax(1)
        confidence[fold], right[fold] = p.amax(1), p.argmax(1) == y[fold]
    assert found.error == pytest.approx(calibration_error(confidence, right))
    assert found.before == pytest.approx(calibration_error(scores.softmax(1).amax(1), scores.argmax(1) == y))
    assert found.temperature == pytest.approx(fit_temperature(scores, y))
    assert found.error < found.before
    assert found.rows == 60
    assert found.text() == (
        f"confidences are calibrated on the 60 labelled items, each held out in turn: temperature "
        f"{found.temperature:.2f}, expected calibration error {found.error:.3f}, {found.before:.3f} without"
    )


def judged_outside(scores, y, folds):
    """Mean -log p(right class) of rows at temperature 1, and at the temperature of the rows outside their fold."""
    as_is, divided = 0.0, 0.0
    for fold in folds:
        temperature = fit_temperature(scores[~fold], y[~fold])
        for row, label in zip(scores[fold].tolist(), y[fold].tolist(), strict=True):
            for factor in (1.0, temperature):
                p = [math.exp(one / factor) for one in row]
                loss = -math.log(p[label] / sum(p)) / len(y)
                as_is, divided = (as_is + loss, divided) if factor == 1.0 else (as_is, divided + loss)
    return as_is, divided


@pytest.mark.parametrize(("factor", "n"), [(1.0, 12), (1.1, 20), (3.0, 40), (0.4, 40)])
def test_the_temperature_stays_one_unless_another_has_the_lower_log_loss_on_rows_it_was_not_fitted_to(factor, n):
    kept = []
    folds = torch.arange(n) % 4 == torch.arange(4)[:, None]
    for seed in range(20):
        scores, y = drawn(n, factor=factor, seed=seed)
        as_is, divided = judged_outside(scores, y, folds)
        expected = fit_temperature(scores, y) if divided < as_is else 1.0
        assert choose_temperature(scores, y, folds) == expected
        assert calibrate(scores, y, folds).temperature == expected
        kept.append(expected == 1.0)
    assert any(kept) or factor in (3.0, 0.4)
    assert not all(kept)


def test_where_it_stays_one_the_error_is_that_of_the_scores_and_the_note_says_so():
    for seed in range(100):
        scores, y = drawn(20, factor=1.0, seed=seed)
        folds = torch.arange(20) % 4 == torch.arange(4)[:, None]
        found = calibrate(scores, y, folds)
        if found.temperature == 1.0:
            break
    assert (
        found.error
        == found.before
        == pytest.approx(calibration_error(scores.softmax(1).amax(1), scores.argmax(1) == y))
    )
    assert found.text() == (
        "confidences are not calibrated (temperature 1): no other one has a lower log loss on the 20 labelled items, "
        f"each held out in turn; expected calibration error {found.error:.3f}"
    )
