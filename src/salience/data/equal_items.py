"""Which items are the same: equal as stored, by a hash of the content. `near_duplicates` finds those nearly so."""

from __future__ import annotations

import hashlib

import numpy as np

from salience.data.dataset import Dataset


def content_hashes(dataset: Dataset) -> np.ndarray:
    """[n] uint64: equal for items equal as stored (missing values equal each other)."""
    return np.array([_hash(_canonical(dataset.item(row))) for row in range(len(dataset))], dtype=np.uint64)


def _canonical(item: np.ndarray) -> np.ndarray:
    if item.dtype.kind != "f":
        return item
    item = item + 0.0  # -0 becomes 0
    item[np.isnan(item)] = np.nan  # one of the many ways to write it
    return item


def _hash(item: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(item.tobytes(), digest_size=8).digest(), "little")


def equal_groups(hashes: np.ndarray) -> list[np.ndarray]:
    """The rows of each set of two or more equal items, in order of their first row."""
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.diff(hashes[order])) + 1
    return sorted((group for group in np.split(order, starts) if len(group) > 1), key=lambda group: int(group[0]))
