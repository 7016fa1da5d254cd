"""The reader of labels files by itself; what `predict` and folders of images make of it is tested with them."""

import subprocess
import sys

import pytest

from salience.errors import UserError
from salience.label_files import Line, match_items, read_label_file

IDS = ["a/1.png", "a/2.png", "b/3.png"]


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_lines_carry_their_number(write):
    path = write("\ufeffLabel,Item\n\n x , a/1.png \n")
    assert read_label_file(path) == [Line(3, "a/1.png", "x")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_be_unicode_with_a_mark(write, encoding):
    assert read_label_file(write("item,label\ncafé,x\n".encode(encoding))) == [Line(2, "café", "x")]


@pytest.mark.parametrize(
    "content", ["item,label\ncafé,x\n".encode("latin-1"), "item,label\na,x\n".encode("utf-16")[:-1]]
)
def test_other_encodings_are_refused(write, content):
    with pytest.raises(UserError, match="not text in UTF-8; save it as CSV in UTF-8"):
        read_label_file(write(content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,label\na,x\nb\n", "line 3: expected 2 cells as in the header, got 1"),
        ("item,label\na,x,y\n", "line 2: expected 2 cells as in the header, got 3"),
        ("name,class\na,x\n", "line 1: expected the columns item and label, got 'name,class'; write 'item,label'"),
        ("item,label\na,\n", "line 2 has no label"),
        (
            "item;label\na;x;y\n",
            "line 2: expected 2 cells as in the header, got 3; put text that contains semicolons in quotes",
        ),
        ('item,label\n" ",x\n', "line 2 has no item"),
        (f"item,label\n{'x' * 200_000},y\n", "line 2 cannot be read as CSV"),
    ],
)
def test_what_is_no_labels_file_is_refused_by_line(write, text, message):
    with pytest.raises(UserError, match=message):
        read_label_file(write(text))


def test_a_label_may_be_empty_where_that_is_allowed(write):
    path = write("item,label\na/1.png,\na/2.png,x\n")
    assert match_items(read_label_file(path, empty=True), IDS, path, name="it").label_of == {1: "x"}


def test_two_labels_of_one_item_are_refused_with_both_lines(write):
    path = write("item,label\na/1.png,x\n0,y\n")
    with pytest.raises(UserError, match="line 3 labels '0' as 'y', line 2 as 'x'; keep one"):
        match_items(read_label_file(path), IDS, path, name="it")


def test_lines_that_name_no_item_are_given_back_or_refused(write):
    path = write("item,label\nb/3.png,x\nb/4.png,y\n")
    lines = read_label_file(path)
    assert match_items(lines, IDS, path, name="it", unmatched=True).unmatched == (Line(3, "b/4.png", "y"),)
    with pytest.raises(UserError, match=r"line 3: it has no item 'b/4\.png'; did you mean 'b/3\.png'"):
        match_items(lines, IDS, path, name="it")


def test_it_loads_nothing_heavy():
    code = "import salience.label_files, sys; print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["item,label", '"item","label"', " Item , Label ", "note,label,item"])
def test_cells_are_separated_by_commas_semicolons_or_tabs(write, separator, header):
    columns = header.lower().replace('"', "").replace(" ", "").split(",")
    cells = {"item": "a, b;1.png", "label": "x", "note": ""}
    row = separator.join(f'"{cells[name]}"' for name in columns)
    path = write(f"{header.replace(',', separator)}\n{row}\n")
    assert read_label_file(path) == [Line(2, "a, b;1.png", "x")]


@pytest.mark.parametrize(
    ("row", "item", "label"),
    [
        ("  a.png  ,  big cat  ", "a.png", "big cat"),
        ('" a.png ",x', " a.png ", "x"),
        ('  " a.png"  ," x "', " a.png", " x "),
        ('"a ""b"" .png , c",x', 'a "b" .png , c', "x"),
        ('a "b" .png ,x', 'a "b" .png', "x"),
        ("a\u2028b.png,x", "a\u2028b.png", "x"),
        ('"a\nb.png",x', "a\nb.png", "x"),
    ],
)
def test_blanks_within_quotes_are_kept(write, row, item, label):
    (line,) = read_label_file(write(f"item,label\n{row}\n"))
    assert (line.item, line.label) == (item, label)


def test_an_item_that_begins_with_a_blank_can_be_named(write):
    path = write('item,label\n" a.png",x\na.png,y\n" b.png",z\n')
    found = match_items(read_label_file(path), [" a.png", "a.png", "b.png"], path, name="it")
    assert found.label_of == {0: "x", 1: "y", 2: "z"}


def test_many_blanks_within_an_item_are_kept(write):
    (line,) = read_label_file(write(f"item,label\n  a{' ' * 100_000}b  ,x\n"))  # in linear time
    assert line.item == f"a{' ' * 100_000}b"
