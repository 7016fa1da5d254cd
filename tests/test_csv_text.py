"""No CSV runs as a program where it is opened, and what was written is read as it was."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from salience.cli import main
from salience.csv_text import as_csv, escape_formula, is_formula, unescape_formula, write_csv
from salience.data import open_data
from salience.errors import Note
from salience.training import fit
from salience.verbs.predict import predict
from salience.verbs.result import write_table

DANGEROUS = [
    "=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "'=1", "''=1", "=", "-", "＝1+1",
    "+x.png", "-1 and more", "=1\n2", "－1",
]  # fmt: skip
HARMLESS = ["", "cat", "a=b", "1", "-1", "+1.5", "-.5e-3", "3+4", "'quoted'", "'", "it's", "'-1", "a\t=1", "ü", "(-1)"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_a_formula_gets_an_apostrophe(text):
    assert escape_formula(text) == f"'{text}"
    assert unescape_formula(escape_formula(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays_as_it_is(text):
    assert escape_formula(text) == text
    assert unescape_formula(text) == text


def test_what_was_made_safe_comes_back_whatever_it_was():
    random = np.random.default_rng(0)
    letters = np.array(list("=+-@'\t\r 1.e9ax＝"))
    for _ in range(3000):
        text = "".join(random.choice(letters, random.integers(0, 7)))
        assert unescape_formula(escape_formula(text)) == text
        assert escape_formula(text) == text or not is_formula(text.lstrip("'")) or escape_formula(text).startswith("'")


def test_every_text_and_every_name_is_made_safe_and_counted():
    table = pd.DataFrame(
        {
            "item": ["=1", "b", None],
            "=label": pd.array(["@x", pd.NA, "-1"], "string"),
            "kind": pd.Categorical(["+a", "c", "+a"]),
            "score": [-1.25, 2.0, np.nan],
            "n": pd.array([-3, None, 4], "Int64"),
        }
    )
    text, count = as_csv(table, "%.2f")
    assert list(csv.reader(io.StringIO(text))) == [
        ["item", "'=label", "kind", "score", "n"],
        ["'=1", "'@x", "'+a", "-1.25", "-3"],
        ["b", "", "c", "2.00", ""],
        ["", "-1", "'+a", "", "4"],
    ]
    assert count == 5
    assert table.columns[1] == "=label"
    assert table["item"][0] == "=1"


def test_columns_of_one_name_are_kept_apart():
    table = pd.DataFrame([["=a", "b"]], columns=["x", "x"])
    assert as_csv(table, "%.2f") == ("x,x\n'=a,b\n", 1)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["=a"], "an apostrophe was written before 1 cell that a spreadsheet would run as a formula;"),
        (["=a", "@b"], "an apostrophe was written before 2 cells that a spreadsheet would run as formulas;"),
    ],
)
def test_it_is_said(tmp_path, cells, said):
    with pytest.warns(Note, match=said):
        write_csv(tmp_path / "t.csv", pd.DataFrame({"item": cells}), "%.2f")
    with pytest.warns(Note, match=r"u.csv: .*formula"):
        write_table(tmp_path / "u.csv", pd.DataFrame({"item": cells}))
    assert (tmp_path / "u.csv").read_text() == "\n".join(["item", *(f"'{cell}" for cell in cells), ""])
    write_table(tmp_path / "v.csv", pd.DataFrame({"item": ["a"]}))


@pytest.fixture
def pictures(tmp_path):
    """Eight pictures, half of them dark, and a damaged one, called like formulas."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        shade = np.random.default_rng(number).integers(0, 99, (8, 8)) + 150 * (number % 2)
        Image.fromarray(shade.astype(np.uint8)).save(folder / f"={number}.png")
    (folder / "=bad.png").write_bytes(b"\x89PNG")
    return folder


@pytest.mark.filterwarnings("ignore::salience.errors.Note")
def test_labels_and_predictions_go_out_and_come_back(pictures, tmp_path, capsys):
    rep = fit("pca", pictures, out=tmp_path / "run", dim=2, progress=False)
    assert (tmp_path / "run" / "bad_items.csv").read_text().splitlines()[1].startswith("'=bad.png,")
    labels = pd.DataFrame({"item": [f"={number}.png" for number in range(4)], "label": ["@dark", "+light"] * 2})
    write_csv(tmp_path / "labels.csv", labels, "%.4f")
    found = predict(rep, pictures, tmp_path / "labels.csv", tmp_path / "new" / "found.csv")
    assert found["item"].tolist() == list(open_data(pictures, progress=False).ids)
    assert found["predicted"].tolist() == ["@dark", "+light"] * 4
    lines = (tmp_path / "new" / "found.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:3]] == [["'=0.png", "'@dark"], ["'=1.png", "'+light"]]
    write_csv(tmp_path / "again.csv", found.rename(columns={"predicted": "label"})[["item", "label"]], "%.4f")
    again = predict(rep, pictures, tmp_path / "again.csv")
    assert again["predicted"].tolist() == found["predicted"].tolist()
    capsys.readouterr()
    assert main(["predict", str(rep.run), str(pictures), "--labels", str(tmp_path / "labels.csv")]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("'=0.png,'@dark,")


def test_a_fit_says_that_names_of_bad_items_were_made_safe(pictures, tmp_path):
    with pytest.warns(Note, match=r"bad_items.csv: an apostrophe was written before 1 cell that"):
        fit("pca", pictures, out=tmp_path / "run", dim=2, progress=False)
