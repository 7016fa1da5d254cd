import io
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from salience.data import BadItem, open_data
from salience.errors import Note, UserError
from salience.evaluation.head import fit_head
from salience.label_files import find_item
from salience.reading import Reading
from salience.training import fit
from salience.verbs.predict import predict
from tests.evaluation.conftest import Projection, blobs

uncalibrated = pytest.mark.filterwarnings("ignore:confidences are not calibrated:salience.errors.Note")


@pytest.fixture
def labels(tmp_path):
    def write(text):
        path = tmp_path / "labels.csv"
        path.write_text(text)
        return path

    return write


def test_every_item_gets_a_class_and_a_confidence(labels, tmp_path):
    data = blobs(90, noise=20.0)
    path = labels("item,label\n" + "".join(f"{row}.png,{'abc'[row % 3]}\n" for row in range(12)))
    found = predict(Projection(), data, path, tmp_path / "out.csv")
    assert list(found.columns) == ["item", "predicted", "confidence"]
    assert list(found["item"]) == list(data.ids)
    assert (found["predicted"] == np.array(list("abc"))[data.labels]).mean() > 0.95
    assert found["confidence"].between(1 / 3, 1).all()
    stored = pd.read_csv(tmp_path / "out.csv")
    assert list(stored["predicted"]) == list(found["predicted"])
    np.testing.assert_allclose(stored["confidence"], found["confidence"], atol=1e-4)


@uncalibrated
def test_row_numbers_white_space_quotes_marks_and_column_order(labels):
    path = labels('\ufeff Label , ITEM ,note\n "a, b" , 0 ,x\n\n c , 1.png , "y, z" \n c, ./4.png,\n')
    found = predict(Projection(), blobs(60, noise=5.0), path)
    assert set(found["predicted"]) == {"a, b", "c"}
    assert list(found["predicted"][:2]) == ["a, b", "c"]


@uncalibrated
def test_the_same_label_twice_is_no_conflict(labels):
    found = predict(Projection(), blobs(), labels("item,label\n0,a\n0.png,a\n1,b\n"))
    assert set(found["predicted"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,label\n0,a\nnobody.png,b\n", "line 3: blobs has no item 'nobody.png'"),
        ("item,label\n0,a\n11.pgn,b\n", "line 3: .*did you mean '11.png'"),
        ("item,label\n0,a\n500,b\n", "line 3: blobs has no item '500'; row numbers go from 0 to 119$"),
        ("item,label\n0,a\nbroken.png,b\n", r"line 3: 'broken.png' could not be read \(truncated\)"),
        ("0.png,a\n1.png,b\n", "line 1: expected the columns item and label, got '0.png,a'"),
        ("\n\nname,class\n0,a\n", "line 3: expected the columns item and label, got 'name,class'"),
        ("item,label\n0,a\n1,a\n", r"one class only \('a'\)"),
        ("item,label\n", "has no label;"),
        ("", "has no label;"),
        ("item,label\n0,a\n1,b\n0.png,b\n", "line 4 labels '0.png' as 'b', line 2 as 'a'"),
        ("item,label\n0,a\n1, \n", "line 3 has no label"),
        ("item,label\n,a\n", "line 2 has no item"),
        ("item,label\n0,a,b\n", "line 2: expected 2 cells as in the header, got 3"),
        ("item,label\n0\n", "line 2: expected 2 cells as in the header, got 1"),
    ],
)
def test_mistakes_in_the_file_are_named_by_line(labels, text, message):
    data = blobs()
    object.__setattr__(data, "bad", (BadItem("broken.png", "truncated"),))
    with pytest.raises(UserError, match=message) as caught:
        predict(Projection(), data, labels(text))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_or_written(labels, tmp_path):
    path = labels("item,label\n0,a\n1,b\n")
    with pytest.raises(UserError, match="exists"):
        predict(Projection(), blobs(), path, path)
    with pytest.raises(UserError, match="does not exist"):
        predict(Projection(), blobs(), tmp_path / "missing.csv")
    with pytest.raises(UserError, match="is a folder"):
        predict(Projection(), blobs(), tmp_path)
    path.write_bytes(b"item,label\n\xff\xfe,a\n")
    with pytest.raises(UserError, match="UTF-8"):
        predict(Projection(), blobs(), path)


def test_a_failure_leaves_no_file(labels, tmp_path):
    with pytest.raises(UserError):
        predict(Projection(), blobs(), labels("item,label\n0,a\n"), tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


class Images(Projection):
    """Opens what it is given, as a run does."""

    def open(self, source, **options):
        return open_data(source, spec=self.spec, progress=False)


@pytest.fixture
def numbered(tmp_path, monkeypatch):
    """A Parquet file of 8 images, of which row 3 cannot be read."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path / "cache"))
    cells = []
    for row in range(8):
        encoded = io.BytesIO()
        Image.fromarray(np.full((4, 4), 30 * row, np.uint8)).save(encoded, "PNG")
        cells.append(b"no image" if row == 3 else encoded.getvalue())
    pq.write_table(pa.table({"image": pa.array(cells, pa.binary())}), tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("3", "line 3: '3' could not be read .* and was left out; remove the line"),
        ("03", "line 3: '03' could not be read"),
        ("8", "line 3: x has no item '8'; row numbers go from 0 to 7$"),
        ("nobody", "line 3: x has no item 'nobody'; row numbers go from 0 to 7$"),
        ("9" * 5000, "has no item"),
    ],
)
def test_a_row_number_is_that_of_the_source(labels, numbered, item, message):
    with pytest.raises(UserError, match=message):
        predict(Images(), numbered, labels(f"item,label\n0,a\n{item},b\n"))


def test_row_numbers_after_one_that_was_left_out_are_those_of_the_source(numbered):
    data = Images().open(numbered)
    row_of = {item: row for row, item in enumerate(data.ids)}
    bad = {item.id: item.reason for item in data.bad}
    assert [find_item(item, row_of, bad) for item in ("0", "2", "3", "4", "07")] == [0, 2, None, 3, 6]


def test_names_in_messages_stay_in_their_line(labels):
    data = blobs()
    object.__setattr__(data, "ids", ["0\x1b[2J.png", *data.ids[1:]])
    with pytest.raises(UserError, match=r"no item '0\\x1b\[1J\.png'; did you mean '0\\x1b\[2J\.png'"):
        predict(Projection(), data, labels("item,label\n1,a\n0\x1b[1J.png,b\n"))


@uncalibrated
def test_an_item_whose_name_is_no_utf8_is_written_all_the_same(labels, tmp_path):
    data = blobs()
    object.__setattr__(data, "ids", ["caf\udce9.png", *data.ids[1:]])
    predict(Projection(), data, labels("item,label\n1,a\n2,b\n"), tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")["item"][0] == r"caf\udce9.png"


def noisy(n=900):
    """Three classes of images that overlap, and a labels file of the first 30."""
    data = blobs(n, noise=100.0)
    return data, "item,label\n" + "".join(f"{row}.png,{data.labels[row]}\n" for row in range(30))


def test_confidence_is_as_often_right_as_it_says(labels):
    data, text = noisy()
    found = predict(Projection(), data, labels(text)).iloc[30:]
    right = found["predicted"].astype(int) == data.labels[30:]
    assert 0.4 < right.mean() < 0.9
    assert abs(found["confidence"].mean() - right.mean()) < 0.1


def test_the_calibration_is_told(labels):
    data, text = noisy()
    found = predict(Projection(), data, labels(text)).attrs["calibration"]
    x = torch.from_numpy(Projection().embed(data))
    head = fit_head(x, torch.arange(30), torch.from_numpy(data.labels[:30]), 3)
    assert found == asdict(head.calibration)
    assert found["rows"] == 30
    assert found["temperature"] == 1  # 30 labels of such noise tell no other one
    assert "(temperature 1): no other one has a lower log loss on the 30 labelled items" in head.calibration.text()


def test_confidence_that_could_not_be_calibrated_is_told(labels):
    with pytest.warns(Note, match="for want of a second label of 'b': .* label two items or more of every class"):
        found = predict(Projection(), blobs(60), labels("item,label\n0,a\n3,a\n1,b\n"))
    assert found.attrs["calibration"] is None


def test_the_classifier_is_fitted_to_the_labelled_items_and_asked_of_each_item(labels):
    """Against the head of the evaluation, which is tested against scikit-learn, fitted to the first 30 rows here."""
    data, text = noisy(90)
    found = predict(Projection(), data, labels(text))
    x = torch.from_numpy(Projection().embed(data))
    head = fit_head(x, torch.arange(30), torch.from_numpy(data.labels[:30]), 3)
    np.testing.assert_allclose(found["confidence"], head.probabilities(x).amax(1), atol=1e-6)
    np.testing.assert_array_equal(found["predicted"], head.probabilities(x).argmax(1).numpy().astype(str))
    shuffled = text.splitlines()
    again = predict(Projection(), data, labels("\n".join([shuffled[0], *shuffled[:0:-1]]) + "\n"))
    assert (again["predicted"] == found["predicted"]).mean() > 0.9  # other folds, the same labels


@uncalibrated
def test_a_label_that_stands_for_a_missing_one_is_passed_over(labels):
    path = labels("item,label\n0,a\n1,b\n2,?\n")
    assert set(predict(Projection(), blobs(), path, reading=Reading(missing=("?",)))["predicted"]) <= {"a", "b"}
    with pytest.raises(UserError, match=r"one class only \('b'\)"):
        predict(Projection(), blobs(), path, reading=Reading(missing=("?", "a")))


def test_what_stood_for_a_missing_label_in_training_does_so_again(labels, tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=list("abc"))
    reading = Reading(missing=("?",))
    run = fit("pca", frame, out=tmp_path / "run", dim=2, reading=reading, progress=False).run
    path = labels("item,label\n0,a\n1,?\n2,?\n3,a\n")
    with pytest.raises(UserError, match=r"one class only \('a'\)"):
        predict(run, frame, path, progress=False)
    with pytest.raises(UserError, match=r"one class only \('\?'\)"):  # another reading takes the place of the run's
        predict(run, frame, path, reading=Reading(missing=("a",)), progress=False)
