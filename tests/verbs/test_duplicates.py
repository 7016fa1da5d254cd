import json

import numpy as np
import pandas as pd
import pytest
import torch

from salience.cli import main
from salience.errors import UserError
from salience.store import open_store
from salience.verbs import duplicates as module
from salience.verbs.duplicates import closest_pairs, duplicates, near_pairs, usual_threshold
from salience.verbs.stores import unit
from tests.store.conftest import DIGITS, vectors_table, write_store


def pairs_by_loops(x, threshold):
    """{(i, j): distance}, i < j, in float64."""
    x = x.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    distance = 1 - x @ x.T
    return {(i, j): distance[i, j] for i in range(len(x)) for j in range(i + 1, len(x)) if distance[i, j] <= threshold}


@pytest.fixture
def planted(tmp_path):
    """300 digits, of which 250 is a copy of 20 twice as long, 260 and 270 are nearly 30, and 271 nearly 270."""
    random = np.random.default_rng(0)
    x = DIGITS.data[:300].copy()
    x[250] = 2 * x[20]
    for copy, of in ((260, 30), (270, 30), (271, 270)):
        x[copy] = x[of] + random.normal(0, 0.02, 64)
    return open_store(write_store(tmp_path / "planted.lance", vectors_table(x)))


@pytest.mark.parametrize("block", [64, 4096])
@pytest.mark.parametrize("threshold", [0.02, 0.08])
def test_pairs_are_all_pairs(monkeypatch, block, threshold):
    monkeypatch.setattr(module, "BLOCK", block)
    x = DIGITS.data[:200]
    expected = pairs_by_loops(x, threshold)
    found = near_pairs(unit(x), threshold)
    assert len(expected) > 5
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == set(expected)
    for i, j, distance in zip(found.first, found.second, found.distances, strict=True):
        assert distance == pytest.approx(expected[i, j], abs=2e-6)
    assert np.all(np.diff(found.distances) >= 0)


def on_a_circle(degrees):
    """Unit vectors at these angles."""
    angles = np.deg2rad(np.asarray(degrees, float))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_what_is_only_chained_is_told_apart(tmp_path):
    """Ten items, 4 degrees between neighbours, and a threshold of 5 degrees: a chain of 36 degrees."""
    store = open_store(write_store(tmp_path / "chain.lance", vectors_table(on_a_circle(4.0 * np.arange(10)))))
    result = duplicates(store, 1 - np.cos(np.deg2rad(5)), progress=False)
    expected = [None, "row-0", None, "row-2", None, "row-4", None, "row-6", None, "row-8"]
    assert store.column("duplicate_of").tolist() == expected
    relation = dict(zip(zip(result.table["item"], result.table["other"], strict=True), result.table["relation"],
                        strict=True))  # fmt: skip
    assert relation == {(f"row-{n}", f"row-{n + 1}"): "chained" if n % 2 else "repeats" for n in range(9)}
    assert {name: result.about[name] for name in ("pairs", "duplicates", "chained")} == {
        "pairs": 9, "duplicates": 5, "chained": 4,
    }  # fmt: skip
    assert result.said[0].endswith("5 groups: 5 items repeat an item within that distance")
    assert result.said[1].startswith("chained: 4 items are near an item that repeats another, and not near that other")


def test_an_item_repeats_the_nearest_that_repeats_none(tmp_path):
    """The third lies between the first two, nearer to the second; the fourth is nearest to the third, which repeats."""
    store = open_store(write_store(tmp_path / "near.lance", vectors_table(on_a_circle([0, 10, 6, 7, 50, 53]))))
    result = duplicates(store, 1 - np.cos(np.deg2rad(8)), progress=False)
    assert store.column("duplicate_of").tolist() == [None, None, "row-1", "row-1", None, "row-4"]
    told = {tuple(one[:2]): one[3] for one in result.table.itertuples(index=False)}
    assert told == {
        ("row-2", "row-3"): "same group", ("row-1", "row-3"): "repeats", ("row-4", "row-5"): "repeats",
        ("row-1", "row-2"): "repeats", ("row-0", "row-2"): "chained", ("row-0", "row-3"): "chained",
    }  # fmt: skip
    assert result.about["chained"] == 1  # the first


@pytest.mark.parametrize("threshold", [0.03, 0.08, 0.15])
def test_every_flagged_item_is_within_the_threshold_of_the_item_it_names(store, threshold):
    """Digits make long chains; what is dropped with the flagged rows has a stand-in that stays."""
    result = duplicates(store, threshold, progress=False)
    distance = pairs_by_loops(store.vectors(), 2)
    names = {row: store.find(id) for row, id in enumerate(store.column("duplicate_of")) if id is not None}
    assert len(names) == result.about["duplicates"] > 5
    for row, named in names.items():
        assert named < row
        assert named not in names
        assert distance[named, row] <= threshold + 1e-6
        nearer = [one for one in range(row) if one not in names and distance[one, row] < distance[named, row] - 1e-6]
        assert not nearer
    for row in set(range(len(store))) - set(names):
        assert not [one for one in range(row) if one not in names and distance[one, row] <= threshold - 1e-6]


def test_the_others_name_the_first_of_their_group(planted):
    result = duplicates(planted, progress=False)
    column = open_store(planted.path).column("duplicate_of")
    assert {row: id for row, id in enumerate(column) if id is not None and row >= 250} == {
        250: "row-20", 260: "row-30", 270: "row-30", 271: "row-30",
    }  # fmt: skip
    assert result.about["duplicates"] == sum(id is not None for id in column)
    assert result.table.iloc[0].tolist() == ["row-20", "row-250", 0.0, "repeats"]
    assert result.about["threshold"] < 0.05


def test_the_threshold_is_a_quarter_of_the_usual_nearest_distance():
    x = DIGITS.data[:300].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    distance = 1 - x @ x.T
    np.fill_diagonal(distance, np.inf)
    expected = np.median(distance.min(1)) / 4
    with_copies = torch.cat([unit(x), unit(x[:1])])  # equals do not count
    assert usual_threshold(unit(x)) == pytest.approx(expected, rel=1e-3)
    assert usual_threshold(with_copies) == pytest.approx(expected, rel=2e-2)


def test_a_threshold_of_zero_finds_equals(planted):
    duplicates(planted, 0, progress=False)
    column = planted.column("duplicate_of")
    assert {row: id for row, id in enumerate(column) if id is not None} == {250: "row-20"}


def test_a_threshold_of_zero_finds_equals_in_spite_of_rounding(tmp_path):
    """Copies of any length: the cosine of many is below 1 in single precision."""
    random = np.random.default_rng(0)
    x = random.normal(size=(100, 48))
    copies = (x * random.uniform(0.1, 9, (100, 1))).astype(np.float32)
    both = np.concatenate([x.astype(np.float32), copies])
    one, other = unit(both[:100]), unit(both[100:])
    assert ((one * other).sum(1) < 1).sum() > 10
    store = open_store(write_store(tmp_path / "scaled.lance", vectors_table(both)))
    duplicates(store, 0, progress=False)
    assert store.column("duplicate_of").tolist() == [None] * 100 + [f"row-{row}" for row in range(100)]


def test_where_there_are_none_the_column_is_empty(tmp_path):
    store = open_store(write_store(tmp_path / "axes.lance", vectors_table(np.eye(5))))
    result = duplicates(store, out=tmp_path / "out", progress=False)
    assert store.column("duplicate_of").tolist() == [None] * 5
    assert closest_pairs(store) == []
    assert result.said[0].startswith("0 pairs within")


def test_a_repeated_search_forgets_the_last_one(planted):
    duplicates(planted, 0.05, progress=False)
    many = sum(id is not None for id in planted.column("duplicate_of"))
    duplicates(planted, 0, progress=False)
    assert sum(id is not None for id in planted.column("duplicate_of")) == 1 < many


def test_closest_pairs_are_read_from_the_column(planted):
    duplicates(planted, progress=False)
    x, column = planted.vectors(), planted.column("duplicate_of")
    expected = pairs_by_loops(x, 2)
    pairs = closest_pairs(planted, 3)
    assert pairs[0][:2] == (250, 20)
    assert len(pairs) == 3
    for row, first, distance in pairs:
        assert column[row] == f"row-{first}"
        assert distance == pytest.approx(expected[min(row, first), max(row, first)], abs=2e-6)
    assert [pair[2] for pair in pairs] == sorted(pair[2] for pair in closest_pairs(planted, 10**6))[:3]


def test_a_store_that_was_not_searched_says_so(store):
    with pytest.raises(
        UserError, match=r"^store: digits.lance has no near-duplicates column yet; create it with: salience duplicates"
    ):
        closest_pairs(store)


def test_of_very_many_a_part_is_searched_and_it_is_said(planted, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    result = duplicates(planted, 0.1, progress=False)
    assert "searched: 100 of 300 items, drawn at random" in result.said
    expected = pairs_by_loops(planted.vectors(), 0.1)
    assert 0 < result.about["pairs"] < len(expected)
    for item, other in zip(result.table["item"], result.table["other"], strict=True):
        assert (int(item[4:]), int(other[4:])) in expected


def test_of_too_many_pairs_it_says_that_it_stopped(planted, monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 10)
    result = duplicates(planted, 0.5, progress=False)
    assert "the search stopped after 10 pairs; give a smaller threshold" in result.said


def test_everything_is_in_the_folder(store, tmp_path):
    result = duplicates(store, 0.05, tmp_path / "out", progress=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"duplicates.json", "items.csv", "picture.png"}
    assert len(pd.read_csv(tmp_path / "out" / "items.csv")) == result.about["pairs"] > 0


@pytest.mark.parametrize(
    ("threshold", "complaint"),
    [
        (-0.1, "-0.1 is not valid"),
        (1, "1.0 is not valid"),
        (float("nan"), "nan is not a finite number"),
    ],
)
def test_a_threshold_that_is_none(store, threshold, complaint):
    with pytest.raises(UserError, match=f"^threshold: {complaint}"):
        duplicates(store, threshold)


def test_the_usual_threshold_is_at_most_015_and_finds_equals_at_least():
    apart = torch.eye(20)  # at a distance of 1 from each other, a quarter of which is 0.25
    assert usual_threshold(apart) == pytest.approx(0.15)
    near = unit(np.array([[1.0, 0.0], [1.0, 1.5e-3]]))  # a quarter of their distance is below what rounding leaves
    assert usual_threshold(near) == pytest.approx(1e-6)
    assert usual_threshold(unit(np.ones((5, 3)))) == pytest.approx(1e-6)  # equals alone


def test_as_a_command(store, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["duplicates", str(store.path), "--threshold", "0.05"]) == 0
    said = capsys.readouterr().out
    assert "more" in said.splitlines()[-1]
    assert (tmp_path / "runs" / "duplicates-1" / "picture.png").exists()
    assert main(["duplicates", str(store.path), "--json", "--out", "found"]) == 0
    assert json.loads(capsys.readouterr().out)["about"]["column"] == "duplicate_of"
    assert main(["duplicates", str(store.path), "--threshold", "2"]) == 2
    assert "--threshold: 2.0 is not valid" in capsys.readouterr().err
