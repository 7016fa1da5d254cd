"""Measure search in a store of a million embeddings: cost and gain of the index, and memory of a search process.

    .venv/bin/python -m benchmarks.cells.store_search                    # 1,000,000 x 128; minutes, 2 GB in .bench
    .venv/bin/python -m benchmarks.cells.store_search --rows 50000       # a trial

The vectors are PCA-128 embeddings of Fashion-MNIST's 70,000 images, normalised to length 1 and repeated. Each copy has
its own noise, at least as long as the median distance to the nearest other embedding, so that no copy is nearer than a
neighbour. Queries are made in the same way and are not in the store. Index and exact search alternate by query in one
process. Exact search is the store's own, which reads every vector. Memory is RssAnon of a new process that opens a
store of a hundredth, a tenth and all of the rows and searches it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import salience
from benchmarks.harness.anonymous_memory import Peak, rss_anon
from benchmarks.harness.cell import script
from benchmarks.harness.report import SUMMARY, emit, versions
from salience.store import Store, open_store
from salience.store.embedding import INDEXED
from salience.store.lance_store import LanceStore

DIM = 128
K = 10
PROBES = 2000  # embeddings whose nearest neighbours are looked for
CHUNK = 50_000  # vectors made and written at a time
WARM_UP = 5


def embeddings(scratch: Path) -> np.ndarray:
    """[70000 128], of length 1."""
    prepared = scratch / f"fashion-mnist-pca-{DIM}.npy"
    if not prepared.exists():
        with tempfile.TemporaryDirectory() as folder:
            rep = salience.fit("pca", "fashion-mnist", dim=DIM, out=Path(folder) / "run", progress=False)
            parts = [rep.embed(f"fashion-mnist:{split}") for split in ("train", "test")]
        scratch.mkdir(parents=True, exist_ok=True)
        np.save(prepared, np.concatenate(parts).astype(np.float32))
    x = np.load(prepared)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def usual_distance(x: np.ndarray) -> float:
    """Median Euclidean distance of an embedding to the nearest other one."""
    rows = np.random.default_rng(0).choice(len(x), PROBES, replace=False)
    cosine = torch.from_numpy(x[rows]) @ torch.from_numpy(x).T
    cosine[np.arange(PROBES), rows] = -1
    return float((2 - 2 * cosine.amax(1)).clamp(min=0).sqrt().median())


def jittered(x: np.ndarray, least: float, random: np.random.Generator) -> np.ndarray:
    """Each with Gaussian noise, lengthened to `least` where it is shorter.  [n d] -> [n d] float32"""
    noise = random.normal(0, 1.1 * least / np.sqrt(x.shape[1]), x.shape)
    length = np.linalg.norm(noise, axis=1, keepdims=True)
    return (x + noise * np.maximum(1, least / length)).astype(np.float32)


def tables(base: np.ndarray, rows: int, least: float) -> Iterator[pa.Table]:
    random = np.random.default_rng(1)
    for first in range(0, rows, CHUNK):
        numbers = np.arange(first, min(rows, first + CHUNK))
        vectors = jittered(base[numbers % len(base)], least, random)
        columns = {
            "id": pa.array([f"{number:07d}" for number in numbers]),
            "label": pa.array([str(number % 10) for number in numbers]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM),
            "content": pa.array(numbers.astype(np.uint64)),
        }
        yield pa.table(columns)


def make_store(base: np.ndarray, rows: int, least: float, path: Path) -> Store:
    """As `embed` would have written it, without its index."""
    shutil.rmtree(path, ignore_errors=True)
    about = {"method": "pca", "run": None, "weights": "", "dim": DIM, "modality": "image"}
    about |= {"spec": {}, "sources": [{"name": "fashion-mnist", "split": "train", "fingerprint": "", "rows": rows}]}
    LanceStore.create(path, tables(base, rows, least), about)
    return open_store(path)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def built(store: Store, path: Path) -> dict[str, float]:
    before, start = size_of(path), time.perf_counter()
    store.build_index()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "index_bytes": size_of(path) - before, "table_bytes": before}


def compared(store: Store, queries: np.ndarray) -> dict[str, Any]:
    """Recall of the index against exact search, and milliseconds a query of both, in turns."""
    for query in queries[:WARM_UP]:
        store.search(query, K)
        store.search(query, K, exact=True)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    right = 0
    for turn, query in enumerate(queries):
        hits = {}
        for exact in (False, True) if turn % 2 else (True, False):
            start = time.perf_counter()
            hits[exact] = set(store.search(query, K, exact=exact).rows.tolist())
            seconds[exact].append(time.perf_counter() - start)
        right += len(hits[True] & hits[False])
    index, exact_search = (1000 * statistics.median(seconds[exact]) for exact in (False, True))
    return {
        "recall_at_10": right / (K * len(queries)),
        "index_ms": index,
        "index_ms_p99": 1000 * float(np.quantile(seconds[False], 0.99)),
        "exact_ms": exact_search,
        "faster": exact_search / index,
    }


def searching(path: Path, queries: Path) -> None:
    """In a fresh process: opens a store and searches; prints RssAnon before, at the peak and at the end."""
    vectors = np.load(queries)
    before = rss_anon()
    with Peak() as peak:
        store = open_store(path)
        for query in vectors:
            store.search(query, K)
        last = rss_anon()
    emit("memory", rows=len(store), before=before, peak=peak.bytes, last=last)


def memory(paths: list[Path], queries: Path) -> dict[str, dict[str, int]]:
    """Rows -> bytes of RssAnon."""
    found = {}
    for path in paths:
        command = script("store_search", "--search", path, "--queries-file", queries)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        one = json.loads(done.stdout.strip().splitlines()[-1])
        found[str(one["rows"])] = {key: one[key] for key in ("before", "peak", "last")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--scratch", type=Path, default=Path(".bench"))
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--queries-file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.search:
        searching(args.search, args.queries_file)
        return
    base = embeddings(args.scratch)
    least = usual_distance(base)
    random = np.random.default_rng(2)
    queries = jittered(base[random.choice(len(base), args.queries, replace=False)], least, random)
    paths = [args.scratch / f"store-{rows}.lance" for rows in (args.rows // 100, args.rows // 10, args.rows)]
    stores = [make_store(base, int(path.stem.split("-")[1]), least, path) for path in paths]
    build = {}
    for store, path in zip(stores, paths, strict=True):
        if len(store) >= min(INDEXED, args.rows):  # the others have none, as `embed` leaves them
            build[len(store)] = built(store, path)
    queries_file = args.scratch / "store-queries.npy"
    np.save(queries_file, queries)
    emit(
        SUMMARY,
        rows=args.rows,
        dim=DIM,
        noise=least,
        build=build[args.rows],
        search=compared(stores[-1], queries),
        anonymous_bytes=memory(paths, queries_file),
        versions=versions("pylance", "numpy", "pyarrow"),
    )
    for path in paths:
        shutil.rmtree(path)


if __name__ == "__main__":
    main()
