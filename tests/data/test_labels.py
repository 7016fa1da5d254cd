import numpy as np
import pandas as pd
import pytest

from salience.data.labels import encode_groups, encode_known, encode_labels
from salience.errors import UserError


@pytest.mark.parametrize(
    ("values", "codes", "classes"),
    [
        (["b", "a", None, "b"], [1, 0, -1, 1], ("a", "b")),
        ([10, 9, -1, 10], [2, 1, 0, 2], ("-1", "9", "10")),
        (np.array([2, 0, 2], np.uint8), [1, 0, 1], ("0", "2")),
        ([1.0, np.nan, 3.0], [0, -1, 1], ("1", "3")),
        ([True, False], [1, 0], ("False", "True")),
        (pd.array([1, None, 4], dtype="Int64"), [0, -1, 1], ("1", "4")),
        (pd.Categorical(["x", None, "w"]), [1, -1, 0], ("w", "x")),
        ([None, None], [-1, -1], ()),
        ([], [], ()),
    ],
)
def test_labels_are_numbered_in_sorted_order(values, codes, classes):
    labels, names = encode_labels(values)
    assert labels.dtype == np.int64
    assert labels.tolist() == codes
    assert names == classes


def test_measurements_are_no_classes():
    with pytest.raises(UserError, match=r"labels: 0.5 .*measurements"):
        encode_labels([0.5, 1.5])


def test_numbers_of_named_classes_are_kept():
    assert encode_known([2, None, 0, -1], ["a", "b", "c"], "labels").tolist() == [2, -1, 0, -1]
    with pytest.raises(UserError, match=r"label 3 .*names 3 classes"):
        encode_known([3], ["a", "b", "c"], "labels")
    with pytest.raises(UserError, match=r"label 3 .*names 1 class$"):
        encode_known([3], ["a"], "labels")


def test_items_without_a_group_are_groups_of_their_own():
    groups = encode_groups(["p", None, "q", "p", None])
    assert groups[0] == groups[3]
    assert len(set(groups.tolist())) == 4
