from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from salience.data.labels import encode_class_numbers, encode_groups, encode_labels, encode_labels_with_notes
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


@pytest.mark.parametrize("values", [[0.5, 1.5], [1, np.inf], [1, 1.5, None], pd.array([0.5], "Float64")])
def test_measurements_are_no_classes(values):
    with pytest.raises(UserError, match=r"labels: expected classes, got measurements such as (0.5|1.5|inf)"):
        encode_labels(values)


LARGE = [2**53, 2**53 + 1, 2**63 + 5]


@pytest.mark.parametrize(
    "values",
    [
        np.array(LARGE, np.uint64),
        LARGE,
        pd.array(LARGE, "UInt64"),
        pd.Series([*LARGE, None], dtype=object)[:3],
        [Decimal(value) for value in LARGE],
    ],
)
def test_large_integers_stay_apart(values):
    labels, names = encode_labels(values)
    assert labels.tolist() == [0, 1, 2]
    assert names == tuple(map(str, LARGE))


def test_large_integers_beside_missing_ones_stay_apart():
    labels, names = encode_labels([2**53, None, 2**53 + 1, 2**100])
    assert labels.tolist() == [0, -1, 1, 2]
    assert names == (str(2**53), str(2**53 + 1), str(2**100))


def test_minus_one_is_a_class_unless_it_is_named_as_missing():
    for values in ([-1, 0, 1], np.array([-1, 0, 1], np.int8), [-1.0, 0.0, 1.0], pd.array([-1, 0, 1], "Int64")):
        labels, names, notes = encode_labels_with_notes(values, "labels")
        assert (labels.tolist(), names) == ([0, 1, 2], ("-1", "0", "1"))
        assert notes == ("labels: -1 is a class (1 item); use --missing -1 to treat these items as unlabelled",)
        labels, names, notes = encode_labels_with_notes(values, "labels", ("-1",))
        assert (labels.tolist(), names, notes) == ([-1, 0, 1], ("0", "1"), ())


@pytest.mark.parametrize(
    ("cells", "codes", "classes"),
    [
        (["01", "1", "001", "10", "9"], [1, 2, 0, 4, 3], ("001", "01", "1", "9", "10")),
        (["2.0", None, "1.0"], [1, -1, 0], ("1", "2")),
        (["1", "1.0", "2"], [0, 1, 2], ("1", "1.0", "2")),
        (["1", "NA", "2", "nan"], [0, -1, 1, -1], ("1", "2")),
        (["b", "NA", None, "a"], [2, 0, -1, 1], ("NA", "a", "b")),
        (["1", "x", "NA"], [0, 2, 1], ("1", "NA", "x")),
        (["-1", "2", "10"], [0, 1, 2], ("-1", "2", "10")),
    ],
)
def test_cells_of_a_file_stay_as_they_are(cells, codes, classes):
    labels, names = encode_labels(pd.Series(cells, dtype=object), texts=True)
    assert labels.tolist() == codes
    assert names == classes


def test_texts_of_a_program_are_sorted_as_texts_and_never_parsed():
    assert encode_labels(["10", "9", "0.5"])[1] == ("0.5", "10", "9")


def test_measurements_in_a_file_are_no_classes():
    with pytest.raises(UserError, match=r"got measurements such as 0\.5"):
        encode_labels(["1", "0.5", "NA"], texts=True)


def test_words_for_missing_values_are_told():
    notes = encode_labels_with_notes(["NA", "a", "NA", "null"], "column 'sex'")[2]
    assert notes[0] == (
        "column 'sex' contains 'NA' in 2 cells, kept as a class (also 'null'); "
        "use --missing NA --missing null to read it as missing"
    )
    assert encode_labels_with_notes(["NA", "a", "NA", "null"], "column 'sex'", ("NA", "null"))[2] == ()
    notes = encode_labels_with_notes(["1", "2", "NA", None], "column 'y'", texts=True)[2]
    assert notes == ("column 'y' is numeric, so 'NA' in row 2 is read as missing (1 cell)",)


def test_numbers_of_named_classes_are_kept():
    assert encode_class_numbers([2, None, 0, -1], ["a", "b", "c"], "labels").tolist() == [2, -1, 0, -1]
    with pytest.raises(UserError, match=r"labels of 3 classes, got label 3"):
        encode_class_numbers([3], ["a", "b", "c"], "labels")
    with pytest.raises(UserError, match=r"labels of 1 class, got label 3$"):
        encode_class_numbers([3], ["a"], "labels")


def test_items_without_a_group_are_groups_of_their_own():
    groups = encode_groups(["p", None, "q", "p", None])
    assert groups[0] == groups[3]
    assert len(set(groups.tolist())) == 4


def test_a_quantity_in_a_text_file_is_read_as_one():
    thousands = [f"{value // 1000},{value % 1000:03}" for value in range(1100, 1130)]
    assert encode_labels_with_notes(thousands, "y", texts=True, measurements=True)[1] == tuple(
        map(str, range(1100, 1130))
    )
    odd = [*(f"{value}.5" for value in range(30)), "unknown"]
    codes, names, notes = encode_labels_with_notes(odd, "y", texts=True, measurements=True)
    assert names == tuple(f"{value}.5" for value in range(30))
    assert codes[-1] == -1
    assert "'unknown' in row 30" in notes[0]
    few = ["1", "2", "3", "unknown"]
    assert encode_labels_with_notes(few, "y", texts=True)[1] == ("1", "2", "3", "unknown")


def test_measurements_beside_texts_are_refused_and_not_lost():
    mixed = np.array([1.5, "a", 2.5], dtype=object)
    with pytest.raises(UserError, match=r"got measurements such as 1\.5"):
        encode_labels(mixed, measurements=True)


def test_bytes_that_are_texts_are_named_by_them():
    assert encode_labels(np.array([b"x", b"y", b"x"]))[1] == ("x", "y")
    assert encode_labels(np.array(["ü".encode(), b"\xff"], dtype=object))[1] == ("b'\\xff'", "ü")


@pytest.mark.parametrize(("classes", "notes"), [(["a", " a"], 1), (["a", "b"], 0)])
def test_classes_that_differ_in_blanks_alone_are_told(classes, notes):
    told = encode_labels_with_notes(classes, "column 'c'", texts=True)[2]
    assert (
        told
        == (
            "column 'c' contains ' a' and 'a', which differ only in spaces and are kept apart; remove the spaces in "
            "the file to merge them",
        )[:notes]
    )
