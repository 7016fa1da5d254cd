"""The items of a store: conversion between rows and ids, and the columns of an item.

The ids are stored as Arrow text, because a million Python strings would take too much memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from salience.explorer.answers import Hit
from salience.explorer.refusals import Unknown
from salience.store import Hits, Store
from salience.units import printable

MAPS = {"pca": ("x", "y"), "umap": ("umap_x", "umap_y")}
COORDINATES = {name for axes in MAPS.values() for name in axes}


class Items:
    """n: number of items; rows 0 to n - 1 are fixed while the server runs"""

    def __init__(self, store: Store):
        self.store = store
        self.ids = pa.array(store.column("id"), pa.string())
        self.n = len(self.ids)

    def require(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Check rows and return them as [m] int64. Raises Unknown if one does not exist."""
        found = np.asarray(rows, np.int64)
        if len(found) and (found.min() < 0 or found.max() >= self.n):
            wrong = found.max() if found.max() >= self.n else found.min()
            raise Unknown(f"row: expected 0 to {self.n - 1}, got {wrong}")
        return found

    def ids_of(self, rows: np.ndarray) -> list[str]:
        return self.ids.take(pa.array(rows, pa.int64())).to_pylist()

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Return the rows of ids, [m] int64. Raises Unknown if an item does not exist."""
        written = [id.encode(errors="replace").decode() for id in ids]  # a lone surrogate cannot be encoded
        rows = pc.index_in(pa.array(written, pa.string()), value_set=self.ids)
        if rows.null_count:
            first = ids[rows.is_null().to_pylist().index(True)]
            raise Unknown(f"id: there is no item '{printable(first)}'")
        return rows.to_numpy().astype(np.int64)

    def positions_in(self, ids: Iterable[str]) -> np.ndarray:
        """Return the position of each item in a list of ids, -1 if it is not in it.  -> [n] int64"""
        found = pc.index_in(self.ids, value_set=pa.array(list(ids), pa.string()))
        return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def columns_of(self, row: int, names: Iterable[str]) -> dict[str, str | float | None]:
        """Return the given columns of an item."""
        return {name: to_json(self.store.column(name, [row])[0]) for name in names}

    def labels_of(self, rows: np.ndarray) -> list[str | None]:
        """Return the labels that items have in their source."""
        if "label" not in self.store.columns:
            return [None] * len(rows)
        return [None if value is None else str(value) for value in self.store.column("label", rows)]

    def hits(self, found: Hits) -> list[Hit]:
        return self._hits(found.rows, [round(float(distance), 6) for distance in found.distances])

    def plain_hits(self, rows: np.ndarray) -> list[Hit]:
        """Return hits without distances, for a search that compares no embeddings."""
        return self._hits(rows, [None] * len(rows))

    def _hits(self, rows: np.ndarray, distances: Sequence[float | None]) -> list[Hit]:
        told = zip(rows.tolist(), self.ids_of(rows), distances, self.labels_of(rows), strict=True)
        return [Hit(row=row, id=id, distance=distance, label=label) for row, id, distance, label in told]


def to_json(value: Any) -> str | float | None:
    """Convert a value for JSON, which has no NaN."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    return number if np.isfinite(number) else None
