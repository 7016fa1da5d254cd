import io
import json
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from salience.data import open_data
from salience.errors import UserError
from salience.reading import Reading

FRAME = pd.DataFrame(
    {
        "height": [1.5, None, 3.0, 4.5],
        "colour": ["red", "blue", None, "red"],
        "count": [1, 2, 3, 4],
        "label": ["b", "a", "b", None],
    }
)
STORED = np.array([[1.5, 1, 1], [np.nan, 0, 2], [3.0, np.nan, 3], [4.5, 1, 4]])


def png(value, mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, (8, 8), value).save(buffer, "PNG")
    return buffer.getvalue()


def written(frame, path):
    table = pa.Table.from_pandas(frame)
    writers = {
        ".parquet": lambda: pq.write_table(table, path, row_group_size=2),
        ".feather": lambda: pyarrow.feather.write_feather(table, str(path)),
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        ".arrow": lambda: write_stream(table, path),
    }
    writers[path.suffix]()
    return path


def write_stream(table, path):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".csv", ".tsv", ".arrow"])
def test_a_table_opens_the_same_from_any_file_and_from_memory(tmp_path, ending):
    path = written(FRAME, tmp_path / f"t{ending}")
    for source in (FRAME, path, path):
        data = open_data(source)
        np.testing.assert_array_equal(data.x, STORED)
        assert [column.name for column in data.spec.columns] == ["height", "colour", "count"]
        assert data.spec.columns[1].categories == ("blue", "red")
        np.testing.assert_allclose(data.spec.columns[0].mean, 3.0)
        assert data.classes == ("a", "b")
        assert data.labels.tolist() == [1, 0, 1, -1]


def test_the_label_and_group_columns_are_named(tmp_path):
    path = written(FRAME, tmp_path / "t.csv")
    data = open_data(path, labels="colour", groups="label")
    assert data.classes == ("blue", "red")
    assert data.labels.tolist() == [1, 0, -1, 1]
    assert [column.name for column in data.spec.columns] == ["height", "count"]
    assert data.groups[0] == data.groups[2]
    assert len(set(data.groups.tolist())) == 3
    for argument in ("labels", "groups"):
        with pytest.raises(UserError, match=f"{argument}: no column 'sex'; the columns are: height, colour"):
            open_data(path, **{argument: "sex"})


def test_labels_given_as_values(tmp_path):
    path = written(FRAME.drop(columns="label"), tmp_path / "t.parquet")
    assert open_data(path, labels=[3, 3, 1, 1]).labels.tolist() == [1, 1, 0, 0]
    assert open_data(path, labels=[3, 1, 1, 1]).labels.tolist() == [1, 0, 0, 0]


def test_a_label_column_of_measurements_is_no_class(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0], "label": [0.5, 0.7]})
    data = open_data(frame)
    assert data.labels is None
    assert data.notes == (
        "column 'label' is left out: it contains measurements, not classes; use --labels to predict it",
    )


def test_measurements_named_as_labels_are_kept_to_the_digit(tmp_path):
    values = [0.1, -1.0, np.nan, 1 / 3, 0.1]
    frame = pd.DataFrame({"x": range(5), "price": values})
    for source in (frame, written(frame, tmp_path / "t.parquet"), written(frame, tmp_path / "t.csv")):
        data = open_data(source, labels="price")
        np.testing.assert_array_equal(data.quantity, values)
        assert data.measured
        assert [column.name for column in data.spec.columns] == ["x"]
        with pytest.raises(
            UserError, match=r"SupCon requires classes, but the labels of .* are measurements such as -1.0"
        ):
            data.require_labels("SupCon")


def test_measurements_given_as_values_are_labels():
    for source in (np.zeros((3, 2)), pd.DataFrame({"x": range(3)})):
        np.testing.assert_array_equal(open_data(source, labels=[0.5, 2.0, 0.25]).quantity, [0.5, 2.0, 0.25])


def test_numeric_labels_in_csv_are_sorted_as_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x;label\n1;10\n2;9\n3;\n")
    data = open_data(path)
    assert data.classes == ("9", "10")
    assert data.labels.tolist() == [1, 0, -1]


@pytest.mark.parametrize("ending", [".csv", ".parquet", None])
def test_words_for_missing_are_texts_among_texts_in_every_format(tmp_path, ending):
    frame = pd.DataFrame(
        {"x": ["1", "NA", "3", "4"], "colour": ["red", "NA", "blue", "None"], "label": ["None", "NA", None, "nan"]}
    )
    source = written(frame, tmp_path / f"t{ending}") if ending else frame
    data = open_data(source)
    assert data.classes == ("NA", "None", "nan")
    assert data.labels.tolist() == [1, 0, -1, 2]
    assert data.spec.columns[1].categories == ("NA", "None", "blue", "red")
    np.testing.assert_array_equal(data.x, [[1, 3], [np.nan, 0], [3, 2], [4, 1]])
    assert any(note.startswith("column 'label' contains 'NA' in 1 cell, kept as a class") for note in data.notes)
    assert any(note.startswith("column 'colour' contains 'NA' in 1 cell, kept as a category") for note in data.notes)
    named = open_data(source, reading=Reading(missing=("NA", "None")))
    assert named.classes == ("nan",)
    assert named.labels.tolist() == [-1, -1, -1, 0]
    np.testing.assert_array_equal(named.x, [[1, 1], [np.nan, np.nan], [3, 0], [4, np.nan]])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path, separator):
    path = tmp_path / "t.csv"
    path.write_text(f"a{separator}b\n1{separator}x\n{separator}y\n")
    np.testing.assert_array_equal(open_data(path).x, [[1, 0], [np.nan, 1]])


def test_a_column_that_turns_into_texts_late_is_one_of_numbers_if_most_cells_are(tmp_path, monkeypatch):
    monkeypatch.setattr("salience.data.sources.delimited.CHUNK_ROWS", 2)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,1\n2,2\n1,3\nx,4\n1,5\n")
    data = open_data(path)
    np.testing.assert_array_equal(data.x.T, [[1, 2, 1, np.nan, 1], [1, 2, 3, 4, 5]])
    assert "column 'a' is numeric, but 'x' in row 3 is not a number;" in data.notes[0]
    path.write_text("a,b\n" + "1,1\n2,2\n1,3\nx,4\ny,5\nz,6\n")
    data = open_data(path)
    assert data.spec.columns[0].categories == ("1", "2", "x", "y", "z")
    np.testing.assert_array_equal(data.x.T, [[0, 1, 0, 2, 3, 4], [1, 2, 3, 4, 5, 6]])


def test_a_written_index_is_left_out(tmp_path):
    FRAME.to_csv(tmp_path / "t.csv")
    data = open_data(tmp_path / "t.csv")
    assert [column.name for column in data.spec.columns] == ["height", "colour", "count"]
    assert data.notes == ("column 'Unnamed: 0' is left out: it contains row numbers",)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused(tmp_path, value):
    frame = pd.DataFrame({"a": [1.0, 2.0, value]})
    for source in (frame, written(frame, tmp_path / "t.csv"), written(frame, tmp_path / "t.parquet")):
        with pytest.raises(UserError, match="infinite value at row 2, column 'a'"):
            open_data(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "has no rows"),
        ("label\nx\ny\n", "no column of numbers or categories"),
        ("a,b\n1,2\n1,2,3,4\n", "cannot be read as CSV"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        open_data(tmp_path / "t.csv")


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather", ".csv"])
def test_damaged_files_are_refused(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    path.write_bytes(b"\x80\xfe\x00PAR1 not really \x80\x81" * 20)
    with pytest.raises(UserError, match="cannot be read"):
        open_data(path)


def images(values, **columns):
    struct = pa.array([value and {"bytes": value, "path": None} for value in values])
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return pa.table({"image": struct, **columns}).replace_schema_metadata(metadata)


def test_parquet_with_labels_alone_is_refused(tmp_path):
    pq.write_table(pa.table({"label": [1, 2]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="no column of numbers or categories"):
        open_data(tmp_path / "t.parquet")


def test_images_in_parquet_with_named_classes_and_bad_ones(tmp_path):
    values = [png((10, 10, 10)), b"no image", png((30, 30, 30)), None, png((50, 50, 50))]
    pq.write_table(images(values, label=[1, 0, 0, 1, None]), tmp_path / "i.parquet", row_group_size=2)
    for _ in range(2):
        data = open_data(tmp_path / "i.parquet", progress=False)
        assert data.x[:, 0, 0, 0].tolist() == [10, 30, 50]
        assert data.classes == ("cat", "dog")
        assert data.labels.tolist() == [1, 0, -1]
        assert list(data.ids) == ["0", "2", "4"]
        assert [item.id for item in data.bad] == ["1", "3"]


def test_a_label_beyond_the_named_classes_is_refused(tmp_path):
    pq.write_table(images([png(0)] * 2, label=[0, 2]), tmp_path / "i.parquet")
    with pytest.raises(UserError, match=r"labels of 2 classes, got label 2"):
        open_data(tmp_path / "i.parquet")


def test_images_by_path_beside_the_file(tmp_path):
    (tmp_path / "a.png").write_bytes(png((9, 9, 9)))
    table = pa.table(
        {"image": pa.array([{"bytes": None, "path": "a.png"}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))}
    )
    pq.write_table(table, tmp_path / "i.parquet")
    assert (open_data(tmp_path / "i.parquet").x == 9).all()


def test_image_paths_do_not_leave_the_folder_of_the_file(tmp_path):
    (tmp_path / "data" / "in").mkdir(parents=True)
    for path in (tmp_path / "secret.png", tmp_path / "data" / "in" / "a.png"):
        path.write_bytes(png((9, 9, 9)))
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "secret.png")
    inside = ["in/a.png", "in/../in/a.png", str(tmp_path / "data/in/a.png")]
    outside = ["../secret.png", str(tmp_path / "secret.png"), "in/../../secret.png", "link.png"]
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = [{"bytes": None, "path": path} for path in [*inside, *outside, "in/\0.png"]]
    pq.write_table(pa.table({"image": pa.array(cells, struct)}), tmp_path / "data" / "i.parquet")
    data = open_data(tmp_path / "data" / "i.parquet", progress=False)
    assert list(data.ids) == ["0", "1", "2"]
    assert [item.reason for item in data.bad] == ["its path is outside the folder of the data file"] * 4 + [
        "its path is not valid"
    ]


def test_a_dataframe_of_the_users_own_may_name_any_file(tmp_path):
    (tmp_path / "a.png").write_bytes(png((9, 9, 9)))
    frame = pd.DataFrame({"image": [{"bytes": None, "path": str(tmp_path / "a.png")}]})
    assert (open_data(frame).x == 9).all()


def test_images_in_a_dataframe(tmp_path):
    frame = pd.DataFrame({"image": [{"bytes": png(i, "L"), "path": None} for i in (5, 6)], "label": ["x", "y"]})
    data = open_data(frame)
    assert data.x[:, 0, 0, 0].tolist() == [5, 6]
    assert data.labels.tolist() == [0, 1]
    raw = open_data(pd.DataFrame({"picture": [png(7, "L")]}))
    assert (raw.x == 7).all()


def test_a_folder_of_parquet_has_splits(tmp_path):
    for name, values in (("train-00000-of-00002", [1, 2]), ("train-00001-of-00002", [3]), ("test-00000-of-00001", [4])):
        pq.write_table(
            images([png((v, v, v)) for v in values], label=[v % 2 for v in values]), tmp_path / f"{name}.parquet"
        )
    assert open_data(tmp_path).x[:, 0, 0, 0].tolist() == [1, 2, 3]
    test = open_data(f"{tmp_path}:test")
    assert test.x[:, 0, 0, 0].tolist() == [4]
    assert test.split == "test"


def test_a_dataframe_keeps_float32_and_any_column_names():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32))
    data = open_data(frame)
    assert data.spec.dtype == "float32"
    assert [column.name for column in data.spec.columns] == ["0", "1"]
    np.testing.assert_array_equal(data.x, frame.to_numpy())


def test_nullable_types_open():
    frame = pd.DataFrame({"a": pd.array([1, None, 3], "Int64"), "b": pd.array([True, None, False], "boolean")})
    np.testing.assert_array_equal(open_data(frame).x, [[1, 1], [np.nan, np.nan], [3, 0]])


def test_bytes_are_images_only_if_they_are(tmp_path):
    geometry = [bytes([1, 1, 0, 0, 0, row]) for row in range(4)]
    audio = [{"bytes": b"ID3", "path": "a.mp3"}] * 4
    table = {"geometry": geometry, "n": [1, 2, 3, 4], "sound": audio}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    for source in (tmp_path / "t.parquet", pd.DataFrame(table)):
        data = open_data(source)
        np.testing.assert_array_equal(data.x[:, 0], [1, 2, 3, 4])
        assert "column 'geometry' is left out: its cells contain bytes" in str(data.notes)
    with_images = table | {"picture": [png((9, 9, 9))] * 3 + [b"damaged"]}
    pq.write_table(pa.table(with_images), tmp_path / "i.parquet")
    for source in (tmp_path / "i.parquet", pd.DataFrame(with_images)):
        assert (open_data(source, progress=False).x == 9).all()


def test_decimals_and_dates_in_parquet_are_numbers(tmp_path):
    days = [date(1970, 1, 2), None, date(1970, 1, 4)]
    table = pa.table({"price": pa.array([Decimal("1.50"), None, Decimal("2.25")]), "day": pa.array(days, pa.date32())})
    pq.write_table(table, tmp_path / "t.parquet")
    data = open_data(tmp_path / "t.parquet")
    np.testing.assert_array_equal(data.x, [[1.5, 1], [np.nan, np.nan], [2.25, 3]])
    assert data.notes == ("column 'day' is read as days since 1970-01-01",)


def test_columns_of_several_levels_are_named_by_all():
    columns = pd.MultiIndex.from_tuples([("size", "width"), ("size", "height"), ("label", "")])
    data = open_data(pd.DataFrame([[1.0, 2.0, "x"], [3.0, 4.0, "y"]], columns=columns))
    assert [column.name for column in data.spec.columns] == ["size_width", "size_height"]
    assert data.classes == ("x", "y")
    assert "multi-level column names are joined by '_', such as 'size_width'" in data.notes


def test_label_cells_of_a_csv_stay_as_they_are(tmp_path):
    (tmp_path / "t.csv").write_text("x,label\n1,01\n2,1\n3,001\n4,-1\n")
    data = open_data(tmp_path / "t.csv")
    assert data.classes == ("-1", "001", "01", "1")
    assert "column 'label': -1 is a class (1 item)" in str(data.notes)
    named = open_data(tmp_path / "t.csv", reading=Reading(missing=("-1",)))
    assert (named.classes, named.labels.tolist()) == (("001", "01", "1"), [1, 2, 0, -1])


def test_a_word_for_a_missing_group_makes_a_group_of_its_own(tmp_path):
    (tmp_path / "t.csv").write_text("x,who,other\n1,p,1\n2,NA,2\n3,NA,3\n4,p,4\n")
    assert open_data(tmp_path / "t.csv", groups="who").groups.tolist() == [0, 1, 1, 0]
    named = open_data(tmp_path / "t.csv", groups="who", reading=Reading(missing=("NA",)))
    assert len(set(named.groups.tolist())) == 3
    assert named.groups[0] == named.groups[3]


def test_what_was_prepared_by_other_rules_is_prepared_again(tmp_path, monkeypatch):
    path = written(FRAME, tmp_path / "t.csv")
    open_data(path)
    monkeypatch.setattr("salience.data.prepare.prepared_folder", None)
    open_data(path)
    monkeypatch.setattr("salience.data.sources.tabular.CELLS", 0)
    with pytest.raises(TypeError):
        open_data(path)


TRAINED = pd.DataFrame({"size": ["1", "2", "x"] * 2, "flag": [True, False, True] * 2, "c": ["red", "blue", "red"] * 2})


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("size", [1, None, 2], [0, np.nan, 1]),
        ("size", [1.0, 2.0, 1.0], [0, 1, 0]),
        ("size", ["1.0", "x", None], [0, 2, np.nan]),
        ("flag", [1, 0, 1], [1, 0, 1]),
        ("flag", [1.0, 0.0, None], [1, 0, np.nan]),
        ("flag", ["true", "FALSE", "1"], [1, 0, 1]),
        ("c", ["red", "NA", None], [1, np.nan, np.nan]),
    ],
)
def test_categories_are_matched_whatever_their_type(column, cells, expected):
    frame = TRAINED.iloc[:3].assign(**{column: pd.Series(cells)})
    spec = open_data(TRAINED.assign(size=pd.Categorical(TRAINED["size"]))).spec
    data = open_data(frame, spec=spec)
    np.testing.assert_array_equal(data.x[:, list(TRAINED).index(column)], expected)
    assert data.notes == ()


def test_categories_that_were_not_seen_are_counted_and_refused_where_none_was():
    spec = open_data(TRAINED[["c"]]).spec
    data = open_data(pd.DataFrame({"c": ["red", "green", "green", None, "pink"]}), spec=spec)
    np.testing.assert_array_equal(data.x[:, 0], [1, np.nan, np.nan, np.nan, np.nan])
    assert data.notes == ("column 'c': 3 values not seen in training, such as 'green' in row 1, read as missing",)
    with pytest.raises(UserError, match=r"column 'c': expected values that were seen in .* \(blue, red\), got none"):
        open_data(pd.DataFrame({"c": ["green", None]}), spec=spec)
    assert open_data(pd.DataFrame({"c": [None, None]}, dtype=object), spec=spec).notes == ()


def test_truth_values_fit_categories_0_and_1():
    spec = open_data(pd.DataFrame({"c": pd.Categorical(["0", "1", "1"])})).spec
    np.testing.assert_array_equal(open_data(pd.DataFrame({"c": [True, False]}), spec=spec).x[:, 0], [1, 0])


def test_a_file_of_no_batches_with_a_label_column_is_refused_in_one_line(tmp_path):
    path = tmp_path / "empty.arrow"
    with pa.ipc.new_file(str(path), pa.schema([("x", pa.float64()), ("label", pa.string())])):
        pass
    with pytest.raises(UserError, match="the table has no rows"):
        open_data(path)


def test_bytes_that_are_texts_are_read_as_texts_and_told(tmp_path):
    columns = {
        "label": [b"x", "ü".encode(), b"x", None],
        "c": [b"a", b"b\n", None, b"a"],
        "wkb": [bytes([1, 1, 0, 0, 0, row]) for row in range(4)],
        "latin": ["ä".encode("latin-1")] * 4,
        "n": [1, 2, 3, 4],
    }
    told = "bytes in UTF-8 are read as text in columns 'label', 'c'"
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "t.parquet")
    for source in (tmp_path / "t.parquet", pd.DataFrame(columns), pytest.importorskip("datasets").Dataset(table)):
        data = open_data(source)
        assert data.classes == ("x", "ü")
        assert data.spec.columns[0].categories == ("a", "b\n")
        assert [column.name for column in data.spec.columns] == ["c", "n"]
        assert told in data.notes
        assert "the same holds for 1 more column: 'latin'" in str(data.notes)


def test_a_column_whose_later_bytes_are_no_texts_is_left_out(tmp_path):
    frame = pd.DataFrame({"c": [b"a"] * 30 + [b"\xff"], "n": np.arange(31.0)})
    assert "column 'c' is left out: its cells contain bytes, neither numbers nor texts" in str(open_data(frame).notes)
