from dataclasses import replace

import numpy as np
import pytest

from salience.errors import UserError
from salience.evaluation import row_choice as choosing
from salience.evaluation.row_choice import choose_rows, labels_of, seen_in_training

from .conftest import blobs


def test_a_fifth_is_held_out_and_no_row_is_in_both():
    found = choose_rows(blobs(100, 4), None)
    assert (len(found.train), len(found.test)) == (80, 20)
    assert not set(found.train.ids) & set(found.test.ids)
    assert any("a fifth" in note for note in found.notes)


def test_rows_without_a_class_are_left_out_and_said():
    data = blobs(100, 4)
    data = replace(data, labels=np.where(np.arange(100) < 10, -1, data.labels))
    found = choose_rows(data, None)
    assert len(found.train) + len(found.test) == 90
    assert "10 rows without a known class are left out" in found.notes


def test_test_classes_match_by_name():
    data, held = blobs(60, 3), blobs(40, 2, split="test")
    held = replace(held, classes=("class 2", "class 0"))  # its labels 0 and 1
    found = choose_rows(data, held)
    np.testing.assert_array_equal(labels_of(found.test), np.where(held.labels == 0, 2, 0))
    assert len(found.train) == 60


def test_test_classes_nobody_trained_are_left_out_and_said():
    held = replace(blobs(40, 2), classes=("class 1", "unheard of"))
    found = choose_rows(blobs(60, 3), held)
    assert len(found.test) == 20
    assert "20 test rows without a known class are left out" in found.notes


def test_test_classes_named_but_without_training_rows_are_left_out_too():
    found = choose_rows(replace(blobs(60, 2), classes=("class 0", "class 1", "class 2")), blobs(30, 3))
    assert set(labels_of(found.test)) == {0, 1}
    assert "10 test rows of classes without training rows are left out" in found.notes


def test_no_common_class_is_an_error():
    with pytest.raises(UserError, match="class names must match"):
        choose_rows(blobs(60, 3), replace(blobs(40, 2), classes=("a", "b")))


def test_one_class_is_an_error():
    data = blobs(20, 2)
    with pytest.raises(UserError, match="at least two classes"):
        choose_rows(replace(data, labels=np.zeros(20, np.int64)), None)


def test_groups_that_leave_one_class_to_train_on_are_an_error():
    data = blobs(20, 2)
    with pytest.raises(UserError, match="one class"):
        choose_rows(replace(data, groups=data.labels), None)


def test_labels_asked_for_where_the_test_has_none():
    with pytest.raises(UserError, match="test: blobs has no labels"):
        choose_rows(blobs(), blobs(labels=False))


def test_one_labelled_row_a_class_needs_a_test():
    with pytest.raises(UserError, match="give --test"):
        choose_rows(blobs(3, 3), None)


@pytest.mark.parametrize("unknown", [False, True])
def test_unlabelled_data_is_used_whole(unknown):
    data = blobs(50, labels=unknown)
    data = replace(data, labels=np.full(50, -1)) if unknown else data
    found = choose_rows(data, None)
    assert found.train is None
    assert len(found.test) == 50


def test_more_rows_than_needed_are_sampled_and_said(monkeypatch):
    monkeypatch.setattr(choosing, "MOST_TRAINED", 50)
    monkeypatch.setattr(choosing, "MOST_TESTED", 10)
    found = choose_rows(blobs(100, 2), None)
    assert (len(found.train), len(found.test)) == (50, 10)
    assert "of 80 training rows a random 50 are used" in found.notes
    assert "of 20 test rows a random 10 are used" in found.notes


def test_small_classes_are_named():
    data = blobs(100, 2)
    labels = data.labels.copy()
    labels[:4] = 2
    found = choose_rows(replace(data, labels=labels, classes=("a", "b", "rare")), None)
    assert "classes with fewer than 5 training rows: rare (3)" in found.notes


@pytest.mark.parametrize(
    ("trained_on", "source", "seen"),
    [
        ({"fingerprint": "f"}, None, True),
        ({"fingerprint": "g", "source": "digits", "split": "train"}, "digits", True),
        ({"fingerprint": "g", "source": "digits:train", "split": "train"}, "digits", True),
        ({"fingerprint": "g", "source": "digits", "split": "test"}, "digits", False),
        ({"fingerprint": "g", "source": "other", "split": "train"}, "digits", False),
        ({"fingerprint": "g", "source": None, "split": None}, None, False),
    ],
)
def test_says_when_the_run_was_trained_on_the_rows_that_judge(trained_on, source, seen):
    notes = seen_in_training(trained_on, blobs(fingerprint="f"), source, labels=False)
    assert [("without their labels" in note) for note in notes] == [True] * seen


def test_a_class_that_was_left_out_is_not_called_seen():
    trained_on = {"fingerprint": "g", "source": "digits", "split": "train", "without": "3"}
    (note,) = seen_in_training(trained_on, blobs(fingerprint="f"), "digits", labels=False)
    assert "of the evaluation, all but those of '3', without their labels" in note
    (note,) = seen_in_training(trained_on, blobs(fingerprint="g"), "digits", labels=False)
    assert "of the evaluation, without their labels" in note  # of which the class is no part


def test_a_path_is_the_same_source_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    trained_on = {"fingerprint": "g", "source": str(tmp_path / "photos"), "split": "train"}
    (note,) = seen_in_training(trained_on, blobs(), "photos", labels=True)
    assert "too good" in note
