"""What is refused before anything heavy is imported."""

import os
import subprocess
import sys

import pytest

from salience.cli.early import refuse_early
from salience.errors import UserError
from salience.label_files import read_label_file


def refuse(path, verb="predict"):
    refuse_early(verb, {"labels": path})


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("item,label\na,b\n", 1),
        ("\ufeffLabel , ITEM\nb,a\nd,c\n", 2),
        ('"item","label"\na,b\n', 1),
        ("\n\n label,item\nb,a\n", 1),
        ("", 0),
    ],
)
def test_what_the_reader_reads_is_not_refused_before_it(tmp_path, text, lines):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    refuse(path)  # would raise
    assert [(line.item, line.label) for line in read_label_file(path)] == [("a", "b"), ("c", "d")][:lines]


@pytest.mark.parametrize("text", ["\n\n item;note;label\na;;b\n", "item\tlabel\na\tb\n"])
def test_a_header_in_another_dialect_that_the_reader_knows_is_let_through(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    refuse(path)  # would raise
    assert [(line.item, line.label) for line in read_label_file(path)] == [("a", "b")]


@pytest.mark.parametrize("text", ["sep=;\nitem;label\n", "# by hand\nitem,label\n"])
def test_what_may_be_a_header_in_another_dialect_is_left_to_the_reader_who_names_the_line(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    refuse(path)  # would raise
    with pytest.raises(
        UserError, match=r"labels.csv line [13]: expected the columns item and label, got '.*'; write 'item,label'"
    ):
        read_label_file(path)


def test_a_file_without_a_header_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "labels.csv"
    for text, line in (("a.png,cat\nb.png,dog\n", 1), ("\nitem,class\n", 2), ("label\n", 1)):
        path.write_text(text)
        with pytest.raises(
            UserError,
            match=f"labels: {path} line {line}: expected the columns item and label, got '.*'; write 'item,label'",
        ):
            refuse(path)
        with pytest.raises(UserError, match="expected the columns item and label"):
            refuse(path, "fit")  # of a folder of images


def test_bytes_that_are_no_utf8_are_left_to_the_reader(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("item,läbel\n".encode("latin-1"))
    refuse(path)
    with pytest.raises(UserError, match="not text in UTF-8"):
        read_label_file(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path, what in ((tmp_path / "no.csv", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=f"labels: {path} {what}; give a CSV file with the columns item,label"):
            refuse(path)


def test_the_name_of_a_column_is_no_file():
    refuse("species", "fit")
    refuse("species", "evaluate")
    with pytest.raises(UserError, match="labels: species does not exist"):
        refuse("species", "predict")  # whose labels are a file


def test_it_costs_no_import(tmp_path):
    (tmp_path / "labels.csv").write_text("a,b\n")
    script = (
        "import sys\nfrom salience.cli.early import refuse_early\n"
        "try:\n    refuse_early('predict', {'labels': 'labels.csv'})\n"
        "except ValueError as problem:\n    print(problem)\n"
        "print(*{'torch', 'numpy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True
    )
    assert "expected the columns item and label" in done.stdout
    assert done.stdout.endswith("\n\n")
