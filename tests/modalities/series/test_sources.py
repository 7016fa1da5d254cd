"""Arrays, lists of arrays and wide tables as series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from salience.data import open_data
from salience.errors import UserError
from salience.fields.stored_items import Ragged
from salience.modalities.series.wide_table import time_columns
from salience.reading import Reading

SERIES = Reading(kind="series")


def opened(source: Any, **options: Any) -> Any:
    return open_data(source, progress=False, **options)


def test_an_array_is_series_if_the_user_says_so(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3, 50)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    for source in (x, tmp_path / "x.npy"):
        assert opened(source).spec.modality.name == "image"
        data = opened(source, reading=SERIES, labels=np.arange(20) % 2)
        assert data.spec.modality.name == "series"
        assert data.spec.shape == (50, 3)
        np.testing.assert_array_equal(data.x, x.transpose(0, 2, 1))
        np.testing.assert_allclose(data.spec.mean, x.mean((0, 2)), atol=1e-6)
        np.testing.assert_allclose(data.spec.std, x.std((0, 2)), rtol=1e-5)
    assert opened(x[:, 0], reading=SERIES).spec.shape == (50, 1)
    assert "transpose" in opened(x.transpose(0, 2, 1), reading=SERIES).notes[0]


def test_an_array_with_nan_at_the_end_of_series_is_ragged() -> None:
    x = np.ones((3, 2, 5))
    x[1, :, 3:] = np.nan
    x[2, 0, 4] = np.nan
    data = opened(x, reading=SERIES)
    assert [len(data.item(row)) for row in range(3)] == [5, 3, 5]


@pytest.mark.parametrize("kind", [None, "series"])
def test_a_list_of_arrays_of_different_lengths_is_series(kind: str | None) -> None:
    rng = np.random.default_rng(0)
    listed = [rng.normal(size=(2, length)) for length in (5, 9, 7)]
    data = opened(listed, labels=["a", "b", "a"], reading=Reading(kind=kind))
    assert isinstance(data.stored, Ragged)
    for row, item in enumerate(listed):
        np.testing.assert_allclose(data.item(row), item.T, rtol=1e-6)
    assert data.classes == ("a", "b")
    assert [len(item) for item in opened([np.ones(4), np.ones(6)]).stored] == [4, 6]


def test_a_list_of_pictures_of_different_sizes_is_not_series() -> None:
    with pytest.raises(UserError):
        opened([np.ones((4, 5, 3)), np.ones((6, 5, 3))])
    with pytest.raises(UserError, match="numbers"):
        opened([np.array(["a"]), np.array(["b", "c"])])


def wide(names: list[str]) -> pd.DataFrame:
    rows = np.arange(3 * len(names)).reshape(3, -1) / 2
    return pd.DataFrame(rows, columns=names).assign(label=["x", "y", "x"])


TIMES = [
    [f"t{step}" for step in range(10)],
    [f"time_{step}" for step in range(5, 15)],
    [f"{step / 4}" for step in range(10)],
    [f"2024-01-{day:02}" for day in range(1, 11)],
    [f"2024-01-01T00:{minute:02}" for minute in range(10)],
]


@pytest.mark.parametrize("names", TIMES, ids=lambda names: names[0])
def test_a_table_with_columns_of_times_is_series(names: list[str], tmp_path: Path) -> None:
    frame = wide(names)
    frame.to_csv(tmp_path / "wide.csv", index=False)
    for source in (frame, tmp_path / "wide.csv"):
        data = opened(source)
        assert data.spec.shape == (10, 1)
        np.testing.assert_array_equal(data.x[..., 0], frame[names].to_numpy())
        assert data.classes == ("x", "y")
    assert opened(tmp_path / "wide.csv", reading=Reading(kind="table")).spec.modality.name == "table"


@pytest.mark.parametrize("names", [["x", "y"], [str(n) for n in range(20)], ["t1", "t3", "t4"], ["t1", "age", "t2"]])
def test_other_tables_stay_tables(names: list[str]) -> None:
    assert opened(wide(names)).spec.modality.name == "table"


def test_the_user_may_say_that_columns_are_steps(tmp_path: Path) -> None:
    frame = wide(["a", "b", "c"])
    assert opened(frame, reading=SERIES).spec.shape == (3, 1)
    with pytest.raises(UserError, match="'name'"):
        opened(frame.assign(name=["p", "q", "r"]), reading=SERIES)


def test_cells_of_a_wide_table_are_read_as_in_other_tables(tmp_path: Path) -> None:
    steps = [f"t{step}" for step in range(8)]
    rows = ["1,5;2;3;4;5;6;7;8;u", "1;?;3;4;5;6;;;v", "1;2;3,25;4;5;6;7;8;u"]
    (tmp_path / "wide.csv").write_text(";".join([*steps, "label"]) + "\n" + "\n".join(rows) + "\n")
    data = opened(tmp_path / "wide.csv")
    assert data.item(0)[:, 0].tolist() == [1.5, 2, 3, 4, 5, 6, 7, 8]
    assert data.item(1)[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert data.item(2)[2, 0] == 3.25
    assert any("'?'" in note for note in data.notes)


def test_other_columns_of_a_wide_table_are_named() -> None:
    data = opened(wide([f"t{step}" for step in range(9)]).assign(site=["p", "q", "r"]))
    assert data.spec.shape == (9, 1)
    assert any("site" in note for note in data.notes)


def test_names_of_times_must_increase() -> None:
    assert time_columns(["0.5", "1.0", "1.5"]) == ["0.5", "1.0", "1.5"]
    assert time_columns(["0.5", "1.5", "1.0"]) == []
    assert time_columns(["1", "2", "3"]) == []


def test_new_series_must_fit_a_run() -> None:
    rng = np.random.default_rng(0)
    spec = opened(rng.normal(size=(4, 2, 10)), reading=SERIES).spec
    with pytest.raises(UserError, match="the run needs 10"):
        opened(rng.normal(size=(4, 2, 9)), spec=spec)
    with pytest.raises(UserError, match="3 channels"):
        opened(rng.normal(size=(4, 3, 10)), spec=spec)
    ragged = opened([rng.normal(size=(2, 5)), rng.normal(size=(2, 7))]).spec
    again = opened(rng.normal(size=(4, 2, 6)), spec=ragged)
    assert isinstance(again.stored, Ragged)
    assert again.spec == ragged
