import shlex
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from salience.modalities.table import cells
from salience.modalities.table import survey as module
from salience.modalities.table.cells import Rules
from salience.modalities.table.row_coder import RowCoder
from salience.modalities.table.spec import Column
from salience.reading import Reading
from salience.units import printable


def survey(*frames, texts=False, **how):
    return module.survey(frames, texts=texts, **how)


def columns_of(*frames, texts=False, **how):
    return survey(*frames, texts=texts, **how).columns()


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
    assert notes == ("column 'when' is read as days since 1970-01-01",)
    expected = [[1, 0.5, 1, 1, 1, 1], [2, np.nan, 0, 0, 0, np.nan], [3, 2, np.nan, 1, 1, 3]]
    np.testing.assert_array_equal(RowCoder(columns, "float64").encode(frame), expected)


def test_a_column_of_texts_is_one_of_numbers_only_if_most_of_all_chunks_are():
    frames = [pd.DataFrame({"a": ["1", "2"]}), pd.DataFrame({"a": ["x", "y", "z", "w", None]})]
    assert columns_of(*frames, texts=True)[0] == (Column("a", "category", ("1", "2", "w", "x", "y", "z")),)
    assert columns_of(frames[0], texts=True)[0] == (Column("a"),)


def test_numbers_that_a_program_made_texts_stay_texts_as_far_as_they_can():
    few, many = pd.DataFrame({"a": ["1", "2.5"]}), pd.DataFrame({"a": [str(n) for n in range(50)]})
    assert columns_of(few) == ((Column("a", "category", ("1", "2.5")),), ())
    assert columns_of(many)[0] == (Column("a"),)
    assert "column 'a' contains numbers stored as text and is read as numbers" in columns_of(many)[1][0]
    coded = pd.DataFrame({"a": [f"{n:03}" for n in range(50)]})
    assert "50 distinct texts in 50 rows look like row names" in columns_of(coded)[1][0]
    assert columns_of(coded, texts=True)[0] == (Column("a"),)


@pytest.mark.parametrize("odd", ["?", "unknown", "-"])
@pytest.mark.parametrize("texts", [True, False])
def test_an_odd_cell_among_numbers_is_missing_and_told_with_its_row(odd, texts):
    frames = [
        pd.DataFrame({"hp": ["130", "165"], "b": ["1", "2"]}),
        pd.DataFrame({"hp": ["150", odd], "b": ["3", "4"]}),
    ]
    columns, notes = columns_of(*frames, texts=texts)
    assert columns[0] == Column("hp")
    assert (
        f"'hp' is numeric, but '{odd}' in row 3 is not a number; this cell is read as missing; "
        f"use --missing {shlex.quote(odd)} to confirm this, or --categorical hp to keep all cells as categories"
        in str(notes)
    )
    assert not any("'b'" in note for note in notes)
    coder = RowCoder(columns[:1], "float64")
    np.testing.assert_array_equal(
        np.concatenate([coder.encode(frame) for frame in frames])[:, 0], [130, 165, 150, np.nan]
    )
    named = columns_of(*frames, texts=texts, reading=Reading(missing=(odd,)))
    assert named[0][0] == Column("hp")
    assert not any("odd" in note or "row 3" in note for note in named[1])


def test_many_different_words_among_numbers_are_texts():
    tickets = [str(n) for n in range(11, 17)] + ["A/5 21", "PC 17", "C.A. 2", "SOTON"]
    assert columns_of(pd.DataFrame({"ticket": tickets}), texts=True)[0][0].kind == "category"
    typos = [str(n) for n in range(46)] + ["1l", "2O", "3.4.5", "12-"]
    columns, notes = columns_of(pd.DataFrame({"x": typos}), texts=True)
    assert columns == (Column("x"),)
    assert "'1l' in row 46 is not a number; 4 such cells are read as missing" in notes[0]


def test_words_for_missing_values_are_missing_among_numbers_only():
    frame = pd.DataFrame({"n": ["1", "NA", "null", "3"], "sex": ["m", "NA", "f", "NA"], "ok": ["a", "b", None, "a"]})
    for texts in (True, False):
        columns, notes = columns_of(frame, texts=texts)
        assert [column.categories for column in columns] == [(), ("NA", "f", "m"), ("a", "b")]
        told = "column 'sex' contains 'NA' in 2 cells, kept as a category; use --missing NA to read it as missing"
        assert told in notes
        assert not any("'ok'" in note or ("'n'" in note and "row" in note) for note in notes)
        columns, notes = columns_of(frame, texts=texts, reading=Reading(missing=("NA",)))
        assert columns[1].categories == ("f", "m")
        assert not any("sex" in note for note in notes)


def test_several_words_for_missing_values_are_all_named():
    _, notes = columns_of(pd.DataFrame({"a": ["x", "None", "NA", "None"]}), texts=True)
    assert "--missing None --missing NA to read" in notes[0]
    assert "'None' in 2 cells" in notes[0]
    assert "(also 'NA')" in notes[0]


def test_a_named_word_may_be_a_number():
    frame = pd.DataFrame({"t": ["1.5", "-999", "-999.0", "3"], "typed": [-999.0, 1, 2, 3]})
    columns, _ = columns_of(frame, texts=True)
    coder = RowCoder(columns, "float64", Rules(missing=("-999",)))
    expected = [[1.5, np.nan], [np.nan, 1], [np.nan, 2], [3, 3]]
    np.testing.assert_array_equal(coder.encode(frame), expected)


def decimals(frame, **how):
    found = survey(frame, texts=True, **how)
    columns, notes = found.columns()
    return RowCoder(columns, "float64", found.rules).encode(frame).T.tolist(), notes


def test_decimal_commas_are_found_and_told():
    values, notes = decimals(
        pd.DataFrame({"a": ["1", "1,5", "0,25"], "b": ["1.250", "2.000", "3"], "c": ["1,250", "7", "8"]})
    )
    assert values == [[1, 1.5, 0.25], [1250, 2000, 3], [1.25, 7, 8]]
    assert notes[0] == (
        "numbers are read with a decimal comma, such as '1,5' in row 1 of column 'a'; "
        "use --decimal . to read them with a decimal point"
    )
    assert "column 'b' contains '1.250' in row 0, read as 1250" in notes
    assert len(notes) == 2


def test_a_comma_beside_decimal_points_separates_thousands_and_is_told():
    values, notes = decimals(pd.DataFrame({"a": ["1.5", "2.25", "3"], "c": ["1,250", "7", "1,234,567.5"]}))
    assert values == [[1.5, 2.25, 3], [1250, 7, 1234567.5]]
    assert notes == (
        "column 'c' contains '1,250' in row 0, read as 1250",
        "column 'c' contains '1,234,567.5' in row 2, read as 1234567.5",
    )


def test_a_comma_that_may_be_either_is_as_the_source_suggests():
    frame = pd.DataFrame({"a": ["1,250", "2,500"]})
    assert decimals(frame)[0] == [[1250, 2500]]
    values, notes = decimals(frame, comma=True)
    assert values == [[1.25, 2.5]]
    assert "'1,250' in row 0 of column 'a'" in notes[0]
    assert decimals(frame, comma=True, reading=Reading(decimal="."))[0] == [[1250, 2500]]
    assert decimals(frame, reading=Reading(decimal=","))[0] == [[1.25, 2.5]]


def test_a_named_decimal_sign_is_the_only_one():
    frame = pd.DataFrame({"a": ["1,5", "2,5", "3.5"]})
    values, notes = decimals(frame, reading=Reading(decimal=","))
    np.testing.assert_array_equal(values, [[1.5, 2.5, np.nan]])
    assert "'3.5' in row 2" in notes[0]
    assert not any("--decimal" in note for note in notes)
    assert decimals(frame)[0] == [[1.5, 2.5, 3.5]]


def test_commas_in_texts_say_nothing_about_numbers():
    frame = pd.DataFrame({"tags": ["x", "y", "1,5", "z", "w"], "n": ["1,250", "2", "3", "4", "5"]})
    columns, _ = columns_of(frame, texts=True)
    assert [column.kind for column in columns] == ["category", "number"]
    assert survey(frame, texts=True).rules.decimal == "."


def test_percentages_are_fractions_and_told():
    values, notes = decimals(pd.DataFrame({"a": ["0.5", "12%", "7.5 %"]}))
    assert values == [[0.5, 0.12, 0.075]]
    assert notes == ("column 'a' contains '12%' in row 1, read as 0.12",)


def test_findings_of_one_kind_are_one_note():
    frame = pd.DataFrame({f"c{i}": ["1", "2", "?"] for i in range(8)})
    _, notes = columns_of(frame, texts=True)
    assert len(notes) == 1
    assert notes[0].startswith("column 'c0' is numeric, but '?' in row 2 is not a number")
    assert notes[0].endswith("; the same holds for 7 more columns: 'c1', 'c2', 'c3', 'c4', 'c5', ...")


def test_names_and_cells_in_notes_stay_in_their_line():
    _, notes = columns_of(pd.DataFrame({"a\nb": ["1", "2", "x\ny\x1b[2J"]}), texts=True)
    assert notes[0].isprintable()


def test_an_empty_column_is_left_out_and_told():
    columns, notes = columns_of(pd.DataFrame({"a": [1, 2], "b": [None, None], "c": [np.nan, np.nan]}))
    assert columns == (Column("a"),)
    assert notes == ("column 'b' is left out: all its cells are missing; the same holds for 1 more column: 'c'",)


@pytest.mark.parametrize(
    ("cells", "used"), [([0, 1, 2], False), ([7, 3, 5], False), ([1.5, 2, 3], True), ([2, 2, 3], True)]
)
def test_a_column_without_a_name_is_left_out_only_if_it_numbers_the_rows(cells, used):
    """An index that pandas saved may be of some of the rows: 7, 3, 5."""
    for name in ("Unnamed: 0", "__index_level_0__"):
        frame = pd.DataFrame({name: cells, "a": cells})
        kept = used or (name.startswith("Unnamed") and cells == [7, 3, 5])
        frames = [frame[:2], frame[2:]]
        columns, notes = columns_of(*frames)
        assert [column.name for column in columns] == ([frame.columns[0], "a"] if kept else ["a"])
        assert notes == (() if kept else (f"column '{frame.columns[0]}' is left out: it contains row numbers",))
        assert len(columns_of(*(part.astype(str) for part in frames), texts=True)[0]) == len(columns)


OBJECTS = {
    "decimal": ([Decimal("1.5"), None, Decimal("2")], [1.5, np.nan, 2]),
    "integers": ([2**70, None, 3], [2.0**70, np.nan, 3]),
    "mixed": ([1, 2.5, np.float32(3)], [1, 2.5, 3]),
    "date": ([date(1970, 1, 2), None, date(9999, 12, 31)], [1, np.nan, 2932896]),
    "time": ([datetime(1970, 1, 1, 12), None, datetime(1970, 1, 2, tzinfo=UTC)], [0.5, np.nan, 1]),
    "duration": ([timedelta(hours=12), None, timedelta(1)], [0.5, np.nan, 1]),
    "long duration": ([timedelta(hours=12), None, np.timedelta64(36, "h"), timedelta.max], [0.5, np.nan, 1.5, 1e9]),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_that_are_numbers_dates_or_durations_are_numbers(kind):
    cells, expected = OBJECTS[kind]
    frame = pd.DataFrame({"a": pd.Series(cells, dtype=object)})
    columns, notes = columns_of(frame)
    assert columns == (Column("a"),)
    np.testing.assert_array_equal(RowCoder(columns, "float64").encode(frame)[:, 0], expected)
    told = {"date": "days since 1970-01-01", "time": "days since 1970-01-01", "duration": "read as days"}
    kind = kind.removeprefix("long ")
    assert len(notes) == (kind in told)
    assert told.get(kind, "") in str(notes)


PANDAS = {
    "sparse": (pd.arrays.SparseArray([0.0, 1.0, 0.0]), [0, 1, 0]),
    "period": (pd.PeriodIndex(["1970-01-02", None, "1970-01-04"], freq="D"), [1, np.nan, 3]),
    "far dates": (np.array(["9999-12-31", "NaT", "75093-01-01"], "datetime64[s]"), [2932896, np.nan, 26707628]),
    "far dates in a zone": (
        pd.Series(np.array(["9999-12-31", "NaT", "0004-01-01"], "datetime64[us]")).dt.tz_localize("UTC").array,
        [2932896, np.nan, -718067],
    ),
    "far arrow dates": (
        pd.array([datetime(9999, 12, 31, tzinfo=UTC), None, None], pd.ArrowDtype(pa.timestamp("us", "UTC"))),
        [2932896, np.nan, np.nan],
    ),
    "far timedelta": (np.array([86400 * 10**9, 0, 43200], "timedelta64[s]"), [1e9, 0, 0.5]),
    "timedelta": (pd.to_timedelta(["12h", None, "24h"]), [0.5, np.nan, 1]),
    "zone": (
        pd.to_datetime(["1970-01-02", "1970-01-03", None]).tz_localize("UTC").tz_convert("Asia/Tokyo"),
        [1, 2, np.nan],
    ),
    "integers": (pd.array([1, None, 3], "Int64"), [1, np.nan, 3]),
    "arrow": (pd.array([1, None, 3], pd.ArrowDtype(pa.int64())), [1, np.nan, 3]),
    "arrow dates": (pd.array([date(1970, 1, 2), None, None], pd.ArrowDtype(pa.date32())), [1, np.nan, np.nan]),
    "arrow decimals": (
        pd.array([Decimal("1.5"), None, None], pd.ArrowDtype(pa.decimal128(4, 2))),
        [1.5, np.nan, np.nan],
    ),
    "strings": (pd.array(["x", None, "w"], "string"), [1, np.nan, 0]),
    "arrow strings": (pd.array(["x", None, "w"], pd.ArrowDtype(pa.string())), [1, np.nan, 0]),
    "booleans": (pd.array([True, None, False], "boolean"), [1, np.nan, 0]),
    "arrow booleans": (pd.array([True, None, False], pd.ArrowDtype(pa.bool_())), [1, np.nan, 0]),
    "categories": (pd.Categorical(["x", None, "w"]), [1, np.nan, 0]),
    "intervals": (pd.cut([1, 9, 1], [0, 5, 10]), [0, 1, 0]),
}


@pytest.mark.parametrize("kind", PANDAS)
def test_every_type_of_pandas_is_read(kind):
    cells, expected = PANDAS[kind]
    frame = pd.DataFrame({"a": cells}, index=[5, 6, 7])
    columns, _ = columns_of(frame)
    np.testing.assert_array_equal(RowCoder(columns, "float64").encode(frame)[:, 0], expected)


def test_parts_that_hold_different_things_are_left_out():
    columns, notes = columns_of(pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": [pd.Timestamp(0)]}))
    assert columns == ()
    assert notes == ("column 'a' is left out: it mixes types: date and number",)


def test_a_wide_table_is_looked_through_in_linear_time(monkeypatch):
    calls = Counter()
    for name in ("kind_of", "plain", "texts_of", "parse_numbers"):
        own = getattr(cells, name)
        monkeypatch.setattr(cells, name, lambda *given, own=own, name=name: calls.update([name]) or own(*given))
    counts = []
    for width in (50, 200):
        calls.clear()
        frame = pd.DataFrame({f"c{i}": ["1,5", "2,5"] for i in range(width)})
        found = survey(frame, texts=True)
        RowCoder(found.columns()[0], "float64", found.rules).encode(frame)
        counts.append(sum(calls.values()))
    assert counts[1] <= 4 * counts[0]


def test_a_chunk_without_any_value_decides_nothing():
    frames = [pd.DataFrame({"a": [None, None]}, dtype=object), pd.DataFrame({"a": [1.0, 2.0]})]
    assert columns_of(*frames)[0] == (Column("a"),)


def test_names_of_rows_and_unusable_columns_are_left_out_and_said():
    frame = pd.DataFrame({"id": [f"row {i}" for i in range(50)], "list": [[1]] * 50, "x": np.arange(50.0)})
    columns, notes = columns_of(frame)
    assert [column.name for column in columns] == ["x"]
    assert len(notes) == 2
    assert "'id'" in notes[0]
    assert "50 distinct texts in 50 rows" in notes[0]
    assert "list" in notes[1]


def test_too_many_categories_are_left_out():
    frame = pd.DataFrame({"word": [f"w{i % 1500}" for i in range(5000)]})
    columns, notes = columns_of(frame)
    assert columns == ()
    assert "more than 1,000" in notes[0]


def test_float32_is_enough_only_for_float32_and_small_integers():
    assert not survey(pd.DataFrame({"a": np.array([1.5], np.float32), "b": np.array([1], np.int16)})).wide
    assert survey(pd.DataFrame({"a": np.array([1.5], np.float64)})).wide
    assert survey(pd.DataFrame({"a": [2**40]})).wide


@pytest.mark.parametrize(("rows", "odd", "kept"), [(40, 5, False), (18, 4, True)])
def test_numbers_among_more_texts_than_a_few_are_told(rows, odd, kept):
    """Neither numbers nor names of rows: what stands in the way is named, with what makes them numbers."""
    cells = [f"({value}.5)" if value < odd else f"{value}.25" for value in range(rows)]
    columns, notes = columns_of(pd.DataFrame({"b": cells, "a": [0.5 * row for row in range(rows)]}), texts=True)
    assert ("b" in [column.name for column in columns]) == kept
    how = "is read as categories" if kept else "is left out"
    others = f"and {odd - 1} other cells are not"
    assert f"column 'b' {how}: most cells are numbers, but '(0.5)' in row 0 {others}; use --missing '(0.5)'" in notes[0]
    missing = tuple(f"({value}.5)" for value in range(odd))
    reading = Reading(missing=missing)
    read, _ = module.survey([pd.DataFrame({"b": cells})], texts=True, reading=reading).columns()
    assert read == (Column("b"),)


@pytest.mark.parametrize("text", ["192.168.100.101", "1.100.100"])
def test_several_points_are_no_number_beside_decimal_points(text):
    frame = pd.DataFrame({"ip": [text, "10.100.200.300", text], "x": ["0.5", "1.5", "2"]})
    columns, _ = columns_of(frame, texts=True)
    assert columns[0] == Column("ip", "category", tuple(sorted({text, "10.100.200.300"})))
    assert columns_of(frame, texts=True, reading=Reading(decimal="."))[0][0].kind == "category"
    values, _ = decimals(pd.DataFrame({"ip": ["1", "2", text]}))
    np.testing.assert_array_equal(values, [[1, 2, np.nan]])


def test_several_points_are_a_number_beside_decimal_commas_and_told():
    frames = pd.DataFrame({"n": ["1.234.567", "2.345.678"], "x": ["0,5", "1,5"]})
    values, notes = decimals(frames)
    assert values == [[1234567, 2345678], [0.5, 1.5]]
    assert (
        "column 'n' contains '1.234.567' in row 0, read as 1234567; use --categorical n to keep the cells as categories"
        in notes
    )
    assert decimals(frames[["n"]], reading=Reading(decimal=","))[0] == [[1234567, 2345678]]


@pytest.mark.parametrize("text", ["100 200", "100'200", "100\xa0200", "100\u202f200"])
def test_spaces_between_digits_are_told_with_the_remedy(text):
    values, notes = decimals(pd.DataFrame({"my column": [text, "1", "2"]}))
    assert values == [[100200, 1, 2]]
    told = f"'{printable(text)}' in row 0, read as 100200; use --categorical 'my column' to keep"
    assert told in notes[0]


def test_zeros_before_numbers_are_told_and_exponents_are_not():
    _, notes = decimals(pd.DataFrame({"zip": ["01234", "20500"], "x": ["1e-3", "−2e-3"]}))
    assert notes == (
        "column 'zip' contains '01234' in row 0, read as 1234; use --categorical zip to keep the cells as categories",
    )


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (["1", "9007199254740993", "3"], True),
        ([1, 2**53 + 1, 3], False),
        (np.array([1, 2**53 + 1, 3], np.uint64), False),
        (pd.array([1, 2**53 + 1, None], "Int64"), False),
        (pd.Series([1, 2**53 + 1, 3], dtype=object), False),
    ],
)
def test_whole_numbers_that_a_float_rounds_are_told(column, texts):
    columns, notes = columns_of(pd.DataFrame({"a": [1, 2**53, 3]}), pd.DataFrame({"a": column}), texts=texts)
    assert columns == (Column("a"),)
    assert notes == (
        "column 'a' contains integers beyond 2^53, such as 9007199254740993 in row 4, which are rounded; "
        "if they are identifiers, use --categorical a to keep them as categories",
    )


def test_large_numbers_that_a_float_holds_are_not_told():
    assert columns_of(pd.DataFrame({"a": [2**60, -(2**53)], "b": [1e300, 0.5]}))[1] == ()


def test_a_decimal_sign_that_most_numbers_do_not_have_is_told():
    for rows in (10, 40):
        frame = pd.DataFrame({"a": [f"{row},5" for row in range(rows)]})
        notes = columns_of(frame, texts=True, reading=Reading(decimal="."))[1]
        told = "most cells are numbers with the decimal sign ',', such as '0,5' in row 0, but --decimal . is given"
        assert told in notes[0]
        assert columns_of(frame, texts=True)[0] == (Column("a"),)


def test_texts_that_differ_in_blanks_alone_stay_apart_and_are_told():
    columns, notes = columns_of(pd.DataFrame({"a": ["u", " u", "v"]}), texts=True)
    assert columns[0].categories == (" u", "u", "v")
    assert notes[0].startswith("column 'a' contains ' u' and 'u', which differ only in spaces and are kept apart")


def test_a_column_left_out_as_names_of_rows_can_be_kept():
    frame = pd.DataFrame({"id": [f"row {i}" for i in range(50)], "x": np.arange(50.0)})
    assert "look like row names; use --categorical id to keep it" in columns_of(frame)[1][0]
    assert len(columns_of(frame, reading=Reading(categorical="id"))[0][0].categories) == 50
