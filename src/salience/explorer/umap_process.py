"""UMAP of a store's vectors (McInnes et al. 2018, https://arxiv.org/abs/1802.03426), by umap-learn, in its own process.

    python -m salience.explorer.umap_process STORE

The process writes lines of JSON to standard output, {"share": 0.4, "said": "200 of 500 epochs, 12 s left"}. At the end
it writes {"points": n} and n pairs of little-endian float32. It exits when standard input closes, so it always ends
with its parent process.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
import warnings
from typing import Any, BinaryIO

import numpy as np

from salience.store import Store, open_store
from salience.units import format_duration

FITTED = 100_000  # maximum number of items to fit; further items are transformed afterwards
SEEDED = 50_000  # up to this number the map is deterministic, which requires one thread
TRANSFORMED = 20_000  # items per transform
EPOCHS = ((10_000, 500), (FITTED, 200))  # defaults of umap-learn
FITTING = 0.7  # share of the work that the fit takes if items are transformed afterwards


class ProgressReader(io.TextIOBase):
    """The file that umap-learn's progress bar, "12/200", writes to. It reports the progress as JSON.

    share: share of the fit in the whole work
    """

    def __init__(self, out: BinaryIO, share: float):
        self.out = out
        self.share = share
        self.begun = 0.0

    def write(self, text: str) -> int:
        done, slash, total = text.strip().partition("/")
        if slash and done.isdecimal() and total.isdecimal():
            self.report(int(done), int(total), time.monotonic())
        return len(text)

    def report(self, done: int, total: int, now: float) -> None:
        """Report the progress. The first epoch includes compilation, so it does not count for the time left."""
        if done <= 1:
            self.begun = now
        seconds = (now - self.begun) / max(done - 1, 1) * (total - done)
        left = f", {format_duration(seconds)} left" if done > 1 else ""
        send(self.out, share=round(self.share * done / total, 4), said=f"{done} of {total} epochs{left}")


def send(out: BinaryIO, **told: Any) -> None:
    out.write(json.dumps(told).encode() + b"\n")
    out.flush()


def main(uri: str, out: BinaryIO) -> None:
    try:
        store = open_store(uri)
        points = make_map(store, out)
        send(out, points=len(points))
        out.write(np.ascontiguousarray(points, "<f4").tobytes())
        out.flush()
    except Exception as problem:  # reported to the parent, in one line
        send(out, failed=" ".join(f"{type(problem).__name__}: {problem}".split())[:300])


def make_map(store: Store, out: BinaryIO) -> np.ndarray:
    """Compute the map.  -> [n 2]"""
    n = len(store)
    if n < 5:
        raise ValueError(f"expected at least 5 items, got {n}")
    send(out, share=0.0, said="loading UMAP (takes some seconds)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        rows = np.arange(n) if n <= FITTED else np.sort(np.random.default_rng(0).choice(n, FITTED, replace=False))
        teller = ProgressReader(out, 1.0 if n <= FITTED else FITTING)
        bar = {"file": teller, "bar_format": "{n_fmt}/{total_fmt}", "mininterval": 0.3, "leave": False}
        mapper = UMAP(
            metric="cosine",
            n_neighbors=min(15, n - 1),
            n_epochs=next((epochs for most, epochs in EPOCHS if n <= most), EPOCHS[-1][1]),
            init="pca",
            random_state=0 if n <= SEEDED else None,
            n_jobs=1 if n <= SEEDED else -1,
            verbose=False,
            tqdm_kwds={**bar, "disable": False},
        )
        send(out, share=0.0, said="finding neighbours")
        fitted = mapper.fit_transform(store.vectors(rows))
        if len(rows) == n:
            return fitted
        return transform_others(store, mapper, rows, fitted, out)


def transform_others(store: Store, mapper: Any, rows: np.ndarray, fitted: np.ndarray, out: BinaryIO) -> np.ndarray:
    """Return the fitted items and transform all others.  rows: [m], fitted: [m 2] -> [n 2]"""
    n = len(store)
    points, others = np.empty((n, 2), np.float32), np.setdiff1d(np.arange(n), rows)
    points[rows], begun = fitted, time.monotonic()
    for first in range(0, len(others), TRANSFORMED):
        some = others[first : first + TRANSFORMED]
        mapper.tqdm_kwds = {"disable": True}
        points[some] = mapper.transform(store.vectors(some))
        share = (first + len(some)) / len(others)
        left = format_duration((time.monotonic() - begun) * (1 - share) / share)
        said = f"{first + len(some):,} of {len(others):,} more items placed, {left} left"
        send(out, share=round(FITTING + (1 - FITTING) * share, 4), said=said)
    return points


def end_with_parent() -> None:
    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the output of libraries must not mix with the answers
    main(sys.argv[1], answers)
    os._exit(0)  # the waiting thread holds standard input, so a normal exit would hang
