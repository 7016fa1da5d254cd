"""Run every benchmark, one process per cell, and store the results in benchmarks/results.

    SALIENCE_DATA=FOLDER .venv/bin/python -m benchmarks            # about an hour; run it again to resume
    .venv/bin/python -m benchmarks --data FOLDER --only throughput-convnet pca
    .venv/bin/python -m benchmarks --data FOLDER --smoke           # minutes: tests that every cell runs

FOLDER contains cifar10-train.parquet and cifar10-test.parquet (columns `image` {bytes} and `label`). Without it the
cells that need CIFAR-10 are skipped, with a message. A cell with a result is not run again without --again. Each cell
records its command, versions, commit, date and the load of the machine at its start; each file records the machine. A
suite of times from another machine is not changed, with a message; to measure it here, move its file away. Arms
alternate in every round, so that variations of the machine affect all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.harness import peers
from benchmarks.harness.folders import RESULTS, SCRATCH
from benchmarks.harness.machine import machine
from benchmarks.harness.process import run
from benchmarks.harness.stored import Elsewhere, Stored
from benchmarks.harness.suites import all_cells


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
    folder, here, failed = (SCRATCH / "smoke" if args.smoke else RESULTS), machine(), []
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
    print(f"results in {folder}; python -m benchmarks.render prints them as tables", file=sys.stderr)
    if failed:
        print("failed: " + "; ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
