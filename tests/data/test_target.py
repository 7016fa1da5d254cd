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
        ([*range(40, 60), 61], "regression", "labels are 21 distinct integers, evaluated by regression"),
        (range(17, 91), "regression", "if they are classes, use `evaluate --target classification`"),
        (range(95), "classification", "the integers from 0 to 94, evaluated as 95 classes; .* --target regression"),
        (range(1, 101), "classification", "the integers from 1 to 100, evaluated as 100 classes"),
        ([*range(30), 31], "regression", "labels are 31 distinct integers"),
        ([*range(30), "unknown"], "classification", None),
        (
            [0.5, 1.5],
            "regression",
            "labels are measurements with 2 distinct values, .* classification, name a column of texts",
        ),
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
        ([1, "two", 3], "regression", "target: regression requires numeric labels, but 'two' of blobs is not a number"),
        ([1, "inf"], "regression", "but 'inf' of blobs is not a number"),
        (
            [0.5, 1.5],
            "classification",
            "target: classification requires classes, .* labels of blobs .* --target regression, or name a",
        ),
        ([1, 2], "ranking", "target: expected classification or regression, got 'ranking'"),
    ],
)
def test_labels_that_are_no_such_target_are_refused(names, target, complaint):
    with pytest.raises(UserError, match=complaint):
        choose_target(labelled(names), target)
