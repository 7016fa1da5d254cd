"""A kind of store that is written in a test alone does whatever the one of the package does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import salience
from salience import store_names
from salience.cli import main
from salience.data import Dataset, open_data
from salience.explorer.app import make_app
from salience.explorer.state import Explorer
from salience.representation import Representation
from salience.store import Store, open_store, parts
from salience.store.embedding import embed_into
from salience.store_names import parse_shard
from salience.training import fit
from tests.explorer.conftest import BASE
from tests.store.parquet_store import KIND, ParquetStore


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_names, "KINDS", [*store_names.KINDS, KIND])
    monkeypatch.setattr(parts, "PART", 64)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_data("digits", progress=False).subset(range(240))


@pytest.fixture(scope="module")
def pca(tmp_path_factory: pytest.TempPathFactory) -> Representation:
    return fit("pca", "digits", out=tmp_path_factory.mktemp("runs") / "pca", dim=12, progress=False)


@pytest.fixture
def stores(pca: Representation, digits: Dataset, tmp_path: Path) -> Iterator[list[Store]]:
    """The same items in a store of each kind."""
    paths = [tmp_path / "d.parquets", tmp_path / "d.lance"]
    for path in paths:
        salience.embed_to(pca, digits, path, progress=False)
    yield [open_store(path) for path in paths]
    assert not list(tmp_path.glob(".*")), "something was left beside the stores"


def test_what_is_embedded_is_there(stores: list[Store], pca: Representation, digits: Dataset) -> None:
    store, lance = stores
    assert isinstance(store, ParquetStore)
    assert store.columns == lance.columns
    np.testing.assert_array_equal(store.vectors(), pca.embed(digits))
    for name in store.columns:
        np.testing.assert_array_equal(store.column(name), lance.column(name))
    assert store.thumbnails([0, 7]) == lance.thumbnails([0, 7])
    assert store.about["sources"] == lance.about["sources"]


def test_it_grows_by_what_is_new_and_what_has_changed(pca: Representation, digits: Dataset, tmp_path: Path) -> None:
    path, shards = tmp_path / "d.parquets", [parse_shard(f"{shard}/2") for shard in (1, 2)]
    added = [embed_into(pca, digits.subset(range(200)), path, shard, progress=False) for shard in shards]
    assert [one.left for one in added] == [72, 0]  # of 200 items in parts of 64
    changed = replace(digits, stored=digits.stored.copy())
    changed.stored[3] = 255 - changed.stored[3]
    assert embed_into(pca, changed, path, progress=False).new == 41
    assert embed_into(pca, changed, path, progress=False).new == 0
    store = open_store(path)
    assert list(store.column("id")) == list(digits.ids)
    np.testing.assert_allclose(store.vectors(), pca.embed(changed), rtol=1e-5, atol=1e-5)
    embed_into(pca, replace(digits.subset(range(5)), split="test"), path, progress=False)
    assert [one["split"] for one in open_store(path).about["sources"]] == [digits.split, "test"]


def test_verbs_find_the_same_as_in_a_store_of_lance(stores: list[Store]) -> None:
    found = [
        (
            salience.search(store, 7, k=5, where="label != '3'").table,
            salience.cluster(store, k=5, seed=0, progress=False).table,
            salience.anomalies(store, held_out="3", progress=False).table,
            salience.duplicates(store, progress=False).table,
        )
        for store in stores
    ]
    for ours, theirs in zip(*found, strict=True):
        assert ours.equals(theirs)
    for name in ("cluster", "anomaly"):
        np.testing.assert_array_equal(stores[0].column(name), stores[1].column(name))


def test_labels_are_given_taken_back_and_asked_for(stores: list[Store]) -> None:
    store = stores[0]
    store.marks.mark([str(store.column("id")[row]) for row in (4, 9)], "odd")
    assert store.where("marked = 'odd'").tolist() == [4, 9]
    store.marks.undo()
    assert store.where("marked IS NOT NULL").tolist() == []


def test_the_page_shows_it(stores: list[Store]) -> None:
    with TestClient(make_app(Explorer(stores[0])), base_url=BASE) as client:
        about = client.get("/store").json()
        assert (about["name"], about["rows"]) == ("d.parquets", 240)
        assert client.get("/points?map=pca").status_code == 200
        assert client.get("/items/0").json()["id"] == stores[0].column("id", [0])[0]


def test_the_command_line_takes_it(pca: Representation, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "d.parquets")
    for _ in range(2):
        assert main(["embed", str(pca.run), "digits", "--out", path]) == 0
    assert "nothing new" in capsys.readouterr().err
    assert main(["search", path, "3", "-k", "2"]) == 0
    assert len(open_store(path)) == 1797
