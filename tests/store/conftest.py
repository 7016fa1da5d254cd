"""Stores of scikit-learn's digits, pixels as vectors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from salience.store import Store, open_store

DIGITS = load_digits()
ABOUT = {
    "format": 1,
    "method": "pca",
    "run": None,
    "weights": "0" * 64,
    "dim": 64,
    "modality": "image",
    "spec": {},
    "sources": [{"name": "digits", "split": "train", "fingerprint": "f", "rows": 400}],
}


def png(image: np.ndarray) -> bytes:
    """image: [h w] from 0 to 16"""
    file = io.BytesIO()
    Image.fromarray((image * (255 / 16)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def digits_table(rows: slice, *, labels: bool = True, pictures: bool = True) -> pa.Table:
    """The columns of a store, for some of the digits; ids are digit-0000 and so on."""
    x = DIGITS.data[rows].astype(np.float32)
    numbers = np.arange(len(DIGITS.data))[rows]
    names = [str(label) for label in DIGITS.target[rows]] if labels else [None] * len(x)
    columns: dict[str, Any] = {
        "id": pa.array([f"digit-{number:04d}" for number in numbers]),
        "label": pa.array(names, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1]),
        "content": pa.array(numbers.astype(np.uint64)),
    }
    if pictures:
        columns["thumbnail"] = pa.array([png(image) for image in DIGITS.images[rows]], pa.binary())
    return pa.table(columns | {"x": x[:, 20] - 8, "y": x[:, 30] - 8})


def write_store(path: Path, table: pa.Table, **about: Any) -> Path:
    """A store as `embed` leaves it, of these items."""
    import lance

    known = {**ABOUT, "dim": table.schema.field("vector").type.list_size, **about}
    lance.write_dataset(table.replace_schema_metadata({b"salience": json.dumps(known)}), str(path))
    return path


def append(path: Path, table: pa.Table) -> None:
    import lance

    lance.write_dataset(table.select(lance.dataset(str(path)).schema.names), str(path), mode="append")


def vectors_table(vectors: np.ndarray, **columns: Any) -> pa.Table:
    """Items of a table, named by their rows, with vectors [n d] and more columns."""
    x = vectors.astype(np.float32)
    vector = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
    ids = pa.array([f"row-{row}" for row in range(len(x))])
    return pa.table({"id": ids, "vector": vector, "content": pa.array(np.arange(len(x), dtype=np.uint64)), **columns})


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Store]:
    """Writes a store of the first n digits, NAME.lance in the test's own folder, and opens it."""

    def make(n: int = 400, name: str = "digits", **options: Any) -> Store:
        return open_store(write_store(tmp_path / f"{name}.lance", digits_table(slice(n), **options)))

    return make


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """400 digits with labels and pictures."""
    return make_store()
