import numpy as np
import pandas as pd
import pytest

from salience.errors import UserError
from salience.fields.moments import Moments
from salience.modalities.table import row_coder as table
from salience.modalities.table.spec import Column, TableSpec


def encode(frame, columns, dtype="float64"):
    return table.RowCoder(columns, dtype).encode(frame)


def test_an_unknown_category_is_missing():
    column = Column("a", "category", ("x", "y"))
    found = encode(pd.DataFrame({"a": ["y", "z", None]}), [column], "float32")
    np.testing.assert_array_equal(found[:, 0], [1, np.nan, np.nan])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused_with_row_and_column(value):
    coder = table.RowCoder([Column("ok"), Column("height")], "float64")
    coder.encode(pd.DataFrame({"ok": np.ones(100), "height": np.ones(100)}))
    frame = pd.DataFrame({"ok": [1.0, 2.0], "height": [1.0, value]})
    with pytest.raises(UserError, match="row 101, column 'height'"):
        coder.encode(frame)


def test_statistics_are_of_known_values_and_numbers_only():
    columns = (Column("a"), Column("b", "category", ("x", "y")))
    moments = Moments(2)
    moments.add(np.array([[1, 0], [3, 1], [np.nan, np.nan]]))
    spec = table.make_spec(columns, "float64", moments)
    assert spec.columns == (Column("a", mean=2.0, std=1.0), columns[1])
    assert (spec.modality.name, spec.shape) == ("table", (2,))


def test_missing_columns_are_named():
    want = TableSpec((2,), "float64", columns=(Column("height"), Column("weight")))
    table.match_columns(["weight", "other", "height"], want)
    with pytest.raises(UserError, match=r"'height'.*columns are: weight"):
        table.match_columns(["weight"], want)


def test_a_row_is_shown_as_text():
    class Items:
        spec = TableSpec((3,), "float64", columns=(Column("a"), Column("b", "category", ("x", "y")), Column("c")))

        def item(self, row):
            return np.array([1.5, 1, np.nan])

    assert table.text(Items(), 0) == "a: 1.5\nb: y\nc: –"
