import numpy as np
import pytest

from salience.fields.ids import Ids

NAMES = ["a/1.png", "ü/é.jpg", "", "lost\udcff.png", "z"]


def test_names_come_back():
    ids = Ids.of(NAMES)
    assert list(ids) == NAMES
    assert ids == NAMES
    assert ids != NAMES[:-1]
    assert ids[-1] == "z"
    assert ids[1:3] == NAMES[1:3]
    assert "z" in ids
    with pytest.raises(IndexError):
        ids[5]


def test_a_subset_refers_to_the_same_names():
    part = Ids.of(NAMES).subset(np.array([4, 1, 0])).subset(np.array([2, 0]))
    assert list(part) == [NAMES[0], NAMES[4]]


def test_without_names_an_id_is_the_row_in_the_source():
    ids = Ids(10)
    assert list(ids)[:3] == ["0", "1", "2"]
    assert list(ids.subset(np.array([7, 3]))) == ["7", "3"]
    assert len(ids) == 10
