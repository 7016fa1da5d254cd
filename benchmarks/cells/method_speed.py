"""Measure images/s of one method in `salience.fit` on CIFAR-10, and the FLOPs of its step.

    .venv/bin/python -m benchmarks.cells.method_speed dino --data FOLDER --steps 60

The run is planned for 20 epochs, so that `fit` decides as for a real run, and is stopped after the steps.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

import numpy as np
import yaml

import salience
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.step_clock import Enough, StepClock

PLANNED_EPOCHS = 20


def main() -> None:
    args = arguments()
    data = salience.open_data(str(args.data / "cifar10-train.parquet"), progress=False)
    data = data.subset(np.arange(args.rows)) if args.rows else data
    clock = StepClock(args.steps)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        with contextlib.suppress(Enough):
            salience.fit(args.method, data, out=run, epochs=PLANNED_EPOCHS, batch_size=args.batch_size, progress=False)
        clock.close()
        config = yaml.safe_load((run / "config.yaml").read_text())
    rates = clock.throughput(args.batch_size, skip=args.skip, window=args.window)
    emit(
        SUMMARY,
        images_per_second=statistics.median(rates),
        windows=rates,
        flops_per_image=config["flops_per_step"] / args.batch_size,
        decided={name: config[name] for name in ("precision", "compile", "threads", "views", "options")},
        versions=versions("torch", "lightning", "numpy"),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10-train.parquet")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rows", type=int, help="use only the first rows (smoke test)")
    parser.add_argument("--skip", type=int, default=15, help="steps left out of the windows")
    parser.add_argument("--window", type=int, default=5, help="steps in one window")
    return parser.parse_args()


if __name__ == "__main__":
    main()
