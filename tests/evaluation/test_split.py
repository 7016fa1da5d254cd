import numpy as np
import pytest

from salience.errors import UserError
from salience.evaluation.split import held_out, sample


def test_a_fifth_of_every_class():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    chosen = held_out(labels)
    np.testing.assert_array_equal(np.bincount(labels[chosen]), [20, 10, 2])
    np.testing.assert_array_equal(chosen, held_out(labels))
    assert (chosen != held_out(labels, seed=1)).any()


def test_small_classes_give_one_row_and_keep_one():
    labels = np.array([0, 0, 1, 2, 2, 2])
    np.testing.assert_array_equal(np.bincount(labels[held_out(labels)], minlength=3), [1, 0, 1])


def test_groups_stay_whole_and_classes_nearly_even():
    groups = np.arange(300) // 6
    labels = groups % 3
    chosen = held_out(labels, groups)
    assert not set(groups[chosen]) & set(groups[~chosen])
    np.testing.assert_allclose(np.bincount(labels[chosen]) / np.bincount(labels), 0.2, atol=0.07)


def test_groups_of_one_row_are_no_groups():
    labels = np.arange(50) % 2
    np.testing.assert_array_equal(held_out(labels, np.arange(50)), held_out(labels))


def test_few_groups_of_few_rows_are_split_without_a_warning():
    chosen = held_out(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    assert sorted(np.flatnonzero(chosen)) in ([0, 1], [2, 3])


def test_one_group_cannot_be_split():
    with pytest.raises(UserError, match="one group"):
        held_out(np.arange(10) % 2, np.zeros(10, int))


def test_sample_keeps_order_and_all_where_few():
    np.testing.assert_array_equal(sample(np.arange(5), 9), np.arange(5))
    rows = sample(np.arange(100), 20)
    assert len(set(rows)) == 20
    assert (np.diff(rows) > 0).all()


def test_a_sample_is_drawn_at_random_from_all_rows():
    counts = np.bincount(np.concatenate([sample(np.arange(10), 5, seed) for seed in range(400)]))
    assert np.abs(counts / 400 - 0.5).max() < 4 * 0.5 / 20  # four standard errors
    np.testing.assert_array_equal(sample(np.arange(100), 20), sample(np.arange(100), 20))
    np.testing.assert_array_equal(sample(100 + np.arange(100), 20) - 100, sample(np.arange(100), 20))
