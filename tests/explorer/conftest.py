"""A small real store: scikit-learn's digits, their pixels as vectors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from starlette.testclient import TestClient

from salience.explorer.app import make_app
from salience.explorer.pictures import encoded
from salience.explorer.state import Explorer
from salience.store import open_store

ROWS = 600
BASE = "http://127.0.0.1:8300"


@cache
def digits_columns(rows: int) -> pa.Table:
    digits = load_digits()
    x = digits.data[:rows].astype(np.float32)
    plane = PCA(2, random_state=0).fit_transform(x).astype(np.float32)
    pictures = [encoded(Image.fromarray((image * 15).astype(np.uint8))) for image in digits.images[:rows]]
    columns = {
        "id": [f"digit/{row}" for row in range(rows)],
        "label": [None if row == 5 else str(label) for row, label in enumerate(digits.target[:rows])],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1]),
        "thumbnail": pa.array([*pictures[:-1], None], pa.binary()),
        "content": pa.array(np.arange(rows), pa.uint64()),
        "x": plane[:, 0],
        "y": plane[:, 1],
        "ink": pa.array(np.where(np.arange(rows) == 3, np.nan, x.mean(1)), from_pandas=True),
        "fold": np.arange(rows) % 5,
    }
    return pa.table(columns)


def digits_table(rows: int = ROWS, **about: Any) -> pa.Table:
    known = {"format": 1, "method": "pca", "run": "nowhere", "weights": "-", "dim": 64, "modality": "image"}
    source = {"name": "digits", "split": "train", "fingerprint": "-", "rows": rows}
    return digits_columns(rows).replace_schema_metadata(
        {b"salience": json.dumps({**known, "spec": {}, "sources": [source], **about}).encode()}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "digits.lance"
    lance.write_dataset(digits_table(), str(place))
    return place


@pytest.fixture
def served(path: Path) -> Iterator[Callable[..., TestClient]]:
    """Starts a server on the store. Its errors are answers, as they are for a browser."""
    clients = []

    def start(*, token: str | None = None, host: str | None = None, base: str = BASE, **options: Any) -> TestClient:
        app = make_app(Explorer(open_store(path), **options), token=token, host=host)
        client = TestClient(app, base_url=base, raise_server_exceptions=False)
        clients.append(client)
        return client.__enter__()

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(served: Callable[..., TestClient]) -> TestClient:
    return served()


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server that has learnt from six labels, for tests that change nothing."""
    place = tmp_path_factory.mktemp("still") / "digits.lance"
    lance.write_dataset(digits_table(), str(place))
    app = make_app(Explorer(open_store(place)))
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        for name in "01":
            client.post("/labels", json={"rows": np.flatnonzero(truth() == name)[:3].tolist(), "label": name})
        learnt(client)
        yield client


@cache
def _targets() -> np.ndarray:
    return load_digits().target.astype(str)


def truth(rows: int = ROWS) -> np.ndarray:
    return _targets()[:rows].copy()


def until(true: Callable[[], Any], seconds: float = 1200.0) -> Any:
    """What `true` gives, once it is true. The deadline is for what never happens: no machine is so busy."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


def learnt(client: TestClient) -> dict[str, Any]:
    """The classifier, once it has learnt from the labels there are."""

    def ready() -> dict[str, Any] | None:
        found = client.get("/classifier").json()
        return found if found["state"] != "training" and found["version"] == version else None

    version = client.get("/labels").json()["version"]
    return until(ready)


def values(client: TestClient, name: str) -> np.ndarray:
    """[n] names of classes with None, or numbers."""
    about = client.get(f"/columns/{name}").json()
    content = client.get(f"/columns/{name}/values").content
    if about["kind"] == "number":
        return np.frombuffer(content, "<f4")
    codes = np.frombuffer(content, "<u2")
    return np.array([*about["classes"], *[None] * (65536 - len(about["classes"]))], object)[codes]
