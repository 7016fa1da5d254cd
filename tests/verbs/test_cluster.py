import json

import numpy as np
import pandas as pd
import pytest

from salience.cli import main
from salience.errors import UserError
from salience.evaluation.clustering import clustering_metrics
from salience.store import open_store
from salience.verbs import cluster as module
from salience.verbs.cluster import against_labels, by_size, cluster, clusters_of, summary
from tests.store.conftest import vectors_table, write_store

SIZES = (90, 60, 30)


@pytest.fixture
def bundles(tmp_path):
    """Three bundles of directions in 6 dimensions, of 90, 60 and 30 items and any length, and 4 that belong nowhere."""
    random = np.random.default_rng(0)
    own = np.repeat(np.arange(3), SIZES)
    x = np.eye(6)[own] + random.normal(0, 0.05, (180, 6))
    x = np.concatenate([x, -np.eye(6)[2:]]) * random.uniform(0.1, 9, (184, 1))
    order = random.permutation(184)
    labels = np.array([*(f"kind {one}" for one in own), None, None, None, None], object)[order]
    table = vectors_table(x[order], label=labels.tolist(), x=x[order, 0], y=x[order, 1])
    store = open_store(write_store(tmp_path / "bundles.lance", table, modality="table"))
    return store, np.append(own, [3] * 4)[order]


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_the_seed_says_where_the_clusters_begin(tmp_path, method):
    x = np.random.default_rng(0).normal(size=(300, 4))  # of no clusters: where they begin is where they end
    store = open_store(write_store(tmp_path / "cloud.lance", vectors_table(x), modality="table"))
    found = []
    for seed in (0, 0, 1):
        cluster(store, method, 8, seed=seed, progress=False)
        found.append(clusters_of(store))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize(
    ("method", "k"), [("kmeans", 3), ("kmeans", None), ("gmm", 3), ("gmm", None), ("hdbscan", None)]
)
def test_bundles_are_found_and_the_largest_is_the_first(bundles, method, k):
    store, own = bundles
    result = cluster(store, method, k, progress=False)
    found = clusters_of(open_store(store.path))
    real = own < 3
    if method == "hdbscan":
        assert (found[~real] == -1).all()
    if method == "hdbscan" or k == 3:
        np.testing.assert_array_equal(found[real], own[real])
        assert result.figures["clusters"]["ari"].value == 1
    assert result.figures["clusters"]["ari"].value > 0.9
    assert abs(result.figures["chance"]["ari"].value) < 0.1
    sizes = result.table["size"].tolist()
    assert sizes == sorted(sizes, reverse=True)
    assert store.columns["cluster"] == "number"


def test_length_does_not_matter(bundles, tmp_path):
    store, _ = bundles
    cluster(store, "kmeans", 3, progress=False)
    x = store.vectors()
    scaled = x * np.random.default_rng(1).uniform(0.1, 50, (len(x), 1))
    other = open_store(write_store(tmp_path / "scaled.lance", vectors_table(scaled)))
    cluster(other, "kmeans", 3, progress=False)
    np.testing.assert_array_equal(clusters_of(store), clusters_of(other))


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_bundles_that_lie_close_together_are_told_apart_too(tmp_path, method):
    """Directions that differ by a thousandth of a radian: what is done does not depend on how far all are apart."""
    own = np.repeat(np.arange(3), (50, 40, 30))
    bundles = np.eye(6)[own] + np.random.default_rng(0).normal(0, 0.05, (120, 6))
    x = np.concatenate([np.ones((120, 1)), 1e-3 * bundles], axis=1)
    store = open_store(write_store(tmp_path / "close.lance", vectors_table(x)))
    cluster(store, method, 3, progress=False)
    np.testing.assert_array_equal(clusters_of(store), own)


@pytest.mark.parametrize("method", ["kmeans", "gmm", "hdbscan"])
def test_those_not_fitted_go_where_they_fit(bundles, monkeypatch, method):
    store, own = bundles
    monkeypatch.setitem(module.FITTED, method, 120)
    result = cluster(store, method, None if method == "hdbscan" else 3, progress=False)
    found = clusters_of(store)
    np.testing.assert_array_equal(found[own < 3], own[own < 3])
    assert result.about["fitted"] == 120
    assert "fitted to 120 of 184 items drawn at random; the others were assigned to clusters" in result.said


def test_how_many_is_said_to_be_chosen_by_what(bundles):
    store, _ = bundles
    assert any("the best silhouette" in said for said in cluster(store, progress=False).said)
    assert any("the lowest BIC" in said for said in cluster(store, "gmm", progress=False).said)
    assert any("as asked for" in said for said in cluster(store, "kmeans", 4, progress=False).said)


def test_figures_are_those_of_the_evaluation_over_labelled_items(store):
    result = cluster(store, "kmeans", 10, progress=False)
    labels = store.column("label").astype(int)
    assert result.figures["clusters"] == clustering_metrics(clusters_of(store), labels)
    assert result.figures["chance"]["accuracy"].value < 0.25 < result.figures["clusters"]["accuracy"].value


def test_items_in_no_cluster_count_against_it(store):
    """They are one more cluster, no part of the first: a cluster of its own, which matches one class at most."""
    labels = store.column("label").astype(int)
    found = np.where(np.arange(400) < 200, labels, -1)
    figures, notes = against_labels(store, found)
    one_more = np.where(found < 0, 10, found)
    assert figures["clusters"] == clustering_metrics(one_more, labels)
    assert figures["clusters"] != clustering_metrics(np.where(found < 0, 0, found), labels)
    assert figures["clusters"]["accuracy"].value < 0.62
    assert "items in no cluster count as one more" in notes


def test_without_labels_there_are_no_figures(make_store):
    result = cluster(make_store(60, labels=False), "kmeans", 3, progress=False)
    assert result.figures == {}
    assert list(result.table) == ["cluster", "size"]


def test_the_summary_is_by_hand(bundles):
    store, own = bundles
    store.write_columns({"cluster": [None if one == 3 else int(one) for one in own]})
    unit = store.vectors().astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for one in summary(store):
        rows = np.flatnonzero(own == one["cluster"])
        centre = unit[rows].mean(0)
        nearest = rows[np.argsort(-(unit[rows] @ centre), kind="stable")][:8]
        assert one["size"] == len(rows) == SIZES[one["cluster"]]
        assert one["rows"] == nearest.tolist()
        assert (one["label"], one["share"]) == (f"kind {one['cluster']}", 1.0)


def test_the_share_is_of_the_labelled(store):
    labels = ["a"] * 30 + ["b"] * 10 + [None] * 360
    store.write_columns({"label": labels, "cluster": [0] * 400})
    (one,) = summary(store)
    assert (one["size"], one["label"], one["share"]) == (400, "a", 0.75)


def test_a_store_without_clusters_says_how_to_find_them(store):
    with pytest.raises(UserError, match=r"^store: digits.lance has no clusters yet; find them with: salience cluster"):
        summary(store)


def test_numbered_by_size():
    np.testing.assert_array_equal(by_size(np.array([5, -1, 2, 2, 5, 2, 0])), [1, -1, 0, 0, 1, 0, 2])
    np.testing.assert_array_equal(by_size(np.array([-1, -1])), [-1, -1])


def test_where_there_are_none(tmp_path):
    """Eight items as far from each other as can be are no dense region of five."""
    store = open_store(write_store(tmp_path / "apart.lance", vectors_table(np.eye(8))))
    result = cluster(store, "hdbscan", out=tmp_path / "out", progress=False)
    assert result.about["clusters"] == 0
    assert result.text().splitlines()[1].startswith("0 clusters: dense regions of 5 items or more")
    assert "8 items (100%) are in no cluster" in result.said
    assert summary(store) == []
    for one in (store, open_store(store.path)):
        assert clusters_of(one).tolist() == [-1] * 8
        assert np.isnan(one.column("cluster")).all()
    assert len(result.table) == 0
    assert not (tmp_path / "out" / "picture.png").exists()


def test_equal_items_do_not_stop_it(tmp_path):
    store = open_store(write_store(tmp_path / "equal.lance", vectors_table(np.ones((20, 3)))))
    for method in ("kmeans", "gmm", "hdbscan"):
        cluster(store, method, progress=False)
        assert len(np.unique(open_store(store.uri).column("cluster"))) == 1, method


def test_everything_is_in_the_folder(store, tmp_path, bundles):
    result = cluster(store, "kmeans", 4, tmp_path / "out", progress=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cluster.json", "items.csv", "picture.png"}
    assert pd.read_csv(tmp_path / "out" / "items.csv")["size"].sum() == 400
    stored = json.loads((tmp_path / "out" / "cluster.json").read_text())
    assert stored["clusters"]["nmi"]["value"] == result.figures["clusters"]["nmi"].value
    cluster(bundles[0], "kmeans", 3, tmp_path / "map", progress=False)
    assert (tmp_path / "map" / "picture.png").exists()


def test_an_interrupt_leaves_the_old_clusters(store, monkeypatch):
    cluster(store, "kmeans", 3, progress=False)
    before = clusters_of(store)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(module.METHODS, "kmeans", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cluster(store, "kmeans", 5, progress=False)
    np.testing.assert_array_equal(clusters_of(open_store(store.path)), before)


@pytest.mark.parametrize(
    ("method", "k", "complaint"),
    [
        ("spectral", None, "method: 'spectral' is not one of kmeans, gmm, hdbscan"),
        ("hdbscan", 3, "k: hdbscan chooses the number of clusters"),
        ("kmeans", 1, "k: 1 is not a whole number of at least 2"),
        ("kmeans", 2.5, "k: 2.5 is not a whole number of at least 2"),
        ("gmm", 400, "k: 400 clusters of 400 items"),
    ],
)
def test_mistakes_name_the_argument(store, method, k, complaint):
    with pytest.raises(UserError, match=f"^{complaint}"):
        cluster(store, method, k)


def test_too_few_items(make_store):
    with pytest.raises(UserError, match=r"^store: digits.lance holds 2 items; three or more"):
        cluster(make_store(2))
    cluster(make_store(3, "three"), progress=False)


def test_as_a_command(store, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["cluster", str(store.path), "-k", "12", "--seed", "1"]) == 0
    said = capsys.readouterr().out
    assert "12 clusters: as asked for" in said
    assert "chance" in said
    assert (tmp_path / "runs" / "cluster-1" / "picture.png").exists()
    assert main(["cluster", str(store.path), "--method", "hdbscan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["about"]["algorithm"] == "hdbscan"
    assert main(["cluster", str(store.path), "-k", "1"]) == 2
    assert main(["cluster", "nowhere.lance"]) == 2
    assert "STORE: nowhere.lance does not exist" in capsys.readouterr().err
