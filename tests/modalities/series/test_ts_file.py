"""The .ts format: every form of it is read, and every odd thing is named in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salience.data import Dataset, open_data
from salience.errors import UserError
from salience.fields.stored_items import Ragged


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    """Write a .ts file and open it."""

    def open_text(body: str, header: str = "@classLabel true a b", name: str = "some.ts") -> Dataset:
        path = tmp_path / name
        path.write_text(f"# a comment\n@problemName some\n{header}\n@data\n{body}\n", encoding="utf-8")
        return open_data(path, progress=False)

    return open_text


def items(data: Dataset) -> list[list[Any]]:
    return [data.item(row).T.tolist() for row in range(len(data))]


def said(data: Dataset, what: str) -> list[str]:
    return [note for note in data.notes if what in note]


def test_series_of_one_length_are_dense_and_others_are_ragged(opened: Any) -> None:
    equal = opened("1,2,3:4,5,6:a\n7,8,9:0,0,1:b")
    assert equal.spec.shape == (3, 2)
    assert items(equal) == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [0, 0, 1]]]
    unequal = opened("1,2,3:4,5,6:a\n7,8:0,1:b", name="other.ts")
    assert isinstance(unequal.stored, Ragged)
    assert unequal.spec.shape == (2,)
    assert items(unequal) == [[[1, 2, 3], [4, 5, 6]], [[7, 8], [0, 1]]]
    assert unequal.labels is not None
    assert [unequal.classes[label] for label in unequal.labels] == ["a", "b"]
    np.testing.assert_allclose(unequal.spec.mean, [4.2, 3.2])


def test_missing_values_are_interpolated_and_counted(opened: Any) -> None:
    data = opened("1,?,3,NaN:a\n?,2,nan,8:b\n1,2,3,4:a")
    assert items(data) == [[[1, 2, 3]], [[2, 2, 5, 8]], [[1, 2, 3, 4]]]  # the end of the first is padding
    assert said(data, "3 values are missing, the first in item 0")
    assert said(data, "1 series end in missing values, the first is item 0")


def test_padding_at_the_end_makes_unequal_lengths(opened: Any) -> None:
    data = opened("1,2,3:1,2,3:a\n4,NaN,NaN:5,6,NaN:b")
    assert items(data) == [[[1, 2, 3], [1, 2, 3]], [[4, 4], [5, 6]]]  # a step is real if one channel is known


def test_values_with_times_are_read_though_times_have_colons(opened: Any) -> None:
    header = "@timeStamps true\n@classLabel true a b"
    data = opened(
        "(2020-01-01 00:00:00,1.5),(2020-01-01 00:00:30,2):(2020-01-01 00:00:00,3), (2020-01-01 00:00:30,4):a", header
    )
    assert items(data) == [[[1.5, 2], [3, 4]]]
    assert data.spec.rate == pytest.approx(1 / 30)
    numbered = opened("(0,1),(1,2),(5,3):a\n(0,1),(1,2),(2,3):b", header, "numbered.ts")
    assert items(numbered) == [[[1, 2, 3]], [[1, 2, 3]]]
    assert said(numbered, "1 series has steps that are not evenly spaced")
    assert numbered.spec.rate is None
    bad = opened("(1,1),(0,2):a\n(0,1),(1,2):b\n(x,1),(1,2):b\n(0,1),3:b", header, "bad.ts")
    reasons = [item.reason for item in bad.bad]
    assert "times" in reasons[0]
    assert "'x'" in reasons[1]
    assert "'3'" in reasons[2]


def test_class_names_may_have_spaces(opened: Any) -> None:
    data = opened("1,2:sitting down\n3,4:standing up\n5,6:?", "@classLabel true sitting down standing up")
    assert data.classes == ("sitting down", "standing up")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, -1]
    assert said(data, "no label, the first is item 2")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2:a", "1 channel"),
        ("1,x:2,3:a", "'x' is not a number"),
        ("1,inf:2,3:a", "infinite"),
        ("1,1e38:2,3:a", "beyond"),
        ("?,?:?,NaN:a", "every value is missing"),
        ("1,2:3,4", "no label"),
    ],
)
def test_a_bad_series_is_left_out_with_the_reason(opened: Any, line: str, reason: str) -> None:
    data = opened(f"1,2:3,4:b\n{line}\n5,6:7,8:a")
    assert [item.id for item in data.bad] == ["1"]
    assert reason in data.bad[0].reason
    assert items(data) == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert data.labels is not None
    assert [data.classes[label] for label in data.labels] == ["b", "a"]


def test_a_row_with_fewer_channels_than_the_header_says_is_left_out(opened: Any) -> None:
    data = opened("1,2:a\n1,2:3,4:b", "@dimensions 2\n@classLabel true a b")
    assert [(item.id, "header says 2" in item.reason) for item in data.bad] == [("0", True)]


def test_channels_of_different_lengths_are_named_and_the_last_value_is_held(opened: Any) -> None:
    data = opened("1,2,3:4,5:a\n1,2,3:4,5,6:b")
    assert items(data)[0] == [[1, 2, 3], [4, 5, 5]]
    assert said(data, "1 series has channels of different lengths; the first is item 0")


def test_decimal_commas_are_read_between_semicolons_and_refused_between_commas(opened: Any) -> None:
    data = opened("1,5;2,25:a\n3;4,5:b", "@seriesLength 2\n@classLabel true a b")
    assert items(data) == [[[1.5, 2.25]], [[3, 4.5]]]
    with pytest.raises(UserError, match="decimal commas"):
        opened("1,5,2,25:a", "@seriesLength 2\n@classLabel true a b", "other.ts")
    other = opened("1,2,3:a", "@seriesLength 2\n@classLabel true a b", "third.ts")
    assert said(other, "not the 2 steps that the header says")


def test_a_channel_that_never_changes_is_named(opened: Any) -> None:
    data = opened("1,2:7,7:a\n3,4:7,7:b")
    assert said(data, "channel 1 of 2")
    assert data.spec.std[1] == 1


def test_a_channel_that_is_missing_in_one_series_is_its_mean(opened: Any) -> None:
    data = opened("1,3:?,?:a\n3,4:6,8:b")
    assert said(data, "without any value, the first in item 0")
    unit = data.spec.modality.unit(data.batch(np.array([0])).x, data.spec)
    assert unit[0, :, 1].tolist() == [0, 0]


def test_train_and_test_files_are_splits(opened: Any, tmp_path: Path) -> None:
    opened("1,2:a\n3,4:b", name="Some_TRAIN.ts")
    opened("5,6:b", name="Some_TEST.ts")
    for given in (tmp_path / "Some_TRAIN.ts", tmp_path):
        train = open_data(given, progress=False)
        assert (train.name, train.split, train.splits, len(train)) == ("Some", "train", ("train", "test"), 2)
        assert items(open_data(given, split="test", progress=False)) == [[[5, 6]]]
    assert open_data(f"{tmp_path}/Some_TRAIN.ts:test", progress=False).split == "test"
    assert open_data(tmp_path / "Some_TEST.ts", progress=False).split == "test"
    with pytest.raises(UserError, match="no split 'val'"):
        open_data(tmp_path / "Some_TRAIN.ts", split="val", progress=False)


def test_targets_are_measurements_and_files_may_have_no_labels(opened: Any) -> None:
    data = opened("1,2:0.5\n3,4:10\n5,6:-2", "@targetLabel true")
    assert data.quantity is not None
    assert data.quantity.tolist() == [0.5, 10, -2]
    plain = opened("1,2\n3,4", "@classLabel false", "plain.ts")
    assert plain.labels is None
    assert items(plain) == [[[1, 2]], [[3, 4]]]
    assert said(plain, "no labels")


def test_files_that_are_no_series_are_refused(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "code.ts"
    path.write_text("export const x = 1;\n")
    with pytest.raises(UserError, match="@data"):
        open_data(path, progress=False)
    path.write_bytes(b"@classLabel true a\n@data\n1,2:\xe9t\xe9\n")
    with pytest.raises(UserError, match="UTF-8"):
        open_data(path, progress=False)
    with pytest.raises(UserError, match="no series"):
        opened("", name="empty.ts")
    with pytest.raises(UserError, match="labels"):
        open_data(path, labels="label", progress=False)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "windows.ts"
    path.write_bytes(b"\xef\xbb\xbf@problemName w\r\n@classLabel true 1 2\r\n@data\r\n1,2:1\r\n3,4:2\r\n")
    assert items(open_data(path, progress=False)) == [[[1, 2]], [[3, 4]]]
