"""Measure start-up times: of `--help`, of imports, and to the first training step of a second run.

    .venv/bin/python -m benchmarks.cells.startup --data FOLDER

Each figure is the median of --repeats new processes. `help` and `fit_help` are the wall time of the complete command.
`first_step` is the time from the end of the command's imports to the start of the first optimiser step (without
compilation), with data that an earlier run has prepared.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness.cell import script

PYTHON = sys.executable
SALIENCE = str(Path(PYTHON).with_name("salience"))
COMMANDS = {
    "python": [PYTHON, "-c", "pass"],
    "import_salience": [PYTHON, "-c", "import salience"],
    "import_torch": [PYTHON, "-c", "import torch"],
    "help": [SALIENCE, "--help"],
    "fit_help": [SALIENCE, "fit", "--help"],
    "fit_simclr_help": [SALIENCE, "fit", "simclr", "--help"],
    "methods": [SALIENCE, "methods"],
}


def wall(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def child(source: str) -> None:
    """In a fresh process: import all that `fit` needs, then time the way to the first step."""
    start = time.perf_counter()
    import tempfile

    import salience
    import salience.data
    import salience.methods.contrastive.simclr
    import salience.methods.lightning
    import salience.training.engine
    from benchmarks.harness.report import SUMMARY, emit
    from benchmarks.harness.step_clock import Enough, StepClock

    fit = salience.fit
    imported = time.perf_counter()
    clock = StepClock(stop_after=1)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        fit("simclr", source, out=Path(folder) / "run", epochs=1, progress=False)
    emit(
        SUMMARY,
        imports=imported - start,
        first_step=clock.begun[0] - imported,
        first_step_done=clock.ended[0] - imported,
    )


def first_step(source: str, repeats: int) -> dict[str, float]:
    """Medians over fresh processes; the first, which may prepare the data, is not counted."""
    command = script("startup", "--child", source)
    lines = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(repeats + 1)]
    runs = [json.loads(text.strip().splitlines()[-1]) for text in lines[1:]]
    return {key: statistics.median(run[key] for run in runs) for key in ("imports", "first_step", "first_step_done")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with cifar10-train.parquet; without it only digits")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    for command in COMMANDS.values():
        wall(command)  # warms the file cache and writes the bytecode
    rounds = [{name: wall(command) for name, command in COMMANDS.items()} for _ in range(args.repeats)]
    seconds = {name: statistics.median(one[name] for one in rounds) for name in COMMANDS}
    sources = {"digits": "digits"}
    if args.data:
        sources["cifar10"] = str(args.data / "cifar10-train.parquet")
    few = max(1, args.repeats // 4)
    starts = {name: first_step(source, few) for name, source in sources.items()}
    versions = {package: importlib.metadata.version(package) for package in ("torch", "lightning", "cyclopts")}
    print(json.dumps({"kind": "summary", "seconds": seconds, "first_step": starts, "versions": versions}), flush=True)


if __name__ == "__main__":
    main()
