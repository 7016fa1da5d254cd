import numpy as np
import pytest

from salience.evaluation.detection import auroc


def delong(scores, strange):
    """Value and standard error from placements, pair by pair (DeLong et al. 1988)."""
    wins = [[(a > b) + 0.5 * (a == b) for b in scores[~strange]] for a in scores[strange]]
    wins = np.array(wins, float)
    variance = wins.mean(1).var(ddof=1) / wins.shape[0] + wins.mean(0).var(ddof=1) / wins.shape[1]
    return wins.mean(), np.sqrt(variance)


def drawn(m=60, n=200, apart=1.0, seed=0):
    generator = np.random.default_rng(seed)
    scores = np.concatenate([generator.normal(apart, 1, m), generator.normal(0, 1, n)])
    return np.round(scores, 1), np.arange(m + n) < m


def test_the_chance_that_a_strange_item_scores_higher_ties_counting_half():
    scores, strange = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert auroc(scores, strange).value == pytest.approx((1 + 1 + 0 + 0.5) / 4)


def test_the_interval_is_about_delongs_in_the_middle_of_the_range():
    scores, strange = drawn()
    found, (value, error) = auroc(scores, strange), delong(*drawn())
    assert found.value == pytest.approx(value)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)


@pytest.mark.parametrize(("m", "n", "apart"), [(60, 200, 1.0), (7, 9, 2.0), (30, 5, -0.5)])
def test_the_interval_ends_where_the_value_is_just_possible(m, n, apart):
    """Hanley and McNeil's variance, both sizes replaced by their mean (Newcombe's method 5), at the limit itself."""
    found = auroc(*drawn(m, n, apart))
    for t in (found.low, found.high):
        beats_two, beaten_by_two, others = t / (2 - t), 2 * t**2 / (1 + t), (m + n) / 2 - 1
        variance = (t * (1 - t) + others * (beats_two - t**2) + others * (beaten_by_two - t**2)) / (m * n)
        assert abs(t - found.value) == pytest.approx(1.96 * np.sqrt(variance), rel=1e-4)


def test_a_perfect_score_of_few_items_is_not_certain():
    found = auroc(np.array([5.0, 4.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False, False]))
    assert found.value == found.high == 1.0
    assert 0.3 < found.low < 0.8
    mirrored = auroc(-np.array([5.0, 4.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False, False]))
    assert mirrored.low == 0.0
    assert mirrored.high == pytest.approx(1 - found.low)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    truth = 0.7602499389065233  # normal distribution function at 1 / sqrt(2)
    held = [auroc(*drawn(15, 25, seed=seed)) for seed in range(200)]
    share = np.mean([found.low <= truth <= found.high for found in held])
    assert 0.92 <= share <= 0.985


def test_more_items_narrow_it():
    few, many = auroc(*drawn(20, 40)), auroc(*drawn(200, 400))
    assert many.high - many.low < 0.5 * (few.high - few.low)
