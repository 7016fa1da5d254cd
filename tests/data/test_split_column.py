"""A column named split tells the rows of a table apart, and what a source brings is what a run is judged by."""

import numpy as np
import pandas as pd
import pytest

import salience
from salience.data import open_data
from salience.errors import UserError
from salience.reading import Reading


def table(rows=60, words=("Train", "test")):
    rng = np.random.default_rng(0)
    label = np.arange(rows) % 2
    split = [words[0] if row % 3 else words[1] for row in range(rows)]
    return pd.DataFrame({"a": rng.normal(label, 1), "b": rng.normal(0, 1, rows), "label": label, "split": split})


@pytest.fixture(params=["csv", "parquet", "frame"])
def source(request, tmp_path):
    frame = table()
    if request.param == "frame":
        return frame
    path = tmp_path / f"rows.{request.param}"
    frame.to_csv(path, index=False) if request.param == "csv" else frame.to_parquet(path)
    return path


def test_train_is_read_by_default_and_others_by_name(source):
    train, held = open_data(source, progress=False), open_data(source, split="test", progress=False)
    assert (len(train), len(held)) == (40, 20)
    assert train.splits == held.splits == ("test", "train")
    assert [column.name for column in train.spec.columns] == ["a", "b"]
    assert list(train.ids[:3]) == ["1", "2", "4"]
    assert list(held.ids[:3]) == ["0", "3", "6"]
    frame = table()
    np.testing.assert_allclose(held.x[:, 0], frame["a"][frame["split"] == "test"], rtol=1e-6)
    assert [held.classes[label] for label in held.labels[:3]] == ["0", "1", "0"]
    assert any("column 'split' names splits" in note and "--categorical split" in note for note in train.notes)


def test_a_second_opening_is_the_same(source):
    first, again = (open_data(source, split="test", progress=False) for _ in range(2))
    assert list(first.ids) == list(again.ids)
    assert first.splits == again.splits
    assert first.fingerprint == again.fingerprint


def test_named_as_categorical_it_is_a_column(source):
    data = open_data(source, reading=Reading(categorical=("split",)), progress=False)
    assert len(data) == 60
    assert [column.name for column in data.spec.columns] == ["a", "b", "split"]
    assert data.splits == ()


def test_as_labels_it_holds_labels(source):
    data = open_data(source, labels="split", progress=False)
    assert len(data) == 60
    assert data.classes == ("Train", "test")


def test_other_values_are_no_splits(tmp_path):
    path = tmp_path / "rows.csv"
    table(words=("odd", "even")).to_csv(path, index=False)
    data = open_data(path, progress=False)
    assert len(data) == 60
    assert data.splits == ()
    with pytest.raises(UserError, match="no split 'test'"):
        open_data(f"{path}:test", progress=False)


def test_a_split_that_is_not_there_is_refused(source):
    with pytest.raises(UserError, match="no split 'val'; it has: test, train"):
        open_data(source, split="val", progress=False)


def test_a_run_is_judged_by_the_split_its_source_brings(source, tmp_path):
    run = salience.fit("pca", source, out=tmp_path / "run", dim=2, progress=False)
    report = salience.evaluate(run, on=source, progress=False, write=False)
    assert (report.about["train_rows"], report.about["test_rows"]) == (40, 20)
    assert any(note.startswith("evaluated on the test split of") for note in report.notes)
    alone = salience.evaluate(run, on=open_data(source, split="test", progress=False), progress=False, write=False)
    assert alone.about["train_rows"] + alone.about["test_rows"] == 20
    assert not any(note.startswith("judged by the") for note in alone.notes)
