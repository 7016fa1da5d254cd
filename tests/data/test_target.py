import re
from dataclasses import replace

import numpy as np
import pytest

from salience.data.target import choose_target
from salience.errors import UserError
from tests.evaluation.conftest import blobs


def labelled(names, n=120):
    return replace(blobs(n), labels=np.arange(n) % len(names), classes=tuple(map(str, names)))


@pytest.mark.parametrize(
    ("names", "target", "told"),
    [
        (["cat", "dog"], "classification", None),
        (range(20), "classification", None),
        (range(40, 60), "classification", None),
        ([*range(40, 60), 61], "regression", "labels are 21 different whole numbers, taken as a quantity"),
        (range(17, 91), "regression", "if they are 74 classes, `evaluate --target classification`"),
        (range(95), "classification", "the whole numbers from 0 to 94, taken as 95 classes; .* --target regression"),
        (range(1, 101), "classification", "the whole numbers from 1 to 100, taken as 100 classes"),
        ([*range(30), 31], "regression", "labels are 31 different whole numbers"),
        ([*range(30), "unknown"], "classification", None),
        ([0.5, 1.5], "regression", "labels are measurements, 2 values, .* classes, name a column of texts"),
    ],
)
def test_the_data_choose_and_a_note_says_what_and_how_to_say_otherwise(names, target, told):
    found, notes = choose_target(labelled(names), None)
    assert found == target
    assert [bool(re.search(told or "", note)) for note in notes] == [True] * (told is not None)


@pytest.mark.parametrize("target", ["classification", "regression"])
def test_what_is_asked_for_is_done_without_a_note(target):
    assert choose_target(labelled(range(50)), target) == (target, [])


@pytest.mark.parametrize(
    ("names", "target", "complaint"),
    [
        ([1, "two", 3], "regression", "target: regression needs numbers as labels, and 'two' of blobs is none"),
        ([1, "inf"], "regression", "and 'inf' of blobs is none"),
        ([0.5, 1.5], "classification", "target: the labels of blobs .* --target regression, or name a"),
        ([1, 2], "ranking", "target: expected classification or regression, got 'ranking'"),
    ],
)
def test_labels_that_are_no_such_target_are_refused(names, target, complaint):
    with pytest.raises(UserError, match=complaint):
        choose_target(labelled(names), target)
