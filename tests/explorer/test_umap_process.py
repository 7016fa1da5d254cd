"""How a map is made, with an umap-learn that only notes what it is told."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import lance
import numpy as np
import pytest

from salience.explorer import umap_process
from salience.store import open_store
from tests.explorer.conftest import digits_table


@pytest.fixture
def told(monkeypatch) -> list[dict]:
    """The options each map was made with; a map is the first two numbers of the vectors."""
    found: list[dict] = []

    class Umap:
        def __init__(self, **options):
            found.append(options)

        def fit_transform(self, x):
            found[-1]["rows"] = len(x)
            return x[:, 10:12]

        transform = fit_transform

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    return found


def made(tmp_path, rows: int) -> tuple[list[dict], np.ndarray | None]:
    """The lines that the process writes, and the points."""
    lance.write_dataset(digits_table(rows), str(tmp_path / "some.lance"))
    out = io.BytesIO()
    umap_process.main(str(tmp_path / "some.lance"), out)
    content, lines = out.getvalue(), []
    while content:
        line, _, content = content.partition(b"\n")
        lines.append(json.loads(line))
        if "points" in lines[-1]:
            return lines, np.frombuffer(content, "<f4").reshape(-1, 2)
    return lines, None


@pytest.mark.parametrize(("rows", "neighbours"), [(5, 4), (15, 14), (16, 15), (60, 15)])
def test_a_map_of_few_items_is_the_same_each_time(told, tmp_path, rows, neighbours):
    lines, points = made(tmp_path, rows)
    (options,) = told
    expected = {"metric": "cosine", "n_neighbors": neighbours, "n_epochs": 500, "init": "pca", "random_state": 0}
    assert {name: options[name] for name in expected} == expected
    assert (options["n_jobs"], options["rows"]) == (1, rows)
    np.testing.assert_array_equal(points, open_store(tmp_path / "some.lance").vectors()[:, 10:12])
    assert lines[-1] == {"points": rows}
    assert [line["share"] for line in lines[:-1]] == [0, 0]
    assert options["tqdm_kwds"]["disable"] is False
    assert options["tqdm_kwds"]["bar_format"] == "{n_fmt}/{total_fmt}"  # what the lines are made of


def test_four_items_make_no_map(told, tmp_path):
    lines, points = made(tmp_path, 4)
    assert (lines, points, told) == ([{"failed": "ValueError: expected at least 5 items, got 4"}], None, [])


@pytest.mark.parametrize(
    ("limits", "epochs", "seed", "jobs", "fitted"),
    [
        ({"FITTED": 60, "SEEDED": 60, "EPOCHS": ((60, 500), (60, 200))}, 500, 0, 1, 60),
        ({"FITTED": 60, "SEEDED": 59, "EPOCHS": ((59, 500), (60, 200))}, 200, None, -1, 60),
        ({"FITTED": 59, "SEEDED": 59, "EPOCHS": ((50, 500), (59, 200))}, 200, None, -1, 59),
    ],
)
def test_of_more_items_fewer_epochs_no_seed_and_some_are_placed(
    told, tmp_path, monkeypatch, limits, epochs, seed, jobs, fitted
):
    for name, value in limits.items():
        monkeypatch.setattr(umap_process, name, value)
    rows = []
    monkeypatch.setattr(
        umap_process, "transform_others", lambda store, mapper, *given: rows.append(given[:2]) or given[1]
    )
    made(tmp_path, 60)
    (options,) = told
    assert [options[name] for name in ("n_epochs", "random_state", "n_jobs", "rows")] == [epochs, seed, jobs, fitted]
    if fitted < 60:
        ((chosen, points),) = rows
        assert len(set(chosen.tolist())) == fitted
        assert chosen.tolist() == sorted(chosen.tolist())
        np.testing.assert_array_equal(points, open_store(tmp_path / "some.lance").vectors(chosen)[:, 10:12])
    else:
        assert rows == []


def test_items_placed_later_are_in_their_rows_and_the_share_grows_from_that_of_the_fitting(told, tmp_path, monkeypatch):
    for name, value in {"FITTED": 40, "SEEDED": 40, "TRANSFORMED": 9, "EPOCHS": ((40, 500),)}.items():
        monkeypatch.setattr(umap_process, name, value)
    lines, points = made(tmp_path, 60)
    np.testing.assert_array_equal(points, open_store(tmp_path / "some.lance").vectors()[:, 10:12])
    placed = [line for line in lines if "placed" in line.get("said", "")]
    assert [line["said"].partition(" more")[0] for line in placed] == ["9 of 20", "18 of 20", "20 of 20"]
    assert [line["share"] for line in placed] == pytest.approx([0.7 + 0.3 * done / 20 for done in (9, 18, 20)])


@pytest.mark.parametrize(("text", "said"), [("3/8", "3 of 8 epochs"), ("x/8", None), ("3/", None), ("38", None)])
def test_a_bar_is_a_line_and_what_is_no_bar_is_not(text, said):
    out = io.BytesIO()
    teller = umap_process.ProgressReader(out, 1.0)
    assert teller.write(text) == len(text)
    assert (json.loads(out.getvalue())["said"].partition(",")[0] if out.getvalue() else None) == said


def test_what_goes_wrong_is_one_short_line(tmp_path):
    out = io.BytesIO()
    umap_process.main(str(tmp_path / ("x" * 200) / ("y" * 200)), out)
    (line,) = out.getvalue().splitlines()
    failed = json.loads(line)["failed"]
    assert len(failed) <= 300
    assert failed.partition(": ")[0].isidentifier()
