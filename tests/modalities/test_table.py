import numpy as np
import pandas as pd
import pytest

from salience.batch import Column, Spec
from salience.errors import UserError
from salience.modalities import table
from salience.modalities.moments import Moments


def survey(*frames, texts=False):
    return table.survey(frames, frames, texts=texts)


def columns_of(*frames, texts=False):
    return survey(*frames, texts=texts).columns()


def test_numbers_and_texts_are_told_apart():
    frame = pd.DataFrame(
        {
            "number": [1, 2, 3],
            "real": [0.5, None, 2.0],
            "text": ["b", "a", None],
            "flag": [True, False, True],
            "kind": pd.Categorical([3, 1, 3]),
            "when": pd.to_datetime(["1970-01-02", None, "1970-01-04"]),
        }
    )
    columns, notes = columns_of(frame)
    assert [(column.name, column.kind, column.categories) for column in columns] == [
        ("number", "number", ()),
        ("real", "number", ()),
        ("text", "category", ("a", "b")),
        ("flag", "category", ("False", "True")),
        ("kind", "category", ("1", "3")),
        ("when", "number", ()),
    ]
    assert notes == ()
    expected = [[1, 0.5, 1, 1, 1, 1], [2, np.nan, 0, 0, 0, np.nan], [3, 2, np.nan, 1, 1, 3]]
    np.testing.assert_array_equal(table.encode(frame, columns, "float64", 0), expected)


def test_a_column_is_of_numbers_only_if_it_is_in_every_chunk():
    frames = [pd.DataFrame({"a": ["1", "2"]}), pd.DataFrame({"a": ["x", None]})]
    columns, _ = columns_of(*frames, texts=True)
    assert columns == (Column("a", "category", ("1", "2", "x")),)
    assert columns_of(frames[0], texts=True)[0] == (Column("a"),)
    assert columns_of(frames[0], texts=False)[0] == (Column("a", "category", ("1", "2")),)


def test_a_chunk_without_any_value_decides_nothing():
    frames = [pd.DataFrame({"a": [None, None]}, dtype=object), pd.DataFrame({"a": [1.0, 2.0]})]
    assert columns_of(*frames)[0] == (Column("a"),)


def test_names_of_rows_and_unusable_columns_are_left_out_and_said():
    frame = pd.DataFrame({"id": [f"row {i}" for i in range(50)], "list": [[1]] * 50, "x": np.arange(50.0)})
    columns, notes = columns_of(frame)
    assert [column.name for column in columns] == ["x"]
    assert len(notes) == 2
    assert "'id'" in notes[0]
    assert "50 different texts in 50 rows" in notes[0]
    assert "list" in notes[1]


def test_too_many_categories_are_left_out():
    frame = pd.DataFrame({"word": [f"w{i % 1500}" for i in range(5000)]})
    columns, notes = columns_of(frame)
    assert columns == ()
    assert "more than 1,000" in notes[0]


def test_an_unknown_category_is_missing():
    column = Column("a", "category", ("x", "y"))
    found = table.encode(pd.DataFrame({"a": ["y", "z", None]}), [column], "float32", 0)
    np.testing.assert_array_equal(found[:, 0], [1, np.nan, np.nan])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused_with_row_and_column(value):
    frame = pd.DataFrame({"ok": [1.0, 2.0], "height": [1.0, value]})
    with pytest.raises(UserError, match="row 101, column 'height'"):
        table.encode(frame, [Column("ok"), Column("height")], "float64", first_row=100)


def test_a_text_where_numbers_are_expected_is_refused():
    with pytest.raises(UserError, match=r"mismatched column 'a'.*row 1 holds 'tall'"):
        table.encode(pd.DataFrame({"a": ["1.5", "tall"]}), [Column("a")], "float64", 0)


def test_float32_is_enough_only_for_float32_and_small_integers():
    assert not survey(pd.DataFrame({"a": np.array([1.5], np.float32), "b": np.array([1], np.int16)})).wide
    assert survey(pd.DataFrame({"a": np.array([1.5], np.float64)})).wide
    assert survey(pd.DataFrame({"a": [2**40]})).wide


def test_statistics_are_of_known_values_and_numbers_only():
    columns = (Column("a"), Column("b", "category", ("x", "y")))
    moments = Moments(2)
    moments.add(np.array([[1, 0], [3, 1], [np.nan, np.nan]]))
    spec = table.make_spec(columns, "float64", moments)
    assert spec.columns == (Column("a", mean=2.0, std=1.0), columns[1])
    assert (spec.modality, spec.shape) == ("table", (2,))


def test_missing_columns_are_named():
    want = Spec("table", (2,), "float64", columns=(Column("height"), Column("weight")))
    table.match_columns(["weight", "other", "height"], want)
    with pytest.raises(UserError, match=r"'height'.*has: weight"):
        table.match_columns(["weight"], want)


def test_a_row_is_shown_as_text():
    class Items:
        spec = Spec("table", (3,), "float64", columns=(Column("a"), Column("b", "category", ("x", "y")), Column("c")))

        def item(self, row):
            return np.array([1.5, 1, np.nan])

    assert table.text(Items(), 0) == "a: 1.5\nb: y\nc: –"
