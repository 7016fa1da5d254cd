"""Clusters and outliers are read from columns, whoever wrote them."""

from __future__ import annotations

import numpy as np

from salience.store import open_store
from tests.explorer.conftest import ROWS


def test_clusters_come_largest_first_whatever_their_numbers(client, path):
    open_store(path).write_columns(
        {"cluster": np.where(np.arange(ROWS) < 100, 0, np.where(np.arange(ROWS) < 250, 1, 2))}
    )
    client.get("/store")
    found = client.get("/clusters").json()["clusters"]
    assert [(one["cluster"], one["size"]) for one in found] == [(2, 350), (1, 150), (0, 100)]


def test_items_that_were_not_scored_are_no_anomalies(client, path):
    scores = np.full(ROWS, np.nan)
    scores[[7, 3, 11]] = [0.5, 0.9, 0.1]
    open_store(path).write_columns({"anomaly": scores})
    client.get("/store")
    found = client.get("/outliers").json()["anomalies"]
    assert [(one["row"], one["id"], round(one["score"], 6)) for one in found] == [
        (3, "digit/3", 0.9), (7, "digit/7", 0.5), (11, "digit/11", 0.1),
    ]  # fmt: skip


def test_a_duplicate_names_the_item_it_repeats_first(client, path):
    named = np.full(ROWS, None)
    named[40], named[50] = "digit/30", "digit/20"
    store = open_store(path)
    store.write_columns({"duplicate_of": named.tolist()})
    x = store.vectors([30, 40, 20, 50])
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = {(30, 40): 1 - x[0] @ x[1], (20, 50): 1 - x[2] @ x[3]}
    client.get("/store")
    found = client.get("/outliers").json()["duplicates"]
    assert [tuple(one["rows"]) for one in found] == sorted(distance, key=distance.get)
    for one in found:
        assert one["ids"] == [f"digit/{row}" for row in one["rows"]]
        np.testing.assert_allclose(one["distance"], distance[tuple(one["rows"])], atol=1e-5)
