"""Run cells in parallel, one process with one thread per core, and store every result when its cell ends."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness.folders import ROOT
from benchmarks.harness.machine import commit
from benchmarks.harness.process import SLOWING
from benchmarks.harness.stored import Stored, rounded

TRIES = 2


@dataclass
class Job:
    """name: of the cell;  folder: the run folder it makes, removed before it begins;  stored: where its result goes"""

    name: str
    command: list[str]
    folder: Path
    stored: Stored

    @property
    def key(self) -> str:
        return f"{self.stored.content['suite']}: {self.name}"


@dataclass
class Running:
    job: Job
    process: subprocess.Popen[str]
    core: int
    began: float
    log: Path


def run_all(left: Callable[[], list[Job]], width: int) -> int:
    """Until `left` has nothing more; it is asked again when a cell ends.  -> exit code, 1 where a cell failed"""
    cores = sorted(os.sched_getaffinity(0))[:width]
    running: list[Running] = []
    failed: dict[str, int] = {}
    while True:
        busy = {item.job.key for item in running}
        waiting = [job for job in left() if job.key not in busy and failed.get(job.key, 0) < TRIES]
        free = [core for core in cores if core not in {item.core for item in running}]
        for job, core in zip(waiting, free, strict=False):
            running.append(start(job, core))
        if not running:
            break
        time.sleep(0.5)
        for item in [item for item in running if item.process.poll() is not None]:
            running.remove(item)
            if not keep(item):
                failed[item.job.key] = failed.get(item.job.key, 0) + 1
    if failed:
        print("failed: " + "; ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def start(job: Job, core: int) -> Running:
    if job.folder.exists():
        shutil.rmtree(job.folder)
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    log = job.folder.with_suffix(".log")
    environment = {key: value for key, value in os.environ.items() if key not in SLOWING} | {"OMP_NUM_THREADS": "1"}
    with log.open("w") as errors:
        process = subprocess.Popen(
            job.command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
    return Running(job, process, core, time.monotonic(), log)


def keep(item: Running) -> bool:
    """Stores what a process printed last. False where it failed; its log is left to read."""
    assert item.process.stdout is not None
    lines = [json.loads(line) for line in item.process.stdout.read().splitlines() if line.startswith("{")]
    seconds = round(time.monotonic() - item.began)
    if item.process.returncode or not lines:
        print(f"  failed after {seconds} s: {item.job.key}; see {item.log}", file=sys.stderr)
        return False
    result = {key: value for key, value in lines[-1].items() if key not in ("kind", "versions")}
    words = [word.replace(str(ROOT), ".") if str(ROOT) in word else word for word in item.job.command]
    item.job.stored.add_record(
        item.job.name,
        {
            "result": rounded(result),
            "versions": lines[-1].get("versions", {}),
            "commit": commit(ROOT),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "process_seconds": seconds,
            "command": shlex.join("FOLDER" if words[max(0, i - 1)] == "--data" else w for i, w in enumerate(words)),
        },
    )
    knn = result.get("knn")
    shown = knn["value"] if isinstance(knn, dict) else knn
    print(f"  {seconds:4d} s  {item.job.key}  kNN {shown if shown is None else round(shown, 4)}", file=sys.stderr)
    return True
