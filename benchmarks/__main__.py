"""Run every benchmark, one process per cell, and store the results in benchmarks/results.

    SALIENCE_DATA=FOLDER .venv/bin/python -m benchmarks            # about an hour; run it again to resume
    .venv/bin/python -m benchmarks --data FOLDER --only throughput-convnet pca
    .venv/bin/python -m benchmarks --data FOLDER --smoke           # minutes: tests that every cell runs
    .venv/bin/python -m benchmarks --data FOLDER --beside CHECKOUT --rounds 6

FOLDER contains cifar10-train.parquet and cifar10-test.parquet (columns `image` {bytes} and `label`). Without it the
cells that need CIFAR-10 are skipped, with a message. A cell with a result is not run again without --again. Each cell
records its command, versions, commit, date and the load of the machine at its start; each file records the machine. A
suite of times from another machine is not changed, with a message; to measure it here, move its file away. Arms
alternate in every round, so that variations of the machine affect all of them.

--beside measures what a change of the code costs: our own cells of speed and memory, in this checkout (new) and in
CHECKOUT (old, made with `git worktree add CHECKOUT COMMIT`) by turns. It prints the ratio new / old of every figure
and what could not be compared. Its results are in .bench/beside, one file for each pair of commits; the same command
resumes it, and with more --rounds it adds to them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from benchmarks.harness import peers
from benchmarks.harness.cell import Cell
from benchmarks.harness.checkouts import NEW, OLD, comparable, measure, open_checkout
from benchmarks.harness.folders import RESULTS, ROOT, SCRATCH
from benchmarks.harness.machine import code_version, machine
from benchmarks.harness.process import run
from benchmarks.harness.stored import Elsewhere, Stored
from benchmarks.harness.suites import all_cells
from benchmarks.render.ratios import ratios


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("SALIENCE_DATA"), help="or set SALIENCE_DATA")
    parser.add_argument("--only", nargs="+", metavar="SUITE", help="run these suites only")
    parser.add_argument("--again", action="store_true", help="measure cells that have a result once more")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one thread; results in .bench/smoke")
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="compare with another commit's checkout")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of --beside; six give an interval of 97 %%")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds: expected at least 1, got {args.rounds}")
    if args.beside and args.again:
        parser.error("--again: not with --beside; to measure a pair of commits again, move its file in .bench away")
    return args


def usable(data: Path | None) -> Path | None:
    """The data folder, None with a message where CIFAR-10 is not in it."""
    if data and (Path(data) / "cifar10-train.parquet").exists() and (Path(data) / "cifar10-test.parquet").exists():
        return Path(data).resolve()
    print("skipped: all that needs CIFAR-10 (give --data or SALIENCE_DATA, see --help)", file=sys.stderr)
    return None


def choose_cells(args: argparse.Namespace, data: Path | None) -> list[Cell]:
    """List the cells that the arguments ask for."""
    cells = all_cells(data, args.smoke)
    if args.beside:
        cells = comparable(cells)
    if args.only and (unknown := set(args.only) - {cell.suite for cell in cells}):
        raise SystemExit(f"--only: no suite {', '.join(sorted(unknown))} here; see --list")
    return [cell for cell in cells if not args.only or cell.suite in args.only]


def run_left(cells: list[Cell], args: argparse.Namespace, data: Path | None) -> int:
    """Run the cells without a result.

    Returns:
        The exit code: 1 if a cell failed.
    """
    if any(cell.command[0] == str(peers.PYTHON) for cell in cells):
        peers.ensure()
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


def compare_checkouts(cells: list[Cell], args: argparse.Namespace) -> int:
    """Measure the cells in both checkouts and print the ratios.

    Returns:
        The exit code: 1 if a cell could not be compared, 130 if the measurement was stopped.
    """
    folder = (SCRATCH / "smoke" if args.smoke else SCRATCH) / "beside"
    work = folder / "work"
    checkouts = {side: open_checkout(side, where, work) for side, where in ((OLD, args.beside), (NEW, ROOT))}
    versions = {side: code_version(checkout.folder) for side, checkout in checkouts.items()}
    stored = Stored(folder, f"{versions[NEW]}-beside-{versions[OLD]}", machine())
    stored.content |= versions
    problems: dict[str, str] = {}
    try:
        problems = measure(cells, checkouts, stored, args.rounds)
        code = 1 if problems else 0
        shutil.rmtree(work)
    except KeyboardInterrupt:
        print("stopped; the same command resumes it", file=sys.stderr)
        code = 130
    print(ratios(stored.content, problems))
    print(f"results in {stored.path}", file=sys.stderr)
    return code


def main() -> int:
    args = arguments()
    data = usable(args.data)
    cells = choose_cells(args, data)
    if args.list:
        print("\n".join(cell.name if args.beside else f"{cell.suite}: {cell.key}" for cell in cells))
        return 0
    if args.smoke:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # inherited: one core, so one thread
    return compare_checkouts(cells, args) if args.beside else run_left(cells, args, data)


if __name__ == "__main__":
    sys.exit(main())
