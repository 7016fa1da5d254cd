"""Measure failed requests, lost labels and response times of the explorer's server with eight clients.

    .venv/bin/python -m benchmarks.cells.explorer_load   # Fashion-MNIST's test images by PCA
    .venv/bin/python -m benchmarks.cells.explorer_load --store NAME.lance --seconds 60

Starts and stops `salience explore` on a copy of the store, on loopback. Each client is a thread with its own
connections. Without pauses it searches (near items, near vectors, with conditions), views items, and labels items that
belong to it. Each client remembers its labels. At the end they are compared with the responses, with the exported file,
and, after the server has been killed, with the store. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd

from benchmarks.harness.report import SUMMARY, emit, versions

NAMES = ("boot", "shirt", "bag")
MIX = (("near an item", 35), ("near a vector", 15), ("condition", 15), ("item", 10), ("label", 25))
PATIENCE = 30.0  # seconds after which a request counts as failed


class Client(threading.Thread):
    """One user. given: row -> the label it was given last;  waited: kind -> seconds of each request"""

    def __init__(self, url: str, number: int, clients: int, about: dict[str, Any], until: float):
        super().__init__()
        self.http = httpx.Client(base_url=url, timeout=PATIENCE)
        self.random = random.Random(number)
        self.rows = range(number, about["rows"], clients)  # nobody else labels these
        self.about = about
        self.until = until
        self.given: dict[int, str | None] = {}
        self.waited: dict[str, list[float]] = {kind: [] for kind, _ in MIX}
        self.failures: Counter[str] = Counter()

    def run(self) -> None:
        kinds, weights = zip(*MIX, strict=True)
        while time.monotonic() < self.until:
            kind = self.random.choices(kinds, weights)[0]
            begun = time.monotonic()
            try:
                answer = self.ask(kind)
                if answer.status_code != 200:
                    self.failures[f"{kind}: {answer.status_code} {answer.text[:120]}"] += 1
            except httpx.HTTPError as problem:
                self.failures[f"{kind}: {type(problem).__name__}"] += 1
            self.waited[kind].append(time.monotonic() - begun)
        self.http.close()

    def ask(self, kind: str) -> httpx.Response:
        row = self.random.randrange(self.about["rows"])
        if kind == "near an item":
            return self.http.post("/search", json={"row": row, "k": 24})
        if kind == "near a vector":
            vector = [self.random.gauss(0, 1) for _ in range(self.about["dim"])]
            return self.http.post("/search", json={"vector": vector, "k": 24})
        if kind == "condition":
            where = self.random.choice(self.about["conditions"])
            return self.http.post("/search", json={"row": row, "k": 12, "where": where})
        if kind == "item":
            return self.http.get(f"/items/{row}")
        return self.label()

    def label(self) -> httpx.Response:
        """Some rows of its own, now and then taken back by giving none."""
        rows = self.random.sample(self.rows, min(len(self.rows), self.random.randint(1, 5)))
        name = self.random.choice((*NAMES, *NAMES, None))
        answer = self.http.post("/labels", json={"rows": rows, "label": name})
        if answer.status_code == 200:
            self.given.update(dict.fromkeys(rows, name))
        return answer


def small_store(folder: Path) -> Path:
    """Fashion-MNIST's test images, by PCA."""
    from salience import embed_to, fit

    rep = fit("pca", "fashion-mnist:test", out=folder / "run", dim=64, progress=False)
    return embed_to(rep, "fashion-mnist:test", folder / "fashion-mnist.lance", progress=False)


def served(store: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "salience", "explore", str(store), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=store.parent)
    assert process.stdout is not None
    return process, process.stdout.readline().partition(": ")[2].strip()


def measure(store: Path, seconds: float, clients: int) -> dict[str, Any]:
    process, url = served(store)
    try:
        http = httpx.Client(base_url=url, timeout=60)
        about = http.get("/store").json()
        http.get("/items/0/neighbours")  # what is loaded with the first search is not measured
        about["conditions"] = conditions(http, about)
        begun = time.monotonic()
        users = [Client(url, number, clients, about, begun + seconds) for number in range(clients)]
        for user in users:
            user.start()
        for user in users:
            user.join()
        took = time.monotonic() - begun
        expected = {row: name for user in users for row, name in user.given.items() if name is not None}
        lost = {"answered": lost_in_answer(http, expected), "exported": lost_in_export(http, expected, about)}
        process.kill()
    finally:
        process.kill()
        process.wait()
    lost["stored"] = lost_in_store(store, expected)
    return {"store": store.name, "rows": about["rows"], "clients": clients, **figures(users, took), "lost": lost}


def conditions(http: httpx.Client, about: dict[str, Any]) -> list[str]:
    names = [column["name"] for column in about["columns"]]
    classes = http.get("/columns/label").json()["classes"] if "label" in names else []
    return [f"label = '{name}'" for name in classes if "'" not in name][:5] or [f"{names[0]} IS NOT NULL"]


def lost_in_answer(http: httpx.Client, expected: dict[int, str]) -> int:
    """Labels by which the counts of GET /labels differ from what was given."""
    found = Counter({one["name"]: one["count"] for one in http.get("/labels").json()["classes"]})
    given = Counter(expected.values())
    return sum(((found - given) + (given - found)).values())


def lost_in_export(http: httpx.Client, expected: dict[int, str], about: dict[str, Any]) -> int:
    """Labels that the exported file does not have, or has otherwise."""
    if not expected:
        return 0
    table = pd.read_csv(io.BytesIO(http.get("/labels/export").content), dtype=str)
    exported = dict(zip(table["item"], table["label"], strict=True))
    ids = {row: http.get(f"/items/{row}").json()["id"] for row in expected}
    return different({ids[row]: name for row, name in expected.items()}, exported)


def lost_in_store(store: Path, expected: dict[int, str]) -> int:
    """The same of the store, after the server was killed."""
    from salience.store import open_store

    opened = open_store(store)
    rows = sorted(expected)
    ids = opened.column("id", rows) if rows else []
    return different({id: expected[row] for row, id in zip(rows, ids, strict=True)}, opened.marks.all())


def different(expected: dict[str, str], found: dict[str, str]) -> int:
    return sum(found.get(id) != name for id, name in expected.items()) + len(set(found) - set(expected))


def figures(users: list[Client], took: float) -> dict[str, Any]:
    """Requests a second, and the milliseconds half of them and all but one in a hundred waited at most."""
    waited = {kind: [one for user in users for one in user.waited[kind]] for kind, _ in MIX}
    everything = [one for times in waited.values() for one in times]
    failures = sum((user.failures for user in users), Counter())
    return {
        "seconds": round(took, 1),
        "requests": len(everything),
        "requests_per_second": round(len(everything) / took, 1),
        **milliseconds(everything),
        "kinds": {kind: {"requests": len(times), **milliseconds(times)} for kind, times in waited.items()},
        "failures": sum(failures.values()),
        "failed": dict(failures.most_common(10)),
        "labels_given": sum(len(user.given) for user in users),
    }


def milliseconds(times: list[float]) -> dict[str, float]:
    if not times:
        return {}
    half, most = np.quantile(times, [0.5, 0.99]) * 1000
    return {"p50_ms": round(float(half), 1), "p99_ms": round(float(most), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a store; otherwise one of Fashion-MNIST is made")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.store is None:
            store = small_store(folder)
        else:
            store = folder / given.store.name
            shutil.copytree(given.store, store)
            (store / "marks.sqlite").unlink(missing_ok=True)
        found = measure(store, given.seconds, given.clients)
        emit(SUMMARY, **found, versions=versions("fastapi", "uvicorn", "pylance"))


if __name__ == "__main__":
    main()
