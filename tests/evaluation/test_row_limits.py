import json
from dataclasses import replace

import numpy as np
import pytest

from salience.data import Dataset
from salience.evaluation import evaluate
from salience.evaluation.page import page
from salience.evaluation.row_choice import Rows
from salience.evaluation.row_limits import note_limits
from salience.modalities.table.spec import Column, TableSpec

from .conftest import IMAGES, Projection, blobs


def rows(train, test, spec=IMAGES):
    """Rows of so many items, all alike; train None: without labels."""

    def data(n):
        stored = np.zeros((n, *spec.shape), spec.dtype)
        return Dataset("same", "train", spec, stored, np.zeros(n, np.int64), ("a",), range(n), "f")

    return Rows(None if train is None else data(train), data(test), ())


def test_nothing_is_said_where_no_limit_is_reached():
    assert note_limits(rows(10_000, 1_000)) == []
    assert note_limits(rows(None, 1_000)) == []


@pytest.mark.parametrize(
    ("test", "limited"),
    [
        (1_001, "alignment 1,000"),
        (1_501, "alignment 1,000, the projection 1,500"),
        (2_001, "geometry 2,000, alignment 1,000, the projection 1,500"),
        (4_001, "retrieval 4,000, geometry 2,000, alignment 1,000, the projection 1,500"),
    ],
)
def test_each_limit_is_named_from_the_first_row_beyond_it(test, limited):
    said = f"measured on a part of the {test:,} test rows: {limited}"
    assert note_limits(rows(100, test)) == [f"limits: {said}"]
    before = note_limits(rows(100, test - 1))
    assert limited not in "".join(before)


def test_what_is_fitted_on_a_part_is_named_in_the_same_note():
    [note] = note_limits(rows(10_001, 2_000))
    assert note.endswith("; fitted on a part of the 10,001 training rows: k-means 10,000, the PCA baseline 10,000")


def test_raw_pixels_of_large_images_are_averages():
    spec = replace(IMAGES, shape=(1, 33, 33))
    assert note_limits(rows(9, 9, spec)) == ["limits: raw input and PCA use images of 33x33 averaged down to 32x32"]
    assert note_limits(rows(9, 9, replace(IMAGES, shape=(1, 32, 32)))) == []


def test_tables_have_no_alignment_and_unlabelled_rows_nothing_that_needs_labels():
    table = TableSpec((1,), "float32", columns=(Column("size"),))
    [note] = note_limits(rows(None, 4_001, table))
    assert note == "limits: measured on a part of the 4,001 rows: geometry 2,000, the projection 1,500"


def test_what_codes_say_is_limited_where_they_say_something():
    assert note_limits(rows(100, 1_001), codes=True) == [
        "limits: measured on a part of the 1,001 test rows: alignment 1,000, codes 1,000"
    ]


def test_the_note_is_in_every_form_of_the_report():
    report = evaluate(Projection(), blobs(1_001, labels=False), progress=False)
    note = "limits: measured on a part of the 1,001 rows: alignment 1,000"
    assert f"note: {note}" in report.text()
    assert note in json.loads(json.dumps(report.to_dict()))["notes"]
    assert f"<li>{note}</li>" in page(report, {})
