"""CSV files as people have them: dialects, lines above the table, rows of other lengths."""

import numpy as np
import pytest

import salience
from salience.data import open_data
from salience.errors import UserError
from salience.reading import Reading

PLAIN = "a,b,c\n1.5,x,10\n2.5,y,20\n3.5,x,30\n"


@pytest.fixture
def opened(tmp_path):
    def write(text, **options):
        reading = Reading(**options)
        (tmp_path / "t.csv").write_text(text)
        return open_data(tmp_path / "t.csv", reading=reading)

    return write


def names(data):
    return [column.name for column in data.spec.columns]


DIALECTS = {
    "plain": (PLAIN, None),
    "german": ("a;b;c\n1,5;x;10\n2,5;y;20\n3,5;x;30\n", "decimal comma, such as '1,5' in row 0 of column 'a'"),
    "tab": (PLAIN.replace(",", "\t"), "cells are separated by tabs; use --separator to change this"),
    "bar": (PLAIN.replace(",", "|"), "cells are separated by bars (|); use --separator to change this"),
    "semicolon": (PLAIN.replace(",", ";"), "cells are separated by semicolons; use --separator to change this"),
    "colon": (PLAIN.replace(",", ":"), "cells are separated by colons; use --separator to change this"),
    "tilde": (PLAIN.replace(",", "~"), "cells are separated by ~; use --separator to change this"),
    "spaces": ("a b c\n1.5 x 10\n2.5  y 20\n 3.5 x  30\n", "cells are separated by spaces"),
    "excel": ("sep=;\n" + PLAIN.replace(",", ";"), "cells are separated by semicolons"),
    "blank lines": ("\n \n" + PLAIN.replace("2.5", "\n\n2.5"), None),
    "comments": (
        "# made by us\n# in 2020\n" + PLAIN,
        "2 comment lines above the table are skipped: # made by us",
    ),
    "comments within": ("#,,,,\n" + PLAIN.replace("2.5", "# a, b, c, d, e\n2.5"), "skipped"),
    "quotes": (PLAIN.replace("x", '"x"'), None),
    "windows": (PLAIN.replace("\n", "\r\n"), None),
    "spaces after commas": (PLAIN.replace(",", ", "), None),
    "no end": (PLAIN.rstrip(), None),
    "mark": ("\ufeff" + PLAIN, None),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_table_is_the_same_in_every_dialect(opened, dialect):
    text, note = DIALECTS[dialect]
    data = opened(text)
    assert names(data) == ["a", "b", "c"]
    assert data.spec.columns[1].categories == ("x", "y")
    np.testing.assert_array_equal(data.x, [[1.5, 0, 10], [2.5, 1, 20], [3.5, 0, 30]])
    assert (note in str(data.notes)) if note else data.notes == ()


@pytest.mark.parametrize(
    ("header", "expected"),
    [('"a, b";"c"', ["a, b", "c"]), ('"a\nb";c', ["a b", "c"]), ('"say ""a""";c', ['say "a"', "c"])],
)
def test_quoted_names_may_hold_anything(opened, header, expected):
    data = opened(f"{header}\n1;2\n3;4\n")
    assert names(data) == expected
    np.testing.assert_array_equal(data.x, [[1, 2], [3, 4]])


def test_commas_in_texts_are_no_separators(opened):
    data = opened("a;b\n1;x, y, z\n2;u, v, w\n")
    assert names(data) == ["a", "b"]
    assert data.spec.columns[1].categories == ("u, v, w", "x, y, z")


def test_spaces_separate_numbers_only(opened):
    data = opened("free text\nhello world\nsome words\n")
    assert names(data) == ["free text"]
    assert data.spec.columns[0].categories == ("hello world", "some words")


def test_what_the_user_says_wins(opened):
    text = "sep=;\n1,5;2,5\n3,5;4,5\n"
    np.testing.assert_array_equal(opened(text).x, [[1.5, 2.5], [3.5, 4.5]])
    data = opened(text, separator=",", header=True)
    assert names(data) == ["1", "5;2", "5"]
    data = opened("a;b\n1,250;2\n", decimal=".")
    np.testing.assert_array_equal(data.x, [[1250, 2]])
    np.testing.assert_array_equal(opened("a;b\n1,250;2\n").x, [[1.25, 2]])
    assert names(opened("a;b\n1;2\n", header=False)) == ["0", "1"]
    assert len(opened("1;2\n3;4\n", header=True)) == 1


@pytest.mark.parametrize("text", ["5.1,3.5,Iris-setosa\n4.9,3.0,Iris-setosa\n4.7,3.2,Iris-virginica\n"])
def test_a_file_without_a_header_keeps_its_first_row(opened, text):
    data = opened(text)
    assert names(data) == ["0", "1", "2"]
    np.testing.assert_array_equal(data.x, [[5.1, 3.5, 0], [4.9, 3.0, 0], [4.7, 3.2, 1]])
    assert "the first line ('5.1,3.5,Iris-setosa') contains values" in data.notes[0]
    assert "use --header to read it as column names" in data.notes[0]
    assert opened(text, header=False).notes == ()


@pytest.mark.parametrize("header", ["0,1,2", "2019,2020,2021", "a,b,3", ",b,c"])
def test_names_that_are_numbers_are_names_if_they_count_on(opened, header):
    assert len(opened(f"{header}\n7,8,9\n7.5,8,9\n7,8,9\n")) == 3


def test_a_first_row_of_numbers_that_do_not_count_on_is_a_row(opened):
    assert len(opened("0,1,3\n7,8,9\n7.5,8,9\n")) == 3
    assert len(opened("7\n8\n9\n")) == 3


def test_numpy_writes_the_names_into_a_comment(opened):
    data = opened("# a,b\n1.5,2\n3.5,4\n")
    assert names(data) == ["a", "b"]
    np.testing.assert_array_equal(data.x, [[1.5, 2], [3.5, 4]])
    assert "the last comment line is read as the column names" in str(data.notes)
    assert names(opened("# a,b\n1.5,2\n3.5,4\n", header=False)) == ["0", "1"]


def test_a_sign_for_comments_within_a_table_is_text(opened):
    data = opened("colour,n\n#fff,1\n#000,2\n#fff,3\n")
    assert data.spec.columns[0].categories == ("#000", "#fff")


def test_short_rows_are_filled_and_told(opened):
    data = opened("a,b,c\n1,2,3\n4,5\n7,8,9\n\n1\n")
    np.testing.assert_array_equal(data.x, [[1, 2, 3], [4, 5, np.nan], [7, 8, 9], [1, np.nan, np.nan]])
    told = "2 rows have fewer cells than the 3 columns, the first is row 1; missing cells at the end are missing values"
    assert told in data.notes
    assert opened("a,b,c\n1,2,3\n4,5,\n7,8,9\n").notes == ()
    assert "1 row has fewer cells" in opened("a b c\n1 2 3\n4 5 6\n7 8\n", separator=" ").notes[0]


def test_long_rows_are_refused_by_row_and_line(opened):
    with pytest.raises(UserError, match=r"expected 2 cells in each row.*got 3 in row 1 \(line 4\); put texts"):
        opened("\na,b\n1,2\n3,4,5\n")


def test_an_empty_column_is_told_and_a_row_with_an_empty_cell_fits(opened, tmp_path):
    data = opened("a,b,\n1,,\n2,,\n")
    assert names(data) == ["a"]
    assert (
        data.notes[0]
        == "column 'b' is left out: all its cells are missing; the same holds for 1 more column: 'Unnamed: 2'"
    )
    run = opened("a,b\n1,2\n3,4\n").spec
    (tmp_path / "one.csv").write_text("a,b\n1,\n")
    np.testing.assert_array_equal(open_data(tmp_path / "one.csv", spec=run).x, [[1, np.nan]])


def test_columns_without_a_name_are_used_unless_they_number_the_rows(opened):
    data = opened(",a,,\n0,5,1.5,7\n1,6,2.5,7\n2,7,3.5,8\n")
    assert names(data) == ["a", "Unnamed: 2", "Unnamed: 3"]
    assert data.notes == ("column 'Unnamed: 0' is left out: it contains row numbers",)


def test_a_line_of_50_mb_is_read_or_refused(opened):
    long = "x" * 50_000_000
    with pytest.raises(UserError, match="its first line is longer than"):
        opened(long)
    data = opened(f"a,b\n1,2\n3,{long}\n5,6\n")
    assert len(data) == 3
    assert all(len(note) < 300 for note in data.notes)


def test_cells_that_csv_cannot_cut_are_refused(opened):
    with pytest.raises(UserError, match="cannot be read as CSV"):
        opened(f"{'x' * 200_000},b\n1,2\n")


def test_a_run_reads_new_files_by_its_own_columns(tmp_path):
    (tmp_path / "train.csv").write_text("n,c,t\n1,1,x\n2,?,y\n3,u,x\n4,v,y\n5,w,x\n")
    run = open_data(tmp_path / "train.csv").spec
    assert [column.kind for column in run.columns] == ["number", "category", "category"]
    (tmp_path / "new.csv").write_text("t,c,n,more\nx,1,7,q\ny,1,?,q\nx,u,9,q\n")
    data = open_data(tmp_path / "new.csv", spec=run)
    assert data.spec == run
    np.testing.assert_array_equal(data.x, [[7, 0, 0], [np.nan, 0, 1], [9, 2, 0]])
    assert data.notes == (
        "column 'n' is numeric, but '?' in row 1 is not a number; this cell is read as missing; "
        "use --missing '?' to confirm this, or --categorical n to keep all cells as categories",
        "the run does not use 1 column of the source: 'more'",
    )
    (tmp_path / "new.csv").write_text("n,c,t\ntall,1,x\n")
    with pytest.raises(UserError, match="mismatched column 'n': expected numbers, got 'tall' in row 0"):
        open_data(tmp_path / "new.csv", spec=run)


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_three_decimals_are_no_thousands(tmp_path, separator):
    """0.346 has a leading zero, so its point is a decimal one; and 1.234 beside no comma is what pandas reads."""
    path = tmp_path / "x.csv"
    for rows in (["0.346", "-0.123", "1.250"], ["1.234", "2.500", "3.125"]):
        path.write_text(separator.join("ab") + "\n" + "".join(f"{row}{separator}0.500\n" for row in rows))
        np.testing.assert_allclose(open_data(path).x, [[float(row), 0.5] for row in rows])


def test_a_leading_zero_tells_a_decimal_comma(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\n"0,100",1\n"0,107",2\n"0,250",3\n')
    np.testing.assert_allclose(open_data(tmp_path / "x.csv").x[:, 0], [0.1, 0.107, 0.25])


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([0, 1, 2, 3], False),
        ([1, 2, 3, 4], False),
        ([2, 0, 3, 1], False),
        ([12, 15, 11, 13], True),
        ([0, 1, 4, 9], True),
    ],
)
def test_a_column_without_a_name_is_left_out_only_where_it_numbers_the_rows(tmp_path, values, kept):
    rows = "".join(f"{value},{0.5 * value}\n" for value in values)
    (tmp_path / "x.csv").write_text(f",size\n{rows}")
    assert len(open_data(tmp_path / "x.csv").spec.columns) == 1 + kept


@pytest.mark.parametrize("said", ["tab", "\\t", "\t"])
def test_a_tab_can_be_typed(tmp_path, said):
    (tmp_path / "x.csv").write_text("a\tb\n1\t2\n3\t4\n")
    assert len(open_data(tmp_path / "x.csv", reading=Reading(separator=said)).spec.columns) == 2


def test_a_separator_line_may_be_quoted(tmp_path):
    (tmp_path / "x.csv").write_text('"sep=;"\na;b\n1;2\n3;4\n')
    assert [column.name for column in open_data(tmp_path / "x.csv").spec.columns] == ["a", "b"]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "separator", "told"), [("t.tsv", "\t", False), ("t.tsv", ",", True), ("t.csv", "\t", True)]
)
def test_a_separator_is_told_where_the_name_of_the_file_does_not_say_it(tmp_path, name, separator, told):
    path = write(tmp_path / name, PLAIN.replace(",", separator))
    assert any("--separator" in note for note in open_data(path).notes) == told
    assert open_data(path, reading=Reading(separator=separator)).notes == ()


def test_texts_in_one_column_of_a_tsv_file_are_not_cut_at_commas(tmp_path):
    path = write(tmp_path / "t.tsv", "text\nhello\nyou, there\n")
    assert open_data(path).spec.columns[0].categories == ("hello", "you, there")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a:b\n1:2\n3:4\n", "but each line contains ':' 1 time; use --separator : to split the lines"),
        ("a:b\nhttp://x\nhttp://y\n", "but each line contains ':' 1 time"),
        ("time\n12:30\n13:40\n", None),
        ("text\nhello: you\nhello\n", None),
    ],
)
def test_colons_that_may_be_times_do_not_separate_and_are_told(opened, text, told):
    data = opened(text)
    assert len(data.spec.columns) == 1
    assert told in str(data.notes) if told else data.notes == ()
    if told:
        assert len(opened(text, separator=":").spec.columns) == 2


@pytest.mark.parametrize(
    ("text", "categories", "told"),
    [
        ('n,c\n1," a"\n2,a\n3,"a "\n', (" a", "a", "a "), True),
        ("n,c\n1, a\n2,a\n", (" a", "a"), True),
        ("n, c\n1, a\n2, b\n", ("a", "b"), False),
        ('n, c\n1, " a"\n2, "a, b"\n', (" a", "a, b"), False),
        ("n,c\n1,  \n2,a\n3,b\n", ("a", "b"), False),
    ],
)
def test_blanks_are_content_unless_they_follow_every_separator(opened, text, categories, told):
    data = opened(text)
    assert data.spec.columns[1].categories == categories
    assert any("differ only in spaces" in note for note in data.notes) == told
    labelled = opened(text.replace("n,", "n,").replace("c\n", "label\n", 1))
    assert labelled.classes == categories
    assert any("differ only in spaces" in note for note in labelled.notes) == told


def test_blanks_before_some_quotes_are_taken_away_and_told(opened):
    data = opened('n,c\n1, "x, y"\n2,"u"\n3, u\n')
    assert data.spec.columns[1].categories == ("u", "x, y")
    assert "some cells have spaces before a quote, so spaces after a separator are removed in all cells" in data.notes


@pytest.mark.parametrize("header", [",,label", ",,kind of it", "a,,label", " , ,label"])
def test_a_header_may_lack_names(opened, header):
    assert len(opened(f"{header}\n1.5,2,x\n3.5,4,y\n")) == 2


def test_a_first_row_may_lack_numbers(opened):
    data = opened(",,x\n1.5,2,x\n3.5,4,y\n")
    assert len(data) == 3
    assert "contains values and is read as a row" in data.notes[0]


def test_names_that_are_there_already_get_a_number_and_are_told(opened):
    data = opened("a,b,a,a,a.1\n1,2,3,4,5\n6,7,8,9,9\n")
    assert names(data) == ["a", "b", "a.2", "a.3", "a.1"]
    assert data.notes == ("2 columns repeat an earlier name, such as 'a': renamed to 'a.2', 'a.3'",)
    assert names(opened("a,a\n1,2\n")) == ["a", "a.1"]


@pytest.mark.parametrize("separator", [",", " ", ";"])
def test_a_header_of_one_cell_less_is_that_of_r(opened, separator):
    text = '"mpg","cyl"\n"Mazda RX4",21.5,6\n"Datsun 710",22.5,4\n'.replace(",", separator)
    data = opened(text)
    assert names(data) == ["mpg", "cyl"]
    np.testing.assert_array_equal(data.x, [[21.5, 6], [22.5, 4]])
    assert "the first cell of each row ('Mazda RX4') is read as the name of the row" in data.notes[-1]
    np.testing.assert_array_equal(opened("a,b\n1,2,\n3,4,\n").x, [[1, 2], [3, 4]])  # a separator at the end


ENCODED = "größe,label\n1.5,ä\n2.5,ö\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_may_be_unicode_of_any_kind_with_a_mark(tmp_path, encoding):
    data = open_data(write(tmp_path / "t.csv", ENCODED, encoding))
    assert names(data) == ["größe"]
    assert data.classes == ("ä", "ö")


@pytest.mark.parametrize("before", [0, 100_000])
def test_other_encodings_are_refused_with_the_remedy(tmp_path, before):
    path = write(tmp_path / "t.csv", "a,b\n" + "1,x\n" * before + "2,ä\n", "latin-1")
    with pytest.raises(UserError, match=r"^source: .*t\.csv cannot be read as CSV: .*; save it as UTF-8$"):
        open_data(path)


def test_a_run_reads_new_files_without_a_header_as_its_own(tmp_path):
    rep = salience.fit(
        "pca",
        write(tmp_path / "t.csv", "5.1,3.5,x\n4.9,3.0,y\n4.7,3.2,x\n"),
        dim=1,
        out=tmp_path / "run",
        progress=False,
    )
    assert salience.load(tmp_path / "run").reading.header is False
    for _ in range(2):  # the second one comes from the cache
        assert len(rep.open(write(tmp_path / "new.csv", ",,x\n"), progress=False)) == 1
        assert open_data(tmp_path / "t.csv").reading.header is False
    data = rep.open(write(tmp_path / "named.csv", "a,b,c\n5,3,x\n6,4,y\n7,4,y\n"), progress=False)
    assert "the first line ('a,b,c') looks like column names, but is read as a row, as requested" in data.notes
    assert len(rep.open(tmp_path / "t.csv", progress=False)) == 3
    assert salience.resume(tmp_path / "run", progress=False).reading == rep.reading


def test_a_run_reads_new_files_with_decimal_commas_as_its_own(tmp_path):
    train = write(tmp_path / "t.csv", 'a,b\n"1,5",1\n"2,250",2\n3,4\n')
    rep = salience.fit("pca", train, dim=1, out=tmp_path / "run", progress=False)
    assert rep.reading.decimal == ","
    new = write(tmp_path / "new.csv", 'a,b\n"1,250",1\n')
    np.testing.assert_array_equal(rep.open(new, progress=False).x, [[1.25, 1]])
    assert open_data(new).x[0, 0] == 1250
    points = write(tmp_path / "points.csv", "a,b\n1.5,1\n2.5,2\n")
    with pytest.raises(UserError, match=r"got '1\.5' in row 0; use --decimal \. to read them as numbers"):
        rep.open(points, progress=False)
    assert rep.open(points, reading=Reading(decimal="."), progress=False).x[0, 0] == 1.5


def test_decimal_signs_of_both_kinds_are_not_kept(tmp_path):
    data = open_data(write(tmp_path / "t.csv", "a;b\n1,5;1\n2,5;2\n3.5;4\n"))
    assert data.x[:, 0].tolist() == [1.5, 2.5, 3.5]
    assert data.reading == Reading()


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a;y\n1;1,250\n2;2,5\n3;0,5\n", {}, [1.25, 2.5, 0.5]),
        ('a,y\n"1,5","1,250"\n"2,5","2,375"\n"3,5","0,500"\n', {}, [1.25, 2.375, 0.5]),
        ('a,y\n1,"1,250"\n2,"2,375"\n', {"decimal": ","}, [1.25, 2.375]),
        ("a,y\n1,1.250\n2,2.375\n", {}, [1.25, 2.375]),
    ],
)
def test_labels_have_the_decimal_sign_of_the_table(tmp_path, text, options, expected):
    path = write(tmp_path / "t.csv", text)
    assert sorted(open_data(path, labels="y", reading=Reading(**options)).quantity) == sorted(expected)


def test_labels_that_are_read_as_other_numbers_are_told(tmp_path):
    data = open_data(write(tmp_path / "t.csv", 'a,label\n1.5,1000\n2.5,"2,000"\n3,1000\n'))
    assert data.classes == ("1000", "2000")
    assert "column 'label' contains '2,000' in row 1, read as 2000" in data.notes
    plain = open_data(write(tmp_path / "p.csv", "a,label\n1.5,1.0\n2.5,2.0\n3,1.0\n"))
    assert (plain.classes, plain.notes) == (("1", "2"), ())
    versions = open_data(write(tmp_path / "v.csv", "a,label\n1.5,1.100.100\n2.5,1.200.100\n3,1.100.100\n"))
    assert versions.classes == ("1.100.100", "1.200.100")


def test_labels_with_another_decimal_sign_than_named_are_told(tmp_path):
    path = write(tmp_path / "t.csv", "a,label\n1,1.5\n2,2.5\n")
    told = "contains '1.5', a number with the decimal sign '.', kept as a class because --decimal , is given"
    assert any(told in note for note in open_data(path, reading=Reading(decimal=",")).notes)
    whole = write(tmp_path / "w.csv", "a,label\n1,1\n2,2\n")
    assert not any("decimal sign" in note for note in open_data(whole, reading=Reading(decimal=",")).notes)
