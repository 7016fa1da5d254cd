import numpy as np
import pytest
import torch
from scipy.stats import binomtest, ttest_1samp

from salience.measures import intervals


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (3, 10), (10, 10), (812, 1000)])
def test_wilson_equals_scipy(correct, n):
    expected = binomtest(correct, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(intervals.wilson(correct, n), (expected.low, expected.high), atol=1e-12)


def test_accuracy_is_the_share_of_right_answers():
    metric = intervals.accuracy(np.array([True, True, True, False]))
    assert metric.value == 0.75
    assert metric.low < 0.75 < metric.high < 1


def test_balanced_accuracy_weighs_classes_not_rows():
    labels = np.array([0] * 90 + [1] * 10)
    metric = intervals.balanced_accuracy(labels == 0, labels)  # always says 0
    assert metric.value == 0.5
    assert metric.low < 0.5 < metric.high


def test_balanced_accuracy_interval_covers_as_often_as_it_says():
    generator, labels, recalls = (
        np.random.default_rng(0),
        np.repeat([0, 1, 2], [200, 60, 20]),
        np.array([0.9, 0.6, 0.7]),
    )
    inside = 0
    for _ in range(400):
        metric = intervals.balanced_accuracy(generator.random(280) < recalls[labels], labels)
        inside += metric.low <= recalls.mean() <= metric.high
    assert 0.92 <= inside / 400 <= 0.985


def test_mean_is_students_t_interval_cut_at_the_range():
    values = np.array([0.2, 0.5, 0.4, 0.9, 0.7])
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    metric = intervals.mean(values)
    np.testing.assert_allclose((metric.low, metric.high), (expected.low, expected.high))
    assert intervals.mean(np.array([0.5]), 0.0).to_dict() == {"value": 0.5, "interval": [0.0, None]}
    assert intervals.mean(np.array([0.0, 1.0]), 0.0, 1.0).to_dict() == {"value": 0.5, "interval": [0.0, 1.0]}


def test_jackknife_of_a_mean_is_its_normal_interval():
    x = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    metric = intervals.jackknife(lambda weights: weights @ x, 200)
    half = 1.96 * float(x.std(correction=0)) / 200**0.5
    assert metric.value == pytest.approx(float(x.mean()))
    assert metric.high - metric.value == pytest.approx(half, rel=1e-4)
    assert metric.value - metric.low == pytest.approx(half, rel=1e-4)


def test_jackknife_agrees_with_the_bootstrap_for_a_curved_statistic():
    x = np.random.default_rng(0).gamma(2.0, size=400)
    values = torch.from_numpy(x)
    metric = intervals.jackknife(lambda weights: (weights @ values.square()).log(), 400)
    generator = np.random.default_rng(1)
    again = [np.log((x[generator.integers(0, 400, 400)] ** 2).mean()) for _ in range(2000)]
    assert metric.high - metric.low == pytest.approx(2 * 1.96 * np.std(again), rel=0.1)


def test_the_spread_of_draws_is_laid_around_the_value():
    metric = intervals.spread(0.3, np.linspace(0.5, 0.7, 101), 0.0, 1.0)
    assert metric.value == 0.3
    assert metric.low == pytest.approx(0.3 - 0.095)
    assert metric.high == pytest.approx(0.3 + 0.095)
    assert intervals.spread(0.05, np.linspace(0, 1, 101), 0.0, 1.0).low == 0.0


def test_a_value_far_from_its_draws_is_still_held():
    metric = intervals.spread(5.0, np.linspace(0, 1, 101))
    assert (metric.low, metric.high) == (pytest.approx(5 - 0.475), pytest.approx(5 + 0.475))


def test_the_bootstrap_stays_within_the_figure_s_range():
    values = np.eye(20)[0]
    assert intervals.bootstrap(values, np.max).high > 1
    found = intervals.bootstrap(values, np.max, 0.0, 1.0)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low >= 0


def test_the_bootstrap_draws_whole_samples_300_times():
    drawn = []
    intervals.bootstrap(np.arange(7.0), lambda values: drawn.append(len(values)) or float(values.mean()))
    assert drawn == [7] * 301  # and the sample itself


def test_both_ends_of_the_bootstrap_are_quantiles_of_its_draws():
    values = np.random.default_rng(3).exponential(size=50)
    draws = [np.var(values[np.random.default_rng(9).integers(0, 50, (4000, 50))], 1)][0]
    low, high = np.quantile(draws - draws.mean(), [0.025, 0.975])
    found = intervals.bootstrap(values, lambda some: float(np.var(some)), draws=4000)
    assert found.low - found.value == pytest.approx(low, rel=0.06)
    assert found.high - found.value == pytest.approx(high, rel=0.06)
    assert high > 1.15 * -low  # skewed: ends that were swapped would be noticed
