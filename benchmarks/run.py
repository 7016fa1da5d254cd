"""Run every benchmark, one process per cell, and store the results in benchmarks/results.

    SALIENCE_DATA=FOLDER .venv/bin/python benchmarks/run.py            # about an hour; run it again to resume
    .venv/bin/python benchmarks/run.py --data FOLDER --only throughput-convnet pca
    .venv/bin/python benchmarks/run.py --data FOLDER --smoke           # minutes: tests that every cell runs

FOLDER contains cifar10-train.parquet and cifar10-test.parquet (columns `image` {bytes} and `label`). Without it the
cells that need CIFAR-10 are skipped, with a message. A cell with a result is not run again without --again. Each cell
records its command, versions, commit, date and the load of the machine at its start; each file records the machine. A
suite of times from another machine is not changed, with a message; to measure it here, move its file away. Arms
alternate in every round, so that variations of the machine affect all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peers
from cells import Cell, all_cells
from machine import busy_share, commit, machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
BUSY = 0.1


class Elsewhere(SystemExit):
    """Results of another machine, which those of this one must not join."""


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two machines are alike, but for the kernel's version."""
    return all(one[name] == other[name] for name in one.keys() - {"system"})


class Stored:
    """The result file of one suite: {"machine": ..., "cells": {"ours 0": ...}}, replaced atomically.

    timed: whether it is about speed: those of two machines are never mixed. Else a cell of another names it.
    """

    def __init__(self, folder: Path, suite: str, here: dict[str, Any], *, timed: bool = True) -> None:
        self.path = folder / f"{suite}.json"
        self.here = here
        self.content: dict[str, Any] = {"suite": suite, "machine": here, "cells": {}}
        if self.path.exists():
            self.content = json.loads(self.path.read_text())
        self.elsewhere = not same(self.content["machine"], here)
        if timed and self.elsewhere:
            raise Elsewhere(f"{self.path} was measured on another machine; move it away, figures must not be mixed")

    def has(self, cell: Cell) -> bool:
        return cell.key in self.content["cells"]

    def add(self, cell: Cell, record: dict[str, Any]) -> None:
        self.add_record(cell.key, record)

    def add_record(self, key: str, record: dict[str, Any]) -> None:
        self.content["cells"][key] = record | ({"machine": self.here} if self.elsewhere else {})
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1) + "\n")
        partial.replace(self.path)


def plain_path(word: str, data: Path | None) -> str:
    """The command as a reader can repeat it: no folder of this machine in it."""
    for folder, name in ((data, "FOLDER"), (ROOT, ".")):
        if folder is not None and word.startswith(str(folder)):
            return name + word[len(str(folder)) :]
    return word


def run(cell: Cell, data: Path | None) -> dict[str, Any] | None:
    """One process.  -> its record, None where it failed"""
    environment = {key: value for key, value in os.environ.items() if key not in SLOWING}
    busy = busy_share()
    if busy > BUSY:
        print(f"  the machine is busy: others use {busy:.0%} of it", file=sys.stderr)
    finished = subprocess.run(cell.command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    if finished.returncode or not lines or lines[-1].get("kind", "summary") != "summary":
        print(f"  failed with exit code {finished.returncode}: {shlex.join(cell.command)}", file=sys.stderr)
        return None
    result = {key: value for key, value in lines[-1].items() if key not in ("kind", "versions")}
    return {
        "arm": cell.arm,
        "round": cell.round,
        "result": rounded(result),
        "versions": lines[-1].get("versions", {}),
        "commit": commit(ROOT),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "busy_before": busy,
        "command": shlex.join(plain_path(word, data) for word in cell.command),
    }


def rounded(value: Any) -> Any:
    """Five significant digits: more is noise in a file that people read."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SALIENCE_DATA"), help="or set SALIENCE_DATA")
    parser.add_argument("--only", nargs="+", metavar="SUITE", help="run these suites only")
    parser.add_argument("--again", action="store_true", help="measure cells that have a result once more")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one thread; results in .bench/smoke")
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    return parser.parse_args()


def usable(data: Path | None) -> Path | None:
    """The data folder, None with a message where CIFAR-10 is not in it."""
    if data and (Path(data) / "cifar10-train.parquet").exists() and (Path(data) / "cifar10-test.parquet").exists():
        return Path(data).resolve()
    print("skipped: all that needs CIFAR-10 (give --data or SALIENCE_DATA, see --help)", file=sys.stderr)
    return None


def main() -> int:
    args = arguments()
    data = usable(args.data)
    cells = [cell for cell in all_cells(data, args.smoke) if not args.only or cell.suite in args.only]
    if args.only and (unknown := set(args.only) - {cell.suite for cell in cells}):
        raise SystemExit(f"--only: no suite {', '.join(sorted(unknown))} here; see --list")
    if args.list:
        print("\n".join(f"{cell.suite}: {cell.key}" for cell in cells))
        return 0
    if any(cell.command[0] == str(peers.PYTHON) for cell in cells):
        peers.ensure()
    if args.smoke:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # inherited: one core, so one thread
    folder, here, failed = (ROOT / ".bench" / "smoke" if args.smoke else RESULTS), machine(), []
    left_out: dict[str, str] = {}
    for position, cell in enumerate(cells, 1):
        try:
            stored = Stored(folder, cell.suite, here, timed=cell.timed)
        except Elsewhere as problem:
            left_out[cell.suite] = str(problem)
            continue
        if stored.has(cell) and not args.again:
            continue
        print(f"[{position}/{len(cells)}] {cell.suite}: {cell.key}", file=sys.stderr)
        record = run(cell, data)
        if record is None:
            failed.append(f"{cell.suite}: {cell.key}")
        else:
            stored.add(cell, record)
    for problem in left_out.values():
        print(f"left out: {problem}", file=sys.stderr)
    print(f"results in {folder}; benchmarks/render.py prints them as tables", file=sys.stderr)
    if failed:
        print("failed: " + "; ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
