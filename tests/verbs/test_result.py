"""What a verb leaves when its picture cannot be drawn."""

import json

import numpy as np
import pandas as pd
import pytest

from salience.errors import Note, noting_failure
from salience.verbs.result import Place, Result, placed

RESULT = Result(
    "sample", {"method": "gan"}, table=pd.DataFrame({"item": ["a"]}), arrays={"samples": np.ones((2, 1), np.float32)}
)


def broken():
    raise ValueError("\\bad{$\x1b[2J is\nno text")


def test_a_picture_that_fails_leaves_the_results_and_a_note(tmp_path):
    said = (
        r"the picture of sample could not be drawn \(ValueError: .bad\{\$ \[2J is no text\); the results are complete"
    )
    with pytest.warns(Note, match=said), placed(tmp_path / "out") as place:
        place.write(RESULT, broken)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"sample.json", "items.csv", "samples.npy"}
    assert json.loads((tmp_path / "out" / "sample.json").read_text())["verb"] == "sample"


def test_results_are_written_before_the_picture_is_drawn(tmp_path):
    def interrupted():
        assert {path.name for path in tmp_path.iterdir()} == {"sample.json", "items.csv", "samples.npy"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Place(tmp_path).write(RESULT, interrupted)


def test_nothing_is_drawn_where_nothing_is_written():
    drawn = []
    Place(None).write(RESULT, lambda: drawn.append(1))
    assert drawn == []


def test_a_failure_is_told_to_whom_it_concerns_and_an_interruption_ends_the_work():
    told = []
    with noting_failure("it", "the rest is there", told.append):
        raise KeyError("x")
    assert told == ["it could not be drawn (KeyError: 'x'); the rest is there"]
    with pytest.raises(KeyboardInterrupt), noting_failure("it", "the rest is there", told.append):
        raise KeyboardInterrupt
