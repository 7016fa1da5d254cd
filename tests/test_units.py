import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from salience.errors import UserError
from salience.evaluation.row_choice import choose_rows
from salience.training import fit
from salience.training.recipe import Choices, choose_batch
from salience.units import (
    check_real,
    check_seed,
    check_whole,
    counted,
    format_duration,
    format_size,
    parse_duration,
    printable,
)
from tests.evaluation.conftest import blobs


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10min", 600), ("10 min", 600), ("2h", 7200), ("1h30min", 5400), ("1.5m", 90), ("1d", 86400)],
)
def test_durations_are_read_as_people_write_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", [30, 30.0, "30"])
def test_a_bare_number_is_seconds(value):
    assert parse_duration(value) == 30


@pytest.mark.parametrize(
    "text", ["", "soon", "10 parsecs", "-5s", "0s", "nan", "inf", "10min or so", "min", -1, 1e999, True]
)
def test_what_is_no_duration_is_refused_with_a_remedy(text):
    with pytest.raises(UserError, match=r"--budget: '.*' is not a duration; write it like 90s, 10min"):
        parse_duration(text, "--budget")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (53.4, "53 s"), (59.7, "1 min"), (125, "2 min 5 s"), (3600, "1 h"), (12000, "3 h 20 min")],
)
def test_durations_are_shown_with_two_figures(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("text", ["53 s", "12 min 5 s", "3 h 20 min", "0.4 s"])
def test_what_is_shown_can_be_read_again(text):
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("size", "text"), [(512, "512 B"), (1500, "1.5 kB"), (184_320_000, "184 MB"), (2.04e9, "2.0 GB"), (3e12, "3.0 TB")]
)
def test_sizes_are_shown_in_decimal_units(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((1, "row"), "1 row"),
        ((0, "row"), "0 rows"),
        ((2000, "row"), "2,000 rows"),
        ((2, "class", "classes"), "2 classes"),
    ],
)
def test_counts_come_with_the_right_form_of_the_noun(words, text):
    assert counted(*words) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("a b/ü猫.png", "a b/ü猫.png"), ("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("caf\udce9", r"caf\udce9")],
)
def test_names_are_printed_in_one_line_whatever_is_in_them(name, text):
    assert printable(name) == text


@pytest.mark.parametrize("kind", [int, np.int8, np.int64, np.uint16])
def test_whole_numbers_of_any_library_become_plain_ones(kind):
    for check in (lambda value: check_whole("k", value, 3), check_seed):
        assert check(kind(3)) == 3
        assert type(check(kind(3))) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float64(3), "3", None, 2, np.int64(11), math.nan])
def test_what_is_no_whole_number_in_range_is_refused(value):
    with pytest.raises(UserError, match=r"^k: .* is not a whole number from 3 to 10$"):
        check_whole("k", value, 3, 10)


def test_both_ends_of_a_range_are_in_it():
    assert [check_whole("k", value, 3, 10) for value in (3, 10)] == [3, 10]
    assert [check_seed(value) for value in (0, 2**32 - 1)] == [0, 2**32 - 1]
    for seed in (-1, 2**32):
        with pytest.raises(UserError, match="seed"):
            check_seed(seed)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.float64(2), np.int64(2)])
def test_numbers_of_any_library_become_plain_ones(value):
    assert check_real("level", value) == 2.0
    assert type(check_real("level", value)) is float


@pytest.mark.parametrize("value", [True, np.True_, "2", None, math.nan, math.inf, np.float32("-inf")])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(UserError, match=r"^level: .* is not a finite number$"):
        check_real("level", value)


@pytest.mark.parametrize("seconds", [np.int64(90), np.float32(90)])
def test_durations_in_numbers_of_numpy(seconds):
    assert parse_duration(seconds) == 90


def test_digits_of_other_scripts_are_no_duration():
    with pytest.raises(UserError):
        parse_duration("٣s")


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    return str(refused.value)


def _missing(unknown: int) -> str:
    """The notes of an evaluation of 40 rows, some without a class."""
    data = blobs(40, 2)
    return "; ".join(choose_rows(replace(data, labels=np.where(np.arange(40) < unknown, -1, data.labels)), None).notes)


def _batch(rows: int, given: int | None) -> str:
    return _refused(lambda: choose_batch(Choices(), rows=rows, world=1, given=given))


def _fit(method: str, rows: int, width: int, **options: int) -> str:
    return _refused(lambda: fit(method, np.eye(rows, width, dtype=np.float32), progress=False, **options))


SENTENCES = {
    "1 row without a known class is left out": lambda: _missing(1),
    "2 rows without a known class are left out": lambda: _missing(2),
    "source: 1 row is too few to train on in batches": lambda: _batch(1, None),
    "source: 0 rows are too few to train on in batches": lambda: _batch(0, None),
    "batch_size: 2 is more than the data has (1 row)": lambda: _batch(1, 2),
    "dim: 5 directions from 2 rows of 1 value; at most 1": lambda: _fit("pca", 2, 1, dim=5),
    "k: 5 centres for 2 rows; at most 2": lambda: _fit("kmeans", 2, 1, k=5),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_one_is_singular_in_sentences_and_so_is_its_verb(sentence: str) -> None:
    assert sentence in SENTENCES[sentence]()
