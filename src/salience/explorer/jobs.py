"""Background jobs: each runs once at a time, reports its progress, and writes columns to the store."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np
import torch

from salience.errors import MissingPackage, UserError
from salience.explorer.answers import Job
from salience.explorer.items import MAPS
from salience.processors import cores
from salience.store import Store
from salience.units import counted, format_duration

NAMES: tuple[Any, ...] = get_args(Job.model_fields["name"].annotation)
LEAVES = {"umap": MAPS["umap"], "cluster": ("cluster",), "anomalies": ("anomaly",), "duplicates": ("duplicate_of",)}
log = logging.getLogger(__name__)
Report = Callable[[float, str], None]


class Jobs:
    """written: called with the names of columns that have been written"""

    def __init__(self, store: Store, written: Callable[[Iterable[str]], None]):
        self.store = store
        self.written = written
        there = set(store.columns)
        self._jobs = {name: Job(name=name, **_found(set(LEAVES[name]) <= there)) for name in NAMES}
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def all(self) -> list[Job]:
        return [self._jobs[name] for name in NAMES]

    def umap(self) -> Job:
        from importlib.util import find_spec

        if find_spec("umap") is None:
            raise MissingPackage("umap: requires package umap-learn; install it with: pip install 'salience[explore]'")
        return self._start("umap", self._umap)

    def cluster(self, method: str, k: int | None) -> Job:
        def work() -> None:
            from salience.verbs.cluster import cluster

            cluster(self.store, method, k, progress=False)

        return self._start("cluster", lambda report: work())

    def anomalies(self) -> Job:
        def work() -> None:
            from salience.verbs.anomalies import anomalies

            anomalies(self.store, progress=False)

        return self._start("anomalies", lambda report: work())

    def duplicates(self) -> Job:
        def work() -> None:
            from salience.verbs.duplicates import duplicates

            duplicates(self.store, progress=False)

        return self._start("duplicates", lambda report: work())

    def close(self) -> None:
        """End the processes of jobs. Threads end with this process."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()

    def _start(self, name: str, work: Callable[[Report], None]) -> Job:
        """Start a job, unless it is already running."""
        with self._lock:
            job = self._jobs[name]
            if job.state != "running":
                job = self._jobs[name] = Job(name=name, state="running", said="starting")  # type: ignore[arg-type]
                threading.Thread(target=self._run, args=(name, work), name=name, daemon=True).start()
            return job  # in its state at the start: it may have ended since

    def _run(self, name: str, work: Callable[[Report], None]) -> None:
        torch.set_num_threads(cores())  # otherwise a new thread takes the last value set, possibly the classifier's
        begun = time.monotonic()

        def report(share: float, said: str) -> None:
            self._jobs[name] = Job(name=name, state="running", share=share, said=said)  # type: ignore[arg-type]

        report(0.0, "running")
        try:
            work(report)
            self.written(LEAVES[name])
            took = format_duration(time.monotonic() - begun)
            ended: dict[str, Any] = {"state": "done", "share": 1.0, "said": f"took {took}"}
        except (UserError, ImportError) as problem:
            ended = {"state": "failed", "said": " ".join(str(problem).split())}
        except Exception as problem:  # the state must not stay "running"
            log.exception("%s failed", name)
            ended = {"state": "failed", "said": f"failed: {type(problem).__name__}"}
        self._jobs[name] = Job(name=name, **ended)  # type: ignore[arg-type]

    def _umap(self, report: Report) -> None:
        """Run UMAP in a separate process: importing numba takes seconds, and a process can be stopped at any time."""
        report(0.0, "starting UMAP")
        command = [sys.executable, "-m", "salience.explorer.umap_process", self.store.uri]
        with self._lock:
            if self._closed:
                return
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self._processes.add(process)
        try:
            with process:
                points = follow(process, report, len(self.store))
        finally:
            with self._lock:
                self._processes.discard(process)
        report(1.0, "writing")
        x, y = MAPS["umap"]
        self.store.write_columns({x: points[:, 0], y: points[:, 1]})


def follow(process: subprocess.Popen[bytes], report: Report, n: int) -> np.ndarray:
    """Report the progress of the process until it returns the points, [n 2] float32."""
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)
        if "failed" in told:
            raise UserError(f"umap: {told['failed']}")
        if "points" in told:
            found = process.stdout.read(8 * told["points"])
            if told["points"] != n:
                raise UserError(f"umap: the store has {counted(told['points'], 'item')} now; restart salience explore")
            if len(found) < 8 * n:
                break
            return np.frombuffer(found, "<f4").reshape(-1, 2)
        report(told["share"], told["said"])
    process.wait()
    raise UserError("umap: the process ended too early; check that there is enough memory")


def _found(there: bool) -> dict[str, Any]:
    return {"state": "done", "share": 1.0} if there else {}
