"""Clusters, outliers and near-duplicates, read from the columns of the store."""

from __future__ import annotations

import numpy as np

from salience.explorer.answers import Anomaly, Cluster, Clusters, Duplicate, Outliers
from salience.explorer.items import Items
from salience.explorer.refusals import NotYet
from salience.store import Store
from salience.verbs import cluster, duplicates, outliers

SHOWN = 24  # number of outliers, and of pairs of duplicates


def clusters_of(store: Store) -> Clusters:
    """Return the clusters, the largest first. Raises NotYet if the store has none."""
    if cluster.COLUMN not in store.columns:
        raise NotYet("cluster: the store has no clusters yet; start the job `cluster` first")
    found = [Cluster(**one) for one in cluster.summary(store)]
    return Clusters(clusters=sorted(found, key=lambda one: -one.size))


def outliers_of(store: Store, items: Items) -> Outliers:
    return Outliers(anomalies=anomalies_of(store, items), duplicates=duplicates_of(store, items))


def anomalies_of(store: Store, items: Items) -> list[Anomaly] | None:
    """Return the items with the highest anomaly scores, sorted; None if the store has no scores."""
    if outliers.COLUMN not in store.columns:
        return None
    scores = store.column(outliers.COLUMN)
    rows = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")[:SHOWN]
    rows = rows[np.isfinite(scores[rows])]  # items added later have no score
    told = zip(rows.tolist(), items.ids_of(rows), scores[rows].tolist(), strict=True)
    return [Anomaly(row=row, id=id, score=score) for row, id, score in told]


def duplicates_of(store: Store, items: Items) -> list[Duplicate] | None:
    """Return pairs of duplicates, the nearest first; None if duplicates have not been searched."""
    if duplicates.COLUMN not in store.columns:
        return None
    return [
        Duplicate(rows=[first, row], ids=items.ids_of(np.array([first, row])), distance=distance)
        for row, first, distance in duplicates.closest_pairs(store, SHOWN)
    ]
